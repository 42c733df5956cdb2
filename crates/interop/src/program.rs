//! A client program under the control of a test.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// A running program whose output a test waits for, line by line. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    process: Child,
    lines: Receiver<String>,
    /// what has been read so far, for the message of a failure
    seen: Vec<String>,
}

impl Program {
    /// Starts a program with both its output streams as one stream of lines.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Self::start_with_input(command, "")
    }

    /// As [`start`](Self::start), with a short text to read (no more than a pipe holds, 64 KiB).
    pub fn start_with_input(command: &mut Command, input: &str) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        if let Some(mut stdin) = process.stdin.take() {
            match stdin.write_all(input.as_bytes()) {
                // It may end without reading.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            forward(stdout, sender.clone());
        }
        if let Some(stderr) = process.stderr.take() {
            forward(stderr, sender);
        }
        Ok(Self {
            name,
            process,
            lines,
            seen: Vec::new(),
        })
    }

    /// Waits for a line that contains `text`; lines before it are passed over.
    pub fn wait_for(&mut self, text: &str) -> io::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_line(deadline) {
                Ok(Some(line)) if line.contains(text) => return Ok(line),
                Ok(Some(_)) => {}
                Ok(None) => return Err(self.complaint(&format!("ended without '{text}'"))),
                Err(_) => return Err(self.complaint(&format!("said no '{text}' in {PATIENCE:?}"))),
            }
        }
    }

    /// Waits for the end of the program: its status and every line since the start.
    pub fn finish(mut self) -> io::Result<(ExitStatus, Vec<String>)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_line(deadline) {
                Ok(Some(_)) => {}
                // Both streams are closed: it has ended, or is about to.
                Ok(None) => return Ok((self.process.wait()?, std::mem::take(&mut self.seen))),
                Err(_) => return Err(self.complaint(&format!("did not end in {PATIENCE:?}"))),
            }
        }
    }

    /// As [`finish`](Self::finish), and a failure unless the program succeeded.
    pub fn succeed(self) -> io::Result<Vec<String>> {
        let name = self.name.clone();
        let (status, lines) = self.finish()?;
        if status.success() {
            Ok(lines)
        } else {
            Err(io::Error::other(format!(
                "{name} failed ({status}); it said:\n{}",
                lines.join("\n")
            )))
        }
    }

    /// Ends the program at once, as a crash would: no DISCONNECT is sent.
    pub fn kill(mut self) -> io::Result<()> {
        self.process.kill()
    }

    fn next_line(&mut self, deadline: Instant) -> Result<Option<String>, RecvTimeoutError> {
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(timeout @ RecvTimeoutError::Timeout) => Err(timeout),
        }
    }

    fn complaint(&self, what: &str) -> io::Error {
        io::Error::other(format!(
            "{} {what}; it said:\n{}",
            self.name,
            self.seen.join("\n")
        ))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After `finish` it has ended, and this does nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches('\n')
                .to_owned();
            if lines.send(text).is_err() {
                // The test is over; go on reading, so that the program does not die of a closed pipe.
            }
            line.clear();
        }
    });
}

/// How long a test waits for any one event before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_of_both_streams_are_waited_for() {
        let mut program = shell("echo one; echo two >&2; exit 3");
        program.wait_for("two").unwrap();
        let (status, lines) = program.finish().unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(lines.contains(&"one".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_program_reads_its_input_to_the_end() {
        let command = &mut Command::new("cat");
        let program = Program::start_with_input(command, "one\ntwo\n").unwrap();
        assert_eq!(program.succeed().unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_program_that_ends_too_early_is_a_failure_that_shows_its_output() {
        let error = shell("echo sorry")
            .wait_for("ready")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ended without 'ready'") && error.contains("sorry"),
            "{error}"
        );
        let error = shell("echo sorry; exit 1")
            .succeed()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("failed") && error.contains("sorry"),
            "{error}"
        );
    }
}
