//! `martlet sub`. What it waits for stands in `waiting`.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the states of a client only some are told"
)]

mod waiting;

use std::pin::pin;
use std::time::Duration;

use martlet_client::{Client, Filter, Granted, Message, RetainedSet, State, Subscription};
use martlet_codec::{RetainHandling as Handling, topic_matches};
use tokio::sync::watch;
use tokio::time::sleep;

use self::waiting::{Ends, Timers, Woke, wait};
use super::connecting::{connect, explain, note, tell};
use super::conversions::{encoded, printed, shown};
use super::{Ending, close};
use crate::exit::{BAD_INPUT, Exit, FAILED, TIMED_OUT};
use crate::format::Printer;
use crate::outlet::{Outlet, Stopped};
use crate::programs::Dialect;
use crate::settings::{Kind, Place, RetainHandling, Settings};
use crate::signals::Signals;

/// Subscribes and prints as the settings say.
pub(super) async fn run(settings: &Settings) -> Result<Ending, Exit> {
    let mut signals = Signals::new().map_err(Exit::failed)?;
    let mut ends = Ends::new(settings);
    // What is wrong with the place for messages is found before anything is connected.
    let outlet = Outlet::open(&settings.output)?;
    let Some(client) = ends.during(pin!(connect(settings)), &mut signals).await else {
        return Ok(ends.early(&signals));
    };
    let client = client?;
    let ending = match ends
        .during(pin!(subscribe(&client, settings)), &mut signals)
        .await
    {
        None => Ok(ends.early(&signals)),
        Some(Err(exit)) => Err(exit),
        Some(Ok(None)) => Ok(Ending::good(0)),
        Some(Ok(Some(source))) if settings.receiving.exit_after_subscribe => {
            source.leave();
            Ok(Ending::good(0))
        }
        Some(Ok(Some(mut source))) => {
            let mut reader = Reader {
                settings,
                client: client.clone(),
                printer: printer(settings),
                outlet,
                count: 0,
                unreadable: 0,
                recent: 0,
            };
            let ending = reader.read(&mut source, ends, &mut signals).await;
            source.leave();
            Ok(ending)
        }
    };
    close(&client, &mut signals).await;
    ending
}

/// A printer for these settings.
pub(super) fn printer(settings: &Settings) -> Printer {
    let mut seed = [0; 8];
    // Which messages --random-filter leaves out is no secret.
    let _ = getrandom::fill(&mut seed);
    let mut output = settings.output.clone();
    match output.place {
        // A file has the payload and nothing else, unless something else was asked for.
        Place::Folder(_) if output.kind == Kind::Text && !output.verbose => {
            output.kind = Kind::Raw;
        }
        Place::Table => output.verbose = true,
        Place::Screen | Place::Folder(_) | Place::Log(_) => {}
    }
    Printer::new(&output, Dialect::Martlet, u64::from_le_bytes(seed))
}

/// Payloads that were not what `--decode` says: told one by one, and here for the exit code.
pub(super) fn not_decoded(count: u64) -> Exit {
    Exit::new(
        BAD_INPUT,
        format!("messages that --decode could not read, and that were left out: {count}"),
    )
}

/// Where messages come from.
enum Source {
    Live(Subscription),
    /// Ends when all have come.
    Retained(RetainedSet),
}

impl Source {
    async fn next(&mut self) -> Option<Message> {
        match self {
            Self::Live(subscription) => subscription.recv().await,
            Self::Retained(set) => set.next().await,
        }
    }

    /// Leaves the subscription to the session: where that outlives the connection, so does what was subscribed, as with
    /// mosquitto_sub.
    fn leave(self) {
        match self {
            Self::Live(subscription) => subscription.detach(),
            Self::Retained(_) => {}
        }
    }
}

/// Subscribes, and unsubscribes what is not wanted; None if nothing is subscribed.
async fn subscribe(client: &Client, settings: &Settings) -> Result<Option<Source>, Exit> {
    let receiving = &settings.receiving;
    for filter in &receiving.unsubscribe {
        unsubscribe(client, filter, settings).await?;
    }
    if receiving.subscriptions.is_empty() {
        return Ok(None);
    }
    let filters: Vec<Filter> = receiving
        .subscriptions
        .iter()
        .map(|one| filter(&one.filter, one.qos, settings))
        .collect();
    if receiving.retained_only {
        let idle = receiving.idle.unwrap_or(RETAINED_IDLE);
        let set = client.retained(filters, idle).await;
        let mut set = set.map_err(|error| explain(&error, settings))?;
        judge(&set.subscription().granted(), settings)?;
        return Ok(Some(Source::Retained(set)));
    }
    let subscription = client.subscribe_many(filters).await;
    let subscription = subscription.map_err(|error| refused(&error, settings))?;
    judge(&subscription.granted(), settings)?;
    Ok(Some(Source::Live(subscription)))
}

fn refused(error: &martlet_client::Error, settings: &Settings) -> Exit {
    let exit = explain(error, settings);
    let filters: Vec<&str> = settings
        .receiving
        .subscriptions
        .iter()
        .map(|one| one.filter.as_str())
        .collect();
    Exit::new(
        exit.number(),
        format!(
            "the broker refused the subscription to {}: {exit}",
            filters.join(", ")
        ),
    )
}

/// One refused filter is an error, unless `--any` says that the others will do.
fn judge(granted: &[Granted], settings: &Settings) -> Result<(), Exit> {
    let filters = settings.receiving.subscriptions.iter();
    for (one, granted) in filters.zip(granted) {
        let reason = match granted {
            Ok(qos) => {
                tell(
                    settings,
                    &format!("subscribed to {} at QoS {}", one.filter, *qos as u8),
                );
                continue;
            }
            Err(reason) => reason,
        };
        let text = format!(
            "the broker refused the subscription to {}: {}",
            one.filter,
            reason.name()
        );
        if !settings.receiving.any {
            return Err(Exit::new(
                reason.as_u8(),
                format!("{text}; --any goes on with the others"),
            ));
        }
        note(settings, &text);
    }
    Ok(())
}

/// The library unsubscribes what it subscribed to; the filter may be one of a session that was there before.
async fn unsubscribe(client: &Client, text: &str, settings: &Settings) -> Result<(), Exit> {
    let mut filter = Filter::new(text);
    if settings.session.version.is_v5() {
        filter = filter.retain_handling(Handling::Never);
    }
    let subscription = client
        .subscribe(filter)
        .await
        .map_err(|error| explain(&error, settings))?;
    subscription
        .unsubscribe()
        .await
        .map_err(|error| explain(&error, settings))
}

fn filter(text: &str, qos: Option<martlet_codec::QoS>, settings: &Settings) -> Filter {
    let receiving = &settings.receiving;
    let mut filter = Filter::new(text).qos(qos.unwrap_or(settings.sending.qos));
    if receiving.retain_as_published {
        filter = filter.retain_as_published();
    }
    match receiving.retain_handling {
        Some(RetainHandling::New) => filter = filter.retain_handling(Handling::IfNew),
        Some(RetainHandling::Never) => filter = filter.retain_handling(Handling::Never),
        None if receiving.no_retained && settings.session.version.is_v5() => {
            filter = filter.retain_handling(Handling::Never);
        }
        Some(RetainHandling::Always) | None => {}
    }
    filter
}

struct Reader<'a> {
    settings: &'a Settings,
    client: Client,
    printer: Printer,
    outlet: Outlet,
    count: u64,
    /// Messages that could not be decoded.
    unreadable: u64,
    /// Messages of this second, with `--message-rate`.
    recent: u64,
}

impl Reader<'_> {
    async fn read(&mut self, source: &mut Source, mut ends: Ends, signals: &mut Signals) -> Ending {
        let mut state = self.client.state();
        let mut connected = true;
        let idle = self.settings.receiving.idle;
        let mut timers = Timers {
            idle: idle.map(|time| (time, Box::pin(sleep(time)))),
            second: self
                .settings
                .output
                .message_rate
                .then(|| Box::pin(sleep(SECOND))),
        };
        loop {
            let ended = match wait(source, &mut state, signals, &mut ends, &mut timers).await {
                Woke::Message(Some(message)) => {
                    if let Some((time, pause)) = &mut timers.idle {
                        *pause = Box::pin(sleep(*time));
                    }
                    self.on_message(&message).await
                }
                Woke::Second => {
                    timers.second = Some(Box::pin(sleep(SECOND)));
                    self.print_rate()
                }
                Woke::State => {
                    self.tell(&mut state, &mut connected);
                    Ok(())
                }
                Woke::Message(None) => Err(self.over(source, &state)),
                Woke::Deadline => Err(self.too_few("the time was over")),
                Woke::Idle if self.settings.receiving.count.is_some() => {
                    Err(self.too_few("nothing more came"))
                }
                Woke::Idle => Err(self.enough()),
                Woke::Signal => Err(Ending::good(self.count)),
            };
            if let Err(ending) = ended {
                if self.recent > 0 {
                    // Nobody reading is no error, and another one is known already.
                    let _ = self.print_rate();
                }
                return ending;
            }
        }
    }

    /// How it ends when everything has come.
    fn enough(&self) -> Ending {
        match self.unreadable {
            0 => Ending::good(self.count),
            count => Ending::bad(not_decoded(count), self.count),
        }
    }

    /// Writes something; the error is how it ends.
    fn put(&mut self, topic: &str, shown: &[u8]) -> Result<(), Ending> {
        match self.outlet.put(topic, shown) {
            Ok(()) => Ok(()),
            Err(Stopped::Gone) => Err(Ending::good(self.count)),
            Err(Stopped::Failed(exit)) => Err(Ending::bad(exit, self.count)),
        }
    }

    fn print_rate(&mut self) -> Result<(), Ending> {
        let line = format!("{}\n", std::mem::take(&mut self.recent));
        self.put(RATE, line.as_bytes())
    }

    /// Prints a message; the error is how it ends, if no more are wanted.
    async fn on_message(&mut self, message: &Message) -> Result<(), Ending> {
        let receiving = &self.settings.receiving;
        let topic = message.topic.as_str();
        if message.retain && receiving.no_retained
            || receiving
                .filter_out
                .iter()
                .any(|filter| topic_matches(filter, topic))
        {
            return Ok(());
        }
        if receiving.remove_retained && message.retain {
            let removal = Message::new(topic, ()).retain().qos(1);
            let removed = self.client.publish_message(removal).await;
            removed.map_err(|error| {
                Ending::bad(super::connecting::not_published(&error), self.count)
            })?;
        }
        if self.settings.output.message_rate {
            self.recent += 1;
        } else if self.printer.lets_through() {
            let payload = match shown(message, &self.settings.output) {
                Ok(payload) => payload,
                Err(why) => {
                    note(self.settings, &why);
                    self.unreadable += 1;
                    return Ok(());
                }
            };
            let mut out = Vec::new();
            let properties = encoded(message.properties());
            let incoming = printed(message, &payload, &properties);
            if let Some(complaint) = self.printer.print(&incoming, &mut out) {
                note(self.settings, &complaint.to_string());
            }
            self.put(topic, &out)?;
        }
        self.count += 1;
        if Some(self.count) == receiving.count {
            return Err(self.enough());
        }
        Ok(())
    }

    /// No more messages: the retained ones have all come, or the client has closed.
    fn over(&self, source: &Source, state: &watch::Receiver<State>) -> Ending {
        let closed = match &*state.borrow() {
            State::Closed { last_error } => Some(last_error.clone()),
            _ => None,
        };
        match (closed, source) {
            (Some(Some(error)), _) => Ending::bad(explain(&error, self.settings), self.count),
            (None, Source::Retained(_)) if self.settings.receiving.count.is_none() => self.enough(),
            (None, Source::Retained(_)) => self.too_few("there are no more retained messages"),
            (Some(None) | None, _) => Ending::bad(
                Exit::new(FAILED, "the broker ended the subscription"),
                self.count,
            ),
        }
    }

    fn too_few(&self, why: &str) -> Ending {
        let text = match self.settings.receiving.count {
            Some(wanted) => format!("{why} with {} of {wanted} messages", self.count),
            None => format!("{why}; {} messages", self.count),
        };
        Ending::bad(Exit::new(TIMED_OUT, text), self.count)
    }

    /// Says when the connection is lost and when it is there again, once each.
    fn tell(&self, state: &mut watch::Receiver<State>, connected: &mut bool) {
        let now = state.borrow_and_update().clone();
        match now {
            State::Connecting {
                last_error: Some(error),
                ..
            } if *connected => {
                *connected = false;
                note(
                    self.settings,
                    &format!("connection lost ({error}); trying again"),
                );
            }
            State::Connected { .. } if !*connected => {
                *connected = true;
                note(self.settings, "connected again");
            }
            _ => {}
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// What stands for a topic where `--message-rate` writes to a folder.
const RATE: &str = "message-rate";
/// How long silence has to last where a broker lets us place no marker.
pub(super) const RETAINED_IDLE: Duration = Duration::from_secs(2);
