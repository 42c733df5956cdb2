//! What `martlet pub -l` keeps in memory while it waits for a line, as `cargo xtask footprint` measures it in a release build.
//!
//! Most of a process of this size is files: the program and libc. How much of them the system maps depends on how they lie in its
//! page cache, in what pieces and whether at all. So what is started is a copy that has just been written, in small pieces: all
//! of it is there, and around each page that runs come at most those in the same 64 KiB. libc lies as it does, and all processes
//! share it: it is told, not limited.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The only test here: nobody else starts a process while the copy is open for writing, which could not be started then.
#[test]
fn a_publisher_that_waits_for_a_line_is_small() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = folder.path().join("martlet");
    copy_in_small_pieces(Path::new(env!("CARGO_BIN_EXE_martlet")), &program);
    let start = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.env_clear().args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ended(command.stderr(Stdio::piped()).spawn().unwrap())
    };
    let mut broker = start(&[
        "broker",
        "--listen",
        "127.0.0.1:0",
        "--durability",
        "memory",
    ]);
    let mut listening = BufReader::new(broker.0.stdout.take().unwrap()).lines();
    let port = listening.find_map(|line| {
        let line = line.unwrap();
        let rest = line.strip_prefix("listening on 127.0.0.1:")?;
        rest.split(' ').next().map(str::to_owned)
    });
    let place = [
        "-h",
        "127.0.0.1",
        "-p",
        &port.unwrap(),
        "-t",
        "idle",
        "-q",
        "1",
    ];
    let mut listener = start(&[&["sub", "-d", "-C", "1"], &place[..]].concat());
    let mut told = BufReader::new(listener.0.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("subscribed to")));
    let mut publisher = start(&[&["pub", "-l"], &place[..]].concat());
    let mut input = publisher.0.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    // When the message has come there, the publisher has done all that it does.
    assert!(listener.0.wait().unwrap().success());
    let resident = Resident::of(publisher.0.id());
    assert!(resident.anonymous < ANONYMOUS_MAX, "{resident:?}");
    assert!(resident.program > 0, "{resident:?}");
    let private = resident.anonymous + resident.program;
    assert!(private < PRIVATE_MAX, "{resident:?}");
}

/// Kilobytes that are in memory, private and shared, by what they belong to; the sum over all pages, because the counters of
/// `status` may be some hundred kilobytes late.
#[derive(Debug, Default)]
struct Resident {
    anonymous: u64,
    /// Pages of the program's file.
    program: u64,
    /// Pages of libraries' files.
    libraries: u64,
}

impl Resident {
    fn of(process: u32) -> Self {
        let mut sums = Self::default();
        let mut file = String::new();
        let mut of_file = 0;
        let pages = fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
        for line in pages.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["Rss:", count, "kB"] => of_file = count.parse().unwrap(),
                ["Anonymous:", count, "kB"] => {
                    let anonymous: u64 = count.parse().unwrap();
                    sums.anonymous += anonymous;
                    let rest = of_file - anonymous;
                    if file.ends_with("/martlet") {
                        sums.program += rest;
                    } else {
                        sums.libraries += rest;
                    }
                }
                [first, ..] if !first.ends_with(':') => {
                    words
                        .get(5)
                        .copied()
                        .unwrap_or_default()
                        .clone_into(&mut file);
                }
                _ => {}
            }
        }
        sums
    }
}

/// A process that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn copy_in_small_pieces(from: &Path, to: &Path) {
    let mut copy = File::create(to).unwrap();
    for piece in fs::read(from).unwrap().chunks(4_096) {
        copy.write_all(piece).unwrap();
    }
    copy.set_permissions(fs::Permissions::from_mode(0o755))
        .unwrap();
}

/// What no other process can share. Code that nobody has optimized has more tables that are filled in at the start.
const ANONYMOUS_MAX: u64 = if cfg!(debug_assertions) { 2_000 } else { 1_000 };
/// With libc's 1,600 this makes 5 MiB.
const PRIVATE_MAX: u64 = if cfg!(debug_assertions) {
    11_000
} else {
    3_600
};
