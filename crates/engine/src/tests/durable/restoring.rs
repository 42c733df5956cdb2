//! What comes back after a crash.

use martlet_codec::{
    Connect, Packet, Property, QoS, RetainHandling, SubscriptionOptions, TopicName, Version, Will,
};

use super::super::world::{Client, World, id_on, topic_on};
use super::durable;
use crate::peering::peers::Peer;
use crate::{Body, BodyId, MessageParts, Origin, Record, slot_of};

/// A subscriber with a session that lasts, and a publisher without one.
fn pair(world: &mut World) -> (Client, Client) {
    let subscriber = world.connect(Version::V311, "sub", false);
    world.subscribe(subscriber, "t/#", QoS::ExactlyOnce);
    world.received(subscriber);
    (subscriber, world.connect(Version::V311, "pub", true))
}

/// Found by fuzzing: what a damaged store says of a topic in another topic's slot would be there twice.
#[test]
fn a_retained_record_in_a_foreign_slot_is_not_believed() {
    let mut world = durable(1);
    let body = BodyId::new(64).unwrap();
    let slot = slot_of("t").wrapping_add(1);
    let message = Body {
        topic: "t",
        shared_properties: &[],
        payload: b"x",
        qos: QoS::AtLeastOnce,
        retain: true,
        expires_at: None,
    };
    let retained = Record::Retained {
        slot,
        body,
        replaces: None,
    };
    let cleared = Record::RetainedCleared { topic: "t", body };
    let now = world.now;
    for record in [Record::Body { body, message }, retained, cleared] {
        world.shards[0].restore(&record, None);
    }
    let (shard, fx) = world.shard_and_effects(0);
    shard.restored(1, 2, now, fx);
    world.checkpoint();
    assert_eq!(world.shards[0].retained_count(), 0);
    assert_eq!(
        world
            .records()
            .iter()
            .filter(|record| record.contains("Retained"))
            .count(),
        0
    );
}

#[test]
fn queue_window_and_subscriptions_come_back() {
    let mut world = durable(1);
    let (subscriber, publisher) = pair(&mut world);
    world.publish(publisher, "t/1", QoS::AtLeastOnce, 1, false, "one");
    world.publish(publisher, "t/2", QoS::ExactlyOnce, 2, false, "two");
    world.publish(publisher, "t/3", QoS::ExactlyOnce, 3, false, "three");
    world.ack(subscriber, Packet::PubRec, 3);
    world.drop_connection(subscriber);
    world.publish(publisher, "t/4", QoS::ExactlyOnce, 4, false, "four");
    for checkpoint in [false, true] {
        if checkpoint {
            world.checkpoint();
        }
        let mut world = world.crash_now();
        let subscriber = world.connect(Version::V311, "sub", false);
        assert_eq!(
            world.received(subscriber),
            [
                "CONNACK 00 present=true",
                "PUBLISH t/1=one q1 #1 dup",
                "PUBLISH t/2=two q2 #2 dup",
                "PUBREL #3 00",
                "PUBLISH t/4=four q2 #4"
            ]
        );
        world.ack(subscriber, Packet::PubComp, 3);
        world.ack(subscriber, Packet::PubAck, 1);
        for id in [2, 4] {
            world.ack(subscriber, Packet::PubRec, id);
            world.ack(subscriber, Packet::PubComp, id);
        }
        assert_eq!(world.references().len(), 0, "{:#?}", world.records());
        let publisher = world.connect(Version::V311, "pub", true);
        world.publish(publisher, "t/5", QoS::AtLeastOnce, 5, false, "five");
        assert!(world.payloads(subscriber).contains(&"five".into()));
    }
}

#[test]
fn a_message_that_was_taken_at_qos_2_is_not_taken_again() {
    let mut world = durable(1);
    let (subscriber, _) = pair(&mut world);
    let publisher = world.connect(Version::V5, "pub2", true);
    world.drop_connection(publisher);
    let connect = |world: &mut World| {
        let expiry = [Property::SessionExpiryInterval(60)];
        world.connect_with(Version::V5, "pub2", false, &expiry)
    };
    let publisher = connect(&mut world);
    world.publish(publisher, "t/1", QoS::ExactlyOnce, 9, false, "one");
    assert_eq!(world.payloads(subscriber), ["one"]);
    let mut world = world.crash_now();
    let subscriber = world.connect(Version::V311, "sub", false);
    world.received(subscriber);
    let publisher = connect(&mut world);
    world.publish(publisher, "t/1", QoS::ExactlyOnce, 9, false, "one");
    assert_eq!(
        world.received(publisher),
        ["CONNACK 00 present=true", "PUBREC #9 00"]
    );
    world.ack(publisher, Packet::PubRel, 9);
    let mut world = world.crash_now();
    let publisher = connect(&mut world);
    world.ack(publisher, Packet::PubRel, 9);
    assert_eq!(
        world.received(publisher),
        ["CONNACK 00 present=true", "PUBCOMP #9 92"]
    );
}

#[test]
fn retained_messages_come_back_until_they_are_cleared_or_expire() {
    let mut world = durable(1);
    let publisher = world.connect(Version::V311, "pub", true);
    for (topic, payload) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "")] {
        world.publish(publisher, topic, QoS::AtMostOnce, 0, true, payload);
    }
    let mut world = world.crash_now();
    world.checkpoint();
    let mut world = world.crash_now();
    let subscriber = world.connect(Version::V311, "sub", true);
    world.subscribe(subscriber, "#", QoS::AtMostOnce);
    assert_eq!(world.payloads(subscriber), ["2"]);
    let publisher = world.connect(Version::V311, "pub", true);
    world.publish(publisher, "a", QoS::AtMostOnce, 0, true, "");
    assert_eq!(world.references().len(), 0, "{:#?}", world.records());
    assert_eq!(world.crash_now().shards[0].retained_count(), 0);
}

pub(super) fn connect_with_will(world: &mut World, expiry_s: u32, delay_s: u32) -> Client {
    let mut will = martlet_codec::PropertiesBuf::new();
    will.push(Property::WillDelayInterval(delay_s));
    let mut properties = martlet_codec::PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(expiry_s));
    world.connect_packet(&Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        properties: properties.as_properties(),
        client_id: "willing",
        will: Some(Will {
            topic: TopicName::new("t/will").unwrap(),
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: will.as_properties(),
        }),
        user_name: None,
        password: None,
    })
}

#[test]
fn a_client_that_was_connected_counts_as_away_and_its_will_is_published_in_time() {
    for (delay_s, there_at_once) in [(0, true), (10, false)] {
        let mut world = durable(2);
        pair(&mut world);
        connect_with_will(&mut world, 60, delay_s);
        let mut world = world.crash_now();
        let subscriber = world.connect(Version::V311, "sub", false);
        assert_eq!(world.payloads(subscriber).is_empty(), !there_at_once);
        if !there_at_once {
            world.advance(9_000);
            assert!(world.payloads(subscriber).is_empty());
            // Another crash does not begin the delay anew.
            let mut world = world.crash(world.store.log.len(), 2, 1_000);
            let subscriber = world.connect(Version::V311, "sub", false);
            assert_eq!(world.payloads(subscriber), ["gone"]);
            assert!(world.crash_now().records().concat().contains("WillCleared"));
        }
    }
}

#[test]
fn a_session_ends_in_time_by_the_wall_clock() {
    let mut world = durable(1);
    let expiry = [Property::SessionExpiryInterval(60)];
    let client = world.connect_with(Version::V5, "c", true, &expiry);
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.drop_connection(client);
    let publisher = world.connect(Version::V5, "pub", true);
    world.publish(publisher, "t", QoS::AtLeastOnce, 1, false, "x");
    let batches = world.store.log.len();
    assert_eq!(world.crash(batches, 1, 59_000).shards[0].session_count(), 1);
    let gone = world.crash(batches, 1, 60_000);
    assert_eq!(gone.shards[0].session_count(), 0);
    assert_eq!(gone.references().len(), 0, "{:#?}", gone.records());
}

#[test]
fn a_replay_that_was_not_finished_begins_anew() {
    let mut world = durable(1);
    let publisher = world.connect(Version::V311, "pub", true);
    for topic in ["t/1", "t/2"] {
        world.publish(publisher, topic, QoS::AtLeastOnce, 1, true, topic);
    }
    let subscriber = world.connect(Version::V311, "sub", false);
    world.subscribe(subscriber, "t/#", QoS::AtLeastOnce);
    assert_eq!(world.payloads(subscriber), ["t/1", "t/2"]);
    world.ack(subscriber, Packet::PubAck, 1);
    let mut again = world.crash_now();
    let back = again.connect(Version::V311, "sub", false);
    assert_eq!(again.payloads(back), ["t/1", "t/2"]);
    world.ack(subscriber, Packet::PubAck, 2);
    for checkpoint in [false, true] {
        if checkpoint {
            world.checkpoint();
        }
        let mut again = world.crash_now();
        let back = again.connect(Version::V311, "sub", false);
        assert!(again.payloads(back).is_empty());
    }
}

#[test]
fn every_reference_ends_with_its_session() {
    let mut world = durable(1);
    let (subscriber, publisher) = pair(&mut world);
    let properties = [
        Property::SessionExpiryInterval(9),
        Property::ReceiveMaximum(1),
    ];
    let other = world.connect_with(Version::V5, "other", true, &properties);
    world.subscribe(other, "t/1", QoS::ExactlyOnce);
    for (qos, id) in [
        (QoS::ExactlyOnce, 1),
        (QoS::AtLeastOnce, 2),
        (QoS::ExactlyOnce, 3),
    ] {
        world.publish(publisher, "t/1", qos, id, false, "x");
    }
    world.ack(subscriber, Packet::PubRec, 1);
    assert_eq!(world.references().len(), 3);
    world.drop_connection(other);
    world.advance(9_000);
    // Resumed, and durable only as long as its messages are in the store only.
    let taken_over = world.connect_with(Version::V5, "sub", false, &[]);
    assert_eq!(world.references().len(), 2, "{:#?}", world.records());
    assert_eq!(world.payloads(taken_over).len(), 2, "its messages stay");
    assert_eq!(world.crash_now().shards[0].session_count(), 0);
    world.ack(taken_over, Packet::PubAck, 2);
    world.drop_connection(taken_over);
    assert_eq!(world.references().len(), 0, "{:#?}", world.records());
    assert_eq!(world.crash_now().shards[0].session_count(), 0);
}

/// A value that comes late for a new subscription is no news for one that wanted no retained messages, then as now.
//= mqtt5 3.3.1-11 test
#[test]
fn a_subscription_that_refuses_retained_messages_does_so_after_a_crash() {
    let mut world = durable(3);
    let (topic, id) = (topic_on(1, 3), id_on(2, 3, "s"));
    let expiry = [Property::SessionExpiryInterval(60)];
    let subscriber = world.connect_with(Version::V5, &id, true, &expiry);
    let options = SubscriptionOptions {
        retain_handling: RetainHandling::Never,
        ..SubscriptionOptions::with_qos(QoS::AtMostOnce)
    };
    world.subscribe_with(subscriber, "#", options);
    let mut world = world.crash_now();
    let subscriber = world.connect_with(Version::V5, &id, false, &expiry);
    world.received(subscriber);
    a_late_value_comes(&mut world, &topic, QoS::AtMostOnce);
    assert!(world.received(subscriber).is_empty());
}

/// Who asks for retained messages with one filter has not asked with the others.
#[test]
fn after_a_crash_each_filter_refuses_until_it_is_subscribed_again() {
    for again in ["topic", "elsewhere"] {
        let mut world = durable(3);
        let (topic, id) = (topic_on(1, 3), id_on(2, 3, "s"));
        let expiry = [Property::SessionExpiryInterval(60)];
        let subscriber = world.connect_with(Version::V5, &id, true, &expiry);
        for (filter, qos) in [("#", QoS::AtLeastOnce), (&topic, QoS::AtMostOnce)] {
            let options = SubscriptionOptions {
                retain_handling: RetainHandling::Never,
                ..SubscriptionOptions::with_qos(qos)
            };
            world.subscribe_with(subscriber, filter, options);
        }
        let mut world = world.crash_now();
        let subscriber = world.connect_with(Version::V5, &id, false, &expiry);
        let filter = if again == "topic" { &topic } else { again };
        world.subscribe(subscriber, filter, QoS::AtMostOnce);
        world.received(subscriber);
        a_late_value_comes(&mut world, &topic, QoS::AtLeastOnce);
        let found = world.received(subscriber);
        let expected = usize::from(again == "topic");
        assert_eq!(
            found.len(),
            expected,
            "subscribed again: {again}: {found:?}"
        );
        assert!(!found.iter().any(|line| line.contains(" q1")), "{found:?}");
    }
}

/// Another shard has kept a value for shard 2, which was published before anybody there had subscribed.
fn a_late_value_comes(world: &mut World, topic: &str, qos: QoS) {
    let late = MessageParts {
        topic: topic.into(),
        shared_properties: &[],
        payload: b"late",
        qos,
        retain: true,
        expires_at: None,
        origin: Origin {
            shard: 0,
            session: 1,
        },
    };
    let relay = Peer::Relayed {
        message: late.to_message(),
        origin: 0,
        sequence: 1,
        marked: false,
        ask: None,
    };
    let now = world.now;
    let (shard, fx) = world.shard_and_effects(2);
    shard.on_peer_batch(1, &mut [relay.into()].into(), now, fx);
    world.run();
}
