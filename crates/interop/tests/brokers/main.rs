//! Our client against brokers that nobody here wrote: mosquitto, started by each test, or whatever
//! listens at `MARTLET_CLIENT_TARGET=HOST:PORT`.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code: what goes wrong fails the test that asked for it"
)]

mod mosquitto;
mod suite;
