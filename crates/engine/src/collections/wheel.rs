//! One coarse timer wheel per shard, for every deadline: keep-alive, session expiry, delayed wills, retries.
//!
//! ```text
//! level 0   64 slots of 100 ms          a deadline lies on the level of the highest digit (base 64) in which its
//! level 1   64 slots of 6.4 s           slot number differs from the current one; when that digit is reached, the
//! level 2   64 slots of 6.8 min         slot's entries move down, and on level 0 they fire
//! ...       up to the end of time
//! ```
//!
//! A timer cannot be cancelled or moved. Whoever is woken looks whether the time has really come and schedules
//! again if not; so a connection that speaks a thousand times a second has one entry and touches it once per
//! keep-alive interval.

use alloc::vec::Vec;
use core::fmt;

use crate::collections::paged::Paged;
use crate::time::Time;

/// Deadlines of one shard, each with a key that says whose it is. Never early, up to one slot (100 ms) late.
pub(crate) struct Wheel<K> {
    /// Every entry of every slot, chained to its slot by `next`: one allocation for the whole wheel.
    entries: Paged<Entry<K>>,
    /// Head of the list of unused entries.
    unused: u32,
    levels: [Level; LEVEL_COUNT],
    /// What was scheduled for a moment that has passed already.
    overdue: u32,
    /// The last slot that was expired.
    elapsed: u64,
    len: usize,
}

impl<K: Copy> Wheel<K> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Paged::new(),
            unused: END,
            levels: [const { Level::EMPTY }; LEVEL_COUNT],
            overdue: END,
            elapsed: 0,
            len: 0,
        }
    }

    /// How many deadlines wait.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Wakes `key` at the deadline. One key may have several.
    pub(crate) fn schedule(&mut self, deadline: Time, key: K) {
        // Rounded up: a slot may fire as soon as it begins.
        let slot = deadline.as_millis().div_ceil(SLOT_MS);
        let entry = Entry {
            slot,
            key,
            next: END,
        };
        let index = if let Some(unused) = self.entries.get_mut(self.unused as usize) {
            let index = self.unused;
            self.unused = unused.next;
            *unused = entry;
            index
        } else {
            let index = u32::try_from(self.entries.len()).unwrap_or(END);
            assert!(index != END, "a wheel holds fewer than 2^32 - 1 deadlines");
            self.entries.push(entry);
            index
        };
        self.len += 1;
        self.link(index, slot);
    }

    /// Appends the keys of all deadlines up to `now`. The work is that of the slots in use that `now` has
    /// passed, and of their entries: time without deadlines costs nothing, however long.
    pub(crate) fn expire(&mut self, now: Time, fired: &mut Vec<K>) {
        let target = now.as_millis() / SLOT_MS;
        let overdue = core::mem::replace(&mut self.overdue, END);
        self.empty_list(overdue, fired);
        while let Some((start, level, slot)) = self.first_slot()
            && start <= target
        {
            self.elapsed = start;
            let list = self
                .levels
                .get_mut(level)
                .map_or(END, |level| level.take(slot));
            self.empty_list(list, fired);
        }
        self.elapsed = self.elapsed.max(target);
        if self.len == 0 && self.entries.len() > KEPT_ENTRIES {
            self.entries = Paged::new();
            self.unused = END;
        }
    }

    /// When to call [`Wheel::expire`] next. That call may find that nothing is due yet: of a far deadline only
    /// the slot is known, until it comes near.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if self.overdue != END {
            return Some(Time::from_millis(self.elapsed.saturating_mul(SLOT_MS)));
        }
        let (start, ..) = self.first_slot()?;
        Some(Time::from_millis(start.saturating_mul(SLOT_MS)))
    }

    /// The slot in use that begins first: the one where its time begins, its level, its number there. Every
    /// entry of a lower level comes before every entry of a higher one.
    fn first_slot(&self) -> Option<(u64, usize, usize)> {
        let (level, lowest) = self
            .levels
            .iter()
            .enumerate()
            .find(|(_, level)| level.used != 0)?;
        let slot = lowest.used.trailing_zeros();
        let shift = DIGIT_BITS * u32::try_from(level).ok()?;
        // Above the top level there are no digits left to keep.
        let passed = self.elapsed.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        let kept = passed.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        Some((kept | u64::from(slot) << shift, level, slot as usize))
    }

    /// Fires each entry of a list whose slot has begun, and puts the others where they belong now.
    fn empty_list(&mut self, mut list: u32, fired: &mut Vec<K>) {
        while let Some(entry) = self.entries.get_mut(list as usize) {
            let (index, slot) = (list, entry.slot);
            list = entry.next;
            if slot <= self.elapsed {
                fired.push(entry.key);
                entry.next = self.unused;
                self.unused = index;
                self.len -= 1;
            } else {
                self.link(index, slot);
            }
        }
    }

    fn link(&mut self, index: u32, slot: u64) {
        let list = if slot <= self.elapsed {
            &mut self.overdue
        } else {
            let level = (slot ^ self.elapsed).ilog2() / DIGIT_BITS;
            let digit = (slot >> (DIGIT_BITS * level)) % SLOTS_PER_LEVEL as u64;
            let Some(level) = self.levels.get_mut(level as usize) else {
                return;
            };
            level.used |= 1 << digit;
            let Some(list) = level.lists.get_mut(usize::try_from(digit).unwrap_or(0)) else {
                return;
            };
            list
        };
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.next = core::mem::replace(list, index);
        }
    }
}

impl<K> fmt::Debug for Wheel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

struct Entry<K> {
    slot: u64,
    key: K,
    next: u32,
}

struct Level {
    /// One bit per slot that has entries.
    used: u64,
    /// The first entry of each slot.
    lists: [u32; SLOTS_PER_LEVEL],
}

impl Level {
    const EMPTY: Self = Self {
        used: 0,
        lists: [END; SLOTS_PER_LEVEL],
    };

    fn take(&mut self, slot: usize) -> u32 {
        self.used &= !(1 << slot);
        self.lists
            .get_mut(slot)
            .map_or(END, |list| core::mem::replace(list, END))
    }
}

/// Deadlines of the protocol are in seconds, and keep-alive is granted half as much again: 100 ms do not matter.
const SLOT_MS: u64 = 100;

const DIGIT_BITS: u32 = 6;
const SLOTS_PER_LEVEL: usize = 1 << DIGIT_BITS;
/// Enough digits for every slot number that 64 bits of milliseconds can have: no deadline is a special case.
const LEVEL_COUNT: usize = (u64::BITS).div_ceil(DIGIT_BITS) as usize;

/// "No entry" in a list.
const END: u32 = u32::MAX;

/// An empty wheel gives its memory back if it has more than this many entries.
const KEPT_ENTRIES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{SLOT_MS, Wheel};
    use crate::time::Time;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

    fn expired(wheel: &mut Wheel<u32>, now: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.expire(Time::from_millis(now), &mut fired);
        fired.sort_unstable();
        fired
    }

    #[test]
    fn a_deadline_fires_in_its_slot_and_not_before() {
        let mut wheel = Wheel::new();
        wheel.schedule(Time::from_millis(1_050), 1);
        assert_eq!(wheel.next_deadline(), Some(Time::from_millis(1_100)));
        assert_eq!(expired(&mut wheel, 1_099), []);
        assert_eq!(expired(&mut wheel, 1_100), [1]);
        assert_eq!(wheel.next_deadline(), None);
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_call() {
        let mut wheel = Wheel::new();
        assert_eq!(expired(&mut wheel, 50_000), []);
        wheel.schedule(Time::from_millis(10), 1);
        assert!(wheel.next_deadline() <= Some(Time::from_millis(50_000)));
        assert_eq!(expired(&mut wheel, 50_000), [1]);
    }

    #[test]
    fn a_far_deadline_costs_a_few_calls_only() {
        let mut wheel = Wheel::new();
        let deadline = 400 * DAY_MS + 12_345;
        wheel.schedule(Time::from_millis(deadline), 1);
        let mut calls = 0;
        loop {
            let now = wheel.next_deadline().unwrap();
            calls += 1;
            let fired = expired(&mut wheel, now.as_millis());
            if !fired.is_empty() {
                assert!((deadline..deadline + SLOT_MS).contains(&now.as_millis()));
                break;
            }
        }
        assert!(calls <= 6, "{calls} calls");
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_others() {
        let mut wheel = Wheel::new();
        wheel.schedule(Time::MAX, 1);
        wheel.schedule(Time::from_millis(u64::MAX - 10 * SLOT_MS), 2);
        assert_eq!(expired(&mut wheel, u64::MAX - 11 * SLOT_MS), []);
        assert_eq!(expired(&mut wheel, u64::MAX), [2]);
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn a_million_deadlines_fire_once_each_and_leave_no_memory() {
        let mut wheel = Wheel::new();
        let count = 1_000_000_u32;
        for key in 0..count {
            wheel.schedule(
                Time::from_millis(60_000 + u64::from(key) * 37 % 90_000),
                key,
            );
        }
        let mut all = Vec::new();
        while let Some(at) = wheel.next_deadline() {
            wheel.expire(at, &mut all);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..count));
        assert_eq!(wheel.entries.capacity(), 0);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Schedule { ahead: u64 },
        SchedulePast { behind: u64 },
        Pass { millis: u64 },
        PassToNext,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let span = || prop_oneof![0..300_u64, 0..20_000_u64, 0..2_000_000_u64, 0..40 * DAY_MS];
        prop_oneof![
            4 => span().prop_map(|ahead| Operation::Schedule { ahead }),
            1 => span().prop_map(|behind| Operation::SchedulePast { behind }),
            2 => span().prop_map(|millis| Operation::Pass { millis }),
            2 => Just(Operation::PassToNext),
        ]
    }

    proptest! {
        #[test]
        fn fires_what_an_ordered_map_would(
            start in 0..1_u64 << 40,
            operations in prop::collection::vec(operation(), 1..120),
        ) {
            let mut wheel = Wheel::new();
            let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
            let mut now = start;
            let mut key = 0;
            for operation in operations {
                match operation {
                    Operation::Schedule { .. } | Operation::SchedulePast { .. } => {
                        let deadline = match operation {
                            Operation::Schedule { ahead } => now + ahead,
                            Operation::SchedulePast { behind } => now.saturating_sub(behind),
                            Operation::Pass { .. } | Operation::PassToNext => unreachable!(),
                        };
                        key += 1;
                        wheel.schedule(Time::from_millis(deadline), key);
                        model.insert((deadline, key));
                    }
                    Operation::Pass { millis } => now += millis,
                    Operation::PassToNext => {
                        now = wheel.next_deadline().map_or(now, |at| at.as_millis().max(now));
                    }
                }
                // Due for sure: all whose slot has begun. Allowed: all whose deadline has come.
                let fired = expired(&mut wheel, now);
                for key in &fired {
                    let found = model.iter().find(|(_, k)| k == key).copied();
                    let entry = found.expect("fires once");
                    prop_assert!(entry.0 <= now, "early: {} at {}", entry.0, now);
                    model.remove(&entry);
                }
                if let Some((deadline, _)) = model.first() {
                    prop_assert!(now < deadline + SLOT_MS, "late: {} at {}", deadline, now);
                    let next = wheel.next_deadline().expect("there is one");
                    prop_assert!(next.as_millis() < deadline + SLOT_MS);
                    prop_assert!(next.as_millis() > now, "the driver would spin");
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
