//! Shards with a store, through crashes and faults of the disk.

#![expect(clippy::panic, reason = "a failing run is told with its seed")]

use martlet_sim::{Options, Report, fresh_seeds, run};

fn run_seed(seed: u64, shards: usize) -> Report {
    let options = Options::with_store(seed, shards);
    match run(&options) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}\nagain: {}", options.command()),
    }
}

#[test]
fn fixed_seeds_with_a_store_from_1_to_10() {
    let runs = (1..=10).flat_map(|seed| [1, 2, 4].map(|shards| run_seed(seed, shards)));
    let reports: Vec<Report> = runs.collect();
    let sum = |fact: fn(&Report) -> u64| reports.iter().map(fact).sum::<u64>();
    // What is meant to happen does happen.
    assert!(sum(|report| report.storage.crashes) > 100);
    assert!(sum(|report| report.storage.batches) > 10_000);
    assert!(sum(|report| report.storage.checkpoints) > 20);
}

/// A run of QoS 2 messages leaves when its records are stable. Few runs need that: these do, and fail without it.
#[test]
fn seeds_that_need_the_write_barrier_of_runs() {
    let seeds = [(61, 4), (116, 4), (162, 1), (229, 1), (259, 1)];
    let withheld = seeds.map(|(seed, shards)| run_seed(seed, shards).counters.runs_withheld);
    assert!(withheld.into_iter().sum::<u64>() > 20, "{withheld:?}");
}

/// `MARTLET_SIM_FRESH=N` runs N seeds that nobody has run before, besides the fixed ones; without it none.
#[test]
fn fresh_seeds_with_a_store_if_asked_for() {
    let count = std::env::var("MARTLET_SIM_FRESH").ok();
    let count = count.map_or(0, |count| {
        count.parse().expect("MARTLET_SIM_FRESH is a number")
    });
    for seed in fresh_seeds(count) {
        for shards in [1, 2, 4] {
            run_seed(seed, shards);
        }
    }
}

#[test]
fn a_seed_with_a_store_is_a_run() {
    assert_eq!(run_seed(7, 2), run_seed(7, 2));
}
