//! Which filters a session is subscribed with: their names, not their texts.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::slice;

use crate::routing::subscriptions::FilterId;

/// A set of filters. The text and the options of each stand in the shard's subscriptions; the shared ones are not
/// here. Two words, and no allocation, for a session with one subscription.
#[derive(Debug, Default)]
pub(crate) enum Filters {
    #[default]
    None,
    One(FilterId),
    Many(Box<Many>),
}

/// Sorted. Names are given out in ascending order as long as nobody unsubscribes, so most insertions are at the end.
#[derive(Debug)]
pub(crate) struct Many(Vec<FilterId>);

impl Filters {
    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn contains(&self, filter: FilterId) -> bool {
        self.as_slice().binary_search(&filter).is_ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = FilterId> {
        self.as_slice().iter().copied()
    }

    pub(crate) fn insert(&mut self, filter: FilterId) {
        match self {
            Self::None => *self = Self::One(filter),
            Self::One(one) => {
                let mut both = [*one, filter];
                both.sort_unstable();
                if *one != filter {
                    *self = Self::Many(Box::new(Many(both.into())));
                }
            }
            Self::Many(many) => {
                if let Err(at) = many.0.binary_search(&filter) {
                    many.0.insert(at, filter);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, filter: FilterId) {
        match self {
            Self::None => {}
            Self::One(one) => {
                if *one == filter {
                    *self = Self::None;
                }
            }
            Self::Many(many) => {
                if let Ok(at) = many.0.binary_search(&filter) {
                    many.0.remove(at);
                }
                if let [last] = *many.0.as_slice() {
                    *self = Self::One(last);
                }
            }
        }
    }

    fn as_slice(&self) -> &[FilterId] {
        match self {
            Self::None => &[],
            Self::One(one) => slice::from_ref(one),
            Self::Many(many) => &many.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Filters;
    use crate::routing::subscriptions::{FilterId, SubscriptionOptions, Subscriptions};
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::vec::Vec;
    use martlet_codec::QoS;
    use proptest::prelude::*;

    #[test]
    fn one_filter_takes_two_words() {
        assert_eq!(size_of::<Filters>(), 16);
    }

    fn ids() -> Vec<FilterId> {
        let mut subscriptions = Subscriptions::new(1);
        let options = SubscriptionOptions {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            subscription_id: 0,
        };
        let mut insert = |filter: &str| subscriptions.insert(filter, 1_u32, options).0;
        (0..10)
            .flat_map(|n| [insert(&format!("a/{n}")), insert(&format!("+/{n}"))])
            .collect()
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 0_usize..20), 0..60)) {
            let (ids, mut filters, mut model) = (ids(), Filters::default(), BTreeSet::new());
            for (insert, pick) in steps {
                if insert {
                    filters.insert(ids[pick]);
                    model.insert(ids[pick]);
                } else {
                    filters.remove(ids[pick]);
                    model.remove(&ids[pick]);
                }
                prop_assert_eq!(filters.len(), model.len());
                prop_assert!(filters.iter().eq(model.iter().copied()));
                prop_assert!(ids.iter().all(|id| filters.contains(*id) == model.contains(id)));
                prop_assert_eq!(matches!(filters, Filters::Many(_)), model.len() > 1);
            }
        }
    }
}
