//! `martlet conn`: the doctor. One line for each stage: what it found, how long it took, what to mend.
//!
//! It uses bare sockets and packets: a library that hides what goes wrong is of no use here. Map: here the stages;
//! `speech` finds out what a port speaks; `probe` tries what the broker can.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of many errors and packets only a few are looked for"
)]

mod probe;
mod speech;
mod wire;

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use martlet_codec::{ConnAck, Connect, PropertiesBuf, ReasonCode, Version};

pub(super) use self::speech::{Speech, listen_to};
use self::wire::{Answer, Wire};
use super::Ending;
use crate::exit::{Exit, FAILED, NO_CONNECTION, NO_NAME, NO_TLS, words};
use crate::screen::Screen;
use crate::settings::{AskedVersion, Kind, Settings};

/// Goes through the stages, and says how each went.
pub(super) fn run(settings: &Settings) -> Result<Ending, Exit> {
    let mut report = Report {
        screen: Screen::new().map_err(Exit::failed)?,
        json: settings.output.kind == Kind::Json,
        colours: io::stdout().is_terminal()
            && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    if let Some(option) = settings.tls.asked_by.filter(|_| !settings.tls.off) {
        let why = format!("{option}: TLS and WebSocket are not supported yet");
        return Err(report.bad("tls", &Exit::new(NO_TLS, why)));
    }
    let mut wire = match &settings.broker.unix {
        Some(path) => {
            let start = Instant::now();
            let wire = Wire::unix(path).map_err(|error| {
                let why = format!(
                    "{}: {}; is the broker running, and is the path right?",
                    path.display(),
                    words(&error)
                );
                report.bad("unix", &Exit::new(NO_CONNECTION, why))
            })?;
            report.good("unix", start, path.display());
            wire
        }
        None => Wire::tcp(open(settings, &mut report)?),
    };
    let version = match settings.session.version {
        AskedVersion::Is(version) => version,
        AskedVersion::Auto => Version::V5,
    };
    let limits = introduce(&mut wire, version, settings, &mut report)?;
    if settings.probe {
        probe::probe(&mut wire, version, &limits, &mut report)?;
    }
    wire.goodbye(version);
    Ok(Ending::good(0))
}

/// Name and TCP.
fn open(settings: &Settings, report: &mut Report) -> Result<TcpStream, Exit> {
    let (host, port) = (settings.host(), settings.port());
    let start = Instant::now();
    let found = (host, port)
        .to_socket_addrs()
        .map(Iterator::collect::<Vec<SocketAddr>>);
    let addresses = found.unwrap_or_default();
    if addresses.is_empty() {
        let why = format!("{host} has no address; check the name, or write the address itself");
        return Err(report.bad("dns", &Exit::new(NO_NAME, why)));
    }
    let list: Vec<String> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    report.good("dns", start, format!("{host} is {}", list.join(", ")));
    let mut failure = None;
    for address in addresses {
        let start = Instant::now();
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                report.good("tcp", start, format!("connected to {address}"));
                return Ok(stream);
            }
            Err(error) => failure = Some((address, error)),
        }
    }
    let why = failure.map_or_else(
        || "no address".to_owned(),
        |(address, error)| {
            let advice = match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there; is the broker running, and is the port right?"
                }
                io::ErrorKind::TimedOut => {
                    "no answer; a firewall may drop the packets, or the machine is off"
                }
                _ => "is there a way to that network?",
            };
            format!("{address}: {}; {advice}", words(&error))
        },
    );
    Err(report.bad("tcp", &Exit::new(NO_CONNECTION, why)))
}

/// What the broker says about itself when it accepts.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeting {
    properties: PropertiesBuf,
    session_present: bool,
}

/// CONNECT and CONNACK.
fn introduce(
    wire: &mut Wire,
    version: Version,
    settings: &Settings,
    report: &mut Report,
) -> Result<Greeting, Exit> {
    let session = &settings.session;
    let start = Instant::now();
    let id = settings.client_id().unwrap_or_default();
    let connect = Connect {
        version,
        clean_start: session.clean,
        keep_alive_s: session.keep_alive_s,
        properties: martlet_codec::Properties::EMPTY,
        client_id: &id,
        will: None,
        user_name: session.user.as_deref(),
        password: session
            .password
            .as_ref()
            .map(|password| password.0.as_slice()),
    };
    let answer = wire.connect(&connect, version);
    let answer = answer.map_err(|_| {
        report.bad(
            "connect",
            &Exit::new(FAILED, "the options do not fit into a CONNECT"),
        )
    })?;
    match answer {
        Answer::Accepted(greeting) => {
            let name = version_name(version);
            let present = if greeting.session_present {
                ", session present"
            } else {
                ""
            };
            report.good("connect", start, format!("accepted, MQTT {name}{present}"));
            for line in limits(&greeting, version, session.keep_alive_s) {
                report.more(&line);
            }
            Ok(greeting)
        }
        Answer::Refused(reason, detail) => {
            let why = format!(
                "refused: {}{}{}",
                reason.name(),
                detail.map(|text| format!(" ({text})")).unwrap_or_default(),
                remedy(reason, settings)
            );
            Err(report.bad("connect", &Exit::new(reason.as_u8(), why)))
        }
        Answer::Silence => {
            let why = "no CONNACK in 10 s; is it an MQTT broker?";
            Err(report.bad("connect", &Exit::new(FAILED, why)))
        }
        Answer::Closed | Answer::Garbage(_) => {
            Err(report.bad("connect", &strange(&answer, settings)))
        }
    }
}

/// Something else than a CONNACK: what does the port speak?
fn strange(answer: &Answer, settings: &Settings) -> Exit {
    let first = match answer {
        Answer::Garbage(bytes) => speech::judge(bytes),
        Answer::Accepted(_) | Answer::Refused(..) | Answer::Silence | Answer::Closed => {
            Speech::Nothing
        }
    };
    let speech = match first {
        Speech::Nothing if settings.broker.unix.is_none() => {
            listen_to(settings.host(), settings.port())
        }
        known => known,
    };
    match speech {
        Speech::Tls => Exit::new(
            NO_TLS,
            "this port speaks TLS and we spoke plain text; use the plain port, usually 1883",
        ),
        Speech::Http => Exit::new(
            FAILED,
            "this port speaks HTTP; use the broker's MQTT port, usually 1883",
        ),
        Speech::Other(text) => Exit::new(
            FAILED,
            format!("this is no MQTT broker: it says '{text}'; check the port"),
        ),
        Speech::Mqtt | Speech::Nothing => Exit::new(
            FAILED,
            "the broker closed the connection without a word; it may not know this version (try -V 311), or this client \
             (try -i ID and -u NAME)",
        ),
    }
}

fn remedy(reason: ReasonCode, settings: &Settings) -> &'static str {
    let named = settings.session.user.is_some();
    if matches!(
        reason,
        ReasonCode::NotAuthorized | ReasonCode::BadUserNameOrPassword
    ) {
        return if named {
            "; check -u and the password"
        } else {
            "; give -u NAME and --password-file FILE"
        };
    }
    if reason == ReasonCode::UnsupportedProtocolVersion {
        return "; try -V 311";
    }
    if reason == ReasonCode::ClientIdentifierNotValid {
        return "; give another client identifier with -i ID";
    }
    ""
}

/// What was agreed upon, a line each.
fn limits(greeting: &Greeting, version: Version, asked_keep_alive_s: u16) -> Vec<String> {
    if version != Version::V5 {
        return vec!["limits: MQTT 3 does not say; --probe finds some".to_owned()];
    }
    let properties = greeting.properties.as_properties();
    let yes = |value: Option<u8>| if value.unwrap_or(1) == 1 { "yes" } else { "no" };
    let size = properties
        .maximum_packet_size()
        .map_or_else(|| "unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
    let mut lines = vec![
        format!(
            "limits: QoS up to {}, packets up to {size}, {} unacknowledged messages, {} topic aliases",
            properties.maximum_qos().unwrap_or(2),
            properties.receive_maximum().unwrap_or(u16::MAX),
            properties.topic_alias_maximum().unwrap_or(0),
        ),
        format!(
            "retained messages: {}; wildcards: {}; shared subscriptions: {}; subscription identifiers: {}",
            yes(properties.retain_available()),
            yes(properties.wildcard_subscription_available()),
            yes(properties.shared_subscription_available()),
            yes(properties.subscription_identifier_available()),
        ),
        format!(
            "keep-alive: {} s; session kept for {} s",
            properties.server_keep_alive().unwrap_or(asked_keep_alive_s),
            properties.session_expiry_interval().unwrap_or(0),
        ),
    ];
    if let Some(id) = properties.assigned_client_identifier() {
        lines.push(format!("client identifier: {id} (the broker chose it)"));
    }
    if let Some(server) = properties.server_reference() {
        lines.push(format!("the broker names another one: {server}"));
    }
    lines
}

fn version_name(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}

/// Prints the stages.
#[derive(Debug)]
struct Report {
    screen: Screen,
    json: bool,
    colours: bool,
}

impl Report {
    fn good(&mut self, stage: &str, start: Instant, what: impl Display) {
        let milliseconds = start.elapsed().as_secs_f64() * 1_000.0;
        if self.json {
            self.object(&serde_json::json!({
                "stage": stage, "ok": true, "ms": (milliseconds * 1_000.0).round() / 1_000.0, "text": what.to_string(),
            }));
        } else {
            // Nobody reading is no error.
            let ok = self.painted("32", "ok");
            let _ = self.screen.line(&format!(
                "{ok}    {stage:<10} {milliseconds:>8.2} ms  {what}"
            ));
        }
    }

    /// A line that belongs to the stage before.
    fn more(&mut self, text: &str) {
        if self.json {
            self.object(&serde_json::json!({"text": text}));
        } else {
            let _ = self.screen.line(&format!("{:<29}{text}", ""));
        }
    }

    /// Prints the stage that failed; the caller ends with what it gets back.
    fn bad(&mut self, stage: &str, exit: &Exit) -> Exit {
        if self.json {
            self.object(
                &serde_json::json!({"stage": stage, "ok": false, "text": exit.to_string()}),
            );
        } else {
            let failed = self.painted("31", "FAIL");
            let _ = self
                .screen
                .line(&format!("{failed}  {stage:<10} {:>11}  {exit}", ""));
        }
        // It stands there already.
        Exit::new(exit.number(), "")
    }

    /// Green or red, where somebody looks.
    fn painted(&self, colour: &str, word: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{word}\x1b[0m")
        } else {
            word.to_owned()
        }
    }

    fn object(&mut self, object: &serde_json::Value) {
        let _ = self.screen.line(&object.to_string());
    }
}

impl Greeting {
    fn new(connack: &ConnAck<'_>) -> Self {
        let mut properties = PropertiesBuf::new();
        for property in connack.properties.iter() {
            properties.push(property);
        }
        Self {
            properties,
            session_present: connack.session_present,
        }
    }
}

/// How long a stage may take.
const PATIENCE: Duration = Duration::from_secs(10);
