//! `cargo xtask bench-peers`: the same load on Martlet and on the brokers that a developer can install, in turn, and
//! `docs/benchmarks.md` from what came out.
//!
//! Map: [`rows`] lists what is run, [`peers`] knows how each broker is started, [`page`] writes the table and the plots.
//! Parts of their own: [`durable`] about storage, [`crossing`] about shards, [`churn`] about subscriptions that come and go,
//! [`libraries`] about client libraries; [`neighbours`] compares what ran side by side. Here is the loop: for each run, each
//! row, each broker: start it on one core, load it from another, stop it.

mod churn;
mod crossing;
mod durable;
mod libraries;
mod neighbours;
mod page;
mod peers;
mod rows;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::files::Project;
use crate::steps::{Failure, cargo, output, run as run_command};

use self::durable::Brokers;
use self::page::Page;
use self::peers::{Peer, Running};
use self::rows::{Metric, ROWS, Row};

pub(crate) fn run(project: &Project, words: &[&str]) -> Result<(), Failure> {
    let options = Options::parse(words)?;
    let martlet = match &options.martlet {
        Some(path) => path.clone(),
        None => build(project)?,
    };
    let packages = project.target().join("peers");
    let mut peers = Peer::all(&martlet, &packages, &options.peers);
    peers.retain(|peer| !options.without.contains(&peer.name));
    // Right behind the one that it is compared with.
    let one_shard = peers.iter().position(|peer| peer.name == peers::MARTLET);
    let behind = one_shard.map_or(0, |at| at + 1);
    peers.insert(behind, Peer::two_shards(&martlet));
    let rows: Vec<&Row> = ROWS.iter().filter(|row| options.wants(row.name)).collect();
    let durable = if options.wants(durable::NAME) {
        Brokers::new(&martlet)
    } else {
        Brokers::default()
    };
    let mut results = Vec::new();
    for run in 1..=options.runs {
        for (turn, row) in turns(&rows, run, options.more_pairs(run, peers::TWO_SHARDS)) {
            for peer in peers.iter().filter(|peer| takes_part(peer, row, turn)) {
                let names = [peer.name.as_str(), row.name, row.group.unwrap_or_default()];
                if options.has_had_enough(run, &names) {
                    continue;
                }
                let seconds = row.is_steady.then_some(STEADY_SECONDS);
                let seconds = seconds.unwrap_or(&options.seconds);
                let json = bench(project, &martlet, peer, row.arguments, seconds);
                let shown = match &json {
                    Ok(json) => row.metric.figure(json).map_or_else(
                        || "no figure".to_owned(),
                        |figure| format!("{figure:.3} {}", row.metric.unit()),
                    ),
                    Err(failure) => failure.to_string(),
                };
                println!("run {run}: {}: {}: {shown}", row.name, peer.name);
                results.push(Outcome::new(peer, row.name, json));
            }
        }
        if options.wants(crossing::NAME) && !options.has_had_enough(run, &[crossing::NAME]) {
            crossing::run(project, &martlet, &peers, &options, &mut results);
        }
        if !durable.is_empty() && !options.has_had_enough(run, &[durable::NAME]) {
            let more = options.more_pairs(run, durable::NAME);
            durable::run(project, &martlet, (&durable, more), &options, &mut results);
        }
        if options.wants(libraries::NAME) {
            libraries::run(project, &peers, &mut results)?;
        }
    }
    let page = Page {
        peers: &peers,
        durable: &durable,
        rows: &rows,
        results: &results,
        seconds: &options.seconds,
        runs: options.runs,
    };
    page.write(project)
}

/// The rows of one run, each with its turn: `more` further ones where two shards are compared with one; the steady ones in the
/// first run only, several times in turn.
fn turns<'r>(rows: &[&'r Row], run: u32, more: u32) -> Vec<(u32, &'r Row)> {
    let (steady, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_steady);
    let mut turns = Vec::new();
    for row in others {
        let more = if is_for_two_shards(row) { more } else { 0 };
        turns.extend((0..=more).map(|turn| (turn, row)));
    }
    if run == 1 {
        for turn in 0..STEADY_TURNS {
            turns.extend(steady.iter().map(|row| (turn, *row)));
        }
    }
    turns
}

/// Two shards are shown where the cost of a message is; what they cost in memory is one shard's, more or less.
fn is_for_two_shards(row: &Row) -> bool {
    row.group.is_none() && row.metric == Metric::Cpu
}

fn takes_part(peer: &Peer, row: &Row, turn: u32) -> bool {
    let has_two_shards = peer.name == peers::TWO_SHARDS;
    (turn == 0 || has_two_shards || peer.name == peers::MARTLET)
        && !row.peers_skipped.contains(&peer.name.as_str())
        && (!has_two_shards || is_for_two_shards(row))
}

/// What one run of one row on one broker gave: the tool's JSON, or why there is none.
#[derive(Debug)]
struct Outcome {
    peer: String,
    row: &'static str,
    json: Result<String, String>,
}

impl Outcome {
    fn new(peer: &Peer, row: &'static str, json: Result<String, Failure>) -> Self {
        Self {
            peer: peer.name.clone(),
            row,
            json: json.map_err(|failure| failure.to_string()),
        }
    }

    /// Of each run of this broker and row, in turn: the report, or nothing if it failed.
    fn reports<'r>(
        results: &'r [Self],
        peer: &'r str,
        row: &'r str,
    ) -> impl Iterator<Item = Option<&'r str>> {
        results
            .iter()
            .filter(move |result| result.peer == peer && result.row == row)
            .map(|result| result.json.as_deref().ok())
    }
}

#[derive(Debug)]
struct Options {
    runs: u32,
    seconds: String,
    only: Vec<String>,
    /// NAME=COMMAND; `{port}` stands for the port.
    peers: Vec<(String, String)>,
    martlet: Option<String>,
    /// Brokers, rows, groups of rows and parts that take part in the first run only.
    once: Vec<String>,
    /// Brokers that do not take part.
    without: Vec<String>,
}

impl Options {
    /// Whether a row or a part of this name is to be run.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    /// Whether one of these names takes part in the first run only, and this is a later one.
    fn has_had_enough(&self, run: u32, names: &[&str]) -> bool {
        let once = |name: &&str| self.once.iter().any(|once| name.contains(once.as_str()));
        run > 1 && names.iter().any(once)
    }

    /// So many turns more than one a run have those that are compared in this part, or with this broker: all in the first run.
    fn more_pairs(&self, run: u32, name: &str) -> u32 {
        let runs = (1..=self.runs).filter(|run| !self.has_had_enough(*run, &[name]));
        let runs = u32::try_from(runs.count()).unwrap_or(u32::MAX);
        if run == 1 {
            neighbours::PAIRS.saturating_sub(runs)
        } else {
            0
        }
    }

    fn parse(words: &[&str]) -> Result<Self, Failure> {
        let mut options = Self {
            runs: 3,
            seconds: "3".to_owned(),
            only: Vec::new(),
            peers: Vec::new(),
            martlet: None,
            once: Vec::new(),
            without: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(flag) = words.next() {
            let wrong = || {
                Failure::new(
                    format!("'{flag}' is no option, or its value is missing"),
                    USAGE,
                )
            };
            let value = (*words.next().ok_or_else(wrong)?).to_owned();
            match *flag {
                "--runs" => options.runs = value.parse().map_err(|_| wrong())?,
                "--seconds" => options.seconds = value,
                "--only" => options.only.push(value),
                "--once" => options.once.push(value),
                "--without" => options.without.push(value),
                "--martlet" => options.martlet = Some(value),
                "--peer" => {
                    let (name, command) = value.split_once('=').ok_or_else(wrong)?;
                    options.peers.push((name.to_owned(), command.to_owned()));
                }
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

fn build(project: &Project) -> Result<String, Failure> {
    let packages = [
        "-p",
        "martlet",
        "-p",
        "martlet-crash",
        "-p",
        "martlet-interop",
    ];
    let mut command = cargo(&["build", "--release", "--bins", "--examples"]);
    run_command(
        command.args(packages).current_dir(project.root()),
        "see its message above",
    )?;
    let path = project.target().join("release").join("martlet");
    Ok(path.display().to_string())
}

/// Where brokers keep their things.
fn scratch(project: &Project) -> Result<PathBuf, Failure> {
    let scratch = project.target().join("bench-peers");
    fs::create_dir_all(&scratch)
        .map_err(|error| Failure::new(format!("no scratch folder: {error}"), "make room"))?;
    Ok(scratch)
}

/// Starts the broker afresh, so that no row finds the memory of another.
fn bench(
    project: &Project,
    martlet: &str,
    peer: &Peer,
    arguments: &str,
    seconds: &str,
) -> Result<String, Failure> {
    let broker = Running::start(peer, &scratch(project)?)?;
    let mut command = Command::new("taskset");
    command.args(["-c", peer.load_cores, martlet, "bench"]);
    command.args(arguments.split(' ').filter(|word| !word.is_empty()));
    command.args(
        peer.bench_arguments
            .split(' ')
            .filter(|word| !word.is_empty()),
    );
    command.args(["--duration", seconds, "--quiet", "--json"]);
    command.args(["--port", &broker.port().to_string()]);
    command.args(["--pid", &broker.pid().to_string()]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let json = match command.output() {
        // A run with losses exits with 1 and still reports.
        Ok(result) if result.stdout.starts_with(b"{") => {
            String::from_utf8_lossy(&result.stdout).trim().to_owned()
        }
        Ok(_) => output(command.stderr(Stdio::inherit()))?,
        Err(error) => {
            return Err(Failure::new(
                format!("taskset: {error}"),
                "install util-linux; the comparison runs on Linux",
            ));
        }
    };
    Ok(json)
}

/// The core of the brokers, and that of the load.
const BROKER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
const BOTH_CORES: &str = "0,1";
/// Of a steady row: runs of Martlet, and how long each measures.
const STEADY_TURNS: u32 = 5;
const STEADY_SECONDS: &str = "5";
const USAGE: &str = "\
cargo xtask bench-peers [--runs 3] [--seconds 3] [--only ROW]... [--once NAME]... [--without BROKER]...
                        [--martlet PROGRAM] [--peer 'NAME=COMMAND {port}']...
--once: a broker, row or group of rows that takes part in the first run only
mosquitto, rumqttd and nats-server take part if they are on the PATH, aedes if Node is and
`npm install --prefix target/peers aedes` was run; anything else by --peer";

#[cfg(test)]
mod tests {
    use super::durable::NAME;
    use super::peers::{MARTLET, Peer, TWO_SHARDS};
    use super::rows::ROWS;
    use super::{Options, takes_part, turns};

    #[test]
    fn two_shards_run_right_behind_one_and_both_have_more_turns() {
        let martlet = Peer::all("/a/b/martlet", "/a/b".as_ref(), &[]).remove(0);
        let peers = [martlet, Peer::two_shards("/a/b/martlet")];
        let rows: Vec<_> = ROWS.iter().collect();
        let of = |run, more| {
            let turns = turns(&rows, run, more).into_iter();
            let runs = turns.flat_map(|(turn, row)| {
                let peers = peers.iter().filter(move |peer| takes_part(peer, row, turn));
                peers.map(|peer| (peer.name.as_str(), row.name))
            });
            runs.collect::<Vec<_>>()
        };
        let count = |runs: &[(&str, &str)], peer, row| {
            let runs = runs.iter().filter(|run| **run == (peer, row));
            runs.count()
        };
        let (first, second) = (of(1, 2), of(2, 0));
        let p2p = ROWS[0].name;
        assert_eq!(first[..2], [(MARTLET, p2p), (TWO_SHARDS, p2p)]);
        assert_eq!(count(&first, TWO_SHARDS, p2p), 3);
        assert_eq!(count(&first, MARTLET, p2p), 3);
        assert_eq!(count(&second, TWO_SHARDS, p2p), 1);
        let idle = "idle connection";
        assert_eq!(count(&first, TWO_SHARDS, idle), 0);
        assert_eq!(count(&first, MARTLET, idle), 1);
    }

    #[test]
    fn options_are_read() {
        let options = Options::parse(&["--runs", "1", "--peer", "x=run {port}", "--once", "grow"]);
        let options = options.unwrap();
        assert!(options.has_had_enough(2, &["x", "growth"]));
        assert!(!options.has_had_enough(1, &["growth"]) && !options.has_had_enough(2, &["x"]));
        assert_eq!(
            (options.more_pairs(1, NAME), options.more_pairs(2, NAME)),
            (4, 0)
        );
        let three = Options::parse(&["--once", "durability"]).unwrap();
        assert_eq!(three.more_pairs(1, NAME), 4, "one of three runs has them");
        assert_eq!(Options::parse(&[]).unwrap().more_pairs(1, NAME), 2);
        assert_eq!(
            Options::parse(&["--runs", "9"])
                .unwrap()
                .more_pairs(1, NAME),
            0
        );
        assert_eq!(options.runs, 1);
        assert_eq!(options.peers, [("x".to_owned(), "run {port}".to_owned())]);
        for wrong in [
            &["--runs"][..],
            &["--runs", "x"],
            &["--peer", "x"],
            &["-x", "1"],
        ] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
