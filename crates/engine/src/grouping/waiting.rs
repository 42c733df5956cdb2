//! Messages of a run that wait for members of a shared subscription: in a member's queue, or in the group's.
//!
//! They wait together and leave together, as far as there is room; each counts for itself, and goes back for itself.

use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::clients::client_session::ClientSession;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::grouping::sharing::Member;
use crate::packets::repeats::{Repeat, Run};
use crate::publication::Publication;
use crate::routing::effective_qos;
use crate::sending::delivery::Delivery;
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    /// Puts messages of a run, with their places in the group's order, into the queue of a member on this shard, together, if something is
    /// in the way of all of them. Takes out of `messages` what it queues, and returns how many.
    pub(crate) fn queue_for_member<'a>(
        &mut self,
        member: Member,
        run: Run<'_>,
        messages: impl Iterator<Item = (u64, &'a Repeat)>,
        fx: &mut Effects,
    ) -> usize {
        let qos = effective_qos(run.qos, member.options.qos);
        let session = self.sessions.get(member.session);
        if qos == QoS::AtMostOnce
            || member.options.subscription_id != 0
            || !session.is_some_and(ClientSession::lets_runs_wait)
        {
            return 0;
        }
        let mut part = core::mem::take(&mut self.scratch.part);
        for (sequence, repeat) in messages {
            let start = part.bytes.len();
            part.bytes.extend_from_slice(run.packet(repeat));
            let place = Repeat::of_packed(start, part.bytes.len(), repeat.payload_len);
            part.places.push(sequence);
            part.list.push(place);
        }
        let count = part.list.len();
        let mut at = 0;
        let bytes = &part.bytes;
        while let Some(messages) = part.keep_from(at, member, Run { bytes, ..run }) {
            at += messages.count();
            self.queue_for(member.session, messages, fx);
        }
        part.clear();
        self.scratch.part = part;
        count
    }

    /// Puts messages into a member's queue; of what that has no room for, its group hears.
    fn queue_for(&mut self, key: Key, messages: Delivery, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let before = session.queue.held_bytes();
        let mut refused = Vec::new();
        session.wait(
            messages,
            &self.config.limits,
            &mut self.counters,
            |delivery| refused.extend(delivery.terms.tag()),
        );
        self.memory_bytes = (self.memory_bytes + session.queue.held_bytes()).saturating_sub(before);
        for tag in refused {
            self.credit_group(&tag, key, fx);
        }
    }

    /// Gives what waits in front to the next members with room: a message, or messages that lie together, each member's as one piece.
    /// `false`: nobody has room.
    pub(super) fn offer_front(&mut self, key: Key, now: Time, fx: &mut Effects) -> bool {
        let Some(group) = self.groups.get_mut(key) else {
            return false;
        };
        let Some(first) = group.queue.front().map(|front| front.message.clone()) else {
            return false;
        };
        let mut shares = core::mem::take(&mut self.scratch.shares);
        let mut list = core::mem::take(&mut self.scratch.repeats);
        let mut freed_bytes = 0;
        while let Some(front) = group.queue.front()
            && front.message.is_beside(&first)
        {
            let (sequence, repeat) = (front.sequence, front.message.repeat());
            let Some(share) = group.share(first.qos(), sequence) else {
                break;
            };
            freed_bytes += group.pop().map_or(0, |waiting| waiting.message.size());
            shares.push(share);
            list.push(repeat);
            if first.is_whole() {
                break;
            }
        }
        let any = !shares.is_empty();
        self.memory_bytes = self.memory_bytes.saturating_sub(freed_bytes);
        if first.is_whole() {
            if let Some(share) = shares.first() {
                let mut publication = Publication::of_kept(&first);
                self.offer(key, *share, &mut publication, now, fx);
            }
        } else {
            self.give_shares(key, &mut shares, first.run(), &mut list, now, fx);
        }
        shares.clear();
        list.clear();
        (self.scratch.shares, self.scratch.repeats) = (shares, list);
        any
    }
}
