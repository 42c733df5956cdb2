//! What a client can take is never exceeded.
//!
//! Source: MQTT-3.3.4-9, MQTT-4.9.0-2 (Receive Maximum), MQTT-3.1.2-24 (Maximum Packet Size), MQTT-3.1.2-26/-27
//! and section 3.3.2.3.4 (Topic Alias), MQTT-2.2.1-4 (packet identifiers), MQTT-4.4.0-1 (no re-send on
//! the same connection). The other way round, the engine's closing of whoever exceeds *its* Receive Maximum
//! is in `blame`.
//! Checked: unfinished QoS 1 and 2 messages per connection; size of each packet; alias range and
//! that an alias alone is known; an identifier in use is not used for another message, nor sent twice on one connection.
//! When: at each packet that a client reads.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::ledger::{ConnectTerms, Event, Ledger, LinkId};

#[derive(Default)]
pub(super) struct QuotaKept {
    links: BTreeMap<LinkId, State>,
}

struct State {
    terms: ConnectTerms,
    open: BTreeSet<u16>,
}

impl Invariant for QuotaKept {
    fn name(&self) -> &'static str {
        "quota_kept"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        match event {
            Event::ConnectSent(link, terms) => {
                let state = State {
                    terms: terms.clone(),
                    open: BTreeSet::new(),
                };
                self.links.insert(*link, state);
            }
            Event::Arrived(link, length) => {
                let max = self.links.get(link).and_then(|s| s.terms.packet_bytes_max);
                if max.is_some_and(|max| *length > max as usize) {
                    return Err(format!("a packet of {length} bytes, {max:?} are allowed"));
                }
            }
            Event::FlowEnded(link, id) => {
                if let Some(state) = self.links.get_mut(link) {
                    state.open.remove(id);
                }
            }
            Event::Received(receipt) => {
                let Some(state) = self.links.get_mut(&receipt.link) else {
                    return Ok(());
                };
                if let Some(alias) = receipt.alias
                    && (alias == 0 || alias > state.terms.alias_maximum.unwrap_or(0))
                {
                    return Err(format!("an alias out of range: {receipt:?}"));
                }
                if receipt.topic.is_none() {
                    return Err(format!("an unknown alias: {receipt:?}"));
                }
                if receipt.identifier_reused || (receipt.repeated && !receipt.dup) {
                    return Err(format!("an identifier that is in use: {receipt:?}"));
                }
                if let Some(id) = receipt.packet_id
                    && !state.open.insert(id)
                {
                    return Err(format!(
                        "an identifier twice on one connection: {receipt:?}"
                    ));
                }
                let theirs = usize::from(state.terms.receive_maximum.unwrap_or(u16::MAX));
                let ours = usize::from(ledger.limits.in_flight_to_client_max);
                if state.open.len() > theirs.min(ours) {
                    let open = state.open.len();
                    return Err(format!(
                        "{open} in flight, of {theirs} and {ours}: {receipt:?}"
                    ));
                }
            }
            Event::Sent(_)
            | Event::Accepted { .. }
            | Event::Closed { .. }
            | Event::Crashed
            | Event::Recovered
            | Event::Asked { .. }
            | Event::Answered { .. }
            | Event::NotClosed(_) => {}
        }
        Ok(())
    }
}
