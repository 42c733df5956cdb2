//! The tools: looking, showing, repairing, copying, also while the store is in use.

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
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;

use martlet_store::suite::{Churn, Model};
use martlet_store::tools::{BackupError, DumpForm, backup, dump, repair, verify};
use martlet_store::{FaultKind, OpenError, RealDisk, Store};
use tempfile::TempDir;

use support::faulty::Faulty;
use support::{content, damage_middle, filled, maintain, open, overwrite, segments, settings};

fn looked_at(folder: &Path) -> martlet_store::Recovery {
    verify(&mut RealDisk::new(folder), &mut |_| {}).unwrap()
}

#[test]
fn a_good_store_has_no_faults_and_looking_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let churn = filled(folder.path(), 1, 200);
    let before = bytes_of(folder.path());
    let recovery = looked_at(folder.path());
    assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
    assert_eq!(recovery.batches, 200);
    let (bodies, references) = churn.model.references();
    assert_eq!(
        (recovery.bodies, recovery.references),
        (bodies as u64, references)
    );
    dump(
        &mut RealDisk::new(folder.path()),
        DumpForm::Text,
        &mut Vec::new(),
    )
    .unwrap();
    assert!(bytes_of(folder.path()) == before);
    let (log, _) = open(folder.path());
    assert_eq!(recovery.live_bytes, log.stats().live_bytes);
}

fn bytes_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = segments(folder);
    files.extend([folder.join("FORMAT"), folder.join("LOCK")]);
    files
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_fault_is_found_with_its_place_and_advice() {
    let folder = TempDir::new().unwrap();
    let mut churn = filled(folder.path(), 2, 400);
    churn.payload_bytes_max = 2_000;
    let (mut log, _) = open(folder.path());
    while log.stats().segments < 6 {
        log.append(&churn.batch(6)).unwrap();
        log.sync().unwrap();
    }
    log.close().unwrap();
    let paths = segments(folder.path());
    damage_middle(folder.path());
    overwrite(&paths[1], 9, b"?");
    fs::remove_file(&paths[2]).unwrap();
    overwrite(&paths[3], 0, &[1; 4_096]);
    fs::write(folder.path().join("log/mine"), "").unwrap();
    fs::remove_file(folder.path().join("FORMAT")).unwrap();
    let before = bytes_of_log(folder.path());
    let recovery = looked_at(folder.path());
    let lines: Vec<_> = recovery.faults.iter().map(ToString::to_string).collect();
    for part in [
        "FORMAT: missing",
        "log/00000001.seg at byte",
        "log/00000002.seg: one of two headers",
        "log/00000003.seg: the file is missing: lost batches",
        "log/00000004.seg at byte 0: both headers are damaged",
        "log/mine: not a file of this store",
    ] {
        let found = lines.iter().filter(|line| line.starts_with(part)).count();
        assert_eq!(found, 1, "{part} in {lines:#?}");
    }
    assert!(
        recovery
            .faults
            .iter()
            .all(|fault| fault.kind.advice().len() > 10)
    );
    assert!(bytes_of_log(folder.path()) == before);

    // A repair says the same, and leaves nothing to be said.
    let repaired = repair(RealDisk::new(folder.path()), settings(), &mut |_| {}).unwrap();
    assert!(repaired.has_loss());
    let after = looked_at(folder.path());
    assert!(
        after.faults.iter().all(|fault| matches!(
            fault.kind,
            FaultKind::Foreign | FaultKind::KnownLoss { .. } | FaultKind::MissingBodies { .. }
        )),
        "{:?}",
        after.faults
    );
}

fn bytes_of_log(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    segments(folder)
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_dump_has_a_line_for_each_record() {
    let folder = TempDir::new().unwrap();
    let churn = filled(folder.path(), 3, 60);
    let (mut log, _) = open(folder.path());
    log.append(&churn.checkpoint(17)).unwrap();
    log.close().unwrap();
    let mut disk = RealDisk::new(folder.path());
    let mut text = Vec::new();
    let recovery = dump(&mut disk, DumpForm::Text, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    // The mark is no record of a batch.
    assert_eq!(text.lines().count() as u64, recovery.records + 1);
    assert!(text.contains(" body body=") && text.contains(" topic=\"plant/1/power\""));
    assert!(
        text.lines()
            .any(|line| line.starts_with("61 log/00000001.seg:"))
    );

    let mut json = Vec::new();
    dump(&mut disk, DumpForm::JsonLines, &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert_eq!(json.lines().count(), text.lines().count());
    for line in json.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            value["batch"].is_u64() && value["offset"].is_u64(),
            "{line}"
        );
        assert!(
            value["record"].is_string() && value["counts"].is_boolean(),
            "{line}"
        );
    }
}

#[test]
fn what_is_no_store_is_said() {
    let folder = TempDir::new().unwrap();
    let mut disk = RealDisk::new(folder.path());
    let error = verify(&mut disk, &mut |_| {}).unwrap_err();
    assert!(matches!(error, OpenError::NoStore), "{error}");
    let mut to = RealDisk::new(folder.path().join("copy"));
    let error = backup(&mut disk, &mut to, &mut |_| {}).unwrap_err();
    assert!(
        matches!(error, BackupError::From(OpenError::NoStore)),
        "{error}"
    );
    // Nor is one made where there is none.
    for place in ["", "missing"] {
        let place = folder.path().join(place);
        let error = repair(RealDisk::new(&place), settings(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("no store here"), "{error}");
        assert!(!place.join("LOCK").exists() && !place.join("log").exists());
    }
}

#[test]
fn a_copy_is_the_same_store() {
    let folder = TempDir::new().unwrap();
    let churn = filled(folder.path(), 4, 500);
    let copy = TempDir::new().unwrap();
    let mut to = RealDisk::new(copy.path());
    let done = backup(&mut RealDisk::new(folder.path()), &mut to, &mut |_| {}).unwrap();
    drop(to);
    assert!(done.recovery.faults.is_empty());
    assert_eq!(content(copy.path()), churn.model);
    // It is not written over, and neither is anything else.
    for taken in [copy.path(), folder.path()] {
        let result = backup(
            &mut RealDisk::new(folder.path()),
            &mut RealDisk::new(taken),
            &mut |_| {},
        );
        assert!(matches!(result, Err(BackupError::NotEmpty)), "{result:?}");
    }
    // It works on.
    let (mut log, _) = open(copy.path());
    let mut churn = churn;
    for _ in 0..200 {
        log.append(&churn.batch(9)).unwrap();
        log.sync().unwrap();
        maintain(&mut log, &churn);
    }
    drop(log);
    assert_eq!(content(copy.path()), churn.model);
}

#[test]
fn a_copy_that_was_not_finished_is_no_store() {
    let folder = TempDir::new().unwrap();
    filled(folder.path(), 5, 50);
    let copy = TempDir::new().unwrap();
    backup(
        &mut RealDisk::new(folder.path()),
        &mut RealDisk::new(copy.path()),
        &mut |_| {},
    )
    .unwrap();
    let format = copy.path().join("FORMAT");
    // As it is until the end.
    fs::write(format, "an unfinished copy of a martlet store\n").unwrap();
    let result = martlet_store::Log::open(RealDisk::new(copy.path()), settings());
    let error = result.unwrap_err();
    assert!(error.to_string().contains("unfinished copy"), "{error}");
}

/// Stops the writer also if the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A read is not one moment: it may miss what is being written, and see what was written behind that.
#[test]
fn what_is_missing_once_is_looked_at_again() {
    let folder = TempDir::new().unwrap();
    let mut churn = filled(folder.path(), 4, 100);
    churn.payload_bytes_max = 2_000;
    let (mut log, _) = open(folder.path());
    while log.stats().segments < 4 {
        log.append(&churn.batch(6)).unwrap();
        log.sync().unwrap();
    }
    log.close().unwrap();
    let disk = || Faulty::new(RealDisk::new(folder.path()));
    for torn in [0, 1] {
        let mut disk = disk();
        disk.orders.torn.store(torn, SeqCst);
        let recovery = verify(&mut disk, &mut |_| {}).unwrap();
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
        assert_eq!(disk.orders.torn.load(SeqCst), 0, "it was seen");

        disk.orders.torn.store(torn, SeqCst);
        let copy = TempDir::new().unwrap();
        let mut to = RealDisk::new(copy.path());
        let done = backup(&mut disk, &mut to, &mut |_| {}).unwrap();
        drop(to);
        assert!(!done.recovery.has_loss(), "{:?}", done.recovery.faults);
        assert!(content(copy.path()) == churn.model);
        assert_eq!(disk.orders.torn.load(SeqCst), 0, "it was seen");
    }
    // What is missing each time is missing, and the rest is copied.
    let mut disk = disk();
    disk.orders.torn.store(usize::MAX, SeqCst);
    assert!(verify(&mut disk, &mut |_| {}).unwrap().has_loss());
    let copy = TempDir::new().unwrap();
    let done = backup(&mut disk, &mut RealDisk::new(copy.path()), &mut |_| {}).unwrap();
    assert!(done.recovery.has_loss());
}

/// A copy holds what was stable when it was begun, and no more than what was when it ended, with nothing left out in between,
/// whatever is cleaned in the meantime.
#[test]
fn a_copy_can_be_made_while_the_store_is_in_use() {
    let folder = TempDir::new().unwrap();
    let stop = AtomicBool::new(false);
    let (noted, states) = mpsc::channel();
    noted.send(Model::new()).unwrap();
    drop(open(folder.path()));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let noted = noted;
            let (mut log, _) = open(folder.path());
            let mut churn = Churn::new(6);
            churn.payload_bytes_max = 4_000;
            churn.drain_percent = 300;
            while !stop.load(SeqCst) {
                log.append(&churn.batch(10)).unwrap();
                log.sync().unwrap();
                noted.send(churn.model.clone()).unwrap();
                for _ in 0..4 {
                    maintain(&mut log, &churn);
                    log.sync().unwrap();
                }
            }
            log.stats().cleaned_segments
        });
        let _stopped = StopAtEnd(&stop);
        let (mut known, mut found) = (Vec::new(), Vec::new());
        while found.len() < 40 {
            known.extend(states.try_iter());
            let begun = known.len();
            let copy = TempDir::new().unwrap();
            let mut to = RealDisk::new(copy.path());
            let done = match backup(&mut RealDisk::new(folder.path()), &mut to, &mut |_| {}) {
                Ok(done) => done,
                Err(BackupError::TooFast) => continue,
                Err(error) => panic!("{error}"),
            };
            drop(to);
            assert!(!done.recovery.has_loss(), "{:?}", done.recovery.faults);
            found.push((begun, content(copy.path())));
        }
        stop.store(true, SeqCst);
        assert!(writer.join().unwrap() > 20);
        // Only now has the last state that could be in a copy been noted.
        known.extend(states.try_iter());
        for (number, (begun, model)) in found.iter().enumerate() {
            let possible = &known[begun - 1..];
            assert!(
                possible.contains(model),
                "copy {number} is none of the states"
            );
        }
    });
}
