//! `cargo xtask icount`: instructions per operation of codec and shard, against a baseline.
//!
//! Counts do not depend on how busy a machine is, but they do on the compiler: the baseline names the one that it was made
//! with, and another one's counts are shown and not judged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use crate::files::Project;
use crate::steps::{Failure, cargo, output, run as run_command};

/// Counts every scenario; compares with the baseline, or with `--bless` replaces it.
pub(crate) fn run(project: &Project, bless: bool) -> Result<(), Failure> {
    let build = [
        "build",
        "--release",
        "--quiet",
        "--package",
        "martlet-icount",
    ];
    run_command(&mut cargo(&build), "it has to compile first")?;
    let compiler = output(Command::new("rustc").arg("--version"))?;
    let compiler = compiler.trim();
    let program = project.target().join("release/martlet-icount");
    let list = output(Command::new(&program).arg("list"))?;
    let mut counts = BTreeMap::new();
    for (name, operations) in list.lines().filter_map(|line| line.split_once(' ')) {
        let operations: u64 = operations.trim().parse().unwrap_or(1);
        let count = |rounds: u64| count(&program, name, rounds);
        let difference = count(ROUNDS_MANY)?.saturating_sub(count(ROUNDS_FEW)?);
        let each = difference / (ROUNDS_MANY - ROUNDS_FEW) / operations;
        counts.insert(name.to_owned(), each);
    }
    if bless {
        let path = project.path(BASELINE);
        return std::fs::write(&path, page(compiler, &counts))
            .map_err(|error| Failure::new(format!("{BASELINE}: {error}"), "is it writable?"));
    }
    let baseline = Baseline::parse(&project.read(BASELINE)?);
    let worse = compare(&baseline, &counts);
    if worse == 0 {
        return Ok(());
    }
    if baseline.compiler != compiler {
        println!(
            "the baseline was made with {}: not judged",
            baseline.compiler
        );
        return Ok(());
    }
    let what = format!("{worse} counts are more than 3 % above the baseline");
    Err(Failure::new(
        what,
        "find out why, or `cargo xtask icount --bless` and say why in the commit",
    ))
}

/// Prints the table; returns how many counts are too high.
fn compare(baseline: &Baseline, counts: &BTreeMap<String, u64>) -> usize {
    let mut worse = 0;
    println!(
        "{:<32} {:>9} {:>9}",
        "instructions per operation", "baseline", "now"
    );
    for (name, now) in counts {
        let before = baseline.counts.get(name).copied();
        let too_high = before.is_some_and(|before| now * 100 > before * 103);
        worse += usize::from(too_high);
        let before = before.map_or_else(|| "new".to_owned(), |count| count.to_string());
        let mark = if too_high { "  too high" } else { "" };
        println!("{name:<32} {before:>9} {now:>9}{mark}");
    }
    worse
}

/// All instructions of one run, as callgrind counts them.
fn count(program: &std::path::Path, name: &str, rounds: u64) -> Result<u64, Failure> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([name, &rounds.to_string()]);
    let done = command.output().map_err(|error| {
        Failure::new(
            format!("valgrind: {error}"),
            "install Debian's package valgrind",
        )
    })?;
    let text = String::from_utf8_lossy(&done.stderr);
    collected(&text).ok_or_else(|| {
        Failure::new(
            format!("valgrind counted nothing for {name}:\n{text}"),
            "does it run alone?",
        )
    })
}

/// What callgrind says that it counted.
pub(crate) fn collected(text: &str) -> Option<u64> {
    let (_, behind) = text.split_once("Collected : ")?;
    behind.split_whitespace().next()?.parse().ok()
}

#[derive(Debug, Default)]
struct Baseline {
    compiler: String,
    counts: BTreeMap<String, u64>,
}

impl Baseline {
    fn parse(text: &str) -> Self {
        let mut baseline = Self::default();
        for line in text.lines() {
            match line.split_once(',') {
                Some(("compiler", compiler)) => compiler.clone_into(&mut baseline.compiler),
                Some((name, count)) => {
                    if let Ok(count) = count.parse() {
                        baseline.counts.insert(name.to_owned(), count);
                    }
                }
                None => {}
            }
        }
        baseline
    }
}

fn page(compiler: &str, counts: &BTreeMap<String, u64>) -> String {
    let mut page = format!("compiler,{compiler}\n");
    for (name, count) in counts {
        let _ = writeln!(page, "{name},{count}");
    }
    page
}

const BASELINE: &str = "crates/icount/baseline.csv";
const ROUNDS_FEW: u64 = 3;
const ROUNDS_MANY: u64 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn a_baseline_survives_being_written_and_read() {
        let page = page("rustc 1.2.3", &counts(&[("a", 1), ("b", 22)]));
        let baseline = Baseline::parse(&page);
        assert_eq!(baseline.compiler, "rustc 1.2.3");
        assert_eq!(baseline.counts, counts(&[("a", 1), ("b", 22)]));
    }

    #[test]
    fn three_percent_are_allowed_and_no_more() {
        let baseline = Baseline::parse("compiler,x\na,1000\nb,1000\n");
        assert_eq!(
            compare(&baseline, &counts(&[("a", 1_030), ("b", 900), ("new", 5)])),
            0
        );
        assert_eq!(
            compare(&baseline, &counts(&[("a", 1_031), ("b", 1_200)])),
            2
        );
    }

    #[test]
    fn callgrinds_total_is_found() {
        assert_eq!(collected("==1== \n==1== Collected : 12345\n"), Some(12_345));
        assert_eq!(collected("==1== no"), None);
    }
}
