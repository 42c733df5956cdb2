//! The subscriptions of one shard: which subscribers a topic matches.
//!
//! ```text
//! exact   one hash table: topic -> subscribers               most filters, one look-up per publish
//! trie    nodes in a vector, children in one hash table      filters with + or #
//! ```
//!
//! Subscribers stand in the entry itself while there is one (`list`). A filter of a shared subscription is entered
//! here without its `$share/name/`, with the group as its subscriber.

mod list;
mod name;
mod trie;

use alloc::boxed::Box;
use core::fmt;
use core::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use martlet_codec::QoS;

use list::List;
use trie::Trie;

/// Every subscription of a shard: a filter, who subscribed (`S`), and how.
///
/// Owned by the shard and changed only by SUBSCRIBE, UNSUBSCRIBE and the end of sessions. One subscriber has at
/// most one subscription per filter; it may match a topic through several, and is then reported several times.
pub(crate) struct Subscriptions<S> {
    exact: HashTable<Exact<S>>,
    trie: Trie<S>,
    hasher: FixedState,
    generation: u64,
    len: usize,
}

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
            exact: HashTable::new(),
            trie: Trie::new(hasher.clone()),
            hasher,
            generation: 0,
            len: 0,
        }
    }

    /// How many subscriptions there are.
    #[cfg(test)]
    const fn len(&self) -> usize {
        self.len
    }

    /// Changes with every subscription: what was found out about a topic holds as long as this stays the same.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Subscribes, or replaces the options of a subscription that exists: those are returned then.
    pub(crate) fn insert(
        &mut self,
        filter: &str,
        subscriber: S,
        options: SubscriptionOptions,
    ) -> Option<SubscriptionOptions> {
        let list = if is_exact(filter) {
            let (hasher, hash) = (&self.hasher, self.hasher.hash_one(filter));
            let same = |exact: &Exact<S>| &*exact.topic == filter;
            match self
                .exact
                .entry(hash, same, |exact| hasher.hash_one(&*exact.topic))
            {
                Entry::Occupied(entry) => &mut entry.into_mut().subscribers,
                Entry::Vacant(entry) => {
                    let exact = Exact {
                        topic: filter.into(),
                        subscribers: List::Empty,
                    };
                    &mut entry.insert(exact).into_mut().subscribers
                }
            }
        } else {
            self.trie.insert(filter)
        };
        let replaced = list.insert(&self.hasher, subscriber, options);
        self.generation += 1;
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Ends a subscription; its options are returned if there was one.
    pub(crate) fn remove(&mut self, filter: &str, subscriber: S) -> Option<SubscriptionOptions> {
        let removed = if is_exact(filter) {
            let hash = self.hasher.hash_one(filter);
            let same = |exact: &Exact<S>| &*exact.topic == filter;
            let mut entry = self.exact.find_entry(hash, same).ok()?;
            let list = &mut entry.get_mut().subscribers;
            let removed = list.remove(&self.hasher, subscriber)?;
            if list.is_empty() {
                entry.remove();
                let hasher = &self.hasher;
                shrink(&mut self.exact, |exact| hasher.hash_one(&*exact.topic));
            }
            removed
        } else {
            self.trie.remove(filter, subscriber)?
        };
        self.generation += 1;
        self.len -= 1;
        Some(removed)
    }

    /// Reports every subscription that matches a topic. `&mut` for the sake of a reused stack only.
    pub(crate) fn matches(&mut self, topic: &str, found: &mut impl FnMut(S, SubscriptionOptions)) {
        if !self.exact.is_empty() {
            let hash = self.hasher.hash_one(topic);
            if let Some(exact) = self.exact.find(hash, |exact| &*exact.topic == topic) {
                exact.subscribers.for_each(found);
            }
        }
        self.trie.matches(topic, found);
    }
}

impl<S> fmt::Debug for Subscriptions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions")
            .field("len", &self.len)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// The subscribers of one topic, asked for without wildcards.
struct Exact<S> {
    topic: Box<str>,
    subscribers: List<S>,
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

/// Tables of this size are kept even if they are empty.
const KEPT_CAPACITY: usize = 1024;

#[cfg(test)]
mod tests;
