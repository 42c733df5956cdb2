//! A black-box MQTT conformance suite: raw packets against any broker at a host and port.
//!
//! Map: [`run`] takes the cases of `v311` and `v5`, runs them on a pool of threads against a
//! [`Target`] and returns a [`Report`]; [`cli`] wraps that for a command line. The cases speak
//! through `harness` (a blocking client that expects packets) and `wire` (a builder that can also
//! build wrong packets, and a strict parser of what the broker sends). Nothing here shares code
//! with the broker's codec, so a mistake in that codec cannot hide itself.

mod case;
mod cli;
mod exceptions;
mod harness;
mod report;
mod runner;
#[cfg(test)]
mod tests;
mod v311;
mod v5;
mod wire;

pub use case::{Case, Failure, Outcome, Verdict, Version};
pub use cli::cli;
pub use exceptions::{EXCEPTIONS, Exception};
pub use harness::Target;
pub use report::{CaseResult, Report, StatementKey, StatementState};
pub use runner::{Filter, cases, run};
