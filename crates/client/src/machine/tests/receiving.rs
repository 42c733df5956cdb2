//! Messages from the server, and their acknowledgements.

use martlet_codec::{Property, ReasonCode, Version};

use super::rig::{Rig, both};
use crate::machine::{Config, StreamOptions};
use crate::options::Overflow;

//= mqtt5 3.3.4-1 test
//= mqtt311 3.3.4-1 test
//= mqtt5 4.3.2-4 test
//= mqtt311 4.3.2-2 test
//= mqtt5 4.3.3-8 test
//= mqtt5 4.3.3-11 test
//= mqtt5 2.2.1-5 test
//= mqtt311 2.3.1-6 test
#[test]
fn a_message_is_acknowledged_when_the_application_takes_it() {
    both(|config| {
        let mut rig = Rig::online(config);
        let stream = rig.stream(&["a"], 2);
        rig.publish(0, 0, "a", "zero", false);
        rig.publish(5, 1, "a", "one", false);
        rig.publish(6, 2, "a", "two", false);
        assert_eq!(rig.sent(), [""; 0], "nobody has taken them");
        assert_eq!(rig.machine.stats().unacknowledged, 2);
        assert_eq!(rig.take_one(stream).0, "zero");
        assert_eq!(rig.sent(), [""; 0]);
        assert_eq!(rig.take_one(stream).0, "one");
        assert_eq!(rig.sent(), ["PUBACK #5"]);
        assert_eq!(rig.take_one(stream).0, "two");
        assert_eq!(rig.sent(), ["PUBREC #6"]);
        rig.pubrel(6);
        assert_eq!(rig.sent(), ["PUBCOMP #6"]);
    });
}

//= mqtt5 4.3.3-10 test
//= mqtt5 4.3.3-12 test
//= mqtt311 4.3.3-2 test
#[test]
fn a_repeated_qos_2_message_is_not_handed_out_again() {
    both(|config| {
        let mut rig = Rig::online(config);
        let stream = rig.stream(&["a"], 2);
        rig.publish(6, 2, "a", "two", false);
        rig.publish(6, 2, "a", "two", true);
        assert_eq!(rig.take(stream), ["two"]);
        assert_eq!(rig.sent(), ["PUBREC #6"]);
        rig.publish(6, 2, "a", "two", true);
        assert_eq!(rig.sent(), ["PUBREC #6"], "PUBREC again");
        assert_eq!(rig.take(stream), [""; 0]);
        rig.pubrel(6);
        rig.publish(6, 2, "a", "new", false);
        assert_eq!(rig.take(stream), ["new"], "the identifier is free again");
    });
}

//= mqtt5 4.3.2-5 test
#[test]
fn a_qos_1_identifier_is_free_after_its_puback() {
    both(|config| {
        let mut rig = Rig::online(config);
        let stream = rig.stream(&["a"], 1);
        for value in ["1", "2"] {
            rig.publish(5, 1, "a", value, value == "2");
            assert_eq!(rig.take(stream), [value]);
            assert_eq!(rig.sent(), ["PUBACK #5"]);
        }
    });
}

//= mqtt5 4.6.0-2 test
//= mqtt311 4.6.0-2 test
#[test]
fn must_have_9_overlapping_filters_get_each_message_once_and_acknowledge_once() {
    both(|config| {
        let v5 = config.version.is_v5();
        let mut rig = Rig::online(config);
        let wide = rig.stream(&["a/#"], 1);
        let narrow = rig.stream(&["a/b"], 1);
        // 5.0 servers send one copy with both identifiers.
        let ids = [
            Property::SubscriptionIdentifier(1),
            Property::SubscriptionIdentifier(2),
        ];
        let ids = if v5 { &ids[..] } else { &[] };
        rig.publish_with(1, 1, "a/b", "both", false, ids);
        rig.publish_with(2, 1, "a/c", "wide", false, &ids[..ids.len() / 2]);
        assert_eq!(rig.take(wide), ["both", "wide"]);
        assert_eq!(
            rig.sent(),
            [""; 0],
            "one of the two has not taken the first"
        );
        assert_eq!(rig.take(narrow), ["both"]);
        assert_eq!(
            rig.sent(),
            ["PUBACK #1", "PUBACK #2"],
            "in order, each once"
        );
    });
}

#[test]
fn a_server_that_sends_one_copy_per_subscription_is_understood_too() {
    let mut rig = Rig::online(Config::new(Version::V5));
    let wide = rig.stream(&["a/#"], 1);
    let narrow = rig.stream(&["a/b"], 1);
    for (id, subscription) in [(1, 1), (2, 2)] {
        let subscription = [Property::SubscriptionIdentifier(subscription)];
        rig.publish_with(id, 1, "a/b", "x", false, &subscription);
    }
    assert_eq!(
        (rig.take(wide), rig.take(narrow)),
        (vec!["x".into()], vec!["x".into()])
    );
    assert_eq!(rig.sent(), ["PUBACK #1", "PUBACK #2"]);
    // An identifier of an earlier run means nothing.
    let stale = [Property::SubscriptionIdentifier(99)];
    rig.publish_with(3, 1, "a/b", "y", false, &stale);
    assert_eq!(rig.take(wide).len() + rig.take(narrow).len(), 2);
}

#[test]
fn two_streams_of_the_same_filter_share_one_subscription() {
    both(|config| {
        let mut rig = Rig::online(config);
        let first = rig.stream(&["a"], 1);
        let second = rig.stream(&["a"], 1);
        rig.publish(1, 1, "a", "x", false);
        assert_eq!((rig.take(first).len(), rig.take(second).len()), (1, 1));
        rig.sent();
        rig.unsubscribe(first);
        assert_eq!(rig.sent(), [""; 0], "the second one wants it still");
        rig.publish(2, 1, "a", "y", false);
        assert_eq!(rig.take(second), ["y"]);
        rig.sent();
        rig.unsubscribe(second);
        assert_eq!(rig.sent(), ["UNSUBSCRIBE #3 a"]);
    });
}

#[test]
fn one_slow_stream_stops_neither_pings_nor_the_qos_0_of_others() {
    both(|config| {
        let mut rig = Rig::online(config);
        let slow = rig.stream(&["slow"], 1);
        let quick = rig.stream(&["quick"], 0);
        for id in 1..=200 {
            rig.publish(id, 1, "slow", "x", false);
        }
        for n in 0..10 {
            rig.publish(0, 0, "quick", &n.to_string(), false);
        }
        assert_eq!(rig.take(quick).len(), 10);
        rig.advance(std::time::Duration::from_secs(60));
        assert_eq!(rig.sent(), ["PINGREQ"]);
        assert_eq!(rig.take(slow).len(), 200);
        assert_eq!(rig.sent().len(), 200);
    });
}

fn manual() -> StreamOptions {
    StreamOptions {
        manual: true,
        ..StreamOptions::default()
    }
}

//= mqtt5 3.4.2-1 test
//= mqtt5 3.5.2-1 test
//= mqtt5 4.3.3-9 test
#[test]
fn manual_acknowledgements_leave_in_order_and_may_refuse() {
    both(|config| {
        let v5 = config.version.is_v5();
        let mut rig = Rig::online(config);
        let stream = rig.stream_with(&["a"], 2, manual());
        rig.publish(1, 1, "a", "1", false);
        rig.publish(2, 2, "a", "2", false);
        rig.publish(3, 1, "a", "3", false);
        let acks: Vec<_> = (0..3).map(|_| rig.take_one(stream).1.unwrap()).collect();
        assert_eq!(rig.sent(), [""; 0]);
        rig.machine.ack(acks[2], None);
        rig.machine
            .ack(acks[1], Some(ReasonCode::PayloadFormatInvalid));
        assert_eq!(rig.sent(), [""; 0], "the first one holds them back");
        rig.machine.ack(acks[0], None);
        let refusal = if v5 {
            "PUBREC #2 payload format invalid (0x99)"
        } else {
            "PUBREC #2"
        };
        assert_eq!(rig.sent(), ["PUBACK #1", refusal, "PUBACK #3"]);
        if v5 {
            rig.publish(2, 2, "a", "new", false);
            assert_eq!(
                rig.take_one(stream).0,
                "new",
                "a refused identifier is free"
            );
        }
    });
}

#[test]
fn a_dropped_manual_message_is_not_acknowledged_stops_nobody_and_comes_again() {
    both(|mut config| {
        config.session = crate::options::Session::persistent(std::time::Duration::from_secs(60));
        config.client_id = "c".into();
        for qos in [1, 2] {
            let mut rig = Rig::online(config.clone());
            let stream = rig.stream_with(&["a"], 2, manual());
            rig.publish(1, qos, "a", "1", false);
            rig.publish(2, qos, "a", "2", false);
            let first = rig.take_one(stream).1.unwrap();
            let second = rig.take_one(stream).1.unwrap();
            rig.machine.abandon(first);
            rig.machine.ack(second, None);
            assert_eq!(rig.sent().len(), 1, "only the second");
            assert_eq!(rig.machine.stats().unacked_dropped, 1);
            rig.reconnect(true);
            rig.publish(1, qos, "a", "1", true);
            let (again, ack) = rig.take_one(stream);
            assert_eq!(again, "1", "QoS {qos}");
            rig.sent();
            rig.machine.ack(ack.unwrap(), None);
            assert_eq!(rig.sent().len(), 1);
        }
    });
}

#[test]
fn policies_drop_at_any_qos_and_acknowledge_what_they_drop() {
    both(|config| {
        for overflow in [
            Overflow::DropOldest,
            Overflow::DropNewest,
            Overflow::LatestPerTopic,
        ] {
            let mut rig = Rig::online(config.clone());
            let options = StreamOptions {
                capacity: 1,
                overflow,
                ..StreamOptions::default()
            };
            let stream = rig.stream_with(&["a"], 1, options);
            for id in 1..=3 {
                rig.publish(id, 1, "a", &id.to_string(), false);
            }
            assert_eq!(rig.machine.lagged(stream), 2);
            rig.take(stream);
            assert_eq!(
                rig.sent(),
                ["PUBACK #1", "PUBACK #2", "PUBACK #3"],
                "{overflow:?}"
            );
        }
    });
}

//= mqtt5 4.5.0-2 test
//= mqtt311 4.5.0-2 test
#[test]
fn what_nobody_wants_is_acknowledged_too() {
    both(|config| {
        let mut rig = Rig::online(config);
        let stream = rig.stream(&["a"], 1);
        rig.publish(1, 1, "a", "buffered", false);
        let op = rig.unsubscribe(stream);
        assert_eq!(rig.sent(), ["PUBACK #1", "UNSUBSCRIBE #2 a"]);
        rig.publish(2, 1, "a", "late", false);
        rig.publish(3, 2, "a", "late", false);
        assert_eq!(rig.sent(), ["PUBACK #2", "PUBREC #3"]);
        assert_eq!(rig.machine.stats().unrouted, 2);
        assert!(rig.outcome(op).is_none());
        rig.unsuback(2);
        assert!(matches!(
            rig.outcome(op),
            Some(crate::machine::Outcome::Unsubscribed(Ok(())))
        ));
    });
}

#[test]
fn a_stream_for_the_rest_takes_what_no_other_wants() {
    both(|config| {
        let mut rig = Rig::online(config);
        let options = StreamOptions {
            rest: true,
            ..StreamOptions::default()
        };
        let (rest, op) = rig.subscribe_with(&[], 0, options);
        assert!(rig.outcome(op).is_some());
        assert_eq!(rig.sent(), [""; 0], "there is nothing to subscribe to");
        let stream = rig.stream(&["a"], 1);
        rig.publish(1, 1, "a", "x", false);
        rig.publish(2, 1, "b", "y", false);
        assert_eq!(
            (rig.take(stream), rig.take(rest)),
            (vec!["x".into()], vec!["y".into()])
        );
    });
}
