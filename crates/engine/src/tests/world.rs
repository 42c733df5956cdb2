//! A small world for unit tests: N shards, mailboxes emptied in order, clients that speak packets.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use hashbrown::HashMap;
use martlet_codec::{
    Decoded, Packet, PacketId, Properties, Publish, QoS, Rules, Sender, SubscribeFiltersBuf,
    SubscriptionOptions, TopicFilter, TopicName, Version, decode,
};

use crate::clients::client_slots::shard_of;
use crate::routing::interest::prefixes_of;
use crate::{
    AllowAll, AuthQuestion, BodyId, Closed, ConnId, Effects, FetchedBody, Interest, InterestKey,
    Limits, Policy, Record, Records, Shard, ShardConfig, StoreConfig, StoreTicket, Time, Verdict,
};

/// An interest map for tests: exact, behind a spin-free cell (the shards of a test share one thread).
#[derive(Debug, Default)]
pub(crate) struct TestInterest {
    map: parking::Map,
    durable: parking::Map,
    /// By place.
    changes: parking::Changes,
}

mod parking {
    //! `Interest` has to be `Sync`; tests are single-threaded per world, so a std lock is never contended.
    use alloc::string::String;
    use hashbrown::HashMap;
    #[expect(
        clippy::disallowed_types,
        reason = "the trait asks for Sync; never contended"
    )]
    #[derive(Debug, Default)]
    pub(crate) struct Map(pub(crate) std::sync::Mutex<HashMap<(String, bool), [u32; 8]>>);

    #[expect(
        clippy::disallowed_types,
        reason = "the trait asks for Sync; never contended"
    )]
    pub(crate) type Changes = std::sync::Mutex<HashMap<usize, u64>>;
}

impl parking::Map {
    fn add(&self, key: InterestKey<'_>, shard: usize) {
        let mut map = self.0.lock().unwrap();
        map.entry((key.prefix.into(), key.exact)).or_default()[shard] += 1;
    }

    fn remove(&self, key: InterestKey<'_>, shard: usize) {
        let mut map = self.0.lock().unwrap();
        let counts = map
            .get_mut(&(key.prefix.into(), key.exact))
            .expect("removed but never added");
        counts[shard] = counts[shard].checked_sub(1).expect("removed too often");
    }

    fn shards(&self, topic: &str) -> u64 {
        let map = self.0.lock().unwrap();
        let mut mask = 0;
        for key in prefixes_of(topic) {
            if let Some(counts) = map.get(&(String::from(key.prefix), key.exact)) {
                for (shard, count) in counts.iter().enumerate() {
                    mask |= u64::from(*count > 0) << shard;
                }
            }
        }
        mask
    }
}

impl Interest for TestInterest {
    fn add(&self, key: InterestKey<'_>, shard: usize) {
        self.map.add(key, shard);
        *self.changes.lock().unwrap().entry(key.place()).or_default() += 1;
    }

    fn remove(&self, key: InterestKey<'_>, shard: usize) {
        self.map.remove(key, shard);
        *self.changes.lock().unwrap().entry(key.place()).or_default() += 1;
    }

    fn shards(&self, topic: &str) -> u64 {
        self.map.shards(topic)
    }

    fn generation(&self) -> u64 {
        self.changes.lock().unwrap().values().sum()
    }

    fn changes(&self, places: crate::Places) -> u64 {
        let changes = self.changes.lock().unwrap();
        let at = |place| changes.get(&place).copied().unwrap_or_default();
        places.iter().map(at).sum()
    }

    fn add_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.durable.add(key, shard);
        *self.changes.lock().unwrap().entry(key.place()).or_default() += 1;
    }

    fn remove_durable(&self, key: InterestKey<'_>, shard: usize) {
        self.durable.remove(key, shard);
        *self.changes.lock().unwrap().entry(key.place()).or_default() += 1;
    }

    fn durable_shards(&self, topic: &str) -> u64 {
        self.durable.shards(topic)
    }
}

pub(crate) struct World {
    pub(crate) shards: Vec<Shard>,
    effects: Vec<Effects>,
    pub(crate) now: Time,
    pub(crate) interest: Arc<TestInterest>,
    /// What each connection got, decoded to text: `PUBLISH t=x q1 #3 dup retain`.
    received: HashMap<(usize, ConnId), Vec<String>>,
    versions: HashMap<(usize, ConnId), Version>,
    /// Sent and not consumed.
    tails: HashMap<(usize, ConnId), Vec<u8>>,
    pub(crate) closed: Vec<(usize, Closed)>,
    /// Mailboxes, by sender and receiver, that are not emptied for now.
    pub(crate) held: Vec<(usize, usize)>,
    /// What the authenticator was asked.
    pub(crate) questions: Vec<(usize, AuthQuestion)>,
    pub(crate) store: TestStore,
}

/// All batches of all shards in the order in which they were taken.
#[derive(Debug, Default)]
pub(crate) struct TestStore {
    pub(crate) log: Vec<(usize, StoreTicket, Vec<u8>)>,
    /// So many of them are stable, and their shards know.
    pub(crate) stable: usize,
    /// Whether batches stay unstable until the test says otherwise.
    pub(crate) held: bool,
    /// Whether bodies that are asked for are not answered until the test says otherwise.
    pub(crate) reads_held: bool,
    /// The wall clock at time 0.
    pub(crate) zero: Option<u64>,
}

/// A client of the world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) shard: usize,
    pub(crate) conn: ConnId,
    pub(crate) version: Version,
}

impl World {
    pub(crate) fn new(shard_count: usize) -> Self {
        Self::with(shard_count, &Limits::default(), &Policy::default())
    }

    pub(crate) fn with(shard_count: usize, limits: &Limits, policy: &Policy) -> Self {
        Self::with_store(shard_count, limits, policy, None)
    }

    /// With a store, if the wall clock at time 0 is given.
    pub(crate) fn with_store(
        shard_count: usize,
        limits: &Limits,
        policy: &Policy,
        zero: Option<u64>,
    ) -> Self {
        let config = zero.map(|unix_ms_at_zero| StoreConfig {
            unix_ms_at_zero,
            // Whatever is stable is in the store only.
            body_cache_bytes: 0,
            read_ahead_bytes: 0,
        });
        Self::with_config(shard_count, limits, policy, config)
    }

    pub(crate) fn with_config(
        shard_count: usize,
        limits: &Limits,
        policy: &Policy,
        store: Option<StoreConfig>,
    ) -> Self {
        let interest = Arc::new(TestInterest::default());
        let shards = (0..shard_count)
            .map(|index| {
                let config = ShardConfig {
                    index,
                    shard_count,
                    seed: 7,
                    limits: limits.clone(),
                    policy: policy.clone(),
                    store,
                };
                Shard::new(config, interest.clone(), Box::new(AllowAll))
            })
            .collect();
        Self {
            shards,
            effects: (0..shard_count)
                .map(|_| Effects::new(shard_count))
                .collect(),
            now: Time::from_millis(1_000_000),
            interest,
            received: HashMap::new(),
            versions: HashMap::new(),
            tails: HashMap::new(),
            closed: Vec::new(),
            held: Vec::new(),
            questions: Vec::new(),
            store: TestStore {
                zero: store.map(|store| store.unix_ms_at_zero),
                ..TestStore::default()
            },
        }
    }

    /// A client of this version, connected; `id` decides its shard. Its CONNACK is the first thing received.
    pub(crate) fn connect(&mut self, version: Version, id: &str, clean: bool) -> Client {
        self.connect_with(version, id, clean, &[])
    }

    /// As `connect`, with raw property bytes.
    pub(crate) fn connect_with(
        &mut self,
        version: Version,
        id: &str,
        clean: bool,
        properties: &[martlet_codec::Property<'_>],
    ) -> Client {
        let mut buf = martlet_codec::PropertiesBuf::new();
        for property in properties {
            buf.push(*property);
        }
        let connect = martlet_codec::Connect {
            version,
            clean_start: clean,
            keep_alive_s: 0,
            properties: buf.as_properties(),
            client_id: id,
            will: None,
            user_name: None,
            password: None,
        };
        self.connect_packet(&connect)
    }

    pub(crate) fn connect_packet(&mut self, connect: &martlet_codec::Connect<'_>) -> Client {
        let version = connect.version;
        let shard = shard_of(connect.client_id, self.shards.len());
        let conn = self.shards[shard]
            .on_open(self.now, &mut self.effects[shard])
            .unwrap();
        let client = Client {
            shard,
            conn,
            version,
        };
        self.versions.insert((shard, conn), version);
        self.send(client, &Packet::Connect(*connect));
        client
    }

    pub(crate) fn send(&mut self, client: Client, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(client.version, &mut bytes).unwrap();
        self.send_bytes(client, &bytes);
    }

    pub(crate) fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        let tail = self.tails.entry((client.shard, client.conn)).or_default();
        tail.extend_from_slice(bytes);
        self.feed_tail(client.shard, client.conn);
        self.run();
    }

    /// Presents what a connection has sent and the shard has not consumed.
    fn feed_tail(&mut self, shard: usize, conn: ConnId) {
        let Some(tail) = self.tails.get_mut(&(shard, conn)) else {
            return;
        };
        let fx = &mut self.effects[shard];
        let used = self.shards[shard].on_bytes(conn, tail, self.now, fx);
        tail.drain(..used);
    }

    pub(crate) fn drop_connection(&mut self, client: Client) {
        let fx = &mut self.effects[client.shard];
        self.shards[client.shard].on_close(client.conn, crate::TransportClose::Eof, self.now, fx);
        self.run();
    }

    pub(crate) fn subscribe(&mut self, client: Client, filter: &str, qos: QoS) {
        self.subscribe_with(client, filter, SubscriptionOptions::with_qos(qos));
    }

    pub(crate) fn subscribe_with(
        &mut self,
        client: Client,
        filter: &str,
        options: SubscriptionOptions,
    ) {
        let mut filters = SubscribeFiltersBuf::new();
        filters.push(TopicFilter::new(filter).unwrap(), options);
        self.send(
            client,
            &Packet::Subscribe(martlet_codec::Subscribe {
                packet_id: PacketId::new(9_999).unwrap(),
                properties: Properties::EMPTY,
                filters: filters.as_filters(),
            }),
        );
    }

    pub(crate) fn unsubscribe(&mut self, client: Client, filter: &str) {
        let mut filters = martlet_codec::UnsubscribeFiltersBuf::new();
        filters.push(TopicFilter::new(filter).unwrap());
        self.send(
            client,
            &Packet::Unsubscribe(martlet_codec::Unsubscribe {
                packet_id: PacketId::new(9_998).unwrap(),
                properties: Properties::EMPTY,
                filters: filters.as_filters(),
            }),
        );
    }

    pub(crate) fn publish(
        &mut self,
        client: Client,
        topic: &str,
        qos: QoS,
        id: u16,
        retain: bool,
        payload: &str,
    ) {
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: Some(TopicName::new(topic).unwrap()),
            packet_id: PacketId::new(id),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        self.send(client, &Packet::Publish(publish));
    }

    /// Answers the oldest question.
    pub(crate) fn answer(&mut self, verdict: Verdict) -> AuthQuestion {
        let (shard, question) = self.questions.remove(0);
        let fx = &mut self.effects[shard];
        self.shards[shard].on_verdict(question.ticket, verdict, self.now, fx);
        self.run();
        question
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        for (shard, fx) in self.shards.iter_mut().zip(&mut self.effects) {
            shard.on_timer(self.now, fx);
        }
        self.run();
    }

    /// Carries out all effects until nothing is left.
    pub(crate) fn run(&mut self) {
        loop {
            let mut busy = false;
            for from in 0..self.shards.len() {
                self.take_batch(from);
                if !self.store.reads_held {
                    busy |= self.read_bodies(from);
                }
                busy |= self.flush(from);
                for to in 0..self.shards.len() {
                    if self.held.contains(&(from, to)) {
                        continue;
                    }
                    let mut batch = core::mem::take(&mut self.effects[from].peers[to]);
                    if !batch.is_empty() {
                        busy = true;
                        let fx = &mut self.effects[to];
                        self.shards[to].on_peer_batch(from, &mut batch, self.now, fx);
                    }
                }
            }
            if !self.store.held {
                busy |= self.store_done(usize::MAX);
            }
            if !busy {
                return;
            }
        }
    }

    fn take_batch(&mut self, shard: usize) {
        if let Some((ticket, bytes)) = self.effects[shard].store.take(Vec::new()) {
            self.store.log.push((shard, ticket, bytes));
        }
    }

    /// Answers what a shard has asked the store for.
    pub(crate) fn read_bodies(&mut self, shard: usize) -> bool {
        let wanted = core::mem::take(&mut self.effects[shard].wanted_bodies);
        self.give_bodies(shard, &wanted, |_| true);
        !wanted.is_empty()
    }

    /// Answers with the bodies that are `good`, and without the others.
    pub(crate) fn give_bodies(
        &mut self,
        shard: usize,
        wanted: &[BodyId],
        good: impl Fn(BodyId) -> bool,
    ) {
        if wanted.is_empty() {
            return;
        }
        let mut found = HashMap::new();
        let config = self.shards[shard].config.store.unwrap();
        for (_, _, batch) in &self.store.log[..self.store.stable] {
            for record in Records::new(batch).map(Result::unwrap) {
                if let Record::Body { body, message } = record
                    && wanted.contains(&body)
                {
                    found.insert(body, config.message_of(&message));
                }
            }
        }
        let mut bodies = wanted
            .iter()
            .map(|body| FetchedBody {
                body: *body,
                message: found.get(body).filter(|_| good(*body)).cloned(),
            })
            .collect();
        self.shards[shard].on_bodies(&mut bodies, self.now, &mut self.effects[shard]);
    }

    /// Makes the batches below `upto` stable, and says so.
    pub(crate) fn store_done(&mut self, upto: usize) -> bool {
        let upto = upto.min(self.store.log.len());
        let done: Vec<_> = (self.store.stable..upto)
            .map(|at| (self.store.log[at].0, self.store.log[at].1))
            .collect();
        self.store.stable = self.store.stable.max(upto);
        for (shard, ticket) in &done {
            let fx = &mut self.effects[*shard];
            self.shards[*shard].on_store_done(*ticket, self.now, fx);
        }
        !done.is_empty()
    }

    /// Makes everything stable, and carries on.
    pub(crate) fn sync(&mut self) {
        self.store_done(usize::MAX);
        self.run();
    }

    pub(crate) fn shard_and_effects(&mut self, shard: usize) -> (&mut Shard, &mut Effects) {
        (&mut self.shards[shard], &mut self.effects[shard])
    }

    fn flush(&mut self, index: usize) -> bool {
        let shard = &mut self.shards[index];
        let fx = &mut self.effects[index];
        fx.connected.clear();
        let resumed = core::mem::take(&mut fx.resumed);
        self.questions
            .extend(fx.auth.drain(..).map(|question| (index, question)));
        let closed = core::mem::take(&mut fx.closed);
        let dirty = core::mem::take(&mut fx.dirty);
        let busy = !closed.is_empty() || !dirty.is_empty();
        for conn in dirty {
            let Some(outbox) = shard.outbox(conn) else {
                continue;
            };
            let bytes = drain(outbox);
            self.received
                .entry((index, conn))
                .or_default()
                .extend(texts(
                    &bytes,
                    self.versions
                        .get(&(index, conn))
                        .copied()
                        .unwrap_or(Version::V5),
                ));
            shard.on_flushed(conn, self.now, fx);
        }
        for mut closed in closed {
            let bytes = drain(&mut closed.farewell);
            let key = (index, closed.conn);
            let version = self.versions.get(&key).copied().unwrap_or(Version::V5);
            self.received
                .entry(key)
                .or_default()
                .extend(texts(&bytes, version));
            self.closed.push((index, closed));
        }
        for conn in &resumed {
            self.feed_tail(index, *conn);
        }
        busy || !resumed.is_empty()
    }

    /// The limits and the policy of its shards.
    pub(crate) fn rules(&self) -> (&Limits, &Policy) {
        let config = &self.shards[0].config;
        (&config.limits, &config.policy)
    }

    /// What the client got since the last call.
    pub(crate) fn received(&mut self, client: Client) -> Vec<String> {
        self.received
            .remove(&(client.shard, client.conn))
            .unwrap_or_default()
    }

    /// The payloads of the PUBLISH packets among it.
    pub(crate) fn payloads(&mut self, client: Client) -> Vec<String> {
        self.received(client)
            .iter()
            .filter_map(|line| {
                line.strip_prefix("PUBLISH ")?
                    .split(' ')
                    .next()?
                    .split_once('=')
            })
            .map(|(_, payload)| String::from(payload))
            .collect()
    }
}

fn drain(outbox: &mut crate::Outbox) -> Vec<u8> {
    let mut bytes = Vec::new();
    while outbox.writable_len() > 0 {
        let mut slices: [&[u8]; 8] = [&[]; 8];
        let count = outbox.io_slices(&mut slices);
        let before = bytes.len();
        for slice in &slices[..count] {
            bytes.extend_from_slice(slice);
        }
        let got = bytes.len() - before;
        outbox.advance(got);
    }
    bytes
}

fn texts(bytes: &[u8], version: Version) -> Vec<String> {
    let mut rest = bytes;
    let mut lines = vec![];
    let rules = Rules {
        version,
        sender: Sender::Server,
        max_packet_size: u32::MAX,
    };
    while !rest.is_empty() {
        match decode(rest, rules).unwrap() {
            Decoded::Packet { packet, length } => {
                lines.push(text(&packet));
                rest = &rest[length..];
            }
            Decoded::Incomplete { .. } => panic!("half a packet was written"),
        }
    }
    lines
}

fn text(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(p) => {
            let mut line = std::format!(
                "PUBLISH {}={} q{}",
                p.topic.map_or("", |t| t.as_str()),
                String::from_utf8_lossy(p.payload),
                p.qos as u8
            );
            if let Some(id) = p.packet_id {
                line = std::format!("{line} #{}", id.get());
            }
            for (flag, name) in [(p.dup, " dup"), (p.retain, " retain")] {
                line += if flag { name } else { "" };
            }
            for id in p.properties.subscription_identifiers() {
                line = std::format!("{line} sub{id}");
            }
            line
        }
        Packet::PubAck(a) => std::format!("PUBACK #{} {:02X}", a.packet_id.get(), a.reason.as_u8()),
        Packet::PubRec(a) => std::format!("PUBREC #{} {:02X}", a.packet_id.get(), a.reason.as_u8()),
        Packet::PubRel(a) => std::format!("PUBREL #{} {:02X}", a.packet_id.get(), a.reason.as_u8()),
        Packet::PubComp(a) => {
            std::format!("PUBCOMP #{} {:02X}", a.packet_id.get(), a.reason.as_u8())
        }
        Packet::ConnAck(c) => {
            std::format!(
                "CONNACK {:02X} present={}{}",
                c.reason.as_u8(),
                c.session_present,
                c.properties
                    .authentication_method()
                    .map_or(String::new(), |method| std::format!(" {method}"))
            )
        }
        Packet::Auth(a) => std::format!(
            "AUTH {:02X} {}={}{}",
            a.reason.as_u8(),
            a.properties.authentication_method().unwrap_or("-"),
            String::from_utf8_lossy(a.properties.authentication_data().unwrap_or(b"-")),
            if a.properties.iter().count() > 2 {
                " and more"
            } else {
                ""
            }
        ),
        Packet::SubAck(s) => std::format!("SUBACK {:02X?}", s.reasons),
        Packet::UnsubAck(s) => std::format!("UNSUBACK {:02X?}", s.reasons),
        Packet::Disconnect(d) => std::format!("DISCONNECT {:02X}", d.reason.as_u8()),
        Packet::Connect(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::PingResp => std::format!("{:?}", packet.packet_type()),
    }
}

/// A topic whose retained message the given shard owns.
pub(crate) fn topic_on(shard: usize, shard_count: usize) -> String {
    (0..1_000)
        .map(|n| std::format!("r/{n}"))
        .find(|topic| crate::owner_of_topic(topic, shard_count) == shard)
        .unwrap()
}

/// Names that hash to the given shard of `shard_count`.
pub(crate) fn id_on(shard: usize, shard_count: usize, prefix: &str) -> String {
    (0..1_000)
        .map(|n| std::format!("{prefix}{n}"))
        .find(|id| shard_of(id, shard_count) == shard)
        .unwrap()
}
