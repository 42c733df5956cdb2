//! Which topics a change of subscriptions concerns.
//!
//! A route is remembered as long as nothing changes for its topic. To know that without looking at any filter, changes are
//! counted at *places*, a few thousand counters, which
//! nobody reads while nothing changes:
//!
//! ```text
//! filter        counted at           topic a/b/c reads
//! a/b/c         "a/b/c", exact   ──> this one
//! a/b/+, a/b/#  "a/b"            ──> this one
//! a/#, a/+/c    "a"              ──> this one
//! #, +/b        the root         ──> this one
//! x/y, a/x/#    others               none of these
//! ```
//! A filter that matches is always counted at one of the topic's four places. Two texts may share a place: then a route is
//! computed again for nothing, which costs time, no more.

use alloc::boxed::Box;

use crate::routing::interest::InterestKey;

/// The places of one topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places([u16; 4]);

impl Places {
    /// How many places there are.
    pub const COUNT: usize = 4_096;

    /// Where every filter is counted that matches this topic.
    #[must_use]
    pub fn of_topic(topic: &str) -> Self {
        let mut bytes = topic.bytes();
        let (one, has_two) = Hash::NONE.with_level(&mut bytes);
        let (mut two, mut topic) = (one, one);
        if has_two {
            let has_more;
            (two, has_more) = one.with(b'/').with_level(&mut bytes);
            topic = two;
            if has_more {
                topic = bytes.fold(topic.with(b'/'), Hash::with);
            }
        }
        Self([ROOT, topic.of_topic(), one.of_levels(), two.of_levels()])
    }

    /// Each of them, below [`Places::COUNT`].
    pub fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().map(usize::from)
    }
}

impl InterestKey<'_> {
    /// Where changes of this filter, or of all that begin with this prefix, are counted; below [`Places::COUNT`].
    #[must_use]
    pub fn place(self) -> usize {
        if self.prefix.is_empty() && !self.exact {
            return usize::from(ROOT);
        }
        let mut hash = Hash::NONE;
        let mut separators = 0;
        for byte in self.prefix.bytes() {
            separators += u32::from(byte == b'/');
            if separators == 2 && !self.exact {
                break;
            }
            hash = hash.with(byte);
        }
        usize::from(if self.exact {
            hash.of_topic()
        } else {
            hash.of_levels()
        })
    }
}

/// Changes at every place.
#[derive(Debug)]
pub(crate) struct Changes {
    by_place: Box<[u64]>,
    all: u64,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            by_place: alloc::vec![0; Places::COUNT].into_boxed_slice(),
            all: 0,
        }
    }

    /// A subscription has come, gone or become another one, whose filter has this place.
    pub(crate) fn count(&mut self, place: usize) {
        if let Some(changes) = self.by_place.get_mut(place) {
            *changes += 1;
        }
        self.all += 1;
    }

    pub(crate) const fn all(&self) -> u64 {
        self.all
    }

    /// Grows with each change that concerns a topic with these places.
    pub(crate) fn at(&self, places: Places) -> u64 {
        let changes = |place| self.by_place.get(place).copied().unwrap_or_default();
        places.iter().map(changes).sum()
    }
}

/// Of a beginning of a text, so that one walk through it gives those of its levels, too (FNV-1a).
///
/// Chosen colliding texts would only make somebody look up what was known: no seed is needed, and all shards agree.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const NONE: Self = Self(0xCBF2_9CE4_8422_2325);

    const fn with(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0100_0000_01B3))
    }

    /// Up to the next separator, and whether there is one.
    fn with_level(mut self, bytes: &mut impl Iterator<Item = u8>) -> (Self, bool) {
        for byte in bytes {
            if byte == b'/' {
                return (self, true);
            }
            self = self.with(byte);
        }
        (self, false)
    }

    /// In the upper half: single topics, which come and go most, share no place with the levels that many topics have.
    fn of_topic(self) -> u16 {
        u16::try_from(HALF + self.mixed() % HALF).unwrap_or(ROOT)
    }

    fn of_levels(self) -> u16 {
        // The root has a place of its own.
        u16::try_from(1 + self.mixed() % (HALF - 1)).unwrap_or(ROOT)
    }

    const fn mixed(self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

const ROOT: u16 = 0;
const HALF: u64 = Places::COUNT as u64 / 2;

#[cfg(test)]
mod tests {
    use super::{Changes, Places};
    use crate::routing::interest::InterestKey;
    use crate::routing::strategies::topic_and_filter;
    use alloc::vec::Vec;
    use martlet_codec::topic_matches;
    use proptest::prelude::*;

    #[test]
    fn a_change_concerns_the_topics_that_it_may_match() {
        let topics = ["a", "a/b", "a/b/c", "a/b/c/d", "x/y", "/b", "$SYS/up"];
        let cases = [
            ("a/b/c", &["a/b/c"][..]),
            ("a/b/+", &["a/b", "a/b/c", "a/b/c/d"]),
            ("a/b/c/#", &["a/b", "a/b/c", "a/b/c/d"]),
            ("a/#", &["a", "a/b", "a/b/c", "a/b/c/d"]),
            ("a/+/x/y", &["a", "a/b", "a/b/c", "a/b/c/d"]),
            ("x/z", &[]),
            ("$SYS/#", &["$SYS/up"]),
            ("#", &topics),
            ("+/b", &topics),
        ];
        for (filter, expected) in cases {
            let mut changes = Changes::new();
            changes.count(InterestKey::of_filter(filter).place());
            let concerned: Vec<_> = topics
                .into_iter()
                .filter(|topic| changes.at(Places::of_topic(topic)) > 0)
                .collect();
            assert_eq!(concerned, expected, "{filter}");
        }
    }

    proptest! {
        /// A route that is wrong now is never taken for right.
        #[test]
        fn a_filter_that_matches_is_counted_where_its_topics_look((topic, filter) in topic_and_filter()) {
            if topic_matches(&filter, &topic) {
                let mut changes = Changes::new();
                changes.count(InterestKey::of_filter(&filter).place());
                prop_assert!(changes.at(Places::of_topic(&topic)) > 0, "{} {}", filter, topic);
            }
        }
    }
}
