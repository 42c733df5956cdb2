//! When all is quiet, the last value that a subscriber saw of a topic is the retained one.
//!
//! Source: the architecture's invariant (stronger than MQTT-3.3.1-5..-8), `relay.rs` and `replay.rs` of the engine.
//! Checked, per topic, with "value" for a message published with RETAIN and R for what a new subscriber gets:
//! - R was published with RETAIN, and its publisher sent no later value that the broker has taken; with R there was no earlier round's rest in between;
//! - a subscriber whose connection stood, undisturbed, for the whole round, saw R (or the clearing) last;
//! - so did one that asked for retained messages on its connection, however shortly before that R was published or after: R
//!   came with the replay, or behind it;
//! - whoever saw R at all, saw no other value as new after it.
//!
//! A value without acknowledgement may be gone after a crash, whoever saw it; one that is sent again after a crash may be in two
//! places of the order, for those who had it before and for the others.
//!
//! Publishers of one topic sit on different shards; wills take part in none of this, their moment is the broker's.
//! When: at rest.

use std::collections::BTreeMap;

use martlet_codec::{QoS, topic_matches};

use super::Invariant;
use crate::ledger::{Event, Ledger, MessageFact, MessageId, Receipt, SessionFact, SessionId, Tick};

#[derive(Default)]
pub(super) struct RetainedLatest {
    /// The last value of each topic that a session saw as new; `None`: the clearing.
    last_seen: BTreeMap<(SessionId, String), Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    value: Option<MessageId>,
    tick: Tick,
}

impl Invariant for RetainedLatest {
    fn name(&self) -> &'static str {
        "retained_latest"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let Event::Received(receipt) = event else {
            return Ok(());
        };
        let Some(topic) = receipt.topic.clone() else {
            return Ok(());
        };
        let session = &ledger.sessions[receipt.session];
        let value = match receipt.message {
            Some(id) if ledger.messages[id].retain => {
                let before = session.receipts.get(&id).into_iter().flatten();
                let mut before = before.filter(|r| r.tick < receipt.tick);
                let again = |r: &Receipt| {
                    let unmarked = ledger.may_come_again(r, receipt);
                    receipt.dup || receipt.repeated || unmarked
                };
                if before.any(again) {
                    return Ok(());
                }
                Some(id)
            }
            // A repeated clearing cannot be told from a new one.
            None if receipt.empty && !receipt.dup => None,
            Some(_) | None => return Ok(()),
        };
        let tick = receipt.tick;
        self.last_seen
            .insert((receipt.session, topic), Seen { value, tick });
        Ok(())
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        if ledger.drops() > 0 || ledger.counters.retained_refused > 0 {
            return Ok(());
        }
        let Some(all_retained) = &ledger.retained else {
            return Ok(());
        };
        let mut topics: BTreeMap<&str, Vec<&MessageFact>> = BTreeMap::new();
        for message in ledger
            .messages
            .iter()
            .filter(|m| m.retain && !m.sends.is_empty())
        {
            topics.entry(&message.topic).or_default().push(message);
        }
        for (topic, mut values) in topics {
            if ledger
                .messages
                .iter()
                .any(|m| m.will && m.retain && m.topic == topic)
            {
                continue;
            }
            let retained = all_retained.get(topic).copied();
            is_last_of_its_publisher(topic, retained, &values, ledger)?;
            let last_round = values.iter().map(|v| v.round).max();
            values.retain(|v| Some(v.round) == last_round);
            // What an earlier round left was looked at then; this round's values may all be lost.
            let is_new = match retained {
                Some(id) => Some(ledger.messages[id].round) == last_round,
                None => values.iter().any(|value| value.clear && value.processed),
            };
            self.askers_agree(topic, retained, ledger)?;
            for (id, session, actor) in ledger.online() {
                let Some(last) = self.last_seen.get(&(id, topic.to_owned())) else {
                    continue;
                };
                let last = &last.value;
                // What a group has queued may be older than what it has not.
                if *last == retained || Ledger::shares(session, topic) {
                    continue;
                }
                let expired = |id: &MessageId| ledger.may_be_expired(&ledger.messages[*id]);
                if last.as_ref().is_some_and(expired) {
                    continue;
                }
                let moved = |id: &MessageId| may_have_moved(&ledger.messages[*id], ledger);
                if last.as_ref().is_some_and(moved) {
                    continue;
                }
                let whole_round = actor
                    .online_since
                    .is_some_and(|since| values.iter().all(|value| since < value.sends[0]));
                let subscribed = is_subscribed_throughout(session, topic, &values, ledger);
                // One that its publisher sent again may have become the retained one again.
                let saw_it = retained.is_some_and(|id| {
                    session.receipts.contains_key(&id) && ledger.messages[id].sends.len() == 1
                });
                let must_agree = is_new && whole_round && subscribed;
                // A clearing has no number: whoever saw it last may have seen an earlier one.
                if must_agree || (saw_it && last.is_some()) {
                    return Err(format!(
                        "{} saw {last:?} of {topic} last, {retained:?} is retained (undisturbed: {must_agree})",
                        ledger.name(id)
                    ));
                }
            }
        }
        Ok(())
    }
}

impl RetainedLatest {
    /// Whoever subscribed with Retain Handling 0 on the connection that still stands, and saw the answer, has R.
    fn askers_agree(
        &self,
        topic: &str,
        retained: Option<MessageId>,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let moved = |m: &MessageFact| m.retain && m.topic == topic && may_have_moved(m, ledger);
        if ledger.messages.iter().any(moved) {
            return Ok(());
        }
        for (id, session, actor) in ledger.online() {
            let matching = session
                .changes
                .iter()
                .filter(|change| topic_matches(&change.filter, topic));
            let is_quiet = matching
                .clone()
                .all(|c| c.wanted.is_some_and(|w| !w.no_local) && c.done.is_some());
            let asked = matching
                .filter(|change| change.wanted.is_some_and(|wanted| wanted.replays_always))
                .filter(|change| change.done > actor.online_since)
                .filter_map(|change| change.done)
                .min();
            let left_out = ledger.messages.iter().any(|message| {
                message.retain && message.topic == topic && ledger.may_be_left_out(session, message)
            });
            let Some(asked) = asked.filter(|_| is_quiet && !left_out) else {
                continue;
            };
            if Ledger::shares(session, topic) {
                continue;
            }
            let last = self.last_seen.get(&(id, topic.to_owned())).copied();
            // That there is nothing is not told: what was seen, or queued, before may have been cleared in between.
            let has_a_past = session.changes.iter().any(|c| c.done < actor.online_since);
            let told = last.is_some_and(|last| last.tick > asked) && !has_a_past;
            if (retained.is_some() || told) && last.and_then(|last| last.value) != retained {
                return Err(format!(
                    "{} asked for {topic}, saw {last:?} last, and {retained:?} is retained",
                    ledger.name(id)
                ));
            }
        }
        Ok(())
    }
}

/// What nobody acknowledged may have been seen, and be gone with the process. What was sent once more after a crash some have got
/// before it, and others behind what came in between.
fn may_have_moved(message: &MessageFact, ledger: &Ledger) -> bool {
    let settled = message.processed && message.sends.len() == 1;
    !settled && ledger.crashes_since(message) > 0
}

/// Whether each of these values was due to the session.
fn is_subscribed_throughout(
    session: &SessionFact,
    topic: &str,
    values: &[&MessageFact],
    ledger: &Ledger,
) -> bool {
    let quiet = session
        .changes
        .iter()
        .filter(|c| topic_matches(&c.filter, topic))
        .all(|c| c.wanted.is_some_and(|w| !w.no_local) && c.done.is_some());
    quiet
        && values.iter().all(|value| {
            !ledger.may_be_left_out(session, value) && Ledger::due(session, value).is_some()
        })
}

pub(super) fn is_last_of_its_publisher(
    topic: &str,
    retained: Option<MessageId>,
    values: &[&MessageFact],
    ledger: &Ledger,
) -> Result<(), String> {
    let Some(id) = retained else {
        let clearing = values.iter().any(|v| v.clear);
        let lasting = values
            .iter()
            .any(|v| v.processed && !v.clear && !ledger.may_be_expired(v));
        let never_stored = lasting && !clearing && !values.iter().any(|v| ledger.may_be_expired(v));
        return if never_stored {
            Err(format!("nothing is retained of {topic}"))
        } else {
            Ok(())
        };
    };
    let message = &ledger.messages[id];
    let last_sent = message.sends.last().copied().unwrap_or(0);
    let later = values.iter().find(|value| {
        let same = value.publisher == message.publisher || value.round > message.round;
        let taken = value.processed && (value.qos == QoS::AtMostOnce || value.acked.is_some());
        // A message without acknowledgement may have been sent once more, later.
        let settled = message.processed;
        same && taken && settled && value.sends.first().is_some_and(|first| *first > last_sent)
    });
    match later {
        Some(later) => Err(format!(
            "{message:?} is retained, though {later:?} came later"
        )),
        None => Ok(()),
    }
}
