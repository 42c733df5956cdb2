//! The broker's process: it starts with any number of shards, and ends without being asked.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use martlet_engine::{AllowAll, Effects, Interest, Shard, ShardConfig, StoreConfig, Time};

use super::World;
use crate::disk::Crash;
use crate::interest::SharedInterest;
use crate::ledger::{Event, ShardFact};
use crate::link::Place;

impl World {
    /// New shards that know nothing, with a clock that begins anew.
    pub(super) fn start_shards(&mut self, count: usize) {
        let interest = Arc::new(SharedInterest::default());
        if self.incarnation > 0 {
            self.clock_zero = Time::from_millis(self.ledger.now.as_millis() - FIRST_MOMENT_MS);
        }
        let unix_ms_at_zero = UNIX_MS + self.clock_zero.as_millis();
        let store = self.storage.is_some();
        self.shards = (0..count)
            .map(|index| {
                let config = ShardConfig {
                    index,
                    shard_count: count,
                    seed: self.seed.wrapping_add(self.incarnation),
                    limits: self.setup.limits.clone(),
                    policy: self.setup.policy.clone(),
                    store: store.then_some(StoreConfig {
                        unix_ms_at_zero,
                        body_cache_bytes: self.body_cache_bytes(),
                        read_ahead_bytes: self.read_ahead_bytes(),
                    }),
                };
                let shared: Arc<dyn Interest> = interest.clone();
                Shard::new(config, shared, Box::new(AllowAll))
            })
            .collect();
        self.incarnation += 1;
        self.interest = interest;
        self.effects = (0..count).map(|_| Effects::new(count)).collect();
        self.mail = (0..count)
            .map(|_| (0..count).map(|_| VecDeque::new()).collect())
            .collect();
        self.held_mail.clear();
        self.conns.clear();
        self.pending_writes = vec![BTreeSet::new(); count];
        self.resumed.clear();
        self.forget_questions();
        if let Some(storage) = &mut self.storage {
            storage.begin(count);
        }
        self.ledger.shards = vec![ShardFact::default(); count];
    }

    /// In most runs nearly every body that waits is in the store only.
    pub(super) const fn body_cache_bytes(&self) -> usize {
        match self.seed % 4 {
            0 => usize::MAX,
            1 => 500,
            _ => 0,
        }
    }

    /// In some of them even what was read is forgotten at once if it cannot be sent.
    pub(super) const fn read_ahead_bytes(&self) -> usize {
        match self.seed % 3 {
            0 => 1 << 20,
            1 => 400,
            _ => 0,
        }
    }

    /// The time on the clock of this process.
    pub(crate) fn shard_now(&self) -> Time {
        Time::from_millis(self.ledger.now.as_millis() - self.clock_zero.as_millis())
    }

    /// Shards, mailboxes and connections are gone. Clients read what was written to them, or a part of it, and then the end.
    pub(super) fn end_process(&mut self, how: Crash) {
        for shard in &self.shards {
            self.past += *shard.counters();
        }
        self.shards.clear();
        self.ledger.crashed(self.next_link);
        self.ledger.events.push(Event::Crashed);
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            link.place = Place::Closed;
            link.up.clear();
            link.unread.clear();
            if how == Crash::Power {
                let kept = self.rng.below(link.down.len() + 1);
                link.down.truncate(kept);
            }
            self.unprocessed.remove(&id);
            self.forget_if_over(id);
        }
    }
}

/// A process's clock does not begin at 0 exactly.
const FIRST_MOMENT_MS: u64 = 5;
/// The wall clock when the world's is 0.
const UNIX_MS: u64 = 1_700_000_000_000;
