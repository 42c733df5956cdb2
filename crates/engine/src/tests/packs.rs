//! Small messages cross between shards in packs.

use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{
    Packet, PacketId, PropertiesBuf, Property, Publish, QoS, SubscriptionOptions, TopicName,
    Version,
};

use super::world::{Client, World, id_on};

fn bytes(version: Version, qos: QoS, payload: &[u8], properties: &[Property<'_>]) -> Vec<u8> {
    let mut buf = PropertiesBuf::new();
    for property in properties {
        buf.push(*property);
    }
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::new("t").unwrap()),
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
