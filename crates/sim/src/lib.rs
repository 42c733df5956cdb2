//! A seeded world in which shards, clients and faults are simulated.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a simulator is a test: when an assumption of its own fails, the run has to stop"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an invariant looks at the events that it is about"
)]
#![expect(
    clippy::struct_excessive_bools,
    reason = "facts about one thing, not a state"
)]

mod client;
mod hostile;
mod interest;
mod invariants;
mod ledger;
mod link;
mod rest;
mod rng;
mod server_view;
mod setup;
mod world;

pub use rest::{Report, run};
pub use setup::{Options, fresh_seeds};
pub use world::Failure;
