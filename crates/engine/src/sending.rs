//! A message to one session: at once if nothing is in its way, else through the session's queue; re-sends.
//!
//! Order: what waits in the queue goes before anything new, whatever the QoS. Retained messages for new
//! subscriptions have no place in the queue; they take turns with it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use martlet_codec::{PacketId, PropertiesBuf, QoS, ReasonCode};
use martlet_session::{PubRec, Resend};

use crate::connection::{Connection, Waits};
use crate::delivery::{Attempt, Delivery, SubscriptionIds, Terms, write_publish};
use crate::durable::{Source, Step, record_last_queued, stored_terms};
use crate::effects::Effects;
use crate::message::Message;
use crate::outbox::CHAIN_THRESHOLD;
use crate::peers::Peer;
use crate::publication::Publication;
use crate::queue::Pushed;
use crate::replay::{ChunkRequest, Replay};
use crate::routing::effective_qos;
use crate::shard::Shard;
use crate::slab::Key;
use crate::time::Time;
use crate::writing::{AckKind, give_buffer};

/// What became of a message for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is in the outbox or in the queue.
    Accepted,
    /// It is not, and will not be.
    Dropped,
}

impl Shard {
    /// Gives a live message to a session.
    pub(crate) fn deliver(
        &mut self,
        key: Key,
        publication: &mut Publication<'_>,
        terms: Terms,
        now: Time,
        fx: &mut Effects,
    ) {
        let group = terms.group.clone();
        let delivered = self.send_or_queue(key, publication, terms, now, fx);
        if publication.parts.retain
            && let Some(session) = self.sessions.get_mut(key)
            && let Some(replays) = session.replays.existing()
        {
            for replay in replays {
                match delivered {
                    Delivered::Accepted => replay.supersede(publication.message()),
                    Delivered::Dropped => replay.refresh(publication.message()),
                }
            }
        }
        if delivered == Delivered::Dropped
            && let Some(tag) = group
        {
            self.credit_group(&tag, key, fx);
        }
    }

    fn send_or_queue(
        &mut self,
        key: Key,
        publication: &mut Publication<'_>,
        terms: Terms,
        now: Time,
        fx: &mut Effects,
    ) -> Delivered {
        let outbox_max = self.config.limits.outbox_bytes_max;
        let Some(session) = self.sessions.get_mut(key) else {
            return Delivered::Dropped;
        };
        let Some(conn) = session.connection else {
            //= mqtt311 3.1.2-5
            //= mqtt5 4.5.0-1
            if terms.qos == QoS::AtMostOnce {
                self.counters.dropped_offline += 1;
                return Delivered::Dropped;
            }
            return self.enqueue(key, publication, terms, fx);
        };
        let idle = session.is_idle();
        let room = self
            .connections
            .get(conn)
            .is_some_and(|c| c.outbox.len() < outbox_max);
        let at_once = idle && room && (terms.qos == QoS::AtMostOnce || session.outbound.can_send());
        if at_once {
            if publication.parts.is_expired(now) {
                //= mqtt5 3.3.2-5
                self.counters.dropped_expired += 1;
                return Delivered::Dropped;
            }
            return self.transmit((key, conn), publication, &terms, Source::Live, now, fx);
        }
        if terms.qos == QoS::AtMostOnce && idle {
            // Only the outbox is in the way: the reader is too slow for QoS 0.
            session.dropped += 1;
            self.counters.dropped_outbox_full += 1;
            return Delivered::Dropped;
        }
        self.enqueue(key, publication, terms, fx)
    }

    fn enqueue(
        &mut self,
        key: Key,
        publication: &mut Publication<'_>,
        terms: Terms,
        fx: &mut Effects,
    ) -> Delivered {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(key) else {
            return Delivered::Dropped;
        };
        // Close to the memory budget, those who are away get nothing more: their queues would stop everybody.
        let nearly_full = self.memory_bytes >= limits.memory_budget_bytes / 5 * 4;
        if nearly_full && session.connection.is_none() {
            session.dropped += 1;
            self.counters.dropped_queue_full += 1;
            return Delivered::Dropped;
        }
        let before = session.queue.bytes();
        let mut body = None;
        if let Some(durable) = &mut self.durable {
            let kind = (terms.qos, terms.group.is_some());
            body = durable.body_for(session, publication, kind, Step::Queue, fx);
        }
        let delivery = Delivery {
            message: publication.message().clone(),
            body,
            terms,
        };
        let pushed = session.queue.push(
            delivery,
            limits.session_queue_messages_max,
            limits.session_queue_bytes_max,
        );
        self.memory_bytes = (self.memory_bytes + session.queue.bytes()).saturating_sub(before);
        if body.is_some() && !matches!(pushed, Pushed::Refused) {
            record_last_queued(session, fx);
        }
        match pushed {
            Pushed::Queued => {
                self.counters.queued += 1;
                Delivered::Accepted
            }
            Pushed::Displaced(count) => {
                self.counters.queued += 1;
                session.dropped += count;
                self.counters.dropped_queue_full += count;
                Delivered::Accepted
            }
            Pushed::Refused => {
                session.dropped += 1;
                self.counters.dropped_queue_full += 1;
                Delivered::Dropped
            }
        }
    }

    /// Puts a message into the outbox; QoS 1 and 2 take a packet identifier. The caller has checked the window.
    fn transmit(
        &mut self,
        (key, conn): (Key, Key),
        publication: &mut Publication<'_>,
        terms: &Terms,
        from: Source,
        now: Time,
        fx: &mut Effects,
    ) -> Delivered {
        let Some(connection) = self.connections.get_mut(conn) else {
            return Delivered::Dropped;
        };
        give_buffer(connection, &mut self.scratch.pool);
        let mut packet_id = None;
        if terms.qos != QoS::AtMostOnce {
            let fits = fits(connection, publication, terms, now, &mut self.scratch.own);
            let Some(session) = self.sessions.get_mut(key).filter(|_| fits) else {
                //= mqtt5 3.1.2-25
                self.counters.dropped_too_large += 1;
                return Delivered::Dropped;
            };
            //= mqtt5 4.3.2-1
            //= mqtt5 4.3.3-1
            let mut body = None;
            if let Some(durable) = &mut self.durable {
                body = from.body(durable, session, publication, terms, fx);
            }
            let exactly_once = terms.qos == QoS::ExactlyOnce;
            let delivery = Delivery {
                message: publication.message().clone(),
                body,
                terms: terms.clone(),
            };
            packet_id = session.outbound.send(exactly_once, delivery);
            if packet_id.is_none() {
                return Delivered::Dropped;
            }
            if let (Some(body), Some(durable)) = (body, &mut self.durable) {
                let to = (&mut *connection, conn);
                let sent = (body, stored_terms(terms));
                durable.record_sending(session, to, from, sent, packet_id, fx);
            }
            self.memory_bytes += publication.message().size();
        }
        //= mqtt5 3.3.1-1
        //= mqtt5 3.3.1-2
        //= mqtt5 3.3.1-3
        let attempt = Attempt {
            packet_id,
            dup: false,
            now,
        };
        let message = publication.shareable(CHAIN_THRESHOLD).cloned();
        let written = write_publish(
            connection,
            &publication.parts,
            message.as_ref(),
            terms,
            attempt,
            &mut self.scratch.own,
        );
        if written.is_err() {
            //= mqtt5 3.1.2-24
            //= mqtt5 3.1.2-25
            self.counters.dropped_too_large += 1;
            return Delivered::Dropped;
        }
        self.counters.publishes_sent += 1;
        self.mark_dirty(conn, fx);
        Delivered::Accepted
    }

    /// Moves on whatever waits for this session, as far as its window and outbox allow: re-sends first,
    /// then the queue and retained messages in turn.
    pub(crate) fn pump(&mut self, key: Key, now: Time, fx: &mut Effects) {
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
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let Some(connection) = self.connections.get_mut(conn) else {
            return false;
        };
        let too_large = match session.outbound.next_resend() {
            None => return false,
            Some(Resend::PubRel(packet_id)) => {
                let what = (AckKind::PubRel, packet_id);
                self.answer(conn, what, ReasonCode::Success, Waits::NOTHING, now, fx);
                return true;
            }
            Some(Resend::Publish(id, _, delivery)) => {
                //= mqtt5 3.3.1-1
                //= mqtt311 3.3.1-1
                let attempt = Attempt {
                    packet_id: Some(id),
                    dup: true,
                    now,
                };
                let (message, terms) = (&delivery.message, &delivery.terms);
                let own = &mut self.scratch.own;
                give_buffer(connection, &mut self.scratch.pool);
                let parts = message.parts();
                write_publish(connection, &parts, Some(message), terms, attempt, own)
                    .err()
                    .map(|_| (id, terms.qos))
            }
        };
        match too_large {
            None => {
                self.counters.publishes_sent += 1;
                self.mark_dirty(conn, fx);
            }
            // The client takes smaller packets than on the connection before.
            Some((id, qos)) => {
                self.counters.dropped_too_large += 1;
                self.abandon(key, id, qos, fx);
            }
        }
        true
    }

    /// Ends the flow of a message that cannot be sent again.
    fn abandon(&mut self, key: Key, id: PacketId, qos: QoS, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let delivery = match qos {
            QoS::ExactlyOnce => match session.outbound.on_pubrec(id, true) {
                PubRec::Refused(delivery) => Some(delivery),
                PubRec::Release(_) | PubRec::Unknown => None,
            },
            QoS::AtLeastOnce | QoS::AtMostOnce => session.outbound.on_puback(id),
        };
        if let Some(delivery) = delivery {
            self.record_finished(key, id, delivery.body, fx);
            self.record_replayed(key, fx);
            self.finish_delivery(key, &delivery, ReasonCode::Success, fx);
        }
    }

    fn pump_queue(&mut self, key: Key, conn: Key, now: Time, fx: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let Some(front) = session.queue.front() else {
            return false;
        };
        if front.message.is_expired(now) {
            //= mqtt5 3.3.2-5
            self.counters.dropped_expired += 1;
            if let Some((place, delivery)) = self.pop_queue(key) {
                self.drop_queued(key, place, &delivery, fx);
            }
            return true;
        }
        if front.terms.qos != QoS::AtMostOnce && !session.outbound.can_send() {
            return false;
        }
        let Some((place, delivery)) = self.pop_queue(key) else {
            return false;
        };
        let mut publication = Publication::of(&delivery.message);
        let terms = &delivery.terms;
        let from = Source::Queue(place, delivery.body);
        if self.transmit((key, conn), &mut publication, terms, from, now, fx) == Delivered::Dropped
        {
            self.drop_queued(key, place, &delivery, fx);
        }
        true
    }

    fn pop_queue(&mut self, key: Key) -> Option<(u64, Delivery)> {
        let session = self.sessions.get_mut(key)?;
        let (place, delivery) = session.queue.pop()?;
        self.memory_bytes = self.memory_bytes.saturating_sub(delivery.message.size());
        Some((place, delivery))
    }

    /// A message from the queue will not be sent.
    fn drop_queued(&mut self, key: Key, place: u64, delivery: &Delivery, fx: &mut Effects) {
        self.record_dropped(key, place, delivery.body, fx);
        if let Some(tag) = &delivery.terms.group {
            self.credit_group(tag, key, fx);
        }
    }

    /// Sends one retained message, or asks for more of them.
    fn pump_replay(&mut self, key: Key, conn: Key, now: Time, fx: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let Some(replays) = session.replays.existing() else {
            return false;
        };
        if replays.front().is_some_and(Replay::is_done) {
            if let Some(done) = replays.pop_front() {
                self.replay_sent(key, done.filter, fx);
            }
            return true;
        }
        let can_send = session.outbound.can_send();
        let Some(replay) = replays.front_mut() else {
            session.replays.release_memory();
            return false;
        };
        let options = replay.options;
        let Some((message, behind)) = replay.peek() else {
            if let Some(request) = replay.next_request() {
                self.request_chunk(key, request, fx);
            }
            return false;
        };
        let qos = effective_qos(message.qos(), options.qos);
        if message.is_expired(now) {
            replay.take();
            return true;
        }
        if (qos != QoS::AtMostOnce && !can_send) || session.queue.has_before(behind) {
            return false;
        }
        let message = message.clone();
        replay.take();
        //= mqtt5 3.3.1-9
        //= mqtt311 3.3.1-8
        let ids = SubscriptionIds::from_option(options.subscription_id);
        let terms = Terms {
            qos,
            retain: true,
            ids,
            group: None,
        };
        let mut publication = Publication::of(&message);
        let from = Source::Replay;
        self.transmit((key, conn), &mut publication, &terms, from, now, fx);
        true
    }

    /// Asks a shard for a replay's next chunk.
    pub(crate) fn request_chunk(&mut self, session: Key, request: ChunkRequest, fx: &mut Effects) {
        let ChunkRequest {
            source,
            replay,
            filter,
            after,
        } = request;
        let peer = Peer::RetainedRequest {
            session,
            replay,
            filter,
            after,
        };
        self.send_to(source, peer, fx);
    }

    /// A chunk of retained messages has come for this session; see `retaining.rs`.
    pub(crate) fn on_retained_chunk(
        &mut self,
        key: Key,
        replay_id: u64,
        mut messages: Vec<Message>,
        next: Option<Box<str>>,
        now: Time,
        fx: &mut Effects,
    ) {
        messages.retain(|message| !self.joins.bring(message));
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let behind = session.queue.end();
        let mut replays = session.replays.existing().into_iter().flatten();
        let Some(replay) = replays.find(|replay| replay.id == replay_id) else {
            return;
        };
        let ticket = replay.on_chunk(messages, next, behind);
        if replay.ticket.is_some()
            && let Some(request) = replay.next_request()
        {
            self.request_chunk(key, request, fx);
        }
        if let Some(ticket) = ticket {
            self.suback_part_done(ticket, now, fx);
        }
        self.pump(key, now, fx);
    }
}

/// Whether a PUBLISH is within the client's Maximum Packet Size, before an identifier is spent on it.
fn fits(
    connection: &Connection,
    publication: &Publication<'_>,
    terms: &Terms,
    now: Time,
    own: &mut PropertiesBuf,
) -> bool {
    if connection.packet_bytes_max == u32::MAX {
        return true;
    }
    crate::delivery::packet_len(connection.version(), &publication.parts, terms, now, own)
        <= connection.packet_bytes_max as usize
}
