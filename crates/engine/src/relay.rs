//! Retained messages between shards: one order for everybody.
//!
//! Retained messages of a topic must reach every subscriber in the order in which the topic's owner
//! stores them, or the last value seen would not be the retained one. And a publisher's messages to a topic
//! must arrive in its order, whether retained or not. So a retained message goes to the topic's owner, which
//! stores it and relays it; the publishing shard sends a *mark* straight to the same receivers.
//!
//! ```text
//!   publisher's shard ── RelayRequest ──▶ owner ── Relayed ──▶ subscriber's shard: delivers when both are there;
//!          └──────────────── RelayMark ──────────────────────▶  later plain messages of that publisher wait behind
//! ```
//! Nothing is at rest here: an entry lives while a mark or a relay is under way.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::message::Message;

/// The receiving side: what waits for its other half.
#[derive(Debug)]
pub(crate) struct Joins {
    topics: HashMap<u64, Join, foldhash::fast::FixedState>,
}

#[derive(Debug, Default)]
struct Join {
    relays: VecDeque<Relay>,
    marks: Vec<Mark>,
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Relay {
    mark: Mark,
    /// Whether a mark comes or has come.
    marked: bool,
    message: Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    origin: usize,
    sequence: u64,
}

/// A plain message behind relayed ones of the same publisher shard and topic.
#[derive(Debug)]
struct Held {
    /// Its shard, and the last of that shard's relayed messages in front of it.
    behind: Mark,
    message: Message,
}

impl Joins {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            topics: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
        }
    }

    /// Whether nothing is under way: the common case, and the cheap question.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether relayed messages of this topic wait: live values that a subscriber will get.
    pub(crate) fn is_waiting(&self, topic: &[u8]) -> bool {
        !self.topics.is_empty()
            && self
                .topics
                .get(&topic_hash(topic))
                .is_some_and(|join| !join.relays.is_empty())
    }

    /// A mark has arrived. Appends to `ready` what may be delivered now, in order.
    pub(crate) fn on_mark(
        &mut self,
        topic_hash: u64,
        origin: usize,
        sequence: u64,
        ready: &mut Vec<Message>,
    ) {
        let join = self.topics.entry(topic_hash).or_default();
        join.marks.push(Mark { origin, sequence });
        join.release(ready);
        self.forget_if_empty(topic_hash);
    }

    /// A relayed message has arrived.
    pub(crate) fn on_relayed(
        &mut self,
        message: Message,
        origin: usize,
        sequence: u64,
        marked: bool,
        ready: &mut Vec<Message>,
    ) {
        let hash = topic_hash(message.topic_bytes());
        let join = self.topics.entry(hash).or_default();
        join.relays.push_back(Relay {
            mark: Mark { origin, sequence },
            marked,
            message,
        });
        join.release(ready);
        self.forget_if_empty(hash);
    }

    /// Whether a plain message of shard `origin` has to wait; then [`Joins::hold`] it.
    pub(crate) fn must_hold(&self, topic: &[u8], origin: usize) -> bool {
        !self.topics.is_empty()
            && self
                .topics
                .get(&topic_hash(topic))
                .is_some_and(|join| join.last_outstanding(origin).is_some())
    }

    /// Keeps a plain message for which [`Joins::must_hold`] is true.
    pub(crate) fn hold(&mut self, message: Message, origin: usize) {
        if let Some(join) = self.topics.get_mut(&topic_hash(message.topic_bytes()))
            && let Some(sequence) = join.last_outstanding(origin)
        {
            join.held.push_back(Held {
                behind: Mark { origin, sequence },
                message,
            });
        }
    }

    fn forget_if_empty(&mut self, hash: u64) {
        if self.topics.get(&hash).is_some_and(Join::is_empty) {
            self.topics.remove(&hash);
        }
    }
}

impl Join {
    fn is_empty(&self) -> bool {
        self.relays.is_empty() && self.marks.is_empty() && self.held.is_empty()
    }

    /// Relayed messages that are not delivered and have their place in front of what their shards send from now on.
    /// One whose mark has not come yet has not: its place is behind whatever comes before the mark.
    fn outstanding(&self) -> impl Iterator<Item = Mark> {
        let unmarked = self.relays.iter().filter(|relay| !relay.marked);
        unmarked
            .map(|relay| relay.mark)
            .chain(self.marks.iter().copied())
    }

    /// The newest of this shard's relayed messages that is not delivered.
    fn last_outstanding(&self, origin: usize) -> Option<u64> {
        self.outstanding()
            .filter(|mark| mark.origin == origin)
            .map(|mark| mark.sequence)
            .max()
    }

    fn is_outstanding_up_to(&self, behind: Mark) -> bool {
        self.outstanding()
            .any(|mark| mark.origin == behind.origin && mark.sequence <= behind.sequence)
    }

    fn release(&mut self, ready: &mut Vec<Message>) {
        while let Some(front) = self.relays.front() {
            if front.marked {
                let Some(at) = self.marks.iter().position(|mark| *mark == front.mark) else {
                    break;
                };
                self.marks.swap_remove(at);
            }
            if let Some(relay) = self.relays.pop_front() {
                ready.push(relay.message);
            }
            self.release_held(ready);
        }
    }

    fn release_held(&mut self, ready: &mut Vec<Message>) {
        for held in core::mem::take(&mut self.held) {
            if self.is_outstanding_up_to(held.behind) {
                self.held.push_back(held);
            } else {
                ready.push(held.message);
            }
        }
    }
}

/// Names a topic towards other shards, and in the alias tables (FNV-1a, 64 bits). Two topics of one hash wait
/// for each other, or share an alias's place: that costs time, not order.
pub(crate) fn topic_hash(topic: &[u8]) -> u64 {
    topic.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageParts, Origin};
    use alloc::string::String;
    use martlet_codec::QoS;

    fn message(payload: &str) -> Message {
        MessageParts {
            topic: "t",
            shared_properties: &[],
            payload: payload.as_bytes(),
            qos: QoS::AtMostOnce,
            retain: true,
            expires_at: None,
            origin: Origin::NONE,
        }
        .to_message()
    }

    fn texts(ready: &mut Vec<Message>) -> String {
        ready
            .drain(..)
            .map(|m| String::from_utf8(m.payload().to_vec()).unwrap() + " ")
            .collect()
    }

    #[test]
    fn a_relay_waits_for_its_mark_and_the_mark_for_its_relay() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        let hash = topic_hash(b"t");
        joins.on_relayed(message("a"), 1, 7, true, &mut ready);
        assert_eq!(texts(&mut ready), "");
        joins.on_mark(hash, 1, 7, &mut ready);
        assert_eq!(texts(&mut ready), "a ");
        joins.on_mark(hash, 1, 8, &mut ready);
        joins.on_relayed(message("b"), 1, 8, true, &mut ready);
        assert_eq!(texts(&mut ready), "b ");
        assert!(joins.is_empty());
    }

    #[test]
    fn plain_messages_keep_their_place_between_relayed_ones() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        let hash = topic_hash(b"t");
        joins.on_mark(hash, 1, 2, &mut ready);
        assert!(joins.must_hold(b"t", 1) && !joins.must_hold(b"t", 2) && !joins.must_hold(b"u", 1));
        joins.hold(message("3"), 1);
        joins.on_mark(hash, 1, 4, &mut ready);
        joins.hold(message("5"), 1);
        joins.on_relayed(message("2"), 1, 2, true, &mut ready);
        assert_eq!(texts(&mut ready), "2 3 ");
        joins.on_relayed(message("4"), 1, 4, true, &mut ready);
        assert_eq!(texts(&mut ready), "4 5 ");
        assert!(joins.is_empty());
    }

    #[test]
    fn a_plain_message_that_comes_before_the_mark_does_not_wait_for_it() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        joins.on_relayed(message("2"), 1, 7, true, &mut ready);
        assert!(
            !joins.must_hold(b"t", 1),
            "1 was sent before 2, the mailbox from shard 1 says so"
        );
        joins.on_mark(topic_hash(b"t"), 1, 7, &mut ready);
        assert_eq!(texts(&mut ready), "2 ");
    }

    #[test]
    fn relays_keep_the_owners_order_whoever_is_marked_first() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        let hash = topic_hash(b"t");
        joins.on_relayed(message("from 1"), 1, 5, true, &mut ready);
        joins.on_relayed(message("from 2"), 2, 1, true, &mut ready);
        joins.on_relayed(message("own"), 0, 3, false, &mut ready);
        joins.on_mark(hash, 2, 1, &mut ready);
        assert_eq!(texts(&mut ready), "");
        assert!(joins.is_waiting(b"t"));
        assert!(
            joins.must_hold(b"t", 0),
            "the owner's own later messages wait as well"
        );
        joins.on_mark(hash, 1, 5, &mut ready);
        assert_eq!(texts(&mut ready), "from 1 from 2 own ");
        assert!(joins.is_empty());
    }
}
