//! What is sent and not finished: entries in the order in which they were sent, found by their identifiers.

use alloc::collections::VecDeque;

use martlet_codec::PacketId;

#[derive(Debug)]
pub(super) struct Window<T> {
    /// Finished ones may stand between open ones, never in front of all.
    pub(super) entries: VecDeque<Entry<T>>,
    /// Whether the identifiers are not consecutive, so that an entry's place does not follow from its identifier.
    pub(super) has_gaps: bool,
    /// Open entries: those that are not `Done`.
    pub(super) open_count: u32,
    /// Of these, the ones that only keep an identifier for a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) reserved_count: u32,
    /// How many of `entries` wait to be re-sent on this connection.
    pub(super) resend_count: u32,
    /// Sent on this connection and unfinished: what the peer's Receive Maximum limits.
    pub(super) in_flight: u16,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            has_gaps: false,
            open_count: 0,
            reserved_count: 0,
            resend_count: 0,
            in_flight: 0,
        }
    }
}

impl<T> Window<T> {
    pub(super) fn start_connection(&mut self) {
        self.in_flight = 0;
        // A SUBSCRIBE that the connection before has not answered is sent anew, with a new identifier.
        for entry in &mut self.entries {
            if entry.state == State::Reserved {
                entry.state = State::Done;
                self.open_count -= 1;
            }
        }
        self.reserved_count = 0;
        self.forget_done();
        for entry in &mut self.entries {
            entry.sent = false;
        }
        self.resend_count = self.open_count;
    }

    pub(super) fn push(&mut self, entry: Entry<T>) {
        if let Some(last) = self.entries.back() {
            self.has_gaps |= after(last.id.get()) != entry.id.get();
        } else {
            self.has_gaps = false;
            if self.entries.capacity() == 0 {
                // Of the many sessions that are away with something unfinished, most have one message.
                self.entries.reserve_exact(1);
            }
        }
        self.entries.push_back(entry);
        self.open_count += 1;
    }

    /// The next identifier behind `last` that is not in use: 1, 2, … 65,535, 1, …
    pub(super) fn free_id(&self, last: u16) -> Option<PacketId> {
        if !self.has_gaps && self.entries.len() < usize::from(u16::MAX) {
            // The entries are the last ones that were given out, and they are not all.
            debug_assert!(
                self.entries
                    .back()
                    .is_none_or(|entry| entry.id.get() == last)
            );
            return PacketId::new(after(last));
        }
        let mut id = last;
        // Bounded: `can_send` has seen that an identifier is free.
        for _ in 0..=u16::MAX {
            id = after(id);
            let free = PacketId::new(id)?;
            //= mqtt5 2.2.1-3
            //= mqtt311 2.3.1-2
            //= mqtt5 2.2.1-4
            //= mqtt311 2.3.1-4
            if self.place_of(free).is_none() {
                return Some(free);
            }
        }
        None
    }

    /// The place of an identifier, finished or not. Identifiers are handed out in sequence, so it follows from
    /// the first one's; only after a wrap around one in use, or a clean-up, is a search needed.
    pub(super) fn place_of(&self, id: PacketId) -> Option<usize> {
        let first = self.entries.front()?.id.get();
        let mut guess = usize::from(id.get().wrapping_sub(first));
        if id.get() < first {
            // There is no identifier 0 to be counted.
            guess = guess.saturating_sub(1);
        }
        match self.entries.get(guess) {
            Some(entry) if entry.id == id => Some(guess),
            _ if self.has_gaps => self.entries.iter().position(|entry| entry.id == id),
            _ => None,
        }
    }

    /// The open entry of an identifier, and its place.
    pub(super) fn find(&mut self, id: PacketId) -> Option<(usize, &mut Entry<T>)> {
        let at = self.place_of(id)?;
        let entry = self.entries.get_mut(at)?;
        (entry.state != State::Done).then_some((at, entry))
    }

    /// Finishes the entry in front if it is this one, sent on this connection: the way of a peer that acknowledges in order.
    #[expect(
        clippy::inline_always,
        reason = "called once for each acknowledged message, and left alone for a large message type"
    )]
    #[inline(always)]
    pub(super) fn finish_first(&mut self, id: PacketId, state: State) -> Option<Entry<T>> {
        let first = self.entries.front()?;
        if first.id != id || first.state != state || !first.sent {
            return None;
        }
        let first = self.entries.pop_front()?;
        self.open_count = self.open_count.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.forget_first_done();
        Some(first)
    }

    pub(super) fn finish(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let sent = entry.sent;
        let reserved = entry.state == State::Reserved;
        entry.state = State::Done;
        entry.message = None;
        self.open_count = self.open_count.saturating_sub(1);
        if reserved {
            self.reserved_count = self.reserved_count.saturating_sub(1);
        } else if sent {
            self.in_flight = self.in_flight.saturating_sub(1);
        } else {
            self.resend_count = self.resend_count.saturating_sub(1);
        }
        if at == 0 {
            self.entries.pop_front();
            self.forget_first_done();
        } else if self.entries.len() > 2 * self.open_count as usize + COMPACT_SLACK {
            // One message that the peer never acknowledges must not keep all later ones in the list.
            self.forget_done();
        }
    }

    /// What is finished may not stand in front.
    #[inline]
    fn forget_first_done(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.state == State::Done)
        {
            self.entries.pop_front();
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
    }

    pub(super) fn forget_done(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.state != State::Done);
        self.has_gaps |= self.entries.len() != before;
    }
}

/// The identifier behind this one.
pub(super) const fn after(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) id: PacketId,
    pub(super) state: State,
    /// On this connection.
    pub(super) sent: bool,
    /// Present until PUBACK or PUBREC.
    pub(super) message: Option<T>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    AwaitPubAck,
    AwaitPubRec,
    AwaitPubComp,
    /// No message: the identifier of a SUBSCRIBE or UNSUBSCRIBE.
    Reserved,
    Done,
}

/// How many finished entries may lie between open ones before they are cleaned away.
const COMPACT_SLACK: usize = 64;
/// Capacity that an empty window may keep: busy connections must not allocate per message.
const KEPT_CAPACITY: usize = 128;
