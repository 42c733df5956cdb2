//! What is inside the packets of 3.1.1, right and wrong.

use super::{accept, encoded, field, frame, refused};
use crate::DecodeErrorKind as Kind;
use crate::{
    ConnectPeek, DecodeErrorKind, Field, Packet, QoS, ReasonCode, Sender, TopicErrorKind, Version,
    peek_connect,
};
use std::vec::Vec;

/// CONNECT of 3.1.1; its payload starts at byte 12.
fn connect(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = std::vec![b"\x00\x04MQTT\x04"];
    let flags = [flags, 0, 60];
    parts.push(&flags);
    parts.extend(payload);
    frame(0x10, &parts)
}

#[track_caller]
fn check(
    sender: Sender,
    bytes: &[u8],
    kind: DecodeErrorKind,
    wrong: Field,
    at: usize,
    statement: &'static str,
) {
    let Err(error) = crate::decode(bytes, super::rules(Version::V311, sender)) else {
        panic!("{bytes:02X?}")
    };
    refused(
        Version::V311,
        sender,
        bytes,
        (kind, wrong, at, error.reason(), Some(statement)),
    );
}

#[track_caller]
fn from_client(
    bytes: &[u8],
    kind: DecodeErrorKind,
    wrong: Field,
    at: usize,
    statement: &'static str,
) {
    check(Sender::Client, bytes, kind, wrong, at, statement);
}

#[test]
fn a_full_connect() {
    //= mqtt311 3.1.3-1 test
    //= mqtt311 3.1.3-3 test
    //= mqtt311 3.1.2-9 test
    //= mqtt311 3.1.2-19 test
    //= mqtt311 3.1.2-21 test
    let bytes = connect(
        0xEC,
        &[
            &field("me"),
            &field("w"),
            &field(b"\xFFbye"),
            &field("u"),
            &field(b"\x00"),
        ],
    );
    let packet = accept(Version::V5, Sender::Client, &bytes);
    let Packet::Connect(connect) = packet else {
        panic!()
    };
    assert_eq!(
        (connect.version, connect.clean_start, connect.keep_alive_s),
        (Version::V311, false, 60)
    );
    assert!(connect.properties.is_empty());
    let will = connect.will.unwrap();
    assert_eq!(
        (will.qos, will.retain, will.payload),
        (QoS::AtLeastOnce, true, &b"\xFFbye"[..])
    );
    assert_eq!(
        (connect.user_name, connect.password),
        (Some("u"), Some(&b"\x00"[..]))
    );
    assert_eq!(encoded(&packet, Version::V311), bytes);
}

#[test]
fn connect_that_breaks_the_format() {
    //= mqtt311 3.1.2-1 test
    let name = frame(0x10, &[b"\x00\x04MQTX\x04\x02\x00\x3C", &field("")]);
    from_client(
        &name,
        Kind::UnsupportedProtocolName,
        Field::ProtocolName,
        2,
        "MQTT-3.1.2-1",
    );
    //= mqtt311 3.1.2-2 test
    let level = frame(0x10, &[b"\x00\x04MQTT\x07\x02\x00\x3C", &field("")]);
    from_client(
        &level,
        Kind::UnsupportedProtocolVersion,
        Field::ProtocolLevel,
        8,
        "MQTT-3.1.2-2",
    );
    //= mqtt311 3.1.2-3 test
    from_client(
        &connect(3, &[&field("")]),
        Kind::ConnectFlagsReserved,
        Field::ConnectFlags,
        9,
        "MQTT-3.1.2-3",
    );
    //= mqtt311 3.1.2-11 test
    //= mqtt311 3.1.2-13 test
    //= mqtt311 3.1.2-15 test
    for flags in [0x08, 0x10, 0x18, 0x20] {
        let bytes = connect(flags, &[&field("x")]);
        from_client(
            &bytes,
            Kind::WillBitsWithoutWill,
            Field::ConnectFlags,
            9,
            "MQTT-3.1.2-11",
        );
    }
    //= mqtt311 3.1.2-14 test
    let qos_3 = connect(0x1C, &[&field("x"), &field("t"), &field("")]);
    from_client(
        &qos_3,
        Kind::QoSReserved,
        Field::ConnectFlags,
        9,
        "MQTT-3.1.2-14",
    );
    //= mqtt311 3.1.2-22 test
    let password = connect(0x40, &[&field("x"), &field("p")]);
    from_client(
        &password,
        Kind::PasswordWithoutUserName,
        Field::ConnectFlags,
        9,
        "MQTT-3.1.2-22",
    );
    //= mqtt311 3.1.2-18 test
    //= mqtt311 3.1.2-20 test
    for flags in [0x02, 0x80] {
        let surplus = connect(flags, &[&field("x"), &field("u"), &field("p")]);
        let at = if flags == 0x02 { 15 } else { 18 };
        from_client(
            &surplus,
            Kind::TrailingBytes,
            Field::EndOfPacket,
            at,
            "MQTT-3.1.4-1",
        );
    }
    let missing = connect(0xC2, &[&field("x"), &field("u")]);
    from_client(
        &missing,
        Kind::Truncated,
        Field::Password,
        18,
        "MQTT-3.1.4-1",
    );
}

#[test]
fn strings_are_utf8_without_nul() {
    //= mqtt311 1.5.3-1 test
    //= mqtt311 3.1.3-4 test
    from_client(
        &connect(2, &[&field(b"\xED\xA0\x80")]),
        Kind::InvalidUtf8,
        Field::ClientIdentifier,
        14,
        "MQTT-1.5.3-1",
    );
    //= mqtt311 3.1.3-10 test
    let will = connect(6, &[&field(""), &field(b"\xFF"), &field("")]);
    from_client(
        &will,
        Kind::InvalidUtf8,
        Field::WillTopic,
        16,
        "MQTT-1.5.3-1",
    );
    //= mqtt311 3.1.3-11 test
    let user = connect(0x82, &[&field(""), &field(b"u\xFF")]);
    from_client(
        &user,
        Kind::InvalidUtf8,
        Field::UserName,
        17,
        "MQTT-1.5.3-1",
    );
    //= mqtt311 1.5.3-2 test
    from_client(
        &connect(2, &[&field("a\0")]),
        Kind::Nul,
        Field::ClientIdentifier,
        15,
        "MQTT-1.5.3-2",
    );
    //= mqtt311 1.5.3-3 test
    let bytes = frame(0x30, &[&field("\u{FEFF}t"), b"x"]);
    let Packet::Publish(publish) = accept(Version::V311, Sender::Client, &bytes) else {
        panic!()
    };
    assert_eq!(publish.topic.unwrap().as_str().as_bytes(), b"\xEF\xBB\xBFt");
}

#[test]
fn publish() {
    //= mqtt311 3.3.2-1 test
    //= mqtt311 2.3.1-5 test
    let bytes = frame(0x34, &[&field("a/b"), &[1, 2], b"\x00payload"]);
    let packet = accept(Version::V311, Sender::Server, &bytes);
    let Packet::Publish(publish) = packet else {
        panic!()
    };
    assert_eq!(
        (publish.qos, publish.packet_id.unwrap().get()),
        (QoS::ExactlyOnce, 0x0102)
    );
    assert_eq!(
        (publish.topic.unwrap().as_str(), publish.payload),
        ("a/b", &b"\x00payload"[..])
    );
    assert_eq!(encoded(&packet, Version::V311), bytes);
    let Packet::Publish(plain) =
        accept(Version::V311, Sender::Client, b"\x31\x05\x00\x01t\x00\x01")
    else {
        panic!()
    };
    assert_eq!(
        (plain.packet_id, plain.payload, plain.retain),
        (None, &[0, 1][..], true)
    );
    //= mqtt311 3.3.2-2 test
    from_client(
        b"\x30\x05\x00\x03a/+",
        Kind::TopicNameWildcard,
        Field::TopicName,
        6,
        "MQTT-3.3.2-2",
    );
    from_client(
        &[0x30, 2, 0, 0],
        Kind::TopicNameEmpty,
        Field::TopicName,
        2,
        "MQTT-4.7.3-1",
    );
    //= mqtt311 2.3.1-1 test
    from_client(
        b"\x32\x05\x00\x01t\x00\x00",
        Kind::PacketIdentifierZero,
        Field::PacketIdentifier,
        5,
        "MQTT-2.3.1-1",
    );
    from_client(
        &[0x82, 6, 0, 0, 0, 1, b'a', 0],
        Kind::PacketIdentifierZero,
        Field::PacketIdentifier,
        2,
        "MQTT-2.3.1-1",
    );
    from_client(
        &[0xA2, 5, 0, 0, 0, 1, b'a'],
        Kind::PacketIdentifierZero,
        Field::PacketIdentifier,
        2,
        "MQTT-2.3.1-1",
    );
    from_client(
        b"\x32\x03\x00\x01t",
        Kind::Truncated,
        Field::PacketIdentifier,
        5,
        "MQTT-4.8.0-1",
    );
}

#[test]
fn subscribe_and_unsubscribe() {
    let bytes = frame(0x82, &[&[0, 7], &field("a/+"), &[2], &field("#"), &[0]]);
    let packet = accept(Version::V311, Sender::Client, &bytes);
    let Packet::Subscribe(subscribe) = packet else {
        panic!()
    };
    let filters: Vec<_> = subscribe
        .filters
        .iter()
        .map(|(filter, options)| (filter.as_str(), options.qos))
        .collect();
    assert_eq!(filters, [("a/+", QoS::ExactlyOnce), ("#", QoS::AtMostOnce)]);
    assert_eq!(encoded(&packet, Version::V311), bytes);
    //= mqtt311 3.8.3-4 test
    for options in [0x04, 0x08, 0x10, 0x80, 0x83] {
        let bytes = frame(0x82, &[&[0, 7], &field("a"), &[options]]);
        from_client(
            &bytes,
            Kind::SubscriptionOptionsReserved,
            Field::SubscriptionOptions,
            7,
            "MQTT-3.8.3-4",
        );
    }
    let qos_3 = frame(0x82, &[&[0, 7], &field("a"), &[3]]);
    from_client(
        &qos_3,
        Kind::SubscriptionQoSReserved,
        Field::SubscriptionOptions,
        7,
        "MQTT-3.8.3-4",
    );
    //= mqtt311 3.8.3-1 test
    let utf8 = frame(0x82, &[&[0, 7], &field(b"\xFF"), &[0]]);
    from_client(
        &utf8,
        Kind::InvalidUtf8,
        Field::TopicFilter,
        6,
        "MQTT-1.5.3-1",
    );
    //= mqtt311 3.8.3-3 test
    from_client(
        &[0x82, 2, 0, 7],
        Kind::NoTopicFilters,
        Field::TopicFilter,
        4,
        "MQTT-3.8.3-3",
    );
    let hash = frame(0x82, &[&[0, 7], &field("a#"), &[0]]);
    from_client(
        &hash,
        Kind::TopicFilter(TopicErrorKind::HashMisplaced),
        Field::TopicFilter,
        7,
        "MQTT-4.7.1-2",
    );

    let bytes = frame(0xA2, &[&[0, 7], &field("a/+"), &field("b")]);
    let packet = accept(Version::V311, Sender::Client, &bytes);
    assert_eq!(encoded(&packet, Version::V311), bytes);
    //= mqtt311 3.10.3-1 test
    let utf8 = frame(0xA2, &[&[0, 7], &field(b"\xFF")]);
    from_client(
        &utf8,
        Kind::InvalidUtf8,
        Field::TopicFilter,
        6,
        "MQTT-1.5.3-1",
    );
    //= mqtt311 3.10.3-2 test
    from_client(
        &[0xA2, 2, 0, 7],
        Kind::NoTopicFilters,
        Field::TopicFilter,
        4,
        "MQTT-3.10.3-2",
    );
}

#[test]
fn the_servers_answers() {
    for (code, reason) in [
        (0, ReasonCode::Success),
        (1, ReasonCode::UnsupportedProtocolVersion),
        (2, ReasonCode::ClientIdentifierNotValid),
        (3, ReasonCode::ServerUnavailable),
        (4, ReasonCode::BadUserNameOrPassword),
        (5, ReasonCode::NotAuthorized),
    ] {
        let bytes = [0x20, 2, 0, code];
        let packet = accept(Version::V311, Sender::Server, &bytes);
        let Packet::ConnAck(connack) = packet else {
            panic!()
        };
        assert_eq!(connack.reason, reason);
        assert_eq!(encoded(&packet, Version::V311), bytes);
    }
    let code = [0x20, 2, 0, 6];
    check(
        Sender::Server,
        &code,
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        3,
        "MQTT-4.8.0-1",
    );
    let flags = [0x20, 2, 2, 0];
    check(
        Sender::Server,
        &flags,
        Kind::AcknowledgeFlagsReserved,
        Field::AcknowledgeFlags,
        2,
        "MQTT-4.8.0-1",
    );
    //= mqtt311 3.2.2-4 test
    let present = [0x20, 2, 1, 5];
    check(
        Sender::Server,
        &present,
        Kind::SessionPresentInRefusal,
        Field::AcknowledgeFlags,
        2,
        "MQTT-3.2.2-4",
    );
    //= mqtt311 3.9.3-2 test
    let suback = [0x90, 6, 0, 7, 0, 1, 2, 0x80];
    let packet = accept(Version::V311, Sender::Server, &suback);
    assert_eq!(encoded(&packet, Version::V311), suback);
    let wrong = [0x90, 4, 0, 7, 0, 0x87];
    check(
        Sender::Server,
        &wrong,
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        5,
        "MQTT-3.9.3-2",
    );
    let unsuback = [0xB0, 2, 0, 7];
    let packet = accept(Version::V311, Sender::Server, &unsuback);
    assert_eq!(encoded(&packet, Version::V311), unsuback);
    for first in [0x40, 0x50, 0x62, 0x70] {
        let bytes = [first, 2, 0, 7];
        let packet = accept(Version::V311, Sender::Server, &bytes);
        assert_eq!(encoded(&packet, Version::V311), bytes);
        check(
            Sender::Server,
            &[first, 1, 0],
            Kind::Truncated,
            Field::PacketIdentifier,
            2,
            "MQTT-4.8.0-1",
        );
    }
}

#[test]
fn packets_without_a_body() {
    for (bytes, sender) in [
        ([0xC0, 0], Sender::Client),
        ([0xD0, 0], Sender::Server),
        ([0xE0, 0], Sender::Client),
    ] {
        for version in [Version::V31, Version::V311, Version::V5] {
            let packet = accept(version, sender, &bytes);
            assert_eq!(encoded(&packet, version), bytes);
        }
    }
}

#[test]
fn the_version_of_a_connect_can_be_seen_early() {
    for (bytes, expected) in [
        (
            &b"\x10\x0C\x00\x04MQTT\x05"[..],
            Some((Some(Version::V5), 5)),
        ),
        (b"\x10\x0C\x00\x04MQTT\x04", Some((Some(Version::V311), 4))),
        (b"\x10\x0C\x00\x06MQIsdp\x03", Some((Some(Version::V31), 3))),
        (b"\x10\x0C\x00\x04MQTT\x06", Some((None, 6))),
        (b"\x10\x0C\x00\x04MQTT\x03", Some((None, 3))),
        (b"\x10\x0C\x00\x06MQIsdp\x04", Some((None, 4))),
        (b"\x10\x0C\x00\x02hi\x05", Some((None, 5))),
        (b"\x10\x0C\x00\x04MQTT", None),
        (b"\x10", None),
        (b"", None),
        (b"\x20\x0C\x00\x04MQTT\x05", None),
    ] {
        let expected = expected.map(|(version, level)| ConnectPeek { version, level });
        assert_eq!(peek_connect(bytes), expected, "{bytes:02X?}");
    }
}
