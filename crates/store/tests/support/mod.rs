//! Logs in folders of their own, for the tests on real files.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses a part of it"
)]

pub(crate) mod faulty;

use std::fs;
use std::path::{Path, PathBuf};

use martlet_store::suite::{Churn, Model, restored};
use martlet_store::{Durability, Log, Maintenance, RealDisk, Recovery, Settings, Store};
use tempfile::TempDir;

pub(crate) const SEGMENT: u64 = 64 << 10;

/// Small segments; and what a crash leaves is made by the tests, so nothing has to reach the disk.
pub(crate) fn settings() -> Settings {
    Settings {
        segment_bytes: SEGMENT,
        durability: Durability::Os,
        ..Settings::new(7)
    }
}

pub(crate) fn open(folder: &Path) -> (Log<RealDisk>, Recovery) {
    Log::open(RealDisk::new(folder), settings()).unwrap()
}

/// What is in a store, which is opened for it and crashes again.
pub(crate) fn content(folder: &Path) -> Model {
    let (mut log, _) = open(folder);
    restored(&mut log, 2)
}

/// A store with this many batches in it, each synced alone.
pub(crate) fn filled(folder: &Path, seed: u64, batches: usize) -> Churn {
    let (mut log, _) = open(folder);
    let mut churn = Churn::new(seed);
    for _ in 0..batches {
        log.append(&churn.batch(6)).unwrap();
        log.sync().unwrap();
    }
    churn
}

/// One piece of maintenance.
pub(crate) fn maintain(log: &mut impl Store, churn: &Churn) -> bool {
    match log.maintain().unwrap() {
        Maintenance::Idle => return false,
        Maintenance::Busy | Maintenance::Later => {}
        Maintenance::WantsCheckpoint(slot) => log.append(&churn.checkpoint(slot)).unwrap(),
    }
    true
}

/// A copy of a store, as a crash would leave it.
pub(crate) fn copy_of(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    copy_all(folder, copy.path());
    copy
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The segment files, oldest first.
pub(crate) fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

/// Writes over a part of a file.
pub(crate) fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// Where the frames of a segment begin, as they are found by their sequence numbers from `first` on.
pub(crate) fn frames(path: &Path, first: u64) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let mut sequence = first;
    let mut found = Vec::new();
    for at in (4_096..bytes.len().saturating_sub(32)).step_by(8) {
        let number = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
        if number == sequence && (1..4).contains(&bytes[at + 12]) {
            found.push(at as u64);
            sequence += 1;
        }
    }
    found
}

/// The sequence number of a segment's first frame; 0 if there is none.
pub(crate) fn first_sequence(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    u64::from_le_bytes(bytes[4_096 + 16..4_096 + 24].try_into().unwrap())
}

/// Damages a frame in the middle of the oldest segment.
pub(crate) fn damage_middle(folder: &Path) {
    let path = segments(folder)[0].clone();
    let frames = frames(&path, first_sequence(&path));
    assert!(frames.len() > 4, "{}", frames.len());
    overwrite(&path, frames[frames.len() / 2] + 40, b"\xFF\xFE\xFD");
}

/// Where the last byte of a segment is that is not zero; behind it begins nothing but a frame.
pub(crate) fn end_of(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap_or_default();
    let written = bytes.iter().rposition(|byte| *byte != 0);
    written.map_or(0, |last| (last as u64 + 1).next_multiple_of(8))
}
