//! Appending: frames gather in a buffer, and reach the file with one write for all of them.

use std::io;
use std::sync::Arc;

use super::frame::{FrameHeader, Kind, frame_len};
use super::group::{GROUP_BYTES_MAX, Group};
use super::scan::Span;
use super::segment::{FRAMES_AT, SegmentHeader, path_of};
use super::settings::Durability;
use super::{Log, Segment};
use crate::disk::{Disk, write_full};
use crate::store::{FailedCall, FullBecause, StoreError};

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Head<F> {
    pub(super) segment: Segment,
    pub(super) file: F,
    /// Up to here the file is written.
    pub(super) written: u64,
    /// What is to be written there, at once.
    group: Group,
}

/// Where a frame's payload will lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Put {
    pub(super) generation: u64,
    pub(super) payload_at: u64,
}

/// For what a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// There are messages in it: refused while the last part of the last segment is needed to make room again.
    Messages,
    /// Cleaning, and what shards write beside messages: that ends some, or opens the connections that will. Whatever waits
    /// behind it, checkpoints and other ends, waits with it: so it gets the last byte.
    Needed,
}

/// What was asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Open,
    Create,
    Read,
    Write,
    Sync,
    SyncFolder,
    Rename,
    Remove,
}

impl Call {
    /// The name of the system call, which is what the system's own logs and manuals say, too.
    const fn name(self) -> &'static str {
        match self {
            Self::Open | Self::Create => "open",
            Self::Read => "pread",
            Self::Write => "pwrite",
            Self::Sync => "fdatasync",
            Self::SyncFolder => "fsync",
            Self::Rename => "rename",
            Self::Remove => "unlink",
        }
    }
}

impl<F> Head<F> {
    pub(super) fn new(segment: Segment, file: F, group: Group) -> Self {
        Self {
            written: segment.end(),
            segment,
            file,
            group,
        }
    }

    const fn end(&self) -> u64 {
        self.written + self.group.len() as u64
    }

    pub(super) const fn room(&self) -> u64 {
        self.segment.header.size.saturating_sub(self.end())
    }

    /// Gathers a frame; gives where its payload will be.
    fn push(&mut self, header: &FrameHeader, payload: &[u8]) -> u64 {
        let start = self.end();
        header.encode(self.segment.header.salt(), payload, self.group.end());
        let end = self.end();
        match self.segment.spans.last_mut() {
            Some(span) if span.end == start && span.last_sequence + 1 == header.sequence => {
                span.end = end;
                span.last_sequence = header.sequence;
            }
            _ => self.segment.spans.push(Span {
                start,
                end,
                first_sequence: header.sequence,
                last_sequence: header.sequence,
            }),
        }
        start + super::frame::HEADER_BYTES as u64
    }
}

impl Segment {
    /// A segment without frames.
    pub(super) const fn empty(header: SegmentHeader) -> Self {
        Self {
            header,
            spans: Vec::new(),
            live: 0,
        }
    }

    /// Where the next frame would begin.
    pub(super) fn end(&self) -> u64 {
        self.spans.last().map_or(FRAMES_AT, |span| span.end)
    }
}

impl<D: Disk> Log<D> {
    /// Gathers a frame. It is written with the group, or before if the group grows large.
    pub(super) fn put_frame(
        &mut self,
        kind: Kind,
        checkpoint: bool,
        payload: &[u8],
        purpose: Use,
    ) -> Result<Put, StoreError> {
        self.healthy()?;
        let gathered = self.head.as_ref().map_or(0, |head| head.group.len());
        if gathered > GROUP_BYTES_MAX {
            self.write_group()?;
        }
        let len = frame_len(payload.len()) as u64;
        let kept = match purpose {
            Use::Messages if self.no_room.is_some() => self.settings.segment_bytes / KEPT_PART,
            Use::Messages | Use::Needed => 0,
        };
        let fits = |head: &Head<_>| len + kept <= head.room();
        if !self.head.as_ref().is_some_and(fits) {
            self.rotate(len)?;
        }
        let sequence = self.next_sequence;
        let header = FrameHeader {
            kind,
            checkpoint,
            sequence,
            unstable: u32::try_from(sequence - 1 - self.stable_sequence).unwrap_or(u32::MAX),
            epoch: self.epoch,
        };
        // `rotate` has made one.
        let Some(head) = &mut self.head else {
            return Err(StoreError::Full(FullBecause::Disk));
        };
        let payload_at = head.push(&header, payload);
        self.next_sequence += 1;
        Ok(Put {
            generation: head.segment.header.generation,
            payload_at,
        })
    }

    /// Goes on in the next segment, made ready before or made now, with room for a frame of this length.
    fn rotate(&mut self, frame_len: u64) -> Result<(), StoreError> {
        self.write_group()?;
        let (header, file) = self.take_reserve(frame_len)?;
        let before = self.head.as_mut();
        let group = before.map(|full| std::mem::take(&mut full.group).emptied());
        let head = Head::new(Segment::empty(header), file, group.unwrap_or_default());
        if let Some(full) = self.head.replace(head) {
            let generation = full.segment.header.generation;
            self.retired.push((generation, full.file));
            self.sealed.push_back(full.segment);
        }
        Ok(())
    }

    /// Writes what has gathered.
    pub(super) fn write_group(&mut self) -> Result<(), StoreError> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        let len = head.group.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let at = head.written;
        let mut result = None;
        if self.settings.durability == Durability::Fsync {
            // Whoever waits for the device anyway has nothing from the system's cache.
            let (disk, file, size) = (&mut self.disk, &head.file, head.segment.header.size);
            let group = &mut head.group;
            result = group.with_blocks(at, size, |blocks, at| write_full(disk, file, blocks, at));
        }
        let result = result
            .unwrap_or_else(|| write_full(&mut self.disk, &head.file, head.group.frames(), at));
        let generation = head.segment.header.generation;
        if result.is_ok() {
            head.written += len;
            head.group.is_written(head.written);
        }
        // A full disk has taken nothing, or nothing that is not written again in the same place.
        self.check(result, Call::Write, || path_of(generation))?;
        self.counters.written_bytes += len;
        Ok(())
    }

    /// Makes everything stable that was put.
    pub(super) fn sync_as_promised(&mut self) -> Result<(), StoreError> {
        self.healthy()?;
        if self.stable_sequence + 1 == self.next_sequence {
            return Ok(());
        }
        self.write_group()?;
        if self.settings.durability == Durability::Fsync {
            self.sync_files()?;
        }
        self.stable_sequence = self.next_sequence - 1;
        self.counters.syncs += 1;
        Ok(())
    }

    /// Makes everything survive a power loss, whatever was promised: before something older is overwritten.
    pub(super) fn sync_hard(&mut self) -> Result<(), StoreError> {
        self.healthy()?;
        self.write_group()?;
        self.sync_files()?;
        self.stable_sequence = self.next_sequence - 1;
        Ok(())
    }

    fn sync_files(&mut self) -> Result<(), StoreError> {
        while let Some((generation, file)) = self.retired.last() {
            let (generation, result) = (*generation, self.disk.sync(file));
            self.check_sync(result, Call::Sync, || path_of(generation))?;
            self.retired.pop();
        }
        if let Some(head) = &self.head {
            let generation = head.segment.header.generation;
            let result = self.disk.sync(&head.file);
            self.check_sync(result, Call::Sync, || path_of(generation))?;
        }
        Ok(())
    }

    /// Where only the end of the process is survived, segments that were left still reach the disk some time.
    pub(super) fn sync_one_retired(&mut self) -> Result<bool, StoreError> {
        let Some((generation, file)) = self.retired.pop() else {
            return Ok(false);
        };
        let result = self.disk.sync(&file);
        self.check_sync(result, Call::Sync, || path_of(generation))?;
        Ok(true)
    }

    /// An error once was an error for ever.
    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        match &self.poison {
            Some(failed) => Err(StoreError::Poisoned(Arc::clone(failed))),
            None => Ok(()),
        }
    }

    /// A full disk is told from a broken one.
    pub(super) fn check<T>(
        &mut self,
        result: io::Result<T>,
        call: Call,
        path: impl FnOnce() -> String,
    ) -> Result<T, StoreError> {
        match result {
            Err(error) if is_full(&error) => Err(StoreError::Full(FullBecause::Disk)),
            result => self.check_sync(result, call, path),
        }
    }

    /// After a failed sync nobody knows what is on the disk: the pages count as clean, and a second sync would say yes.
    pub(super) fn check_sync<T>(
        &mut self,
        result: io::Result<T>,
        call: Call,
        path: impl FnOnce() -> String,
    ) -> Result<T, StoreError> {
        result.map_err(|error| {
            let failed = Arc::new(FailedCall {
                call: call.name(),
                path: path(),
                error,
            });
            self.poison = Some(Arc::clone(&failed));
            StoreError::Poisoned(failed)
        })
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// This part of a segment is kept free of messages while there is no next one.
const KEPT_PART: u64 = 8;
