//! Where 3.1 is more lenient than 3.1.1.

use super::{accept, encoded, field, frame, refuse};
use crate::{
    ConnAck, DecodeErrorKind, EncodeError, Field, Packet, Properties, ReasonCode, Sender, Version,
};
use std::vec::Vec;

fn connect(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = std::vec![b"\x00\x06MQIsdp\x03"];
    let flags = [flags, 0, 60];
    parts.push(&flags);
    parts.extend(payload);
    frame(0x10, &parts)
}

#[test]
fn a_connect_of_31() {
    let bytes = connect(
        0xC6,
        &[
            &field("me"),
            &field("w"),
            &field("bye"),
            &field("u"),
            &field("p"),
        ],
    );
    let packet = accept(Version::V5, Sender::Client, &bytes);
    let Packet::Connect(connect) = packet else {
        panic!()
    };
    assert_eq!((connect.version, connect.client_id), (Version::V31, "me"));
    assert_eq!(encoded(&packet, Version::V31), bytes);
}

#[test]
fn name_and_level_belong_together() {
    for bytes in [
        &b"\x10\x0E\x00\x06MQIsdp\x04\x02\x00\x3C\x00\x00"[..],
        b"\x10\x0C\x00\x04MQTT\x03\x02\x00\x3C\x00\x00",
    ] {
        let error = refuse(Version::V31, Sender::Client, bytes);
        assert_eq!(error.kind(), DecodeErrorKind::UnsupportedProtocolVersion);
        assert_eq!(error.statement(Version::V31), None);
    }
}

#[test]
fn an_empty_client_identifier_is_for_others_to_judge() {
    for flags in [0, 2] {
        let bytes = connect(flags, &[&field("")]);
        let Packet::Connect(connect) = accept(Version::V31, Sender::Client, &bytes) else {
            panic!()
        };
        assert_eq!(connect.client_id, "");
    }
}

#[test]
fn user_name_and_password_may_be_announced_and_missing() {
    let bytes = connect(0xC2, &[&field("me")]);
    let Packet::Connect(packet) = accept(Version::V31, Sender::Client, &bytes) else {
        panic!()
    };
    assert_eq!((packet.user_name, packet.password), (None, None));
    let bytes = connect(0xC2, &[&field("me"), &field("u")]);
    let Packet::Connect(packet) = accept(Version::V31, Sender::Client, &bytes) else {
        panic!()
    };
    assert_eq!((packet.user_name, packet.password), (Some("u"), None));
    // But not half of one.
    let bytes = connect(0x82, &[&field("me"), &[0]]);
    assert_eq!(
        refuse(Version::V31, Sender::Client, &bytes).field(),
        Field::UserName
    );
}

#[test]
fn unused_connect_flags_are_not_looked_at() {
    let bytes = connect(0x3B, &[&field("me")]);
    let Packet::Connect(packet) = accept(Version::V31, Sender::Client, &bytes) else {
        panic!()
    };
    assert_eq!(packet.will, None);
    let qos_3 = connect(0x1E, &[&field("me"), &field("t"), &field("")]);
    assert_eq!(
        refuse(Version::V31, Sender::Client, &qos_3).kind(),
        DecodeErrorKind::QoSReserved
    );
}

#[test]
fn connack_cannot_tell_of_a_session_and_suback_not_of_a_failure() {
    let Packet::ConnAck(connack) = accept(Version::V31, Sender::Server, &[0x20, 2, 1, 0]) else {
        panic!()
    };
    assert!(!connack.session_present);
    let present = ConnAck {
        session_present: true,
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    assert_eq!(
        encoded(&Packet::ConnAck(present), Version::V31),
        [0x20, 2, 0, 0]
    );

    let error = refuse(Version::V31, Sender::Server, &[0x90, 3, 0, 7, 0x80]);
    assert_eq!(error.kind(), DecodeErrorKind::ReasonCodeNotAllowed);
    let suback = accept(Version::V311, Sender::Server, &[0x90, 3, 0, 7, 0x80]);
    let result = suback.encode(Version::V31, &mut Vec::new());
    assert_eq!(
        result,
        Err(EncodeError::NotInThisVersion(Field::ReasonCode))
    );
}
