//! A message to one session: at once if nothing is in its way, else through the session's queue (`pumping.rs`).
//!
//! Order: what waits in the queue goes before anything new, whatever the QoS. Retained messages for new
//! subscriptions have no place in the queue; they take turns with it.
//!
//! Map: `express` is the short way of a small message; `queue` what waits, `pumping` how it moves on,
//! `piece` how the messages of a run do that together; `delivery` is a PUBLISH with
//! its terms; `writing`, `outbox` and `buffers` are the way to the connection.

pub(crate) mod buffers;
pub(crate) mod delivery;
pub(crate) mod express;
pub(crate) mod outbox;
pub(crate) mod piece;
pub(crate) mod pumping;
pub(crate) mod queue;
pub(crate) mod writing;

use alloc::boxed::Box;
use alloc::vec::Vec;

use martlet_codec::{PropertiesBuf, QoS};

use crate::clients::connection::Connection;
use crate::collections::slab::Key;
use crate::counters::Counters;
use crate::durable::{Source, Step, record_last_queued, stored_terms};
use crate::effects::Effects;
use crate::message::Message;
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::report::Drops;
use crate::retaining::replay::{ChunkRequest, Replay};
use crate::routing::effective_qos;
use crate::sending::delivery::{
    Attempt, Delivery, GroupTag, SubscriptionIds, Terms, write_publish,
};
use crate::sending::outbox::{CHAIN_THRESHOLD, Holder};
use crate::sending::queue::Pushed;
use crate::sending::writing::give_buffer;
use crate::shard::Shard;
use crate::time::Time;

/// What became of a message for a session.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// It is in the outbox or in the queue.
    Accepted,
    /// It is not, and will not be. The shared subscription that had given it.
    Dropped(Option<GroupTag>),
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
        let delivered = self.send_or_queue(key, publication, terms, now, fx);
        if publication.parts.retain
            && let Some(session) = self.sessions.get_mut(key)
            && let Some(replays) = session.replays.existing()
        {
            for replay in replays {
                match &delivered {
                    Delivered::Accepted => replay.supersede(publication.message()),
                    Delivered::Dropped(_) => replay.refresh(publication.message()),
                }
            }
        }
        if let Delivered::Dropped(Some(tag)) = delivered {
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
            return Delivered::Dropped(terms.tag());
        };
        let Some(conn) = session.connection else {
            //= mqtt311 3.1.2-5
            //= mqtt5 4.5.0-1
            if terms.qos == QoS::AtMostOnce {
                self.counters.dropped_offline += 1;
                return Delivered::Dropped(terms.tag());
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
                return Delivered::Dropped(terms.tag());
            }
            return self.transmit((key, conn), publication, terms, Source::Live, now, fx);
        }
        if terms.qos == QoS::AtMostOnce && idle {
            // Only the outbox is in the way: the reader is too slow for QoS 0.
            session.dropped.outbox_full = session.dropped.outbox_full.saturating_add(1);
            self.counters.dropped_outbox_full += 1;
            return Delivered::Dropped(terms.tag());
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
            return Delivered::Dropped(terms.tag());
        };
        // Close to the memory budget, those who are away get nothing more: their queues would stop everybody.
        let nearly_full = self.memory_bytes >= limits.memory_budget_bytes / 5 * 4;
        if nearly_full && session.connection.is_none() {
            session.dropped.on_full_queue(1);
            self.counters.dropped_queue_full += 1;
            return Delivered::Dropped(terms.tag());
        }
        let before = session.queue.held_bytes();
        let mut body = None;
        if let Some(durable) = &mut self.durable {
            let kind = (terms.qos, terms.is_of_group());
            body = durable.body_for(session, publication, kind, Step::Queue, fx);
        }
        let messages_max = limits.session_queue_messages_max;
        let bytes_max = limits.session_queue_bytes_max;
        let pushed = if let (Some(body), Some(durable)) = (body, &mut self.durable) {
            let stamp = durable.hold(body, publication.message(), fx);
            let what = (body, terms, stamp);
            session.queue.push_stored(what, messages_max, bytes_max)
        } else {
            let delivery = Delivery {
                message: Some(publication.kept()),
                body: None,
                terms,
            };
            session.queue.push(delivery, messages_max, bytes_max)
        };
        self.memory_bytes = (self.memory_bytes + session.queue.held_bytes()).saturating_sub(before);
        if body.is_some() && !matches!(pushed, Pushed::Refused(_)) {
            record_last_queued(session, fx);
        }
        let Some(refused) = count_pushed(pushed, &mut session.dropped, &mut self.counters) else {
            return Delivered::Accepted;
        };
        if let (Some(body), Some(durable)) = (body, &mut self.durable) {
            durable.let_go(body);
        }
        Delivered::Dropped(refused.terms.tag())
    }

    /// Puts a message into the outbox; QoS 1 and 2 take a packet identifier. The caller has checked the window.
    pub(crate) fn transmit(
        &mut self,
        (key, conn): (Key, Key),
        publication: &mut Publication<'_>,
        mut terms: Terms,
        from: Source,
        now: Time,
        fx: &mut Effects,
    ) -> Delivered {
        let Some(connection) = self.connections.get_mut(conn) else {
            return Delivered::Dropped(terms.tag());
        };
        give_buffer(connection, &mut self.scratch.pool);
        let mut packet_id = None;
        let mut held_for_good = None;
        if terms.qos != QoS::AtMostOnce {
            let fits = fits(connection, publication, &terms, now, &mut self.scratch.own);
            let Some(session) = self.sessions.get_mut(key).filter(|_| fits) else {
                //= mqtt5 3.1.2-25
                self.counters.dropped_too_large += 1;
                return Delivered::Dropped(terms.tag());
            };
            //= mqtt5 4.3.2-1
            //= mqtt5 4.3.3-1
            let mut body = None;
            if let Some(durable) = &mut self.durable {
                body = from.body(durable, session, publication, &terms, fx);
            }
            let recorded = body.map(|body| (body, terms.clone()));
            let exactly_once = terms.qos == QoS::ExactlyOnce;
            // The group goes into the window; on the wire it does not show.
            let wire = terms.on_wire();
            let is_kept = body.is_some() || terms.is_of_group() || !session.is_passing();
            let delivery = Delivery {
                message: is_kept.then(|| publication.held()),
                body,
                terms: core::mem::replace(&mut terms, wire),
            };
            self.memory_bytes += delivery.held_bytes();
            packet_id = session.outbound.send(exactly_once, delivery);
            if packet_id.is_none() {
                debug_assert!(false, "the caller has checked the window");
                return Delivered::Dropped(None);
            }
            if let (Some((body, recorded)), Some(durable)) = (recorded, &mut self.durable) {
                let to = (&mut *connection, conn);
                let sent = (body, stored_terms(&recorded));
                durable.record_sending(session, to, from, sent, packet_id, fx);
                held_for_good = recorded.tag().filter(|_| exactly_once);
            }
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
        let holder = Holder {
            message: message.as_ref(),
            lent: publication.lent(),
        };
        let written = write_publish(
            connection,
            &publication.parts,
            holder,
            &terms,
            attempt,
            &mut self.scratch.own,
            &mut self.counters,
        );
        self.hold_for_good(key, held_for_good, fx);
        if written.is_err() {
            //= mqtt5 3.1.2-24
            //= mqtt5 3.1.2-25
            self.counters.dropped_too_large += 1;
            return Delivered::Dropped(terms.tag());
        }
        self.counters.publishes_sent += 1;
        self.mark_dirty(conn, fx);
        Delivered::Accepted
    }

    /// Sends one retained message, or asks for more of them.
    pub(crate) fn pump_replay(&mut self, key: Key, conn: Key, now: Time, fx: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let Some(replays) = session.replays.existing() else {
            return false;
        };
        if replays.front().is_some_and(Replay::is_done) {
            let done = replays.pop_front();
            session.replays.release_memory();
            if let Some(done) = done {
                self.replay_sent(key, done.filter, fx);
            }
            return true;
        }
        let can_send = session.outbound.can_send();
        let Some(replay) = replays.front_mut() else {
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
        let terms = Terms::with_ids(qos, true, ids);
        let mut publication = Publication::of(&message);
        let from = Source::Replay;
        self.transmit((key, conn), &mut publication, terms, from, now, fx);
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
            self.answer_part_done(ticket, now, fx);
        }
        self.pump(key, now, fx);
    }
}

/// Counts what became of a message that was pushed into a session's queue. Returns it if the queue refused it.
#[inline]
pub(crate) fn count_pushed(
    pushed: Pushed,
    dropped: &mut Drops,
    counters: &mut Counters,
) -> Option<Delivery> {
    let (gone, refused) = match pushed {
        Pushed::Queued => (0, None),
        Pushed::Displaced(count) => (count, None),
        Pushed::Refused(delivery) => (1, Some(delivery)),
    };
    counters.queued += u64::from(refused.is_none());
    if gone > 0 {
        dropped.on_full_queue(gone);
        counters.dropped_queue_full += gone;
    }
    refused
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
    delivery::packet_len(connection.version(), &publication.parts, terms, now, own)
        <= connection.packet_bytes_max as usize
}
