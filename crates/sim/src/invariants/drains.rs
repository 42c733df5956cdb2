//! When faults end, everything gets delivered, and nothing is kept that nobody needs.
//!
//! Source: the architecture's list; `Shard::memory_bytes`.
//! Checked: at rest (all clients back, everything acknowledged) no shard holds a byte in queues and outboxes, and no client
//! waits for an answer; a client that cannot come back was kept out by a bound that counted it. At the end, when all clients have come with a clean start and gone, there are no sessions, no
//! connections and no interest in anything. That the world comes to rest at all is watched by `rest.rs`.
//! When: at rest and at the end.

use super::Invariant;
use crate::ledger::Ledger;
use crate::setup::PROBE;

pub(super) struct Drains;

impl Invariant for Drains {
    fn name(&self) -> &'static str {
        "drains"
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        let away = ledger
            .actors
            .iter()
            .find(|actor| actor.online_since.is_none() && actor.name != PROBE);
        if let Some(actor) = away {
            // Its queue stays. Only a bound can keep it out.
            let counters = &ledger.counters;
            let kept_out = counters.connections_refused + counters.closed_outbox_overflow > 0;
            return if kept_out {
                Ok(())
            } else {
                Err(format!("{} does not get in", actor.name))
            };
        }
        for (index, shard) in ledger.shards.iter().enumerate() {
            if shard.memory_bytes != 0 {
                let bytes = shard.memory_bytes;
                return Err(format!("shard {index} holds {bytes} bytes at rest"));
            }
        }
        Ok(())
    }

    fn at_end(&mut self, ledger: &Ledger) -> Result<(), String> {
        for (index, shard) in ledger.shards.iter().enumerate() {
            if (shard.memory_bytes, shard.connections, shard.sessions) != (0, 0, 0) {
                return Err(format!("shard {index} keeps {shard:?}"));
            }
        }
        if !ledger.interest_is_empty {
            return Err("somebody is still interested in something".into());
        }
        Ok(())
    }
}
