//! The log of the store through crashes, faults of the disk, and damage.

#![expect(clippy::panic, reason = "a failing run is told with its seed")]

use martlet_sim::{LogReport, run_log};

fn run_seed(seed: u64) -> LogReport {
    match run_log(seed, 1_000, false) {
        Ok(report) => report,
        Err(failure) => {
            panic!("seed {seed}: {failure}\nagain: martlet-sim --log --seed {seed} --steps 1000")
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

#[test]
fn a_seed_of_the_log_is_a_run() {
    assert_eq!(run_seed(3), run_seed(3));
}
