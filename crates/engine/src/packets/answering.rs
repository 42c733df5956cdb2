//! Acknowledgements to a client: at once, or when what they promise is where it has to be.
//!
//! A message that is retained by another shard is answered when that shard has it: whoever has seen the
//! answer and subscribes then gets the message as a retained one. One that has to be stored is answered when it is, in every
//! shard that has a part in it. Acknowledgements leave in the order in which they became due, so one that waits holds
//! up those behind it.

use alloc::collections::VecDeque;
use core::num::NonZeroU64;

use martlet_codec::{Ack, Packet, PacketId, Properties, Publish, QoS, ReasonCode};

use crate::clients::connection::{HeldAnswer, Parked, Waits};
use crate::collections::slab::Key;
use crate::durable::Durable;
use crate::effects::{ConnId, Effects};
use crate::peering::parts::Who;
use crate::sending::writing::{AckKind, give_buffer, to_be_written};
use crate::shard::Shard;
use crate::time::Time;

/// The answers of other shards that one publish waits for.
#[derive(Debug)]
pub(crate) struct AwaitedParts {
    /// The client that it came from last, or the will that it is.
    pub(crate) who: Who,
    /// How many are missing: one for each message and shard.
    pub(crate) missing: u32,
    /// How many of the client's acknowledgements wait for them.
    pub(crate) answers: u32,
}

impl Shard {
    /// Answers a PUBLISH that was taken: nothing, PUBACK or PUBREC.
    pub(crate) fn acknowledge(
        &mut self,
        conn: Key,
        publish: &Publish<'_>,
        reason: ReasonCode,
        waits: Waits,
        now: Time,
        fx: &mut Effects,
    ) {
        //= mqtt5 3.3.4-1
        //= mqtt311 3.3.4-1
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            //= mqtt5 4.3.2-4
            //= mqtt311 4.3.2-2
            QoS::AtLeastOnce => AckKind::PubAck,
            //= mqtt5 4.3.3-8
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let reason = if reason == ReasonCode::Success || connection.version().is_v5() {
            reason
        } else {
            ReasonCode::Success
        };
        self.answer(conn, (kind, packet_id), reason, waits, now, fx);
    }

    /// Sends PUBACK, PUBREC, PUBREL or PUBCOMP when what it waits for is done, and those before it have left.
    pub(crate) fn answer(
        &mut self,
        conn: Key,
        (kind, packet_id): (AckKind, PacketId),
        reason: ReasonCode,
        waits: Waits,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        if !waits.is_nothing() || !connection.held_answers.is_empty() {
            self.hold_answer(conn, (kind, packet_id), reason, waits);
            return;
        }
        // Success is four bytes in every version.
        let short = connection.packet_bytes_max >= 4
            && connection.outbox.len() < self.config.limits.outbox_bytes_max;
        if reason == ReasonCode::Success && short {
            give_buffer(connection, &mut self.scratch.pool);
            let [high, low] = packet_id.get().to_be_bytes();
            connection
                .outbox
                .bytes()
                .extend_from_slice(&[kind as u8, 2, high, low]);
            connection.counted_bytes += 4;
            self.memory_bytes += 4;
            to_be_written(connection, conn, fx);
            return;
        }
        // Nothing but the reason: no client is too small for that.
        //= mqtt5 2.2.1-5
        //= mqtt311 2.3.1-6
        //= mqtt5 3.1.2-29
        //= mqtt5 3.4.2-2
        //= mqtt5 3.4.2-3
        //= mqtt5 3.5.2-2
        //= mqtt5 3.5.2-3
        //= mqtt5 3.6.2-2
        //= mqtt5 3.6.2-3
        //= mqtt5 3.7.2-2
        //= mqtt5 3.7.2-3
        let ack = Ack {
            packet_id,
            reason,
            properties: Properties::EMPTY,
        };
        let packet = match kind {
            AckKind::PubAck => Packet::PubAck(ack),
            AckKind::PubRec => Packet::PubRec(ack),
            AckKind::PubRel => Packet::PubRel(ack),
            AckKind::PubComp => Packet::PubComp(ack),
        };
        self.write(conn, &packet, now, fx);
    }

    /// The same for the first `count` of these, which wait for the same.
    pub(crate) fn answer_all(
        &mut self,
        conn: Key,
        (kind, count): (AckKind, usize),
        ids: impl Iterator<Item = PacketId>,
        waits: Waits,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.connections.get_mut(conn).filter(|_| count > 0) else {
            return;
        };
        let ids = ids.take(count);
        if !waits.is_nothing() || !connection.held_answers.is_empty() {
            self.hold_answers(conn, kind, ids, ReasonCode::Success, waits);
            return;
        }
        let len = count * Ack::SHORT_LEN;
        if (connection.packet_bytes_max as usize) < Ack::SHORT_LEN
            || connection.outbox.len() + len > self.config.limits.outbox_bytes_max
        {
            for id in ids {
                self.answer(conn, (kind, id), ReasonCode::Success, waits, now, fx);
            }
            return;
        }
        give_buffer(connection, &mut self.scratch.pool);
        let out = connection.outbox.bytes();
        out.reserve(len);
        for id in ids {
            let [high, low] = id.get().to_be_bytes();
            out.extend_from_slice(&[kind as u8, 2, high, low]);
        }
        connection.counted_bytes += len;
        self.memory_bytes += len;
        to_be_written(connection, conn, fx);
    }

    fn hold_answer(
        &mut self,
        conn: Key,
        (kind, packet_id): (AckKind, PacketId),
        reason: ReasonCode,
        waits: Waits,
    ) {
        self.hold_answers(conn, kind, core::iter::once(packet_id), reason, waits);
    }

    /// Holds acknowledgements that wait for the same.
    pub(crate) fn hold_answers(
        &mut self,
        conn: Key,
        kind: AckKind,
        packet_ids: impl Iterator<Item = PacketId>,
        reason: ReasonCode,
        waits: Waits,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let last = connection.held_answers.back();
        let is_looked_at = last.is_some_and(|last| last.waits.batch == waits.batch);
        if waits.batch != Waits::NOTHING.batch
            && !is_looked_at
            && let Some(durable) = &mut self.durable
        {
            durable.wait_for_answer(conn, waits.batch);
        }
        let answers = packet_ids.map(|packet_id| HeldAnswer {
            kind,
            packet_id,
            reason,
            waits,
        });
        connection.held_answers.make().extend(answers);
        let full = connection.held_answers.len() >= self.config.limits.held_answers_max;
        if full && connection.parked.is_none() {
            // Not read until some have gone.
            connection.parked = Some(Parked::Answers);
            self.counters.publishers_held += 1;
        }
    }

    /// How many more acknowledgements may be held. Without a store those of runs never are.
    pub(crate) fn room_for_answers(&self, conn: Key) -> usize {
        match (&self.durable, self.connections.get(conn)) {
            (Some(_), Some(connection)) => {
                let held = connection.held_answers.len();
                self.config.limits.held_answers_max.saturating_sub(held)
            }
            (Some(_) | None, _) => usize::MAX,
        }
    }

    /// Another shard (or this one, later than the publish itself) has stored so many parts of a publish.
    pub(crate) fn on_stored(
        &mut self,
        publish: NonZeroU64,
        count: u32,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(parts) = self.awaited_parts.get_mut(&publish) else {
            return;
        };
        parts.missing = parts.missing.saturating_sub(count);
        if parts.missing > 0 {
            return;
        }
        let (who, mut answers) = (parts.who, parts.answers);
        self.awaited_parts.remove(&publish);
        let conn = match who {
            Who::Client(conn) => conn,
            Who::Will => {
                self.will_is_done(publish, fx);
                return;
            }
        };
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        // There may be a thousand; those that wait for what was asked first stand in front.
        for answer in connection.held_answers.existing().into_iter().flatten() {
            if answer.waits.publish == publish.get() {
                answer.waits.publish = 0;
                answers = answers.saturating_sub(1);
                if answers == 0 {
                    break;
                }
            }
        }
        self.release_answers(conn, now, fx);
    }

    /// Sends the acknowledgements that need not wait any longer.
    pub(crate) fn release_answers(&mut self, conn: Key, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let mut held = core::mem::take(&mut connection.held_answers);
        if let Some(held) = held.existing() {
            self.release_short(conn, held, fx);
            while let Some(answer) = held.front().copied().filter(|a| self.may_leave(*a)) {
                held.pop_front();
                let what = (answer.kind, answer.packet_id);
                self.answer(conn, what, answer.reason, Waits::NOTHING, now, fx);
            }
        }
        held.release_memory();
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.held_answers = held;
        }
        self.read_again(conn, now, fx);
    }

    fn may_leave(&self, answer: HeldAnswer) -> bool {
        let is_stable = |durable: &Durable| durable.is_stable(answer.waits.batch);
        answer.waits.publish == 0 && self.durable.as_deref().is_none_or(is_stable)
    }

    /// Writes those in front that have four bytes, as nearly all have, in one piece.
    fn release_short(&mut self, conn: Key, held: &mut VecDeque<HeldAnswer>, fx: &mut Effects) {
        let may_leave =
            |answer: &&HeldAnswer| answer.reason == ReasonCode::Success && self.may_leave(**answer);
        let count = held.iter().take_while(may_leave).count();
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let room = self.config.limits.outbox_bytes_max;
        let room = room.saturating_sub(connection.outbox.len()) / Ack::SHORT_LEN;
        let count = count.min(room);
        if count == 0 || (connection.packet_bytes_max as usize) < Ack::SHORT_LEN {
            return;
        }
        give_buffer(connection, &mut self.scratch.pool);
        let out = connection.outbox.bytes();
        let len = count * Ack::SHORT_LEN;
        out.reserve(len);
        for answer in held.drain(..count) {
            let [high, low] = answer.packet_id.get().to_be_bytes();
            out.extend_from_slice(&[answer.kind as u8, 2, high, low]);
        }
        connection.counted_bytes += len;
        self.memory_bytes += len;
        to_be_written(connection, conn, fx);
    }

    /// Reads a connection again that was not read because of its held answers, if enough of them have gone.
    fn read_again(&mut self, conn: Key, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let room = connection.held_answers.len() <= self.config.limits.held_answers_max / 2;
        if room && connection.parked == Some(Parked::Answers) {
            connection.unpark(now);
            fx.resumed.push(ConnId(conn));
        }
    }
}
