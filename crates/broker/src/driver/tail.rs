//! The beginning of a packet whose rest has not come, and how the rest gets behind it.
//!
//! ```text
//! up to 4 KiB     goes in front of the next read in the scratch buffer
//! longer          the rest is read straight behind it: each byte of a large packet is copied out of the socket
//!                 to where it stays, and no further than the packet's end
//! ```
//! The memory of a long one grows with what has arrived, never with what was announced alone. When the packet is whole, the
//! outboxes of its receivers go on using that memory, and when none of them holds it any more, the next large
//! packet does: a system that has got a megabyte back hands it out again page by page, which costs as much as reading it.
//! A shard that gets no large packets for a while gives back what it has for them.

use std::io;
use std::sync::Arc;

use bytes::BufMut;
use martlet_codec::packet_len;
use martlet_engine::{LENT_SLACK, Time};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::limits::{
    LARGE_READ_BYTES, READ_BUDGET_BYTES, SPARE_GROWTH, SPARE_IDLE_MS, SPARE_LEAST_BYTES,
    TAIL_GROWTH, TAIL_IN_SCRATCH_BYTES, TAIL_SPARE_BYTES,
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

/// Memory of large packets that were dealt with.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// Some are held by messages still. Who came first goes first.
    pieces: Vec<Arc<Vec<u8>>>,
    /// What they all are.
    bytes: usize,
    last_used: Time,
}

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
        let (wanted, most) = match missing(tail) {
            Some(wanted) => (wanted, LARGE_READ_BYTES),
            None => (READ_BUDGET_BYTES, READ_BUDGET_BYTES),
        };
        if tail.len() == tail.capacity() {
            let mut grown = Vec::new();
            self.reserve(&mut grown, tail, wanted);
            grown.extend_from_slice(tail);
            *tail = grown;
        }
        let room = tail.capacity() - tail.len();
        wanted.min(most).min(room)
    }

    /// How much memory this is, what messages hold included.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The packet in this memory is dealt with.
    pub(super) fn take_back(&mut self, memory: Arc<Vec<u8>>, now: Time) {
        self.last_used = now;
        if !(SPARE_LEAST_BYTES..=TAIL_SPARE_BYTES).contains(&memory.capacity()) {
            return;
        }
        self.bytes += memory.capacity();
        self.pieces.push(memory);
        while self.bytes > TAIL_SPARE_BYTES {
            self.remove(0);
        }
    }

    /// When it is to be given back.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.pieces.is_empty()).then(|| self.last_used.plus_millis(SPARE_IDLE_MS))
    }

    /// Gives everything back if it was not used for some time.
    pub(super) fn give_back_overdue(&mut self, now: Time) {
        if self.due().is_some_and(|due| due <= now) {
            *self = Self::default();
        }
    }

    /// Gives an empty tail memory for what has arrived, and for some of what it still wants.
    fn reserve(&mut self, tail: &mut Vec<u8>, arrived: &[u8], wanted: usize) {
        let whole = arrived.len() + wanted;
        // As much as a message may hold, and no more than has been earned.
        let most = (whole + whole / LENT_SLACK).min(SPARE_GROWTH * arrived.len());
        if let Some(memory) = self.take(whole, most) {
            *tail = memory;
        } else {
            let growth = wanted.min((TAIL_GROWTH - 1) * arrived.len());
            tail.reserve_exact(arrived.len() + growth);
        }
    }

    /// Memory of such a size that nobody holds any more, emptied.
    fn take(&mut self, least: usize, most: usize) -> Option<Vec<u8>> {
        let of_use = |piece: &mut Arc<Vec<u8>>| {
            (least..=most).contains(&piece.capacity()) && Arc::get_mut(piece).is_some()
        };
        let found = self.pieces.iter_mut().position(of_use)?;
        let mut memory = Arc::into_inner(self.remove(found)?)?;
        memory.clear();
        Some(memory)
    }

    fn remove(&mut self, index: usize) -> Option<Arc<Vec<u8>>> {
        let gone = (index < self.pieces.len()).then(|| self.pieces.remove(index))?;
        self.bytes -= gone.capacity();
        Some(gone)
    }
}

/// Whether this is one packet, whole, and long enough for a message to go on using its memory.
pub(super) fn is_one_long_packet(bytes: &[u8]) -> bool {
    bytes.len() > TAIL_IN_SCRATCH_BYTES && packet_len(bytes) == Some(bytes.len())
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
    use std::sync::Arc;

    use super::{
        LARGE_READ_BYTES, LENT_SLACK, SPARE_GROWTH, SPARE_IDLE_MS, SPARE_LEAST_BYTES, Spare,
        TAIL_GROWTH, TAIL_SPARE_BYTES, Time, is_one_long_packet,
    };

    const NOW: Time = Time::from_millis(7);

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

    /// Reads a packet the way the driver does, up to so many bytes; the packet's memory, and how much had arrived and for how
    /// much there was memory each time that memory was taken.
    fn grow(
        spare: &mut Spare,
        remaining: u32,
        first: usize,
        last: usize,
    ) -> (Arc<Vec<u8>>, Vec<(usize, usize)>) {
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
            assert!(room > 0 && room <= LARGE_READ_BYTES);
            assert!(tail.len() + room <= whole.min(tail.capacity()));
            assert!(!is_one_long_packet(&tail));
            tail.resize(tail.len() + room, 7);
        }
        assert!(tail.iter().skip(5).all(|byte| *byte == 7));
        let packet = Arc::new(tail);
        spare.take_back(Arc::clone(&packet), NOW);
        (packet, taken)
    }

    /// As [`grow`], and nobody holds the packet.
    fn grow_and_forget(
        spare: &mut Spare,
        remaining: u32,
        first: usize,
        last: usize,
    ) -> Vec<(usize, usize)> {
        let (packet, taken) = grow(spare, remaining, first, last);
        assert_eq!(is_one_long_packet(&packet), last == remaining as usize + 5);
        taken
    }

    /// Optimisation: a large packet is moved once while it grows, and no memory is left over.
    #[test]
    fn a_large_packet_is_moved_once() {
        let whole = (1 << 20) + 5;
        let taken = grow_and_forget(&mut Spare::default(), 1 << 20, 65_536, whole);
        assert_eq!(taken, [(65_536, 5 * 65_536), (5 * 65_536, whole)]);
        let taken = grow_and_forget(&mut Spare::default(), 100_000, 65_536, 100_005);
        assert_eq!(taken, [(65_536, 100_005)]);
    }

    /// Optimisation: the next large packet finds the memory of one that nobody holds any more.
    #[test]
    fn memory_of_a_large_packet_is_used_again() {
        let mut spare = Spare::default();
        let whole = (1 << 20) + 5;
        let (held, _) = grow(&mut spare, 1 << 20, 65_536, whole);
        let (other, taken) = grow(&mut spare, 1 << 20, 65_536, whole);
        assert_eq!(taken.len(), 2, "the first is held");
        let memory = held.as_ptr();
        drop((held, other));
        for remaining in [1 << 20, (1 << 20) - 9, 800_000] {
            let (packet, taken) = grow(&mut spare, remaining, 65_536, remaining as usize + 5);
            assert_eq!(taken, [(65_536, whole)]);
            assert_eq!(packet.as_ptr(), memory);
            // Two of them take turns.
            spare.pieces.reverse();
        }
        // What a message may not hold because it needs too little of it is not taken, and a little of a packet does not hold it.
        assert_eq!(LENT_SLACK, 2);
        let taken = grow_and_forget(&mut spare, 600_000, 65_536, 600_005);
        assert_eq!(taken.len(), 2);
        let taken = grow_and_forget(&mut spare, 1 << 20, 5_000, 5_001);
        assert_eq!(taken, [(5_000, 25_000)]);
    }

    #[test]
    fn no_shard_keeps_more_than_its_share() {
        let mut spare = Spare::default();
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(grow(&mut spare, 1_000_000, 65_536, 1_000_005));
            let pieces: usize = spare.pieces.iter().map(|piece| piece.capacity()).sum();
            assert_eq!(spare.bytes(), pieces);
            assert!((1..=TAIL_SPARE_BYTES).contains(&pieces));
        }
        let before = spare.bytes();
        assert!(before + 1_000_005 > TAIL_SPARE_BYTES);
        for bytes in [1, SPARE_LEAST_BYTES - 1, TAIL_SPARE_BYTES + 1] {
            spare.take_back(Arc::new(vec![1; bytes]), NOW);
            assert_eq!(spare.bytes(), before);
        }
    }

    #[test]
    fn who_gets_no_large_packets_gives_the_memory_back() {
        let mut spare = Spare::default();
        assert_eq!(spare.due(), None);
        grow(&mut spare, 1_000_000, 65_536, 1_000_005);
        let due = NOW.plus_millis(SPARE_IDLE_MS);
        assert_eq!(spare.due(), Some(due));
        spare.give_back_overdue(NOW.plus_millis(SPARE_IDLE_MS - 1));
        assert!(spare.bytes() > 0);
        spare.give_back_overdue(due);
        assert_eq!((spare.bytes(), spare.pieces.len()), (0, 0));
        assert_eq!(spare.due(), None);
    }

    /// 256 MiB are announced: memory comes with what arrives, and no faster than that.
    #[test]
    fn memory_is_a_bounded_multiple_of_what_has_arrived() {
        for first in [5, 100, 4_096, 4_097, 65_536] {
            let mut spare = Spare::default();
            for (arrived, capacity) in grow_and_forget(&mut spare, 268_435_455, first, 10_000_000) {
                assert!(
                    capacity <= TAIL_GROWTH * arrived,
                    "{capacity} for {arrived}"
                );
            }
            for remaining in [70_000, 1 << 20, 7_000_000, 7_000_000, 268_435_455] {
                let last = (remaining as usize + 5).min(10_000_000);
                for (arrived, capacity) in grow_and_forget(&mut spare, remaining, first, last) {
                    assert!(
                        capacity <= SPARE_GROWTH * arrived,
                        "{capacity} for {arrived}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_read_ends_where_the_packet_ends() {
        let mut tail = front(10_000, 9_000);
        tail.reserve_exact(100_000);
        assert_eq!(Spare::default().make_room(&mut tail), 1_005);
        let mut tail = front(1_000_000, 90_000);
        tail.reserve_exact(1_000_000);
        assert_eq!(Spare::default().make_room(&mut tail), LARGE_READ_BYTES);
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
