//! Data types and the fixed header (sections 1.5 and 2).

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq};
use crate::harness::Target;
use crate::v5::support::{all, closes, each, refuses};
use crate::wire::{
    Acknowledge, Bytes, Connect, Encode, Props, Publish, Subscribe, Unsubscribe, Will, packet,
    padded_varint, prop,
};

pub(crate) const CASES: &[Case] = &[
    case!(V5, ill_formed_topic_name_closes, "1.5.4-1", "3.3.2-1"),
    case!(
        V5,
        ill_formed_filter_in_subscribe_closes,
        "1.5.4-1",
        "3.8.3-1"
    ),
    case!(
        V5,
        ill_formed_filter_in_unsubscribe_closes,
        "1.5.4-1",
        "3.10.3-1"
    ),
    case!(
        V5,
        ill_formed_strings_in_connect_are_refused,
        "1.5.4-1",
        "3.1.3-4",
        "3.1.3-11",
        "3.1.3-12",
        "3.1.4-1"
    ),
    case!(
        V5,
        ill_formed_string_properties_close,
        "1.5.4-1",
        "1.5.7-1",
        "3.3.2-13",
        "3.3.2-19"
    ),
    case!(V5, null_character_closes, "1.5.4-2", "4.7.3-2"),
    case!(V5, byte_order_mark_is_kept, "1.5.4-3"),
    case!(
        V5,
        lengths_are_sent_in_their_shortest_form,
        "1.5.5-1",
        "2.2.1-2",
        "4.2.0-1",
        "4.3.1-1"
    ),
    case!(V5, padded_lengths_close, "1.5.5-1", "4.13.1-1"),
    case!(V5, five_byte_lengths_close, "4.13.1-1"),
    case!(
        V5,
        reserved_header_flags_close,
        "2.1.3-1",
        "3.6.1-1",
        "3.8.1-1",
        "3.10.1-1",
        "3.15.1-1"
    ),
    case!(
        V5,
        disconnect_with_reserved_flags_is_malformed,
        "2.1.3-1",
        "3.14.1-1"
    ),
    case!(
        V5,
        subscribe_and_unsubscribe_are_answered_with_their_identifier,
        "2.2.1-6",
        "3.8.4-1",
        "3.8.4-2",
        "3.10.4-4",
        "3.10.4-5"
    ),
    case!(V5, absent_properties_are_a_zero_length, "2.2.2-1"),
    case!(V5, missing_property_length_closes, "2.2.2-1", "4.13.1-1"),
    case!(V5, packet_identifier_zero_closes, "2.2.1-3"),
    case!(V5, packets_may_come_in_any_pieces, "4.2.0-1", "4.13.1-1"),
];

/// Byte sequences that are not UTF-8, and what is wrong with them.
const ILL_FORMED: &[(&str, &[u8])] = &[
    ("a lone continuation byte", b"a\x80b"),
    ("an unfinished sequence", b"a\xE2\x82"),
    ("an overlong slash", b"a\xC0\xAFb"),
    ("an overlong NUL", b"a\xC0\x80b"),
    ("a surrogate", b"a\xED\xA0\x80b"),
    ("a pair of surrogates", b"a\xED\xA1\x8C\xED\xBE\xB4b"),
    ("a code point above U+10FFFF", b"a\xF4\x90\x80\x80b"),
    ("the byte FF", b"a\xFFb"),
];

//= mqtt5 1.5.4-1 test
//= mqtt5 3.3.2-1 test
fn ill_formed_topic_name_closes(target: &Target) -> Verdict {
    each(ILL_FORMED, |(what, bytes)| {
        closes(
            target,
            what,
            Publish::new("", "x").raw_topic(bytes),
            &[0x90],
        )
    })
}

//= mqtt5 1.5.4-1 test
//= mqtt5 3.8.3-1 test
fn ill_formed_filter_in_subscribe_closes(target: &Target) -> Verdict {
    each(ILL_FORMED, |(what, bytes)| {
        closes(
            target,
            what,
            Subscribe::new(1).raw_filter(bytes, 0),
            &[0x8F],
        )
    })
}

//= mqtt5 1.5.4-1 test
//= mqtt5 3.10.3-1 test
fn ill_formed_filter_in_unsubscribe_closes(target: &Target) -> Verdict {
    each(ILL_FORMED, |(what, bytes)| {
        closes(target, what, Unsubscribe::new(1).raw_filter(bytes), &[0x8F])
    })
}

//= mqtt5 1.5.4-1 test
//= mqtt5 3.1.3-4 test
//= mqtt5 3.1.3-11 test
//= mqtt5 3.1.3-12 test
//= mqtt5 3.1.4-1 test
fn ill_formed_strings_in_connect_are_refused(target: &Target) -> Verdict {
    each(ILL_FORMED, |(what, bytes)| {
        let mut connect = Connect::v5("");
        connect.client_id = bytes.to_vec();
        refuses(target, &format!("{what} in the client id"), &connect)?;
        let mut will = Will::new("", "x");
        will.topic = bytes.to_vec();
        let connect = Connect::v5(&target.id());
        refuses(
            target,
            &format!("{what} in the will topic"),
            connect.clone().will(will),
        )?;
        let connect = connect.user_name(bytes);
        refuses(target, &format!("{what} in the user name"), connect)
    })
}

//= mqtt5 1.5.4-1 test
//= mqtt5 1.5.7-1 test
//= mqtt5 3.3.2-13 test
//= mqtt5 3.3.2-19 test
fn ill_formed_string_properties_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let pair = |name: &[u8], value: &[u8]| {
        let bytes = Bytes::new()
            .u8(prop::USER_PROPERTY)
            .binary(name)
            .binary(value);
        Props::new().raw(&bytes.0)
    };
    each([&b"a\xFF"[..], b"a\xED\xA0\x80", b"a\0b"], |bad| {
        for (what, props) in [
            ("content type", Props::new().binary(prop::CONTENT_TYPE, bad)),
            (
                "response topic",
                Props::new().binary(prop::RESPONSE_TOPIC, bad),
            ),
            ("name of a user property", pair(bad, b"v")),
            ("value of a user property", pair(b"n", bad)),
        ] {
            let what = format!("{what} {bad:02X?}");
            closes(
                target,
                &what,
                Publish::new(&topic, "x").props(props),
                &[0x90],
            )?;
        }
        Ok(())
    })
}

//= mqtt5 1.5.4-2 test
//= mqtt5 4.7.3-2 test
fn null_character_closes(target: &Target) -> Verdict {
    closes(target, "topic name", Publish::new("a\0b", "x"), &[0x90])?;
    closes(
        target,
        "filter",
        Subscribe::new(1).filter("a\0b", 0),
        &[0x8F],
    )?;
    closes(
        target,
        "unsubscribe filter",
        Unsubscribe::new(1).filter("a\0b"),
        &[0x8F],
    )?;
    refuses(target, "client id", Connect::v5("a\0b"))?;
    let connect = Connect::v5(&target.id());
    refuses(
        target,
        "will topic",
        connect.clone().will(Will::new("a\0b", "x")),
    )?;
    refuses(target, "user name", connect.clone().user_name(b"a\0b"))?;
    let props = Props::new().pair("a\0", "b");
    refuses(target, "user property of CONNECT", connect.props(props))
}

//= mqtt5 1.5.4-3 test
fn byte_order_mark_is_kept(target: &Target) -> Verdict {
    let plain = target.topic("t");
    let marked = format!("\u{FEFF}{plain}/\u{FEFF}");
    let mut client = target.client(V5)?;
    client.subscribe(&marked, 0)?;
    client.subscribe(&format!("{plain}/"), 0)?;
    let props = Props::new()
        .text(prop::CONTENT_TYPE, "\u{FEFF}x")
        .pair("\u{FEFF}", "\u{FEFF}");
    client.send(Publish::new(&marked, "x").props(props))?;
    let message = client.expect_message(&marked, "x")?;
    check_eq(
        "content type",
        message.props.text(prop::CONTENT_TYPE),
        Some("\u{FEFF}x"),
    )?;
    check_eq(
        "user properties",
        message.props.pairs(),
        vec![("\u{FEFF}", "\u{FEFF}")],
    )?;
    client.expect_nothing()
}

//= mqtt5 1.5.5-1 test
//= mqtt5 2.2.1-2 test
//= mqtt5 4.2.0-1 test
//= mqtt5 4.3.1-1 test
fn lengths_are_sent_in_their_shortest_form(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0)?;
    // What the subscriber gets has two bytes of topic length, the topic, one byte of property
    // length and the payload; the parser of the suite refuses padded lengths.
    let overhead = 3 + topic.len();
    each([127, 128, 16_383, 16_384], |remaining| {
        let payload = vec![b'x'; remaining - overhead];
        client.send(Publish::new(&topic, &payload))?;
        let message = client.expect_message(&topic, &payload)?;
        check_eq("QoS", message.qos, 0)?;
        let header = if remaining > 16_383 {
            4
        } else {
            2 + usize::from(remaining > 127)
        };
        check_eq("size of the PUBLISH", message.size, remaining + header)
    })
}

//= mqtt5 1.5.5-1 test
//= mqtt5 4.13.1-1 test
fn padded_lengths_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let body = Bytes::new().string(&topic).u8(0).raw(b"x").0;
    let padded = Bytes::new()
        .u8(0x30)
        .raw(&padded_varint(body.len(), 2))
        .raw(&body);
    closes(target, "padded remaining length", padded, &[])?;
    let body = Bytes::new()
        .string(&topic)
        .raw(&padded_varint(0, 2))
        .raw(b"x")
        .0;
    closes(target, "padded property length", packet(0x30, &body), &[])?;
    let id = Props::new()
        .raw(&[prop::SUBSCRIPTION_ID])
        .raw(&padded_varint(5, 3));
    let subscribe = Subscribe::new(1).filter(&topic, 0).props(id);
    closes(target, "padded subscription identifier", subscribe, &[])
}

//= mqtt5 4.13.1-1 test
fn five_byte_lengths_close(target: &Target) -> Verdict {
    let long = [0x30, 0x80, 0x80, 0x80, 0x80, 0x01];
    closes(target, "remaining length of five bytes", long, &[0x95])?;
    let topic = target.topic("t");
    let body = Bytes::new()
        .string(&topic)
        .raw(&[0x80, 0x80, 0x80, 0x80, 0x01])
        .raw(b"xxxx")
        .0;
    closes(
        target,
        "property length of five bytes",
        packet(0x30, &body),
        &[],
    )
}

//= mqtt5 2.1.3-1 test
//= mqtt5 3.6.1-1 test
//= mqtt5 3.8.1-1 test
//= mqtt5 3.10.1-1 test
//= mqtt5 3.15.1-1 test
fn reserved_header_flags_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let packets = [
        ("PUBACK", Acknowledge::puback(1).first(0x42).encode(V5)),
        ("PUBREC", Acknowledge::pubrec(1).first(0x51).encode(V5)),
        ("PUBREL 0000", Acknowledge::pubrel(1).first(0x60).encode(V5)),
        ("PUBREL 0011", Acknowledge::pubrel(1).first(0x63).encode(V5)),
        ("PUBREL 1010", Acknowledge::pubrel(1).first(0x6A).encode(V5)),
        ("PUBCOMP", Acknowledge::pubcomp(1).first(0x72).encode(V5)),
        (
            "SUBSCRIBE 0000",
            Subscribe::new(1).filter(&topic, 0).first(0x80).encode(V5),
        ),
        (
            "SUBSCRIBE 0011",
            Subscribe::new(1).filter(&topic, 0).first(0x83).encode(V5),
        ),
        (
            "SUBSCRIBE 1010",
            Subscribe::new(1).filter(&topic, 0).first(0x8A).encode(V5),
        ),
        (
            "UNSUBSCRIBE 0000",
            Unsubscribe::new(1).filter(&topic).first(0xA0).encode(V5),
        ),
        (
            "UNSUBSCRIBE 0011",
            Unsubscribe::new(1).filter(&topic).first(0xA3).encode(V5),
        ),
        (
            "UNSUBSCRIBE 1010",
            Unsubscribe::new(1).filter(&topic).first(0xAA).encode(V5),
        ),
        ("PINGREQ", vec![0xC1, 0]),
        ("AUTH", vec![0xF2, 0]),
    ];
    each(packets, |(what, packet)| closes(target, what, packet, &[]))?;
    let mut connect = Connect::v5(&target.id()).encode(V5);
    if let Some(first) = connect.first_mut() {
        *first = 0x12;
    }
    refuses(target, "CONNECT", connect)
}

//= mqtt5 2.1.3-1 test
//= mqtt5 3.14.1-1 test
fn disconnect_with_reserved_flags_is_malformed(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = target.client(V5)?;
    watcher.subscribe(&topic, 0)?;
    let connect = Connect::v5(&target.id()).will(Will::new(&topic, "gone"));
    let (mut client, _) = target.connect(&connect)?;
    client.send([0xE1, 0])?;
    if let Some(ended) = client.expect_close()? {
        check_eq("reason of DISCONNECT", ended.code, 0x81)?;
    }
    // It was no DISCONNECT, so the will is not cancelled.
    watcher.expect_message(&topic, "gone").map(drop)
}

//= mqtt5 2.2.1-6 test
//= mqtt5 3.8.4-1 test
//= mqtt5 3.8.4-2 test
//= mqtt5 3.10.4-4 test
//= mqtt5 3.10.4-5 test
fn subscribe_and_unsubscribe_are_answered_with_their_identifier(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    for id in [1, 2, 255, 256, 0x1234, 65_535] {
        client.send(Subscribe::new(id).filter(&topic, 0))?;
        client.expect_suback(id)?;
        client.send(Unsubscribe::new(id).filter(&topic))?;
        client.expect_unsuback(id)?;
        client.send(Unsubscribe::new(id).filter(&topic))?;
        client.expect_unsuback(id).during("nothing to remove")?;
    }
    client.expect_nothing()
}

//= mqtt5 2.2.2-1 test
fn absent_properties_are_a_zero_length(target: &Target) -> Verdict {
    // The parser of the suite demands the length in CONNACK, SUBACK, PUBLISH and UNSUBACK.
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0)?;
    client.send(Publish::new(&topic, ""))?;
    let message = client.expect_message(&topic, "")?;
    check_eq("properties", message.props.0.len(), 0)?;
    client.send(Unsubscribe::new(9).filter(&topic))?;
    client.expect_unsuback(9)?;
    client.expect_nothing()
}

//= mqtt5 2.2.2-1 test
//= mqtt5 4.13.1-1 test
fn missing_property_length_closes(target: &Target) -> Verdict {
    let topic = target.topic("t");
    // What stands in place of the length is the length of the filter or the end of the packet.
    let body = Bytes::new().u16(1).string(&topic).u8(0).0;
    closes(target, "SUBSCRIBE", packet(0x82, &body), &[])?;
    closes(
        target,
        "PUBLISH",
        packet(0x30, &Bytes::new().string(&topic).0),
        &[],
    )?;
    let body = Bytes::new().u16(1).0;
    closes(target, "UNSUBSCRIBE", packet(0xA2, &body), &[])?;
    let connect = Bytes::new().string("MQTT").u8(5).u8(2).u16(60).0;
    refuses(target, "CONNECT", packet(0x10, &connect))
}

//= mqtt5 2.2.1-3 test
fn packet_identifier_zero_closes(target: &Target) -> Verdict {
    let topic = target.topic("t");
    all([
        closes(
            target,
            "PUBLISH at QoS 1",
            Publish::new(&topic, "x").qos(1, 0),
            &[],
        ),
        closes(
            target,
            "PUBLISH at QoS 2",
            Publish::new(&topic, "x").qos(2, 0),
            &[],
        ),
        closes(
            target,
            "SUBSCRIBE",
            Subscribe::new(0).filter(&topic, 0),
            &[],
        ),
        closes(
            target,
            "UNSUBSCRIBE",
            Unsubscribe::new(0).filter(&topic),
            &[],
        ),
    ])
}

//= mqtt5 4.2.0-1 test
//= mqtt5 4.13.1-1 test
fn packets_may_come_in_any_pieces(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.open(V5)?;
    let mut stream = Connect::v5(&target.id()).encode(V5);
    stream.extend(Subscribe::new(1).filter(&topic, 0).encode(V5));
    stream.extend(Publish::new(&topic, "one").encode(V5));
    stream.extend(Publish::new(&topic, "two").qos(1, 2).encode(V5));
    stream.extend([0xC0, 0]);
    for byte in &stream {
        client.send([*byte])?;
    }
    let answers = |client: &mut crate::harness::Client| {
        check(client.expect_connack()?.code == 0, "refused")?;
        client.expect_suback(1)?;
        client.expect_message(&topic, "one")?;
        client.expect_message(&topic, "two")?;
        client.expect_puback(2)?;
        client.expect_pingresp()
    };
    answers(&mut client).during("byte by byte")?;
    client.disconnect()?;
    let mut client = target.open(V5)?;
    client.send(stream)?;
    answers(&mut client).during("all at once")
}
