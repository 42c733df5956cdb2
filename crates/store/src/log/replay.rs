//! The last reading of a log that is opened: what counts is given back.

use std::collections::BTreeSet;
use std::sync::Arc;

use martlet_engine::{BodyId, BodySummary, Record, Records};

use super::count::{Summaries, User};
use super::frame::Kind;
use super::scan::{Found, Window, read_frame};
use super::write::Put;
use super::{Log, location};
use crate::counting::{Checkpoints, Place, placed};
use crate::disk::{Access, Disk};
use crate::store::StoreError;

/// What has to be known to give back what counts.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) checkpoints: Checkpoints,
    pub(super) summaries: Summaries,
}

/// Which bodies are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    /// Those that something refers to, to every shard.
    All,
    /// Those that are needed whole, to the shards that need them; of the others a summary.
    Whole,
}

/// Gets what is given back.
type Each<'a> = dyn FnMut(usize, &Record<'_>, Option<BodySummary>) + 'a;

impl<D: Disk> Log<D> {
    pub(super) fn replayed(
        &mut self,
        shard_count: usize,
        bodies: Bodies,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        self.healthy()?;
        let shard_count = shard_count.max(1);
        let Some(replay) = self.replay.take() else {
            return Err(StoreError::TooLate);
        };
        // Bodies may lie behind the records that refer to them, since cleaning copies them: so they come first.
        let mut result = Ok(());
        if self.bodies.len() > 0 {
            let mut near = 0;
            let needed = match bodies {
                Bodies::All => None,
                Bodies::Whole => Some(self.segments_needed(&replay)),
            };
            let is_needed = |generation: u64| {
                let needed = needed.as_ref();
                needed.is_none_or(|needed| needed.contains(&generation))
            };
            result = self.each_frame(&is_needed, &mut |log, generation, found| {
                let user = (shard_count, bodies);
                log.give_bodies(&replay, generation, found, user, &mut near, each);
            });
        }
        if result.is_ok() {
            let mut last = Last::default();
            result = self.each_frame(&|_| true, &mut |log, _, found| {
                log.give_records(&replay, found, shard_count, &mut last, each);
            });
        }
        self.replay = Some(replay);
        result.map_err(|error| StoreError::Unreadable(Arc::new(error)))
    }

    fn give_bodies(
        &self,
        replay: &Replay,
        generation: u64,
        found: &Found<'_>,
        (shard_count, bodies): (usize, Bodies),
        near: &mut u32,
        each: &mut Each<'_>,
    ) {
        if found.header.kind == Kind::Mark {
            return;
        }
        let put = Put {
            generation,
            payload_at: found.offset + super::frame::HEADER_BYTES as u64,
        };
        let mut records = Records::new(found.payload);
        while let Some((offset, record)) = records.next_body() {
            let Record::Body { body, .. } = record else {
                continue;
            };
            let len = u32::try_from(records.offset() - offset).unwrap_or(u32::MAX);
            let here = location(put, offset as u64, len);
            let Some(place) = self.bodies.place_near(body.as_u64(), *near) else {
                continue;
            };
            *near = place.wrapping_add(1);
            if self.bodies.location_at(place) != Some(here) {
                continue;
            }
            let user = match bodies {
                Bodies::All => User::Many,
                Bodies::Whole => replay.summaries.user(place),
            };
            match user {
                User::Nobody => {}
                User::Slot(slot) => each(usize::from(slot) % shard_count, &record, None),
                User::Many => (0..shard_count).for_each(|shard| each(shard, &record, None)),
            }
        }
    }

    /// The segments with bodies that somebody needs whole.
    fn segments_needed(&self, replay: &Replay) -> BTreeSet<u64> {
        let places = self.bodies.places();
        let needed = places.filter(|(place, _)| replay.summaries.user(*place) != User::Nobody);
        let mut segments = BTreeSet::new();
        for (_, location) in needed {
            segments.insert(u64::from(location.generation));
        }
        segments
    }

    /// Gives the records that still count.
    fn give_records(
        &self,
        replay: &Replay,
        found: &Found<'_>,
        shard_count: usize,
        last: &mut Last,
        each: &mut Each<'_>,
    ) {
        if found.header.kind != Kind::Batch {
            return;
        }
        for (offset, record) in placed(found.payload) {
            let place = Place {
                sequence: found.header.sequence,
                offset,
            };
            let Some(slot) = record
                .slot()
                .filter(|slot| replay.checkpoints.counts(*slot, place))
            else {
                continue;
            };
            let mut summary = None;
            if let Record::Queued { body, .. } = record {
                if last.body != Some(body) {
                    last.body = Some(body);
                    let place = self.bodies.place_near(body.as_u64(), last.near);
                    last.near = place.map_or(last.near, |place| place.wrapping_add(1));
                    last.summary = place.and_then(|place| replay.summaries.summary(place));
                }
                summary = last.summary;
            }
            each(usize::from(slot) % shard_count, &record, summary);
        }
    }

    /// Goes through all frames of the segments that are needed.
    fn each_frame(
        &mut self,
        is_needed: &dyn Fn(u64) -> bool,
        each: &mut dyn FnMut(&Self, u64, &Found<'_>),
    ) -> std::io::Result<()> {
        let head = self.head.as_ref();
        // A mark may be waiting to be written, if the disk is full.
        let end = head.map_or(0, |head| head.written);
        let last = head.map(|head| &head.segment);
        let segments: Vec<_> = self.sealed.iter().chain(last).cloned().collect();
        let last = last.map(|segment| segment.header.generation);
        let mut window = Window::new();
        for segment in segments {
            let generation = segment.header.generation;
            if !is_needed(generation) {
                continue;
            }
            let file = self.disk.open(&segment.header.path(), Access::Read)?;
            window.forget();
            for span in &segment.spans {
                let mut at = span.start;
                let end = if last == Some(generation) {
                    span.end.min(end)
                } else {
                    span.end
                };
                while at < end {
                    let read = read_frame(&mut self.disk, &file, &segment.header, at, &mut window)?;
                    let Some((found, next)) = read else {
                        return Err(std::io::ErrorKind::InvalidData.into());
                    };
                    each(self, generation, &found);
                    at = next;
                }
            }
        }
        Ok(())
    }
}

/// The body that was named last, and what is known of it: most are named several times, one behind the other.
#[derive(Debug, Default)]
struct Last {
    body: Option<BodyId>,
    summary: Option<BodySummary>,
    /// Behind its place.
    near: u32,
}
