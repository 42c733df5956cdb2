//! Why a run did not take place or did not end.

use std::{fmt, io};

/// What went wrong, by whose hand it can be put right.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The arguments contradict each other; nothing was started.
    Arguments(String),
    /// The broker cannot be reached, or refuses what the run needs.
    Broker(String),
    /// This machine refused something.
    Io(io::Error),
    /// The report, or a page of help, could not be written.
    Output(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(problem) | Self::Broker(problem) => f.write_str(problem),
            Self::Io(error) | Self::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
