//! Shared subscriptions with members whose sessions last.

use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{Packet, QoS, Version};

use super::super::world::{Client, World, id_on};
use super::{durable, durable_and_held};

const GROUP: &str = "$share/g/t";

/// A member of this name on this shard; it has subscribed.
fn member(world: &mut World, shard: usize, name: &str, qos: QoS) -> Client {
    let id = id_on(shard, world.shards.len(), name);
    let client = world.connect(Version::V311, &id, false);
    world.subscribe(client, GROUP, qos);
    world.received(client);
    client
}

fn back(world: &mut World, shard: usize, name: &str) -> Client {
    let id = id_on(shard, world.shards.len(), name);
    world.connect(Version::V311, &id, false)
}

fn publish(world: &mut World, qos: QoS, payloads: &[&str]) {
    let publisher = world.connect(Version::V311, "pub", true);
    for (id, payload) in (1..).zip(payloads) {
        world.publish(publisher, "t", qos, id, false, payload);
    }
    let answers = world.received(publisher).len();
    assert_eq!(answers, 1 + payloads.len(), "CONNACK and an answer each");
}

#[test]
fn the_answer_waits_for_the_group() {
    let mut world = durable_and_held();
    let client = world.connect(Version::V311, "member", false);
    world.subscribe(client, GROUP, QoS::AtLeastOnce);
    world.sync();
    world.drop_connection(client);
    world.sync();
    let publisher = world.connect(Version::V311, "pub", true);
    world.received(publisher);
    world.publish(publisher, "t", QoS::AtLeastOnce, 1, false, "x");
    assert!(world.received(publisher).is_empty());
    world.sync();
    assert_eq!(world.received(publisher), ["PUBACK #1 00"]);
}

#[test]
fn what_waits_in_a_group_comes_to_a_member_after_a_crash() {
    for shards in 1..=3 {
        let mut world = durable(shards);
        let first = member(&mut world, 0, "first", QoS::AtLeastOnce);
        world.drop_connection(first);
        publish(&mut world, QoS::AtLeastOnce, &["a", "b"]);
        for checkpoint in [false, true] {
            if checkpoint {
                world.checkpoint();
            }
            for shards_after in 1..=3 {
                let mut world = world.crash(world.store.log.len(), shards_after, 0);
                let id = id_on(0, shards, "first");
                let first = world.connect(Version::V311, &id, false);
                assert_eq!(world.payloads(first), ["a", "b"]);
                world.ack(first, Packet::PubAck, 1);
                world.ack(first, Packet::PubAck, 2);
                assert_eq!(world.references().len(), 0, "{:#?}", world.records());
                let mut world = world.crash_now();
                let first = world.connect(Version::V311, &id, false);
                assert!(world.payloads(first).is_empty());
            }
        }
    }
}

#[test]
fn a_qos_1_message_that_was_sent_goes_back_to_the_group() {
    for shards in 1..=2 {
        let mut world = durable(shards);
        let first = member(&mut world, 0, "first", QoS::AtLeastOnce);
        publish(&mut world, QoS::AtLeastOnce, &["a"]);
        assert_eq!(world.payloads(first), ["a"]);
        member(&mut world, shards - 1, "second", QoS::AtLeastOnce);
        let mut world = world.crash_now();
        let second = back(&mut world, shards - 1, "second");
        assert_eq!(world.payloads(second), ["a"]);
    }
}

#[test]
fn a_qos_2_message_that_was_sent_stays_with_its_member() {
    for shards in 1..=2 {
        let mut world = durable(shards);
        let first = member(&mut world, 0, "first", QoS::ExactlyOnce);
        publish(&mut world, QoS::ExactlyOnce, &["a"]);
        assert_eq!(world.payloads(first), ["a"]);
        member(&mut world, shards - 1, "second", QoS::ExactlyOnce);
        for round in 0..3 {
            if round == 1 {
                world.checkpoint();
            }
            world = world.crash_now();
            let second = back(&mut world, shards - 1, "second");
            assert!(world.payloads(second).is_empty());
        }
        let first = back(&mut world, 0, "first");
        assert_eq!(
            world.received(first),
            ["CONNACK 00 present=true", "PUBLISH t=a q2 #1 dup"]
        );
        world.ack(first, Packet::PubRec, 1);
        world.ack(first, Packet::PubComp, 1);
        assert_eq!(world.references().len(), 0, "{:#?}", world.records());
    }
}

/// Until its member's record is stable, a message of QoS 2 is still the group's.
#[test]
fn a_crash_before_the_members_record_is_stable_gives_a_qos_2_message_back() {
    let mut world = durable_and_held();
    let first = world.connect(Version::V311, "first", false);
    world.subscribe(first, GROUP, QoS::ExactlyOnce);
    world.sync();
    world.drop_connection(first);
    let publisher = world.connect(Version::V311, "pub", true);
    world.publish(publisher, "t", QoS::ExactlyOnce, 1, false, "a");
    world.sync();
    let queued = world.store.log.len();
    let first = world.connect(Version::V311, "first", false);
    world.sync();
    assert_eq!(world.payloads(first), ["a"]);
    let done = |world: &World| {
        let records: Vec<String> = world.records();
        records.iter().filter(|r| r.contains("GroupDone")).count()
    };
    assert_eq!(done(&world), 1, "{:#?}", world.records());
    for batches in queued..=world.store.log.len() {
        let mut world = world.crash(batches, 1, 0);
        let first = world.connect(Version::V311, "first", false);
        assert_eq!(world.payloads(first), ["a"], "after {batches} batches");
        let mut world = world.crash_now();
        let first = world.connect(Version::V311, "first", false);
        assert_eq!(
            world.payloads(first),
            ["a"],
            "again after {batches} batches"
        );
    }
}

/// PUBREC takes the message out of the member's session. It must not be in the log before the group has let go, or a crash
/// between the two would send the message again.
#[test]
fn a_group_lets_a_qos_2_message_go_before_its_member_can_answer() {
    for shards in 1..=3 {
        let mut world = durable(shards);
        let first = member(&mut world, 0, "first", QoS::ExactlyOnce);
        let publisher = world.connect(Version::V311, "pub", true);
        world.store.held = true;
        world.publish(publisher, "t", QoS::ExactlyOnce, 1, false, "a");
        assert!(world.payloads(first).is_empty(), "nothing is stable");
        let records = world.records().concat();
        assert!(records.contains("GroupDone"), "{shards}: {records}");
    }
}

/// The group's shard may stand still for longer than a sync takes, and its member answer meanwhile. Wherever the log is cut,
/// nobody else gets a message of QoS 2 that the member has had, not even when the member's session has ended.
#[test]
fn nobody_else_gets_a_qos_2_message_when_its_group_is_slow_to_let_go() {
    for shards in 2..=3 {
        for case in 0..8 {
            let (reconnects, ends, checkpoint) = (case & 1 == 1, case & 2 == 2, case & 4 == 4);
            let of_group = crate::owner_of_group(GROUP, shards);
            let of_member = (of_group + 1) % shards;
            let mut world = durable(shards);
            let mut first = member(&mut world, of_member, "first", QoS::ExactlyOnce);
            let publisher = id_on(of_group, shards, "pub");
            let publisher = world.connect(Version::V311, &publisher, true);
            world.held.push((of_member, of_group));
            world.publish(publisher, "t", QoS::ExactlyOnce, 1, false, "a");
            if reconnects {
                world.drop_connection(first);
                first = back(&mut world, of_member, "first");
            }
            let mut seen = None;
            for released in [false, true] {
                if released {
                    world.held.clear();
                    world.run();
                }
                if world.payloads(first) != ["a"] {
                    continue;
                }
                assert!(seen.is_none(), "{shards}, {case}: it comes once");
                seen = Some(world.store.log.len());
                if ends {
                    let id = id_on(of_member, shards, "first");
                    world.connect(Version::V311, &id, true);
                } else {
                    world.ack(first, Packet::PubRec, 1);
                    world.ack(first, Packet::PubComp, 1);
                }
                if checkpoint {
                    world.checkpoint();
                }
            }
            for batches in seen.expect("it comes")..=world.store.log.len() {
                let mut world = world.crash(batches, shards, 0);
                let second = back(&mut world, of_member, "second");
                world.subscribe(second, GROUP, QoS::ExactlyOnce);
                let first = back(&mut world, of_member, "first");
                assert!(
                    world.payloads(second).is_empty(),
                    "{shards}, {case}: {batches}"
                );
                for line in world.received(first).iter().skip(1) {
                    assert!(
                        ["PUBLISH t=a q2 #1 dup", "PUBREL #1 00"].contains(&&**line),
                        "{shards}, {case}: {batches}: {line}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_reference_ends_with_the_group_or_its_last_durable_member() {
    for shards in 1..=2 {
        for leave in 0..3 {
            let mut world = durable(shards);
            let first = member(&mut world, 0, "first", QoS::ExactlyOnce);
            publish(&mut world, QoS::ExactlyOnce, &["sent"]);
            world.drop_connection(first);
            publish(&mut world, QoS::AtLeastOnce, &["waits"]);
            let clean = world.connect(Version::V311, "clean", true);
            if leave > 0 {
                world.subscribe(clean, GROUP, QoS::AtMostOnce);
                assert_eq!(world.payloads(clean), ["waits"]);
                world.drop_connection(clean);
                publish(&mut world, QoS::AtLeastOnce, &["waits"]);
            }
            assert_eq!(world.references().len(), 2, "{:#?}", world.records());
            let id = id_on(0, shards, "first");
            let first = world.connect(Version::V311, &id, leave == 2);
            if leave < 2 {
                world.unsubscribe(first, GROUP);
                world.ack(first, Packet::PubRec, 1);
                world.ack(first, Packet::PubAck, 2);
            }
            assert_eq!(world.references().len(), 0, "{:#?}", world.records());
        }
    }
}
