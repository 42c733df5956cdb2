//! Damaged, missing, short and foreign files: a store opens with what is left and says what is missing, or says in one line
//! why it does not.

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
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use martlet_store::suite::{Churn, Model, restored, settle};
use martlet_store::{FaultKind, Log, LossCause, Memory, OpenError, RealDisk, Recovery, Store};
use proptest::prelude::*;
use tempfile::TempDir;

use support::faulty::Faulty;
use support::{first_sequence, frames, open, overwrite, segments, settings};

/// Fills several segments without cleaning, and closes the store. Batch `n` of the answer, counted from 1, is frame `n`.
fn several_segments(folder: &Path) -> Vec<Vec<u8>> {
    let (mut log, _) = open(folder);
    let mut churn = Churn::new(1);
    churn.payload_bytes_max = 2_000;
    let mut batches = Vec::new();
    while log.stats().segments < 5 {
        let batch = churn.batch(6);
        log.append(&batch).unwrap();
        log.sync().unwrap();
        batches.push(batch);
    }
    log.close().unwrap();
    batches
}

/// What is left if some batches are lost: what a store gives back that never had them.
fn without(batches: &[Vec<u8>], lost: &[RangeInclusive<u64>]) -> Model {
    let mut store = Memory::new();
    for (number, batch) in (1..).zip(batches) {
        if !lost.iter().any(|range| range.contains(&number)) {
            store.append(batch).unwrap();
        }
    }
    restored(&mut store, 1)
}

fn lost(recovery: &Recovery) -> Vec<(RangeInclusive<u64>, LossCause)> {
    let mut lost = Vec::new();
    for fault in &recovery.faults {
        if let FaultKind::Lost { batches, because } = &fault.kind {
            lost.push((batches.clone(), *because));
        }
    }
    lost
}

/// Opens it, and compares. The next start has nothing new to say, and goes on with its work.
fn opens_without(folder: &Path, batches: &[Vec<u8>]) -> Recovery {
    let (mut log, recovery) = open(folder);
    let ranges: Vec<_> = lost(&recovery)
        .into_iter()
        .map(|(range, _)| range)
        .collect();
    let expected = without(batches, &ranges);
    assert_eq!(restored(&mut log, 2), expected);
    drop(log);
    let (mut log, again) = open(folder);
    assert_eq!(lost(&again), [], "{:?}", again.faults);
    assert_eq!(restored(&mut log, 1), expected);
    // What is left is written anew. (A message whose end was counted though its beginning was lost may come back by that.)
    let mut churn = Churn::new(99);
    let mut whole = expected;
    whole.forget_bodiless();
    churn.resume(whole);
    settle(&mut log, &churn);
    drop(log);
    let (_, again) = open(folder);
    assert!(!again.has_loss(), "{:?}", again.faults);
    recovery
}

#[test]
fn a_bad_frame_costs_its_batch_and_the_segment_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    let path = &segments(folder.path())[1];
    let first = first_sequence(path);
    let places = frames(path, first);
    let middle = places.len() / 2;
    overwrite(path, places[middle] + 33, b"\x77\x77");
    let recovery = opens_without(folder.path(), &batches);
    let sequence = first + middle as u64;
    assert_eq!(lost(&recovery), [(sequence..=sequence, LossCause::Damaged)]);
    let fault = &recovery.faults[0];
    assert_eq!(fault.file, "log/00000002.seg");
    assert_eq!(fault.offset, Some(places[middle]));
    assert!(folder.path().join("quarantine/00000002.seg").exists());
    assert_eq!(
        recovery.faults[1].to_string(),
        "log/00000002.seg: moved to quarantine/00000002.seg; what could be read of it is used"
    );
}

#[test]
fn a_missing_segment_is_named() {
    for (number, name) in [(0, "log/00000001.seg"), (2, "log/00000003.seg")] {
        let folder = TempDir::new().unwrap();
        let batches = several_segments(folder.path());
        let paths = segments(folder.path());
        let range = first_sequence(&paths[number])..=first_sequence(&paths[number + 1]) - 1;
        fs::remove_file(&paths[number]).unwrap();
        let recovery = opens_without(folder.path(), &batches);
        assert_eq!(lost(&recovery), [(range, LossCause::SegmentMissing)]);
        assert_eq!(recovery.faults[0].file, name);
    }
}

#[test]
fn a_short_segment_costs_what_is_cut_off() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    let paths = segments(folder.path());
    let places = frames(&paths[1], first_sequence(&paths[1]));
    let cut = first_sequence(&paths[1]) + places.len() as u64 - 3;
    let file = fs::OpenOptions::new().write(true).open(&paths[1]).unwrap();
    file.set_len(places[places.len() - 3] + 11).unwrap();
    let range = cut..=first_sequence(&paths[2]) - 1;
    let recovery = opens_without(folder.path(), &batches);
    assert_eq!(lost(&recovery), [(range, LossCause::SegmentShort)]);
}

/// No sequence number tells what was in the end of the last one.
#[test]
fn a_short_last_segment_is_said_to_be_short() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    let used = |path: &&std::path::PathBuf| first_sequence(path) > 0;
    let path = segments(folder.path()).iter().rfind(used).unwrap().clone();
    let places = frames(&path, first_sequence(&path));
    let name = format!("log/{}", path.file_name().unwrap().to_str().unwrap());
    let first = first_sequence(&path);
    // In the middle of a frame, exactly between two, and only of what was never written.
    for (cut, left) in [
        (places[places.len() - 1] + 40, batches.len() as u64),
        (places[1], first),
        (4_096, first - 1),
    ] {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(cut).unwrap();
        let (mut log, recovery) = open(folder.path());
        assert!(recovery.has_loss());
        let [fault] = &recovery.faults[..] else {
            panic!("{:?}", recovery.faults)
        };
        assert_eq!(
            (fault.file.as_str(), fault.offset),
            (name.as_str(), Some(cut))
        );
        let bytes = support::SEGMENT - cut;
        assert_eq!(fault.kind, FaultKind::Short { bytes });
        let gone = left + 1..=batches.len() as u64;
        assert_eq!(restored(&mut log, 1), without(&batches, &[gone]));
        drop(log);
        // Said once.
        let (_, recovery) = open(folder.path());
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
    }
}

#[test]
fn a_segment_without_a_header_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    let paths = segments(folder.path());
    let range = first_sequence(&paths[1])..=first_sequence(&paths[2]) - 1;
    overwrite(&paths[1], 0, &[0xAA; 4_096]);
    let recovery = opens_without(folder.path(), &batches);
    assert_eq!(lost(&recovery), [(range, LossCause::Damaged)]);
    assert!(folder.path().join("quarantine/00000002.seg").exists());
}

#[test]
fn one_good_header_of_two_is_enough_and_the_other_is_mended() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    for (segment, offset) in [(0, 3), (1, 2_060), (4, 20)] {
        overwrite(&segments(folder.path())[segment], offset, b"x");
    }
    let (mut log, recovery) = open(folder.path());
    assert_eq!(restored(&mut log, 1), without(&batches, &[]));
    assert!(!recovery.has_loss());
    let damaged = |fault: &&martlet_store::Fault| fault.kind == FaultKind::HeaderDamaged;
    assert_eq!(recovery.faults.iter().filter(damaged).count(), 3);
    drop(log);
    let (_, recovery) = open(folder.path());
    assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
}

#[test]
fn all_segments_gone_is_an_empty_store() {
    let folder = TempDir::new().unwrap();
    several_segments(folder.path());
    for path in segments(folder.path()) {
        fs::remove_file(path).unwrap();
    }
    let (mut log, _) = open(folder.path());
    assert_eq!(restored(&mut log, 1), Model::new());
    let mut churn = Churn::new(5);
    log.append(&churn.batch(9)).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(support::content(folder.path()), churn.model);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever bits flip in a store that was closed: what is lost is said, and all else is there.
    #[test]
    fn what_is_not_said_to_be_lost_is_there(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8), 1..6),
        cut in proptest::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let folder = TempDir::new().unwrap();
        let batches = several_segments(folder.path());
        let paths = segments(folder.path());
        // The last one with frames; behind it is the reserve.
        let last = paths.iter().rposition(|path| first_sequence(path) != 0).unwrap();
        for (segment, byte, bit) in flips {
            let path = &paths[segment.index(last + 1)];
            let mut bytes = fs::read(path).unwrap();
            let at = byte.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            fs::write(path, bytes).unwrap();
        }
        if let Some((segment, byte)) = cut {
            let path = &paths[segment.index(last)];
            let mut bytes = fs::read(path).unwrap();
            bytes.truncate(byte.index(bytes.len()));
            fs::write(path, bytes).unwrap();
        }
        let (mut log, recovery) = open(folder.path());
        let ranges: Vec<_> = lost(&recovery).into_iter().map(|(range, _)| range).collect();
        // The mark that the closing left may be what was hit; it is no batch.
        prop_assert_eq!(&restored(&mut log, 2), &without(&batches, &ranges), "{:?}", recovery.faults);
        let churn = Churn::new(99);
        log.append(&churn.checkpoint(3)).unwrap();
        log.sync().unwrap();
        drop(log);
        let (_, again) = open(folder.path());
        prop_assert_eq!(lost(&again), [], "{:?}", again.faults);
    }
}

fn open_error(folder: &Path) -> OpenError {
    match Log::open(RealDisk::new(folder), settings()) {
        Ok((_, recovery)) => panic!("it opens: {recovery:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_newer_format_is_named_and_nothing_is_touched() {
    let folder = TempDir::new().unwrap();
    several_segments(folder.path());
    fs::write(folder.path().join("FORMAT"), "martlet store 7\n").unwrap();
    let before = segments(folder.path());
    let error = open_error(folder.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 7 }));
    assert_eq!(
        error.to_string(),
        "the store has format 7, and this version reads formats up to 3: use the newer version of the program that wrote it"
    );
    assert_eq!(segments(folder.path()), before);
}

#[test]
fn a_format_that_is_none_is_said_and_can_be_repaired() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    fs::write(folder.path().join("FORMAT"), "\x00\x17").unwrap();
    let error = open_error(folder.path());
    assert!(matches!(error, OpenError::UnknownFormat { .. }), "{error}");
    let (mut log, recovery) =
        Log::open_damaged(RealDisk::new(folder.path()), settings(), &mut |_| {}).unwrap();
    assert_eq!(recovery.faults.len(), 1);
    assert_eq!(restored(&mut log, 1), without(&batches, &[]));
    drop(log);
    let (_, recovery) = open(folder.path());
    assert!(recovery.faults.is_empty());
}

#[test]
fn a_missing_format_is_written_anew() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    fs::remove_file(folder.path().join("FORMAT")).unwrap();
    let (mut log, recovery) = open(folder.path());
    assert_eq!(recovery.faults[0].kind, FaultKind::FormatMissing);
    assert_eq!(restored(&mut log, 1), without(&batches, &[]));
    drop(log);
    assert!(open(folder.path()).1.faults.is_empty());
}

#[test]
fn a_second_process_is_told_who_is_there() {
    let folder = TempDir::new().unwrap();
    let (log, _) = open(folder.path());
    let pid = std::process::id();
    let error = open_error(folder.path());
    assert_eq!(
        error.to_string(),
        format!(
            "the store is in use by another process ({pid}); stop that one first, or use another folder"
        )
    );
    let disk = RealDisk::new(folder.path());
    assert_eq!(disk.holder().unwrap(), Some(Some(pid)));
    drop(log);
    assert_eq!(disk.holder().unwrap(), None);
    drop(open(folder.path()));
}

#[test]
fn a_folder_that_is_none_is_said() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("log"), "").unwrap();
    let error = open_error(folder.path());
    assert!(
        matches!(&error, OpenError::Io { path, .. } if path == "log"),
        "{error}"
    );
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open_error(&file);
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    let foreign = folder.path().join("log/notes.txt");
    fs::write(&foreign, "mine").unwrap();
    fs::copy(
        &segments(folder.path())[0],
        folder.path().join("log/00000077.seg"),
    )
    .unwrap();
    let (mut log, recovery) = open(folder.path());
    assert_eq!(restored(&mut log, 1), without(&batches, &[]));
    let kinds: Vec<_> = recovery.faults.iter().map(|fault| &fault.kind).collect();
    assert_eq!(kinds, [&FaultKind::Foreign; 2]);
    assert_eq!(fs::read_to_string(foreign).unwrap(), "mine");
}

#[test]
fn a_part_that_cannot_be_read_is_an_error_and_damage_to_a_repair() {
    let folder = TempDir::new().unwrap();
    let batches = several_segments(folder.path());
    let faulty = || {
        let disk = Faulty::new(RealDisk::new(folder.path()));
        disk.orders.unreadable.store(20_490, SeqCst);
        disk
    };
    // The disk may be better another time.
    let result = Log::open(faulty(), settings());
    assert!(matches!(result, Err(OpenError::Io { what: "read", .. })));
    let (log, recovery) = Log::open_damaged(faulty(), settings(), &mut |_| {}).unwrap();
    let ranges: Vec<_> = lost(&recovery)
        .into_iter()
        .map(|(range, _)| range)
        .collect();
    assert!(!ranges.is_empty());
    drop(log);
    assert_eq!(support::content(folder.path()), without(&batches, &ranges));
}
