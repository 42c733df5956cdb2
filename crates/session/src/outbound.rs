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
use alloc::vec::Vec;
use martlet_codec::PacketId;

pub use together::Acknowledged;
use window::{Entry, State, Window, after};

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

    /// How many more messages it allows, as [`Outbound::can_send`].
    #[must_use]
    pub fn room(&self) -> usize {
        let Some(window) = &self.window else {
            return usize::from(self.receive_maximum);
        };
        if window.resend_count > 0 {
            return 0;
        }
        let identifiers = u32::from(u16::MAX).saturating_sub(window.open_count);
        let room = self.receive_maximum.saturating_sub(window.in_flight);
        usize::from(room).min(identifiers as usize)
    }

    /// Takes a packet identifier for a new message (`exactly_once`: QoS 2, else QoS 1).
    /// `None` if [`Outbound::can_send`] is false.
    //= mqtt5 4.3.2-3
    //= mqtt5 4.3.3-3
    //= mqtt311 4.3.2-1
    //= mqtt311 4.3.3-1
    pub fn send(&mut self, exactly_once: bool, message: T) -> Option<PacketId> {
        if !self.can_send() {
            return None;
        }
        let window = self.window.get_or_insert_with(Box::default);
        let id = window.take_id(self.last_id)?;
        self.last_id = id.get();
        let state = if exactly_once {
            State::AwaitPubRec
        } else {
            State::AwaitPubAck
        };
        window.push(Entry::new(id, state, true, Some(message)));
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
        let id = window.take_id(self.last_id)?;
        self.last_id = id.get();
        window.push(Entry::new(id, State::Reserved, true, None));
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

    /// PUBACK: the message that it finishes, `None` if no such identifier waits for one. For who sends each message on its own;
    /// else see [`Outbound::acknowledge`].
    #[inline]
    pub fn on_puback(&mut self, id: PacketId) -> Option<T> {
        match self.acknowledge(id)? {
            Acknowledged::Last(message) => Some(message),
            Acknowledged::OneOf(_) => None,
        }
    }

    /// PUBREC; `refused`: its reason is 0x80 or more.
    //= mqtt5 4.3.3-5
    //= mqtt5 4.3.3-6
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
    #[inline]
    pub fn on_pubcomp(&mut self, id: PacketId) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        if window.finish_first(id, State::AwaitPubComp).is_some() {
            return true;
        }
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

    /// A message that [`Outbound::next_resend`] gave out cannot be sent again: the message, and whether it was at QoS 2. Such a one
    /// counts as released, and PUBREL is to be sent: the peer may hold its identifier.
    pub fn give_up(&mut self, id: PacketId) -> Option<(T, bool)> {
        let window = self.window.as_mut()?;
        let (at, entry) = window.find(id)?;
        let message = entry.message.take()?;
        let exactly_once = entry.state == State::AwaitPubRec;
        if exactly_once {
            entry.state = State::AwaitPubComp;
        } else {
            window.finish(at);
        }
        Some((message, exactly_once))
    }

    /// The identifier that was handed out last; 0: none was.
    #[must_use]
    pub const fn last_id(&self) -> u16 {
        self.last_id
    }

    /// Hands out those identifiers next that come behind this one and are free.
    pub fn continue_behind(&mut self, last_id: u16) {
        self.last_id = last_id;
        if let Some(window) = &mut self.window {
            // What is in use may stand anywhere in front of it or behind it.
            window.has_gaps |= !window.entries.is_empty();
            window.free_run = 0;
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
        debug_assert!(!window.has_runs, "each is looked at on its own");
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

mod stored;
mod together;
mod window;

#[cfg(test)]
mod tests;
