//! Canned work for counting instructions.
//!
//! Instruction counts do not depend on what else a machine is doing, so they show a change of 1 % where a clock
//! shows noise. `cargo xtask icount` runs every [`SCENARIOS`] entry under callgrind twice, with different numbers of
//! rounds; the difference leaves out start-up. The program is one shard with canned bytes: no sockets, no threads; if there is a
//! store, its disk is memory (`files.rs`).

mod answers;
mod crossing;
mod files;
mod flows;
mod groups;
mod pair;
mod scenarios;
#[cfg(test)]
mod tests;
mod world;

pub use scenarios::{SCENARIOS, Scenario};
