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
//!
//! *Late ones.* A shard that had no subscription yet when the publishing shard looked has no mark, and may be given
//! later plain messages before the relay arrives: the message has no place in its publisher's order there any more. But it
//! was published before every subscription of that shard, so to them it is no news but a retained message that
//! their replay has missed, and it is delivered as one (`routing.rs:deliver_late`).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::message::Message;
use crate::peering::parts::Ask;
use crate::retaining::silence::{Silence, clearing, stays};

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
    place: Place,
    message: Message,
    ask: Option<Ask>,
}

/// Which place a relayed message has among what the publishing shard sends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where its mark comes or has come.
    Marked(Mark),
    /// Where it arrives: the owner itself is the publishing shard.
    Arrival(Mark),
    /// None: it was published before this shard had a subscription.
    Late,
}

/// A retained message's name: the publishing shard's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) origin: usize,
    pub(crate) sequence: u64,
}

/// A message whose turn has come.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) message: Message,
    /// Not news to the subscriptions of this shard, but a retained message for them.
    pub(crate) late: bool,
    pub(crate) ask: Option<Ask>,
}

/// A plain message behind relayed ones of the same publisher shard and topic.
#[derive(Debug)]
struct Held {
    /// Its shard, and the last of that shard's relayed messages in front of it.
    behind: Mark,
    message: Message,
    ask: Option<Ask>,
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

    /// Whether a retained message that the owner has sent for a new subscription comes through a relay anyway.
    ///
    /// If relays of its topic wait, they were sent before and are older, or one of them is this message. If none is, it was
    /// not relayed to this shard, which had no subscription when it was stored: it goes behind them, as a late one.
    pub(crate) fn bring(&mut self, retained: &Message) -> bool {
        if self.topics.is_empty() {
            return false;
        }
        let topic = retained.topic_bytes();
        let Some(join) = self.topics.get_mut(&topic_hash(topic)) else {
            return false;
        };
        let relays = join.relays.iter().map(|relay| &relay.message);
        let mut waiting = relays
            .filter(|message| message.topic_bytes() == topic)
            .peekable();
        if waiting.peek().is_none() {
            return false;
        }
        if !waiting.any(|message| message.is_same(retained)) {
            join.relays.push_back(Relay {
                place: Place::Late,
                message: retained.clone(),
                ask: None,
            });
        }
        true
    }

    /// An owner's answer comes behind what it has relayed: if it says that a topic has no retained message, then
    /// the value that waits here was cleared, and the clearing goes behind it.
    pub(crate) fn on_silence(&mut self, silence: &Silence<'_>) {
        for join in self.topics.values_mut() {
            if let Some(last) = join.relays.back()
                && stays(&last.message)
                && silence.covers(last.message.topic())
            {
                let message = clearing(last.message.topic());
                join.relays.push_back(Relay {
                    place: Place::Late,
                    message,
                    ask: None,
                });
            }
        }
    }

    /// Whether relays of a topic wait for their marks.
    pub(crate) fn has_relays(&self, topic: &[u8]) -> bool {
        let join = self.topics.get(&topic_hash(topic));
        join.is_some_and(|join| !join.relays.is_empty())
    }

    /// A mark has arrived. Appends to `ready` what may be delivered now, in order.
    pub(crate) fn on_mark(&mut self, topic_hash: u64, mark: Mark, ready: &mut Vec<Ready>) {
        let join = self.topics.entry(topic_hash).or_default();
        join.marks.push(mark);
        join.release(ready);
        self.forget_if_empty(topic_hash);
    }

    /// A relayed message has arrived.
    pub(crate) fn on_relayed(
        &mut self,
        message: Message,
        place: Place,
        ask: Option<Ask>,
        ready: &mut Vec<Ready>,
    ) {
        let hash = topic_hash(message.topic_bytes());
        let join = self.topics.entry(hash).or_default();
        join.relays.push_back(Relay {
            place,
            message,
            ask,
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
    pub(crate) fn hold(&mut self, message: Message, origin: usize, ask: Option<Ask>) {
        if let Some(join) = self.topics.get_mut(&topic_hash(message.topic_bytes()))
            && let Some(sequence) = join.last_outstanding(origin)
        {
            join.held.push_back(Held {
                behind: Mark { origin, sequence },
                message,
                ask,
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
    /// One whose mark has not come yet has not: its place is behind whatever comes before the mark. A late one has none.
    fn outstanding(&self) -> impl Iterator<Item = Mark> {
        let relays = self.relays.iter();
        relays
            .filter_map(|relay| match relay.place {
                Place::Arrival(mark) => Some(mark),
                Place::Marked(_) | Place::Late => None,
            })
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

    fn release(&mut self, ready: &mut Vec<Ready>) {
        while let Some(front) = self.relays.front() {
            if let Place::Marked(expected) = front.place {
                let Some(at) = self.marks.iter().position(|mark| *mark == expected) else {
                    break;
                };
                self.marks.swap_remove(at);
            }
            if let Some(relay) = self.relays.pop_front() {
                ready.push(Ready {
                    late: relay.place == Place::Late,
                    message: relay.message,
                    ask: relay.ask,
                });
            }
            self.release_held(ready);
        }
    }

    fn release_held(&mut self, ready: &mut Vec<Ready>) {
        for held in core::mem::take(&mut self.held) {
            if self.is_outstanding_up_to(held.behind) {
                self.held.push_back(held);
            } else {
                ready.push(Ready {
                    message: held.message,
                    late: false,
                    ask: held.ask,
                });
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
            topic: "t".into(),
            shared_properties: &[],
            payload: payload.as_bytes(),
            qos: QoS::AtMostOnce,
            retain: true,
            expires_at: None,
            origin: Origin::NONE,
        }
        .to_message()
    }

    const fn mark(origin: usize, sequence: u64) -> Mark {
        Mark { origin, sequence }
    }

    fn texts(ready: &mut Vec<Ready>) -> String {
        ready
            .drain(..)
            .map(|ready| {
                let payload = String::from_utf8(ready.message.payload().to_vec()).unwrap();
                payload + if ready.late { "(late) " } else { " " }
            })
            .collect()
    }

    #[test]
    fn a_relay_waits_for_its_mark_and_the_mark_for_its_relay() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        let hash = topic_hash(b"t");
        joins.on_relayed(message("a"), Place::Marked(mark(1, 7)), None, &mut ready);
        assert_eq!(texts(&mut ready), "");
        joins.on_mark(hash, mark(1, 7), &mut ready);
        assert_eq!(texts(&mut ready), "a ");
        joins.on_mark(hash, mark(1, 8), &mut ready);
        joins.on_relayed(message("b"), Place::Marked(mark(1, 8)), None, &mut ready);
        assert_eq!(texts(&mut ready), "b ");
        assert!(joins.is_empty());
    }

    #[test]
    fn plain_messages_keep_their_place_between_relayed_ones() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        let hash = topic_hash(b"t");
        joins.on_mark(hash, mark(1, 2), &mut ready);
        assert!(joins.must_hold(b"t", 1) && !joins.must_hold(b"t", 2) && !joins.must_hold(b"u", 1));
        joins.hold(message("3"), 1, None);
        joins.on_mark(hash, mark(1, 4), &mut ready);
        joins.hold(message("5"), 1, None);
        joins.on_relayed(message("2"), Place::Marked(mark(1, 2)), None, &mut ready);
        assert_eq!(texts(&mut ready), "2 3 ");
        joins.on_relayed(message("4"), Place::Marked(mark(1, 4)), None, &mut ready);
        assert_eq!(texts(&mut ready), "4 5 ");
        assert!(joins.is_empty());
    }

    #[test]
    fn a_plain_message_that_comes_before_the_mark_does_not_wait_for_it() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        joins.on_relayed(message("2"), Place::Marked(mark(1, 7)), None, &mut ready);
        assert!(
            !joins.must_hold(b"t", 1),
            "1 was sent before 2, the mailbox from shard 1 says so"
        );
        joins.on_mark(topic_hash(b"t"), mark(1, 7), &mut ready);
        assert_eq!(texts(&mut ready), "2 ");
    }

    #[test]
    fn a_late_relay_keeps_the_owners_order_and_holds_up_nothing_of_its_publisher() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        joins.on_relayed(
            message("first"),
            Place::Marked(mark(1, 5)),
            None,
            &mut ready,
        );
        joins.on_relayed(message("second"), Place::Late, None, &mut ready);
        assert!(!joins.must_hold(b"t", 2), "what comes now was sent later");
        joins.on_mark(topic_hash(b"t"), mark(1, 5), &mut ready);
        assert_eq!(texts(&mut ready), "first second(late) ");
        assert!(joins.is_empty());
    }

    #[test]
    fn a_retained_message_for_a_subscription_does_not_come_before_older_relays_nor_twice() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        let (first, second, third) = (message("first"), message("second"), message("third"));
        assert!(!joins.bring(&first));
        joins.on_relayed(first, Place::Marked(mark(1, 5)), None, &mut ready);
        joins.on_relayed(second.clone(), Place::Marked(mark(2, 1)), None, &mut ready);
        assert!(joins.bring(&second), "the relay brings it");
        assert!(joins.bring(&third), "it follows the relays");
        assert!(joins.bring(&third), "and is there now");
        joins.on_mark(topic_hash(b"t"), mark(1, 5), &mut ready);
        joins.on_mark(topic_hash(b"t"), mark(2, 1), &mut ready);
        assert_eq!(texts(&mut ready), "first second third(late) ");
        assert!(joins.is_empty());
    }

    #[test]
    fn relays_keep_the_owners_order_whoever_is_marked_first() {
        let (mut joins, mut ready) = (Joins::new(1), Vec::new());
        let hash = topic_hash(b"t");
        joins.on_relayed(
            message("from 1"),
            Place::Marked(mark(1, 5)),
            None,
            &mut ready,
        );
        joins.on_relayed(
            message("from 2"),
            Place::Marked(mark(2, 1)),
            None,
            &mut ready,
        );
        joins.on_relayed(message("own"), Place::Arrival(mark(0, 3)), None, &mut ready);
        joins.on_mark(hash, mark(2, 1), &mut ready);
        assert_eq!(texts(&mut ready), "");
        assert!(
            joins.must_hold(b"t", 0),
            "the owner's own later messages wait as well"
        );
        joins.on_mark(hash, mark(1, 5), &mut ready);
        assert_eq!(texts(&mut ready), "from 1 from 2 own ");
        assert!(joins.is_empty());
    }
}
