//! What waits until a batch is stable, and how it goes on then.

use core::num::NonZeroU64;

use crate::clients::connection::Connection;
use crate::collections::slab::Key;
use crate::effects::{Effects, StoreTicket};
use crate::peering::parts::Ask;
use crate::peering::peers::Peer;
use crate::sending::writing::may_be_written;
use crate::shard::Shard;
use crate::time::Time;

use super::Durable;

/// Somebody who waits for a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiter {
    /// Acknowledgements that a connection's client gets.
    Answers(Key),
    /// A write barrier in a connection's outbox.
    Outbox(Key),
    /// A shard that has asked whether its part of this publish is stored.
    Part(Part),
}

/// What a shard has asked for, and gets told as soon as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Who has asked.
    pub(crate) shard: u8,
    pub(crate) publish: NonZeroU64,
    /// Of so many messages that it asked for together.
    pub(crate) count: u32,
}

impl Durable {
    /// Puts somebody behind a batch. Batches are numbered in the order in which they become stable, and nobody waits for
    /// one that is older than the one of somebody before him: the waiters stand in the order in which they go on.
    pub(super) fn wait(&mut self, ticket: StoreTicket, waiter: Waiter) {
        debug_assert!(
            self.waiters.back().is_none_or(|(last, _)| *last <= ticket),
            "tickets rise"
        );
        self.waiters.push_back((ticket, waiter));
    }

    pub(crate) fn is_stable(&self, ticket: StoreTicket) -> bool {
        ticket <= self.stable
    }

    /// See [`Shard::withhold`].
    pub(crate) fn withhold(&mut self, connection: &mut Connection, conn: Key, fx: &Effects) {
        let newest = fx.store.newest();
        let may_leave = newest <= self.may_leave(connection.session);
        if !may_leave && connection.outbox.withhold(newest) {
            self.wait(newest, Waiter::Outbox(conn));
        }
    }

    /// What waits for batches up to this one may be sent to the client of this session.
    fn may_leave(&self, session: Option<Key>) -> StoreTicket {
        let first = session.and_then(|session| self.first_letting_go(session));
        first.map_or(self.stable, |StoreTicket(batch)| {
            self.stable.min(StoreTicket(batch.saturating_sub(1)))
        })
    }

    /// An acknowledgement is held: sees to it that it is looked at when its batch is stable.
    pub(crate) fn wait_for_answer(&mut self, conn: Key, ticket: StoreTicket) {
        self.wait(ticket, Waiter::Answers(conn));
    }

    fn next_stable(&mut self) -> Option<Waiter> {
        let (ticket, _) = self.waiters.front()?;
        if !self.is_stable(*ticket) {
            return None;
        }
        let (_, waiter) = self.waiters.pop_front()?;
        Some(waiter)
    }
}

impl Shard {
    /// All batches up to and including `ticket` are stable: what waited for them goes on.
    pub fn on_store_done(&mut self, ticket: StoreTicket, now: Time, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        durable.stable = durable.stable.max(ticket);
        while let Some(waiter) = self.durable.as_mut().and_then(|d| d.next_stable()) {
            match waiter {
                Waiter::Answers(conn) => self.release_answers(conn, now, fx),
                Waiter::Outbox(conn) => self.lift_barrier(conn, fx),
                Waiter::Part(part) => self.tell_stored(part, fx),
            }
        }
        if let Some(durable) = &mut self.durable {
            durable.evict();
        }
        self.settle(now, fx);
    }

    /// Tells a shard that its message is where it has to be, as soon as it is. `records`: how far the batch was before.
    pub(crate) fn confirm(&mut self, ask: Option<Ask>, records: usize, fx: &mut Effects) {
        let Some(ask) = ask.filter(|ask| ask.answer) else {
            return;
        };
        let part = Part {
            shard: ask.origin,
            publish: ask.publish,
            count: 1,
        };
        self.confirm_part(part, records, fx);
    }

    /// The same for what was asked for together.
    pub(crate) fn confirm_part(&mut self, part: Part, records: usize, fx: &mut Effects) {
        match &mut self.durable {
            Some(durable) if fx.store.progress() != records => {
                durable.wait(fx.store.newest(), Waiter::Part(part));
            }
            Some(_) | None => self.tell_stored(part, fx),
        }
    }

    fn tell_stored(&mut self, part: Part, fx: &mut Effects) {
        let Part { publish, count, .. } = part;
        self.send_to(usize::from(part.shard), Peer::Stored { publish, count }, fx);
    }

    /// What the connection is sent from now on leaves when the records that there are now are stable.
    pub(crate) fn withhold(&mut self, conn: Key, fx: &Effects) {
        let (Some(durable), Some(connection)) =
            (self.durable.as_mut(), self.connections.get_mut(conn))
        else {
            return;
        };
        durable.withhold(connection, conn, fx);
    }

    pub(super) fn lift_barrier(&mut self, conn: Key, fx: &mut Effects) {
        let (Some(durable), Some(connection)) = (&self.durable, self.connections.get_mut(conn))
        else {
            return;
        };
        let stable = durable.may_leave(connection.session);
        connection.outbox.release(stable);
        if connection.outbox.writable_len() > 0 {
            // Also if it is dirty already: the driver may have found nothing that it might write. But not if there is
            // nothing: nobody would flush it, and it would stay dirty for ever.
            may_be_written(connection, conn, fx);
        }
    }
}
