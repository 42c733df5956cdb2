//! Keeps what must not be lost: the batches of records that the engine's shards write.
//!
//! [`Store`] is what the driver talks to, from one thread. [`Memory`] forgets everything with the process and is for tests.
//!
//! Map: `store` is the trait, `memory` the simplest store, `counting` says which records still count, `disk` what is
//! asked of a disk, `real` the real one, `recovery` what is said about what was found at the start.

mod counting;
mod disk;
mod memory;
#[cfg(unix)]
mod real;
mod recovery;
mod store;

pub use disk::{Access, Disk, LockError};
pub use memory::Memory;
#[cfg(unix)]
pub use real::RealDisk;
pub use recovery::{Fault, FaultKind, LossCause, Phase, Progress, Recovery};
pub use store::{BadBatch, FullBecause, Maintenance, Store, StoreError, StoreStats};
