//! What one receiver is owed, and what became of it.
//!
//! A [`Flow`] is the book of the messages that are to arrive in one order: from one publisher at one subscriber (or
//! at one shared group, where only the set counts). Sequence numbers are owed when they are sent and crossed off when
//! they arrive. The usual case, the next one arriving, touches two numbers and allocates nothing.
//!
//! ```text
//!   expect ──> owed ──arrives──> done
//!                │ a later one arrives first, or it is written off
//!                v
//!             missing ──arrives──> late (reordered)        still missing at the end: lost
//! ```

use std::collections::VecDeque;
use std::ops::Range;

/// Whether the order of arrival means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// One subscriber: the standard orders the messages of one publisher and topic.
    Kept,
    /// Several members of a group: any of them may be ahead.
    Free,
}

/// What an arriving sequence number was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Owed, and nothing owed was skipped.
    InOrder,
    /// Owed, but earlier ones have not arrived; they are missing now.
    AfterGap,
    /// It was missing: it came after a later one, or after it had been written off.
    Late,
    /// It has arrived before.
    Duplicate,
    /// It was never owed to this receiver.
    Unexpected,
}

/// One receiver's book.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Owed next, up to `end`; what follows is in `later`.
    next: u64,
    end: u64,
    later: VecDeque<Range<u64>>,
    /// The highest ever owed, plus 1.
    sent: u64,
    missing: VecDeque<Range<u64>>,
    /// Missing for so long that late arrival would no longer be recognised.
    forgotten: u64,
}

impl Flow {
    /// These are on their way. Ranges only go up.
    pub(crate) fn expect(&mut self, range: Range<u64>) {
        self.sent = range.end;
        if self.next == self.end && self.later.is_empty() {
            self.next = range.start;
            self.end = range.end;
        } else if self.later.is_empty() && self.end == range.start {
            self.end = range.end;
        } else if let Some(back) = self.later.back_mut().filter(|back| back.end == range.start) {
            back.end = range.end;
        } else {
            self.later.push_back(range);
        }
    }

    /// Crosses off one. Sequence numbers that go missing by it are appended to `gaps`.
    #[inline]
    pub(crate) fn arrive(
        &mut self,
        sequence: u64,
        order: Order,
        gaps: &mut Vec<Range<u64>>,
    ) -> Arrival {
        if sequence == self.next && self.next < self.end {
            self.next += 1;
            self.advance();
            return Arrival::InOrder;
        }
        self.arrive_out_of_turn(sequence, order, gaps)
    }

    /// Gives up waiting for what is owed; returns how many that were.
    pub(crate) fn write_off(&mut self) -> u64 {
        let mut gaps = Vec::new();
        self.skip_until(u64::MAX, &mut gaps);
        gaps.iter().map(|gap| gap.end - gap.start).sum()
    }

    /// How many are still to come.
    pub(crate) fn owed(&self) -> u64 {
        let later: u64 = self.later.iter().map(|range| range.end - range.start).sum();
        self.end - self.next + later
    }

    /// How many have not arrived although later ones have, or were written off.
    pub(crate) fn missing(&self) -> u64 {
        let kept: u64 = self
            .missing
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        kept + self.forgotten
    }

    #[cold]
    fn arrive_out_of_turn(
        &mut self,
        sequence: u64,
        order: Order,
        gaps: &mut Vec<Range<u64>>,
    ) -> Arrival {
        if !self.is_owed(sequence) {
            return if self.take_missing(sequence) {
                Arrival::Late
            } else if sequence < self.sent {
                Arrival::Duplicate
            } else {
                Arrival::Unexpected
            };
        }
        match order {
            Order::Kept => {
                self.skip_until(sequence, gaps);
                self.next = sequence + 1;
                self.advance();
                Arrival::AfterGap
            }
            Order::Free => {
                self.take_owed(sequence);
                Arrival::InOrder
            }
        }
    }

    /// The front range is used up: the next one takes its place.
    #[inline]
    fn advance(&mut self) {
        if self.next == self.end
            && let Some(range) = self.later.pop_front()
        {
            self.next = range.start;
            self.end = range.end;
            drop_used_up(&mut self.later);
        }
    }

    fn is_owed(&self, sequence: u64) -> bool {
        (self.next..self.end).contains(&sequence) || place_in(&self.later, sequence).is_some()
    }

    /// Everything owed below `sequence` goes missing.
    fn skip_until(&mut self, sequence: u64, gaps: &mut Vec<Range<u64>>) {
        while self.next < self.end && self.next < sequence {
            let gap = self.next..self.end.min(sequence);
            self.next = gap.end;
            self.missing.push_back(gap.clone());
            gaps.push(gap);
            if self.missing.len() > MISSING_RANGES_MAX
                && let Some(oldest) = self.missing.pop_front()
            {
                self.forgotten += oldest.end - oldest.start;
            }
            self.advance();
        }
    }

    fn take_owed(&mut self, sequence: u64) {
        if (self.next..self.end).contains(&sequence) {
            let behind = sequence + 1..self.end;
            self.end = sequence;
            if !behind.is_empty() {
                self.later.push_front(behind);
            }
            self.advance();
        } else {
            take(&mut self.later, sequence);
        }
    }

    fn take_missing(&mut self, sequence: u64) -> bool {
        take(&mut self.missing, sequence)
    }
}

/// Where a number is in a list of ranges, which only go up.
fn place_in(ranges: &VecDeque<Range<u64>>, sequence: u64) -> Option<usize> {
    let index = ranges.partition_point(|range| range.end <= sequence);
    let is_here = ranges.get(index)?.contains(&sequence);
    is_here.then_some(index)
}

/// Removes one number from a list of ranges; false if it is not in there.
///
/// A broker of two shards replays one half of the retained messages and then the other: fifty thousand ranges with one number
/// each. So they are not looked through, and what is used up in the middle stays as an empty range: to close the
/// gap for each message would make the tool slower than the brokers it measures.
fn take(ranges: &mut VecDeque<Range<u64>>, sequence: u64) -> bool {
    let Some(index) = place_in(ranges, sequence) else {
        return false;
    };
    let Some(range) = ranges.get_mut(index) else {
        return false;
    };
    let behind = sequence + 1..range.end;
    if sequence == range.start {
        range.start = behind.start;
        drop_used_up(ranges);
    } else {
        range.end = sequence;
        if !behind.is_empty() {
            ranges.insert(index + 1, behind);
        }
    }
    true
}

/// The first range of a list is never an empty one.
fn drop_used_up(ranges: &mut VecDeque<Range<u64>>) {
    while ranges.front().is_some_and(Range::is_empty) {
        ranges.pop_front();
    }
}

/// A broker that drops half of everything must not make the tool's memory grow without end.
const MISSING_RANGES_MAX: usize = 65_536;

/// The messages of one publisher that have not reached everybody: the window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The oldest that has not reached everybody.
    base: u64,
    /// For it and those behind it: how many receivers are outstanding.
    outstanding: VecDeque<u32>,
}

impl Window {
    /// How many messages have not reached everybody, counted from the oldest of them.
    pub(crate) fn span(&self) -> u64 {
        self.outstanding.len() as u64
    }

    /// One more message, for so many receivers.
    #[inline]
    pub(crate) fn open(&mut self, receivers: u32) {
        self.outstanding.push_back(receivers);
        if receivers == 0 {
            self.close();
        }
    }

    /// One receiver has this message, or will never get it.
    #[inline]
    pub(crate) fn settle(&mut self, sequence: u64) {
        let Some(index) = sequence.checked_sub(self.base) else {
            return;
        };
        if let Some(receivers) = usize::try_from(index)
            .ok()
            .and_then(|index| self.outstanding.get_mut(index))
        {
            *receivers = receivers.saturating_sub(1);
        }
        self.close();
    }

    /// Nothing of it is waited for any longer.
    pub(crate) fn write_off(&mut self) {
        self.base += self.span();
        self.outstanding.clear();
    }

    #[inline]
    fn close(&mut self) {
        while self.outstanding.front() == Some(&0) {
            self.outstanding.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::number::{Random, length};

    use super::{Arrival, Flow, MISSING_RANGES_MAX, Order, Window};

    fn arrivals(flow: &mut Flow, order: Order, sequences: &[u64]) -> Vec<Arrival> {
        let mut gaps = Vec::new();
        sequences
            .iter()
            .map(|&sequence| flow.arrive(sequence, order, &mut gaps))
            .collect()
    }

    #[test]
    fn what_arrives_in_order_leaves_nothing_behind() {
        let mut flow = Flow::default();
        flow.expect(0..2);
        flow.expect(2..3);
        assert_eq!(
            arrivals(&mut flow, Order::Kept, &[0, 1, 2]),
            [Arrival::InOrder; 3]
        );
        assert_eq!((flow.owed(), flow.missing()), (0, 0));
    }

    #[test]
    fn a_dropped_message_is_missing_as_soon_as_a_later_one_arrives() {
        let mut flow = Flow::default();
        flow.expect(0..5);
        let mut gaps = Vec::new();
        assert_eq!(flow.arrive(3, Order::Kept, &mut gaps), Arrival::AfterGap);
        assert_eq!(gaps, vec![0..3]);
        assert_eq!((flow.owed(), flow.missing()), (1, 3));
        // Swapped, not lost: the number of the missing falls again.
        assert_eq!(flow.arrive(1, Order::Kept, &mut gaps), Arrival::Late);
        assert_eq!(flow.missing(), 2);
        assert_eq!(flow.arrive(1, Order::Kept, &mut gaps), Arrival::Duplicate);
        assert_eq!(flow.arrive(3, Order::Kept, &mut gaps), Arrival::Duplicate);
        assert_eq!(flow.missing(), 2);
    }

    #[test]
    fn a_number_that_was_never_sent_changes_nothing() {
        let mut flow = Flow::default();
        assert_eq!(
            arrivals(&mut flow, Order::Kept, &[0]),
            [Arrival::Unexpected]
        );
        flow.expect(10..12);
        flow.expect(20..22);
        assert_eq!(
            arrivals(&mut flow, Order::Kept, &[22, 10, 11, 20, 21]),
            [
                Arrival::Unexpected,
                Arrival::InOrder,
                Arrival::InOrder,
                Arrival::InOrder,
                Arrival::InOrder
            ]
        );
    }

    #[test]
    fn gaps_reach_over_ranges() {
        let mut flow = Flow::default();
        flow.expect(0..2);
        flow.expect(5..7);
        let mut gaps = Vec::new();
        assert_eq!(flow.arrive(6, Order::Kept, &mut gaps), Arrival::AfterGap);
        assert_eq!(gaps, vec![0..2, 5..6]);
        assert_eq!((flow.owed(), flow.missing()), (0, 3));
    }

    #[test]
    fn members_of_a_group_may_overtake_each_other() {
        let mut flow = Flow::default();
        flow.expect(0..6);
        assert_eq!(
            arrivals(&mut flow, Order::Free, &[3, 0, 5, 1, 2]),
            [Arrival::InOrder; 5]
        );
        assert_eq!((flow.owed(), flow.missing()), (1, 0));
        assert_eq!(
            arrivals(&mut flow, Order::Free, &[5, 4, 6]),
            [Arrival::Duplicate, Arrival::InOrder, Arrival::Unexpected]
        );
    }

    /// A broker of two shards replays each second message, then the others; and some come twice or were never owed.
    #[test]
    fn any_order_is_crossed_off_as_a_set_would() {
        let mut random = Random::new(1);
        for _ in 0..200 {
            let mut flow = Flow::default();
            let mut owed = BTreeSet::new();
            let mut end = 0;
            for _ in 0..=random.below(3) {
                let start = end + random.below(3) as u64;
                end = start + 1 + random.below(40) as u64;
                flow.expect(start..end);
                owed.extend(start..end);
            }
            for _ in 0..300 {
                let sequence = random.below(length(end) + 2) as u64;
                let arrival = flow.arrive(sequence, Order::Free, &mut Vec::new());
                assert_eq!(arrival == Arrival::InOrder, owed.remove(&sequence));
                assert_eq!(flow.owed(), owed.len() as u64);
                assert!(owed.iter().all(|&owed| flow.is_owed(owed)));
            }
        }
    }

    #[test]
    fn what_is_written_off_is_missing_until_it_comes() {
        let mut flow = Flow::default();
        flow.expect(0..4);
        assert_eq!(flow.write_off(), 4);
        assert_eq!((flow.owed(), flow.missing()), (0, 4));
        flow.expect(4..5);
        assert_eq!(
            arrivals(&mut flow, Order::Kept, &[0, 4, 4]),
            [Arrival::Late, Arrival::InOrder, Arrival::Duplicate]
        );
        assert_eq!(flow.missing(), 3);
    }

    #[test]
    fn memory_for_the_missing_is_bounded_and_their_number_right() {
        let mut flow = Flow::default();
        let pairs = MISSING_RANGES_MAX as u64 + 10;
        flow.expect(0..pairs * 2);
        let mut gaps = Vec::new();
        for pair in 0..pairs {
            flow.arrive(pair * 2 + 1, Order::Kept, &mut gaps);
        }
        assert_eq!(flow.missing.len(), MISSING_RANGES_MAX);
        assert_eq!(flow.missing(), pairs);
    }

    #[test]
    fn the_window_is_as_wide_as_the_slowest_receiver_makes_it() {
        let mut window = Window::default();
        for _ in 0..3 {
            window.open(2);
        }
        window.open(0);
        window.settle(0);
        window.settle(1);
        window.settle(1);
        assert_eq!(window.span(), 4);
        window.settle(0);
        assert_eq!(window.span(), 2);
        window.settle(2);
        window.settle(2);
        assert_eq!(window.span(), 0);
        window.open(1);
        window.write_off();
        window.settle(4);
        assert_eq!(window.span(), 0);
        window.open(1);
        window.settle(5);
        assert_eq!(window.span(), 0);
    }
}
