//! The last reading of a log that is opened: what counts is given back.

use std::sync::Arc;

use martlet_engine::Record;

use super::count::{User, Users};
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
    pub(super) users: Users,
}

impl<D: Disk> Log<D> {
    pub(super) fn replayed(
        &mut self,
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>),
    ) -> Result<(), StoreError> {
        self.healthy()?;
        let shard_count = shard_count.max(1);
        let Some(replay) = self.replay.take() else {
            return Err(StoreError::TooLate);
        };
        // Bodies may lie behind the records that refer to them, since cleaning copies them: so they come first.
        let mut result = Ok(());
        if self.bodies.len() > 0 {
            result = self.each_frame(&mut |log, generation, found| {
                log.give_bodies(&replay, generation, found, shard_count, each);
            });
        }
        if result.is_ok() {
            result = self.each_frame(&mut |_, _, found| {
                give_records(&replay, found, shard_count, each);
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
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>),
    ) {
        if found.header.kind == Kind::Mark {
            return;
        }
        let put = Put {
            generation,
            payload_at: found.offset + super::frame::HEADER_BYTES as u64,
        };
        for (offset, record) in placed(found.payload) {
            let Record::Body { body, .. } = record else {
                continue;
            };
            let id = body.as_u64();
            let is_here = self
                .bodies
                .location(id)
                .is_some_and(|at| at == location(put, offset as u64, at.len));
            let Some(place) = self.bodies.place(id).filter(|_| is_here) else {
                continue;
            };
            match replay.users.of(place) {
                User::Slot(slot) => each(usize::from(slot) % shard_count, &record),
                User::Many => (0..shard_count).for_each(|shard| each(shard, &record)),
            }
        }
    }

    /// Goes through all frames.
    fn each_frame(&mut self, each: &mut dyn FnMut(&Self, u64, &Found<'_>)) -> std::io::Result<()> {
        let head = self.head.as_ref();
        // A mark may be waiting to be written, if the disk is full.
        let end = head.map_or(0, |head| head.written);
        let last = head.map(|head| &head.segment);
        let segments: Vec<_> = self.sealed.iter().chain(last).cloned().collect();
        let last = last.map(|segment| segment.header.generation);
        let mut window = Window::new();
        for segment in segments {
            let generation = segment.header.generation;
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

fn give_records(
    replay: &Replay,
    found: &Found<'_>,
    shard_count: usize,
    each: &mut dyn FnMut(usize, &Record<'_>),
) {
    if found.header.kind != Kind::Batch {
        return;
    }
    for (offset, record) in placed(found.payload) {
        let place = Place {
            sequence: found.header.sequence,
            offset,
        };
        if let Some(slot) = record.slot()
            && replay.checkpoints.counts(slot, place)
        {
            each(usize::from(slot) % shard_count, &record);
        }
    }
}
