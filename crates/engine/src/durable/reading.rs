//! Bodies that are in the store only: asking for them, and what waits for the answer.
//!
//! A session whose oldest message is not in memory waits; nothing overtakes that message. The driver answers with
//! [`Shard::on_bodies`], whenever and in whatever order: a session that is gone by then, or was taken over, is looked up
//! again, and a body that nobody needs any more is let go of like any other.

use alloc::vec::Vec;

use crate::collections::slab::Key;
use crate::config::StoreConfig;
use crate::effects::Effects;
use crate::message::{Message, MessageParts, Origin};
use crate::record::{Body, BodyId, BodySummary, WallTime};
use crate::sending::queue::{STORED_BYTES, Stamp};
use crate::shard::Shard;
use crate::time::Time;

use super::Durable;

/// The store's answer to one of [`Effects::wanted_bodies`].
#[derive(Debug, Clone)]
pub struct FetchedBody {
    /// What was asked for.
    pub body: BodyId,
    /// The message; `None`: the store does not have it, or it cannot be read.
    pub message: Option<Message>,
}

impl StoreConfig {
    /// A body as a message of the shards that were told this.
    #[must_use]
    pub fn message_of(&self, body: &Body<'_>) -> Message {
        self.parts_of(body).to_message()
    }

    /// The same of what is known without the body.
    pub(super) fn stamp_of(&self, summary: BodySummary) -> Stamp {
        Stamp::of_summary(summary, summary.expires_at.map(|at| self.time(at)))
    }

    /// Wall time as the shards' time; 0 for everything before them.
    pub(super) const fn time(&self, wall: WallTime) -> Time {
        Time::from_millis(wall.0.saturating_sub(self.unix_ms_at_zero))
    }

    pub(super) fn parts_of<'a>(&self, body: &Body<'a>) -> MessageParts<'a> {
        MessageParts {
            topic: body.topic.into(),
            shared_properties: body.shared_properties,
            payload: body.payload,
            qos: body.qos,
            retain: body.retain,
            expires_at: body.expires_at.map(|at| self.time(at)),
            origin: Origin::NONE,
        }
    }
}

impl Durable {
    /// A message is held by its id from now on: what is known of it without looking.
    pub(crate) fn hold(&mut self, body: BodyId, message: &Message, fx: &Effects) -> Stamp {
        self.cache.hold(body, message, fx.store.newest());
        Stamp::of(&message.parts(), message.size())
    }

    /// Somebody who held it by its id does not any more.
    pub(crate) fn let_go(&mut self, body: BodyId) {
        self.cache.let_go(body, self.stable);
    }

    /// The message of a body, if it is in memory.
    pub(crate) fn look(&mut self, body: BodyId) -> Option<&Message> {
        self.cache.look(body)
    }

    /// A message that was read back has been sent, and is held by its id as before.
    pub(crate) fn used(&mut self, body: BodyId) {
        self.cache.used(body);
    }

    /// Gives memory back as far as it is due.
    pub(crate) fn evict(&mut self) {
        self.cache.evict(self.stable);
    }
}

impl Shard {
    /// What the store has for [`Effects::wanted_bodies`]: some of it, in any order. Leaves `bodies` empty.
    pub fn on_bodies(&mut self, bodies: &mut Vec<FetchedBody>, now: Time, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let mut waiting = Vec::new();
        for FetchedBody { body, message } in bodies.drain(..) {
            self.counters.bodies_read += u64::from(message.is_some());
            durable.cache.answered(body, message, &mut waiting);
        }
        waiting.sort_unstable();
        waiting.dedup();
        for session in waiting {
            self.pump(session, now, fx);
        }
        while let Some(session) = self.durable.as_mut().and_then(|d| d.cache.whose_turn()) {
            self.pump(session, now, fx);
        }
        if let Some(durable) = &mut self.durable {
            durable.cache.missing.clear();
            // Only now: what was read has been sent as far as there was room for it.
            durable.evict();
        }
        self.settle(now, fx);
    }

    /// Whether what is next for a session is in memory, or lost. If not, it is asked for, with some of what comes behind.
    pub(crate) fn is_at_hand(&mut self, key: Key, body: BodyId, fx: &mut Effects) -> bool {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get(key)) else {
            return true;
        };
        if durable.cache.look(body).is_some() || durable.cache.missing.contains(&body) {
            return true;
        }
        let wanted = &mut fx.wanted_bodies;
        if session.outbound.has_resends() {
            let unsent = session.outbound.unsent();
            let stored = unsent.filter(|delivery| delivery.message.is_none());
            let bodies = stored.filter_map(|delivery| Some((delivery.body?, 0)));
            durable.cache.ask(key, bodies, wanted);
        } else {
            durable.cache.ask(key, session.queue.bodies(), wanted);
        }
        false
    }

    /// The message of a body that is at hand; `None`: it is lost.
    pub(crate) fn message_of(&mut self, body: BodyId) -> Option<Message> {
        self.durable.as_mut()?.look(body).cloned()
    }

    /// The session has lost its connection: what was in flight is held by its ids.
    pub(crate) fn cool_window(&mut self, key: Key, fx: &Effects) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get_mut(key)) else {
            return;
        };
        if session.stored().is_none() {
            return;
        }
        for (_, delivery) in session.outbound.messages_mut() {
            if let Some(body) = delivery.body
                && let Some(message) = delivery.message.take()
            {
                durable
                    .cache
                    .hold(body, &message.to_message(), fx.store.newest());
                self.memory_bytes =
                    (self.memory_bytes + STORED_BYTES).saturating_sub(message.size());
            }
        }
        durable.evict();
    }

    /// What the shard was told about its store.
    #[must_use]
    pub const fn store_config(&self) -> Option<StoreConfig> {
        self.config.store
    }

    /// Bytes of bodies in memory that are also in the store, or will be.
    #[must_use]
    pub fn cached_body_bytes(&self) -> usize {
        self.durable
            .as_ref()
            .map_or(0, |durable| durable.cache.bytes())
    }

    /// Bodies that the store has been asked for.
    #[must_use]
    pub fn asked_body_count(&self) -> usize {
        self.durable
            .as_ref()
            .map_or(0, |durable| durable.cache.asked_count())
    }
}
