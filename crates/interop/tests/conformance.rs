//! The conformance suite against our own broker, on one, two and four shards.
//!
//! Nothing may fail, and nothing may be skipped but the cases for brokers that lack a feature: ours lacks none.

use std::io;
use std::net::ToSocketAddrs;
use std::time::Duration;

use martlet_conformance::{Filter, Outcome, Target, run};
use martlet_interop::BrokerUnderTest;

fn conform(shards: usize) -> io::Result<()> {
    let broker = BrokerUnderTest::start(shards)?;
    let address = broker.address().to_socket_addrs()?.next();
    let address = address.ok_or_else(|| io::Error::other("no such host"))?;
    let target = Target::new(address, ANSWER);
    let report = run(&target, &Filter::default(), JOBS);
    // What failed is in the report; the log of thousands of connections would bury it.
    drop(broker);
    let failed = report.results().iter();
    let lines: Vec<String> = failed
        .filter(|result| matches!(result.outcome, Outcome::Fail(_)))
        .map(|result| {
            let case = result.case;
            format!("{} {}: {}", case.version, case.name, result.outcome)
        })
        .collect();
    let first: Vec<&str> = lines.iter().map(String::as_str).take(SHOWN).collect();
    assert!(
        report.is_success(),
        "{} of {} cases failed (the first {SHOWN} are shown) with {shards} shards:\n{}",
        lines.len(),
        report.results().len(),
        first.join("\n")
    );
    let outcomes = report.results().iter();
    let skipped: Vec<&str> = outcomes
        .filter(|result| matches!(result.outcome, Outcome::Skip(_)))
        .map(|result| result.case.name)
        .collect();
    assert_eq!(skipped, FOR_LESSER_BROKERS);
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

/// Failures that are printed: with a dead broker, all cases fail.
const SHOWN: usize = 30;
/// Cases about features that a broker says it does not have.
const FOR_LESSER_BROKERS: [&str; 2] = [
    "qos_above_the_maximum_closes",
    "retain_without_support_closes",
];
/// How long the broker may take for one answer: milliseconds do, but all tests of a machine run at once.
const ANSWER: Duration = Duration::from_secs(10);
/// Cases at a time: many of them wait for a time-out or an expiry.
const JOBS: usize = 16;
