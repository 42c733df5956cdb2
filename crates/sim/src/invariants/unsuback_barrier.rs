//! What is published after UNSUBACK was seen does not arrive.
//!
//! Source: MQTT-3.10.4-2 (3.1.1 and 5.0): a server that deletes a subscription stops adding new messages for it.
//! Checked: a PUBLISH that a client reads was first sent before the client had seen UNSUBACK for at least one of its filters that match, or
//! it has subscribed to one of them again since. That holds for shared subscriptions as well, wherever their groups live.
//! When: at each PUBLISH that a client reads.

use super::Invariant;
use crate::ledger::{Event, Ledger};

pub(super) struct UnsubAckBarrier;

impl Invariant for UnsubAckBarrier {
    fn name(&self) -> &'static str {
        "unsuback_barrier"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let Event::Received(receipt) = event else {
            return Ok(());
        };
        let Some(message) = receipt.message.map(|message| &ledger.messages[message]) else {
            return Ok(());
        };
        let Some(first_sent) = message.sends.first() else {
            return Ok(());
        };
        let session = &ledger.sessions[receipt.session];
        let may_have_let_it_in = |filter: &str| {
            let last = session.changes.iter().rfind(|c| c.filter == filter);
            last.is_none_or(|last| {
                last.wanted.is_some() || last.done.is_none_or(|done| done > *first_sent)
            })
        };
        let mut matching = Ledger::matching(session, &message.topic).peekable();
        if matching.peek().is_none() || matching.any(|change| may_have_let_it_in(&change.filter)) {
            return Ok(());
        }
        let name = ledger.name(receipt.session);
        Err(format!(
            "{name}: published after UNSUBACK: {receipt:?} of {message:?}"
        ))
    }
}
