//! What a subscriber waits for: messages, the connection, signals and times, whichever comes first.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use martlet_client::{Message, State};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::Source;
use crate::clients::Ending;
use crate::exit::{Exit, TIMED_OUT};
use crate::settings::Settings;
use crate::signals::Signals;

/// When to end without being asked by the broker.
pub(super) struct Ends {
    deadline: Option<Pin<Box<Sleep>>>,
    timed_out: bool,
}

impl Ends {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            deadline: settings.receiving.timeout.map(|time| Box::pin(sleep(time))),
            timed_out: false,
        }
    }

    /// Waits for a future; None if the time is over or a signal came first.
    pub(super) async fn during<F: Future>(
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

    pub(super) fn early(&self, _signals: &Signals) -> Ending {
        if self.timed_out {
            Exit::new(TIMED_OUT, "the time was over before the subscription stood").into()
        } else {
            Ending::good(0)
        }
    }
}

/// What came first.
pub(super) enum Woke {
    Message(Option<Message>),
    State,
    Signal,
    Deadline,
    Idle,
    /// A second is over, with `--message-rate`.
    Second,
}

/// What runs beside the messages.
pub(super) struct Timers {
    /// `--idle`, from the last message on.
    pub(super) idle: Option<(Duration, Pin<Box<Sleep>>)>,
    /// `--message-rate`
    pub(super) second: Option<Pin<Box<Sleep>>>,
}

/// Waits for whatever comes first.
pub(super) async fn wait(
    source: &mut Source,
    state: &mut watch::Receiver<State>,
    signals: &mut Signals,
    ends: &mut Ends,
    timers: &mut Timers,
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
        if let Some(second) = &mut timers.second
            && second.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Woke::Second);
        }
        match &mut timers.idle {
            Some((_, pause)) => pause.as_mut().poll(context).map(|()| Woke::Idle),
            None => Poll::Pending,
        }
    })
    .await
}
