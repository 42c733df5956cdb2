//! Real broker processes, killed and restarted under load, and books of what they had acknowledged.
//!
//! `cargo xtask crash --rounds N` runs it. A *round* is: clients of all versions at work (QoS 0, 1 and 2, sessions that
//! outlive their connections and others, retained messages, wills, shared subscriptions, takeovers), then `kill -9` at
//! a random moment, and the broker's return on the same directory, with another number of shards. Some rounds are
//! checked at their end, the last of each directory always. An unacknowledged publish is unknown to the checker.
//!
//! Map: `life` is one directory with its broker and clients, `rest` the check, `ledger` the books and the rules,
//! `client` a legal client, `plan` who takes part, `network` the sockets, `process` the broker, `faults` what is
//! counted; `any_broker` is a tool of its own beside it: what any broker loses.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test tool: it prints, and when an assumption of its own fails, the run has to stop"
)]
#![expect(
    clippy::struct_excessive_bools,
    reason = "facts about one thing, not a state"
)]

mod any_broker;
mod client;
mod faults;
mod ledger;
mod life;
mod network;
mod options;
mod plan;
mod process;
mod rest;
mod rng;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::faults::{Faults, Kind};
use crate::ledger::Sums;
use crate::life::{Life, Tally};
use crate::options::{Options, USAGE};
use crate::process::Launch;
use crate::rng::Rng;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((word, rest)) if word == "fill" => half(rest, any_broker::fill),
        Some((word, rest)) if word == "drain" => half(rest, any_broker::drain),
        _ => crash(words),
    }
}

/// One half of the test for any broker.
fn half(words: &[String], run: impl Fn(&any_broker::Options) -> io::Result<()>) -> ExitCode {
    let result = any_broker::Options::parse(words)
        .map_err(io::Error::other)
        .and_then(|options| run(&options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("martlet-crash: {error}");
            ExitCode::from(2)
        }
    }
}

fn crash(words: Vec<String>) -> ExitCode {
    let options = match Options::parse(words.into_iter()) {
        Ok(options) => options,
        Err(what) => {
            println!("{what}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(faults) if (faults.total() > 0) == options.must_fail => ExitCode::SUCCESS,
        Ok(_) if options.must_fail => {
            println!("nothing was found, but something had to be: the checker is blind");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("martlet-crash: {error}");
            ExitCode::from(2)
        }
    }
}

/// What all lives come to.
#[derive(Debug, Default)]
struct Total {
    rounds: u64,
    lives: u64,
    sums: Sums,
    tally: Tally,
    faults: Faults,
}

fn run(options: &Options) -> io::Result<Faults> {
    let begun = Instant::now();
    let mut total = Total::default();
    let mut rng = Rng::new(options.seed);
    let program = options.program.display();
    println!(
        "{program}, durability {}, seed {}",
        options.durability, options.seed
    );
    while total.rounds < options.rounds {
        let left = usize::try_from(options.rounds - total.rounds).unwrap_or(usize::MAX);
        // Long lives are cleaned more often, short ones begin more often.
        let (low, high) = *rng.pick(&[(1, 8), (1, 8), (10, 20)]);
        let rounds = rng.between(low, high).min(left);
        let seed = rng.number();
        if live(options, seed, rounds, &mut total)? {
            break;
        }
    }
    total.print(begun.elapsed());
    Ok(total.faults)
}

/// One life. Says whether it ended with faults.
fn live(options: &Options, seed: u64, rounds: usize, total: &mut Total) -> io::Result<bool> {
    let mut rng = Rng::new(seed);
    let folder = tempfile::Builder::new()
        .prefix("martlet-crash-")
        .tempdir_in(&options.scratch)?;
    let launch = Launch {
        program: options.program.clone(),
        durability: options.durability.clone(),
        folder: folder.path().to_owned(),
        segment_bytes: *rng.pick(&[64 << 10, 256 << 10, 1 << 20, 4 << 20]),
    };
    let mut life = Life::new(launch, options, rng)?;
    let begun = Instant::now();
    let mut done = 0;
    while done < rounds && life.ledger.faults.total() == 0 {
        done += 1;
        let check = done == rounds || life.rng.percent(50);
        if options.spare {
            life.peaceful_round()?;
        } else {
            life.round(check)?;
        }
    }
    let sums = life.ledger.sums;
    println!(
        "life {}: {done} rounds, {} sent, {} acknowledged, {} arrived, {} sessions resumed, {:.1} s",
        total.lives + 1,
        sums.sent,
        sums.acknowledged,
        sums.arrivals,
        sums.resumed,
        begun.elapsed().as_secs_f64(),
    );
    let texts = life.ledger.faults.take_texts();
    for (kind, text) in &texts {
        println!("  {kind}: {text}");
    }
    total.add(&life, done);
    drop(life);
    if !texts.is_empty() && !options.must_fail {
        println!("  its directory: {}", folder.keep().display());
    }
    Ok(!texts.is_empty())
}

impl Total {
    fn add(&mut self, life: &Life, rounds: usize) {
        self.lives += 1;
        self.rounds += rounds as u64;
        let (sums, tally) = (life.ledger.sums, life.tally);
        self.sums.sent += sums.sent;
        self.sums.acknowledged += sums.acknowledged;
        self.sums.arrivals += sums.arrivals;
        self.sums.resumed += sums.resumed;
        self.sums.takeovers += sums.takeovers;
        self.sums.wills += sums.wills;
        self.sums.resent += sums.resent;
        self.tally.kills += tally.kills;
        self.tally.kills_at_start += tally.kills_at_start;
        self.tally.stops += tally.stops;
        self.tally.checks += tally.checks;
        self.tally.slowest_start = self.tally.slowest_start.max(tally.slowest_start);
        self.faults.merge(&life.ledger.faults);
    }

    fn print(&self, took: Duration) {
        let Self {
            rounds,
            lives,
            sums,
            tally,
            faults,
        } = self;
        println!(
            "\n{rounds} rounds in {lives} directories, {:.0} s: {} times kill -9, {} of them while starting, {} times \
             SIGTERM, {} checks, slowest start {} ms",
            took.as_secs_f64(),
            tally.kills + tally.kills_at_start,
            tally.kills_at_start,
            tally.stops,
            tally.checks,
            tally.slowest_start.as_millis(),
        );
        println!(
            "{} messages sent, {} acknowledged, {} sent again, {} arrived; {} sessions resumed, {} takeovers, {} wills",
            sums.sent,
            sums.acknowledged,
            sums.resent,
            sums.arrivals,
            sums.resumed,
            sums.takeovers,
            sums.wills,
        );
        for kind in Kind::ALL {
            println!("{:>8}  {kind}", faults.count(kind));
        }
    }
}
