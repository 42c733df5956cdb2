//! A session that outlives its connection outlives the process.
//!
//! Source: `docs/durability.md`; MQTT-3.1.2-23, MQTT-4.1.0-1, MQTT-3.1.2-4 (3.1.1).
//! Checked: what the store gives to the next process has each session whose CONNACK was seen, unless it may have expired or been ended by
//! its client; of that session each subscription whose SUBACK was seen, at its QoS, and none whose UNSUBACK was seen; each QoS 2 identifier of the
//! client whose PUBREC was seen, until its PUBREL is sent. A request without answer may have been carried out or not.
//! When: when a process has found what the one before has left. (`single_owner` sees later what CONNACK says.)

use std::collections::BTreeMap;

use super::Invariant;
use crate::ledger::{Change, Event, Ledger, SessionFact};
use crate::server_view::has_passed;

pub(super) struct SessionKept;

impl Invariant for SessionKept {
    fn name(&self) -> &'static str {
        "session_kept"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let (Event::Recovered, Some(stored)) = (event, &ledger.found) else {
            return Ok(());
        };
        for (id, session) in ledger.sessions.iter().enumerate() {
            if !surely_exists(session, ledger) {
                continue;
            }
            let name = ledger.name(id);
            let Some(kept) = stored.session_of(&ledger.actors[session.actor].name) else {
                return Err(format!("{name} is gone"));
            };
            for (filter, change) in answered(session) {
                let is = kept.subscriptions.get(filter).map(|(qos, _, _)| *qos);
                let wanted = change.wanted.map(|wanted| wanted.qos);
                if is != wanted {
                    return Err(format!("{name} has {is:?} of {filter}, not {wanted:?}"));
                }
            }
            for packet_id in &session.owed {
                if !kept.received.contains_key(packet_id) {
                    return Err(format!("{name}: {packet_id} is not known as received"));
                }
            }
        }
        Ok(())
    }
}

/// Whether the session is there for certain, before the next process lets anybody in.
pub(super) fn surely_exists(session: &SessionFact, ledger: &Ledger) -> bool {
    let Some(seconds @ 1..) = session.outlives_s.filter(|_| !session.ended) else {
        return false;
    };
    session
        .offline_since
        .is_none_or(|since| has_passed(since, seconds, ledger) == Some(false))
}

/// The last change of each filter, if all of them were answered.
fn answered(session: &SessionFact) -> BTreeMap<&str, &Change> {
    let mut last: BTreeMap<&str, Option<&Change>> = BTreeMap::new();
    for change in session.changes.iter().filter(|change| !change.refused) {
        let entry = last.entry(&change.filter).or_default();
        // One that was never answered may have been carried out before or after a crash, never after a later answer.
        *entry = change.done.map(|_| change);
    }
    last.into_iter()
        .filter_map(|(filter, change)| Some((filter, change?)))
        .collect()
}
