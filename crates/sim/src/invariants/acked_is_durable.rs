//! What was acknowledged is there after a crash.
//!
//! Source: `docs/durability.md`, the table of what an acknowledgement waits for; MQTT-4.3.2-*, MQTT-4.3.3-*, section 4.1 (session state).
//! Checked: what the store gives to the next process has, for each message whose acknowledgement was seen, in the queue of
//! each session that was subscribed to it, outlives its connection and has not read it: that message. Of a shared subscription: in the
//! group's queue or a member's. Of each topic: the last value that its publisher knows to be retained, or a later one. What may be
//! missing was dropped for a full queue and counted, may have expired, or is too large for its receiver. A publish whose
//! acknowledgement was not seen is unknown, never absent.
//! When: when a process has found what the one before has left, before any client is let in. (`at_least_once` sees later that it arrives.)

use std::collections::BTreeSet;

use martlet_codec::{QoS, topic_matches};

use super::Invariant;
use super::at_least_once::{allowance, groups};
use super::retained_latest::is_last_of_its_publisher;
use super::session_kept::surely_exists;
use crate::client::message_in;
use crate::ledger::{Event, Ledger, MessageFact, MessageId, shared_filter};
use crate::stored::{Stored, StoredSession};

pub(super) struct AckedIsDurable;

impl Invariant for AckedIsDurable {
    fn name(&self) -> &'static str {
        "acked_is_durable"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let (Event::Recovered, Some(stored)) = (event, &ledger.found) else {
            return Ok(());
        };
        let mut missing = missing(stored, ledger);
        missing.extend(missing_in_groups(stored, ledger));
        allowance(&missing, ledger)?;
        retained(stored, ledger)
    }
}

/// The messages that a session has a reference to.
fn queued(session: &StoredSession, stored: &Stored) -> BTreeSet<MessageId> {
    session
        .messages()
        .filter_map(|entry| stored.bodies.get(&entry.body))
        .filter_map(|body| message_in(&body.payload))
        .collect()
}

fn missing(stored: &Stored, ledger: &Ledger) -> Vec<String> {
    let mut missing = Vec::new();
    for (id, session) in ledger.sessions.iter().enumerate() {
        if !surely_exists(session, ledger) {
            continue;
        }
        let name = &ledger.actors[session.actor].name;
        let queued = stored.session_of(name).map(|s| queued(s, stored));
        for message in &ledger.messages {
            if is_obliged(message)
                && !session.receipts.contains_key(&message.id)
                && !queued
                    .as_ref()
                    .is_some_and(|queue| queue.contains(&message.id))
                && !ledger.may_be_left_out(session, message)
                && Ledger::due(session, message).is_some_and(|(qos, _)| qos != QoS::AtMostOnce)
            {
                let name = ledger.name(id);
                missing.push(format!("of {name} the store does not have {message:?}"));
            }
        }
    }
    missing
}

/// Whether the broker has answered for it.
const fn is_obliged(message: &MessageFact) -> bool {
    message.acked.is_some() && !message.clear && !message.will
}

fn missing_in_groups(stored: &Stored, ledger: &Ledger) -> Vec<String> {
    let mut missing = Vec::new();
    for (filter, members) in groups(ledger) {
        let Some(plain) = shared_filter(filter) else {
            continue;
        };
        let takes_qos_1 = members.iter().all(|session| {
            let mut wanted = session.changes.iter().filter(|c| c.filter == filter);
            wanted.all(|c| c.wanted.is_none_or(|w| w.qos != QoS::AtMostOnce))
        });
        if !takes_qos_1 {
            continue;
        }
        let mut kept: BTreeSet<MessageId> = BTreeSet::new();
        for body in stored
            .groups
            .get(filter)
            .into_iter()
            .flat_map(|q| q.values())
        {
            kept.extend(stored.bodies.get(body).and_then(|b| message_in(&b.payload)));
        }
        for session in stored.sessions.values() {
            kept.extend(queued(session, stored));
        }
        for message in &ledger.messages {
            if !is_obliged(message)
                || !topic_matches(plain, &message.topic)
                || kept.contains(&message.id)
                || members.iter().any(|s| {
                    s.receipts.contains_key(&message.id) || ledger.may_be_left_out(s, message)
                })
            {
                continue;
            }
            // A QoS 2 message that was on its way to a member ends with that member's session.
            if message.qos == QoS::ExactlyOnce && members.iter().any(|s| !surely_exists(s, ledger))
            {
                continue;
            }
            let sent = message.sends.first().copied().unwrap_or(0);
            let stayed = members.iter().any(|session| {
                let mut changes = session.changes.iter().filter(|c| c.filter == filter);
                let joined = changes.any(|c| {
                    c.wanted.is_some() && !c.refused && c.done.is_some_and(|done| done < sent)
                });
                let mut changes = session.changes.iter().filter(|c| c.filter == filter);
                surely_exists(session, ledger) && joined && changes.all(|c| c.wanted.is_some())
            });
            if stayed {
                missing.push(format!("of {filter} the store does not have {message:?}"));
            }
        }
    }
    missing
}

fn retained(stored: &Stored, ledger: &Ledger) -> Result<(), String> {
    if ledger.drops() > 0 || ledger.counters.retained_refused > 0 {
        return Ok(());
    }
    let topics: BTreeSet<&str> = ledger
        .messages
        .iter()
        .filter(|m| m.retain && !m.sends.is_empty())
        .map(|m| m.topic.as_str())
        .collect();
    for topic in topics {
        let of_topic = |m: &&MessageFact| m.retain && m.topic == topic;
        if ledger.messages.iter().filter(of_topic).any(|m| m.will) {
            continue;
        }
        let values: Vec<&MessageFact> = ledger
            .messages
            .iter()
            .filter(of_topic)
            .filter(|m| !m.sends.is_empty())
            .collect();
        let mut bodies = stored.retained().filter(|body| body.topic == topic);
        let retained = bodies.next().and_then(|body| message_in(&body.payload));
        is_last_of_its_publisher(topic, retained, &values, ledger)?;
    }
    Ok(())
}
