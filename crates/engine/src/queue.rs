//! The queue of one session: messages that wait for the connection, its window or its outbox.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::delivery::Delivery;

/// First in, first out, bounded in messages and bytes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    qos0_count: usize,
    qos0_bytes: usize,
    /// Before this place there is no QoS 0 message: the search for the oldest one starts here.
    first_qos0_at_least: usize,
    /// How many messages were ever pushed: the next one's number.
    pushed: u64,
}

/// A message and its number.
type Entry = (u64, Delivery);

/// What became of a message that was pushed.
#[derive(Debug)]
pub(crate) enum Pushed {
    Queued,
    /// It is queued, and so many of the oldest QoS 0 messages had to go for it.
    Displaced(u64),
    Refused,
}

impl Queue {
    /// Appends a message. Over the limits the oldest QoS 0 messages make room; if there are none, the new one is refused.
    pub(crate) fn push(
        &mut self,
        delivery: Delivery,
        messages_max: usize,
        bytes_max: usize,
    ) -> Pushed {
        let size = delivery.message.size();
        let fits = |queue: &Self, bytes_freed: usize, messages_freed: usize| {
            queue.entries.len() - messages_freed < messages_max
                && queue.bytes - bytes_freed + size <= bytes_max
        };
        // Nothing is dropped for a message that will not fit anyway.
        if !fits(self, self.qos0_bytes, self.qos0_count) {
            return Pushed::Refused;
        }
        let mut displaced = 0;
        while !fits(self, 0, 0) && self.drop_oldest_qos0() {
            displaced += 1;
        }
        self.bytes += size;
        if delivery.terms.qos == QoS::AtMostOnce {
            self.qos0_count += 1;
            self.qos0_bytes += size;
        }
        self.entries.push_back((self.pushed, delivery));
        self.pushed += 1;
        if displaced == 0 {
            Pushed::Queued
        } else {
            Pushed::Displaced(displaced)
        }
    }

    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.entries.front().map(|(_, delivery)| delivery)
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let (_, delivery) = self.entries.pop_front()?;
        self.first_qos0_at_least = self.first_qos0_at_least.saturating_sub(1);
        self.forget(&delivery);
        Some(delivery)
    }

    /// Takes out every message for which `wanted` holds, in order.
    pub(crate) fn extract(&mut self, mut wanted: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut kept = VecDeque::with_capacity(self.entries.len());
        for (number, delivery) in core::mem::take(&mut self.entries) {
            if wanted(&delivery) {
                self.forget(&delivery);
                taken.push(delivery);
            } else {
                kept.push_back((number, delivery));
            }
        }
        self.entries = kept;
        self.first_qos0_at_least = 0;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A place behind everything that waits now, to ask [`Queue::has_before`] about later.
    pub(crate) const fn end(&self) -> u64 {
        self.pushed
    }

    /// Whether something still waits that came before this place.
    pub(crate) fn has_before(&self, place: u64) -> bool {
        self.entries
            .front()
            .is_some_and(|(number, _)| *number < place)
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
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
        self.bytes = self.bytes.saturating_sub(delivery.message.size());
        if delivery.terms.qos == QoS::AtMostOnce {
            self.qos0_count = self.qos0_count.saturating_sub(1);
            self.qos0_bytes = self.qos0_bytes.saturating_sub(delivery.message.size());
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
    use super::*;
    use crate::delivery::{SubscriptionIds, Terms};
    use crate::message::{MessageParts, Origin};

    fn delivery(payload: &str, qos: QoS) -> Delivery {
        let message = MessageParts {
            topic: "t",
            shared_properties: &[],
            payload: payload.as_bytes(),
            qos,
            retain: false,
            expires_at: None,
            origin: Origin::NONE,
        }
        .to_message();
        Delivery {
            message,
            terms: Terms {
                qos,
                retain: false,
                ids: SubscriptionIds::None,
                group: None,
            },
        }
    }

    fn payloads(queue: &mut Queue) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| queue.pop())
            .map(|d| d.message.payload().to_vec())
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
                .entries
                .iter()
                .any(|(_, d)| d.message.payload() == expected.as_bytes());
            assert!(!left, "{expected} should have gone for {payload}");
        }
        assert!(matches!(
            queue.push(delivery("5", QoS::AtLeastOnce), 4, 10_000),
            Pushed::Refused
        ));
        assert_eq!(payloads(&mut queue), [b"1", b"2", b"3", b"4"]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_place_is_reached_when_all_before_it_have_gone() {
        let mut queue = Queue::default();
        for payload in ["1", "2"] {
            queue.push(delivery(payload, QoS::AtLeastOnce), 100, 10_000);
        }
        let place = queue.end();
        queue.push(delivery("3", QoS::AtLeastOnce), 100, 10_000);
        queue.extract(|d| d.message.payload() == b"2");
        assert!(queue.has_before(place));
        queue.pop();
        assert!(!queue.has_before(place) && !queue.is_empty());
    }

    #[test]
    fn the_byte_limit_holds() {
        let mut queue = Queue::default();
        let one = delivery("x", QoS::AtLeastOnce).message.size();
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
            Pushed::Refused
        ));
        assert_eq!(queue.bytes(), 2 * one);
    }
}
