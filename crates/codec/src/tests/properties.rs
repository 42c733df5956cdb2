//! What holds for every packet and for every string of bytes.

use super::generate::{Seed, get, seed};
use super::{SENDERS, VERSIONS, encoded, rules};
use crate::{
    DecodeErrorKind, Decoded, Field, Packet, PacketType, Place, Properties, PropertyId, Rules,
    Sender, Version, decode,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::vec::Vec;

fn bytes_of(seed: &Seed) -> Vec<u8> {
    seed.with_packet(|packet| encoded(&packet, seed.version))
}

/// Decodes bytes that may be anything, and checks what must hold whatever they are.
fn decode_anything(bytes: &[u8], rules: Rules) {
    match decode(bytes, rules) {
        Ok(Decoded::Incomplete { at_least }) => assert!(at_least > bytes.len()),
        Ok(Decoded::Packet { packet, length }) => {
            assert!(length <= bytes.len());
            let version = if let Packet::Connect(connect) = packet {
                connect.version
            } else {
                rules.version
            };
            // What can be read can be written, in a form that is not longer and that stays as it
            // is.
            let canonical = encoded(&packet, version);
            assert!(canonical.len() <= length, "{packet:?}");
            let Ok(Decoded::Packet {
                packet: again,
                length,
            }) = decode(&canonical, rules)
            else {
                panic!("{canonical:02X?}");
            };
            assert_eq!(length, canonical.len());
            assert_eq!(encoded(&again, version), canonical);
            assert_eq!(std::format!("{packet:?}"), std::format!("{again:?}"));
        }
        Err(error) => {
            // The fault is inside what has arrived or right behind it, unless the header announces
            // what cannot be.
            let announced = error.kind() == DecodeErrorKind::TrailingBytes;
            assert!(error.offset() <= bytes.len() || announced, "{error:?}");
            assert!(error.reason().is_error());
            assert!(!std::format!("{error}").is_empty());
            for version in VERSIONS {
                let id = error.statement(version).unwrap_or("MQTT-");
                assert!(id.starts_with("MQTT-"));
            }
        }
    }
}

fn properties_of<'a>(packet: &Packet<'a>) -> Properties<'a> {
    match packet {
        Packet::Connect(packet) => packet.properties,
        Packet::ConnAck(packet) => packet.properties,
        Packet::Publish(packet) => packet.properties,
        Packet::PubAck(packet)
        | Packet::PubRec(packet)
        | Packet::PubRel(packet)
        | Packet::PubComp(packet) => packet.properties,
        Packet::Subscribe(packet) => packet.properties,
        Packet::Unsubscribe(packet) => packet.properties,
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => packet.properties,
        Packet::Disconnect(packet) => packet.properties,
        Packet::Auth(packet) => packet.properties,
        Packet::PingReq | Packet::PingResp => Properties::EMPTY,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_survives_encoding_and_decoding(seed in seed()) {
        seed.with_packet(|packet| {
            let bytes = encoded(&packet, seed.version);
            let decoded = decode(&bytes, rules(seed.version, seed.sender));
            assert_eq!(decoded, Ok(Decoded::Packet { packet, length: bytes.len() }), "{bytes:02X?}");
        });
    }

    #[test]
    fn half_a_packet_asks_for_more_and_never_for_too_much(seed in seed()) {
        let bytes = bytes_of(&seed);
        let rules = rules(seed.version, seed.sender);
        for arrived in 0..bytes.len() {
            let Ok(Decoded::Incomplete { at_least }) = decode(&bytes[..arrived], rules) else {
                panic!("{arrived} of {bytes:02X?}");
            };
            assert!(at_least > arrived && at_least <= bytes.len(), "{at_least} at {arrived} of {}", bytes.len());
            // With all length bytes there, the packet's length is known.
            let header_len = 1 + bytes[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
            if arrived >= header_len {
                assert_eq!(at_least, bytes.len());
            }
        }
    }

    #[test]
    fn packets_in_a_row_come_out_one_by_one(seeds in vec(seed(), 1..6)) {
        let (version, sender) = (seeds[0].version, seeds[0].sender);
        let packets: Vec<Vec<u8>> = seeds
            .iter()
            .filter(|seed| (seed.version, seed.sender) == (version, sender))
            .map(bytes_of)
            .collect();
        let stream = packets.concat();
        let mut rest = &stream[..];
        for expected in &packets {
            let Ok(Decoded::Packet { packet, length }) = decode(rest, rules(version, sender)) else {
                panic!("{rest:02X?}");
            };
            assert_eq!(&rest[..length], expected);
            assert_eq!(&encoded(&packet, version), expected);
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn getters_find_what_iterating_finds(seed in seed()) {
        seed.with_packet(|packet| {
            let properties = properties_of(&packet);
            for &id in PropertyId::ALL {
                let first = properties.iter().find(|property| property.id() == id);
                assert_eq!(get(properties, id), first);
                assert_eq!(properties.contains(id), first.is_some());
            }
            let raw: Vec<u8> = properties.iter_raw().flat_map(|(_, bytes)| bytes.to_vec()).collect();
            assert_eq!(raw, properties.as_bytes());
            assert_eq!(properties.iter().count(), properties.iter_raw().count());
        });
    }

    #[test]
    fn a_property_in_a_packet_that_cannot_have_it_is_refused(seed in seed()) {
        // Moves a legal block of properties into a DISCONNECT of the other side, and compares with
        // the table.
        seed.with_packet(|packet| {
            let properties = properties_of(&packet);
            let block = properties.as_bytes();
            if block.is_empty() || block.len() > 120 {
                return;
            }
            for sender in SENDERS {
                let mut bytes = std::vec![0xE0, block.len() as u8 + 2, 0, block.len() as u8];
                bytes.extend(block);
                let place = Place::Packet(PacketType::Disconnect);
                let mut offset = 4;
                let mut fault = None;
                let mut seen = Vec::new();
                for (id, raw) in properties.iter_raw() {
                    let repeated = seen.contains(&id) && !id.repeatable(place, sender);
                    if !id.allowed_in(place, sender) || repeated {
                        fault = Some((Field::Property(id), offset));
                        break;
                    }
                    seen.push(id);
                    offset += raw.len();
                }
                let found = decode(&bytes, rules(Version::V5, sender)).err().map(|error| (error.field(), error.offset()));
                assert_eq!(found, fault);
            }
        });
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..64), max_packet_size in any::<u32>()) {
        for version in VERSIONS {
            for sender in SENDERS {
                decode_anything(&bytes, rules(version, sender));
                decode_anything(&bytes, Rules { version, sender, max_packet_size });
            }
        }
    }

    #[test]
    fn damaged_packets_are_read_without_panic(
        seed in seed(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes_of(&seed);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        decode_anything(&bytes, rules(seed.version, seed.sender));
        bytes.truncate(cut.index(bytes.len() + 1));
        decode_anything(&bytes, rules(seed.version, seed.sender));
    }

    #[test]
    fn a_shortened_body_is_never_taken_for_the_whole(seed in seed(), cut in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&seed);
        // Small packets only, so that the length is one byte.
        if bytes.len() > 120 || bytes.len() < 3 {
            return Ok(());
        }
        let mut short = bytes[..2 + cut.index(bytes.len() - 2)].to_vec();
        short[1] = short.len() as u8 - 2;
        let decoded = decode(&short, rules(seed.version, seed.sender));
        if let Ok(Decoded::Packet { packet, .. }) = decoded {
            // Only where a packet may end early: payloads, lists, and what 5.0 and 3.1 let a sender
            // leave out.
            let may_end_early = matches!(
                packet.packet_type(),
                PacketType::Publish | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::SubAck
                    | PacketType::UnsubAck | PacketType::PubAck | PacketType::PubRec | PacketType::PubRel
                    | PacketType::PubComp | PacketType::Disconnect
            ) || (packet.packet_type() == PacketType::Connect && seed.version == Version::V31);
            assert!(may_end_early, "{packet:?}");
        }
    }
}

#[test]
fn every_packet_type_is_generated() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let drawn = seed().new_tree(&mut runner).unwrap().current();
        drawn.with_packet(|packet| {
            seen.insert((
                drawn.version,
                drawn.sender == Sender::Server,
                packet.packet_type(),
            ));
        });
    }
    // 3.x: 10 types from a client (all but the five of a server and AUTH), 9 from a server. 5.0: 11
    // from both.
    let expected = 2 * (10 + 9) + 11 + 11;
    assert_eq!(seen.len(), expected, "{seen:?}");
}
