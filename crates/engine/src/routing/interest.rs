//! Which shards may have a subscriber for a topic.
//!
//! The shards of a process share one map, and a publish asks it once. A filter is entered under its *literal
//! prefix*, the levels before its first wildcard, so a topic is looked up under each prefix of its own levels: a
//! few look-ups, however many filters there are. The answer may be yes too often (`a/+/c` is entered under `a`)
//! but never no wrongly. SUBACK is sent after the entry is made, so what is published after it is not missed.

use core::iter;

use crate::routing::places::Places;

/// The map from literal prefixes to the shards that have subscriptions there. Shared by all shards.
///
/// Entries are counted: what was added twice has to be removed twice.
pub trait Interest: Send + Sync {
    /// A subscription was made on a shard. In effect for every shard when this returns.
    fn add(&self, key: InterestKey<'_>, shard: usize);

    /// A subscription of a shard has ended.
    fn remove(&self, key: InterestKey<'_>, shard: usize);

    /// The shards that may have a match for a topic, bit `n` for shard `n`.
    fn shards(&self, topic: &str) -> u64;

    /// Grows whenever an answer of [`Interest::shards`] or [`Interest::durable_shards`] may have changed for any topic; behind
    /// [`Interest::changes`] of those concerned.
    fn generation(&self) -> u64;

    /// Grows whenever an answer of [`Interest::shards`] or [`Interest::durable_shards`] may have changed for a topic with these
    /// places: changes are counted at [`InterestKey::place`].
    fn changes(&self, places: Places) -> u64;

    /// The subscription that was [added](Interest::add) here belongs to a session that outlives its connections, or
    /// to a shared subscription with such a member. Asked for only if there is a store.
    fn add_durable(&self, _key: InterestKey<'_>, _shard: usize) {}

    /// What [`Interest::add_durable`] has added is gone.
    fn remove_durable(&self, _key: InterestKey<'_>, _shard: usize) {}

    /// The shards that may have a durable match for a topic: a publisher's answer waits for them. Like
    /// [`Interest::shards`] it may say yes too often, which costs time; it is among those shards.
    fn durable_shards(&self, topic: &str) -> u64 {
        self.shards(topic)
    }
}

/// Under what a filter is entered in an [`Interest`] map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterestKey<'a> {
    /// The whole filter, or its levels before the first wildcard: empty if there are none.
    pub prefix: &'a str,
    /// Whether the prefix is a whole filter, which matches this one topic only.
    pub exact: bool,
}

/// The interest map of a broker with one shard: there is nobody else to ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalInterest;

impl<'a> InterestKey<'a> {
    /// The key of a filter (of a shared subscription: the filter after `$share/name/`).
    #[must_use]
    pub fn of_filter(filter: &'a str) -> Self {
        match filter.find(['+', '#']) {
            None => Self {
                prefix: filter,
                exact: true,
            },
            // The level separator before the wildcard is not part of the prefix: "a/#" also matches "a".
            Some(wildcard) => {
                let prefix = filter.get(..wildcard.saturating_sub(1)).unwrap_or_default();
                Self {
                    prefix,
                    exact: false,
                }
            }
        }
    }
}

/// Every key under which a filter that matches the topic may have been entered.
pub fn prefixes_of(topic: &str) -> impl Iterator<Item = InterestKey<'_>> {
    let exact = InterestKey {
        prefix: topic,
        exact: true,
    };
    let ends = topic
        .match_indices('/')
        .map(|(at, _)| at)
        .filter(|at| *at > 0);
    let prefixes = ends.chain([topic.len()]).filter_map(|end| topic.get(..end));
    // "#" and "+/a" are entered under the empty prefix, and do not match topics that begin with $. A filter
    // "/+" has the empty prefix as well: its one literal level is empty.
    let root = (!topic.starts_with('$')).then_some("");
    let wildcards = root.into_iter().chain(prefixes);
    iter::once(exact).chain(wildcards.map(|prefix| InterestKey {
        prefix,
        exact: false,
    }))
}

impl Interest for LocalInterest {
    fn add(&self, _key: InterestKey<'_>, _shard: usize) {}

    fn remove(&self, _key: InterestKey<'_>, _shard: usize) {}

    fn shards(&self, _topic: &str) -> u64 {
        0
    }

    fn generation(&self) -> u64 {
        0
    }

    fn changes(&self, _places: Places) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::{InterestKey, prefixes_of};
    use crate::routing::strategies::topic_and_filter;
    use alloc::vec::Vec;
    use martlet_codec::topic_matches;
    use proptest::prelude::*;

    #[test]
    fn a_filter_is_entered_under_the_levels_before_its_first_wildcard() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b/+/c", "a/b", false),
            ("a/b/#", "a/b", false),
            ("#", "", false),
            ("+/a", "", false),
            ("/+", "", false),
            ("//#", "/", false),
            ("$SYS/#", "$SYS", false),
            ("/", "/", true),
        ];
        for (filter, prefix, exact) in cases {
            assert_eq!(
                InterestKey::of_filter(filter),
                InterestKey { prefix, exact },
                "{filter}"
            );
        }
    }

    #[test]
    fn a_topic_is_looked_up_once_per_level() {
        let keys: Vec<_> = prefixes_of("a/b/c")
            .map(|key| (key.prefix, key.exact))
            .collect();
        let expected = [
            ("a/b/c", true),
            ("", false),
            ("a", false),
            ("a/b", false),
            ("a/b/c", false),
        ];
        assert_eq!(keys, expected);
        let keys: Vec<_> = prefixes_of("$SYS")
            .map(|key| (key.prefix, key.exact))
            .collect();
        assert_eq!(keys, [("$SYS", true), ("$SYS", false)]);
    }

    proptest! {
        /// Never no wrongly.
        #[test]
        fn a_filter_that_matches_is_found((topic, filter) in topic_and_filter()) {
            if topic_matches(&filter, &topic) {
                let key = InterestKey::of_filter(&filter);
                prop_assert!(prefixes_of(&topic).any(|looked_up| looked_up == key), "{} {}", filter, topic);
            }
        }
    }
}
