//! Shards that talk to each other, and to a store that has always just synced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use martlet_engine::{
    AllowAll, ConnId, Effects, Interest, InterestKey, Limits, Places, Policy, Record, Shard,
    ShardConfig, StoreConfig, Time, prefixes_of,
};

/// Some shards.
pub struct Shards {
    shards: Vec<Shard>,
    effects: Vec<Effects>,
    now: Time,
}

impl Shards {
    /// New ones.
    pub fn new(count: usize) -> Self {
        let interest = Arc::new(SharedInterest::default());
        let shard = |index| {
            let config = ShardConfig {
                index,
                shard_count: count,
                seed: 1,
                limits: Limits::default(),
                policy: Policy::default(),
                store: Some(StoreConfig {
                    unix_ms_at_zero: 1_700_000_000_000,
                    // Every body stays in memory.
                    body_cache_bytes: usize::MAX,
                    read_ahead_bytes: 1 << 20,
                }),
            };
            let shared: Arc<dyn Interest> = interest.clone();
            Shard::new(config, shared, Box::new(AllowAll))
        };
        Self {
            shards: (0..count).map(shard).collect(),
            effects: (0..count).map(|_| Effects::new(count)).collect(),
            now: Time::from_millis(5),
        }
    }

    /// Gives them these records, and lets them speak until all is quiet.
    pub fn restore<'r>(&mut self, records: impl Iterator<Item = Record<'r>>) {
        let (mut sessions, mut numbers) = (0, 0);
        for record in records {
            let (session, number) = record.counters();
            sessions = sessions.max(session);
            numbers = numbers.max(number);
            match record.slot() {
                Some(slot) => {
                    let shard = usize::from(slot) % self.shards.len();
                    self.shards[shard].restore(&record, None);
                }
                None => self
                    .shards
                    .iter_mut()
                    .for_each(|s| s.restore(&record, None)),
            }
        }
        for (shard, fx) in self.shards.iter_mut().zip(&mut self.effects) {
            shard.restored(
                sessions.saturating_add(1),
                numbers.saturating_add(1),
                self.now,
                fx,
            );
        }
        self.settle();
        assert!(self.shards.iter().all(|shard| !shard.is_recovering()));
    }

    /// Whatever falls due in this time.
    pub fn wait_s(&mut self, seconds: u32) {
        self.now = self.now.plus_secs(seconds);
        for (shard, fx) in self.shards.iter_mut().zip(&mut self.effects) {
            shard.on_timer(self.now, fx);
        }
        self.settle();
    }

    /// A client sends this to a shard, all at once.
    pub fn bytes(&mut self, shard: usize, bytes: &[u8]) {
        let at = shard % self.shards.len();
        let (shard, fx) = (&mut self.shards[at], &mut self.effects[at]);
        let Some(conn) = shard.on_open(self.now, fx) else {
            return;
        };
        let taken = shard.on_bytes(conn, bytes, self.now, fx);
        let over = fx.closed.iter().any(|closed| closed.conn == conn)
            || fx.handovers.iter().any(|handover| handover.conn == conn);
        assert!(taken <= bytes.len());
        self.settle();
        if !over {
            self.read(at, conn);
        }
    }

    /// All that a client is written.
    fn read(&mut self, at: usize, conn: ConnId) {
        let Some(outbox) = self.shards[at].outbox(conn) else {
            return;
        };
        let count = outbox.writable_len();
        outbox.advance(count);
        self.shards[at].on_flushed(conn, self.now, &mut self.effects[at]);
        self.settle();
    }

    /// A checkpoint of every slot, as records.
    pub fn checkpoint(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for slot in 0..=u8::MAX {
            let at = usize::from(slot) % self.shards.len();
            let fx = &mut self.effects[at];
            self.shards[at].checkpoint_slot(slot, self.now, fx);
            if let Some((ticket, batch)) = fx.store.take(Vec::new()) {
                all.extend(batch);
                self.shards[at].on_store_done(ticket, self.now, &mut self.effects[at]);
            }
        }
        all
    }

    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut quiet = true;
            for at in 0..self.shards.len() {
                let fx = &mut self.effects[at];
                fx.dirty.clear();
                fx.closed.clear();
                fx.resumed.clear();
                fx.handovers.clear();
                fx.connected.clear();
                if let Some((ticket, _)) = fx.store.take(Vec::new()) {
                    quiet = false;
                    self.shards[at].on_store_done(ticket, self.now, &mut self.effects[at]);
                }
                for to in 0..self.shards.len() {
                    let mut batch = std::mem::take(&mut self.effects[at].peers[to]);
                    if !batch.is_empty() {
                        quiet = false;
                        let (shard, fx) = (&mut self.shards[to], &mut self.effects[to]);
                        shard.on_peer_batch(at, &mut batch, self.now, fx);
                    }
                }
            }
            if quiet {
                return;
            }
        }
        panic!("shards do not come to rest");
    }
}

/// Exact counts of entries; what is removed must have been added.
#[derive(Debug, Default)]
struct SharedInterest {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    any: Counts,
    durable: Counts,
    generation: u64,
}

type Counts = BTreeMap<(String, bool), [u32; 8]>;

impl SharedInterest {
    fn change(&self, durable: bool, key: InterestKey<'_>, shard: usize, more: bool) {
        let mut state = self.state.lock().unwrap();
        state.generation += 1;
        let counts = if durable {
            &mut state.durable
        } else {
            &mut state.any
        };
        let entry = counts
            .entry((key.prefix.to_owned(), key.exact))
            .or_default();
        entry[shard] = if more {
            entry[shard] + 1
        } else {
            entry[shard].checked_sub(1).expect("removed too often")
        };
    }
}

impl Interest for SharedInterest {
    fn add(&self, key: InterestKey<'_>, shard: usize) {
        self.change(false, key, shard, true);
    }

    fn remove(&self, key: InterestKey<'_>, shard: usize) {
        self.change(false, key, shard, false);
    }

    fn shards(&self, topic: &str) -> u64 {
        mask(&self.state.lock().unwrap().any, topic)
    }

    fn add_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.change(true, key, shard, true);
    }

    fn remove_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.change(true, key, shard, false);
    }

    fn durable_shards(&self, topic: &str) -> u64 {
        mask(&self.state.lock().unwrap().durable, topic)
    }

    fn generation(&self) -> u64 {
        self.state.lock().unwrap().generation
    }

    /// As if each change concerned all topics.
    fn changes(&self, _: Places) -> u64 {
        self.generation()
    }
}

fn mask(counts: &Counts, topic: &str) -> u64 {
    let mut mask = 0;
    for key in prefixes_of(topic) {
        let counts = counts.get(&(key.prefix.to_owned(), key.exact));
        for (shard, count) in counts.into_iter().flatten().enumerate() {
            mask |= u64::from(*count > 0) << shard;
        }
    }
    mask
}

const ROUNDS_MAX: usize = 10_000;
