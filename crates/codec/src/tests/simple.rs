//! The short ways for PUBLISH and acknowledgements say exactly what the long way says.

use super::rules;
use crate::frame::decode_any;
use crate::{Packet, PacketId};
use crate::{PropertiesBuf, Property, Publish, QoS, Rules, Sender, TopicName, Version, decode};
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
