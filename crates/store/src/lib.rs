//! Keeps what must not be lost: the batches of records that the engine's shards write.
//!
//! [`Store`] is what the driver talks to, from one thread. [`Log`] keeps the batches in files on a [`Disk`]; [`Memory`]
//! forgets everything with the process and is for tests.
//!
//! Map: `store` is the trait, `log` the store proper, `memory` the simplest one, `counting` says which records still count, `disk` what is
//! asked of a disk, `real` the real one, `recovery` what is said about what was found at the start, `sorting` the way from there to the shards, [`suite`] what every store has to do.

mod counting;
mod disk;
mod log;
mod memory;
#[cfg(unix)]
mod real;
mod recovery;
mod sorting;
mod store;
pub mod suite;

pub use disk::{Access, Disk, LockError};
pub use log::tools;
pub use log::{BodyPlace, BodyReader, Durability, Log, OpenError, Settings};
pub use memory::Memory;
#[cfg(unix)]
pub use real::{RealDisk, RealFile};
pub use recovery::{Fault, FaultKind, LossCause, Phase, Progress, Recovery};
pub use sorting::{BySlot, Chunk};
pub use store::{BadBatch, FailedCall, FullBecause, Maintenance, Store, StoreError, StoreStats};
