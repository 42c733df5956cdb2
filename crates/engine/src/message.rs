//! An application message that outlives the read buffer it came in.
//!
//! Most publishes never become a [`Message`]: a small one that only needs forwarding is copied from the read
//! buffer into the outboxes. One is made, once, when somebody has to hold on to it: a queue, the retained store,
//! another shard, a chained payload. Everything lies in ONE allocation that all holders share:
//!
//! ```text
//! | head (HEAD_LEN bytes, see write_head) | topic | shared properties | payload |
//! ```

use alloc::sync::Arc;
use core::hash::BuildHasher;
use core::{fmt, iter, str};
use martlet_codec::QoS;

use crate::time::Time;

/// A published message, shared by everyone who still has to do something with it. Cloning counts a reference.
#[derive(Clone)]
pub struct Message(Arc<[u8]>);

/// What a [`Message`] is made of, all borrowed: the form in which a publish passes through the shard.
#[derive(Clone, Copy, Debug)]
pub struct MessageParts<'a> {
    /// The full topic name; a topic alias is resolved before this is built.
    pub topic: &'a str,
    /// The encoded properties that every receiver gets unchanged, in the publisher's order.
    pub shared_properties: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The quality of service at which it was published.
    pub qos: QoS,
    /// Whether it was published with the RETAIN flag.
    pub retain: bool,
    /// When it is worth nothing any more: its expiry interval, counted from its arrival.
    pub expires_at: Option<Time>,
    /// Who published it.
    pub origin: Origin,
}

/// The session that published a message: for "no local", and for nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The shard that the session lives on.
    pub shard: u8,
    /// The session's key there, as a number.
    pub session: u64,
}

impl Message {
    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        let topic = str::from_utf8(self.topic_bytes());
        debug_assert!(topic.is_ok(), "to_message copied these bytes out of a str");
        topic.unwrap_or_default()
    }

    /// The topic name's bytes, for comparing and copying: unlike [`Message::topic`] this checks nothing again.
    #[must_use]
    pub fn topic_bytes(&self) -> &[u8] {
        self.part(HEAD_LEN, self.topic_len())
    }

    /// The encoded properties that every receiver gets unchanged.
    #[must_use]
    pub fn shared_properties(&self) -> &[u8] {
        self.part(HEAD_LEN + self.topic_len(), self.properties_len())
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0
            .get(HEAD_LEN + self.topic_len() + self.properties_len()..)
            .unwrap_or_default()
    }

    /// The quality of service at which it was published.
    #[must_use]
    pub fn qos(&self) -> QoS {
        QoS::from_bits(self.flags() & FLAG_QOS).unwrap_or(QoS::AtMostOnce)
    }

    /// Whether it was published with the RETAIN flag.
    #[must_use]
    pub fn retain(&self) -> bool {
        self.flags() & FLAG_RETAIN != 0
    }

    /// When it is worth nothing any more, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<Time> {
        let expires = self.flags() & FLAG_EXPIRES != 0;
        expires.then(|| Time::from_millis(u64::from_le_bytes(self.field(AT_EXPIRES))))
    }

    /// Who published it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let [shard] = self.field(AT_SHARD);
        Origin {
            shard,
            session: u64::from_le_bytes(self.field(AT_SESSION)),
        }
    }

    /// The memory that the message takes, however many hold it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len() + REFERENCE_COUNTS
    }

    /// Whether its expiry interval has passed.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// The expiry interval to forward: what is left of it in seconds, or `None` if it never expires.
    #[must_use]
    pub fn remaining_expiry_s(&self, now: Time) -> Option<u32> {
        Some(remaining_s(self.expires_at()?, now))
    }

    /// The message in its parts, as it was before [`MessageParts::to_message`].
    #[must_use]
    pub fn parts(&self) -> MessageParts<'_> {
        MessageParts {
            topic: self.topic(),
            shared_properties: self.shared_properties(),
            payload: self.payload(),
            qos: self.qos(),
            retain: self.retain(),
            expires_at: self.expires_at(),
            origin: self.origin(),
        }
    }

    /// A number that is the same for the same message, and for no other but by chance or if the two are equal.
    pub(crate) fn fingerprint(&self, hasher: &impl BuildHasher) -> u64 {
        hasher.hash_one(&self.0)
    }

    /// Whether both are the same message, not only equal ones.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn flags(&self) -> u8 {
        let [flags] = self.field(AT_FLAGS);
        flags
    }

    fn topic_len(&self) -> usize {
        u32::from_le_bytes(self.field(AT_TOPIC_LEN)) as usize
    }

    fn properties_len(&self) -> usize {
        u32::from_le_bytes(self.field(AT_PROPERTIES_LEN)) as usize
    }

    fn part(&self, start: usize, len: usize) -> &[u8] {
        self.0.get(start..start + len).unwrap_or_default()
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let field = self.0.get(at..).and_then(|bytes| bytes.first_chunk());
        debug_assert!(field.is_some(), "every message starts with a head");
        field.copied().unwrap_or([0; N])
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("expires_at", &self.expires_at())
            .field("origin", &self.origin())
            .field("payload_len", &self.payload().len())
            .finish_non_exhaustive()
    }
}

impl MessageParts<'_> {
    /// Copies the parts into one allocation of their own.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let parts = [self.topic.as_bytes(), self.shared_properties, self.payload];
        let len = HEAD_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
        // The length is known to the iterator, so this allocates once, at the right size, and we fill it in place.
        let mut bytes: Arc<[u8]> = iter::repeat_n(0, len).collect();
        if let Some(mut rest) = Arc::get_mut(&mut bytes) {
            let head = self.head();
            for part in [&head[..]].into_iter().chain(parts) {
                let (here, after) = rest.split_at_mut(part.len());
                here.copy_from_slice(part);
                rest = after;
            }
        }
        Message(bytes)
    }

    /// Whether the expiry interval has passed.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The expiry interval to forward: what is left of it in seconds, or `None` if it never expires.
    #[must_use]
    pub fn remaining_expiry_s(&self, now: Time) -> Option<u32> {
        Some(remaining_s(self.expires_at?, now))
    }

    fn head(&self) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        let flags = self.qos as u8
            | if self.retain { FLAG_RETAIN } else { 0 }
            | if self.expires_at.is_some() {
                FLAG_EXPIRES
            } else {
                0
            };
        let expires_at = self.expires_at.unwrap_or_default().as_millis();
        let mut put = |at: usize, field: &[u8]| {
            if let Some(place) = head.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        };
        put(AT_FLAGS, &[flags]);
        put(AT_SHARD, &[self.origin.shard]);
        put(AT_TOPIC_LEN, &length(self.topic.len()));
        put(AT_PROPERTIES_LEN, &length(self.shared_properties.len()));
        put(AT_EXPIRES, &expires_at.to_le_bytes());
        put(AT_SESSION, &self.origin.session.to_le_bytes());
        head
    }
}

impl Origin {
    /// No session of this node: the broker itself, or a will whose session is gone.
    pub const NONE: Self = Self {
        shard: u8::MAX,
        session: 0,
    };
}

#[expect(
    clippy::expect_used,
    reason = "a packet is shorter than 2^28 bytes, and so is its every part"
)]
fn length(len: usize) -> [u8; 4] {
    u32::try_from(len)
        .expect("shorter than a packet")
        .to_le_bytes()
}

/// Rounded up: the part of a second that has not passed still counts, so the value is the received one less the
/// whole seconds waited, and a message that may still be delivered never says 0.
//= mqtt5 3.3.2-6
fn remaining_s(expires_at: Time, now: Time) -> u32 {
    let seconds = expires_at.millis_since(now).div_ceil(1_000);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

const AT_FLAGS: usize = 0;
const AT_SHARD: usize = 1;
const AT_TOPIC_LEN: usize = 2;
const AT_PROPERTIES_LEN: usize = 6;
const AT_EXPIRES: usize = 10;
const AT_SESSION: usize = 18;
const HEAD_LEN: usize = 26;

const FLAG_QOS: u8 = 0b0011;
const FLAG_RETAIN: u8 = 0b0100;
const FLAG_EXPIRES: u8 = 0b1000;

/// What the shared allocation holds besides the bytes: the strong and the weak count.
const REFERENCE_COUNTS: usize = 2 * size_of::<usize>();

#[cfg(test)]
mod tests {
    use super::{HEAD_LEN, Message, MessageParts, Origin};
    use crate::time::Time;
    use alloc::string::String;
    use alloc::vec::Vec;
    use martlet_codec::QoS;
    use proptest::prelude::*;

    fn parts<'a>(topic: &'a str, payload: &'a [u8]) -> MessageParts<'a> {
        MessageParts {
            topic,
            shared_properties: &[],
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: None,
            origin: Origin::NONE,
        }
    }

    proptest! {
        #[test]
        fn every_part_comes_back_as_it_went_in(
            topic in "\\PC{0,20}",
            shared_properties: Vec<u8>,
            payload: Vec<u8>,
            qos in 0_u8..3,
            retain: bool,
            expires_at: Option<u64>,
            shard: u8,
            session: u64,
        ) {
            let expires_at = expires_at.map(Time::from_millis);
            let origin = Origin { shard, session };
            let qos = QoS::from_bits(qos).unwrap();
            let message = MessageParts {
                topic: &topic, shared_properties: &shared_properties, payload: &payload,
                qos, retain, expires_at, origin,
            }.to_message();
            prop_assert_eq!(message.topic(), &topic);
            prop_assert_eq!(message.topic_bytes(), topic.as_bytes());
            prop_assert_eq!(message.shared_properties(), &shared_properties[..]);
            prop_assert_eq!(message.payload(), &payload[..]);
            prop_assert_eq!(message.qos(), qos);
            prop_assert_eq!(message.retain(), retain);
            prop_assert_eq!(message.expires_at(), expires_at);
            prop_assert_eq!(message.origin(), origin);
            prop_assert!(!message.is_same(&message.parts().to_message()));
            prop_assert_eq!(&message.parts().to_message().0, &message.0);
        }
    }

    #[test]
    fn size_counts_every_byte_that_is_held() {
        let message = parts("a/b", b"12345").to_message();
        assert_eq!(message.size(), HEAD_LEN + 3 + 5 + 16);
        assert!(message.clone().is_same(&message));
    }

    //= mqtt5 3.3.2-6 test
    #[test]
    fn forwarded_expiry_is_the_received_value_less_whole_seconds_waited() {
        let arrival = Time::from_millis(500);
        let message = MessageParts {
            expires_at: Some(arrival.plus_secs(10)),
            ..parts("a", b"")
        };
        let after = |millis| {
            message
                .to_message()
                .remaining_expiry_s(arrival.plus_millis(millis))
        };
        assert_eq!(after(0), Some(10));
        assert_eq!(after(999), Some(10));
        assert_eq!(after(1_000), Some(9));
        assert_eq!(after(9_999), Some(1));
        assert_eq!(after(10_000), Some(0));
        assert_eq!(after(99_999), Some(0));
        assert_eq!(
            parts("a", b"").to_message().remaining_expiry_s(arrival),
            None
        );
    }

    #[test]
    fn a_message_is_expired_from_its_last_millisecond_on() {
        let at = Time::from_millis(10_000);
        let message = MessageParts {
            expires_at: Some(at),
            ..parts("a", b"")
        }
        .to_message();
        assert!(!message.is_expired(Time::from_millis(9_999)));
        assert!(message.is_expired(at));
        assert!(!parts("a", b"").to_message().is_expired(Time::MAX));
    }

    #[test]
    fn a_message_can_go_to_another_thread() {
        fn sendable<T: Send + Sync>(_: &T) {}
        let message = parts("a", b"x").to_message();
        sendable(&message);
        let text = alloc::format!("{message:?}");
        assert!(
            text.contains("payload_len: 1"),
            "{}",
            String::from(text.as_str())
        );
    }

    #[test]
    fn a_handle_is_two_words() {
        assert_eq!(size_of::<Option<Message>>(), 2 * size_of::<usize>());
    }
}
