//! A dense store of values under keys that notice when their value is gone.
//!
//! Sessions and connections live here. A key names a slot *and* the generation of its tenant, so a key kept in a
//! timer, in the dirty list or in a peer's message finds nothing, rather than a stranger, after the slot was reused.

use core::fmt;
use core::num::NonZeroU32;

use crate::paged::Paged;

/// Values of one kind in reused slots; indices stay dense, so side tables may be plain vectors.
pub(crate) struct Slab<T> {
    slots: Paged<Slot<T>>,
    /// Head of the list of vacant slots, or [`END`].
    vacant: u32,
    len: usize,
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
            vacant: END,
            len: 0,
        }
    }

    /// How many values are stored.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Stores a value, in the slot that was freed last if there is one.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        let reused = self.vacant;
        if let Some(slot) = self.slots.get_mut(reused as usize)
            && let Tenant::Vacant { next } = slot.tenant
        {
            self.vacant = next;
            slot.tenant = Tenant::Occupied(value);
            return Key {
                index: reused,
                generation: slot.generation,
            };
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(END);
        // The limits on connections and sessions lie far below; going on would hand out one key twice.
        assert!(index != END, "a slab holds fewer than 2^32 - 1 values");
        self.slots.push(Slot {
            generation: FIRST_GENERATION,
            tenant: Tenant::Occupied(value),
        });
        Key {
            index,
            generation: FIRST_GENERATION,
        }
    }

    /// Takes the value out; the key (and every copy of it) is dead from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation || matches!(slot.tenant, Tenant::Vacant { .. }) {
            return None;
        }
        let gone = core::mem::replace(&mut slot.tenant, Tenant::Vacant { next: self.vacant });
        slot.generation = slot.generation.checked_add(1).unwrap_or(FIRST_GENERATION);
        self.vacant = key.index;
        self.len -= 1;
        gone.into_value()
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
    use super::{Key, Slab};
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
