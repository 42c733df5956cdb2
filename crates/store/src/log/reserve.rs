//! The next segment, made ready before it is needed: a commit only has to write.
//!
//! ```text
//! Nothing ── create ──► Filling ── zeros, 1 MiB at a time ──► Filled ── header, sync ──► Headed ── rename, sync ──► Ready
//!    │                                                          ▲                                                   │
//!    └──────────── a cleaned segment, under another name ───────┘◄───────── a larger one was needed ────────────────┘
//! ```
//! A new file is filled with zeros, not merely given a length: where blocks are there and written, `fdatasync` has only
//! data to write, no metadata. A cleaned segment is like that already; its old frames have another salt.

use std::io;

use super::segment::{FOLDER, FRAMES_AT, SPARE_PATH, SegmentHeader, path_of};
use super::settings::Durability;
use super::write::Call;
use super::{BLOCK_BYTES, Log, splitmix};
use crate::disk::{Disk, write_full};
use crate::store::{FullBecause, StoreError};

/// How far the next segment is.
#[derive(Debug)]
pub(super) enum Reserve<F> {
    /// There is none.
    Nothing,
    /// `SPARE_PATH` is being filled.
    Filling { file: F, size: u64, written: u64 },
    /// `SPARE_PATH` needs a header.
    Filled { file: F, size: u64 },
    /// `SPARE_PATH` needs its name.
    Headed { file: F, header: SegmentHeader },
    /// It has its name, which a crash may still take away.
    Named { file: F, header: SegmentHeader },
    /// The next segment.
    Ready { file: F, header: SegmentHeader },
}

/// For what a segment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// For whatever comes, messages too.
    Free,
    /// The same, after there was none.
    Again,
    /// For what is to be written now: up to the limit.
    Last,
}

impl<F> Reserve<F> {
    /// Bytes on the disk.
    pub(super) const fn size(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Filling { size, .. } | Self::Filled { size, .. } => *size,
            Self::Headed { header, .. }
            | Self::Named { header, .. }
            | Self::Ready { header, .. } => header.size,
        }
    }

    pub(super) const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

impl<D: Disk> Log<D> {
    /// One step towards a reserve. Writes at most `budget` zeros.
    pub(super) fn prepare(&mut self, room: Room, budget: u64) -> Result<(), StoreError> {
        let reserve = std::mem::replace(&mut self.reserve, Reserve::Nothing);
        let (reserve, result) = self.prepared(reserve, room, budget);
        self.reserve = reserve;
        if matches!(result, Err(StoreError::Full(_))) {
            self.no_room = Some(self.counters.appended_bytes);
        } else if result.is_ok() && self.settings.size_bytes_max.is_none() {
            self.no_room = None;
        }
        result
    }

    /// For what the next segment may be made.
    pub(super) const fn wanted_room(&self) -> Room {
        if self.no_room.is_some() {
            Room::Again
        } else {
            Room::Free
        }
    }

    /// With a limit: whether more is left below it than what is needed to make room.
    pub(super) fn look_for_room(&mut self) {
        if self.no_room.is_some()
            && self.settings.size_bytes_max.is_some()
            && !self.reserve.is_nothing()
            && self.fits(self.settings.segment_bytes, Room::Free)
        {
            self.no_room = None;
        }
    }

    /// Whether another segment of this size is within the limit.
    ///
    /// What is left when messages are refused has to be enough to make room again: for checkpoints of all slots, for a segment
    /// to copy what is needed of the oldest one, and for what ends messages until it is worth that. That more is wanted when
    /// there was too little keeps the answer from changing with every segment.
    fn fits(&self, size: u64, room: Room) -> bool {
        let Some(limit) = self.settings.size_bytes_max else {
            return true;
        };
        let segment = self.settings.segment_bytes;
        let without_kept = limit
            .saturating_sub(2 * segment + self.slots.live())
            .max(limit.min(SEGMENTS_MIN * segment));
        let most = match room {
            Room::Last => limit,
            Room::Free => without_kept,
            Room::Again => without_kept.saturating_sub(segment),
        };
        self.total_bytes() + size <= most
    }

    /// The step, and what it came to. After an error the reserve is as it was, and the step can be done again.
    fn prepared(
        &mut self,
        reserve: Reserve<D::File>,
        room: Room,
        budget: u64,
    ) -> (Reserve<D::File>, Result<(), StoreError>) {
        let size = self.settings.segment_bytes;
        match reserve {
            Reserve::Nothing => match self.create_spare(size, room) {
                Ok(file) => {
                    let written = 0;
                    (
                        Reserve::Filling {
                            file,
                            size,
                            written,
                        },
                        Ok(()),
                    )
                }
                Err(error) => (Reserve::Nothing, Err(error)),
            },
            Reserve::Filling {
                file,
                size,
                written,
            } => {
                let (written, result) = self.fill(&file, size, written, budget);
                if written < size || result.is_err() {
                    (
                        Reserve::Filling {
                            file,
                            size,
                            written,
                        },
                        result,
                    )
                } else {
                    (Reserve::Filled { file, size }, result)
                }
            }
            Reserve::Filled { file, size } => {
                let header = self.next_header(size);
                match self.write_header(&file, &header) {
                    Ok(()) => (Reserve::Headed { file, header }, Ok(())),
                    error => (Reserve::Filled { file, size }, error),
                }
            }
            Reserve::Headed { file, header } => {
                let result = self.disk.rename(SPARE_PATH, &header.path());
                match self.check(result, Call::Rename, || SPARE_PATH.to_owned()) {
                    Ok(()) => (Reserve::Named { file, header }, Ok(())),
                    error => (Reserve::Headed { file, header }, error),
                }
            }
            Reserve::Named { file, header } => {
                let result = self.disk.sync_folder(FOLDER);
                match self.check_sync(result, Call::SyncFolder, || FOLDER.to_owned()) {
                    Ok(()) => (Reserve::Ready { file, header }, Ok(())),
                    error => (Reserve::Named { file, header }, error),
                }
            }
            ready @ Reserve::Ready { .. } => (ready, Ok(())),
        }
    }

    fn create_spare(&mut self, size: u64, room: Room) -> Result<D::File, StoreError> {
        self.within_limit(size, room)?;
        let mut result = self.disk.create(SPARE_PATH);
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
            let removed = self.disk.remove(SPARE_PATH);
            self.check(removed, Call::Remove, || SPARE_PATH.to_owned())?;
            result = self.disk.create(SPARE_PATH);
        }
        self.check(result, Call::Create, || SPARE_PATH.to_owned())
    }

    fn within_limit(&self, size: u64, room: Room) -> Result<(), StoreError> {
        match self.settings.size_bytes_max {
            Some(limit) if !self.fits(size, room) => {
                Err(StoreError::Full(FullBecause::Limit(limit)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Writes zeros; gives up to where they are written now.
    fn fill(
        &mut self,
        file: &D::File,
        size: u64,
        written: u64,
        budget: u64,
    ) -> (u64, Result<(), StoreError>) {
        let end = size.min(written.saturating_add(budget.max(ZEROS_BYTES as u64)));
        let memory = vec![0; ZEROS_BYTES + 2 * BLOCK_BYTES];
        let zeros = self.zeros_in(&memory);
        let mut at = written;
        while at < end {
            let len = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            let result = write_full(
                &mut self.disk,
                file,
                zeros.get(..len).unwrap_or_default(),
                at,
            );
            if let Err(error) = self.check(result, Call::Write, || SPARE_PATH.to_owned()) {
                return (at, Err(error));
            }
            at += len as u64;
        }
        self.counters.written_bytes += end - written;
        // Step by step, so that no sync of the log has to wait behind all of it.
        let result = self.disk.sync(file);
        (
            end,
            self.check_sync(result, Call::Sync, || SPARE_PATH.to_owned()),
        )
    }

    /// Zeros to write. Where each step waits for the device they go past the system's cache, which a disk does with whole
    /// blocks out of memory that begins at one: else a third of the time of whoever fills segment after segment is copying them there. Where
    /// nobody waits, the cache has to have them: frames are written into it, and what it does not have of their pages it reads.
    fn zeros_in<'a>(&self, memory: &'a [u8]) -> &'a [u8] {
        let to_block = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        let begin = match self.settings.durability {
            Durability::Fsync => to_block,
            Durability::Os => to_block + 1,
        };
        memory.get(begin..begin + ZEROS_BYTES).unwrap_or_default()
    }

    fn write_header(&mut self, file: &D::File, header: &SegmentHeader) -> Result<(), StoreError> {
        let result = header.write(&mut self.disk, file);
        self.check(result, Call::Write, || SPARE_PATH.to_owned())?;
        let result = self.disk.sync(file);
        self.check_sync(result, Call::Sync, || SPARE_PATH.to_owned())
    }

    /// The header of a segment behind the head.
    fn next_header(&mut self, size: u64) -> SegmentHeader {
        self.salts = self.salts.wrapping_add(1);
        SegmentHeader {
            generation: self.next_generation(),
            salt: splitmix(self.salts),
            size,
        }
    }

    fn next_generation(&self) -> u64 {
        let last = match &self.head {
            Some(head) => head.segment.header.generation,
            None => self.last_generation,
        };
        last + 1
    }

    /// The reserve, made ready if it is not, or one for a frame that is larger than a segment.
    pub(super) fn take_reserve(
        &mut self,
        frame_len: u64,
    ) -> Result<(SegmentHeader, D::File), StoreError> {
        if FRAMES_AT + frame_len > self.settings.segment_bytes {
            return self.large_segment(frame_len);
        }
        let was_ready = self.reserve.is_ready();
        loop {
            let reserve = std::mem::replace(&mut self.reserve, Reserve::Nothing);
            if let Reserve::Ready { file, header } = reserve {
                self.counters.unprepared_rotations += u64::from(!was_ready);
                return Ok((header, file));
            }
            self.reserve = reserve;
            self.prepare(Room::Last, u64::MAX)?;
        }
    }

    /// A segment for one frame that is larger than a segment. It is not filled, what it is for is written at once; but it has
    /// its length, or a start would take it for one whose end is missing.
    fn large_segment(&mut self, frame_len: u64) -> Result<(SegmentHeader, D::File), StoreError> {
        let size = (FRAMES_AT + frame_len).next_multiple_of(FRAMES_AT);
        // The reserve has the generation that this one needs.
        self.unname_reserve()?;
        self.within_limit(size, Room::Last)?;
        let header = self.next_header(size);
        match self.disk.remove(LARGE_PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => self.check(result, Call::Remove, || LARGE_PATH.to_owned())?,
        }
        let result = self.disk.create(LARGE_PATH);
        let file = self.check(result, Call::Create, || LARGE_PATH.to_owned())?;
        let result = write_full(&mut self.disk, &file, &[0], size - 1);
        self.check(result, Call::Write, || LARGE_PATH.to_owned())?;
        self.write_header(&file, &header)?;
        let result = self.disk.rename(LARGE_PATH, &header.path());
        self.check(result, Call::Rename, || LARGE_PATH.to_owned())?;
        let result = self.disk.sync_folder(FOLDER);
        self.check_sync(result, Call::SyncFolder, || FOLDER.to_owned())?;
        self.counters.unprepared_rotations += 1;
        Ok((header, file))
    }

    /// Makes a reserve that has its name one that has none yet.
    fn unname_reserve(&mut self) -> Result<(), StoreError> {
        let path = match &self.reserve {
            Reserve::Ready { header, .. } | Reserve::Named { header, .. } => header.path(),
            Reserve::Headed { .. } => String::new(),
            Reserve::Nothing | Reserve::Filling { .. } | Reserve::Filled { .. } => return Ok(()),
        };
        if !path.is_empty() {
            let result = self.disk.rename(&path, SPARE_PATH);
            self.check(result, Call::Rename, || path)?;
        }
        self.reserve = match std::mem::replace(&mut self.reserve, Reserve::Nothing) {
            Reserve::Ready { file, header }
            | Reserve::Named { file, header }
            | Reserve::Headed { file, header } => Reserve::Filled {
                file,
                size: header.size,
            },
            other @ (Reserve::Nothing | Reserve::Filling { .. } | Reserve::Filled { .. }) => other,
        };
        Ok(())
    }

    /// Makes the reserve out of a segment that is not needed any more, or removes it.
    pub(super) fn recycle(&mut self, header: &SegmentHeader) -> Result<(), StoreError> {
        let path = path_of(header.generation);
        if self.settings.size_bytes_max.is_none() {
            self.no_room = None;
        } else if self.no_room.is_some() {
            // Worth another look.
            self.no_room = Some(0);
        }
        // One that took what was kept to make room is given back.
        let is_wanted = self.reserve.is_nothing() && self.fits(0, Room::Free);
        if !is_wanted || header.size != self.settings.segment_bytes {
            let result = self.disk.remove(&path);
            return self.check(result, Call::Remove, || path);
        }
        let result = self.disk.rename(&path, SPARE_PATH);
        self.check(result, Call::Rename, || path)?;
        // Before it is overwritten its old name must be gone.
        let result = self.disk.sync_folder(FOLDER);
        self.check_sync(result, Call::SyncFolder, || FOLDER.to_owned())?;
        let result = self.disk.open(SPARE_PATH, crate::disk::Access::Write);
        let file = self.check(result, Call::Open, || SPARE_PATH.to_owned())?;
        self.reserve = Reserve::Filled {
            file,
            size: header.size,
        };
        Ok(())
    }
}

/// A limit of so few segments keeps none of them back.
const SEGMENTS_MIN: u64 = 3;
/// Zeros written with one write.
const ZEROS_BYTES: usize = 1 << 20;
/// A segment for one large frame, until it has its name.
pub(super) const LARGE_PATH: &str = "log/large.new";
