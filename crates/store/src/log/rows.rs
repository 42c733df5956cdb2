//! Bodies that came together: their records lie side by side and are of one length, and their ids follow each other.
//!
//! ```text
//! file   ...| body 5 | body 6 | body 7 | body 8 |...      where the first one is tells where the others are
//! row        location │ length │ first id │ of each: checksum, references
//! ```
//! Nearly all bodies of a busy store come like that, are referred to like that and go like that. A row of eight takes one cache
//! line, where eight entries take three and a half, and what happens to all of them is one step.

use super::bodies::{Location, halves};
use super::pages::STEP;

/// Up to eight of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Of the first one, in two halves.
    id: [u32; 2],
    /// Of the first one; the length is that of each.
    location: Location,
    checksums: [u32; ROW_BODIES],
    references: [u8; ROW_BODIES],
    /// A bit for each that is here: not gone, and not moved elsewhere.
    here: u8,
    /// A bit for each whose last reference has ended. It stays until [`Row::take_lost`].
    lost: u8,
}

/// One that has been taken out of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Single {
    pub(super) id: u64,
    pub(super) location: Location,
    pub(super) checksum: u32,
    pub(super) references: u32,
    /// Its last reference has just ended.
    pub(super) is_lost: bool,
}

/// What came of a step that many were to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many have done it.
    Done(usize),
    /// The first one cannot: it has as many references as a row can count, or none that could end.
    Not,
}

impl Row {
    /// As many as there are checksums: one to [`ROW_BODIES`].
    pub(super) fn new(id: u64, location: Location, sums: &[u32]) -> Option<Self> {
        let mut checksums = [0; ROW_BODIES];
        checksums.get_mut(..sums.len())?.copy_from_slice(sums);
        Some(Self {
            id: halves(id),
            location,
            checksums,
            references: [0; ROW_BODIES],
            here: bits(0, sums.len()),
            lost: 0,
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.here == 0
    }

    pub(super) const fn first(&self) -> u64 {
        (self.id[1] as u64) << 32 | self.id[0] as u64
    }

    /// Where one is that is here, and its checksum.
    pub(super) fn at(&self, id: u64) -> Option<(Location, u32)> {
        let place = self.place_of(id)?;
        Some((self.location.behind(place), *self.checksums.get(place)?))
    }

    /// Where they all are.
    pub(super) fn locations(&self) -> impl Iterator<Item = Location> + '_ {
        let here = (0..ROW_BODIES).filter(|place| self.here >> place & 1 == 1);
        here.map(|place| self.location.behind(place))
    }

    /// One reference more to each of so many that follow each other from this id on, as far as they are in this row.
    pub(super) fn refer(&mut self, id: u64, count: usize) -> Step {
        let Some((from, counts)) = self.part(id, count) else {
            return Step::Not;
        };
        if counts.contains(&u8::MAX) {
            return self.one_by_one(from, |count| count.checked_add(1));
        }
        let done = counts.len();
        for count in counts {
            *count += 1;
        }
        Step::Done(done)
    }

    /// One reference less to each.
    pub(super) fn unrefer(&mut self, id: u64, count: usize) -> Step {
        let Some((from, counts)) = self.part(id, count) else {
            return Step::Not;
        };
        if counts.contains(&0) {
            return self.one_by_one(from, |count| count.checked_sub(1));
        }
        let mut lost = 0;
        for (count, bit) in counts.iter_mut().zip(0_u32..) {
            *count -= 1;
            lost |= u8::from(*count == 0) << bit;
        }
        let done = counts.len();
        self.lost |= lost << from;
        Step::Done(done)
    }

    /// Whether one of them has lost its last reference since [`Row::take_lost`].
    pub(super) const fn has_lost(&self) -> bool {
        self.lost != 0
    }

    /// Forgets those that have lost their last reference, and were not referred to again; gives them as bits.
    pub(super) fn take_lost(&mut self) -> u8 {
        let counts = self.references.iter().zip(0_u32..);
        let unused = counts.fold(0, |bits, (count, bit)| bits | u8::from(*count == 0) << bit);
        let gone = std::mem::take(&mut self.lost) & unused & self.here;
        self.here &= !gone;
        gone
    }

    pub(super) const fn location_of_all(&self) -> Location {
        self.location
    }

    /// Takes one out.
    pub(super) fn take(&mut self, id: u64) -> Option<Single> {
        let place = self.place_of(id)?;
        let (location, checksum) = self.at(id)?;
        let references = std::mem::take(self.references.get_mut(place)?);
        let bit = bits(place, 1);
        let is_lost = self.lost & bit != 0;
        self.here &= !bit;
        self.lost &= !bit;
        Some(Single {
            id,
            location,
            checksum,
            references: references.into(),
            is_lost,
        })
    }

    /// The counts of those from this id on that are here, one behind the other, and at which place they begin.
    fn part(&mut self, id: u64, count: usize) -> Option<(usize, &mut [u8])> {
        let from = self.place_of(id)?;
        let here = (self.here >> from).trailing_ones() as usize;
        let counts = self.references.get_mut(from..from + here.min(count))?;
        Some((from, counts))
    }

    /// Only the first of those that cannot all do it at once.
    fn one_by_one(&mut self, place: usize, step: impl FnOnce(u8) -> Option<u8>) -> Step {
        let Some(count) = self.references.get_mut(place) else {
            return Step::Not;
        };
        let Some(new) = step(*count) else {
            return Step::Not;
        };
        if new == 0 {
            self.lost |= bits(place, 1);
        }
        *count = new;
        Step::Done(1)
    }

    /// The place of one that is here.
    fn place_of(&self, id: u64) -> Option<usize> {
        let place = usize::try_from(id.checked_sub(self.first())? / STEP).ok()?;
        let is_here = place < ROW_BODIES && self.here >> place & 1 == 1;
        is_here.then_some(place)
    }
}

/// So many bits from this one on; at most eight.
#[expect(clippy::cast_possible_truncation, reason = "there are no more places")]
pub(super) const fn bits(from: usize, count: usize) -> u8 {
    (((1_u32 << count) - 1) << from) as u8
}

/// How many are in one row, at most: as many as a byte has bits.
pub(super) const ROW_BODIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = 7 * STEP + 3;

    fn id(place: u64) -> u64 {
        FIRST + place * STEP
    }

    fn row(count: usize) -> Row {
        let location = Location {
            generation: 4,
            offset: 1_000,
            len: 10,
        };
        let sums: Vec<u32> = (0..).take(count).collect();
        Row::new(FIRST, location, &sums).unwrap()
    }

    #[test]
    fn a_row_is_one_cache_line() {
        assert_eq!(size_of::<Row>(), 64);
        assert!(Row::new(FIRST, Location::NONE, &[0; 9]).is_none());
    }

    #[test]
    fn each_lies_behind_the_one_before() {
        let row = row(3);
        assert_eq!(row.at(FIRST).unwrap().0.offset, 1_000);
        let (last, checksum) = row.at(id(2)).unwrap();
        assert_eq!((last.offset, last.len, checksum), (1_020, 10, 2));
        assert_eq!(row.at(id(3)), None);
        assert_eq!(row.at(FIRST - STEP), None);
        assert_eq!(row.locations().count(), 3);
    }

    #[test]
    fn a_step_goes_as_far_as_they_are_here() {
        let mut row = row(6);
        assert_eq!(row.refer(id(4), 8), Step::Done(2));
        assert_eq!(row.refer(id(0), 6), Step::Done(6));
        assert_eq!(row.take(id(3)).unwrap().references, 1);
        assert_eq!(row.refer(id(0), 6), Step::Done(3));
        assert_eq!(row.refer(id(3), 1), Step::Not, "it is elsewhere");
        assert_eq!(row.unrefer(id(4), 2), Step::Done(2));
        assert_eq!(row.references, [2, 2, 2, 0, 1, 1, 0, 0]);
        assert!(!row.has_lost());
    }

    #[test]
    fn more_references_than_fit_are_not_counted_wrongly() {
        let mut row = row(2);
        for _ in 0..255 {
            assert_eq!(row.refer(id(0), 1), Step::Done(1));
        }
        assert_eq!(row.refer(id(0), 2), Step::Not);
        assert_eq!(row.refer(id(1), 1), Step::Done(1));
        assert_eq!(row.references[..2], [255, 1]);
        // Of two of which one cannot, the one that can goes first.
        assert_eq!(row.unrefer(id(1), 1), Step::Done(1));
        assert_eq!(row.unrefer(id(0), 2), Step::Done(1));
        assert_eq!(row.unrefer(id(1), 1), Step::Not);
        assert_eq!(row.take_lost(), 0b10);
    }

    #[test]
    fn what_is_lost_and_found_again_stays() {
        let mut row = row(4);
        row.refer(id(0), 3);
        row.unrefer(id(0), 2);
        assert!(row.has_lost());
        row.refer(id(1), 1);
        assert_eq!(row.take_lost(), 0b1);
        assert!(!row.has_lost());
        // The last one was never referred to: it may yet be.
        assert_eq!(
            (row.locations().count(), row.at(id(3)).is_some()),
            (3, true)
        );
        row.unrefer(id(1), 2);
        let single = row.take(id(2)).unwrap();
        assert!(single.is_lost);
        assert_eq!(row.take_lost(), 0b10, "the other one has been taken out");
    }
}
