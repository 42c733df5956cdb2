//! What the arguments mean: every number that a run depends on, with the scenario's defaults filled in.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use martlet_codec::{QoS, Version};
use serde::{Serialize, Serializer};

use crate::arguments::{Arguments, Scenario, Share};
use crate::error::Error;
use crate::number::{count, float};
use crate::wire::HEADER_BYTES;

/// Everything about a run. The report repeats it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    pub(crate) scenario: Scenario,
    pub(crate) host: String,
    pub(crate) port: u16,
    #[serde(skip)]
    pub(crate) address: SocketAddr,
    #[serde(skip)]
    pub(crate) pid: Option<u32>,
    #[serde(serialize_with = "as_text")]
    pub(crate) version: Version,
    #[serde(serialize_with = "as_bits")]
    pub(crate) qos: QoS,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) size: usize,
    pub(crate) filters: usize,
    pub(crate) topics: usize,
    pub(crate) matches: f64,
    pub(crate) messages: u64,
    pub(crate) concurrency: usize,
    pub(crate) window: u64,
    pub(crate) inflight: u16,
    /// None: as many as possible.
    pub(crate) rate: Option<f64>,
    pub(crate) connect_rate: Option<f64>,
    pub(crate) churn: f64,
    pub(crate) limit: Option<u64>,
    #[serde(serialize_with = "as_seconds")]
    pub(crate) duration: Duration,
    #[serde(serialize_with = "as_seconds")]
    pub(crate) warmup: Duration,
    #[serde(serialize_with = "as_seconds")]
    pub(crate) drain: Duration,
    #[serde(serialize_with = "as_seconds")]
    pub(crate) stall: Duration,
    #[serde(serialize_with = "as_seconds")]
    pub(crate) settle: Duration,
    #[serde(serialize_with = "as_seconds")]
    pub(crate) setup: Duration,
    pub(crate) topic: String,
    pub(crate) prefix: String,
    pub(crate) start_number: usize,
    #[serde(skip)]
    pub(crate) username: Option<String>,
    #[serde(skip)]
    pub(crate) password: Option<String>,
    pub(crate) keepalive: u16,
    pub(crate) ifaddr: Vec<IpAddr>,
    pub(crate) seed: u64,
    /// Tells this run's messages from those of others.
    pub(crate) run: u32,
    #[serde(skip)]
    pub(crate) json: bool,
    #[serde(skip)]
    pub(crate) quiet: bool,
    pub(crate) max_loss: Option<Share>,
    #[serde(serialize_with = "as_optional_seconds")]
    pub(crate) p99: Option<Duration>,
    pub(crate) min_rate: Option<f64>,
}

impl Settings {
    #[expect(
        clippy::too_many_lines,
        reason = "one line for each number; nothing is decided here that could be named"
    )]
    pub(crate) fn new(arguments: Arguments) -> Result<Self, Error> {
        let scenario = arguments.scenario;
        let (publishers, subscribers) = sizes(&arguments)?;
        let size = arguments.size.unwrap_or(if scenario == Scenario::Durable {
            256
        } else {
            64
        });
        if size < HEADER_BYTES {
            return Err(Error::Arguments(format!(
                "--size {size}: a payload carries publisher, sequence number and time, {HEADER_BYTES} bytes at least"
            )));
        }
        let run = random_run();
        let rate = rate(&arguments, publishers)?;
        Ok(Self {
            scenario,
            address: resolve(&arguments.host, arguments.port)?,
            host: arguments.host,
            port: arguments.port,
            pid: arguments.pid,
            version: if arguments.protocol == "5" {
                Version::V5
            } else {
                Version::V311
            },
            qos: arguments
                .qos
                .and_then(QoS::from_bits)
                .unwrap_or_else(|| default_qos(scenario)),
            publishers,
            subscribers,
            size,
            filters: arguments
                .filters
                .unwrap_or(if scenario == Scenario::Wildcard {
                    20
                } else {
                    0
                }),
            topics: arguments.topics.unwrap_or(10_000).max(1),
            matches: arguments.matches.unwrap_or(3.0),
            messages: arguments
                .messages
                .unwrap_or(if scenario == Scenario::Retained {
                    100_000
                } else {
                    1_000
                }),
            concurrency: arguments.concurrency.unwrap_or(100).max(1),
            window: arguments
                .window
                .unwrap_or_else(|| default_window(scenario))
                .max(1),
            inflight: arguments.inflight.unwrap_or(20).max(1),
            rate,
            connect_rate: positive(arguments.connect_rate, "--connect-rate")?,
            churn: arguments.churn.max(0.0),
            limit: arguments.limit.filter(|limit| *limit > 0),
            duration: arguments.duration,
            warmup: arguments.warmup.unwrap_or(Duration::from_secs(1)),
            drain: arguments.drain,
            stall: arguments.stall,
            settle: arguments.settle,
            setup: arguments.setup,
            topic: arguments.topic.unwrap_or_else(|| "bench/%i".to_owned()),
            prefix: arguments.prefix.unwrap_or_else(|| format!("mb-{run:08x}-")),
            start_number: arguments.start_number,
            username: arguments.username,
            password: arguments.password,
            keepalive: arguments.keepalive,
            ifaddr: arguments.ifaddr,
            seed: arguments.seed,
            run,
            json: arguments.json,
            quiet: arguments.quiet,
            max_loss: arguments.max_loss,
            p99: arguments.p99,
            min_rate: positive(arguments.min_rate, "--min-rate")?,
        })
    }

    /// The client identifier of one connection.
    pub(crate) fn client_id(&self, number: usize) -> String {
        format!("{}{}", self.prefix, self.start_number + number)
    }

    /// The user name of one connection.
    pub(crate) fn username(&self, number: usize) -> Option<String> {
        let index = (self.start_number + number).to_string();
        let name = self.username.as_ref()?;
        Some(
            name.replace("%i", &index)
                .replace("%c", &self.client_id(number)),
        )
    }

    /// The topic of one publisher or pair, whose connection has this number, too.
    pub(crate) fn topic(&self, number: usize) -> String {
        let index = (self.start_number + number).to_string();
        self.topic
            .replace("%i", &index)
            .replace("%c", &self.client_id(number))
            .replace("%u", &self.username(number).unwrap_or_default())
    }

    /// The local address of one connection.
    pub(crate) fn local_address(&self, number: usize) -> Option<IpAddr> {
        self.ifaddr.get(number % self.ifaddr.len().max(1)).copied()
    }
}

/// Publishers and subscribers.
fn sizes(arguments: &Arguments) -> Result<(usize, usize), Error> {
    let Arguments {
        count,
        pairs,
        publishers,
        subscribers,
        ..
    } = *arguments;
    let several = |publisher_default: usize, subscriber_default: usize| {
        (
            publishers.unwrap_or(publisher_default),
            subscribers.unwrap_or(subscriber_default),
        )
    };
    let sizes = match arguments.scenario {
        Scenario::P2p | Scenario::Latency | Scenario::Durable => {
            if count.is_some_and(|count| count % 2 == 1) {
                return Err(Error::Arguments(
                    "--count: pairs need an even number of clients".to_owned(),
                ));
            }
            let default = if arguments.scenario == Scenario::Latency {
                10
            } else {
                50
            };
            let pairs = pairs
                .or_else(|| count.map(|count| count / 2))
                .unwrap_or(default);
            (pairs, pairs)
        }
        Scenario::FanIn => several(count.unwrap_or(100), 1),
        Scenario::FanOut => several(1, count.unwrap_or(500)),
        Scenario::Shared => several(50, count.unwrap_or(4)),
        Scenario::Wildcard => several(10, count.unwrap_or(1_000)),
        Scenario::Connect => (count.unwrap_or(20_000), 0),
        Scenario::Idle => (count.unwrap_or(10_000), 0),
        Scenario::Retained => several(1, count.unwrap_or(1)),
        Scenario::Offline => several(1, count.unwrap_or(100)),
    };
    if sizes.0 == 0 {
        return Err(Error::Arguments("no clients: nothing to do".to_owned()));
    }
    Ok(sizes)
}

fn positive(value: Option<f64>, flag: &str) -> Result<Option<f64>, Error> {
    match value {
        Some(value) if !(value > 0.0 && value.is_finite()) => Err(Error::Arguments(format!(
            "{flag} {value}: a positive number"
        ))),
        other => Ok(other),
    }
}

fn rate(arguments: &Arguments, publishers: usize) -> Result<Option<f64>, Error> {
    let rate = match (arguments.rate, arguments.interval_ms) {
        (Some(rate), _) => Some(rate),
        (None, Some(interval_ms)) => Some(float(count(publishers)) * 1_000.0 / interval_ms),
        (None, None) => (arguments.scenario == Scenario::Latency).then_some(5_000.0),
    };
    if rate.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())) {
        return Err(Error::Arguments(
            "--rate and --interval-ms: a positive number".to_owned(),
        ));
    }
    Ok(rate)
}

const fn default_window(scenario: Scenario) -> u64 {
    match scenario {
        // Enough for batches: with less, every delivery is a write of its own and hides what matching costs.
        Scenario::P2p | Scenario::Wildcard => 256,
        // What limits the durable one is the number of unacknowledged messages. All may wait in one session's queue, and
        // most brokers bound that (Martlet: 10,000).
        Scenario::Latency | Scenario::Durable => 4_096,
        Scenario::FanIn
        | Scenario::FanOut
        | Scenario::Shared
        | Scenario::Connect
        | Scenario::Idle
        | Scenario::Retained
        | Scenario::Offline => 64,
    }
}

const fn default_qos(scenario: Scenario) -> QoS {
    match scenario {
        Scenario::Latency | Scenario::Offline | Scenario::Durable => QoS::AtLeastOnce,
        Scenario::P2p
        | Scenario::FanIn
        | Scenario::FanOut
        | Scenario::Shared
        | Scenario::Wildcard
        | Scenario::Connect
        | Scenario::Idle
        | Scenario::Retained => QoS::AtMostOnce,
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Error> {
    (host, port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| Error::Broker(format!("no address is known for {host:?}")))
}

/// A different number for each run, from the seed that the standard library gives its hash maps.
fn random_run() -> u32 {
    let hash = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let [a, b, c, d, ..] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde wants"
)]
fn as_text<S: Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde wants"
)]
fn as_bits<S: Serializer>(qos: &QoS, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(qos.bits())
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "the signature that serde wants")]
fn as_optional_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration
        .map(|duration| duration.as_secs_f64())
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn settings(words: &str) -> Result<Settings, Error> {
        let words = format!("bench {words}");
        Settings::new(Arguments::try_parse_from(words.split(' ')).unwrap())
    }

    #[test]
    fn placeholders_mean_what_they_mean_in_emqtt_bench() {
        let settings =
            settings("p2p -c 4 -n 10 -u user-%i --prefix c -t a/%i/%c/%u -h 127.0.0.1").unwrap();
        assert_eq!(settings.publishers, 2);
        assert_eq!(settings.topic(1), "a/11/c11/user-11");
        assert_eq!(settings.client_id(0), "c10");
    }

    #[test]
    fn an_interval_is_a_rate_of_all_publishers() {
        let rate = |words| settings(words).unwrap().rate;
        assert_eq!(rate("p2p -c 100 -I 100"), Some(500.0));
        assert_eq!(rate("p2p --rate 7"), Some(7.0));
        assert_eq!(rate("p2p"), None);
        assert_eq!(rate("latency"), Some(5_000.0));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_flag() {
        for (words, flag) in [
            ("p2p -s 23", "--size"),
            ("p2p -c 3", "--count"),
            ("p2p --rate 0", "--rate"),
            ("fan-in -c 0", "clients"),
            ("p2p --min-rate -1", ""),
        ] {
            let words = format!("bench {words}");
            let problem = Arguments::try_parse_from(words.split(' '))
                .map_err(|error| error.to_string())
                .and_then(|arguments| Settings::new(arguments).map_err(|error| error.to_string()))
                .unwrap_err();
            assert!(problem.contains(flag), "{words}: {problem}");
        }
    }

    #[test]
    fn runs_can_be_told_apart() {
        assert_ne!(settings("p2p").unwrap().run, settings("p2p").unwrap().run);
    }
}
