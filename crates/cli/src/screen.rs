//! Standard output: messages only, each written at once.

#[cfg(unix)]
use std::fs::File;
use std::io::{self, Write as _};

/// Standard output without a buffer: one write for each message, so that a reader behind a pipe has it at once and no
/// message is torn by one from another process.
#[derive(Debug)]
pub(crate) struct Screen {
    #[cfg(unix)]
    out: File,
    #[cfg(not(unix))]
    out: io::Stdout,
}

impl Screen {
    #[cfg(unix)]
    pub(crate) fn new() -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self {
            out: File::from(out),
        })
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { out: io::stdout() })
    }

    /// Writes all of it. A broken pipe is a reader who has had enough.
    pub(crate) fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.out.write_all(bytes).and_then(|()| self.out.flush())
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.show(format!("{text}\n").as_bytes())
    }
}
