//! The conformance suite against our own broker, on one, two and four shards.
//!
//! Nothing may fail, and nothing may be skipped: a case is skipped when a broker says that it lacks a feature, and ours lacks
//! none.

use std::io;
use std::net::ToSocketAddrs;
use std::time::Duration;

use martlet_conformance::{Filter, Target, run};
use martlet_interop::BrokerUnderTest;

fn conform(shards: usize) -> io::Result<()> {
    let broker = BrokerUnderTest::start(shards)?;
    let address = broker.address().to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other("no such host"))?;
    let target = Target::new(address, ANSWER);
    let report = run(&target, &Filter::default(), JOBS);
    // What failed is in the report; the log of thousands of connections would bury it.
    drop(broker);
    let (_, failed, skipped) = report.counts();
    assert!(
        report.is_success() && skipped == 0,
        "{failed} cases failed and {skipped} were skipped with {shards} shards:\n{}",
        report.render()
    );
    Ok(())
}

#[test]
fn one_shard_obeys_every_statement() -> io::Result<()> {
    conform(1)
}

#[test]
fn two_shards_obey_every_statement() -> io::Result<()> {
    conform(2)
}

#[test]
fn four_shards_obey_every_statement() -> io::Result<()> {
    conform(4)
}

/// How long the broker may take for one answer: milliseconds do, but all tests of a machine run at once.
const ANSWER: Duration = Duration::from_secs(10);
/// Cases at a time: many of them wait for a time-out or an expiry.
const JOBS: usize = 16;
