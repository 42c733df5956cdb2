//! Two shards of one broker, and no threads: what one has for the other is handed over at the end of the tick.

use std::sync::Arc;

use martlet_codec::{QoS, Version};
use martlet_engine::{
    AllowAll, Effects, Interest, InterestKey, Limits, Places, Policy, Shard, ShardConfig, Time,
    shard_of,
};

use crate::world::{World, small_windows};

/// A publisher's shard, and one of subscribers.
pub(crate) struct Pair {
    pub(crate) publisher: World,
    pub(crate) subscriber: World,
}

/// Both shards may have a match for everything.
#[derive(Debug)]
struct Everywhere;

impl Interest for Everywhere {
    fn add(&self, _key: InterestKey<'_>, _shard: usize) {}

    fn remove(&self, _key: InterestKey<'_>, _shard: usize) {}

    fn shards(&self, _topic: &str) -> u64 {
        0b11
    }

    fn generation(&self) -> u64 {
        0
    }

    fn changes(&self, _places: Places) -> u64 {
        0
    }
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(&Limits::default())
    }

    /// As [`World::with_small_windows`].
    pub(crate) fn with_small_windows() -> Self {
        Self::with(&small_windows())
    }

    fn with(limits: &Limits) -> Self {
        let shard = |index| {
            let config = ShardConfig {
                index,
                shard_count: 2,
                seed: 42,
                limits: limits.clone(),
                policy: Policy::default(),
                store: None,
            };
            let shard = Shard::new(config, Arc::new(Everywhere), Box::new(AllowAll));
            World::of(shard, Effects::new(2), Time::from_millis(1_000))
        };
        Self {
            publisher: shard(0),
            subscriber: shard(1),
        }
    }

    /// A subscriber of the second shard. Returns a publisher of the first one.
    pub(crate) fn connect(&mut self, topic: &str, qos: QoS) -> martlet_engine::ConnId {
        let conn = self.subscriber.connect(Version::V311, &id_on(1, "client"));
        self.subscriber.subscribe(conn, Version::V311, topic, qos);
        // The first shard is asked for retained messages, and answers.
        self.exchange();
        self.exchange();
        self.publisher.connect(Version::V311, &id_on(0, "client"))
    }

    /// Hands over what each has for the other.
    pub(crate) fn exchange(&mut self) {
        let mut batch = self.publisher.take_batch(1);
        self.subscriber.receive(0, &mut batch);
        self.publisher.give_back(1, batch);
        let mut batch = self.subscriber.take_batch(0);
        self.publisher.receive(1, &mut batch);
        self.subscriber.give_back(0, batch);
    }
}

/// A client identifier whose home is this shard.
pub(crate) fn id_on(shard: usize, name: &str) -> String {
    let mut ids = (0..).map(|n: u32| format!("{name}-{n}"));
    ids.find(|id| shard_of(id, 2) == shard).unwrap_or_default()
}
