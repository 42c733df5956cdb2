//! Who is interested in one prefix: nearly always one shard, in one of two ways.

/// All subscriptions, or the durable ones among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    All,
    Durable,
}

/// Who is interested in one prefix. There may be millions: without an allocation for most of them.
#[derive(Debug, Default)]
pub(super) enum Interested {
    #[default]
    Nobody,
    One(Count),
    Many(Box<Many>),
}

/// How many subscriptions a shard has here, of one of two kinds: filters without wildcards (in this topic only), or filters
/// whose first wildcard comes behind the prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    shard: u8,
    exact: bool,
    all: u32,
    durable: u32,
}

/// The masks stand by, since publishers ask for nothing else.
#[derive(Debug, Default)]
pub(super) struct Many {
    /// By [`mask_place`].
    masks: [u64; 4],
    /// Sorted by shard and kind.
    counts: Vec<Count>,
}

impl Interested {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// The shards with such subscriptions.
    pub(super) fn mask(&self, exact: bool, who: Who) -> u64 {
        match self {
            Self::Nobody => 0,
            Self::One(count) => count.mask(exact, who),
            Self::Many(many) => many.mask(exact, who),
        }
    }

    /// One more; whether the shard is new among those of [`Interested::mask`].
    pub(super) fn add(&mut self, shard: u8, exact: bool, who: Who) -> bool {
        let new = Count {
            shard,
            exact,
            all: 0,
            durable: 0,
        };
        match self {
            Self::Nobody => {
                *self = Self::One(new);
            }
            Self::One(count) if count.key() != new.key() => {
                *self = Self::Many(Box::new(Many {
                    masks: [0; 4],
                    counts: vec![*count],
                }));
            }
            Self::One(_) | Self::Many(_) => {}
        }
        match self {
            Self::Nobody => false,
            Self::One(count) => count.add(who),
            Self::Many(many) => many.add(new, who),
        }
    }

    /// One less; whether the shard is gone from those of [`Interested::mask`].
    pub(super) fn remove(&mut self, shard: u8, exact: bool, who: Who) -> bool {
        let vanished = match self {
            Self::One(count) if count.key() == (shard, exact) => count.remove(who),
            Self::Nobody | Self::One(_) => false,
            Self::Many(many) => many.remove((shard, exact), who),
        };
        match self {
            Self::One(count) if count.is_empty() => *self = Self::Nobody,
            Self::Many(many) => match *many.counts.as_slice() {
                [] => *self = Self::Nobody,
                [one] => *self = Self::One(one),
                _ => {}
            },
            Self::Nobody | Self::One(_) => {}
        }
        vanished
    }
}

impl Count {
    const fn key(&self) -> (u8, bool) {
        (self.shard, self.exact)
    }

    const fn is_empty(&self) -> bool {
        self.all == 0 && self.durable == 0
    }

    const fn of(&mut self, who: Who) -> &mut u32 {
        match who {
            Who::All => &mut self.all,
            Who::Durable => &mut self.durable,
        }
    }

    fn mask(mut self, exact: bool, who: Who) -> u64 {
        if self.exact == exact && *self.of(who) > 0 {
            bit(self.shard)
        } else {
            0
        }
    }

    const fn add(&mut self, who: Who) -> bool {
        let count = self.of(who);
        *count += 1;
        *count == 1
    }

    const fn remove(&mut self, who: Who) -> bool {
        let count = self.of(who);
        let had = *count > 0;
        *count = count.saturating_sub(1);
        had && *count == 0
    }
}

impl Many {
    fn mask(&self, exact: bool, who: Who) -> u64 {
        self.masks.get(mask_place(exact, who)).copied().unwrap_or(0)
    }

    fn add(&mut self, new: Count, who: Who) -> bool {
        let at = self.counts.binary_search_by_key(&new.key(), Count::key);
        let at = at.unwrap_or_else(|at| {
            self.counts.insert(at, new);
            at
        });
        let appeared = self.counts.get_mut(at).is_some_and(|count| count.add(who));
        if appeared {
            self.count_masks();
        }
        appeared
    }

    fn remove(&mut self, key: (u8, bool), who: Who) -> bool {
        let Ok(at) = self.counts.binary_search_by_key(&key, Count::key) else {
            return false;
        };
        let Some(count) = self.counts.get_mut(at) else {
            return false;
        };
        let vanished = count.remove(who);
        if count.is_empty() {
            self.counts.remove(at);
        }
        if vanished {
            self.count_masks();
        }
        vanished
    }

    /// There are two counts for each of 64 shards at most.
    fn count_masks(&mut self) {
        for who in [Who::All, Who::Durable] {
            for exact in [false, true] {
                let masks = self.counts.iter().map(|count| count.mask(exact, who));
                let mask = masks.fold(0, |all, one| all | one);
                if let Some(place) = self.masks.get_mut(mask_place(exact, who)) {
                    *place = mask;
                }
            }
        }
    }
}

fn mask_place(exact: bool, who: Who) -> usize {
    usize::from(exact) + if who == Who::Durable { 2 } else { 0 }
}

/// The place of a shard in a mask; shards beyond 64 do not exist.
fn bit(shard: u8) -> u64 {
    1_u64.checked_shl(u32::from(shard)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A million durable sessions with a filter each are a million of these.
    #[test]
    fn one_who_is_interested_costs_two_words() {
        assert_eq!(size_of::<Interested>(), 16);
    }

    #[test]
    fn masks_are_those_of_the_counts_whatever_comes_and_goes() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        for shards in [1, 2, 64] {
            let mut counts: BTreeMap<(u8, bool, bool), u32> = BTreeMap::new();
            let mut interested = Interested::Nobody;
            for step in 0..4_000 {
                let shard = u8::try_from(next(shards)).unwrap();
                let (exact, durable) = (next(2) == 0, next(2) == 0);
                let who = if durable { Who::Durable } else { Who::All };
                let count = counts.entry((shard, exact, durable)).or_default();
                // It grows, then it shrinks to nothing, and again.
                if next(10) < if step / 500 % 2 == 0 { 7 } else { 2 } {
                    *count += 1;
                    assert_eq!(interested.add(shard, exact, who), *count == 1);
                } else {
                    let vanished = interested.remove(shard, exact, who);
                    assert_eq!(vanished, *count == 1);
                    *count = count.saturating_sub(1);
                }
                counts.retain(|_, count| *count > 0);
                assert_eq!(interested.is_empty(), counts.is_empty());
                for (exact, durable) in [(false, false), (false, true), (true, false), (true, true)]
                {
                    let who = if durable { Who::Durable } else { Who::All };
                    let there = counts
                        .keys()
                        .filter(|key| (key.1, key.2) == (exact, durable));
                    let mask = there.fold(0, |mask, key| mask | 1 << key.0);
                    assert_eq!(interested.mask(exact, who), mask);
                }
            }
        }
    }
}
