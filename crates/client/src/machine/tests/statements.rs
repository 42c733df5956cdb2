//! What the specifications want of a client's bytes, byte for byte: nothing here asks our own decoder.

use std::time::Duration;

use martlet_codec::{Property, ReasonCode, Version};

use super::rig::{Rig, both};
use crate::error::ErrorKind;
use crate::machine::{Config, StreamOptions};
use crate::message::Message;
use crate::options::Session;
use crate::topic::{Filter, IntoTopic};

/// What the machine wants to write, as it is.
fn raw(rig: &mut Rig) -> Vec<u8> {
    let mut bytes = Vec::new();
    rig.machine.take_output(&mut bytes);
    rig.machine.on_written(rig.now, bytes.len());
    rig.settle();
    bytes
}

fn connect_of(config: Config) -> Vec<u8> {
    let mut rig = Rig::new(config);
    rig.machine.start(rig.now, None);
    rig.open();
    raw(&mut rig)
}

//= mqtt5 2.1.3-1 test
//= mqtt5 2.2.2-1 test
//= mqtt5 3.1.2-1 test
//= mqtt5 3.1.2-9 test
//= mqtt5 3.1.2-12 test
//= mqtt5 3.1.2-17 test
//= mqtt5 3.1.2-19 test
//= mqtt5 3.1.3-1 test
//= mqtt5 3.1.3-3 test
//= mqtt5 3.1.3-4 test
//= mqtt5 3.1.3-11 test
//= mqtt5 3.1.3-12 test
//= mqtt311 2.2.2-1 test
//= mqtt311 3.1.2-9 test
//= mqtt311 3.1.2-14 test
//= mqtt311 3.1.2-19 test
//= mqtt311 3.1.2-21 test
//= mqtt311 3.1.3-1 test
//= mqtt311 3.1.3-3 test
//= mqtt311 3.1.3-4 test
//= mqtt311 3.1.3-10 test
//= mqtt311 3.1.3-11 test
#[test]
fn a_full_connect_has_its_fields_in_their_order() {
    both(|mut config| {
        let v5 = config.version.is_v5();
        config.client_id = "mé".into();
        config.keep_alive_s = 60;
        config.will = Some(Message::new("w", "gone").qos(2).retain());
        config.credentials.user_name = Some("u".into());
        config.credentials.password = Some(b"p\xFF".to_vec());
        let connect = connect_of(config);
        let (level, size) = if v5 { (5, 44) } else { (4, 31) };
        let mut wanted = vec![0x10, size, 0, 4];
        wanted.extend(b"MQTT");
        // User name, password, will retained at QoS 2, clean.
        wanted.extend([level, 0xF6, 0, 60]);
        if v5 {
            // Receive Maximum 256, Maximum Packet Size 64 MiB, Topic Alias Maximum 64.
            wanted.extend([11, 0x21, 1, 0, 0x27, 4, 0, 0, 0, 0x22, 0, 64]);
        }
        wanted.extend(b"\x00\x03m\xC3\xA9");
        // No will properties is a length of 0.
        wanted.extend(v5.then_some(0));
        wanted.extend(b"\x00\x01w\x00\x04gone\x00\x01u\x00\x02p\xFF");
        assert_eq!(connect, wanted);
    });
}

//= mqtt5 3.1.2-11 test
//= mqtt5 3.1.2-13 test
//= mqtt5 3.1.2-16 test
//= mqtt5 3.1.2-18 test
//= mqtt311 3.1.2-11 test
//= mqtt311 3.1.2-13 test
//= mqtt311 3.1.2-15 test
//= mqtt311 3.1.2-18 test
//= mqtt311 3.1.2-20 test
#[test]
fn a_bare_connect_has_no_flag_of_what_it_has_not() {
    both(|mut config| {
        let v5 = config.version.is_v5();
        config.keep_alive_s = 0;
        let connect = connect_of(config);
        let (flags, behind) = (connect[9], connect.split_at(12).1);
        assert_eq!(flags, 0x02, "clean, and nothing else");
        let client_id = if v5 { behind.split_at(12).1 } else { behind };
        assert_eq!(
            client_id,
            [0, 0],
            "nothing comes behind an empty identifier"
        );
    });
}

//= mqtt5 3.1.3-2 test
//= mqtt311 3.1.3-2 test
//= mqtt311 4.1.0-2 test
#[test]
fn a_session_is_asked_for_by_the_same_name_and_lives_with_its_connection() {
    both(|mut config| {
        config.client_id = "me".into();
        config.session = Session::persistent(Duration::from_secs(60));
        let mut rig = Rig::online(config);
        rig.send(Message::new("a", "1").qos(1));
        rig.sent();
        for present in [true, true] {
            // However long a connection lasts, what it began is there.
            rig.advance(Duration::from_secs(1));
            rig.reconnect(present);
            let sent = rig.sent();
            assert!(sent[0].contains(" id=me "), "{sent:?}");
            assert_eq!(sent[1..], ["PUBLISH dup q1 #1 a=1"]);
        }
    });
}

//= mqtt5 1.5.5-1 test
//= mqtt5 2.1.3-1 test
//= mqtt5 2.2.1-2 test
//= mqtt5 3.3.1-2 test
//= mqtt5 3.3.2-1 test
//= mqtt5 3.3.4-6 test
//= mqtt5 3.6.1-1 test
//= mqtt5 3.8.1-1 test
//= mqtt5 3.8.3-1 test
//= mqtt5 3.8.3-2 test
//= mqtt5 3.10.1-1 test
//= mqtt5 3.10.3-1 test
//= mqtt5 3.10.3-2 test
//= mqtt311 2.2.2-1 test
//= mqtt311 2.3.1-1 test
//= mqtt311 2.3.1-5 test
//= mqtt311 3.3.1-2 test
//= mqtt311 3.3.2-1 test
//= mqtt311 3.6.1-1 test
//= mqtt311 3.8.1-1 test
//= mqtt311 3.8.3-1 test
//= mqtt311 3.8.3-3 test
//= mqtt311 3.10.1-1 test
//= mqtt311 3.10.3-1 test
//= mqtt311 3.10.3-2 test
#[test]
fn packets_have_their_flags_and_fields() {
    both(|config| {
        let v5 = config.version.is_v5();
        // The empty properties of 5.0.
        let none: &[u8] = if v5 { &[0] } else { &[] };
        let packet = |first: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            let length = u8::try_from(body.len()).unwrap();
            [&[first, length][..], &body].concat()
        };
        let mut rig = Rig::online(config);
        rig.send(Message::new("é", "x"));
        assert_eq!(
            raw(&mut rig),
            packet(0x30, &[b"\0\x02\xC3\xA9", none, b"x"])
        );
        let (id, _) = rig.subscribe(&["a/+", "b"], 1);
        let options = rig.version.is_v5().then_some(&[2, 0x0B, 1][..]);
        let identifier = options.unwrap_or_default();
        assert_eq!(
            raw(&mut rig),
            packet(0x82, &[b"\0\x01", identifier, b"\0\x03a/+\x01\0\x01b\x01"])
        );
        rig.suback(1, &[1, 1]);
        rig.unsubscribe(id);
        assert_eq!(
            raw(&mut rig),
            packet(0xA2, &[b"\0\x02", none, b"\0\x03a/+\0\x01b"])
        );
        rig.unsuback(2);
        rig.send(Message::new("a", "").qos(2));
        assert_eq!(raw(&mut rig), packet(0x34, &[b"\0\x01a\0\x03", none]));
        rig.pubrec(3, ReasonCode::Success);
        assert_eq!(raw(&mut rig), [0x62, 2, 0, 3]);
        // 127 bytes have a length of one byte, 128 of two.
        for size in [127, 128_usize] {
            let payload = vec![b'x'; size - 3 - none.len()];
            rig.send(Message::new("a", payload));
            let sent = raw(&mut rig);
            let length: &[u8] = if size < 128 { &[127] } else { &[0x80, 1] };
            assert_eq!(sent[..=length.len()], [&[0x30][..], length].concat());
            assert_eq!(sent.len(), 1 + length.len() + size);
        }
        rig.advance(Duration::from_secs(60));
        assert_eq!(raw(&mut rig), [0xC0, 0]);
    });
}

//= mqtt5 1.5.4-2 test
//= mqtt5 1.5.7-1 test
//= mqtt5 3.3.2-2 test
//= mqtt5 3.3.2-13 test
//= mqtt5 3.3.2-14 test
//= mqtt5 3.3.2-19 test
//= mqtt5 4.7.0-1 test
//= mqtt5 4.7.1-1 test
//= mqtt5 4.7.1-2 test
//= mqtt5 4.7.3-1 test
//= mqtt5 4.7.3-2 test
//= mqtt5 4.7.3-3 test
//= mqtt5 4.8.2-1 test
//= mqtt5 4.8.2-2 test
//= mqtt311 1.5.3-2 test
//= mqtt311 3.3.2-2 test
//= mqtt311 4.7.1-1 test
//= mqtt311 4.7.1-2 test
//= mqtt311 4.7.1-3 test
//= mqtt311 4.7.3-1 test
//= mqtt311 4.7.3-2 test
//= mqtt311 4.7.3-3 test
#[test]
fn what_is_no_topic_filter_or_string_never_leaves() {
    both(|config| {
        let v5 = config.version.is_v5();
        let long = "x".repeat(65_536);
        let mut rig = Rig::online(config);
        for topic in ["", "a/+", "#", "a\0b", &long] {
            let refused = rig.try_send(Message::new(topic, "")).unwrap_err();
            assert_eq!(refused.0, ErrorKind::InvalidTopic, "{topic:.9}");
        }
        let groups = [
            "$share//a",
            "$share/g",
            "$share/g/",
            "$share/a+b/c",
            "$share/#/c",
        ];
        let groups = if v5 { &groups[..] } else { &[] };
        for filter in ["", "a#", "a/#/b", "a+", "+a/b", "a\0b", &long]
            .iter()
            .chain(groups)
        {
            let filters = vec![Filter::new(*filter)];
            let refused = rig
                .machine
                .subscribe(rig.now, filters, StreamOptions::default(), None);
            let kind = refused.unwrap_err().kind();
            assert_eq!(kind, ErrorKind::InvalidTopic, "{filter:.9}");
        }
        let change: [fn(&mut crate::Properties); 5] = [
            |properties| properties.response_topic = Some("a/+".into_topic()),
            |properties| properties.response_topic = Some("a\0b".into_topic()),
            |properties| properties.content_type = Some("a\0b".into()),
            |properties| properties.user.push(("a\0b".into(), "c".into())),
            |properties| properties.user.push(("a".into(), "b\0c".into())),
        ];
        for (at, change) in change.iter().enumerate() {
            let mut message = Message::new("a", "");
            change(message.properties_mut());
            assert!(rig.try_send(message).is_err(), "change {at}");
        }
        assert!(raw(&mut rig).is_empty());
    });
}

//= mqtt5 1.5.4-3 test
//= mqtt311 1.5.3-3 test
#[test]
fn a_byte_order_mark_is_a_character_like_others() {
    both(|config| {
        let mut rig = Rig::online(config);
        let stream = rig.stream(&["\u{FEFF}a"], 0);
        rig.publish(0, 0, "\u{FEFF}a", "", false);
        let (message, _) = rig.machine.recv(stream).unwrap();
        assert_eq!(message.topic.as_bytes(), b"\xEF\xBB\xBFa");
        rig.send(Message::new("\u{FEFF}a", ""));
        assert_eq!(raw(&mut rig)[2..8], *b"\0\x04\xEF\xBB\xBFa");
    });
}

//= mqtt5 1.5.4-2 test
//= mqtt5 1.5.5-1 test
//= mqtt5 1.5.7-1 test
//= mqtt5 2.1.3-1 test
//= mqtt5 3.3.1-2 test
//= mqtt5 3.3.1-4 test
//= mqtt5 3.3.2-2 test
//= mqtt5 3.3.2-14 test
//= mqtt5 3.6.1-1 test
//= mqtt5 3.6.2-1 test
//= mqtt5 3.7.2-1 test
//= mqtt5 3.14.1-1 test
//= mqtt5 3.14.2-1 test
//= mqtt5 3.15.1-1 test
//= mqtt5 3.15.2-1 test
//= mqtt5 4.7.3-1 test
//= mqtt311 1.5.3-2 test
//= mqtt311 2.2.2-1 test
//= mqtt311 3.3.1-2 test
//= mqtt311 3.3.1-4 test
//= mqtt311 3.3.2-2 test
//= mqtt311 3.6.1-1 test
//= mqtt311 4.7.3-1 test
#[test]
fn a_server_that_breaks_the_rules_is_left() {
    const BOTH: u8 = 0;
    let cases: [(u8, &[u8], &str); 16] = [
        (BOTH, b"\x36\x07\0\x01a\0\x01\0x", "QoS 3"),
        (BOTH, b"\x38\x05\0\x01a\0x", "DUP at QoS 0"),
        (BOTH, b"\x30\x06\0\x03a/+\0", "a wildcard"),
        (BOTH, b"\x30\x06\0\x03a\0b\0", "U+0000"),
        (4, b"\x30\x02\0\0", "no topic"),
        (5, b"\x30\x03\0\0\0", "no topic and no alias"),
        (BOTH, b"\x60\x02\0\x01", "flags of PUBREL"),
        (BOTH, b"\x42\x02\0\x01", "flags of PUBACK"),
        (5, b"\x62\x03\0\x01\x10", "a reason that PUBREL has not"),
        (5, b"\x70\x03\0\x01\x10", "a reason that PUBCOMP has not"),
        (5, b"\xE1\x01\x8B", "flags of DISCONNECT"),
        (5, b"\xE0\x01\x01", "a reason that DISCONNECT has not"),
        (5, b"\xF1\x02\x18\0", "flags of AUTH"),
        (5, b"\xF0\x02\x17\0", "a reason that AUTH has not"),
        (5, b"\x30\x05\0\x01a\x80\0", "a long 0"),
        (
            5,
            b"\x30\x0B\0\x01a\x07\x26\0\x01\0\0\x01v",
            "U+0000 in a name",
        ),
    ];
    both(|config| {
        let level = config.version.level();
        for (version, bytes, what) in cases {
            if version != BOTH && version != level {
                continue;
            }
            let mut rig = Rig::online(config.clone());
            rig.stream(&["#"], 2);
            rig.transport.clear();
            rig.receive_bytes(bytes);
            assert_eq!(rig.transport, ["close"], "{what} in {level}");
        }
    });
}

//= mqtt5 3.4.2-2 test
//= mqtt5 3.4.2-3 test
//= mqtt5 3.5.2-2 test
//= mqtt5 3.5.2-3 test
//= mqtt5 3.6.2-2 test
//= mqtt5 3.6.2-3 test
//= mqtt5 3.7.2-2 test
//= mqtt5 3.7.2-3 test
//= mqtt5 3.14.2-3 test
//= mqtt5 3.14.2-4 test
#[test]
fn answers_are_so_short_that_every_server_takes_them() {
    let mut rig = Rig::new(Config::new(Version::V5));
    rig.machine.start(rig.now, None);
    rig.accept_with(false, &[Property::MaximumPacketSize(20)]);
    raw(&mut rig);
    let manual = StreamOptions {
        manual: true,
        ..StreamOptions::default()
    };
    let stream = rig.stream_with(&["a"], 2, manual);
    for (id, qos, answer) in [(1, 1, [0x40, 3, 0, 1, 0x87]), (2, 2, [0x50, 3, 0, 2, 0x87])] {
        rig.publish(id, qos, "a", "", false);
        let (_, ack) = rig.take_one(stream);
        rig.machine
            .ack(ack.unwrap(), Some(ReasonCode::NotAuthorized));
        assert_eq!(raw(&mut rig), answer);
    }
    rig.pubrec(77, ReasonCode::Success);
    assert_eq!(raw(&mut rig), [0x62, 3, 0, 77, 0x92], "PUBREL");
    rig.pubrel(78);
    assert_eq!(raw(&mut rig), [0x70, 3, 0, 78, 0x92], "PUBCOMP");
    rig.transport.clear();
    rig.receive_bytes(b"\xC0\x00");
    assert_eq!(rig.sent(), ["DISCONNECT protocol error (0x82)"]);
}

//= mqtt5 4.3.3-7 test
//= mqtt5 4.3.3-13 test
#[test]
fn a_handshake_that_has_begun_is_finished_whatever_expires() {
    let mut config = Config::new(Version::V5);
    config.session = Session::persistent(Duration::from_secs(60));
    config.client_id = "me".into();
    let mut rig = Rig::online(config);
    let stream = rig.stream(&["in"], 2);
    let mut message = Message::new("out", "x").qos(2);
    message.properties_mut().expiry_s = Some(3);
    let op = rig.send(message);
    assert_eq!(rig.sent(), ["PUBLISH q2 #2 out=x expiry=3"]);
    let expiry = [Property::MessageExpiryInterval(3)];
    rig.publish_with(9, 2, "in", "y", false, &expiry);
    rig.advance(Duration::from_secs(10));
    rig.reconnect(true);
    assert_eq!(rig.sent()[1..], ["PUBLISH dup q2 #2 out=x expiry=1"]);
    rig.pubrec(2, ReasonCode::Success);
    assert_eq!(rig.sent(), ["PUBREL #2"]);
    rig.pubcomp(2);
    assert_eq!(rig.fate(op), "published");
    rig.publish_with(9, 2, "in", "y", true, &expiry);
    assert_eq!(rig.take(stream), ["y"]);
    assert_eq!(rig.sent(), ["PUBREC #9"]);
    rig.pubrel(9);
    assert_eq!(rig.sent(), ["PUBCOMP #9"]);
}
