//! When faults end, everything gets delivered, and nothing is kept that nobody needs.
//!
//! Source: the architecture's list; `Shard::memory_bytes`.
//! Checked: at rest (all clients back, everything acknowledged) no shard holds a byte in queues and outboxes, and no client
//! waits for an answer. At the end, when all clients have come with a clean start and gone, there are no sessions, no
//! connections and no interest in anything. That the world comes to rest at all is watched by `rest.rs`.
//! When: at rest and at the end.

use super::Invariant;
use crate::ledger::Ledger;

pub(super) struct Drains;

impl Invariant for Drains {
    fn name(&self) -> &'static str {
        "drains"
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        for (index, shard) in ledger.shards.iter().enumerate() {
            // Sessions whose clients could not come back keep what is theirs.
            let all_here = ledger
                .actors
                .iter()
                .all(|actor| actor.online_since.is_some() || actor.link.is_none());
            let refused = ledger.counters.connections_refused > 0;
            if shard.memory_bytes != 0 && all_here && !refused {
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
