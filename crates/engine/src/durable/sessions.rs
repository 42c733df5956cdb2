//! Records of sessions: their beginning and end, their wills and subscriptions.

use alloc::sync::Arc;
use core::num::NonZeroU64;

use martlet_codec::QoS;

use crate::clients::client_session::{ClientSession, Will};
use crate::clients::client_slots::slot_of;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::record::{Body, Record, SessionId, StoredOptions};
use crate::routing::interest::InterestKey;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::queue::STORED_BYTES;
use crate::shard::Shard;

impl ClientSession {
    /// Its name in the store; `None` unless it is durable.
    pub(crate) fn stored(&self) -> Option<SessionId> {
        self.stored_as
            .map(|number| SessionId::from_u64(number.get()))
    }
}

impl Shard {
    /// A client has come: its session begins, goes on, or is durable from now on or no longer. `had_will`: there was
    /// another will before.
    pub(crate) fn record_connected(&mut self, key: Key, had_will: bool, fx: &mut Effects) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        // One that ends with this connection, but has something that is only in the store, is stored until then.
        let wanted = self.durable.is_some() && (session.expiry_s > 0 || session.needs_store());
        match (session.stored(), wanted) {
            (None, false) => self.begin_unstored(key, fx),
            (None, true) => self.begin_storing(key, fx),
            (Some(_), false) => self.stop_storing(key, fx),
            (Some(id), true) => {
                push_session(session, id, fx);
                match &session.will {
                    Some(will) => push_will(will, id, fx),
                    None if had_will => fx.store.push(&Record::WillCleared { session: id }),
                    None => {}
                }
            }
        }
    }

    /// A session that is not stored. A crash now could bring back an earlier one of its client, which has ended, perhaps on a
    /// connection before, but not in the store yet. Or one of another client of its slot: they are not told apart.
    fn begin_unstored(&self, key: Key, fx: &mut Effects) {
        let (Some(durable), Some(session)) = (&self.durable, self.sessions.get(key)) else {
            return;
        };
        if let Some(slot) = durable.slots.get(usize::from(slot_of(&session.client_id)))
            && !durable.is_stable(slot.ended)
        {
            fx.store.said_before();
        }
    }

    /// The session is durable from now on: all of it is written.
    fn begin_storing(&mut self, key: Key, fx: &mut Effects) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get_mut(key)) else {
            return;
        };
        let slot = slot_of(&session.client_id);
        let id = SessionId::new(durable.next_session, slot);
        durable.next_session += 1;
        session.stored_as = NonZeroU64::new(id.as_u64());
        durable.slot(slot).sessions.insert(id, key);
        push_session(session, id, fx);
        if let Some(will) = &session.will {
            push_will(will, id, fx);
        }
        debug_assert!(
            session.filters.len() == 0 && session.queue.is_empty(),
            "a session that ends with its connection is never found by another one"
        );
    }

    /// The session is not durable any longer, or ends: every reference that it has ends. Nothing if it was not.
    pub(crate) fn stop_storing(&mut self, key: Key, fx: &mut Effects) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get_mut(key)) else {
            return;
        };
        let Some(id) = session.stored() else {
            return;
        };
        session.stored_as = None;
        durable.slot(id.slot()).sessions.remove(&id);
        durable.replayed.remove(&key);
        while let Some((position, body)) = session.queue.pop_stored() {
            self.memory_bytes = self.memory_bytes.saturating_sub(STORED_BYTES);
            durable.let_go(body);
            fx.store.push(&Record::Dropped {
                session: id,
                position,
                body,
            });
        }
        for (packet_id, delivery) in session.outbound.messages_mut() {
            if let Some(body) = delivery.body.take() {
                if delivery.message.is_none() {
                    durable.let_go(body);
                }
                fx.store.push(&Record::Finished {
                    session: id,
                    packet_id,
                    body: Some(body),
                });
            }
        }
        fx.store.push(&Record::SessionEnded { session: id });
        durable.slot(id.slot()).ended = fx.store.newest();
        let mut buffer = core::mem::take(&mut self.scratch.filter);
        for filter in session.filters.iter() {
            let text = self.subscriptions.text(filter, &mut buffer);
            let entry = InterestKey::of_filter(text);
            self.interest.remove_durable(entry, self.config.index);
        }
        self.scratch.filter = buffer;
        self.end_doubts(key, fx);
    }

    /// The session has lost its connection, and goes on without.
    pub(crate) fn record_offline(&self, key: Key, fx: &mut Effects) {
        let (Some(durable), Some(session)) = (&self.durable, self.sessions.get(key)) else {
            return;
        };
        if let Some(id) = session.stored() {
            fx.store.push(&Record::Offline {
                session: id,
                ends_at: session.ends_at.map(|at| durable.wall_time(at)),
                will_at: session.will_at().map(|at| durable.wall_time(at)),
            });
        }
    }

    /// The session's will is published, or deleted.
    pub(crate) fn record_will_cleared(&self, key: Key, fx: &mut Effects) {
        if let Some(session) = self.stored(key) {
            fx.store.push(&Record::WillCleared { session });
        }
    }

    /// A session has subscribed: newly, or in place of a subscription with the same filter.
    pub(crate) fn record_subscribed(
        &mut self,
        key: Key,
        filter: &str,
        options: SubscriptionOptions,
        fx: &mut Effects,
    ) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get(key)) else {
            return;
        };
        let Some(id) = session.stored() else {
            return;
        };
        durable.forget_replayed(key, filter);
        let mut replays = session.replays.iter();
        fx.store.push(&Record::Subscribed {
            session: id,
            filter,
            options: stored_options(options),
            replaying: replays.any(|replay| &*replay.filter == filter),
        });
    }

    /// A subscription is gone.
    pub(crate) fn record_unsubscribed(&mut self, key: Key, filter: &str, fx: &mut Effects) {
        let Some(session) = self.stored(key) else {
            return;
        };
        if let Some(durable) = &mut self.durable {
            durable.forget_replayed(key, filter);
        }
        fx.store.push(&Record::Unsubscribed { session, filter });
    }

    /// All retained messages for a subscription are sent. It counts as done when those of QoS 1, of which there are no records,
    /// are acknowledged; before that, a crash begins the replay anew.
    pub(crate) fn replay_sent(&mut self, key: Key, filter: Arc<str>, fx: &mut Effects) {
        if self.stored(key).is_none() {
            return;
        }
        if let Some(durable) = &mut self.durable {
            durable.replayed.entry(key).or_default().push(filter);
        }
        self.record_replayed(key, fx);
    }

    /// The client has acknowledged something: perhaps the last message of a replay.
    pub(crate) fn record_replayed(&mut self, key: Key, fx: &mut Effects) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get(key)) else {
            return;
        };
        if durable.replayed.is_empty() || !durable.replayed.contains_key(&key) {
            return;
        }
        let Some(id) = session.stored() else {
            return;
        };
        let mut in_flight = session.outbound.messages();
        let unrecorded = in_flight.any(|delivery| {
            delivery.body.is_none()
                && delivery.terms.qos == QoS::AtLeastOnce
                && !delivery.terms.is_of_group()
        });
        if unrecorded {
            return;
        }
        for filter in durable.replayed.remove(&key).unwrap_or_default() {
            fx.store.push(&Record::Replayed {
                session: id,
                filter: &filter,
            });
        }
    }
}

impl super::Durable {
    /// Whether the retained messages of a subscription are sent, and not all acknowledged.
    pub(super) fn replayed_not_acknowledged(&self, key: Key, filter: &str) -> bool {
        let mut filters = self.replayed.get(&key).into_iter().flatten();
        filters.any(|other| &**other == filter)
    }

    /// What was replayed for a subscription is of no interest any more: there is a new one, or none.
    fn forget_replayed(&mut self, key: Key, filter: &str) {
        if self.replayed.is_empty() {
            return;
        }
        if let Some(filters) = self.replayed.get_mut(&key) {
            filters.retain(|other| &**other != filter);
            if filters.is_empty() {
                self.replayed.remove(&key);
            }
        }
    }
}

pub(super) fn push_session(session: &ClientSession, id: SessionId, fx: &mut Effects) {
    fx.store.push(&Record::Session {
        session: id,
        client_id: &session.client_id,
        version: session.version,
        expiry_s: session.expiry_s,
    });
}

pub(super) fn push_will(will: &Will, id: SessionId, fx: &mut Effects) {
    fx.store.push(&Record::Will {
        session: id,
        message: Body {
            topic: &will.topic,
            shared_properties: &will.shared_properties,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_at: None,
        },
        delay_s: will.delay_s,
        expiry_s: will.expiry_s,
    });
}

pub(super) const fn stored_options(options: SubscriptionOptions) -> StoredOptions {
    StoredOptions {
        qos: options.qos,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        subscription_id: options.subscription_id,
    }
}
