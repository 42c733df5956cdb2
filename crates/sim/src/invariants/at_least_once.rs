//! What the broker has taken arrives.
//!
//! Source: MQTT-4.3.2-1..-4, MQTT-4.3.3-*, MQTT-4.5.0-1, MQTT-4.8.2-* (shared subscriptions).
//! Checked: a message whose acknowledgement was seen is read, at least once, by each session that was subscribed when it was first sent, as
//! long as that session lives and stays subscribed; a QoS 0 message (or subscription) if the broker has taken it and the receiver's connection has
//! been up since before it was sent. A message of a matching shared subscription is read by some member, if one was there all
//! the time; at QoS 1 it is answered, too: what a member has read and left comes to another one. What may be missing is counted: no more than the shards' counters say was dropped for full queues and outboxes;
//! messages that may have expired or exceed the receiver's Maximum Packet Size are not asked for. A publish whose
//! acknowledgement was not seen is unknown, never absent. Here: subscriptions made in an earlier round (see `suback_barrier`).
//! When: at rest.

use std::collections::{BTreeMap, BTreeSet};

use martlet_codec::{QoS, topic_matches};

use super::Invariant;
use crate::ledger::{ActorFact, Ledger, MessageFact, SessionFact, shared_filter};

pub(super) struct AtLeastOnce;

impl Invariant for AtLeastOnce {
    fn name(&self) -> &'static str {
        "at_least_once"
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        let mut all = missing(ledger, |made, sent| made < sent);
        all.extend(missing_in_groups(ledger, |made, sent| made < sent));
        allowance(&all, ledger)
    }
}

/// `Err` if more is missing than was dropped and counted.
pub(super) fn allowance(missing: &[String], ledger: &Ledger) -> Result<(), String> {
    let drops = ledger.drops();
    if missing.len() as u64 <= drops {
        return Ok(());
    }
    let first: Vec<_> = missing.iter().take(3).collect();
    let count = missing.len();
    Err(format!(
        "{count} are missing, {drops} were dropped: {first:?}"
    ))
}

/// Messages that sessions should have got through plain subscriptions made in a round that `when` accepts,
/// given that round and the message's.
pub(super) fn missing(ledger: &Ledger, when: impl Fn(u32, u32) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    for (id, session, actor) in ledger.online() {
        for message in &ledger.messages {
            if is_asked_for(ledger, session, actor, message, &when) {
                missing.push(format!("{} did not get {message:?}", ledger.name(id)));
            }
        }
    }
    missing
}

fn is_asked_for(
    ledger: &Ledger,
    session: &SessionFact,
    actor: &ActorFact,
    message: &MessageFact,
    when: impl Fn(u32, u32) -> bool,
) -> bool {
    if !message.processed || message.clear || message.will {
        return false;
    }
    if session.receipts.contains_key(&message.id) || ledger.may_be_left_out(session, message) {
        return false;
    }
    let Some((qos, made)) = Ledger::due(session, message) else {
        return false;
    };
    let sent = message.sends.first().copied().unwrap_or(0);
    let connected = actor.online_since.is_some_and(|since| since < sent);
    when(made, message.round) && (qos != QoS::AtMostOnce || connected)
}

/// Messages that some member of a shared subscription should have got.
pub(super) fn missing_in_groups(ledger: &Ledger, when: impl Fn(u32, u32) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    for (filter, members) in groups(ledger) {
        let Some(plain) = shared_filter(filter) else {
            continue;
        };
        let all_take_qos_1 = members.iter().all(|session| {
            let mut wanted = session.changes.iter().filter(|c| c.filter == filter);
            wanted.all(|c| c.wanted.is_none_or(|w| w.qos != QoS::AtMostOnce))
        });
        if !all_take_qos_1 {
            continue;
        }
        for message in &ledger.messages {
            let Some(sent) = message.sends.first().copied() else {
                continue;
            };
            let nothing_due = !message.processed
                || message.clear
                || message.will
                || message.qos == QoS::AtMostOnce
                || !topic_matches(plain, &message.topic)
                || members.iter().any(|s| ledger.may_be_left_out(s, message));
            if nothing_due || members.iter().any(|s| s.has_taken(message.id)) {
                continue;
            }
            // A QoS 2 message that was on its way to a member waits for that member, and ends with its session.
            if message.qos == QoS::ExactlyOnce
                && members.iter().any(|s| {
                    let away = ledger.actors[s.actor].online_since.is_none();
                    (s.ended && s.ended_round >= message.round) || (!s.ended && away)
                })
            {
                continue;
            }
            let stayed = ledger.online().any(|(_, session, _)| {
                let mut changes = session.changes.iter().filter(|c| c.filter == filter);
                let made =
                    changes.find(|c| c.wanted.is_some() && c.done.is_some_and(|done| done < sent));
                made.is_some_and(|made| when(made.done_round, message.round))
                    && session
                        .changes
                        .iter()
                        .all(|c| c.filter != filter || c.wanted.is_some())
            });
            if stayed {
                missing.push(format!("no member of {filter} got {message:?}"));
            }
        }
    }
    missing
}

/// Everybody who ever asked to be a member, by filter.
pub(super) fn groups(ledger: &Ledger) -> BTreeMap<&str, Vec<&SessionFact>> {
    let mut groups: BTreeMap<&str, Vec<&SessionFact>> = BTreeMap::new();
    for session in &ledger.sessions {
        let filters: BTreeSet<&str> = session
            .changes
            .iter()
            .filter(|change| change.wanted.is_some() && shared_filter(&change.filter).is_some())
            .map(|change| change.filter.as_str())
            .collect();
        for filter in filters {
            groups.entry(filter).or_default().push(session);
        }
    }
    groups
}
