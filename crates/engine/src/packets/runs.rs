//! Acknowledgements that stand one behind the other: a peer that has read twenty messages acknowledges twenty.
//!
//! Their session is looked up once, their answers are one piece of the outbox, shared subscriptions hear of all of them at
//! once, and what waits for the session moves on once, behind the last one. Only what says yes to something
//! known goes this way; everything else takes the long one, packet by packet. Where there is a store: `runs/stored.rs`.

mod stored;

use martlet_codec::{Ack, PacketId, PacketType, ShortAcks};
use martlet_session::{Acknowledged, PubRec};

use crate::clients::client_session::ClientSession;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::packets::reading::Online;
use crate::sending::delivery::Delivery;
use crate::sending::writing::{AckKind, give_buffer, to_be_written};
use crate::shard::{Scratch, Shard};
use crate::time::Time;

/// Room for messages that a shared subscription's member has: the group's owner, the group, for how many.
pub(crate) type Credit = (usize, Key, u32);

impl Shard {
    /// Acknowledgements of one type, one behind the other. Returns how many were dealt with: at least one.
    pub(crate) fn on_short_acks(
        &mut self,
        client: Online,
        acks: ShortAcks<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> usize {
        let packet_type = acks.packet_type();
        let taken = if self.durable.is_some() {
            self.take_stored_run(client, packet_type, acks, now, fx)
        } else {
            self.take_run(client, packet_type, acks, fx)
        };
        if taken == 0 {
            self.counters.packets_received += 1;
            if let Some(packet_id) = acks.ids().next() {
                self.on_one_ack(client, packet_type, &Ack::success(packet_id), now, fx);
            }
            return 1;
        }
        self.counters.packets_received += taken as u64;
        self.counters.acknowledgement_runs += 1;
        if !self.scratch.credits.is_empty() {
            self.give_credits(client.session, fx);
        }
        if packet_type != PacketType::PubRel {
            self.pump(client.session, now, fx);
        }
        taken
    }

    /// Takes as many as say yes to something known.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "acknowledgements have four types, and the fourth stands for the rest"
    )]
    fn take_run(
        &mut self,
        client: Online,
        packet_type: PacketType,
        acks: ShortAcks<'_>,
        fx: &mut Effects,
    ) -> usize {
        match packet_type {
            PacketType::PubAck => self.take_pubacks(client.session, acks),
            PacketType::PubRec => self.take_pubrecs(client, acks, fx),
            PacketType::PubRel => self.take_pubrels(client, acks, fx),
            _ => self.take_pubcomps(client.session, acks),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "acknowledgements have four types, and the fourth stands for the rest"
    )]
    fn on_one_ack(
        &mut self,
        client: Online,
        packet_type: PacketType,
        ack: &Ack<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        match packet_type {
            PacketType::PubAck => self.on_puback(client.session, ack, now, fx),
            PacketType::PubRec => self.on_pubrec(client, ack, now, fx),
            PacketType::PubRel => self.on_pubrel(client, ack, now, fx),
            _ => self.on_pubcomp(client.session, ack, now, fx),
        }
    }

    fn take_pubacks(&mut self, session: Key, acks: ShortAcks<'_>) -> usize {
        let Some(state) = self.sessions.get_mut(session) else {
            return 0;
        };
        let mut freed = 0;
        for id in acks.ids() {
            match state.outbound.acknowledge(id) {
                Some(Acknowledged::Last(delivery)) => freed += self.scratch.finish(&delivery),
                Some(Acknowledged::OneOf(messages)) => {
                    self.scratch.credit(messages);
                    freed += messages.bytes_of_one();
                }
                None => {}
            }
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(freed);
        acks.packets().len()
    }

    fn take_pubcomps(&mut self, session: Key, acks: ShortAcks<'_>) -> usize {
        let Some(state) = self.sessions.get_mut(session) else {
            return 0;
        };
        for id in acks.ids() {
            state.outbound.on_pubcomp(id);
        }
        acks.packets().len()
    }

    /// PUBRECs, answered with PUBRELs.
    //= mqtt5 4.3.3-4
    fn take_pubrecs(&mut self, client: Online, acks: ShortAcks<'_>, fx: &mut Effects) -> usize {
        let mut freed = 0;
        let taken =
            self.answer_run(
                client,
                acks,
                AckKind::PubRel,
                fx,
                |state, scratch, id| match state.outbound.on_pubrec(id, false) {
                    PubRec::Release(delivery) => {
                        freed += delivery.map_or(0, |delivery| scratch.finish(&delivery));
                        true
                    }
                    PubRec::Refused(_) | PubRec::Unknown => false,
                },
            );
        self.memory_bytes = self.memory_bytes.saturating_sub(freed);
        taken
    }

    /// PUBRELs, answered with PUBCOMPs.
    //= mqtt5 4.3.3-11
    fn take_pubrels(&mut self, client: Online, acks: ShortAcks<'_>, fx: &mut Effects) -> usize {
        self.answer_run(client, acks, AckKind::PubComp, fx, |state, _, id| {
            state.inbound.release(id)
        })
    }

    /// Answers as many as `take` knows. Nothing if an answer could not leave at once.
    fn answer_run(
        &mut self,
        client: Online,
        acks: ShortAcks<'_>,
        kind: AckKind,
        fx: &mut Effects,
        mut take: impl FnMut(&mut ClientSession, &mut Scratch, PacketId) -> bool,
    ) -> usize {
        let (Some(state), Some(connection)) = (
            self.sessions.get_mut(client.session),
            self.connections.get_mut(client.conn),
        ) else {
            return 0;
        };
        let bytes = acks.packets().as_flattened();
        let has_room = connection.outbox.len() + bytes.len() <= self.config.limits.outbox_bytes_max;
        if !has_room
            || !connection.held_answers.is_empty()
            || (connection.packet_bytes_max as usize) < Ack::SHORT_LEN
        {
            return 0;
        }
        give_buffer(connection, &mut self.scratch.pool);
        // The answers are the packets themselves, but for the first byte of each.
        let out = connection.outbox.bytes();
        let start = out.len();
        out.extend_from_slice(bytes);
        let (answers, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut();
        let mut taken = 0;
        for (id, answer) in acks.ids().zip(answers) {
            if !take(state, &mut self.scratch, id) {
                break;
            }
            let [first, _, _, _] = answer;
            *first = kind as u8;
            taken += 1;
        }
        let written = taken * Ack::SHORT_LEN;
        out.truncate(start + written);
        connection.counted_bytes += written;
        self.memory_bytes += written;
        if taken > 0 {
            to_be_written(connection, client.conn, fx);
        }
        taken
    }

    fn give_credits(&mut self, session: Key, fx: &mut Effects) {
        let mut credits = core::mem::take(&mut self.scratch.credits);
        for (owner, group, count) in credits.drain(..) {
            self.credit(owner, group, session, count, fx);
        }
        self.scratch.credits = credits;
    }
}

impl Scratch {
    /// The receiver has taken a message that is in no store, or the last one of several. Returns how many bytes it has held.
    fn finish(&mut self, delivery: &Delivery) -> usize {
        self.credit(delivery);
        delivery.held_bytes_of(1)
    }

    /// The receiver has taken a message, or one of several.
    fn credit(&mut self, delivery: &Delivery) {
        if let Some(tag) = delivery.terms.tag() {
            debug_assert!(tag.stored.is_none(), "there is no store");
            match self.credits.last_mut() {
                Some((owner, group, count)) if (*owner, *group) == (tag.owner, tag.group) => {
                    *count += 1;
                }
                _ => self.credits.push((tag.owner, tag.group, 1)),
            }
        }
    }
}
