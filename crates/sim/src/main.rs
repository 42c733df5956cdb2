//! Runs simulated worlds: one seed, or seeds that nobody has run before.
#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::process::ExitCode;

use martlet_sim::{Options, run};

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
struct Arguments {
    seed: Option<u64>,
    fresh: u64,
    steps: Option<usize>,
    shards: Option<usize>,
    store: bool,
    trace: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            if word == "--trace" {
                arguments.trace = true;
                continue;
            }
            if word == "--store" {
                arguments.store = true;
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
            Some(seed) => vec![seed],
            None => martlet_sim::fresh_seeds(self.fresh.max(1)),
        };
        let mut failed = 0;
        for seed in &seeds {
            for shards in self
                .shards
                .map_or_else(|| vec![1, 2, 4], |shards| vec![shards])
            {
                let mut options = Options::new(*seed, shards);
                options.steps = self.steps.unwrap_or(options.steps);
                options.store = self.store;
                options.trace = self.trace;
                match run(&options) {
                    Ok(report) if self.seed.is_some() => {
                        println!("seed {seed}, {shards} shards: {report:#?}");
                    }
                    Ok(_) => {}
                    Err(failure) => {
                        failed += 1;
                        println!("seed {seed}, {shards} shards: {failure}");
                        println!("  again: {}", options.command());
                    }
                }
            }
        }
        println!("{} seeds, {failed} failures", seeds.len());
        if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: martlet-sim [--store] [--seed N | --fresh N] [--steps N] [--shards N]
  --seed N    run this seed
  --fresh N   run N seeds that nobody has run before (default: 1)
  --steps N   steps of each run
  --shards N  shards of each run (default: 1, 2 and 4, one after the other)
  --store     with a store, and crashes
  --trace     print every event to the error output";
