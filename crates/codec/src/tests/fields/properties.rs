//! Properties of 5.0: their block, their values, and who may send them.

use super::{MALFORMED, PROTOCOL, connect};
use crate::DecodeErrorKind as Kind;
use crate::tests::{accept, field, frame, refuse, refused_v5_client, refused_v5_server};
use crate::{Field, Packet, Place, Property, PropertyId, ReasonCode, Sender, Version};
use std::vec::Vec;

/// PUBLISH of QoS 0 to "t" with these properties (less than 128 bytes), which start at byte 6.
fn publish(properties: &[u8]) -> Vec<u8> {
    frame(0x30, &[&field("t"), &[properties.len() as u8], properties])
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
