//! Durability in the driver: the directory, what is restored from it, and the thread that writes to it.
//!
//! Map: `directory` says where it is and whether it can keep the promise, `opening` opens the store and restores the
//! shards, `replaying` gives each of them its records on a thread of its own, `line` is what shards and the store's thread share, `writer` is that thread, and `reader`
//! the one that reads bodies back.

mod directory;
mod line;
mod opening;
mod reader;
mod replaying;
mod writer;

pub use directory::state_directory;
pub(crate) use line::StoreLine;
pub use opening::{Recovered, RecoveryProgress, StorageError};
pub(crate) use opening::{Seat, open};
pub(crate) use writer::Writer;
