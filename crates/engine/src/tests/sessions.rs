//! Sessions: takeover, clean start, expiry, wills.

use martlet_codec::{
    Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, QoS, ReasonCode, TopicName,
    Version, Will,
};

use super::world::{Client, World};

fn with_will<'a>(
    version: Version,
    id: &'a str,
    clean: bool,
    properties: Properties<'a>,
    will_properties: Properties<'a>,
) -> Connect<'a> {
    Connect {
        version,
        clean_start: clean,
        keep_alive_s: 10,
        properties,
        client_id: id,
        will: Some(Will {
            qos: QoS::AtMostOnce,
            retain: false,
            properties: will_properties,
            topic: TopicName::new("will").unwrap(),
            payload: b"gone",
        }),
        user_name: None,
        password: None,
    }
}

fn watcher(w: &mut World) -> Client {
    let watcher = w.connect(Version::V311, "watcher", true);
    w.subscribe(watcher, "will", QoS::AtMostOnce);
    w.received(watcher);
    watcher
}

//= mqtt5 3.1.4-3 test
#[test]
fn a_takeover_tells_the_old_connection_and_publishes_its_will() {
    let mut w = World::new(1);
    let watcher = watcher(&mut w);
    let connect = with_will(Version::V5, "c", true, Properties::EMPTY, Properties::EMPTY);
    let old = w.connect_packet(&connect);
    let new = w.connect(Version::V5, "c", true);
    assert_eq!(
        w.received(old),
        ["CONNACK 00 present=false", "DISCONNECT 8E"]
    );
    assert_eq!(w.received(new), ["CONNACK 00 present=false"]);
    assert_eq!(w.payloads(watcher), ["gone"]);
}

//= mqtt5 3.1.3-9 test
#[test]
fn a_delayed_will_is_cancelled_by_a_resume_and_published_when_due() {
    let mut w = World::new(1);
    let watcher = watcher(&mut w);
    let (mut session, mut will) = (PropertiesBuf::new(), PropertiesBuf::new());
    session.push(Property::SessionExpiryInterval(100));
    will.push(Property::WillDelayInterval(5));
    let connect = with_will(
        Version::V5,
        "c",
        false,
        session.as_properties(),
        will.as_properties(),
    );
    let c = w.connect_packet(&connect);
    w.drop_connection(c);
    w.advance(3_000);
    let c = w.connect_packet(&connect);
    w.advance(9_000);
    assert!(
        w.payloads(watcher).is_empty(),
        "the client was back in time"
    );
    w.drop_connection(c);
    w.advance(4_900);
    assert!(w.payloads(watcher).is_empty(), "too early");
    w.advance(300);
    assert_eq!(w.payloads(watcher), ["gone"]);
    w.advance(200_000);
    assert!(w.payloads(watcher).is_empty(), "once");
    assert_eq!(w.shards[0].session_count(), 1, "the session has expired");
}

/// Timers go off up to a tenth of a second late: a client that comes back in between is late all the same.
#[test]
fn a_will_that_is_due_goes_out_though_its_client_is_back_before_the_timer() {
    let mut w = World::new(1);
    let watcher = watcher(&mut w);
    let (mut session, mut will) = (PropertiesBuf::new(), PropertiesBuf::new());
    session.push(Property::SessionExpiryInterval(100));
    will.push(Property::WillDelayInterval(5));
    let connect = with_will(
        Version::V5,
        "c",
        false,
        session.as_properties(),
        will.as_properties(),
    );
    let c = w.connect_packet(&connect);
    w.drop_connection(c);
    w.now = w.now.plus_millis(5_000);
    w.connect_packet(&connect);
    assert_eq!(w.payloads(watcher), ["gone"]);
    w.advance(9_000);
    assert!(w.payloads(watcher).is_empty(), "once");
}

//= mqtt5 3.1.2-23 test
#[test]
fn a_session_that_has_ended_is_not_resumed_though_its_timer_has_not_gone_off() {
    let mut w = World::new(1);
    let expiry = [Property::SessionExpiryInterval(100)];
    for (millis, connack) in [
        (99_999, "CONNACK 00 present=true"),
        (100_000, "CONNACK 00 present=false"),
    ] {
        let c = w.connect_with(Version::V5, "c", false, &expiry);
        w.drop_connection(c);
        w.now = w.now.plus_millis(millis);
        let c = w.connect_with(Version::V5, "c", false, &expiry);
        assert_eq!(w.received(c), [connack]);
        w.drop_connection(c);
    }
}

#[test]
fn disconnect_drops_the_will_and_0x04_sends_it() {
    for (reason, expected) in [
        (ReasonCode::Success, 0),
        (ReasonCode::DisconnectWithWillMessage, 1),
    ] {
        let mut w = World::new(1);
        let watcher = watcher(&mut w);
        let connect = with_will(Version::V5, "c", true, Properties::EMPTY, Properties::EMPTY);
        let c = w.connect_packet(&connect);
        w.send(
            c,
            &Packet::Disconnect(Disconnect {
                reason,
                properties: Properties::EMPTY,
            }),
        );
        assert_eq!(w.payloads(watcher).len(), expected);
    }
}

//= mqtt5 3.1.2-22 test
//= mqtt311 3.1.2-24 test
#[test]
fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    let mut w = World::new(1);
    let watcher = watcher(&mut w);
    let connect = with_will(Version::V5, "c", true, Properties::EMPTY, Properties::EMPTY);
    let c = w.connect_packet(&connect);
    w.advance(14_900);
    w.send(c, &Packet::PingReq);
    assert_eq!(
        w.received(c),
        ["CONNACK 00 present=false", "PINGRESP"]
            .map(|s| { if s == "PINGRESP" { "PingResp" } else { s } })
    );
    w.advance(14_900);
    assert!(w.payloads(watcher).is_empty());
    w.advance(300);
    assert_eq!(w.payloads(watcher), ["gone"]);
    assert_eq!(w.received(c), ["DISCONNECT 8D"]);
}

#[test]
fn clean_start_ends_the_old_session_and_its_queue() {
    let mut w = World::new(1);
    let p = w.connect(Version::V311, "p", true);
    let s = w.connect(Version::V311, "s", false);
    w.subscribe(s, "t", QoS::AtLeastOnce);
    w.drop_connection(s);
    w.publish(p, "t", QoS::AtLeastOnce, 1, false, "queued");
    assert!(w.shards[0].memory_bytes() > 0);
    let s = w.connect(Version::V311, "s", true);
    assert_eq!(w.received(s), ["CONNACK 00 present=false"]);
    assert_eq!(w.shards[0].memory_bytes(), 0);
    w.publish(p, "t", QoS::AtLeastOnce, 2, false, "unsubscribed");
    assert!(w.received(s).is_empty());
}

#[test]
fn a_disconnect_that_extends_a_session_of_zero_is_an_error() {
    let mut w = World::new(1);
    let watcher = watcher(&mut w);
    let connect = with_will(Version::V5, "c", true, Properties::EMPTY, Properties::EMPTY);
    let c = w.connect_packet(&connect);
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(10));
    let packet = Disconnect {
        reason: ReasonCode::Success,
        properties: properties.as_properties(),
    };
    w.send(c, &Packet::Disconnect(packet));
    assert_eq!(w.received(c), ["CONNACK 00 present=false", "DISCONNECT 82"]);
    assert_eq!(
        w.payloads(watcher),
        ["gone"],
        "such a DISCONNECT does not count"
    );
}

#[test]
fn shutdown_tells_v5_clients_and_publishes_no_wills() {
    let mut w = World::new(1);
    let connect = with_will(Version::V5, "c", true, Properties::EMPTY, Properties::EMPTY);
    let c = w.connect_packet(&connect);
    let mut fx = crate::Effects::new(1);
    w.shards[0].shut_down(w.now, &mut fx);
    assert_eq!(fx.closed.len(), 1);
    assert_eq!(w.shards[0].counters().wills_published, 0);
    assert_eq!(fx.closed[0].conn, c.conn);
    assert!(!fx.closed[0].farewell.is_empty());
}

/// The name of MQTT 3.1 with the level of MQTT 5: no client of MQTT 5 says that, so the answer has the older form.
//= mqtt311 3.1.2-2 test
#[test]
fn the_old_name_with_the_new_level_is_refused_in_the_old_form() {
    let mut w = World::new(1);
    let mut fx = crate::Effects::new(1);
    let conn = w.shards[0].on_open(w.now, &mut fx).unwrap();
    let bytes = b"\x10\x0f\x00\x06MQIsdp\x05\x02\x00\x3c\x00\x01b";
    w.shards[0].on_bytes(conn, bytes, w.now, &mut fx);
    let mut parts = [&[][..]; 4];
    let count = fx.closed[0].farewell.io_slices(&mut parts);
    assert_eq!(parts[..count].concat(), b"\x20\x02\x00\x01");
}

/// Bridges of mosquitto ask for a level with bit 7 set first. They try again without it if the answer is the return code of MQTT 3.
//= mqtt311 3.1.2-2 test
#[test]
fn a_level_with_the_bridge_bit_is_refused_in_the_form_of_the_version_below() {
    for (level, connack) in [
        (0x83, &b"\x20\x02\x00\x01"[..]),
        (0x84, b"\x20\x02\x00\x01"),
        (0x85, b"\x20\x03\x00\x84\x00"),
        (6, b"\x20\x03\x00\x84\x00"),
        (2, b"\x20\x02\x00\x01"),
    ] {
        let mut w = World::new(1);
        let mut fx = crate::Effects::new(1);
        let conn = w.shards[0].on_open(w.now, &mut fx).unwrap();
        let mut bytes = *b"\x10\x0d\x00\x04MQTT\x00\x02\x00\x3c\x00\x01b";
        bytes[8] = level;
        w.shards[0].on_bytes(conn, &bytes, w.now, &mut fx);
        let mut parts = [&[][..]; 4];
        let count = fx.closed[0].farewell.io_slices(&mut parts);
        assert_eq!(parts[..count].concat(), connack, "level {level:#x}");
    }
}
