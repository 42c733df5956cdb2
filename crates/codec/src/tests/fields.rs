//! What is inside the packets of 5.0, right and wrong.

use super::{accept, encoded, field, frame, refuse, refused_v5_client, refused_v5_server};
use crate::DecodeErrorKind as Kind;
use crate::{
    Field, Packet, Place, Property, PropertyId, QoS, ReasonCode, RetainHandling, Sender, Version,
};
use std::vec::Vec;

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL: ReasonCode = ReasonCode::ProtocolError;

/// CONNECT of 5.0 with these flags; its properties start at byte 12 with their length.
fn connect(flags: u8, behind_keep_alive: &[&[u8]]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = std::vec![b"\x00\x04MQTT\x05"];
    let flags = [flags, 0, 60];
    parts.push(&flags);
    parts.extend(behind_keep_alive);
    frame(0x10, &parts)
}

/// PUBLISH of QoS 0 to "t" with these properties (less than 128 bytes), which start at byte 6.
fn publish(properties: &[u8]) -> Vec<u8> {
    frame(0x30, &[&field("t"), &[properties.len() as u8], properties])
}

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

#[test]
fn publish_of_v5() {
    //= mqtt5 3.3.2-1 test
    //= mqtt5 2.2.1-2 test
    let bytes = frame(
        0x3B,
        &[&field("a/b"), &[0x12, 0x34], &[3, 0x23, 0, 5], b"payload"],
    );
    let packet = accept(Version::V5, Sender::Client, &bytes);
    let Packet::Publish(publish) = packet else {
        panic!()
    };
    assert_eq!(
        (publish.dup, publish.qos, publish.retain),
        (true, QoS::AtLeastOnce, true)
    );
    assert_eq!(publish.topic.unwrap().as_str(), "a/b");
    assert_eq!(publish.packet_id.unwrap().get(), 0x1234);
    assert_eq!(publish.properties.topic_alias(), Some(5));
    assert_eq!(publish.payload, b"payload");
    assert_eq!(encoded(&packet, Version::V5), bytes);
    // QoS 0: no identifier, the properties come right behind the topic.
    let Packet::Publish(plain) = accept(Version::V5, Sender::Client, b"\x30\x04\x00\x01t\x00")
    else {
        panic!()
    };
    assert_eq!((plain.packet_id, plain.payload), (None, &b""[..]));
}

#[test]
fn the_topic_of_a_publish() {
    let utf8 = frame(0x30, &[&field(b"a/\xFE"), &[0]]);
    refused_v5_client(
        &utf8,
        Kind::InvalidUtf8,
        Field::TopicName,
        6,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    //= mqtt5 3.3.2-2 test
    for (topic, at) in [("a/+", 6), ("#", 4), ("ab#c", 6)] {
        let bytes = frame(0x30, &[&field(topic), &[0]]);
        let reason = ReasonCode::TopicNameInvalid;
        refused_v5_client(
            &bytes,
            Kind::TopicNameWildcard,
            Field::TopicName,
            at,
            reason,
            "MQTT-3.3.2-2",
        );
    }
    let nul = frame(0x30, &[&field("a\0"), &[0]]);
    refused_v5_client(
        &nul,
        Kind::Nul,
        Field::TopicName,
        5,
        MALFORMED,
        "MQTT-4.7.3-2",
    );
    // Empty only where an alias stands for it.
    refused_v5_client(
        &[0x30, 3, 0, 0, 0],
        Kind::TopicNameEmpty,
        Field::TopicName,
        2,
        PROTOCOL,
        "MQTT-4.7.3-1",
    );
    let alias = [0x30, 6, 0, 0, 3, 0x23, 0, 1];
    let Packet::Publish(publish) = accept(Version::V5, Sender::Client, &alias) else {
        panic!()
    };
    assert_eq!(publish.topic, None);
    // The topic's length lies.
    let short = [0x30, 4, 0, 9, b't', 0];
    refused_v5_client(
        &short,
        Kind::Truncated,
        Field::TopicName,
        2,
        MALFORMED,
        None,
    );
}

#[test]
fn packet_identifier_0_is_none() {
    //= mqtt5 2.2.1-3 test
    //= mqtt5 2.2.1-4 test
    let id = "MQTT-2.2.1-3";
    let kind = Kind::PacketIdentifierZero;
    let publish = frame(0x32, &[&field("t"), &[0, 0, 0]]);
    refused_v5_client(&publish, kind, Field::PacketIdentifier, 5, PROTOCOL, id);
    refused_v5_server(&publish, kind, Field::PacketIdentifier, 5, PROTOCOL, id);
    let subscribe = frame(0x82, &[&[0, 0, 0], &field("t"), &[0]]);
    refused_v5_client(&subscribe, kind, Field::PacketIdentifier, 2, PROTOCOL, id);
    let unsubscribe = frame(0xA2, &[&[0, 0, 0], &field("t")]);
    refused_v5_client(&unsubscribe, kind, Field::PacketIdentifier, 2, PROTOCOL, id);
    for first in [0x40, 0x50, 0x62, 0x70] {
        refused_v5_client(
            &[first, 2, 0, 0],
            kind,
            Field::PacketIdentifier,
            2,
            PROTOCOL,
            id,
        );
    }
}

#[test]
fn acknowledgements_in_all_their_forms() {
    for (first, reason) in [(0x40, 0x10), (0x50, 0x97), (0x62, 0x92), (0x70, 0x92)] {
        let short = [first, 2, 0, 9];
        let packet = accept(Version::V5, Sender::Server, &short);
        assert_eq!(encoded(&packet, Version::V5), short);
        // Longer ways to say the same are understood, and written in the short form.
        assert_eq!(
            accept(Version::V5, Sender::Server, &[first, 3, 0, 9, 0]),
            packet
        );
        assert_eq!(
            accept(Version::V5, Sender::Server, &[first, 4, 0, 9, 0, 0]),
            packet
        );
        let with_reason = [first, 3, 0, 9, reason];
        let packet = accept(Version::V5, Sender::Server, &with_reason);
        assert_eq!(encoded(&packet, Version::V5), with_reason);
        let with_properties = [first, 8, 0, 9, reason, 4, 0x1F, 0, 1, b'x'];
        let packet = accept(Version::V5, Sender::Server, &with_properties);
        assert_eq!(encoded(&packet, Version::V5), with_properties);
        let (Packet::PubAck(ack)
        | Packet::PubRec(ack)
        | Packet::PubRel(ack)
        | Packet::PubComp(ack)) = packet
        else {
            panic!()
        };
        assert_eq!((ack.packet_id.get(), ack.reason.as_u8()), (9, reason));
        assert_eq!(ack.properties.reason_string(), Some("x"));
        let surplus = [first, 5, 0, 9, reason, 0, 7];
        refused_v5_server(
            &surplus,
            Kind::TrailingBytes,
            Field::EndOfPacket,
            6,
            MALFORMED,
            None,
        );
    }
}

#[test]
fn each_packet_refuses_reason_codes_of_others() {
    //= mqtt5 3.4.2-1 test
    //= mqtt5 3.5.2-1 test
    //= mqtt5 3.6.2-1 test
    //= mqtt5 3.7.2-1 test
    for (first, code, statement) in [
        (0x40, 0x92, "MQTT-3.4.2-1"),
        (0x50, 0x01, "MQTT-3.5.2-1"),
        (0x62, 0x10, "MQTT-3.6.2-1"),
        (0x70, 0x80, "MQTT-3.7.2-1"),
        (0x40, 0x05, "MQTT-3.4.2-1"),
    ] {
        let bytes = [first, 3, 0, 1, code];
        refused_v5_server(
            &bytes,
            Kind::ReasonCodeNotAllowed,
            Field::ReasonCode,
            4,
            PROTOCOL,
            statement,
        );
    }
    // "No matching subscribers" is a server's to say.
    accept(Version::V5, Sender::Server, &[0x40, 3, 0, 1, 0x10]);
    refused_v5_client(
        &[0x40, 3, 0, 1, 0x10],
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        4,
        PROTOCOL,
        "MQTT-3.4.2-1",
    );
    //= mqtt5 3.9.3-2 test
    let suback = [0x90, 6, 0, 1, 0, 0, 0x80, 0x11];
    refused_v5_server(
        &suback,
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        7,
        PROTOCOL,
        "MQTT-3.9.3-2",
    );
    //= mqtt5 3.11.3-2 test
    let unsuback = [0xB0, 5, 0, 1, 0, 0x11, 0x01];
    refused_v5_server(
        &unsuback,
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        6,
        PROTOCOL,
        "MQTT-3.11.3-2",
    );
    //= mqtt5 3.14.2-1 test
    for code in [0x8E, 0x01, 0x8B] {
        refused_v5_client(
            &[0xE0, 1, code],
            Kind::ReasonCodeNotAllowed,
            Field::ReasonCode,
            2,
            PROTOCOL,
            "MQTT-3.14.2-1",
        );
    }
    refused_v5_server(
        &[0xE0, 1, 0x04],
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        2,
        PROTOCOL,
        "MQTT-3.14.2-1",
    );
    //= mqtt5 3.15.2-1 test
    let auth = [0xF0, 6, 0x19, 4, 0x15, 0, 1, b'm'];
    accept(Version::V5, Sender::Client, &auth);
    refused_v5_server(
        &auth,
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        2,
        PROTOCOL,
        "MQTT-3.15.2-1",
    );
    let done = [0xF0, 6, 0x00, 4, 0x15, 0, 1, b'm'];
    accept(Version::V5, Sender::Server, &done);
    refused_v5_client(
        &done,
        Kind::ReasonCodeNotAllowed,
        Field::ReasonCode,
        2,
        PROTOCOL,
        "MQTT-3.15.2-1",
    );
}

#[test]
fn subscribe_of_v5() {
    let bytes = frame(
        0x82,
        &[
            &[0, 7, 2, 0x0B, 0x7F],
            &field("a/+"),
            &[0b0010_1110],
            &field("$share/g/b"),
            &[0b0001_0001],
        ],
    );
    let packet = accept(Version::V5, Sender::Client, &bytes);
    let Packet::Subscribe(subscribe) = packet else {
        panic!()
    };
    assert_eq!(subscribe.packet_id.get(), 7);
    assert_eq!(subscribe.properties.subscription_identifier(), Some(127));
    let filters: Vec<_> = subscribe.filters.iter().collect();
    assert_eq!((filters.len(), subscribe.filters.len()), (2, 2));
    let (filter, options) = filters[0];
    assert_eq!(filter.as_str(), "a/+");
    assert_eq!(
        (options.qos, options.no_local, options.retain_as_published),
        (QoS::ExactlyOnce, true, true)
    );
    assert_eq!(options.retain_handling, RetainHandling::Never);
    let (filter, options) = filters[1];
    assert_eq!(filter.share_name(), Some("g"));
    assert_eq!(
        (options.qos, options.retain_handling),
        (QoS::AtLeastOnce, RetainHandling::IfNew)
    );
    assert_eq!(encoded(&packet, Version::V5), bytes);
}

#[test]
fn what_is_wrong_with_a_subscribe() {
    let subscribe =
        |filter: &[u8], options: u8| frame(0x82, &[&[0, 1, 0], &field(filter), &[options]]);
    //= mqtt5 3.8.3-1 test
    refused_v5_client(
        &subscribe(b"\x80", 0),
        Kind::InvalidUtf8,
        Field::TopicFilter,
        7,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    //= mqtt5 3.8.3-2 test
    refused_v5_client(
        &[0x82, 3, 0, 1, 0],
        Kind::NoTopicFilters,
        Field::TopicFilter,
        5,
        PROTOCOL,
        "MQTT-3.8.3-2",
    );
    //= mqtt5 3.8.3-4 test
    let no_local = subscribe(b"$share/g/a", 4);
    refused_v5_client(
        &no_local,
        Kind::NoLocalOnSharedSubscription,
        Field::SubscriptionOptions,
        17,
        PROTOCOL,
        "MQTT-3.8.3-4",
    );
    //= mqtt5 3.8.3-5 test
    for options in [0x40, 0x80, 0xC1] {
        let bytes = subscribe(b"a", options);
        refused_v5_client(
            &bytes,
            Kind::SubscriptionOptionsReserved,
            Field::SubscriptionOptions,
            8,
            MALFORMED,
            "MQTT-3.8.3-5",
        );
    }
    refused_v5_client(
        &subscribe(b"a", 3),
        Kind::SubscriptionQoSReserved,
        Field::SubscriptionOptions,
        8,
        PROTOCOL,
        None,
    );
    refused_v5_client(
        &subscribe(b"a", 0x30),
        Kind::RetainHandlingReserved,
        Field::SubscriptionOptions,
        8,
        PROTOCOL,
        None,
    );
    // The options byte of the last filter is missing.
    let missing = frame(0x82, &[&[0, 1, 0], &field("a")]);
    refused_v5_client(
        &missing,
        Kind::Truncated,
        Field::SubscriptionOptions,
        8,
        MALFORMED,
        None,
    );
}

#[test]
fn a_filter_with_bad_syntax_is_topic_filter_invalid() {
    use crate::TopicErrorKind as Topic;
    for (filter, kind, at, statement) in [
        ("", Topic::Empty, 0, "MQTT-4.7.3-1"),
        ("a#", Topic::HashMisplaced, 1, "MQTT-4.7.1-1"),
        ("a/b+/c", Topic::PlusMisplaced, 3, "MQTT-4.7.1-2"),
        ("$share//a", Topic::ShareNameEmpty, 7, "MQTT-4.8.2-1"),
        ("$share/g", Topic::ShareFilterMissing, 8, "MQTT-4.8.2-2"),
        ("$share/+/a", Topic::ShareNameWildcard, 7, "MQTT-4.8.2-2"),
    ] {
        let reason = ReasonCode::TopicFilterInvalid;
        let subscribe = frame(0x82, &[&[0, 1, 0], &field(filter), &[0]]);
        refused_v5_client(
            &subscribe,
            Kind::TopicFilter(kind),
            Field::TopicFilter,
            7 + at,
            reason,
            statement,
        );
        let unsubscribe = frame(0xA2, &[&[0, 1, 0], &field(filter)]);
        refused_v5_client(
            &unsubscribe,
            Kind::TopicFilter(kind),
            Field::TopicFilter,
            7 + at,
            reason,
            statement,
        );
    }
    let nul = frame(0x82, &[&[0, 1, 0], &field("a\0"), &[0]]);
    refused_v5_client(
        &nul,
        Kind::Nul,
        Field::TopicFilter,
        8,
        MALFORMED,
        "MQTT-4.7.3-2",
    );
}

#[test]
fn unsubscribe_and_the_answers_of_v5() {
    let bytes = frame(0xA2, &[&[0, 7, 0], &field("a/+"), &field("b")]);
    let packet = accept(Version::V5, Sender::Client, &bytes);
    let Packet::Unsubscribe(unsubscribe) = packet else {
        panic!()
    };
    let filters: Vec<_> = unsubscribe
        .filters
        .iter()
        .map(crate::TopicFilter::as_str)
        .collect();
    assert_eq!(filters, ["a/+", "b"]);
    assert_eq!(encoded(&packet, Version::V5), bytes);
    //= mqtt5 3.10.3-1 test
    let utf8 = frame(0xA2, &[&[0, 7, 0], &field("a"), &field(b"\xFF")]);
    refused_v5_client(
        &utf8,
        Kind::InvalidUtf8,
        Field::TopicFilter,
        10,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    //= mqtt5 3.10.3-2 test
    refused_v5_client(
        &[0xA2, 3, 0, 1, 0],
        Kind::NoTopicFilters,
        Field::TopicFilter,
        5,
        PROTOCOL,
        "MQTT-3.10.3-2",
    );

    for (first, codes) in [(0x90, [0x02, 0x9E]), (0xB0, [0x11, 0x00])] {
        let bytes = frame(first, &[&[0, 7, 0], &codes]);
        let packet = accept(Version::V5, Sender::Server, &bytes);
        let (Packet::SubAck(ack) | Packet::UnsubAck(ack)) = packet else {
            panic!()
        };
        let reasons: Vec<u8> = ack.reason_codes().map(ReasonCode::as_u8).collect();
        assert_eq!(reasons, codes);
        assert_eq!(encoded(&packet, Version::V5), bytes);
        refused_v5_server(
            &[first, 3, 0, 7, 0],
            Kind::NoReasonCodes,
            Field::ReasonCode,
            5,
            PROTOCOL,
            None,
        );
    }
}

#[test]
fn disconnect_and_auth() {
    for (bytes, reason) in [
        (&[0xE0, 0][..], 0),
        (&[0xE0, 1, 0x04], 4),
        (&[0xE0, 7, 0x00, 5, 0x11, 0, 0, 0, 9], 0),
    ] {
        let packet = accept(Version::V5, Sender::Client, bytes);
        let Packet::Disconnect(disconnect) = packet else {
            panic!()
        };
        assert_eq!(disconnect.reason.as_u8(), reason);
        assert_eq!(encoded(&packet, Version::V5), bytes);
    }
    let auth = frame(0xF0, &[&[0x18, 8, 0x15, 0, 1, b'm', 0x16, 0, 1, 9]]);
    let packet = accept(Version::V5, Sender::Client, &auth);
    let Packet::Auth(fields) = packet else {
        panic!()
    };
    assert_eq!(fields.reason, ReasonCode::ContinueAuthentication);
    assert_eq!(fields.properties.authentication_method(), Some("m"));
    assert_eq!(fields.properties.authentication_data(), Some(&[9][..]));
    assert_eq!(encoded(&packet, Version::V5), auth);
    let method = Field::Property(PropertyId::AuthenticationMethod);
    for bytes in [&[0xF0, 0][..], &[0xF0, 1, 0x18], &[0xF0, 2, 0x18, 0]] {
        refused_v5_client(
            bytes,
            Kind::AuthenticationMethodMissing,
            method,
            2,
            PROTOCOL,
            "MQTT-4.12.0-5",
        );
    }
}

#[test]
fn the_block_of_properties() {
    let unknown = publish(&[0x04, 1]);
    refused_v5_client(
        &unknown,
        Kind::PropertyUnknown,
        Field::PropertyIdentifier,
        6,
        MALFORMED,
        None,
    );
    let two_bytes = publish(&[0x81, 0x01, 1]);
    refused_v5_client(
        &two_bytes,
        Kind::PropertyUnknown,
        Field::PropertyIdentifier,
        6,
        MALFORMED,
        None,
    );
    let padded = publish(&[0x81, 0x00, 1]);
    refused_v5_client(
        &padded,
        Kind::VariableByteIntegerNotShortest,
        Field::PropertyIdentifier,
        6,
        MALFORMED,
        "MQTT-1.5.5-1",
    );
    let misplaced = publish(&[0x21, 0, 1]);
    let receive_maximum = Field::Property(PropertyId::ReceiveMaximum);
    refused_v5_client(
        &misplaced,
        Kind::PropertyNotAllowed,
        receive_maximum,
        6,
        MALFORMED,
        None,
    );
    let repeated = publish(&[0x01, 1, 0x01, 1]);
    let format = Field::Property(PropertyId::PayloadFormatIndicator);
    refused_v5_client(&repeated, Kind::PropertyRepeated, format, 8, PROTOCOL, None);
    // The value runs over the end of the block, although the packet goes on.
    let overrun = frame(0x30, &[&field("t"), &[3, 0x02, 0, 0], &[0, 0, 0]]);
    let expiry = Field::Property(PropertyId::MessageExpiryInterval);
    refused_v5_client(&overrun, Kind::Truncated, expiry, 7, MALFORMED, None);
    // The block runs over the end of the packet.
    let overrun = frame(0x30, &[&field("t"), &[9, 0x01, 1]]);
    refused_v5_client(
        &overrun,
        Kind::Truncated,
        Field::PropertyLength,
        6,
        MALFORMED,
        "MQTT-2.2.2-1",
    );
    let padded_length = frame(0x30, &[&field("t"), &[0x80, 0x00]]);
    refused_v5_client(
        &padded_length,
        Kind::VariableByteIntegerNotShortest,
        Field::PropertyLength,
        5,
        MALFORMED,
        "MQTT-1.5.5-1",
    );
}

#[test]
fn values_out_of_range() {
    for (bytes, id) in [
        (&[0x17, 2][..], PropertyId::RequestProblemInformation),
        (&[0x19, 255], PropertyId::RequestResponseInformation),
        (&[0x21, 0, 0], PropertyId::ReceiveMaximum),
        (&[0x27, 0, 0, 0, 0], PropertyId::MaximumPacketSize),
    ] {
        let bytes = connect(2, &[&[bytes.len() as u8], bytes, &field("")]);
        refused_v5_client(
            &bytes,
            Kind::PropertyValue,
            Field::Property(id),
            14,
            PROTOCOL,
            None,
        );
    }
    for (bytes, id) in [
        (&[0x24, 2][..], PropertyId::MaximumQoS),
        (&[0x25, 2], PropertyId::RetainAvailable),
        (&[0x28, 9], PropertyId::WildcardSubscriptionAvailable),
        (&[0x29, 2], PropertyId::SubscriptionIdentifierAvailable),
        (&[0x2A, 2], PropertyId::SharedSubscriptionAvailable),
        (&[0x21, 0, 0], PropertyId::ReceiveMaximum),
    ] {
        let bytes = frame(0x20, &[&[0, 0, bytes.len() as u8], bytes]);
        refused_v5_server(
            &bytes,
            Kind::PropertyValue,
            Field::Property(id),
            6,
            PROTOCOL,
            None,
        );
    }
    let format = Field::Property(PropertyId::PayloadFormatIndicator);
    refused_v5_client(
        &publish(&[0x01, 2]),
        Kind::PropertyValue,
        format,
        7,
        PROTOCOL,
        None,
    );
    //= mqtt5 3.3.2-8 test
    let alias = Field::Property(PropertyId::TopicAlias);
    let reason = ReasonCode::TopicAliasInvalid;
    refused_v5_client(
        &publish(&[0x23, 0, 0]),
        Kind::PropertyValue,
        alias,
        7,
        reason,
        "MQTT-3.3.2-8",
    );
    let subscription = Field::Property(PropertyId::SubscriptionIdentifier);
    let zero = frame(0x82, &[&[0, 1, 2, 0x0B, 0], &field("a"), &[0]]);
    refused_v5_client(&zero, Kind::PropertyValue, subscription, 6, PROTOCOL, None);
    let too_long = frame(
        0x82,
        &[&[0, 1, 5, 0x0B, 0xFF, 0xFF, 0xFF, 0xFF], &field("a"), &[0]],
    );
    refused_v5_client(
        &too_long,
        Kind::VariableByteIntegerTooLong,
        subscription,
        6,
        MALFORMED,
        None,
    );
}

#[test]
fn strings_in_properties() {
    //= mqtt5 3.3.2-19 test
    let content_type = Field::Property(PropertyId::ContentType);
    refused_v5_client(
        &publish(b"\x03\x00\x02a\xFF"),
        Kind::InvalidUtf8,
        content_type,
        10,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    refused_v5_client(
        &publish(b"\x03\x00\x01\x00"),
        Kind::Nul,
        content_type,
        9,
        MALFORMED,
        "MQTT-1.5.4-2",
    );
    let response_topic = Field::Property(PropertyId::ResponseTopic);
    //= mqtt5 3.3.2-13 test
    refused_v5_client(
        &publish(b"\x08\x00\x01\xFF"),
        Kind::InvalidUtf8,
        response_topic,
        9,
        MALFORMED,
        "MQTT-1.5.4-1",
    );
    //= mqtt5 3.3.2-14 test
    let reason = ReasonCode::TopicNameInvalid;
    refused_v5_client(
        &publish(b"\x08\x00\x02a+"),
        Kind::TopicNameWildcard,
        response_topic,
        10,
        reason,
        "MQTT-3.3.2-14",
    );
    refused_v5_client(
        &publish(b"\x08\x00\x00"),
        Kind::TopicNameEmpty,
        response_topic,
        7,
        PROTOCOL,
        "MQTT-4.7.3-1",
    );
    //= mqtt5 1.5.7-1 test
    let user = Field::Property(PropertyId::UserProperty);
    refused_v5_client(
        &publish(b"\x26\x00\x01\xFF\x00\x00"),
        Kind::InvalidUtf8,
        user,
        9,
        MALFORMED,
        "MQTT-1.5.7-1",
    );
    refused_v5_client(
        &publish(b"\x26\x00\x00\x00\x01\xFF"),
        Kind::InvalidUtf8,
        user,
        11,
        MALFORMED,
        "MQTT-1.5.7-1",
    );
    refused_v5_client(
        &publish(b"\x26\x00\x00\x00\x01\x00"),
        Kind::Nul,
        user,
        11,
        MALFORMED,
        "MQTT-1.5.7-1",
    );
    // Correlation data is bytes.
    accept(
        Version::V5,
        Sender::Client,
        &publish(b"\x09\x00\x02\x00\xFF"),
    );
}

#[test]
fn properties_that_one_side_only_may_send() {
    //= mqtt5 3.3.4-6 test
    let subscription = Field::Property(PropertyId::SubscriptionIdentifier);
    let with_id = publish(&[0x0B, 1, 0x0B, 2]);
    refused_v5_client(
        &with_id,
        Kind::PropertyFromWrongSide,
        subscription,
        6,
        PROTOCOL,
        "MQTT-3.3.4-6",
    );
    let Packet::Publish(publish) = accept(Version::V5, Sender::Server, &with_id) else {
        panic!()
    };
    assert_eq!(
        publish
            .properties
            .subscription_identifiers()
            .collect::<Vec<_>>(),
        [1, 2]
    );
    // In SUBSCRIBE it stands once.
    let twice = frame(0x82, &[&[0, 1, 4, 0x0B, 1, 0x0B, 2], &field("a"), &[0]]);
    refused_v5_client(
        &twice,
        Kind::PropertyRepeated,
        subscription,
        7,
        PROTOCOL,
        None,
    );
    //= mqtt5 3.14.2-2 test
    let expiry = Field::Property(PropertyId::SessionExpiryInterval);
    let disconnect = [0xE0, 7, 0x00, 5, 0x11, 0, 0, 0, 9];
    refused_v5_server(
        &disconnect,
        Kind::PropertyFromWrongSide,
        expiry,
        4,
        PROTOCOL,
        "MQTT-3.14.2-2",
    );
    let reference = Field::Property(PropertyId::ServerReference);
    let disconnect = [0xE0, 6, 0x00, 4, 0x1C, 0, 1, b'x'];
    refused_v5_client(
        &disconnect,
        Kind::PropertyFromWrongSide,
        reference,
        4,
        PROTOCOL,
        None,
    );
    accept(Version::V5, Sender::Server, &disconnect);
}

#[test]
fn user_properties_keep_order_and_repetition() {
    let bytes =
        publish(b"\x26\x00\x01k\x00\x011\x01\x01\x26\x00\x01k\x00\x011\x26\x00\x01a\x00\x00");
    let Packet::Publish(publish) = accept(Version::V5, Sender::Client, &bytes) else {
        panic!()
    };
    let pairs: Vec<_> = publish.properties.user_properties().collect();
    assert_eq!(pairs, [("k", "1"), ("k", "1"), ("a", "")]);
    assert_eq!(publish.properties.user_property(), Some(("k", "1")));
    let all: Vec<_> = publish.properties.iter().collect();
    assert_eq!(all[1], Property::PayloadFormatIndicator(1));
    assert_eq!(all.len(), 4);
    let raw: Vec<u8> = publish
        .properties
        .iter_raw()
        .flat_map(|(_, bytes)| bytes.to_vec())
        .collect();
    assert_eq!(raw, publish.properties.as_bytes());
    assert!(PropertyId::UserProperty.repeatable(Place::Will, Sender::Client));
}

#[test]
fn an_error_reads_as_field_byte_and_fault() {
    let error = refuse(
        Version::V5,
        Sender::Client,
        &connect(2, &[&[0], &field(b"ab\xFF")]),
    );
    assert_eq!(
        std::format!("{error}"),
        "client identifier at byte 17: ill-formed UTF-8"
    );
    let error = refuse(Version::V5, Sender::Client, &publish(&[0x23, 0, 0]));
    assert_eq!(
        std::format!("{error}"),
        "topic alias at byte 7: value out of range"
    );
}
