//! A dense store of values under keys that notice when their value is gone.
//!
//! Sessions and connections live here. A key names a slot *and* the generation of its tenant, so a key kept in a
//! timer, in the dirty list or in a peer's message finds nothing, rather than a stranger, after the slot was reused.
//!
//! ```text
//! slots    | a . b c | . . d . | . . . . |      pages of the paged vector; `.` is vacant
//! pages    | 3 used  | 1 used  | 0 used -> given back, since the page in front of it has room enough
//! ```
//! The lowest page with room is filled first, so what a storm has left behind empties from its end.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use crate::collections::paged::{PAGE_LEN, Paged};

/// Values of one kind in reused slots; indices stay dense, so side tables may be plain vectors.
pub(crate) struct Slab<T> {
    slots: Paged<Slot<T>>,
    /// What is known of each page of `slots`.
    pages: Vec<Page>,
    /// No page before this one has a vacant slot.
    first_with_room: usize,
    /// The generation that a new slot begins with: no key of a slot that was given back has it, or a later one.
    newest: NonZeroU32,
    len: usize,
}

#[derive(Clone, Copy)]
struct Page {
    /// Head of the list of its vacant slots, or [`END`].
    vacant: u32,
    /// How many of its slots have a tenant.
    used: u32,
}

impl Page {
    const fn is_sparse(self) -> bool {
        self.used as usize <= PAGE_LEN / 2
    }
}

/// Names one value for as long as it lives; never names another one afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The slot: dense and reused.
    pub(crate) index: u32,
    /// Which tenant of the slot is meant; never 0, so that a key as a number is never 0 either.
    pub(crate) generation: NonZeroU32,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Paged::new(),
            pages: Vec::new(),
            first_with_room: 0,
            newest: FIRST_GENERATION,
            len: 0,
        }
    }

    /// How many values are stored.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Stores a value, in the slot of the lowest page with room that was freed last, if there is one.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        // A million values are 2,000 pages of 8 bytes; mostly it is the first that is looked at.
        while let Some(page) = self.pages.get(self.first_with_room)
            && page.vacant == END
        {
            self.first_with_room += 1;
        }
        if let Some(page) = self.pages.get_mut(self.first_with_room)
            && let index = page.vacant
            && let Some(slot) = self.slots.get_mut(index as usize)
            && let Tenant::Vacant { next } = slot.tenant
        {
            page.vacant = next;
            page.used += 1;
            slot.tenant = Tenant::Occupied(value);
            return Key {
                index,
                generation: slot.generation,
            };
        }
        self.push(value)
    }

    fn push(&mut self, value: T) -> Key {
        let index = u32::try_from(self.slots.len()).unwrap_or(END);
        // The limits on connections and sessions lie far below; going on would hand out one key twice.
        assert!(index != END, "a slab holds fewer than 2^32 - 1 values");
        if self.slots.len().is_multiple_of(PAGE_LEN) {
            self.pages.push(Page {
                vacant: END,
                used: 0,
            });
        }
        if let Some(last) = self.pages.last_mut() {
            last.used += 1;
        }
        let generation = self.newest;
        self.slots.push(Slot {
            generation,
            tenant: Tenant::Occupied(value),
        });
        Key { index, generation }
    }

    /// Takes the value out; the key (and every copy of it) is dead from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation || matches!(slot.tenant, Tenant::Vacant { .. }) {
            return None;
        }
        let at = key.index as usize / PAGE_LEN;
        let page = self.pages.get_mut(at)?;
        let gone = core::mem::replace(&mut slot.tenant, Tenant::Vacant { next: page.vacant });
        slot.generation = slot.generation.checked_add(1).unwrap_or(FIRST_GENERATION);
        page.vacant = key.index;
        page.used -= 1;
        self.first_with_room = self.first_with_room.min(at);
        self.len -= 1;
        // What becomes of a page changes only with itself and the one in front of it.
        if self.pages.len() > 1 && at + 2 >= self.pages.len() {
            self.give_back_pages();
        }
        gone.into_value()
    }

    /// Gives back the last pages as long as nobody lives there and half a page in front of them is vacant: less, and one
    /// who comes and goes would make and give back a page each time.
    fn give_back_pages(&mut self) {
        while let [.., before, last] = self.pages.as_slice()
            && last.used == 0
            && before.is_sparse()
        {
            let gone = self.slots.pop_page();
            let generations = gone.iter().map(|slot| slot.generation);
            self.newest = generations.fold(self.newest, Ord::max);
            self.pages.pop();
        }
        self.first_with_room = self.first_with_room.min(self.pages.len());
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(Slot {
                generation,
                tenant: Tenant::Occupied(value),
            }) if *generation == key.generation => Some(value),
            Some(_) | None => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(Slot {
                generation,
                tenant: Tenant::Occupied(value),
            }) if *generation == key.generation => Some(value),
            Some(_) | None => None,
        }
    }

    /// The value in a slot, whoever it is.
    pub(crate) fn at(&self, index: u32) -> Option<&T> {
        match self.slots.get(index as usize) {
            Some(Slot {
                tenant: Tenant::Occupied(value),
                ..
            }) => Some(value),
            Some(_) | None => None,
        }
    }

    /// The key of the value in a slot.
    pub(crate) fn key_of(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        matches!(slot.tenant, Tenant::Occupied(_)).then_some(Key {
            index,
            generation: slot.generation,
        })
    }

    /// Every value with its key, in the order of slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0_u32..)
            .zip(self.slots.iter())
            .filter_map(|(index, slot)| match &slot.tenant {
                Tenant::Occupied(value) => Some((
                    Key {
                        index,
                        generation: slot.generation,
                    },
                    value,
                )),
                Tenant::Vacant { .. } => None,
            })
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Key {
    /// The key of nothing that ever was.
    pub(crate) const NOBODY: Self = Self {
        index: END,
        generation: FIRST_GENERATION,
    };

    /// The key as one number (never 0), for places that carry a key without knowing what it names.
    pub(crate) const fn as_u64(self) -> u64 {
        (self.generation.get() as u64) << 32 | self.index as u64
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

struct Slot<T> {
    generation: NonZeroU32,
    tenant: Tenant<T>,
}

enum Tenant<T> {
    Occupied(T),
    Vacant { next: u32 },
}

impl<T> Tenant<T> {
    fn into_value(self) -> Option<T> {
        match self {
            Self::Occupied(value) => Some(value),
            Self::Vacant { .. } => None,
        }
    }
}

/// "No slot" in the list of vacant slots.
const END: u32 = u32::MAX;
const FIRST_GENERATION: NonZeroU32 = NonZeroU32::MIN;

#[cfg(test)]
mod tests {
    use super::{Key, PAGE_LEN, Slab};
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use core::num::NonZeroU32;
    use proptest::prelude::*;

    #[test]
    fn a_reused_slot_does_not_answer_to_the_old_key() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
    }

    /// A storm of clients has come and gone; a few are left.
    #[test]
    fn what_a_storm_has_taken_is_given_back() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..10 * PAGE_LEN).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.slots.capacity(), 10 * PAGE_LEN);
        let (stay, go) = keys.split_at(PAGE_LEN / 2);
        for key in go {
            slab.remove(*key).unwrap();
        }
        assert_eq!(slab.slots.capacity(), PAGE_LEN);
        // Not one key of them answers to those who come now.
        let new: Vec<Key> = (0..10 * PAGE_LEN).map(|n| slab.insert(n)).collect();
        assert!(go.iter().all(|key| slab.get(*key).is_none()));
        assert!(new.iter().all(|key| slab.get(*key).is_some()));
        assert!((0..).zip(stay).all(|(n, key)| slab.get(*key) == Some(&n)));
    }

    /// Optimisation: somebody at the edge of a page does not make a page each time.
    #[test]
    fn a_page_is_not_given_back_for_one_vacant_slot() {
        let mut slab = Slab::new();
        let full: Vec<Key> = (0..2 * PAGE_LEN).map(|n| slab.insert(n)).collect();
        let one = slab.insert(0);
        slab.remove(one);
        assert_eq!(slab.slots.capacity(), 3 * PAGE_LEN);
        for key in &full[PAGE_LEN..] {
            assert_eq!(slab.remove(*key).is_some(), slab.get(*key).is_none());
        }
        // Both pages at the end are vacant, and the first one is full: one of them is kept.
        assert_eq!(slab.slots.capacity(), 2 * PAGE_LEN);
    }

    #[test]
    fn the_lowest_page_with_room_is_filled_first() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..4 * PAGE_LEN).map(|n| slab.insert(n)).collect();
        for index in [3 * PAGE_LEN + 1, PAGE_LEN + 7, 5] {
            slab.remove(keys[index]);
        }
        let taken = [(); 4].map(|()| slab.insert(0).index as usize);
        assert_eq!(taken, [5, PAGE_LEN + 7, 3 * PAGE_LEN + 1, 4 * PAGE_LEN]);
    }

    #[test]
    fn generations_never_become_zero() {
        let mut slab = Slab::new();
        let key = slab.insert(());
        slab.slots.get_mut(0).unwrap().generation = NonZeroU32::MAX;
        slab.remove(Key {
            generation: NonZeroU32::MAX,
            ..key
        });
        assert_ne!(slab.insert(()).as_u64() >> 32, 0);
    }

    #[test]
    fn no_key_takes_no_space() {
        assert_eq!(size_of::<Option<Key>>(), size_of::<u64>());
    }

    proptest! {
        /// Many come and go at a time, over several pages.
        #[test]
        fn keys_stay_true_while_pages_come_and_go(
            crowds in prop::collection::vec((any::<bool>(), 1..3 * PAGE_LEN, any::<usize>()), 1..12),
        ) {
            let (mut slab, mut here, mut gone) = (Slab::new(), Vec::new(), Vec::new());
            for (come, count, start) in crowds {
                for step in 0..count {
                    if come || here.is_empty() {
                        here.push((slab.insert(step), step));
                    } else {
                        let (key, value) = here.swap_remove((start / 7 + step * 31) % here.len());
                        prop_assert_eq!(slab.remove(key), Some(value));
                        gone.push(key);
                    }
                }
                prop_assert_eq!(slab.len(), here.len());
                prop_assert!(here.iter().all(|(key, value)| slab.get(*key) == Some(value)));
                prop_assert!(gone.iter().all(|key| slab.get(*key).is_none()));
                prop_assert_eq!(slab.iter().count(), here.len());
            }
        }

        #[test]
        fn behaves_like_a_map(operations in prop::collection::vec((any::<bool>(), 0_usize..40), 1..200)) {
            let mut slab = Slab::new();
            let mut model = BTreeMap::new();
            let mut keys: Vec<Key> = Vec::new();
            for (step, (insert, pick)) in operations.into_iter().enumerate() {
                if insert || keys.is_empty() {
                    let key = slab.insert(step);
                    prop_assert!(model.insert(key, step).is_none(), "a key was handed out twice");
                    keys.push(key);
                } else {
                    let key = keys[pick % keys.len()];
                    prop_assert_eq!(slab.remove(key), model.remove(&key));
                }
                prop_assert_eq!(slab.len(), model.len());
                let mut seen: Vec<_> = slab.iter().map(|(key, value)| (key, *value)).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
                for key in &keys {
                    prop_assert_eq!(slab.get(*key), model.get(key));
                }
            }
        }
    }
}
