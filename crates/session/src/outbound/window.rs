//! What is sent and not finished: entries in the order in which they were sent, found by their identifiers.

use alloc::collections::VecDeque;

use martlet_codec::PacketId;

#[derive(Debug)]
pub(super) struct Window<T> {
    /// Finished ones may stand between open ones, never in front of all.
    pub(super) entries: VecDeque<Entry<T>>,
    /// Whether the identifiers are not consecutive, so that an entry's place does not follow from its identifier.
    pub(super) has_gaps: bool,
    /// Whether an entry may stand for several messages.
    pub(super) has_runs: bool,
    /// The last identifier of the newest entry.
    newest: u16,
    /// If there are gaps: so many identifiers behind the last one are known to be free.
    pub(super) free_run: u16,
    /// How often they were looked for.
    #[cfg(test)]
    pub(super) searches: u32,
    /// Messages that are not finished, and identifiers that are reserved.
    pub(super) open_count: u32,
    /// Of these, the ones that only keep an identifier for a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) reserved_count: u32,
    /// How many messages wait to be re-sent on this connection.
    pub(super) resend_count: u32,
    /// Sent on this connection and unfinished: what the peer's Receive Maximum limits.
    pub(super) in_flight: u16,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            has_gaps: false,
            has_runs: false,
            newest: 0,
            free_run: 0,
            #[cfg(test)]
            searches: 0,
            open_count: 0,
            reserved_count: 0,
            resend_count: 0,
            in_flight: 0,
        }
    }
}

impl<T> Window<T> {
    pub(super) fn start_connection(&mut self) {
        debug_assert!(!self.has_runs, "each is sent again on its own");
        self.in_flight = 0;
        // A SUBSCRIBE that the connection before has not answered is sent anew, with a new identifier.
        for entry in &mut self.entries {
            if entry.state == State::Reserved {
                entry.end();
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

    #[inline]
    pub(super) fn push(&mut self, entry: Entry<T>) {
        self.push_of(entry, 1);
    }

    /// An entry of so many messages.
    #[expect(
        clippy::inline_always,
        reason = "an entry is large, and would be written once more to be handed over"
    )]
    #[inline(always)]
    pub(super) fn push_of(&mut self, entry: Entry<T>, count: u16) {
        if self.entries.is_empty() {
            (self.has_gaps, self.has_runs, self.free_run) = (false, false, 0);
            if self.entries.capacity() == 0 {
                // Of the many sessions that are away with something unfinished, most have one message.
                self.entries.reserve_exact(1);
            }
        } else {
            self.has_gaps |= after(self.newest) != entry.id.get();
        }
        self.has_runs |= count > 1;
        self.free_run = self.free_run.saturating_sub(count);
        // Runs do not wrap around.
        self.newest = entry.id.get() + (count - 1);
        self.open_count += u32::from(count);
        self.entries.push_back(entry);
    }

    /// How many identifiers behind the newest one are known to be free.
    pub(super) fn free_behind(&self, last: u16) -> usize {
        if self.has_gaps {
            return usize::from(self.free_run);
        }
        // The entries have the last ones that were given out.
        let used = match self.entries.front() {
            Some(first) => 1 + steps(first.id.get(), last),
            None => 0,
        };
        usize::from(u16::MAX) - used
    }

    /// The next identifier behind `last` that is not in use: 1, 2, … 65,535, 1, …
    pub(super) fn free_id(&self, last: u16) -> Option<PacketId> {
        if self.free_behind(last) > 0 {
            debug_assert!(self.entries.is_empty() || self.newest == last);
            return PacketId::new(after(last));
        }
        self.search(last).map(|(id, _)| id)
    }

    /// As [`Window::free_id`], for who takes it: those that are free behind it need not be looked for again.
    #[inline]
    pub(super) fn take_id(&mut self, last: u16) -> Option<PacketId> {
        if self.free_behind(last) > 0 {
            return PacketId::new(after(last));
        }
        let (id, free) = self.search(last)?;
        #[cfg(test)]
        {
            self.searches += 1;
        }
        (self.has_gaps, self.free_run) = (true, free);
        Some(id)
    }

    /// The next identifier behind `last` that is not in use, and how many are free from there on. Each entry and each identifier is looked
    /// at once at most.
    #[inline(never)]
    fn search(&self, last: u16) -> Option<(PacketId, u16)> {
        //= mqtt5 2.2.1-3
        //= mqtt311 2.3.1-2
        //= mqtt5 2.2.1-4
        //= mqtt311 2.3.1-4
        let mut used = [0_u64; 1 << 10];
        for entry in &self.entries {
            let mut open = entry.open;
            while open != 0 {
                // Runs do not wrap around, and have 32 messages at most.
                let id = usize::from(entry.id.get()) + open.trailing_zeros() as usize;
                if let Some(word) = used.get_mut(id / 64) {
                    *word |= 1 << (id % 64);
                }
                open &= open - 1;
            }
        }
        let is_free = |id: u16| {
            let word = used.get(usize::from(id) / 64);
            word.is_some_and(|word| word & 1 << (id % 64) == 0)
        };
        let mut id = after(last);
        // Bounded: `can_send` has seen that an identifier is free.
        for _ in 0..u16::MAX {
            if is_free(id) {
                let free = (id..=u16::MAX)
                    .take(FREE_RUN_MAX)
                    .take_while(|id| is_free(*id));
                let free = u16::try_from(free.count()).unwrap_or(u16::MAX);
                return Some((PacketId::new(id)?, free));
            }
            id = after(id);
        }
        None
    }

    /// The place of an identifier that is not finished. Identifiers are handed out in sequence, so it follows from
    /// the first one's; only after a wrap around one in use, or a clean-up, is a search needed.
    pub(super) fn place_of(&self, id: PacketId) -> Option<usize> {
        let first = self.entries.front()?.id.get();
        let mut guess = steps(first, id.get());
        if self.has_runs {
            let is_before = |entry: &Entry<T>| steps(first, entry.id.get()) <= guess;
            guess = self.entries.partition_point(is_before).checked_sub(1)?;
        }
        match self.entries.get(guess) {
            Some(entry) if entry.bit_of(id).is_some() => Some(guess),
            _ if self.has_gaps => self
                .entries
                .iter()
                .position(|entry| entry.bit_of(id).is_some()),
            _ => None,
        }
    }

    /// The open entry of an identifier, and its place.
    pub(super) fn find(&mut self, id: PacketId) -> Option<(usize, &mut Entry<T>)> {
        let at = self.place_of(id)?;
        Some((at, self.entries.get_mut(at)?))
    }

    /// Finishes the entry in front if it is this one, sent on this connection: the way of a peer that acknowledges in order.
    #[expect(
        clippy::inline_always,
        reason = "called once for each acknowledged message, and left alone for a large message type"
    )]
    #[inline(always)]
    pub(super) fn finish_first(&mut self, id: PacketId, state: State) -> Option<Entry<T>> {
        let first = self.entries.front()?;
        if first.id != id || first.open != 1 || first.state != state || !first.sent {
            return None;
        }
        let first = self.entries.pop_front()?;
        self.open_count = self.open_count.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.forget_first_done();
        Some(first)
    }

    /// One of several messages that the entry stands for has ended.
    pub(super) fn finish_one_of(&mut self, at: usize, id: PacketId) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.open &= !entry.bit_of(id).unwrap_or_default();
        debug_assert!(entry.open != 0 && entry.sent, "the last one ends the entry");
        self.open_count = self.open_count.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Whether the identifiers are those that were handed out last, without one missing.
    pub(super) fn is_in_sequence(&self) -> bool {
        let ids = || self.entries.iter().map(|entry| entry.id.get());
        ids().last() == Some(self.newest)
            && ids().zip(ids().skip(1)).all(|(id, next)| after(id) == next)
    }

    /// Ends an entry that stands for one message, or for one that is left.
    pub(super) fn finish(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let sent = entry.sent;
        let reserved = entry.state == State::Reserved;
        entry.end();
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
    #[expect(
        clippy::inline_always,
        reason = "called once for each acknowledged message, and mostly nothing is to be done"
    )]
    #[inline(always)]
    fn forget_first_done(&mut self) {
        let is_fine = match self.entries.front() {
            Some(entry) => entry.state != State::Done,
            None => self.entries.capacity() <= KEPT_CAPACITY,
        };
        if !is_fine {
            self.forget_done_in_front();
        }
    }

    #[inline(never)]
    fn forget_done_in_front(&mut self) {
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

/// How many steps lead from one identifier to the other.
const fn steps(from: u16, to: u16) -> usize {
    // There is no identifier 0 to be counted.
    let steps = to.wrapping_sub(from);
    (if to < from { steps - 1 } else { steps }) as usize
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    /// Of the first message.
    pub(super) id: PacketId,
    /// Which of the messages are not finished: the lowest bit stands for the first one, and so on. QoS 1 messages
    /// alone are sent together.
    pub(super) open: u32,
    pub(super) state: State,
    /// On this connection.
    pub(super) sent: bool,
    /// Present until PUBACK or PUBREC.
    pub(super) message: Option<T>,
}

impl<T> Entry<T> {
    /// Of one message.
    pub(super) const fn new(id: PacketId, state: State, sent: bool, message: Option<T>) -> Self {
        Self {
            id,
            open: 1,
            state,
            sent,
            message,
        }
    }

    /// The bit of an identifier whose message is not finished.
    #[inline]
    pub(super) fn bit_of(&self, id: PacketId) -> Option<u32> {
        let nth = id.get().wrapping_sub(self.id.get());
        let bit = 1_u32.checked_shl(u32::from(nth))?;
        (self.open & bit != 0).then_some(bit)
    }

    /// Whether one message is left.
    pub(super) const fn is_last(&self) -> bool {
        self.open & self.open.wrapping_sub(1) == 0
    }

    fn end(&mut self) {
        self.state = State::Done;
        self.open = 0;
        self.message = None;
    }
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

/// How many free identifiers are looked for at a time.
const FREE_RUN_MAX: usize = 1_024;
/// How many finished entries may lie between open ones before they are cleaned away.
const COMPACT_SLACK: usize = 64;
/// Capacity that an empty window may keep: busy connections must not allocate per message.
const KEPT_CAPACITY: usize = 128;
