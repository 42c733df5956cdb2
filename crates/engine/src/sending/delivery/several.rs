//! Messages of a run that wait, or are in flight, as one: they differ in nothing but payload, identifier, and the place in the order of the
//! shared subscription that gave them.
//!
//! ```text
//! Delivery   message | PUBLISH | PUBLISH | PUBLISH |    count 3; sequence 10, stride 4: the places are 10, 14, 18
//! ```
//! One entry of a queue or a window is as good as one for each, and is made, moved and dropped once. Each still counts for itself in every limit.
//! Whoever needs single messages takes them apart.

use super::{Delivery, Terms};
use crate::message::{Kept, Message};
use crate::sending::queue::STORED_BYTES;

/// The most messages that are one: so many the window can take together.
pub(crate) const SEVERAL_MAX: usize = 32;

impl Delivery {
    /// Of as many messages as the terms say.
    pub(crate) const fn of_run(message: Option<Kept>, terms: Terms) -> Self {
        Self {
            message,
            body: None,
            terms,
        }
    }

    /// How many messages it is.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        usize::from(self.terms.count)
    }

    /// Bytes of memory that it holds while so many of its messages are unfinished, one at least: all packets lie in one piece until the last
    /// one is finished.
    pub(crate) fn held_bytes_of(&self, unfinished: usize) -> usize {
        self.held_bytes() - (self.count() - unfinished) * self.bytes_of_one()
    }

    /// What goes back with each of several messages but the last.
    pub(crate) const fn bytes_of_one(&self) -> usize {
        match &self.message {
            Some(_) => Message::OVERHEAD,
            None => STORED_BYTES,
        }
    }

    /// The nth of several messages, from 0; `None` if it is one only.
    pub(crate) fn nth(&self, nth: usize) -> Option<Self> {
        if self.terms.count == 1 {
            return None;
        }
        let message = self.message.as_ref().map(|kept| {
            let mut rest = kept.clone();
            rest.split(nth);
            rest.split(1)
        });
        let nth = u8::try_from(nth).unwrap_or(u8::MAX);
        Some(Self::of_run(message, self.terms.of_some(nth, 1)))
    }

    /// Takes out the first ones, fewer than all.
    pub(crate) fn split(&mut self, count: usize) -> Self {
        debug_assert!(count < self.count(), "something stays");
        let some = u8::try_from(count).unwrap_or(u8::MAX);
        let message = self.message.as_mut().map(|kept| kept.split(count));
        let first = Self::of_run(message, self.terms.of_some(0, some));
        let left = self.terms.count.saturating_sub(some);
        self.terms = self.terms.of_some(some, left);
        first
    }

    /// The first message; what is left, if something is.
    pub(crate) fn first_and_rest(mut self) -> (Self, Option<Self>) {
        if self.count() == 1 {
            return (self, None);
        }
        (self.split(1), Some(self))
    }

    /// Its messages, each on its own.
    pub(crate) fn apart(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        core::iter::from_fn(move || {
            let (first, behind) = rest.take()?.first_and_rest();
            rest = behind;
            Some(first)
        })
    }
}
