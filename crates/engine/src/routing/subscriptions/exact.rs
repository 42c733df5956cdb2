//! Filters without wildcards: one look-up per topic, and a number for each that stays the same while it has subscribers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::SubscriptionOptions;
use super::list::List;
use crate::collections::paged::Paged;

/// The text of each filter is stored here and nowhere else; sessions refer to it by its number.
pub(super) struct ExactFilters<S> {
    filters: Paged<Exact<S>>,
    /// Places in `filters` that are free.
    unused: Vec<u32>,
    /// Places in `filters`, by text.
    index: HashTable<u32>,
    hasher: FixedState,
}

struct Exact<S> {
    topic: Box<str>,
    /// Empty: the place is free.
    subscribers: List<S>,
}

impl<S: Copy + Eq + Hash> ExactFilters<S> {
    pub(super) const fn new(hasher: FixedState) -> Self {
        Self {
            filters: Paged::new(),
            unused: Vec::new(),
            index: HashTable::new(),
            hasher,
        }
    }

    /// The number of a filter.
    pub(super) fn find(&self, topic: &str) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let same = |place: &u32| text_at(&self.filters, *place) == topic;
        self.index.find(self.hasher.hash_one(topic), same).copied()
    }

    /// The text of a filter; empty if there is none with this number.
    pub(super) fn text(&self, place: u32) -> &str {
        text_at(&self.filters, place)
    }

    pub(super) fn subscribers(&self, place: u32) -> Option<&List<S>> {
        self.filters
            .get(place as usize)
            .map(|exact| &exact.subscribers)
    }

    /// The number and the subscribers of a filter, which is made if it is missing. The caller puts one in.
    #[expect(
        clippy::expect_used,
        reason = "a wrong place in the index must not go unnoticed"
    )]
    pub(super) fn insert(&mut self, topic: &str) -> (u32, &mut List<S>) {
        let Self {
            filters,
            unused,
            index,
            hasher,
        } = self;
        let same = |place: &u32| text_at(filters, *place) == topic;
        let rehash = |place: &u32| hasher.hash_one(text_at(filters, *place));
        let place = match index.entry(hasher.hash_one(topic), same, rehash) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let exact = Exact {
                    topic: topic.into(),
                    subscribers: List::Empty,
                };
                let place = place_for(filters, unused, exact);
                *entry.insert(place).get()
            }
        };
        let exact = filters
            .get_mut(place as usize)
            .expect("the index leads to places only");
        (place, &mut exact.subscribers)
    }

    /// Takes a subscriber out, and the filter with its last one.
    pub(super) fn remove(&mut self, place: u32, subscriber: S) -> Option<SubscriptionOptions> {
        let exact = self.filters.get_mut(place as usize)?;
        let removed = exact.subscribers.remove(&self.hasher, subscriber)?;
        if exact.subscribers.is_empty() {
            let hash = self.hasher.hash_one(&*exact.topic);
            exact.topic = Box::default();
            if let Ok(entry) = self.index.find_entry(hash, |other| *other == place) {
                entry.remove();
            }
            self.unused.push(place);
            let (filters, hasher) = (&self.filters, &self.hasher);
            super::shrink(&mut self.index, |place| {
                hasher.hash_one(text_at(filters, *place))
            });
            if self.index.is_empty() {
                // A vector with holes can only shrink when it is empty.
                self.filters = Paged::new();
                self.unused = Vec::new();
            }
        }
        Some(removed)
    }
}

fn text_at<S>(filters: &Paged<Exact<S>>, place: u32) -> &str {
    filters
        .get(place as usize)
        .map_or("", |exact| &*exact.topic)
}

/// Stores a filter; returns where.
fn place_for<S>(filters: &mut Paged<Exact<S>>, unused: &mut Vec<u32>, exact: Exact<S>) -> u32 {
    if let Some(place) = unused.pop()
        && let Some(free) = filters.get_mut(place as usize)
    {
        *free = exact;
        return place;
    }
    let place = u32::try_from(filters.len()).unwrap_or(PLACES_MAX);
    // The limits on subscriptions lie far below.
    assert!(place < PLACES_MAX, "fewer than 2^31 filters");
    filters.push(exact);
    place
}

/// The upper bit says whether a number is one of this table or one of the tree.
const PLACES_MAX: u32 = 1 << 31;

#[cfg(test)]
impl<S> ExactFilters<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty() && self.filters.capacity() == 0
    }

    pub(super) const ENTRY_BYTES: usize = size_of::<Exact<S>>();
}
