//! How a log is kept, and why it could not be opened.

use std::io;

use super::segment::VERSION;

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What a stable batch survives.
    pub durability: Durability,
    /// Bytes of a segment file: from 64 KiB to 1 GiB, see [`Settings::SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// The most that all segments may have; beyond it the store is full.
    pub size_bytes_max: Option<u64>,
    /// Chance, another for each start: so that nobody can put something into a message that looks like a part of the log.
    pub seed: u64,
}

/// What a stable batch survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power loss: it is on the disk.
    Fsync,
    /// The end of the process, in whatever way: the operating system has it.
    Os,
}

impl Settings {
    /// 64 MiB: large enough that a new one is rare, small enough that cleaning one is short.
    pub const SEGMENT_BYTES: u64 = 64 << 20;

    /// The defaults, with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            durability: Durability::Fsync,
            segment_bytes: Self::SEGMENT_BYTES,
            size_bytes_max: None,
            seed,
        }
    }

    /// Within the bounds, and whole pages.
    pub(super) fn checked(mut self) -> Self {
        self.segment_bytes = self.segment_bytes.clamp(64 << 10, 1 << 30) / PAGE_BYTES * PAGE_BYTES;
        self
    }
}

/// Why a store could not be opened. One line: why, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else has it.
    #[error(
        "the store is in use by another process{}; stop that one first, or use another folder",
        .pid.map(|pid| format!(" ({pid})")).unwrap_or_default()
    )]
    Locked {
        /// The process, if it could be found out.
        pid: Option<u32>,
    },
    /// There is none: only said by the tools.
    #[error("there is no store here: the folder has no folder log")]
    NoStore,
    /// A newer version of this program has written it.
    #[error(
        "the store has format {found}, and this version reads formats up to {VERSION}: \
         use the newer version of the program that wrote it"
    )]
    NewerFormat {
        /// Its format.
        found: u32,
    },
    /// `FORMAT` says nothing that this program has ever written.
    #[error(
        "the file FORMAT says {found:?}, which is no format: if this is a store of messages, repair it"
    )]
    UnknownFormat {
        /// What it says, as far as it can be shown.
        found: String,
    },
    /// The system refused something.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With which file or folder.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

impl OpenError {
    /// For `map_err`.
    pub(crate) fn io(what: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: if path.is_empty() {
                "the store's folder"
            } else {
                path
            }
            .to_owned(),
            source,
        }
    }
}

const PAGE_BYTES: u64 = 4_096;
