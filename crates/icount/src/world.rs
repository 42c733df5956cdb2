//! One shard and a driver that throws away what it writes.

use std::sync::Arc;

use martlet_codec::{
    Connect, Packet, PacketId, Properties, Publish, QoS, RetainHandling, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, Version,
};
use martlet_engine::{
    AllowAll, ConnId, Effects, Limits, LocalInterest, PeerMessage, Policy, Shard, ShardConfig,
    StoreConfig, Time,
};
use martlet_store::{Log, Maintenance, Settings, Store};

use crate::files::Files;

pub(crate) struct World {
    shard: Shard,
    effects: Effects,
    now: Time,
    /// Bytes written to all connections: work that must not be optimised away.
    pub(crate) written: u64,
    /// What is recorded goes here; without one it is thrown away.
    log: Option<Log<Files>>,
    /// To be filled with records next.
    empty: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default(), None)
    }

    /// With records of what has to survive. `is_logged`: they go to a log, whose disk is memory.
    pub(crate) fn with_store(is_logged: bool) -> Self {
        let store = StoreConfig {
            unix_ms_at_zero: 1_700_000_000_000,
            body_cache_bytes: 1 << 20,
            read_ahead_bytes: 1 << 20,
        };
        let mut world = Self::with(Limits::default(), Some(store));
        if is_logged {
            let opened = Log::open(Files::default(), Settings::new(42));
            world.log = opened.ok().map(|(log, _)| log);
            assert!(world.log.is_some(), "a log can begin in an empty folder");
        }
        world
    }

    /// As [`small_windows`] says.
    pub(crate) fn with_small_windows() -> Self {
        Self::with(small_windows(), None)
    }

    /// Few routes are remembered: what all of them take is bounded, and would count for what is looked at otherwise.
    #[cfg(test)]
    pub(crate) fn with_few_routes() -> Self {
        let limits = Limits {
            route_cache_entries_max: 64,
            ..Limits::default()
        };
        Self::with(limits, None)
    }

    fn with(limits: Limits, store: Option<StoreConfig>) -> Self {
        let config = ShardConfig {
            index: 0,
            shard_count: 1,
            seed: 42,
            limits,
            policy: Policy::default(),
            store,
        };
        let shard = Shard::new(config, Arc::new(LocalInterest), Box::new(AllowAll));
        Self::of(shard, Effects::new(1), Time::from_millis(1_000))
    }

    pub(crate) fn of(shard: Shard, effects: Effects, now: Time) -> Self {
        Self {
            shard,
            effects,
            now,
            written: 0,
            log: None,
            empty: Vec::new(),
        }
    }

    /// What this shard has for another; to be given back empty.
    pub(crate) fn take_batch(&mut self, shard: usize) -> Vec<PeerMessage> {
        let batch = self.effects.peers.get_mut(shard);
        batch.map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, shard: usize, batch: Vec<PeerMessage>) {
        if let Some(place) = self.effects.peers.get_mut(shard) {
            *place = batch;
        }
    }

    /// One tick: a batch of another shard, then everything dirty is written out.
    pub(crate) fn receive(&mut self, from: usize, batch: &mut Vec<PeerMessage>) {
        self.shard
            .on_peer_batch(from, batch, self.now, &mut self.effects);
        self.flush();
    }

    /// A connection that begins and ends.
    pub(crate) fn come_and_go(&mut self, connect: &[u8], disconnect: &[u8]) {
        if let Some(conn) = self.shard.on_open(self.now, &mut self.effects) {
            self.feed(conn, connect);
            self.feed(conn, disconnect);
        }
    }

    pub(crate) fn connect(&mut self, version: Version, client_id: &str) -> ConnId {
        self.connect_with(&connect_bytes(version, client_id))
    }

    /// A client whose session outlives its connection.
    pub(crate) fn connect_to_stay(&mut self, version: Version, client_id: &str) -> ConnId {
        self.connect_with(&connect_as(version, client_id, false))
    }

    fn connect_with(&mut self, connect: &[u8]) -> ConnId {
        let Some(conn) = self.shard.on_open(self.now, &mut self.effects) else {
            unreachable!("the connection limit is far away");
        };
        self.feed(conn, connect);
        conn
    }

    /// Clients with one subscription each.
    pub(crate) fn subscribers(
        &mut self,
        ids: impl IntoIterator<Item = String>,
        filter: &str,
        qos: QoS,
    ) -> Vec<ConnId> {
        let mut subscriber = |id: String| {
            let conn = self.connect(Version::V311, &id);
            self.subscribe(conn, Version::V311, filter, qos);
            conn
        };
        ids.into_iter().map(&mut subscriber).collect()
    }

    pub(crate) fn subscribe(&mut self, conn: ConnId, version: Version, filter: &str, qos: QoS) {
        let mut filters = SubscribeFiltersBuf::new();
        let options = SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        };
        if let Ok(filter) = TopicFilter::new(filter) {
            filters.push(filter, options);
        }
        let Some(packet_id) = PacketId::new(1) else {
            return;
        };
        let subscribe = Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        };
        self.feed(conn, &bytes(version, &Packet::Subscribe(subscribe)));
    }

    /// One tick: bytes of one connection, then everything dirty is written out.
    pub(crate) fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        let consumed = self
            .shard
            .on_bytes(conn, bytes, self.now, &mut self.effects);
        assert_eq!(consumed, bytes.len(), "canned bytes are whole packets");
        self.flush();
        self.store();
    }

    /// The tick's records become stable, and what waited for that is written out.
    fn store(&mut self) {
        while let Some((ticket, batch)) = self.effects.store.take(std::mem::take(&mut self.empty)) {
            if let Some(log) = &mut self.log {
                let mut done = log.append(&batch).and_then(|()| log.sync());
                // Behind the first batch: the next segment is made ready, which is long.
                while done.is_ok() && matches!(log.maintain(), Ok(Maintenance::Busy)) {
                    done = log.sync();
                }
                assert!(done.is_ok(), "nothing fails in memory");
            }
            self.empty = batch;
            self.shard
                .on_store_done(ticket, self.now, &mut self.effects);
            self.flush();
        }
    }

    fn flush(&mut self) {
        // What another shard gets is taken by `take_batch`.
        while !(self.effects.dirty.is_empty()
            && self.effects.connected.is_empty()
            && self.effects.closed.is_empty())
        {
            self.effects.connected.clear();
            self.effects.closed.clear();
            let mut dirty = std::mem::take(&mut self.effects.dirty);
            for conn in dirty.drain(..) {
                if let Some(outbox) = self.shard.outbox(conn) {
                    let len = outbox.writable_len();
                    self.written += len as u64;
                    outbox.advance(len);
                }
                self.shard.on_flushed(conn, self.now, &mut self.effects);
            }
            if self.effects.dirty.is_empty() {
                self.effects.dirty = dirty;
            }
        }
    }
}

/// A receiver gets 64 messages, and what comes behind them waits in its queue.
pub(crate) fn small_windows() -> Limits {
    Limits {
        in_flight_to_client_max: 64,
        ..Limits::default()
    }
}

/// CONNECT.
pub(crate) fn connect_bytes(version: Version, client_id: &str) -> Vec<u8> {
    connect_as(version, client_id, true)
}

fn connect_as(version: Version, client_id: &str, clean_start: bool) -> Vec<u8> {
    let connect = Connect {
        version,
        clean_start,
        keep_alive_s: 60,
        properties: Properties::EMPTY,
        client_id,
        will: None,
        user_name: None,
        password: None,
    };
    bytes(version, &Packet::Connect(connect))
}

/// A packet as bytes.
pub(crate) fn bytes(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(
        packet.encode(version, &mut out).is_ok(),
        "canned packets can be encoded"
    );
    out
}

/// PUBLISH packets, one behind the other, with packet identifiers from 1.
pub(crate) fn publishes(
    version: Version,
    topics: &[&str],
    qos: QoS,
    retain: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    for (topic, id) in topics.iter().zip(1..) {
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: TopicName::new(topic).ok(),
            packet_id: if qos == QoS::AtMostOnce {
                None
            } else {
                PacketId::new(id)
            },
            properties: Properties::EMPTY,
            payload,
        };
        out.extend(bytes(version, &Packet::Publish(publish)));
    }
    out
}
