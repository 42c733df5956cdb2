//! QoS 1 and 2 messages on their way to the peer.
//!
//! ```text
//!  QoS 1:  send ─▶ AwaitPubAck ── PUBACK ──▶ done
//!  QoS 2:  send ─▶ AwaitPubRec ── PUBREC ──▶ AwaitPubComp ── PUBCOMP ──▶ done
//!                       └─────── PUBREC >= 0x80 ──▶ done
//! ```
//! A reconnect marks everything that is not done for re-sending; [`Outbound::next_resend`] then
//! gives it out in the original order, under its old identifiers, within the new Receive Maximum.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use martlet_codec::PacketId;

/// Messages sent at QoS 1 and 2 and not finished, in the order in which they were sent.
///
/// `T` is the caller's message; it is kept until PUBACK or PUBREC. At most
/// `min(receive maximum, 65,535)` are open at a time.
#[derive(Debug)]
pub struct Outbound<T> {
    entries: VecDeque<Entry<T>>,
    /// Open entries: those that are not `Done`.
    open_count: u32,
    /// How many of `entries` wait to be re-sent on this connection.
    resend_count: u32,
    /// Sent on this connection and unfinished: what the peer's Receive Maximum limits.
    in_flight: u16,
    receive_maximum: u16,
    last_id: u16,
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
            entries: VecDeque::new(),
            open_count: 0,
            resend_count: 0,
            in_flight: 0,
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
        self.in_flight = 0;
        self.entries.retain(|entry| entry.state != State::Done);
        for entry in &mut self.entries {
            entry.sent = false;
        }
        self.resend_count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
    }

    /// Whether the peer's Receive Maximum allows one more message, and nothing older waits to be re-sent.
    #[must_use]
    pub fn can_send(&self) -> bool {
        //= mqtt5 4.9.0-2
        //= mqtt5 3.3.4-9
        self.resend_count == 0
            && self.in_flight < self.receive_maximum
            && self.open_count < u32::from(u16::MAX)
    }

    /// Takes a packet identifier for a new message (`exactly_once`: QoS 2, else QoS 1).
    /// `None` if [`Outbound::can_send`] is false.
    pub fn send(&mut self, exactly_once: bool, message: T) -> Option<PacketId> {
        if !self.can_send() {
            return None;
        }
        let id = self.free_id()?;
        let state = if exactly_once {
            State::AwaitPubRec
        } else {
            State::AwaitPubAck
        };
        self.entries.push_back(Entry {
            id,
            state,
            sent: true,
            message: Some(message),
        });
        self.open_count += 1;
        self.in_flight += 1;
        Some(id)
    }

    /// PUBACK: the message that it finishes, `None` if no such identifier waits for one.
    pub fn on_puback(&mut self, id: PacketId) -> Option<T> {
        let entry = self.find(id)?;
        if entry.state != State::AwaitPubAck {
            return None;
        }
        let message = entry.message.take();
        self.finish(id);
        message
    }

    /// PUBREC; `refused`: its reason is 0x80 or more.
    pub fn on_pubrec(&mut self, id: PacketId, refused: bool) -> PubRec<T> {
        let Some(entry) = self.find(id) else {
            return PubRec::Unknown;
        };
        match entry.state {
            State::AwaitPubRec => {
                let message = entry.message.take();
                if refused {
                    //= mqtt5 4.4.0-2
                    self.finish(id);
                    return message.map_or(PubRec::Unknown, PubRec::Refused);
                }
                entry.state = State::AwaitPubComp;
                // The PUBREC may belong to a PUBLISH of the connection before: the PUBREL that
                // answers it now is the re-send.
                if !entry.sent {
                    entry.sent = true;
                    self.resend_count = self.resend_count.saturating_sub(1);
                    self.in_flight = self.in_flight.saturating_add(1);
                }
                PubRec::Release(message)
            }
            State::AwaitPubComp => PubRec::Release(None),
            State::AwaitPubAck | State::Done => PubRec::Unknown,
        }
    }

    /// PUBCOMP: whether the identifier was waiting for it.
    pub fn on_pubcomp(&mut self, id: PacketId) -> bool {
        let known = self
            .find(id)
            .is_some_and(|entry| entry.state == State::AwaitPubComp);
        if known {
            self.finish(id);
        }
        known
    }

    /// The next thing to send again, in the original order; `None` when nothing waits or the
    /// Receive Maximum is used up. What it returns counts as sent.
    pub fn next_resend(&mut self) -> Option<Resend<'_, T>> {
        if self.resend_count == 0 {
            return None;
        }
        let full = self.in_flight >= self.receive_maximum;
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| !entry.sent && entry.state != State::Done)?;
        //= mqtt5 4.4.0-1
        //= mqtt311 4.4.0-1
        let stage = match entry.state {
            State::AwaitPubAck => Stage::AwaitPubAck,
            State::AwaitPubRec => Stage::AwaitPubRec,
            State::AwaitPubComp | State::Done => Stage::AwaitPubComp,
        };
        // PUBREL is never held back by the window.
        if full && stage != Stage::AwaitPubComp {
            return None;
        }
        entry.sent = true;
        self.resend_count -= 1;
        self.in_flight = self.in_flight.saturating_add(1);
        match (&entry.message, stage) {
            (Some(message), Stage::AwaitPubAck | Stage::AwaitPubRec) => {
                Some(Resend::Publish(entry.id, stage, message))
            }
            _ => Some(Resend::PubRel(entry.id)),
        }
    }

    /// Whether something waits to be sent again.
    #[must_use]
    pub const fn has_resends(&self) -> bool {
        self.resend_count > 0
    }

    /// Takes out every QoS 1 message without PUBACK for which `wanted` holds; their identifiers
    /// become free. Used for shared subscriptions, whose unacknowledged messages go to another member.
    pub fn extract_unacknowledged(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        let mut freed = Vec::new();
        for entry in &mut self.entries {
            if entry.state == State::AwaitPubAck && entry.message.as_ref().is_some_and(&mut wanted)
            {
                taken.extend(entry.message.take());
                freed.push(entry.id);
            }
        }
        for id in freed {
            self.finish(id);
        }
        taken
    }

    /// Unfinished messages, PUBRELs included.
    #[must_use]
    pub const fn open_count(&self) -> usize {
        self.open_count as usize
    }

    /// The messages that are still held (PUBLISH not acknowledged), oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &T> {
        self.entries
            .iter()
            .filter_map(|entry| entry.message.as_ref())
    }

    /// The next identifier that is not in use: 1, 2, … 65,535, 1, …
    fn free_id(&mut self) -> Option<PacketId> {
        // Bounded: `can_send` has seen that an identifier is free.
        for _ in 0..=u16::MAX {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_id)?;
            //= mqtt5 2.2.1-4
            //= mqtt311 2.3.1-4
            if self.find(id).is_none() {
                return Some(id);
            }
        }
        None
    }

    /// The open entry of an identifier. Identifiers are handed out in sequence, so its place
    /// follows from the first one's; only after a wrap or a clean-up is a search needed.
    fn find(&mut self, id: PacketId) -> Option<&mut Entry<T>> {
        let first = self.entries.front()?.id;
        let guess = usize::from(id.get().wrapping_sub(first.get()));
        let hit = self.entries.get(guess).is_some_and(|entry| entry.id == id);
        if !hit && self.in_sequence() {
            return None;
        }
        let at = if hit {
            guess
        } else {
            self.entries.iter().position(|entry| entry.id == id)?
        };
        self.entries
            .get_mut(at)
            .filter(|entry| entry.state != State::Done)
    }

    /// Whether the entries' identifiers are consecutive, so that a missed guess means "not there".
    fn in_sequence(&self) -> bool {
        match (self.entries.front(), self.entries.back()) {
            (Some(first), Some(last)) => {
                let span = usize::from(last.id.get().wrapping_sub(first.id.get())) + 1;
                span == self.entries.len() && last.id >= first.id
            }
            _ => true,
        }
    }

    fn finish(&mut self, id: PacketId) {
        let Some(entry) = self.find(id) else { return };
        let sent = entry.sent;
        entry.state = State::Done;
        entry.message = None;
        self.open_count = self.open_count.saturating_sub(1);
        if sent {
            self.in_flight = self.in_flight.saturating_sub(1);
        } else {
            self.resend_count = self.resend_count.saturating_sub(1);
        }
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.state == State::Done)
        {
            self.entries.pop_front();
        }
        // One message that the peer never acknowledges must not keep all later ones in the list.
        if self.entries.len() > 2 * self.open_count as usize + COMPACT_SLACK {
            self.entries.retain(|entry| entry.state != State::Done);
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
    }
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
    Done,
}

/// How many finished entries may lie between open ones before they are cleaned away.
const COMPACT_SLACK: usize = 64;
/// Capacity that an empty window may keep: busy connections must not allocate per message.
const KEPT_CAPACITY: usize = 128;

#[cfg(test)]
mod tests;
