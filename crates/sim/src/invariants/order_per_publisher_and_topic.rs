//! What one client publishes to one topic arrives in that order.
//!
//! Source: MQTT-4.6.0-1..-6, MQTT-4.6.0-5/-6 (3.1.1), section 4.6; the relay of retained messages (`relay.rs` in the engine) has to keep it
//! across shards, and between retained and plain messages.
//! Checked: what a session gets of one publisher and topic is a subsequence of what that publisher sent, its re-sends included.
//! A re-send to the session (DUP) of what it has seen already may repeat; what comes with RETAIN for a SUBSCRIBE, and topics for which the
//! session ever had a shared subscription, have no place in the order. Live is whatever comes without RETAIN, and all that comes to a
//! session that never asked for retained messages, however old the message is.
//! After a crash a session may get once more what it got before, if there was no rest in between; from where that begins, all comes in order again.
//! When: at each PUBLISH that a client reads.

use std::collections::BTreeMap;

use super::Invariant;
use crate::ledger::{ActorId, Event, Ledger, Receipt, SessionId, Tick};

#[derive(Default)]
pub(super) struct Order {
    /// Which sending, and what was read.
    reached: BTreeMap<(SessionId, ActorId, String), (Tick, Receipt)>,
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
        let replays = Ledger::matching(session, &message.topic)
            .any(|change| change.wanted.is_some_and(|wanted| wanted.replays));
        let is_live = |receipt: &Receipt| !receipt.retain || !replays;
        if !is_live(receipt) || receipt.repeated || message.will {
            return Ok(());
        }
        if Ledger::shares(session, &message.topic) {
            return Ok(());
        }
        let before = session.receipts.get(&id).into_iter().flatten();
        let seen = before.clone().any(|r| r.tick < receipt.tick && is_live(r));
        if receipt.dup && seen {
            return Ok(());
        }
        let key = (receipt.session, message.publisher, message.topic.clone());
        let (reached, last) = self
            .reached
            .entry(key)
            .or_insert_with(|| (0, receipt.clone()));
        if ledger.may_come_again(last, receipt) {
            *reached = 0;
        }
        *last = receipt.clone();
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
