//! Where each body lies, and how many refer to it.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::pages::{NOWHERE, Pages, nth};
use super::rows::{Row, Step, bits};

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
/// Those that came together are in rows (`rows.rs`): with what leads to them (`pages.rs`) they need 14 bytes each, if rows are full. An
/// entry of a single one has 28, and what leads to it from 6 to 46: a store that is opened with ten million messages that came one behind
/// the other needs 340 MB for it.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    entries: Vec<Entry>,
    /// Places in `entries` that are not used.
    free: Vec<u32>,
    /// Their places are [`ROW`] and the number here.
    rows: Vec<Row>,
    /// Rows that are not used.
    free_rows: Vec<u32>,
    /// How many bodies are in rows.
    in_rows: usize,
    pages: Pages,
    references: u64,
    /// Places of bodies, and of rows with bodies, that have lost their last reference since [`Bodies::remove_lost`].
    lost: Vec<u32>,
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

impl Bodies {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len() + self.in_rows
    }

    /// All references to them.
    pub(crate) const fn references(&self) -> u64 {
        self.references
    }

    pub(crate) fn location(&self, id: u64) -> Option<Location> {
        self.location_and_checksum(id).map(|(location, _)| location)
    }

    /// Where a body is, and the checksum of its record.
    pub(crate) fn location_and_checksum(&self, id: u64) -> Option<(Location, u32)> {
        let place = self.pages.get(id)?;
        if let Some(row) = row_of(place) {
            return self.rows.get(row)?.at(id);
        }
        let entry = self.entries.get(place as usize)?;
        (entry.location != Location::NONE).then_some((entry.location, entry.checksum))
    }

    /// Says where a body is, and what its record's checksum is; gives where it was before.
    pub(crate) fn put(&mut self, id: u64, location: Location, checksum: u32) -> Option<Location> {
        self.take_out_of_row(id);
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

    /// Says where new bodies are that lie side by side, by the first one's id and location and the checksum of each. `false`, and
    /// nothing is changed: they are too few for a row, or too many, or not all new; they are to be put one by one.
    pub(crate) fn put_row(&mut self, first: u64, location: Location, sums: &[u32]) -> bool {
        if sums.len() < ROW_BODIES_MIN {
            return false;
        }
        let Some(row) = Row::new(first, location, sums) else {
            return false;
        };
        let new = self.free_rows.last().copied();
        let new = new.or_else(|| u32::try_from(self.rows.len()).ok());
        let Some(number) = new.filter(|number| *number < NOWHERE & !ROW) else {
            return false;
        };
        if !self.pages.fill(first, sums.len(), ROW | number) {
            return false;
        }
        match self.rows.get_mut(number as usize) {
            Some(place) => {
                *place = row;
                self.free_rows.pop();
            }
            None => self.rows.push(row),
        }
        self.in_rows += sums.len();
        true
    }

    /// One more refers to each of so many bodies whose ids follow each other. Gives how many of them there are not.
    pub(crate) fn refer(&mut self, first: u64, count: usize) -> usize {
        self.count(first, count, true)
    }

    /// One less refers to each. Those that nothing refers to any more stay where they are until [`Bodies::remove_lost`]. Gives how many of
    /// them there are not, or have nothing that refers to them.
    pub(crate) fn unrefer(&mut self, first: u64, count: usize) -> usize {
        self.count(first, count, false)
    }

    /// Rows do as many of these at once as they can; the others are gone through one by one.
    #[inline]
    fn count(&mut self, first: u64, count: usize, more: bool) -> usize {
        let (mut done, mut missing) = (0, 0);
        while done < count {
            let id = nth(first, done);
            let Some(place) = self.pages.get_next(id) else {
                (done, missing) = (done + 1, missing + 1);
                continue;
            };
            let row = row_of(place).and_then(|row| self.rows.get_mut(row));
            let Some(row) = row else {
                missing += usize::from(!self.count_single(place, more));
                done += 1;
                continue;
            };
            let had_lost = row.has_lost();
            let step = if more {
                row.refer(id, count - done)
            } else {
                row.unrefer(id, count - done)
            };
            match step {
                Step::Done(together) => {
                    done += together;
                    let together = together as u64;
                    if more {
                        self.references += together;
                    } else {
                        self.references -= together;
                        if row.has_lost() && !had_lost {
                            self.lost.push(place);
                        }
                    }
                }
                // A row does not count so far, or nothing refers to it: it is looked at again as a single one.
                Step::Not if self.take_out_of_row(id) => {}
                Step::Not => (done, missing) = (done + 1, missing + 1),
            }
        }
        missing
    }

    fn count_single(&mut self, place: u32, more: bool) -> bool {
        let Some(entry) = self.entries.get_mut(place as usize) else {
            return false;
        };
        if more {
            entry.references = entry.references.saturating_add(1);
            self.references += 1;
            return true;
        }
        if entry.references == 0 {
            return false;
        }
        entry.references -= 1;
        self.references -= 1;
        if entry.references == 0 {
            self.lost.push(place);
        }
        true
    }

    /// One more refers to the body of a place, which may be found later.
    pub(crate) fn refer_ahead(&mut self, place: u32) {
        self.count_single(place, true);
    }

    /// One less, while they are counted: [`Bodies::settle`] finds what is not needed.
    pub(crate) fn unrefer_ahead(&mut self, id: u64) {
        if let Some(place) = self.pages.get_next(id) {
            self.count_single(place, false);
        }
        self.lost.clear();
    }

    /// Forgets the bodies that have lost their last reference and have not got another one since. `freed` gets the segment and the bytes.
    pub(crate) fn remove_lost(&mut self, mut freed: impl FnMut(u32, u64)) {
        while let Some(place) = self.lost.pop() {
            if row_of(place).is_some() {
                self.remove_lost_of_row(place, &mut freed);
            } else if let Some(location) = self.remove_if_unused(place) {
                freed(location.generation, location.len.into());
            }
        }
        self.lost.shrink_to(LOST_KEPT);
    }

    fn remove_lost_of_row(&mut self, place: u32, freed: &mut impl FnMut(u32, u64)) {
        let row = row_of(place).and_then(|row| self.rows.get_mut(row));
        let Some(row) = row else {
            return;
        };
        let mut gone = row.take_lost();
        if gone == 0 {
            return;
        }
        let (first, each, is_empty) = (row.first(), row.location_of_all(), row.is_empty());
        let count = gone.count_ones();
        self.in_rows -= count as usize;
        freed(each.generation, u64::from(count) * u64::from(each.len));
        while gone != 0 {
            let from = gone.trailing_zeros() as usize;
            let together = (gone >> from).trailing_ones() as usize;
            self.pages.clear(nth(first, from), together);
            gone &= !bits(from, together);
        }
        if is_empty {
            self.free_row(place);
        }
    }

    fn remove_if_unused(&mut self, place: u32) -> Option<Location> {
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

    /// From here on it has an entry of its own. `false`: it is in no row.
    fn take_out_of_row(&mut self, id: u64) -> bool {
        let Some(place) = self.pages.get_next(id) else {
            return false;
        };
        let row = row_of(place).and_then(|row| self.rows.get_mut(row));
        let Some((single, is_empty)) = row.and_then(|row| Some((row.take(id)?, row.is_empty())))
        else {
            return false;
        };
        self.in_rows -= 1;
        if is_empty {
            self.free_row(place);
        }
        self.pages.remove(id);
        let Some(place) = self.place_or_new(id) else {
            return false;
        };
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.location = single.location;
            entry.checksum = single.checksum;
            entry.references = single.references;
        }
        if single.is_lost {
            self.lost.push(place);
        }
        true
    }

    /// The row of a place is used no more.
    fn free_row(&mut self, place: u32) {
        self.free_rows.push(place & !ROW);
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

    /// Where all bodies are.
    pub(crate) fn locations(&self) -> impl Iterator<Item = Location> {
        let used = self.entries.iter().filter(|entry| !entry.is(NOBODY));
        let used = used.map(|entry| entry.location);
        used.chain(self.rows.iter().flat_map(Row::locations))
    }

    /// The place of a body, a small number that is its own as long as it is there: of a log that has just been opened, which has no
    /// rows. For somebody who goes through bodies in the order in which they came, as they mostly do: `near` is the place behind
    /// the last one.
    pub(crate) fn place_near(&self, id: u64, near: u32) -> Option<u32> {
        let there = self.entries.get(near as usize);
        if there.is_some_and(|entry| entry.is(id) && entry.location != Location::NONE) {
            return Some(near);
        }
        self.pages.get(id)
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

    /// The place of a body that may be found later. `None` only beyond two thousand million bodies.
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
        let Some(place) = place.filter(|place| place & ROW == 0) else {
            self.pages.remove(id);
            return None;
        };
        *known = place;
        self.entries.push(entry);
        Some(place)
    }
}

/// The number of the row that a place stands for.
const fn row_of(place: u32) -> Option<usize> {
    match place & ROW {
        0 => None,
        _ => Some((place & !ROW) as usize),
    }
}

impl Location {
    /// Of a body that has not been found yet.
    pub(super) const NONE: Self = Self {
        generation: u32::MAX,
        offset: u32::MAX,
        len: 0,
    };

    /// Of the record so many behind this one, if all there have its length.
    pub(super) fn behind(self, count: usize) -> Self {
        let bytes = u32::try_from(count).unwrap_or(0) * self.len;
        Self {
            offset: self.offset + bytes,
            ..self
        }
    }
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
/// The bit of places that are rows.
const ROW: u32 = 1 << 31;
/// Two entries are less than a row.
const ROW_BODIES_MIN: usize = 3;
/// Places of lost bodies for which there is memory between two batches.
const LOST_KEPT: usize = 65_536;

#[cfg(test)]
mod tests;
