//! Where messages of a topic go, remembered as long as no subscription changes that may match it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::hash::BuildHasher;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use martlet_codec::QoS;

use crate::collections::slab::Key;
use crate::message::Topic;
use crate::packets::ahead::AHEAD_MAX;
use crate::routing::places::Places;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::shard::{Shard, Subscriber};

/// Where messages of one topic go.
#[derive(Debug)]
pub(crate) struct Route {
    topic: Box<str>,
    /// Of the topic, as all shards have it.
    pub(crate) hash: u64,
    places: Places,
    /// Of the subscriptions and of the interest map, when the route was computed.
    changes: u64,
    /// All changes of both when the route was last found to be right: mostly nothing has changed since.
    checked: AtomicU64,
    /// Sessions with one matching subscription, which asks for nothing of its own: with its QoS and its Retain As
    /// Published. Nearly all.
    pub(crate) plain: Vec<(Key, QoS, bool)>,
    /// The others, sorted by subscriber, so that the subscriptions of one stand together.
    pub(crate) targets: Box<[(Subscriber, SubscriptionOptions)]>,
    /// Shards that may match, this one included.
    pub(crate) mask: u64,
    /// Of these, the ones where that may have to be stored; none if there is no store.
    pub(crate) durable: u64,
    /// There are `plain` sessions here, or other shards, and nobody else; or one shared subscription of this shard and nobody
    /// else at all. Messages to there may be taken in runs.
    pub(crate) takes_runs: bool,
}

impl Route {
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = Subscriber> {
        let plain = self.plain.iter().map(|(key, ..)| Subscriber::Session(*key));
        plain.chain(self.targets.iter().map(|(subscriber, _)| *subscriber))
    }

    /// The shared subscription that gets everything here, if nobody else here gets anything.
    pub(crate) fn only_group(&self) -> Option<Key> {
        match &*self.targets {
            [(Subscriber::Group(group), _)] if self.plain.is_empty() => Some(*group),
            _ => None,
        }
    }

    /// All matching subscriptions; those of one subscriber stand together.
    pub(crate) fn everybody(&self) -> Vec<(Subscriber, SubscriptionOptions)> {
        let plain = self.plain.iter().map(|(key, qos, retain_as_published)| {
            let options = SubscriptionOptions {
                qos: *qos,
                no_local: false,
                retain_as_published: *retain_as_published,
                subscription_id: 0,
            };
            (Subscriber::Session(*key), options)
        });
        plain.chain(self.targets.iter().copied()).collect()
    }

    /// Other shards where a message may have to be stored.
    pub(crate) const fn durable_elsewhere(&self, here: usize) -> u64 {
        self.mask & self.durable & !(1 << here)
    }
}

/// Routes by topic. Each is valid as long as no subscription changes that may match it; a wrong one is replaced when it is asked
/// for.
///
/// One that is asked for again is marked. When there is no room for another one, what has no mark is forgotten, and the marks
/// are taken off: topics in use stay, and they cost one look-up each while all of them fit.
#[derive(Debug)]
pub(crate) struct RouteCache {
    routes: HashTable<Entry>,
    hasher: foldhash::fast::FixedState,
}

#[derive(Debug)]
struct Entry {
    /// Of the topic: who is another one's mostly shows here, without a look at the route.
    hash: u64,
    route: Arc<Route>,
    /// Asked for since there was no room the last time.
    is_used: Cell<bool>,
}

impl Entry {
    fn is_of(&self, hash: u64, topic: &[u8]) -> bool {
        self.hash == hash && self.route.topic.as_bytes() == topic
    }

    fn give(&self) -> Arc<Route> {
        self.is_used.set(true);
        self.route.clone()
    }
}

impl RouteCache {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            routes: HashTable::new(),
            hasher: foldhash::fast::FixedState::with_seed(seed),
        }
    }

    pub(crate) fn hash(&self, topic: &[u8]) -> u64 {
        self.hasher.hash_one(topic)
    }

    fn get(&self, hash: u64, topic: &[u8]) -> Option<Arc<Route>> {
        let entry = self.routes.find(hash, |entry| entry.is_of(hash, topic))?;
        Some(entry.give())
    }

    /// Appends the routes of these topics to `found`, up to the first one that is not there: who is there was accepted before.
    /// They may be wrong now.
    ///
    /// Each route is in far memory, and so are its topic and its receivers. So all are asked for the same thing, one behind the other,
    /// before any is asked for the next thing; and nobody is counted as a holder before, since the processor waits with
    /// everything behind it until that has been done.
    pub(crate) fn known(&self, asked: &[(&[u8], u64)], found: &mut Vec<Arc<Route>>) {
        let mut entries = [None; AHEAD_MAX];
        for (entry, (_, hash)) in entries.iter_mut().zip(asked) {
            *entry = self.routes.find(*hash, |entry| entry.hash == *hash);
        }
        let mut seen = 0;
        for entry in entries.iter().flatten() {
            let route = &*entry.route;
            let receiver = route.plain.first().map_or(0, |(key, ..)| key.index);
            seen ^= receiver ^ u32::from(route.topic.as_bytes().first().copied().unwrap_or(0));
        }
        black_box(seen);
        for (entry, (topic, hash)) in entries.iter().zip(asked) {
            match entry {
                Some(entry) if entry.is_of(*hash, topic) => found.push(entry.give()),
                Some(_) | None => break,
            }
        }
    }

    /// Returns whether others had to be forgotten.
    fn put(&mut self, hash: u64, route: Arc<Route>, entries_max: usize) -> bool {
        let same = |entry: &Entry| entry.is_of(hash, route.topic.as_bytes());
        if let Some(entry) = self.routes.find_mut(hash, same) {
            entry.route = route;
            return false;
        }
        let is_full = self.routes.len() >= entries_max;
        if is_full {
            // Some of those in use, too, if they are nearly all: or the next topic would look through them again.
            let mut places = entries_max / 4 * 3;
            self.routes.retain(|entry| {
                let stays = entry.is_used.take() && places > 0;
                places -= usize::from(stays);
                stays
            });
        }
        let entry = Entry {
            hash,
            route,
            is_used: Cell::new(false),
        };
        self.routes.insert_unique(hash, entry, |entry| entry.hash);
        is_full
    }
}

impl Shard {
    /// Whether a route is one to this topic, and still right.
    pub(crate) fn is_route_to(&self, route: &Route, topic: &str) -> bool {
        (core::ptr::eq(route.topic(), topic) || route.topic() == topic) && self.is_current(route)
    }

    /// As [`Shard::is_route_to`], for a topic that is not known to be a text.
    pub(crate) fn is_route_to_bytes(&self, route: &Route, topic: &[u8]) -> bool {
        route.topic().as_bytes() == topic && self.is_current(route)
    }

    /// Whether a route is still right, whatever its topic.
    #[inline]
    pub(crate) fn is_current(&self, route: &Route) -> bool {
        let generation = self.generation();
        route.checked.load(Ordering::Relaxed) == generation
            || self.is_still_right(route, generation)
    }

    /// Something has changed, but perhaps nothing that may match this topic.
    #[cold]
    #[inline(never)]
    fn is_still_right(&self, route: &Route, generation: u64) -> bool {
        let is_right = route.changes == self.changes(route.places);
        if is_right {
            route.checked.store(generation, Ordering::Relaxed);
        }
        is_right
    }

    /// All changes of subscriptions, here and elsewhere. Neither part ever falls, so the sum is the same only if both are.
    fn generation(&self) -> u64 {
        self.subscriptions.generation() + self.interest.generation()
    }

    /// Those that may match a topic with these places.
    fn changes(&self, places: Places) -> u64 {
        self.subscriptions.changes(places) + self.interest.changes(places)
    }

    /// The route of a topic with this hash, if it is known: then the topic was accepted before.
    #[inline]
    pub(crate) fn route_of_hash(&self, hash: u64, topic: &[u8]) -> Option<Arc<Route>> {
        let route = self.routes.get(hash, topic)?;
        self.is_current(&route).then_some(route)
    }

    /// The route of a topic, from the cache if it is there.
    pub(crate) fn lookup(&mut self, topic: Topic<'_>) -> Arc<Route> {
        self.lookup_hashed(topic, self.routes.hash(topic.as_bytes()))
    }

    /// As [`Shard::lookup`], of a topic with this hash.
    pub(crate) fn lookup_hashed(&mut self, topic: Topic<'_>, hash: u64) -> Arc<Route> {
        if let Some(route) = self.route_of_hash(hash, topic.as_bytes()) {
            self.counters.route_cache_hits += 1;
            return route;
        }
        let topic = topic.as_str();
        self.counters.route_cache_misses += 1;
        let places = Places::of_topic(topic);
        // Before it is computed: what changes meanwhile on other shards makes it wrong.
        let generation = self.generation();
        let changes = self.changes(places);
        let mut targets = Vec::new();
        self.subscriptions
            .matches(topic, &mut |subscriber, options| {
                targets.push((subscriber, options));
            });
        targets.sort_unstable_by_key(|(subscriber, _)| *subscriber);
        let mut plain = Vec::new();
        let mut others = Vec::new();
        for same in targets.chunk_by(|(one, _), (other, _)| one == other) {
            match same {
                [(Subscriber::Session(session), options)] if is_plain(*options) => {
                    plain.push((*session, options.qos, options.retain_as_published));
                }
                _ => others.extend_from_slice(same),
            }
        }
        let mask = self.interest.shards(topic);
        let durable = match self.durable {
            Some(_) => self.interest.durable_shards(topic),
            None => 0,
        };
        let is_elsewhere = mask & !self.own_bit() != 0;
        let takes_runs = match others.as_slice() {
            [] => !plain.is_empty() || is_elsewhere,
            [(Subscriber::Group(_), _)] => plain.is_empty() && !is_elsewhere,
            _ => false,
        };
        let route = Arc::new(Route {
            topic: topic.into(),
            hash,
            places,
            changes,
            checked: AtomicU64::new(generation),
            takes_runs,
            plain,
            targets: others.into_boxed_slice(),
            mask,
            durable,
        });
        let entries_max = self.config.limits.route_cache_entries_max;
        let forgot = self.routes.put(hash, route.clone(), entries_max);
        self.counters.route_cache_restarts += u64::from(forgot);
        route
    }
}

/// Whether a subscription asks for nothing of its own.
const fn is_plain(options: SubscriptionOptions) -> bool {
    !options.no_local && options.subscription_id == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the two counts of its `Arc` it fits into 128 bytes, which is a size that allocators have. In the next one lie most
    /// small retained messages, and a replay that finds a route beside each of them takes half as long again.
    #[test]
    fn a_route_costs_few_bytes() {
        assert!(size_of::<Route>() + 2 * size_of::<usize>() <= 128);
    }

    #[test]
    fn routes_that_are_asked_for_together_are_found_up_to_the_first_stranger() {
        let mut cache = RouteCache::new(1);
        for topic in ["a", "b", "c"] {
            let hash = cache.hash(topic.as_bytes());
            let route = Route {
                topic: topic.into(),
                hash,
                places: Places::of_topic(topic),
                changes: 0,
                checked: AtomicU64::new(0),
                plain: Vec::new(),
                targets: Box::default(),
                mask: 0,
                durable: 0,
                takes_runs: false,
            };
            assert!(!cache.put(hash, Arc::new(route), 10));
        }
        let found = |asked: &[(&[u8], u64)]| -> Vec<Box<str>> {
            let mut found = Vec::new();
            cache.known(asked, &mut found);
            found.iter().map(|route| route.topic().into()).collect()
        };
        let ask = |topic: &'static str| (topic.as_bytes(), cache.hash(topic.as_bytes()));
        assert_eq!(
            found(&["c", "a", "b"].map(ask)),
            ["c", "a", "b"].map(Box::from)
        );
        assert_eq!(found(&["b", "x", "a"].map(ask)), ["b"].map(Box::from));
        // Another topic with the same hash.
        assert!(found(&[(b"x", cache.hash(b"a"))]).is_empty());
    }
}
