//! SUBSCRIBE, UNSUBSCRIBE and their answers, DISCONNECT and AUTH of 5.0.

use super::{MALFORMED, PROTOCOL};
use crate::DecodeErrorKind as Kind;
use crate::tests::{accept, encoded, field, frame, refused_v5_client, refused_v5_server};
use crate::{Field, Packet, PropertyId, QoS, ReasonCode, RetainHandling, Sender, Version};
use std::vec::Vec;

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
