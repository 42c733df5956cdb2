//! Durability: what waits for the store, and what comes back after a crash.

mod cold;
mod flows;
mod groups;
mod parts;
mod random;
mod restoring;
mod runs;
mod waiting;
mod wills;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{Ack, Packet, PacketId, Properties, ReasonCode};

use super::world::{Client, World};
use crate::{BodyChange, Limits, Policy, Record, Records, StorePressure};

/// A wall clock of 2023.
const ZERO: u64 = 1_700_000_000_000;

fn durable(shard_count: usize) -> World {
    World::with_store(
        shard_count,
        &Limits::default(),
        &Policy::default(),
        Some(ZERO),
    )
}

/// The same, where batches wait until the test says that they are stable.
fn durable_and_held() -> World {
    let mut world = durable(1);
    world.store.held = true;
    world
}

impl World {
    /// Crashes, and comes back `after_ms` later with the first `batches` batches.
    fn crash(&self, batches: usize, shard_count: usize, after_ms: u64) -> Self {
        let clock = 5_000;
        let wall = self.store.zero.unwrap() + self.now.as_millis() + after_ms;
        let (limits, policy) = self.rules();
        let mut next = Self::with_store(shard_count, limits, policy, Some(wall - clock));
        next.now = crate::Time::from_millis(clock);
        let log = &self.store.log[..batches];
        let mut counters = (0, 0);
        for (_, _, batch) in log {
            for record in Records::new(batch).map(Result::unwrap) {
                let (sessions, numbers) = record.counters();
                counters = (counters.0.max(sessions), counters.1.max(numbers));
                if let Some(slot) = record.slot() {
                    next.shards[usize::from(slot) % shard_count].restore(&record, None);
                } else {
                    let shards = next.shards.iter_mut();
                    shards.for_each(|shard| shard.restore(&record, None));
                }
            }
        }
        next.store.log = log.to_vec();
        next.store.stable = batches;
        for shard in 0..shard_count {
            let now = next.now;
            let (shard, fx) = next.shard_and_effects(shard);
            shard.restored(counters.0 + 1, counters.1 + 1, now, fx);
        }
        next.run();
        assert!(next.shards.iter().all(|shard| !shard.is_recovering()));
        next.advance(0);
        next
    }

    /// As [`World::crash`], with everything that was written, at once and with as many shards.
    fn crash_now(&self) -> Self {
        self.crash(self.store.log.len(), self.shards.len(), 0)
    }

    /// Every slot writes itself again.
    fn checkpoint(&mut self) {
        for slot in 0..=u8::MAX {
            let now = self.now;
            let (shard, fx) = self.shard_and_effects(usize::from(slot) % self.shards.len());
            shard.checkpoint_slot(slot, now, fx);
        }
        self.run();
    }

    fn pressure(&mut self, pressure: StorePressure) {
        for shard in 0..self.shards.len() {
            let now = self.now;
            let (shard, fx) = self.shard_and_effects(shard);
            shard.on_store_pressure(pressure, now, fx);
        }
        self.run();
    }

    /// All records so far, without their batches.
    fn records(&self) -> Vec<String> {
        let batches = self.store.log.iter();
        batches
            .flat_map(|(_, _, batch)| Records::new(batch).map(|r| std::format!("{:?}", r.unwrap())))
            .collect()
    }

    /// How many references to each body there are; those that a checkpoint repeats are the ones that there were.
    fn references(&self) -> BTreeMap<u64, i64> {
        let mut count = BTreeMap::new();
        for (_, _, batch) in &self.store.log {
            let mut in_checkpoint = false;
            for record in Records::new(batch).map(Result::unwrap) {
                in_checkpoint |= matches!(record, Record::SlotBegin { .. });
                in_checkpoint &= !matches!(record, Record::SlotEnd { .. });
                if in_checkpoint {
                    continue;
                }
                {
                    {
                        for change in record.body_change().into_iter().flatten() {
                            match change {
                                BodyChange::Referred(id) => {
                                    *count.entry(id.as_u64()).or_default() += 1;
                                }
                                BodyChange::Let(id) => *count.entry(id.as_u64()).or_default() -= 1,
                            }
                        }
                    }
                }
            }
        }
        count.retain(|_, count| *count != 0);
        count
    }

    fn ack(&mut self, client: Client, kind: fn(Ack<'static>) -> Packet<'static>, id: u16) {
        let ack = Ack {
            packet_id: PacketId::new(id).unwrap(),
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        self.send(client, &kind(ack));
    }
}
