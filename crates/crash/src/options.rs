//! What may be typed behind `martlet-crash`.

use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

use crate::process::beside_us;

/// What a run is to be like.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) rounds: u64,
    pub(crate) durability: String,
    pub(crate) seed: u64,
    pub(crate) shards: Option<usize>,
    pub(crate) program: PathBuf,
    /// Where the brokers' directories are made.
    pub(crate) scratch: PathBuf,
    /// The run is right if faults are found: for trying the checker.
    pub(crate) must_fail: bool,
    /// Nobody is killed.
    pub(crate) spare: bool,
    /// Shared subscriptions take part.
    pub(crate) groups: bool,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: 20,
            durability: "fsync".to_owned(),
            seed: fresh_seed(),
            shards: None,
            program: PathBuf::new(),
            scratch: std::env::temp_dir(),
            must_fail: false,
            spare: false,
            groups: true,
        };
        while let Some(word) = words.next() {
            if word == "--must-fail" {
                options.must_fail = true;
                continue;
            }
            if word == "--no-groups" {
                options.groups = false;
                continue;
            }
            if word == "--spare" {
                options.spare = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word}: what?"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{word} {value}: no number"))
            };
            match word.as_str() {
                "--rounds" => options.rounds = number()?,
                "--seed" => options.seed = number()?,
                "--shards" => {
                    let count = usize::try_from(number()?).ok();
                    options.shards = count.filter(|count| (1..=64).contains(count));
                    options
                        .shards
                        .ok_or_else(|| format!("--shards {value}: 1 to 64"))?;
                }
                "--durability" if ["fsync", "os", "memory"].contains(&value.as_str()) => {
                    options.durability = value;
                }
                "--martlet" => options.program = PathBuf::from(value),
                "--scratch" => options.scratch = PathBuf::from(value),
                _ => return Err(format!("{word} {value}: unknown")),
            }
        }
        if options.program.as_os_str().is_empty() {
            options.program = beside_us().ok_or("--martlet PROGRAM: which broker?")?;
        }
        Ok(options)
    }
}

/// A seed that nobody has used before, from the one that the standard library gives its hash maps.
fn fresh_seed() -> u64 {
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.finish() >> 16
}

pub(crate) const USAGE: &str = "\
usage: martlet-crash [--rounds N] [--durability fsync|os|memory] [--seed S] [--shards K]
                     [--martlet PROGRAM] [--scratch DIR] [--must-fail] [--spare] [--no-groups]
  --rounds N      how often the broker is killed under load (default: 20)
  --seed S        repeats the choices of a run; what the machine's timing made of them differs
  --shards K      always so many shards (default: another number after each start)
  --martlet FILE  the broker's program (default: the one beside this program)
  --scratch DIR   where the brokers' directories are made (default: the system's temporary directory)
  --must-fail     succeed if faults are found; with --durability memory this tries the checker itself
  --no-groups     without shared subscriptions
  --spare         kill nobody: clients only; nothing may be found, whatever the durability

any broker:
  martlet-crash fill --port PORT --book FILE    publishes to sessions until the broker is killed, and notes what it acknowledged
  martlet-crash drain --port PORT --book FILE   after its return: what is missing of that, as JSON

0: no faults; 1: faults, listed; 2: it could not be run";
