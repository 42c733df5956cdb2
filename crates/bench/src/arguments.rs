//! What may be typed behind `martlet bench`. [`crate::settings`] says what it means.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// The scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Pairs of one publisher and one subscriber
    P2p,
    /// Many publishers, one subscriber
    FanIn,
    /// One publisher, many subscribers
    FanOut,
    /// Publishers and one shared group
    Shared,
    /// Subscribers with many wildcard filters each
    Wildcard,
    /// A fixed rate, and how long each message took from the moment it was due
    Latency,
    /// Connect and disconnect as fast as the broker can
    Connect,
    /// Connections that do nothing: what each costs in memory
    Idle,
    /// Store retained messages, then send all to one new subscriber
    Retained,
    /// Queue messages for sessions that are away, then let them come back
    Offline,
    /// Pairs with sessions that outlive their connections: throughput, and how long acknowledgements take
    Durable,
}

/// Load for any MQTT broker. The report separates what was attempted, accepted, acknowledged, delivered, lost,
/// duplicated and reordered.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "martlet bench",
    disable_help_flag = true,
    args_override_self = true,
    after_help = EXAMPLES,
    max_term_width = 110
)]
pub(crate) struct Arguments {
    /// What to do
    pub(crate) scenario: Scenario,

    /// The broker's name or address
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The broker's port
    #[arg(short = 'p', long, default_value_t = 1883)]
    pub(crate) port: u16,
    /// The broker's process on this machine: measure its CPU time and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Protocol version: 5 or 3.1.1
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "5", value_parser = ["5", "3.1.1"])]
    pub(crate) protocol: String,
    /// QoS of publications and subscriptions: 0, 1 or 2
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: Option<u8>,

    /// Number of clients: of both sides in p2p, durable and latency, of the side that has many elsewhere
    #[arg(short = 'c', long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) count: Option<usize>,
    /// Number of pairs [p2p, durable: 50, latency: 10]
    #[arg(
        long,
        value_name = "COUNT",
        help_heading = "Size",
        conflicts_with = "count"
    )]
    pub(crate) pairs: Option<usize>,
    /// Number of publishers [fan-in: 100, shared: 50, wildcard: 10, fan-out: 1]
    #[arg(long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) publishers: Option<usize>,
    /// Number of subscribers [fan-out: 500, shared: 4, wildcard: 1000, fan-in: 1]
    #[arg(long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) subscribers: Option<usize>,
    /// Payload bytes, at least 24 [durable: 256, else 64]
    #[arg(short = 's', long, value_name = "BYTES", help_heading = "Size")]
    pub(crate) size: Option<usize>,
    /// wildcard: filters of each subscriber [20]; idle: exact filters of each connection [0]
    #[arg(long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) filters: Option<usize>,
    /// wildcard: number of topics [10000]
    #[arg(long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) topics: Option<usize>,
    /// wildcard: subscribers that a message matches, on average [3]
    #[arg(long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) matches: Option<f64>,
    /// retained: number of messages [100000]; offline: messages for each session [1000]
    #[arg(long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) messages: Option<u64>,
    /// connect: connections at the same time; elsewhere: connections that are being opened [100]
    #[arg(long, value_name = "COUNT", help_heading = "Size")]
    pub(crate) concurrency: Option<usize>,

    /// Undelivered messages that each publisher may have [p2p, wildcard: 256, latency, durable: 4096, else 64].
    /// They may all wait in one session: more than the broker's queue for a session holds, and some are lost
    #[arg(short = 'w', long, value_name = "COUNT", help_heading = "Pace")]
    pub(crate) window: Option<u64>,
    /// QoS 1 and 2: unacknowledged messages that each publisher may have, no more than the broker's Receive Maximum, as
    /// the report says then [20]
    #[arg(short = 'F', long, value_name = "COUNT", help_heading = "Pace")]
    pub(crate) inflight: Option<u16>,
    /// Messages per second of all publishers together, on a fixed schedule [latency: 5000, else as many as possible]
    #[arg(
        long,
        value_name = "PER_SECOND",
        help_heading = "Pace",
        conflicts_with = "interval_ms"
    )]
    pub(crate) rate: Option<f64>,
    /// Milliseconds between the messages of one publisher, on a fixed schedule
    #[arg(short = 'I', long, value_name = "MS", help_heading = "Pace")]
    pub(crate) interval_ms: Option<f64>,
    /// New connections per second [as many as possible]
    #[arg(short = 'R', long, value_name = "PER_SECOND", help_heading = "Pace")]
    pub(crate) connect_rate: Option<f64>,
    /// Subscriptions made and ended per second beside the messages, by one more client
    #[arg(
        long,
        value_name = "PER_SECOND",
        default_value_t = 0.0,
        help_heading = "Pace"
    )]
    pub(crate) churn: f64,

    /// Stop after so many messages of all publishers together
    #[arg(short = 'L', long, value_name = "COUNT", help_heading = "Time")]
    pub(crate) limit: Option<u64>,
    /// How long to measure, such as 10s or 500ms
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", help_heading = "Time")]
    pub(crate) duration: Duration,
    /// How long to run before that [1s]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Time")]
    pub(crate) warmup: Option<Duration>,
    /// How long to wait at the end for what has not arrived, while nothing arrives; six times as long at most
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", help_heading = "Time")]
    pub(crate) drain: Duration,
    /// A publisher whose window has not moved for so long gives its messages up and goes on
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3s", help_heading = "Time")]
    pub(crate) stall: Duration,
    /// How long memory may settle before it is read
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s", help_heading = "Time")]
    pub(crate) settle: Duration,
    /// Longest time for connections and subscriptions to be made
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s", help_heading = "Time")]
    pub(crate) setup: Duration,

    /// Topic; %i is the number of the pair or publisher, %c its client identifier, %u its user name
    #[arg(short = 't', long, help_heading = "Names")]
    pub(crate) topic: Option<String>,
    /// Client identifiers: this and a number [mb- and a number for the run]
    #[arg(long, help_heading = "Names")]
    pub(crate) prefix: Option<String>,
    /// The first number for %i and client identifiers
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        help_heading = "Names"
    )]
    pub(crate) start_number: usize,
    /// User name; %i and %c may stand in it
    #[arg(short = 'u', long, help_heading = "Names")]
    pub(crate) username: Option<String>,
    /// Password
    #[arg(
        short = 'P',
        long,
        env = "MARTLET_BENCH_PASSWORD",
        hide_env_values = true,
        help_heading = "Names"
    )]
    pub(crate) password: Option<String>,
    /// Keep-alive in seconds
    #[arg(
        short = 'k',
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        help_heading = "Names"
    )]
    pub(crate) keepalive: u16,
    /// Local addresses to connect from, in turn
    #[arg(
        long,
        value_name = "ADDRESS,...",
        value_delimiter = ',',
        help_heading = "Names"
    )]
    pub(crate) ifaddr: Vec<IpAddr>,
    /// Seed of what is drawn: topics and filters
    #[arg(long, default_value_t = 1, help_heading = "Names")]
    pub(crate) seed: u64,

    /// One JSON object instead of text
    #[arg(long, help_heading = "Report")]
    pub(crate) json: bool,
    /// No live line
    #[arg(long, help_heading = "Report")]
    pub(crate) quiet: bool,
    /// Fail if more deliveries are lost: a number, or a share such as 0.1%
    #[arg(long, value_name = "COUNT", value_parser = share, help_heading = "Report")]
    pub(crate) max_loss: Option<Share>,
    /// Fail if the 99th percentile (durable: of the acknowledgements) is longer, such as 2ms
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Report")]
    pub(crate) p99: Option<Duration>,
    /// Fail if fewer messages are delivered (or connections made) per second
    #[arg(long, value_name = "PER_SECOND", help_heading = "Report")]
    pub(crate) min_rate: Option<f64>,
    /// This text
    #[arg(long, action = clap::ArgAction::Help, help_heading = "Report")]
    pub(crate) help: Option<bool>,
}

/// A number of messages, or a part of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Share {
    Count(u64),
    Percent(f64),
}

/// "5", "5s", "500ms", "20us": seconds unless a unit says otherwise.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" => 60.0,
        other => return Err(format!("'{other}' is no unit: us, ms, s or m")),
    };
    let value: f64 = digits
        .parse()
        .map_err(|_| "a number with a unit: 5s, 500ms, 20us".to_owned())?;
    Duration::try_from_secs_f64(value * unit).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<Share, String> {
    let problem = "a number of messages, or a share such as 0.1%".to_owned();
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Share::Percent(percent)),
            Ok(_) | Err(_) => Err(problem),
        },
        None => text.parse().map(Share::Count).map_err(|_| problem),
    }
}

const EXAMPLES: &str = "\
Examples:
  martlet bench p2p --pid $(pidof mosquitto)          50 pairs, as fast as they go
  martlet bench p2p -q 1 -F 20 --duration 10s
  martlet bench fan-out --subscribers 500 -V 3.1.1 -h broker -p 1884
  martlet bench latency --rate 5000 --p99 2ms         a gate: exit code 1 if missed
  martlet bench durable -F 100 -q 1                   what durability costs
  martlet bench p2p -c 100 -I 1000 -L 5000 -t 'home/%i/power' --max-loss 0 --json

Exit codes: 0 done; 1 the broker failed the run or a gate; 2 the arguments are wrong";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::{Arguments, Share, duration, share};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("20us"), Ok(Duration::from_micros(20)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "5h", "-1s", "1e400"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn losses_are_counted_or_shares() {
        assert_eq!(share("7"), Ok(Share::Count(7)));
        assert_eq!(share("0.1%"), Ok(Share::Percent(0.1)));
        assert!(share("x").is_err());
        assert!(share("101%").is_err());
    }
}
