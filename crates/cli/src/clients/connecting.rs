//! From settings to a connected client, and from its errors to exit codes with a remedy.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "only some errors have a remedy or a code of their own"
)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use martlet_client::{
    Builder, Client, Error, ErrorKind, Feature, Message, PublishError, ReasonCode, Session, State,
    Version, transport_fn,
};
use martlet_codec::PropertyId;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::conn::{Speech, listen_to};
use super::conversions;
use crate::exit::{
    BAD_INPUT, Exit, FAILED, NO_CONNECTION, NO_NAME, NO_PROXY, NO_TLS, TIMED_OUT, USAGE,
};
use crate::programs::Program;
use crate::properties::{Owned, Value, hyphenated};
use crate::settings::{AskedVersion, Settings, Source};

/// Connects as the settings say; with `-V auto` in 3.1.1 if the broker does not know 5.
pub(super) async fn connect(settings: &Settings) -> Result<Client, Exit> {
    let version = asked(settings);
    tell(settings, &format!("connecting to {}", place(settings)));
    let error = match builder(settings, version)?.connect().await {
        Ok(client) => {
            tell(settings, &format!("connected, {}", agreed(&client)));
            return Ok(client);
        }
        Err(error) => error,
    };
    if settings.session.version == AskedVersion::Auto && may_be_version(&error) {
        note(settings, &format!("{error}; trying MQTT 3.1.1"));
        let second = builder(settings, Version::V311)?.connect().await;
        return second.map_err(|error| explain(&error, settings));
    }
    Err(explain(&error, settings))
}

/// What was agreed with the broker.
fn agreed(client: &Client) -> String {
    match &*client.state().borrow() {
        State::Connected {
            session_present,
            limits,
            ..
        } => {
            let session = if *session_present {
                "session resumed"
            } else {
                "new session"
            };
            let id = limits
                .assigned_client_id
                .as_deref()
                .map(|id| format!(", client identifier {id}"));
            format!(
                "{session}, keep-alive {} s{}",
                limits.keep_alive_s,
                id.unwrap_or_default()
            )
        }
        _ => "and closed again".to_owned(),
    }
}

fn asked(settings: &Settings) -> Version {
    match settings.session.version {
        AskedVersion::Is(version) => version,
        AskedVersion::Auto => Version::V5,
    }
}

/// Starts a client that keeps trying.
pub(super) fn start(settings: &Settings) -> Result<Client, Exit> {
    let version = asked(settings);
    builder(settings, version)?
        .start()
        .map_err(|error| explain(&error, settings))
}

/// Says something on standard error, unless that is not wanted.
pub(super) fn note(settings: &Settings, text: &str) {
    if !settings.quiet {
        super::say(settings.program, text);
    }
}

/// Says what happens, if `-d` asks for it.
pub(super) fn tell(settings: &Settings, text: &str) {
    if settings.debug {
        super::say(settings.program, text);
    }
}

/// Old brokers refuse, or hang up on what they do not understand.
fn may_be_version(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Refused(reason) => reason == ReasonCode::UnsupportedProtocolVersion,
        ErrorKind::Protocol => true,
        ErrorKind::Io => was_open(error),
        _ => false,
    }
}

/// Whether there was a connection at all. Where there was none, the system has said why.
fn was_open(error: &Error) -> bool {
    error
        .io_error()
        .is_none_or(|cause| cause.kind() == io::ErrorKind::ConnectionReset)
}

fn builder(settings: &Settings, version: Version) -> Result<Builder, Exit> {
    if let Some(option) = settings.tls.asked_by.filter(|_| !settings.tls.off) {
        return Err(Exit::new(
            NO_TLS,
            format!(
                "{option}: TLS and WebSocket are not supported yet; use mqtt:// without {option}"
            ),
        ));
    }
    if settings.broker.proxy.is_some() {
        return Err(Exit::new(
            NO_PROXY,
            "--proxy: proxies are not supported yet; leave it out",
        ));
    }
    let session = &settings.session;
    let mut builder = Client::builder(url(settings)).version(version);
    builder = builder.keep_alive(Duration::from_secs(u64::from(session.keep_alive_s)));
    builder = builder
        .max_in_flight(session.inflight)
        .session(kept(settings));
    if let Some(id) = settings.client_id() {
        builder = builder.client_id(id);
    }
    if let Some(user) = &session.user {
        builder = builder.user_name(user);
    }
    if let Some(password) = &session.password {
        builder = builder.password(password.0.as_slice());
    }
    if settings.receiving.no_reconnect || fails_fast(settings) {
        builder = builder.no_reconnect();
    }
    if let Some(count @ 1..=255) = settings.receiving.count {
        builder = builder.receive_maximum(u16::try_from(count).unwrap_or(u16::MAX));
    }
    if let Some(topic) = &settings.will.topic {
        let (message, delay) = will(settings, topic)?;
        builder = builder.will(message);
        if delay > 0 {
            builder = builder.will_delay(Duration::from_secs(u64::from(delay)));
        }
    }
    builder = properties(builder, settings)?;
    if let Some(bind) = &settings.broker.bind {
        let (bind, host, port) = (bind.clone(), settings.host().to_owned(), settings.port());
        builder = builder.transport(transport_fn(move || from(bind.clone(), host.clone(), port)));
    }
    Ok(builder)
}

/// Whether a lost connection is the end. A subscriber comes back, and so does a publisher of lines, as mosquitto's do; who
/// has one thing to do says that it could not be done.
fn fails_fast(settings: &Settings) -> bool {
    let sending = &settings.sending;
    match settings.program {
        Program::Pub => !sending.retry && sending.source != Source::StdinLines,
        Program::Rr | Program::Get | Program::Conn => true,
        Program::Sub => false,
    }
}

fn url(settings: &Settings) -> String {
    if let Some(path) = &settings.broker.unix {
        return format!("unix:{}", path.display());
    }
    let host = settings.host();
    let port = settings.port();
    if host.contains(':') {
        format!("mqtt://[{host}]:{port}")
    } else {
        format!("mqtt://{host}:{port}")
    }
}

fn kept(settings: &Settings) -> Session {
    let session = &settings.session;
    let expiry = Duration::from_secs(u64::from(session.expiry_s.unwrap_or(0)));
    match (session.clean, session.version.is_v5()) {
        (false, true) => Session::persistent(expiry),
        (false, false) => Session::persistent(Duration::from_secs(u64::from(u32::MAX))),
        (true, _) if expiry.is_zero() => Session::clean(),
        (true, _) => Session::fresh(expiry),
    }
}

fn will(settings: &Settings, topic: &str) -> Result<(Message, u32), Exit> {
    let will = &settings.will;
    let mut message = Message::new(topic, will.payload.clone().unwrap_or_default()).qos(will.qos);
    message.retain = will.retain;
    let delay = conversions::set(&will.properties, "will", &mut message)?;
    Ok((message, delay))
}

fn properties(mut builder: Builder, settings: &Settings) -> Result<Builder, Exit> {
    for Owned { id, value } in settings.session.connect.iter() {
        builder = match (id, value) {
            // From -x: the session has it.
            (PropertyId::SessionExpiryInterval, _) => builder,
            (PropertyId::ReceiveMaximum, Value::Number(number)) => {
                builder.receive_maximum(u16::try_from(*number).unwrap_or(u16::MAX))
            }
            (PropertyId::MaximumPacketSize, Value::Number(number)) => {
                builder.max_packet_size(*number)
            }
            (PropertyId::TopicAliasMaximum, Value::Number(number)) => {
                builder.topic_aliases(u16::try_from(*number).unwrap_or(u16::MAX), 0)
            }
            (PropertyId::UserProperty, Value::Pair(key, value)) => {
                builder.user_property(key, value)
            }
            (PropertyId::RequestResponseInformation, Value::Number(1)) => {
                builder.request_response_information()
            }
            (id, _) => return Err(conversions::unsupported("connect", *id)),
        };
    }
    for (packet, list) in [
        ("disconnect", &settings.session.disconnect),
        ("subscribe", &settings.receiving.subscribe),
        ("unsubscribe", &settings.receiving.unsubscribe_properties),
    ] {
        if let Some(owned) = list.iter().next() {
            return Err(Exit::new(
                USAGE,
                format!(
                    "-D {packet} {}: properties of {packet} are not supported",
                    hyphenated(owned.id)
                ),
            ));
        }
    }
    Ok(builder)
}

/// TCP from a local address.
async fn from(bind: String, host: String, port: u16) -> io::Result<TcpStream> {
    let locals: Vec<SocketAddr> = lookup_host((bind.as_str(), 0)).await?.collect();
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "no such local address");
    for address in lookup_host((host.as_str(), port)).await? {
        let Some(local) = locals
            .iter()
            .find(|local| local.is_ipv4() == address.is_ipv4())
        else {
            continue;
        };
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.bind(*local)?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// One line with a remedy, and the exit code.
pub(super) fn explain(error: &Error, settings: &Settings) -> Exit {
    let place = place(settings);
    match error.kind() {
        ErrorKind::Dns => Exit::new(
            NO_NAME,
            format!("{place}: the name has no address; check -h, or write the address itself"),
        ),
        ErrorKind::Io | ErrorKind::Protocol | ErrorKind::Timeout => {
            no_mqtt(error, settings, &place)
        }
        ErrorKind::Refused(reason) => Exit::new(
            reason.as_u8(),
            format!(
                "{place} refused the connection: {}{}",
                described(reason, error.detail()),
                remedy(reason, settings)
            ),
        ),
        ErrorKind::Rejected(reason) => Exit::new(reason.as_u8(), described(reason, error.detail())),
        ErrorKind::Tls => Exit::new(NO_TLS, format!("{place}: {error}")),
        ErrorKind::Proxy => Exit::new(NO_PROXY, format!("{place}: {error}")),
        kind => Exit::new(code(kind), error),
    }
}

/// No connection, or something on it that is no MQTT: looks what it is.
fn no_mqtt(error: &Error, settings: &Settings, place: &str) -> Exit {
    let opened = error.kind() != ErrorKind::Io || was_open(error);
    if opened && settings.broker.unix.is_none() {
        match listen_to(settings.host(), settings.port()) {
            Speech::Tls => {
                return Exit::new(
                    NO_TLS,
                    format!(
                        "{place} speaks TLS and we spoke plain text; use the broker's plain port, usually 1883"
                    ),
                );
            }
            Speech::Http => {
                return Exit::new(
                    FAILED,
                    format!(
                        "{place} speaks HTTP, not MQTT; use the broker's MQTT port, usually 1883"
                    ),
                );
            }
            Speech::Other(text) => {
                return Exit::new(
                    FAILED,
                    format!("{place} does not speak MQTT, it says '{text}'; check -p"),
                );
            }
            Speech::Mqtt | Speech::Nothing => {}
        }
    }
    match error.kind() {
        ErrorKind::Io => Exit::new(
            NO_CONNECTION,
            format!(
                "no connection to {place}: {}{}",
                cause(error),
                advice(error)
            ),
        ),
        ErrorKind::Timeout => Exit::new(
            NO_CONNECTION,
            format!("{place} did not answer in time; check -h and -p"),
        ),
        _ => Exit::new(
            FAILED,
            format!("{place}: {error}; is it an MQTT broker? martlet conn tells more"),
        ),
    }
}

fn place(settings: &Settings) -> String {
    match &settings.broker.unix {
        Some(path) => path.display().to_string(),
        None => format!("{}:{}", settings.host(), settings.port()),
    }
}

/// The system's words without the number that Rust adds.
fn cause(error: &Error) -> String {
    let text = error
        .io_error()
        .map_or_else(|| error.to_string(), ToString::to_string);
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

fn advice(error: &Error) -> &'static str {
    match error.io_error().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => {
            "; nothing listens there: is the broker running, and is -p right?"
        }
        Some(io::ErrorKind::NotFound) => "; is the broker running, and is the path right?",
        Some(io::ErrorKind::AddrNotAvailable) => "; -A wants an address of this machine",
        _ => "",
    }
}

fn described(reason: ReasonCode, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{} ({detail})", reason.name()),
        None => reason.name().to_owned(),
    }
}

fn remedy(reason: ReasonCode, settings: &Settings) -> String {
    let named = settings.session.user.is_some();
    let text = match reason {
        ReasonCode::NotAuthorized | ReasonCode::BadUserNameOrPassword if !named => {
            "give -u NAME and --password-file FILE"
        }
        ReasonCode::NotAuthorized | ReasonCode::BadUserNameOrPassword => {
            "check -u and the password"
        }
        ReasonCode::UnsupportedProtocolVersion => "try -V 311, or -V auto",
        ReasonCode::ClientIdentifierNotValid => "give another client identifier with -i ID",
        ReasonCode::ServerBusy | ReasonCode::ServerUnavailable => "try again later",
        _ => return String::new(),
    };
    format!("; {text}")
}

/// Why the client has closed by itself, if it has: that says more than that it is closed.
pub(super) fn ended(client: &Client, settings: &Settings) -> Option<Exit> {
    match &*client.state().borrow() {
        State::Closed {
            last_error: Some(error),
        } => Some(explain(error, settings)),
        _ => None,
    }
}

/// The same for a message that was not published.
pub(super) fn not_published(error: &PublishError) -> Exit {
    let reason = error
        .reason
        .as_deref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let topic = error.message.topic.as_str();
    match error.kind {
        ErrorKind::Rejected(code) | ErrorKind::Refused(code) => Exit::new(
            code.as_u8(),
            format!(
                "the broker refused the message to '{topic}': {}{reason}",
                code.name()
            ),
        ),
        kind => Exit::new(code(kind), format!("not sent to '{topic}': {kind}{reason}")),
    }
}

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Refused(reason) | ErrorKind::Rejected(reason) => reason.as_u8(),
        ErrorKind::TooLarge { .. } | ErrorKind::InvalidTopic => BAD_INPUT,
        ErrorKind::NotSupported(Feature::Mqtt5) | ErrorKind::InvalidOption => USAGE,
        ErrorKind::NotSupported(Feature::QoS) => ReasonCode::QoSNotSupported.as_u8(),
        ErrorKind::NotSupported(Feature::Retain) => ReasonCode::RetainNotSupported.as_u8(),
        ErrorKind::NotSupported(Feature::SharedSubscriptions) => {
            ReasonCode::SharedSubscriptionsNotSupported.as_u8()
        }
        ErrorKind::NotSupported(Feature::Wildcards) => {
            ReasonCode::WildcardSubscriptionsNotSupported.as_u8()
        }
        ErrorKind::Dns => NO_NAME,
        ErrorKind::Io | ErrorKind::Offline => NO_CONNECTION,
        ErrorKind::Tls => NO_TLS,
        ErrorKind::Proxy => NO_PROXY,
        ErrorKind::Timeout => TIMED_OUT,
        _ => FAILED,
    }
}
