//! What was found when a store was opened.

use std::fmt;
use std::ops::RangeInclusive;

/// What was found when a store was opened.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// The highest session counter in any record: [`Record::counters`](martlet_engine::Record::counters).
    pub highest_session_counter: u64,
    /// The highest counter of numbers in any record.
    pub highest_number_counter: u64,
    /// The version of the format that was found, if it was an older one and is not any more.
    pub upgraded_from: Option<u32>,
    /// Segments with frames in them.
    pub segments: usize,
    /// Bytes of the frames.
    pub bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Records, those that do not count any more included.
    pub records: u64,
    /// Bodies that are referred to.
    pub bodies: u64,
    /// References to bodies.
    pub references: u64,
    /// Bytes that are still needed, of those bytes.
    pub live_bytes: u64,
    /// What was not as it should be, the oldest part of the log first. A torn tail is normal after a crash.
    pub faults: Vec<Fault>,
}

impl Recovery {
    /// Whether something that had been acknowledged may be lost.
    #[must_use]
    pub fn has_loss(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.is_loss())
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to the store's folder; for a missing one, the name that it would have.
    pub file: String,
    /// Where in the file, if it is at one place.
    pub offset: Option<u64>,
    /// What it is.
    pub kind: FaultKind,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The log ends in something that was being written when it crashed. It was not acknowledged.
    TornTail {
        /// Bytes that are not used: those up to the last byte that is not zero.
        bytes: u64,
    },
    /// Batches are not there, or not readable, that had been stable: with the numbers from the first to the last.
    Lost {
        /// Their sequence numbers.
        batches: RangeInclusive<u64>,
        /// Why.
        because: LossCause,
    },
    /// The last segment is shorter than it was made: what was written to its end is not there, if something was.
    Short {
        /// Bytes that are missing.
        bytes: u64,
    },
    /// What [`FaultKind::Lost`] said at an earlier start, and has been put up with.
    KnownLoss {
        /// Their sequence numbers.
        batches: RangeInclusive<u64>,
    },
    /// The file has been moved to this path; what could be read of it is still used.
    SetAside {
        /// Where it is now.
        to: String,
    },
    /// A file that is none of the store's, or not any more. It is left alone.
    Foreign,
    /// One of a segment's two headers is damaged; the other is used.
    HeaderDamaged,
    /// Both of a segment's headers are damaged: nothing in it can be read.
    HeadersLost,
    /// `FORMAT` is missing, or says nothing that it could; the segments say the version.
    FormatMissing,
    /// A batch is as it was written, but this version cannot read it further than this.
    BadRecord {
        /// What is wrong with the record.
        what: &'static str,
    },
    /// Records refer to bodies that are not there.
    MissingBodies {
        /// How many.
        bodies: u64,
    },
}

/// Why batches are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// A segment file is not there.
    SegmentMissing,
    /// A segment file is shorter than it was.
    SegmentShort,
    /// The bytes are not those that were written.
    Damaged,
}

impl FaultKind {
    /// Whether something is not as it was written, or was put right just now. What a crash leaves is no damage, nor is what
    /// has been put up with before.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Lost { .. }
            | Self::Short { .. }
            | Self::BadRecord { .. }
            | Self::MissingBodies { .. }
            | Self::SetAside { .. }
            | Self::HeaderDamaged
            | Self::HeadersLost
            | Self::FormatMissing => true,
            Self::TornTail { .. } | Self::KnownLoss { .. } | Self::Foreign => false,
        }
    }

    /// Whether something that had been acknowledged may be lost.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        match self {
            Self::Lost { .. }
            | Self::Short { .. }
            | Self::BadRecord { .. }
            | Self::MissingBodies { .. } => true,
            Self::TornTail { .. }
            | Self::KnownLoss { .. }
            | Self::SetAside { .. }
            | Self::Foreign
            | Self::HeaderDamaged
            | Self::HeadersLost
            | Self::FormatMissing => false,
        }
    }
}

impl FaultKind {
    /// What an operator can do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::TornTail { .. } => "nothing to do: the broker goes on in front of it",
            Self::Lost { .. } => {
                "a start or a repair puts the rest in order; what is lost is in no file but a backup; look after the disk"
            }
            Self::Short { .. } => {
                "a start or a repair goes on in front of it; what was in it is in no file but a backup; look after the disk"
            }
            Self::KnownLoss { .. } => {
                "nothing to do: it passes when the segments around it are cleaned"
            }
            Self::SetAside { .. } => "look after the disk; the file can be deleted",
            Self::Foreign => "move it elsewhere if nobody knows what it is for",
            Self::HeaderDamaged => "a start or a repair mends it; look after the disk",
            Self::HeadersLost => "a start or a repair sets it aside; look after the disk",
            Self::FormatMissing => "a repair writes it anew",
            Self::BadRecord { .. } => {
                "this is a fault of the broker: please report it, with the output of dump"
            }
            Self::MissingBodies { .. } => "they were in what is lost: only a backup has them",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail { bytes } => write!(
                f,
                "{bytes} bytes of a write that did not finish; nothing that was acknowledged"
            ),
            Self::Lost { batches, because } => {
                let because = match because {
                    LossCause::SegmentMissing => "the file is missing",
                    LossCause::SegmentShort => "the file is too short",
                    LossCause::Damaged => "the bytes are not those that were written",
                };
                write!(f, "{because}: lost {}", Batches(batches))
            }
            Self::Short { bytes } => {
                write!(
                    f,
                    "{bytes} bytes are missing at its end, and the last batches if they were there"
                )
            }
            Self::KnownLoss { batches } => {
                write!(f, "lost {}, as an earlier start said", Batches(batches))
            }
            Self::SetAside { to } => {
                write!(f, "moved to {to}; what could be read of it is used")
            }
            Self::Foreign => f.write_str("not a file of this store; left alone"),
            Self::HeaderDamaged => f.write_str("one of two headers is damaged; the other is used"),
            Self::HeadersLost => f.write_str("both headers are damaged; nothing in it can be read"),
            Self::FormatMissing => {
                f.write_str("missing or unreadable; the segments say what it was")
            }
            Self::BadRecord { what } => {
                write!(
                    f,
                    "a record {what}; it and those behind it in its batch are lost"
                )
            }
            Self::MissingBodies { bodies } => {
                write!(f, "the messages of {bodies} deliveries are lost")
            }
        }
    }
}

/// `batch 7` or `batches 7 to 9`.
struct Batches<'a>(&'a RangeInclusive<u64>);

impl fmt::Display for Batches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.start(), self.0.end()) {
            (first, last) if first == last => write!(f, "batch {first}"),
            (first, last) => write!(f, "batches {first} to {last}"),
        }
    }
}

/// How far opening is, for somebody who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the log that it is done with.
    pub bytes_done: u64,
    /// Bytes that it will be done with.
    pub bytes_total: u64,
}

/// What is done when a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading and checking every frame.
    Checking,
    /// Finding the bodies and who refers to them.
    Counting,
    /// Copying the segments of a store that may be in use.
    Copying,
}
