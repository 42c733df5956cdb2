//! Which shards may have somebody for a topic: the one map that all shards of a process share.
//!
//! A subscription is entered under the *literal prefix* of its filter (the levels before the first wildcard), a
//! publish looks up its own topic and each of its prefixes. The answer may say yes too often (`a/+/x` is found for
//! `a/b/y`), never no wrongly. Written by SUBSCRIBE and UNSUBSCRIBE, read by a publish whose route is not cached.
//!
//! The map is cut into stripes with a lock each. A shard takes one lock at a time, for one hash lookup, and only
//! when its route cache has no answer.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use martlet_engine::{Interest, InterestKey, Places, prefixes_of};
use parking_lot::RwLock;

use entry::{Interested, Who};

mod entry;

/// The shared map.
#[derive(Debug)]
pub(crate) struct SharedInterest {
    stripes: Vec<RwLock<Stripe>>,
    hasher: FixedState,
    /// Counts changes of answers by place: what was looked up before is valid while those of its topic stand still.
    changes: Box<[AtomicU64]>,
    /// Counts all of them.
    generation: AtomicU64,
}

/// Prefixes and who is interested in them.
type Stripe = HashTable<(Box<str>, Interested)>;

impl SharedInterest {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| RwLock::default()).collect(),
            hasher: FixedState::with_seed(seed),
            changes: (0..Places::COUNT).map(|_| AtomicU64::new(0)).collect(),
            generation: AtomicU64::new(0),
        }
    }

    /// The stripe of a prefix, and its hash.
    fn stripe(&self, prefix: &str) -> Option<(&RwLock<Stripe>, u64)> {
        let hash = self.hasher.hash_one(prefix);
        // Bits from the middle: the table uses the lowest and the highest ones.
        let index = usize::try_from(hash >> 32).unwrap_or_default() % STRIPES;
        Some((self.stripes.get(index)?, hash))
    }

    fn change(&self, key: InterestKey<'_>, shard: usize, who: Who, is_more: bool) {
        let (Some((stripe, hash)), Ok(shard)) = (self.stripe(key.prefix), u8::try_from(shard))
        else {
            return;
        };
        let mut table = stripe.write();
        let same = |(prefix, _): &(Box<str>, _)| **prefix == *key.prefix;
        let rehash = |(prefix, _): &(Box<str>, _)| self.hasher.hash_one(&**prefix);
        let changed = match table.entry(hash, same, rehash) {
            Entry::Occupied(mut entry) if is_more => entry.get_mut().1.add(shard, key.exact, who),
            Entry::Occupied(mut entry) => {
                let (_, interested) = entry.get_mut();
                let vanished = interested.remove(shard, key.exact, who);
                if interested.is_empty() {
                    entry.remove();
                }
                vanished
            }
            Entry::Vacant(_) if !is_more => false,
            Entry::Vacant(entry) => {
                let mut interested = Interested::Nobody;
                interested.add(shard, key.exact, who);
                entry.insert((key.prefix.into(), interested));
                true
            }
        };
        drop(table);
        // Behind the change: whoever sees it counted sees the new entry.
        if changed {
            if let Some(changes) = self.changes.get(key.place()) {
                changes.fetch_add(1, Ordering::SeqCst);
            }
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn found(&self, key: InterestKey<'_>, who: Who) -> u64 {
        let Some((stripe, hash)) = self.stripe(key.prefix) else {
            return 0;
        };
        let table = stripe.read();
        let found = table.find(hash, |(prefix, _)| **prefix == *key.prefix);
        found.map_or(0, |(_, interested)| interested.mask(key.exact, who))
    }
}

impl Interest for SharedInterest {
    fn add(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, shard, Who::All, true);
    }

    fn remove(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, shard, Who::All, false);
    }

    fn shards(&self, topic: &str) -> u64 {
        prefixes_of(topic).fold(0, |mask, key| mask | self.found(key, Who::All))
    }

    fn add_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, shard, Who::Durable, true);
    }

    fn remove_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.change(key, shard, Who::Durable, false);
    }

    fn durable_shards(&self, topic: &str) -> u64 {
        prefixes_of(topic).fold(0, |mask, key| mask | self.found(key, Who::Durable))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn changes(&self, places: Places) -> u64 {
        let places = places.iter().filter_map(|place| self.changes.get(place));
        places.map(|changes| changes.load(Ordering::SeqCst)).sum()
    }
}

/// Locks of the map. Far more than threads, so that two rarely want the same one.
const STRIPES: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use martlet_codec::topic_matches;
    use martlet_engine::{Interest, InterestKey, Places};

    use super::SharedInterest;

    fn key(filter: &str) -> InterestKey<'_> {
        InterestKey::of_filter(filter)
    }

    #[test]
    fn a_topic_finds_the_shards_whose_filters_match_it() {
        let map = SharedInterest::new(1);
        map.add(key("a/b"), 0);
        map.add(key("a/+"), 1);
        map.add(key("a/b/#"), 2);
        map.add(key("#"), 3);
        map.add(key("+/b"), 63);
        let all = 1 << 3 | 1 << 63;
        assert_eq!(map.shards("a/b"), 1 | 1 << 1 | 1 << 2 | all);
        assert_eq!(map.shards("a"), 1 << 1 | all);
        assert_eq!(map.shards("a/b/c"), 1 << 1 | 1 << 2 | all);
        assert_eq!(map.shards("x"), all);
        assert_eq!(map.shards("ab/b"), all, "a prefix ends at a level");
    }

    //= mqtt5 4.7.2-1 test
    //= mqtt311 4.7.2-1 test
    #[test]
    fn dollar_topics_are_not_offered_to_leading_wildcards() {
        let map = SharedInterest::new(1);
        map.add(key("#"), 0);
        map.add(key("$SYS/#"), 1);
        assert_eq!(map.shards("$SYS/uptime"), 1 << 1);
    }

    #[test]
    fn durable_subscriptions_have_a_mask_of_their_own() {
        let map = SharedInterest::new(1);
        for (filter, shard) in [("a/b", 0), ("a/+", 1), ("a/#", 2)] {
            map.add(key(filter), shard);
        }
        assert_eq!(map.durable_shards("a/b"), 0);
        let before = map.changes(Places::of_topic("a/c"));
        map.add_durable(key("a/+"), 1);
        map.add_durable(key("a/b"), 0);
        map.add_durable(key("a/b"), 0);
        assert_ne!(map.changes(Places::of_topic("a/c")), before);
        assert_eq!(map.shards("a/b"), 0b111);
        assert_eq!(map.durable_shards("a/b"), 0b011);
        assert_eq!(map.durable_shards("a/c"), 0b010);
        map.remove_durable(key("a/b"), 0);
        assert_eq!(map.durable_shards("a/b"), 0b011, "there is another");
        map.remove_durable(key("a/b"), 0);
        map.remove_durable(key("a/+"), 1);
        assert_eq!(map.durable_shards("a/b"), 0);
        assert_eq!(map.shards("a/b"), 0b111);
        for (filter, shard) in [("a/b", 0), ("a/+", 1), ("a/#", 2)] {
            map.remove(key(filter), shard);
        }
        assert!(map.stripes.iter().all(|stripe| stripe.read().is_empty()));
    }

    #[test]
    fn a_shard_is_gone_with_its_last_subscription() {
        let map = SharedInterest::new(1);
        map.add(key("a/+"), 5);
        map.add(key("a/#"), 5);
        map.add(key("a"), 5);
        map.remove(key("a/+"), 5);
        assert_eq!(map.shards("a/b"), 1 << 5);
        map.remove(key("a/#"), 5);
        assert_eq!(map.shards("a/b"), 0);
        assert_eq!(map.shards("a"), 1 << 5, "exact and below are counted apart");
        map.remove(key("a"), 5);
        map.remove(key("a"), 5);
        assert_eq!(map.shards("a"), 0);
        assert!(map.stripes.iter().all(|stripe| stripe.read().is_empty()));
    }

    #[test]
    fn changes_are_counted_only_if_an_answer_is_another_one() {
        let map = SharedInterest::new(1);
        let counted = || map.changes(Places::of_topic("a"));
        let start = counted();
        map.add(key("a"), 0);
        let after_first = counted();
        assert_ne!(after_first, start);
        map.add(key("a"), 0);
        map.remove(key("a"), 0);
        map.remove(key("b"), 0);
        assert_eq!(counted(), after_first);
        map.add(key("b/#"), 0);
        assert_eq!(counted(), after_first, "another topic's");
        map.remove(key("a"), 0);
        assert_ne!(counted(), after_first);
    }

    /// The map may say yes too often, never no wrongly: checked against the reference rule.
    #[test]
    fn no_matching_shard_is_ever_missed() {
        let levels = ["", "a", "b", "$x"];
        let mut topics = Vec::new();
        let mut filters = vec!["#".to_owned(), "+".to_owned(), "+/#".to_owned()];
        for first in levels {
            topics.push(first.to_owned());
            for second in levels {
                topics.push(format!("{first}/{second}"));
                filters.push(format!("{first}/{second}"));
                filters.push(format!("{first}/{second}/#"));
                filters.push(format!("{first}/+/{second}"));
                filters.push(format!("+/{second}"));
                for third in levels {
                    topics.push(format!("{first}/{second}/{third}"));
                }
            }
            filters.push(format!("{first}/#"));
        }
        topics.retain(|topic| !topic.is_empty());
        for filter in &filters {
            let map = SharedInterest::new(7);
            map.add(key(filter), 1);
            for topic in topics.iter().filter(|topic| topic_matches(filter, topic)) {
                assert_eq!(map.shards(topic), 1 << 1, "{filter} {topic}");
            }
        }
    }

    #[test]
    fn a_reader_that_sees_a_change_counted_sees_the_entry() {
        let map = SharedInterest::new(1);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..2_000 {
                    map.add(key("a/b"), round % 64);
                }
                done.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            let counted = || map.changes(Places::of_topic("a/b"));
            let mut seen = (counted(), map.shards("a/b"));
            loop {
                let finished = done.load(std::sync::atomic::Ordering::SeqCst);
                let generation = map.generation();
                let changes = counted();
                assert!(changes >= generation, "counted for all behind its place");
                let shards = map.shards("a/b");
                assert!(shards.count_ones() >= u32::try_from(changes).unwrap());
                assert!(changes >= seen.0 && shards & seen.1 == seen.1);
                seen = (changes, shards);
                if finished {
                    break;
                }
            }
            assert_eq!(seen, (64, u64::MAX));
        });
    }
}
