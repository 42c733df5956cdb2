//! Cleaning: the space that a store takes, and that nothing is lost by it.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by a panic; and not every file needs every one of these"
)]

mod support;

use martlet_store::Store;
use martlet_store::suite::{Churn, restored, settle};
use proptest::prelude::*;
use tempfile::TempDir;

use support::{SEGMENT, content, copy_of, maintain, open};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn space_is_at_most_twice_what_is_needed_and_two_segments(
        seed in any::<u64>(),
        payload in prop_oneof![Just(20), Just(300), Just(3_000), Just(20_000)],
        sessions in 1_usize..60,
        drain in 40_u64..200,
        rounds in 1_usize..4,
    ) {
        let folder = TempDir::new().unwrap();
        let (mut log, _) = open(folder.path());
        let mut churn = Churn::new(seed);
        churn.payload_bytes_max = payload;
        churn.sessions_max = sessions;
        for round in 0..rounds {
            // Now more goes in than out, now the other way round.
            churn.drain_percent = if round % 2 == 0 { drain } else { 400 };
            for _ in 0..100 {
                log.append(&churn.batch(10)).unwrap();
                log.sync().unwrap();
                maintain(&mut log, &churn);
            }
            settle(&mut log, &churn);
            let (total, live) = (log.stats().total_bytes, churn.model.live_bytes());
            let large = payload.max(SEGMENT);
            prop_assert!(total <= 2 * live + 2 * large, "round {round}: {total} for {live}");
            let on_disk: u64 = support::segments(folder.path())
                .iter()
                .map(|path| path.metadata().unwrap().len())
                .sum();
            prop_assert!(on_disk <= total, "{on_disk} of {total}");
            prop_assert_eq!(log.stats().dangling_references, 0);
        }
        drop(log);
        prop_assert_eq!(content(folder.path()), churn.model);
    }

    #[test]
    fn a_crash_at_any_point_of_cleaning_loses_nothing(seed in any::<u64>(), drain in 150_u64..400) {
        let folder = TempDir::new().unwrap();
        let (mut log, _) = open(folder.path());
        let mut churn = Churn::new(seed);
        churn.payload_bytes_max = 4_000;
        churn.drain_percent = drain;
        let mut looks = 0;
        for _ in 0..200 {
            log.append(&churn.batch(10)).unwrap();
            log.sync().unwrap();
            let stable = churn.model.clone();
            while maintain(&mut log, &churn) {
                // A checkpoint changes nothing, synced or not.
                if churn.below(12) == 0 {
                    looks += 1;
                    prop_assert_eq!(&content(copy_of(folder.path()).path()), &stable);
                }
                if churn.below(3) == 0 {
                    log.sync().unwrap();
                }
            }
        }
        prop_assert!(log.stats().cleaned_segments > 3, "{:?}", log.stats());
        prop_assert!(looks > 3);
    }
}

#[test]
fn a_segment_is_used_again_and_rotation_finds_it_ready() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let mut churn = Churn::new(3);
    churn.drain_percent = 400;
    settle(&mut log, &churn);
    for _ in 0..3_000 {
        log.append(&churn.batch(10)).unwrap();
        log.sync().unwrap();
        while maintain(&mut log, &churn) {}
        log.sync().unwrap();
    }
    let stats = log.stats();
    assert!(stats.cleaned_segments > 20, "{stats:?}");
    assert_eq!(stats.unprepared_rotations, 0, "{stats:?}");
    // Zeros were written for a few segments, not for all.
    let frames = stats.appended_bytes * 3;
    assert!(stats.written_bytes < frames + 20 * SEGMENT, "{stats:?}");
}

#[test]
fn all_gone_is_all_given_back() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let mut churn = Churn::new(4);
    churn.payload_bytes_max = 5_000;
    churn.drain_percent = 0;
    while log.stats().total_bytes < 20 * SEGMENT {
        log.append(&churn.batch(10)).unwrap();
        log.sync().unwrap();
        maintain(&mut log, &churn);
    }
    churn.drain_percent = 4_000;
    while churn.model.live_bytes() > SEGMENT {
        log.append(&churn.batch(10)).unwrap();
        log.sync().unwrap();
    }
    settle(&mut log, &churn);
    let stats = log.stats();
    assert!(
        stats.total_bytes <= 2 * churn.model.live_bytes() + 2 * SEGMENT,
        "{stats:?}"
    );
    drop(log);
    let (mut log, recovery) = open(folder.path());
    assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
    assert_eq!(restored(&mut log, 1), churn.model);
}
