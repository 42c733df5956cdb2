//! Messages whose bodies are in the store only: the worlds of these tests keep none in memory that is stable.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{
    Packet, PacketId, PropertiesBuf, Property, Publish, QoS, RetainHandling, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, Version,
};

use super::super::world::{Client, World};
use super::{ZERO, durable};
use crate::{BodyId, Limits, Policy, StoreConfig};

const NOTHING: [&str; 0] = [];

/// A subscriber that is away, and a publisher.
fn away(world: &mut World) -> Client {
    let subscriber = world.connect(Version::V311, "sub", false);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    world.drop_connection(subscriber);
    world.connect(Version::V311, "pub", true)
}

fn window_of_64() -> Limits {
    Limits {
        in_flight_to_client_max: 64,
        ..Limits::default()
    }
}

fn publish(world: &mut World, publisher: Client, payloads: core::ops::Range<u16>, qos: QoS) {
    for payload in payloads {
        let text = format!("{payload}");
        world.publish(publisher, "t", qos, payload + 1, false, &text);
        if qos == QoS::ExactlyOnce {
            world.ack(publisher, Packet::PubRel, payload + 1);
        }
    }
}

fn texts(payloads: core::ops::Range<u16>) -> Vec<String> {
    payloads.map(|payload| format!("{payload}")).collect()
}

/// With a subscription identifier.
fn subscribe_as(world: &mut World, client: Client, filter: &str, id: u32) {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SubscriptionIdentifier(id));
    let mut filters = SubscribeFiltersBuf::new();
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
    };
    filters.push(TopicFilter::new(filter).unwrap(), options);
    world.send(
        client,
        &Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(9_999).unwrap(),
            properties: properties.as_properties(),
            filters: filters.as_filters(),
        }),
    );
}

/// With a Message Expiry Interval.
fn publish_for_5_s(world: &mut World, client: Client) {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::MessageExpiryInterval(5));
    world.send(
        client,
        &Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Some(TopicName::new("t").unwrap()),
            packet_id: PacketId::new(1),
            properties: properties.as_properties(),
            payload: b"x",
        }),
    );
}

fn wanted(world: &mut World) -> Vec<BodyId> {
    let (_, fx) = world.shard_and_effects(0);
    core::mem::take(&mut fx.wanted_bodies)
}

fn asked(world: &World) -> usize {
    world.shards[0].asked_body_count()
}

#[test]
fn what_waits_for_who_is_away_is_not_in_memory_and_comes_in_order() {
    let config = StoreConfig {
        unix_ms_at_zero: ZERO,
        body_cache_bytes: 0,
        read_ahead_bytes: 100_000,
    };
    let mut world = World::with_config(1, &window_of_64(), &Policy::default(), Some(config));
    let publisher = away(&mut world);
    publish(&mut world, publisher, 0..200, QoS::AtLeastOnce);
    assert_eq!(world.shards[0].cached_body_bytes(), 0);
    assert_eq!(world.shards[0].memory_bytes(), 200 * 32);
    let subscriber = world.connect(Version::V311, "sub", false);
    assert_eq!(world.payloads(subscriber), texts(0..64), "one window");
    for first in 0..136_u16 {
        world.ack(subscriber, Packet::PubAck, first + 1);
    }
    assert_eq!(world.payloads(subscriber), texts(64..200));
    assert_eq!(world.shards[0].counters().bodies_read, 200);
    assert_eq!(world.shards[0].cached_body_bytes(), 0);
    for id in 136..200_u16 {
        world.ack(subscriber, Packet::PubAck, id + 1);
    }
    assert!(world.references().is_empty());
    assert_eq!(world.shards[0].memory_bytes(), 0);
}

#[test]
fn a_window_is_asked_for_at_once_and_nothing_overtakes_its_first_message() {
    let mut world = World::with_store(1, &window_of_64(), &Policy::default(), Some(ZERO));
    let publisher = away(&mut world);
    publish(&mut world, publisher, 0..100, QoS::AtLeastOnce);
    world.store.reads_held = true;
    let subscriber = world.connect(Version::V311, "sub", false);
    let first = wanted(&mut world);
    assert_eq!(first.len(), 64);
    publish(&mut world, publisher, 100..101, QoS::AtLeastOnce);
    world.publish(publisher, "t", QoS::AtMostOnce, 0, false, "new");
    assert_eq!(world.payloads(subscriber), NOTHING);
    assert_eq!(wanted(&mut world), [], "it has asked already");
    // Those behind come first.
    world.give_bodies(0, &first[1..], |_| true);
    world.run();
    assert_eq!(world.payloads(subscriber), NOTHING);
    // They were not kept: the bound is 0. The first one alone moves on, and the next are asked for again.
    world.give_bodies(0, &first[..1], |_| true);
    world.run();
    assert_eq!(world.payloads(subscriber), ["0"]);
    assert_eq!(asked(&world), 64);
    world.store.reads_held = false;
    world.run();
    assert_eq!(world.payloads(subscriber), texts(1..64));
}

#[test]
fn what_was_in_flight_is_read_back_to_be_sent_again() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = durable(1);
        let first = world.connect(Version::V311, "sub", false);
        world.subscribe(first, "t", QoS::ExactlyOnce);
        let publisher = world.connect(Version::V311, "pub", true);
        publish(&mut world, publisher, 0..3, qos);
        assert_eq!(world.payloads(first), texts(0..3));
        world.drop_connection(first);
        assert_eq!(world.shards[0].memory_bytes(), 3 * 32);
        for mut world in [world.crash_now(), world] {
            let again = world.connect(Version::V311, "sub", false);
            let received = world.received(again);
            assert_eq!(received.len(), 4, "{received:?}");
            assert!(received[1].starts_with("PUBLISH t=0") && received[1].contains("dup"));
            assert_eq!(world.shards[0].counters().bodies_read, 3);
        }
    }
}

#[test]
fn an_answer_for_a_session_that_is_gone_is_nothing_to_the_next_one() {
    let mut world = durable(1);
    let publisher = away(&mut world);
    publish(&mut world, publisher, 0..3, QoS::AtLeastOnce);
    world.store.reads_held = true;
    world.connect(Version::V311, "sub", false);
    let first = wanted(&mut world);
    // Taken over, by a client that does not want what there was.
    let clean = world.connect(Version::V311, "sub", true);
    world.subscribe(clean, "t", QoS::AtLeastOnce);
    world.received(clean);
    world.give_bodies(0, &first, |_| true);
    world.run();
    assert_eq!(world.received(clean), NOTHING);
    assert!(world.references().is_empty());
    assert_eq!((asked(&world), world.shards[0].memory_bytes()), (0, 0));
}

#[test]
fn an_answer_after_a_takeover_goes_to_the_new_connection() {
    let mut world = durable(1);
    let publisher = away(&mut world);
    publish(&mut world, publisher, 0..3, QoS::AtLeastOnce);
    world.store.reads_held = true;
    world.connect(Version::V311, "sub", false);
    let first = wanted(&mut world);
    let second = world.connect(Version::V311, "sub", false);
    assert_eq!(wanted(&mut world), [], "it was asked for already");
    world.give_bodies(0, &first, |_| true);
    world.store.reads_held = false;
    world.run();
    assert_eq!(world.payloads(second), texts(0..3));
}

#[test]
fn what_cannot_be_read_is_dropped_and_counted_and_the_rest_goes_on() {
    let mut world = durable(1);
    let first = world.connect(Version::V311, "sub", false);
    world.subscribe(first, "t", QoS::AtLeastOnce);
    let publisher = world.connect(Version::V311, "pub", true);
    publish(&mut world, publisher, 0..3, QoS::AtLeastOnce);
    world.drop_connection(first);
    publish(&mut world, publisher, 3..6, QoS::AtLeastOnce);
    world.store.reads_held = true;
    let again = world.connect(Version::V311, "sub", false);
    // The second and the fifth message: one in flight, one in the queue.
    let bad: Vec<u64> = world.references().keys().copied().collect();
    let good = |body: BodyId| body.as_u64() != bad[1] && body.as_u64() != bad[4];
    for _ in 0..20 {
        let bodies = wanted(&mut world);
        world.give_bodies(0, &bodies, good);
        world.run();
    }
    assert_eq!(world.payloads(again), ["0", "2", "3", "5"]);
    assert_eq!(world.shards[0].counters().dropped_lost, 2);
    assert_eq!(world.references().len(), 4, "the lost ones are let go of");
}

#[test]
fn what_expires_while_it_waits_is_dropped_unread() {
    let mut world = durable(1);
    away(&mut world);
    let publisher = world.connect(Version::V5, "expiring", true);
    publish_for_5_s(&mut world, publisher);
    world.advance(7_000);
    let subscriber = world.connect(Version::V311, "sub", false);
    assert_eq!(world.payloads(subscriber), NOTHING);
    let counters = world.shards[0].counters();
    assert_eq!((counters.dropped_expired, counters.bodies_read), (1, 0));
    assert!(world.references().is_empty());
}

#[test]
fn two_sessions_that_want_the_same_body_get_it_from_one_question() {
    let mut world = durable(1);
    for name in ["one", "two"] {
        let subscriber = world.connect(Version::V311, name, false);
        world.subscribe(subscriber, "t", QoS::AtLeastOnce);
        world.drop_connection(subscriber);
    }
    let publisher = world.connect(Version::V311, "pub", true);
    publish(&mut world, publisher, 0..5, QoS::AtLeastOnce);
    world.store.reads_held = true;
    let one = world.connect(Version::V311, "one", false);
    let two = world.connect(Version::V311, "two", false);
    let bodies = wanted(&mut world);
    assert_eq!(bodies.len(), 5);
    world.give_bodies(0, &bodies, |_| true);
    world.run();
    for client in [one, two] {
        assert_eq!(world.payloads(client), texts(0..5));
    }
}

#[test]
fn several_subscription_identifiers_survive_the_wait() {
    let mut world = durable(1);
    let expiry = [Property::SessionExpiryInterval(100)];
    let first = world.connect_with(Version::V5, "sub", true, &expiry);
    for (filter, id) in [("t", 3), ("+", 4), ("#", 5)] {
        subscribe_as(&mut world, first, filter, id);
    }
    world.drop_connection(first);
    let publisher = world.connect(Version::V311, "pub", true);
    publish(&mut world, publisher, 0..2, QoS::AtLeastOnce);
    for mut world in [world.crash_now(), world] {
        let again = world.connect_with(Version::V5, "sub", false, &expiry);
        let received = world.received(again);
        assert_eq!(received.len(), 3, "{received:?}");
        for line in &received[1..] {
            for id in ["3", "4", "5"] {
                assert!(line.contains(&format!("sub{id}")), "{line}");
            }
        }
    }
}
