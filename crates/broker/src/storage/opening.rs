//! The start: the directory is made, the store opened, and every shard gets its sessions back before anybody is let in.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use martlet_engine::{Effects, Shard, Time};
use martlet_store::{
    BodyReader, Log, OpenError, Phase, Progress, RealDisk, Recovery, Settings, StoreError,
};

use super::directory;
use super::line::StoreLine;
use super::reader::Reader;
use super::replaying;
use super::writer::Writer;
use crate::config::{Durability, Storage};

/// How far the recovery is, for somebody who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// What is being done.
    pub doing: &'static str,
    /// How much of it is done, in percent.
    pub percent: u8,
}

/// What a broker found in its directory when it started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recovered {
    /// The directory.
    pub directory: PathBuf,
    /// What its acknowledgements promise.
    pub durability: Durability,
    /// Sessions.
    pub sessions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Messages that sessions, groups and topics hold; one that several hold counts several times.
    pub references: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// What was not as it should be, a line each: a torn tail after a crash is normal, everything else is not.
    pub faults: Vec<String>,
    /// Whether something that had been acknowledged may be missing.
    pub has_loss: bool,
    /// Why the file system cannot keep the promise, if it cannot.
    pub doubt: Option<String>,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            retained,
            references,
            ..
        } = self;
        let mebibytes = self.bytes.div_ceil(1 << 20);
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "restored {sessions} sessions, {retained} retained messages, {references} queued or retained references \
             from {mebibytes} MiB in {seconds:.2} s"
        )
    }
}

/// Why a broker cannot use its directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Durability was asked for, and no directory named.
    #[error("durability \"{0}\" needs a directory; name one (--data-dir), or ask for \"memory\"")]
    NoDirectory(Durability),
    /// It cannot be made, or not be written.
    #[error("cannot keep state in {}: {source}; {}", .directory.display(), remedy(.source))]
    Unusable {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in there cannot be used.
    #[error("{}: {source}", .directory.display())]
    Open {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: Box<OpenError>,
    },
    /// It could be opened, but not be read.
    #[error("{}: {source}", .directory.display())]
    Store {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// An open store and what was found in it.
pub(crate) struct Opened {
    store: Log<RealDisk>,
    recovery: Recovery,
    recovered: Recovered,
    begun: Instant,
}

/// A shard before its thread runs, with what it wants done.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shard: Shard,
    pub(crate) fx: Effects,
}

/// Opens the directory's store; `None` in memory mode.
pub(crate) fn open(
    storage: &Storage,
    seed: u64,
    progress: &mut dyn FnMut(RecoveryProgress),
) -> Result<Option<Opened>, StorageError> {
    let begun = Instant::now();
    let durability = storage.durability();
    if durability == Durability::Memory {
        return Ok(None);
    }
    let Some(directory) = storage.directory() else {
        return Err(StorageError::NoDirectory(durability));
    };
    directory::prepare(directory).map_err(|source| StorageError::Unusable {
        directory: directory.to_owned(),
        source,
    })?;
    let settings = Settings {
        durability: match durability {
            Durability::Os => martlet_store::Durability::Os,
            Durability::Fsync | Durability::Memory => martlet_store::Durability::Fsync,
        },
        segment_bytes: storage.segment_bytes,
        size_bytes_max: storage.size_bytes_max,
        ..Settings::new(seed)
    };
    let watch = &mut |at| progress(RecoveryProgress::from(at));
    let opened = Log::open_watched(RealDisk::new(directory), settings, watch);
    let (log, recovery) = opened.map_err(|source| StorageError::Open {
        directory: directory.to_owned(),
        source: Box::new(source),
    })?;
    let recovered = Recovered {
        directory: directory.to_owned(),
        durability,
        sessions: 0,
        retained: 0,
        references: recovery.references,
        bytes: recovery.bytes,
        took: Duration::ZERO,
        faults: recovery.faults.iter().map(ToString::to_string).collect(),
        has_loss: recovery.has_loss(),
        doubt: match durability {
            Durability::Fsync => directory::doubt(directory),
            Durability::Os | Durability::Memory => None,
        },
    };
    Ok(Some(Opened {
        store: log,
        recovery,
        recovered,
        begun,
    }))
}

impl Opened {
    /// Gives the shards back what they had, lets them speak with each other until all is quiet, and starts the
    /// store's thread.
    pub(crate) fn restore(
        mut self,
        seats: &mut [Seat],
        line: &Arc<StoreLine>,
        now: impl Fn() -> Time + Sync,
        progress: &mut dyn FnMut(RecoveryProgress),
    ) -> Result<(Writer, Recovered), StorageError> {
        let directory = self.recovered.directory.clone();
        replaying::replay(&mut self.store, &self.recovery, seats, &now, progress).map_err(
            |source| StorageError::Store {
                directory: directory.clone(),
                source,
            },
        )?;
        settle(seats, line, now());
        self.recovered.sessions = seats.iter().map(|seat| seat.shard.session_count()).sum();
        self.recovered.retained = seats.iter().map(|seat| seat.shard.retained_count()).sum();
        self.recovered.took = self.begun.elapsed();
        let place = directory.display().to_string();
        let config = seats.first().and_then(|seat| seat.shard.store_config());
        let disk = RealDisk::new(&directory);
        let reader = config.map(|config| {
            let reader = BodyReader::new(disk);
            Reader::start(reader, Arc::clone(line), config, place.clone())
        });
        let writer = reader.transpose().and_then(|reader| {
            Writer::start(Box::new(self.store), reader, Arc::clone(line), place)
        });
        let writer = writer.map_err(|source| StorageError::Unusable { directory, source })?;
        Ok((writer, self.recovered))
    }
}

/// Does what restored shards have to do at once (a will that fell due, a message for a group elsewhere), until no
/// shard has anything for another: whoever connects then finds everything in its place.
fn settle(seats: &mut [Seat], line: &StoreLine, now: Time) {
    let mut quiet = false;
    while !quiet {
        quiet = true;
        for seat in &mut *seats {
            if seat.shard.next_deadline().is_some_and(|due| due <= now) {
                quiet = false;
                seat.shard.on_timer(now, &mut seat.fx);
            }
        }
        for from in 0..seats.len() {
            let Some(batches) = collect(seats, from, line) else {
                continue;
            };
            for (to, mut batch) in batches.into_iter().enumerate() {
                if batch.is_empty() {
                    continue;
                }
                quiet = false;
                if let Some(seat) = seats.get_mut(to) {
                    seat.shard
                        .on_peer_batch(from, &mut batch, now, &mut seat.fx);
                }
            }
        }
    }
    debug_assert!(
        seats.iter().all(|seat| !seat.shard.is_recovering()),
        "quiet, and not yet recovered"
    );
}

/// What a shard has for the store goes first, as in every tick; then what it has for others.
fn collect(
    seats: &mut [Seat],
    from: usize,
    line: &StoreLine,
) -> Option<Vec<Vec<martlet_engine::PeerMessage>>> {
    let seat = seats.get_mut(from)?;
    if let Some((ticket, bytes)) = seat.fx.store.take(Vec::new()) {
        line.put(from, ticket, bytes);
    }
    Some(seat.fx.peers.iter_mut().map(std::mem::take).collect())
}

impl From<Progress> for RecoveryProgress {
    fn from(progress: Progress) -> Self {
        let total = progress.bytes_total.max(1);
        let percent = progress.bytes_done.min(total).saturating_mul(100) / total;
        Self {
            doing: match progress.phase {
                Phase::Checking => "checking",
                Phase::Counting => "counting",
                Phase::Copying => "copying",
            },
            percent: u8::try_from(percent).unwrap_or(100),
        }
    }
}

/// What an operator can do about a directory.
fn remedy(error: &io::Error) -> &'static str {
    let kind = error.kind();
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&kind);
    if is(&[
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ]) {
        "name another directory (--data-dir, MARTLET_DATA_DIR or storage.directory), give this user the right to \
         write there, or keep nothing (--durability memory)"
    } else if is(&[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded]) {
        "free some space there, or name another directory (--data-dir)"
    } else if is(&[io::ErrorKind::NotADirectory, io::ErrorKind::AlreadyExists]) {
        "a file is in the way: name another directory (--data-dir)"
    } else {
        "name another directory (--data-dir), or keep nothing (--durability memory)"
    }
}
