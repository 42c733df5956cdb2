//! Records back to state. Nothing is believed to fit: what names something that is not there is left out.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use hashbrown::{HashMap, HashSet};
use martlet_codec::{PacketId, QoS, Version};
use martlet_session::Stage;

use crate::clients::client_session::{ClientSession, Membership, Will};
use crate::clients::client_slots::owner_of_topic;
use crate::collections::slab::Key;
use crate::config::SHARDS_MAX;
use crate::message::Message;
use crate::packets::subscribing::stop_refusing;
use crate::peering::parts::Doubt;
use crate::record::{BodyId, BodySummary, Record, SessionId, StoredOptions, StoredTerms};
use crate::retaining::replay::Replay;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::delivery::{Delivery, GroupTag, SubscriptionIds, Terms};
use crate::sending::queue::{STORED_BYTES, Stamp};
use crate::shard::{Shard, Subscriber};

use super::Durable;
use super::groups::RestoredGroups;

/// What is known only while a shard is restored.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    bodies: HashMap<BodyId, Message, foldhash::fast::FixedState>,
    /// Sessions that had a connection.
    pub(super) online: HashSet<Key, foldhash::fast::FixedState>,
    pub(super) groups: RestoredGroups,
    /// Sessions with flows whose message is not there.
    pub(super) rooms: HashSet<Key, foldhash::fast::FixedState>,
    /// Publishes that may come again, of all shards that have said theirs.
    pub(super) doubts: HashSet<u64, foldhash::fast::FixedState>,
    /// How many shards have said that they are restored.
    pub(super) heard: usize,
}

impl Recovery {
    /// Nothing refers to a body any more that is not there already.
    pub(super) fn forget_bodies(&mut self) {
        self.bodies = HashMap::default();
    }

    /// What has to be known of a body that has come whole.
    fn stamp_of(&self, body: BodyId) -> Option<Stamp> {
        let message = self.bodies.get(&body)?;
        Some(Stamp::of(&message.parts(), message.size()))
    }

    /// A record of a group's queue.
    fn restore_of_group(&mut self, record: &Record<'_>) {
        if let Record::GroupQueued {
            group,
            sequence,
            body,
        } = *record
            && let Some(message) = self.bodies.get(&body).cloned()
        {
            let queue = match self.groups.get_mut(group) {
                Some(queue) => queue,
                None => self.groups.entry(group.into()).or_default(),
            };
            queue.insert(sequence, (body, message));
        } else if let Record::GroupDone {
            group, sequence, ..
        } = *record
            && let Some(queue) = self.groups.get_mut(group)
        {
            queue.remove(&sequence);
        }
    }
}

impl Shard {
    /// One record of the store: those of this shard's slots, each slot's in the order of the log, and the bodies that
    /// they refer to, each before the first such record. Before the first connection, and before [`Shard::restored`].
    ///
    /// With [`Record::Queued`] a summary of its body will do; only what topics and groups have must come whole.
    pub fn restore(&mut self, record: &Record<'_>, summary: Option<BodySummary>) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let recovery = durable.recovery.get_or_insert_default();
        match *record {
            Record::SlotBegin { slot } => self.forget_slot(slot),
            Record::Body { body, ref message } => {
                let message = durable.config.message_of(message);
                recovery.bodies.insert(body, message);
            }
            Record::Session {
                session,
                client_id,
                version,
                expiry_s,
            } => self.restore_session(session, client_id, version, expiry_s),
            Record::Retained { slot, body, .. } => {
                // In a damaged store a record may name a body of another topic.
                let message = recovery.bodies.get(&body);
                let message = message.filter(|message| crate::slot_of(message.topic()) == slot);
                if let Some(message) = message.cloned() {
                    durable.slot(slot).kept.set(message, body);
                }
            }
            Record::RetainedCleared { topic, .. } => {
                durable.slot(crate::slot_of(topic)).kept.clear(topic);
            }
            Record::GroupQueued { .. } | Record::GroupDone { .. } => {
                recovery.restore_of_group(record);
            }
            Record::Taken { slot, publish } => {
                durable.taken.entry(publish).or_default().insert(slot);
            }
            Record::WillUnderWay {
                session,
                publish,
                ref message,
            } => {
                let message = durable.config.message_of(message);
                durable.restore_will(session, publish, message);
            }
            Record::WillDone { publish, .. } => durable.forget_will(publish),
            Record::SlotEnd { .. } => {}
            Record::Queued { session, body, .. } => {
                let stamp = match summary {
                    Some(summary) => Some(durable.config.stamp_of(summary)),
                    None => recovery.stamp_of(body),
                };
                if let Some(key) = durable.key_of(session) {
                    self.restore_queued(key, record, stamp);
                }
            }
            Record::Offline { session, .. }
            | Record::SessionEnded { session }
            | Record::Will { session, .. }
            | Record::WillCleared { session }
            | Record::Subscribed { session, .. }
            | Record::Unsubscribed { session, .. }
            | Record::Replayed { session, .. }
            | Record::Sent { session, .. }
            | Record::Dropped { session, .. }
            | Record::Released { session, .. }
            | Record::Finished { session, .. }
            | Record::Received { session, .. }
            | Record::Completed { session, .. } => {
                if let Some(key) = durable.key_of(session) {
                    self.restore_of_session(key, record);
                }
            }
        }
    }

    fn restore_session(&mut self, id: SessionId, client_id: &str, version: Version, expiry_s: u32) {
        let known = self.durable.as_mut().and_then(|d| d.key_of(id));
        let key = known.unwrap_or_else(|| {
            if let Some(other) = self.session_of(client_id) {
                self.forget_session(other);
            }
            self.new_session(&client_id.into(), version)
        });
        if let Some(session) = self.sessions.get_mut(key) {
            // All of its filters do, until one of them asks for some.
            session.refuses_retained |= known.is_none() && self.config.shard_count > 1;
            session.stored_as = NonZeroU64::new(id.as_u64());
            session.version = version;
            session.expiry_s = expiry_s;
            session.ends_at = None;
        }
        if let Some(durable) = &mut self.durable {
            durable.slot(id.slot()).sessions.insert(id, key);
            durable.recovery.get_or_insert_default().online.insert(key);
        }
    }

    /// A record of a session that exists.
    fn restore_of_session(&mut self, key: Key, record: &Record<'_>) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get_mut(key)) else {
            return;
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the others are about messages"
        )]
        match *record {
            Record::Offline {
                ends_at, will_at, ..
            } => {
                session.ends_at = ends_at.map(|at| durable.time(at));
                if let Some(will) = &mut session.will {
                    will.due = will_at.map(|at| durable.time(at));
                }
                durable.recovery.get_or_insert_default().online.remove(&key);
            }
            Record::SessionEnded { .. } => self.forget_session(key),
            Record::Will {
                ref message,
                delay_s,
                expiry_s,
                ..
            } => {
                session.will = Some(Box::new(Will {
                    topic: message.topic.into(),
                    shared_properties: message.shared_properties.into(),
                    payload: message.payload.into(),
                    qos: message.qos,
                    retain: message.retain,
                    expiry_s,
                    delay_s,
                    due: None,
                }));
            }
            Record::WillCleared { .. } => session.will = None,
            Record::Subscribed {
                filter,
                options,
                replaying,
                ..
            } => self.restore_subscription(key, filter, options, replaying),
            Record::Unsubscribed { filter, .. } => {
                if let Some(memberships) = session.memberships.existing() {
                    memberships.retain(|m| &*m.filter != filter);
                }
                end_replay(session, filter);
                if let Some(id) = self.subscriptions.find(filter)
                    && session.filters.contains(id)
                {
                    session.filters.remove(id);
                    self.subscriptions.remove(id, Subscriber::Session(key));
                }
            }
            Record::Replayed { filter, .. } => end_replay(session, filter),
            Record::Received {
                packet_id, publish, ..
            } => self.restore_received(key, packet_id, publish),
            Record::Completed { packet_id, .. } => {
                session.inbound.release(packet_id);
                durable.doubts.remove(&(key, packet_id));
            }
            _ => self.restore_delivery(key, record),
        }
    }

    fn restore_received(&mut self, key: Key, packet_id: PacketId, publish: Option<u64>) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get_mut(key)) else {
            return;
        };
        session.inbound.restore(packet_id);
        durable.doubts.remove(&(key, packet_id));
        if let Some(publish) = publish.and_then(NonZeroU64::new) {
            let doubt = Doubt {
                publish,
                shards: u64::MAX >> (SHARDS_MAX - self.config.shard_count),
                restored: true,
            };
            durable.doubts.insert((key, packet_id), doubt);
        }
    }

    fn restore_subscription(
        &mut self,
        key: Key,
        filter: &str,
        options: StoredOptions,
        replaying: bool,
    ) {
        let options = SubscriptionOptions {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            subscription_id: options.subscription_id,
        };
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if filter.starts_with("$share/") {
            let name: Arc<str> = filter.into();
            let memberships = session.memberships.make();
            memberships.retain(|m| m.filter != name);
            memberships.push(Membership {
                filter: name,
                options,
            });
            return;
        }
        let subscriber = Subscriber::Session(key);
        let (id, _) = self.subscriptions.insert(filter, subscriber, options);
        session.filters.insert(id);
        end_replay(session, filter);
        // Whatever this process takes was published behind it: nothing is late for it, and whether it ever
        // asked for retained messages is not stored.
        let refuses = !replaying && self.config.shard_count > 1;
        if !(refuses && session.refuses_retained) {
            self.refuse_one_by_one(key);
            stop_refusing(&mut self.refusing_retained, filter, subscriber);
            if refuses {
                self.refusing_retained.insert(filter, subscriber, options);
            }
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if replaying {
            let shards = self.config.shard_count;
            let sources: Vec<usize> = if filter.contains(['+', '#']) {
                (0..shards).collect()
            } else {
                alloc::vec![owner_of_topic(filter, shards)]
            };
            self.replay_sequence += 1;
            let id = self.replay_sequence;
            let seed = self.config.seed;
            let replay = Replay::new(id, filter.into(), options, sources, None, seed);
            session.replays.make().push_back(replay);
        }
    }

    /// A session has a message; without a stamp it is not there any more.
    fn restore_queued(&mut self, key: Key, record: &Record<'_>, stamp: Option<Stamp>) {
        let (
            Some(durable),
            Some(session),
            Record::Queued {
                position,
                body,
                terms,
                packet_id,
                ..
            },
        ) = (&mut self.durable, self.sessions.get_mut(key), record)
        else {
            return;
        };
        let (position, packet_id) = (*position, *packet_id);
        let Some(stamp) = stamp else {
            // Nothing refers to it any more, as a later record will say; or it is lost.
            if let Some(id) = packet_id {
                leave_room(session, id);
                durable.recovery.get_or_insert_default().rooms.insert(key);
            }
            return;
        };
        self.memory_bytes += STORED_BYTES;
        let delivery = Delivery {
            message: None,
            body: Some(*body),
            terms: restored_terms(terms, self.config.shard_count),
        };
        let gone = match packet_id {
            None => session.queue.restore(position, delivery, stamp),
            Some(id) => {
                let gone = session.outbound.forget(id);
                restore_in_flight(session, id, delivery);
                gone
            }
        };
        if let Some(gone) = gone {
            self.memory_bytes = self.memory_bytes.saturating_sub(gone.held_bytes());
        }
    }

    /// A record of a message for a session.
    fn restore_delivery(&mut self, key: Key, record: &Record<'_>) {
        let (Some(durable), Some(session)) = (&mut self.durable, self.sessions.get_mut(key)) else {
            return;
        };
        let recovery = durable.recovery.get_or_insert_default();
        let mut gone = None;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "`restore` has sorted them; the others are not about messages"
        )]
        match *record {
            Record::Sent {
                position,
                packet_id,
                ..
            } => {
                if let Some(delivery) = session.queue.take(position) {
                    gone = session.outbound.forget(packet_id);
                    restore_in_flight(session, packet_id, delivery);
                } else {
                    leave_room(session, packet_id);
                    recovery.rooms.insert(key);
                }
            }
            Record::Dropped { position, .. } => gone = session.queue.take(position),
            Record::Released { packet_id, .. } => {
                gone = session.outbound.restore_released(packet_id);
            }
            Record::Finished { packet_id, .. } => gone = session.outbound.forget(packet_id),
            _ => {}
        }
        if let Some(delivery) = gone {
            self.memory_bytes = self.memory_bytes.saturating_sub(delivery.held_bytes());
        }
    }

    /// A checkpoint of the slot begins.
    fn forget_slot(&mut self, slot: u8) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        if let Some(recovery) = &mut durable.recovery {
            recovery
                .groups
                .retain(|name, _| crate::slot_of(name) != slot);
        }
        durable.taken.retain(|_, slots| {
            slots.remove(slot);
            !slots.is_empty()
        });
        durable.forget_wills_of(slot);
        let place = durable.slot(slot);
        place.kept.forget();
        let sessions: Vec<Key> = place.sessions.values().copied().collect();
        for key in sessions {
            self.forget_session(key);
        }
    }

    /// The session is gone, without anything that its end would mean among the living.
    fn forget_session(&mut self, key: Key) {
        self.clients.remove(key, &self.sessions);
        let Some(session) = self.sessions.remove(key) else {
            return;
        };
        self.memory_bytes = self.memory_bytes.saturating_sub(session.held_bytes());
        for filter in session.filters.iter() {
            self.subscriptions.remove(filter, Subscriber::Session(key));
        }
        if let (Some(durable), Some(id)) = (&mut self.durable, session.stored()) {
            durable.slot(id.slot()).sessions.remove(&id);
            durable.doubts.retain(|(other, _), _| *other != key);
            durable.recovery.get_or_insert_default().online.remove(&key);
        }
    }
}

impl Durable {
    fn key_of(&mut self, session: SessionId) -> Option<Key> {
        self.slot(session.slot()).sessions.get(&session).copied()
    }
}

fn end_replay(session: &mut ClientSession, filter: &str) {
    if let Some(replays) = session.replays.existing() {
        replays.retain(|replay| &*replay.filter != filter);
    }
}

/// Keeps the place of a flow whose message is not there: it may have come to PUBREC.
fn leave_room(session: &mut ClientSession, id: PacketId) {
    session.outbound.restore(id, Stage::AwaitPubRec, None);
}

fn restore_in_flight(session: &mut ClientSession, id: PacketId, delivery: Delivery) {
    let stage = match delivery.terms.qos {
        QoS::ExactlyOnce => Stage::AwaitPubRec,
        QoS::AtLeastOnce | QoS::AtMostOnce => Stage::AwaitPubAck,
    };
    session.outbound.restore(id, stage, Some(delivery));
}

fn restored_terms(terms: &StoredTerms<'_>, shard_count: usize) -> Terms {
    let mut ids = SubscriptionIds::None;
    for id in terms.ids.iter() {
        ids.push(id);
    }
    let Some((filter, sequence)) = terms.group else {
        return Terms::with_ids(terms.qos, terms.retain, ids);
    };
    let tag = GroupTag {
        owner: crate::owner_of_group(filter, shard_count),
        // It will be made again, under another key; what is in flight is nothing to it any more.
        group: Key::NOBODY,
        sequence,
        stored: Some(filter.into()),
    };
    // A shared subscription has one at most.
    let id = ids.as_slice().first().copied().unwrap_or(0);
    Terms::of_group(terms.qos, terms.retain, id, tag)
}
