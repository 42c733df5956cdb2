//! What `cargo xtask test` and `cargo xtask check` consist of, in order: the cheap steps first, so that most faults show
//! within seconds.
//!
//! All test steps build the same set of packages (`--workspace`) in the same profile: another set would have other features
//! and be built again.

use std::process::Command;

use crate::files::Project;
use crate::spec::Page;
use crate::steps::{Failure, Steps, Tally, cargo, run, run_tests};
use crate::{crash, dependencies, packaging, spec, tidy, tools};

/// Everything that can fail.
pub(crate) fn test(project: &Project) -> Result<(), Failure> {
    let mut steps = Steps::start();
    static_checks(project, &mut steps)?;
    let tools = steps.step("outside tools for the interop tests", || {
        tools::install(project)
    })?;
    steps.step("build", || {
        run(
            cargo(&["build", "--workspace", "--all-targets"]).current_dir(project.root()),
            "fix the errors above; `cargo build --workspace --all-targets` repeats them",
        )
    })?;

    let mut tally = Tally::default();
    let tested = steps.step(
        "tests: unit, property, simulation, conformance, interop, documentation",
        || {
            let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
            command
                .current_dir(project.root())
                .env(
                    "MARTLET_BIN",
                    project.target().join("debug").join("martlet"),
                )
                .env("MARTLET_TOOLS", &tools)
                .env("MARTLET_REQUIRE_TOOLS", "1");
            match run_tests(
                &mut command,
                "run the failed test alone with `cargo test -p PACKAGE NAME`",
            ) {
                Ok(sum) => {
                    tally = sum;
                    Ok(())
                }
                Err((sum, failure)) => {
                    tally = sum;
                    Err(failure)
                }
            }
        },
    );
    if let Err(failure) = tested {
        // Without a failed test the run broke off (a build error, a crash): no sum would be true then.
        return Err(if tally.failed == 0 {
            failure
        } else {
            Failure::new(
                failure.to_string(),
                format!("{} passed, {} failed", tally.passed, tally.failed),
            )
        });
    }
    fresh_simulations(project, &mut steps)?;
    crash::in_suite(project, &mut steps)?;

    steps.summary();
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    Ok(())
}

/// What needs no test run.
pub(crate) fn check(project: &Project) -> Result<(), Failure> {
    let mut steps = Steps::start();
    static_checks(project, &mut steps)?;
    steps.summary();
    Ok(())
}

fn static_checks(project: &Project, steps: &mut Steps) -> Result<(), Failure> {
    steps.step("format", || {
        run(
            cargo(&["fmt", "--all", "--check"]).current_dir(project.root()),
            "run `cargo fmt --all`",
        )
    })?;
    steps.step("tidy", || tidy::run(project))?;
    steps.step("spec", || spec::run(project, Page::Compare))?;
    steps.step("packaging", || packaging::run(project, crate::USAGE))?;
    steps.step("deny", || dependencies::run(project))?;
    steps.step("clippy", || {
        run(
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
            .current_dir(project.root()),
            "fix the lints above; style.md's rules and the root Cargo.toml say why they are on",
        )
    })?;
    // A workspace of its own, which nothing else here builds.
    steps.step("what fuzz targets share", || {
        let arguments = ["check", "--locked", "--lib", "--no-default-features"];
        let mut command = cargo(&arguments);
        command
            .args(["--manifest-path", "fuzz/Cargo.toml"])
            .current_dir(project.root())
            .env("CARGO_TARGET_DIR", project.target());
        run(
            &mut command,
            "mend fuzz/src, or run `cargo generate-lockfile` there if a dependency changed",
        )
    })?;
    steps.step("docs", || {
        let mut command: Command = cargo(&["doc", "--workspace", "--no-deps"]);
        command
            .current_dir(project.root())
            .env("RUSTDOCFLAGS", "-D warnings");
        run(&mut command, "fix the documentation warnings above")
    })
}

/// The fixed seeds are among the tests of `martlet-sim`; these seeds nobody has run before.
fn fresh_simulations(project: &Project, steps: &mut Steps) -> Result<(), Failure> {
    if !project.path("crates/sim/src/main.rs").exists() {
        return Ok(());
    }
    for (name, arguments) in FRESH_SEEDS {
        steps.step(name, || {
            let program = project.target().join("debug").join("martlet-sim");
            run(
                Command::new(program)
                    .args(arguments)
                    .current_dir(project.root()),
                "the failing seed is printed above: make it a named test, then find the fault",
            )
        })?;
    }
    Ok(())
}

/// How many new seeds each run tries: about a minute in all.
const FRESH_SEEDS: [(&str, &[&str]); 3] = [
    ("simulation, fresh seeds", &["--fresh", "100"]),
    (
        "simulation, fresh seeds with a store and crashes",
        &["--store", "--fresh", "30"],
    ),
    (
        "simulation, fresh seeds of the store's log",
        &["--log", "--fresh", "20", "--steps", "1000"],
    ),
];
