//! The broker that a test talks to.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use std::{env, thread};

use martlet_client::test::lasting_port;
use tempfile::TempDir;

/// A broker on a free loopback port, in a process that ends with this value.
///
/// If the test panics, or the broker ended before it, the broker's last log lines are printed.
#[derive(Debug)]
pub struct BrokerUnderTest {
    address: String,
    /// None: somebody else's broker
    process: Option<Child>,
    log: Log,
    /// For what has to survive; goes with it.
    directory: Option<TempDir>,
    /// What its process is started with, again and again.
    arguments: Vec<String>,
}

impl BrokerUnderTest {
    /// Starts our broker with this many shards and waits until it listens.
    ///
    /// With `MARTLET_INTEROP_TARGET=host:port` nothing is started, and that broker is used.
    pub fn start(shards: usize) -> io::Result<Self> {
        if let Ok(address) = env::var("MARTLET_INTEROP_TARGET") {
            return Ok(Self {
                address,
                process: None,
                log: Log::default(),
                directory: None,
                arguments: Vec::new(),
            });
        }
        Self::launch(shards, "127.0.0.1:0", &[])
    }

    /// Starts our broker so that [`restart`](Self::restart) can start it again: on a port that is still free then, with this
    /// durability.
    pub fn start_durable(shards: usize, durability: &str) -> io::Result<Self> {
        let address = format!("127.0.0.1:{}", lasting_port()?);
        Self::launch(shards, &address, &["--durability", durability])
    }

    /// Kills the broker's process (SIGKILL) and starts the next one on the same port and the same directory.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        self.run()
    }

    fn launch(shards: usize, address: &str, more: &[&str]) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("martlet-").tempdir()?;
        let shards = shards.to_string();
        let mut arguments = vec!["--listen", address, "--shards", &shards];
        arguments.extend(more);
        let mut broker = Self {
            address: address.to_owned(),
            process: None,
            log: Log::default(),
            directory: Some(directory),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
        };
        broker.run()?;
        Ok(broker)
    }

    /// Starts a process and waits until it listens.
    fn run(&mut self) -> io::Result<()> {
        let mut command = Command::new(program_binary()?);
        // The developer's own settings, and those of the tests, must not decide what the broker does.
        for (name, _) in env::vars_os() {
            let is_setting = name
                .to_str()
                .is_some_and(|name| name.starts_with("MARTLET_"));
            if is_setting || name == "SOCKET_ADDR" {
                command.env_remove(name);
            }
        }
        command.arg("broker").args(&self.arguments);
        // After a kill it reads a whole segment, and a program that nobody has optimized takes its time for that.
        command.env("MARTLET_STORAGE_SEGMENT_BYTES", "1048576");
        if let Some(directory) = &self.directory {
            command.arg("--data-dir").arg(directory.path());
        }
        let mut process = command
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (found, address) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            self.log.follow(stdout, found.clone());
        }
        if let Some(stderr) = process.stderr.take() {
            self.log.follow(stderr, found);
        }
        // From here on, dropping it ends the process.
        self.process = Some(process);
        match address.recv_timeout(START) {
            Ok(address) => {
                self.address = address.to_string();
                Ok(())
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(io::Error::other(format!(
                    "the broker said no 'listening on 127.0.0.1:PORT' in {START:?}; it said:\n{}",
                    self.log.text()
                )))
            }
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The part of the address before the port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.address
            .rsplit_once(':')
            .map_or(self.address.as_str(), |(host, _)| host)
    }

    /// The port as text, as command lines want it.
    #[must_use]
    pub fn port(&self) -> &str {
        self.address
            .rsplit_once(':')
            .map_or("1883", |(_, port)| port)
    }
}

impl Drop for BrokerUnderTest {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        let ended_by_itself = process.try_wait().is_ok_and(|status| status.is_some());
        let _ = process.kill();
        let _ = process.wait();
        if ended_by_itself || thread::panicking() {
            eprintln!("--- the broker's last lines\n{}---", self.log.text());
        }
    }
}

/// The last lines that the broker wrote, from both its streams.
#[derive(Clone, Debug, Default)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Log {
    /// Reads a stream to its end, so that the broker never waits for us, and reports the address it listens on.
    fn follow(&self, stream: impl Read + Send + 'static, found: Sender<SocketAddr>) {
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Some(address) = listening_address(&line) {
                    // Nobody waits any more after the first listener.
                    let _ = found.send(address);
                }
                log.push(line);
            }
        });
    }

    fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    let end =
        rest.find(|character: char| !(character.is_ascii_digit() || ".:".contains(character)));
    rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
}

/// The `martlet` program: `MARTLET_BIN`, or else built now, once per test process.
///
/// It is not taken from the target folder as it is: it could be older than the code under test.
pub fn program_binary() -> io::Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(binary) = env::var_os("MARTLET_BIN") {
        return Ok(PathBuf::from(binary));
    }
    BINARY.get_or_init(build).clone().map_err(io::Error::other)
}

fn build() -> Result<PathBuf, String> {
    // .../target/debug/deps/clients-0123456789abcdef
    let test = env::current_exe().map_err(|error| error.to_string())?;
    let profile_folder = test
        .ancestors()
        .nth(2)
        .ok_or("the test program is in no target folder")?;
    let target = profile_folder
        .parent()
        .unwrap_or_else(|| Path::new("target"));
    let is_release = profile_folder.ends_with("release");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "martlet",
            "--profile",
            if is_release { "release" } else { "dev" },
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if built.status.success() {
        Ok(profile_folder.join("martlet"))
    } else {
        Err(format!(
            "the broker could not be built:\n{}",
            String::from_utf8_lossy(&built.stderr)
        ))
    }
}

/// How long a broker may take to listen: it starts in milliseconds, but a test machine may be busy.
const START: Duration = Duration::from_secs(20);
/// Log lines kept for the report of a failed test.
const LOG_LINES: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_plain_and_in_structured_lines() {
        let wanted = Some(SocketAddr::from(([127, 0, 0, 1], 4711)));
        for line in [
            "listening on 127.0.0.1:4711",
            "  INFO martlet: listening on 127.0.0.1:4711 (plain)",
            "{\"message\":\"listening on 127.0.0.1:4711\",\"shards\":2}",
        ] {
            assert_eq!(listening_address(line), wanted, "{line}");
        }
        assert_eq!(listening_address("not listening on port 4711"), None);
    }
}
