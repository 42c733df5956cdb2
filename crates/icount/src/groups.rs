//! Canned work for shared subscriptions on one shard. Of each batch four members get equal parts.

use martlet_codec::{QoS, Version};
use martlet_engine::ConnId;

use crate::flows::acknowledged;
use crate::scenarios::{PAYLOAD, TOPIC, batch};
use crate::world::{World, publishes};

/// Members of one group; their windows never close.
pub(crate) fn shared(rounds: u32) -> u64 {
    of_one_group(rounds, World::new(), 0)
}

/// Members of one group whose windows are always full: what comes waits in the group's queue.
pub(crate) fn group_queue(rounds: u32) -> u64 {
    of_one_group(rounds, World::with_small_windows(), 5)
}

fn of_one_group(rounds: u32, mut world: World, before: u32) -> u64 {
    let filter = "$share/group/bench/#";
    let members = world.subscribers(member_ids(), filter, QoS::AtLeastOnce);
    let input = batch(64, QoS::AtLeastOnce);
    acknowledged(rounds, world, &members, before, (&input, 16))
}

/// Sixteen groups with the same members, whose windows are always full: groups give as long as they have credit, and
/// it waits in the members' queues.
pub(crate) fn shared_queued(rounds: u32) -> u64 {
    let mut world = World::with_small_windows();
    let members: Vec<ConnId> = member_ids()
        .map(|id| world.connect(Version::V311, &id))
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
    acknowledged(rounds, world, &members, 8, (&input, 16))
}

fn member_ids() -> impl Iterator<Item = String> {
    (0..4).map(|n| format!("member-{n}"))
}
