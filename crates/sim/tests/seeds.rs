//! Runs that must keep all invariants.

#![expect(clippy::panic, reason = "a failing run is told with its seed")]

use martlet_sim::{Options, Report, fresh_seeds, run};

/// Runs a seed with 1, 2 and 4 shards.
fn run_seed(seed: u64) -> [Report; 3] {
    [1, 2, 4].map(|shards| {
        let options = Options::new(seed, shards);
        match run(&options) {
            Ok(report) => report,
            Err(failure) => panic!("{failure}\nagain: {}", options.command()),
        }
    })
}

#[test]
fn fixed_seeds_from_1_to_20() {
    for seed in 1..=20 {
        run_seed(seed);
    }
}

#[test]
fn fixed_seeds_from_21_to_40() {
    let reports: Vec<Report> = (21..=40).flat_map(run_seed).collect();
    // What a group gives waits in members' queues, and leaves them in pieces: with 1 shard and with several.
    for of_shards in 0..3 {
        let reports = reports.iter().skip(of_shards).step_by(3);
        let pieces: u64 = reports.map(|r| r.counters.group_pieces_sent).sum();
        assert!(pieces > 100, "{pieces}");
    }
}

/// The SUBACK of a shared subscription waits for the group's owner. Few runs need that: these do, and fail without it.
#[test]
fn seeds_that_need_the_suback_barrier_of_groups() {
    for seed in [52, 128, 139] {
        run_seed(seed);
    }
}

/// The authenticator is slow, talks twice and to nobody; shards are stopped and go on, or another process does.
#[test]
fn authenticators_and_planned_stops() {
    let (mut answers, mut stale, mut stops) = (0, 0, 0);
    for (seed, asks, stopping, store) in [
        (1, true, false, false),
        (2, true, false, false),
        (3, false, true, false),
        (4, false, true, false),
        (5, true, true, false),
        (6, true, true, true),
        (7, false, true, true),
    ] {
        for shards in [1, 2, 4] {
            let mut options = Options::new(seed, shards);
            (options.asks, options.stops, options.store) = (asks, stopping, store);
            let report = run(&options)
                .unwrap_or_else(|failure| panic!("{failure}\nagain: {}", options.command()));
            answers += report.answers.0;
            stale += report.answers.1;
            stops += report.stops;
        }
    }
    assert!(answers > 500 && stale > 50, "{answers} {stale}");
    assert!(stops > 30, "{stops}");
}

/// A client that tried again while the authenticator was thinking lost its connection to its own first attempt, and with Clean
/// Start its session (`authentication.rs`).
#[test]
fn an_older_attempt_does_not_come_in_behind_a_newer_one() {
    for (seed, shards) in [(9, 1), (11, 1), (46, 1)] {
        let mut options = Options::new(seed, shards);
        options.asks = true;
        if let Err(failure) = run(&options) {
            panic!("{failure}\nagain: {}", options.command());
        }
    }
}

/// `MARTLET_SIM_FRESH=N` runs N seeds that nobody has run before, besides the fixed ones; without it none.
#[test]
fn fresh_seeds_if_asked_for() {
    let count = std::env::var("MARTLET_SIM_FRESH").ok();
    let count = count.map_or(0, |count| {
        count.parse().expect("MARTLET_SIM_FRESH is a number")
    });
    for seed in fresh_seeds(count) {
        run_seed(seed);
        for shards in [1, 2, 4] {
            let options = Options::new(seed, shards).varied();
            if let Err(failure) = run(&options) {
                panic!("{failure}\nagain: {}", options.command());
            }
        }
    }
}

#[test]
fn a_seed_is_a_run() {
    for shards in [1, 4] {
        let first = run(&Options::new(7, shards)).unwrap();
        let second = run(&Options::new(7, shards)).unwrap();
        assert_eq!(first, second);
        let other = run(&Options::new(8, shards)).unwrap();
        assert_ne!(first.trace_hash, other.trace_hash);
        assert!(first.messages > 100 && first.receipts > 500, "{first:?}");
        assert_eq!(first.counters.peer_messages_sent > 0, shards > 1);
    }
}
