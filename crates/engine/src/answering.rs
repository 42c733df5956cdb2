//! PUBACK and PUBREC: at once, or when the message is where it has to be.
//!
//! A message that is retained by another shard is answered when that shard has it: whoever has seen the
//! answer and subscribes then gets the message as a retained one. A durable store will hold answers back in the
//! same way. Answers leave in the order in which their messages came, so one that waits holds up those behind it.

use martlet_codec::{PacketId, Publish, QoS, ReasonCode};

use crate::connection::{HeldAnswer, Parked, StoreTicket};
use crate::effects::{ConnId, Effects};
use crate::shard::Shard;
use crate::slab::Key;
use crate::time::Time;
use crate::writing::AckKind;

impl Shard {
    /// Answers a PUBLISH that was taken: nothing, PUBACK or PUBREC, not before `waits_for` is done.
    pub(crate) fn acknowledge(
        &mut self,
        conn: Key,
        publish: &Publish<'_>,
        reason: ReasonCode,
        waits_for: Option<StoreTicket>,
        now: Time,
        fx: &mut Effects,
    ) {
        //= mqtt5 3.3.4-1
        //= mqtt311 3.3.4-1
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        if waits_for.is_none() && connection.held_answers.is_empty() {
            self.write_publish_answer(conn, publish.qos, packet_id, reason, now, fx);
            return;
        }
        connection.held_answers.push_back(HeldAnswer {
            qos: publish.qos,
            packet_id,
            reason,
            waits_for,
        });
        if let Some(ticket) = waits_for {
            self.awaiting_store.insert(ticket, conn);
        }
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

    /// Something that was given away is stored.
    pub(crate) fn on_stored(&mut self, ticket: StoreTicket, now: Time, fx: &mut Effects) {
        let Some(conn) = self.awaiting_store.remove(&ticket) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let mut held = connection.held_answers.iter_mut();
        if let Some(answer) = held.find(|answer| answer.waits_for == Some(ticket)) {
            answer.waits_for = None;
        }
        loop {
            let Some(connection) = self.connections.get_mut(conn) else {
                return;
            };
            let Some(answer) = connection.held_answers.front().copied() else {
                break;
            };
            if answer.waits_for.is_some() {
                break;
            }
            connection.held_answers.pop_front();
            self.write_publish_answer(conn, answer.qos, answer.packet_id, answer.reason, now, fx);
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

    fn write_publish_answer(
        &mut self,
        conn: Key,
        qos: QoS,
        packet_id: PacketId,
        reason: ReasonCode,
        now: Time,
        fx: &mut Effects,
    ) {
        let reason = if self.version_of(conn).is_v5() {
            reason
        } else {
            ReasonCode::Success
        };
        let kind = match qos {
            QoS::AtMostOnce => return,
            //= mqtt5 4.3.2-4
            //= mqtt311 4.3.2-2
            QoS::AtLeastOnce => AckKind::PubAck,
            //= mqtt5 4.3.3-8
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        self.write_ack(conn, (kind, packet_id), reason, now, fx);
    }
}

/// Answers that one connection may have outstanding; a v5 client is held to its Receive Maximum before.
const HELD_ANSWERS_MAX: usize = 1_024;
