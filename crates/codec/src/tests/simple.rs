//! The short ways for PUBLISH and acknowledgements say exactly what the long way says.

use super::rules;
use crate::frame::decode_any;
use crate::{
    Ack, Decoded, Packet, PacketId, PacketType, PropertiesBuf, Property, Publish, QoS, Rules,
    Sender, TopicName, Version, decode,
};
use std::vec;
use std::vec::Vec;

fn packets(version: Version) -> Vec<Vec<u8>> {
    let mut all = vec![];
    let mut properties = PropertiesBuf::new();
    for with_properties in [false, version.is_v5()] {
        if with_properties {
            properties.push(Property::MessageExpiryInterval(7));
            properties.push(Property::TopicAlias(1));
            properties.push(Property::UserProperty("a", "b"));
        }
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (topic, payload_len) in [("a/\u{e9}\u{1F600}", 3), ("t", 0), ("site/1", 200)] {
                let publish = Publish {
                    dup: qos != QoS::AtMostOnce,
                    qos,
                    retain: payload_len == 3,
                    topic: TopicName::new(topic).ok(),
                    packet_id: if qos == QoS::AtMostOnce {
                        None
                    } else {
                        PacketId::new(258)
                    },
                    properties: properties.as_properties(),
                    payload: &vec![b'+'; payload_len],
                };
                let mut bytes = vec![];
                Packet::Publish(publish)
                    .encode(version, &mut bytes)
                    .unwrap();
                all.push(bytes);
            }
        }
    }
    all
}

#[test]
fn both_ways_agree_on_whole_cut_and_mutated_packets() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for sender in [Sender::Client, Sender::Server] {
            for packet in packets(version) {
                let small = Rules {
                    max_packet_size: 100,
                    ..rules(version, sender)
                };
                for rules in [rules(version, sender), small] {
                    for cut in 0..=packet.len() {
                        let cut = &packet[..cut];
                        assert_eq!(decode(cut, rules), decode_any(cut, rules), "{cut:02X?}");
                    }
                    for at in 0..packet.len().min(40) {
                        for value in [0x00, 0x01, 0x23, 0x2B, 0x36, 0x7F, 0x80, 0xC3, 0xED, 0xFF] {
                            let mut mutated = packet.clone();
                            mutated[at] = value;
                            let (short, long) =
                                (decode(&mutated, rules), decode_any(&mutated, rules));
                            assert_eq!(short, long, "{mutated:02X?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_known_topic_is_taken_where_it_stands_and_changes_nothing() {
    for version in [Version::V311, Version::V5] {
        let rules = rules(version, Sender::Client);
        for packet in packets(version) {
            for known in ["t", "site/1", "a/\u{e9}\u{1F600}", "site/12"] {
                for at in 0..packet.len().min(40) {
                    for value in [packet[at], 0x00, 0x01, 0x2B, 0x80, 0xFF] {
                        let mut mutated = packet.clone();
                        mutated[at] = value;
                        let plain = Publish::decode_simple(&mutated, rules, None);
                        let knowing = Publish::decode_simple(&mutated, rules, Some(known));
                        assert_eq!(plain, knowing, "{mutated:02X?}");
                        if let Some((publish, _)) = knowing
                            && let Some(topic) = publish.topic
                            && topic.as_str() == known
                        {
                            assert!(core::ptr::eq(topic.as_str(), known), "it was compared only");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_its_own_of_a_repeated_publish_is_what_the_long_way_says() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let rules = rules(version, Sender::Client);
        let mut count = 0;
        for packet in packets(version) {
            for at in 0..packet.len().min(40) {
                for value in [
                    packet[at], 0x00, 0x01, 0x2B, 0x30, 0x31, 0x32, 0x3A, 0x80, 0xFF,
                ] {
                    let mut mutated = packet.clone();
                    mutated[at] = value;
                    assert_eq!(Publish::begins(&mutated), mutated[0] >> 4 == 3);
                    for known in ["t", "site/1"] {
                        let Some(repeated) = Publish::decode_repeated(&mutated, rules, known)
                        else {
                            continue;
                        };
                        let Ok(Decoded::Packet { packet, length }) = decode_any(&mutated, rules)
                        else {
                            panic!("{mutated:02X?} is wrong");
                        };
                        let Packet::Publish(publish) = packet else {
                            panic!("{mutated:02X?} is no PUBLISH");
                        };
                        assert_eq!(publish.topic.map(TopicName::as_str), Some(known));
                        assert!(!publish.retain && publish.properties.is_empty());
                        assert_eq!(
                            (publish.qos, publish.packet_id, publish.payload, length),
                            (
                                repeated.qos,
                                repeated.packet_id,
                                repeated.payload,
                                repeated.length
                            )
                        );
                        count += 1;
                    }
                }
            }
        }
        assert!(count > 100, "{version:?}: {count}");
    }
}

#[test]
fn a_run_of_acknowledgements_ends_where_something_else_begins() {
    let rules = rules(Version::V5, Sender::Client);
    let run = |bytes: &[u8]| {
        let run = Ack::decode_short_run(bytes, rules)?;
        let ids: Vec<u16> = run.ids().map(PacketId::get).collect();
        assert_eq!(ids.len(), run.packets().len());
        assert_eq!(run.packets().as_flattened(), &bytes[..4 * ids.len()]);
        Some((run.packet_type(), ids))
    };
    let one = [0x40, 2, 0, 1];
    // What stands behind it, how long the run is with that, and whether that begins another one.
    let behind: [(&[u8], usize, bool); 7] = [
        (&[0x40, 2, 1, 0], 2, true),
        (&[0x40, 2, 1], 1, false),
        (&[0x40, 2, 0, 0], 1, false),
        (&[0x40, 3, 0, 2, 0], 1, false),
        (&[0x50, 2, 0, 2], 1, true),
        (&[0x41, 2, 0, 2], 1, false),
        (&[], 1, false),
    ];
    for (behind, count, begins) in behind {
        let all = [&one, behind].concat();
        let (kind, ids) = run(&all).unwrap();
        assert_eq!(kind, PacketType::PubAck);
        assert_eq!(ids, [1, 256][..count]);
        assert_eq!(run(behind).is_some(), begins, "{behind:02X?}");
    }
}

#[test]
fn both_ways_agree_on_acknowledgements() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for sender in [Sender::Client, Sender::Server] {
            for max_packet_size in [3, 4, 1_000] {
                let rules = Rules {
                    max_packet_size,
                    ..rules(version, sender)
                };
                for first in 0..=255 {
                    for body_len in 0..=4 {
                        for id in [0, 1, 0x0100] {
                            let [high, low] = u16::to_be_bytes(id);
                            let bytes = [first, body_len, high, low, 0x00, 0x00];
                            for cut in 0..=bytes.len() {
                                let cut = &bytes[..cut];
                                let (short, long) = (decode(cut, rules), decode_any(cut, rules));
                                assert_eq!(short, long, "{cut:02X?}");
                            }
                        }
                    }
                }
            }
        }
    }
}
