//! Where each body lies, and how many refer to it.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::pages::{NOWHERE, Pages};

/// Where the record of a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) generation: u32,
    pub(crate) offset: u32,
    /// Bytes of the whole record.
    pub(crate) len: u32,
}

/// The bodies that are needed, or may be: those that something refers to, and new ones that nothing has referred to yet.
///
/// An entry has 28 bytes, and what leads to it from 6 to 46 (`pages.rs`): a store of ten million messages that came one behind the
/// other needs 340 MB for it.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    entries: Vec<Entry>,
    /// Places in `entries` that are not used.
    free: Vec<u32>,
    pages: Pages,
    references: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// In two halves: four bytes less to an entry.
    id: [u32; 2],
    location: Location,
    references: u32,
    /// Of the whole record.
    checksum: u32,
}

impl Entry {
    const fn is(&self, id: u64) -> bool {
        let [low, high] = halves(id);
        self.id[0] == low && self.id[1] == high
    }

    const fn id(&self) -> u64 {
        (self.id[1] as u64) << 32 | self.id[0] as u64
    }
}

/// The low half and the high one.
#[expect(clippy::cast_possible_truncation, reason = "that is what a half is")]
pub(super) const fn halves(id: u64) -> [u32; 2] {
    [id as u32, (id >> 32) as u32]
}

/// What became of a body when a reference to it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Let {
    /// Others refer to it.
    Held,
    /// It was the last one. The body's place, for [`Bodies::remove_unreferred`].
    Last(u32),
    /// There is no such body, or nothing refers to it.
    Unknown,
}

impl Bodies {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// All references to them.
    pub(crate) const fn references(&self) -> u64 {
        self.references
    }

    pub(crate) fn location(&self, id: u64) -> Option<Location> {
        self.entry(id)
            .map(|entry| entry.location)
            .filter(|location| *location != Location::NONE)
    }

    /// Where a body is, and the checksum of its record.
    pub(crate) fn place_and_checksum(&self, id: u64) -> Option<(Location, u32)> {
        let entry = self.entry(id)?;
        (entry.location != Location::NONE).then_some((entry.location, entry.checksum))
    }

    /// Says where a body is, and what its record's checksum is; gives where it was before.
    pub(crate) fn put(&mut self, id: u64, location: Location, checksum: u32) -> Option<Location> {
        let place = self.place_or_new(id)?;
        self.put_at(place, location, checksum)
    }

    /// The same for the body of a place.
    pub(crate) fn put_at(
        &mut self,
        place: u32,
        location: Location,
        checksum: u32,
    ) -> Option<Location> {
        let entry = self.entries.get_mut(place as usize)?;
        entry.checksum = checksum;
        let before = std::mem::replace(&mut entry.location, location);
        (before != Location::NONE).then_some(before)
    }

    /// One more refers to it. `false`: there is no such body.
    pub(crate) fn refer(&mut self, id: u64) -> bool {
        let Some(entry) = self.entry_mut(id) else {
            return false;
        };
        entry.references = entry.references.saturating_add(1);
        self.references += 1;
        true
    }

    /// One less refers to it. It stays where it is until [`Bodies::remove_unreferred`].
    pub(crate) fn unrefer(&mut self, id: u64) -> Let {
        let Some(place) = self.pages.get_next(id) else {
            return Let::Unknown;
        };
        let entry = self.entries.get_mut(place as usize);
        let Some(entry) = entry.filter(|entry| entry.references > 0) else {
            return Let::Unknown;
        };
        entry.references -= 1;
        let last = entry.references == 0;
        self.references -= 1;
        if last { Let::Last(place) } else { Let::Held }
    }

    /// One more refers to the body of a place, which may be found later.
    pub(crate) fn refer_ahead(&mut self, place: u32) {
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.references = entry.references.saturating_add(1);
            self.references += 1;
        }
    }

    /// Forgets the body of a place if nothing refers to it; gives where it was.
    pub(crate) fn remove_unreferred(&mut self, place: u32) -> Option<Location> {
        let entry = self.entries.get_mut(place as usize)?;
        if entry.references > 0 || entry.is(NOBODY) {
            return None;
        }
        self.pages.remove(entry.id());
        entry.id = halves(NOBODY);
        let location = std::mem::replace(&mut entry.location, Location::NONE);
        self.free.push(place);
        (location != Location::NONE).then_some(location)
    }

    /// Ends the counting that [`Bodies::refer_ahead`] began: forgets the bodies that nothing refers to and those that were
    /// not found. Gives how many were not found.
    pub(crate) fn settle(&mut self) -> u64 {
        let (mut missing, mut references) = (0, 0);
        for (place, entry) in (0..).zip(&mut self.entries) {
            if entry.is(NOBODY) {
                continue;
            }
            if entry.references > 0 && entry.location != Location::NONE {
                references += u64::from(entry.references);
                continue;
            }
            missing += u64::from(entry.references > 0);
            self.pages.remove(entry.id());
            entry.id = halves(NOBODY);
            entry.location = Location::NONE;
            self.free.push(place);
        }
        self.references = references;
        missing
    }

    /// The places of all bodies.
    pub(crate) fn locations(&self) -> impl Iterator<Item = Location> {
        let used = self.entries.iter().filter(|entry| !entry.is(NOBODY));
        used.map(|entry| entry.location)
    }

    /// The place of a body, a small number that is its own as long as it is there. For somebody who goes through bodies in the
    /// order in which they came, as they mostly do: `near` is the place behind the last one.
    pub(crate) fn place_near(&self, id: u64, near: u32) -> Option<u32> {
        let there = self.entries.get(near as usize);
        if there.is_some_and(|entry| entry.is(id) && entry.location != Location::NONE) {
            return Some(near);
        }
        self.find(id)
    }

    /// All places that are used, with what is there.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, Location)> {
        let all = (0..).zip(&self.entries);
        let all = all.map(|(place, entry)| (place, entry.location));
        all.filter(|(_, location)| *location != Location::NONE)
    }

    /// Where the body of a place is.
    pub(crate) fn location_at(&self, place: u32) -> Option<Location> {
        self.entries.get(place as usize).map(|entry| entry.location)
    }

    fn find(&self, id: u64) -> Option<u32> {
        self.pages.get(id)
    }

    fn entry(&self, id: u64) -> Option<&Entry> {
        self.entries.get(self.find(id)? as usize)
    }

    fn entry_mut(&mut self, id: u64) -> Option<&mut Entry> {
        let place = self.pages.get_next(id)?;
        self.entries.get_mut(place as usize)
    }

    /// The place of a body that may be found later. `None` only beyond four thousand million bodies.
    pub(crate) fn place_or_new(&mut self, id: u64) -> Option<u32> {
        let known = self.pages.place_mut(id)?;
        if *known != NOWHERE {
            return Some(*known);
        }
        let entry = Entry {
            id: halves(id),
            location: Location::NONE,
            references: 0,
            checksum: 0,
        };
        if let Some(place) = self.free.pop() {
            *known = place;
            *self.entries.get_mut(place as usize)? = entry;
            return Some(place);
        }
        let place = u32::try_from(self.entries.len()).ok();
        let Some(place) = place.filter(|place| *place != NOWHERE) else {
            self.pages.remove(id);
            return None;
        };
        *known = place;
        self.entries.push(entry);
        Some(place)
    }
}

impl Location {
    /// Of a body that has not been found yet.
    const NONE: Self = Self {
        generation: u32::MAX,
        offset: u32::MAX,
        len: 0,
    };
}

/// To know a body's record again when it is read back: what frames have is over many records. It is kept in memory only, so
/// it may be another one in the next version; it takes a third of the time that CRC-32C takes for a few hundred bytes.
#[expect(clippy::cast_possible_truncation, reason = "both halves are in it")]
pub(crate) fn checksum(record: &[u8]) -> u32 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(record);
    let sum = hasher.finish();
    (sum ^ sum >> 32) as u32
}

/// No body's id: of places that are not used.
const NOBODY: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_changes_the_checksum() {
        for len in [1, 7, 8, 16, 17, 40, 255, 256, 257, 300, 1_000] {
            let record: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            let good = checksum(&record);
            for bit in 0..len * 8 {
                let mut other = record.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(checksum(&other), good, "bit {bit} of {len} bytes");
            }
            assert_ne!(checksum(&record[..len - 1]), good, "{len} bytes cut short");
            assert_ne!(checksum(&vec![0; len]), checksum(&vec![0; len + 1]));
        }
    }

    fn at(offset: u32) -> Location {
        Location {
            generation: 1,
            offset,
            len: 10,
        }
    }

    fn let_go(bodies: &mut Bodies, id: u64) {
        let Let::Last(place) = bodies.unrefer(id) else {
            panic!("something else refers to {id}");
        };
        assert!(bodies.remove_unreferred(place).is_some());
    }

    #[test]
    fn a_body_is_there_as_long_as_something_refers_to_it() {
        let mut bodies = Bodies::default();
        assert_eq!(bodies.put(7, at(1), 0), None);
        assert!(bodies.refer(7) && bodies.refer(7));
        assert_eq!(bodies.put(7, at(2), 0), Some(at(1)), "it has moved");
        assert_eq!(bodies.unrefer(7), Let::Held);
        assert_eq!(bodies.remove_unreferred(0), None);
        assert_eq!(bodies.unrefer(7), Let::Last(0));
        assert_eq!(bodies.unrefer(7), Let::Unknown);
        assert_eq!(bodies.remove_unreferred(0), Some(at(2)));
        assert_eq!(bodies.remove_unreferred(0), None, "not a second time");
        assert_eq!((bodies.len(), bodies.references()), (0, 0));
        assert!(!bodies.refer(7));
    }

    #[test]
    fn an_entry_costs_few_bytes() {
        assert_eq!(size_of::<Entry>(), 28);
        for id in [1, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut bodies = Bodies::default();
            bodies.put(id, at(1), 9);
            assert_eq!(bodies.place_and_checksum(id), Some((at(1), 9)));
            assert_eq!(bodies.place_and_checksum(id - 1), None);
        }
    }

    #[test]
    fn places_are_used_again() {
        let mut bodies = Bodies::default();
        for id in 1..10_000 {
            bodies.put(id, at(1), 0);
            bodies.refer(id);
            if id > 10 {
                let_go(&mut bodies, id - 10);
            }
        }
        assert_eq!(bodies.len(), 10);
        assert!(bodies.entries.len() <= 11);
    }

    #[test]
    fn a_place_that_is_near_is_found_only_while_a_body_is_there() {
        let mut bodies = Bodies::default();
        for id in [10, 20, 30, 40] {
            bodies.put(id, at(1), 0);
            bodies.refer(id);
        }
        let_go(&mut bodies, 20);
        bodies.unrefer(30);
        bodies.settle();
        for near in 0..6 {
            assert_eq!(bodies.place_near(10, near), Some(0));
            assert_eq!(bodies.place_near(20, near), None);
            assert_eq!(bodies.place_near(30, near), None);
            assert_eq!(bodies.place_near(40, near), Some(3));
        }
        let places: Vec<u32> = bodies.places().map(|(place, _)| place).collect();
        assert_eq!(places, [0, 3]);
    }

    #[test]
    fn counting_may_begin_before_a_body_is_found() {
        let mut bodies = Bodies::default();
        for id in [1, 2, 3] {
            let place = bodies.place_or_new(id).unwrap();
            assert_eq!(bodies.place_near(id, 0), Some(place));
            bodies.refer_ahead(place);
        }
        bodies.put(1, at(1), 0);
        bodies.put(2, at(2), 0);
        bodies.put(4, at(4), 0);
        assert!(matches!(bodies.unrefer(2), Let::Last(_)));
        assert_eq!(bodies.settle(), 1, "3 was not found");
        assert_eq!((bodies.len(), bodies.references()), (1, 1));
        assert_eq!(bodies.location(1), Some(at(1)));
        assert_eq!(bodies.location(2), None);
    }
}
