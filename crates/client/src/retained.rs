//! The retained messages of a filter, and when that was all.
//!
//! MQTT does not say when the last retained message has been sent. A marker does: a retained message on a
//! topic of our own, whose subscription stands behind the others in the same SUBSCRIBE. Servers send
//! retained messages in the order of the filters, once for each filter that matches, so when the marker
//! has come as often as filters match it, the set is complete. Where we
//! may not publish the marker, silence for a while has to do.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use martlet_codec::{QoS, topic_matches};

use crate::error::Error;
use crate::handle::Client;
use crate::message::Message;
use crate::subscribe::Subscription;
use crate::topic::{Filter, IntoFilter, IntoTopic, Topic};

/// A subscription that begins with the retained messages and knows when they are complete; made by
/// [`Client::retained`].
#[derive(Debug)]
pub struct RetainedSet {
    subscription: Subscription,
    client: Client,
    marker: Option<Topic>,
    /// How often the marker is still to come: once for each filter that matches it.
    markers: usize,
    idle: Duration,
    complete: bool,
}

impl Client {
    /// Subscribes to filters and tells when all retained messages are here.
    ///
    /// Exact on servers that send retained messages in the order of the filters of a SUBSCRIBE
    /// (Martlet and mosquitto do) and let us publish a retained marker below `martlet/barrier/`. Elsewhere, and in any
    /// case, the set counts as complete when nothing has come for the time `idle`.
    ///
    /// # Cancellation
    /// The filters are unsubscribed. A marker may be left behind; in 5.0 it expires after a minute.
    pub async fn retained<F: IntoFilter>(
        &self,
        filters: impl IntoIterator<Item = F>,
        idle: Duration,
    ) -> Result<RetainedSet, Error> {
        let filters: Vec<Filter> = filters.into_iter().map(IntoFilter::into_filter).collect();
        let highest = filters.iter().map(|filter| filter.options.qos).max();
        let qos = highest.unwrap_or_default().max(QoS::AtLeastOnce);
        let marker = self.put_marker(qos, idle).await;
        let markers = 1 + filters
            .iter()
            .filter(|filter| marker.as_ref().is_some_and(|topic| matches(filter, topic)))
            .count();
        let own = marker.as_ref().map(|topic| Filter::new(topic).qos(qos));
        let all = filters.into_iter().chain(own);
        let subscription = self.subscribe_many(all).buffer(BUFFER).await?;
        Ok(RetainedSet {
            subscription,
            client: self.clone(),
            marker,
            markers,
            idle,
            complete: false,
        })
    }

    /// Publishes the marker; `None` if it is not to be.
    async fn put_marker(&self, qos: QoS, idle: Duration) -> Option<Topic> {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let topic = format!("martlet/barrier/{random:016x}").into_topic();
        let mut marker = Message::new(&topic, "1").qos(qos).retain();
        if self.shared().with(|core, _| core.machine.version().is_v5()) {
            marker.properties_mut().expiry_s = Some(MARKER_EXPIRY_S);
        }
        let published = tokio::time::timeout(idle, self.publish_message(marker)).await;
        matches!(published, Ok(Ok(_))).then_some(topic)
    }
}

impl RetainedSet {
    /// The next retained message; `None`: that was all. Live messages that come in between are
    /// skipped; [`subscription`](Self::subscription) has them all.
    ///
    /// # Cancellation
    /// Safe: no message is lost.
    pub async fn next(&mut self) -> Option<Message> {
        while !self.complete {
            let next = tokio::time::timeout(self.idle, self.subscription.recv()).await;
            let Ok(Some(message)) = next else {
                // Silence, or the end of the client.
                self.complete = true;
                break;
            };
            if self.marker.as_ref() == Some(&message.topic) {
                self.markers = self.markers.saturating_sub(1);
                self.complete = self.markers == 0;
                continue;
            }
            if message.retain {
                return Some(message);
            }
        }
        self.remove_marker();
        None
    }

    /// All retained messages that have not been taken. Up to 65,536 of them wait to be taken if they come at
    /// QoS 0; [`Subscription::lagged`] says whether there were more.
    pub async fn collect(mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }

    /// The stream underneath, retained messages, live ones and all.
    #[must_use]
    pub fn subscription(&mut self) -> &mut Subscription {
        &mut self.subscription
    }

    /// Deletes the retained marker at the server, in the background.
    fn remove_marker(&mut self) {
        if let Some(topic) = self.marker.take() {
            let delete = Message::new(topic, ()).retain().qos(1);
            drop(self.client.publish_message(delete).try_enqueue());
        }
    }
}

impl Drop for RetainedSet {
    fn drop(&mut self) {
        self.remove_marker();
    }
}

/// Whether the server sends the retained message of a topic for this filter. Groups get none.
fn matches(filter: &Filter, topic: &Topic) -> bool {
    let text = filter.as_str();
    !text.starts_with("$share/") && topic_matches(text, topic.as_str())
}

/// Retained messages at QoS 0 come as fast as the server can; beyond this, see [`Subscription::lagged`].
const BUFFER: usize = 65_536;
const MARKER_EXPIRY_S: u32 = 60;
