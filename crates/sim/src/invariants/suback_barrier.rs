//! What is published after SUBACK was seen arrives.
//!
//! Source: the architecture's invariant; MQTT-3.8.4-2..-4.
//! Checked: as in `at_least_once`, but for subscriptions made in the same round as the message: SUBACK was seen before the
//! message was first sent, with nothing but that in between. For shared subscriptions: the message reaches some
//! member of the group.
//! When: at rest.

use super::Invariant;
use super::at_least_once::{allowance, missing, missing_in_groups};
use crate::ledger::Ledger;

pub(super) struct SubAckBarrier;

impl Invariant for SubAckBarrier {
    fn name(&self) -> &'static str {
        "suback_barrier"
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        let mut all = missing(ledger, |made, sent| made == sent);
        all.extend(missing_in_groups(ledger, |made, sent| made == sent));
        allowance(&all, ledger)
    }
}
