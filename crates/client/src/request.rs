//! Request and response: a question that waits for its answer.
//!
//! | | 5.0 | 3.1.1 |
//! |---|---|---|
//! | the answer goes to | the Response Topic, one per client | `<topic>/reply`, or as asked for |
//! | it belongs to | the request with its Correlation Data | the oldest request that waits on that topic |

use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, PublishError};
use crate::handle::Client;
use crate::message::{Message, Payload};
use crate::state::State;
use crate::topic::{IntoQoS, IntoTopic, Topic};

/// A request that is being put together; made by [`Client::request`]. Nothing happens before it is
/// awaited; it resolves to the answer.
///
/// # Cancellation
/// Nobody waits for the answer any more: when it comes, it is counted as late
/// ([`Stats::late_replies`](crate::Stats::late_replies)) and dropped. The request itself may have been sent.
#[must_use = "a request does nothing until it is awaited"]
#[derive(Debug)]
pub struct Request {
    client: Client,
    message: Message,
    timeout: Option<Duration>,
    reply_to: Option<Topic>,
}

impl Request {
    pub(crate) fn new(client: Client, message: Message) -> Self {
        Self {
            client,
            message: message.qos(1),
            timeout: None,
            reply_to: None,
        }
    }

    /// How long to wait for the answer. Without it, for ever.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The QoS of request and answer: 1 unless set.
    pub fn qos(mut self, qos: impl IntoQoS) -> Self {
        self.message = self.message.qos(qos);
        self
    }

    /// Where the answer is expected, instead of a topic that this library chooses.
    pub fn reply_to(mut self, topic: impl IntoTopic) -> Self {
        self.reply_to = Some(topic.into_topic());
        self
    }

    /// A name and a value for the service (MQTT 5.0); may be repeated.
    pub fn user_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let pair = (name.into(), value.into());
        self.message.properties_mut().user.push(pair);
        self
    }

    async fn run(self) -> Result<Message, Error> {
        let timeout = self.timeout;
        let answer = self.ask();
        match timeout {
            None => answer.await,
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout))),
        }
    }

    async fn ask(self) -> Result<Message, Error> {
        let Self {
            client,
            mut message,
            reply_to,
            ..
        } = self;
        if let Some(fault) = reply_to.as_ref().and_then(Topic::fault) {
            return Err(Error::with_detail(
                ErrorKind::InvalidTopic,
                fault.to_string(),
            ));
        }
        let shared = client.shared();
        let v5 = shared.with(|core, _| core.machine.version().is_v5());
        let reply_to = match reply_to {
            Some(topic) => topic,
            None if v5 => shared.replies.own_topic(&client),
            None => format!("{}/reply", message.topic).into_topic(),
        };
        shared
            .replies
            .listen(&client, &reply_to, message.qos)
            .await?;
        let (guard, answer) = shared.replies.expect(&client, &reply_to);
        if v5 {
            let properties = message.properties_mut();
            properties.response_topic = Some(reply_to);
            let number = guard.number.to_be_bytes();
            properties.correlation_data = Some(number.into_payload());
        }
        client.publish_message(message).await.map_err(of_publish)?;
        answer.await.map_err(|_| Error::new(ErrorKind::Closed))
    }
}

impl IntoFuture for Request {
    type Output = Result<Message, Error>;
    type IntoFuture = Requesting;

    fn into_future(self) -> Requesting {
        Requesting(Box::pin(self.run()))
    }
}

/// The future of a [`Request`].
pub struct Requesting(Pin<Box<dyn Future<Output = Result<Message, Error>> + Send>>);

impl Future for Requesting {
    type Output = Result<Message, Error>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Requesting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requesting").finish_non_exhaustive()
    }
}

/// The error of a publish that is part of something larger.
pub(crate) fn of_publish(error: PublishError) -> Error {
    let detail = error.reason;
    Error {
        detail: detail.map(Into::into),
        ..Error::new(error.kind)
    }
}

/// Who waits for which answer, and the topics that are listened to.
#[derive(Default)]
pub(crate) struct Replies {
    /// One listener at a time is set up.
    setup: tokio::sync::Mutex<()>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    own_topic: Option<Topic>,
    /// Topics with a listener.
    topics: HashMap<Topic, Listener>,
}

#[derive(Default)]
struct Listener {
    /// Oldest first, by the number that the answer repeats in 5.0.
    requests: std::collections::BTreeMap<u64, oneshot::Sender<Message>>,
}

/// Takes the request off the list when nobody waits any more.
struct Expecting {
    client: Client,
    topic: Topic,
    number: u64,
}

impl Replies {
    /// The Response Topic of this client: below what the server suggests, if it does.
    fn own_topic(&self, client: &Client) -> Topic {
        let mut waiting = self.waiting.lock();
        waiting
            .own_topic
            .get_or_insert_with(|| {
                let prefix = match &*client.state().borrow() {
                    State::Connected { limits, .. } => limits.response_information.clone(),
                    State::Connecting { .. } | State::Closed { .. } => None,
                };
                let prefix = prefix.as_deref().unwrap_or("reply").trim_end_matches('/');
                let random = || std::hash::RandomState::new().build_hasher().finish();
                format!("{prefix}/{:016x}{:016x}", random(), random()).into_topic()
            })
            .clone()
    }

    /// Makes sure that answers on this topic are received. The listener ends with the client.
    async fn listen(
        &self,
        client: &Client,
        topic: &Topic,
        qos: martlet_codec::QoS,
    ) -> Result<(), Error> {
        let _one = self.setup.lock().await;
        if self.waiting.lock().topics.contains_key(topic) {
            return Ok(());
        }
        // The listener must not keep the client alive.
        let weak = client.unowned();
        let mut answers = weak.subscribe(topic).qos(qos).await?;
        self.waiting
            .lock()
            .topics
            .insert(topic.clone(), Listener::default());
        let topic = topic.clone();
        let shared = client.shared();
        tokio::spawn(async move {
            while let Some(answer) = answers.recv().await {
                if !shared.replies.dispatch(&topic, answer) {
                    shared.with(|core, _| core.machine.count_late_reply());
                }
            }
            // The client is closed: nobody need wait any longer.
            shared.replies.waiting.lock().topics.remove(&topic);
        });
        Ok(())
    }

    fn expect(&self, client: &Client, topic: &Topic) -> (Expecting, oneshot::Receiver<Message>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.next += 1;
        let number = waiting.next;
        if let Some(listener) = waiting.topics.get_mut(topic) {
            listener.requests.insert(number, sender);
        }
        let expecting = Expecting {
            client: client.clone(),
            topic: topic.clone(),
            number,
        };
        (expecting, receiver)
    }

    /// Gives an answer to whom it belongs. False: nobody waits for it.
    fn dispatch(&self, topic: &Topic, answer: Message) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(listener) = waiting.topics.get_mut(topic) else {
            return false;
        };
        let number = match &answer.properties().correlation_data {
            Some(data) => <[u8; 8]>::try_from(&data[..]).map(u64::from_be_bytes).ok(),
            // 3.1.1 cannot say which; services answer in order.
            None => listener.requests.keys().next().copied(),
        };
        let waiter = number.and_then(|number| listener.requests.remove(&number));
        waiter.is_some_and(|waiter| waiter.send(answer).is_ok())
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        let shared = self.client.shared();
        let mut waiting = shared.replies.waiting.lock();
        if let Some(listener) = waiting.topics.get_mut(&self.topic) {
            listener.requests.remove(&self.number);
        }
    }
}
