//! PUBLISH of 5.0, and what acknowledges it.

use super::{MALFORMED, PROTOCOL};
use crate::DecodeErrorKind as Kind;
use crate::tests::{accept, encoded, field, frame, refused_v5_client, refused_v5_server};
use crate::{Field, Packet, QoS, ReasonCode, Sender, Version};

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
