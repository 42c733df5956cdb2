//! How the program ends: a message and a code.

use std::fmt;
use std::process::ExitCode;

/// An end with a message.
#[derive(Debug)]
pub(crate) struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    /// Something could not be done: a port is taken, a file cannot be written.
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self {
            code: FAILED,
            message: error.to_string(),
        }
    }

    /// The configuration or the command line is wrong; nothing was started.
    pub(crate) fn configuration(error: impl fmt::Display) -> Self {
        Self {
            code: CONFIGURATION,
            message: error.to_string(),
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

const FAILED: u8 = 1;
/// The same that the command line parser uses for flags that do not exist.
const CONFIGURATION: u8 = 2;
