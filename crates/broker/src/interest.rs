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
use hashbrown::HashMap;
use martlet_engine::{Interest, InterestKey, prefixes_of};
use parking_lot::RwLock;

/// The shared map.
#[derive(Debug)]
pub(crate) struct SharedInterest {
    stripes: Vec<RwLock<HashMap<Box<str>, Entry, FixedState>>>,
    hasher: FixedState,
    /// Counts changes of answers: what was looked up before is valid while this stands still.
    generation: AtomicU64,
}

impl SharedInterest {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            stripes: (0..STRIPES)
                .map(|_| RwLock::new(HashMap::with_hasher(hasher.clone())))
                .collect(),
            hasher,
            generation: AtomicU64::new(0),
        }
    }

    fn stripe(&self, prefix: &str) -> Option<&RwLock<HashMap<Box<str>, Entry, FixedState>>> {
        // The upper bits: the map inside uses the lower ones.
        let hash = self.hasher.hash_one(prefix) >> 32;
        let index = usize::try_from(hash).unwrap_or_default() % STRIPES;
        self.stripes.get(index)
    }

    fn found(&self, key: InterestKey<'_>, mask: impl Fn(&Entry, bool) -> u64) -> u64 {
        let Some(stripe) = self.stripe(key.prefix) else {
            return 0;
        };
        let map = stripe.read();
        map.get(key.prefix)
            .map_or(0, |entry| mask(entry, key.exact))
    }
}

impl Interest for SharedInterest {
    fn add(&self, key: InterestKey<'_>, shard: usize) {
        let Some(stripe) = self.stripe(key.prefix) else {
            return;
        };
        let mut map = stripe.write();
        let entry = map.entry_ref(key.prefix).or_default();
        let appeared = entry.counts(key.exact).add(shard);
        drop(map);
        // Behind the change: whoever sees the new generation sees the new entry.
        if appeared {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn remove(&self, key: InterestKey<'_>, shard: usize) {
        let Some(stripe) = self.stripe(key.prefix) else {
            return;
        };
        let mut map = stripe.write();
        let Some(entry) = map.get_mut(key.prefix) else {
            return;
        };
        let vanished = entry.counts(key.exact).remove(shard);
        if entry.is_empty() {
            map.remove(key.prefix);
        }
        drop(map);
        if vanished {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn shards(&self, topic: &str) -> u64 {
        prefixes_of(topic).fold(0, |mask, key| mask | self.found(key, Entry::mask))
    }

    fn add_durable(&self, key: InterestKey<'_>, shard: usize) {
        let Some(stripe) = self.stripe(key.prefix) else {
            return;
        };
        let mut map = stripe.write();
        let entry = map.entry_ref(key.prefix).or_default();
        let appeared = entry
            .durable
            .get_or_insert_default()
            .counts(key.exact)
            .add(shard);
        drop(map);
        if appeared {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn remove_durable(&self, key: InterestKey<'_>, shard: usize) {
        let Some(stripe) = self.stripe(key.prefix) else {
            return;
        };
        let mut map = stripe.write();
        let Some(entry) = map.get_mut(key.prefix) else {
            return;
        };
        let Some(durable) = &mut entry.durable else {
            return;
        };
        let vanished = durable.counts(key.exact).remove(shard);
        if durable.is_empty() {
            entry.durable = None;
        }
        if entry.is_empty() {
            map.remove(key.prefix);
        }
        drop(map);
        if vanished {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn durable_shards(&self, topic: &str) -> u64 {
        prefixes_of(topic).fold(0, |mask, key| mask | self.found(key, Entry::durable_mask))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

/// Who is interested in one prefix.
#[derive(Debug, Default)]
struct Entry {
    all: Both,
    /// Those with a durable subscription. Apart, because most prefixes have none.
    durable: Option<Box<Both>>,
}

impl Entry {
    const fn mask(&self, exact: bool) -> u64 {
        self.all.mask(exact)
    }

    fn durable_mask(&self, exact: bool) -> u64 {
        self.durable.as_ref().map_or(0, |both| both.mask(exact))
    }

    const fn counts(&mut self, exact: bool) -> &mut Counts {
        self.all.counts(exact)
    }

    const fn is_empty(&self) -> bool {
        self.all.is_empty() && self.durable.is_none()
    }
}

/// By the two kinds of filters that a prefix is the literal part of.
#[derive(Debug, Default)]
struct Both {
    /// By filters without wildcards: in this topic only.
    exact: Counts,
    /// By filters whose first wildcard comes behind the prefix.
    below: Counts,
}

impl Both {
    const fn is_empty(&self) -> bool {
        self.exact.mask == 0 && self.below.mask == 0
    }

    const fn mask(&self, exact: bool) -> u64 {
        if exact {
            self.exact.mask
        } else {
            self.below.mask
        }
    }

    const fn counts(&mut self, exact: bool) -> &mut Counts {
        if exact {
            &mut self.exact
        } else {
            &mut self.below
        }
    }
}

/// How many subscriptions each shard has here.
#[derive(Debug, Default)]
struct Counts {
    /// Shards with a count above 0.
    mask: u64,
    /// Sorted by shard; most prefixes concern one shard.
    by_shard: Vec<(u8, u32)>,
}

impl Counts {
    /// Returns whether the shard is new here.
    fn add(&mut self, shard: usize) -> bool {
        let Ok(number) = u8::try_from(shard) else {
            return false;
        };
        match self.by_shard.binary_search_by_key(&number, |(of, _)| *of) {
            Ok(at) => {
                if let Some((_, count)) = self.by_shard.get_mut(at) {
                    *count += 1;
                }
                false
            }
            Err(at) => {
                self.by_shard.insert(at, (number, 1));
                self.mask |= bit(shard);
                true
            }
        }
    }

    /// Returns whether the shard is gone from here.
    fn remove(&mut self, shard: usize) -> bool {
        let of_shard = |(of, _): &(u8, u32)| usize::from(*of) == shard;
        let Some(at) = self.by_shard.iter().position(of_shard) else {
            return false;
        };
        if let Some((_, count)) = self.by_shard.get_mut(at)
            && *count > 1
        {
            *count -= 1;
            return false;
        }
        self.by_shard.remove(at);
        self.mask &= !bit(shard);
        true
    }
}

/// The place of a shard in a mask; shards beyond 64 do not exist.
fn bit(shard: usize) -> u64 {
    u32::try_from(shard).map_or(0, |shift| 1_u64.checked_shl(shift).unwrap_or(0))
}

/// Locks of the map. Far more than threads, so that two rarely want the same one.
const STRIPES: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use martlet_codec::topic_matches;
    use martlet_engine::{Interest, InterestKey};

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
        let before = map.generation();
        map.add_durable(key("a/+"), 1);
        map.add_durable(key("a/b"), 0);
        map.add_durable(key("a/b"), 0);
        assert_ne!(map.generation(), before);
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
    fn the_generation_moves_only_when_an_answer_changes() {
        let map = SharedInterest::new(1);
        let start = map.generation();
        map.add(key("a"), 0);
        let after_first = map.generation();
        assert_ne!(after_first, start);
        map.add(key("a"), 0);
        map.remove(key("a"), 0);
        map.remove(key("b"), 0);
        assert_eq!(map.generation(), after_first);
        map.remove(key("a"), 0);
        assert_ne!(map.generation(), after_first);
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
    fn a_reader_that_sees_the_generation_sees_the_entry() {
        let map = SharedInterest::new(1);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..2_000 {
                    map.add(key("a/b"), round % 64);
                }
                done.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            let mut seen = (map.generation(), map.shards("a/b"));
            loop {
                let finished = done.load(std::sync::atomic::Ordering::SeqCst);
                let generation = map.generation();
                let shards = map.shards("a/b");
                assert!(shards.count_ones() >= u32::try_from(generation).unwrap());
                assert!(generation >= seen.0 && shards & seen.1 == seen.1);
                seen = (generation, shards);
                if finished {
                    break;
                }
            }
            assert_eq!(seen, (64, u64::MAX));
        });
    }
}
