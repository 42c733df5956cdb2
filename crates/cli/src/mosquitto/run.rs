//! One run of a program: its connection, its signals, its time-out, and waiting for whichever comes first.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of what can come first only some ends a pause"
)]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use martlet_codec::{Connect, ReasonCode, TopicName, Version, Will};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Sleep, sleep};

use super::dial::dial;
use super::link::{Event, Link, Lost, Terms, encoded, with_receive_maximum};
use super::{say, texts};
use crate::programs::Program;
use crate::screen::Screen;
use crate::settings::{AskedVersion, Settings};
use crate::signals::Signals;

/// One run of a program.
pub(super) struct Run<'a> {
    pub(super) settings: &'a Settings,
    pub(super) screen: Screen,
    pub(super) link: Link,
    signals: Option<Signals>,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// What came first.
pub(super) enum Woke {
    Link(Result<Event, Lost>),
    /// A line of standard input; None at its end.
    Line(Option<io::Result<Vec<u8>>>),
    /// SIGINT or SIGTERM.
    Stopped,
    /// -W
    TimedOut,
    /// The time that the caller gave.
    Timer,
}

/// The lines of standard input.
pub(super) type Lines = Receiver<io::Result<Vec<u8>>>;

impl<'a> Run<'a> {
    /// Opens the connection and sends CONNECT; the error is the line to print.
    pub(super) async fn start(settings: &'a Settings) -> Result<Self, String> {
        let mut screen = Screen::new().map_err(|error| format!("Error: {error}"))?;
        let stream = dial(settings).await?;
        let mut link = Link::new(stream, terms(settings));
        connect(settings, &mut link, &mut screen)?;
        let signals = match settings.program {
            Program::Sub => Some(Signals::new().map_err(|error| format!("sigaction: {error}"))?),
            Program::Pub | Program::Rr | Program::Get | Program::Conn => None,
        };
        Ok(Self {
            settings,
            screen,
            link,
            signals,
            alarm: settings.receiving.timeout.map(|time| Box::pin(sleep(time))),
        })
    }

    /// Connects again after a second, as often as it takes. None: stopped or timed out meanwhile.
    pub(super) async fn again(&mut self) -> Result<(), Woke> {
        loop {
            let mut pause = Box::pin(sleep(RECONNECT));
            match self.asleep(&mut pause).await {
                Woke::Timer => {}
                other => return Err(other),
            }
            let Ok(stream) = dial(self.settings).await else {
                continue;
            };
            self.link.replace(stream);
            // It could be sent the first time.
            let _ = connect(self.settings, &mut self.link, &mut self.screen);
            return Ok(());
        }
    }

    /// Waits for the connection, a signal, the time-out, and for a time and a line if there are such.
    pub(super) async fn wait(
        &mut self,
        mut timer: Option<&mut Pin<Box<Sleep>>>,
        mut lines: Option<&mut Lines>,
    ) -> Woke {
        poll_fn(|context| {
            if let Poll::Ready(woke) = self.poll_ends(context) {
                return Poll::Ready(woke);
            }
            if let Poll::Ready(event) = self.link.poll_event(context, &mut self.screen) {
                return Poll::Ready(Woke::Link(event));
            }
            if let Some(timer) = &mut timer
                && timer.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Woke::Timer);
            }
            match &mut lines {
                Some(lines) => lines.poll_recv(context).map(Woke::Line),
                None => Poll::Pending,
            }
        })
        .await
    }

    async fn asleep(&mut self, pause: &mut Pin<Box<Sleep>>) -> Woke {
        poll_fn(|context| match self.poll_ends(context) {
            Poll::Ready(woke) => Poll::Ready(woke),
            Poll::Pending => pause.as_mut().poll(context).map(|()| Woke::Timer),
        })
        .await
    }

    fn poll_ends(&mut self, context: &mut Context<'_>) -> Poll<Woke> {
        if let Some(signals) = &mut self.signals
            && signals.poll(context).is_ready()
        {
            return Poll::Ready(Woke::Stopped);
        }
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(context).map(|()| Woke::TimedOut),
            None => Poll::Pending,
        }
    }

    /// Says goodbye and closes.
    pub(super) async fn leave(&mut self, reason: ReasonCode) {
        let properties = encoded(&self.settings.session.disconnect);
        self.link
            .disconnect(reason, properties.as_properties(), &mut self.screen);
        self.link.close().await;
    }

    pub(super) async fn timed_out(&mut self) -> u8 {
        self.leave(ReasonCode::DisconnectWithWillMessage).await;
        self.complain("Timed out");
        texts::TIMED_OUT
    }

    /// Says something about an error, unless that is not wanted.
    pub(super) fn complain(&self, text: &str) {
        if !self.settings.quiet {
            say(&format!("{text}\n"));
        }
    }

    /// Says how the library names this error, and returns it.
    pub(super) fn fail(&self, code: u8) -> u8 {
        self.complain(&format!("Error: {}", texts::error(code)));
        code
    }

    pub(super) fn is_v5(&self) -> bool {
        self.settings.session.version == AskedVersion::Is(Version::V5)
    }

    /// Says why the broker refused the connection.
    pub(super) fn refused(&self, code: u8) {
        let text = match self.settings.program {
            Program::Rr if code == 0x84 => format!(
                "{}. mosquitto_rr only supports connecting to an MQTT v5 broker",
                texts::reason(code)
            ),
            Program::Rr => texts::reason(code),
            _ if self.is_v5() && code == 0x84 => format!(
                "{}. Try connecting to an MQTT v5 broker, or use MQTT v3.x mode.",
                texts::reason(code)
            ),
            _ if self.is_v5() => texts::reason(code),
            _ => texts::connack(code).to_owned(),
        };
        self.complain(&format!("Connection error: {text}"));
    }
}

fn terms(settings: &Settings) -> Terms {
    let session = &settings.session;
    let version = match session.version {
        AskedVersion::Is(version) => version,
        AskedVersion::Auto => Version::V5,
    };
    let named = settings.client_id();
    let client_id = match version {
        // MQTT 3.1 knows no empty identifier; mosquitto invents one of this form.
        Version::V31 => Some(named.unwrap_or_else(|| format!("mosq-{}", random_name()))),
        Version::V311 | Version::V5 => named,
    };
    Terms {
        version,
        client_id,
        keep_alive: Duration::from_secs(u64::from(session.keep_alive_s)),
        window: usize::from(session.inflight),
        debug: settings.debug,
    }
}

fn random_name() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0_u8; 18];
    // Without randomness the name is still legal; the broker tells if somebody else has it.
    let _ = getrandom::fill(&mut bytes);
    let letter = |byte: &u8| LETTERS.get(usize::from(*byte) % LETTERS.len()).copied();
    bytes.iter().filter_map(letter).map(char::from).collect()
}

fn connect(settings: &Settings, link: &mut Link, screen: &mut Screen) -> Result<(), String> {
    let session = &settings.session;
    let maximum = match settings.receiving.count {
        Some(count @ 1..20) => u16::try_from(count).unwrap_or(DEFAULT_RECEIVE_MAXIMUM),
        Some(_) | None if settings.program == Program::Rr => 1,
        Some(_) | None => DEFAULT_RECEIVE_MAXIMUM,
    };
    let terms = link.terms().clone();
    let properties = if terms.version == Version::V5 {
        with_receive_maximum(encoded(&session.connect), maximum)
    } else {
        martlet_codec::PropertiesBuf::new()
    };
    let will_properties = match terms.version {
        Version::V5 => encoded(&settings.will.properties),
        Version::V31 | Version::V311 => martlet_codec::PropertiesBuf::new(),
    };
    let will_topic = settings
        .will
        .topic
        .as_deref()
        .map(TopicName::new)
        .transpose();
    let will_topic = will_topic.map_err(|_| "Error: Problem setting will.".to_owned())?;
    let connect = Connect {
        version: terms.version,
        clean_start: session.clean,
        keep_alive_s: session.keep_alive_s,
        properties: properties.as_properties(),
        client_id: terms.client_id.as_deref().unwrap_or_default(),
        will: will_topic.map(|topic| Will {
            qos: settings.will.qos,
            retain: settings.will.retain,
            properties: will_properties.as_properties(),
            topic,
            payload: settings.will.payload.as_deref().unwrap_or_default(),
        }),
        user_name: session.user.as_deref(),
        password: session
            .password
            .as_ref()
            .map(|password| password.0.as_slice()),
    };
    link.connect(&connect, screen)
        .map_err(|_| format!("Error: {}", texts::error(texts::PROTOCOL)))
}

/// How long mosquitto waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);
const DEFAULT_RECEIVE_MAXIMUM: u16 = 20;
