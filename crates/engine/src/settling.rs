//! Acknowledgements from a receiver: what they finish, and what that moves on.

use alloc::boxed::Box;

use martlet_codec::{Ack, ReasonCode};
use martlet_session::PubRec;

use crate::connection::Waits;
use crate::delivery::{Delivery, GroupTag};
use crate::effects::Effects;
use crate::peers::{GroupEnd, Peer, PeerMessage};
use crate::reading::Online;
use crate::shard::Shard;
use crate::slab::Key;
use crate::time::Time;
use crate::writing::AckKind;

impl Shard {
    /// PUBACK from a client.
    pub(crate) fn on_puback(&mut self, session: Key, ack: &Ack<'_>, now: Time, fx: &mut Effects) {
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(delivery) = state.outbound.on_puback(ack.packet_id) else {
            return;
        };
        if self.durable.is_some() {
            self.record_finished(session, ack.packet_id, delivery.body, fx);
            self.record_replayed(session, fx);
        }
        self.finish_delivery(session, &delivery, ack.reason, fx);
        self.keep_tag(delivery);
        self.pump(session, now, fx);
    }

    /// PUBREC from a client.
    pub(crate) fn on_pubrec(&mut self, client: Online, ack: &Ack<'_>, now: Time, fx: &mut Effects) {
        let Online { conn, session, .. } = client;
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let refused = ack.reason.is_error();
        let mut waits = Waits::NOTHING;
        let reason = match state.outbound.on_pubrec(ack.packet_id, refused) {
            PubRec::Refused(delivery) => {
                //= mqtt5 4.8.2-6
                self.record_finished(session, ack.packet_id, delivery.body, fx);
                self.finish_delivery(session, &delivery, ack.reason, fx);
                self.pump(session, now, fx);
                return;
            }
            PubRec::Release(delivery) => {
                if let Some(delivery) = delivery {
                    if self.durable.is_some() {
                        waits = self.record_released(session, ack.packet_id, delivery.body, fx);
                    }
                    self.finish_delivery(session, &delivery, ack.reason, fx);
                    self.keep_tag(delivery);
                }
                ReasonCode::Success
            }
            PubRec::Unknown if refused => return,
            PubRec::Unknown if self.version_of(conn).is_v5() => {
                ReasonCode::PacketIdentifierNotFound
            }
            PubRec::Unknown => ReasonCode::Success,
        };
        //= mqtt5 4.3.3-4
        let answer = (AckKind::PubRel, ack.packet_id);
        self.answer(conn, answer, reason, waits, now, fx);
        self.pump(session, now, fx);
    }

    /// PUBCOMP from a client.
    pub(crate) fn on_pubcomp(&mut self, session: Key, ack: &Ack<'_>, now: Time, fx: &mut Effects) {
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        if state.outbound.on_pubcomp(ack.packet_id) {
            if self.durable.is_some() {
                self.record_ended_flow(session, ack.packet_id, fx);
            }
            self.pump(session, now, fx);
        }
    }

    /// The client has taken, or refused, a message that was in flight to it.
    pub(crate) fn finish_delivery(
        &mut self,
        session: Key,
        delivery: &Delivery,
        reason: ReasonCode,
        fx: &mut Effects,
    ) {
        self.memory_bytes = self.memory_bytes.saturating_sub(delivery.held_bytes());
        if let (None, Some(body), Some(durable)) =
            (&delivery.message, delivery.body, &mut self.durable)
        {
            durable.let_go(body);
        }
        if let Some(tag) = &delivery.terms.group {
            if reason.is_error() {
                self.counters.dropped_by_member += 1;
            }
            self.credit_group(tag, session, fx);
        }
    }

    /// A tag in a box that another message has left, if there is one.
    pub(crate) fn boxed_tag(&mut self, tag: GroupTag) -> Box<GroupTag> {
        let Some(mut boxed) = self.scratch.tags.pop() else {
            return Box::new(tag);
        };
        *boxed = tag;
        boxed
    }

    /// The delivery is done: the box of its tag will do for another one.
    fn keep_tag(&mut self, delivery: Delivery) {
        if let Some(mut tag) = delivery.terms.group
            && self.scratch.tags.len() < TAGS_KEPT
        {
            tag.stored = None;
            self.scratch.tags.push(tag);
        }
    }

    /// Tells a shared subscription that its member has room for one message more.
    pub(crate) fn credit_group(&mut self, tag: &GroupTag, session: Key, fx: &mut Effects) {
        if let Some(filter) = &tag.stored {
            let done = Peer::GroupDone {
                filter: filter.clone(),
                sequence: tag.sequence,
                end: GroupEnd::Finished(session),
            };
            self.send_to(tag.owner, done, fx);
            return;
        }
        if tag.owner == self.config.index
            && let Some(group) = self.groups.get_mut(tag.group)
            && group.queue.is_empty()
        {
            // Nothing waits that the credit would set in motion.
            group.credit(tag.owner, session, 1);
            self.counters.group_credits_at_once += 1;
            return;
        }
        if tag.owner != self.config.index
            && let Some(batch) = fx.peers.get_mut(tag.owner)
            && let Some(PeerMessage(Peer::GroupCredit {
                group,
                session: same,
                count,
            })) = batch.last_mut()
            && (*group, *same) == (tag.group, session)
        {
            *count += 1;
            return;
        }
        if tag.owner == self.config.index
            && let Some(Peer::GroupCredit {
                group,
                session: same,
                count,
            }) = self.inbox.back_mut()
            && (*group, *same) == (tag.group, session)
        {
            *count += 1;
            return;
        }
        let credit = Peer::GroupCredit {
            group: tag.group,
            session,
            count: 1,
        };
        self.send_to(tag.owner, credit, fx);
    }
}

/// Boxes of tags that are kept: as many as a few members have in flight, some kilobytes.
const TAGS_KEPT: usize = 256;
