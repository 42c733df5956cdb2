//! What one client publishes to one topic arrives in that order.
//!
//! Source: MQTT-4.6.0-1..-6, MQTT-4.6.0-5/-6 (3.1.1), section 4.6; the relay of retained messages (`relay.rs` in the engine) has to keep it
//! across shards, and between retained and plain messages.
//! Checked: what a session gets of one publisher and topic is a subsequence of what that publisher sent, its re-sends included.
//! A re-send to the session (DUP) of what it has seen already may repeat; messages with RETAIN that are older than the
//! subscription, and topics for which the session ever had a shared subscription, have no place in the order.
//! After a crash a session may get once more what it got before, if there was no rest in between; from where that begins, all comes in order again.
//! When: at each PUBLISH that a client reads.

use std::collections::BTreeMap;

use super::Invariant;
use crate::ledger::{ActorId, Event, Ledger, SessionId, Tick};

#[derive(Default)]
pub(super) struct Order {
    /// Which sending, and when it was read.
    reached: BTreeMap<(SessionId, ActorId, String), (Tick, Tick)>,
}

impl Invariant for Order {
    fn name(&self) -> &'static str {
        "order_per_publisher_and_topic"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let Event::Received(receipt) = event else {
            return Ok(());
        };
        let Some(id) = receipt.message else {
            return Ok(());
        };
        let message = &ledger.messages[id];
        let session = &ledger.sessions[receipt.session];
        if receipt.retain || receipt.repeated || message.will {
            return Ok(());
        }
        if Ledger::shares(session, &message.topic) {
            return Ok(());
        }
        // Published before SUBACK was seen, a message with RETAIN is what the subscription finds there, even if it
        // comes as a live one: between shards it may then come behind later plain messages.
        if message.retain && Ledger::due(session, message).is_none() {
            return Ok(());
        }
        let before = session.receipts.get(&id).into_iter().flatten();
        let seen = before.clone().any(|r| r.tick < receipt.tick && !r.retain);
        if receipt.dup && seen {
            return Ok(());
        }
        let key = (receipt.session, message.publisher, message.topic.clone());
        let (reached, last) = self.reached.entry(key).or_insert((0, 0));
        if ledger.may_come_again(*last, receipt.tick) {
            *reached = 0;
        }
        *last = receipt.tick;
        match message.sends.iter().find(|sent| **sent > *reached) {
            Some(sent) => {
                *reached = *sent;
                Ok(())
            }
            None => Err(format!(
                "{} got it after what was sent at {reached}: {message:?}: {receipt:?}",
                ledger.name(receipt.session)
            )),
        }
    }
}
