//! Packets in memory that messages go on using: for everybody else the same as those that are copied.

use alloc::sync::Arc;
use std::string::String;
use std::vec;
use std::vec::Vec;

use martlet_codec::{Packet, PacketId, PropertiesBuf, Property, Publish, QoS, TopicName, Version};

use super::world::{Client, World, id_on};

fn packet(version: Version, qos: QoS, retain: bool, size: usize, with: &[Property<'_>]) -> Vec<u8> {
    let mut properties = PropertiesBuf::new();
    for property in with.iter().filter(|_| version.is_v5()) {
        properties.push(*property);
    }
    let payload = [b'x'].repeat(size);
    let publish = Publish {
        dup: false,
        qos,
        retain,
        topic: Some(TopicName::new("t/u").unwrap()),
        packet_id: PacketId::new(7 * u16::from(qos != QoS::AtMostOnce)),
        properties: properties.as_properties(),
        payload: &payload,
    };
    let mut out = Vec::new();
    Packet::Publish(publish).encode(version, &mut out).unwrap();
    out
}

fn send(w: &mut World, from: Client, packet: &[u8], lend: bool) -> Arc<Vec<u8>> {
    let memory = Arc::new(packet.to_vec());
    if lend {
        let now = w.now;
        let (shard, fx) = w.shard_and_effects(from.shard);
        let used = shard.on_lent_bytes(from.conn, &memory, now, fx);
        assert_eq!(used, packet.len());
    } else {
        w.send_bytes(from, packet);
    }
    memory
}

/// Optimisation: what leaves is what was read, where it was read; when it has left, its reader has the memory back.
#[test]
fn a_large_payload_is_never_copied() {
    let mut w = World::new(1);
    let p = w.connect(Version::V5, "p", true);
    let s = w.connect(Version::V311, "s", true);
    w.subscribe(s, "t/u", QoS::AtLeastOnce);
    w.received(s);
    let packet = packet(Version::V5, QoS::AtLeastOnce, false, 50_000, &[]);
    let mut memory = send(&mut w, p, &packet, true);
    assert!(Arc::get_mut(&mut memory).is_none());
    let payload = &memory[memory.len() - 50_000..];
    let (shard, _) = w.shard_and_effects(0);
    let mut slices: [&[u8]; 8] = [&[]; 8];
    let count = shard.outbox(s.conn).unwrap().io_slices(&mut slices);
    assert!(
        slices[..count]
            .iter()
            .any(|slice| core::ptr::eq(*slice, payload))
    );
    w.run();
    assert_eq!(w.payloads(s).len(), 1);
    assert!(Arc::get_mut(&mut memory).is_some());
}

/// What needs a little of a large piece of memory must not hold all of it, and neither must one of several packets.
#[test]
fn memory_that_is_mostly_unused_is_not_held() {
    let mut w = World::new(1);
    let p = w.connect(Version::V5, "p", true);
    let s = w.connect(Version::V311, "s", true);
    w.subscribe(s, "t/u", QoS::AtLeastOnce);
    w.received(s);
    let packet = packet(Version::V5, QoS::AtMostOnce, false, 2_000, &[]);
    let mut roomy = Vec::with_capacity(4_000);
    roomy.extend_from_slice(&packet);
    for (bytes, count, is_held) in [
        (roomy, 1, false),
        (packet.repeat(2), 2, false),
        // Its payload is not what the memory ends with.
        ([&packet[..], b"\xc0\x00"].concat(), 1, false),
        (packet, 1, true),
    ] {
        let mut memory = Arc::new(bytes);
        let now = w.now;
        let (shard, fx) = w.shard_and_effects(0);
        let used = shard.on_lent_bytes(p.conn, &memory, now, fx);
        assert_eq!(used, memory.len());
        assert_eq!(Arc::get_mut(&mut memory).is_none(), is_held);
        w.run();
        let payload = "x".repeat(2_000);
        assert_eq!(w.payloads(s), vec![payload; count]);
        assert!(Arc::get_mut(&mut memory).is_some());
    }
}

/// Everybody who may get a message, in every way: now, later, elsewhere, in a group, as a retained one.
fn story(lend: bool) -> Vec<Vec<String>> {
    let mut w = World::new(2);
    let mut got = Vec::new();
    let expiry = [
        Property::MessageExpiryInterval(60),
        Property::ContentType("c"),
    ];
    for from in [Version::V311, Version::V5] {
        let p = w.connect(from, &id_on(0, 2, "p"), true);
        let away = id_on(0, 2, "away");
        let mut clients = Vec::new();
        for to in [Version::V311, Version::V5] {
            for shard in [0, 1] {
                let name = std::format!("s{to:?}");
                let s = w.connect(to, &id_on(shard, 2, &name), true);
                w.subscribe(s, "t/#", QoS::ExactlyOnce);
                clients.push(s);
            }
        }
        let member = w.connect(Version::V5, &id_on(1, 2, "member"), true);
        w.subscribe(member, "$share/g/t/u", QoS::AtLeastOnce);
        clients.push(member);
        let gone = w.connect(Version::V311, &away, false);
        w.subscribe(gone, "t/u", QoS::AtLeastOnce);
        w.drop_connection(gone);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            for retain in [false, true] {
                for size in [0, 20, 1_500, 60_000] {
                    for with in [&[][..], &expiry[1..], &expiry[..]] {
                        send(&mut w, p, &packet(from, qos, retain, size, with), lend);
                        w.run();
                    }
                }
            }
        }
        clients.extend([p, w.connect(Version::V311, &away, false)]);
        let late = w.connect(Version::V5, &id_on(1, 2, "late"), true);
        w.subscribe(late, "t/u", QoS::AtLeastOnce);
        clients.push(late);
        got.extend(clients.iter().map(|client| w.received(*client)));
        for client in clients {
            w.drop_connection(client);
        }
    }
    got
}

#[test]
fn it_makes_no_difference_to_anybody() {
    let (copied, lent) = (story(false), story(true));
    assert!(copied.iter().map(Vec::len).sum::<usize>() > 400);
    assert_eq!(copied, lent);
}
