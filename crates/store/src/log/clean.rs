//! Maintenance: the next segment, checkpoints of slots that write much, and cleaning.
//!
//! Segments are given up in the order in which they were written, the oldest first:
//! 1. *Copying.* It is read from one end to the other, or until no body in it is needed; those that are still needed are put
//!    into frames at the head.
//! 2. *Waiting.* Each slot that has records in it is asked for a checkpoint. Its records are dead then.
//! 3. *Giving up.* A mark says that it is not needed. When that is stable, and with it all of the above, the file becomes
//!    the reserve. A crash before that finds the segment as it was; a crash after it finds everything further on.
//!
//! It is due when the sealed segments have more than twice the bytes that are needed: head and reserve are the two segments
//! more that are allowed. To write one byte costs one byte of copying then, at most.
//! A segment that gets emptier by itself is left alone for a while: see `emptying`.

use martlet_engine::Record;

use super::bodies::Bodies;
use super::emptying::Look;
use super::frame::Kind;
use super::scan::{Found, Window, read_frame};
use super::segment::{SegmentHeader, path_of};
use super::write::{Call, Use};
use super::{Log, location};
use crate::counting::placed;
use crate::disk::{Access, Disk};
use crate::store::{Maintenance, StoreError};

/// How far the cleaning is.
#[derive(Debug)]
pub(super) struct Cleaning<F> {
    current: Option<Current<F>>,
    window: Window,
    /// Segments from this one on are younger than the present round.
    round_end: u64,
    /// Bytes of the sealed segments when the round began, less what had been appended by then.
    round_bytes: i64,
    /// Rounds that have not made things as small as they should be. After a few, another one makes sense only when more has
    /// been written: large batches may leave more room unused than the bound allows.
    vain_rounds: u32,
    /// No new round before that many bytes have been appended, or less is needed than there was.
    rest_until: u64,
    rest_live: u64,
    /// What was appended when `maintain` was last called.
    seen_bytes: u64,
    /// How often checkpoints have been waited for in vain.
    waits: u32,
    /// When it was last looked how empty the oldest segment gets.
    pub(super) look: Look,
    /// Set if a segment turned out to be damaged: it stays, and with it all behind it, until the log is opened again.
    blocked: bool,
}

/// The segment that is being cleaned.
#[derive(Debug)]
struct Current<F> {
    header: SegmentHeader,
    file: F,
    /// The next frame: which span, and where.
    span: usize,
    at: u64,
    /// Records of bodies to be put, and whose they are.
    copies: Vec<u8>,
    copied: Vec<Copied>,
    /// Everything has been read.
    read: bool,
    /// The mark is put.
    marked: bool,
}

#[derive(Debug, Clone, Copy)]
struct Copied {
    id: u64,
    from: super::bodies::Location,
    offset: usize,
}

impl<F> Current<F> {
    /// Takes the bodies of a frame that are needed.
    fn gather(&mut self, found: &Found<'_>, bodies: &Bodies) {
        if found.header.kind == Kind::Mark {
            return;
        }
        let put = super::Put {
            generation: self.header.generation,
            payload_at: found.offset + super::frame::HEADER_BYTES as u64,
        };
        for (offset, record) in placed(found.payload) {
            let Record::Body { body, .. } = record else {
                continue;
            };
            let id = body.as_u64();
            let Some(from) = bodies.location(id) else {
                continue;
            };
            let here = location(put, offset as u64, from.len);
            let bytes = found.payload.get(offset..offset + from.len as usize);
            if let Some(bytes) = bytes.filter(|_| from == here) {
                let offset = self.copies.len();
                self.copies.extend_from_slice(bytes);
                self.copied.push(Copied { id, from, offset });
            }
        }
    }
}

impl<F> Cleaning<F> {
    pub(super) fn new() -> Self {
        Self {
            current: None,
            window: Window::new(),
            round_end: 0,
            round_bytes: 0,
            vain_rounds: 0,
            rest_until: 0,
            rest_live: 0,
            seen_bytes: 0,
            waits: 0,
            look: Look::default(),
            blocked: false,
        }
    }
}

impl<D: Disk> Log<D> {
    pub(super) fn maintained(&mut self) -> Result<Maintenance, StoreError> {
        self.healthy()?;
        let appended = self.counters.appended_bytes - self.cleaning.seen_bytes;
        self.cleaning.seen_bytes = self.counters.appended_bytes;
        if appended == 0
            && let Some(since) = &mut self.no_room
        {
            // Nothing happens but time: perhaps somebody has made room meanwhile.
            *since = since.saturating_sub(1);
        }
        // Who writes much gets more done at once, or it would never be done.
        let budget = (4 * appended).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        let waits = appended > 0 && self.is_oldest_emptying();
        for _ in 0..appended / STEP_BYTES_MIN {
            let result = self.maintain_step(budget, waits);
            if !matches!(result, Ok(Maintenance::Busy)) {
                return not_full(result);
            }
        }
        not_full(self.maintain_step(budget, waits))
    }

    /// `waits`: the oldest segment is left alone.
    fn maintain_step(&mut self, budget: u64, waits: bool) -> Result<Maintenance, StoreError> {
        self.look_for_room();
        if self.wants_reserve() {
            match self.prepare(self.wanted_room(), budget) {
                Ok(()) => return Ok(Maintenance::Busy),
                // Cleaning may make room.
                Err(StoreError::Full(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let is_due = self.is_cleaning_due();
        if self.cleaning.current.is_some() || is_due && !waits {
            let result = self.clean_step(budget)?;
            if result != Maintenance::Idle {
                return Ok(result);
            }
        }
        if self.settings.durability == super::Durability::Os && self.sync_one_retired()? {
            return Ok(Maintenance::Busy);
        }
        if self.no_room.is_some() {
            // A checkpoint that gives up no segment only takes room.
            return Ok(Maintenance::Idle);
        }
        let slack = self.settings.segment_bytes / SLACKS_PER_SEGMENT;
        Ok(match self.slots.wish_for_size(slack) {
            Some(slot) => Maintenance::WantsCheckpoint(slot),
            None if is_due && waits => Maintenance::Later,
            None => Maintenance::Idle,
        })
    }

    /// Whether the next segment is to be worked on: made new only as far as the bound on space allows, else cleaning will
    /// bring it. If cleaning does not, room to go on comes first.
    fn wants_reserve(&self) -> bool {
        if self.reserve.is_ready() {
            return false;
        }
        if !self.reserve.is_nothing() {
            return self.is_worth_trying();
        }
        let size = self.settings.segment_bytes;
        let room = self.head.as_ref().map_or(0, super::write::Head::room);
        let allowed = self.sealed_bytes() <= 2 * self.live_bytes();
        // Soon enough for what is under way when there is none, and what ends messages then, to fit into the rest of this one.
        (allowed || room < size / 2) && self.is_worth_trying()
    }

    /// A full disk is not asked again and again.
    fn is_worth_trying(&self) -> bool {
        self.no_room
            .is_none_or(|since| self.counters.appended_bytes > since)
    }

    fn is_cleaning_due(&self) -> bool {
        if self.cleaning.blocked || self.sealed.is_empty() {
            return false;
        }
        let (sealed, live) = (self.sealed_bytes(), self.live_bytes());
        let due = sealed > 2 * live
            // Soon, or already, there is no room for another segment, but some of them would do without theirs.
            || (self.no_room.is_some() || self.is_near_limit())
                && sealed >= live + self.settings.segment_bytes / 2;
        let rested = self.counters.appended_bytes >= self.cleaning.rest_until
            || live + self.settings.segment_bytes / 8 <= self.cleaning.rest_live;
        due && rested
    }

    /// Whether there is soon only what is needed to make room: see `fits`.
    pub(super) fn is_near_limit(&self) -> bool {
        let needed = self.slots.live() + 3 * self.settings.segment_bytes;
        self.settings
            .size_bytes_max
            .is_some_and(|limit| self.total_bytes() + needed > limit)
    }

    fn clean_step(&mut self, budget: u64) -> Result<Maintenance, StoreError> {
        let Some(mut current) = self.take_current()? else {
            return Ok(Maintenance::Idle);
        };
        let result = self.clean_current(&mut current, budget);
        let done = matches!(result, Ok(Cleaned::Done));
        if !done && !self.cleaning.blocked {
            self.cleaning.current = Some(current);
        }
        Ok(match result? {
            Cleaned::Some | Cleaned::Done => Maintenance::Busy,
            Cleaned::Wants(slot) => Maintenance::WantsCheckpoint(slot),
            Cleaned::Waits => Maintenance::Idle,
        })
    }

    /// The segment that is being cleaned, or else the oldest one.
    fn take_current(&mut self) -> Result<Option<Current<D::File>>, StoreError> {
        if let Some(current) = self.cleaning.current.take() {
            return Ok(Some(current));
        }
        let Some(oldest) = self.sealed.front() else {
            return Ok(None);
        };
        let header = oldest.header;
        if header.generation >= self.cleaning.round_end {
            self.cleaning.round_end = self.head_generation();
            self.cleaning.round_bytes = self.sealed_beside_appended();
        }
        let result = self.disk.open(&path_of(header.generation), Access::Read);
        let file = self.check_sync(result, Call::Open, || path_of(header.generation))?;
        self.cleaning.window.forget();
        Ok(Some(Current {
            header,
            file,
            span: 0,
            at: 0,
            copies: Vec::new(),
            copied: Vec::new(),
            read: false,
            marked: false,
        }))
    }

    fn head_generation(&self) -> u64 {
        match &self.head {
            Some(head) => head.segment.header.generation,
            None => self.last_generation,
        }
    }

    fn clean_current(
        &mut self,
        current: &mut Current<D::File>,
        budget: u64,
    ) -> Result<Cleaned, StoreError> {
        if !current.read {
            self.copy_some(current, budget)?;
            return Ok(Cleaned::Some);
        }
        let generation = current.header.generation;
        if self.slots.need(generation) {
            return Ok(self.wish(generation));
        }
        self.give_up(current)?;
        Ok(Cleaned::Done)
    }

    fn wish(&mut self, generation: u64) -> Cleaned {
        if let Some(slot) = self.slots.wish_for_segment(generation) {
            self.cleaning.waits = 0;
            return Cleaned::Wants(slot);
        }
        self.cleaning.waits += 1;
        if self.cleaning.waits > WAITS_MAX {
            self.cleaning.waits = 0;
            self.slots.forget_wishes();
        }
        Cleaned::Waits
    }

    /// Whether no body in the oldest segment is needed, as in most whose receivers keep up: then there is nothing to look
    /// for (any longer).
    fn is_oldest_done_with(&self, current: &mut Current<D::File>) -> bool {
        if self.sealed.front().is_some_and(|oldest| oldest.live > 0) {
            return false;
        }
        debug_assert!(
            self.bodies
                .locations()
                .all(|at| u64::from(at.generation) != current.header.generation),
            "what is needed is counted"
        );
        current.copies.clear();
        current.copied.clear();
        true
    }

    /// Reads on in the segment, and puts the bodies that are needed.
    fn copy_some(&mut self, current: &mut Current<D::File>, budget: u64) -> Result<(), StoreError> {
        let mut done = 0;
        while done < budget {
            if self.is_oldest_done_with(current) {
                current.read = true;
                return Ok(());
            }
            if current.copies.len() as u64 >= self.copy_bytes() {
                self.put_copies(current)?;
            }
            let spans = self.sealed.front().map_or(&[][..], |oldest| &oldest.spans);
            let Some(span) = spans.get(current.span) else {
                self.put_copies(current)?;
                current.read = true;
                return Ok(());
            };
            let at = current.at.max(span.start);
            if at >= span.end {
                current.span += 1;
                continue;
            }
            let result = read_frame(
                &mut self.disk,
                &current.file,
                &current.header,
                at,
                &mut self.cleaning.window,
            );
            let found = match result {
                Ok(found) => found,
                Err(error) => {
                    let path = || current.header.path();
                    return self.check_sync(Err(error), Call::Read, path);
                }
            };
            let Some((found, next)) = found else {
                // To go on would lose what is in it without a word.
                self.cleaning.blocked = true;
                self.counters.damaged_segments += 1;
                return Ok(());
            };
            current.gather(&found, &self.bodies);
            done += next - at;
            self.counters.scanned_bytes += next - at;
            current.at = next;
        }
        Ok(())
    }

    /// Small beside a segment: what does not fit into the rest of one leaves that unused.
    const fn copy_bytes(&self) -> u64 {
        let part = self.settings.segment_bytes / 16;
        if part < COPY_BYTES { part } else { COPY_BYTES }
    }

    fn put_copies(&mut self, current: &mut Current<D::File>) -> Result<(), StoreError> {
        if current.copied.is_empty() {
            return Ok(());
        }
        let put = self.put_frame(Kind::Bodies, false, &current.copies, Use::Needed)?;
        let mut moved = 0;
        for copied in current.copied.drain(..) {
            // It may have gone in the meantime, or have been written again.
            if let Some((from, checksum)) = self.bodies.location_and_checksum(copied.id)
                && from == copied.from
            {
                let to = location(put, copied.offset as u64, copied.from.len);
                self.move_body(copied.id, to, checksum);
                moved += i64::from(to.len);
            }
        }
        self.add_live(put.generation, moved);
        current.copies.clear();
        Ok(())
    }

    fn give_up(&mut self, current: &mut Current<D::File>) -> Result<(), StoreError> {
        if !current.marked {
            // Where the log begins without it. The mark itself may be the first frame behind it.
            let behind = self.sealed.get(1);
            let behind = behind.or_else(|| self.head.as_ref().map(|head| &head.segment));
            let (generation, sequence) = match behind {
                Some(segment) => (
                    segment.header.generation,
                    segment
                        .spans
                        .first()
                        .map_or(self.next_sequence, |span| span.first_sequence),
                ),
                None => (self.last_generation + 1, self.next_sequence),
            };
            self.mark.oldest_generation = generation;
            self.mark.oldest_sequence = sequence;
            self.mark.lost.retain(|range| *range.end() >= sequence);
            self.put_mark()?;
            current.marked = true;
        }
        self.sync_hard()?;
        self.recycle(&current.header)?;
        self.sealed.pop_front();
        self.counters.cleaned_segments += 1;
        if current.header.generation + 1 >= self.cleaning.round_end {
            self.end_round();
        }
        Ok(())
    }
}

impl<D: Disk> Log<D> {
    /// Bytes of the sealed segments, less what was appended: falls by what cleaning frees.
    fn sealed_beside_appended(&self) -> i64 {
        self.sealed_bytes()
            .wrapping_sub(self.counters.appended_bytes)
            .cast_signed()
    }

    /// Everything that was there when the round began has been gone through.
    fn end_round(&mut self) {
        let step = self.settings.segment_bytes / 4;
        let less =
            self.sealed_beside_appended().saturating_add_unsigned(step) < self.cleaning.round_bytes;
        if less || !self.is_cleaning_due() {
            self.cleaning.vain_rounds = 0;
            return;
        }
        self.cleaning.vain_rounds += 1;
        if self.cleaning.vain_rounds >= VAIN_ROUNDS_MAX {
            self.cleaning.vain_rounds = 0;
            self.cleaning.rest_until =
                self.counters.appended_bytes + self.settings.segment_bytes / 4;
            self.cleaning.rest_live = self.live_bytes();
        }
    }
}

/// `append` says so.
fn not_full(result: Result<Maintenance, StoreError>) -> Result<Maintenance, StoreError> {
    match result {
        Err(StoreError::Full(_)) => Ok(Maintenance::Idle),
        result => result,
    }
}

/// What a step of cleaning came to.
enum Cleaned {
    /// Some of it is done.
    Some,
    /// The segment is given up.
    Done,
    /// A checkpoint of this slot is wanted.
    Wants(u8),
    /// Checkpoints are waited for.
    Waits,
}

/// What is read, or filled with zeros, in one step.
const STEP_BYTES_MIN: u64 = 1 << 20;
const STEP_BYTES_MAX: u64 = 8 << 20;
const VAIN_ROUNDS_MAX: u32 = 4;
/// Bodies are put into frames of this size.
const COPY_BYTES: u64 = 256 << 10;
/// A slot may write this part of a segment before a checkpoint is worth it: all slots together half a segment.
pub(super) const SLACKS_PER_SEGMENT: u64 = 512;
/// After so many calls checkpoints that did not come are asked for again.
const WAITS_MAX: u32 = 10_000;
