//! The tables are organised by id and by code. The specification also lists both per packet:
//! written down here from there, so that a slip in a table shows.

use crate::{PacketType, Place, PropertyId, ReasonCode, Sender};
use std::vec::Vec;

/// Ids of the properties that a packet may have: from 3.1.2.11, 3.1.3.2, 3.2.2.3, 3.3.2.3 and so
/// on.
const PROPERTIES: [(Place, Sender, &[u8]); 22] = [
    (
        Place::Packet(PacketType::Connect),
        Sender::Client,
        &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
    ),
    (
        Place::Will,
        Sender::Client,
        &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
    ),
    (
        Place::Packet(PacketType::ConnAck),
        Sender::Server,
        &[
            0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
            0x28, 0x29, 0x2A,
        ],
    ),
    (
        Place::Packet(PacketType::Publish),
        Sender::Client,
        &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26],
    ),
    (
        Place::Packet(PacketType::Publish),
        Sender::Server,
        &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26],
    ),
    (
        Place::Packet(PacketType::PubAck),
        Sender::Client,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::PubAck),
        Sender::Server,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::PubRec),
        Sender::Client,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::PubRec),
        Sender::Server,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::PubRel),
        Sender::Client,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::PubRel),
        Sender::Server,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::PubComp),
        Sender::Client,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::PubComp),
        Sender::Server,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::Subscribe),
        Sender::Client,
        &[0x0B, 0x26],
    ),
    (
        Place::Packet(PacketType::SubAck),
        Sender::Server,
        &[0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::Unsubscribe),
        Sender::Client,
        &[0x26],
    ),
    (
        Place::Packet(PacketType::UnsubAck),
        Sender::Server,
        &[0x1F, 0x26],
    ),
    (Place::Packet(PacketType::PingReq), Sender::Client, &[]),
    (
        Place::Packet(PacketType::Disconnect),
        Sender::Client,
        &[0x11, 0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::Disconnect),
        Sender::Server,
        &[0x1C, 0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::Auth),
        Sender::Client,
        &[0x15, 0x16, 0x1F, 0x26],
    ),
    (
        Place::Packet(PacketType::Auth),
        Sender::Server,
        &[0x15, 0x16, 0x1F, 0x26],
    ),
];

#[test]
fn each_packet_may_have_the_properties_of_its_section() {
    for (place, sender, expected) in PROPERTIES {
        let allowed: Vec<u8> = PropertyId::ALL
            .iter()
            .filter(|id| id.allowed_in(place, sender))
            .map(|&id| id as u8)
            .collect();
        assert_eq!(allowed, expected, "{place:?} by {sender:?}");
    }
}

#[test]
fn only_user_properties_repeat_and_subscription_identifiers_to_clients() {
    for (place, sender, allowed) in PROPERTIES {
        for &id in PropertyId::ALL {
            let to_client = place == Place::Packet(PacketType::Publish) && sender == Sender::Server;
            let expected = allowed.contains(&(id as u8))
                && (id == PropertyId::UserProperty
                    || id == PropertyId::SubscriptionIdentifier && to_client);
            assert_eq!(
                id.repeatable(place, sender),
                expected,
                "{id:?} in {place:?} by {sender:?}"
            );
        }
    }
}

#[test]
fn what_a_server_hands_on_with_a_publish() {
    let forwarded: Vec<u8> = PropertyId::ALL
        .iter()
        .filter(|id| id.is_forwarded())
        .map(|&id| id as u8)
        .collect();
    assert_eq!(forwarded, [0x01, 0x03, 0x08, 0x09, 0x26]);
    assert_eq!(PropertyId::ALL.len(), 27);
}

/// Reason codes per packet: from 3.2.2.2, 3.4.2.1, 3.5.2.1 and so on.
const CONNACK: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
const PUBACK_BY_SERVER: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBACK_BY_CLIENT: &[u8] = &[0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL: &[u8] = &[0x00, 0x92];
const SUBACK: &[u8] = &[
    0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
];
const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECT_BY_CLIENT: &[u8] = &[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9B,
];
const DISCONNECT_BY_SERVER: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
    0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

const REASONS: [(PacketType, Sender, &[u8]); 18] = [
    (PacketType::ConnAck, Sender::Server, CONNACK),
    (PacketType::PubAck, Sender::Server, PUBACK_BY_SERVER),
    (PacketType::PubAck, Sender::Client, PUBACK_BY_CLIENT),
    (PacketType::PubRec, Sender::Server, PUBACK_BY_SERVER),
    (PacketType::PubRec, Sender::Client, PUBACK_BY_CLIENT),
    (PacketType::PubRel, Sender::Server, PUBREL),
    (PacketType::PubRel, Sender::Client, PUBREL),
    (PacketType::PubComp, Sender::Server, PUBREL),
    (PacketType::PubComp, Sender::Client, PUBREL),
    (PacketType::SubAck, Sender::Server, SUBACK),
    (PacketType::UnsubAck, Sender::Server, UNSUBACK),
    (PacketType::Disconnect, Sender::Client, DISCONNECT_BY_CLIENT),
    (PacketType::Disconnect, Sender::Server, DISCONNECT_BY_SERVER),
    (PacketType::Auth, Sender::Client, &[0x18, 0x19]),
    (PacketType::Auth, Sender::Server, &[0x00, 0x18]),
    (PacketType::Connect, Sender::Client, &[]),
    (PacketType::Publish, Sender::Server, &[]),
    (PacketType::SubAck, Sender::Client, &[]),
];

#[test]
fn each_packet_may_carry_the_reason_codes_of_its_section() {
    for (packet, sender, expected) in REASONS {
        let allowed: Vec<u8> = ReasonCode::ALL
            .iter()
            .filter(|reason| reason.allowed_in(packet, sender))
            .map(|reason| reason.as_u8())
            .collect();
        assert_eq!(allowed, expected, "{packet} by {sender:?}");
    }
}

#[test]
fn reason_codes_and_bytes_are_the_same_thing() {
    let mut known = 0;
    for byte in 0..=u8::MAX {
        match ReasonCode::try_from(byte) {
            Ok(reason) => {
                known += 1;
                assert_eq!(reason.as_u8(), byte);
                assert_eq!(reason.is_error(), byte >= 0x80);
            }
            Err(unknown) => assert_eq!(unknown, byte),
        }
    }
    assert_eq!(known, ReasonCode::ALL.len());
    assert_eq!(ReasonCode::NotAuthorized.name(), "not authorized");
    assert_eq!(
        std::format!("{}", ReasonCode::NotAuthorized),
        "not authorized (0x87)"
    );
}
