//! QoS 1 and 2 messages on their way to the peer.
//!
//! ```text
//!  QoS 1:  send ─▶ AwaitPubAck ── PUBACK ──▶ done
//!  QoS 2:  send ─▶ AwaitPubRec ── PUBREC ──▶ AwaitPubComp ── PUBCOMP ──▶ done
//!                       └─────── PUBREC >= 0x80 ──▶ done
//! ```
//! A reconnect marks everything that is not done for re-sending; [`Outbound::next_resend`] then
//! gives it out in the original order, under its old identifiers, within the new Receive Maximum.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use martlet_codec::PacketId;

/// Messages sent at QoS 1 and 2 and not finished, in the order in which they were sent.
///
/// `T` is the caller's message; it is kept until PUBACK or PUBREC. At most
/// `min(receive maximum, 65,535)` are open at a time. Two words until something is sent: most sessions never get
/// a message that has to be acknowledged.
#[derive(Debug)]
pub struct Outbound<T> {
    window: Option<Box<Window<T>>>,
    receive_maximum: u16,
    last_id: u16,
}

#[derive(Debug)]
struct Window<T> {
    /// Finished ones may stand between open ones, never in front of all.
    entries: VecDeque<Entry<T>>,
    /// Whether the identifiers are not consecutive, so that an entry's place does not follow from its identifier.
    has_gaps: bool,
    /// Open entries: those that are not `Done`.
    open_count: u32,
    /// Of these, the ones that only keep an identifier for a SUBSCRIBE or UNSUBSCRIBE.
    reserved_count: u32,
    /// How many of `entries` wait to be re-sent on this connection.
    resend_count: u32,
    /// Sent on this connection and unfinished: what the peer's Receive Maximum limits.
    in_flight: u16,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// QoS 1, PUBLISH sent.
    AwaitPubAck,
    /// QoS 2, PUBLISH sent.
    AwaitPubRec,
    /// QoS 2, PUBREL sent; the message itself is forgotten.
    AwaitPubComp,
}

/// What a PUBREC means.
#[derive(Debug, PartialEq, Eq)]
pub enum PubRec<T> {
    /// Send PUBREL. The message, unless this PUBREC is a repetition.
    Release(Option<T>),
    /// The peer refused the message: the flow has ended, no PUBREL.
    Refused(T),
    /// No such packet identifier is waiting for PUBREC.
    Unknown,
}

/// What to send again after a reconnect.
#[derive(Debug, PartialEq, Eq)]
pub enum Resend<'a, T> {
    /// PUBLISH with DUP 1 and the original identifier.
    Publish(PacketId, Stage, &'a T),
    /// PUBREL with the original identifier.
    PubRel(PacketId),
}

impl<T> Default for Outbound<T> {
    fn default() -> Self {
        Self {
            window: None,
            receive_maximum: u16::MAX,
            last_id: 0,
        }
    }
}

impl<T> Outbound<T> {
    /// A new connection begins: the peer takes `receive_maximum` (1 to 65,535) unfinished messages,
    /// and whatever is unfinished is to be sent again.
    pub fn start_connection(&mut self, receive_maximum: u16) {
        //= mqtt5 4.9.0-1
        self.receive_maximum = receive_maximum.max(1);
        if let Some(window) = &mut self.window {
            window.start_connection();
        }
        self.release_memory();
    }

    /// Gives the memory back if nothing is unfinished. For a session that loses its connection: while messages
    /// come and go the memory is used again.
    pub fn release_memory(&mut self) {
        self.window = self.window.take().filter(|window| window.open_count > 0);
    }

    /// Whether the peer's Receive Maximum allows one more message, and nothing older waits to be re-sent.
    #[must_use]
    pub fn can_send(&self) -> bool {
        //= mqtt5 4.9.0-2
        //= mqtt5 3.3.4-9
        self.window.as_ref().is_none_or(|window| {
            window.resend_count == 0
                && window.in_flight < self.receive_maximum
                && window.open_count < u32::from(u16::MAX)
        })
    }

    /// Takes a packet identifier for a new message (`exactly_once`: QoS 2, else QoS 1).
    /// `None` if [`Outbound::can_send`] is false.
    pub fn send(&mut self, exactly_once: bool, message: T) -> Option<PacketId> {
        if !self.can_send() {
            return None;
        }
        let window = self.window.get_or_insert_with(Box::default);
        let id = window.free_id(self.last_id)?;
        self.last_id = id.get();
        let state = if exactly_once {
            State::AwaitPubRec
        } else {
            State::AwaitPubAck
        };
        window.push(Entry {
            id,
            state,
            sent: true,
            message: Some(message),
        });
        window.in_flight += 1;
        Some(id)
    }

    /// The identifier that the next [`Outbound::send`] will take; `None` if it would refuse.
    #[must_use]
    pub fn next_id(&self) -> Option<PacketId> {
        if !self.can_send() {
            return None;
        }
        match &self.window {
            Some(window) => window.free_id(self.last_id),
            None => PacketId::new(after(self.last_id)),
        }
    }

    /// Takes a packet identifier for a SUBSCRIBE or UNSUBSCRIBE: it is free again after
    /// [`Outbound::release`], or when the next connection starts. The peer's Receive Maximum does
    /// not count these. `None` if all identifiers are in use.
    pub fn reserve(&mut self) -> Option<PacketId> {
        let window = self.window.get_or_insert_with(Box::default);
        if window.open_count >= u32::from(u16::MAX) {
            return None;
        }
        let id = window.free_id(self.last_id)?;
        self.last_id = id.get();
        window.push(Entry {
            id,
            state: State::Reserved,
            sent: true,
            message: None,
        });
        window.reserved_count += 1;
        Some(id)
    }

    /// The SUBSCRIBE or UNSUBSCRIBE with this identifier has its answer: whether there was one.
    pub fn release(&mut self, id: PacketId) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        match window.find(id) {
            Some((at, entry)) if entry.state == State::Reserved => {
                window.finish(at);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The session is lost: takes out what was unfinished, in the order in which it was sent. The
    /// message is `None` where PUBREL was on its way.
    pub fn take_all(&mut self) -> Vec<(Stage, Option<T>)> {
        let stage = |state| match state {
            State::AwaitPubAck => Some(Stage::AwaitPubAck),
            State::AwaitPubRec => Some(Stage::AwaitPubRec),
            State::AwaitPubComp => Some(Stage::AwaitPubComp),
            State::Reserved | State::Done => None,
        };
        let windows = self.window.take().into_iter();
        windows
            .flat_map(|window| window.entries)
            .filter_map(|entry| Some((stage(entry.state)?, entry.message)))
            .collect()
    }

    /// PUBACK: the message that it finishes, `None` if no such identifier waits for one.
    pub fn on_puback(&mut self, id: PacketId) -> Option<T> {
        let window = self.window.as_mut()?;
        let (at, entry) = window.find(id)?;
        if entry.state != State::AwaitPubAck {
            return None;
        }
        let message = entry.message.take();
        window.finish(at);
        message
    }

    /// PUBREC; `refused`: its reason is 0x80 or more.
    pub fn on_pubrec(&mut self, id: PacketId, refused: bool) -> PubRec<T> {
        let Some(window) = &mut self.window else {
            return PubRec::Unknown;
        };
        let Some((at, entry)) = window.find(id) else {
            return PubRec::Unknown;
        };
        match entry.state {
            State::AwaitPubRec => {
                let message = entry.message.take();
                if refused {
                    //= mqtt5 4.4.0-2
                    window.finish(at);
                    return message.map_or(PubRec::Unknown, PubRec::Refused);
                }
                entry.state = State::AwaitPubComp;
                // The PUBREC may belong to a PUBLISH of the connection before: the PUBREL that
                // answers it now is the re-send.
                if !entry.sent {
                    entry.sent = true;
                    window.resend_count = window.resend_count.saturating_sub(1);
                    window.in_flight = window.in_flight.saturating_add(1);
                }
                PubRec::Release(message)
            }
            State::AwaitPubComp => PubRec::Release(None),
            State::AwaitPubAck | State::Reserved | State::Done => PubRec::Unknown,
        }
    }

    /// PUBCOMP: whether the identifier was waiting for it.
    pub fn on_pubcomp(&mut self, id: PacketId) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        match window.find(id) {
            Some((at, entry)) if entry.state == State::AwaitPubComp => {
                window.finish(at);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The next thing to send again, in the original order; `None` when nothing waits or the
    /// Receive Maximum is used up. What it returns counts as sent.
    pub fn next_resend(&mut self) -> Option<Resend<'_, T>> {
        let window = self.window.as_mut()?;
        if window.resend_count == 0 {
            return None;
        }
        let full = window.in_flight >= self.receive_maximum;
        let entry = window
            .entries
            .iter_mut()
            .find(|entry| !entry.sent && entry.state != State::Done)?;
        //= mqtt5 4.4.0-1
        //= mqtt311 4.4.0-1
        let stage = match entry.state {
            State::AwaitPubAck => Stage::AwaitPubAck,
            State::AwaitPubRec => Stage::AwaitPubRec,
            State::AwaitPubComp | State::Reserved | State::Done => Stage::AwaitPubComp,
        };
        // PUBREL is never held back by the window.
        if full && stage != Stage::AwaitPubComp {
            return None;
        }
        entry.sent = true;
        window.resend_count -= 1;
        window.in_flight = window.in_flight.saturating_add(1);
        match (&entry.message, stage) {
            (Some(message), Stage::AwaitPubAck | Stage::AwaitPubRec) => {
                Some(Resend::Publish(entry.id, stage, message))
            }
            _ => Some(Resend::PubRel(entry.id)),
        }
    }

    /// Whether something waits to be sent again.
    #[must_use]
    pub fn has_resends(&self) -> bool {
        self.window
            .as_ref()
            .is_some_and(|window| window.resend_count > 0)
    }

    /// Takes out every QoS 1 message without PUBACK for which `wanted` holds; their identifiers
    /// become free. Used for shared subscriptions, whose unacknowledged messages go to another member.
    pub fn extract_unacknowledged(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        let Some(window) = &mut self.window else {
            return taken;
        };
        let mut freed = Vec::new();
        for entry in &mut window.entries {
            if entry.state == State::AwaitPubAck && entry.message.as_ref().is_some_and(&mut wanted)
            {
                taken.extend(entry.message.take());
                freed.push(entry.id);
            }
        }
        for id in freed {
            if let Some((at, _)) = window.find(id) {
                window.finish(at);
            }
        }
        taken
    }

    /// Unfinished messages, PUBRELs included.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.window.as_ref().map_or(0, |window| {
            (window.open_count - window.reserved_count) as usize
        })
    }

    /// The messages that are still held (PUBLISH not acknowledged), oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &T> {
        self.window
            .iter()
            .flat_map(|window| &window.entries)
            .filter_map(|entry| entry.message.as_ref())
    }
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
    fn start_connection(&mut self) {
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

    fn push(&mut self, entry: Entry<T>) {
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
    fn free_id(&self, last: u16) -> Option<PacketId> {
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
    fn place_of(&self, id: PacketId) -> Option<usize> {
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
    fn find(&mut self, id: PacketId) -> Option<(usize, &mut Entry<T>)> {
        let at = self.place_of(id)?;
        let entry = self.entries.get_mut(at)?;
        (entry.state != State::Done).then_some((at, entry))
    }

    fn finish(&mut self, at: usize) {
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
        } else if self.entries.len() > 2 * self.open_count as usize + COMPACT_SLACK {
            // One message that the peer never acknowledges must not keep all later ones in the list.
            self.forget_done();
        }
    }

    fn forget_done(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.state != State::Done);
        self.has_gaps |= self.entries.len() != before;
    }
}

/// The identifier behind this one.
fn after(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}

#[derive(Debug)]
struct Entry<T> {
    id: PacketId,
    state: State,
    /// On this connection.
    sent: bool,
    /// Present until PUBACK or PUBREC.
    message: Option<T>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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

mod stored;
#[cfg(test)]
mod tests;
