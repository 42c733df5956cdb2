//! Packets that come in runs: they mean what they mean one by one, and are dealt with together.

use martlet_codec::{
    Ack, Packet, PacketId, Property, Publish, QoS, SubscriptionOptions, TopicName, Version,
};
use std::string::{String, ToString};
use std::vec::Vec;

use super::world::{Client, World, id_on};
use crate::{Counters, Limits, Shard};

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    bytes
}

fn publish(version: Version, topic: &str, qos: QoS, id: u16, payload: &str) -> Vec<u8> {
    let packet = Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::new(topic).unwrap()),
        packet_id: (qos != QoS::AtMostOnce).then(|| PacketId::new(id).unwrap()),
        properties: martlet_codec::Properties::EMPTY,
        payload: payload.as_bytes(),
    });
    encode(&packet, version)
}

fn acks(
    version: Version,
    ids: impl IntoIterator<Item = u16>,
    make: fn(Ack<'static>) -> Packet<'static>,
) -> Vec<Vec<u8>> {
    ids.into_iter()
        .map(|id| encode(&make(Ack::success(PacketId::new(id).unwrap())), version))
        .collect()
}

/// The identifiers in what a client got of one kind.
fn ids(got: &[String], prefix: &str, flag: &str) -> Vec<u16> {
    got.iter()
        .filter(|line| line.starts_with(prefix) && line.contains(flag))
        .filter_map(|line| line.split('#').nth(1)?.split(' ').next()?.parse().ok())
        .collect()
}

/// Optimisation: twenty PUBLISH packets of one read are one copy, twenty acknowledgements of one read one step.
#[test]
fn what_comes_in_one_read_is_dealt_with_at_once() {
    for version in [Version::V311, Version::V5] {
        let mut w = World::new(1);
        let s = w.connect(version, "s", true);
        let p = w.connect(version, "p", true);
        w.subscribe(s, "t", QoS::ExactlyOnce);
        // The route is looked up for the first one.
        w.send_bytes(p, &publish(version, "t", QoS::AtMostOnce, 0, "first"));
        w.received(s);
        w.received(p);
        for (round, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .enumerate()
        {
            let before = *w.shards[0].counters();
            let run: Vec<u8> = (1..=20)
                .flat_map(|n| publish(version, "t", qos, n, &n.to_string()))
                .collect();
            w.send_bytes(p, &run);
            let counters = *w.shards[0].counters();
            assert_eq!(counters.publish_runs - before.publish_runs, 1);
            assert_eq!(counters.packets_received - before.packets_received, 20);
            assert_eq!(counters.publishes_received - before.publishes_received, 20);
            assert_eq!(counters.express_deliveries - before.express_deliveries, 20);
            let got = w.received(s);
            let first = if round == 2 { 21 } else { 1 };
            let expected: Vec<String> = (0..20)
                .map(|n| match qos {
                    QoS::AtMostOnce => std::format!("PUBLISH t={} q0", n + 1),
                    QoS::AtLeastOnce | QoS::ExactlyOnce => {
                        std::format!("PUBLISH t={} q{} #{}", n + 1, qos as u8, first + n)
                    }
                })
                .collect();
            assert_eq!(got, expected);
            assert_eq!(w.received(p).len(), if round == 0 { 0 } else { 20 });
            let before = counters.acknowledgement_runs;
            let mut steps = 0;
            let mut answer = |w: &mut World, from: Client, first, kind: fn(Ack<'static>) -> _| {
                let all = acks(version, first..first + 20, kind).concat();
                w.send_bytes(from, &all);
                steps += 1;
            };
            match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => answer(&mut w, s, 1, Packet::PubAck),
                QoS::ExactlyOnce => {
                    answer(&mut w, s, 21, Packet::PubRec);
                    answer(&mut w, s, 21, Packet::PubComp);
                    answer(&mut w, p, 1, Packet::PubRel);
                    assert_eq!(ids(&w.received(s), "PUBREL", "").len(), 20);
                    assert_eq!(ids(&w.received(p), "PUBCOMP", "").len(), 20);
                }
            }
            let after = w.shards[0].counters().acknowledgement_runs;
            assert_eq!(after - before, steps);
        }
        assert_eq!(w.shards[0].memory_bytes(), 0);
    }
}

/// Optimisation: nobody keeps a copy of what was sent to a session that ends with its connection.
#[test]
fn what_a_passing_session_was_sent_is_not_kept() {
    for (clean, kept) in [(true, false), (false, true)] {
        let mut w = World::new(1);
        let s = w.connect(Version::V311, "s", clean);
        let p = w.connect(Version::V311, "p", true);
        w.subscribe(s, "t", QoS::AtLeastOnce);
        let payload = "x".repeat(900);
        for id in 1..=3 {
            w.publish(p, "t", QoS::AtLeastOnce, id, false, &payload);
        }
        w.received(s);
        assert_eq!(w.shards[0].memory_bytes() > 900, kept);
        w.drop_connection(s);
        let s = w.connect(Version::V311, "s", clean);
        assert_eq!(w.payloads(s).len(), if kept { 3 } else { 0 });
        for bytes in acks(Version::V311, 1..=3, Packet::PubAck) {
            w.send_bytes(s, &bytes);
        }
        assert_eq!(w.shards[0].memory_bytes(), 0);
    }
}

/// Optimisation: also not of what has waited for room in its window.
#[test]
fn what_a_passing_session_got_from_its_queue_is_not_kept() {
    for (clean, kept) in [(true, 2), (false, 4)] {
        let limits = Limits {
            in_flight_to_client_max: 2,
            ..Limits::default()
        };
        let mut w = World::with(1, &limits, &crate::Policy::default());
        let s = w.connect(Version::V311, "s", clean);
        let p = w.connect(Version::V311, "p", true);
        w.subscribe(s, "t", QoS::AtLeastOnce);
        let payload = "x".repeat(900);
        for id in 1..=6 {
            w.publish(p, "t", QoS::AtLeastOnce, id, false, &payload);
        }
        for bytes in acks(Version::V311, 1..=2, Packet::PubAck) {
            w.send_bytes(s, &bytes);
        }
        assert_eq!(w.payloads(s).len(), 4);
        assert_eq!(w.shards[0].memory_bytes() / 900, kept);
        for bytes in acks(Version::V311, 3..=6, Packet::PubAck) {
            w.send_bytes(s, &bytes);
        }
        assert_eq!(w.payloads(s).len(), 2);
        assert_eq!(w.shards[0].memory_bytes(), 0);
    }
}

/// A world with receivers of all sorts, in which packets come in runs or one by one.
struct Twin {
    w: World,
    in_runs: bool,
    receivers: Vec<Client>,
    publishers: Vec<Client>,
}

impl Twin {
    fn new(in_runs: bool, shard_count: usize, limits: &Limits) -> Self {
        let mut w = World::with(shard_count, limits, &crate::Policy::default());
        let mut receivers = Vec::new();
        for (n, version) in [Version::V311, Version::V5, Version::V311, Version::V5]
            .into_iter()
            .enumerate()
        {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let id = std::format!("s{n}{}", qos as u8);
                let narrow = [Property::ReceiveMaximum(5)];
                let properties: &[_] = if version.is_v5() && n == 1 {
                    &narrow
                } else {
                    &[]
                };
                let client = w.connect_with(version, &id, n < 2, properties);
                w.subscribe(client, if n == 3 { "a/+" } else { "a/b" }, qos);
                w.received(client);
                receivers.push(client);
            }
        }
        // Members of a group that gets its topic alone: one's window is narrow.
        for (n, version) in [Version::V311, Version::V5, Version::V5, Version::V311]
            .into_iter()
            .enumerate()
        {
            let narrow = [Property::ReceiveMaximum(3)];
            let properties: &[_] = if n == 1 { &narrow } else { &[] };
            let client = w.connect_with(version, &std::format!("g{n}"), n < 3, properties);
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce][n % 3];
            w.subscribe(client, "$share/g/alone", qos);
            w.received(client);
            receivers.push(client);
        }
        // One that has asked for something of its own, but nowhere else.
        let own = w.connect(Version::V5, "own", true);
        let mut options = SubscriptionOptions::with_qos(QoS::AtLeastOnce);
        options.no_local = true;
        w.subscribe_with(own, "a/c", options);
        w.received(own);
        receivers.push(own);
        let mut publishers = Vec::new();
        for version in [Version::V311, Version::V5] {
            let id = std::format!("p{version:?}");
            let client = w.connect(version, &id, true);
            w.received(client);
            publishers.push(client);
        }
        Self {
            w,
            in_runs,
            receivers,
            publishers,
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

    fn memory_bytes(&self) -> usize {
        self.w.shards.iter().map(Shard::memory_bytes).sum()
    }

    /// Of all shards.
    fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.w.shards {
            sum += *shard.counters();
        }
        sum
    }

    /// Everybody acknowledges what it got. Returns that, kind by kind: only between kinds the order may be another one.
    fn acknowledge(&mut self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for client in self
            .receivers
            .clone()
            .into_iter()
            .chain(self.publishers.clone())
        {
            let got = self.w.received(client);
            let mut answers = Vec::new();
            for (prefix, flag, kind) in [
                ("PUBLISH", " q1 ", Packet::PubAck as fn(_) -> _),
                ("PUBLISH", " q2 ", Packet::PubRec),
                ("PUBREC", "", Packet::PubRel),
                ("PUBREL", "", Packet::PubComp),
            ] {
                let mut ids = ids(&got, prefix, flag);
                // Some come twice, and some nobody has asked for.
                if ids.len() % 3 == 1 {
                    ids.insert(ids.len() / 2, 60_000);
                    ids.push(ids[0]);
                }
                answers.extend(acks(client.version, ids, kind));
            }
            self.feed(client, &answers);
            for prefix in ["PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP"] {
                let lines = got.iter().filter(|line| line.starts_with(prefix));
                all.push(lines.cloned().collect());
            }
        }
        all
    }
}

/// Whatever the receivers, the windows and the order of what comes: runs change nothing but the work.
#[test]
fn a_run_says_what_its_packets_say() {
    let (all, each) = say_the_same(1, &usual());
    assert_eq!(all.peer_runs, 0);
    // The second message to a topic in one read takes the long way to a group.
    assert!(all.express_deliveries.abs_diff(each.express_deliveries) < 100);
}

/// Nor do they where something is full, or a window narrow, in the middle of a run.
#[test]
fn a_run_says_what_its_packets_say_at_every_bound() {
    let narrow = |window| Limits {
        in_flight_to_client_max: window,
        ..usual()
    };
    let bounds = [
        narrow(1),
        narrow(2),
        Limits {
            session_queue_messages_max: 1_000,
            session_queue_bytes_max: 1_333,
            ..narrow(7)
        },
        Limits {
            group_queue_messages_max: 9,
            ..narrow(3)
        },
        Limits {
            group_queue_bytes_max: 777,
            ..narrow(3)
        },
    ];
    for limits in bounds {
        for shard_count in [1, 2] {
            let (all, _) = say_the_same(shard_count, &limits);
            assert!(all.queued > 1_000 && all.dropped_queue_full > 100);
        }
    }
}

fn usual() -> Limits {
    Limits {
        in_flight_to_client_max: 16,
        session_queue_messages_max: 30,
        ..Limits::default()
    }
}

/// Nor do they if receivers live elsewhere.
#[test]
fn a_run_says_what_its_packets_say_on_other_shards() {
    for shard_count in [2, 3] {
        let (all, each) = say_the_same(shard_count, &usual());
        assert!(all.peer_runs > 0);
        assert!(all.peer_runs < each.peer_runs);
    }
}

/// Returns the counters of a world that got runs and of one that got packets one by one.
fn say_the_same(shard_count: usize, limits: &Limits) -> (Counters, Counters) {
    let mut twins = [true, false].map(|in_runs| Twin::new(in_runs, shard_count, limits));
    let mut random = 1_u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % below
    };
    let mut id = 0_u16;
    for round in 0..60 {
        for publisher in 0..2 {
            let client = twins[0].publishers[publisher];
            let mut qos = QoS::AtMostOnce;
            let mut topic = "a/b";
            let mut packets = Vec::new();
            for _ in 0..next(40) {
                if next(6) == 0 {
                    qos = QoS::from_bits(u8::try_from(next(3)).unwrap()).unwrap();
                }
                // An identifier comes twice now and then.
                id += u16::from(next(12) != 0);
                if next(4) == 0 {
                    topic = ["a/b", "a/b", "alone", "alone", "a/c", "nobody"]
                        [usize::try_from(next(6)).unwrap()];
                }
                let payload = std::format!("{round}-{}", packets.len());
                let payload = payload.repeat(if next(30) == 0 { 400 } else { 1 });
                packets.push(publish(client.version, topic, qos, id.max(1), &payload));
            }
            for twin in &mut twins {
                let client = twin.publishers[publisher];
                twin.feed(client, &packets);
            }
        }
        for _ in 0..next(4) {
            let [a, b] = &mut twins;
            assert_eq!(a.acknowledge(), b.acknowledge(), "round {round}");
        }
    }
    for _ in 0..400 {
        let [a, b] = &mut twins;
        assert_eq!(a.acknowledge(), b.acknowledge());
    }
    let [runs, single] = &twins;
    assert_eq!(runs.memory_bytes(), single.memory_bytes());
    assert_eq!(runs.memory_bytes(), 0, "all is acknowledged");
    let (all, each) = (runs.counters(), single.counters());
    assert!(all.publish_runs < each.publish_runs && all.acknowledgement_runs > 0);
    assert!(all.acknowledgement_runs < each.acknowledgement_runs);
    assert!(each.queued > 0 && each.dropped_queue_full > 0);
    // What a member on another shard acknowledges in one read its group hears of at once.
    assert!(all.peer_messages_sent <= each.peer_messages_sent);
    let alike = Counters {
        peer_messages_sent: each.peer_messages_sent,
        publish_runs: each.publish_runs,
        acknowledgement_runs: each.acknowledgement_runs,
        // A message that comes alone is kept alone.
        group_pieces_sent: each.group_pieces_sent,
        peer_runs: each.peer_runs,
        route_cache_hits: each.route_cache_hits,
        looks_ahead: each.looks_ahead,
        express_deliveries: each.express_deliveries,
        ..all
    };
    assert_eq!(alike, each);
    (all, each)
}

/// Optimisation: where the messages of one read go is looked up for several at once, if their topics are known.
#[test]
fn known_topics_of_one_read_are_looked_up_together() {
    let mut w = World::new(1);
    let s = w.connect(Version::V311, "s", true);
    let p = w.connect(Version::V311, "p", true);
    w.subscribe(s, "t/+", QoS::AtLeastOnce);
    w.received(s);
    let round = |qos| -> Vec<u8> {
        let of = |n: u16| publish(Version::V311, &std::format!("t/{n}"), qos, n, "x");
        (1..=40).flat_map(of).collect()
    };
    w.send_bytes(p, &round(QoS::AtMostOnce));
    let before = *w.shards[0].counters();
    assert_eq!((before.route_cache_misses, before.publish_runs), (40, 0));
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        w.send_bytes(p, &round(qos));
    }
    let after = *w.shards[0].counters();
    assert_eq!(after.route_cache_hits - before.route_cache_hits, 80);
    assert_eq!(after.route_cache_misses, 40);
    // 16, 16 and 8 of each read.
    assert_eq!(after.looks_ahead - before.looks_ahead, 6);
    assert_eq!(w.received(s).len(), 120);
}

/// What comes between and what has changed since is seen: runs, offers, messages to nobody known, and a new subscriber.
#[test]
fn a_pack_of_everything_is_told_apart() {
    let mut w = World::new(2);
    let p = w.connect(Version::V311, &id_on(0, 2, "p"), true);
    let s = w.connect(Version::V311, &id_on(1, 2, "s"), true);
    let late = w.connect(Version::V311, &id_on(1, 2, "late"), true);
    w.subscribe(s, "t/+", QoS::AtLeastOnce);
    w.subscribe(s, "$share/g/u", QoS::AtLeastOnce);
    w.received(s);
    let topics = [
        "t/1", "t/2", "u", "t/3", "t/3", "t/3", "t/4", "u", "u", "t/1",
    ];
    let large = "l".repeat(2_000);
    for round in 0..4 {
        if round == 3 {
            w.subscribe(late, "t/3", QoS::AtMostOnce);
            w.received(late);
        }
        let mut bytes = Vec::new();
        let mut expected: Vec<String> = Vec::new();
        for (n, topic) in (0..).zip(topics.iter().cycle().take(50)) {
            let text = std::format!("{n}");
            let payload = if n % 17 == 0 { &large } else { &text };
            bytes.extend(publish(Version::V311, topic, QoS::AtMostOnce, 0, payload));
            expected.push(payload.clone());
        }
        w.send_bytes(p, &bytes);
        let mut got = w.payloads(s);
        // A group on the first shard hears of it earlier, and its offers stand elsewhere in the line.
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "round {round}");
        let heard = w.payloads(late);
        assert_eq!(heard.len(), if round == 3 { 15 } else { 0 });
        let numbers = heard.iter().filter_map(|text| text.parse::<u8>().ok());
        assert!(numbers.is_sorted(), "{heard:?}");
    }
}

/// What a message does not have in common with others stays its own, though its topic was looked up ahead.
#[test]
fn messages_that_need_more_than_a_look_ahead_get_it() {
    let mut w = World::new(1);
    let s = w.connect(Version::V311, "s", true);
    let p = w.connect(Version::V311, "p", true);
    w.subscribe(s, "t/+", QoS::AtLeastOnce);
    let of = |n: u16, retain| {
        let mut packet = publish(
            Version::V311,
            &std::format!("t/{n}"),
            QoS::AtMostOnce,
            0,
            "x",
        );
        packet[0] |= u8::from(retain);
        packet
    };
    for round in 0..3 {
        w.received(s);
        let bytes: Vec<u8> = (0..10).flat_map(|n| of(n, round > 0 && n == 4)).collect();
        w.send_bytes(p, &bytes);
        assert_eq!(w.received(s).len(), 10);
        assert_eq!(w.shards[0].retained_count(), usize::from(round > 0));
    }
}
