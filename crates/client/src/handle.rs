//! The handle.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::builder::Builder;
use crate::error::Unfinished;
use crate::machine::Outcome;
use crate::message::{Message, Payload};
use crate::publish::Publish;
use crate::request::Request;
use crate::shared::Shared;
use crate::state::{State, Stats};
use crate::subscribe::Subscribe;
use crate::topic::{IntoFilter, IntoTopic};

/// A client: clone it, share it, use it from any task or thread.
///
/// The connection is kept by a [`Driver`](crate::Driver) in the background. When the last handle is
/// gone ([`Subscription`](crate::Subscription)s are handles, too), what was admitted is sent if
/// there is a connection, and the connection is closed properly, best effort;
/// [`close`](Self::close) waits for it.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    /// Whether the client ends when nobody has this handle any more.
    owner: bool,
}

impl Client {
    /// A client of the server at this URL, to be configured: see [`Url`](crate::Url).
    pub fn builder(url: impl AsRef<str>) -> Builder {
        Builder::new(url.as_ref())
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            handle: Arc::new(Handle {
                shared,
                owner: true,
            }),
        }
    }

    /// A handle for our own tasks, which must not keep the client alive.
    pub(crate) fn unowned(&self) -> Self {
        Self {
            handle: Arc::new(Handle {
                shared: self.shared(),
                owner: false,
            }),
        }
    }

    /// Publishes a message: see [`Publish`] for the ways to wait for it.
    pub fn publish(&self, topic: impl IntoTopic, payload: impl Payload) -> Publish {
        self.publish_message(Message::new(topic, payload))
    }

    /// Publishes a message that is put together already: one that was received, or one that came
    /// back in a [`PublishError`](crate::PublishError).
    pub fn publish_message(&self, message: Message) -> Publish {
        Publish::new(self.clone(), message)
    }

    /// Subscribes to a filter: see [`Subscribe`].
    pub fn subscribe(&self, filter: impl IntoFilter) -> Subscribe {
        Subscribe::new(self.clone(), vec![filter.into_filter()])
    }

    /// Subscribes to several filters at once, each with its own options, as one stream.
    pub fn subscribe_many<F: IntoFilter>(&self, filters: impl IntoIterator<Item = F>) -> Subscribe {
        let filters = filters.into_iter().map(IntoFilter::into_filter).collect();
        Subscribe::new(self.clone(), filters)
    }

    /// A stream of the messages that no other stream wants: those of subscriptions that an earlier
    /// run of the program has left in the session.
    pub fn unrouted(&self) -> Subscribe {
        Subscribe::rest(self.clone())
    }

    /// Asks a service and waits for its answer: see [`Request`].
    pub fn request(&self, topic: impl IntoTopic, payload: impl Payload) -> Request {
        Request::new(self.clone(), Message::new(topic, payload))
    }

    /// Where the client stands, now and later.
    ///
    /// # Cancellation
    /// `changed()` is safe to cancel.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.handle.shared.state()
    }

    /// Counters and sizes at this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.shared.with(|core, _| core.machine.stats())
    }

    /// Waits until every message admitted so far is done with, one way or the other.
    ///
    /// # Cancellation
    /// Safe: nothing is lost.
    pub async fn flush(&self, timeout: Duration) -> Result<(), Unfinished> {
        let shared = self.shared();
        let op = shared.with(|core, _| {
            let op = core.ops.begin();
            core.machine.flush(op);
            op
        });
        match tokio::time::timeout(timeout, shared.wait(op)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.unfinished()),
        }
    }

    /// Admits nothing more, waits until all messages are done with, sends DISCONNECT and closes.
    /// When the time is over it closes all the same and says what was left. When this is ready in time, the
    /// last bytes are with the operating system: a program may end at once.
    ///
    /// # Cancellation
    /// Nothing more is admitted, and the client closes when it has nothing left to send.
    pub async fn close(&self, timeout: Duration) -> Result<(), Unfinished> {
        let shared = self.shared();
        let op = shared.with(|core, now| {
            let op = core.ops.begin();
            core.machine.close(now, op);
            op
        });
        let closed = async {
            let outcome = shared.wait(op).await;
            shared.ended().await;
            outcome
        };
        match tokio::time::timeout(timeout, closed).await {
            Ok(Some(Outcome::Closed(result))) => result,
            Ok(_) => Ok(()),
            Err(_) => {
                let unfinished = self.unfinished();
                shared.with(|core, _| core.machine.close_now());
                Err(unfinished)
            }
        }
    }

    /// How many futures of this client are waiting: for tests that look for leaks.
    #[doc(hidden)]
    #[must_use]
    pub fn pending_operations(&self) -> usize {
        self.handle.shared.with(|core, _| core.ops.count())
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.handle.shared)
    }

    fn unfinished(&self) -> Unfinished {
        let stats = self.stats();
        Unfinished {
            queued: stats.queued,
            in_flight: stats.in_flight,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.owner {
            self.shared.with(|core, now| core.machine.release(now));
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
