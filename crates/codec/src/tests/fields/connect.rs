//! CONNECT and CONNACK of 5.0, field by field.

use super::{MALFORMED, PROTOCOL, connect};
use crate::DecodeErrorKind as Kind;
use crate::tests::{accept, encoded, field, frame, refuse, refused_v5_client, refused_v5_server};
use crate::{Field, Packet, PropertyId, QoS, ReasonCode, Sender, Version};

#[test]
fn a_full_connect() {
    //= mqtt5 3.1.3-1 test
    //= mqtt5 3.1.3-3 test
    //= mqtt5 3.1.2-9 test
    //= mqtt5 3.1.2-17 test
    //= mqtt5 3.1.2-19 test
    let bytes = connect(
        0b1111_0110,
        &[
            &[5, 0x11, 0, 0, 0, 10],
            &field("me"),
            &[5, 0x18, 0, 0, 0, 7],
            &field("last/words"),
            &field(b"\xFF\x00"),
            &field("user"),
            &field(b"\x00pass"),
        ],
    );
    let packet = accept(Version::V311, Sender::Client, &bytes);
    let Packet::Connect(connect) = packet else {
        panic!()
    };
    assert_eq!(connect.version, Version::V5);
    assert!(connect.clean_start);
    assert_eq!(connect.keep_alive_s, 60);
    assert_eq!(connect.properties.session_expiry_interval(), Some(10));
    assert_eq!(connect.client_id, "me");
    let will = connect.will.unwrap();
    assert_eq!((will.qos, will.retain), (QoS::ExactlyOnce, true));
    assert_eq!(will.properties.will_delay_interval(), Some(7));
    assert_eq!(
        (will.topic.as_str(), will.payload),
        ("last/words", &b"\xFF\x00"[..])
    );
    assert_eq!(connect.user_name, Some("user"));
    assert_eq!(connect.password, Some(&b"\x00pass"[..]));
    assert_eq!(encoded(&packet, Version::V5), bytes);
}

#[test]
fn in_v5_a_password_needs_no_user_name() {
    //= mqtt5 3.1.2-16 test
    //= mqtt5 3.1.2-18 test
    let bytes = connect(0b0100_0000, &[&[0], &field(""), &field("secret")]);
    let Packet::Connect(packet) = accept(Version::V5, Sender::Client, &bytes) else {
        panic!()
    };
    assert_eq!(
        (packet.user_name, packet.password),
        (None, Some(&b"secret"[..]))
    );
    assert_eq!(packet.client_id, "");
    // What no flag announces is surplus.
    for (flags, at) in [(0b1000_0000, 24), (0b0100_0000, 24), (0b0000_0000, 15)] {
        let surplus = connect(flags, &[&[0], &field(""), &field("unknown"), &field("x")]);
        let at = if flags == 0 { 15 } else { at };
        refused_v5_client(
            &surplus,
            Kind::TrailingBytes,
            Field::EndOfPacket,
            at,
            MALFORMED,
            "MQTT-3.1.4-1",
        );
    }
}

#[test]
fn protocol_name_and_level() {
    //= mqtt5 3.1.2-1 test
    let wrong = frame(0x10, &[b"\x00\x04MQTA\x05\x02\x00\x3C\x00", &field("")]);
    let reason = ReasonCode::UnsupportedProtocolVersion;
    refused_v5_client(
        &wrong,
        Kind::UnsupportedProtocolName,
        Field::ProtocolName,
        2,
        reason,
        "MQTT-3.1.2-1",
    );
    //= mqtt5 3.1.2-2 test
    for level in [0, 3, 6, 0x84, 255] {
        let mut wrong = connect(2, &[&[0], &field("")]);
        wrong[8] = level;
        let kind = Kind::UnsupportedProtocolVersion;
        refused_v5_client(
            &wrong,
            kind,
            Field::ProtocolLevel,
            8,
            reason,
            "MQTT-3.1.2-2",
        );
    }
}

#[test]
fn connect_flags() {
    //= mqtt5 3.1.2-3 test
    let reserved = connect(0b0000_0001, &[&[0], &field("")]);
    refused_v5_client(
        &reserved,
        Kind::ConnectFlagsReserved,
        Field::ConnectFlags,
        9,
        MALFORMED,
        "MQTT-3.1.2-3",
    );
    //= mqtt5 3.1.2-12 test
    let qos_3 = connect(
        0b0001_1100,
        &[&[0], &field(""), &[0], &field("t"), &field("")],
    );
    refused_v5_client(
        &qos_3,
        Kind::QoSReserved,
        Field::ConnectFlags,
        9,
        MALFORMED,
        "MQTT-3.1.2-12",
    );
    //= mqtt5 3.1.2-11 test
    //= mqtt5 3.1.2-13 test
    for flags in [0b0000_1000, 0b0001_0000, 0b0001_1000, 0b0010_0000] {
        let no_will = connect(flags, &[&[0], &field("")]);
        refused_v5_client(
            &no_will,
            Kind::WillBitsWithoutWill,
            Field::ConnectFlags,
            9,
            MALFORMED,
            "MQTT-3.1.2-11",
        );
    }
}

#[test]
fn strings_of_connect_are_utf8_without_nul() {
    //= mqtt5 1.5.4-1 test
    //= mqtt5 3.1.3-4 test
    let client_id = connect(2, &[&[0], &field(b"ab\xC3(")]);
    refused_v5_client(
        &client_id,
        Kind::InvalidUtf8,
        Field::ClientIdentifier,
        17,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    for surrogate in [&b"\xED\xA0\x80"[..], b"\xED\xBF\xBF"] {
        let bytes = connect(2, &[&[0], &field(surrogate)]);
        refused_v5_client(
            &bytes,
            Kind::InvalidUtf8,
            Field::ClientIdentifier,
            15,
            MALFORMED,
            "MQTT-1.5.4-1",
        );
    }
    //= mqtt5 3.1.3-11 test
    let topic = connect(6, &[&[0], &field(""), &[0], &field(b"\xFF"), &field("")]);
    refused_v5_client(
        &topic,
        Kind::InvalidUtf8,
        Field::WillTopic,
        18,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    //= mqtt5 3.1.3-12 test
    let user = connect(0x80, &[&[0], &field(""), &field(b"a\xC0\x80")]);
    refused_v5_client(
        &user,
        Kind::InvalidUtf8,
        Field::UserName,
        18,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    //= mqtt5 1.5.4-2 test
    let nul = connect(2, &[&[0], &field("abc\0d")]);
    refused_v5_client(
        &nul,
        Kind::Nul,
        Field::ClientIdentifier,
        18,
        MALFORMED,
        "MQTT-1.5.4-2",
    );
    let nul = connect(6, &[&[0], &field(""), &[0], &field("t\0"), &field("")]);
    refused_v5_client(
        &nul,
        Kind::Nul,
        Field::WillTopic,
        19,
        MALFORMED,
        "MQTT-4.7.3-2",
    );
    //= mqtt5 1.5.4-3 test
    let marks = connect(2, &[&[0], &field("\u{FEFF}a\u{FEFF}")]);
    let Packet::Connect(packet) = accept(Version::V5, Sender::Client, &marks) else {
        panic!()
    };
    assert_eq!(packet.client_id.as_bytes(), b"\xEF\xBB\xBFa\xEF\xBB\xBF");
}

#[test]
fn a_will_topic_is_a_topic_name() {
    let wildcard = connect(6, &[&[0], &field(""), &[0], &field("a/#"), &field("")]);
    let reason = ReasonCode::TopicNameInvalid;
    refused_v5_client(
        &wildcard,
        Kind::TopicNameWildcard,
        Field::WillTopic,
        20,
        reason,
        "MQTT-4.7.0-1",
    );
    let empty = connect(6, &[&[0], &field(""), &[0], &field(""), &field("")]);
    refused_v5_client(
        &empty,
        Kind::TopicNameEmpty,
        Field::WillTopic,
        16,
        PROTOCOL,
        "MQTT-4.7.3-1",
    );
}

#[test]
fn connect_that_ends_inside_a_field() {
    let whole = connect(
        0xF6,
        &[
            &[0],
            &field("me"),
            &[0],
            &field("t"),
            &field("p"),
            &field("u"),
            &field("w"),
        ],
    );
    accept(Version::V5, Sender::Client, &whole);
    for body_len in 0..whole.len() - 2 {
        let mut short = whole[..2 + body_len].to_vec();
        short[1] = body_len as u8;
        let error = refuse(Version::V5, Sender::Client, &short);
        assert_eq!(error.kind(), Kind::Truncated, "{body_len}");
        assert_eq!(error.statement(Version::V5), Some("MQTT-3.1.4-1"));
        let (field, at) = match body_len {
            0..6 => (Field::ProtocolName, 2),
            6 => (Field::ProtocolLevel, 8),
            7 => (Field::ConnectFlags, 9),
            8..10 => (Field::KeepAlive, 10),
            10 => (Field::PropertyLength, 12),
            11..15 => (Field::ClientIdentifier, 13),
            15 => (Field::PropertyLength, 17),
            16..19 => (Field::WillTopic, 18),
            19..22 => (Field::WillPayload, 21),
            22..25 => (Field::UserName, 24),
            _ => (Field::Password, 27),
        };
        assert_eq!((error.field(), error.offset()), (field, at), "{body_len}");
    }
}

#[test]
fn authentication_data_needs_a_method() {
    let data = connect(2, &[&[4, 0x16, 0, 1, 9], &field("")]);
    let field_of_data = Field::Property(PropertyId::AuthenticationData);
    refused_v5_client(
        &data,
        Kind::AuthenticationMethodMissing,
        field_of_data,
        12,
        PROTOCOL,
        None,
    );
    let connack = frame(0x20, &[&[0, 0, 4, 0x16, 0, 1, 9]]);
    refused_v5_server(
        &connack,
        Kind::AuthenticationMethodMissing,
        field_of_data,
        4,
        PROTOCOL,
        None,
    );
    accept(
        Version::V5,
        Sender::Client,
        &connect(2, &[&[8, 0x16, 0, 1, 9, 0x15, 0, 1, b'm'], &field("")]),
    );
}

#[test]
fn connack_of_v5() {
    //= mqtt5 3.2.2-1 test
    for flags in [2, 3, 0x80] {
        let bytes = [0x20, 3, flags, 0, 0];
        refused_v5_server(
            &bytes,
            Kind::AcknowledgeFlagsReserved,
            Field::AcknowledgeFlags,
            2,
            MALFORMED,
            "MQTT-3.2.2-1",
        );
    }
    //= mqtt5 3.2.2-6 test
    let bytes = [0x20, 3, 1, 0x87, 0];
    refused_v5_server(
        &bytes,
        Kind::SessionPresentInRefusal,
        Field::AcknowledgeFlags,
        2,
        PROTOCOL,
        "MQTT-3.2.2-6",
    );
    //= mqtt5 3.2.2-8 test
    for code in [1, 0x8B, 0x92, 0xFF] {
        let bytes = [0x20, 3, 0, code, 0];
        refused_v5_server(
            &bytes,
            Kind::ReasonCodeNotAllowed,
            Field::ReasonCode,
            3,
            PROTOCOL,
            "MQTT-3.2.2-8",
        );
    }
    // The property length is never left out here.
    //= mqtt5 2.2.2-1 test
    refused_v5_server(
        &[0x20, 2, 0, 0],
        Kind::Truncated,
        Field::PropertyLength,
        4,
        MALFORMED,
        "MQTT-2.2.2-1",
    );
    let bytes = [0x20, 8, 1, 0, 5, 0x21, 0, 9, 0x24, 1];
    let packet = accept(Version::V5, Sender::Server, &bytes);
    let Packet::ConnAck(connack) = packet else {
        panic!()
    };
    assert!(connack.session_present);
    assert_eq!(connack.properties.receive_maximum(), Some(9));
    assert_eq!(connack.properties.maximum_qos(), Some(1));
    assert_eq!(connack.properties.topic_alias_maximum(), None);
    assert_eq!(encoded(&packet, Version::V5), bytes);
}
