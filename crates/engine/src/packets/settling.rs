//! Acknowledgements from a receiver: what they finish, and what that moves on.

use martlet_codec::{Ack, PacketId, ReasonCode};
use martlet_session::{Acknowledged, PubRec};

use crate::clients::connection::Waits;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::packets::reading::Online;
use crate::peering::peers::{GroupEnd, Peer, PeerMessage};
use crate::sending::delivery::{Delivery, GroupTag};
use crate::sending::writing::AckKind;
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    /// PUBACK from a client.
    pub(crate) fn on_puback(&mut self, session: Key, ack: &Ack<'_>, now: Time, fx: &mut Effects) {
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let delivery = match state.outbound.acknowledge(ack.packet_id) {
            Some(Acknowledged::Last(delivery)) => delivery,
            Some(Acknowledged::OneOf(messages)) => {
                let (tag, freed) = (messages.terms.tag(), messages.bytes_of_one());
                self.memory_bytes = self.memory_bytes.saturating_sub(freed);
                self.finish_tag(session, tag, ack.reason, fx);
                self.pump(session, now, fx);
                return;
            }
            None => return,
        };
        if self.durable.is_some() {
            self.record_finished(session, ack.packet_id, delivery.body, fx);
            self.record_replayed(session, fx);
        }
        self.finish_delivery(session, &delivery, ack.reason, fx);
        self.pump(session, now, fx);
    }

    /// PUBREC from a client.
    pub(crate) fn on_pubrec(&mut self, client: Online, ack: &Ack<'_>, now: Time, fx: &mut Effects) {
        let Some(state) = self.sessions.get_mut(client.session) else {
            return;
        };
        let refused = ack.reason.is_error();
        let outcome = state.outbound.on_pubrec(ack.packet_id, refused);
        if refused && matches!(outcome, PubRec::Unknown) {
            return;
        }
        let ack = (ack.packet_id, ack.reason);
        self.settle_pubrec(client, ack, outcome, now, fx);
        self.pump(client.session, now, fx);
    }

    /// What PUBREC means was found: the rest of it, and its answer.
    pub(crate) fn settle_pubrec(
        &mut self,
        client: Online,
        (packet_id, said): (PacketId, ReasonCode),
        outcome: PubRec<Delivery>,
        now: Time,
        fx: &mut Effects,
    ) {
        let Online { conn, session, .. } = client;
        let mut waits = Waits::NOTHING;
        let reason = match outcome {
            PubRec::Refused(delivery) => {
                //= mqtt5 4.8.2-6
                self.record_finished(session, packet_id, delivery.body, fx);
                self.finish_delivery(session, &delivery, said, fx);
                return;
            }
            PubRec::Release(delivery) => {
                if let Some(delivery) = delivery {
                    if self.durable.is_some() {
                        waits = self.record_released(session, packet_id, delivery.body, fx);
                    }
                    self.finish_delivery(session, &delivery, said, fx);
                }
                ReasonCode::Success
            }
            PubRec::Unknown if self.version_of(conn).is_v5() => {
                ReasonCode::PacketIdentifierNotFound
            }
            PubRec::Unknown => ReasonCode::Success,
        };
        //= mqtt5 4.3.3-4
        let answer = (AckKind::PubRel, packet_id);
        self.answer(conn, answer, reason, waits, now, fx);
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

    /// The client has taken, or refused, a message that was in flight to it, or the last one of several.
    pub(crate) fn finish_delivery(
        &mut self,
        session: Key,
        delivery: &Delivery,
        reason: ReasonCode,
        fx: &mut Effects,
    ) {
        self.memory_bytes = self.memory_bytes.saturating_sub(delivery.held_bytes_of(1));
        if let (None, Some(body), Some(durable)) =
            (&delivery.message, delivery.body, &mut self.durable)
        {
            durable.let_go(body);
        }
        self.finish_tag(session, delivery.terms.tag(), reason, fx);
    }

    /// The same for the shared subscription that gave the message, if one did.
    fn finish_tag(
        &mut self,
        session: Key,
        tag: Option<GroupTag>,
        reason: ReasonCode,
        fx: &mut Effects,
    ) {
        let Some(tag) = tag else { return };
        if reason.is_error() {
            self.counters.dropped_by_member += 1;
        }
        self.credit_group(&tag, session, fx);
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
        self.credit(tag.owner, tag.group, session, 1, fx);
    }

    /// The same for so many, none of which is in a store.
    pub(crate) fn credit(
        &mut self,
        owner: usize,
        group: Key,
        session: Key,
        more: u32,
        fx: &mut Effects,
    ) {
        let here = owner == self.config.index;
        if here
            && let Some(group) = self.groups.get_mut(group)
            && group.queue.is_empty()
        {
            // Nothing waits that the credit would set in motion.
            group.credit(owner, session, more);
            self.counters.group_credits_at_once += u64::from(more);
            return;
        }
        let last = if here {
            self.inbox.back_mut()
        } else {
            let batch = fx.peers.get_mut(owner);
            batch
                .and_then(|batch| batch.last_mut())
                .map(|PeerMessage(peer)| peer)
        };
        if let Some(Peer::GroupCredit {
            group: same_group,
            session: same_session,
            count,
        }) = last
            && (*same_group, *same_session) == (group, session)
        {
            *count += more;
            return;
        }
        let credit = Peer::GroupCredit {
            group,
            session,
            count: more,
        };
        self.send_to(owner, credit, fx);
    }
}
