//! SUBACK and UNSUBACK, which may have to wait for other shards.
//!
//! What is published after SUBACK was seen has to arrive, and what is published after UNSUBACK was seen must not. So either leaves when the
//! owners of the shared subscriptions that are concerned have taken the change, and SUBACK when the first retained messages
//! are here as well. Until then nothing more is read from the client. Mostly nobody has to be asked, and the answer leaves at once.

use alloc::vec::Vec;

use martlet_codec::{Packet, PacketId, Properties, SubAck};

use crate::clients::connection::Parked;
use crate::collections::slab::Key;
use crate::effects::{ConnId, Effects};
use crate::shard::Shard;
use crate::time::Time;

/// An answer whose packet has been read.
#[derive(Debug)]
pub(crate) struct PendingAnswer {
    conn: Key,
    to: AnswerTo,
    packet_id: PacketId,
    /// One for each filter so far; none for an UNSUBACK of MQTT 3, which has none.
    pub(crate) reasons: Vec<u8>,
    /// How many have yet to do their part; the packet itself is one until all of its filters are dealt with.
    pub(crate) waiting_for: usize,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerTo {
    Subscribe,
    Unsubscribe,
}

impl Shard {
    /// An answer without reasons yet, and the ticket under which its parts are done.
    pub(crate) fn begin_answer(&mut self, conn: Key, to: AnswerTo, packet_id: PacketId) -> Key {
        let ticket = self.pending_answers.insert(PendingAnswer {
            conn,
            to,
            packet_id,
            reasons: Vec::new(),
            waiting_for: 1,
        });
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.pending_answer = Some(ticket);
        }
        ticket
    }

    /// All filters of the packet are dealt with.
    pub(crate) fn end_answer(&mut self, conn: Key, ticket: Key, now: Time, fx: &mut Effects) {
        self.answer_part_done(ticket, now, fx);
        // What this shard itself has to answer is answered here: mostly the next packet need not wait.
        self.settle(now, fx);
        if let Some(connection) = self.connections.get_mut(conn)
            && connection.pending_answer.is_some()
        {
            connection.parked = Some(Parked::PendingAnswer);
        }
    }

    /// One of the things that an answer waits for is done: a group's owner has taken a join or a leave, or the first
    /// retained messages are here.
    pub(crate) fn answer_part_done(&mut self, ticket: Key, now: Time, fx: &mut Effects) {
        // Gone with its connection: nobody waits for it.
        let Some(pending) = self.pending_answers.get_mut(ticket) else {
            return;
        };
        pending.waiting_for = pending.waiting_for.saturating_sub(1);
        if pending.waiting_for == 0 {
            self.send_answer(ticket, now, fx);
        }
    }

    fn send_answer(&mut self, ticket: Key, now: Time, fx: &mut Effects) {
        let Some(pending) = self.pending_answers.remove(ticket) else {
            return;
        };
        let answer = SubAck {
            //= mqtt5 2.2.1-6
            //= mqtt311 2.3.1-7
            //= mqtt5 3.8.4-7
            //= mqtt5 3.9.2-1
            //= mqtt5 3.9.2-2
            //= mqtt5 3.11.2-1
            //= mqtt5 3.11.2-2
            packet_id: pending.packet_id,
            properties: Properties::EMPTY,
            reasons: &pending.reasons,
        };
        let packet = match pending.to {
            //= mqtt5 3.8.4-1
            //= mqtt5 3.8.4-2
            //= mqtt311 3.8.4-1
            //= mqtt311 3.8.4-2
            AnswerTo::Subscribe => Packet::SubAck(answer),
            //= mqtt5 3.10.4-4
            //= mqtt5 3.10.4-5
            //= mqtt5 3.10.4-6
            //= mqtt311 3.10.4-4
            //= mqtt311 3.10.4-5
            //= mqtt311 3.10.4-6
            AnswerTo::Unsubscribe => Packet::UnsubAck(answer),
        };
        let session = self.connections.get(pending.conn).and_then(|c| c.session);
        if session.is_some_and(|session| self.stored(session).is_some()) {
            self.withhold(pending.conn, fx);
        }
        self.write(pending.conn, &packet, now, fx);
        let Some(connection) = self.connections.get_mut(pending.conn) else {
            return;
        };
        connection.pending_answer = None;
        if connection.parked == Some(Parked::PendingAnswer) {
            connection.unpark(now);
            fx.resumed.push(ConnId(pending.conn));
        }
    }
}
