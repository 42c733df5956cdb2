//! The command line of `martlet conformance`.

use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;

use crate::case::{Case, Version};
use crate::harness::Target;
use crate::runner::{Filter, cases, run};

/// Runs the suite as `args` (without the program's name) say, and writes the report to `out`.
///
/// The code is 0 if every case passed or was skipped, 1 if one failed, 2 if the arguments make no
/// sense.
pub fn cli(args: &[String], out: &mut dyn Write) -> io::Result<ExitCode> {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(problem) => {
            // If nobody reads it, the code tells it.
            let _ = writeln!(out, "{problem}\n\n{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    if options.help {
        return page(&format!("{USAGE}\n"), out);
    }
    if options.list {
        let line = |case: &Case| {
            let statements = case.statements.join(" ");
            format!("{:<6} {:<50} {statements}\n", case.version, case.name)
        };
        let taken = cases().filter(|case| options.filter.takes(case));
        return page(&taken.map(line).collect::<String>(), out);
    }
    let address = options
        .address
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next());
    let Some(address) = address else {
        let _ = writeln!(
            out,
            "cannot resolve {:?}: expected HOST:PORT\n\n{USAGE}",
            options.address
        );
        return Ok(ExitCode::from(2));
    };
    let target = Target::new(address, options.timeout);
    let report = run(&target, &options.filter, options.jobs);
    let text = if options.lines {
        report.render_lines()
    } else {
        report.render()
    };
    out.write_all(text.as_bytes())?;
    Ok(if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes what is read for its own sake: who has read enough may go. A report that nobody read is another matter.
fn page(text: &str, out: &mut dyn Write) -> io::Result<ExitCode> {
    match out.write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

#[derive(Debug)]
struct Options {
    address: String,
    filter: Filter,
    jobs: usize,
    timeout: Duration,
    list: bool,
    lines: bool,
    help: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            address: String::new(),
            filter: Filter::default(),
            jobs: DEFAULT_JOBS,
            timeout: DEFAULT_TIMEOUT,
            list: false,
            lines: false,
            help: false,
        };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--version" => {
                    options.filter.version = Some(match value()?.as_str() {
                        "3.1.1" => Version::V311,
                        "5" | "5.0" => Version::V5,
                        other => return Err(format!("unknown version {other:?}: 3.1.1 or 5")),
                    });
                }
                "--only" => options.filter.only = Some(value()?.clone()),
                "--jobs" => options.jobs = number(arg, value()?)?.max(1),
                "--timeout-ms" => {
                    options.timeout = Duration::from_millis(number(arg, value()?)?.max(1) as u64);
                }
                "--list" => options.list = true,
                "--lines" => options.lines = true,
                "--help" | "-h" => options.help = true,
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
                address if options.address.is_empty() => address.clone_into(&mut options.address),
                extra => return Err(format!("unexpected argument {extra:?}")),
            }
        }
        if options.address.is_empty() && !options.list && !options.help {
            return Err("which broker? HOST:PORT is missing".into());
        }
        Ok(options)
    }
}

fn number(flag: &str, value: &str) -> Result<usize, String> {
    value
        .parse()
        .map_err(|_| format!("{flag} needs a number, not {value:?}"))
}

/// What the options are.
const USAGE: &str = "usage: conformance HOST:PORT [--version 3.1.1|5] [--only NAME-or-ID] \
                     [--jobs N] [--timeout-ms N] [--lines] [--list] [--help]";

/// Most of a run is waiting for the broker's clock, so many cases may wait at once.
const DEFAULT_JOBS: usize = 16;

/// Long enough for a loaded broker, short enough to wait for a close that never comes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn run_cli(args: &[&str]) -> (String, bool) {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut out = Vec::new();
        let code = cli(&args, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), code == ExitCode::SUCCESS)
    }

    /// Whoever reads it has gone.
    #[derive(Debug)]
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pages_are_written_for_who_reads_them() {
        let (help, success) = run_cli(&["--help"]);
        assert!(success && help.starts_with("usage:"), "{help}");
        let (list, success) = run_cli(&["--list", "--version", "5"]);
        assert!(success && list.lines().count() > 100, "{list}");
        for words in ["--help", "--list"] {
            let code = cli(&[words.to_owned()], &mut Closed).unwrap();
            assert_eq!(code, ExitCode::SUCCESS, "{words}");
        }
        let code = cli(&["--what".to_owned()], &mut Closed).unwrap();
        assert_eq!(code, ExitCode::from(2));
    }

    #[test]
    fn wrong_arguments_are_told_with_the_usage() {
        for args in [
            &[][..],
            &["--jobs"],
            &["--version", "4"],
            &["a:1", "b:2"],
            &["--what"],
        ] {
            let (text, success) = run_cli(args);
            assert!(!success && text.contains("usage:"), "{args:?}: {text}");
        }
    }
}
