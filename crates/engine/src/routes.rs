//! Where messages of a topic go, remembered as long as no subscription changes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::HashTable;
use martlet_codec::QoS;

use crate::message::Topic;
use crate::shard::{Shard, Subscriber};
use crate::slab::Key;
use crate::subscriptions::SubscriptionOptions;

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
}

impl Route {
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = Subscriber> {
        let plain = self.plain.iter().map(|(key, ..)| Subscriber::Session(*key));
        plain.chain(self.targets.iter().map(|(subscriber, _)| *subscriber))
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
/// Two halves: when the young one is full it becomes the old one, and what is asked for again moves over. So the
/// topics in use stay when there are more than fit.
#[derive(Debug)]
pub(crate) struct RouteCache {
    young: HashTable<Arc<Route>>,
    old: HashTable<Arc<Route>>,
    hasher: foldhash::fast::FixedState,
    /// Of the subscriptions and of the interest map, when the cache was begun.
    generations: (u64, u64),
}

impl RouteCache {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            hasher: foldhash::fast::FixedState::with_seed(seed),
            generations: (0, 0),
        }
    }

    fn hash(&self, topic: &[u8]) -> u64 {
        self.hasher.hash_one(topic)
    }

    fn get(&mut self, hash: u64, topic: &[u8]) -> Option<Arc<Route>> {
        let same = |route: &Arc<Route>| route.topic.as_bytes() == topic;
        if let Some(route) = self.young.find(hash, same) {
            return Some(route.clone());
        }
        if self.old.is_empty() {
            return None;
        }
        let (route, _) = self.old.find_entry(hash, same).ok()?.remove();
        self.put(hash, route.clone());
        Some(route)
    }

    fn put(&mut self, hash: u64, route: Arc<Route>) {
        let hasher = &self.hasher;
        self.young
            .insert_unique(hash, route, |route| hasher.hash_one(route.topic.as_bytes()));
    }

    /// Forgets what is wrong now, and what was not asked for in a long time if there is no room: then it returns true.
    fn make_room(&mut self, generations: (u64, u64), entries_max: usize) -> bool {
        if self.generations != generations {
            self.generations = generations;
            self.young.clear();
            self.old.clear();
        } else if self.young.len() >= entries_max.div_ceil(2) {
            core::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            return true;
        }
        false
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

    fn generations(&self) -> (u64, u64) {
        (self.subscriptions.generation(), self.interest.generation())
    }

    /// The route of a topic, from the cache if it is there.
    pub(crate) fn lookup(&mut self, topic: Topic<'_>) -> Arc<Route> {
        let generations = self.generations();
        let entries_max = self.config.limits.route_cache_entries_max;
        if self.routes.make_room(generations, entries_max) {
            self.counters.route_cache_restarts += 1;
        }
        let hash = self.routes.hash(topic.as_bytes());
        if let Some(route) = self.routes.get(hash, topic.as_bytes()) {
            self.counters.route_cache_hits += 1;
            return route;
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
        let route = Arc::new(Route {
            topic: topic.into(),
            generations,
            plain,
            targets: others,
            mask,
            durable,
        });
        self.routes.put(hash, route.clone());
        route
    }
}

/// Whether a subscription asks for nothing of its own.
const fn is_plain(options: SubscriptionOptions) -> bool {
    !options.no_local && options.subscription_id == 0
}
