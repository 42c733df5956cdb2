//! How a case talks to the broker.
//!
//! A case opens [`Client`]s through its [`Target`], which also hands out client ids and topics that
//! no other case uses, so that cases run at the same time and runs do not disturb each other.

mod capabilities;
mod client;
mod expect;
mod target;

pub(crate) use capabilities::Capabilities;
pub(crate) use client::{Client, Event};
pub(crate) use expect::Wait;
pub use target::Target;

/// Lets the broker's clock run on, for cases about expiry and delay. It never stands in for waiting
/// for an answer.
#[expect(
    clippy::disallowed_methods,
    reason = "the passing of time is what such a case tests"
)]
pub(crate) fn let_time_pass(duration: std::time::Duration) {
    std::thread::sleep(duration);
}
