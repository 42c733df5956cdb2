//! `cargo xtask footprint`: how large the program is, what an idle publisher keeps in memory, what a start costs.
//!
//! Nothing here is timed: the size is that of the stripped release binary, the memory is what the system says of a
//! publisher that has sent a message and waits for the next line, and the start is counted in instructions, of which a slow
//! core does a hundred million in a second.
//!
//! Most of that memory is pages of files, and how many of them the system maps around one that runs depends on the pieces in
//! which they lie in its page cache: up to the whole megabyte that one call has written. So the program is written in pieces of
//! a page; then it is 64 KiB at most. `crates/cli/tests/footprint.rs` does the same in every test run.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::files::Project;
use crate::icount::collected;
use crate::steps::{Failure, cargo, run as run_command};

/// Builds the release binary and holds it against the limits.
pub(crate) fn run(project: &Project) -> Result<(), Failure> {
    let words = ["build", "--release", "--quiet", "--package", "martlet"];
    run_command(
        cargo(&words).current_dir(project.root()),
        "it has to compile first",
    )?;
    let built = project.target().join("release").join("martlet");
    let program = project.target().join("release").join("martlet-stripped");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&program).arg(&built);
    run_command(&mut strip, "install binutils, which the linker is part of")?;
    write_again_in_small_pieces(&program).map_err(|error| unexpected("the binary", &error))?;
    let size = fs::metadata(&program).map_err(|error| unexpected("the binary", &error))?;
    let broker = Broker::start(&program)?;
    let measured = [
        Measured {
            what: "stripped release binary, bytes",
            value: Some(size.len()),
            limit: SIZE_MAX,
        },
        Measured {
            what: "idle publisher, resident bytes",
            value: idle_publisher(&program, &broker)?,
            limit: RESIDENT_MAX,
        },
        Measured {
            what: "start, instructions (--version)",
            value: instructions(&program, &["--version"])?,
            limit: START_MAX,
        },
        Measured {
            what: "start, connect, publish, end, instructions",
            value: instructions(
                &program,
                &[
                    "pub",
                    "-h",
                    HOST,
                    "-p",
                    &broker.port,
                    "-t",
                    "a",
                    "-m",
                    "x",
                    "-q",
                    "1",
                ],
            )?,
            limit: START_MAX,
        },
    ];
    report(&measured)
}

fn write_again_in_small_pieces(program: &Path) -> std::io::Result<()> {
    let bytes = fs::read(program)?;
    let mut file = fs::File::create(program)?;
    for piece in bytes.chunks(4_096) {
        file.write_all(piece)?;
    }
    Ok(())
}

/// One figure and its limit.
struct Measured {
    what: &'static str,
    /// None: this system does not tell.
    value: Option<u64>,
    limit: u64,
}

fn report(measured: &[Measured]) -> Result<(), Failure> {
    let mut too_much = 0;
    for one in measured {
        let (value, mark) = match one.value {
            None => ("not measured here".to_owned(), ""),
            Some(value) if value >= one.limit => (value.to_string(), "  too much"),
            Some(value) => (value.to_string(), ""),
        };
        too_much += usize::from(!mark.is_empty());
        println!(
            "{:<44} {value:>12}  limit {:>12}{mark}",
            one.what, one.limit
        );
    }
    if too_much == 0 {
        return Ok(());
    }
    Err(Failure::new(
        format!("{too_much} figures are not under their limits"),
        "look at /proc/PID/smaps of an idle `martlet pub -l`, or at what callgrind says of a start",
    ))
}

/// A broker on a free port; ended when dropped.
struct Broker {
    child: Child,
    port: String,
}

impl Broker {
    fn start(program: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(["broker", "--listen", "127.0.0.1:0", "--shards", "1"]);
        command.args(["--durability", "memory"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command
            .spawn()
            .map_err(|error| unexpected("the broker", &error))?;
        let lines = child.stdout.take().map(BufReader::new);
        let port = lines
            .into_iter()
            .flat_map(BufReader::lines)
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.strip_prefix("listening on 127.0.0.1:")?;
                rest.split(' ').next().map(str::to_owned)
            });
        let mut broker = Self {
            child,
            port: String::new(),
        };
        broker.port =
            port.ok_or_else(|| Failure::new("the broker does not listen", "start it by hand"))?;
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a publisher has in memory that waits for a line after its first message; None where there is no /proc.
fn idle_publisher(program: &Path, broker: &Broker) -> Result<Option<u64>, Failure> {
    let wrong = |error: std::io::Error| unexpected("the clients", &error);
    let client = |words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words);
        command.args(["-h", HOST, "-p", &broker.port, "-t", "idle", "-q", "1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let mut listener = client(&["sub", "-d", "-C", "1"]);
    let mut listener = listener.stderr(Stdio::piped()).spawn().map_err(wrong)?;
    let told = listener.stderr.take().map(BufReader::new);
    let subscribed = told
        .into_iter()
        .flat_map(BufReader::lines)
        .map_while(Result::ok)
        .any(|line| line.contains("subscribed to"));
    let mut publisher = client(&["pub", "-l"]).spawn().map_err(wrong)?;
    let resident = (|| {
        let mut lines = publisher.stdin.take().filter(|_| subscribed)?;
        lines.write_all(b"hello\n").ok()?;
        // When it has arrived, the publisher has nothing left to do.
        listener.wait().ok()?;
        // The sum over all pages; the counters of `status` may be late.
        let pages = fs::read_to_string(format!("/proc/{}/smaps_rollup", publisher.id())).ok()?;
        let line = pages.lines().find(|line| line.starts_with("Rss:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1_024)
    })();
    for mut child in [publisher, listener] {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok(resident)
}

fn instructions(program: &Path, words: &[&str]) -> Result<Option<u64>, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let done = command.arg(program).args(words).output().map_err(|error| {
        Failure::new(
            format!("valgrind: {error}"),
            "install Debian's package valgrind",
        )
    })?;
    Ok(collected(&String::from_utf8_lossy(&done.stderr)))
}

fn unexpected(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("{what}: {error}"), "does it run alone?")
}

const HOST: &str = "127.0.0.1";
/// Of the issue: 12 MB with the broker in it.
const SIZE_MAX: u64 = 12_000_000;
/// The aim is 5 MB; measured are 4.7 to 5.0, by where the program lies in its addresses: the 64 KiB around what runs are other
/// pages then. 1.6 are libc's and its loader's, 0.6 the process's own.
const RESIDENT_MAX: u64 = 5_242_880;
/// 20 milliseconds on a core that does a hundred million instructions a second.
const START_MAX: u64 = 2_000_000;
