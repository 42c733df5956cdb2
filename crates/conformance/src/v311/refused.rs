//! CONNECT that is refused (sections 3.1 and 3.2).

use super::{about, client, subscriber};
use crate::case::{Case, Failure, Verdict, Version, check_eq};
use crate::harness::Target;
use crate::wire::{
    Acknowledge, Bytes, Connect, Disconnect, Encode, Ping, Publish, Subscribe, Unsubscribe, Will,
    packet,
};

cases! {
    first_packet_must_be_connect: ["3.1.0-1", "4.8.0-1"];
    wrong_protocol_name_is_not_served: ["3.1.2-1"];
    unsupported_level_gets_code_1_and_a_close: ["3.1.2-2", "3.2.2-4", "3.2.2-5"];
    reserved_connect_flag_closes: ["3.1.2-3", "3.1.4-1"];
    wrong_will_flags_close_without_connack: [
        "3.1.2-11", "3.1.2-13", "3.1.2-14", "3.1.2-15", "3.1.4-1", "3.2.2-6"
    ];
    flags_without_fields_close_without_connack: ["3.1.2-9", "3.1.2-19", "3.1.2-21", "3.1.4-1"];
    fields_without_flags_close_without_connack: ["3.1.2-11", "3.1.2-18", "3.1.2-20", "3.1.4-1"];
    password_without_user_name_closes: ["3.1.2-22", "3.1.4-1"];
    short_connect_closes_without_connack: ["3.1.3-3", "3.1.4-1"];
    ill_formed_strings_in_connect_close: ["3.1.3-4", "3.1.3-10", "3.1.3-11", "1.5.3-1"];
    nul_in_strings_of_connect_closes: ["1.5.3-2", "3.1.4-1"];
    wrong_will_topic_is_refused: ["4.7.1-1", "4.7.3-1"];
    empty_client_id_without_clean_session_gets_code_2: ["3.1.3-7", "3.1.3-8", "3.2.2-4", "3.2.2-5"];
    bytes_behind_a_refused_connect_are_ignored: ["3.1.4-5"];
}

/// Sends bytes on a fresh connection; the broker closes and says nothing.
fn silent_close(target: &Target, what: &str, packet: impl Encode) -> Verdict {
    let mut client = target.open(Version::V311)?;
    client.send(packet)?;
    about(what, client.expect_closed())
}

//= mqtt311 3.1.0-1 test
//= mqtt311 4.8.0-1 test
fn first_packet_must_be_connect(target: &Target) -> Verdict {
    let topic = target.topic("t");
    silent_close(target, "PUBLISH", Publish::new(&topic, "x"))?;
    silent_close(target, "PUBLISH QoS 1", Publish::new(&topic, "x").qos(1, 1))?;
    silent_close(target, "SUBSCRIBE", Subscribe::new(1).filter(&topic, 0))?;
    silent_close(target, "UNSUBSCRIBE", Unsubscribe::new(1).filter(&topic))?;
    silent_close(target, "PINGREQ", Ping)?;
    silent_close(target, "PUBACK", Acknowledge::puback(1))?;
    silent_close(target, "PUBREL", Acknowledge::pubrel(1))?;
    silent_close(target, "DISCONNECT", Disconnect::new())?;
    silent_close(target, "CONNACK", [0x20, 2, 0, 0])?;
    silent_close(target, "type 0", [0x00, 0])
}

//= mqtt311 3.1.2-1 test
fn wrong_protocol_name_is_not_served(target: &Target) -> Verdict {
    for name in ["MQTTX", "mqtt", "", "MQT", "MQIsdq", "HTTP"] {
        let mut client = target.open(Version::V311)?;
        client.send(Connect::v311(&target.id()).protocol(name, 4))?;
        about(name, client.expect_refused())?;
    }
    Ok(())
}

//= mqtt311 3.1.2-2 test
//= mqtt311 3.2.2-4 test
//= mqtt311 3.2.2-5 test
fn unsupported_level_gets_code_1_and_a_close(target: &Target) -> Verdict {
    for level in [0, 1, 2] {
        about(
            &format!("level {level}"),
            refused_level(target, Version::V311, level),
        )?;
    }
    for level in [6, 7, 0x7E] {
        // A broker that also speaks 5.0 may answer unknown later versions in the form of 5.0.
        let verdict = match refused_level(target, Version::V311, level) {
            Err(Failure::Failed(first)) => {
                refused_level(target, Version::V5, level).map_err(|_| Failure::Failed(first))
            }
            other => other,
        };
        about(&format!("level {level}"), verdict)?;
    }
    Ok(())
}

/// CONNECT at this level is refused with "unacceptable protocol level", in the form of `version`.
fn refused_level(target: &Target, version: Version, level: u8) -> Verdict {
    let mut client = target.open(version)?;
    client.send(Connect::v311(&target.id()).protocol("MQTT", level))?;
    let connack = client.expect_connack()?;
    let wanted = if version.is_v5() { 0x84 } else { 1 };
    check_eq("code of CONNACK", connack.code, wanted)?;
    check_eq("Session Present", connack.session_present, false)?;
    client.expect_close().map(drop)
}

//= mqtt311 3.1.2-3 test
//= mqtt311 3.1.4-1 test
fn reserved_connect_flag_closes(target: &Target) -> Verdict {
    let connect = Connect::v311(&target.id()).flip_flags(0x01);
    silent_close(target, "reserved flag 1", connect)
}

//= mqtt311 3.1.2-11 test
//= mqtt311 3.1.2-13 test
//= mqtt311 3.1.2-14 test
//= mqtt311 3.1.2-15 test
//= mqtt311 3.1.4-1 test
//= mqtt311 3.2.2-6 test
fn wrong_will_flags_close_without_connack(target: &Target) -> Verdict {
    let bare = || Connect::v311(&target.id());
    let will = || bare().will(Will::new(&target.topic("w"), "w"));
    silent_close(target, "no will, Will QoS 1", bare().flip_flags(0x08))?;
    silent_close(target, "no will, Will QoS 2", bare().flip_flags(0x10))?;
    silent_close(target, "no will, Will Retain", bare().flip_flags(0x20))?;
    silent_close(target, "will, Will QoS 3", will().flip_flags(0x18))
}

//= mqtt311 3.1.2-9 test
//= mqtt311 3.1.2-19 test
//= mqtt311 3.1.2-21 test
//= mqtt311 3.1.4-1 test
fn flags_without_fields_close_without_connack(target: &Target) -> Verdict {
    let bare = || Connect::v311(&target.id());
    let named = || bare().user_name(b"user");
    silent_close(target, "Will Flag only", bare().flip_flags(0x04))?;
    silent_close(target, "User Name Flag only", bare().flip_flags(0x80))?;
    silent_close(target, "Password Flag only", named().flip_flags(0x40))?;
    let mut half_will = bare().flip_flags(0x04).body();
    half_will.extend(Bytes::new().string("w").0);
    silent_close(target, "will without message", packet(0x10, &half_will))
}

//= mqtt311 3.1.2-11 test
//= mqtt311 3.1.2-18 test
//= mqtt311 3.1.2-20 test
//= mqtt311 3.1.4-1 test
fn fields_without_flags_close_without_connack(target: &Target) -> Verdict {
    let bare = || Connect::v311(&target.id());
    let named = || bare().user_name(b"user");
    let will = || bare().will(Will::new(&target.topic("w"), "w"));
    silent_close(target, "will, no Will Flag", will().flip_flags(0x04))?;
    silent_close(target, "user name, no flag", named().flip_flags(0x80))?;
    let full = named().password(b"secret");
    silent_close(target, "password, no flag", full.flip_flags(0x40))?;
    let mut surplus = bare().body();
    surplus.push(0);
    silent_close(target, "one byte too many", packet(0x10, &surplus))
}

//= mqtt311 3.1.2-22 test
//= mqtt311 3.1.4-1 test
fn password_without_user_name_closes(target: &Target) -> Verdict {
    let connect = Connect::v311(&target.id()).password(b"secret");
    silent_close(target, "password without user name", connect)
}

//= mqtt311 3.1.3-3 test
//= mqtt311 3.1.4-1 test
fn short_connect_closes_without_connack(target: &Target) -> Verdict {
    let body = Connect::v311("abc").body();
    // The variable header is ten bytes, the client id three and its length two.
    for length in [0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 14] {
        let what = format!("CONNECT cut to {length} bytes");
        let short = body.get(..length).unwrap_or_default();
        silent_close(target, &what, packet(0x10, short))?;
    }
    Ok(())
}

//= mqtt311 3.1.3-4 test
//= mqtt311 3.1.3-10 test
//= mqtt311 3.1.3-11 test
//= mqtt311 1.5.3-1 test
fn ill_formed_strings_in_connect_close(target: &Target) -> Verdict {
    for bad in super::text::ILL_FORMED {
        let what = format!("client id {bad:02X?}");
        let mut connect = Connect::v311("");
        connect.client_id = bad.to_vec();
        silent_close(target, &what, connect)?;
    }
    let bad = b"a\xED\xA0\x80";
    let mut will = Will::new("w", "w");
    will.topic = bad.to_vec();
    let connect = Connect::v311(&target.id()).will(will);
    silent_close(target, "will topic", connect)?;
    let connect = Connect::v311(&target.id()).user_name(bad);
    silent_close(target, "user name", connect)
}

//= mqtt311 1.5.3-2 test
//= mqtt311 3.1.4-1 test
fn nul_in_strings_of_connect_closes(target: &Target) -> Verdict {
    let connect = Connect::v311(&format!("{}\0", target.id()));
    silent_close(target, "client id", connect)?;
    let connect = Connect::v311(&target.id()).will(Will::new("w\0w", "w"));
    silent_close(target, "will topic", connect)?;
    let connect = Connect::v311(&target.id()).user_name(b"us\0er");
    silent_close(target, "user name", connect)
}

//= mqtt311 4.7.1-1 test
//= mqtt311 4.7.3-1 test
fn wrong_will_topic_is_refused(target: &Target) -> Verdict {
    for topic in ["", "+", "#", "a/+/b", "a/#", "a+"] {
        let mut client = target.open(Version::V311)?;
        client.send(Connect::v311(&target.id()).will(Will::new(topic, "w")))?;
        about(&format!("will topic {topic:?}"), client.expect_refused())?;
    }
    Ok(())
}

//= mqtt311 3.1.3-7 test
//= mqtt311 3.1.3-8 test
//= mqtt311 3.2.2-4 test
//= mqtt311 3.2.2-5 test
fn empty_client_id_without_clean_session_gets_code_2(target: &Target) -> Verdict {
    let mut client = target.open(Version::V311)?;
    client.send(Connect::v311("").resume())?;
    let connack = client.expect_connack()?;
    check_eq("code of CONNACK", connack.code, 2)?;
    check_eq("Session Present", connack.session_present, false)?;
    client.expect_closed()
}

//= mqtt311 3.1.4-5 test
fn bytes_behind_a_refused_connect_are_ignored(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut watcher = subscriber(target, &topic, 0)?;
    let refused = [
        Connect::v311("").resume(),
        Connect::v311(&target.id()).protocol("MQTT", 1),
    ];
    for connect in refused {
        let mut bytes = connect.encode(Version::V311);
        bytes.extend(Publish::new(&topic, "x").retain().encode(Version::V311));
        bytes.extend(Connect::v311(&target.id()).encode(Version::V311));
        bytes.extend(Publish::new(&topic, "y").encode(Version::V311));
        let mut client = target.open(Version::V311)?;
        client.send(bytes)?;
        client.expect_refused()?;
    }
    watcher.expect_silence(&mut client(target)?)
}
