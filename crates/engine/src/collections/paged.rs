//! A vector that grows without moving what it holds.
//!
//! Sessions, connections and filters are counted in millions. A plain vector doubles: for a moment there are two
//! copies, for long up to half of it is unused, and while a hundred megabytes are copied nobody is served.

use alloc::vec::Vec;

/// Values by index, in pages of [`PAGE_LEN`]. Only the first page begins smaller and is moved while it is small.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    /// All full but the last one.
    pages: Vec<Vec<T>>,
}

impl<T> Paged<T> {
    pub(crate) const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        match self.pages.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * PAGE_LEN + last.len(),
        }
    }

    pub(crate) fn push(&mut self, value: T) {
        if let Some(last) = self.pages.last_mut()
            && last.len() < PAGE_LEN
        {
            if last.len() == last.capacity() {
                // Only the first page: a shard with few values shall not pay for a page.
                last.reserve_exact(last.len().min(PAGE_LEN - last.len()));
            }
            last.push(value);
            return;
        }
        let first = self.pages.is_empty();
        let mut page = Vec::with_capacity(if first { FIRST_LEN } else { PAGE_LEN });
        page.push(value);
        self.pages.push(page);
    }

    /// Takes the last page away, with all that is in it.
    pub(crate) fn pop_page(&mut self) -> Vec<T> {
        self.pages.pop().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.pages.get(index / PAGE_LEN)?.get(index % PAGE_LEN)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages
            .get_mut(index / PAGE_LEN)?
            .get_mut(index % PAGE_LEN)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    /// For how many values there is memory.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.pages.iter().map(Vec::capacity).sum()
    }
}

/// Values of one page. A power of two.
pub(crate) const PAGE_LEN: usize = 512;
/// Values that the first page has room for at first.
const FIRST_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::{PAGE_LEN, Paged};

    #[test]
    fn values_stay_where_they_are_and_no_memory_is_spare() {
        let mut paged = Paged::new();
        assert_eq!((paged.len(), paged.capacity()), (0, 0));
        paged.push(0);
        assert!(paged.capacity() < 10, "few values, little memory");
        for value in 1..2 * PAGE_LEN {
            paged.push(value);
        }
        let place = core::ptr::from_ref(paged.get(7).unwrap());
        for value in paged.len()..20 * PAGE_LEN {
            paged.push(value);
            assert_eq!(paged.len(), value + 1);
        }
        assert!(core::ptr::eq(place, paged.get(7).unwrap()));
        assert_eq!(paged.capacity(), paged.len());
        assert!(paged.iter().copied().eq(0..paged.len()));
        assert_eq!(paged.get_mut(PAGE_LEN).copied(), Some(PAGE_LEN));
        assert_eq!(paged.get(paged.len()), None);
    }
}
