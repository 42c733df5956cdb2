//! A publish that several shards have a part in.

use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{Packet, QoS, Version};

use super::super::world::{Client, World, id_on, topic_on};
use super::durable;
use crate::Shard;

const SHARDS: usize = 3;

/// A subscriber on every shard, whose session lasts, and away; a publisher whose session lasts, on shard 0.
fn world(topic: &str) -> (World, Client) {
    let mut world = durable(SHARDS);
    for shard in 0..SHARDS {
        let subscriber = subscriber(&mut world, shard);
        world.subscribe(subscriber, topic, QoS::ExactlyOnce);
        world.drop_connection(subscriber);
    }
    let publisher = publisher(&mut world);
    world.received(publisher);
    (world, publisher)
}

fn subscriber(world: &mut World, shard: usize) -> Client {
    world.connect(Version::V311, &id_on(shard, SHARDS, "sub"), false)
}

fn publisher(world: &mut World) -> Client {
    world.connect(Version::V311, &id_on(0, SHARDS, "pub"), false)
}

/// A publisher's topic, and one of which each shard is the owner.
fn topics() -> Vec<(String, bool)> {
    let mut topics: Vec<_> = (0..SHARDS)
        .map(|shard| (topic_on(shard, SHARDS), true))
        .collect();
    topics.push(("plain".into(), false));
    topics
}

fn nothing_in_doubt(world: &World) {
    for shard in &world.shards {
        let durable = shard.durable.as_ref().unwrap();
        assert!(durable.doubts.is_empty() && durable.taken.is_empty());
        assert!(shard.awaited_parts.is_empty());
    }
}

/// The second publisher clears what is cleared already, but a crash could still bring it back: both are told when it cannot.
#[test]
fn clearing_again_waits_for_what_cleared() {
    for shard in 0..SHARDS {
        let topic = topic_on(shard, SHARDS);
        let mut world = durable(SHARDS);
        let first = publisher(&mut world);
        let second = world.connect(Version::V311, &id_on(1, SHARDS, "second"), true);
        for client in [first, second] {
            world.publish(client, &topic, QoS::AtLeastOnce, 7, true, "x");
            world.received(client);
        }
        world.store.held = true;
        world.publish(first, &topic, QoS::AtLeastOnce, 8, true, "");
        world.publish(second, &topic, QoS::AtLeastOnce, 8, true, "");
        world.publish(second, &topic, QoS::ExactlyOnce, 9, true, "");
        for client in [first, second] {
            assert!(world.received(client).is_empty(), "shard {shard}");
        }
        world.sync();
        assert_eq!(world.received(first), ["PUBACK #8 00"]);
        assert_eq!(world.received(second), ["PUBACK #8 00", "PUBREC #9 00"]);
        // What is stable stays so.
        world.publish(second, &topic, QoS::AtLeastOnce, 10, true, "");
        assert_eq!(world.received(second), ["PUBACK #10 00"]);
    }
}

#[test]
fn the_answer_waits_for_every_shard() {
    for (topic, retain) in topics() {
        for (qos, answer) in [
            (QoS::AtLeastOnce, "PUBACK #7 00"),
            (QoS::ExactlyOnce, "PUBREC #7 00"),
        ] {
            let (mut world, publisher) = world(&topic);
            world.store.held = true;
            let before = world.store.log.len();
            world.publish(publisher, &topic, qos, 7, retain, "x");
            for shard in 0..SHARDS {
                assert!(world.received(publisher).is_empty(), "{shard} shards done");
                let at = world.store.log[before..]
                    .iter()
                    .rposition(|(of, ..)| *of == (shard + 1) % SHARDS);
                let (of, ticket, _) = world.store.log[before + at.unwrap()];
                let now = world.now;
                let (shard, fx) = world.shard_and_effects(of);
                shard.on_store_done(ticket, now, fx);
                world.run();
            }
            assert_eq!(world.received(publisher), [answer]);
        }
    }
}

/// A plain message may have to wait in its publisher's own shard for a retained one that comes back from its owner. When its turn
/// comes there, that says nothing about the shards that were asked.
#[test]
fn a_held_message_does_not_answer_for_shards_that_were_asked() {
    let topic = topic_on(1, 2);
    let mut world = durable(2);
    let away = world.connect(Version::V311, &id_on(1, 2, "sub"), false);
    world.subscribe(away, &topic, QoS::ExactlyOnce);
    world.drop_connection(away);
    let clean = world.connect(Version::V311, &id_on(0, 2, "clean"), true);
    world.subscribe(clean, &topic, QoS::AtMostOnce);
    let other = world.connect(Version::V311, &id_on(0, 2, "other"), true);
    let publisher = world.connect(Version::V311, &id_on(0, 2, "pub"), true);
    world.received(publisher);
    world.store.held = true;
    world.held.push((1, 0));
    world.publish(other, &topic, QoS::AtLeastOnce, 1, true, "retained");
    world.publish(publisher, &topic, QoS::ExactlyOnce, 2, false, "plain");
    assert!(world.payloads(clean).is_empty(), "the relay is under way");
    world.held.clear();
    world.run();
    assert_eq!(world.payloads(clean), ["retained", "plain"]);
    assert!(world.received(publisher).is_empty(), "nothing is stable");
    world.sync();
    assert_eq!(world.received(publisher), ["PUBREC #2 00"]);
}

#[test]
fn who_asks_for_nobody_durable_waits_for_nobody() {
    let mut world = durable(2);
    let subscriber = world.connect(Version::V311, &id_on(1, 2, "sub"), true);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    world.store.held = true;
    let publisher = world.connect(Version::V311, &id_on(0, 2, "pub"), true);
    world.publish(publisher, "t", QoS::ExactlyOnce, 7, false, "x");
    assert_eq!(
        world.received(publisher),
        ["CONNACK 00 present=false", "PUBREC #7 00"]
    );
    assert!(world.store.log.is_empty());
}

#[test]
fn a_repetition_gets_its_answer_when_the_first_would_have_got_it() {
    let (mut world, first) = world("plain");
    world.store.held = true;
    world.publish(first, "plain", QoS::ExactlyOnce, 7, false, "x");
    world.drop_connection(first);
    let again = publisher(&mut world);
    world.publish(again, "plain", QoS::ExactlyOnce, 7, false, "x");
    // Shard 0 has everything stored, the others have not.
    let batches: Vec<_> = world.store.log.clone();
    let (of, ticket, _) = batches.iter().rfind(|(of, ..)| *of == 0).unwrap();
    let now = world.now;
    let (shard, fx) = world.shard_and_effects(*of);
    shard.on_store_done(*ticket, now, fx);
    world.run();
    assert_eq!(world.received(again), ["CONNACK 00 present=true"]);
    world.sync();
    assert_eq!(world.received(again), ["PUBREC #7 00"]);
    world.store.held = false;
    world.ack(again, Packet::PubRel, 7);
    assert_eq!(world.received(again), ["PUBCOMP #7 00"]);
    nothing_in_doubt(&world);
}

/// Wherever the log is cut, under whatever number of shards it goes on: the publisher sends again what was not answered, and
/// everybody has the message once.
#[test]
fn everybody_gets_a_qos_2_message_once_over_a_crash() {
    for (topic, retain) in topics() {
        let (mut world, publisher_before) = world(&topic);
        world.store.held = true;
        let before = world.store.log.len();
        world.publish(publisher_before, &topic, QoS::ExactlyOnce, 7, retain, "x");
        let after = world.store.log.len();
        for batches in before..=after {
            for shards in 1..=SHARDS {
                for checkpoint in [false, true] {
                    let mut world = world.crash(batches, shards, 1_000);
                    if checkpoint {
                        world.checkpoint();
                        world = world.crash_now();
                    }
                    let case = std::format!("{topic}, {batches} of {before}..{after}, {shards}");
                    let publisher = publisher(&mut world);
                    world.publish(publisher, &topic, QoS::ExactlyOnce, 7, retain, "x");
                    assert_eq!(
                        world.received(publisher),
                        ["CONNACK 00 present=true", "PUBREC #7 00"],
                        "{case}"
                    );
                    // Not even a third time changes anything.
                    world.publish(publisher, &topic, QoS::ExactlyOnce, 7, retain, "x");
                    world.ack(publisher, Packet::PubRel, 7);
                    nothing_in_doubt(&world);
                    for shard in 0..SHARDS {
                        let subscriber = subscriber(&mut world, shard);
                        assert_eq!(world.payloads(subscriber), ["x"], "{case}, {shard}");
                    }
                    let retained: usize = world.shards.iter().map(Shard::retained_count).sum();
                    assert_eq!(retained, usize::from(retain), "{case}");
                }
            }
        }
    }
}

#[test]
fn what_nobody_sends_again_is_forgotten() {
    let (mut world, publisher_before) = world("plain");
    let before = world.store.log.len();
    world.publish(publisher_before, "plain", QoS::ExactlyOnce, 7, false, "x");
    let after = world.store.log.len();
    world.ack(publisher_before, Packet::PubRel, 7);
    nothing_in_doubt(&world);
    nothing_in_doubt(&world.crash_now());
    for batches in before..=after {
        let mut world = world.crash(batches, SHARDS, 0);
        let clean = world.connect(Version::V311, &id_on(0, SHARDS, "pub"), true);
        world.received(clean);
        nothing_in_doubt(&world);
    }
}
