//! CONNECT that breaks the format, or asks for what is not there (sections 3.1 and 3.2.2).

use crate::case::Version::V5;
use crate::case::{Case, Verdict, case};
use crate::harness::Target;
use crate::v5::support::{all, each, refuses, refuses_in_any_form};
use crate::wire::{Bytes, Connect, Encode, Props, Publish, Will, packet, prop};

pub(crate) const CASES: &[Case] = &[
    case!(V5, unknown_protocol_name_is_refused, "3.1.2-1", "3.14.0-1"),
    case!(
        V5,
        unknown_protocol_version_is_refused,
        "3.1.2-2",
        "3.14.0-1"
    ),
    case!(V5, reserved_connect_flag_is_refused, "3.1.2-3", "3.1.4-1"),
    case!(
        V5,
        contradicting_will_flags_are_refused,
        "3.1.2-9",
        "3.1.2-11",
        "3.1.2-12",
        "3.1.2-13",
        "3.1.4-1"
    ),
    case!(
        V5,
        contradicting_credential_flags_are_refused,
        "3.1.2-16",
        "3.1.2-17",
        "3.1.2-18",
        "3.1.2-19",
        "3.1.4-1"
    ),
    case!(V5, truncated_connect_is_refused, "3.1.3-3", "3.1.4-1"),
    case!(V5, surplus_bytes_in_connect_are_refused, "3.1.4-1"),
    case!(V5, wrong_connect_properties_are_refused, "3.1.4-1"),
    case!(V5, wrong_will_properties_are_refused, "3.1.4-1"),
    case!(
        V5,
        will_fields_longer_than_the_packet_are_refused,
        "3.1.2-9",
        "3.1.4-1"
    ),
    case!(V5, nothing_behind_a_refused_connect_is_processed, "3.1.4-6"),
];

//= mqtt5 3.1.2-1 test
//= mqtt5 3.14.0-1 test
fn unknown_protocol_name_is_refused(target: &Target) -> Verdict {
    each(["MQTX", "mqtt", "MQT", "", "MQTTX", "HTTP"], |name| {
        let connect = Connect::v5(&target.id()).protocol(name, 5);
        refuses_in_any_form(target, &format!("protocol name {name:?}"), connect)
    })
}

//= mqtt5 3.1.2-2 test
//= mqtt5 3.14.0-1 test
fn unknown_protocol_version_is_refused(target: &Target) -> Verdict {
    each([0, 1, 2, 6, 7, 127, 133, 255], |level| {
        let connect = Connect::v5(&target.id()).protocol("MQTT", level);
        refuses_in_any_form(target, &format!("protocol version {level}"), connect)
    })
}

//= mqtt5 3.1.2-3 test
//= mqtt5 3.1.4-1 test
fn reserved_connect_flag_is_refused(target: &Target) -> Verdict {
    refuses(
        target,
        "connect flag 0",
        Connect::v5(&target.id()).flip_flags(0x01),
    )
}

//= mqtt5 3.1.2-9 test
//= mqtt5 3.1.2-11 test
//= mqtt5 3.1.2-12 test
//= mqtt5 3.1.2-13 test
//= mqtt5 3.1.4-1 test
fn contradicting_will_flags_are_refused(target: &Target) -> Verdict {
    let connect = Connect::v5(&target.id());
    let will = connect.clone().will(Will::new("t", "x"));
    all([
        refuses(
            target,
            "will flag without a will",
            connect.clone().flip_flags(0x04),
        ),
        refuses(
            target,
            "will without its flag",
            will.clone().flip_flags(0x04),
        ),
        refuses(
            target,
            "will QoS 1 without a will",
            connect.clone().flip_flags(0x08),
        ),
        refuses(
            target,
            "will QoS 2 without a will",
            connect.clone().flip_flags(0x10),
        ),
        refuses(
            target,
            "will retain without a will",
            connect.flip_flags(0x20),
        ),
        refuses(target, "will QoS 3", will.flip_flags(0x18)),
    ])
}

//= mqtt5 3.1.2-16 test
//= mqtt5 3.1.2-17 test
//= mqtt5 3.1.2-18 test
//= mqtt5 3.1.2-19 test
//= mqtt5 3.1.4-1 test
fn contradicting_credential_flags_are_refused(target: &Target) -> Verdict {
    let connect = Connect::v5(&target.id());
    refuses(
        target,
        "user name flag alone",
        connect.clone().flip_flags(0x80),
    )?;
    refuses(
        target,
        "password flag alone",
        connect.clone().flip_flags(0x40),
    )?;
    let user_name = connect.clone().user_name(b"u");
    refuses(
        target,
        "user name without its flag",
        user_name.clone().flip_flags(0x80),
    )?;
    refuses(
        target,
        "user name, but both flags",
        user_name.flip_flags(0x40),
    )?;
    let password = connect.password(b"p");
    refuses(
        target,
        "password without its flag",
        password.flip_flags(0x40),
    )
}

//= mqtt5 3.1.3-3 test
//= mqtt5 3.1.4-1 test
fn truncated_connect_is_refused(target: &Target) -> Verdict {
    let connect = Connect::v5(&target.id())
        .will(Will::new("t", "payload"))
        .user_name(b"user");
    let body = connect.body();
    each(0..body.len(), |length| {
        let cut = body.get(..length).unwrap_or_default();
        refuses_in_any_form(
            target,
            &format!("CONNECT of {length} bytes"),
            packet(0x10, cut),
        )
    })
}

//= mqtt5 3.1.4-1 test
fn surplus_bytes_in_connect_are_refused(target: &Target) -> Verdict {
    let mut body = Connect::v5(&target.id()).body();
    body.push(0);
    refuses(target, "one byte behind the payload", packet(0x10, &body))?;
    body.extend(b"\0\x01x");
    refuses(target, "more behind the payload", packet(0x10, &body))
}

//= mqtt5 3.1.4-1 test
fn wrong_connect_properties_are_refused(target: &Target) -> Verdict {
    let new = Props::new;
    let wrong = [
        ("receive maximum 0", new().u16(prop::RECEIVE_MAXIMUM, 0)),
        (
            "maximum packet size 0",
            new().u32(prop::MAXIMUM_PACKET_SIZE, 0),
        ),
        (
            "request problem information 2",
            new().u8(prop::REQUEST_PROBLEM_INFO, 2),
        ),
        (
            "request response information 2",
            new().u8(prop::REQUEST_RESPONSE_INFO, 2),
        ),
        (
            "authentication data alone",
            new().binary(prop::AUTH_DATA, b"x"),
        ),
        ("session expiry twice", new().u32(0x11, 1).u32(0x11, 1)),
        ("receive maximum twice", new().u16(0x21, 1).u16(0x21, 1)),
        (
            "maximum packet size twice",
            new().u32(0x27, 1000).u32(0x27, 1000),
        ),
        ("topic alias maximum twice", new().u16(0x22, 1).u16(0x22, 1)),
        (
            "request problem information twice",
            new().u8(0x17, 1).u8(0x17, 1),
        ),
        (
            "request response information twice",
            new().u8(0x19, 1).u8(0x19, 1),
        ),
        (
            "authentication method twice",
            new().text(0x15, "a").text(0x15, "a"),
        ),
        ("message expiry", new().u32(prop::MESSAGE_EXPIRY, 1)),
        ("server keep alive", new().u16(prop::SERVER_KEEP_ALIVE, 1)),
        ("topic alias", new().u16(prop::TOPIC_ALIAS, 1)),
        ("will delay", new().u32(prop::WILL_DELAY, 1)),
        ("reason string", new().text(prop::REASON_STRING, "x")),
        ("maximum QoS", new().u8(prop::MAXIMUM_QOS, 1)),
        ("unknown property 00", new().u8(0x00, 0)),
        ("unknown property 04", new().u8(0x04, 0)),
        ("unknown property 7F", new().u8(0x7F, 0)),
        ("unknown property of two bytes", new().raw(&[0x80, 0x01, 0])),
        ("half a property", new().raw(&[prop::SESSION_EXPIRY, 0, 0])),
        (
            "string beyond the properties",
            new().raw(&[prop::USER_PROPERTY, 0, 9, b'x']),
        ),
    ];
    each(wrong, |(what, props)| {
        refuses(target, what, Connect::v5(&target.id()).props(props))
    })
}

//= mqtt5 3.1.4-1 test
fn wrong_will_properties_are_refused(target: &Target) -> Verdict {
    let new = Props::new;
    let wrong = [
        ("will delay twice", new().u32(0x18, 1).u32(0x18, 1)),
        ("message expiry twice", new().u32(0x02, 1).u32(0x02, 1)),
        ("payload format twice", new().u8(0x01, 1).u8(0x01, 1)),
        ("content type twice", new().text(0x03, "a").text(0x03, "a")),
        (
            "response topic twice",
            new().text(0x08, "a").text(0x08, "a"),
        ),
        (
            "correlation data twice",
            new().binary(0x09, b"a").binary(0x09, b"a"),
        ),
        ("topic alias", new().u16(prop::TOPIC_ALIAS, 1)),
        (
            "subscription identifier",
            new().varint(prop::SUBSCRIPTION_ID, 1),
        ),
        ("session expiry", new().u32(prop::SESSION_EXPIRY, 1)),
        (
            "wildcard in the response topic",
            new().text(prop::RESPONSE_TOPIC, "a/#"),
        ),
        ("unknown property", new().u8(0x7E, 0)),
        ("half a property", new().raw(&[prop::WILL_DELAY, 0])),
    ];
    for (what, props) in wrong {
        let connect = Connect::v5(&target.id()).will(Will::new("t", "x").props(props));
        refuses(target, what, connect)?;
    }
    each(["", "a/+", "#"], |topic| {
        let connect = Connect::v5(&target.id()).will(Will::new(topic, "x"));
        refuses(target, &format!("will topic {topic:?}"), connect)
    })
}

//= mqtt5 3.1.2-9 test
//= mqtt5 3.1.4-1 test
fn will_fields_longer_than_the_packet_are_refused(target: &Target) -> Verdict {
    let head = Bytes::new()
        .string("MQTT")
        .u8(5)
        .u8(0x06)
        .u16(60)
        .u8(0)
        .string(&target.id());
    let cut = head.clone().u8(0).string("t").u16(10).raw(b"short");
    refuses(target, "will payload", packet(0x10, &cut.0))?;
    let cut = head.clone().u8(0).u16(10).raw(b"t");
    refuses(target, "will topic", packet(0x10, &cut.0))?;
    let cut = head.clone().u8(50).string("t").string("x");
    all([
        refuses(target, "will properties", packet(0x10, &cut.0)),
        refuses(target, "no will at all", packet(0x10, &head.0)),
    ])
}

//= mqtt5 3.1.4-6 test
fn nothing_behind_a_refused_connect_is_processed(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut watcher = target.client(V5)?;
    watcher.subscribe(&topic, 0)?;
    for bad in [
        Connect::v5(&target.id()).flip_flags(0x01),
        Connect::v5(&target.id()).props(Props::new().text(prop::AUTH_METHOD, "no such method")),
    ] {
        let mut bytes = bad.encode(V5);
        bytes.extend(Publish::new(&topic, "x").encode(V5));
        let mut client = target.open(V5)?;
        client.send(bytes)?;
        client.expect_refused()?;
    }
    let mut other = target.client(V5)?;
    watcher.expect_silence(&mut other)
}
