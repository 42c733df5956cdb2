//! Runs simulated worlds: one seed, some in a row, or seeds that nobody has run before.
#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use martlet_sim::{Failure, Options, run, run_library, run_log};

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments.run(),
        Err(what) => {
            println!("{what}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
struct Arguments {
    seed: Option<u64>,
    count: u64,
    fresh: u64,
    steps: Option<usize>,
    shards: Option<usize>,
    store: bool,
    log: bool,
    library: bool,
    same_shards: bool,
    asks: bool,
    stops: bool,
    shrink: bool,
    trace: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let flag = match word.as_str() {
                "--trace" => Some(&mut arguments.trace),
                "--store" => Some(&mut arguments.store),
                "--log" => Some(&mut arguments.log),
                "--library" => Some(&mut arguments.library),
                "--same-shards" => Some(&mut arguments.same_shards),
                "--asks" => Some(&mut arguments.asks),
                "--stops" => Some(&mut arguments.stops),
                "--shrink" => Some(&mut arguments.shrink),
                _ => None,
            };
            if let Some(flag) = flag {
                *flag = true;
                continue;
            }
            let value = words
                .next()
                .ok_or_else(|| format!("{word}: a number is missing"))?;
            let number: u64 = value
                .parse()
                .map_err(|_| format!("{word} {value}: not a number"))?;
            let size = usize::try_from(number).map_err(|error| error.to_string())?;
            match word.as_str() {
                "--seed" => arguments.seed = Some(number),
                "--count" => arguments.count = number,
                "--fresh" => arguments.fresh = number,
                "--steps" => arguments.steps = Some(size),
                "--shards" if (1..=64).contains(&size) => arguments.shards = Some(size),
                _ => return Err(format!("{word} {value}: unknown, or out of range")),
            }
        }
        Ok(arguments)
    }

    fn run(&self) -> ExitCode {
        let seeds: Vec<u64> = match self.seed {
            Some(seed) => (seed..seed + self.count.max(1)).collect(),
            None => martlet_sim::fresh_seeds(self.fresh.max(1)),
        };
        let mut failed = 0;
        for seed in &seeds {
            let works = if self.log {
                self.run_log(*seed)
            } else if self.library {
                self.run_library(*seed)
            } else {
                self.run_worlds(*seed)
            };
            failed += works;
        }
        println!("{} seeds, {failed} failures", seeds.len());
        if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// How many of the runs of a seed failed.
    fn run_worlds(&self, seed: u64) -> usize {
        let shards = self.shards.map_or_else(|| vec![1, 2, 4], |n| vec![n]);
        let mut failed = 0;
        for shards in shards {
            let mut options = Options::new(seed, shards);
            options.steps = self.steps.unwrap_or(options.steps);
            options.store = self.store;
            options.same_shards = self.same_shards;
            options.trace = self.trace;
            options.asks = self.asks;
            options.stops = self.stops;
            if self.seed.is_none() && !self.asks && !self.stops {
                options = options.varied();
            }
            let Err(what) = caught(|| run(&options)).map(|report| self.show(&report)) else {
                continue;
            };
            failed += 1;
            println!("seed {seed}, {shards} shards: {what}");
            if self.shrink {
                options.steps = fewest(options.steps, |steps| {
                    let mut options = options.clone();
                    options.steps = steps;
                    caught(|| run(&options)).is_err()
                });
            }
            println!("  again: {}", options.command());
        }
        failed
    }

    fn run_log(&self, seed: u64) -> usize {
        let mut steps = self.steps.unwrap_or(LOG_STEPS);
        let Err(what) =
            caught(|| run_log(seed, steps, self.trace)).map(|report| self.show(&report))
        else {
            return 0;
        };
        println!("seed {seed}: {what}");
        if self.shrink {
            steps = fewest(steps, |steps| {
                caught(|| run_log(seed, steps, false)).is_err()
            });
        }
        println!("  again: cargo run -p martlet-sim -- --log --seed {seed} --steps {steps}");
        1
    }

    fn run_library(&self, seed: u64) -> usize {
        let steps = self.steps.unwrap_or(LOG_STEPS);
        let Err(what) =
            caught(|| run_library(seed, steps, self.trace)).map(|report| self.show(&report))
        else {
            return 0;
        };
        println!("seed {seed}: {what}");
        println!("  again: cargo run -p martlet-sim -- --library --seed {seed} --steps {steps}");
        1
    }

    fn show(&self, report: &impl Debug) {
        if self.seed.is_some() && self.count <= 1 {
            println!("{report:#?}");
        }
    }
}

/// A panic is a failure as well.
fn caught<T>(what: impl FnOnce() -> Result<T, Failure>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(what)) {
        Ok(result) => result.map_err(|failure| failure.to_string()),
        Err(_) => Err("a panic".to_owned()),
    }
}

/// The fewest steps that still fail, as far as a few attempts show.
fn fewest(steps: usize, fails: impl Fn(usize) -> bool) -> usize {
    let mut fewer = 50;
    while fewer < steps {
        if fails(fewer) {
            return fewer;
        }
        fewer += fewer / 4;
    }
    steps
}

/// Steps of a usual run of the log, or of the library.
const LOG_STEPS: usize = 3_000;

const USAGE: &str = "usage: martlet-sim [--store | --log | --library] [--asks] [--stops] [--seed N [--count N] | --fresh N] [--steps N] [--shards N]
  --store     with a store, and crashes
  --log       the log of the store alone
  --library   the client library and the broker
  --seed N    run this seed
  --count N   run so many seeds from that one on
  --fresh N   run N seeds that nobody has run before (default: 1)
  --steps N   steps of each run
  --shards N  shards of each run (default: 1, 2 and 4, one after the other)
  --same-shards
              each process has as many shards as the one before
  --asks      with an authenticator that clients have to pass
  --stops     with planned stops (default for --fresh: each in half of the seeds)
  --shrink    look for fewer steps that fail as well
  --trace     print every event to the error output";
