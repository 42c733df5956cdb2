//! Messages that wait to be sent.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use martlet_codec::QoS;

use super::{OpId, Time};
use crate::message::Message;
use crate::options::{OnFull, Outbox};
use crate::topic::Topic;

/// A message from its admission until it is done with.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    /// Who wants to know what becomes of it.
    pub(crate) op: Option<OpId>,
    pub(crate) epoch: u64,
    pub(crate) admitted: Time,
    /// When it is of no use any more, by the outbox or by itself.
    pub(crate) expires: Option<Time>,
    /// When it was sent for the first time.
    pub(crate) sent: Time,
    /// Whether it was sent again. A re-send borrows the message from the window.
    pub(crate) resent: Cell<bool>,
    /// Its number in the outbox's file.
    pub(crate) stored: Option<u64>,
}

/// Two lanes, because a full window holds back QoS 1 and 2 only; both count against the bounds.
#[derive(Debug)]
pub(crate) struct Queue {
    /// QoS 1 and 2.
    paced: VecDeque<Queued>,
    /// QoS 0.
    plain: VecDeque<Queued>,
    /// Places grow to the back and fall to the front.
    front: u64,
    back: u64,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    on_full: OnFull,
    /// The place of each topic's retained message that was queued without a connection.
    retained: HashMap<Topic, u64, foldhash::fast::FixedState>,
    /// No message expires before this moment; `None`: none ever does.
    first_expiry: Option<Time>,
}

#[derive(Debug)]
struct Queued {
    place: u64,
    cost: usize,
    outgoing: Outgoing,
}

/// What a push did besides taking the message in.
#[derive(Debug)]
pub(crate) enum Push {
    /// It is in.
    Done,
    /// It is in, and these had to go.
    Dropped(Vec<Outgoing>),
    /// There is no room.
    Full(Box<Outgoing>),
}

impl Queue {
    pub(crate) fn new(outbox: &Outbox) -> Self {
        Self {
            paced: VecDeque::new(),
            plain: VecDeque::new(),
            front: u64::MAX / 2,
            back: u64::MAX / 2,
            bytes: 0,
            messages_max: outbox.messages_max,
            bytes_max: outbox.bytes_max,
            on_full: outbox.on_full,
            retained: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            first_expiry: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.paced.len() + self.plain.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.paced.is_empty() && self.plain.is_empty()
    }

    /// Whether a message at this QoS would have to wait behind others.
    pub(crate) fn has_waiting(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtMostOnce => !self.plain.is_empty(),
            QoS::AtLeastOnce | QoS::ExactlyOnce => !self.paced.is_empty(),
        }
    }

    /// The QoS of the message at QoS 1 or 2 that is next.
    pub(crate) fn next_paced_qos(&self) -> Option<QoS> {
        self.paced.front().map(|queued| queued.outgoing.message.qos)
    }

    /// Whether it takes one more message of this cost without dropping any.
    pub(crate) fn has_room(&self, cost: usize) -> bool {
        self.is_empty()
            || (self.len() < self.messages_max && self.bytes.saturating_add(cost) <= self.bytes_max)
    }

    /// The retained message of this topic that a newer one makes useless.
    pub(crate) fn take_retained(&mut self, topic: &Topic) -> Option<Outgoing> {
        let place = self.retained.remove(topic)?;
        self.remove(place)
    }

    /// Takes a message in. `waiting_retained`: it is retained and waits for a connection.
    pub(crate) fn push(&mut self, outgoing: Outgoing, waiting_retained: bool) -> Push {
        let cost = outgoing.message.cost();
        let mut dropped = Vec::new();
        while !self.has_room(cost) {
            if self.on_full != OnFull::DropOldest {
                return Push::Full(Box::new(outgoing));
            }
            dropped.extend(self.pop_oldest());
        }
        let place = self.back;
        self.back += 1;
        if waiting_retained {
            self.retained.insert(outgoing.message.topic.clone(), place);
        }
        self.insert(place, cost, outgoing, true);
        if dropped.is_empty() {
            Push::Done
        } else {
            Push::Dropped(dropped)
        }
    }

    /// Takes in a message of an earlier process, which was admitted then.
    pub(crate) fn push_restored(&mut self, outgoing: Outgoing) {
        let place = self.back;
        self.back += 1;
        let cost = outgoing.message.cost();
        if outgoing.message.retain {
            self.retained.insert(outgoing.message.topic.clone(), place);
        }
        self.insert(place, cost, outgoing, true);
    }

    /// Puts a message in front of all others, beyond the bounds if need be: it was admitted before.
    pub(crate) fn push_front(&mut self, outgoing: Outgoing) {
        self.front -= 1;
        let cost = outgoing.message.cost();
        self.insert(self.front, cost, outgoing, false);
    }

    pub(crate) fn pop(&mut self, paced: bool) -> Option<Outgoing> {
        let queued = if paced {
            self.paced.pop_front()
        } else {
            self.plain.pop_front()
        }?;
        Some(self.out(queued))
    }

    /// Takes out the message that this operation is about.
    pub(crate) fn cancel(&mut self, op: OpId) -> Option<Outgoing> {
        let of_op = |queued: &Queued| queued.outgoing.op == Some(op);
        let place = self
            .paced
            .iter()
            .chain(&self.plain)
            .find(|queued| of_op(queued))?
            .place;
        self.remove(place)
    }

    /// When to look for expired messages. Not more often than once a second: that is the unit.
    pub(crate) const fn expiry_deadline(&self) -> Option<Time> {
        self.first_expiry
    }

    /// Takes out what is of no use any more.
    pub(crate) fn take_expired(&mut self, now: Time) -> Vec<Outgoing> {
        if self.first_expiry.is_none_or(|first| now < first) {
            return Vec::new();
        }
        let is_over = |queued: &Queued| {
            queued
                .outgoing
                .expires
                .is_some_and(|expires| expires <= now)
        };
        let over: Vec<u64> = self
            .paced
            .iter()
            .chain(&self.plain)
            .filter(|queued| is_over(queued))
            .map(|queued| queued.place)
            .collect();
        let expired = over.into_iter().filter_map(|place| self.remove(place));
        let expired = expired.collect();
        let rest = self.paced.iter().chain(&self.plain);
        let next = rest.filter_map(|queued| queued.outgoing.expires).min();
        let soonest = now.plus(EXPIRY_PACE);
        self.first_expiry = next.map(|next| next.max(soonest));
        expired
    }

    /// Everything, oldest first.
    pub(crate) fn take_all(&mut self) -> Vec<Outgoing> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(oldest) = self.pop_oldest() {
            all.push(oldest);
        }
        all
    }

    fn insert(&mut self, place: u64, cost: usize, outgoing: Outgoing, at_back: bool) {
        self.bytes += cost;
        if let Some(expires) = outgoing.expires {
            let first = self
                .first_expiry
                .map_or(expires, |first| first.min(expires));
            self.first_expiry = Some(first);
        }
        let lane = if outgoing.message.qos == QoS::AtMostOnce {
            &mut self.plain
        } else {
            &mut self.paced
        };
        let queued = Queued {
            place,
            cost,
            outgoing,
        };
        if at_back {
            lane.push_back(queued);
        } else {
            lane.push_front(queued);
        }
    }

    fn pop_oldest(&mut self) -> Option<Outgoing> {
        let place = |lane: &VecDeque<Queued>| lane.front().map_or(u64::MAX, |queued| queued.place);
        self.pop(place(&self.paced) < place(&self.plain))
            .or_else(|| self.pop(true))
    }

    fn remove(&mut self, place: u64) -> Option<Outgoing> {
        let find =
            |lane: &VecDeque<Queued>| lane.binary_search_by_key(&place, |queued| queued.place);
        let queued = match find(&self.paced) {
            Ok(at) => self.paced.remove(at),
            Err(_) => find(&self.plain).ok().and_then(|at| self.plain.remove(at)),
        }?;
        Some(self.out(queued))
    }

    fn out(&mut self, queued: Queued) -> Outgoing {
        self.bytes -= queued.cost;
        if queued.outgoing.message.retain
            && self.retained.get(&queued.outgoing.message.topic) == Some(&queued.place)
        {
            self.retained.remove(&queued.outgoing.message.topic);
        }
        if self.is_empty() {
            self.first_expiry = None;
            if self.paced.capacity() + self.plain.capacity() > KEPT_CAPACITY {
                self.paced = VecDeque::new();
                self.plain = VecDeque::new();
            }
        }
        queued.outgoing
    }
}

const EXPIRY_PACE: Duration = Duration::from_secs(1);
/// Slots that an empty queue may keep: an hour without a connection must not cost memory for ever.
const KEPT_CAPACITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(message: Message, expires_s: Option<u64>) -> Outgoing {
        Outgoing {
            message,
            op: None,
            epoch: 0,
            admitted: Time::default(),
            expires: expires_s.map(|s| Time::from_micros(s * 1_000_000)),
            sent: Time::default(),
            resent: Cell::new(false),
            stored: None,
        }
    }

    fn topics(queue: &mut Queue) -> Vec<String> {
        let all = queue.take_all();
        all.iter()
            .map(|one| one.message.topic.to_string())
            .collect()
    }

    #[test]
    fn the_oldest_goes_whatever_its_lane() {
        let outbox = Outbox::memory().max_messages(2).on_full(OnFull::DropOldest);
        let mut queue = Queue::new(&outbox);
        queue.push(outgoing(Message::new("a", ""), None), false);
        queue.push(outgoing(Message::new("b", "").qos(1), None), false);
        let Push::Dropped(dropped) = queue.push(outgoing(Message::new("c", ""), None), false)
        else {
            panic!("a has to go");
        };
        assert_eq!(dropped[0].message.topic, "a");
        assert_eq!(topics(&mut queue), ["b", "c"]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn bytes_are_bounded_and_one_large_message_passes_alone() {
        let mut queue = Queue::new(&Outbox::memory().max_bytes(300));
        let big = || Message::new("a", vec![0; 1_000]).qos(1);
        assert!(matches!(
            queue.push(outgoing(big(), None), false),
            Push::Done
        ));
        assert!(matches!(
            queue.push(outgoing(big(), None), false),
            Push::Full(_)
        ));
        queue.pop(true).unwrap();
        assert!(queue.has_room(5_000));
    }

    #[test]
    fn only_the_newest_retained_message_of_a_topic_stays() {
        let mut queue = Queue::new(&Outbox::memory());
        for value in ["1", "2"] {
            let message = Message::new("a", value).retain().qos(1);
            assert_eq!(queue.take_retained(&message.topic).is_some(), value == "2");
            queue.push(outgoing(message, None), true);
            queue.push(outgoing(Message::new("b", value).qos(1), None), false);
        }
        assert_eq!(topics(&mut queue), ["b", "a", "b"]);
        assert!(queue.retained.is_empty());
    }

    #[test]
    fn what_is_over_is_found_when_it_is_over() {
        let mut queue = Queue::new(&Outbox::memory());
        queue.push(outgoing(Message::new("a", ""), Some(9)), false);
        queue.push(outgoing(Message::new("b", "").qos(1), Some(5)), false);
        queue.push(outgoing(Message::new("c", ""), None), false);
        assert_eq!(queue.expiry_deadline(), Some(Time::from_micros(5_000_000)));
        assert!(queue.take_expired(Time::from_micros(4_999_999)).is_empty());
        let expired = queue.take_expired(Time::from_micros(5_000_000));
        assert_eq!(expired.len(), 1);
        assert_eq!(queue.expiry_deadline(), Some(Time::from_micros(9_000_000)));
        assert_eq!(queue.take_expired(Time::from_micros(9_000_000)).len(), 1);
        assert_eq!(queue.expiry_deadline(), None);
        assert_eq!(topics(&mut queue), ["c"]);
    }

    #[test]
    fn what_comes_back_stands_in_front() {
        let mut queue = Queue::new(&Outbox::memory().max_messages(1));
        queue.push(outgoing(Message::new("c", "").qos(1), None), false);
        queue.push_front(outgoing(Message::new("b", "").qos(1), None));
        queue.push_front(outgoing(Message::new("a", "").qos(1), None));
        assert_eq!(topics(&mut queue), ["a", "b", "c"]);
    }
}
