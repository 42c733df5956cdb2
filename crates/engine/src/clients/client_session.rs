//! One client's session: what survives its connections.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use martlet_codec::{PacketId, QoS, Version};
use martlet_session::{Inbound, Outbound};

use crate::clients::rare::Rare;
use crate::collections::slab::Key;
use crate::counters::Counters;
use crate::limits::Limits;
use crate::report::Drops;
use crate::retaining::replay::Replay;
use crate::routing::filters::Filters;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::count_pushed;
use crate::sending::delivery::Delivery;
use crate::sending::queue::Queue;
use crate::time::Time;

/// Owned by the client's home shard; nobody else reads or changes it. There may be millions: what most of them do
/// not need costs a word.
#[derive(Debug)]
pub(crate) struct ClientSession {
    pub(crate) client_id: Arc<str>,
    /// Its name in the store; only while it is durable.
    pub(crate) stored_as: Option<NonZeroU64>,
    /// The connection that serves it now.
    pub(crate) connection: Option<Key>,
    pub(crate) version: Version,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub(crate) expiry_s: u32,
    /// When it ends; only while offline.
    pub(crate) ends_at: Option<Time>,
    /// Its filters, shared ones excluded; the options stand in the shard's subscriptions.
    pub(crate) filters: Filters,
    /// Its memberships in shared subscriptions.
    pub(crate) memberships: Rare<Vec<Membership>>,
    /// Stands for all `filters` in the shard's `refusing_retained`: of a restored session, until it subscribes again.
    pub(crate) refuses_retained: bool,
    pub(crate) outbound: Outbound<Delivery>,
    pub(crate) inbound: Inbound,
    pub(crate) queue: Queue,
    /// Retained messages still to be sent for new subscriptions, oldest subscription first.
    pub(crate) replays: Rare<VecDeque<Replay>>,
    /// Whose turn it is when live messages and retained ones both wait.
    pub(crate) replay_turn: bool,
    pub(crate) will: Option<Box<Will>>,
    /// When the shard looks at the will and at `ends_at` next.
    pub(crate) timer_at: Option<Time>,
    /// Messages that this client did not get because it was slow, since that was last reported.
    pub(crate) dropped: Drops,
}

/// Membership in a shared subscription.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    /// The whole filter, `$share/name/` included: names the group.
    pub(crate) filter: Arc<str>,
    pub(crate) options: SubscriptionOptions,
}

/// A will, as it will be published.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) shared_properties: Box<[u8]>,
    pub(crate) payload: Box<[u8]>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) delay_s: u32,
    /// When it is due; only while offline.
    pub(crate) due: Option<Time>,
}

impl ClientSession {
    pub(crate) fn new(client_id: Arc<str>, version: Version) -> Self {
        Self {
            client_id,
            stored_as: None,
            connection: None,
            version,
            expiry_s: 0,
            ends_at: None,
            filters: Filters::default(),
            memberships: Rare::new(),
            refuses_retained: false,
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            queue: Queue::default(),
            replays: Rare::new(),
            replay_turn: false,
            will: None,
            timer_at: None,
            dropped: Drops::default(),
        }
    }

    /// Bytes of the messages in its queue and in flight: what it adds to the shard's memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.queue.held_bytes() + self.in_flight_bytes()
    }

    /// Bytes of the messages in flight.
    fn in_flight_bytes(&self) -> usize {
        let in_flight = self.outbound.messages_with_counts();
        in_flight
            .map(|(messages, unfinished)| messages.held_bytes_of(unfinished))
            .sum()
    }

    /// The connection is lost: each message that is in flight goes on on its own, back to its group, or to the client when it comes back.
    /// Returns by how much less memory is held.
    pub(crate) fn take_window_apart(&mut self) -> usize {
        if !self.outbound.has_together() {
            return 0;
        }
        let before = self.in_flight_bytes();
        self.outbound.take_apart(Delivery::nth);
        before.saturating_sub(self.in_flight_bytes())
    }

    /// Gives back the memory of what is empty: the session has lost its connection.
    pub(crate) fn release_memory(&mut self) {
        self.memberships.release_memory();
        self.outbound.release_memory();
        self.inbound.release_memory();
        self.queue.release_memory();
        self.replays.release_memory();
    }

    /// Whether something for it is only in the store.
    pub(crate) fn needs_store(&self) -> bool {
        let mut in_flight = self.outbound.messages();
        let is_stored = |delivery: &Delivery| delivery.message.is_none() && delivery.body.is_some();
        self.queue.has_stored() || in_flight.any(is_stored)
    }

    /// Puts messages into the window, which has room: together, if they can be. `each` gets their identifiers, one after the other.
    #[inline]
    pub(crate) fn send(&mut self, messages: Delivery, each: impl FnMut(PacketId)) {
        let (qos, count) = (messages.terms.qos, messages.count());
        if count > 1
            && qos == QoS::AtLeastOnce
            && let Some(first) = self.outbound.next_together(count)
        {
            self.outbound.send_together(count, messages);
            let ids = first.get()..=u16::MAX;
            ids.take(count).filter_map(PacketId::new).for_each(each);
            return;
        }
        if count > 1 {
            self.send_apart(messages, each);
            return;
        }
        let id = self.outbound.send(qos == QoS::ExactlyOnce, messages);
        debug_assert!(id.is_some(), "there was room");
        id.into_iter().for_each(each);
    }

    /// Puts messages of a run into the queue: together, if it has room for all of them. `refused` gets what it has no room for.
    pub(crate) fn wait(
        &mut self,
        messages: Delivery,
        limits: &Limits,
        counters: &mut Counters,
        mut refused: impl FnMut(Delivery),
    ) {
        let (messages_max, bytes_max) = (
            limits.session_queue_messages_max,
            limits.session_queue_bytes_max,
        );
        let count = messages.count() as u64;
        let Some(messages) = self.queue.push_together(messages, messages_max, bytes_max) else {
            counters.queued += count;
            return;
        };
        for message in messages.apart() {
            let pushed = self.queue.push(message, messages_max, bytes_max);
            count_pushed(pushed, &mut self.dropped, counters)
                .into_iter()
                .for_each(&mut refused);
        }
    }

    #[inline(never)]
    fn send_apart(&mut self, messages: Delivery, mut each: impl FnMut(PacketId)) {
        let exactly_once = messages.terms.qos == QoS::ExactlyOnce;
        let mut rest = Some(messages);
        while let Some(messages) = rest.take() {
            let (first, behind) = messages.first_and_rest();
            rest = behind;
            let id = self.outbound.send(exactly_once, first);
            debug_assert!(id.is_some(), "there was room");
            id.into_iter().for_each(&mut each);
        }
    }

    /// Whether it ends with its connection: what was sent once is never sent again.
    pub(crate) const fn is_passing(&self) -> bool {
        self.expiry_s == 0 && self.stored_as.is_none()
    }

    /// When the will is due, if it waits for that.
    pub(crate) fn will_at(&self) -> Option<Time> {
        self.will.as_ref()?.due
    }

    /// Whether nothing waits in front of a new message.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.outbound.has_resends()
    }

    /// Whether something is in the way of new messages of QoS 1 and 2 that will go, so that a run of them may wait together: not in the
    /// store, where each has its own place.
    #[inline]
    pub(crate) fn lets_runs_wait(&self) -> bool {
        self.connection.is_some()
            && self.stored().is_none()
            && !(self.is_idle() && self.outbound.can_send())
    }
}

#[cfg(test)]
mod tests {
    use super::ClientSession;

    /// A million sessions that are away are a million of these.
    #[test]
    fn a_session_costs_few_bytes() {
        assert_eq!(size_of::<ClientSession>(), 144);
    }
}
