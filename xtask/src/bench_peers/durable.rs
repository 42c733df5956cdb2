//! The part about storage: sessions that outlive their connections, on brokers that keep what they acknowledge, and what
//! each loses of that at `kill -9`.
//!
//! Brokers take turns in each row; what `fsync` has of the throughput of `memory` is taken from neighbours only.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::files::Project;
use crate::steps::{Failure, output};

use super::peers::{Peer, Running};
use super::rows::{fewer_unacknowledged, number};
use super::{Options, Outcome, bench, neighbours, scratch};

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

/// The brokers of this part.
#[derive(Debug, Default)]
pub(crate) struct Brokers {
    usual: Vec<Peer>,
    /// The same, told to take and send many unacknowledged messages.
    with_many: Vec<Peer>,
}

impl Brokers {
    pub(crate) fn new(martlet: &str) -> Self {
        let usual = Peer::durable(martlet);
        Self {
            with_many: usual.iter().map(Peer::with_many).collect(),
            usual,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.usual.is_empty()
    }

    pub(crate) fn usual(&self) -> &[Peer] {
        &self.usual
    }

    fn of(&self, column: &Column) -> &[Peer] {
        if column.takes_many() {
            &self.with_many
        } else {
            &self.usual
        }
    }

    /// Those that had to be told, with a command of their own.
    pub(crate) fn told_by_command(&self) -> impl Iterator<Item = &Peer> {
        self.told(|told, usual| told.shown() != usual.shown())
    }

    /// The same with a configuration of their own.
    pub(crate) fn told_by_config(&self) -> impl Iterator<Item = &Peer> {
        self.told(|told, usual| told.config() != usual.config())
    }

    fn told(&self, differ: fn(&Peer, &Peer) -> bool) -> impl Iterator<Item = &Peer> {
        let both = self.with_many.iter().zip(&self.usual);
        both.filter_map(move |(told, usual)| differ(told, usual).then_some(told))
    }
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
        row: MANY_ROW,
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

impl Column {
    /// Whether its brokers are told to take and send many unacknowledged messages.
    fn takes_many(&self) -> bool {
        self.row == MANY_ROW
    }

    /// The figure, and how many unacknowledged messages the broker allowed, if that was fewer than the load asked for.
    fn shown(&self, json: &str) -> Option<String> {
        let figure = (self.figure)(json)?;
        let fewer = fewer_unacknowledged(std::iter::once(json)).unwrap_or_default();
        Some(format!("{figure}{fewer}"))
    }
}

/// Everything, once; `more`: so many turns more for the two whose runs are repeated.
pub(crate) fn run(
    project: &Project,
    martlet: &str,
    (brokers, more): (&Brokers, u32),
    options: &Options,
    results: &mut Vec<Outcome>,
) {
    for column in &COLUMNS {
        for peer in turns(column, brokers.of(column), more) {
            let json = if column.arguments.is_empty() {
                kill(project, martlet, peer)
            } else {
                bench(project, martlet, peer, column.arguments, &options.seconds)
            };
            let shown = match &json {
                Ok(json) => column.shown(json).unwrap_or_else(|| "no figure".to_owned()),
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

/// What the page says.
pub(crate) fn table(brokers: &Brokers, results: &[Outcome]) -> String {
    if brokers.is_empty() {
        return String::new();
    }
    let mut text = HEAD.to_owned();
    let heads: Vec<&str> = COLUMNS.iter().map(|column| column.head).collect();
    let _ = writeln!(text, "| | {} |", heads.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(COLUMNS.len()));
    for peer in brokers.usual() {
        let _ = write!(text, "| {} |", peer.name);
        for column in &COLUMNS {
            let mut figures: Vec<(f64, &str)> = Outcome::reports(results, &peer.name, column.row)
                .flatten()
                .map(|json| (number(json, column.order).unwrap_or_default(), json))
                .collect();
            figures.sort_by(|one, other| one.0.total_cmp(&other.0));
            let middle = figures.len().checked_sub(1).map(|last| last / 2);
            let shown = middle
                .and_then(|middle| column.shown(figures.get(middle)?.1))
                .unwrap_or_else(|| "–".to_owned());
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    text.push_str("| fsync ÷ memory, neighbours |");
    for column in &COLUMNS {
        let rates = |peer: &'static str| {
            let reports = Outcome::reports(results, peer, column.row);
            reports.map(|json| number(json?, column.order))
        };
        let shown = (column.repeats == Repeats::Ratio)
            .then(|| neighbours::ratio(rates(FSYNC), rates(MEMORY)));
        let _ = write!(text, " {} |", shown.flatten().unwrap_or_default());
    }
    text.push('\n');
    text
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
/// The row with as many unacknowledged messages as brokers are told to take and send.
pub(crate) const MANY_ROW: &str = "durable, QoS 1, 1,000 unacknowledged";
/// How long a broker is filled before it is killed.
const FILL: Duration = Duration::from_secs(2);
const HEAD: &str = "
## Durability

50 pairs with sessions that outlive their connections, 256 bytes of payload; broker and load share both cores. Each broker
has its most careful settings. Last column: 8 publishers fill the sessions of 8 clients that are away, the broker is killed
in the middle of that and started again on what it has stored; a repetition is no fault at QoS 1. PUBACK's times count from when its
message was due, so the load's own lag behind its schedule is in them. The brokers take turns in each column; `fsync` and `memory` have more of
them, and the middle one is shown. The last line is the median of what each run with `fsync` has of the throughput of the run with `memory` right
before it, with the range. In the second column each broker is told to take 1,000 messages from a client before it has acknowledged the first
(its Receive Maximum; by default Martlet takes 64, mosquitto 20), and to send a client as many (256 and 20), by settings that only this column has,
below; where one allowed fewer, the number stands beside its figure.

";

#[cfg(test)]
mod tests {
    use super::super::peers::MANY;
    use super::{
        Brokers, COLUMNS, FSYNC, MEMORY, Outcome, Peer, Repeats, acknowledged, lost, rate, table,
        turns,
    };

    #[test]
    fn only_the_row_with_many_unacknowledged_messages_has_brokers_that_take_so_many() {
        let brokers = Brokers::new("/a/b/martlet");
        let martlet = format!(
            "MARTLET_LIMITS_RECEIVE_MAXIMUM={MANY} MARTLET_LIMITS_IN_FLIGHT_TO_CLIENT_MAX={MANY} "
        );
        let mosquitto = format!("\nmax_inflight_messages {MANY}\n");
        for column in &COLUMNS {
            let asks = column.arguments.ends_with(&format!("--inflight {MANY}"));
            assert_eq!(column.takes_many(), asks, "{}", column.row);
            for peer in brokers.of(column) {
                let is_told = if peer.name.starts_with("Martlet") {
                    peer.shown().contains(&martlet)
                } else if peer.name.starts_with("mosquitto") {
                    peer.config().unwrap().contains(&mosquitto)
                } else {
                    asks
                };
                assert_eq!(is_told, asks, "{}: {}", column.row, peer.name);
            }
        }
        let mut told: Vec<&Peer> = brokers.told_by_command().collect();
        assert_eq!(told.len(), 3);
        told.extend(brokers.told_by_config());
        let many = COLUMNS.iter().find(|column| column.takes_many()).unwrap();
        let all = brokers.of(many).iter();
        let all: Vec<&Peer> = all
            .filter(|peer| !peer.name.starts_with("nats-server"))
            .collect();
        assert_eq!(told.len(), all.len(), "the page lists each of them");
    }

    #[test]
    fn the_table_says_where_a_broker_allowed_fewer_unacknowledged_messages() {
        let brokers = Brokers::new("/a/b/martlet");
        let many = COLUMNS.iter().find(|column| column.takes_many()).unwrap();
        let report = |allowed: u32| {
            let json = format!(
                r#"{{"settings":{{"inflight":1000}},"measured":{{"done_per_s":9}},"unacknowledged_max":{allowed}}}"#
            );
            vec![Outcome::new(&brokers.usual()[0], many.row, Ok(json))]
        };
        let (full, fewer) = (table(&brokers, &report(1000)), table(&brokers, &report(64)));
        assert!(full.contains("| Martlet, memory | – | 9 |"), "{full}");
        let shown = "| Martlet, memory | – | 9 (64 unacknowledged allowed) |";
        assert!(fewer.contains(shown), "{fewer}");
    }

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
