//! `martlet pub`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IsTerminal as _, Write as _};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use martlet_client::{Client, Delivery, Message, PublishError, Receipt};
use tokio::time::sleep;

use super::connecting::{connect, ended, not_published, note, start, tell};
use super::conversions;
use super::lines::{decoded, message_of_line};
use super::{Ending, close};
use crate::exit::{BAD_INPUT, Exit, FAILED};
use crate::input::{self, InputError};
use crate::pace::Pace;
use crate::settings::{Settings, Source};
use crate::signals::Signals;
use crate::template::Filling;

/// Publishes what the settings say.
pub(super) async fn run(settings: &Settings) -> Result<Ending, Exit> {
    let lines = settings.sending.source == Source::StdinLines;
    // Bad input is found before anything is connected.
    let single = if lines {
        None
    } else {
        Some(message(settings, payload(settings)?)?)
    };
    let mut signals = Signals::new().map_err(Exit::failed)?;
    let client = if settings.sending.retry {
        start(settings)?
    } else {
        let connecting = pin!(connect(settings));
        match or_signal(connecting, &mut signals).await {
            Some(client) => client?,
            None => return Ok(Ending::good(0)),
        }
    };
    let mut publisher = Publisher {
        settings,
        client,
        waiting: VecDeque::new(),
        numbered: 0,
        pace: settings.sending.rate.map(Pace::new),
        started: Instant::now(),
        sent: 0,
        trouble: None,
        progress: Progress::new(settings),
    };
    let interrupted = match single {
        Some(message) => publisher.repeat(&message, &mut signals).await,
        None => publisher.lines(&mut signals).await?,
    };
    if interrupted {
        tell(settings, "stopping");
    }
    if let Some(progress) = publisher.progress.take() {
        progress.end();
    }
    close(&publisher.client, &mut signals).await;
    publisher.left_behind().await;
    Ok(Ending {
        trouble: publisher.trouble,
        messages: publisher.sent,
    })
}

struct Publisher<'a> {
    settings: &'a Settings,
    client: Client,
    /// Admitted, and not acknowledged yet.
    waiting: VecDeque<Delivery>,
    /// Messages made so far.
    numbered: u64,
    pace: Option<Pace>,
    started: Instant,
    sent: u64,
    /// The first thing that went wrong.
    trouble: Option<Exit>,
    progress: Option<Progress>,
}

impl Publisher<'_> {
    /// Sends one message as often as wanted; whether a signal came.
    async fn repeat(&mut self, message: &Message, signals: &mut Signals) -> bool {
        let sending = &self.settings.sending;
        for turn in 0..sending.repeat {
            if turn > 0
                && !sending.repeat_delay.is_zero()
                && self
                    .meanwhile(pin!(sleep(sending.repeat_delay)), signals)
                    .await
                    .is_none()
            {
                return true;
            }
            if self.pause(signals).await {
                return true;
            }
            let message = self.filled(message.clone());
            let publish = self.client.publish_message(message);
            match or_signal(pin!(publish.enqueue()), signals).await {
                None => return true,
                Some(Err(error)) => self.failed(&error),
                Some(Ok(delivery)) => self.waiting.push_back(delivery),
            }
            if self.settle(WINDOW, signals).await {
                return true;
            }
        }
        self.settle(0, signals).await
    }

    /// Sends a message for each line; whether a signal came.
    async fn lines(&mut self, signals: &mut Signals) -> Result<bool, Exit> {
        let mut lines = input::lines().map_err(Exit::failed)?;
        let mut number = 0_u64;
        while let Some(line) = match self.meanwhile(pin!(lines.recv()), signals).await {
            None => return Ok(true),
            Some(line) => line,
        } {
            number += 1;
            let message = line
                .map_err(|error| format!("standard input: {error}"))
                .and_then(|line| {
                    message_of_line(&line, self.settings)
                        .map_err(|why| format!("line {number}: {why}"))
                });
            let message = match message {
                Ok(message) => message,
                Err(why) => {
                    // What came before it is sent; nothing behind it is.
                    self.trouble
                        .get_or_insert_with(|| Exit::new(BAD_INPUT, why));
                    break;
                }
            };
            if self.pause(signals).await {
                return Ok(true);
            }
            let message = self.filled(message);
            let publish = self.client.publish_message(message);
            match or_signal(pin!(publish.enqueue()), signals).await {
                None => return Ok(true),
                Some(Err(error)) => self.failed(&error),
                Some(Ok(delivery)) => self.waiting.push_back(delivery),
            }
            if self.settle(WINDOW, signals).await {
                return Ok(true);
            }
        }
        Ok(self.settle(0, signals).await)
    }

    /// Waits until the next message may leave; whether a signal came.
    async fn pause(&mut self, signals: &mut Signals) -> bool {
        let Some(pace) = &mut self.pace else {
            return false;
        };
        let wait = pace.wait(self.started.elapsed());
        !wait.is_zero() && self.meanwhile(pin!(sleep(wait)), signals).await.is_none()
    }

    /// Waits for a future, and hears meanwhile what becomes of the messages; None if a signal came first.
    async fn meanwhile<F: Future>(
        &mut self,
        mut future: Pin<&mut F>,
        signals: &mut Signals,
    ) -> Option<F::Output> {
        loop {
            let waiting = &mut self.waiting;
            let woke = poll_fn(|context| {
                if let Poll::Ready(output) = future.as_mut().poll(context) {
                    return Poll::Ready(Ok(Some(output)));
                }
                if signals.poll(context).is_ready() {
                    return Poll::Ready(Ok(None));
                }
                match waiting.front_mut() {
                    Some(oldest) => Pin::new(oldest).poll(context).map(Err),
                    None => Poll::Pending,
                }
            });
            match woke.await {
                Ok(output) => return output,
                Err(result) => {
                    self.waiting.pop_front();
                    self.done(result);
                }
            }
        }
    }

    /// After the goodbye: what a signal left behind, and nobody has acknowledged since.
    async fn left_behind(&mut self) {
        let mut count = 0_usize;
        for mut delivery in std::mem::take(&mut self.waiting) {
            let now = poll_fn(|context| match Pin::new(&mut delivery).poll(context) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => Poll::Ready(None),
            });
            match now.await {
                Some(Ok(_)) => self.sent += 1,
                Some(Err(_)) | None => count += 1,
            }
        }
        if count > 0 {
            let text = format!("stopped with {count} messages not acknowledged");
            self.trouble.get_or_insert_with(|| Exit::new(FAILED, text));
        }
    }

    /// The message with the payload that `--template` makes.
    fn filled(&mut self, mut message: Message) -> Message {
        self.numbered += 1;
        if let Some(template) = &self.settings.sending.template {
            let payload = template.fill(&mut Filling {
                number: self.numbered,
                topic: message.topic.as_str(),
                line: &message.payload,
                now: since_1970(),
                random: &mut random,
            });
            message.payload = payload.into();
        }
        message
    }

    /// Waits until no more than so many messages are unacknowledged; whether a signal came.
    async fn settle(&mut self, most: usize, signals: &mut Signals) -> bool {
        while self.waiting.len() > most {
            let Some(mut oldest) = self.waiting.pop_front() else {
                return false;
            };
            if let Some(result) = or_signal(Pin::new(&mut oldest), signals).await {
                self.done(result);
            } else {
                self.waiting.push_front(oldest);
                return true;
            }
        }
        false
    }

    fn done(&mut self, result: Result<Receipt, PublishError>) {
        match result {
            Ok(_) => {
                self.sent += 1;
                if let Some(progress) = &mut self.progress {
                    progress.show(self.sent);
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// The first failure decides how it ends; the others are told here.
    fn failed(&mut self, error: &PublishError) {
        let exit = ended(&self.client, self.settings).unwrap_or_else(|| not_published(error));
        if self.trouble.is_some() {
            note(self.settings, &exit.to_string());
        } else {
            self.trouble = Some(exit);
        }
    }
}

/// The time of day.
fn since_1970() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "a template asks for the time of day; nothing here belongs to a shard"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Bits for `{{random:..}}`.
fn random() -> u64 {
    let mut bits = [0; 8];
    // Without randomness it is 0: values for tests, no secrets.
    let _ = getrandom::fill(&mut bits);
    u64::from_le_bytes(bits)
}

/// How many messages are sent, on a terminal, while there are many.
struct Progress {
    next: Instant,
}

impl Progress {
    /// None: nobody looks, or there is nothing to count.
    fn new(settings: &Settings) -> Option<Self> {
        let many = settings.sending.source == Source::StdinLines || settings.sending.repeat > 1;
        // Lines that somebody types are progress enough.
        let shown = io::stderr().is_terminal() && !io::stdin().is_terminal();
        let next = Instant::now() + PROGRESS;
        (many && shown && !settings.quiet).then_some(Self { next })
    }

    fn show(&mut self, sent: u64) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + PROGRESS;
            let _ = write!(io::stderr(), "\r{sent} messages sent");
        }
    }

    /// Wipes the line out.
    fn end(self) {
        let Self { .. } = self;
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

/// A message with the options of the command line.
fn message(settings: &Settings, payload: Vec<u8>) -> Result<Message, Exit> {
    let topic = settings.sending.topic.as_deref().unwrap_or_default();
    let mut message = Message::new(topic, payload);
    dress(settings, &mut message)?;
    Ok(message)
}

/// QoS, retain flag and properties of the command line.
pub(super) fn dress(settings: &Settings, message: &mut Message) -> Result<(), Exit> {
    let sending = &settings.sending;
    message.qos = sending.qos;
    message.retain = sending.retain;
    conversions::set(&sending.properties, "publish", message)?;
    if let Some(topic) = &sending.response_topic
        && settings.session.version.is_v5()
    {
        message.properties_mut().response_topic =
            Some(martlet_client::IntoTopic::into_topic(topic.as_str()));
    }
    Ok(())
}

/// The payload that the settings name, decoded.
pub(super) fn payload(settings: &Settings) -> Result<Vec<u8>, Exit> {
    let sending = &settings.sending;
    let (bytes, from) = match &sending.source {
        Source::Text(text) => (text.clone(), "-m".to_owned()),
        Source::File(name) => {
            let shown = name.to_string_lossy().into_owned();
            (
                input::file(name).map_err(|error| unreadable(&error, &shown))?,
                shown,
            )
        }
        Source::StdinAll => {
            let read = input::stdin().map_err(|error| unreadable(&error, "standard input"));
            (read?, "standard input".to_owned())
        }
        Source::Size(bytes) => {
            return Ok((0..*bytes)
                .map(|index| PATTERN.get(index % PATTERN.len()).copied().unwrap_or(b'0'))
                .collect());
        }
        Source::None | Source::StdinLines | Source::Null => return Ok(Vec::new()),
    };
    decoded(bytes, sending.encoding).map_err(|why| Exit::new(BAD_INPUT, format!("{from}: {why}")))
}

fn unreadable(error: &InputError, from: &str) -> Exit {
    let why = match error {
        InputError::Open(error) | InputError::Read(error) => error.to_string(),
        InputError::Empty => "nothing there".to_owned(),
        InputError::TooLong => "more than the 268,435,455 bytes that a packet can have".to_owned(),
    };
    Exit::new(BAD_INPUT, format!("cannot read {from}: {why}"))
}

/// Waits for a future; None if a signal came first.
pub(super) async fn or_signal<F: Future>(
    mut future: Pin<&mut F>,
    signals: &mut Signals,
) -> Option<F::Output> {
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        signals.poll(context).map(|()| None)
    })
    .await
}

/// Messages in the client's hands at a time: enough to keep the connection busy, and bounded.
const WINDOW: usize = 1_024;
/// How often progress is shown.
const PROGRESS: Duration = Duration::from_millis(200);
/// What `--size` sends.
const PATTERN: &[u8; 10] = b"0123456789";
