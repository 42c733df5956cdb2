//! `cargo xtask crash`: real broker processes, killed under load (`crates/crash`).

use std::process::Command;

use crate::files::Project;
use crate::steps::{Failure, Steps, cargo, run};

/// Builds the broker and the tool, and passes the options on; `--release` builds both for speed.
pub(crate) fn run_with(project: &Project, options: &[&str]) -> Result<(), Failure> {
    let (release, rest): (Vec<&str>, Vec<&str>) =
        options.iter().partition(|option| **option == "--release");
    let profile = if release.is_empty() {
        "debug"
    } else {
        "release"
    };
    let mut build = cargo(&["build", "--quiet", "-p", "martlet", "-p", "martlet-crash"]);
    if !release.is_empty() {
        build.arg("--release");
    }
    run(build.current_dir(project.root()), "fix the errors above")?;
    let tool = project.target().join(profile).join("martlet-crash");
    run(
        Command::new(tool).args(rest).current_dir(project.root()),
        "the directory named above has the broker's log; the seed repeats the choices",
    )
}

/// The part of `cargo xtask test`, with what has been built for the tests.
pub(crate) fn in_suite(project: &Project, steps: &mut Steps) -> Result<(), Failure> {
    let tool = |options: &[&str], remedy: &str| {
        let tool = project.target().join("debug").join("martlet-crash");
        run(
            Command::new(tool).args(options).current_dir(project.root()),
            remedy,
        )
    };
    steps.step("crash: the checker notices a broker that forgets", || {
        tool(
            &["--rounds", "3", "--durability", "memory", "--must-fail"],
            "a broker that keeps nothing passed: the checker is blind",
        )
    })?;
    steps.step("crash: kill -9 under load, fsync", || {
        tool(
            &["--rounds", ROUNDS],
            "the directory named above has the broker's log; the seed repeats the choices",
        )
    })
}

/// How often the broker is killed in each test run: a minute or two.
const ROUNDS: &str = "20";
