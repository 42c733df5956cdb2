//! Statements that no case of a black-box suite can prove, each with the reason.

use crate::case::Version;

/// A statement without a case.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// The version that the id belongs to.
    pub version: Version,
    /// The id without the `MQTT-` prefix.
    pub statement: &'static str,
    /// Why it cannot be seen from outside, or does not bind a broker.
    pub reason: &'static str,
}

/// Every exception of every version.
pub const EXCEPTIONS: &[&[Exception]] = &[crate::v311::EXCEPTIONS, crate::v5::EXCEPTIONS];
