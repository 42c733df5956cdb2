//! Looking at a window from outside, and building it again: for a store, and for messages that are kept elsewhere.

use alloc::boxed::Box;
use alloc::vec::Vec;

use martlet_codec::PacketId;

use super::{Entry, Outbound, Stage, State};

impl<T> Outbound<T> {
    /// What is unfinished, in the order in which it was sent. The message is there until PUBACK or PUBREC.
    pub fn unfinished(&self) -> impl Iterator<Item = (PacketId, Stage, Option<&T>)> {
        let entries = self.window.iter().flat_map(|window| &window.entries);
        entries.filter_map(|entry| {
            let stage = entry.state.stage()?;
            Some((entry.id, stage, entry.message.as_ref()))
        })
    }

    /// The messages that are still held, to be changed, oldest first.
    pub fn messages_mut(&mut self) -> impl Iterator<Item = (PacketId, &mut T)> {
        let entries = self
            .window
            .iter_mut()
            .flat_map(|window| &mut window.entries);
        entries.filter_map(|entry| Some((entry.id, entry.message.as_mut()?)))
    }

    /// The message that [`Outbound::next_resend`] would give out, if it is one that gives out a message.
    #[must_use]
    pub fn peek_resend(&self) -> Option<&T> {
        let window = self
            .window
            .as_ref()
            .filter(|window| window.resend_count > 0)?;
        if window.in_flight >= self.receive_maximum {
            return None;
        }
        let mut entries = window.entries.iter();
        let next = entries.find(|entry| !entry.sent && entry.state != State::Done)?;
        match next.state {
            State::AwaitPubAck | State::AwaitPubRec => next.message.as_ref(),
            State::AwaitPubComp | State::Reserved | State::Done => None,
        }
    }

    /// The messages that wait to be sent again, in order.
    pub fn unsent(&self) -> impl Iterator<Item = &T> {
        let windows = self.window.iter().filter(|window| window.resend_count > 0);
        let entries = windows.flat_map(|window| &window.entries);
        let unsent = entries.filter(|entry| !entry.sent);
        unsent.filter_map(|entry| entry.message.as_ref())
    }

    /// Puts an unfinished message behind all others, as it was in an earlier life. One with its identifier is
    /// replaced. It is sent, again, on the next connection.
    pub fn restore(&mut self, id: PacketId, stage: Stage, message: Option<T>) {
        self.forget(id);
        self.last_id = id.get();
        let window = self.window.get_or_insert_with(Box::default);
        let before = window.entries.len();
        window.entries.retain(|entry| entry.id != id);
        window.has_gaps |= window.entries.len() != before;
        window.free_run = 0;
        window.push(Entry::new(id, State::of(stage), false, message));
        window.resend_count += 1;
    }

    /// PUBREC had come in an earlier life: PUBREL is sent on the next connection. Returns the message.
    pub fn restore_released(&mut self, id: PacketId) -> Option<T> {
        let found = self.window.as_mut().and_then(|window| window.find(id));
        if let Some((_, entry)) = found {
            entry.state = State::AwaitPubComp;
            return entry.message.take();
        }
        self.restore(id, Stage::AwaitPubComp, None);
        None
    }

    /// Ends the flows whose message should be there, and is not.
    pub fn forget_lost(&mut self) {
        let lost: Vec<PacketId> = self
            .unfinished()
            .filter(|(_, stage, message)| *stage != Stage::AwaitPubComp && message.is_none())
            .map(|(id, ..)| id)
            .collect();
        for id in lost {
            self.forget(id);
        }
    }

    /// Ends a flow, however far it has come; returns its message, if that was still held.
    pub fn forget(&mut self, id: PacketId) -> Option<T> {
        let window = self.window.as_mut()?;
        let (at, entry) = window.find(id)?;
        let message = entry.message.take();
        window.finish(at);
        message
    }
}

impl State {
    const fn of(stage: Stage) -> Self {
        match stage {
            Stage::AwaitPubAck => Self::AwaitPubAck,
            Stage::AwaitPubRec => Self::AwaitPubRec,
            Stage::AwaitPubComp => Self::AwaitPubComp,
        }
    }

    const fn stage(self) -> Option<Stage> {
        match self {
            Self::AwaitPubAck => Some(Stage::AwaitPubAck),
            Self::AwaitPubRec => Some(Stage::AwaitPubRec),
            Self::AwaitPubComp => Some(Stage::AwaitPubComp),
            Self::Reserved | Self::Done => None,
        }
    }
}
