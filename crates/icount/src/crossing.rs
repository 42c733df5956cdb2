//! Canned work for two shards: what one publishes, clients of the other get.

use martlet_codec::{Packet, QoS, Version};
use martlet_engine::{ConnId, shard_of};

use crate::answers::answers;
use crate::pair::{Pair, id_on};
use crate::scenarios::{BATCH, PAYLOAD, TOPIC};
use crate::world::{World, publishes};

/// A publisher on one shard, its subscriber on another.
pub(crate) fn plain(rounds: u32, qos: QoS) -> u64 {
    let mut pair = Pair::new();
    let publisher = pair.connect(TOPIC, qos);
    let input = publishes(
        Version::V311,
        &[TOPIC; BATCH as usize],
        qos,
        false,
        &PAYLOAD,
    );
    for _ in 0..rounds {
        pair.publisher.feed(publisher, &input);
        pair.exchange();
    }
    pair.publisher.written + pair.subscriber.written
}

/// A publisher on one shard, its group on the other, and two of four members on each.
pub(crate) fn shared(rounds: u32, qos: QoS) -> u64 {
    give_to_group(rounds, qos, Pair::new(), 0)
}

/// The same with members whose windows are always full: what comes waits in the group's queue.
pub(crate) fn group_queue(rounds: u32) -> u64 {
    give_to_group(rounds, QoS::AtLeastOnce, Pair::with_small_windows(), 5)
}

/// `before`: how often something was sent that nobody acknowledges before the others have come.
fn give_to_group(rounds: u32, qos: QoS, mut pair: Pair, before: u32) -> u64 {
    let mut filters = (0..).map(|n: u32| format!("$share/group-{n}/{TOPIC}"));
    let filter = filters.find(|filter| shard_of(filter, 2) == 1);
    let filter = filter.unwrap_or_default();
    let here = join(&mut pair.publisher, 0, &filter, qos);
    let there = join(&mut pair.subscriber, 1, &filter, qos);
    // A member here joins over there, and hears of it.
    pair.exchange();
    let publisher = pair.publisher.connect(Version::V311, &id_on(0, "p"));
    let input = publishes(
        Version::V311,
        &[TOPIC; BATCH as usize],
        qos,
        false,
        &PAYLOAD,
    );
    for _ in 0..before {
        pair.publisher.feed(publisher, &input);
        pair.exchange();
    }
    for answers in answers(rounds, EACH, &[Packet::PubAck]) {
        pair.publisher.feed(publisher, &input);
        pair.exchange();
        for answer in answers.iter().filter(|_| qos != QoS::AtMostOnce) {
            for member in here {
                pair.publisher.feed(member, answer);
            }
            for member in there {
                pair.subscriber.feed(member, answer);
            }
        }
    }
    pair.publisher.written + pair.subscriber.written
}

/// Two members of a group.
fn join(world: &mut World, shard: usize, filter: &str, qos: QoS) -> [ConnId; 2] {
    ["a", "b"].map(|name| {
        let member = world.connect(Version::V311, &id_on(shard, name));
        world.subscribe(member, Version::V311, filter, qos);
        member
    })
}

/// What each member gets of a batch.
const EACH: u16 = 16;
