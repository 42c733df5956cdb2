//! The client against a broker in the same process, over loopback.
//!
//! Map: `basic` is one test of everything.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests, also outside test functions"
)]

mod basic;
