//! The interest map that the simulated shards share.

use std::collections::BTreeMap;

use martlet_engine::{Interest, InterestKey, Places, prefixes_of};

/// Exact counts of entries by prefix and shard; what is added is visible to all shards at once.
///
/// It also watches its users: removing what was not added stops the run.
#[derive(Debug, Default)]
pub(crate) struct SharedInterest {
    state: cell::Cell,
}

mod cell {
    //! `Interest` has to be `Sync`. A run is single-threaded, so this lock is never contended.
    #[expect(
        clippy::disallowed_types,
        reason = "the trait asks for Sync; never contended"
    )]
    pub(super) type Cell = std::sync::Mutex<super::State>;
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    durable: Counts,
    /// By place.
    changes: BTreeMap<usize, u64>,
}

type Counts = BTreeMap<(String, bool), Vec<u32>>;

impl SharedInterest {
    /// Whether every entry was removed again.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state.lock().expect("one thread");
        state.counts.is_empty() && state.durable.is_empty()
    }

    fn change(&self, key: InterestKey<'_>, what: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().expect("one thread");
        *state.changes.entry(key.place()).or_default() += 1;
        what(&mut state);
    }
}

impl Interest for SharedInterest {
    fn add(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, |state| add(&mut state.counts, key, shard));
    }

    fn remove(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, |state| remove(&mut state.counts, key, shard));
    }

    fn shards(&self, topic: &str) -> u64 {
        mask(&self.state.lock().expect("one thread").counts, topic)
    }

    fn add_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, |state| add(&mut state.durable, key, shard));
    }

    fn remove_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, |state| remove(&mut state.durable, key, shard));
    }

    fn durable_shards(&self, topic: &str) -> u64 {
        mask(&self.state.lock().expect("one thread").durable, topic)
    }

    fn generation(&self) -> u64 {
        let state = self.state.lock().expect("one thread");
        state.changes.values().sum()
    }

    fn changes(&self, places: Places) -> u64 {
        let state = self.state.lock().expect("one thread");
        let changes = |place| state.changes.get(&place).copied().unwrap_or_default();
        places.iter().map(changes).sum()
    }
}

fn add(counts: &mut Counts, key: InterestKey<'_>, shard: usize) {
    let counts = counts
        .entry((key.prefix.to_owned(), key.exact))
        .or_default();
    if counts.len() <= shard {
        counts.resize(shard + 1, 0);
    }
    counts[shard] += 1;
}

fn remove(counts: &mut Counts, key: InterestKey<'_>, shard: usize) {
    let name = (key.prefix.to_owned(), key.exact);
    let all = counts
        .get_mut(&name)
        .expect("an interest that was never added is removed");
    all[shard] = all[shard]
        .checked_sub(1)
        .expect("an interest is removed too often");
    if all.iter().all(|count| *count == 0) {
        counts.remove(&name);
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
