//! The log: everything that was appended, in the order in which it was, in segment files.
//!
//! ```text
//!            sealed segments, oldest first              head            reserve
//!  ┌──────────┬──────────┬──────────┬──────────┐   ┌─────────────┐   ┌──────────┐
//!  │ cleaning │          │          │          │   │ frames ►    │   │ zeros    │
//!  └──────────┴──────────┴──────────┴──────────┘   └─────────────┘   └──────────┘
//!    │  bodies that are needed ─────────────────────► ▲                  ▲
//!    └─ then the file, with a new salt ───────────────┼──────────────────┘
//!                                batches of shards ───┘
//! ```
//! The log keeps no state of the broker: only where each body lies and how many refer to it (`bodies.rs`, `rows.rs`, `pages.rs`), and of each slot
//! from which segment on its records count (`slots.rs`). A slot's older records are void once its shard has written a
//! checkpoint of it, which is an ordinary batch.
//!
//! Files: `frame`, `segment`, `mark` and `format` are what is on the disk. `write` appends (`group` is what it writes at once), `reserve` makes the next segment
//! ready, `clean` gives old ones up (`emptying`: not yet), `fetch` reads single bodies. `open` finds out what is there, with `survey`, `scan`, `gaps`, `salvage` and `count`; `replay` gives
//! it back. [`tools`] are for stores that nobody has open.

mod bodies;
mod clean;
mod count;
mod emptying;
mod fetch;
mod format;
mod frame;
mod gaps;
mod group;
mod mark;
mod open;
mod pages;
mod replay;
mod reserve;
mod rows;
mod salvage;
mod scan;
mod segment;
mod settings;
mod slots;
mod survey;
pub mod tools;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;

use martlet_engine::{Body, BodyId, BodySummary, Brief, Record, RecordRun, RunOf};

use self::bodies::{Bodies, Location, checksum};
use self::clean::Cleaning;
use self::frame::Kind;
use self::mark::Mark;
use self::pages::nth;
use self::replay::Replay;
use self::reserve::Reserve;
use self::rows::ROW_BODIES;
use self::scan::Span;
use self::segment::SegmentHeader;
use self::slots::{Growth, Slots, growth_of};
use self::write::{Head, Put, Use};
use crate::counting::{changes, check};
use crate::disk::Disk;
use crate::recovery::{Progress, Recovery};
use crate::store::{FailedCall, Maintenance, Store, StoreError, StoreStats};

pub use self::fetch::{BodyPlace, BodyReader};
pub(crate) use self::group::BLOCK_BYTES;
pub use self::settings::{Durability, OpenError, Settings};

/// A log on a disk.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    settings: Settings,
    sealed: VecDeque<Segment>,
    head: Option<Head<D::File>>,
    /// Files of segments that were left since the last sync, with their generations.
    retired: Vec<(u64, D::File)>,
    reserve: Reserve<D::File>,
    /// Set while there is no room for the next segment, or only what is needed to get some: to the bytes that had been
    /// appended when that was found.
    no_room: Option<u64>,
    cleaning: Cleaning<D::File>,
    /// The highest generation that was ever used, as long as there is no head.
    last_generation: u64,
    next_sequence: u64,
    stable_sequence: u64,
    epoch: u32,
    salts: u64,
    bodies: Bodies,
    slots: Slots,
    mark: Mark,
    poison: Option<Arc<FailedCall>>,
    /// What the batch that is being appended changes; reused.
    changes: Vec<Change>,
    /// The checksums of its bodies, in their order; reused.
    sums: Vec<u32>,
    counters: StoreStats,
    /// Until the first batch.
    replay: Option<Replay>,
}

/// A file of the log.
#[derive(Debug, Clone)]
struct Segment {
    header: SegmentHeader,
    /// Its frames. More than one span only after damage.
    spans: Vec<Span>,
    /// Bytes of bodies in it that are needed.
    live: u64,
}

/// What a record changes of what the log knows.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// So many bodies of this length, side by side from here on, whose ids follow each other from this one on.
    Bodies {
        first: u64,
        offset: u32,
        len: u32,
        count: u32,
    },
    Refer(u64),
    Let(u64),
    Run(RecordRun),
    Begin(u8),
    Checkpointed(u8, u64),
    Written(u8, Growth, u64),
}

impl Change {
    /// Whether this body goes on behind the ones here, and is one of them now.
    fn takes(&mut self, id: u64, offset: u32, of_len: u32) -> bool {
        let Self::Bodies {
            first,
            offset: begin,
            len,
            count,
        } = self
        else {
            return false;
        };
        let goes_on = (*count as usize) < ROW_BODIES
            && *len == of_len
            && nth(*first, *count as usize) == id
            && *begin + *count * *len == offset;
        *count += u32::from(goes_on);
        goes_on
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log in a folder, or begins one there; finds out what is in it, and puts right what can be.
    pub fn open(disk: D, settings: Settings) -> Result<(Self, Recovery), OpenError> {
        Self::open_watched(disk, settings, &mut |_| {})
    }

    /// The same, and says how far it is.
    pub fn open_watched(
        disk: D,
        settings: Settings,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Recovery), OpenError> {
        open::open(disk, settings, open::Reading::Strict, watch)
    }

    /// The same, but what cannot be read, or has an unknown `FORMAT`, is taken for damaged. To repair: a second look may find
    /// that a disk is better than it seemed.
    pub fn open_damaged(
        disk: D,
        settings: Settings,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Recovery), OpenError> {
        open::open(disk, settings, open::Reading::Tolerant, watch)
    }

    /// Makes everything stable, and leaves a mark that says so: damage to what was written last is then seen, too.
    pub fn close(mut self) -> Result<D, StoreError> {
        if self.next_sequence > 1 {
            self.put_mark()?;
            self.sync_hard()?;
        }
        Ok(self.disk)
    }

    /// What a crash leaves: the disk, without anything that was not written.
    #[must_use]
    pub fn crash(self) -> D {
        self.disk
    }

    fn put_mark(&mut self) -> Result<Put, StoreError> {
        let payload = self.mark.encode();
        self.put_frame(Kind::Mark, false, &payload, Use::Needed)
    }

    /// Reads a batch, and takes note of what it changes. Whether there is a checkpoint in it.
    fn plan(&mut self, batch: &[u8]) -> Result<bool, StoreError> {
        self.changes.clear();
        let mut within = None;
        let mut checkpoint = false;
        self.sums.clear();
        let (list, sums) = (&mut self.changes, &mut self.sums);
        let mark = &mut self.mark;
        check(batch, |offset, len, brief| {
            let (session, number) = brief.counters();
            mark.session_counter = mark.session_counter.max(session);
            mark.number_counter = mark.number_counter.max(number);
            let short = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
            if let Brief::Body(body) = brief {
                let bytes = batch.get(offset..offset + len);
                sums.push(bytes.map_or(0, checksum));
                let (offset, len) = (short(offset), short(len));
                if !list
                    .last_mut()
                    .is_some_and(|last| last.takes(body.as_u64(), offset, len))
                {
                    list.push(Change::Bodies {
                        first: body.as_u64(),
                        offset,
                        len,
                        count: 1,
                    });
                }
                return;
            }
            let Some(slot) = brief.slot() else {
                return;
            };
            if matches!(brief, Brief::Other(Record::SlotBegin { .. })) {
                within = Some(slot);
                checkpoint = true;
                list.push(Change::Begin(slot));
            }
            let bytes = len as u64;
            if within.is_some() {
                // It names the references that there are; none begins and none ends.
                list.push(Change::Checkpointed(slot, bytes));
            } else {
                list.push(Change::Written(slot, growth_of(brief, bytes), bytes));
                match brief {
                    Brief::Body(_) => {}
                    Brief::Queued(_, body) => list.push(Change::Refer(body.as_u64())),
                    Brief::Finished(_, body) => list.push(Change::Let(body.as_u64())),
                    Brief::Run(run) => list.push(Change::Run(*run)),
                    Brief::Other(record) => list.extend(changes(record).map(|(body, more)| {
                        if more {
                            Change::Refer(body)
                        } else {
                            Change::Let(body)
                        }
                    })),
                }
            }
            if matches!(brief, Brief::Other(Record::SlotEnd { .. })) {
                within = None;
            }
        })
        .map_err(StoreError::Invalid)?;
        Ok(checkpoint)
    }

    /// Carries out what was planned.
    fn apply(&mut self, put: Put) {
        let generation = put.generation;
        let (mut fresh, mut dangling) = (0, 0);
        let mut changes = std::mem::take(&mut self.changes);
        let all_sums = std::mem::take(&mut self.sums);
        let mut sums = &*all_sums;
        for change in changes.drain(..) {
            match change {
                Change::Bodies {
                    first,
                    offset,
                    len,
                    count,
                } => {
                    let (now, later) = sums.split_at(sums.len().min(count as usize));
                    self.put_bodies(first, location(put, offset.into(), len), now);
                    sums = later;
                    fresh += i64::from(len) * i64::from(count);
                }
                Change::Refer(id) => dangling += self.bodies.refer(id, 1),
                Change::Let(id) => dangling += self.bodies.unrefer(id, 1),
                Change::Run(run) => {
                    if let Some(first) = run.first_body() {
                        let (first, count) = (first.as_u64(), usize::from(run.count()));
                        dangling += match run.what() {
                            RunOf::Queued(_) => self.bodies.refer(first, count),
                            RunOf::Finished
                            | RunOf::Released
                            | RunOf::Ended
                            | RunOf::Received
                            | RunOf::Completed => self.bodies.unrefer(first, count),
                        };
                    }
                }
                Change::Begin(slot) => self.slots.begin(slot, generation),
                Change::Checkpointed(slot, len) => self.slots.checkpointed(slot, len),
                Change::Written(slot, growth, len) => {
                    self.slots.written(slot, growth, len, generation);
                }
            }
        }
        // What one large batch needed is not kept for ever.
        changes.shrink_to(CHANGES_KEPT);
        self.changes = changes;
        self.sums = all_sums;
        self.sums.shrink_to(CHANGES_KEPT);
        self.counters.dangling_references += dangling as u64;
        self.add_live(generation, fresh);
        self.remove_lost(generation);
    }

    /// Only when all has been carried out: a later record of the batch may have referred to a body again.
    fn remove_lost(&mut self, near: u64) {
        let (mut gone, mut gone_from) = (0, near);
        // What is live is counted beside them meanwhile.
        let mut bodies = std::mem::take(&mut self.bodies);
        bodies.remove_lost(|from, bytes| {
            let from = u64::from(from);
            if from != gone_from {
                self.add_live(gone_from, -gone);
                (gone, gone_from) = (0, from);
            }
            gone += bytes.cast_signed();
        });
        self.bodies = bodies;
        self.add_live(gone_from, -gone);
    }

    /// Bodies lie side by side from here on. What is live there is the caller's to say.
    fn put_bodies(&mut self, first: u64, at: Location, sums: &[u32]) {
        if self.bodies.put_row(first, at, sums) {
            return;
        }
        for (place, sum) in sums.iter().enumerate() {
            self.move_body(nth(first, place), at.behind(place), *sum);
        }
    }

    /// A body is here now. What is live there is the caller's to say, of many at once.
    fn move_body(&mut self, id: u64, to: Location, checksum: u32) {
        if let Some(from) = self.bodies.put(id, to, checksum) {
            self.add_live(from.generation.into(), -i64::from(from.len));
        }
    }

    fn add_live(&mut self, generation: u64, bytes: i64) {
        let head = self.head.as_mut().map(|head| &mut head.segment);
        let segment = match head.filter(|segment| segment.header.generation == generation) {
            Some(segment) => Some(segment),
            None => self
                .sealed
                .binary_search_by_key(&generation, |segment| segment.header.generation)
                .ok()
                .and_then(|place| self.sealed.get_mut(place)),
        };
        if let Some(segment) = segment {
            segment.live = segment.live.saturating_add_signed(bytes);
        }
    }

    fn live_bytes(&self) -> u64 {
        let head = self.head.as_ref().map_or(0, |head| head.segment.live);
        let sealed: u64 = self.sealed.iter().map(|segment| segment.live).sum();
        head + sealed + self.slots.live()
    }

    fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.header.size).sum()
    }

    fn total_bytes(&self) -> u64 {
        let head = self
            .head
            .as_ref()
            .map_or(0, |head| head.segment.header.size);
        head + self.sealed_bytes() + self.reserve.size()
    }
}

impl<D: Disk> Store for Log<D> {
    fn append(&mut self, batch: &[u8]) -> Result<(), StoreError> {
        self.healthy()?;
        let checkpoint = self.plan(batch)?;
        let has_messages = |change: &Change| matches!(change, Change::Bodies { .. });
        let purpose = if self.changes.iter().any(has_messages) {
            Use::Messages
        } else {
            Use::Needed
        };
        let put = self.put_frame(Kind::Batch, checkpoint, batch, purpose)?;
        self.replay = None;
        self.counters.batches += 1;
        self.counters.appended_bytes += batch.len() as u64;
        self.apply(put);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.sync_as_promised()
    }

    fn maintain(&mut self) -> Result<Maintenance, StoreError> {
        self.maintained()
    }

    fn replay(
        &mut self,
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>),
    ) -> Result<(), StoreError> {
        let bodies = replay::Bodies::All;
        self.replayed(shard_count, bodies, &mut |shard, record, _| {
            each(shard, record);
        })
    }

    fn restore(
        &mut self,
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>, Option<BodySummary>),
    ) -> Result<(), StoreError> {
        self.replayed(shard_count, replay::Bodies::Whole, each)
    }

    fn read_body(
        &mut self,
        body: BodyId,
        each: &mut dyn FnMut(&Body<'_>),
    ) -> Result<bool, StoreError> {
        self.read_now(body, each)
    }

    fn is_short_of_room(&self) -> bool {
        self.no_room.is_some()
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            live_bytes: self.live_bytes(),
            total_bytes: self.total_bytes(),
            segments: self.sealed.len()
                + usize::from(self.head.is_some())
                + usize::from(!self.reserve.is_nothing()),
            bodies: self.bodies.len(),
            references: self.bodies.references(),
            ..self.counters
        }
    }
}

/// Where a record is whose batch was put there. Segments have less than 4 GiB, and there are not that many.
fn location(put: Put, offset: u64, len: u32) -> Location {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Location {
        generation: narrow(put.generation),
        offset: narrow(put.payload_at + offset),
        len,
    }
}

/// Numbers that look like chance, out of ones that do not (the finishing steps of `SplitMix64`).
const fn splitmix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Changes for which there is memory between two batches: some megabytes, more than a batch of messages has.
const CHANGES_KEPT: usize = 65_536;

#[cfg(test)]
mod tests {
    use martlet_codec::PacketId;
    use martlet_engine::{BodyId, Record, SessionId};

    use super::{CHANGES_KEPT, Log};
    use crate::{RealDisk, Settings, Store};

    /// The list of what a batch changes is kept for the next, but not as long as the longest batch ever made it.
    #[test]
    fn one_large_batch_is_not_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(RealDisk::new(folder.path()), Settings::new(7)).unwrap();
        let mut batch = Vec::new();
        let finished = Record::Finished {
            session: SessionId::new(1, 0),
            packet_id: PacketId::MIN,
            body: BodyId::new(64),
        };
        (0..CHANGES_KEPT * 2).for_each(|_| finished.encode(&mut batch));
        log.append(&batch).unwrap();
        assert!(log.changes.capacity() <= CHANGES_KEPT);
        let mut small = Vec::new();
        finished.encode(&mut small);
        log.append(&small).unwrap();
        assert!(log.changes.capacity() > 0, "there is memory for the next");
    }
}
