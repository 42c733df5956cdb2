//! A collection that most of its many owners never use: one word while it is empty.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Deref;

/// A collection of type `C`, on the heap as soon as something is to be put in. Reading is done through `Deref`;
/// changing says whether it may take memory for that.
#[derive(Debug)]
pub(crate) struct Rare<C>(Option<Box<C>>);

/// What can be empty, and then cost nothing.
pub(crate) trait Collection: Default + 'static {
    const EMPTY: &'static Self;

    fn is_empty(&self) -> bool;
}

impl<C> Rare<C> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }
}

impl<C: Collection> Rare<C> {
    /// To change what is there: nothing, if it is empty.
    pub(crate) fn existing(&mut self) -> Option<&mut C> {
        self.0.as_deref_mut()
    }

    /// To put something in.
    pub(crate) fn make(&mut self) -> &mut C {
        self.0.get_or_insert_default()
    }

    /// Asked for every message: nothing is looked up where nothing was ever put in.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|list| list.is_empty())
    }

    /// Whether it is more than one word.
    #[cfg(test)]
    pub(crate) const fn has_memory(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the memory back if it is empty.
    pub(crate) fn release_memory(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }
}

impl<C> Default for Rare<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Collection> Deref for Rare<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.0.as_deref().unwrap_or(C::EMPTY)
    }
}

impl<T: 'static> Collection for Vec<T> {
    const EMPTY: &'static Self = &Self::new();

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K: 'static, V: 'static> Collection for BTreeMap<K, V> {
    const EMPTY: &'static Self = &Self::new();

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<T: 'static> Collection for VecDeque<T> {
    const EMPTY: &'static Self = &Self::new();

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Rare;
    use alloc::vec::Vec;

    #[test]
    fn empty_it_is_one_word_and_owns_nothing() {
        assert_eq!(size_of::<Rare<Vec<u64>>>(), size_of::<usize>());
        let mut list: Rare<Vec<u64>> = Rare::default();
        assert!(list.is_empty() && list.existing().is_none());
        list.make().push(7);
        list.release_memory();
        assert_eq!(*list, [7]);
        list.make().clear();
        list.release_memory();
        assert!(list.existing().is_none());
    }
}
