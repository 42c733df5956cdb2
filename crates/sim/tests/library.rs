//! The client library and the broker together.

#![expect(clippy::panic, reason = "a failing run is told with its seed")]

use martlet_sim::{LibraryReport, fresh_seeds, run_library};

const STEPS: usize = 3_000;

fn run_seed(seed: u64) -> LibraryReport {
    match run_library(seed, STEPS, false) {
        Ok(report) => report,
        Err(failure) => panic!(
            "seed {seed}: {failure}\nagain: martlet-sim --library --seed {seed} --steps {STEPS}"
        ),
    }
}

#[test]
fn fixed_seeds_of_the_library_from_1_to_60() {
    let reports: Vec<LibraryReport> = (1..=60).map(run_seed).collect();
    let sum = |fact: fn(&LibraryReport) -> u64| reports.iter().map(fact).sum::<u64>();
    // What is meant to happen does happen.
    assert!(sum(|report| report.published) * 3 > sum(|report| report.messages));
    assert!(sum(|report| report.read) > 20_000);
    assert!(sum(|report| report.cuts) > 400);
    assert!(sum(|report| report.stalls) > 100);
    assert!(sum(|report| report.restarts) > 40);
    assert!(sum(|report| report.kills) > 40);
    assert!(sum(|report| report.resubscribed) > 400);
}

/// `MARTLET_SIM_FRESH=N` runs N seeds that nobody has run before, besides a few that are always fresh.
#[test]
fn fresh_seeds_of_the_library() {
    let count = std::env::var("MARTLET_SIM_FRESH").ok();
    let count = count.map_or(5, |count| {
        count.parse().expect("MARTLET_SIM_FRESH is a number")
    });
    for seed in fresh_seeds(count) {
        run_seed(seed);
    }
}

#[test]
fn a_seed_of_the_library_is_a_run() {
    assert_eq!(run_seed(3), run_seed(3));
    assert_ne!(run_seed(3).hash, run_seed(4).hash);
}
