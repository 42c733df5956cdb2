//! The book of a run: who is owed what, and everything that is counted.

use std::ops::Range;

use serde::Serialize;

use crate::ledger::{Arrival, Flow, Order};
use crate::number::{count, length};
use crate::wire::Header;

/// Which subscribers a message is for.
#[derive(Debug, Clone)]
pub(crate) enum Routing {
    /// The one with the publisher's number.
    Pairs,
    /// All.
    Everyone,
    /// Any one member of the group.
    Group,
    /// Those listed for its topic.
    Matching(Vec<Vec<u32>>),
}

/// What was counted over the whole run, warm-up and drain included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Messages written into a connection's output.
    pub(crate) attempted: u64,
    /// Of these, taken by the operating system to the last byte.
    pub(crate) accepted: u64,
    /// Of these, acknowledged by the broker (QoS 1 and 2).
    pub(crate) acknowledged: u64,
    /// Answered by the broker with a reason code that means no.
    pub(crate) refused: u64,
    /// Deliveries that the attempted messages should cause.
    pub(crate) expected: u64,
    /// Deliveries, each counted once.
    pub(crate) delivered: u64,
    /// Deliveries that had not come when the drain ended.
    pub(crate) lost: u64,
    /// Deliveries beyond the first.
    pub(crate) duplicated: u64,
    /// Deliveries after one that was sent later.
    pub(crate) reordered: u64,
    /// Messages that the receiver has not subscribed to, or that nobody sent in this run.
    pub(crate) strays: u64,
    /// Payloads that are not as they were sent.
    pub(crate) corrupted: u64,
    /// Acknowledgements for what was not outstanding.
    pub(crate) unexpected_acks: u64,
    /// Messages without acknowledgement when the drain ended.
    pub(crate) unacknowledged: u64,
    /// Times that a publisher waited in vain, gave its window up and went on.
    pub(crate) stalls: u64,
    /// Connections that the broker ended.
    pub(crate) disconnects: u64,
}

/// The flows between publishers and subscribers.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) routing: Routing,
    /// Whether the order of one flow means something.
    pub(crate) order: Order,
    publishers: usize,
    subscribers: usize,
    flows: Vec<Flow>,
    /// Group only: the highest number that each member has had from each publisher, plus 1.
    seen: Vec<u64>,
    pub(crate) counts: Counts,
    /// Deliveries owed.
    pub(crate) outstanding: u64,
    /// Scratch for arrivals.
    gaps: Vec<Range<u64>>,
}

impl Book {
    pub(crate) fn new(routing: Routing, publishers: usize, subscribers: usize) -> Self {
        let flow_count = match routing {
            Routing::Pairs | Routing::Group => publishers,
            Routing::Everyone | Routing::Matching(_) => publishers * subscribers,
        };
        let seen_count = match routing {
            Routing::Group => publishers * subscribers,
            Routing::Pairs | Routing::Everyone | Routing::Matching(_) => 0,
        };
        Self {
            order: match routing {
                Routing::Group => Order::Free,
                Routing::Pairs | Routing::Everyone | Routing::Matching(_) => Order::Kept,
            },
            routing,
            publishers,
            subscribers,
            flows: std::iter::repeat_with(Flow::default)
                .take(flow_count)
                .collect(),
            seen: vec![0; seen_count],
            counts: Counts::default(),
            outstanding: 0,
            gaps: Vec::new(),
        }
    }

    /// How many subscribers get each message; for one topic if they differ.
    #[inline]
    pub(crate) fn receivers(&self, topic: usize) -> u32 {
        match &self.routing {
            Routing::Pairs | Routing::Group => 1,
            Routing::Everyone => u32::try_from(self.subscribers).unwrap_or(u32::MAX),
            Routing::Matching(topics) => topics.get(topic).map_or(0, |subscribers| {
                u32::try_from(subscribers.len()).unwrap_or(u32::MAX)
            }),
        }
    }

    /// These messages of a publisher are on their way, all with this topic.
    #[inline]
    pub(crate) fn expect(&mut self, publisher: usize, topic: usize, sequences: Range<u64>) {
        let messages = sequences.end - sequences.start;
        let deliveries = messages * u64::from(self.receivers(topic));
        self.outstanding += deliveries;
        self.counts.expected += deliveries;
        self.counts.attempted += messages;
        match &self.routing {
            Routing::Pairs | Routing::Group => {
                if let Some(flow) = self.flows.get_mut(publisher) {
                    flow.expect(sequences);
                }
            }
            Routing::Everyone => {
                for flow in self
                    .flows
                    .iter_mut()
                    .skip(publisher)
                    .step_by(self.publishers)
                {
                    flow.expect(sequences.clone());
                }
            }
            Routing::Matching(topics) => {
                for subscriber in topics.get(topic).map_or(&[][..], Vec::as_slice) {
                    let index = length(u64::from(*subscriber)) * self.publishers + publisher;
                    if let Some(flow) = self.flows.get_mut(index) {
                        flow.expect(sequences.clone());
                    }
                }
            }
        }
    }

    /// A message is here. `settle` hears each sequence number that is no longer waited for. True if it is the first
    /// delivery of this message to this receiver.
    #[inline]
    pub(crate) fn arrive(
        &mut self,
        subscriber: usize,
        header: &Header,
        mut settle: impl FnMut(u64),
    ) -> bool {
        let publisher = length(u64::from(header.stamp.publisher));
        let index = match self.routing {
            Routing::Pairs if subscriber != publisher => usize::MAX,
            Routing::Pairs | Routing::Group => publisher,
            Routing::Everyone | Routing::Matching(_) => subscriber * self.publishers + publisher,
        };
        let Some(flow) = self
            .flows
            .get_mut(index)
            .filter(|_| publisher < self.publishers)
        else {
            self.counts.strays += 1;
            return false;
        };
        let arrival = flow.arrive(header.sequence, self.order, &mut self.gaps);
        match arrival {
            Arrival::InOrder => {
                self.outstanding -= 1;
                settle(header.sequence);
            }
            Arrival::AfterGap => {
                self.outstanding -= 1;
                for sequence in self.gaps.drain(..).flatten() {
                    self.outstanding -= 1;
                    settle(sequence);
                }
                settle(header.sequence);
            }
            Arrival::Late => self.counts.reordered += 1,
            Arrival::Duplicate => {
                self.counts.duplicated += 1;
                return false;
            }
            Arrival::Unexpected => {
                self.counts.strays += 1;
                return false;
            }
        }
        self.counts.delivered += 1;
        if let Some(seen) = self.seen.get_mut(subscriber * self.publishers + publisher) {
            if header.sequence < *seen {
                self.counts.reordered += 1;
            }
            *seen = (header.sequence + 1).max(*seen);
        }
        true
    }

    /// Nothing of this publisher is waited for any longer.
    pub(crate) fn write_off(&mut self, publisher: usize) {
        match self.routing {
            Routing::Pairs | Routing::Group => {
                if let Some(flow) = self.flows.get_mut(publisher) {
                    self.outstanding -= flow.write_off();
                }
            }
            Routing::Everyone | Routing::Matching(_) => {
                for flow in self
                    .flows
                    .iter_mut()
                    .skip(publisher)
                    .step_by(self.publishers)
                {
                    self.outstanding -= flow.write_off();
                }
            }
        }
    }

    /// Deliveries that have not come, whether still owed or given up.
    pub(crate) fn not_delivered(&self) -> u64 {
        self.flows
            .iter()
            .map(|flow| flow.owed() + flow.missing())
            .sum()
    }

    /// Deliveries that were skipped or given up.
    pub(crate) fn missing(&self) -> u64 {
        self.flows.iter().map(Flow::missing).sum()
    }

    /// Memory is proportional to this.
    pub(crate) fn flow_count(&self) -> u64 {
        count(self.flows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Stamp;

    fn header(publisher: u32, sequence: u64) -> Header {
        Header {
            stamp: Stamp { run: 0, publisher },
            sequence,
            time_ns: 0,
        }
    }

    fn arrive(book: &mut Book, subscriber: usize, publisher: u32, sequence: u64) -> bool {
        book.arrive(subscriber, &header(publisher, sequence), |_| {})
    }

    #[test]
    fn a_pairs_message_is_for_its_partner_only() {
        let mut book = Book::new(Routing::Pairs, 2, 2);
        book.expect(1, 0, 0..2);
        assert!(!arrive(&mut book, 0, 1, 0));
        assert!(arrive(&mut book, 1, 1, 0));
        assert!(!arrive(&mut book, 1, 9, 0));
        assert_eq!((book.counts.strays, book.counts.delivered), (2, 1));
        assert_eq!((book.outstanding, book.not_delivered()), (1, 1));
    }

    #[test]
    fn everyone_is_owed_each_message() {
        let mut book = Book::new(Routing::Everyone, 2, 3);
        book.expect(1, 0, 0..1);
        assert_eq!(book.counts.expected, 3);
        for subscriber in 0..3 {
            assert!(arrive(&mut book, subscriber, 1, 0));
        }
        assert!(!arrive(&mut book, 0, 0, 0));
        assert_eq!((book.outstanding, book.counts.strays), (0, 1));
    }

    #[test]
    fn a_group_is_owed_each_message_once_and_each_member_in_order() {
        let mut book = Book::new(Routing::Group, 1, 2);
        book.expect(0, 0, 0..4);
        for (member, sequence) in [(0, 0), (1, 3), (0, 1), (1, 2)] {
            assert!(arrive(&mut book, member, 0, sequence));
        }
        assert!(!arrive(&mut book, 0, 0, 3));
        assert_eq!(
            (
                book.counts.delivered,
                book.counts.reordered,
                book.counts.duplicated
            ),
            (4, 1, 1)
        );
    }

    #[test]
    fn only_those_who_match_are_owed() {
        let mut book = Book::new(Routing::Matching(vec![vec![0, 2], vec![]]), 1, 3);
        book.expect(0, 0, 0..1);
        book.expect(0, 1, 1..2);
        assert_eq!(book.counts.expected, 2);
        assert!(arrive(&mut book, 2, 0, 0));
        assert!(!arrive(&mut book, 1, 0, 0));
        assert_eq!(book.counts.strays, 1);
        book.write_off(0);
        assert_eq!((book.outstanding, book.missing()), (0, 1));
    }

    #[test]
    fn a_gap_settles_what_it_skips() {
        let mut book = Book::new(Routing::Pairs, 1, 1);
        book.expect(0, 0, 0..3);
        let mut settled = Vec::new();
        book.arrive(0, &header(0, 2), |sequence| settled.push(sequence));
        assert_eq!(settled, [0, 1, 2]);
        assert_eq!((book.outstanding, book.not_delivered()), (0, 2));
    }
}
