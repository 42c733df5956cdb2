//! Canned work for queues: windows are full, and what comes waits behind others.

use martlet_codec::{Packet, QoS, Version};

use crate::answers::answers;
use crate::scenarios::{PAYLOAD, TOPIC};
use crate::world::{World, publishes};

/// Many publishers, one subscriber whose window is always full: everything waits in its queue.
pub(crate) fn flow_queued(rounds: u32) -> u64 {
    let mut world = World::with_small_windows();
    let subscriber = world.connect(Version::V311, "sub");
    world.subscribe(subscriber, Version::V311, "bench/#", QoS::AtLeastOnce);
    let input = publishes(
        Version::V311,
        &[TOPIC; 64],
        QoS::AtLeastOnce,
        false,
        &PAYLOAD,
    );
    let publisher = world.connect(Version::V311, "pub");
    world.feed(publisher, &input);
    for answers in answers(rounds, 64, &[Packet::PubAck]) {
        world.feed(publisher, &input);
        for answer in answers {
            world.feed(subscriber, &answer);
        }
    }
    world.written
}

/// Sixteen groups with the same four members, whose windows are always full: groups give as long as they have credit, and
/// it waits in the members' queues.
pub(crate) fn flow_shared_queued(rounds: u32) -> u64 {
    let mut world = World::with_small_windows();
    let members: Vec<_> = (0..4)
        .map(|n| world.connect(Version::V311, &format!("member-{n}")))
        .collect();
    let topics: Vec<String> = (0..16).map(|n| format!("{TOPIC}/{n}")).collect();
    for member in &members {
        for topic in &topics {
            let filter = format!("$share/group/{topic}");
            world.subscribe(*member, Version::V311, &filter, QoS::AtLeastOnce);
        }
    }
    let sent: Vec<&str> = (0..64)
        .filter_map(|n| topics.get(n / 4).map(String::as_str))
        .collect();
    let input = publishes(Version::V311, &sent, QoS::AtLeastOnce, false, &PAYLOAD);
    let publisher = world.connect(Version::V311, "pub");
    for _ in 0..8 {
        world.feed(publisher, &input);
    }
    for answers in answers(rounds, 16, &[Packet::PubAck]) {
        world.feed(publisher, &input);
        for (member, answer) in members.iter().zip(answers.iter().cycle()) {
            world.feed(*member, answer);
        }
    }
    world.written
}

/// Four members of one group whose windows are always full: what comes waits in the group's queue.
pub(crate) fn flow_group_queue(rounds: u32) -> u64 {
    let mut world = World::with_small_windows();
    let members: Vec<_> = (0..4)
        .map(|n| world.connect(Version::V311, &format!("member-{n}")))
        .collect();
    for member in &members {
        let filter = "$share/group/bench/#";
        world.subscribe(*member, Version::V311, filter, QoS::AtLeastOnce);
    }
    let input = publishes(
        Version::V311,
        &[TOPIC; 64],
        QoS::AtLeastOnce,
        false,
        &PAYLOAD,
    );
    let publisher = world.connect(Version::V311, "pub");
    for _ in 0..5 {
        world.feed(publisher, &input);
    }
    for answers in answers(rounds, 16, &[Packet::PubAck]) {
        world.feed(publisher, &input);
        for (member, answer) in members.iter().zip(answers.iter().cycle()) {
            world.feed(*member, answer);
        }
    }
    world.written
}
