//! Canned work with acknowledgements: what one publishes, and what everybody answers who gets it.

use martlet_codec::{Packet, QoS, Version};
use martlet_engine::ConnId;

use crate::answers::{acks, answers};
use crate::scenarios::{TOPIC, batch};
use crate::world::World;

/// Five hundred receivers.
pub(crate) fn qos1_to_many(rounds: u32) -> u64 {
    let mut world = World::new();
    let ids = (0..500).map(|n| format!("sub-{n}"));
    let subscribers = world.subscribers(ids, TOPIC, QoS::AtLeastOnce);
    let input = batch(8, QoS::AtLeastOnce);
    acknowledged(rounds, world, &subscribers, 0, (&input, 8))
}

pub(crate) fn qos1(rounds: u32) -> u64 {
    let mut world = World::new();
    let subscriber = world.connect(Version::V311, "sub");
    to_one(rounds, world, subscriber)
}

/// To a session that may come back: what it has not acknowledged is kept for it.
pub(crate) fn qos1_kept(rounds: u32) -> u64 {
    let mut world = World::new();
    let subscriber = world.connect_to_stay(Version::V311, "sub");
    to_one(rounds, world, subscriber)
}

/// To a session that is in a store. The log syncs each batch.
pub(crate) fn qos1_stored(rounds: u32, is_logged: bool) -> u64 {
    let mut world = World::with_store(is_logged);
    let subscriber = world.connect_to_stay(Version::V311, "sub");
    to_one(rounds, world, subscriber)
}

fn to_one(rounds: u32, mut world: World, subscriber: ConnId) -> u64 {
    world.subscribe(subscriber, Version::V311, TOPIC, QoS::AtLeastOnce);
    let input = batch(32, QoS::AtLeastOnce);
    acknowledged(rounds, world, &[subscriber], 0, (&input, 32))
}

/// A subscriber whose window is always full: everything waits in its queue.
pub(crate) fn qos1_queued(rounds: u32) -> u64 {
    let mut world = World::with_small_windows();
    let ids = ["sub".to_owned()];
    let subscribers = world.subscribers(ids, TOPIC, QoS::AtLeastOnce);
    let input = batch(64, QoS::AtLeastOnce);
    acknowledged(rounds, world, &subscribers, 1, (&input, 64))
}

/// One publishes the same at QoS 1 again and again, and each receiver answers so many messages each time. `before`: how often it is
/// published and nobody answers.
pub(crate) fn acknowledged(
    rounds: u32,
    mut world: World,
    receivers: &[ConnId],
    before: u32,
    (input, each): (&[u8], u16),
) -> u64 {
    let publisher = world.connect(Version::V311, "pub");
    for _ in 0..before {
        world.feed(publisher, input);
    }
    for answers in answers(rounds, each, &[Packet::PubAck]) {
        world.feed(publisher, input);
        for answer in answers {
            for receiver in receivers {
                world.feed(*receiver, &answer);
            }
        }
    }
    world.written
}

pub(crate) fn qos2(rounds: u32) -> u64 {
    let mut world = World::new();
    let subscriber = world.connect(Version::V311, "sub");
    completed(rounds, world, subscriber)
}

/// To a session that is stored: everything waits for its batch, and the next bytes come when that is stable.
pub(crate) fn qos2_stored(rounds: u32, is_logged: bool) -> u64 {
    let mut world = World::with_store(is_logged);
    let subscriber = world.connect_to_stay(Version::V311, "sub");
    completed(rounds, world, subscriber)
}

fn completed(rounds: u32, mut world: World, subscriber: ConnId) -> u64 {
    world.subscribe(subscriber, Version::V311, TOPIC, QoS::ExactlyOnce);
    let publisher = world.connect(Version::V311, "pub");
    let input = batch(32, QoS::ExactlyOnce);
    let releases = acks(1, 32, Packet::PubRel);
    for answers in answers(rounds, 32, &[Packet::PubRec, Packet::PubComp]) {
        world.feed(publisher, &input);
        world.feed(publisher, &releases);
        for answer in answers {
            world.feed(subscriber, &answer);
        }
    }
    world.written
}
