//! Crashes in the middle of a write: whatever part of it got to the disk, the store opens, has everything that was synced
//! and nothing halfway, and what was torn never comes back.

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

use martlet_store::suite::{Churn, Model, restored};
use martlet_store::{Fault, FaultKind, Store};
use proptest::prelude::*;
use tempfile::TempDir;

use support::{copy_of, maintain, open};

/// What becomes of the bytes that were being written.
#[derive(Debug, Clone, Copy)]
enum Torn {
    /// They end at some byte; what was there before is behind it.
    Cut,
    /// They end at some byte, and the file with them.
    Truncated,
    /// Garbage is behind some byte.
    Garbage,
    /// Each sector of 512 bytes is the new or the old one.
    Sectors,
}

fn torn() -> impl Strategy<Value = Torn> {
    prop_oneof![
        Just(Torn::Cut),
        Just(Torn::Truncated),
        Just(Torn::Garbage),
        Just(Torn::Sectors)
    ]
}

/// Makes of the folder `now`, which was `before`, what a crash in between might leave.
fn tear(before: &Path, now: &Path, how: Torn, churn: &mut Churn) {
    for path in support::segments(now) {
        let new = fs::read(&path).unwrap();
        // A segment that was made in between was synced with its header.
        let old = fs::read(before.join("log").join(path.file_name().unwrap()));
        let mut old = old.unwrap_or_else(|_| new[..4_096].to_vec());
        old.resize(new.len(), 0);
        let Some(start) = (0..new.len()).find(|at| new[*at] != old[*at]) else {
            continue;
        };
        let end = (0..new.len()).rfind(|at| new[*at] != old[*at]).unwrap() + 1;
        let cut = start + churn.below((end - start) as u64 + 1) as usize;
        let mut image = new.clone();
        match how {
            Torn::Cut | Torn::Truncated => image[cut..].copy_from_slice(&old[cut..]),
            Torn::Garbage => {
                for byte in &mut image[cut..end] {
                    *byte = churn.below(256) as u8;
                }
            }
            Torn::Sectors => {
                for at in (0..new.len()).step_by(512) {
                    let sector = at..(at + 512).min(new.len());
                    if churn.below(2) == 0 {
                        image[sector.clone()].copy_from_slice(&old[sector]);
                    }
                }
            }
        }
        if matches!(how, Torn::Truncated) {
            image.truncate(cut);
        }
        fs::write(&path, image).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_torn_write_costs_nothing_that_was_synced(
        seed in any::<u64>(),
        tears in proptest::collection::vec(torn(), 1..6),
        changes in 1_u64..20,
    ) {
        let mut folder = TempDir::new().unwrap();
        let mut churn = Churn::new(seed);
        churn.payload_bytes_max = 1_500;
        for how in tears {
            let (mut log, recovery) = open(folder.path());
            prop_assert!(!recovery.has_loss(), "{:?}", recovery.faults);
            let found = restored(&mut log, 2);
            churn.resume(found);
            for _ in 0..churn.below(30) {
                log.append(&churn.batch(changes)).unwrap();
                log.sync().unwrap();
                maintain(&mut log, &churn);
                log.sync().unwrap();
            }
            let before = copy_of(folder.path());
            let mut possible = vec![churn.model.clone()];
            for _ in 0..=churn.below(10) {
                log.append(&churn.batch(changes)).unwrap();
                possible.push(churn.model.clone());
            }
            log.sync().unwrap();
            drop(log);
            let crashed = copy_of(folder.path());
            tear(before.path(), crashed.path(), how, &mut churn);
            let found = checked(crashed.path(), &possible, how)?;
            // Again, since the first look may have changed something.
            prop_assert_eq!(&checked(crashed.path(), &possible, how)?, &found);
            folder = crashed;
        }
    }
}

/// A file that was cut where a frame ended in zeros: whatever the first start makes of that frame, so does the second, which
/// finds the file with its length again.
#[test]
fn a_frame_that_lacks_zeros_only_is_there_at_once_or_never() {
    let folder = TempDir::new().unwrap();
    let churn = support::filled(folder.path(), 1, 5);
    let stable = churn.model.clone();
    let path = support::segments(folder.path())[0].clone();
    let end = support::end_of(&path);
    let mut cuts = 0;
    let mut both = [0_u32; 2];
    let mut churn = churn;
    for _ in 0..300 {
        let copy = copy_of(folder.path());
        let path = support::segments(copy.path())[0].clone();
        let (mut log, _) = open(copy.path());
        let mut ahead = churn.clone();
        log.append(&ahead.batch(1)).unwrap();
        log.sync().unwrap();
        drop(log);
        _ = churn.below(2);
        let bytes = fs::read(&path).unwrap();
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        if last as u64 <= end || ahead.model == stable {
            continue;
        }
        cuts += 1;
        fs::write(&path, &bytes[..last]).unwrap();
        let (mut log, _) = open(copy.path());
        let first = restored(&mut log, 1);
        drop(log);
        let (mut log, recovery) = open(copy.path());
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
        assert_eq!(restored(&mut log, 1), first);
        both[usize::from(first == ahead.model)] += 1;
    }
    assert!(cuts > 30, "{cuts}");
    // Nothing but zeros is ever missing here.
    assert_eq!(both, [0, cuts]);
}

fn checked(folder: &Path, possible: &[Model], how: Torn) -> Result<Model, TestCaseError> {
    let (mut log, recovery) = open(folder);
    // A crash does not make a file shorter that was synced with its length; but nobody is to lose anything by it.
    let is_short = |fault: &Fault| matches!(fault.kind, FaultKind::Short { .. });
    let may_be = matches!(how, Torn::Truncated) && recovery.faults.iter().any(is_short);
    prop_assert!(
        !recovery.has_loss() || may_be,
        "{:?}: {:?}",
        how,
        recovery.faults
    );
    let found = restored(&mut log, 3);
    prop_assert!(possible.contains(&found), "{:?}", how);
    Ok(found)
}

/// The frames behind a torn one are whole, and have the right numbers for what is written next: they must not count.
#[test]
fn what_lay_behind_a_torn_frame_never_comes_back() {
    let folder = TempDir::new().unwrap();
    let churn = support::filled(folder.path(), 1, 5);
    let (mut log, _) = open(folder.path());
    let stable = churn.model.clone();
    let start = support::segments(folder.path()).len();
    assert_eq!(start, 1);
    // Three frames of equal length in one write.
    let batch = churn.checkpoint(200);
    let path = support::segments(folder.path())[0].clone();
    let before = fs::read(&path).unwrap();
    let mut lost = churn.clone();
    for batch in [batch.clone(), lost.batch(3), lost.batch(3)] {
        log.append(&batch).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let after = fs::read(&path).unwrap();
    let first = (0..after.len())
        .find(|at| before[*at] != after[*at])
        .unwrap();
    support::overwrite(&path, first as u64 + 2, b"torn");
    // The same again, of the same length: the two behind it would fit in sequence.
    let (mut log, recovery) = open(folder.path());
    assert!(!recovery.has_loss(), "{:?}", recovery.faults);
    assert_eq!(recovery.faults.len(), 1, "{:?}", recovery.faults);
    assert_eq!(restored(&mut log, 1), stable);
    log.append(&batch).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(support::content(folder.path()), stable);
}

/// The same, but there is no room for what is written next where the torn frame was: it goes to the next segment, and what
/// lies behind the torn frame is at the end of the one before.
#[test]
fn what_lay_behind_a_torn_frame_at_the_end_of_a_segment_never_comes_back() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let mut churn = Churn::new(1);
    churn.payload_bytes_max = 2_000;
    let path = folder.path().join("log/00000001.seg");
    // Almost full.
    while support::end_of(&path) < support::SEGMENT - 6_000 {
        log.append(&churn.batch(3)).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(support::segments(folder.path()).len(), 1);
    let stable = churn.clone();
    let before = support::end_of(&path);
    churn.payload_bytes_max = 200;
    for _ in 0..3 {
        log.append(&churn.batch(1)).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    support::overwrite(&path, before + 2, b"torn");

    let (mut log, recovery) = open(folder.path());
    assert!(!recovery.has_loss(), "{:?}", recovery.faults);
    assert_eq!(restored(&mut log, 1), stable.model);
    let mut churn = stable;
    churn.payload_bytes_max = 30_000;
    loop {
        let before = churn.clone();
        let batch = churn.batch(1);
        if batch.len() > 6_000 {
            log.append(&batch).unwrap();
            break;
        }
        let chance = churn.below(1_000);
        churn = before;
        (0..=chance).for_each(|_| _ = churn.below(2));
    }
    log.sync().unwrap();
    assert_eq!(support::segments(folder.path()).len(), 2);
    let copy = TempDir::new().unwrap();
    let copied = martlet_store::tools::backup(
        &mut martlet_store::RealDisk::new(folder.path()),
        &mut martlet_store::RealDisk::new(copy.path()),
        &mut |_| {},
    )
    .unwrap();
    assert!(!copied.recovery.has_loss(), "{:?}", copied.recovery.faults);
    drop(log);
    for folder in [folder.path(), copy.path()] {
        let (mut log, recovery) = open(folder);
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
        assert_eq!(restored(&mut log, 1), churn.model);
    }
}
