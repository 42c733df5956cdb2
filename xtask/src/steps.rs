//! Steps of a long command: a heading and a time each, the first failure ends the run and says what to do.
//!
//! Children inherit the terminal, except for `cargo test`, whose output is passed on line by line so that its
//! `test result:` lines can be added up ([`Tally`]).

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Why a step failed, and what the reader can do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    remedy: String,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.remedy)
    }
}

/// What the `test result:` lines of one or more `cargo test` runs add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// Adds one line of output, if it is a `test result:` line.
    fn add_line(&mut self, line: &str) {
        let Some(rest) = without_colours(line)
            .trim()
            .strip_prefix("test result: ")
            .map(str::to_owned)
        else {
            return;
        };
        // "ok. 3 passed; 0 failed; 0 ignored; ...": the verdict's full stop separates it from the first count.
        let counts = rest.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split(';') {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse::<u64>().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// Runs steps in order and remembers how long each took.
#[derive(Debug)]
pub(crate) struct Steps {
    started: Instant,
    finished: Vec<(String, f64)>,
}

impl Steps {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            finished: Vec::new(),
        }
    }

    /// Runs one step under a heading.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        body: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        println!("\n=== {name}");
        let started = Instant::now();
        let result = body();
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(value) => {
                println!("--- {name}: ok, {seconds:.1} s");
                self.finished.push((name.to_owned(), seconds));
                Ok(value)
            }
            Err(failure) => {
                println!("--- {name}: FAILED after {seconds:.1} s");
                Err(Failure::new(
                    format!("step '{name}' failed: {}", failure.what),
                    failure.remedy,
                ))
            }
        }
    }

    /// Prints where the time went.
    pub(crate) fn summary(&self) {
        println!(
            "\n=== all steps passed in {:.0} s",
            self.started.elapsed().as_secs_f64()
        );
        for (name, seconds) in &self.finished {
            println!("{seconds:>7.1} s  {name}");
        }
    }
}

/// `cargo`, the same one that started this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments);
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}

/// Runs a command with the terminal as its own; anything but success is a failure with this remedy.
pub(crate) fn run(command: &mut Command, remedy: &str) -> Result<(), Failure> {
    println!("$ {}", shown(command));
    let status = command
        .status()
        .map_err(|error| could_not_start(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(
            format!("{} ({status})", shown(command)),
            remedy,
        ))
    }
}

/// Runs a command for its output; its standard error is passed on.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| could_not_start(command, &error))?;
    if !output.status.success() {
        let what = format!("{} ({})", shown(command), output.status);
        return Err(Failure::new(what, "see its message above"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command can be started and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Runs a `cargo test` and adds up its result lines. The failure case carries the tally, too.
pub(crate) fn run_tests(command: &mut Command, remedy: &str) -> Result<Tally, (Tally, Failure)> {
    println!("$ {}", shown(command));
    let mut tally = Tally::default();
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Err((tally, could_not_start(command, &error))),
    };
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tally.add_line(&line);
        }
    }
    // A closed pipe downstream must not be taken for a passed test run.
    let flushed = std::io::stdout().flush();
    match child.wait() {
        Ok(status) if status.success() && tally.failed == 0 && flushed.is_ok() => Ok(tally),
        Ok(status) => Err((
            tally,
            Failure::new(format!("{} ({status})", shown(command)), remedy),
        )),
        Err(error) => Err((tally, could_not_start(command, &error))),
    }
}

fn could_not_start(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    Failure::new(
        format!("{program} could not be started: {error}"),
        format!("install {program}"),
    )
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or_else(|| command.get_program())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// The line without its `ESC [ ... m` sequences.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up_and_other_lines_do_not_count() {
        let mut tally = Tally::default();
        tally.add_line("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s");
        tally.add_line(
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        tally.add_line("test reads_99_passed ... ok");
        tally.add_line("99 passed; 99 failed");
        assert_eq!(
            tally,
            Tally {
                passed: 13,
                failed: 2
            }
        );
    }

    #[test]
    fn a_coloured_result_line_counts() {
        let mut tally = Tally::default();
        tally.add_line("test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 5 passed; 0 failed; 0 ignored");
        assert_eq!(
            tally,
            Tally {
                passed: 5,
                failed: 0
            }
        );
    }
}
