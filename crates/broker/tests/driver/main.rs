//! The driver over real sockets: what the engine's own tests cannot see.
//!
//! Every test starts a broker on a free port of 127.0.0.1 and talks to it in raw bytes. Nothing sleeps: each step
//! waits for the packet or the end of the connection that it expects.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: helpers outside #[test] functions may fail as well"
)]

mod authentication;
mod client;
mod closing;
mod durable;
mod reading;
mod retained;
mod shards;
mod starting;
mod writing;
