//! What a store is: the trait that the driver talks to, and what it answers.

use std::fmt;
use std::io;
use std::sync::Arc;

use martlet_engine::{Body, BodyId, BodySummary, Record, RecordError};

/// Keeps the batches that shards write. Lives on one thread, which calls it and waits.
///
/// ```text
/// shards ── batches ──► append, append, append ──► sync ──► tickets back to the shards
///                       maintain, now and then, until it is idle
/// ```
/// A batch is stored as a whole or not at all, and what a crash leaves is always a *prefix* of what was appended:
/// a batch is never there without all those that were appended before it. After an error of [`Store::append`] other
/// than [`StoreError::Full`], or any error of [`Store::sync`] that is not `Full`, nothing may be acknowledged any more.
///
/// What shards owe to a store:
/// - a checkpoint (`SlotBegin` to `SlotEnd`) is in one batch, and names the references that there were before it;
/// - a body whose last reference has ended is not referred to again, except within the batch that ended it;
/// - a checkpoint that the store [wants](Maintenance::WantsCheckpoint) is written soon, even of an empty slot.
pub trait Store: Send {
    /// Appends one shard's batch. It is stable after the next [`Store::sync`].
    ///
    /// After [`StoreError::Full`] the batch was not taken: append *the same one* again later, nothing else before it.
    fn append(&mut self, batch: &[u8]) -> Result<(), StoreError>;

    /// Makes everything appended stable, as far as the store promises. [`StoreError::Full`]: call it again later.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// A short, bounded piece of the work that goes on beside the appending: room for what comes, and cleaning.
    ///
    /// To be called after each `sync`, again at once after [`Maintenance::WantsCheckpoint`], of which there is an end, and again
    /// and again while it answers [`Maintenance::Busy`] and nothing else is to be done; after [`Maintenance::Later`] when nothing has been for a moment. What it writes becomes stable with the next `sync`, or by itself.
    fn maintain(&mut self) -> Result<Maintenance, StoreError>;

    /// Gives back what was stored and still counts: for a start, before anything is appended.
    ///
    /// `each` gets a shard's number and a record. Records come in the order in which they were written, but a body
    /// comes before the first record that refers to it, to every shard that may have such a record. A record of a slot
    /// before its last whole checkpoint does not come, nor does a body to which nothing refers *in the end*: a record may
    /// name a body that does not come, and then a later one ends that reference. Slots go to shards by
    /// `slot % shard_count`.
    fn replay(
        &mut self,
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>),
    ) -> Result<(), StoreError>;

    /// The same for shards: a body to which only queues of sessions refer need not come. Then a summary of it comes with
    /// each [`Record::Queued`] that names it, unless nothing refers to it in the end.
    fn restore(
        &mut self,
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>, Option<BodySummary>),
    ) -> Result<(), StoreError> {
        self.replay(shard_count, &mut |shard, record| each(shard, record, None))
    }

    /// Reads back a body that something refers to and that is stable; `each` gets it, unless it is not there or cannot
    /// be read. Whether it did.
    ///
    /// This waits for the disk, and the log with it: [`BodyReader`](crate::BodyReader) does the same on another thread.
    fn read_body(
        &mut self,
        body: BodyId,
        each: &mut dyn FnMut(&Body<'_>),
    ) -> Result<bool, StoreError>;

    /// Whether there is no room for what comes after the present segment, so that [`StoreError::Full`] is near.
    ///
    /// Whoever takes less from now on (no messages, but what ends them) lets the store make room by itself. While
    /// it is so, call [`Store::maintain`] now and then: only then is it found out that there is room again.
    fn is_short_of_room(&self) -> bool {
        false
    }

    /// How much there is.
    fn stats(&self) -> StoreStats;
}

/// What a piece of maintenance came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// Nothing is left to be done until more is appended.
    Idle,
    /// There is more to do.
    Busy,
    /// There is something to do if nothing is appended for a while: call again then. What is appended may make it needless.
    Later,
    /// There may be more to do, and the slot's shard should write a checkpoint of it
    /// ([`Shard::checkpoint_slot`](martlet_engine::Shard::checkpoint_slot)).
    WantsCheckpoint(u8),
}

/// Why a store did not do what it was told.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room. Passes when there is room again: try the same again later.
    #[error("the store is full: {0}")]
    Full(FullBecause),
    /// Writing or syncing failed, once: what is stable is not known any more, and nothing will ever be.
    #[error("the store failed and is not used any more: {0}")]
    Poisoned(Arc<FailedCall>),
    /// Reading back failed.
    #[error("the store cannot be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// Our own fault: what was stored can only be given back before anything is appended.
    #[error("the store has been appended to already")]
    TooLate,
    /// Our own fault: what was appended is no batch of records. It was not stored.
    #[error("this is no batch of records: {0}")]
    Invalid(BadBatch),
}

/// What a disk could not do.
#[derive(Debug, thiserror::Error)]
#[error("{call} of {path}: {error}")]
#[expect(
    clippy::exhaustive_structs,
    reason = "whoever tests with a store that fails makes one"
)]
pub struct FailedCall {
    /// The system call.
    pub call: &'static str,
    /// The file, relative to the store's folder.
    pub path: String,
    /// What the system said.
    #[source]
    pub error: io::Error,
}

/// What there is no room on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullBecause {
    /// The disk, or the user's quota on it.
    Disk,
    /// The store's own limit of this many bytes.
    Limit(u64),
}

impl fmt::Display for FullBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("no space left on the disk"),
            Self::Limit(bytes) => write!(f, "its limit of {bytes} bytes is reached"),
        }
    }
}

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// A record in it.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// A checkpoint that is not whole.
    #[error("the checkpoint of slot {0} is not whole")]
    Checkpoint(u8),
    /// Nothing in it, or more than a frame can hold.
    #[error("it has {0} bytes")]
    Size(usize),
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Bytes that are still needed: bodies with references, and about what checkpoints of all slots would have.
    pub live_bytes: u64,
    /// Bytes that the store takes on the disk.
    pub total_bytes: u64,
    /// Segment files, those in reserve included.
    pub segments: usize,
    /// Bodies that something refers to.
    pub bodies: usize,
    /// References to them.
    pub references: u64,
    /// Batches appended since the start.
    pub batches: u64,
    /// Bytes of batches appended since the start.
    pub appended_bytes: u64,
    /// Bytes written since the start, cleaning included.
    pub written_bytes: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// Bytes read since the start to find out what is to be copied out of segments.
    pub scanned_bytes: u64,
    /// Segments cleaned since the start.
    pub cleaned_segments: u64,
    /// Segments that turned out to be damaged when they were to be cleaned. They stay as they are; the next start sees to
    /// them, and nothing is cleaned before.
    pub damaged_segments: u64,
    /// Times since the start that an append had to wait for the making of a segment that was not prepared.
    pub unprepared_rotations: u64,
    /// Records since the start that named a body that is not there: a fault of ours, or what damage left.
    pub dangling_references: u64,
}
