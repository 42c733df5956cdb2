//! What the log knows about each slot: from which segment on its records count, and about how many bytes its state has.

use martlet_engine::{Brief, Record, RunOf, SLOT_COUNT};

/// The 256 slots.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
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
            slots: vec![Slot::default(); SLOT_COUNT],
        }
    }

    /// A checkpoint begins: all before it is void.
    pub(crate) fn begin(&mut self, slot: u8, generation: u64) {
        if let Some(slot) = self.slot(slot) {
            *slot = Slot {
                begins_in: Some(generation),
                ..Slot::default()
            };
        }
    }

    /// A record within a checkpoint, its beginning and its end included.
    pub(crate) fn checkpointed(&mut self, slot: u8, len: u64) {
        if let Some(slot) = self.slot(slot) {
            slot.checkpoint += len;
            slot.live += len;
        }
    }

    /// A record that is no part of a checkpoint.
    pub(crate) fn written(&mut self, number: u8, growth: Growth, len: u64, generation: u64) {
        let Some(slot) = self.slot(number) else {
            return;
        };
        slot.begins_in.get_or_insert(generation);
        slot.since += len;
        match growth {
            Growth::More(bytes) => slot.live += bytes,
            Growth::Less(bytes) => slot.live = slot.live.saturating_sub(bytes),
        }
    }

    /// Bytes that checkpoints of all slots would have, about.
    pub(crate) fn live(&self) -> u64 {
        self.slots.iter().map(|slot| slot.live).sum()
    }

    /// Whether records in this segment or an older one count.
    pub(crate) fn need(&self, generation: u64) -> bool {
        self.slots.iter().any(|slot| slot.is_in(generation))
    }

    /// The next slot of which a checkpoint is to be asked for, to get rid of this segment.
    pub(crate) fn wish_for_segment(&mut self, generation: u64) -> Option<u8> {
        self.wish(|slot| slot.is_in(generation))
    }

    /// The next slot that has written much more than its state has.
    pub(crate) fn wish_for_size(&mut self, slack: u64) -> Option<u8> {
        self.wish(|slot| {
            slot.checkpoint + slot.since > 2 * slot.live + slack
                || slot.since > 2 * slot.checkpoint + 4 * slack
        })
    }

    /// Asks for nothing more at once than the shards can answer while they serve their clients.
    fn wish(&mut self, wanted: impl Fn(&Slot) -> bool) -> Option<u8> {
        if self.slots.iter().filter(|slot| slot.wished).count() >= WISHES_MAX {
            return None;
        }
        let found = self
            .slots
            .iter()
            .position(|slot| !slot.wished && wanted(slot))?;
        self.slots.get_mut(found)?.wished = true;
        u8::try_from(found).ok()
    }

    /// Asks again for what was asked for and has not come.
    pub(crate) fn forget_wishes(&mut self) {
        for slot in &mut self.slots {
            slot.wished = false;
        }
    }

    /// All slots with records want a checkpoint: what they say may not fit together after a loss.
    pub(crate) fn distrust(&mut self, slack: u64) {
        for slot in self
            .slots
            .iter_mut()
            .filter(|slot| slot.begins_in.is_some())
        {
            slot.since = slot.since.max(2 * slot.checkpoint + 4 * slack + 1);
        }
    }

    fn slot(&mut self, slot: u8) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(slot))
    }
}

impl Slot {
    fn is_in(&self, generation: u64) -> bool {
        self.begins_in.is_some_and(|begins| begins <= generation)
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
/// Checkpoints that are asked for and have not come, at most.
const WISHES_MAX: usize = 4;
