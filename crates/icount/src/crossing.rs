//! Canned work for two shards: what one publishes, clients of the other get.

use martlet_codec::{Packet, QoS, Version};
use martlet_engine::shard_of;

use crate::answers::answers;
use crate::pair::{Pair, id_on};
use crate::scenarios::{BATCH, TOPIC, batch};

/// A publisher on one shard, its subscriber on another.
pub(crate) fn plain(rounds: u32, qos: QoS) -> u64 {
    let mut pair = Pair::new();
    let publisher = pair.connect(TOPIC, qos);
    let input = batch(BATCH as usize, qos);
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
    let ids = |shard| ["a", "b"].map(|name| id_on(shard, name));
    let here = pair.publisher.subscribers(ids(0), &filter, qos);
    let there = pair.subscriber.subscribers(ids(1), &filter, qos);
    // A member here joins over there, and hears of it.
    pair.exchange();
    let publisher = pair.publisher.connect(Version::V311, &id_on(0, "p"));
    let input = batch(BATCH as usize, qos);
    for _ in 0..before {
        pair.publisher.feed(publisher, &input);
        pair.exchange();
    }
    for answers in answers(rounds, EACH, &[Packet::PubAck]) {
        pair.publisher.feed(publisher, &input);
        pair.exchange();
        for answer in answers.iter().filter(|_| qos != QoS::AtMostOnce) {
            for member in &here {
                pair.publisher.feed(*member, answer);
            }
            for member in &there {
                pair.subscriber.feed(*member, answer);
            }
        }
    }
    pair.publisher.written + pair.subscriber.written
}

/// What each member gets of a batch.
const EACH: u16 = 16;
