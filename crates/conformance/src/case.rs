//! What a case is and how it ends.

use std::fmt;

use crate::harness::Target;

/// One test of the suite: a conversation with the broker, and the statements that it proves.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Unique within its version; names the behaviour, in `snake_case`.
    pub name: &'static str,
    /// The protocol version that the conversation uses.
    pub version: Version,
    /// Ids of the normative statements that this case proves, without the `MQTT-` prefix.
    pub statements: &'static [&'static str],
    /// The conversation itself.
    pub run: fn(&Target) -> Verdict,
}

/// The protocol versions that have cases (MQTT 3.1 is covered among those of 3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1.1 (and 3.1), protocol level 4 (and 3).
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The broker did something that the specification forbids, or failed to do what it demands.
    Failed(String),
    /// The broker announced that it lacks what the case needs.
    Skipped(String),
}

/// What a case, and every step of it, returns: `?` ends the case at the first deviation.
pub type Verdict<T = ()> = Result<T, Failure>;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker behaved as the specification says.
    Pass,
    /// It did not; the text says what was expected and what was seen.
    Fail(String),
    /// The case does not apply to this broker.
    Skip(String),
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Ok(()) => Self::Pass,
            Err(Failure::Failed(what)) => Self::Fail(what),
            Err(Failure::Skipped(why)) => Self::Skip(why),
        }
    }
}

impl Version {
    /// Whether this is 5.0, the version with properties and reason codes.
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The name used in citations: `mqtt311` or `mqtt5`.
    #[must_use]
    pub const fn citation(self) -> &'static str {
        match self {
            Self::V311 => "mqtt311",
            Self::V5 => "mqtt5",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail(what) => write!(f, "FAIL: {what}"),
            Self::Skip(why) => write!(f, "skip: {why}"),
        }
    }
}

/// Ends the case as failed.
pub(crate) fn fail<T>(what: impl Into<String>) -> Verdict<T> {
    Err(Failure::Failed(what.into()))
}

/// Ends the case as not applicable.
pub(crate) fn skip<T>(why: impl Into<String>) -> Verdict<T> {
    Err(Failure::Skipped(why.into()))
}

/// Fails with `what` unless `holds`.
pub(crate) fn check(holds: bool, what: &str) -> Verdict {
    if holds { Ok(()) } else { fail(what) }
}

/// Fails unless both are equal; `what` names the value.
#[expect(
    clippy::needless_pass_by_value,
    reason = "literals and fields read best without `&`"
)]
pub(crate) fn check_eq<T: PartialEq + fmt::Debug>(what: &str, got: T, wanted: T) -> Verdict {
    if got == wanted {
        Ok(())
    } else {
        fail(format!("{what}: got {got:?}, expected {wanted:?}"))
    }
}

/// Adds to a failure what the case was doing, for cases that try several things in turn.
pub(crate) trait During {
    fn during(self, what: &str) -> Self;
}

impl<T> During for Verdict<T> {
    fn during(self, what: &str) -> Self {
        self.map_err(|failure| match failure {
            Failure::Failed(text) => Failure::Failed(format!("{what}: {text}")),
            Failure::Skipped(text) => Failure::Skipped(text),
        })
    }
}

/// A [`Case`] whose name is that of its function.
macro_rules! case {
    ($version:ident, $run:ident $(, $statement:literal)*) => {
        $crate::case::Case {
            name: stringify!($run),
            version: $crate::case::Version::$version,
            statements: &[$($statement),*],
            run: $run,
        }
    };
}
pub(crate) use case;
