//! The broker's processes: started on one directory again and again, killed or asked to stop.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How the broker of a life is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) durability: String,
    /// Of the life: the broker's own directory and its log file are in it.
    pub(crate) folder: PathBuf,
    pub(crate) segment_bytes: u64,
}

impl Launch {
    /// The broker's directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where everything goes that its processes say.
    fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// Starts a process; it does not listen yet.
    pub(crate) fn start(&self, shards: usize) -> io::Result<Broker> {
        fs::create_dir_all(&self.folder)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut child = Command::new(&self.program)
            .args(["broker", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data())
            .args(["--shards", &shards.to_string()])
            .env_clear()
            .env("MARTLET_STORAGE_DURABILITY", &self.durability)
            .env(
                "MARTLET_STORAGE_SEGMENT_BYTES",
                self.segment_bytes.to_string(),
            )
            // What is dropped because a queue is full is no loss of the store.
            .env("MARTLET_LIMITS_SESSION_QUEUE_MESSAGES_MAX", "1000000")
            .env("MARTLET_LIMITS_SESSION_QUEUE_BYTES_MAX", "1GiB")
            .env("MARTLET_LIMITS_GROUP_QUEUE_MESSAGES_MAX", "1000000")
            .env("MARTLET_LIMITS_GROUP_QUEUE_BYTES_MAX", "1GiB")
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()?;
        let listening = child.stdout.take().map(follow);
        Ok(Broker {
            child,
            listening,
            address: None,
        })
    }

    /// The last lines that its processes said.
    pub(crate) fn last_words(&self) -> String {
        let text = File::open(self.log())
            .and_then(io::read_to_string)
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// A process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    listening: Option<Receiver<SocketAddr>>,
    address: Option<SocketAddr>,
}

impl Broker {
    /// Waits until it listens. `Err`: it has ended, or takes too long.
    pub(crate) fn wait_until_it_listens(&mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        let Some(listening) = self.listening.take() else {
            return Err("its output cannot be read".to_owned());
        };
        match listening.recv_timeout(START) {
            Ok(address) => {
                self.address = Some(address);
                Ok(begun.elapsed())
            }
            Err(RecvTimeoutError::Timeout) => Err(format!("it did not listen in {START:?}")),
            Err(RecvTimeoutError::Disconnected) => Err(match self.child.wait() {
                Ok(status) => format!("it ended at its start: {status}"),
                Err(error) => error.to_string(),
            }),
        }
    }

    pub(crate) const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(status.to_string())
    }

    /// SIGKILL, without waiting for the end.
    pub(crate) fn kill_now(&mut self) {
        let _ = self.child.kill();
    }

    /// SIGKILL: nothing that it has in its memory gets anywhere.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end. `Err`: how it ended instead of well.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            return Err("kill -TERM did not work".to_owned());
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("SIGTERM, and it ended with {status}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what it prints to the end, so that it never waits for us, and tells where it listens.
fn follow(stdout: ChildStdout) -> Receiver<SocketAddr> {
    let (found, address) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let text = line.strip_prefix("listening on ");
            let text = text.and_then(|rest| rest.split(' ').next());
            if let Some(Ok(address)) = text.map(str::parse) {
                // Nobody listens after the first.
                let _ = found.send(address);
            }
        }
    });
    address
}

/// The `martlet` program beside this one.
pub(crate) fn beside_us() -> Option<PathBuf> {
    let us = std::env::current_exe().ok()?;
    let program = us.parent().map(|folder: &Path| folder.join("martlet"))?;
    program.exists().then_some(program)
}

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);
/// Log lines shown after a fault.
const LAST_LINES: usize = 12;
