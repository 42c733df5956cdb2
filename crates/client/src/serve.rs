//! The other side of a request: a service.

use std::future::Future;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::handle::Client;
use crate::message::{Message, Payload};
use crate::topic::{IntoFilter, IntoTopic};

impl Client {
    /// Answers requests: `handler` gets each message that matches, and what it returns is published
    /// to where the request wants its answer. Requests without a Response Topic (3.1.1) are answered
    /// on `<topic>/reply`.
    ///
    /// Up to 64 requests are handled at a time; more wait in the subscription. Runs until the client is
    /// closed; spawn it to do other things.
    ///
    /// Answers leave as they are ready. Those that nothing ties to their requests (3.1.1) leave in the order of the
    /// requests, because that is how they find them.
    ///
    /// ```no_run
    /// # async fn example(client: martlet_client::Client) -> Result<(), martlet_client::Error> {
    /// let adder = client.serve("svc/add", |request| async move {
    ///     let numbers = request.text();
    ///     numbers.split('+').filter_map(|one| one.trim().parse::<i64>().ok()).sum::<i64>()
    /// });
    /// adder.await
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// The subscription ends, and requests that are being handled get no answer.
    pub async fn serve<H, F>(&self, filter: impl IntoFilter, handler: H) -> Result<(), Error>
    where
        H: Fn(Message) -> F,
        F: Future + Send + 'static,
        F::Output: Payload + Send,
    {
        let mut requests = self.subscribe(filter).qos(1).buffer(AT_A_TIME_MAX).await?;
        let mut running = JoinSet::new();
        let mut last = None;
        while let Some(request) = requests.recv().await {
            let qos = request.qos;
            let properties = request.properties();
            let to = properties.response_topic.clone();
            let to = to.unwrap_or_else(|| format!("{}/reply", request.topic).into_topic());
            let correlation = properties.correlation_data.clone();
            let answering = handler(request);
            let turn = correlation.is_none().then(|| Turn::behind(&mut last));
            let client = self.clone();
            running.spawn(async move {
                let mut answer = Message::new(to, answering.await).qos(qos);
                if let Some(data) = correlation {
                    answer.properties_mut().correlation_data = Some(data);
                }
                // Who has asked will see that no answer comes; there is nobody else to tell.
                if let Some(mut turn) = turn {
                    turn.come().await;
                    let admitted = client.publish_message(answer).enqueue().await;
                    drop(turn);
                    if let Ok(delivery) = admitted {
                        drop(delivery.await);
                    }
                } else {
                    drop(client.publish_message(answer).await);
                }
            });
            while running.try_join_next().is_some() {}
            while running.len() >= AT_A_TIME_MAX {
                running.join_next().await;
            }
        }
        Ok(())
    }
}

/// The place of an answer in the order of the requests. It is over when it is dropped, also by a handler that panics: then
/// the next one waits for those before it.
struct Turn {
    before: Option<Before>,
    over: Option<oneshot::Sender<Option<Before>>>,
}

/// The end of a turn, and whom else to wait for.
struct Before(oneshot::Receiver<Option<Self>>);

impl Turn {
    fn behind(last: &mut Option<Before>) -> Self {
        let (over, next) = oneshot::channel();
        Self {
            before: last.replace(Before(next)),
            over: Some(over),
        }
    }

    async fn come(&mut self) {
        while let Some(Before(end)) = &mut self.before {
            self.before = end.await.ok().flatten();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(over) = self.over.take() {
            // Nobody listens behind the last one.
            drop(over.send(self.before.take()));
        }
    }
}

const AT_A_TIME_MAX: usize = 64;
