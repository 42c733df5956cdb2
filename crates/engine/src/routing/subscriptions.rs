//! The subscriptions of one shard: which subscribers a topic matches.
//!
//! ```text
//! exact   one hash table: topic -> subscribers               most filters, one look-up per publish
//! trie    nodes in a vector, children in one hash table      filters with + or #
//! ```
//!
//! Subscribers stand in the entry itself while there is one (`list`). A filter of a shared subscription is entered
//! here without its `$share/name/`, with the group as its subscriber. A filter's text stands here and nowhere else:
//! each has a number ([`FilterId`]) under which sessions remember it (`filters.rs`).

mod exact;
mod list;
mod name;
mod trie;

use alloc::string::String;
use core::fmt;
use core::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use martlet_codec::QoS;

use crate::routing::interest::InterestKey;
use crate::routing::places::{Changes, Places};
use exact::ExactFilters;
use trie::Trie;

/// Every subscription of a shard: a filter, who subscribed (`S`), and how.
///
/// Owned by the shard and changed only by SUBSCRIBE, UNSUBSCRIBE and the end of sessions. One subscriber has at
/// most one subscription per filter; it may match a topic through several, and is then reported several times.
pub(crate) struct Subscriptions<S> {
    exact: ExactFilters<S>,
    trie: Trie<S>,
    hasher: FixedState,
    changes: Changes,
    /// Space for the text of a filter.
    buffer: String,
    len: usize,
}

/// Names a filter while it has subscribers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct FilterId(
    /// A place in the table, or with [`IN_TRIE`] a node of the tree.
    u32,
);

/// What a subscriber asked for with one filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SubscriptionOptions {
    /// The highest quality of service to deliver at.
    pub(crate) qos: QoS,
    /// Messages of this very session are left out.
    pub(crate) no_local: bool,
    /// The RETAIN flag is forwarded as it was published.
    pub(crate) retain_as_published: bool,
    /// The subscription identifier, 0 if there is none.
    pub(crate) subscription_id: u32,
}

impl<S: Copy + Eq + Hash> Subscriptions<S> {
    /// No subscriptions; the seed decides the order of nothing, but keeps peers from choosing colliding topics.
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            exact: ExactFilters::new(hasher.clone()),
            trie: Trie::new(hasher.clone()),
            hasher,
            changes: Changes::new(),
            buffer: String::new(),
            len: 0,
        }
    }

    /// How many subscriptions there are.
    #[cfg(test)]
    const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Grows with every change: what was found out about a topic holds as long as this stays the same, and longer.
    pub(crate) const fn generation(&self) -> u64 {
        self.changes.all()
    }

    /// Grows with every subscription that matches a topic with these places: what was found out about it holds as long as this
    /// stays the same.
    pub(crate) fn changes(&self, places: Places) -> u64 {
        self.changes.at(places)
    }

    /// The name of a filter that somebody is subscribed with.
    pub(crate) fn find(&self, filter: &str) -> Option<FilterId> {
        if is_exact(filter) {
            self.exact.find(filter).map(FilterId)
        } else {
            self.trie.find(filter).map(|node| FilterId(node | IN_TRIE))
        }
    }

    /// The filter of that name; `buffer` is space for it.
    pub(crate) fn text<'a>(&'a self, filter: FilterId, buffer: &'a mut String) -> &'a str {
        if filter.is_in_trie() {
            self.trie.text(filter.place(), buffer);
            buffer
        } else {
            self.exact.text(filter.place())
        }
    }

    /// What a subscriber asked for with a filter.
    pub(crate) fn options(&self, filter: FilterId, subscriber: S) -> Option<SubscriptionOptions> {
        let list = if filter.is_in_trie() {
            self.trie.subscribers(filter.place())
        } else {
            self.exact.subscribers(filter.place())
        };
        list?.options(&self.hasher, subscriber)
    }

    /// Subscribes, or replaces the options of a subscription that exists: those are returned then.
    pub(crate) fn insert(
        &mut self,
        filter: &str,
        subscriber: S,
        options: SubscriptionOptions,
    ) -> (FilterId, Option<SubscriptionOptions>) {
        let (id, list) = if is_exact(filter) {
            let (place, list) = self.exact.insert(filter);
            (FilterId(place), list)
        } else {
            let (node, list) = self.trie.insert(filter);
            (FilterId(node | IN_TRIE), list)
        };
        let replaced = list.insert(&self.hasher, subscriber, options);
        self.changes.count(InterestKey::of_filter(filter).place());
        self.len += usize::from(replaced.is_none());
        (id, replaced)
    }

    /// Ends a subscription; its options are returned if there was one.
    pub(crate) fn remove(
        &mut self,
        filter: FilterId,
        subscriber: S,
    ) -> Option<SubscriptionOptions> {
        // With its last subscriber the text is gone.
        let mut buffer = core::mem::take(&mut self.buffer);
        let place = InterestKey::of_filter(self.text(filter, &mut buffer)).place();
        self.buffer = buffer;
        let removed = if filter.is_in_trie() {
            self.trie.remove(filter.place(), subscriber)?
        } else {
            self.exact.remove(filter.place(), subscriber)?
        };
        self.changes.count(place);
        self.len -= 1;
        Some(removed)
    }

    /// Reports every subscription that matches a topic. `&mut` for the sake of a reused stack only.
    //= mqtt5 3.3.2-3
    //= mqtt311 3.3.2-3
    pub(crate) fn matches(&mut self, topic: &str, found: &mut impl FnMut(S, SubscriptionOptions)) {
        if let Some(list) = self
            .exact
            .find(topic)
            .and_then(|place| self.exact.subscribers(place))
        {
            list.for_each(found);
        }
        self.trie.matches(topic, found);
    }
}

impl FilterId {
    const fn is_in_trie(self) -> bool {
        self.0 & IN_TRIE != 0
    }

    const fn place(self) -> u32 {
        self.0 & !IN_TRIE
    }
}

impl<S> fmt::Debug for Subscriptions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions")
            .field("len", &self.len)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

fn is_exact(filter: &str) -> bool {
    !filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Gives memory back when a table has become mostly empty; seldom enough not to show in the cost of a removal.
fn shrink<T>(table: &mut HashTable<T>, hasher: impl Fn(&T) -> u64) {
    if table.capacity() > KEPT_CAPACITY && table.len() < table.capacity() / 8 {
        table.shrink_to(2 * table.len(), hasher);
    }
}

/// In a [`FilterId`]: what follows names a node of the tree.
const IN_TRIE: u32 = 1 << 31;

/// Tables of this size are kept even if they are empty.
const KEPT_CAPACITY: usize = 1024;

#[cfg(test)]
mod tests;
