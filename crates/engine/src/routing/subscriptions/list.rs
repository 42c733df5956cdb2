//! The subscribers of one filter: nearly always one, sometimes a hundred thousand.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use martlet_codec::QoS;

use super::SubscriptionOptions;

/// Subscribers with their options, in no particular (but a reproducible) order. 16 bytes while there is one.
pub(super) enum List<S> {
    Empty,
    One(Subscription<S>),
    /// Searched from end to end.
    Few(Box<Few<S>>),
    /// Searched through an index.
    Many(Box<Indexed<S>>),
}

#[derive(Clone, Copy)]
pub(super) struct Subscription<S> {
    subscriber: S,
    options: PackedOptions,
}

/// A level of indirection that few filters have, for the sake of those with one subscriber.
pub(super) struct Few<S>(Vec<Subscription<S>>);

pub(super) struct Indexed<S> {
    subscriptions: Vec<Subscription<S>>,
    /// Places in `subscriptions`, by subscriber.
    places: HashTable<u32>,
}

impl<S: Copy + Eq + Hash> List<S> {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn for_each(&self, found: &mut impl FnMut(S, SubscriptionOptions)) {
        let subscriptions = match self {
            Self::Empty => &[],
            Self::One(subscription) => core::slice::from_ref(subscription),
            Self::Few(few) => &few.0,
            Self::Many(indexed) => &indexed.subscriptions,
        };
        for subscription in subscriptions {
            found(subscription.subscriber, subscription.options.unpack());
        }
    }

    /// Adds a subscriber, or replaces (and returns) the options of one who is there.
    pub(super) fn insert(
        &mut self,
        hasher: &FixedState,
        subscriber: S,
        options: SubscriptionOptions,
    ) -> Option<SubscriptionOptions> {
        let options = PackedOptions::pack(options);
        if let Some(old) = self.options_of(hasher, subscriber) {
            return Some(core::mem::replace(old, options).unpack());
        }
        let new = Subscription {
            subscriber,
            options,
        };
        match self {
            Self::Empty => *self = Self::One(new),
            Self::One(first) => *self = Self::Few(Box::new(Few(vec![*first, new]))),
            Self::Few(few) if few.0.len() < FEW_MAX => few.0.push(new),
            Self::Few(few) => {
                few.0.push(new);
                *self = Self::Many(Box::new(Indexed::of(core::mem::take(&mut few.0), hasher)));
            }
            Self::Many(indexed) => indexed.push(new, hasher),
        }
        None
    }

    /// Takes a subscriber out; returns the options if it was there.
    pub(super) fn remove(
        &mut self,
        hasher: &FixedState,
        subscriber: S,
    ) -> Option<SubscriptionOptions> {
        let (removed, rest) = match self {
            Self::One(only) if only.subscriber == subscriber => {
                let options = only.options.unpack();
                *self = Self::Empty;
                return Some(options);
            }
            Self::Empty | Self::One(_) => return None,
            Self::Few(few) => {
                let few = &mut few.0;
                let place = few.iter().position(|one| one.subscriber == subscriber)?;
                (few.swap_remove(place), few)
            }
            Self::Many(indexed) => {
                let removed = indexed.remove(subscriber, hasher)?;
                (removed, &mut indexed.subscriptions)
            }
        };
        // Well below FEW_MAX, so that a list that wavers around it is not built again and again.
        if let [last] = rest.as_slice() {
            *self = Self::One(*last);
        } else if matches!(self, Self::Many(indexed) if indexed.subscriptions.len() < FEW_MAX / 2)
            && let Self::Many(indexed) = core::mem::replace(self, Self::Empty)
        {
            let mut few = indexed.subscriptions;
            few.shrink_to_fit();
            *self = Self::Few(Box::new(Few(few)));
        }
        Some(removed.options.unpack())
    }

    pub(super) fn options(
        &self,
        hasher: &FixedState,
        subscriber: S,
    ) -> Option<SubscriptionOptions> {
        let subscription = match self {
            Self::Empty => None,
            Self::One(only) => Some(only).filter(|only| only.subscriber == subscriber),
            Self::Few(few) => few.0.iter().find(|one| one.subscriber == subscriber),
            Self::Many(indexed) => indexed.get(subscriber, hasher),
        };
        subscription.map(|subscription| subscription.options.unpack())
    }

    fn options_of(&mut self, hasher: &FixedState, subscriber: S) -> Option<&mut PackedOptions> {
        let subscription = match self {
            Self::Empty => None,
            Self::One(only) => Some(only).filter(|only| only.subscriber == subscriber),
            Self::Few(few) => few.0.iter_mut().find(|one| one.subscriber == subscriber),
            Self::Many(indexed) => indexed.get_mut(subscriber, hasher),
        };
        subscription.map(|subscription| &mut subscription.options)
    }
}

impl<S: Copy + Eq + Hash> Indexed<S> {
    fn of(subscriptions: Vec<Subscription<S>>, hasher: &FixedState) -> Self {
        let mut indexed = Self {
            subscriptions: Vec::new(),
            places: HashTable::new(),
        };
        for subscription in subscriptions {
            indexed.push(subscription, hasher);
        }
        indexed
    }

    fn push(&mut self, new: Subscription<S>, hasher: &FixedState) {
        // Sessions of a shard are counted in 32 bits.
        let place = u32::try_from(self.subscriptions.len()).unwrap_or(u32::MAX);
        self.subscriptions.push(new);
        let rehash = |place: &u32| hash_at(&self.subscriptions, *place, hasher);
        self.places
            .insert_unique(hasher.hash_one(new.subscriber), place, rehash);
    }

    fn get(&self, subscriber: S, hasher: &FixedState) -> Option<&Subscription<S>> {
        let is_it = |place: &u32| is_at(&self.subscriptions, *place, &subscriber);
        let place = *self.places.find(hasher.hash_one(subscriber), is_it)?;
        self.subscriptions.get(place as usize)
    }

    fn get_mut(&mut self, subscriber: S, hasher: &FixedState) -> Option<&mut Subscription<S>> {
        let is_it = |place: &u32| is_at(&self.subscriptions, *place, &subscriber);
        let place = *self.places.find(hasher.hash_one(subscriber), is_it)?;
        self.subscriptions.get_mut(place as usize)
    }

    fn remove(&mut self, subscriber: S, hasher: &FixedState) -> Option<Subscription<S>> {
        let is_it = |place: &u32| is_at(&self.subscriptions, *place, &subscriber);
        let entry = self
            .places
            .find_entry(hasher.hash_one(subscriber), is_it)
            .ok()?;
        let (place, _) = entry.remove();
        // The last one takes the place that has become free.
        if let Some(last) = self.subscriptions.last() {
            let hash = hasher.hash_one(last.subscriber);
            let last_place = u32::try_from(self.subscriptions.len() - 1).unwrap_or(u32::MAX);
            if let Some(moved) = self.places.find_mut(hash, |place| *place == last_place) {
                *moved = place;
            }
        }
        let removed = self.subscriptions.swap_remove(place as usize);
        super::shrink(&mut self.places, |place| {
            hash_at(&self.subscriptions, *place, hasher)
        });
        if self.subscriptions.len() < self.subscriptions.capacity() / 8 {
            self.subscriptions.shrink_to(2 * self.subscriptions.len());
        }
        Some(removed)
    }
}

fn hash_at<S: Hash>(subscriptions: &[Subscription<S>], place: u32, hasher: &FixedState) -> u64 {
    subscriptions
        .get(place as usize)
        .map_or(0, |one| hasher.hash_one(&one.subscriber))
}

fn is_at<S: Eq>(subscriptions: &[Subscription<S>], place: u32, subscriber: &S) -> bool {
    subscriptions
        .get(place as usize)
        .is_some_and(|one| one.subscriber == *subscriber)
}

/// Options in 32 bits: the identifier (28 bits at most on the wire), then two flags, then the QoS.
#[derive(Clone, Copy)]
struct PackedOptions(u32);

impl PackedOptions {
    const fn pack(options: SubscriptionOptions) -> Self {
        debug_assert!(options.subscription_id < 1 << 28, "a variable byte integer");
        Self(
            options.subscription_id << 4
                | (options.no_local as u32) << 3
                | (options.retain_as_published as u32) << 2
                | options.qos as u32,
        )
    }

    const fn unpack(self) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: match self.0 & 0b11 {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            no_local: self.0 & 0b1000 != 0,
            retain_as_published: self.0 & 0b0100 != 0,
            subscription_id: self.0 >> 4,
        }
    }
}

/// Up to this many subscribers a search from end to end is not slower than an index, and takes less memory.
pub(super) const FEW_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::{FEW_MAX, List, PackedOptions};
    use crate::routing::subscriptions::SubscriptionOptions;
    use alloc::collections::BTreeMap;
    use foldhash::fast::FixedState;
    use martlet_codec::QoS;
    use proptest::prelude::*;

    fn with_id(subscription_id: u32) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            subscription_id,
        }
    }

    fn collected(list: &List<u64>) -> BTreeMap<u64, u32> {
        let mut seen = BTreeMap::new();
        list.for_each(&mut |subscriber, options| {
            assert_eq!(
                seen.insert(subscriber, options.subscription_id),
                None,
                "reported twice"
            );
        });
        seen
    }

    #[test]
    fn options_survive_packing() {
        for bits in 0..12_u32 {
            let options = SubscriptionOptions {
                qos: QoS::from_bits(u8::try_from(bits % 3).unwrap()).unwrap(),
                no_local: bits & 1 != 0,
                retain_as_published: bits & 2 != 0,
                subscription_id: if bits > 5 { 268_435_455 } else { bits },
            };
            assert_eq!(PackedOptions::pack(options).unpack(), options);
        }
    }

    #[test]
    fn a_hundred_thousand_subscribers_are_found_through_an_index() {
        let hasher = FixedState::with_seed(1);
        let mut list = List::Empty;
        let count = 100_000;
        for subscriber in 0..count {
            assert!(list.insert(&hasher, subscriber, with_id(1)).is_none());
        }
        assert!(matches!(&list, List::Many(indexed) if indexed.places.len() == 100_000));
        for subscriber in 0..count - 1 {
            assert!(list.remove(&hasher, subscriber * 7_919 % count).is_some());
        }
        assert!(matches!(&list, List::One(rest) if rest.subscriber == (count - 1) * 7_919 % count));
    }

    #[test]
    fn one_subscriber_needs_no_memory_of_its_own() {
        assert_eq!(size_of::<List<(u32, u32, u32)>>(), 24);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            operations in prop::collection::vec((0_u8..10, 0_u64..3 * FEW_MAX as u64, 0_u32..1000), 1..600),
            removals in 1_u8..9,
        ) {
            let hasher = FixedState::with_seed(7);
            let (mut list, mut model) = (List::Empty, BTreeMap::new());
            for (kind, subscriber, id) in operations {
                if kind < removals {
                    let removed = list.remove(&hasher, subscriber).map(|options| options.subscription_id);
                    prop_assert_eq!(removed, model.remove(&subscriber));
                } else {
                    let old = list.insert(&hasher, subscriber, with_id(id));
                    let old = old.map(|options| options.subscription_id);
                    prop_assert_eq!(old, model.insert(subscriber, id));
                }
                prop_assert_eq!(list.is_empty(), model.is_empty());
            }
            prop_assert_eq!(collected(&list), model);
        }
    }
}
