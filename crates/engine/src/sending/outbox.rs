//! What one connection still has to write.
//!
//! ```text
//! buffer   | written | head of A | head of B      | PUBACK ... |      one growing run of bytes
//!            ^written            ^                ^
//! chained                        payload of A     payload of B          references, spliced in at a position
//! ```
//!
//! A *write barrier* is a position behind which nothing may leave before a store has done something. Whoever
//! writes what is in here sees only what stands in front of the first one.
//!
//! Small things are copied into the buffer; a large payload is referred to at the place where it belongs, so a
//! megabyte for a thousand receivers exists once. An outbox that is empty gives its buffer back to the
//! shard, which keeps a few for the next outbox that begins to fill: an idle connection owns no memory here.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::clients::rare::Rare;
use crate::effects::StoreTicket;
use crate::message::{Kept, Message};

/// The bytes that wait for one connection's socket, in order. The shard appends, the driver writes.
#[derive(Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    /// How much of the buffer has left already.
    written: usize,
    /// Payloads to be spliced into the buffer, in order.
    chained: Rare<VecDeque<Chained>>,
    /// Bytes of the chained payloads that have not left yet.
    chained_len: usize,
    /// In order, positions and tickets both rising.
    barriers: Rare<VecDeque<Barrier>>,
}

impl Outbox {
    /// An outbox without bytes and without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            written: 0,
            chained: Rare::new(),
            chained_len: 0,
            barriers: Rare::new(),
        }
    }

    /// How many bytes have not left yet, chained payloads included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.written + self.chained_len
    }

    /// Whether everything has left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes may leave now. The others wait for a store, and do not show in [`Outbox::io_slices`];
    /// [`Effects::dirty`](crate::Effects::dirty) names the connection again when they may go.
    #[must_use]
    pub fn writable_len(&self) -> usize {
        let Some(limit) = self.limit() else {
            return self.len();
        };
        let chained = self
            .chained
            .iter()
            .take_while(|chained| chained.at <= limit);
        let chained: usize = chained.map(|chained| chained.unsent().len()).sum();
        limit - self.written + chained
    }

    /// Whatever is appended from now on leaves when this batch is stable. Returns whether that is news: whether
    /// [`Outbox::release`] has to be called for it.
    pub(crate) fn withhold(&mut self, until: StoreTicket) -> bool {
        let at = self.buffer.len();
        let barriers = self.barriers.make();
        if barriers.back().is_some_and(|last| last.until >= until) {
            return false;
        }
        barriers.push_back(Barrier { at, until });
        true
    }

    /// All batches up to this one are stable.
    pub(crate) fn release(&mut self, stable: StoreTicket) {
        if let Some(barriers) = self.barriers.existing() {
            while barriers.front().is_some_and(|first| first.until <= stable) {
                barriers.pop_front();
            }
        }
    }

    /// Drops what may not leave yet: the connection ends before it could. Returns the first byte of it.
    pub(crate) fn drop_withheld(&mut self) -> Option<u8> {
        let limit = self.limit()?;
        self.barriers = Rare::new();
        let first = self.buffer.get(limit).copied();
        self.buffer.truncate(limit);
        let chained = self.chained.existing().into_iter();
        for gone in chained.flat_map(|chained| {
            let kept = chained.partition_point(|chained| chained.at <= limit);
            chained.drain(kept..)
        }) {
            self.chained_len -= gone.unsent().len();
        }
        first
    }

    /// The position behind which nothing may leave.
    fn limit(&self) -> Option<usize> {
        if self.barriers.is_empty() {
            return None;
        }
        Some(self.barriers.front()?.at)
    }

    /// The end of the outbox, to append bytes to. Nothing but appending is allowed: what stands there already
    /// may be half written.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends the payload of a message: by reference if that is cheaper than a copy.
    pub(crate) fn push_payload(&mut self, message: &Message) {
        let payload = message.payload();
        if payload.len() < CHAIN_THRESHOLD {
            self.buffer.extend_from_slice(payload);
        } else {
            self.chain(payload.len(), 0, Held::Message(message.clone()));
        }
    }

    /// Appends a payload of this length, which this memory ends with: by reference if that is cheaper than a copy.
    pub(crate) fn push_lent(&mut self, memory: &Arc<Vec<u8>>, len: usize) {
        let start = memory.len().saturating_sub(len);
        if len < CHAIN_THRESHOLD {
            let payload = memory.get(start..).unwrap_or_default();
            self.buffer.extend_from_slice(payload);
        } else {
            self.chain(len, start, Held::Lent(Arc::clone(memory)));
        }
    }

    fn chain(&mut self, len: usize, start: usize, held: Held) {
        let at = self.buffer.len();
        self.chained_len += len;
        self.chained.make().push_back(Chained { at, start, held });
    }

    /// Fills `out` with what to write next, in order, and says how many of its places are filled. All of `out`
    /// filled may mean that there is more.
    pub fn io_slices<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        let mut filled = 0;
        let mut start = self.written;
        let mut places = out.iter_mut();
        let mut put = |part: &'a [u8]| {
            if part.is_empty() {
                return true;
            }
            let Some(place) = places.next() else {
                return false;
            };
            *place = part;
            filled += 1;
            true
        };
        let limit = self.limit().unwrap_or(self.buffer.len());
        // A payload at the limit itself belongs to the packet in front of it: every packet begins with bytes.
        for chained in self
            .chained
            .iter()
            .take_while(|chained| chained.at <= limit)
        {
            let head = self.buffer.get(start..chained.at).unwrap_or_default();
            if !put(head) || !put(chained.unsent()) {
                return filled;
            }
            start = chained.at;
        }
        put(self.buffer.get(start..limit).unwrap_or_default());
        filled
    }

    /// Forgets the first `count` bytes: they have left. Any number up to [`Outbox::writable_len`] will do.
    pub fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.writable_len(), "no more can leave than may");
        let mut left = count;
        while let Some(chained) = self.chained.existing()
            && let Some(first) = chained.front_mut()
        {
            let before = left.min(first.at - self.written);
            self.written += before;
            left -= before;
            let inside = left.min(first.unsent().len());
            first.start += inside;
            self.chained_len -= inside;
            left -= inside;
            if first.at != self.written || !first.unsent().is_empty() {
                break;
            }
            chained.pop_front();
            self.chained.release_memory();
        }
        if self.chained.is_empty() {
            self.written = self.buffer.len().min(self.written + left);
        }
        self.compact();
    }

    /// Drops what has left, once that costs less than it gives: each byte is moved at most once per doubling.
    fn compact(&mut self) {
        let unsent = self.buffer.len() - self.written;
        if unsent > self.written {
            return;
        }
        if unsent > 0 && self.written < COMPACT_ABOVE {
            return;
        }
        self.buffer.drain(..self.written);
        for chained in self.chained.existing().into_iter().flatten() {
            chained.at -= self.written;
        }
        for barrier in self.barriers.existing().into_iter().flatten() {
            barrier.at -= self.written;
        }
        self.written = 0;
        if self.buffer.capacity() > SHRINK_ABOVE && unsent < self.buffer.capacity() / 4 {
            self.buffer.shrink_to(SHRINK_ABOVE.max(2 * unsent));
        }
    }

    /// Takes the memory of an outbox that is empty: a buffer to be used again, perhaps without capacity. An
    /// outbox that is not empty keeps its own.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        if !self.is_empty() {
            return Vec::new();
        }
        self.barriers.release_memory();
        let mut barriers = core::mem::take(&mut self.barriers);
        // Those that are left stand at the end, where nothing has come yet.
        for barrier in barriers.existing().into_iter().flatten() {
            barrier.at = 0;
        }
        let Self { mut buffer, .. } = core::mem::take(self);
        self.barriers = barriers;
        buffer.clear();
        buffer
    }

    /// Whether it has no buffer.
    pub(crate) const fn has_no_memory(&self) -> bool {
        self.buffer.capacity() == 0
    }

    /// The byte in front of what will be appended, 0 if there is none: for having it near.
    pub(crate) fn last_byte(&self) -> u8 {
        self.buffer.last().copied().unwrap_or_default()
    }

    /// Lends a used, empty buffer to an outbox that has none.
    pub(crate) fn give_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty(), "only the memory is lent");
        if self.buffer.capacity() == 0 {
            self.buffer = buffer;
        }
    }

    /// The memory that the outbox holds for itself, shared payloads not counted.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.buffer.capacity() + self.chained.capacity() * size_of::<Chained>()
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("len", &self.len())
            .field("chained", &self.chained.len())
            .finish_non_exhaustive()
    }
}

/// What stands behind the first `at` bytes of the buffer waits for a batch to be stable.
struct Barrier {
    at: usize,
    until: StoreTicket,
}

/// A payload that goes out after the first `at` bytes of the buffer.
struct Chained {
    at: usize,
    /// Where what has not left yet begins in what is held.
    start: usize,
    held: Held,
}

/// What an outbox refers to.
enum Held {
    /// A message's payload.
    Message(Message),
    /// A packet, where it was read.
    Lent(Arc<Vec<u8>>),
}

impl Chained {
    fn unsent(&self) -> &[u8] {
        let bytes = match &self.held {
            Held::Message(message) => message.payload(),
            Held::Lent(memory) => memory,
        };
        bytes.get(self.start..).unwrap_or_default()
    }
}

/// Who has a large payload already, so that an outbox may refer to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) message: Option<&'a Message>,
    /// Memory that ends with it.
    pub(crate) lent: Option<&'a Arc<Vec<u8>>>,
}

impl<'a> Holder<'a> {
    pub(crate) fn of_kept(kept: &'a Kept) -> Self {
        Self {
            message: kept.whole(),
            lent: None,
        }
    }

    pub(crate) const fn of(message: &'a Message) -> Self {
        Self {
            message: Some(message),
            lent: None,
        }
    }
}

/// An outbox goes on using memory that was lent if that is larger than its packet by no more than the packet divided by this.
pub const LENT_SLACK: usize = 2;

/// From this length on a payload is referred to instead of copied.
pub(crate) const CHAIN_THRESHOLD: usize = 1024;

/// Below this much written data the buffer is not moved: one more partial write may empty it for free.
const COMPACT_ABOVE: usize = 4 * 1024;

/// A buffer that grew above this gives memory back as soon as most of it is unused.
const SHRINK_ABOVE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::{CHAIN_THRESHOLD, Outbox, SHRINK_ABOVE};
    use crate::message::{Message, MessageParts, Origin};
    use alloc::sync::Arc;
    use alloc::vec;
    use alloc::vec::Vec;
    use martlet_codec::QoS;
    use proptest::prelude::*;

    fn message(payload: &[u8]) -> Message {
        MessageParts {
            topic: "a".into(),
            shared_properties: b"property",
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: None,
            origin: Origin::NONE,
        }
        .to_message()
    }

    fn all_bytes(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [&[][..]; 512];
        let filled = outbox.io_slices(&mut slices);
        assert!(filled < slices.len());
        slices[..filled].concat()
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Bytes(usize),
        Payload(usize),
        Advance(usize),
        Reclaim,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let around_threshold = CHAIN_THRESHOLD - 2..CHAIN_THRESHOLD + 2;
        prop_oneof![
            (0_usize..9_000).prop_map(Operation::Bytes),
            (0_usize..20).prop_map(Operation::Bytes),
            prop_oneof![0..4_usize, around_threshold, 1_000..9_000_usize]
                .prop_map(Operation::Payload),
            (0..12_000_usize).prop_map(Operation::Advance),
            (0..1_200_usize).prop_map(Operation::Advance),
            Just(Operation::Reclaim),
        ]
    }

    proptest! {
        #[test]
        fn everything_leaves_once_and_in_order(
            operations in prop::collection::vec(operation(), 1..60),
            places in 1_usize..6,
        ) {
            let mut outbox = Outbox::new();
            let mut pool: Vec<Vec<u8>> = Vec::new();
            let mut model: Vec<u8> = Vec::new();
            let mut next = 0_u8;
            let mut fresh = |len: usize| -> Vec<u8> {
                (0..len).map(|_| { next = next.wrapping_add(1) % 251; next }).collect()
            };
            for operation in operations {
                match operation {
                    Operation::Bytes(len) => {
                        let bytes = fresh(len);
                        pool.pop().into_iter().for_each(|buffer| outbox.give_buffer(buffer));
                        outbox.bytes().extend_from_slice(&bytes);
                        model.extend(bytes);
                    }
                    Operation::Payload(len) => {
                        let bytes = fresh(len);
                        if len % 2 == 0 {
                            outbox.push_payload(&message(&bytes));
                        } else {
                            let memory = [&b"head"[..], &bytes].concat();
                            outbox.push_lent(&Arc::new(memory), len);
                        }
                        model.extend(bytes);
                    }
                    Operation::Advance(len) => {
                        let len = len.min(model.len());
                        let mut slices = vec![&[][..]; places];
                        let filled = outbox.io_slices(&mut slices);
                        let seen = slices[..filled].concat();
                        prop_assert_eq!(&seen[..], &model[..seen.len()]);
                        prop_assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
                        outbox.advance(len);
                        model.drain(..len);
                    }
                    Operation::Reclaim => pool.push(outbox.take_buffer()),
                }
                prop_assert_eq!(outbox.len(), model.len());
                prop_assert_eq!(outbox.is_empty(), model.is_empty());
                prop_assert!(all_bytes(&outbox) == model, "the bytes differ");
            }
            let len = outbox.len();
            outbox.advance(len);
            outbox.take_buffer();
            prop_assert_eq!(outbox.capacity(), 0);
        }
    }

    #[test]
    fn an_outbox_costs_few_bytes() {
        assert_eq!(size_of::<Outbox>(), 56);
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let large = message(&[7; CHAIN_THRESHOLD]);
        let mut outbox = Outbox::new();
        outbox.bytes().extend_from_slice(b"head");
        outbox.push_payload(&large);
        outbox.bytes().extend_from_slice(b"next");
        let mut slices = [&[][..]; 8];
        assert_eq!(outbox.io_slices(&mut slices), 3);
        assert_eq!(slices[1].as_ptr(), large.payload().as_ptr());
        assert!(outbox.capacity() < CHAIN_THRESHOLD);
    }

    #[test]
    fn a_small_payload_needs_one_slice_only() {
        let mut outbox = Outbox::new();
        outbox.bytes().extend_from_slice(b"head");
        outbox.push_payload(&message(&[7; CHAIN_THRESHOLD - 1]));
        let mut slices = [&[][..]; 8];
        assert_eq!(outbox.io_slices(&mut slices), 1);
    }

    #[test]
    fn an_empty_outbox_hands_its_buffer_to_the_next_one() {
        let (mut first, mut second) = (Outbox::new(), Outbox::new());
        first.bytes().extend_from_slice(&[1; 100]);
        let memory = first.bytes().as_ptr();
        assert_eq!(first.take_buffer().capacity(), 0);
        assert_eq!(
            first.len(),
            100,
            "an outbox that is not empty keeps its bytes"
        );
        first.advance(100);
        second.give_buffer(first.take_buffer());
        assert_eq!(first.capacity(), 0);
        assert!(second.is_empty());
        assert_eq!(second.bytes().as_ptr(), memory);
    }

    #[test]
    fn a_grown_buffer_shrinks_while_in_use() {
        let mut outbox = Outbox::new();
        outbox.bytes().extend_from_slice(&vec![1; 1 << 20]);
        outbox.advance((1 << 20) - 10);
        assert_eq!(outbox.len(), 10);
        assert!(outbox.capacity() <= SHRINK_ABOVE, "{}", outbox.capacity());
    }

    #[test]
    fn the_buffer_of_a_connection_that_never_runs_empty_stays_small() {
        let mut outbox = Outbox::new();
        for _ in 0..10_000 {
            outbox.bytes().extend_from_slice(&[1; 1_000]);
            outbox.advance(outbox.len().saturating_sub(500));
        }
        assert!(outbox.capacity() <= SHRINK_ABOVE, "{}", outbox.capacity());
    }
}
