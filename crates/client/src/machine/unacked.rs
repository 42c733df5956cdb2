//! Messages received at QoS 1 and 2 that we have not acknowledged.
//!
//! ```text
//!   entries, in the order of arrival:   [settled] [settled] [waiting] [settled] [abandoned] [waiting]
//!                                        └─ acknowledged ─┘    ▲ the rest has to wait for this one
//! ```
//! Acknowledgements leave in the order in which the messages came, so a settled entry waits for
//! those in front of it. An abandoned one (an application dropped it in manual mode) is never
//! acknowledged on this connection and stops nobody.
//!
//! When the connection is lost the entries move to `earlier`. The server sends the messages again,
//! under the same identifiers; each then takes the place of its entry and is not handed out a second
//! time. An acknowledgement that the application gives in between is not lost, and one for a
//! connection that never saw the message is never sent.

use std::collections::VecDeque;

use hashbrown::HashMap;
use martlet_codec::{PacketId, ReasonCode};

use super::fingerprint::Fingerprint;

/// Names a received message until it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckId(u64);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    /// The number of the first entry; numbers are never used twice.
    first: u64,
    entries: VecDeque<Entry>,
    /// Entries of connections before, with their numbers, which grow.
    earlier: VecDeque<(u64, Entry)>,
    /// Where the entry of an old name stands now.
    moved: HashMap<u64, u64, foldhash::fast::FixedState>,
    qos1_count: usize,
    /// The session may be another one than that of the messages before: a CONNECT in between had no answer.
    doubtful: bool,
}

#[derive(Debug)]
struct Entry {
    packet_id: PacketId,
    exactly_once: bool,
    print: Fingerprint,
    /// How many streams have to take it.
    waiting: u16,
    abandoned: bool,
    reason: ReasonCode,
    /// The name it was given out under, if that is not its number.
    name: Option<u64>,
}

/// An acknowledgement to send: PUBREC if `exactly_once`, else PUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DueAck {
    pub(crate) packet_id: PacketId,
    pub(crate) exactly_once: bool,
    pub(crate) reason: ReasonCode,
    /// Not to be sent: the message will come again.
    pub(crate) abandoned: bool,
}

impl Unacked {
    /// A message has arrived; [`Self::add_taker`] says who takes it.
    pub(crate) fn push(
        &mut self,
        packet_id: PacketId,
        exactly_once: bool,
        print: Fingerprint,
    ) -> AckId {
        self.qos1_count += usize::from(!exactly_once);
        let number = self.first + self.entries.len() as u64;
        self.entries.push_back(Entry {
            packet_id,
            exactly_once,
            print,
            waiting: 0,
            abandoned: false,
            reason: ReasonCode::Success,
            name: None,
        });
        AckId(number)
    }

    /// One more has to take it.
    pub(crate) fn add_taker(&mut self, id: AckId) {
        if let Some(entry) = self.find(id) {
            entry.waiting += 1;
        }
    }

    /// One taker is done with it.
    pub(crate) fn settle(&mut self, id: AckId, reason: Option<ReasonCode>) {
        if let Some(entry) = self.find(id) {
            entry.waiting = entry.waiting.saturating_sub(1);
            if let Some(reason) = reason {
                entry.reason = reason;
            }
        }
    }

    /// One taker has lost it: it is to come again.
    pub(crate) fn abandon(&mut self, id: AckId) {
        if let Some(entry) = self.find(id) {
            entry.abandoned = true;
            entry.waiting = 0;
        }
    }

    /// The next acknowledgement that may leave.
    pub(crate) fn next_due(&mut self) -> Option<DueAck> {
        if self.entries.front()?.waiting > 0 {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.first += 1;
        self.qos1_count -= usize::from(!entry.exactly_once);
        if let Some(name) = entry.name {
            self.moved.remove(&name);
        }
        Some(DueAck {
            packet_id: entry.packet_id,
            exactly_once: entry.exactly_once,
            reason: entry.reason,
            abandoned: entry.abandoned,
        })
    }

    /// A message has come again, or another one under the same identifier: takes over the entry
    /// that we have not acknowledged before. False: there is none, so it is new to us.
    pub(crate) fn resume(
        &mut self,
        packet_id: PacketId,
        exactly_once: bool,
        print: Fingerprint,
    ) -> bool {
        let Some((old, mut entry)) = self.take_earlier(packet_id) else {
            return false;
        };
        let another = self.doubtful && entry.print != print;
        if entry.exactly_once != exactly_once || entry.abandoned || another {
            return false;
        }
        let number = self.first + self.entries.len() as u64;
        let name = *entry.name.get_or_insert(old);
        self.moved.insert(name, number);
        self.qos1_count += usize::from(!exactly_once);
        self.entries.push_back(entry);
        true
    }

    /// Another message has this identifier now: what we knew of an earlier one is void.
    pub(crate) fn forget(&mut self, packet_id: PacketId) {
        self.take_earlier(packet_id);
    }

    fn take_earlier(&mut self, packet_id: PacketId) -> Option<(u64, Entry)> {
        let of_id = |(_, entry): &(u64, Entry)| entry.packet_id == packet_id;
        let at = self.earlier.iter().position(of_id)?;
        let found = self.earlier.remove(at)?;
        if let Some(name) = found.1.name {
            self.moved.remove(&name);
        }
        Some(found)
    }

    /// Whether a message of this identifier waits on this connection.
    pub(crate) fn is_waiting(&self, packet_id: PacketId) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.packet_id == packet_id)
    }

    /// A connection begins; `resumed`: the server will send again what it has no acknowledgement of. `doubtful`: if the session is
    /// still the same.
    pub(crate) fn start_connection(&mut self, resumed: bool, doubtful: bool) {
        self.doubtful = resumed && (self.doubtful || doubtful);
        let numbers = self.first..;
        self.first += self.entries.len() as u64;
        let entries = std::mem::take(&mut self.entries);
        self.qos1_count = 0;
        if !resumed {
            self.earlier = VecDeque::new();
            self.moved.clear();
            return;
        }
        // What the server did not send again on the connection that has ended, which may have been
        // a short one, may still come: it stands in front.
        self.earlier.extend(numbers.zip(entries));
    }

    /// Whether what is known of identifiers may be of a session that is no more.
    pub(crate) const fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// How many there are on this connection.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are at QoS 1.
    pub(crate) const fn qos1_count(&self) -> usize {
        self.qos1_count
    }

    fn find(&mut self, id: AckId) -> Option<&mut Entry> {
        let number = self.moved.get(&id.0).copied().unwrap_or(id.0);
        if let Some(at) = number.checked_sub(self.first) {
            return self.entries.get_mut(usize::try_from(at).ok()?);
        }
        let at = self
            .earlier
            .binary_search_by_key(&number, |(number, _)| *number)
            .ok()?;
        self.earlier.get_mut(at).map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn push(unacked: &mut Unacked, packet_id: u16, exactly_once: bool, takers: u16) -> AckId {
        let ack = unacked.push(id(packet_id), exactly_once, Fingerprint::default());
        (0..takers).for_each(|_| unacked.add_taker(ack));
        ack
    }

    fn due(unacked: &mut Unacked) -> Vec<u16> {
        std::iter::from_fn(|| unacked.next_due())
            .filter(|due| !due.abandoned)
            .map(|due| due.packet_id.get())
            .collect()
    }

    //= mqtt5 4.6.0-2 test
    //= mqtt5 4.6.0-3 test
    //= mqtt311 4.6.0-2 test
    //= mqtt311 4.6.0-3 test
    #[test]
    fn acknowledgements_leave_in_the_order_of_arrival() {
        let mut unacked = Unacked::default();
        let a = push(&mut unacked, 7, false, 1);
        let b = push(&mut unacked, 3, true, 2);
        let c = push(&mut unacked, 5, false, 1);
        unacked.settle(c, None);
        unacked.settle(b, None);
        assert_eq!(due(&mut unacked), [0; 0]);
        unacked.settle(a, None);
        assert_eq!(due(&mut unacked), [7], "the second taker of b has it still");
        unacked.settle(b, None);
        assert_eq!(due(&mut unacked), [3, 5]);
    }

    #[test]
    fn an_abandoned_message_stops_nobody_and_comes_again() {
        let mut unacked = Unacked::default();
        let a = push(&mut unacked, 1, false, 1);
        let b = push(&mut unacked, 2, false, 1);
        unacked.abandon(a);
        unacked.settle(b, None);
        assert_eq!(due(&mut unacked), [2]);
        unacked.start_connection(true, false);
        assert!(
            !unacked.resume(id(1), false, Fingerprint::default()),
            "as new"
        );
    }

    #[test]
    fn a_message_that_comes_again_takes_its_entry_along() {
        let mut unacked = Unacked::default();
        let a = push(&mut unacked, 1, false, 1);
        let b = push(&mut unacked, 2, true, 1);
        unacked.settle(b, None);
        unacked.start_connection(true, false);
        assert_eq!(
            due(&mut unacked),
            [0; 0],
            "nothing arrived on this connection"
        );
        assert!(unacked.resume(id(1), false, Fingerprint::default()));
        assert!(unacked.resume(id(2), true, Fingerprint::default()));
        assert!(
            !unacked.resume(id(2), true, Fingerprint::default()),
            "only once"
        );
        // The token of the connection before still works, also over one more reconnect.
        unacked.start_connection(true, false);
        assert!(
            unacked.resume(id(1), false, Fingerprint::default())
                && unacked.resume(id(2), true, Fingerprint::default())
        );
        unacked.settle(a, None);
        assert_eq!(due(&mut unacked), [1, 2]);
        assert!(unacked.moved.is_empty() && unacked.earlier.is_empty());
    }

    #[test]
    fn a_token_of_a_lost_session_does_nothing() {
        let mut unacked = Unacked::default();
        let old = push(&mut unacked, 1, false, 1);
        unacked.start_connection(false, false);
        let new = push(&mut unacked, 1, false, 1);
        unacked.settle(old, None);
        assert_eq!(due(&mut unacked), [0; 0]);
        unacked.settle(new, None);
        assert_eq!(due(&mut unacked), [1]);
    }
}
