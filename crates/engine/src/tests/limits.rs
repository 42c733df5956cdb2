//! Bounds that peers run into.

use martlet_codec::{QoS, Version};
use std::string::ToString;

use super::world::World;
use crate::{CloseCause, Limits, Policy};

#[test]
fn a_session_queue_refuses_what_exceeds_it_and_counts() {
    let limits = Limits {
        session_queue_messages_max: 3,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &Policy::default());
    let s = w.connect(Version::V311, "s", false);
    w.subscribe(s, "t", QoS::AtLeastOnce);
    w.drop_connection(s);
    let p = w.connect(Version::V311, "p", true);
    for n in 1..=5 {
        w.publish(p, "t", QoS::AtLeastOnce, n, false, &n.to_string());
    }
    assert_eq!(w.shards[0].counters().dropped_queue_full, 2);
    let s = w.connect(Version::V311, "s", false);
    assert_eq!(w.payloads(s), ["1", "2", "3"]);
    w.drop_connection(s);
    let report = &w.closed.last().unwrap().1.report;
    assert_eq!(
        (report.dropped.queue_full, report.dropped.outbox_full),
        (2, 0)
    );
    assert!(
        std::format!("{report}").ends_with("; 2 messages dropped, queue full"),
        "{report}"
    );
}

#[test]
fn connect_has_to_come_in_time_and_first() {
    let mut w = World::new(1);
    let c = w.connect(Version::V5, "c", true);
    w.drop_connection(c);
    let mut fx = crate::Effects::new(1);
    let conn = w.shards[0].on_open(w.now, &mut fx).unwrap();
    w.shards[0].on_bytes(conn, &[0x10, 0x20, 0x00], w.now, &mut fx);
    w.shards[0].on_timer(w.now.plus_millis(4_900), &mut fx);
    assert!(fx.closed.is_empty());
    w.shards[0].on_timer(w.now.plus_millis(5_200), &mut fx);
    assert!(matches!(
        fx.closed[0].report.cause,
        CloseCause::ConnectTimeout
    ));
    assert_eq!(w.shards[0].counters().closed_connect_timeout, 1);
    let conn = w.shards[0].on_open(w.now, &mut fx).unwrap();
    w.shards[0].on_bytes(conn, &[0xC0, 0x00], w.now, &mut fx);
    assert!(matches!(
        fx.closed[1].report.cause,
        CloseCause::Violation(_)
    ));
    assert!(
        fx.closed[1].farewell.is_empty(),
        "nothing is sent before CONNACK"
    );
}

#[test]
fn connections_over_the_limit_are_refused() {
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &Policy::default());
    w.connect(Version::V311, "a", true);
    let mut fx = crate::Effects::new(1);
    assert!(w.shards[0].on_open(w.now, &mut fx).is_none());
    assert_eq!(w.shards[0].counters().connections_refused, 1);
}

#[test]
fn over_the_memory_budget_publishers_wait_but_never_for_ever() {
    let limits = Limits {
        memory_budget_bytes: 1,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &Policy::default());
    let s = w.connect_with(
        Version::V5,
        "s",
        true,
        &[martlet_codec::Property::ReceiveMaximum(1)],
    );
    w.subscribe(s, "t", QoS::AtLeastOnce);
    let p = w.connect(Version::V311, "p", true);
    w.publish(p, "t", QoS::AtLeastOnce, 1, false, "1");
    let mut fx = crate::Effects::new(1);
    // PUBLISH QoS 1, topic "t", identifier 3, payload "3".
    let bytes = [0x32, 0x06, 0x00, 0x01, b't', 0x00, 0x03, b'3'];
    assert_eq!(w.shards[0].on_bytes(p.conn, &bytes, w.now, &mut fx), 0);
    assert!(!w.shards[0].wants_read(p.conn));
    w.shards[0].on_timer(w.now.plus_millis(1_200), &mut fx);
    assert_eq!(fx.resumed, [p.conn]);
    assert_eq!(
        w.shards[0].on_bytes(p.conn, &bytes, w.now, &mut fx),
        bytes.len()
    );
    assert_eq!(w.shards[0].counters().publishers_paused, 1);
}

#[test]
fn what_is_in_flight_counts_as_memory_until_it_is_acknowledged() {
    let mut w = World::new(1);
    let s = w.connect(Version::V311, "s", true);
    w.subscribe(s, "t", QoS::AtLeastOnce);
    let p = w.connect(Version::V311, "p", true);
    for id in 1..=3 {
        w.publish(p, "t", QoS::AtLeastOnce, id, false, "x");
    }
    let held = w.shards[0].memory_bytes();
    assert!(held > 0);
    // PUBACK of identifier 2.
    w.send_bytes(s, &[0x40, 0x02, 0x00, 0x02]);
    assert_eq!(w.shards[0].memory_bytes(), held / 3 * 2);
    w.drop_connection(s);
    assert_eq!(w.shards[0].memory_bytes(), 0);
}

#[test]
fn a_client_that_comes_and_goes_leaves_no_timers_behind() {
    let mut w = World::new(1);
    for _ in 0..1_000 {
        let c = w.connect(Version::V311, "c", false);
        w.drop_connection(c);
        w.advance(6_000);
    }
    let timers = w.shards[0].timer_count();
    assert!(timers < 10, "{timers}");
}

#[test]
fn a_refused_subscription_is_said_or_the_connection_ends() {
    let limits = Limits {
        subscriptions_per_session_max: 1,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &Policy::default());
    let said = [(Version::V5, "SUBACK [97]"), (Version::V311, "SUBACK [80]")];
    for (version, answer) in said {
        let c = w.connect(version, "c", true);
        w.subscribe(c, "a", QoS::AtLeastOnce);
        w.subscribe(c, "b", QoS::AtLeastOnce);
        assert_eq!(w.received(c)[2], answer);
        w.drop_connection(c);
    }
    // MQTT 3.1 has no code for it.
    let c = w.connect(Version::V31, "c", true);
    w.subscribe(c, "a", QoS::AtLeastOnce);
    w.subscribe(c, "b", QoS::AtLeastOnce);
    assert_eq!(w.received(c).len(), 2);
    let (_, closed) = w.closed.last().unwrap();
    assert!(matches!(closed.report.cause, CloseCause::Refused(_)));
}

/// Each limit on what one packet may say: answered as the specification asks, and counted.
#[test]
fn what_a_packet_may_not_say_is_refused_and_counted() {
    use martlet_codec::Property::TopicAlias;
    let limits = Limits {
        packet_bytes_max: 100,
        topic_bytes_max: 20,
        topic_levels_max: 3,
        client_id_bytes_max: 23,
        receive_maximum: 1,
        topic_aliases_from_client_max: 2,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &Policy::default());
    let counted = |w: &World, name: &str| {
        let mut counters = w.shards[0].counters().iter();
        counters.find(|(other, _)| *other == name).unwrap().1
    };
    for (version, answer) in [(Version::V5, "PUBACK #1 90"), (Version::V311, "")] {
        for topic in ["a/b/c/d", "abcdefghijklmnopqrstu"] {
            let c = w.connect(version, "c", true);
            w.received(c);
            let before = counted(&w, "topics_refused");
            w.publish(c, topic, QoS::AtLeastOnce, 1, false, "x");
            assert_eq!(w.received(c).join(" "), answer, "{topic}");
            assert_eq!(counted(&w, "topics_refused"), before + 1);
            w.drop_connection(c);
        }
    }
    let c = w.connect(Version::V5, "c", true);
    w.subscribe(c, "+/+/+/#", QoS::AtMostOnce);
    assert_eq!(w.received(c)[1..], ["SUBACK [8F]"]);
    assert_eq!(counted(&w, "topics_refused"), 5);
    // A PUBLISH of 105 bytes: its header is enough.
    w.send_bytes(c, &[0x30, 103]);
    assert_eq!(w.received(c), ["DISCONNECT 95"]);
    assert_eq!(counted(&w, "closed_packet_too_large"), 1);
    let c = w.connect(Version::V5, "c", true);
    w.publish(c, "t", QoS::ExactlyOnce, 1, false, "x");
    w.publish(c, "t", QoS::ExactlyOnce, 2, false, "x");
    assert_eq!(w.received(c)[2..], ["DISCONNECT 93"]);
    assert_eq!(counted(&w, "closed_receive_maximum"), 1);
    let c = w.connect(Version::V5, "c", true);
    let mut alias = martlet_codec::PropertiesBuf::new();
    alias.push(TopicAlias(3));
    w.send(
        c,
        &martlet_codec::Packet::Publish(martlet_codec::Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: Some(martlet_codec::TopicName::new("t").unwrap()),
            packet_id: None,
            properties: alias.as_properties(),
            payload: b"x",
        }),
    );
    assert_eq!(w.received(c)[1..], ["DISCONNECT 94"]);
    assert_eq!(counted(&w, "closed_topic_alias"), 1);
    let c = w.connect(Version::V5, "a-client-with-a-long-name", true);
    assert_eq!(w.received(c), ["CONNACK 85 present=false"]);
    assert_eq!(counted(&w, "client_ids_refused"), 1);
}

#[test]
fn an_alias_that_is_given_to_another_topic_is_counted() {
    let limits = Limits {
        topic_aliases_to_client_max: 1,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &Policy::default());
    let aliases = [martlet_codec::Property::TopicAliasMaximum(10)];
    let s = w.connect_with(Version::V5, "s", true, &aliases);
    w.subscribe(s, "#", QoS::AtMostOnce);
    let p = w.connect(Version::V311, "p", true);
    for topic in ["first", "first", "other", "other", "other"] {
        w.publish(p, topic, QoS::AtMostOnce, 0, false, "x");
    }
    assert_eq!(w.shards[0].counters().aliases_replaced, 1);
}

#[test]
fn a_full_route_cache_is_counted() {
    let limits = Limits {
        route_cache_entries_max: 4,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &Policy::default());
    let p = w.connect(Version::V311, "p", true);
    for topic in ["a", "b", "c", "d"] {
        w.publish(p, topic, QoS::AtMostOnce, 0, false, "x");
    }
    assert_eq!(
        w.shards[0].counters().route_cache_restarts,
        0,
        "all four fit"
    );
    w.publish(p, "e", QoS::AtMostOnce, 0, false, "x");
    assert_eq!(w.shards[0].counters().route_cache_restarts, 1);
}
