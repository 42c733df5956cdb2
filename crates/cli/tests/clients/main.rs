//! The clients of the program as their users see them: what they print, and how they end.
//!
//! Map: `broker` has the brokers (a real one, and stubs that answer with given bytes) and the clients' processes;
//! `messages` sends and receives; `payloads` is about what makes payloads and when they leave, `outlets` where messages go; `mistakes` is everything that goes wrong: one clear line, and an exit code that says
//! what; `processes` is about pipes, signals and secrets; `promises` has what the design says and nobody else tests; `connections` is `conn`; `stores` is `store`, on what a broker
//! has written; `shells` the completions.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: helpers outside #[test] functions may fail as well"
)]

mod broker;
mod connections;
mod messages;
mod mistakes;
mod outlets;
mod payloads;
mod processes;
mod promises;
mod shells;
mod stores;
