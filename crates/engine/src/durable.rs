//! Durability: records for what has to survive, and what waits until they are stable.

use crate::config::StorePressure;
use crate::effects::{Effects, StoreTicket};
use crate::record::Record;
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    /// All batches up to and including `ticket` are stable: what waited for them goes on.
    pub fn on_store_done(&mut self, ticket: StoreTicket, now: Time, fx: &mut Effects) {
        let _ = ticket;
        self.settle(now, fx);
    }

    /// The store keeps up, or does not; see [`StorePressure`].
    pub fn on_store_pressure(&mut self, pressure: StorePressure, now: Time, fx: &mut Effects) {
        let _ = pressure;
        self.settle(now, fx);
    }

    /// Writes the whole state of a slot, so that nothing written before about it is needed any more. It is one
    /// event: all of it gets into one batch. It begins and ends no reference to a body: those that it names are
    /// the ones that there were before it.
    pub fn checkpoint_slot(&mut self, slot: u8, now: Time, fx: &mut Effects) {
        let _ = slot;
        self.settle(now, fx);
    }

    /// One record of the store, in the order of the log: those of this shard's slots, and the bodies that they
    /// refer to. Before the first connection, and before [`Shard::restored`].
    pub fn restore(&mut self, record: &Record<'_>, now: Time) {
        let _ = (record, now);
    }

    /// Everything is restored. To be called once on every shard that has a store, also if there was nothing to
    /// restore; the counters are one more than the highest of [`Record::counters`] anywhere in the store, the same for
    /// all shards. The shards then speak with each other; they are ready when none [is recovering](Shard::is_recovering).
    pub fn restored(
        &mut self,
        next_session_counter: u64,
        next_number_counter: u64,
        now: Time,
        fx: &mut Effects,
    ) {
        let _ = (next_session_counter, next_number_counter);
        self.settle(now, fx);
    }

    /// Whether this shard has not yet heard from all others that they are restored. Clients should not be let in before.
    #[must_use]
    pub const fn is_recovering(&self) -> bool {
        false
    }
}
