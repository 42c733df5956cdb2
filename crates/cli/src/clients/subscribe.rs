//! `martlet sub`.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the states of a client only some are told"
)]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use martlet_client::{Client, Filter, Granted, Message, RetainedSet, State, Subscription};
use martlet_codec::{RetainHandling as Handling, topic_matches};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::connecting::{connect, explain, note, tell};
use super::conversions::{encoded, printed};
use super::{Ending, close};
use crate::exit::{Exit, FAILED, TIMED_OUT};
use crate::format::Printer;
use crate::programs::Dialect;
use crate::screen::Screen;
use crate::settings::{RetainHandling, Settings};
use crate::signals::Signals;

/// Subscribes and prints as the settings say.
pub(super) async fn run(settings: &Settings) -> Result<Ending, Exit> {
    let mut signals = Signals::new().map_err(Exit::failed)?;
    let mut ends = Ends::new(settings);
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
                screen: Screen::new().map_err(Exit::failed)?,
                count: 0,
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
    Printer::new(&settings.output, Dialect::Martlet, u64::from_le_bytes(seed))
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

/// When to end without being asked by the broker.
struct Ends {
    deadline: Option<Pin<Box<Sleep>>>,
    timed_out: bool,
}

impl Ends {
    fn new(settings: &Settings) -> Self {
        Self {
            deadline: settings.receiving.timeout.map(|time| Box::pin(sleep(time))),
            timed_out: false,
        }
    }

    /// Waits for a future; None if the time is over or a signal came first.
    async fn during<F: Future>(
        &mut self,
        mut future: Pin<&mut F>,
        signals: &mut Signals,
    ) -> Option<F::Output> {
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            if signals.poll(context).is_ready() {
                return Poll::Ready(None);
            }
            if let Some(deadline) = &mut self.deadline
                && deadline.as_mut().poll(context).is_ready()
            {
                self.timed_out = true;
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    fn early(&self, _signals: &Signals) -> Ending {
        if self.timed_out {
            Exit::new(TIMED_OUT, "the time was over before the subscription stood").into()
        } else {
            Ending::good(0)
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
    screen: Screen,
    count: u64,
}

/// What came first.
enum Woke {
    Message(Option<Message>),
    State,
    Signal,
    Deadline,
    Idle,
}

impl Reader<'_> {
    async fn read(&mut self, source: &mut Source, mut ends: Ends, signals: &mut Signals) -> Ending {
        let mut state = self.client.state();
        let mut connected = true;
        let mut idle = self
            .settings
            .receiving
            .idle
            .map(|time| (time, Box::pin(sleep(time))));
        loop {
            match wait(source, &mut state, signals, &mut ends, &mut idle).await {
                Woke::Message(Some(message)) => {
                    if let Some((time, pause)) = &mut idle {
                        *pause = Box::pin(sleep(*time));
                    }
                    match self.on_message(&message).await {
                        Ok(true) => {}
                        Ok(false) => return Ending::good(self.count),
                        Err(exit) => return Ending::bad(exit, self.count),
                    }
                }
                Woke::Message(None) => return self.over(source, &state),
                Woke::State => self.tell(&mut state, &mut connected),
                Woke::Deadline => return self.too_few("the time was over"),
                Woke::Idle if self.settings.receiving.count.is_some() => {
                    return self.too_few("nothing more came");
                }
                Woke::Idle | Woke::Signal => return Ending::good(self.count),
            }
        }
    }

    /// Prints a message; whether more are wanted.
    async fn on_message(&mut self, message: &Message) -> Result<bool, Exit> {
        let receiving = &self.settings.receiving;
        let topic = message.topic.as_str();
        if message.retain && receiving.no_retained
            || receiving
                .filter_out
                .iter()
                .any(|filter| topic_matches(filter, topic))
        {
            return Ok(true);
        }
        if receiving.remove_retained && message.retain {
            let removal = Message::new(topic, ()).retain().qos(1);
            let removed = self.client.publish_message(removal).await;
            removed.map_err(|error| super::connecting::not_published(&error))?;
        }
        let mut out = Vec::new();
        let properties = encoded(message.properties());
        if let Some(complaint) = self.printer.print(&printed(message, &properties), &mut out) {
            note(self.settings, &complaint.to_string());
        }
        if self.screen.show(&out).is_err() {
            return Ok(false);
        }
        self.count += 1;
        Ok(Some(self.count) != receiving.count)
    }

    /// No more messages: the retained ones have all come, or the client has closed.
    fn over(&self, source: &Source, state: &watch::Receiver<State>) -> Ending {
        let closed = match &*state.borrow() {
            State::Closed { last_error } => Some(last_error.clone()),
            _ => None,
        };
        match (closed, source) {
            (Some(Some(error)), _) => Ending::bad(explain(&error, self.settings), self.count),
            (None, Source::Retained(_)) if self.settings.receiving.count.is_none() => {
                Ending::good(self.count)
            }
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

async fn wait(
    source: &mut Source,
    state: &mut watch::Receiver<State>,
    signals: &mut Signals,
    ends: &mut Ends,
    idle: &mut Option<(Duration, Pin<Box<Sleep>>)>,
) -> Woke {
    let mut next = pin!(source.next());
    let mut changed = pin!(state.changed());
    let mut is_watched = true;
    poll_fn(|context| {
        if signals.poll(context).is_ready() {
            return Poll::Ready(Woke::Signal);
        }
        if let Some(deadline) = &mut ends.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Woke::Deadline);
        }
        if let Poll::Ready(message) = next.as_mut().poll(context) {
            return Poll::Ready(Woke::Message(message));
        }
        if is_watched && let Poll::Ready(result) = changed.as_mut().poll(context) {
            is_watched = false;
            if result.is_ok() {
                return Poll::Ready(Woke::State);
            }
        }
        match idle {
            Some((_, pause)) => pause.as_mut().poll(context).map(|()| Woke::Idle),
            None => Poll::Pending,
        }
    })
    .await
}

/// How long silence has to last where a broker lets us place no marker.
pub(super) const RETAINED_IDLE: Duration = Duration::from_secs(2);
