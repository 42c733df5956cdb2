//! Publishing: the builder, and what comes of it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Delivered, ErrorKind, PublishError, Receipt};
use crate::handle::Client;
use crate::machine::{Failure, OpId, Outcome, Refusal};
use crate::message::{Message, Payload};
use crate::shared::Shared;
use crate::topic::{IntoQoS, IntoTopic};

/// A publish that is being put together. Nothing happens before it is awaited or enqueued.
///
/// | | resolves | if the queue is full |
/// |---|---|---|
/// | `.await` | PUBACK or PUBCOMP has come; QoS 0: written to the socket | by [`OnFull`](crate::OnFull) |
/// | [`enqueue`](Self::enqueue)`.await` | admitted | by [`OnFull`](crate::OnFull) |
/// | [`try_enqueue`](Self::try_enqueue) | at once | `QueueFull` |
///
/// # Cancellation
/// Dropped before admission: nothing was and nothing will be sent. Dropped after it: the message is
/// delivered all the same. Time-outs are the caller's: `tokio::time::timeout(.., publish)`.
#[must_use = "a publish does nothing until it is awaited or enqueued"]
#[derive(Debug)]
pub struct Publish {
    client: Client,
    message: Message,
}

impl Publish {
    pub(crate) const fn new(client: Client, message: Message) -> Self {
        Self { client, message }
    }

    /// At this QoS: 0 (the default), 1 or 2.
    pub fn qos(mut self, qos: impl IntoQoS) -> Self {
        self.message = self.message.qos(qos);
        self
    }

    /// To be kept by the server for those who subscribe later.
    pub const fn retain(mut self) -> Self {
        self.message.retain = true;
        self
    }

    /// The message is of no use after this time, rounded up to seconds: neither here in the queue
    /// nor at the server. MQTT 5.0 only; in 3.1.1 see [`Outbox::max_age`](crate::Outbox::max_age).
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.message.properties_mut().set_expiry(expiry);
        self
    }

    /// The kind of payload, such as `application/json` (MQTT 5.0).
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.message.properties_mut().content_type = Some(content_type.into());
        self
    }

    /// Says that the payload is UTF-8 text (MQTT 5.0).
    pub fn text(mut self) -> Self {
        self.message.properties_mut().is_text = true;
        self
    }

    /// Where an answer is expected (MQTT 5.0).
    pub fn response_topic(mut self, topic: impl IntoTopic) -> Self {
        self.message.properties_mut().response_topic = Some(topic.into_topic());
        self
    }

    /// What an answer has to repeat (MQTT 5.0).
    pub fn correlation_data(mut self, data: impl Payload) -> Self {
        self.message.properties_mut().correlation_data = Some(data.into_payload());
        self
    }

    /// A name and a value that mean something to the applications (MQTT 5.0); may be repeated.
    pub fn user_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let pair = (name.into(), value.into());
        self.message.properties_mut().user.push(pair);
        self
    }

    /// Admits the message and comes back with a [`Delivery`], which tells later what became of it.
    ///
    /// # Cancellation
    /// Dropped before it is ready, the message is not and will not be sent.
    pub async fn enqueue(self) -> Result<Delivery, PublishError> {
        admit(&self.client, self.message).await
    }

    /// Admits the message, at QoS 1 or 2, and comes back when it is on disk: from then on it is delivered at least
    /// once even if this process is killed. Needs [`Outbox::file`](crate::Outbox::file). The [`Delivery`] tells later
    /// what became of it.
    ///
    /// # Cancellation
    /// As for [`enqueue`](Self::enqueue); dropped after admission, the message is stored and delivered all the same.
    pub async fn stored(self) -> Result<Delivery, PublishError> {
        let shared = self.client.shared();
        let store = shared.with(|core, _| core.store.clone());
        let plain = self.message.qos == martlet_codec::QoS::AtMostOnce;
        let Some(store) = store.filter(|_| !plain) else {
            return Err(PublishError {
                kind: ErrorKind::InvalidOption,
                delivered: Delivered::No,
                reason: Some("only QoS 1 and 2, with an outbox in a file, are stored".into()),
                message: Box::new(self.message),
            });
        };
        let mut durable = store.durable();
        drop(store);
        let copy = self.message.clone();
        let delivery = admit(&self.client, self.message).await?;
        let number = delivery.number.unwrap_or(0);
        let there = |state: &crate::outbox::Durable| state.up_to >= number || state.error.is_some();
        let failed = |reason: String| PublishError {
            kind: ErrorKind::Storage,
            delivered: Delivered::Maybe,
            reason: Some(reason),
            message: Box::new(copy),
        };
        match durable.wait_for(there).await {
            Ok(state) if state.up_to >= number => Ok(delivery),
            Ok(state) => {
                let error = state.error.as_ref().map(ToString::to_string);
                Err(failed(error.unwrap_or_default()))
            }
            Err(_) => Err(failed("the client was closed".into())),
        }
    }

    /// Admits the message or fails, without waiting. Of the [`Delivery`] nobody has to take notice.
    pub fn try_enqueue(self) -> Result<Delivery, PublishError> {
        try_admit(&self.client.shared(), self.message).map_err(|refusal| refused(*refusal))
    }
}

impl IntoFuture for Publish {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = Publishing;

    fn into_future(self) -> Publishing {
        Publishing(Stage::Start(Some(self)))
    }
}

/// The future of a [`Publish`].
#[derive(Debug)]
pub struct Publishing(Stage);

enum Stage {
    Start(Option<Publish>),
    /// The queue was full at the first attempt.
    Admitting(Pin<Box<dyn Future<Output = Result<Delivery, PublishError>> + Send>>),
    Delivering(Delivery),
}

impl Future for Publishing {
    type Output = Result<Receipt, PublishError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let stage = &mut self.get_mut().0;
        loop {
            let next = match stage {
                Stage::Start(publish) => {
                    let Some(Publish { client, message }) = publish.take() else {
                        return Poll::Pending;
                    };
                    match try_admit(&client.shared(), message) {
                        Ok(delivery) => Stage::Delivering(delivery),
                        Err(refusal) if refusal.may_wait => {
                            let message = refusal.message;
                            Stage::Admitting(Box::pin(async move { admit(&client, message).await }))
                        }
                        Err(refusal) => return Poll::Ready(Err(refused(*refusal))),
                    }
                }
                Stage::Admitting(admitting) => match admitting.as_mut().poll(cx) {
                    Poll::Ready(Ok(delivery)) => Stage::Delivering(delivery),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Delivering(delivery) => return Pin::new(delivery).poll(cx),
            };
            *stage = next;
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start(_) => "Start",
            Self::Admitting(_) => "Admitting",
            Self::Delivering(_) => "Delivering",
        })
    }
}

/// A message that was admitted: awaited, it tells what became of it.
///
/// # Cancellation
/// Dropping it changes nothing: the message is delivered in the background.
#[must_use = "a delivery that nobody looks at may fail unseen; drop it on purpose to say so"]
#[derive(Debug)]
pub struct Delivery {
    shared: Arc<Shared>,
    op: OpId,
    /// Under which the outbox's file stores the message.
    number: Option<u64>,
    over: bool,
}

impl Delivery {
    /// Takes the message back if it has not been sent. Otherwise the delivery goes on and comes
    /// back.
    pub fn cancel(mut self) -> Result<Message, TooLate> {
        let taken = self.shared.with(|core, _| core.machine.cancel(self.op));
        if !taken {
            return Err(TooLate(self));
        }
        self.over = true;
        let outcome = self.shared.with(|core, _| core.ops.end(self.op));
        match outcome {
            Some(Outcome::PublishFailed(failure)) => failure.message.ok_or(TooLate(self)),
            _ => Err(TooLate(self)),
        }
    }
}

impl Future for Delivery {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(outcome) = self.shared.poll_op(self.op, cx) else {
            return Poll::Pending;
        };
        self.over = true;
        Poll::Ready(match outcome {
            Some(Outcome::Published(receipt)) => Ok(receipt),
            Some(Outcome::PublishFailed(failure)) => Err(failed(*failure)),
            _ => Err(failed(Failure {
                kind: ErrorKind::Closed,
                delivered: Delivered::Maybe,
                reason: None,
                message: None,
            })),
        })
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.over {
            self.shared.with(|core, _| core.ops.end(self.op));
        }
    }
}

/// The message has been sent, or is done with: [`Delivery::cancel`] comes too late. The delivery is
/// inside.
#[derive(Debug)]
pub struct TooLate(pub Delivery);

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message has been sent already")
    }
}

impl std::error::Error for TooLate {}

fn try_admit(shared: &Arc<Shared>, message: Message) -> Result<Delivery, Box<Refusal>> {
    let (op, number) = shared.with(|core, now| {
        let op = core.ops.begin();
        match core.machine.publish(now, message, Some(op)) {
            Ok(number) => Ok((op, number)),
            Err(refusal) => {
                core.ops.end(op);
                Err(refusal)
            }
        }
    })?;
    Ok(Delivery {
        shared: Arc::clone(shared),
        op,
        number,
        over: false,
    })
}

/// Waits for room if need be.
async fn admit(client: &Client, mut message: Message) -> Result<Delivery, PublishError> {
    let shared = client.shared();
    loop {
        let mut room = std::pin::pin!(shared.room.notified());
        // Before the attempt, or room that comes between the two would be missed.
        room.as_mut().enable();
        match try_admit(&shared, message) {
            Ok(delivery) => {
                // There may be room for the next one, too.
                if shared.with(|core, _| core.machine.has_room()) {
                    shared.room.notify_one();
                }
                return Ok(delivery);
            }
            Err(refusal) if refusal.may_wait => message = refusal.message,
            Err(refusal) => return Err(refused(*refusal)),
        }
        room.await;
    }
}

fn refused(refusal: Refusal) -> PublishError {
    PublishError {
        kind: refusal.kind,
        delivered: Delivered::No,
        reason: refusal.reason,
        message: Box::new(refusal.message),
    }
}

fn failed(failure: Failure) -> PublishError {
    PublishError {
        kind: failure.kind,
        delivered: failure.delivered,
        reason: failure.reason,
        message: Box::new(failure.message.unwrap_or_else(|| Message::new("", ()))),
    }
}
