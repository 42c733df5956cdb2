//! QoS 0, 1 and 2 through the shard, in one shard and across several.

use martlet_codec::{Ack, Packet, PacketId, Properties, QoS, ReasonCode, Version};
use std::string::ToString;
use std::vec;

use super::world::{World, id_on};

fn ack(id: u16) -> Ack<'static> {
    Ack {
        packet_id: PacketId::new(id).unwrap(),
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    }
}

#[test]
fn qos0_passes_between_versions_and_shards() {
    for shards in [1, 2, 4] {
        let mut w = World::new(shards);
        let s = w.connect(Version::V311, &id_on(0, shards, "s"), true);
        let p = w.connect(Version::V5, &id_on(shards - 1, shards, "p"), true);
        assert_eq!(w.received(s), ["CONNACK 00 present=false"]);
        w.subscribe(s, "a/+", QoS::AtMostOnce);
        assert_eq!(w.received(s), ["SUBACK [00]"]);
        w.publish(p, "a/b", QoS::AtMostOnce, 0, false, "x");
        w.publish(p, "a/b/c", QoS::AtMostOnce, 0, false, "y");
        assert_eq!(w.received(s), ["PUBLISH a/b=x q0"], "{shards} shards");
    }
}

//= mqtt5 4.3.2-4 test
#[test]
fn qos1_is_acknowledged_both_ways() {
    let mut w = World::new(2);
    let s = w.connect(Version::V5, &id_on(0, 2, "s"), true);
    let p = w.connect(Version::V5, &id_on(1, 2, "p"), true);
    w.subscribe(s, "t", QoS::AtLeastOnce);
    w.received(s);
    w.received(p);
    w.publish(p, "t", QoS::AtLeastOnce, 7, false, "x");
    assert_eq!(w.received(p), ["PUBACK #7 00"]);
    assert_eq!(w.received(s), ["PUBLISH t=x q1 #1"]);
    w.publish(p, "nobody", QoS::AtLeastOnce, 8, false, "x");
    assert_eq!(w.received(p), ["PUBACK #8 10"], "no matching subscribers");
}

//= mqtt5 4.3.3-10 test
#[test]
fn qos2_duplicate_is_acknowledged_but_not_routed_again() {
    let mut w = World::new(1);
    let s = w.connect(Version::V311, "s", true);
    let p = w.connect(Version::V311, "p", false);
    w.subscribe(s, "t", QoS::ExactlyOnce);
    w.received(s);
    w.received(p);
    w.publish(p, "t", QoS::ExactlyOnce, 7, false, "x");
    w.publish(p, "t", QoS::ExactlyOnce, 7, false, "x");
    assert_eq!(w.received(p), ["PUBREC #7 00", "PUBREC #7 00"]);
    w.drop_connection(p);
    let p = w.connect(Version::V311, "p", false);
    w.publish(p, "t", QoS::ExactlyOnce, 7, false, "x");
    assert_eq!(w.received(p), ["CONNACK 00 present=true", "PUBREC #7 00"]);
    w.send(p, &Packet::PubRel(ack(7)));
    w.send(p, &Packet::PubRel(ack(7)));
    assert_eq!(w.received(p), ["PUBCOMP #7 00", "PUBCOMP #7 00"]);
    assert_eq!(w.payloads(s), ["x"]);
    w.publish(p, "t", QoS::ExactlyOnce, 7, false, "y");
    assert_eq!(w.payloads(s), ["y"]);
}

#[test]
fn qos2_to_a_subscriber_runs_through_all_four_packets() {
    let mut w = World::new(1);
    let s = w.connect(Version::V5, "s", true);
    w.subscribe(s, "t", QoS::ExactlyOnce);
    w.received(s);
    w.publish(s, "t", QoS::ExactlyOnce, 1, false, "x");
    assert_eq!(w.received(s), ["PUBLISH t=x q2 #1", "PUBREC #1 00"]);
    w.send(s, &Packet::PubRec(ack(1)));
    assert_eq!(w.received(s), ["PUBREL #1 00"]);
    w.send(s, &Packet::PubComp(ack(1)));
    w.send(s, &Packet::PubRec(ack(1)));
    assert_eq!(
        w.received(s),
        ["PUBREL #1 92"],
        "an unknown identifier is answered, not fatal"
    );
    w.send(s, &Packet::PubRel(ack(5)));
    assert_eq!(w.received(s), ["PUBCOMP #5 92"]);
}

//= mqtt5 3.3.4-9 test
#[test]
fn a_full_window_queues_and_keeps_the_order() {
    let mut w = World::new(1);
    let s = w.connect_with(
        Version::V5,
        "s",
        true,
        &[martlet_codec::Property::ReceiveMaximum(2)],
    );
    let p = w.connect(Version::V311, "p", true);
    w.subscribe(s, "t", QoS::ExactlyOnce);
    w.received(s);
    for (n, qos) in [
        (1, QoS::AtLeastOnce),
        (2, QoS::ExactlyOnce),
        (3, QoS::ExactlyOnce),
    ] {
        w.publish(p, "t", qos, n, false, &n.to_string());
    }
    w.publish(p, "t", QoS::AtMostOnce, 0, false, "4");
    assert_eq!(w.received(s), ["PUBLISH t=1 q1 #1", "PUBLISH t=2 q2 #2"]);
    w.send(s, &Packet::PubRec(ack(2)));
    assert_eq!(
        w.received(s),
        ["PUBREL #2 00"],
        "PUBREC below 0x80 frees nothing"
    );
    w.send(s, &Packet::PubAck(ack(1)));
    assert_eq!(w.received(s), ["PUBLISH t=3 q2 #3", "PUBLISH t=4 q0"]);
}

//= mqtt5 4.4.0-1 test
//= mqtt311 4.4.0-1 test
#[test]
fn a_resume_sends_again_in_order_with_dup_and_the_old_ids() {
    for version in [Version::V311, Version::V5] {
        let mut w = World::new(1);
        let expiry = [martlet_codec::Property::SessionExpiryInterval(100)];
        let properties: &[_] = if version.is_v5() { &expiry } else { &[] };
        let s = w.connect_with(version, "s", false, properties);
        let p = w.connect(Version::V311, "p", true);
        w.subscribe(s, "t", QoS::ExactlyOnce);
        w.received(s);
        w.publish(p, "t", QoS::AtLeastOnce, 1, false, "1");
        w.publish(p, "t", QoS::ExactlyOnce, 2, false, "2");
        w.publish(p, "t", QoS::ExactlyOnce, 3, false, "3");
        w.send(s, &Packet::PubRec(ack(2)));
        w.drop_connection(s);
        w.publish(p, "t", QoS::AtLeastOnce, 4, false, "4");
        w.publish(p, "t", QoS::AtMostOnce, 0, false, "lost");
        let s = w.connect_with(version, "s", false, properties);
        assert_eq!(
            w.received(s),
            vec![
                "CONNACK 00 present=true",
                "PUBLISH t=1 q1 #1 dup",
                "PUBREL #2 00",
                "PUBLISH t=3 q2 #3 dup",
                "PUBLISH t=4 q1 #4",
            ]
        );
    }
}

//= mqtt5 3.3.4-2 test
//= mqtt5 3.3.4-4 test
/// The client comes back with a smaller Maximum Packet Size. It may hold the identifier of what it got at QoS 2: PUBREL frees it
/// there before another message has it.
//= mqtt5 3.1.2-25 test
#[test]
fn what_has_become_too_large_counts_as_taken_and_frees_its_identifier_on_both_sides() {
    let mut w = World::new(1);
    let p = w.connect(Version::V5, "p", true);
    let terms = |packet_bytes_max| {
        [
            martlet_codec::Property::SessionExpiryInterval(600),
            martlet_codec::Property::MaximumPacketSize(packet_bytes_max),
        ]
    };
    let s = w.connect_with(Version::V5, "s", false, &terms(1_000));
    w.subscribe(s, "t", QoS::ExactlyOnce);
    let large = "x".repeat(200);
    w.publish(p, "t", QoS::ExactlyOnce, 1, false, &large);
    w.publish(p, "t", QoS::AtLeastOnce, 2, false, &large);
    assert_eq!(w.payloads(s).len(), 2);
    w.drop_connection(s);
    let s = w.connect_with(Version::V5, "s", false, &terms(100));
    w.publish(p, "t", QoS::ExactlyOnce, 3, false, "small");
    assert_eq!(
        w.received(s),
        [
            "CONNACK 00 present=true",
            "PUBREL #1 00",
            "PUBLISH t=small q2 #3"
        ]
    );
    assert_eq!(w.shards[0].counters().dropped_too_large, 2);
    w.send(s, &Packet::PubComp(ack(1)));
    w.send(s, &Packet::PubRec(ack(3)));
    assert_eq!(w.received(s), ["PUBREL #3 00"]);
}

#[test]
fn overlapping_filters_give_one_copy_at_the_highest_qos_with_all_identifiers() {
    let mut w = World::new(1);
    let s = w.connect(Version::V5, "s", true);
    let id = |n| [martlet_codec::Property::SubscriptionIdentifier(n)];
    for (n, filter, qos) in [
        (1, "a/#", QoS::AtMostOnce),
        (2, "a/b", QoS::AtLeastOnce),
        (3, "+/b", QoS::AtMostOnce),
    ] {
        let mut properties = martlet_codec::PropertiesBuf::new();
        properties.push(id(n)[0]);
        let mut filters = martlet_codec::SubscribeFiltersBuf::new();
        filters.push(
            martlet_codec::TopicFilter::new(filter).unwrap(),
            martlet_codec::SubscriptionOptions {
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: martlet_codec::RetainHandling::Always,
            },
        );
        w.send(
            s,
            &Packet::Subscribe(martlet_codec::Subscribe {
                packet_id: PacketId::new(1).unwrap(),
                properties: properties.as_properties(),
                filters: filters.as_filters(),
            }),
        );
    }
    w.received(s);
    w.publish(s, "a/b", QoS::ExactlyOnce, 1, false, "x");
    let got = w.received(s);
    let publish = got.iter().find(|line| line.starts_with("PUBLISH")).unwrap();
    assert!(publish.starts_with("PUBLISH a/b=x q1 #1"), "{publish}");
    for id in ["sub1", "sub2", "sub3"] {
        assert!(publish.contains(id), "{publish}");
    }
    assert_eq!(
        got.iter()
            .filter(|line| line.starts_with("PUBLISH"))
            .count(),
        1
    );
}

/// Both ways to a receiver write the same bytes: what goes out by express is what the long way would have written.
#[test]
fn express_and_long_way_write_the_same() {
    // `many` forces templates: three subscribers of each kind; one of each kind takes the long way because it
    // has a subscription identifier or a full window.
    let mut w = World::new(1);
    let mut receivers = vec![];
    for version in [Version::V31, Version::V311, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let id = std::format!("{version:?}{qos:?}");
            let client = w.connect(version, &id, true);
            w.subscribe(client, "t", qos);
            w.received(client);
            receivers.push((client, qos));
        }
    }
    for (n, version) in [Version::V31, Version::V311, Version::V5]
        .into_iter()
        .enumerate()
    {
        let p = w.connect(version, &std::format!("p{n}"), true);
        for (id, qos) in [
            (0, QoS::AtMostOnce),
            (2, QoS::AtLeastOnce),
            (3, QoS::ExactlyOnce),
        ] {
            w.publish(p, "t", qos, id, id == 2, "payload");
            for (client, granted) in &receivers {
                let got = w.received(*client);
                assert_eq!(got.len(), 1, "{got:?}");
                let expected = std::format!("PUBLISH t=payload q{}", qos.min(*granted) as u8);
                assert!(
                    got[0].starts_with(&expected),
                    "{got:?} should start with {expected}"
                );
                assert_eq!(got[0].contains('#'), qos.min(*granted) != QoS::AtMostOnce);
                assert!(!got[0].contains("retain"), "{got:?}");
            }
        }
    }
    let counters = w.shards[0].counters();
    assert_eq!(
        counters.express_deliveries, counters.publishes_sent,
        "all of them are copies"
    );
}

#[test]
fn a_padded_length_from_an_mqtt_3_publisher_does_not_reach_a_v5_receiver() {
    let mut w = World::new(1);
    let s = w.connect(Version::V5, "s", true);
    let s3 = w.connect(Version::V311, "s3", true);
    w.subscribe(s, "t", QoS::AtMostOnce);
    w.subscribe(s3, "t", QoS::AtMostOnce);
    w.received(s);
    w.received(s3);
    let p = w.connect(Version::V311, "p", true);
    w.send_bytes(p, &[0x30, 0x84, 0x00, 0x00, 0x01, b't', b'x']);
    assert_eq!(w.received(s), ["PUBLISH t=x q0"]);
    assert_eq!(w.received(s3), ["PUBLISH t=x q0"]);
}

/// Optimisation: who repeats its topic is not looked up again, until a subscription changes.
#[test]
fn a_repeated_topic_keeps_its_route() {
    let mut w = World::new(1);
    let sub = w.connect(Version::V5, "s", true);
    let publisher = w.connect(Version::V5, "p", true);
    w.subscribe(sub, "a/b", QoS::AtLeastOnce);
    let lookups = |w: &World| {
        let counters = w.shards[0].counters();
        counters.route_cache_hits + counters.route_cache_misses
    };
    for id in 1..=5 {
        w.publish(publisher, "a/b", QoS::AtLeastOnce, id, false, "x");
    }
    assert_eq!(lookups(&w), 1);
    w.publish(publisher, "a/c", QoS::AtLeastOnce, 6, false, "y");
    w.publish(publisher, "a/b", QoS::AtLeastOnce, 7, false, "x");
    assert_eq!(lookups(&w), 3);
    w.subscribe(sub, "a/c", QoS::AtLeastOnce);
    w.publish(publisher, "a/b", QoS::AtLeastOnce, 8, false, "x");
    assert_eq!(lookups(&w), 3, "it is right still");
    w.subscribe(sub, "a/+", QoS::AtLeastOnce);
    w.publish(publisher, "a/b", QoS::AtLeastOnce, 9, false, "x");
    assert_eq!(lookups(&w), 4, "the old route may be wrong now");
    assert_eq!(w.shards[0].counters().publishes_sent, 8);
}

/// Optimisation: who comes and goes elsewhere does not make the others' routes be looked up again, on no shard.
#[test]
fn a_change_of_other_filters_leaves_routes_alone() {
    for shards in [1, 2] {
        let mut w = World::new(shards);
        let sub = w.connect(Version::V5, "s", true);
        let other = w.connect(Version::V5, "o", true);
        let publisher = w.connect(Version::V5, "p", true);
        w.subscribe(sub, "plant/+", QoS::AtMostOnce);
        let publish = |w: &mut World| {
            for n in 0..20 {
                let topic = std::format!("plant/{n}");
                w.publish(publisher, &topic, QoS::AtMostOnce, 0, false, "x");
            }
        };
        let misses = |w: &World| -> u64 {
            let counters = w.shards.iter().map(crate::Shard::counters);
            counters.map(|counters| counters.route_cache_misses).sum()
        };
        publish(&mut w);
        let before = misses(&w);
        for filter in ["o/1/inbox", "o/1/#", "o/+/x/#"] {
            w.subscribe(other, filter, QoS::AtMostOnce);
            publish(&mut w);
            w.unsubscribe(other, filter);
            publish(&mut w);
        }
        assert_eq!(misses(&w), before);
        w.received(other);
        w.subscribe(other, "plant/7", QoS::AtMostOnce);
        w.received(other);
        publish(&mut w);
        assert_eq!(w.received(other), ["PUBLISH plant/7=x q0"]);
        assert!(misses(&w) > before && misses(&w) < before + 20);
        w.subscribe(other, "#", QoS::AtMostOnce);
        w.received(other);
        publish(&mut w);
        assert_eq!(w.received(other).len(), 20);
    }
}

/// Optimisation: an access list that allows everything is not asked.
#[test]
fn only_an_access_list_that_forbids_something_is_asked() {
    assert!(crate::acl::Acl::allows_everything(&crate::AllowAll));
    let w = World::new(1);
    assert!(w.shards[0].acl_is_open);
}

/// Optimisation: what has waited in a queue is copied as a whole, too, in whatever form its receiver reads.
#[test]
fn a_queued_message_leaves_as_a_copy() {
    for (from, to) in [
        (Version::V5, Version::V5),
        (Version::V311, Version::V5),
        (Version::V5, Version::V311),
    ] {
        let limits = crate::Limits {
            in_flight_to_client_max: 64,
            ..crate::Limits::default()
        };
        let mut w = World::with(1, &limits, &crate::Policy::default());
        let s = w.connect(to, "s", true);
        let p = w.connect(from, "p", true);
        w.subscribe(s, "a/+", QoS::AtLeastOnce);
        w.received(s);
        // The window takes 64, the rest waits.
        for id in 1..=70 {
            w.publish(p, "a/b", QoS::AtLeastOnce, id, false, &id.to_string());
        }
        assert_eq!(w.shards[0].counters().queued, 6);
        for id in 1..=64 {
            w.send(s, &Packet::PubAck(ack(id)));
        }
        let got = w.received(s);
        assert_eq!(got.len(), 70);
        assert_eq!(got.last().unwrap(), "PUBLISH a/b=70 q1 #70");
        let counters = w.shards[0].counters();
        assert_eq!(
            (counters.publishes_sent, counters.express_deliveries),
            (70, 70)
        );
    }
}

/// Optimisation: a route that was used lately survives a flood of others.
#[test]
fn topics_in_use_stay_in_the_route_cache() {
    let limits = crate::Limits {
        route_cache_entries_max: 16,
        ..crate::Limits::default()
    };
    let mut w = World::with(1, &limits, &crate::Policy::default());
    let p = w.connect(Version::V5, "p", true);
    w.publish(p, "in/use", QoS::AtMostOnce, 0, false, "x");
    for n in 0..100 {
        w.publish(p, &std::format!("once/{n}"), QoS::AtMostOnce, 0, false, "x");
        w.publish(p, "in/use", QoS::AtMostOnce, 0, false, "x");
    }
    let counters = w.shards[0].counters();
    assert_eq!(
        (counters.route_cache_misses, counters.route_cache_hits),
        (101, 100)
    );
}

/// Optimisation: topics that fit into the route cache are computed once, in whatever order they come.
#[test]
fn as_many_topics_as_fit_are_never_computed_again() {
    let limits = crate::Limits {
        route_cache_entries_max: 16,
        ..crate::Limits::default()
    };
    let mut w = World::with(1, &limits, &crate::Policy::default());
    let p = w.connect(Version::V5, "p", true);
    for round in 0..10 {
        for n in 0..16 {
            let topic = std::format!("t/{}", (n * 5 + round) % 16);
            w.publish(p, &topic, QoS::AtMostOnce, 0, false, "x");
        }
    }
    let counters = w.shards[0].counters();
    assert_eq!(
        (counters.route_cache_misses, counters.route_cache_restarts),
        (16, 0)
    );
}

/// More topics in use than fit: the cache is looked through once in a while, not for each of them.
#[test]
fn a_route_cache_that_is_too_small_is_not_looked_through_for_each_topic() {
    let limits = crate::Limits {
        route_cache_entries_max: 16,
        ..crate::Limits::default()
    };
    let mut w = World::with(1, &limits, &crate::Policy::default());
    let p = w.connect(Version::V5, "p", true);
    for _ in 0..50 {
        for n in 0..20 {
            // Twice in turn, so that each is in use when there is no room.
            for topic in [n, 20] {
                let topic = std::format!("t/{topic}");
                w.publish(p, &topic, QoS::AtMostOnce, 0, false, "x");
            }
        }
    }
    let counters = w.shards[0].counters();
    let restarts = counters.route_cache_restarts;
    assert!(
        restarts > 0 && restarts <= counters.route_cache_misses / 4,
        "{restarts}"
    );
}
