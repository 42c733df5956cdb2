//! The queue of one session: messages that wait for the connection, its window or its outbox.
//!
//! Two lists, and each message has its place in the order of both: whole messages in one, and in `stored.rs` those
//! whose bodies are in the store. Without a store the second one is always empty.

mod stored;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::record::BodyId;
use crate::sending::delivery::{Delivery, Terms};
use crate::time::Time;

pub(crate) use stored::{STORED_BYTES, Stamp};
use stored::{StoredEntry, StoredList};

/// First in, first out, bounded in messages and bytes. One word until something waits.
#[derive(Debug, Default)]
pub(crate) struct Queue(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// How many messages they are.
    count: usize,
    stored: StoredList,
    /// Of whole messages.
    bytes: usize,
    qos0_count: usize,
    qos0_bytes: usize,
    /// Before this entry there is no QoS 0 message: the search for the oldest one starts here.
    first_qos0_at_least: usize,
    /// How many messages were ever pushed: the next one's number.
    pushed: u64,
}

/// A message and its number; or several of QoS 1 or 2, and the number of the first one.
type Entry = (u64, Delivery);

/// What became of a message that was pushed.
#[derive(Debug)]
pub(crate) enum Pushed {
    Queued,
    /// It is queued, and so many of the oldest QoS 0 messages had to go for it.
    Displaced(u64),
    /// Here it is again.
    Refused(Delivery),
}

/// The oldest message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Front<'a> {
    Whole(&'a Delivery),
    /// Its body is in the store.
    Stored(&'a StoredEntry),
}

impl Front<'_> {
    #[inline]
    pub(crate) fn qos(&self) -> QoS {
        match self {
            Self::Whole(delivery) => delivery.terms.qos,
            Self::Stored(entry) => entry.qos,
        }
    }

    #[inline]
    pub(crate) fn retain(&self) -> bool {
        match self {
            Self::Whole(delivery) => delivery.terms.retain,
            Self::Stored(entry) => entry.retain,
        }
    }

    /// Whether a subscription identifier goes with it.
    #[inline]
    pub(crate) fn has_ids(&self) -> bool {
        match self {
            Self::Whole(delivery) => delivery.terms.has_ids(),
            Self::Stored(entry) => entry.has_ids(),
        }
    }

    #[inline]
    pub(crate) fn is_expired(&self, now: Time) -> bool {
        match self {
            Self::Whole(delivery) => {
                let message = delivery.message.as_ref();
                message.is_some_and(|message| message.is_expired(now))
            }
            Self::Stored(entry) => entry.stamp.is_expired(now),
        }
    }
}

impl Queue {
    /// Appends a message. Over the limits the oldest QoS 0 messages make room; if there are none, the new one is refused.
    pub(crate) fn push(
        &mut self,
        delivery: Delivery,
        messages_max: usize,
        bytes_max: usize,
    ) -> Pushed {
        let waiting = self.0.get_or_insert_default();
        let size = delivery.held_bytes();
        if waiting.len() < messages_max && waiting.all_bytes() + size <= bytes_max {
            waiting.push(delivery, size);
            return Pushed::Queued;
        }
        let Some(displaced) = waiting.make_room(size, messages_max, bytes_max) else {
            return Pushed::Refused(delivery);
        };
        waiting.push(delivery, size);
        Pushed::Displaced(displaced)
    }

    /// The same with messages of a run, if there is room for all of them; else they come back.
    #[inline]
    pub(crate) fn push_together(
        &mut self,
        messages: Delivery,
        messages_max: usize,
        bytes_max: usize,
    ) -> Option<Delivery> {
        debug_assert!(messages.terms.qos != QoS::AtMostOnce, "it may have to go");
        let waiting = self.0.get_or_insert_default();
        let size = messages.held_bytes();
        if waiting.len() + messages.count() > messages_max || waiting.all_bytes() + size > bytes_max
        {
            return Some(messages);
        }
        waiting.push(messages, size);
        None
    }

    /// The same with one whose body is in the store.
    #[inline(never)]
    pub(crate) fn push_stored(
        &mut self,
        (body, terms, stamp): (BodyId, Terms, Stamp),
        messages_max: usize,
        bytes_max: usize,
    ) -> Pushed {
        let waiting = self.0.get_or_insert_default();
        let Some(displaced) = waiting.make_room(stamp.size(), messages_max, bytes_max) else {
            return Pushed::Refused(Delivery {
                message: None,
                body: Some(body),
                terms,
            });
        };
        waiting.stored.insert(waiting.pushed, body, terms, stamp);
        waiting.pushed += 1;
        if displaced == 0 {
            Pushed::Queued
        } else {
            Pushed::Displaced(displaced)
        }
    }

    /// The oldest message, or that and others of its run, whose terms are the same: see [`Queue::part_front`].
    #[inline]
    pub(crate) fn front(&self) -> Option<Front<'_>> {
        let waiting = self.0.as_ref()?;
        if waiting.is_stored_first() {
            return waiting.stored.front().map(Front::Stored);
        }
        let (_, delivery) = waiting.entries.front()?;
        Some(Front::Whole(delivery))
    }

    /// Sees to it that [`Queue::front`] shows one message alone.
    #[inline]
    pub(crate) fn part_front(&mut self) {
        if let Some(waiting) = self.0.as_mut().filter(|waiting| waiting.is_run_first()) {
            waiting.part_first();
        }
    }

    /// The oldest messages, if they are of a run: they lie one behind the other in memory.
    #[inline]
    pub(crate) fn front_of_run(&self) -> Option<&Delivery> {
        let waiting = self.0.as_ref()?;
        let (_, first) = waiting.entries.front()?;
        let is_of_run = first.count() > 1 || !first.message.as_ref()?.is_whole();
        (is_of_run && !waiting.is_stored_first()).then_some(first)
    }

    /// Takes out the first ones of what [`Queue::front_of_run`] shows.
    pub(crate) fn pop_of_run(&mut self, count: usize) -> Option<Delivery> {
        let waiting = self.0.as_mut()?;
        let (place, first) = waiting.entries.front_mut()?;
        let taken = if count < first.count() {
            *place += count as u64;
            first.split(count)
        } else {
            waiting.pop_entry()?.1
        };
        waiting.forget(&taken);
        Some(taken)
    }

    /// The oldest message, and its place.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(u64, Delivery)> {
        let waiting = self.0.as_mut()?;
        if waiting.is_stored_first() {
            return waiting.stored.pop();
        }
        if waiting.is_run_first() {
            waiting.part_first();
        }
        let (place, delivery) = waiting.pop_entry()?;
        waiting.forget(&delivery);
        Some((place, delivery))
    }

    /// The newest message whose body is in the store.
    pub(crate) fn last_stored(&self) -> Option<(u64, BodyId, Terms)> {
        self.0.as_ref()?.stored.back()
    }

    /// What waits and is stored, with its places.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (u64, BodyId, Terms)> {
        self.0.iter().flat_map(|waiting| waiting.stored.iter())
    }

    /// The bodies that are needed next, with their sizes.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = (BodyId, usize)> {
        self.0.iter().flat_map(|waiting| waiting.stored.bodies())
    }

    /// Whether something waits whose body is in the store only.
    pub(crate) fn has_stored(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|waiting| waiting.stored.len() > 0)
    }

    /// Takes out the oldest message whose body is in the store.
    pub(crate) fn pop_stored(&mut self) -> Option<(u64, BodyId)> {
        let waiting = self.0.as_mut()?;
        let place = waiting.stored.front_place()?;
        let body = self.take(place)?.body?;
        Some((place, body))
    }

    /// Puts a message where it was in an earlier life; what stood there is returned.
    pub(crate) fn restore(
        &mut self,
        place: u64,
        delivery: Delivery,
        stamp: Stamp,
    ) -> Option<Delivery> {
        let waiting = self.0.get_or_insert_default();
        let gone = waiting.stored.take(place);
        if let Some(body) = delivery.body {
            waiting.stored.insert(place, body, delivery.terms, stamp);
            waiting.pushed = waiting.pushed.max(place + 1);
        }
        gone
    }

    /// Takes out the message of a place, if its body is in the store.
    pub(crate) fn take(&mut self, place: u64) -> Option<Delivery> {
        let waiting = self.0.as_mut()?;
        waiting.stored.take(place)
    }

    /// Takes out every whole message for which `wanted` holds, in order; those of a run together.
    pub(crate) fn extract(&mut self, mut wanted: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let Some(waiting) = &mut self.0 else {
            return taken;
        };
        let mut kept = VecDeque::with_capacity(waiting.entries.len());
        for (number, delivery) in core::mem::take(&mut waiting.entries) {
            if wanted(&delivery) {
                waiting.forget(&delivery);
                taken.push(delivery);
            } else {
                kept.push_back((number, delivery));
            }
        }
        waiting.entries = kept;
        waiting.first_qos0_at_least = 0;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|waiting| waiting.len() == 0)
    }

    /// A place behind everything that waits now, to ask [`Queue::has_before`] about later. Places mean nothing any
    /// more after [`Queue::release_memory`].
    pub(crate) fn end(&self) -> u64 {
        self.0.as_ref().map_or(0, |waiting| waiting.pushed)
    }

    /// Whether something still waits that came before this place.
    pub(crate) fn has_before(&self, place: u64) -> bool {
        let Some(waiting) = &self.0 else { return false };
        let whole = waiting.entries.front();
        whole.is_some_and(|(number, _)| *number < place)
            || waiting.stored.front_place().is_some_and(|at| at < place)
    }

    /// How many whole messages wait, and how many entries they are.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        let waiting = self.0.as_ref();
        waiting.map_or((0, 0), |waiting| (waiting.count, waiting.entries.len()))
    }

    /// Bytes of what waits, wherever it is.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.all_bytes())
    }

    /// Bytes of memory for what waits.
    #[inline]
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| {
            waiting.bytes + waiting.stored.len() * STORED_BYTES
        })
    }

    /// Gives the memory back if nothing waits. For a session that loses its connection: while messages come and go
    /// the memory is used again.
    pub(crate) fn release_memory(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }

    /// Everything that was there before is back: more comes only from now on.
    pub(crate) fn shrink(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.stored.shrink();
        }
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.count + self.stored.len()
    }

    /// Bytes of all messages, wherever they are.
    #[inline]
    const fn all_bytes(&self) -> usize {
        self.bytes + self.stored.bytes()
    }

    #[inline]
    fn is_stored_first(&self) -> bool {
        self.stored.len() > 0 && self.is_before_whole()
    }

    /// Out of the way of those who have nothing stored.
    #[inline(never)]
    fn is_before_whole(&self) -> bool {
        let stored = self.stored.front_place();
        let whole = self.entries.front().map(|(place, _)| *place);
        stored.is_some_and(|stored| whole.is_none_or(|whole| stored < whole))
    }

    /// How many QoS 0 messages had to go for one of this size; `None`: it does not fit.
    #[inline(never)]
    fn make_room(&mut self, size: usize, messages_max: usize, bytes_max: usize) -> Option<u64> {
        let fits = |waiting: &Self, bytes_freed: usize, messages_freed: usize| {
            waiting.len() - messages_freed < messages_max
                && waiting.all_bytes() - bytes_freed + size <= bytes_max
        };
        // Nothing is dropped for a message that will not fit anyway.
        if !fits(self, self.qos0_bytes, self.qos0_count) {
            return None;
        }
        let mut displaced = 0;
        while !fits(self, 0, 0) && self.drop_oldest_qos0() {
            displaced += 1;
        }
        Some(displaced)
    }

    fn push(&mut self, delivery: Delivery, size: usize) {
        self.bytes += size;
        if delivery.terms.qos == QoS::AtMostOnce {
            self.qos0_count += 1;
            self.qos0_bytes += size;
        }
        if self.entries.capacity() == 0 {
            // Of the many sessions that are away with something waiting, most have one message.
            self.entries.reserve_exact(1);
        }
        let count = delivery.count();
        self.entries.push_back((self.pushed, delivery));
        self.pushed += count as u64;
        self.count += count;
    }

    #[inline]
    fn pop_entry(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.first_qos0_at_least = self.first_qos0_at_least.saturating_sub(1);
        Some(entry)
    }

    #[inline]
    fn is_run_first(&self) -> bool {
        let first = self.entries.front();
        first.is_some_and(|(_, delivery)| delivery.count() > 1)
    }

    /// Gives the oldest message of a run an entry of its own.
    #[inline(never)]
    fn part_first(&mut self) {
        if let Some((place, several)) = self.entries.front_mut() {
            let first = (*place, several.split(1));
            *place += 1;
            self.entries.push_front(first);
            self.first_qos0_at_least += 1;
        }
    }

    fn drop_oldest_qos0(&mut self) -> bool {
        let at = (self.first_qos0_at_least..self.entries.len()).find(|&at| {
            self.entries
                .get(at)
                .is_some_and(|(_, entry)| entry.terms.qos == QoS::AtMostOnce)
        });
        let Some(at) = at else { return false };
        self.first_qos0_at_least = at;
        let Some((_, delivery)) = self.entries.remove(at) else {
            return false;
        };
        self.forget(&delivery);
        true
    }

    fn forget(&mut self, delivery: &Delivery) {
        let size = delivery.held_bytes();
        self.bytes = self.bytes.saturating_sub(size);
        self.count = self.count.saturating_sub(delivery.count());
        if delivery.terms.qos == QoS::AtMostOnce {
            self.qos0_count = self.qos0_count.saturating_sub(1);
            self.qos0_bytes = self.qos0_bytes.saturating_sub(size);
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
    }
}

/// Capacity that an empty queue may keep.
const KEPT_CAPACITY: usize = 64;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::message::{Form, Kept, MessageParts, Origin};
    use crate::packets::repeats::{Repeat, Run};
    use crate::sending::delivery::Terms;

    fn parts(payload: &str, qos: QoS) -> MessageParts<'_> {
        MessageParts {
            topic: "t".into(),
            shared_properties: &[],
            payload: payload.as_bytes(),
            qos,
            retain: false,
            expires_at: None,
            origin: Origin::NONE,
        }
    }

    fn delivery(payload: &str, qos: QoS) -> Delivery {
        Delivery {
            message: Some(Kept::of(parts(payload, qos).to_message())),
            body: None,
            terms: Terms::bare(qos, false),
        }
    }

    fn payloads(queue: &mut Queue) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| queue.pop())
            .map(|(_, d)| d.message.as_ref().unwrap().parts().payload.to_vec())
            .collect()
    }

    #[test]
    fn overflow_drops_the_oldest_qos0_then_refuses() {
        let mut queue = Queue::default();
        for (payload, qos) in [
            ("1", QoS::AtLeastOnce),
            ("0a", QoS::AtMostOnce),
            ("2", QoS::ExactlyOnce),
            ("0b", QoS::AtMostOnce),
        ] {
            assert!(matches!(
                queue.push(delivery(payload, qos), 4, 10_000),
                Pushed::Queued
            ));
        }
        for (payload, expected) in [("3", "0a"), ("4", "0b")] {
            let pushed = queue.push(delivery(payload, QoS::AtLeastOnce), 4, 10_000);
            assert!(matches!(pushed, Pushed::Displaced(1)));
            let left = queue
                .0
                .iter()
                .flat_map(|waiting| &waiting.entries)
                .any(|(_, d)| d.message.as_ref().unwrap().parts().payload == expected.as_bytes());
            assert!(!left, "{expected} should have gone for {payload}");
        }
        assert!(matches!(
            queue.push(delivery("5", QoS::AtLeastOnce), 4, 10_000),
            Pushed::Refused(_)
        ));
        assert_eq!(payloads(&mut queue), [b"1", b"2", b"3", b"4"]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn an_empty_queue_is_one_word_and_one_message_has_room_for_one() {
        assert_eq!(size_of::<Queue>(), size_of::<usize>());
        let mut queue = Queue::default();
        queue.push(delivery("1", QoS::AtLeastOnce), 100, 10_000);
        assert_eq!(queue.0.as_ref().unwrap().entries.capacity(), 1);
        queue.release_memory();
        assert_eq!(payloads(&mut queue), [b"1"]);
        queue.release_memory();
        assert!(queue.0.is_none());
    }

    #[test]
    fn a_place_is_reached_when_all_before_it_have_gone() {
        let mut queue = Queue::default();
        for payload in ["1", "2"] {
            queue.push(delivery(payload, QoS::AtLeastOnce), 100, 10_000);
        }
        let place = queue.end();
        queue.push(delivery("3", QoS::AtLeastOnce), 100, 10_000);
        queue.extract(|d| d.message.as_ref().unwrap().parts().payload == b"2");
        assert!(queue.has_before(place));
        queue.pop();
        assert!(!queue.has_before(place) && !queue.is_empty());
    }

    /// Of these messages, which lie together.
    fn several(payloads: &[&str]) -> Delivery {
        let (mut bytes, mut list) = (Vec::new(), Vec::new());
        let form = Form {
            v5: false,
            has_id: true,
        };
        for payload in payloads {
            let parts = parts(payload, QoS::AtLeastOnce);
            let start = bytes.len();
            bytes.extend(parts.encode(form, &[]));
            list.push(Repeat::of_packed(start, bytes.len(), 1));
        }
        let run = Run {
            topic: "t".into(),
            qos: QoS::AtLeastOnce,
            form,
            origin: Origin::NONE,
            is_for_one: true,
            bytes: &bytes,
        };
        let (kept, count) = run.keep_first(&list).unwrap();
        assert_eq!(count, payloads.len());
        let terms = Terms::bare(QoS::AtLeastOnce, false);
        Delivery::of_run(
            Some(kept),
            terms.of_several(u8::try_from(count).unwrap(), 0),
        )
    }

    /// However they are taken out: each has its place, and each counts.
    #[test]
    fn several_are_one_behind_the_other() {
        let one = delivery("1", QoS::AtLeastOnce).held_bytes();
        for first in 0..=4 {
            let mut queue = Queue::default();
            let refused = queue.push_together(several(&["1", "2", "3", "4"]), 5, 5 * one);
            assert!(refused.is_none());
            queue.push(delivery("5", QoS::AtLeastOnce), 5, 5 * one);
            assert_eq!((queue.counts(), queue.bytes()), ((5, 2), 5 * one));
            let more = queue.push_together(several(&["6", "7"]), 7, 6 * one);
            assert_eq!(more.unwrap().count(), 2, "too many bytes");
            let more = queue.push_together(several(&["6", "7"]), 6, 7 * one);
            assert_eq!(more.unwrap().count(), 2, "too many messages");
            let taken = (first > 0).then(|| queue.pop_of_run(first).unwrap());
            assert_eq!(taken.map_or(0, |taken| taken.count()), first);
            for place in first as u64..5 {
                assert_eq!(queue.counts().0 as u64, 5 - place);
                assert!(!queue.has_before(place) && queue.has_before(place + 1));
                let (at, next) = queue.pop().unwrap();
                let payload = next.message.as_ref().unwrap().parts().payload.to_vec();
                assert_eq!((at, payload), (place, (place + 1).to_string().into_bytes()));
            }
            assert_eq!((queue.bytes(), queue.is_empty()), (0, true));
        }
    }

    #[test]
    fn the_byte_limit_holds() {
        let mut queue = Queue::default();
        let one = delivery("x", QoS::AtLeastOnce).held_bytes();
        assert!(matches!(
            queue.push(delivery("x", QoS::AtLeastOnce), 100, 2 * one),
            Pushed::Queued
        ));
        assert!(matches!(
            queue.push(delivery("x", QoS::AtLeastOnce), 100, 2 * one),
            Pushed::Queued
        ));
        assert!(matches!(
            queue.push(delivery("x", QoS::AtLeastOnce), 100, 2 * one),
            Pushed::Refused(_)
        ));
        assert_eq!(queue.bytes(), 2 * one);
    }
}
