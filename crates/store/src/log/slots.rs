//! What the log knows about each slot: from which segment on its records count, and about how many bytes its state has.

use martlet_engine::{Brief, Record, RunOf, SLOT_COUNT};

/// The 256 slots.
#[derive(Debug)]
pub(crate) struct Slots {
    list: Vec<Slot>,
    /// Of all of them: asked for with every sync.
    live: u64,
    /// A bit for each that may have written much more than its state has: of the others that is known.
    suspects: [u64; SLOT_COUNT / 64],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The oldest segment with records that count.
    begins_in: Option<u64>,
    /// About what a checkpoint would have now: what the last one had, and since then what was added less what went.
    live: u64,
    /// Bytes of the last checkpoint.
    checkpoint: u64,
    /// Bytes of records since then.
    since: u64,
    /// Set while a checkpoint is wanted and has not come.
    wished: bool,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            list: vec![Slot::default(); SLOT_COUNT],
            live: 0,
            suspects: [0; SLOT_COUNT / 64],
        }
    }

    /// A checkpoint begins: all before it is void.
    pub(crate) fn begin(&mut self, slot: u8, generation: u64) {
        self.change(slot, |slot| {
            *slot = Slot {
                begins_in: Some(generation),
                ..Slot::default()
            };
        });
    }

    /// A record within a checkpoint, its beginning and its end included.
    pub(crate) fn checkpointed(&mut self, slot: u8, len: u64) {
        self.change(slot, |slot| {
            slot.checkpoint += len;
            slot.live += len;
        });
    }

    /// A record that is no part of a checkpoint.
    pub(crate) fn written(&mut self, slot: u8, growth: Growth, len: u64, generation: u64) {
        self.change(slot, |slot| {
            slot.begins_in.get_or_insert(generation);
            slot.since += len;
            match growth {
                Growth::More(bytes) => slot.live += bytes,
                Growth::Less(bytes) => slot.live = slot.live.saturating_sub(bytes),
            }
        });
    }

    fn change(&mut self, number: u8, how: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.list.get_mut(usize::from(number)) else {
            return;
        };
        let before = slot.live;
        how(slot);
        self.live = self.live - before + slot.live;
        if let Some(suspects) = self.suspects.get_mut(usize::from(number) / 64) {
            *suspects |= 1 << (number % 64);
        }
    }

    /// Bytes that checkpoints of all slots would have, about.
    pub(crate) const fn live(&self) -> u64 {
        self.live
    }

    /// Whether records in this segment or an older one count.
    pub(crate) fn need(&self, generation: u64) -> bool {
        self.list.iter().any(|slot| slot.is_in(generation))
    }

    /// The next slot of which a checkpoint is to be asked for, to get rid of this segment.
    pub(crate) fn wish_for_segment(&mut self, generation: u64) -> Option<u8> {
        let wanted = |slot: &Slot| !slot.wished && slot.is_in(generation);
        let found = self.list.iter().position(wanted)?;
        self.wish(found)
    }

    /// The next slot that has written much more than its state has. `slack` is the same each time.
    pub(crate) fn wish_for_size(&mut self, slack: u64) -> Option<u8> {
        let mut found = None;
        for (word, suspects) in self.suspects.iter_mut().enumerate() {
            let mut rest = *suspects;
            while rest != 0 {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                let number = word * 64 + bit as usize;
                let slot = self.list.get(number);
                match slot.filter(|slot| slot.has_written_much(slack)) {
                    Some(slot) if !slot.wished => found = found.or(Some(number)),
                    Some(_) => {}
                    None => *suspects &= !(1 << bit),
                }
            }
        }
        found.and_then(|number| self.wish(number))
    }

    /// Asks for nothing more at once than the shards can answer while they serve their clients.
    fn wish(&mut self, number: usize) -> Option<u8> {
        let wished = self.list.iter().filter(|slot| slot.wished);
        let (count, bytes) = wished.fold((0, 0), |(count, bytes), slot| {
            (count + 1, bytes + slot.live + SLOT_BYTES)
        });
        if count >= WISHES_MIN && bytes >= WISHES_BYTES {
            return None;
        }
        self.list.get_mut(number)?.wished = true;
        u8::try_from(number).ok()
    }

    /// Asks again for what was asked for and has not come.
    pub(crate) fn forget_wishes(&mut self) {
        for slot in &mut self.list {
            slot.wished = false;
        }
    }

    /// All slots with records want a checkpoint: what they say may not fit together after a loss.
    pub(crate) fn distrust(&mut self, slack: u64) {
        for slot in &mut self.list {
            if slot.begins_in.is_some() {
                slot.since = slot.since.max(2 * slot.checkpoint + 4 * slack + 1);
            }
        }
        self.suspects = [u64::MAX; SLOT_COUNT / 64];
    }
}

impl Slot {
    fn is_in(&self, generation: u64) -> bool {
        self.begins_in.is_some_and(|begins| begins <= generation)
    }

    /// More than its state has, by far.
    const fn has_written_much(&self, slack: u64) -> bool {
        self.checkpoint + self.since > 2 * self.live + slack
            || self.since > 2 * self.checkpoint + 4 * slack
    }
}

/// How many bytes more or less a checkpoint would have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Growth {
    More(u64),
    Less(u64),
}

/// As [`growth`].
pub(crate) fn growth_of(brief: &Brief<'_>, len: u64) -> Growth {
    match brief {
        Brief::Body(_) => Growth::More(0),
        Brief::Queued(..) => Growth::More(len),
        Brief::Finished(..) => Growth::Less(len + LESS_BYTES),
        Brief::Run(run) => {
            let of_each = |bytes| u64::from(run.count()) * bytes;
            match run.what() {
                RunOf::Queued(_) => Growth::More(of_each(OF_RUN_BYTES)),
                RunOf::Finished => Growth::Less(of_each(OF_RUN_BYTES)),
                RunOf::Received => Growth::More(of_each(FLOW_BYTES)),
                // Of a message there is a flow left.
                RunOf::Released | RunOf::Ended | RunOf::Completed => {
                    Growth::Less(of_each(FLOW_BYTES))
                }
            }
        }
        Brief::Other(record) => growth(record, len),
    }
}

/// As [`growth`], of one that may be of a run: those but the last have no bytes of their own there.
pub(crate) fn growth_of_one(record: &Record<'_>, len: u64) -> Growth {
    match (record, len) {
        (Record::Queued { .. }, 0) => Growth::More(OF_RUN_BYTES),
        (Record::Finished { body: Some(_), .. }, 0) => Growth::Less(OF_RUN_BYTES),
        (Record::Received { .. }, 0) => Growth::More(FLOW_BYTES),
        (
            Record::Released { .. }
            | Record::Finished { body: None, .. }
            | Record::Completed { .. },
            0,
        ) => Growth::Less(FLOW_BYTES),
        _ => growth(record, len),
    }
}

/// How a record changes what a checkpoint would have. Not exact where a record replaces another or its length does not say
/// what it removes; the next checkpoint puts it right.
fn growth(record: &Record<'_>, len: u64) -> Growth {
    match record {
        Record::Session { .. }
        | Record::Will { .. }
        | Record::WillUnderWay { .. }
        | Record::Subscribed { .. }
        | Record::Queued { .. }
        | Record::Received { .. }
        | Record::Taken { .. }
        | Record::Retained { replaces: None, .. }
        | Record::GroupQueued { .. } => Growth::More(len),
        Record::Dropped { .. }
        | Record::Released { .. }
        | Record::Finished { body: Some(_), .. } => Growth::Less(len + LESS_BYTES),
        Record::Unsubscribed { .. }
        | Record::Completed { .. }
        | Record::GroupDone { .. }
        | Record::Finished { body: None, .. } => Growth::Less(len),
        Record::SessionEnded { .. } => Growth::Less(SESSION_BYTES),
        Record::WillCleared { .. } | Record::WillDone { .. } => Growth::Less(WILL_BYTES),
        Record::RetainedCleared { .. } => Growth::Less(RETAINED_BYTES),
        Record::SlotBegin { .. }
        | Record::SlotEnd { .. }
        | Record::Body { .. }
        | Record::Offline { .. }
        | Record::Replayed { .. }
        | Record::Sent { .. }
        | Record::Retained { .. } => Growth::More(0),
    }
}

/// What ends a message has so many bytes less than the record that it removes.
const LESS_BYTES: u64 = 3;
/// What a checkpoint has for one of a run, about: there it is a record of its own.
const OF_RUN_BYTES: u64 = 16;
/// The same for one that names no message.
const FLOW_BYTES: u64 = 8;
/// What these records have, about.
const SESSION_BYTES: u64 = 40;
const WILL_BYTES: u64 = 60;
const RETAINED_BYTES: u64 = 9;
/// So many checkpoints may be asked for and not have come, however large they will be; more as long as they are small.
const WISHES_MIN: usize = 4;
/// Bytes of checkpoints that are asked for and have not come, about, beyond which no more are asked for. A segment whose bodies are all
/// gone waits for nothing but checkpoints of all slots in it: one or four with each sync, and hundreds of megabytes
/// a second go into new segments meanwhile, each filled with zeros before.
const WISHES_BYTES: u64 = 256 << 10;
/// What one has at least: to be asked for and written.
const SLOT_BYTES: u64 = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SLACK: u64 = 1_000;

    /// All slots, with state of so many bytes each, in segment 1.
    fn slots_of(bytes: u64) -> Slots {
        let mut slots = Slots::new();
        for slot in 0..=u8::MAX {
            slots.written(slot, Growth::More(bytes), bytes, 1);
        }
        slots
    }

    #[test]
    fn small_checkpoints_are_asked_for_together_and_large_ones_not() {
        let asked = |bytes| {
            let mut slots = slots_of(bytes);
            std::iter::from_fn(|| slots.wish_for_segment(1)).count()
        };
        assert_eq!([asked(100), asked(50 << 10), asked(1 << 20)], [63, 5, 4]);
        let mut slots = slots_of(100);
        assert_eq!(slots.wish_for_segment(0), None, "nothing is in it");
        // Those that have come make room for others.
        let first: Vec<_> = std::iter::from_fn(|| slots.wish_for_segment(1)).collect();
        for slot in &first {
            slots.begin(*slot, 2);
        }
        let next: Vec<_> = std::iter::from_fn(|| slots.wish_for_segment(1)).collect();
        assert_eq!(next.len(), first.len());
        assert!(first.iter().all(|slot| !next.contains(slot)));
        assert!(slots.need(1));
    }

    #[test]
    fn who_has_written_much_is_found_whenever_that_was() {
        let mut slots = slots_of(100);
        assert_eq!(slots.wish_for_size(SLACK), None);
        for slot in [7, 200, 64] {
            slots.written(slot, Growth::More(0), 2 * SLACK, 1);
        }
        assert_eq!(slots.wish_for_size(SLACK), Some(7));
        slots.written(9, Growth::More(0), 10, 1);
        assert_eq!(slots.wish_for_size(SLACK), Some(64));
        assert_eq!(slots.wish_for_size(SLACK), Some(200));
        assert_eq!(slots.wish_for_size(SLACK), None, "all have been asked for");
        slots.begin(64, 2);
        slots.forget_wishes();
        assert_eq!(slots.wish_for_size(SLACK), Some(7), "it has not come");
        assert_eq!(slots.wish_for_size(SLACK), Some(200));
        assert_eq!(slots.wish_for_size(SLACK), None);
        // What it has now is state.
        slots.begin(7, 2);
        slots.checkpointed(7, 10 * SLACK);
        assert_eq!(slots.wish_for_size(SLACK), None);
        slots.distrust(SLACK);
        assert_eq!(slots.wish_for_size(SLACK), Some(0));
    }

    #[test]
    fn what_all_have_is_the_sum_of_what_each_has() {
        let mut slots = slots_of(100);
        slots.written(3, Growth::Less(1_000), 5, 1);
        slots.begin(4, 1);
        slots.checkpointed(5, 50);
        let sum: u64 = slots.list.iter().map(|slot| slot.live).sum();
        assert_eq!((slots.live(), sum), (254 * 100 + 50, sum));
    }
}
