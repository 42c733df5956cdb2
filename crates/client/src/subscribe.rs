//! Subscriptions: the builder, and the stream that comes of it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::acks::AckToken;
use crate::error::{Error, ErrorKind};
use crate::handle::Client;
use crate::machine::{Granted, Outcome, StreamId, StreamOptions};
use crate::message::Message;
use crate::options::Overflow;
use crate::topic::{Filter, IntoFilter, IntoQoS};
use martlet_codec::RetainHandling;

/// A subscription that is being put together. Nothing happens before it is awaited.
///
/// It resolves when the server has answered; with an error if it refused all filters. Without a
/// connection it waits for one.
///
/// # Cancellation
/// Dropped midway, it is unsubscribed.
#[must_use = "a subscription does nothing until it is awaited"]
#[derive(Debug)]
pub struct Subscribe {
    client: Client,
    filters: Vec<Filter>,
    options: StreamOptions,
}

impl Subscribe {
    pub(crate) fn new(client: Client, filters: Vec<Filter>) -> Self {
        Self {
            client,
            filters,
            options: StreamOptions::default(),
        }
    }

    pub(crate) fn rest(client: Client) -> Self {
        let mut subscribe = Self::new(client, Vec::new());
        subscribe.options.rest = true;
        subscribe
    }

    /// The highest QoS at which messages are wanted, for all filters so far.
    pub fn qos(self, qos: impl IntoQoS) -> Self {
        let qos = qos.into_qos();
        self.each(|filter| match qos {
            Some(qos) => filter.qos(qos),
            // Refused where it is used.
            None => filter.qos(u8::MAX),
        })
    }

    /// Not the messages that this client publishes itself (MQTT 5.0).
    pub fn no_local(self) -> Self {
        self.each(Filter::no_local)
    }

    /// Keeps the RETAIN flag as the publisher set it (MQTT 5.0).
    pub fn retain_as_published(self) -> Self {
        self.each(Filter::retain_as_published)
    }

    /// When retained messages are sent (MQTT 5.0).
    pub fn retain_handling(self, handling: RetainHandling) -> Self {
        self.each(|filter| filter.retain_handling(handling))
    }

    /// One more filter for the same stream.
    pub fn also(mut self, filter: impl IntoFilter) -> Self {
        self.filters.push(filter.into_filter());
        self
    }

    /// How many messages wait for the application at most (256 unless set); see [`Overflow`].
    pub const fn buffer(mut self, messages: usize) -> Self {
        self.options.capacity = messages;
        self
    }

    /// What happens to messages that the application does not take fast enough.
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = overflow;
        self
    }

    /// The application acknowledges: [`Message::ack`]. Otherwise a message is acknowledged when
    /// [`Subscription::recv`] hands it out.
    pub const fn manual_ack(mut self) -> Self {
        self.options.manual = true;
        self
    }

    fn each(mut self, change: impl Fn(Filter) -> Filter) -> Self {
        self.filters = self.filters.into_iter().map(change).collect();
        self
    }

    async fn run(self) -> Result<Subscription, Error> {
        let Self {
            client,
            filters,
            options,
        } = self;
        if filters.is_empty() && !options.rest {
            return Err(Error::with_detail(ErrorKind::InvalidOption, "no filter"));
        }
        let shared = client.shared();
        let (op, stream) = shared.with(|core, now| {
            let op = core.ops.begin();
            let stream = core.machine.subscribe(now, filters, options, Some(op));
            if stream.is_err() {
                core.ops.end(op);
            }
            (op, stream)
        });
        // From here on, dropping the future unsubscribes.
        let subscription = Subscription {
            id: stream?,
            client,
            over: false,
        };
        match shared.wait(op).await {
            Some(Outcome::Subscribed(_)) => Ok(subscription),
            Some(Outcome::SubscribeFailed(error)) => Err(error),
            _ => Err(Error::new(ErrorKind::Closed)),
        }
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription, Error>;
    type IntoFuture = Subscribing;

    fn into_future(self) -> Subscribing {
        Subscribing(Box::pin(self.run()))
    }
}

/// The future of a [`Subscribe`].
pub struct Subscribing(Pin<Box<dyn Future<Output = Result<Subscription, Error>> + Send>>);

impl Future for Subscribing {
    type Output = Result<Subscription, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Subscribing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribing").finish_non_exhaustive()
    }
}

/// The messages of a subscription, in the order in which they came. Survives reconnects; ends when
/// the client is closed, or when the server refuses to renew the subscription.
///
/// Dropping it unsubscribes; [`detach`](Self::detach) leaves the subscription at the server.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    id: StreamId,
    over: bool,
}

impl Subscription {
    /// The next message; `None` when nothing more will come.
    ///
    /// # Cancellation
    /// Safe: a message is either handed out or stays in the stream.
    pub async fn recv(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message if there is one already.
    pub fn try_recv(&mut self) -> Option<Message> {
        let shared = self.client.shared();
        let (message, ack) = shared.with(|core, _| core.machine.recv(self.id))?;
        Some(Message {
            ack: ack.map(|id| AckToken::new(shared, id)),
            ..message
        })
    }

    /// What the server has granted for each filter, in their order.
    #[must_use]
    pub fn granted(&self) -> Vec<Granted> {
        let shared = self.client.shared();
        shared.with(|core, _| core.machine.granted(self.id).to_vec())
    }

    /// How many messages were given up because the buffer was full.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        let shared = self.client.shared();
        shared.with(|core, _| core.machine.lagged(self.id))
    }

    /// Ends the subscription and waits for the server's answer. Messages still in the stream are
    /// gone and count as dealt with.
    ///
    /// # Cancellation
    /// The subscription ends all the same.
    pub async fn unsubscribe(mut self) -> Result<(), Error> {
        self.over = true;
        let shared = self.client.shared();
        let op = shared.with(|core, now| {
            let op = core.ops.begin();
            core.forget_reader(self.id);
            core.machine.unsubscribe(now, self.id, Some(op));
            op
        });
        match shared.wait(op).await {
            Some(Outcome::Unsubscribed(result)) => result,
            _ => Err(Error::new(ErrorKind::Closed)),
        }
    }

    /// Lets go of the stream without ending the subscription at the server. Messages still in it
    /// stay unacknowledged, as do those that come: whoever resumes the session gets them.
    pub fn detach(mut self) {
        self.over = true;
        let shared = self.client.shared();
        shared.with(|core, _| {
            core.forget_reader(self.id);
            core.machine.detach(self.id);
        });
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        // A stream that always has something must let other tasks run all the same.
        let budget = std::task::ready!(tokio::task::coop::poll_proceed(cx));
        let shared = self.client.shared();
        let next = shared.with(|core, _| {
            if let Some(next) = core.machine.recv(self.id) {
                return Poll::Ready(Some(next));
            }
            if core.machine.has_stream_ended(self.id) {
                return Poll::Ready(None);
            }
            core.register_reader(self.id, cx.waker());
            Poll::Pending
        });
        let next = std::task::ready!(next);
        budget.made_progress();
        Poll::Ready(next.map(|(message, ack)| Message {
            ack: ack.map(|id| AckToken::new(shared, id)),
            ..message
        }))
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.get_mut().poll_recv(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.over {
            let shared = Arc::clone(&self.client.shared());
            shared.with(|core, now| {
                core.forget_reader(self.id);
                core.machine.unsubscribe(now, self.id, None);
            });
        }
    }
}
