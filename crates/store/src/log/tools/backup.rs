//! A copy of a store, which a broker may be working with.
//!
//! Segments are copied from the oldest to the youngest, frame by frame, each checked. In the meantime the broker may
//! - *append*: the copy ends where the last segment ended when it was read;
//! - *go on in a new segment*: if that begins behind a gap, the one before has got more since it was read, and is read again;
//! - *write while we read*: a read is not one moment, and may miss what is being written but see what was written behind it.
//!   What is missing in the middle is read again, and only missing if it is so a second time;
//! - *give up the oldest and use its file again*: its header is different then, and the copy of it is thrown away. What was
//!   needed of it is in a younger segment that is still to be copied, and so is the mark that says so.
//!
//! `FORMAT` is written last: a copy that is not finished cannot be taken for a store.

use std::io;

use super::{LOOKS_MAX, look_at_log, names};
use crate::disk::{Access, Disk, LockError, write_full};
use crate::log::format::{self, FormatFile};
use crate::log::scan::{Horizon, Window, scan};
use crate::log::segment::{
    FOLDER, FRAMES_AT, HeaderRead, SegmentHeader, VERSION, generation_of, path_of,
};
use crate::log::settings::OpenError;
use crate::recovery::{Phase, Progress, Recovery};

/// What was copied.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Backup {
    /// Bytes of the copy.
    pub bytes: u64,
    /// What is in the copy, and what is not as it should be: it was so in the store, too.
    pub recovery: Recovery,
}

/// Why a store could not be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The store cannot be read.
    #[error("the store: {0}")]
    From(OpenError),
    /// The copy cannot be written.
    #[error("the copy: {0}")]
    To(OpenError),
    /// There is something already where the copy should be.
    #[error("there is a store already where the copy should be; name an empty folder")]
    NotEmpty,
    /// Each time that it was looked at, segments had changed.
    #[error("the store changes faster than it can be copied; try again when there is less to do")]
    TooFast,
}

/// Copies a store to an empty folder. The store may be in use.
pub fn backup<D: Disk, E: Disk>(
    from: &mut D,
    to: &mut E,
    watch: &mut dyn FnMut(Progress),
) -> Result<Backup, BackupError> {
    // What has another format, or is an unfinished copy itself, is not copied as if it were a store.
    match format::read(from).map_err(BackupError::From)? {
        FormatFile::Version(1..=VERSION) => {}
        FormatFile::Version(found) => {
            return Err(BackupError::From(OpenError::NewerFormat { found }));
        }
        FormatFile::Missing => return Err(BackupError::From(OpenError::NoStore)),
        FormatFile::Unknown(found) => {
            return Err(BackupError::From(OpenError::UnknownFormat { found }));
        }
    }
    begin(to)?;
    let mut copy = Copy {
        from,
        to,
        copied: Vec::new(),
        window: Window::tolerant(),
    };
    copy.all(watch)?;
    let bytes = copy.copied.iter().map(|segment| segment.header.size).sum();
    let (_, recovery) = look_at_log(to, watch).map_err(BackupError::To)?;
    format::write(to).map_err(BackupError::To)?;
    Ok(Backup { bytes, recovery })
}

fn begin<E: Disk>(to: &mut E) -> Result<(), BackupError> {
    to.lock().map_err(|error| match error {
        LockError::Held { pid } => BackupError::To(OpenError::Locked { pid }),
        LockError::Io(error) => BackupError::To(OpenError::io("lock", "")(error)),
    })?;
    let failed = |error| BackupError::To(OpenError::io("list", FOLDER)(error));
    let is_store = match to.list(FOLDER) {
        Ok(names) => !names.is_empty(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(error)),
    };
    let names = to.list("").map_err(failed)?;
    if is_store || names.iter().any(|name| name == format::PATH) {
        return Err(BackupError::NotEmpty);
    }
    to.create_folder(FOLDER).map_err(failed)?;
    format::write_unfinished(to).map_err(BackupError::To)
}

struct Copy<'a, D, E> {
    from: &'a mut D,
    to: &'a mut E,
    copied: Vec<Copied>,
    window: Window,
}

/// A segment of the copy.
struct Copied {
    header: SegmentHeader,
    first_sequence: Option<u64>,
    /// The numbers of the frames behind which others are missing, in the segment.
    gaps: Vec<u64>,
    /// Up to where the log had been read behind it.
    behind: Horizon,
}

impl<D: Disk, E: Disk> Copy<'_, D, E> {
    fn all(&mut self, watch: &mut dyn FnMut(Progress)) -> Result<(), BackupError> {
        // The gaps that were seen: those that are there when their places are read again are in the store.
        let mut seen: Vec<u64> = Vec::new();
        for _ in 0..LOOKS_MAX * LOOKS_MAX {
            let mut generations: Vec<u64> = names(self.from)
                .map_err(BackupError::From)?
                .iter()
                .filter_map(|name| generation_of(name))
                .collect();
            generations.sort_unstable();
            let last = self.copied.last().map(|copied| copied.header.generation);
            generations.retain(|generation| Some(*generation) > last);
            let is_new = !generations.is_empty();
            let left = generations.len() as u64;
            for (done, generation) in (0..).zip(generations) {
                // Segments are of one size, nearly always.
                watch(Progress {
                    phase: Phase::Copying,
                    bytes_done: done,
                    bytes_total: left,
                });
                self.segment(generation)?;
            }
            let gaps = self.gaps();
            let new = gaps.iter().find(|(_, behind)| !seen.contains(behind));
            let new = new.map(|(place, _)| *place);
            seen.extend(gaps.iter().map(|(_, behind)| behind));
            match new {
                Some(place) => {
                    for copied in self.copied.split_off(place) {
                        self.remove(&copied.header)?;
                    }
                }
                None if is_new => {}
                None => return self.finish(),
            }
        }
        Err(BackupError::TooFast)
    }

    /// Where frames are missing: the segment to read again, and the number of the frame in front. A segment that was shorter
    /// when it was read than it is now is one of these: the next one does not go on where it ends.
    fn gaps(&self) -> Vec<(usize, u64)> {
        let mut gaps = Vec::new();
        let mut before: Option<(usize, u64)> = None;
        for (place, copied) in self.copied.iter().enumerate() {
            let Some(first) = copied.first_sequence else {
                continue;
            };
            gaps.extend(before.filter(|(_, behind)| behind + 1 < first));
            gaps.extend(copied.gaps.iter().map(|behind| (place, *behind)));
            before = Some((place, copied.behind.sequence));
        }
        gaps
    }

    /// Copies a segment, unless it is none any more.
    fn segment(&mut self, generation: u64) -> Result<(), BackupError> {
        let path = path_of(generation);
        let failed = |error| BackupError::From(OpenError::io("read", &path)(error));
        let file = match self.from.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let Some(header) = self.header(&file, generation).map_err(failed)? else {
            return Ok(());
        };
        let before = self.copied.last().map(|copied| copied.behind);
        let mut behind = before.unwrap_or_default();
        let copy_failed = |error| BackupError::To(OpenError::io("write", &path)(error));
        let to = self.to.create(&path).map_err(copy_failed)?;
        let mut written = Ok(());
        let (mut frames, disk) = (Vec::new(), &mut *self.to);
        let spans = scan(
            self.from,
            &file,
            &header,
            &mut behind,
            &mut self.window,
            &mut |found| {
                frames.clear();
                let salt = header.salt();
                found.header.encode(salt, found.payload, &mut frames);
                if written.is_ok() {
                    written = write_full(disk, &to, &frames, found.offset);
                }
            },
        )
        .map_err(failed)?;
        written.map_err(copy_failed)?;
        // Only what is there, not what is ready for more.
        let end = spans.last().map_or(FRAMES_AT, |span| span.end);
        let copy = SegmentHeader {
            size: end.next_multiple_of(FRAMES_AT),
            ..header
        };
        let tail = vec![0; usize::try_from(copy.size - end).unwrap_or(0)];
        write_full(self.to, &to, &tail, end)
            .and_then(|()| copy.write(self.to, &to))
            .and_then(|()| self.to.sync(&to))
            .map_err(copy_failed)?;
        if self.header(&file, generation).map_err(failed)? == Some(header) {
            self.copied.push(Copied {
                header: copy,
                first_sequence: spans.first().map(|span| span.first_sequence),
                gaps: spans
                    .iter()
                    .zip(spans.iter().skip(1))
                    .filter(|(span, next)| span.last_sequence + 1 < next.first_sequence)
                    .map(|(span, _)| span.last_sequence)
                    .collect(),
                behind,
            });
            return Ok(());
        }
        // It is another one now: what was read may be of both.
        self.remove(&copy)
    }

    fn header(&mut self, file: &D::File, generation: u64) -> io::Result<Option<SegmentHeader>> {
        Ok(match SegmentHeader::read(self.from, file)? {
            HeaderRead::Good(header) | HeaderRead::OneOfTwo(header) => {
                Some(header).filter(|header| header.generation == generation)
            }
            HeaderRead::Newer(_) | HeaderRead::None => None,
        })
    }

    fn remove(&mut self, header: &SegmentHeader) -> Result<(), BackupError> {
        let path = header.path();
        self.to
            .remove(&path)
            .map_err(|error| BackupError::To(OpenError::io("remove", &path)(error)))
    }

    fn finish(&mut self) -> Result<(), BackupError> {
        let failed = |error| BackupError::To(OpenError::io("sync", FOLDER)(error));
        self.to.sync_folder(FOLDER).map_err(failed)?;
        self.to.sync_folder("").map_err(failed)
    }
}
