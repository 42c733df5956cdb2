//! Every bound of `Limits` holds at every moment.
//!
//! Source: `limits.rs` of the engine.
//! Checked: connections, sessions and retained messages per shard; each outbox (up to one packet beyond its hard limit, in which the
//! connection is closed); all memory of a shard by what its queues and outboxes may hold together.
//! That each bound is hit, and its counter moves, is shown by `tests/bounds.rs`.
//! When: after each step.

use super::Invariant;
use crate::ledger::Ledger;

pub(super) struct BoundedMemory;

impl Invariant for BoundedMemory {
    fn name(&self) -> &'static str {
        "bounded_memory"
    }

    fn on_step(&mut self, ledger: &Ledger) -> Result<(), String> {
        let limits = &ledger.limits;
        for (index, shard) in ledger.shards.iter().enumerate() {
            let sessions = limits.session_queue_bytes_max + FLIGHT_BYTES_MAX;
            let outboxes = limits.outbox_bytes_hard_max + PACKET_BYTES_MAX;
            let memory = (shard.sessions * sessions)
                .saturating_add(shard.connections * outboxes)
                .saturating_add(GROUPS_MAX * limits.group_queue_bytes_max);
            let bounds = [
                ("connections", shard.connections, limits.connections_max),
                ("sessions", shard.sessions, limits.sessions_max),
                (
                    "retained messages",
                    shard.retained,
                    limits.retained_messages_max,
                ),
                ("bytes in an outbox", shard.outbox_bytes, outboxes),
                ("bytes", shard.memory_bytes, memory),
            ];
            for (what, is, bound) in bounds {
                if is > bound {
                    return Err(format!("{is} {what} on shard {index}, {bound} are allowed"));
                }
            }
        }
        Ok(())
    }
}

/// More than any packet of a run, and than any outbox may be over its limit.
const PACKET_BYTES_MAX: usize = 4_000;
/// Messages in flight are not in a queue: 64 of them.
const FLIGHT_BYTES_MAX: usize = 64 * PACKET_BYTES_MAX;
/// Shared subscriptions that clients of a run ask for.
const GROUPS_MAX: usize = 23;
