//! Small messages cross between shards in packs.

use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{
    Packet, PacketId, PropertiesBuf, Property, Publish, QoS, SubscriptionOptions, TopicName,
    Version, topic_matches,
};

use super::world::{Client, World, id_on};

fn bytes(version: Version, qos: QoS, payload: &[u8], properties: &[Property<'_>]) -> Vec<u8> {
    bytes_to("t", version, qos, payload, properties)
}

fn bytes_to(
    topic: &str,
    version: Version,
    qos: QoS,
    payload: &[u8],
    properties: &[Property<'_>],
) -> Vec<u8> {
    let mut buf = PropertiesBuf::new();
    for property in properties {
        buf.push(*property);
    }
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::new(topic).unwrap()),
        packet_id: PacketId::new(u16::from(qos != QoS::AtMostOnce)),
        properties: buf.as_properties(),
        payload,
    };
    let mut out = Vec::new();
    Packet::Publish(publish).encode(version, &mut out).unwrap();
    out
}

fn pair(w: &mut World, subscriber: Version) -> (Client, Client) {
    let p = w.connect(Version::V5, &id_on(0, 2, "p"), true);
    let s = w.connect(subscriber, &id_on(1, 2, "s"), true);
    (p, s)
}

/// Optimisation: a tick's small messages are one piece for the other shard, and mere copies there.
#[test]
fn a_tick_of_small_messages_is_one_piece_for_another_shard() {
    let mut w = World::new(2);
    let (p, s) = pair(&mut w, Version::V5);
    w.subscribe(s, "t", QoS::AtMostOnce);
    w.received(s);
    let express_before = w.shards[1].counters().express_deliveries;
    let mut fx = crate::Effects::new(2);
    let all = bytes(Version::V5, QoS::AtMostOnce, b"x", &[]).repeat(100);
    w.shards[0].on_bytes(p.conn, &all, w.now, &mut fx);
    let batch = &mut fx.peers[1];
    assert_eq!((batch.len(), batch[0].count()), (1, 100));
    let counters = *w.shards[0].counters();
    assert!(counters.peer_messages_sent >= 100, "each of them counts");
    let now = w.now;
    let (shard, effects) = w.shard_and_effects(1);
    shard.on_peer_batch(0, batch, now, effects);
    assert_eq!(shard.counters().express_deliveries - express_before, 100);
    w.run();
    assert_eq!(w.payloads(s).len(), 100);
}

#[test]
fn a_pack_is_bounded() {
    let mut w = World::new(2);
    let (p, s) = pair(&mut w, Version::V5);
    w.subscribe(s, "t", QoS::AtMostOnce);
    let mut fx = crate::Effects::new(2);
    let all = bytes(Version::V5, QoS::AtMostOnce, &[7; 900], &[]).repeat(100);
    w.shards[0].on_bytes(p.conn, &all, w.now, &mut fx);
    let counts: Vec<usize> = fx.peers[1].iter().map(crate::PeerMessage::count).collect();
    assert_eq!(counts.iter().sum::<usize>(), 100);
    assert!(
        counts.len() >= 6 && counts.iter().all(|count| *count <= 18),
        "{counts:?}"
    );
}

/// Optimisation: twenty messages of one read are one look-up and one copy over there, too.
#[test]
fn a_run_is_a_run_on_another_shard() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut w = World::new(2);
        let (p, s) = pair(&mut w, Version::V5);
        w.subscribe(s, "t", QoS::ExactlyOnce);
        w.send_bytes(p, &bytes(Version::V5, QoS::AtMostOnce, b"first", &[]));
        w.received(s);
        let before = *w.shards[1].counters();
        let run: Vec<u8> = (0..20)
            .flat_map(|n| bytes(Version::V5, qos, &[b'a' + n], &[]))
            .collect();
        w.send_bytes(p, &run);
        let after = *w.shards[1].counters();
        // An identifier of QoS 2 that comes again is no new message.
        let count = if qos == QoS::ExactlyOnce { 1 } else { 20 };
        assert_eq!(after.express_deliveries - before.express_deliveries, count);
        assert_eq!(after.peer_runs - before.peer_runs, 1);
        assert!(after.route_cache_hits - before.route_cache_hits <= 1);
        assert_eq!(w.payloads(s).len() as u64, count);
    }
}

/// What cannot be packed (large, limited in time) keeps its place among what can.
#[test]
fn packed_and_other_messages_stay_in_order() {
    for version in [Version::V311, Version::V5] {
        let mut w = World::new(2);
        let (p, s) = pair(&mut w, version);
        w.subscribe(s, "t", QoS::AtLeastOnce);
        w.received(s);
        let large = "l".repeat(2_000);
        let mut all = Vec::new();
        let mut expected: Vec<String> = Vec::new();
        for round in 0..5 {
            let mut add = |qos, payload: &str, properties: &[Property<'_>]| {
                all.extend(bytes(Version::V5, qos, payload.as_bytes(), properties));
                expected.push(payload.into());
            };
            add(QoS::AtMostOnce, &std::format!("{round}-small"), &[]);
            add(QoS::AtLeastOnce, &std::format!("{round}-kept"), &[]);
            add(QoS::AtMostOnce, &large, &[]);
            let user = [Property::UserProperty("k", "v")];
            add(QoS::AtMostOnce, &std::format!("{round}-more"), &user);
            let expiry = [Property::MessageExpiryInterval(9)];
            add(QoS::AtMostOnce, &std::format!("{round}-limited"), &expiry);
        }
        w.send_bytes(p, &all);
        assert_eq!(w.payloads(s), expected);
    }
}

/// No Local and the properties hold for a packed message as for another.
#[test]
fn a_packed_message_says_who_sent_it_and_everything_else() {
    let mut w = World::new(2);
    let (p, s) = pair(&mut w, Version::V5);
    let mut no_local = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
    no_local.no_local = true;
    w.subscribe_with(s, "t", no_local);
    w.subscribe_with(p, "t", no_local);
    w.received(s);
    w.received(p);
    let user = [
        Property::UserProperty("unit", "W"),
        Property::ContentType("text/plain"),
    ];
    let published = bytes(Version::V5, QoS::ExactlyOnce, b"x", &user);
    let mut fx = crate::Effects::new(2);
    w.shards[0].on_bytes(p.conn, &published, w.now, &mut fx);
    assert_eq!(fx.dirty, [p.conn], "PUBREC");
    let mut slices: [&[u8]; 2] = [&[], &[]];
    let filled = w.shards[0].outbox(p.conn).unwrap().io_slices(&mut slices);
    assert_eq!(
        (filled, slices[0]),
        (1, &[0x50, 2, 0, 1][..]),
        "and nothing else"
    );
    assert_eq!(fx.peers[1][0].count(), 1);
    let now = w.now;
    let (shard, effects) = w.shard_and_effects(1);
    shard.on_peer_batch(0, &mut fx.peers[1], now, effects);
    let mut slices: [&[u8]; 2] = [&[], &[]];
    w.shards[1].outbox(s.conn).unwrap().io_slices(&mut slices);
    assert_eq!(slices[0], published, "with its properties");
}

/// Optimisation: so are messages for members of a shared subscription.
#[test]
fn offers_to_members_elsewhere_are_packed() {
    let mut w = World::new(2);
    let p = w.connect(Version::V311, &id_on(0, 2, "p"), true);
    let members: Vec<Client> = (0..2)
        .map(|shard| w.connect(Version::V311, &id_on(shard, 2, "m"), true))
        .collect();
    for member in &members {
        w.subscribe(*member, "$share/g/t", QoS::AtLeastOnce);
        w.received(*member);
    }
    let sent_before: u64 = (0..2)
        .map(|n| w.shards[n].counters().peer_messages_sent)
        .sum();
    for id in 1..=10 {
        w.publish(p, "t", QoS::AtLeastOnce, id, false, &std::format!("{id}"));
    }
    let sent: u64 = (0..2)
        .map(|n| w.shards[n].counters().peer_messages_sent)
        .sum();
    assert!(sent - sent_before >= 5);
    let got: Vec<usize> = members.iter().map(|m| w.payloads(*m).len()).collect();
    assert_eq!(got, [5, 5]);
}

/// Optimisation: where the messages of a pack go is looked up for several at once, if their topics are known, and by the
/// hash that came with them.
#[test]
fn known_topics_of_a_pack_are_looked_up_together() {
    let mut w = World::new(2);
    let (p, s) = pair(&mut w, Version::V311);
    w.subscribe(s, "t/+", QoS::AtMostOnce);
    w.received(s);
    let read: Vec<u8> = (0..40)
        .flat_map(|n| {
            let topic = std::format!("t/{n}");
            bytes_to(&topic, Version::V5, QoS::AtMostOnce, topic.as_bytes(), &[])
        })
        .collect();
    w.send_bytes(p, &read);
    let before = *w.shards[1].counters();
    assert_eq!(before.route_cache_misses, 40);
    w.received(s);
    w.send_bytes(p, &read);
    let after = *w.shards[1].counters();
    assert_eq!(after.route_cache_misses, 40, "they are found by that hash");
    assert_eq!(after.route_cache_hits - before.route_cache_hits, 40);
    // 16, 16 and 8.
    assert_eq!(after.looks_ahead - before.looks_ahead, 3);
    let expected: Vec<String> = (0..40).map(|n| std::format!("t/{n}")).collect();
    assert_eq!(w.payloads(s), expected);
    // The shard has it under the same hash from its own clients.
    let own = w.connect(Version::V5, &id_on(1, 2, "own"), true);
    w.send_bytes(own, &read);
    assert_eq!(w.shards[1].counters().route_cache_misses, 40);
    assert_eq!(w.payloads(s), expected);
}

/// Whatever stands in a pack, whatever was looked up ahead of it, and whatever has changed since the last one: each message is
/// for those who match its topic then.
#[test]
fn a_pack_goes_where_its_topics_match_at_that_time() {
    const TOPICS: [&str; 7] = ["t/0", "t/1", "t/2", "t/3", "u/0", "u/1", "g"];
    const FILTERS: [&str; 8] = ["t/0", "t/1", "t/+", "u/#", "u/1", "+/2", "#", "+/0"];
    let mut random = 7_u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    let mut w = World::new(2);
    let p = w.connect(Version::V5, &id_on(0, 2, "p"), true);
    let here: Vec<Client> = ["a", "b", "c"]
        .map(|name| w.connect(Version::V311, &id_on(1, 2, name), true))
        .into();
    // Its offers stand in the packs, too.
    let member = w.connect(Version::V311, &id_on(1, 2, "m"), true);
    w.subscribe(member, "$share/g/g", QoS::AtMostOnce);
    w.received(member);
    let mut filters: [Vec<&str>; 3] = Default::default();
    let mut delivered = 0;
    for round in 0..300 {
        for _ in 0..next(3) {
            let (who, filter) = (next(3), FILTERS[next(8)]);
            if let Some(at) = filters[who].iter().position(|other| *other == filter) {
                filters[who].remove(at);
                w.unsubscribe(here[who], filter);
            } else {
                filters[who].push(filter);
                w.subscribe(here[who], filter, QoS::AtMostOnce);
            }
            w.received(here[who]);
        }
        let mut read = Vec::new();
        let mut sent: Vec<(&str, String)> = Vec::new();
        for n in 0..next(50) {
            let topic = match sent.last() {
                // Runs.
                Some((last, _)) if next(3) == 0 => *last,
                _ => TOPICS[next(7)],
            };
            let payload = std::format!("{round}-{n}-{topic}");
            let user = [Property::UserProperty("k", "v")];
            let properties = if next(4) == 0 { &user[..] } else { &[] };
            let of = bytes_to(
                topic,
                Version::V5,
                QoS::AtMostOnce,
                payload.as_bytes(),
                properties,
            );
            read.extend(of);
            sent.push((topic, payload));
        }
        w.send_bytes(p, &read);
        let those = |takes: &dyn Fn(&str) -> bool| -> Vec<String> {
            let for_it = sent.iter().filter(|(topic, _)| takes(topic));
            for_it.map(|(_, payload)| payload.clone()).collect()
        };
        for (client, filters) in here.iter().zip(&filters) {
            let takes = |topic: &str| filters.iter().any(|filter| topic_matches(filter, topic));
            let expected = those(&takes);
            delivered += expected.len();
            assert_eq!(w.payloads(*client), expected, "round {round}");
        }
        assert_eq!(
            w.payloads(member),
            those(&|topic| topic == "g"),
            "round {round}"
        );
    }
    assert!(delivered > 1_000 && w.shards[1].counters().looks_ahead > 100);
}
