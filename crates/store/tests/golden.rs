//! Stores that earlier versions wrote. They are never written anew: a version that cannot read one has broken the format.
//!
//! A new format gets a folder of its own beside the old ones, made with `cargo run --example golden`.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by a panic; and not every file needs every one of these"
)]

mod support;

use std::fs;
use std::path::Path;

use martlet_store::suite::{Churn, restored};
use martlet_store::tools::{DumpForm, dump, verify};
use martlet_store::{RealDisk, Store};

use support::{copy_of, maintain, open};

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

#[test]
fn format_1_is_read_as_it_was_written() {
    let folder = copy_of(&golden("format-1"));
    let mut lines = Vec::new();
    dump(
        &mut RealDisk::new(folder.path()),
        DumpForm::JsonLines,
        &mut lines,
    )
    .unwrap();
    let expected = fs::read_to_string(golden("format-1.jsonl")).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    for (line, expected) in lines.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.lines().count(), expected.lines().count());
}

#[test]
fn format_1_is_opened_and_gone_on_with() {
    let folder = copy_of(&golden("format-1"));
    let recovery = verify(&mut RealDisk::new(folder.path()), &mut |_| {}).unwrap();
    // The last batch names a body that there never was.
    assert_eq!(recovery.faults.len(), 1, "{:?}", recovery.faults);
    let (mut log, recovery) = open(folder.path());
    assert_eq!(recovery.upgraded_from, None);
    assert_eq!(recovery.highest_session_counter, HIGHEST.0);
    assert_eq!(recovery.highest_number_counter, HIGHEST.1);
    assert_eq!((recovery.bodies, recovery.references), REFERENCES);
    let mut churn = Churn::new(2);
    churn.resume(restored(&mut log, 2));
    for _ in 0..300 {
        log.append(&churn.batch(9)).unwrap();
        log.sync().unwrap();
        maintain(&mut log, &churn);
    }
    drop(log);
    let (mut log, recovery) = open(folder.path());
    assert!(!recovery.has_loss(), "{:?}", recovery.faults);
    assert_eq!(restored(&mut log, 2), churn.model);
}

/// Of the store of format 1, from when it was written.
const HIGHEST: (u64, u64) = (1_144, 1_249);
const REFERENCES: (u64, u64) = (33, 42);
