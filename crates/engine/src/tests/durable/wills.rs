//! A will that several shards have a part in.

use alloc::string::String;

use martlet_codec::{Connect, Properties, PropertiesBuf, Property, QoS, TopicName, Version, Will};

use super::super::world::{Client, World, id_on, topic_on};
use super::durable;
use crate::Shard;

const SHARDS: usize = 3;

/// A client with a will on shard 0; a subscriber on every shard, whose session lasts, and away.
fn world(topic: &str, qos: QoS, retain: bool, expiry_s: u32) -> (World, Client) {
    let mut world = durable(SHARDS);
    for shard in 0..SHARDS {
        let subscriber = subscriber(&mut world, shard);
        world.subscribe(subscriber, topic, QoS::ExactlyOnce);
        world.drop_connection(subscriber);
    }
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(expiry_s));
    let client = world.connect_packet(&Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        properties: properties.as_properties(),
        client_id: &id_on(0, SHARDS, "willing"),
        will: Some(Will {
            qos,
            retain,
            properties: Properties::EMPTY,
            topic: TopicName::new(topic).unwrap(),
            payload: b"gone",
        }),
        user_name: None,
        password: None,
    });
    (world, client)
}

fn subscriber(world: &mut World, shard: usize) -> Client {
    world.connect(Version::V311, &id_on(shard, SHARDS, "sub"), false)
}

/// Topics with and without RETAIN; retained ones with each shard as the owner.
fn topics() -> impl Iterator<Item = (String, bool)> {
    let retained = (0..SHARDS).map(|shard| (topic_on(shard, SHARDS), true));
    retained.chain([("plain".into(), false)])
}

fn nothing_under_way(world: &World) {
    for shard in &world.shards {
        let durable = shard.durable.as_ref().unwrap();
        assert!(!durable.has_wills_under_way() && durable.taken.is_empty());
        assert!(shard.awaited_parts.is_empty());
    }
}

/// Wherever the log is cut between the end of the connection and the last receiver, under whatever number of shards it
/// goes on: everybody gets the will once, and it is retained if it asked for that.
//= mqtt5 3.1.2-8 test
//= mqtt311 3.1.2-8 test
#[test]
fn everybody_gets_a_will_once_over_a_crash() {
    for (topic, retain) in topics() {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let (mut world, willing) = world(&topic, qos, retain, 60);
            let before = world.store.log.len();
            world.store.held = true;
            world.drop_connection(willing);
            world.store.held = false;
            world.sync();
            let after = world.store.log.len();
            assert!(after > before + 1, "several batches");
            for batches in before..=after {
                for shards in 1..=SHARDS {
                    for crashes in 1..=2 {
                        let case = std::format!("{topic}, {qos:?}, {batches} of {before}..{after}");
                        let mut world = world.crash(batches, shards, 1_000);
                        if crashes == 2 {
                            world.checkpoint();
                            world = world.crash_now();
                        }
                        world.advance(1_000);
                        nothing_under_way(&world);
                        for shard in 0..SHARDS {
                            let subscriber = subscriber(&mut world, shard);
                            assert_eq!(world.payloads(subscriber), ["gone"], "{case}, {shard}");
                        }
                        let retained: usize = world.shards.iter().map(Shard::retained_count).sum();
                        assert_eq!(retained, usize::from(retain), "{case}");
                    }
                }
            }
        }
    }
}

/// The state that a will announces is told even if it asked for no more than QoS 0: a retained will is stored, or goes out
/// again.
#[test]
fn a_retained_will_of_qos_0_is_stored_over_a_crash() {
    let topic = topic_on(1, SHARDS);
    let (mut world, willing) = world(&topic, QoS::AtMostOnce, true, 60);
    let before = world.store.log.len();
    world.drop_connection(willing);
    let after = world.store.log.len();
    for batches in before..=after {
        let mut world = world.crash(batches, SHARDS, 1_000);
        world.advance(1_000);
        let retained: usize = world.shards.iter().map(Shard::retained_count).sum();
        assert_eq!(retained, 1, "{batches} of {before}..{after}");
        nothing_under_way(&world);
    }
}

/// The client may be back with another will, or its session over, before everybody has the first.
#[test]
fn a_will_under_way_outlives_its_session() {
    let (mut world, willing) = world("plain", QoS::AtLeastOnce, false, 1);
    let before = world.store.log.len();
    world.store.held = true;
    world.drop_connection(willing);
    world.advance(2_000);
    let after = world.store.log.len();
    for batches in before..=after {
        let mut world = world.crash(batches, SHARDS, 5_000);
        world.advance(2_000);
        nothing_under_way(&world);
        for shard in 0..SHARDS {
            let subscriber = subscriber(&mut world, shard);
            let case = std::format!("{batches} of {before}..{after}, {shard}");
            assert_eq!(world.payloads(subscriber), ["gone"], "{case}");
        }
    }
}

/// With nobody durable elsewhere there is nothing to wait for.
#[test]
fn a_will_for_one_shard_is_done_at_once() {
    let mut world = durable(1);
    let willing = super::restoring::connect_with_will(&mut world, 60, 0);
    world.drop_connection(willing);
    let records = world.crash_now().records().concat();
    assert!(records.contains("WillCleared"));
    assert!(!records.contains("WillUnderWay"));
}
