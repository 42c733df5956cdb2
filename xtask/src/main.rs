//! The project's own commands: `cargo xtask test`, `check`, `spec`, `tidy` and `deny`.
//!
//! [`suite`] is the list of steps behind `test` and `check`, [`steps`] runs them one after the other, [`tools`] gets
//! the clients that nobody here wrote, [`spec`] checks the citations, [`tidy`] the rules that no lint knows and
//! [`dependencies`] what we depend on, [`packaging`] the files around the program; [`bench_peers`] compares brokers,
//! [`crash`] kills them, [`icount`] counts instructions, [`footprint`] bytes. It has no dependencies itself:
//! it is built before everything else, and whatever it needed would be built a second time with other features.

#![expect(
    clippy::print_stdout,
    reason = "a command line tool talks to the person who called it"
)]

mod bench_peers;
mod crash;
mod dependencies;
mod files;
mod footprint;
mod icount;
mod packaging;
mod spec;
mod steps;
mod suite;
mod tidy;
mod tools;

use std::process::ExitCode;

use crate::files::Project;
use crate::spec::Page;
use crate::steps::Failure;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let project = Project::here();
    let outcome = match words.as_slice() {
        ["test"] => suite::test(&project),
        ["check"] => suite::check(&project),
        ["spec"] => spec::run(&project, Page::Write),
        ["spec", "--check"] => spec::run(&project, Page::Compare),
        ["tidy"] => tidy::run(&project),
        ["bench-peers", options @ ..] => bench_peers::run(&project, options),
        ["crash", options @ ..] => crash::run_with(&project, options),
        ["icount"] => icount::run(&project, false),
        ["icount", "--bless"] => icount::run(&project, true),
        ["footprint"] => footprint::run(&project),
        ["deny"] => dependencies::run(&project),
        ["tools"] => tools::install(&project).map(|_| ()),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(Failure::new("no such command", USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "\
cargo xtask test          everything that can fail; what .ci/run calls
cargo xtask check         the part of it that needs no test run: format, tidy, spec, packaging, deny, clippy, docs
cargo xtask spec          check the citations and write docs/conformance.md (--check: fail if the page is stale)
cargo xtask tidy          the rules that no lint knows
cargo xtask deny          licences, sources and duplicates of what we depend on
cargo xtask crash         kill -9 real brokers under load and count what they lost (--rounds N, --durability os|fsync,
                          --seed S, --shards K, --release)
cargo xtask icount        instructions per operation against a baseline (--bless: make it the baseline)
cargo xtask footprint     size of the release binary, memory of an idle publisher, instructions of a start
cargo xtask bench-peers   the same load on Martlet and on other brokers; writes docs/benchmarks.md
cargo xtask tools         install the clients that the interop tests use";
