//! The public suite, on the stores of this crate.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by a panic; and not every file needs every one of these"
)]

use martlet_store::suite::{self, Subject};
use martlet_store::{Durability, Log, Memory, RealDisk, Settings};
use tempfile::TempDir;

struct InMemory;

impl Subject for InMemory {
    type Store = Memory;

    fn fresh(&mut self) -> Memory {
        Memory::new()
    }

    fn reopen(&mut self, store: Memory) -> Memory {
        store.crash()
    }
}

/// Logs in folders of their own.
struct OnDisk {
    settings: Settings,
    folders: Vec<TempDir>,
}

impl OnDisk {
    fn new(durability: Durability) -> Self {
        let settings = Settings {
            durability,
            segment_bytes: 64 << 10,
            ..Settings::new(7)
        };
        Self {
            settings,
            folders: Vec::new(),
        }
    }

    fn open(&self) -> Log<RealDisk> {
        let folder = self.folders.last().unwrap().path().join("store");
        let (log, recovery) = Log::open(RealDisk::new(folder), self.settings.clone()).unwrap();
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
        log
    }
}

impl Subject for OnDisk {
    type Store = Log<RealDisk>;

    fn fresh(&mut self) -> Log<RealDisk> {
        self.folders.push(TempDir::new().unwrap());
        self.open()
    }

    fn reopen(&mut self, store: Log<RealDisk>) -> Log<RealDisk> {
        drop(store);
        self.open()
    }
}

#[test]
fn memory_does_what_a_store_does() {
    suite::run(&mut InMemory);
}

#[test]
fn a_log_does_what_a_store_does() {
    suite::run(&mut OnDisk::new(Durability::Fsync));
}

#[test]
fn a_log_that_leaves_syncing_to_the_system_does_what_a_store_does() {
    suite::run(&mut OnDisk::new(Durability::Os));
}
