//! The client as its users see it: against a broker in the same process, over links that break, and
//! against a server that answers as a test wants.
//!
//! Map: `basic` is one test of everything; `forwarding`, `broken_links`, `cancelling`, `streams`,
//! `silent_server`, `restarts`, `requests`, `events`, `idling`, `metering`, `ways_in` prove the must-haves; `server` is the server that does
//! as it is told. `docs/client-acceptance.md` says which test proves what.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, also outside test functions"
)]

mod basic;
mod blocking;
mod broken_links;
mod cancelling;
mod events;
mod forwarding;
mod idling;
mod metering;
mod requests;
mod restarts;
mod server;
mod silent_server;
mod streams;
mod ways_in;

use std::time::Duration;

use martlet_client::test::Broker;
use martlet_client::{Builder, Client};

/// Runs a test with both versions, each with a broker of its own.
async fn both(run: impl AsyncFn(Builder, &mut Broker)) {
    for v5 in [false, true] {
        let mut broker = Broker::start().await.unwrap();
        let builder = Client::builder(broker.url());
        let builder = if v5 { builder.v5() } else { builder.v311() };
        let limit = Duration::from_secs(120);
        let done = tokio::time::timeout(limit, run(builder, &mut broker)).await;
        done.unwrap_or_else(|_| panic!("v5: {v5}"));
    }
}
