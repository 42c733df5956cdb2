//! What still counts: of a slot, what was written from its last whole checkpoint on; of the bodies, those that
//! such records refer to.

use martlet_engine::{BodyChange, Brief, Record, Records, SLOT_COUNT};

use crate::store::BadBatch;

/// Where a record is: the sequence number of its batch, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) offset: usize,
}

/// Where the last whole checkpoint of each slot begins.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    begins: Vec<Option<Place>>,
}

impl Checkpoints {
    pub(crate) fn new() -> Self {
        Self {
            begins: vec![None; SLOT_COUNT],
        }
    }

    /// Takes note of the whole checkpoints in a batch. Batches come in order.
    pub(crate) fn scan(&mut self, sequence: u64, batch: &[u8]) {
        let mut open = None;
        for (offset, record) in placed(batch) {
            if matches!(record, Record::SlotBegin { .. }) {
                open = Some(Place { sequence, offset });
            } else if let Record::SlotEnd { slot } = record
                && let (Some(place), Some(begin)) =
                    (open.take(), self.begins.get_mut(usize::from(slot)))
            {
                *begin = Some(place);
            }
        }
    }

    /// Whether a record of a slot still counts.
    pub(crate) fn counts(&self, slot: u8, place: Place) -> bool {
        match self.begins.get(usize::from(slot)) {
            Some(Some(begin)) => place >= *begin,
            Some(None) | None => true,
        }
    }
}

/// The records of a batch that was checked before, each with its place.
pub(crate) fn placed(batch: &[u8]) -> impl Iterator<Item = (usize, Record<'_>)> {
    let mut records = Records::new(batch);
    std::iter::from_fn(move || {
        let offset = records.offset();
        records.next()?.ok().map(|record| (offset, record))
    })
}

/// Looks at a batch before it is stored: whether all of it can be read back, and its checkpoints are whole. `each` gets a
/// record's place in the batch, its length, and the record.
pub(crate) fn check(
    batch: &[u8],
    mut each: impl FnMut(usize, usize, &Brief<'_>),
) -> Result<(), BadBatch> {
    if batch.is_empty() || batch.len() > BATCH_BYTES_MAX {
        return Err(BadBatch::Size(batch.len()));
    }
    let mut open = None;
    let mut records = Records::new(batch);
    loop {
        let offset = records.offset();
        let Some(brief) = records.next_brief() else {
            break;
        };
        let brief = brief?;
        let within = |begun: u8| brief.slot().is_none_or(|slot| slot == begun);
        if let Brief::Other(Record::SlotBegin { slot }) = brief {
            if let Some(begun) = open.replace(slot) {
                return Err(BadBatch::Checkpoint(begun));
            }
        } else if let Some(begun) = open.filter(|begun| !within(*begun)) {
            return Err(BadBatch::Checkpoint(begun));
        } else if let Brief::Other(Record::SlotEnd { slot }) = brief
            && open.take().is_none()
        {
            return Err(BadBatch::Checkpoint(slot));
        }
        each(offset, records.offset() - offset, &brief);
    }
    match open {
        Some(slot) => Err(BadBatch::Checkpoint(slot)),
        None => Ok(()),
    }
}

/// The bodies whose references change, each with `true` for one more.
pub(crate) fn changes(record: &Record<'_>) -> impl Iterator<Item = (u64, bool)> {
    record
        .body_change()
        .into_iter()
        .flatten()
        .map(|change| match change {
            BodyChange::Referred(body) => (body.as_u64(), true),
            BodyChange::Let(body) => (body.as_u64(), false),
        })
}

/// The most that a batch may have: a frame says its length in 32 bits.
const BATCH_BYTES_MAX: usize = 1 << 30;
