//! Our client against brokers that nobody here wrote, started by each test, or whatever
//! listens at `MARTLET_CLIENT_TARGET=HOST:PORT`.
//!
//! Map: `suite` is what a client has to be able to do with any broker; `peer` starts one; `mosquitto` and `nats` say how.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code: what goes wrong fails the test that asked for it"
)]

mod mosquitto;
mod nats;
mod peer;
mod suite;
