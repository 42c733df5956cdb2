//! `martlet bench`: load for any MQTT broker, on one thread, with books that notice what was lost, duplicated or
//! reordered.
//!
//! Map: [`cli`] is the command. `arguments` is what may be typed, `settings` what it means. `setup` connects and
//! subscribes; `swarm` is all connections on one poll, `wire` the tight encoder and decoder. `messages` plans the
//! scenarios with publishers and subscribers, `traffic` publishes within windows or on a schedule, `book` and `ledger`
//! know who is owed what, `drive` takes it through warm-up, measured window and drain. `report` is what comes out.

mod alarm;
mod arguments;
mod book;
mod churn;
mod clock;
mod collect;
mod connect;
mod drive;
mod error;
mod feed;
mod idle;
mod ledger;
mod messages;
mod number;
mod offline;
mod process;
mod report;
mod retained;
mod settings;
mod setup;
mod swarm;
mod traffic;
mod wildcard;
mod wire;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Scenario};
use crate::clock::Clock;
pub use crate::error::Error;
use crate::report::Report;
use crate::settings::Settings;
use crate::swarm::Swarm;

/// Runs what `args` (without the program's name) say and writes the report to `out`.
///
/// The code is 0 if the run took place and met its gates, 1 if a gate was missed or connections were lost, 2 if the
/// arguments make no sense; a broker that cannot be reached is an error.
pub fn cli(args: &[String], out: &mut dyn Write) -> Result<ExitCode, Error> {
    let words = std::iter::once("martlet bench").chain(args.iter().map(String::as_str));
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(problem) => {
            if problem.use_stderr() {
                write!(io::stderr(), "{problem}")?;
                return Ok(ExitCode::from(USAGE));
            }
            return match write!(out, "{problem}") {
                // Who has read enough of a page of help may go. A report that nobody read is another matter.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Error::Output(error))
                }
                Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
            };
        }
    };
    match Settings::new(arguments).and_then(|settings| Ok((run(&settings)?, settings))) {
        Ok((report, settings)) => {
            if settings.json {
                let json = serde_json::to_string(&report).map_err(io::Error::other)?;
                writeln!(out, "{json}").map_err(Error::Output)?;
            } else {
                let text = report.text();
                out.write_all(text.as_bytes()).map_err(Error::Output)?;
            }
            Ok(if report.ok {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Err(Error::Arguments(problem)) => {
            writeln!(io::stderr(), "martlet bench: {problem}")?;
            Ok(ExitCode::from(USAGE))
        }
        Err(error) => Err(error),
    }
}

fn run(settings: &Settings) -> Result<Report, Error> {
    // As many sockets as the operator allows; opening one too many says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let mut swarm = Swarm::new(settings.version, Clock::start())?;
    let mut report = Report::new(settings);
    match settings.scenario {
        Scenario::P2p
        | Scenario::FanIn
        | Scenario::FanOut
        | Scenario::Shared
        | Scenario::Wildcard
        | Scenario::Latency
        | Scenario::Durable => messages::run(&mut swarm, settings, &mut report)?,
        Scenario::Connect => connect::run(&mut swarm, settings, &mut report)?,
        Scenario::Idle => idle::run(&mut swarm, settings, &mut report)?,
        Scenario::Retained => retained::run(&mut swarm, settings, &mut report)?,
        Scenario::Offline => offline::run(&mut swarm, settings, &mut report)?,
    }
    report.judge();
    Ok(report)
}

/// The arguments make no sense.
const USAGE: u8 = 2;
