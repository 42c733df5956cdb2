//! Runs of acknowledgements where there is a store: what they change is recorded together, and what answers them waits for that
//! together.
//!
//! What differs from its neighbours (it is the store's alone, a group has given it, it is known no more) ends a run, and goes the way of single
//! ones.

use martlet_codec::{PacketType, ReasonCode, ShortAcks};
use martlet_session::{Acknowledged, PubRec};

use crate::clients::connection::Waits;
use crate::collections::slab::Key;
use crate::durable::Together;
use crate::effects::Effects;
use crate::packets::reading::Online;
use crate::record::RunOf;
use crate::sending::delivery::Delivery;
use crate::sending::writing::AckKind;
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    /// Takes as many as say yes to something known; 0: the first goes the long way.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "acknowledgements have four types, and the fourth stands for the rest"
    )]
    pub(super) fn take_stored_run(
        &mut self,
        client: Online,
        packet_type: PacketType,
        acks: ShortAcks<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> usize {
        match packet_type {
            PacketType::PubAck => self.take_stored_pubacks(client.session, acks, fx),
            PacketType::PubRec => self.take_stored_pubrecs(client, acks, now, fx),
            PacketType::PubRel => self.take_stored_pubrels(client, acks, now, fx),
            _ => self.take_stored_pubcomps(client.session, acks, fx),
        }
    }

    /// Nobody waits for what is recorded here.
    fn take_stored_pubacks(
        &mut self,
        session: Key,
        acks: ShortAcks<'_>,
        fx: &mut Effects,
    ) -> usize {
        let mut freed = 0;
        let mut ids = acks.ids();
        loop {
            let Some(state) = self.sessions.get_mut(session) else {
                return 0;
            };
            let mut together = Together::of(state.stored(), RunOf::Finished);
            let mut special = None;
            for packet_id in ids.by_ref() {
                let delivery = match state.outbound.acknowledge(packet_id) {
                    Some(Acknowledged::Last(delivery)) => delivery,
                    Some(Acknowledged::OneOf(messages)) => {
                        // Not stored either: where there is a store both are given one by one.
                        debug_assert!(!messages.terms.is_of_group(), "its room would be lost");
                        freed += messages.bytes_of_one();
                        continue;
                    }
                    None => continue,
                };
                if let (Some(together), Some(body)) = (&mut together, delivery.body) {
                    together.push(Some(body), packet_id, fx);
                }
                if delivery.message.is_none() || delivery.terms.is_of_group() {
                    special = Some(delivery);
                    break;
                }
                freed += delivery.held_bytes_of(1);
            }
            if let Some(together) = &mut together {
                together.write(fx);
            }
            // One whose message is in the store only, or that a group has given.
            let Some(delivery) = special else { break };
            self.finish_delivery(session, &delivery, ReasonCode::Success, fx);
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(freed);
        self.record_replayed(session, fx);
        acks.packets().len()
    }

    /// Each PUBREL waits until it is recorded that its PUBREC has come: after a crash the message would be sent once more.
    //= mqtt5 4.3.3-4
    fn take_stored_pubrecs(
        &mut self,
        client: Online,
        acks: ShortAcks<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> usize {
        let most = self.room_for_answers(client.conn).max(1);
        let Some(state) = self.sessions.get_mut(client.session) else {
            return 0;
        };
        let mut together = Together::of(state.stored(), RunOf::Released);
        let (mut taken, mut freed) = (0, 0);
        let mut special = None;
        for packet_id in acks.ids().take(most) {
            match state.outbound.on_pubrec(packet_id, false) {
                PubRec::Release(Some(delivery))
                    if is_plain(&delivery) && delivery.body.is_some() == together.is_some() =>
                {
                    if let Some(together) = &mut together {
                        together.push(delivery.body, packet_id, fx);
                    }
                    freed += delivery.held_bytes();
                    taken += 1;
                }
                outcome @ (PubRec::Release(_) | PubRec::Refused(_) | PubRec::Unknown) => {
                    special = Some((packet_id, outcome));
                    break;
                }
            }
        }
        let waits = written(together, taken, fx);
        self.memory_bytes = self.memory_bytes.saturating_sub(freed);
        let answers = (AckKind::PubRel, taken);
        self.answer_all(client.conn, answers, acks.ids(), waits, now, fx);
        if let Some((packet_id, outcome)) = special {
            let ack = (packet_id, ReasonCode::Success);
            self.settle_pubrec(client, ack, outcome, now, fx);
            taken += 1;
        }
        taken
    }

    /// Each PUBCOMP waits until it is recorded that its identifier is free: after a crash a new message under it would count as known.
    //= mqtt5 4.3.3-11
    fn take_stored_pubrels(
        &mut self,
        client: Online,
        acks: ShortAcks<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> usize {
        let most = self.room_for_answers(client.conn).max(1);
        let Some(state) = self.sessions.get_mut(client.session) else {
            return 0;
        };
        let mut together = Together::of(state.stored(), RunOf::Completed);
        let mut taken = 0;
        for packet_id in acks.ids().take(most) {
            if !state.inbound.release(packet_id) {
                break;
            }
            if let Some(together) = &mut together {
                together.push(None, packet_id, fx);
            }
            taken += 1;
        }
        let is_stored = together.is_some();
        let waits = written(together, taken, fx);
        if is_stored {
            for packet_id in acks.ids().take(taken) {
                self.end_doubt(client.session, packet_id, fx);
            }
        }
        let answers = (AckKind::PubComp, taken);
        self.answer_all(client.conn, answers, acks.ids(), waits, now, fx);
        taken
    }

    /// Nobody waits for what is recorded here.
    fn take_stored_pubcomps(
        &mut self,
        session: Key,
        acks: ShortAcks<'_>,
        fx: &mut Effects,
    ) -> usize {
        let Some(state) = self.sessions.get_mut(session) else {
            return 0;
        };
        let mut together = Together::of(state.stored(), RunOf::Ended);
        for packet_id in acks.ids() {
            if state.outbound.on_pubcomp(packet_id)
                && let Some(together) = &mut together
            {
                together.push(None, packet_id, fx);
            }
        }
        if let Some(mut together) = together {
            together.write(fx);
        }
        acks.packets().len()
    }
}

/// Nothing but the message and its record ends with it.
fn is_plain(delivery: &Delivery) -> bool {
    let is_read_back = delivery.message.is_none() && delivery.body.is_some();
    !is_read_back && !delivery.terms.is_of_group()
}

/// Writes what there is of so many; what their answers wait for.
fn written(together: Option<Together>, count: usize, fx: &mut Effects) -> Waits {
    let Some(mut together) = together else {
        return Waits::NOTHING;
    };
    together.write(fx);
    if count == 0 {
        return Waits::NOTHING;
    }
    Waits {
        batch: fx.store.newest(),
        ..Waits::NOTHING
    }
}
