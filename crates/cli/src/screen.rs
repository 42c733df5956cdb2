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

/// Nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

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

    /// Writes all of it.
    pub(crate) fn show(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Whatever is wrong with standard output, nobody is left to print for.
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(|_| Gone)
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Gone> {
        self.show(format!("{text}\n").as_bytes())
    }
}
