//! Bytes in any portions.

use martlet_codec::{Packet, PropertiesBuf, Publish, QoS, TopicName, Version};

use super::rig::{Rig, both};
use crate::machine::Config;
use crate::message::Message;

/// What a server may send after CONNACK: one packet of each kind.
fn script(version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |packet: Packet<'_>| packet.encode(version, &mut bytes).unwrap();
    for (id, qos, payload) in [
        (None, QoS::AtMostOnce, &b"zero"[..]),
        (Some(7), QoS::AtLeastOnce, &[b'x'; 300][..]),
        (Some(9), QoS::ExactlyOnce, b""),
    ] {
        put(Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: TopicName::new("t/opic").ok(),
            packet_id: id.and_then(martlet_codec::PacketId::new),
            properties: PropertiesBuf::new().as_properties(),
            payload,
        }));
    }
    put(Packet::PubAck(martlet_codec::Ack::success(
        martlet_codec::PacketId::new(2).unwrap(),
    )));
    put(Packet::PubRel(martlet_codec::Ack::success(
        martlet_codec::PacketId::new(9).unwrap(),
    )));
    put(Packet::PingResp);
    bytes
}

fn run(version: Version, portions: impl Iterator<Item = usize>) -> String {
    let mut rig = Rig::online(Config::new(version));
    let stream = rig.stream(&["t/#"], 2);
    let op = rig.send(Message::new("a", "mine").qos(1));
    let all = script(version);
    let mut waiting = Vec::new();
    let mut rest = &all[..];
    for portion in portions {
        let (now, later) = rest.split_at(portion.min(rest.len()));
        rest = later;
        waiting.extend_from_slice(now);
        let taken = rig.receive_bytes(&waiting);
        waiting.drain(..taken);
        assert!(waiting.is_empty() || rig.machine.needed() > waiting.len());
    }
    let taken = rig.receive_bytes(&[&waiting[..], rest].concat());
    assert_eq!(taken, waiting.len() + rest.len());
    let messages = rig.take(stream);
    format!("{messages:?} {:?} {}", rig.sent(), rig.fate(op))
}

#[test]
fn must_have_1_any_cut_gives_the_same_events() {
    for version in [Version::V311, Version::V5] {
        let length = script(version).len();
        let whole = run(version, std::iter::once(length));
        assert!(
            whole.contains("published") && whole.contains("PUBCOMP #9"),
            "{whole}"
        );
        for cut in 0..=length {
            assert_eq!(run(version, [cut].into_iter()), whole, "cut at {cut}");
        }
        for piece in 1..20 {
            assert_eq!(
                run(version, std::iter::repeat_n(piece, length)),
                whole,
                "{piece}"
            );
        }
    }
}

#[test]
fn must_have_1_ten_mebibytes_go_both_ways() {
    both(|config| {
        let mut rig = Rig::online(config);
        let stream = rig.stream(&["big"], 1);
        let payload = "x".repeat(10 << 20);
        rig.send(Message::new("big", &payload).qos(1));
        assert_eq!(rig.sent(), ["PUBLISH q1 #2 big=(10485760 bytes)"]);
        rig.publish(1, 1, "big", &payload, false);
        assert_eq!(rig.take(stream), [payload]);
    });
}

//= mqtt5 1.5.4-1 test
//= mqtt311 1.5.3-1 test
//= mqtt311 2.2.2-2 test
//= mqtt311 4.8.0-1 test
//= mqtt5 4.13.2-1 test
#[test]
fn must_have_1_hostile_bytes_end_the_connection_and_nothing_else() {
    both(|config| {
        let v5 = config.version.is_v5();
        for bytes in [
            &b"\x30\x05\x00\x03a\xffb"[..],
            b"\x00\x00",
            b"\xc0\x00",
            b"\x20\x02\x00\x00",
            b"\x30\xff\xff\xff\xff\x01",
            b"\x36\x05\x00\x01a\x00\x01",
            b"\x90\x03\x00\x01\x00\x90",
        ] {
            let mut rig = Rig::online(config.clone());
            let op = rig.send(Message::new("a", "1").qos(1));
            rig.sent();
            rig.transport.clear();
            rig.receive_bytes(bytes);
            assert_eq!(rig.receive_bytes(b"\xd0\x00"), 2, "the rest goes nowhere");
            if rig.transport.is_empty() {
                // A SUBACK that nobody asked for, which does no harm, and half a packet.
                continue;
            }
            assert_eq!(rig.transport, ["close"], "{bytes:?}");
            let farewell = rig.sent();
            assert_eq!(farewell.len(), usize::from(v5), "{farewell:?}");
            assert_eq!(rig.fate(op), "pending");
            rig.wait_for_open();
            rig.accept(false);
            assert!(rig.machine.state(rig.now).is_connected());
        }
    });
}

#[test]
fn must_have_1_random_bytes_never_panic() {
    both(|config| {
        let mut state = 1_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            u8::try_from(state >> 56).unwrap()
        };
        for _ in 0..3_000 {
            let mut rig = Rig::online(config.clone());
            let mut bytes = script(config.version);
            for _ in 0..3 {
                let at = usize::from(random()) % bytes.len();
                bytes[at] = random();
            }
            rig.receive_bytes(&bytes);
            rig.sent();
        }
    });
}
