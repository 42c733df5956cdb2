//! Which place a body has, by its id.
//!
//! ```text
//! table: first id of a page ──► page: | place | place |   -   | place | ... |   eight ids that follow each other
//! ```
//! A shard numbers its bodies one behind the other, and they come, are referred to and go in runs. So ids that follow each
//! other have a page together, and the last page that was used is remembered: one look at the table serves eight messages.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table};
use martlet_engine::SHARDS_MAX;

/// Places by ids.
///
/// A page has 40 bytes, and what names it in the table about 6: less than six for each body if all eight are there, and at
/// worst, if of each eight one stays, 46.
#[derive(Debug, Default)]
pub(super) struct Pages {
    list: Vec<Page>,
    /// Those in `list` that are not used.
    free: Vec<u32>,
    table: HashTable<u32>,
    /// The one that was used last, or any other one.
    last: u32,
    #[cfg(test)]
    looked_up: usize,
}

#[derive(Debug, Clone, Copy)]
struct Page {
    /// The first id that belongs to it, in two halves: no page has more than 40 bytes.
    key: [u32; 2],
    places: [u32; PAGE_IDS],
}

impl Pages {
    /// The place of an id.
    #[inline]
    pub(super) fn get(&self, id: u64) -> Option<u32> {
        let (key, index) = split(id);
        let page = self.list.get(self.find(key)? as usize)?;
        page.places.get(index).copied().filter(|at| *at != NOWHERE)
    }

    /// The same, for one of many that are mostly looked for in the order of their ids.
    #[inline]
    pub(super) fn get_next(&mut self, id: u64) -> Option<u32> {
        let (key, index) = split(id);
        if !self.is_last(key) {
            self.turn_to(key)?;
        }
        let page = self.list.get(self.last as usize)?;
        page.places.get(index).copied().filter(|at| *at != NOWHERE)
    }

    /// Where the place of an id stands, or is to be put: [`NOWHERE`] if it has none yet. One has to be put then. `None` only beyond
    /// four thousand million pages.
    #[inline]
    pub(super) fn place_mut(&mut self, id: u64) -> Option<&mut u32> {
        let (key, index) = split(id);
        if !self.is_last(key) {
            self.turn_to_or_new(key)?;
        }
        let page = self.list.get_mut(self.last as usize)?;
        page.places.get_mut(index)
    }

    /// An id has no place any more.
    pub(super) fn remove(&mut self, id: u64) {
        self.clear(id, 1);
    }

    /// Gives all of so many ids that follow each other this place. `false`, and nothing is changed: one of them has a place.
    pub(super) fn fill(&mut self, first: u64, count: usize, place: u32) -> bool {
        let mut done = 0;
        while done < count {
            let id = nth(first, done);
            let (key, index) = split(id);
            let end = PAGE_IDS.min(index + count - done);
            let known = self.is_last(key) || self.turn_to_or_new(key).is_some();
            let page = self.list.get_mut(self.last as usize).filter(|_| known);
            let places = page.and_then(|page| page.places.get_mut(index..end));
            let free = places.filter(|places| places.iter().all(|at| *at == NOWHERE));
            let Some(places) = free else {
                self.clear(first, done);
                return false;
            };
            places.fill(place);
            done += end - index;
        }
        true
    }

    /// So many ids that follow each other have no place any more.
    pub(super) fn clear(&mut self, first: u64, count: usize) {
        let mut done = 0;
        while done < count {
            let (key, index) = split(nth(first, done));
            let end = PAGE_IDS.min(index + count - done);
            done += end - index;
            if !self.is_last(key) && self.turn_to(key).is_none() {
                continue;
            }
            let Some(page) = self.list.get_mut(self.last as usize) else {
                continue;
            };
            if let Some(places) = page.places.get_mut(index..end) {
                places.fill(NOWHERE);
            }
            if page.places == [NOWHERE; PAGE_IDS] {
                self.remove_last(key);
            }
        }
    }

    #[inline]
    fn is_last(&self, key: u64) -> bool {
        let page = self.list.get(self.last as usize);
        page.is_some_and(|page| page.is(key))
    }

    fn find(&self, key: u64) -> Option<u32> {
        let is_it = |page: &u32| {
            let page = self.list.get(*page as usize);
            page.is_some_and(|page| page.is(key))
        };
        self.table.find(hash(key), is_it).copied()
    }

    #[inline(never)]
    fn turn_to(&mut self, key: u64) -> Option<()> {
        #[cfg(test)]
        {
            self.looked_up += 1;
        }
        self.last = self.find(key)?;
        Some(())
    }

    #[inline(never)]
    fn turn_to_or_new(&mut self, key: u64) -> Option<()> {
        #[cfg(test)]
        {
            self.looked_up += 1;
        }
        let (pages, free) = (&mut self.list, &mut self.free);
        let at = |page: &u32| pages.get(*page as usize);
        let is_it = |page: &u32| at(page).is_some_and(|page| page.is(key));
        let rehash = |page: &u32| at(page).map_or(0, |page| hash(page.key()));
        let vacant = match self.table.entry(hash(key), is_it, rehash) {
            hash_table::Entry::Occupied(found) => {
                self.last = *found.get();
                return Some(());
            }
            hash_table::Entry::Vacant(vacant) => vacant,
        };
        let new = Page::empty(key);
        let number = if let Some(number) = free.pop() {
            *pages.get_mut(number as usize)? = new;
            number
        } else {
            let number = u32::try_from(pages.len()).ok()?;
            pages.push(new);
            number
        };
        vacant.insert(number);
        self.last = number;
        Some(())
    }

    /// Gives the page up that was used last.
    #[inline(never)]
    fn remove_last(&mut self, key: u64) {
        let last = self.last;
        if let Ok(found) = self.table.find_entry(hash(key), |page| *page == last) {
            found.remove();
            self.free.push(last);
            if let Some(page) = self.list.get_mut(last as usize) {
                *page = Page::empty(NO_KEY);
            }
        }
    }
}

impl Page {
    const fn empty(key: u64) -> Self {
        Self {
            key: super::bodies::halves(key),
            places: [NOWHERE; PAGE_IDS],
        }
    }

    const fn is(&self, key: u64) -> bool {
        let [low, high] = super::bodies::halves(key);
        self.key[0] == low && self.key[1] == high
    }

    const fn key(&self) -> u64 {
        (self.key[1] as u64) << 32 | self.key[0] as u64
    }
}

/// The page of an id, and where in it.
const fn split(id: u64) -> (u64, usize) {
    let within = id & WITHIN;
    (id - within, (within / STEP) as usize)
}

/// The id that comes so many behind this one. No batch has ids beyond the last: see `RecordRun`.
pub(super) const fn nth(first: u64, place: usize) -> u64 {
    first.wrapping_add((place as u64).wrapping_mul(STEP))
}

/// Body ids are counted by the shards, nobody else chooses them: no seed is needed.
fn hash(key: u64) -> u64 {
    FixedState::default().hash_one(key)
}

/// No place.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Ids of one shard follow each other by this.
pub(super) const STEP: u64 = SHARDS_MAX as u64;
/// Ids that have a page together.
const PAGE_IDS: usize = 8;
/// The bits of an id that say where in its page it is.
const WITHIN: u64 = (PAGE_IDS as u64 - 1) * STEP;
/// The key of no page: it would have bits within.
const NO_KEY: u64 = u64::MAX;

const _: () = assert!(
    STEP.is_power_of_two(),
    "the bits of a page's ids lie together"
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What an id does to its page's neighbours, and pages that come and go: beside a map that knows nothing of pages.
    #[test]
    fn pages_know_what_a_map_knows() {
        let mut pages = Pages::default();
        let mut model = BTreeMap::new();
        let mut chance = 7_u64;
        for round in 0..200_000_u32 {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Of three shards, a few counts that lie beside each other, and some at the ends.
            let count = match chance >> 60 {
                0 => (1 << 58) - 1 - (chance >> 40) % 9,
                _ => (chance >> 40) % 100,
            };
            let id = count * STEP + (chance >> 33) % 3;
            match (chance >> 20) % 4 {
                0 | 1 => {
                    let place = pages.place_mut(id).unwrap();
                    let known = model.get(&id).copied().unwrap_or(NOWHERE);
                    assert_eq!(*place, known, "{id}");
                    *place = round;
                    model.insert(id, round);
                }
                2 => {
                    pages.remove(id);
                    model.remove(&id);
                }
                _ => {}
            }
            assert_eq!(pages.get(id), model.get(&id).copied());
            assert_eq!(pages.get_next(id), model.get(&id).copied());
        }
        for id in model.keys() {
            pages.remove(*id);
        }
        assert_eq!((pages.table.len(), pages.list.len()), (0, pages.free.len()));
    }

    /// A run is what nearly everything comes in: that it is cheap must not be lost unseen.
    #[test]
    fn a_run_needs_one_look_for_eight() {
        let mut pages = Pages::default();
        let ids: Vec<u64> = (800..864).map(|count| count * STEP + 5).collect();
        for (id, place) in ids.iter().zip(0..) {
            *pages.place_mut(*id).unwrap() = place;
        }
        assert_eq!(pages.looked_up, 8);
        assert!(
            ids.iter()
                .zip(0..)
                .all(|(id, at)| pages.get_next(*id) == Some(at))
        );
        assert_eq!(pages.looked_up, 16);
        ids.iter().rev().for_each(|id| pages.remove(*id));
        assert_eq!(pages.looked_up, 23, "the last page was the first to go");
        assert_eq!((pages.table.len(), pages.free.len()), (0, 8));
    }

    #[test]
    fn a_page_costs_few_bytes() {
        assert_eq!(size_of::<Page>(), 40);
    }
}
