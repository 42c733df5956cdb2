//! QoS 1 messages that were sent together: one entry of the window for all of them.
//!
//! ```text
//! entry   id 7, open 0b1111, message      PUBLISH 7, 8, 9 and 10 were sent, and are one `T`
//!         id 7, open 0b1011, message      PUBACK 9 has come
//! ```
//! The caller's message stands for all of them until the last one is acknowledged. Whoever looks at single messages, a re-send above
//! all, has them taken apart first: [`Outbound::take_apart`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use martlet_codec::PacketId;

use super::window::{Entry, State, after};
use super::{Outbound, Window};

/// What a PUBACK has finished.
#[derive(Debug, PartialEq, Eq)]
pub enum Acknowledged<'a, T> {
    /// The message, or the last one of those that were sent together.
    Last(T),
    /// One of several, of which others are still unfinished.
    OneOf(&'a T),
}

impl<T> Outbound<T> {
    /// The most messages that can be sent together.
    pub const TOGETHER_MAX: usize = u32::BITS as usize;

    /// The identifier of the first one, if so many messages can be sent together now: there is room for all of them, and their
    /// identifiers follow one upon the other.
    #[must_use]
    pub fn next_together(&self, count: usize) -> Option<PacketId> {
        if count == 0 || count > Self::TOGETHER_MAX || count > self.room() {
            return None;
        }
        let first = after(self.last_id);
        let has_ids = |window: &Window<T>| window.free_behind(self.last_id) >= count;
        if !self.window.as_deref().is_none_or(has_ids) || usize::from(u16::MAX - first) + 1 < count
        {
            return None;
        }
        PacketId::new(first)
    }

    /// Takes packet identifiers for so many QoS 1 messages, which `message` stands for; returns the first one. `None` if
    /// [`Outbound::next_together`] has none.
    pub fn send_together(&mut self, count: usize, message: T) -> Option<PacketId> {
        //= mqtt5 4.3.2-3
        //= mqtt311 4.3.2-1
        let id = self.next_together(count)?;
        let count = u16::try_from(count).ok()?;
        let window = self.window.get_or_insert_with(Box::default);
        let run = Entry {
            open: u32::MAX >> (u32::BITS - u32::from(count)),
            ..Entry::new(id, State::AwaitPubAck, true, Some(message))
        };
        window.push_of(run, count);
        window.in_flight += count;
        self.last_id = id.get() + (count - 1);
        Some(id)
    }

    /// PUBACK: what it finishes, `None` if no such identifier waits for one.
    #[inline]
    pub fn acknowledge(&mut self, id: PacketId) -> Option<Acknowledged<'_, T>> {
        let window = self.window.as_mut()?;
        if let Some(finished) = window.finish_first(id, State::AwaitPubAck) {
            return finished.message.map(Acknowledged::Last);
        }
        self.acknowledge_any(id)
    }

    /// One of several, or out of order.
    fn acknowledge_any(&mut self, id: PacketId) -> Option<Acknowledged<'_, T>> {
        let window = self.window.as_mut()?;
        let at = match window.entries.front()?.bit_of(id) {
            Some(_) => 0,
            None => window.place_of(id)?,
        };
        let entry = window.entries.get_mut(at)?;
        if entry.state != State::AwaitPubAck {
            return None;
        }
        if entry.is_last() {
            let message = entry.message.take();
            window.finish(at);
            return message.map(Acknowledged::Last);
        }
        window.finish_one_of(at, id);
        let entry = window.entries.get(at)?;
        entry.message.as_ref().map(Acknowledged::OneOf)
    }

    /// As [`Outbound::messages`], with how many of those that each stands for are unfinished.
    pub fn messages_with_counts(&self) -> impl Iterator<Item = (&T, usize)> {
        let entries = self.window.iter().flat_map(|window| &window.entries);
        entries.filter_map(|entry| {
            let message = entry.message.as_ref()?;
            Some((message, entry.open.count_ones() as usize))
        })
    }

    /// Whether there is something to take apart.
    #[must_use]
    pub fn has_together(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.has_runs)
    }

    /// Puts each unfinished message into an entry of its own. `pick` makes the nth (from 0) of those that a `T` stands for; `None`: it stands for
    /// one only.
    pub fn take_apart(&mut self, mut pick: impl FnMut(&T, usize) -> Option<T>) {
        let Some(window) = self.window.as_mut().filter(|window| window.has_runs) else {
            return;
        };
        let mut apart = VecDeque::with_capacity(window.open_count as usize);
        for entry in window.entries.drain(..) {
            let first = entry.message.as_ref().and_then(|message| pick(message, 0));
            let (Some(_), Some(message)) = (first, &entry.message) else {
                apart.push_back(entry);
                continue;
            };
            let ids = (0..).zip(entry.id.get()..=u16::MAX);
            for (nth, id) in ids.take(Self::TOGETHER_MAX) {
                let one = PacketId::new(id).filter(|id| entry.bit_of(*id).is_some());
                if let Some(id) = one {
                    let message = pick(message, nth);
                    apart.push_back(Entry::new(id, entry.state, entry.sent, message));
                }
            }
        }
        window.entries = apart;
        window.has_runs = false;
        // Those that are finished have left no entry.
        window.has_gaps |= !window.is_in_sequence();
    }
}
