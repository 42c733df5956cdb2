//! What one invocation asks for, after all options have been read.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use martlet_codec::{QoS, Version};

use crate::decode::Decoder;
use crate::format::Format;
use crate::pace::Rate;
use crate::programs::{Dialect, Program};
use crate::properties::Properties;
use crate::template::Template;

/// What one invocation asks for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) program: Program,
    pub(crate) dialect: Dialect,
    pub(crate) broker: Broker,
    pub(crate) session: Session,
    pub(crate) sending: Sending,
    pub(crate) receiving: Receiving,
    pub(crate) output: Output,
    pub(crate) will: Will,
    pub(crate) tls: Tls,
    pub(crate) probe: bool,
    pub(crate) debug: bool,
    pub(crate) quiet: bool,
}

/// Where the broker is.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) unix: Option<PathBuf>,
    pub(crate) bind: Option<String>,
    pub(crate) proxy: Option<String>,
}

/// As whom to connect, and how.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) id: Option<String>,
    pub(crate) id_prefix: Option<String>,
    pub(crate) clean: bool,
    /// None: not asked for
    pub(crate) expiry_s: Option<u32>,
    pub(crate) keep_alive_s: u16,
    pub(crate) version: AskedVersion,
    pub(crate) inflight: u16,
    pub(crate) connect: Properties,
    pub(crate) disconnect: Properties,
}

/// The protocol version to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedVersion {
    Is(Version),
    /// 5, and 3.1.1 if the broker does not know it
    Auto,
}

impl AskedVersion {
    /// Whether properties can be sent.
    pub(crate) const fn is_v5(self) -> bool {
        matches!(self, Self::Auto | Self::Is(Version::V5))
    }
}

/// What to publish.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) topic: Option<String>,
    pub(crate) source: Source,
    pub(crate) encoding: Encoding,
    pub(crate) lines: Lines,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) repeat: u32,
    pub(crate) repeat_delay: Duration,
    pub(crate) rate: Option<Rate>,
    pub(crate) template: Option<Template>,
    pub(crate) retry: bool,
    /// mosquitto's dialect: a refused message decides the exit code.
    pub(crate) strict: bool,
    pub(crate) response_topic: Option<String>,
    pub(crate) properties: Properties,
}

/// Where payloads come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    None,
    Text(Vec<u8>),
    File(OsString),
    StdinAll,
    StdinLines,
    Null,
    Size(usize),
}

/// How payloads are written where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Hex,
    Base64,
}

/// What a line of standard input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lines {
    Payload,
    TopicAndPayload { separator: String },
    Jsonl,
}

/// What to subscribe to, and when to end.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a command line are independent"
)]
pub(crate) struct Receiving {
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) unsubscribe: Vec<String>,
    pub(crate) filter_out: Vec<String>,
    pub(crate) count: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) exit_after_subscribe: bool,
    pub(crate) no_retained: bool,
    pub(crate) retained_only: bool,
    pub(crate) remove_retained: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: Option<RetainHandling>,
    pub(crate) no_reconnect: bool,
    pub(crate) any: bool,
    pub(crate) latency: bool,
    pub(crate) subscribe: Properties,
    pub(crate) unsubscribe_properties: Properties,
}

/// One filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    /// None: the default
    pub(crate) qos: Option<QoS>,
}

/// When the broker sends retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    Always,
    New,
    Never,
}

/// How to print.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a command line are independent"
)]
pub(crate) struct Output {
    pub(crate) format: Option<Format>,
    pub(crate) kind: Kind,
    pub(crate) verbose: bool,
    pub(crate) end_of_line: bool,
    pub(crate) pretty: bool,
    /// Of ten thousand messages, how many to print.
    pub(crate) random_share: u32,
    pub(crate) decoder: Option<Decoder>,
    pub(crate) place: Place,
    /// Not the messages: how many came each second.
    pub(crate) message_rate: bool,
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Screen,
    /// A file for each topic.
    Folder(PathBuf),
    /// The end of this file.
    Log(PathBuf),
    /// A line for each topic on a terminal.
    Table,
}

/// The shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Json,
    Raw,
}

/// The will.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: Option<String>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
}

/// What was said about TLS and WebSocket.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) ca_path: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) key_form: Option<String>,
    pub(crate) engine: Option<String>,
    pub(crate) engine_password: Option<String>,
    pub(crate) psk: Option<Secret>,
    pub(crate) psk_identity: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) off: bool,
    /// The option that asked for what is not there yet.
    pub(crate) asked_by: Option<&'static str>,
}

/// A password: never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Settings {
    pub(crate) fn new(program: Program, dialect: Dialect) -> Self {
        let version = match (dialect, program) {
            (Dialect::Martlet, _) | (Dialect::Mosquitto, Program::Rr) => Version::V5,
            (Dialect::Mosquitto, _) => Version::V311,
        };
        Self {
            program,
            dialect,
            broker: Broker::default(),
            session: Session {
                user: None,
                password: None,
                id: None,
                id_prefix: None,
                clean: true,
                expiry_s: None,
                keep_alive_s: 60,
                version: AskedVersion::Is(version),
                inflight: 20,
                connect: Properties::default(),
                disconnect: Properties::default(),
            },
            sending: Sending {
                topic: None,
                source: Source::None,
                encoding: Encoding::Plain,
                lines: Lines::Payload,
                qos: QoS::AtMostOnce,
                retain: false,
                repeat: 1,
                repeat_delay: Duration::ZERO,
                rate: None,
                template: None,
                retry: false,
                strict: false,
                response_topic: None,
                properties: Properties::default(),
            },
            receiving: Receiving::default(),
            output: Output {
                format: None,
                kind: Kind::Text,
                verbose: false,
                end_of_line: true,
                pretty: false,
                random_share: 10_000,
                decoder: None,
                place: Place::Screen,
                message_rate: false,
            },
            will: Will {
                topic: None,
                payload: None,
                qos: QoS::AtMostOnce,
                retain: false,
                properties: Properties::default(),
            },
            tls: Tls::default(),
            probe: false,
            debug: false,
            quiet: false,
        }
    }

    /// The client identifier to send, if one was asked for.
    pub(crate) fn client_id(&self) -> Option<String> {
        let prefix = self.session.id_prefix.as_ref();
        prefix
            .map(|prefix| format!("{prefix}{}", std::process::id()))
            .or_else(|| self.session.id.clone())
    }

    /// The broker's name.
    pub(crate) fn host(&self) -> &str {
        self.broker.host.as_deref().unwrap_or("localhost")
    }

    /// The broker's port.
    pub(crate) fn port(&self) -> u16 {
        self.broker.port.unwrap_or(DEFAULT_PORT)
    }
}

/// The port that MQTT has without TLS.
pub(crate) const DEFAULT_PORT: u16 = 1883;
/// The port that MQTT has with TLS.
pub(crate) const TLS_PORT: u16 = 8883;

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret(b"hunter2".to_vec())), "(secret)");
    }
}
