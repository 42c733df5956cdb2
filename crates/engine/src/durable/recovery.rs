//! The first moments after everything is restored: the shards tell each other, then time goes on.

use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::peering::peers::Peer;
use crate::routing::interest::InterestKey;
use crate::shard::{Shard, TimerKey};
use crate::time::Time;
use crate::timing::SWEEP_INTERVAL_MS;

impl Shard {
    /// Everything is restored. To be called once on every shard that has a store, also if there was nothing to
    /// restore; the counters are one more than the highest of [`Record::counters`](crate::Record::counters) anywhere
    /// in the store, the same for all shards. The shards then speak with each other; they are ready when none
    /// [is recovering](Shard::is_recovering).
    pub fn restored(
        &mut self,
        next_session_counter: u64,
        next_number_counter: u64,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        durable.next_session = next_session_counter.max(1);
        durable.next_number = next_number_counter.max(1);
        let recovery = durable.recovery.get_or_insert_default();
        recovery.forget_bodies();
        let online = core::mem::take(&mut recovery.online);
        for key in core::mem::take(&mut recovery.rooms) {
            if let Some(session) = self.sessions.get_mut(key) {
                session.outbound.forget_lost();
            }
        }
        self.restore_retained();
        let sessions: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in sessions {
            if online.contains(&key) {
                self.connection_lost_in_crash(key, now, fx);
            }
            if let Some(session) = self.sessions.get_mut(key) {
                session.queue.shrink();
            }
            self.make_known(key);
            self.rejoin_groups(key, fx);
        }
        if !self.retained.is_empty() {
            self.schedule(now.plus_millis(SWEEP_INTERVAL_MS), TimerKey::Sweep);
        }
        let doubts = self
            .durable
            .iter()
            .flat_map(|durable| durable.doubts.values());
        let doubts = doubts.map(|doubt| doubt.publish);
        let wills = self.durable.iter().flat_map(|durable| durable.wills.keys());
        let doubts: Vec<u64> = doubts.chain(wills.copied()).map(NonZeroU64::get).collect();
        for shard in 0..self.config.shard_count {
            let doubts = doubts.clone();
            self.send_to(shard, Peer::Restored { doubts }, fx);
        }
        self.settle(now, fx);
    }

    /// Whether this shard has not yet heard from all others that they are restored. Clients should not be let in before.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.durable
            .as_ref()
            .is_some_and(|durable| durable.recovery.is_some())
    }

    /// Another shard, or this one, is restored, and has said everything that it has to say about that.
    pub(crate) fn on_restored(&mut self, doubts: &[u64], now: Time, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let recovery = durable.recovery.get_or_insert_default();
        recovery.heard += 1;
        recovery.doubts.extend(doubts);
        if recovery.heard < self.config.shard_count {
            return;
        }
        let groups = core::mem::take(&mut recovery.groups);
        // What nobody has in doubt does not come again.
        let doubts = core::mem::take(&mut recovery.doubts);
        durable.taken.retain(|publish, _| doubts.contains(publish));
        durable.recovery = None;
        self.adopt_restored_groups(groups, now, fx);
        // Only now may a will go out: everybody's subscriptions are in force.
        if self
            .durable
            .as_ref()
            .is_some_and(|durable| durable.has_wills_under_way())
        {
            // With the next timer, whenever that is.
            self.schedule(Time::from_millis(0), TimerKey::WillsUnderWay);
        }
        let sessions: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in sessions {
            self.arm_session_timer(key, now);
        }
    }

    /// The session's client was connected; from now on it counts as away.
    fn connection_lost_in_crash(&mut self, key: Key, now: Time, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Some(will) = &mut session.will {
            will.due = Some(now.plus_secs(will.delay_s));
        }
        session.ends_at = match session.expiry_s {
            u32::MAX => None,
            seconds => Some(now.plus_secs(seconds)),
        };
        self.record_offline(key, fx);
    }

    /// Enters what a session has subscribed to where other shards look.
    fn make_known(&mut self, key: Key) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let mut buffer = core::mem::take(&mut self.scratch.filter);
        for filter in session.filters.iter() {
            let entry = InterestKey::of_filter(self.subscriptions.text(filter, &mut buffer));
            self.interest.add(entry, self.config.index);
            self.interest.add_durable(entry, self.config.index);
        }
        self.scratch.filter = buffer;
    }
}
