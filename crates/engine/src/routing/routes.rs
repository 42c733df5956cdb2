//! Where messages of a topic go, remembered as long as no subscription changes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::HashTable;
use martlet_codec::QoS;

use crate::collections::slab::Key;
use crate::message::Topic;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::shard::{Shard, Subscriber};

/// Where messages of one topic go.
#[derive(Debug)]
pub(crate) struct Route {
    topic: Box<str>,
    /// Of the subscriptions and of the interest map, when the route was computed.
    generations: (u64, u64),
    /// Sessions with one matching subscription, which asks for nothing of its own: with its QoS and its Retain As
    /// Published. Nearly all.
    pub(crate) plain: Vec<(Key, QoS, bool)>,
    /// The others, sorted by subscriber, so that the subscriptions of one stand together.
    pub(crate) targets: Vec<(Subscriber, SubscriptionOptions)>,
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
        match self.targets.as_slice() {
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

/// Routes by topic, valid as long as no subscription changes.
///
/// One that is asked for again is marked. When there is no room for another one, what has no mark is forgotten, and the marks
/// are taken off: topics in use stay, and they cost one look-up each while all of them fit.
#[derive(Debug)]
pub(crate) struct RouteCache {
    routes: HashTable<Entry>,
    hasher: foldhash::fast::FixedState,
    /// Of the subscriptions and of the interest map, when the cache was begun.
    generations: (u64, u64),
}

#[derive(Debug)]
struct Entry {
    route: Arc<Route>,
    /// Asked for since there was no room the last time.
    is_used: bool,
}

impl RouteCache {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            routes: HashTable::new(),
            hasher: foldhash::fast::FixedState::with_seed(seed),
            generations: (0, 0),
        }
    }

    fn hash(&self, topic: &[u8]) -> u64 {
        self.hasher.hash_one(topic)
    }

    fn get(&mut self, hash: u64, topic: &[u8]) -> Option<&Arc<Route>> {
        let same = |entry: &Entry| entry.route.topic.as_bytes() == topic;
        let entry = self.routes.find_mut(hash, same)?;
        entry.is_used = true;
        Some(&entry.route)
    }

    /// The route of a topic, if it is there: then the topic was accepted before. [`Shard::begin_routes`] has been called.
    #[inline]
    pub(crate) fn known(&mut self, topic: &[u8]) -> Option<Arc<Route>> {
        let hash = self.hash(topic);
        self.get(hash, topic).cloned()
    }

    /// Returns whether others had to be forgotten.
    fn put(&mut self, hash: u64, route: Arc<Route>, entries_max: usize) -> bool {
        let is_full = self.routes.len() >= entries_max;
        if is_full {
            // Some of those in use, too, if they are nearly all: or the next topic would look through them again.
            let mut places = entries_max / 4 * 3;
            self.routes.retain(|entry| {
                let stays = core::mem::take(&mut entry.is_used) && places > 0;
                places -= usize::from(stays);
                stays
            });
        }
        let hasher = &self.hasher;
        let entry = Entry {
            route,
            is_used: false,
        };
        self.routes.insert_unique(hash, entry, |entry| {
            hasher.hash_one(entry.route.topic.as_bytes())
        });
        is_full
    }

    /// Forgets what is wrong now.
    fn begin(&mut self, generations: (u64, u64)) {
        if self.generations != generations {
            self.generations = generations;
            self.routes.clear();
        }
    }
}

impl Shard {
    /// Whether a route is one to this topic, and still right.
    pub(crate) fn is_route_to(&self, route: &Route, topic: &str) -> bool {
        (core::ptr::eq(route.topic(), topic) || route.topic() == topic)
            && route.generations == self.generations()
    }

    /// As [`Shard::is_route_to`], for a topic that is not known to be a text.
    pub(crate) fn is_route_to_bytes(&self, route: &Route, topic: &[u8]) -> bool {
        route.topic().as_bytes() == topic && route.generations == self.generations()
    }

    /// Whether a route is still right, whatever its topic.
    pub(crate) fn is_current(&self, route: &Route) -> bool {
        route.generations == self.generations()
    }

    fn generations(&self) -> (u64, u64) {
        (self.subscriptions.generation(), self.interest.generation())
    }

    /// Forgets routes that are wrong now.
    pub(crate) fn begin_routes(&mut self) {
        let generations = self.generations();
        self.routes.begin(generations);
    }

    /// The route of a topic, from the cache if it is there.
    pub(crate) fn lookup(&mut self, topic: Topic<'_>) -> Arc<Route> {
        let generations = self.generations();
        self.routes.begin(generations);
        let hash = self.routes.hash(topic.as_bytes());
        if let Some(route) = self.routes.get(hash, topic.as_bytes()) {
            self.counters.route_cache_hits += 1;
            return route.clone();
        }
        let topic = topic.as_str();
        self.counters.route_cache_misses += 1;
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
            generations,
            takes_runs,
            plain,
            targets: others,
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
