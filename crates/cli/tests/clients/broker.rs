//! Brokers for the tests, and the clients' processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The program with nothing of this process's environment that could change what it does.
pub(crate) fn martlet(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet"));
    command.env_clear().stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(words);
    command
}

/// Runs it to its end with this input.
pub(crate) fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeding = thread::spawn(move || {
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

/// Tries with a longer wait what a busy machine did not bring about in a short one.
pub(crate) fn with_some_wait<T>(attempt: impl FnMut(&str) -> Option<T>) -> T {
    let outcome = ["300ms", "3s", "30s"].into_iter().find_map(attempt);
    outcome.unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A broker of ours; it ends with this value.
pub(crate) struct Broker {
    child: Child,
    pub(crate) port: String,
    directory: Option<PathBuf>,
}

impl Broker {
    /// One that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--durability", "memory"])
    }

    /// One that keeps everything in a directory.
    pub(crate) fn start_in(directory: &Path) -> Self {
        let mut broker = Self::start_with(&["--data-dir", &directory.to_string_lossy()]);
        broker.directory = Some(directory.to_owned());
        broker
    }

    fn start_with(words: &[&str]) -> Self {
        let mut command = martlet(&["broker", "--listen", "127.0.0.1:0", "--shards", "2"]);
        command.args(words);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some(rest) = line.strip_prefix("listening on 127.0.0.1:") {
                break rest.split(' ').next().unwrap().to_owned();
            }
        };
        thread::spawn(move || out.read_to_end(&mut Vec::new()));
        Self {
            child,
            port,
            directory: None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in good order; gives its directory.
    pub(crate) fn stop(mut self) -> PathBuf {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.directory.take().unwrap()
    }

    /// A client of this broker, to be spawned.
    pub(crate) fn client(&self, words: &[&str]) -> Command {
        let mut command = martlet(words);
        command.args(["-h", "127.0.0.1", "-p", &self.port]);
        command
    }

    /// Runs a client to its end; it has to succeed.
    pub(crate) fn succeed(&self, words: &[&str], input: &str) -> String {
        let output = run(&mut self.client(words), input);
        let errors = text(&output.stderr);
        // With --output json the end is told, too.
        let status = |line: &&str| line.starts_with("{\"code\":0,");
        assert_eq!(errors.lines().find(|line| !status(line)), None, "{words:?}");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        text(&output.stdout)
    }

    /// A subscriber whose subscription stands.
    pub(crate) fn subscriber(&self, words: &[&str]) -> Running {
        let running = Running::start(self.client(&[&["sub", "-d"], words].concat()));
        running.wait_for("subscribed to ");
        running
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that runs beside the test; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    errors: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, errors) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, errors }
    }

    /// The next line of standard error that contains this.
    pub(crate) fn wait_for(&self, part: &str) -> String {
        loop {
            let line = self.errors.recv_timeout(PATIENCE).unwrap();
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// What it printed, and its exit code.
    pub(crate) fn finish(mut self) -> (String, Option<i32>) {
        let mut out = Vec::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut out)
            .unwrap();
        let code = self.child.wait().unwrap().code();
        (text(&out), code)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A listener that does with each connection what the function says; ends with the test's process.
pub(crate) fn stub(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            serve(stream);
        }
    });
    address
}

/// A broker that answers each packet type (the upper half of the first byte) with given bytes; `I` and `J` in them are the
/// packet identifier.
pub(crate) fn answering(answers: &'static [(u8, &'static [u8])]) -> SocketAddr {
    stub(move |mut stream| {
        while let Some((kind, id)) = read_packet(&mut stream) {
            let Some((_, answer)) = answers.iter().find(|(wanted, _)| *wanted == kind) else {
                continue;
            };
            let bytes: Vec<u8> = answer
                .iter()
                .map(|byte| match byte {
                    b'I' => id[0],
                    b'J' => id[1],
                    byte => *byte,
                })
                .collect();
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    })
}

/// Type and identifier of the next packet; small ones only.
fn read_packet(stream: &mut TcpStream) -> Option<(u8, [u8; 2])> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).ok()?;
    let kind = head[0] >> 4;
    let at = if kind == 3 {
        2 + usize::from(body[1])
    } else {
        0
    };
    let id = [
        body.get(at).copied().unwrap_or(0),
        body.get(at + 1).copied().unwrap_or(0),
    ];
    Some((kind, id))
}

/// CONNECT is accepted, in 5.
pub(crate) const ACCEPT: (u8, &[u8]) = (1, b"\x20\x03\x00\x00\x00");
/// How long a test waits for any one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
