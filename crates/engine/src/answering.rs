//! Acknowledgements to a client: at once, or when what they promise is where it has to be.
//!
//! A message that is retained by another shard is answered when that shard has it: whoever has seen the
//! answer and subscribes then gets the message as a retained one. One that has to be stored is answered when it is, in every
//! shard that has a part in it. Acknowledgements leave in the order in which they became due, so one that waits holds
//! up those behind it.

use core::num::NonZeroU64;

use martlet_codec::{PacketId, Publish, QoS, ReasonCode};

use crate::connection::{HeldAnswer, Parked, Waits};
use crate::effects::{ConnId, Effects};
use crate::shard::Shard;
use crate::slab::Key;
use crate::time::Time;
use crate::writing::AckKind;

/// The answers of other shards that one publish waits for.
#[derive(Debug)]
pub(crate) struct AwaitedParts {
    /// The connection that it came from last.
    pub(crate) conn: Key,
    /// How many are missing.
    pub(crate) missing: u32,
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
        let reason = if self.version_of(conn).is_v5() {
            reason
        } else {
            ReasonCode::Success
        };
        self.answer(conn, (kind, packet_id), reason, waits, now, fx);
    }

    /// Sends an acknowledgement when what it waits for is done, and those before it have left.
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
        if waits == Waits::default() && connection.held_answers.is_empty() {
            self.write_ack(conn, (kind, packet_id), reason, now, fx);
            return;
        }
        if let (Some(batch), Some(durable)) = (waits.batch, self.durable.as_mut())
            && connection
                .held_answers
                .back()
                .is_none_or(|last| last.waits.batch != waits.batch)
        {
            durable.wait_for_answer(conn, batch);
        }
        connection.held_answers.make().push_back(HeldAnswer {
            kind,
            packet_id,
            reason,
            waits,
        });
    }

    /// Whether the connection has so many answers outstanding that it is not read until some have gone.
    pub(crate) fn has_too_many_held_answers(&mut self, conn: Key) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else {
            return false;
        };
        let full = connection.held_answers.len() >= HELD_ANSWERS_MAX;
        if full {
            connection.parked = Some(Parked::Answers);
        }
        full
    }

    /// Another shard (or this one, later than the publish itself) has stored its part of a publish.
    pub(crate) fn on_stored(&mut self, number: u64, now: Time, fx: &mut Effects) {
        let Some(publish) = NonZeroU64::new(number) else {
            return;
        };
        let Some(parts) = self.awaited_parts.get_mut(&publish) else {
            return;
        };
        parts.missing = parts.missing.saturating_sub(1);
        if parts.missing > 0 {
            return;
        }
        let conn = parts.conn;
        self.awaited_parts.remove(&publish);
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        for answer in connection.held_answers.existing().into_iter().flatten() {
            if answer.waits.publish == Some(publish) {
                answer.waits.publish = None;
            }
        }
        self.release_answers(conn, now, fx);
    }

    /// Sends the acknowledgements that need not wait any longer.
    pub(crate) fn release_answers(&mut self, conn: Key, now: Time, fx: &mut Effects) {
        loop {
            let Some(connection) = self.connections.get_mut(conn) else {
                return;
            };
            let Some(answer) = connection.held_answers.front().copied() else {
                break;
            };
            let unstable = |batch| self.durable.as_ref().is_some_and(|d| !d.is_stable(batch));
            if answer.waits.publish.is_some() || answer.waits.batch.is_some_and(unstable) {
                break;
            }
            if let Some(held) = connection.held_answers.existing() {
                held.pop_front();
            }
            connection.held_answers.release_memory();
            let what = (answer.kind, answer.packet_id);
            self.write_ack(conn, what, answer.reason, now, fx);
        }
        self.read_again(conn, fx);
    }

    /// Reads a connection again that was not read because of its held answers, if enough of them have gone.
    fn read_again(&mut self, conn: Key, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let room = connection.held_answers.len() <= HELD_ANSWERS_MAX / 2;
        if room && connection.parked == Some(Parked::Answers) {
            connection.parked = None;
            fx.resumed.push(ConnId(conn));
        }
    }
}

/// Answers that one connection may have outstanding; a v5 client is held to its Receive Maximum before.
const HELD_ANSWERS_MAX: usize = 1_024;
