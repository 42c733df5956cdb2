//! A message, on its way in or out.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use martlet_codec::{QoS, ReasonCode};

use crate::acks::AckToken;
use crate::topic::{IntoQoS, IntoTopic, Topic};

/// A message: one that a [`Subscription`](crate::Subscription) received, or one to send.
///
/// Cloning copies neither topic nor payload. A clone carries no right to acknowledge.
pub struct Message {
    /// Where it is published.
    pub topic: Topic,
    /// The message itself, any bytes.
    pub payload: Bytes,
    /// The QoS of this transmission.
    pub qos: QoS,
    /// Outgoing: keep it for future subscribers. Incoming: it was kept.
    pub retain: bool,
    /// Incoming: the server says that it may have sent it before.
    pub duplicate: bool,
    pub(crate) properties: Option<Box<Properties>>,
    pub(crate) ack: Option<AckToken>,
    pub(crate) qos_valid: bool,
}

impl Message {
    /// A message at QoS 0, not retained.
    #[must_use]
    pub fn new(topic: impl IntoTopic, payload: impl Payload) -> Self {
        Self {
            topic: topic.into_topic(),
            payload: payload.into_payload(),
            qos: QoS::AtMostOnce,
            retain: false,
            duplicate: false,
            properties: None,
            ack: None,
            qos_valid: true,
        }
    }

    /// At this QoS.
    #[must_use]
    pub fn qos(mut self, qos: impl IntoQoS) -> Self {
        match qos.into_qos() {
            Some(qos) => self.qos = qos,
            None => self.qos_valid = false,
        }
        self
    }

    /// To be kept by the server for those who subscribe later.
    #[must_use]
    pub const fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The same message for another topic: for bridges.
    #[must_use]
    pub fn to(mut self, topic: impl IntoTopic) -> Self {
        self.topic = topic.into_topic();
        self
    }

    /// Properties of MQTT 5.0; none of them is set in 3.1.1.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        self.properties.as_deref().unwrap_or(&NO_PROPERTIES)
    }

    /// Properties of MQTT 5.0, to be changed.
    pub fn properties_mut(&mut self) -> &mut Properties {
        self.properties.get_or_insert_default()
    }

    /// The payload as text; anything that is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.payload)
    }

    /// Tells the server that the message is dealt with. Needed only for subscriptions with
    /// [`manual_ack`](crate::Subscribe::manual_ack), a no-op elsewhere.
    ///
    /// Acknowledgements leave in the order in which the messages came, so this one may wait for
    /// those in front of it. After a reconnect the message counts as dealt with, too: it is not
    /// handed out a second time.
    pub fn ack(mut self) {
        if let Some(token) = self.ack.take() {
            token.ack();
        }
    }

    /// As [`ack`](Self::ack), but with a reason why the message was refused (MQTT 5.0; in 3.1.1,
    /// which cannot say so, a plain acknowledgement).
    pub fn reject(mut self, reason: ReasonCode) {
        if let Some(token) = self.ack.take() {
            token.reject(reason);
        }
    }

    /// Takes the right to acknowledge out of the message: a small thing that can be moved to where
    /// the work is done. `None` unless the message came from a subscription with manual
    /// acknowledgement at QoS 1 or 2.
    pub const fn take_ack(&mut self) -> Option<AckToken> {
        self.ack.take()
    }

    /// What the queue accounts for this message.
    pub(crate) fn cost(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |some| some.cost());
        MESSAGE_OVERHEAD + self.topic.len() + self.payload.len() + properties
    }
}

/// What a queued message takes besides its own bytes.
const MESSAGE_OVERHEAD: usize = 128;

impl Clone for Message {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            qos: self.qos,
            retain: self.retain,
            duplicate: self.duplicate,
            properties: self.properties.clone(),
            ack: None,
            qos_valid: self.qos_valid,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("payload", &self.payload)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("duplicate", &self.duplicate)
            .field("properties", self.properties())
            .finish_non_exhaustive()
    }
}

/// The properties of an MQTT 5.0 message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// The payload is UTF-8 text (Payload Format Indicator).
    pub is_text: bool,
    /// Seconds until the message is of no use any more (Message Expiry Interval).
    pub expiry_s: Option<u32>,
    /// The kind of payload, such as a MIME type.
    pub content_type: Option<String>,
    /// Where an answer is expected.
    pub response_topic: Option<Topic>,
    /// What an answer has to repeat.
    pub correlation_data: Option<Bytes>,
    /// Names and values that mean something to the applications.
    pub user: Vec<(String, String)>,
    /// Incoming only: the identifiers of the subscriptions that it matched.
    pub subscription_ids: Vec<u32>,
}

static NO_PROPERTIES: Properties = Properties {
    is_text: false,
    expiry_s: None,
    content_type: None,
    response_topic: None,
    correlation_data: None,
    user: Vec::new(),
    subscription_ids: Vec::new(),
};

impl Properties {
    /// The first user property of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&str> {
        let found = self.user.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Sets the expiry, rounded up to seconds.
    pub fn set_expiry(&mut self, expiry: Duration) {
        self.expiry_s = Some(seconds_up(expiry));
    }

    fn cost(&self) -> usize {
        let user: usize = self
            .user
            .iter()
            .map(|(name, value)| 48 + name.len() + value.len())
            .sum();
        size_of::<Self>()
            + self.content_type.as_ref().map_or(0, String::len)
            + self.response_topic.as_ref().map_or(0, |topic| topic.len())
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + user
    }
}

/// Whole seconds, rounded up: the unit of the wire.
pub(crate) fn seconds_up(duration: Duration) -> u32 {
    let part = u64::from(duration.subsec_nanos() > 0);
    let seconds = duration.as_secs().saturating_add(part);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// What can be a payload: bytes, text and numbers.
pub trait Payload {
    /// The bytes.
    fn into_payload(self) -> Bytes;
}

impl Payload for Bytes {
    fn into_payload(self) -> Bytes {
        self
    }
}

impl Payload for &Bytes {
    fn into_payload(self) -> Bytes {
        self.clone()
    }
}

impl Payload for Vec<u8> {
    fn into_payload(self) -> Bytes {
        self.into()
    }
}

impl Payload for String {
    fn into_payload(self) -> Bytes {
        self.into()
    }
}

impl Payload for &String {
    fn into_payload(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}

impl Payload for &str {
    fn into_payload(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}

impl Payload for &[u8] {
    fn into_payload(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl<const N: usize> Payload for &[u8; N] {
    fn into_payload(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl<const N: usize> Payload for [u8; N] {
    fn into_payload(self) -> Bytes {
        Bytes::copy_from_slice(&self)
    }
}

impl Payload for () {
    fn into_payload(self) -> Bytes {
        Bytes::new()
    }
}

macro_rules! numbers {
    ($($Number:ty),+) => {
        $(impl Payload for $Number {
            /// The number as text.
            fn into_payload(self) -> Bytes {
                self.to_string().into()
            }
        })+
    };
}

numbers!(
    u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, bool
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_bytes_text_or_numbers() {
        assert_eq!(Message::new("a", 7).text(), "7");
        assert_eq!(Message::new("a", 1.5).text(), "1.5");
        assert_eq!(Message::new("a", "x").payload, "x");
        assert_eq!(Message::new("a", b"\x00\xff").payload, &b"\x00\xff"[..]);
        assert!(Message::new("a", ()).payload.is_empty());
    }

    #[test]
    fn expiry_is_rounded_up() {
        assert_eq!(seconds_up(Duration::from_millis(1)), 1);
        assert_eq!(seconds_up(Duration::from_secs(2)), 2);
        assert_eq!(seconds_up(Duration::MAX), u32::MAX);
    }
}
