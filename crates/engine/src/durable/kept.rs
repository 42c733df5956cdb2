//! Records of retained messages, and which of a slot's topics have one.

use alloc::vec::Vec;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::clients::client_slots::slot_of;
use crate::effects::Effects;
use crate::message::Message;
use crate::publication::Publication;
use crate::record::{BodyId, Record};
use crate::retaining::retained::Retained;
use crate::shard::Shard;

/// The retained messages of one slot with their bodies.
#[derive(Debug)]
pub(super) struct KeptIndex {
    messages: HashTable<(Message, BodyId)>,
    hasher: FixedState,
}

impl KeptIndex {
    pub(super) const fn new(hasher: FixedState) -> Self {
        Self {
            messages: HashTable::new(),
            hasher,
        }
    }

    /// Keeps a message for its topic; returns the body of the one that it replaces.
    pub(super) fn set(&mut self, message: Message, body: BodyId) -> Option<BodyId> {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(message.topic_bytes());
        let same = |kept: &(Message, _)| kept.0.topic_bytes() == message.topic_bytes();
        let rehash = |kept: &(Message, _)| hasher.hash_one(kept.0.topic_bytes());
        match self.messages.entry(hash, same, rehash) {
            Entry::Occupied(mut entry) => {
                let (_, old) = core::mem::replace(entry.get_mut(), (message, body));
                Some(old)
            }
            Entry::Vacant(entry) => {
                entry.insert((message, body));
                None
            }
        }
    }

    /// Forgets a topic; returns the body of its message.
    pub(super) fn clear(&mut self, topic: &str) -> Option<BodyId> {
        let hash = self.hasher.hash_one(topic.as_bytes());
        let same = |kept: &(Message, _)| kept.0.topic_bytes() == topic.as_bytes();
        let entry = self.messages.find_entry(hash, same).ok()?;
        let ((_, body), _) = entry.remove();
        Some(body)
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        self.messages.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Message, BodyId)> {
        self.messages.iter()
    }
}

impl Shard {
    /// A message is the last retained one of its topic.
    pub(crate) fn record_retained(&mut self, publication: &mut Publication<'_>, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let Some(body) = durable.body_of(publication, fx) else {
            return;
        };
        let slot = slot_of(publication.parts.topic.as_str());
        publication.is_taken_by(slot);
        let message = publication.message().clone();
        let replaces = durable.slot(slot).kept.set(message, body);
        fx.store.push(&Record::Retained {
            slot,
            body,
            replaces,
        });
    }

    /// A topic has no retained message any more. If it had none before, that may be so because of an earlier clearing that a
    /// crash could undo: that one, or another of its slot, since topics are not told apart then.
    pub(crate) fn record_retained_cleared(&mut self, topic: &str, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let stable = durable.stable;
        let slot = durable.slot(slot_of(topic));
        if let Some(body) = slot.kept.clear(topic) {
            fx.store.push(&Record::RetainedCleared { topic, body });
            slot.cleared = fx.store.newest();
        } else if slot.cleared > stable {
            fx.store.said_before();
        }
    }

    /// Enters the retained messages where subscriptions look for them. Until now they stood with their slots only.
    pub(super) fn restore_retained(&mut self) {
        let slots = self.durable.iter().flat_map(|durable| &durable.slots);
        let kept = slots.flat_map(|slot| slot.kept.iter());
        let mut kept: Vec<(BodyId, Message)> = kept
            .map(|(message, body)| (*body, message.clone()))
            .collect();
        // As they were published, which is often the order of their topics, or made of runs of it.
        kept.sort_unstable_by_key(|(body, _)| *body);
        self.retained = Retained::of(kept.into_iter().map(|(_, message)| message));
    }
}
