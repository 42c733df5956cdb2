//! The part about storage: sessions that outlive their connections, on brokers that keep what they acknowledge, and what
//! each loses of that at `kill -9`.
//!
//! Brokers take turns in each row; what `fsync` has of the throughput of `memory` is taken from neighbours only.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::files::Project;
use crate::steps::{Failure, output};

use super::peers::{Peer, Running};
use super::rows::number;
use super::{Options, Outcome, bench, scratch};

/// What `--only` calls this part.
pub(crate) const NAME: &str = "durability";

/// A column of the table.
#[derive(Debug)]
pub(crate) struct Column {
    /// As the reports call it.
    pub(crate) row: &'static str,
    pub(crate) head: &'static str,
    /// Behind `martlet bench`; empty: the broker is killed instead.
    pub(crate) arguments: &'static str,
    pub(crate) figure: fn(&str) -> Option<String>,
    /// The number by which runs are ordered to find the middle one.
    pub(crate) order: &'static [&'static str],
    pub(crate) repeats: Repeats,
}

/// What `fsync` and `memory` run several times for, beside one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// They do not.
    No,
    /// For the middle of figures that one stall of the machine can spoil.
    Middle,
    /// For what one has of the other's throughput, too.
    Ratio,
}

/// All columns.
pub(crate) const COLUMNS: [Column; 6] = [
    Column {
        row: "durable, QoS 1, 20 unacknowledged",
        head: "QoS 1, messages/s",
        arguments: "durable -q 1 --inflight 20",
        figure: rate,
        order: &["\"measured\":{", "\"done_per_s\":"],
        repeats: Repeats::Ratio,
    },
    Column {
        row: "durable, QoS 1, 1,000 unacknowledged",
        head: "with 1,000 unacknowledged",
        arguments: "durable -q 1 --inflight 1000",
        figure: rate,
        order: &["\"measured\":{", "\"done_per_s\":"],
        repeats: Repeats::Ratio,
    },
    Column {
        row: "durable, QoS 2, 20 unacknowledged",
        head: "QoS 2, messages/s",
        arguments: "durable -q 2 --inflight 20",
        figure: rate,
        order: &["\"measured\":{", "\"done_per_s\":"],
        repeats: Repeats::Ratio,
    },
    Column {
        row: "durable, QoS 1, 50,000 messages/s",
        head: "PUBACK at 50,000/s: p50 / p99 (the load's own lag, p99), ms",
        arguments: "durable -q 1 --rate 50000",
        figure: acknowledged,
        order: &["\"acknowledged_us\":{", "\"p99\":"],
        repeats: Repeats::Middle,
    },
    Column {
        row: "durable, QoS 1, 50,000 messages/s of 20 pairs",
        head: "the same from 20 pairs",
        arguments: "durable -q 1 --rate 50000 --pairs 20",
        figure: acknowledged,
        order: &["\"acknowledged_us\":{", "\"p99\":"],
        repeats: Repeats::Middle,
    },
    Column {
        row: "durable, kill -9",
        head: "acknowledged, then lost at kill -9",
        arguments: "",
        figure: lost,
        order: &["\"lost\":"],
        repeats: Repeats::No,
    },
];

/// Everything, once; `more`: so many turns more for the two whose runs are repeated.
pub(crate) fn run(
    project: &Project,
    martlet: &str,
    (peers, more): (&[Peer], u32),
    options: &Options,
    results: &mut Vec<Outcome>,
) {
    for column in &COLUMNS {
        for peer in turns(column, peers, more) {
            let json = if column.arguments.is_empty() {
                kill(project, martlet, peer)
            } else {
                bench(project, martlet, peer, column.arguments, &options.seconds)
            };
            let shown = match &json {
                Ok(json) => (column.figure)(json).unwrap_or_else(|| "no figure".to_owned()),
                Err(failure) => failure.to_string(),
            };
            println!("{}: {}: {shown}", column.row, peer.name);
            results.push(Outcome::new(peer, column.row, json));
        }
    }
}

/// Who is run for a column, in this order: all, then those whose runs are repeated so many times more.
fn turns<'p>(column: &Column, peers: &'p [Peer], more: u32) -> impl Iterator<Item = &'p Peer> {
    let more = if column.repeats == Repeats::No {
        0
    } else {
        more
    };
    let is_repeated = |peer: &Peer| peer.name == FSYNC || peer.name == MEMORY;
    let everybody = move |turn| {
        peers
            .iter()
            .filter(move |peer| turn == 0 || is_repeated(peer))
    };
    (0..=more).flat_map(everybody)
}

/// Fills the broker, kills it in the middle of that, starts it again on what it has stored, and counts.
fn kill(project: &Project, martlet: &str, peer: &Peer) -> Result<String, Failure> {
    let scratch = scratch(project)?;
    let book = scratch.join("book");
    let _ = std::fs::remove_file(&book);
    let tool = |half: &str, broker: &Running| {
        // Built beside it.
        let mut command = Command::new(Path::new(martlet).with_file_name("martlet-crash"));
        command.args([half, "--port", &broker.port().to_string(), "--book"]);
        command.arg(&book).stdin(Stdio::null());
        command
    };
    let broker = Running::start(peer, &scratch)?;
    let filling = tool("fill", &broker)
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    thread::sleep(FILL);
    drop(broker);
    wait(filling)?;
    let broker = Running::start_again(peer, &scratch)?;
    output(&mut tool("drain", &broker))
}

fn wait(mut filling: Child) -> Result<(), Failure> {
    match filling.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(&status.to_string())),
        Err(error) => Err(failed(&error.to_string())),
    }
}

fn failed(what: &str) -> Failure {
    Failure::new(
        format!("martlet-crash fill: {what}"),
        "it says why on its standard output",
    )
}

fn rate(json: &str) -> Option<String> {
    let rate = number(json, &["\"measured\":{", "\"done_per_s\":"])?;
    let lost = number(json, &["\"counts\":{", "\"lost\":"]).unwrap_or_default();
    let undelivered = if lost > 0.0 {
        format!(" ({lost} not delivered in time)")
    } else {
        String::new()
    };
    Some(format!("{rate:.0}{undelivered}"))
}

fn acknowledged(json: &str) -> Option<String> {
    let at = |share: &str| number(json, &["\"acknowledged_us\":{", share]);
    let (p50_us, p99_us) = at("\"p50\":").zip(at("\"p99\":"))?;
    let lag_us = number(json, &["\"schedule_lag_us\":{", "\"p99\":"])?;
    let rate = number(json, &["\"measured\":{", "\"done_per_s\":"])?;
    // Slower than asked for: the times then say how long the queue was.
    let missed = if rate < 49_000.0 {
        format!(" (reached {rate:.0}/s)")
    } else {
        String::new()
    };
    let [p50, p99, lag] = [p50_us, p99_us, lag_us].map(|us| us / 1e3);
    Some(format!("{p50:.2} / {p99:.2} ({lag:.2}){missed}"))
}

fn lost(json: &str) -> Option<String> {
    let of = |name: &str| number(json, &[name]);
    let messages = format!("{} of {}", of("\"lost\":")?, of("\"acknowledged\":")?);
    let sessions = of("\"sessions_lost\":")?;
    let retained = of("\"retained_lost\":")?;
    Some(if sessions + retained > 0.0 {
        format!(
            "{messages} messages, {sessions} of {} sessions, {retained} of {} retained",
            of("\"sessions\":")?,
            of("\"retained\":")?
        )
    } else {
        format!("{messages} messages, no session, nothing retained")
    })
}

/// Martlet with the setting that costs most, and with the one that costs nothing.
pub(crate) const FSYNC: &str = "Martlet, fsync";
pub(crate) const MEMORY: &str = "Martlet, memory";
/// How long a broker is filled before it is killed.
const FILL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::{COLUMNS, FSYNC, MEMORY, Peer, Repeats, acknowledged, lost, rate, turns};

    #[test]
    fn those_that_are_compared_run_one_behind_the_other() {
        let peers = Peer::durable("/a/b/martlet");
        for column in &COLUMNS {
            let names = turns(column, &peers, 2).map(|peer| peer.name.as_str());
            let names: Vec<&str> = names.collect();
            assert_eq!(names[..3], [MEMORY, FSYNC, "Martlet, os"]);
            let (all, more) = names.split_at(peers.len());
            let everybody: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
            assert_eq!(all, everybody);
            if column.repeats == Repeats::No {
                assert!(more.is_empty(), "{}", column.row);
            } else {
                assert_eq!(more, [MEMORY, FSYNC, MEMORY, FSYNC]);
            }
        }
    }

    #[test]
    fn figures_are_put_into_words() {
        let json = r#"{"measured":{"done_per_s":48000.4},"counts":{"lost":0},"acknowledged_us":{"p50":500,"p99":2340},"schedule_lag_us":{"p99":360}}"#;
        assert_eq!(rate(json).as_deref(), Some("48000"));
        assert_eq!(
            acknowledged(json).as_deref(),
            Some("0.50 / 2.34 (0.36) (reached 48000/s)")
        );
        let json = r#"{"acknowledged":9,"lost":0,"sessions":8,"sessions_lost":0,"retained":8,"retained_lost":0}"#;
        assert_eq!(
            lost(json).as_deref(),
            Some("0 of 9 messages, no session, nothing retained")
        );
        let json = json.replace("sessions_lost\":0", "sessions_lost\":8");
        assert_eq!(
            lost(&json).as_deref(),
            Some("0 of 9 messages, 8 of 8 sessions, 0 of 8 retained")
        );
    }
}
