//! The beginning of a packet whose rest has not come, and how the rest gets behind it.
//!
//! ```text
//! up to 4 KiB     goes in front of the next read in the scratch buffer
//! longer          the rest is read straight behind it: each byte of a large packet is copied out of the socket
//!                 to where it stays until the packet is whole, and no further than the packet's end
//! ```
//! The memory of a long one grows with what has arrived, never with what was announced alone. When the packet is whole, the
//! shard keeps that memory for the next one: a system that has got a megabyte back hands it out again page by page,
//! which costs as much as reading it.

use std::io;

use bytes::BufMut;
use martlet_codec::packet_len;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::limits::{
    READ_BUDGET_BYTES, SPARE_GROWTH, TAIL_GROWTH, TAIL_IN_SCRATCH_BYTES, TAIL_SPARE_BYTES,
};

/// In a box: most connections have none at any moment, and it costs them one word.
#[derive(Debug)]
pub(super) struct Tail(pub(super) Vec<u8>);

impl Tail {
    /// An empty tail owns no memory: an idle connection holds no buffer.
    pub(super) fn of(bytes: Vec<u8>) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self(bytes)))
    }
}

/// Memory of a large packet that was dealt with.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<u8>);

impl Spare {
    /// Makes `tail` what is left of a read.
    pub(super) fn keep(&mut self, tail: &mut Vec<u8>, rest: &[u8]) {
        tail.clear();
        if rest.len() > TAIL_IN_SCRATCH_BYTES {
            self.reserve(tail, rest, missing(rest).unwrap_or(0));
        }
        tail.extend_from_slice(rest);
    }

    /// Room behind a long tail, for one read: how much that may bring.
    pub(super) fn make_room(&mut self, tail: &mut Vec<u8>) -> usize {
        // A whole packet that could not be dealt with is there still if it may be dealt with from this moment on.
        let wanted = missing(tail).unwrap_or(READ_BUDGET_BYTES);
        if tail.len() == tail.capacity() {
            let mut grown = Vec::new();
            self.reserve(&mut grown, tail, wanted);
            grown.extend_from_slice(tail);
            self.take_back(std::mem::replace(tail, grown));
        }
        let room = tail.capacity() - tail.len();
        wanted.min(READ_BUDGET_BYTES).min(room)
    }

    /// How much memory this is.
    pub(super) const fn bytes(&self) -> usize {
        self.0.capacity()
    }

    /// The packet is dealt with, or in other memory.
    pub(super) fn take_back(&mut self, memory: Vec<u8>) {
        if (self.0.capacity() + 1..=TAIL_SPARE_BYTES).contains(&memory.capacity()) {
            self.0 = memory;
            self.0.clear();
        }
    }

    /// Gives an empty tail memory for what has arrived, and for some of what it still wants.
    fn reserve(&mut self, tail: &mut Vec<u8>, arrived: &[u8], wanted: usize) {
        let of_use = arrived.len() + 1..=SPARE_GROWTH * arrived.len();
        if of_use.contains(&self.0.capacity()) {
            *tail = std::mem::take(&mut self.0);
        } else {
            let growth = wanted.min((TAIL_GROWTH - 1) * arrived.len());
            tail.reserve_exact(arrived.len() + growth);
        }
    }
}

/// What the packet has still to come, if it is not whole.
fn missing(begun: &[u8]) -> Option<usize> {
    let whole = packet_len(begun)?;
    whole
        .checked_sub(begun.len())
        .filter(|missing| *missing > 0)
}

/// Reads at most `room` bytes behind the tail: how many, and whether the socket is empty now.
pub(super) fn read_behind_tail(
    stream: &TcpStream,
    tail: &mut Vec<u8>,
    room: usize,
) -> io::Result<(usize, bool)> {
    let count = stream.try_read_buf(&mut (&mut *tail).limit(room))?;
    let emptied = 0 < count && count < room;
    if emptied {
        // As `read_socket` does: the runtime hears it from us, not from one more read.
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        drop(stream.try_io(Interest::READABLE, nothing));
    }
    Ok((count, emptied))
}

#[cfg(test)]
mod tests {
    use super::{READ_BUDGET_BYTES, SPARE_GROWTH, Spare, TAIL_GROWTH, TAIL_SPARE_BYTES};

    /// The front of a PUBLISH of so many bytes behind the fixed header of five.
    fn front(remaining: u32, arrived: usize) -> Vec<u8> {
        let mut packet = vec![0x30];
        packet.extend((0..4).map(|digit| {
            let more = if digit < 3 { 0x80 } else { 0 };
            u8::try_from(remaining >> (7 * digit) & 0x7F).unwrap() | more
        }));
        packet.resize(arrived, 7);
        packet
    }

    /// Reads a packet the way the driver does, up to so many bytes, and says how much had arrived and for how much
    /// there was memory each time that memory was taken.
    fn grow(spare: &mut Spare, remaining: u32, first: usize, last: usize) -> Vec<(usize, usize)> {
        let whole = remaining as usize + 5;
        let mut tail = Vec::new();
        spare.keep(&mut tail, &front(remaining, first));
        let mut taken = vec![(first, tail.capacity())];
        while tail.len() < last {
            let before = tail.capacity();
            let room = spare.make_room(&mut tail);
            if tail.capacity() != before {
                taken.push((tail.len(), tail.capacity()));
            }
            assert!(room > 0 && room <= READ_BUDGET_BYTES);
            assert!(tail.len() + room <= whole.min(tail.capacity()));
            tail.resize(tail.len() + room, 7);
        }
        assert!(tail.iter().skip(5).all(|byte| *byte == 7));
        spare.take_back(tail);
        taken
    }

    /// Optimisation: a large packet is moved once while it grows, and no memory is left over.
    #[test]
    fn a_large_packet_is_moved_once() {
        let whole = (1 << 20) + 5;
        let taken = grow(&mut Spare::default(), 1 << 20, 65_536, whole);
        assert_eq!(taken, [(65_536, 5 * 65_536), (5 * 65_536, whole)]);
        let taken = grow(&mut Spare::default(), 100_000, 65_536, 100_005);
        assert_eq!(taken, [(65_536, 100_005)]);
    }

    /// Optimisation: the second large packet finds the memory of the first.
    #[test]
    fn memory_of_a_large_packet_is_used_again() {
        let mut spare = Spare::default();
        grow(&mut spare, 1 << 20, 65_536, (1 << 20) + 5);
        for remaining in [1 << 20, 1 << 19] {
            let taken = grow(&mut spare, remaining, 65_536, remaining as usize + 5);
            assert_eq!(taken, [(65_536, (1 << 20) + 5)]);
        }
        // But a little of a packet does not hold it.
        let taken = grow(&mut spare, 1 << 20, 5_000, 5_001);
        assert_eq!(taken, [(5_000, 25_000)]);
    }

    #[test]
    fn no_shard_keeps_more_than_its_share() {
        let mut spare = Spare::default();
        grow(&mut spare, 10_000_000, 65_536, 10_000_005);
        assert!((1..=TAIL_SPARE_BYTES).contains(&spare.bytes()));
        let before = spare.bytes();
        spare.take_back(vec![1]);
        spare.take_back(vec![1; TAIL_SPARE_BYTES + 1]);
        assert_eq!((spare.0.len(), spare.bytes()), (0, before));
    }

    /// 256 MiB are announced: memory comes with what arrives, and no faster than that.
    #[test]
    fn memory_is_a_bounded_multiple_of_what_has_arrived() {
        for first in [5, 100, 4_096, 4_097, 65_536] {
            let mut spare = Spare::default();
            for (arrived, capacity) in grow(&mut spare, 268_435_455, first, 10_000_000) {
                assert!(
                    capacity <= TAIL_GROWTH * arrived,
                    "{capacity} for {arrived}"
                );
            }
            for (arrived, capacity) in grow(&mut spare, 268_435_455, first, 10_000_000) {
                assert!(
                    capacity <= SPARE_GROWTH * arrived,
                    "{capacity} for {arrived}"
                );
            }
        }
    }

    #[test]
    fn a_read_ends_where_the_packet_ends() {
        let mut tail = front(10_000, 9_000);
        tail.reserve_exact(100_000);
        assert_eq!(Spare::default().make_room(&mut tail), 1_005);
    }

    /// It had to wait when it came; what is behind it is read as ever.
    #[test]
    fn behind_a_whole_packet_there_is_room_for_a_read() {
        let (mut spare, mut tail) = (Spare::default(), Vec::new());
        spare.keep(&mut tail, &front(9_995, 10_000));
        assert_eq!(tail.capacity(), 10_000);
        assert_eq!(spare.make_room(&mut tail), 40_000);
    }
}
