//! Runs of packets where there is a store: what is recorded and what waits is what it would be one by one.

use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{
    Ack, Packet, PacketId, Properties, Property, Publish, QoS, TopicName, Version,
};

use super::super::world::{Client, World, id_on, topic_on};
use super::{ZERO, durable, durable_and_held};
use crate::{Limits, Policy, Record, Records, Shard, StorePressure};

const COUNT: u16 = 20;

/// PUBLISH packets of QoS 1, whose payloads are their identifiers.
fn run_of(version: Version, topic: &str, ids: impl IntoIterator<Item = u16>) -> Vec<u8> {
    packets_of(version, topic, QoS::AtLeastOnce, ids).concat()
}

pub(super) fn packets_of(
    version: Version,
    topic: &str,
    qos: QoS,
    ids: impl IntoIterator<Item = u16>,
) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for id in ids {
        let payload = std::format!("{id}");
        let packet = Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new(topic).unwrap()),
            packet_id: PacketId::new(id),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        });
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).unwrap();
        packets.push(bytes);
    }
    packets
}

fn pubacks(version: Version, ids: impl IntoIterator<Item = u16>) -> Vec<u8> {
    acks_of(version, Packet::PubAck, ids)
}

pub(super) fn acks_of(
    version: Version,
    kind: fn(Ack<'static>) -> Packet<'static>,
    ids: impl IntoIterator<Item = u16>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for id in ids {
        let ack = kind(Ack::success(PacketId::new(id).unwrap()));
        ack.encode(version, &mut bytes).unwrap();
    }
    bytes
}

fn puback_lines() -> Vec<String> {
    (1..=COUNT)
        .map(|id| std::format!("PUBACK #{id} 00"))
        .collect()
}

pub(super) fn payloads(ids: impl IntoIterator<Item = u16>) -> Vec<String> {
    ids.into_iter().map(|id| std::format!("{id}")).collect()
}

/// How many records there are of bodies, of messages for queues, and of messages that were acknowledged.
fn counts(world: &World) -> (usize, usize, usize) {
    let mut counts = (0, 0, 0);
    for (_, _, batch) in &world.store.log {
        for record in Records::new(batch).map(Result::unwrap) {
            counts.0 += usize::from(matches!(record, Record::Body { .. }));
            counts.1 += usize::from(matches!(record, Record::Queued { .. }));
            counts.2 += usize::from(matches!(record, Record::Finished { .. }));
        }
    }
    counts
}

/// Subscribers whose sessions last, one of them away, one whose session ends, and a publisher that has published once.
fn one_shard(version: Version) -> (World, [Client; 3], Client) {
    let mut world = durable_and_held();
    let client = |world: &mut World, id: &str, clean: bool| {
        let client = world.connect(Version::V311, id, clean);
        world.subscribe(client, "t", QoS::AtLeastOnce);
        client
    };
    let here = client(&mut world, "here", false);
    let away = client(&mut world, "away", false);
    let clean = client(&mut world, "clean", true);
    world.drop_connection(away);
    let publisher = world.connect(version, "pub", true);
    world.send_bytes(publisher, &run_of(version, "t", [99]));
    world.sync();
    for client in [here, clean, publisher] {
        world.received(client);
    }
    (world, [here, away, clean], publisher)
}

/// The bodies are written once, however many receivers there are, and nothing is acknowledged before they are stable.
#[test]
fn a_run_is_acknowledged_when_all_of_it_is_stable() {
    for version in [Version::V311, Version::V5] {
        let (mut world, [here, _, clean], publisher) = one_shard(version);
        let before = (*world.shards[0].counters(), counts(&world));
        world.send_bytes(publisher, &run_of(version, "t", 1..=COUNT));
        let counters = *world.shards[0].counters();
        assert_eq!(counters.publish_runs - before.0.publish_runs, 1);
        let (bodies, queued, _) = counts(&world);
        assert_eq!(bodies - before.1.0, usize::from(COUNT));
        assert_eq!(queued - before.1.1, 2 * usize::from(COUNT));
        assert_eq!(world.payloads(here), payloads(1..=COUNT));
        assert_eq!(world.payloads(clean), payloads(1..=COUNT));
        assert!(world.received(publisher).is_empty(), "nothing is stable");
        world.sync();
        assert_eq!(world.received(publisher), puback_lines());
        // Both have what they have not acknowledged.
        let mut next = world.crash_now();
        for id in ["here", "away"] {
            let client = next.connect(Version::V311, id, false);
            let expected = payloads([99].into_iter().chain(1..=COUNT));
            assert_eq!(next.payloads(client), expected, "{id}");
        }
    }
}

#[test]
fn a_run_of_pubacks_is_recorded_one_by_one() {
    let (mut world, [here, ..], publisher) = one_shard(Version::V5);
    world.send_bytes(publisher, &run_of(Version::V5, "t", 1..=COUNT));
    world.sync();
    let before = (*world.shards[0].counters(), counts(&world));
    // 1 was of the first message; 3 stays.
    world.send_bytes(
        here,
        &pubacks(Version::V311, (1..=COUNT + 1).filter(|id| *id != 3)),
    );
    let counters = *world.shards[0].counters();
    assert_eq!(
        counters.acknowledgement_runs - before.0.acknowledgement_runs,
        1
    );
    assert_eq!(counts(&world).2 - before.1.2, usize::from(COUNT));
    // Once more, and of what was never sent: nothing.
    world.send_bytes(here, &pubacks(Version::V311, [1, 2, 500]));
    assert_eq!(counts(&world).2 - before.1.2, usize::from(COUNT));
    let mut next = world.crash_now();
    let client = next.connect(Version::V311, "here", false);
    assert_eq!(next.payloads(client), ["2"]);
}

/// What the window has no room for is recorded as waiting, and moves on behind a run of acknowledgements.
#[test]
fn what_a_window_has_no_room_for_waits_in_the_store() {
    let (mut world, [here, ..], publisher) = one_shard(Version::V5);
    let window = world.rules().0.in_flight_to_client_max;
    for first in (0..window).step_by(usize::from(COUNT)) {
        let ids = first + 1..=first + COUNT;
        world.send_bytes(publisher, &run_of(Version::V5, "t", ids));
        world.sync();
    }
    let sent = world.payloads(here);
    assert!(sent.len() < usize::from(window));
    let mut next = world.crash_now();
    let client = next.connect(Version::V311, "here", false);
    let mut got = next.payloads(client);
    next.send_bytes(client, &pubacks(Version::V311, 1..=window));
    got.extend(next.payloads(client));
    let all = window.next_multiple_of(COUNT);
    assert_eq!(got, payloads([99].into_iter().chain(1..=all)));
}

#[test]
fn a_store_that_does_not_keep_up_is_given_no_runs() {
    let (mut world, [here, ..], publisher) = one_shard(Version::V5);
    world.pressure(StorePressure::Busy);
    world.send_bytes(publisher, &run_of(Version::V5, "t", 1..=COUNT));
    assert!(world.payloads(here).is_empty());
    world.pressure(StorePressure::Normal);
    world.send_bytes(publisher, &[]);
    assert_eq!(world.payloads(here), payloads(1..=COUNT));
}

/// A subscriber whose session lasts, on shard 1, and a publisher on shard 0, which has published to `t`.
fn two_shards(filter: &str) -> (World, Client, Client) {
    let mut world = durable(2);
    let subscriber = world.connect(Version::V311, &id_on(1, 2, "sub"), false);
    world.subscribe(subscriber, filter, QoS::AtLeastOnce);
    let publisher = world.connect(Version::V311, &id_on(0, 2, "pub"), true);
    world.send_bytes(publisher, &run_of(Version::V311, "t", [99]));
    world.send_bytes(subscriber, &pubacks(Version::V311, [1]));
    world.received(subscriber);
    world.received(publisher);
    world.store.held = true;
    (world, subscriber, publisher)
}

/// Optimisation: what goes to another shard in one piece is asked for once, and answered once.
#[test]
fn a_run_for_another_shard_is_asked_for_together() {
    let (mut world, subscriber, publisher) = two_shards("t");
    let sent = |world: &World| world.shards[1].counters().peer_messages_sent;
    let before = sent(&world);
    world.send_bytes(publisher, &run_of(Version::V311, "t", 1..=COUNT));
    assert_eq!(world.shards[0].awaited_parts.len(), 1);
    assert_eq!(world.payloads(subscriber), payloads(1..=COUNT));
    assert!(world.received(publisher).is_empty(), "nothing is stable");
    world.sync();
    assert_eq!(world.received(publisher), puback_lines());
    assert_eq!(sent(&world) - before, 1);
    assert!(world.shards[0].awaited_parts.is_empty());
    let mut next = world.crash_now();
    let client = next.connect(Version::V311, &id_on(1, 2, "sub"), false);
    assert_eq!(next.payloads(client), payloads(1..=COUNT));
}

/// Optimisation: the same for messages to several topics, which are no run.
#[test]
fn what_goes_to_another_shard_in_one_pack_is_asked_for_together() {
    let (mut world, subscriber, publisher) = two_shards("#");
    let mut bytes = Vec::new();
    for id in 1..=COUNT {
        let topic = if id % 2 == 0 { "even" } else { "odd" };
        bytes.extend(run_of(Version::V311, topic, [id]));
    }
    world.send_bytes(publisher, &bytes);
    assert_eq!(world.shards[0].awaited_parts.len(), 1);
    assert_eq!(world.payloads(subscriber), payloads(1..=COUNT));
    assert!(world.received(publisher).is_empty(), "nothing is stable");
    world.sync();
    assert_eq!(world.received(publisher), puback_lines());
    assert!(world.shards[0].awaited_parts.is_empty());
}

/// Two publishers, whose messages go into one pack by turns: each hears of its own.
#[test]
fn a_pack_of_several_publishers_is_answered_to_each() {
    let (mut world, subscriber, publisher) = two_shards("t");
    let other = world.connect(Version::V311, &id_on(0, 2, "other"), true);
    world.received(other);
    let now = world.now;
    for turn in 0..3 {
        let ids = [2 * turn + 1, 2 * turn + 2];
        for (client, bytes) in [
            (publisher, run_of(Version::V311, "t", ids)),
            (other, run_of(Version::V311, "t", [100 + turn])),
        ] {
            let (shard, fx) = world.shard_and_effects(0);
            assert_eq!(shard.on_bytes(client.conn, &bytes, now, fx), bytes.len());
        }
    }
    assert_eq!(world.shards[0].awaited_parts.len(), 6);
    world.run();
    assert_eq!(world.payloads(subscriber).len(), 9);
    world.sync();
    assert_eq!(world.received(publisher).len(), 6);
    assert_eq!(world.received(other).len(), 3);
    assert!(world.shards[0].awaited_parts.is_empty());
}

/// Messages of a pack that have to wait for a retained one are answered when they are stored, those before them do not
/// speak for them.
#[test]
fn held_messages_of_a_pack_are_answered_on_their_own() {
    let topic = topic_on(0, 3);
    let mut world = durable(3);
    let subscriber = world.connect(Version::V311, &id_on(2, 3, "sub"), false);
    world.subscribe(subscriber, "#", QoS::AtLeastOnce);
    let other = world.connect(Version::V311, &id_on(1, 3, "other"), true);
    let publisher = world.connect(Version::V311, &id_on(1, 3, "pub"), true);
    world.received(subscriber);
    world.received(publisher);
    world.store.held = true;
    // What the owner of the topic relays to the subscriber's shard is under way.
    world.held.push((0, 2));
    world.publish(other, &topic, QoS::AtLeastOnce, 50, true, "retained");
    let mut bytes = run_of(Version::V311, "free", [1, 2]);
    bytes.extend(run_of(Version::V311, &topic, [3, 4]));
    bytes.extend(run_of(Version::V311, "free", [5]));
    world.send_bytes(publisher, &bytes);
    assert_eq!(world.payloads(subscriber), ["1", "2", "5"]);
    world.sync();
    // They are asked for together.
    assert!(
        world.received(publisher).is_empty(),
        "3 and 4 are not there"
    );
    world.held.clear();
    world.run();
    assert_eq!(world.payloads(subscriber), ["retained", "3", "4"]);
    assert!(
        world.received(publisher).is_empty(),
        "nothing of that is stable"
    );
    world.sync();
    let expected: Vec<String> = (1..=5).map(|id| std::format!("PUBACK #{id} 00")).collect();
    assert_eq!(world.received(publisher), expected);
    assert!(
        world
            .shards
            .iter()
            .all(|shard| shard.awaited_parts.is_empty())
    );
}

/// A topic with a known route is not looked at again: one that breaks the limits must not get a route while the store is busy.
#[test]
fn a_topic_that_breaks_the_limits_is_refused_whatever_the_store_does() {
    let mut world = durable(1);
    let topic = "/".repeat(world.rules().0.topic_levels_max);
    for pressure in [StorePressure::Busy, StorePressure::Normal] {
        world.pressure(pressure);
        let publisher = world.connect(Version::V311, "pub", true);
        world.received(publisher);
        world.send_bytes(publisher, &run_of(Version::V311, &topic, [1, 2]));
        assert!(world.received(publisher).is_empty(), "{pressure:?}");
    }
    assert_eq!(world.shards[0].counters().topics_refused, 2);
}

/// A run ends where the acknowledgements that may wait end, as single messages do.
#[test]
fn no_more_answers_wait_than_may() {
    let limits = Limits {
        held_answers_max: 4,
        ..Limits::default()
    };
    let mut world = World::with_store(1, &limits, &Policy::default(), Some(ZERO));
    let subscriber = world.connect(Version::V311, "sub", false);
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.drop_connection(subscriber);
    let publisher = world.connect(Version::V311, "pub", true);
    world.received(publisher);
    world.store.held = true;
    world.send_bytes(publisher, &run_of(Version::V311, "t", 1..=COUNT));
    let connection = world.shards[0].connections.get(publisher.conn.0).unwrap();
    assert_eq!(connection.held_answers.len(), limits.held_answers_max);
    assert!(connection.parked.is_some());
    let counters = world.shards[0].counters();
    assert_eq!(
        (counters.publishes_received, counters.publishers_held),
        (4, 1)
    );
}

/// A world whose packets come in runs, or one by one: publishers, and subscribers whose sessions last, but for one.
struct Twin {
    w: World,
    in_runs: bool,
    publishers: Vec<Client>,
    subscribers: Vec<Option<Client>>,
}

/// What the subscribers are: version, QoS, Receive Maximum, whether the session ends with the connection.
const SUBSCRIBERS: [(Version, QoS, u16, bool); 8] = [
    (Version::V311, QoS::AtLeastOnce, 0, false),
    (Version::V5, QoS::AtLeastOnce, 5, false),
    (Version::V5, QoS::AtLeastOnce, 30, false),
    (Version::V311, QoS::ExactlyOnce, 0, false),
    (Version::V311, QoS::AtMostOnce, 0, false),
    (Version::V311, QoS::AtLeastOnce, 0, true),
    (Version::V5, QoS::ExactlyOnce, 7, false),
    (Version::V311, QoS::ExactlyOnce, 0, true),
];

/// What the publishers are: version, and whether the session ends with the connection.
const PUBLISHERS: [(Version, bool); 3] = [
    (Version::V311, true),
    (Version::V5, true),
    (Version::V31, false),
];

impl Twin {
    fn new(in_runs: bool, shard_count: usize) -> Self {
        let limits = Limits {
            // Some flows stay unfinished.
            receive_maximum: 10_000,
            ..Limits::default()
        };
        let mut w = World::with_store(shard_count, &limits, &Policy::default(), Some(ZERO));
        w.store.held = true;
        let mut publishers = Vec::new();
        for (version, clean) in PUBLISHERS {
            let id = std::format!("p{version:?}");
            publishers.push(w.connect(version, &id, clean));
        }
        let mut twin = Self {
            w,
            in_runs,
            publishers,
            subscribers: Vec::from([None; SUBSCRIBERS.len()]),
        };
        for (who, (_, qos, ..)) in SUBSCRIBERS.into_iter().enumerate() {
            let client = twin.connect(who);
            // One receiver each, and all of them.
            twin.w.subscribe(client, &std::format!("t/{who}"), qos);
            twin.w.subscribe(client, "all", qos);
        }
        twin.w.sync();
        twin
    }

    fn connect(&mut self, who: usize) -> Client {
        let (version, _, receive_maximum, clean) = SUBSCRIBERS[who];
        let mut properties = Vec::new();
        if version == Version::V5 {
            properties.push(Property::SessionExpiryInterval(1_000));
            properties.push(Property::ReceiveMaximum(receive_maximum));
        }
        let id = std::format!("s{who}");
        let client = self.w.connect_with(version, &id, clean, &properties);
        self.subscribers[who] = Some(client);
        client
    }

    /// A subscriber that may come back goes; or it comes, if it is away.
    fn come_or_go(&mut self, who: usize, goes: bool) {
        match self.subscribers[who] {
            Some(client) if goes && !SUBSCRIBERS[who].3 => {
                self.subscribers[who] = None;
                self.w.drop_connection(client);
            }
            None if !goes => {
                self.connect(who);
            }
            Some(_) | None => {}
        }
    }

    fn feed(&mut self, client: Client, packets: &[Vec<u8>]) {
        if self.in_runs {
            self.w.send_bytes(client, &packets.concat());
            return;
        }
        for packet in packets {
            self.w.send_bytes(client, packet);
        }
    }

    /// What a client gets; it answers what is to be answered and for which `is_answered` holds. First what it is sent anew, then the rest:
    /// runs of the one may come between single ones of the other.
    fn listen(
        &mut self,
        client: Client,
        mut is_answered: impl FnMut(usize) -> bool,
    ) -> (Vec<String>, Vec<String>) {
        let got = self.w.received(client);
        let mut packets = Vec::new();
        for (place, line) in got.iter().enumerate() {
            let id = line
                .split('#')
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let answer = match line.split(' ').next() {
                Some("PUBLISH") if line.contains(" q2 ") => Packet::PubRec,
                Some("PUBLISH") => Packet::PubAck,
                Some("PUBREC") => Packet::PubRel,
                Some("PUBREL") => Packet::PubComp,
                _ => continue,
            };
            if let Some(id) = id.and_then(|id| id.parse().ok())
                && is_answered(place)
            {
                packets.push(acks_of(client.version, answer, [id]));
            }
        }
        self.feed(client, &packets);
        got.into_iter()
            .partition(|line| line.starts_with("PUBLISH"))
    }

    /// The state, without the names of bodies; publishes by their order: a run that asks another shard has one number.
    fn state(&mut self) -> Vec<String> {
        let mut lines = self.w.dump();
        let mut publishes = Vec::new();
        for line in &mut lines {
            while let Some(at) = line.find("BodyId(") {
                let end = line[at..].find(')').unwrap();
                line.replace_range(at..=at + end, "body");
            }
            if let Some(place) = publish_in(line) {
                publishes.push(line[place].parse::<u64>().unwrap());
            }
        }
        publishes.sort_unstable();
        publishes.dedup();
        for line in &mut lines {
            if let Some(place) = publish_in(line) {
                let publish = line[place.clone()].parse().unwrap();
                let rank = publishes.binary_search(&publish).unwrap();
                line.replace_range(place, &std::format!("{rank:04}"));
            }
        }
        lines.sort();
        lines
    }
}

/// Where the number of a publish stands in a record.
fn publish_in(line: &str) -> Option<core::ops::Range<usize>> {
    let at = line.find("publish: ")? + "publish: ".len();
    let digits = |byte: &u8| byte.is_ascii_digit();
    let start = at + line.as_bytes()[at..].iter().position(digits)?;
    let len = line.as_bytes()[start..]
        .iter()
        .take_while(|byte| digits(byte));
    Some(start..start + len.count())
}

/// Whatever the receivers, their windows and what they acknowledge when: runs are recorded as their packets are, and what
/// comes back after a crash is the same.
#[test]
fn a_run_leaves_the_state_that_its_packets_leave() {
    for shard_count in [1, 2] {
        leave_the_same(shard_count);
    }
}

fn leave_the_same(shard_count: usize) {
    let mut twins = [true, false].map(|in_runs| Twin::new(in_runs, shard_count));
    let mut random = 7_u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % below
    };
    let mut id = 0;
    for round in 0..200 {
        let topic = match next(9) {
            8 => String::from("all"),
            who => std::format!("t/{who}"),
        };
        let publisher = next(3) as usize;
        let qos = QoS::from_bits(u8::try_from(1 + next(2)).unwrap()).unwrap();
        let first = id + 1;
        id += u16::try_from(next(40)).unwrap();
        let who = next(8) as usize;
        let (comes_and_goes, acknowledges, syncs) = (next(8) == 0, next(8), next(2) == 0);
        // A client that is in the wrong: an identifier comes again before its flow has ended.
        let known = (next(6) == 0).then(|| next(20) as usize);
        let is_answered = |place| match acknowledges {
            0 => false,
            1 => place % 7 != 3,
            2 => place < 5,
            _ => true,
        };
        let mut said = Vec::new();
        for twin in &mut twins {
            let client = twin.publishers[publisher];
            let mut packets = packets_of(client.version, &topic, qos, first..=id);
            if let Some(packet) = known.and_then(|place| packets.get(place)).cloned() {
                packets.insert(packets.len() / 2, packet);
            }
            twin.feed(client, &packets);
            twin.come_or_go(who, comes_and_goes);
            // In order, with gaps, or only some.
            let subscriber = twin.subscribers[who];
            let got = subscriber.map(|client| twin.listen(client, is_answered));
            if syncs {
                twin.w.sync();
            }
            let heard = twin.listen(client, is_answered);
            let memory: usize = twin.w.shards.iter().map(Shard::memory_bytes).sum();
            said.push((got, heard, memory));
        }
        assert_eq!(said[0], said[1], "round {round}");
        if round % 10 == 9 {
            for twin in &mut twins {
                twin.w.sync();
            }
            let [runs, single] = twins.each_mut().map(Twin::state);
            let differ = runs.iter().zip(&single).find(|(one, other)| one != other);
            assert_eq!(differ, None, "round {round}");
            assert_eq!(runs.len(), single.len(), "round {round}");
            let again = twins.each_mut().map(|twin| {
                let mut again = twin.w.crash_now();
                assert_eq!(again.references(), again.references_held());
                again.store.held = false;
                let client = again.connect(Version::V311, &std::format!("s{who}"), false);
                again.payloads(client)
            });
            assert_eq!(again[0], again[1], "round {round}");
        }
    }
    let [runs, single] = &twins;
    let runs_of = |twin: &Twin| {
        let counters = twin.w.shards.iter().map(|shard| *shard.counters());
        counters.fold((0, 0), |sum, c| {
            (sum.0 + c.publish_runs, sum.1 + c.acknowledgement_runs)
        })
    };
    assert!(runs_of(runs).0 < runs_of(single).0 && runs_of(runs).1 < runs_of(single).1);
}
