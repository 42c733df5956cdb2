//! How the program ends: a message and a code.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// An end with a message.
#[derive(Debug)]
pub(crate) struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    /// An end with this code.
    pub(crate) fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// Something could not be done: a port is taken, a file cannot be written.
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::new(FAILED, error)
    }

    /// The configuration or the command line of the broker is wrong; nothing was started.
    pub(crate) fn configuration(error: impl fmt::Display) -> Self {
        Self::new(CONFIGURATION, error)
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// The code as a number.
    pub(crate) const fn number(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The system's words without the number that Rust adds.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

pub(crate) const FAILED: u8 = 1;
/// The same that the command line parser uses for flags that do not exist.
const CONFIGURATION: u8 = 2;
/// A store is damaged.
pub(crate) const DAMAGED: u8 = 3;
/// A time was over, or a count not reached; mosquitto's number.
pub(crate) const TIMED_OUT: u8 = 27;
pub(crate) const USAGE: u8 = 64;
pub(crate) const BAD_INPUT: u8 = 65;
pub(crate) const NO_NAME: u8 = 66;
pub(crate) const NO_CONNECTION: u8 = 67;
pub(crate) const NO_TLS: u8 = 68;
pub(crate) const NO_PROXY: u8 = 69;
/// What was received cannot be written down; the number that sysexits.h has for it.
pub(crate) const NO_OUTPUT: u8 = 74;

/// The codes of `martlet store`.
pub(crate) const STORE_CODES: [(&str, &str); 4] = [
    ("0", "done, and nothing is missing"),
    (
        "1",
        "it could not be done: no store there, in use, of a newer format, unreadable",
    ),
    ("2", "the command line or the configuration is wrong"),
    (
        "3",
        "done, but the store is damaged, or something that was acknowledged is lost",
    ),
];

/// The codes of the programs that talk to a broker.
pub(crate) const CODES: [(&str, &str); 11] = [
    ("0", "done; or stopped by SIGINT or SIGTERM"),
    ("1", "something else went wrong"),
    (
        "27",
        "the time was over, or fewer messages came than were asked for",
    ),
    ("64", "the command line is wrong"),
    ("65", "the input is wrong: a file, a payload, a line"),
    ("66", "the broker's name has no address"),
    ("67", "no connection to the broker"),
    (
        "68",
        "TLS: not spoken, or spoken where plain text was expected",
    ),
    ("69", "WebSocket or proxy"),
    (
        "74",
        "what was received cannot be written: a full disk, no such folder",
    ),
    (
        "128-162",
        "the broker refused: the reason code of MQTT 5, such as 135 for not authorized",
    ),
];
