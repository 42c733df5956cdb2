//! What waits for a session moves on: re-sends, its queue, retained messages for new subscriptions.

use martlet_codec::{PacketId, QoS, ReasonCode};
use martlet_session::Resend;

use crate::clients::client_session::ClientSession;
use crate::clients::connection::Waits;
use crate::collections::slab::Key;
use crate::durable::Source;
use crate::effects::Effects;
use crate::message::Kept;
use crate::publication::Publication;
use crate::record::BodyId;
use crate::sending::Delivered;
use crate::sending::delivery::{Attempt, Delivery, GroupTag, write_publish};
use crate::sending::outbox::Holder;
use crate::sending::queue::Front;
use crate::sending::writing::{AckKind, give_buffer};
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    /// Moves on whatever waits for this session, as far as its window and outbox allow: re-sends first,
    /// then the queue and retained messages in turn.
    #[inline]
    pub(crate) fn pump(&mut self, key: Key, now: Time, fx: &mut Effects) {
        let waits = |session: &ClientSession| !session.is_idle() || !session.replays.is_empty();
        if self.sessions.get(key).is_some_and(waits) {
            self.pump_waiting(key, now, fx);
        }
    }

    fn pump_waiting(&mut self, key: Key, now: Time, fx: &mut Effects) {
        loop {
            let Some(session) = self.sessions.get_mut(key) else {
                return;
            };
            let Some(conn) = session.connection else {
                return;
            };
            if session.is_idle() && session.replays.is_empty() {
                return;
            }
            let Some(connection) = self.connections.get(conn) else {
                return;
            };
            if connection.outbox.len() >= self.config.limits.outbox_bytes_max {
                // `on_flushed` comes back here.
                return;
            }
            let moved = if session.outbound.has_resends() {
                self.pump_resend(key, conn, now, fx)
            } else if session.replays.is_empty() {
                self.pump_express(key, conn, now, fx) && self.pump_queue(key, conn, now, fx)
            } else {
                session.replay_turn = !session.replay_turn;
                let retained_first = session.replay_turn;
                (retained_first && self.pump_replay(key, conn, now, fx))
                    || self.pump_queue(key, conn, now, fx)
                    || (!retained_first && self.pump_replay(key, conn, now, fx))
            };
            if !moved {
                return;
            }
        }
    }

    fn pump_resend(&mut self, key: Key, conn: Key, now: Time, fx: &mut Effects) -> bool {
        let cold = self.cold_resend(key);
        if cold.is_some_and(|body| !self.is_at_hand(key, body, fx)) {
            return false;
        }
        // Its message, if it is held by its id; `Some(None)`: it is lost.
        let stored = cold.map(|body| self.message_of(body));
        let (Some(session), Some(connection)) =
            (self.sessions.get_mut(key), self.connections.get_mut(conn))
        else {
            return false;
        };
        let (id, delivery) = match session.outbound.next_resend() {
            None => return false,
            Some(Resend::PubRel(packet_id)) => {
                let what = (AckKind::PubRel, packet_id);
                self.answer(conn, what, ReasonCode::Success, Waits::NOTHING, now, fx);
                return true;
            }
            Some(Resend::Publish(id, _, delivery)) => (id, delivery),
        };
        if matches!(stored, Some(None)) {
            self.counters.dropped_lost += 1;
            self.abandon(key, conn, id, now, fx);
            return true;
        }
        // Whether it has expired since is not asked: what was sent once is carried to its end.
        //= mqtt5 4.3.3-7
        //= mqtt5 4.8.2-4
        let stored = stored.as_ref().and_then(Option::as_ref);
        let (parts, holder) = match (&delivery.message, stored) {
            (Some(kept), _) => (kept.parts(), Holder::of_kept(kept)),
            (None, Some(message)) => (message.parts(), Holder::of(message)),
            (None, None) => {
                debug_assert!(false, "it is here, or was looked up");
                return false;
            }
        };
        //= mqtt5 3.3.1-1
        //= mqtt311 3.3.1-1
        let attempt = Attempt {
            packet_id: Some(id),
            dup: true,
            now,
        };
        give_buffer(connection, &mut self.scratch.pool);
        let written = write_publish(
            connection,
            &parts,
            holder,
            &delivery.terms,
            attempt,
            &mut self.scratch.own,
            &mut self.counters,
        );
        if written.is_err() {
            // The client takes smaller packets than on the connection before.
            self.counters.dropped_too_large += 1;
            self.abandon(key, conn, id, now, fx);
            return true;
        }
        self.counters.publishes_sent += 1;
        self.mark_dirty(conn, fx);
        if let (Some(body), Some(durable)) = (cold, &mut self.durable) {
            durable.used(body);
        }
        true
    }

    /// The body of the message to be sent again next, if it is held by its id.
    fn cold_resend(&self, key: Key) -> Option<BodyId> {
        match self.sessions.get(key)?.outbound.peek_resend()? {
            Delivery {
                message: None,
                body,
                ..
            } => *body,
            Delivery { .. } => None,
        }
    }

    /// Ends the flow of a message that cannot be sent again, as if the client had taken it. At QoS 2 PUBREL sees to that: the
    /// client may have got it before, and would take the next message with its identifier for a repetition.
    //= mqtt5 3.1.2-25
    fn abandon(&mut self, key: Key, conn: Key, id: PacketId, now: Time, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let Some((delivery, exactly_once)) = session.outbound.give_up(id) else {
            return;
        };
        if exactly_once {
            let waits = self.record_released(key, id, delivery.body, fx);
            let what = (AckKind::PubRel, id);
            self.answer(conn, what, ReasonCode::Success, waits, now, fx);
        } else {
            self.record_finished(key, id, delivery.body, fx);
            self.record_replayed(key, fx);
        }
        self.finish_delivery(key, &delivery, ReasonCode::Success, fx);
    }

    fn pump_queue(&mut self, key: Key, conn: Key, now: Time, fx: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let Some(front) = session.queue.front() else {
            return false;
        };
        if front.is_expired(now) {
            //= mqtt5 3.3.2-5
            self.counters.dropped_expired += 1;
            if let Some((place, delivery)) = self.pop_queue(key) {
                self.drop_queued(key, place, (delivery.body, delivery.terms.tag()), fx);
            }
            return true;
        }
        if front.qos() != QoS::AtMostOnce && !session.outbound.can_send() {
            return false;
        }
        if let Front::Stored(entry) = front {
            let body = entry.body;
            if !self.is_at_hand(key, body, fx) {
                return false;
            }
        }
        let Some((place, delivery)) = self.pop_queue(key) else {
            return false;
        };
        let Delivery {
            message,
            body,
            terms,
        } = delivery;
        let stored = match (&message, body) {
            (None, Some(body)) => self.message_of(body),
            (Some(_), _) | (None, None) => None,
        };
        let Some(message) = message.or_else(|| stored.map(Kept::of)) else {
            self.counters.dropped_lost += 1;
            self.drop_queued(key, place, (body, terms.tag()), fx);
            return true;
        };
        let mut publication = Publication::of_kept(&message);
        let from = Source::Queue(place, body);
        if let Delivered::Dropped(group) =
            self.transmit((key, conn), &mut publication, terms, from, now, fx)
        {
            self.drop_queued(key, place, (body, group), fx);
        } else if let (Some(body), Some(durable)) = (body, &mut self.durable) {
            durable.let_go(body);
        }
        true
    }

    fn pop_queue(&mut self, key: Key) -> Option<(u64, Delivery)> {
        let session = self.sessions.get_mut(key)?;
        let (place, delivery) = session.queue.pop()?;
        self.memory_bytes = self.memory_bytes.saturating_sub(delivery.held_bytes());
        Some((place, delivery))
    }

    /// A message from the queue will not be sent.
    fn drop_queued(
        &mut self,
        key: Key,
        place: u64,
        (body, group): (Option<BodyId>, Option<GroupTag>),
        fx: &mut Effects,
    ) {
        self.record_dropped(key, place, body, fx);
        if let (Some(body), Some(durable)) = (body, &mut self.durable) {
            durable.let_go(body);
        }
        if let Some(tag) = group {
            self.credit_group(&tag, key, fx);
        }
    }
}
