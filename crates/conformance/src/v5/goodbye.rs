//! AUTH, DISCONNECT, and packets that a client never sends (sections 3.14, 3.15 and 4.12).

use crate::case::Version::V5;
use crate::case::{Case, Verdict, case, check};
use crate::harness::Target;
use crate::v5::support::{all, closes, each};
use crate::wire::{Connect, Disconnect, Encode, Ping, Props, Publish, Subscribe, prop};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        packets_of_the_wrong_direction_close,
        "4.13.1-1",
        "3.14.4-2"
    ),
    case!(
        V5,
        auth_without_a_method_in_connect_closes,
        "3.15.2-1",
        "4.12.0-7",
        "4.12.0-6"
    ),
    case!(
        V5,
        server_disconnect_is_the_last_packet,
        "3.14.2-1",
        "3.14.2-2",
        "3.14.4-1",
        "3.14.4-2",
        "4.13.2-1"
    ),
    case!(V5, goodbyes_with_properties_are_understood, "3.14.2-1"),
];

//= mqtt5 4.13.1-1 test
//= mqtt5 3.14.4-2 test
fn packets_of_the_wrong_direction_close(target: &Target) -> Verdict {
    let packets: [(&str, &[u8]); 9] = [
        ("type 0", &[0x00, 0]),
        ("type 0 with flags", &[0x0F, 0]),
        ("CONNACK", &[0x20, 3, 0, 0, 0]),
        ("SUBACK", &[0x90, 4, 0, 1, 0, 0]),
        ("UNSUBACK", &[0xB0, 4, 0, 1, 0, 0]),
        ("PINGRESP", &[0xD0, 0]),
        ("PINGREQ with a body", &[0xC0, 1, 0]),
        ("AUTH without a method", &[0xF0, 0]),
        ("AUTH that nobody asked for", b"\xF0\x06\x18\x04\x15\0\x01x"),
    ];
    each(packets, |(what, bytes)| {
        closes(target, what, bytes.to_vec(), &[0x8C, 0x87])
    })
}

//= mqtt5 3.15.2-1 test
//= mqtt5 4.12.0-7 test
//= mqtt5 4.12.0-6 test
fn auth_without_a_method_in_connect_closes(target: &Target) -> Verdict {
    let (mut client, connack) = target.connect(&Connect::v5(&target.id()))?;
    check(
        !connack.props.has(prop::AUTH_METHOD),
        "CONNACK has an Authentication Method",
    )?;
    check(
        !connack.props.has(prop::AUTH_DATA),
        "CONNACK has Authentication Data",
    )?;
    client.send(Ping)?;
    client.expect_pingresp()?;
    all([
        closes(
            target,
            "re-authentication",
            b"\xF0\x06\x19\x04\x15\0\x01x".to_vec(),
            &[0x8C, 0x87],
        ),
        closes(
            target,
            "success",
            b"\xF0\x06\x00\x04\x15\0\x01x".to_vec(),
            &[0x8C, 0x87],
        ),
        closes(
            target,
            "unlisted code",
            b"\xF0\x06\x55\x04\x15\0\x01x".to_vec(),
            &[0x8C, 0x87],
        ),
        closes(
            target,
            "no method",
            b"\xF0\x02\x19\0".to_vec(),
            &[0x8C, 0x87],
        ),
    ])
}

//= mqtt5 3.14.2-1 test
//= mqtt5 3.14.2-2 test
//= mqtt5 3.14.4-1 test
//= mqtt5 3.14.4-2 test
//= mqtt5 4.13.2-1 test
fn server_disconnect_is_the_last_packet(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0)?;
    // Two packets at once: the second would be answered if the first had not ended it all. The
    // parser refuses a Session Expiry Interval and unlisted reasons in DISCONNECT.
    let mut bytes = Subscribe::new(1).encode(V5);
    bytes.extend(Publish::new(&topic, "late").encode(V5));
    bytes.extend(Ping.encode(V5));
    client.send(bytes)?;
    client.expect_closed()
}

//= mqtt5 3.14.2-1 test
fn goodbyes_with_properties_are_understood(target: &Target) -> Verdict {
    for goodbye in [
        Disconnect::new().code(0),
        Disconnect::new().props(Props::new()),
        Disconnect::new().props(Props::new().text(prop::REASON_STRING, "bye").pair("a", "b")),
        Disconnect::new().props(Props::new().u32(prop::SESSION_EXPIRY, 0)),
    ] {
        target.client(V5)?.disconnect_with(&goodbye)?;
    }
    Ok(())
}
