//! The log of the store through crashes, faults of the disk, and damage.

#![expect(clippy::panic, reason = "a failing run is told with its seed")]

use martlet_sim::{LogReport, fresh_seeds, run_log};

fn run_seed(seed: u64) -> LogReport {
    run_steps(seed, 1_000)
}

fn run_steps(seed: u64, steps: usize) -> LogReport {
    match run_log(seed, steps, false) {
        Ok(report) => report,
        Err(failure) => {
            panic!("seed {seed}: {failure}\nagain: martlet-sim --log --seed {seed} --steps {steps}")
        }
    }
}

#[test]
fn fixed_seeds_of_the_log_from_1_to_20() {
    let reports: Vec<LogReport> = (1..=20).map(run_seed).collect();
    let sum = |fact: fn(&LogReport) -> u64| reports.iter().map(fact).sum::<u64>();
    // What is meant to happen does happen.
    assert!(sum(|report| report.crashes) > 300);
    assert!(sum(|report| report.shorter) > 40);
    assert!(sum(|report| report.checkpoints) > 40);
    assert!(sum(|report| report.cleaned) > 10);
    assert!(sum(|report| report.full) > 40);
    assert!(sum(|report| report.errors) > 40);
    assert!(sum(|report| report.reported) > 40);
    assert!(sum(|report| report.unseen) * 5 < sum(|report| report.damaged));
}

/// What lay behind a torn frame at the end of a segment came back, and what had been written in its stead counted as old
/// (`log/scan.rs`): about 1 of 130 seeds.
#[test]
fn what_is_torn_at_the_end_of_a_segment_stays_void() {
    for seed in [110, 117] {
        run_steps(seed, 3_000);
    }
}

/// A last segment that is cut says so (`log/survey.rs`): about 1 of 6 seeds.
#[test]
fn a_cut_last_segment_is_reported() {
    for seed in [24, 26, 28] {
        run_seed(seed);
    }
}

/// `MARTLET_SIM_FRESH=N` runs N seeds that nobody has run before, besides the fixed ones; without it none.
#[test]
fn fresh_seeds_of_the_log_if_asked_for() {
    let count = std::env::var("MARTLET_SIM_FRESH").ok();
    let count = count.map_or(0, |count| {
        count.parse().expect("MARTLET_SIM_FRESH is a number")
    });
    for seed in fresh_seeds(count) {
        run_seed(seed);
    }
}

#[test]
fn a_seed_of_the_log_is_a_run() {
    assert_eq!(run_seed(3), run_seed(3));
}
