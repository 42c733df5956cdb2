//! How a case talks to the broker.
//!
//! A case opens [`Client`]s through its [`Target`], which also hands out client ids and topics that
//! no other case uses, so that cases run at the same time and runs do not disturb each other.

mod capabilities;
mod client;
mod expect;
mod target;

pub(crate) use capabilities::Capabilities;
pub(crate) use client::Client;
pub use target::Target;
