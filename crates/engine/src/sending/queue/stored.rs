//! Messages that wait and whose bodies are in the store: of each there is only what has to be known without it.

use alloc::collections::{BTreeMap, VecDeque};

use martlet_codec::QoS;
use triomphe::ThinArc;

use crate::clients::rare::Rare;
use crate::message::MessageParts;
use crate::record::{BodyId, BodySummary};
use crate::sending::delivery::{Delivery, SubscriptionIds, Terms};
use crate::time::Time;

/// What is known of a body without reading it: how large it is in memory, and when it is worth nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u32,
    /// In whole seconds of the shard's clock, rounded up, plus one; 0: never. Nothing is dropped too early.
    expires_s: u32,
}

impl Stamp {
    pub(crate) fn of(parts: &MessageParts<'_>, size: usize) -> Self {
        Self {
            size: u32::try_from(size).unwrap_or(u32::MAX),
            expires_s: parts.expires_at.map_or(0, seconds),
        }
    }

    pub(crate) fn of_summary(summary: BodySummary, expires_at: Option<Time>) -> Self {
        Self {
            size: summary.size_bytes,
            expires_s: expires_at.map_or(0, seconds),
        }
    }

    pub(crate) const fn size(self) -> usize {
        self.size as usize
    }

    pub(crate) fn is_expired(self, now: Time) -> bool {
        let expires_ms = u64::from(self.expires_s.saturating_sub(1)) * 1_000;
        self.expires_s != 0 && expires_ms <= now.as_millis()
    }
}

/// What [`Stamp::expires_s`] is for this time.
fn seconds(at: Time) -> u32 {
    u32::try_from(at.as_millis().div_ceil(1_000).saturating_add(1)).unwrap_or(u32::MAX)
}

/// In the order of their places.
#[derive(Debug, Default)]
pub(super) struct StoredList {
    entries: VecDeque<StoredEntry>,
    /// Bytes of their messages.
    bytes: usize,
    /// Subscription identifiers, where there are several, by place.
    ids: Rare<BTreeMap<u64, ThinArc<(), u32>>>,
}

/// There may be millions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredEntry {
    pub(super) place: u64,
    pub(crate) body: BodyId,
    pub(super) stamp: Stamp,
    /// The subscription identifier, 0 if there is none or several.
    id: u32,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    has_ids: bool,
}

impl StoredEntry {
    /// Whether a subscription identifier goes with it.
    pub(super) const fn has_ids(&self) -> bool {
        self.has_ids || self.id != 0
    }
}

impl StoredList {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn front(&self) -> Option<&StoredEntry> {
        self.entries.front()
    }

    pub(super) fn front_place(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.place)
    }

    /// Puts one into its place: mostly the last one.
    pub(super) fn insert(&mut self, place: u64, body: BodyId, terms: Terms, stamp: Stamp) {
        let mut entry = StoredEntry {
            place,
            body,
            stamp,
            id: 0,
            qos: terms.qos,
            retain: terms.retain,
            has_ids: false,
        };
        match terms.into_ids() {
            SubscriptionIds::None => {}
            SubscriptionIds::One(id) => entry.id = id,
            SubscriptionIds::Many(ids) => {
                entry.has_ids = true;
                self.ids.make().insert(place, ids);
            }
        }
        self.bytes += stamp.size();
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(1);
        }
        if self.entries.back().is_none_or(|last| last.place < place) {
            self.entries.push_back(entry);
        } else {
            let at = self.entries.partition_point(|other| other.place < place);
            self.entries.insert(at, entry);
        }
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Delivery)> {
        let entry = self.entries.pop_front()?;
        Some(self.taken(entry))
    }

    pub(super) fn take(&mut self, place: u64) -> Option<Delivery> {
        if self.entries.back()?.place < place {
            // At a start nearly all that come are asked for, to be sure that none is there twice.
            return None;
        }
        let found = self
            .entries
            .binary_search_by_key(&place, |entry| entry.place);
        let entry = self.entries.remove(found.ok()?)?;
        Some(self.taken(entry).1)
    }

    /// What waits, with its places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, BodyId, Terms)> {
        self.entries
            .iter()
            .map(|entry| (entry.place, entry.body, self.terms(entry)))
    }

    /// The bodies of the first ones, with their sizes.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (BodyId, usize)> {
        self.entries
            .iter()
            .map(|entry| (entry.body, entry.stamp.size()))
    }

    pub(super) fn back(&self) -> Option<(u64, BodyId, Terms)> {
        let entry = self.entries.back()?;
        Some((entry.place, entry.body, self.terms(entry)))
    }

    /// Gives back memory that is not needed for what waits.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    fn terms(&self, entry: &StoredEntry) -> Terms {
        let ids = match self.ids.get(&entry.place).filter(|_| entry.has_ids) {
            Some(ids) => SubscriptionIds::Many(ids.clone()),
            None => SubscriptionIds::from_option(entry.id),
        };
        // What a group has given is stored only when it is sent.
        Terms::with_ids(entry.qos, entry.retain, ids)
    }

    fn taken(&mut self, entry: StoredEntry) -> (u64, Delivery) {
        self.bytes = self.bytes.saturating_sub(entry.stamp.size());
        let terms = self.terms(&entry);
        if entry.has_ids
            && let Some(ids) = self.ids.existing()
        {
            ids.remove(&entry.place);
            self.ids.release_memory();
        }
        if self.entries.is_empty() && self.entries.capacity() > super::KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
        let delivery = Delivery {
            message: None,
            body: Some(entry.body),
            terms,
        };
        (entry.place, delivery)
    }
}

/// What a message costs in memory while its body is in the store only.
pub(crate) const STORED_BYTES: usize = size_of::<StoredEntry>();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Origin;

    /// Ten million messages that wait are ten million of these.
    #[test]
    fn an_entry_costs_few_bytes() {
        assert_eq!(STORED_BYTES, 32);
    }

    #[test]
    fn a_stamp_never_expires_before_its_message() {
        for expires_ms in [0, 1, 999, 1_000, 1_001, 86_400_000] {
            let parts = MessageParts {
                topic: "t".into(),
                shared_properties: &[],
                payload: &[],
                qos: QoS::AtLeastOnce,
                retain: false,
                expires_at: Some(Time::from_millis(expires_ms)),
                origin: Origin::NONE,
            };
            let stamp = Stamp::of(&parts, 100);
            for now in [0, 1, 999, 1_000, 1_001, 2_000, 86_399_999, 86_401_000] {
                let now = Time::from_millis(now);
                let message = parts.is_expired(now);
                assert!(message || !stamp.is_expired(now), "{expires_ms} at {now:?}");
                let late = Time::from_millis(now.as_millis().saturating_sub(1_000));
                assert!(stamp.is_expired(now) || !parts.is_expired(late));
            }
        }
    }
}
