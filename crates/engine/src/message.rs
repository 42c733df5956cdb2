//! An application message that outlives the read buffer it came in.
//!
//! Most publishes never become a [`Message`]: a small one that only needs forwarding is copied from the read
//! buffer into the outboxes. One is made, once, when somebody has to hold on to it: a queue, a window, the retained store,
//! another shard, a chained payload. It is the publisher's packet itself if that has the right form, so that it is
//! copied once when it is kept, and once for each receiver. Everything lies in ONE allocation that all holders share:
//!
//! ```text
//! | count | Head | PUBLISH: fixed header | topic | packet identifier | properties | payload |
//!                                          ^topic_at                  ^             ^payload_at
//! ```

mod kept;

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::{fmt, str};

use martlet_codec::{PacketId, PublishHead, QoS, Version};
use triomphe::ThinArc;

use crate::sending::outbox::CHAIN_THRESHOLD;
use crate::time::Time;

pub(crate) use kept::Kept;

/// A published message, shared by everyone who still has to do something with it. Cloning counts a reference; the
/// handle is one word.
#[derive(Clone)]
pub struct Message(ThinArc<Head, u8>);

/// What is known of the packet without reading it again.
#[derive(Debug, Clone, Copy)]
struct Head {
    expires_at: Option<Time>,
    /// Of the publisher, see [`Origin`].
    session: u64,
    payload_at: u32,
    properties_len: u32,
    topic_len: u16,
    topic_at: u8,
    shard: u8,
    qos: QoS,
    retain: bool,
    form: Form,
}

/// What decides the layout of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Whether there are properties, be it none.
    pub(crate) v5: bool,
    pub(crate) has_id: bool,
}

/// What a [`Message`] is made of, all borrowed: the form in which a publish passes through the shard.
#[derive(Clone, Copy, Debug)]
pub struct MessageParts<'a> {
    /// The full topic name; a topic alias is resolved before this is built.
    pub topic: Topic<'a>,
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

/// A topic name. Its text, where that is at hand: bytes that were a text before are only made one again for somebody
/// who needs it, since that looks at every byte.
#[derive(Clone, Copy)]
pub enum Topic<'a> {
    /// The name.
    Text(&'a str),
    /// Its bytes, as they stand in a message.
    Bytes(&'a [u8]),
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
    /// What the shared allocation holds besides the packet: the count of references, the head, the length.
    pub(crate) const OVERHEAD: usize = 2 * size_of::<usize>() + size_of::<Head>();

    /// Keeps a packet that says what the parts say and nothing else: no expiry interval, no topic alias.
    pub(crate) fn of_packet(parts: &MessageParts<'_>, form: Form, packet: &[u8]) -> Self {
        let message = Self::of_packets(parts, form, packet.len() - parts.payload.len(), packet);
        debug_assert_eq!(message.topic_bytes(), parts.topic.as_bytes());
        debug_assert_eq!(message.shared_properties(), parts.shared_properties);
        debug_assert_eq!(message.payload(), parts.payload);
        message
    }

    /// Packets that differ in nothing but payload and identifier, as one piece of memory: see [`Kept`]. What stands in front of
    /// each payload takes `head_len` bytes.
    #[inline]
    fn of_packets(parts: &MessageParts<'_>, form: Form, head_len: usize, packets: &[u8]) -> Self {
        let head = Head {
            expires_at: parts.expires_at,
            session: parts.origin.session,
            payload_at: length(head_len),
            properties_len: length(parts.shared_properties.len()),
            // Two bytes on the wire, which stand behind at most five.
            topic_len: u16::try_from(parts.topic.as_bytes().len()).unwrap_or(u16::MAX),
            topic_at: u8::try_from(topic_at(packets)).unwrap_or(u8::MAX),
            shard: parts.origin.shard,
            qos: parts.qos,
            retain: parts.retain,
            form,
        };
        Self(ThinArc::from_header_and_slice(head, packets))
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        Topic::Bytes(self.topic_bytes()).as_str()
    }

    /// The topic name's bytes, for comparing and copying: unlike [`Message::topic`] this checks nothing again.
    #[must_use]
    pub fn topic_bytes(&self) -> &[u8] {
        let start = usize::from(self.head().topic_at);
        self.part(start, start + usize::from(self.head().topic_len))
    }

    /// The encoded properties that every receiver gets unchanged.
    #[must_use]
    pub fn shared_properties(&self) -> &[u8] {
        let end = self.head().payload_at as usize;
        self.part(end - self.head().properties_len as usize, end)
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.packet()
            .get(self.head().payload_at as usize..)
            .unwrap_or_default()
    }

    /// The quality of service at which it was published.
    #[must_use]
    pub fn qos(&self) -> QoS {
        self.head().qos
    }

    /// Whether it was published with the RETAIN flag.
    #[must_use]
    pub fn retain(&self) -> bool {
        self.head().retain
    }

    /// When it is worth nothing any more, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<Time> {
        self.head().expires_at
    }

    /// Who published it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let Head { shard, session, .. } = *self.head();
        Origin { shard, session }
    }

    /// The memory that the message takes, however many hold it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.packet().len() + Self::OVERHEAD
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
        self.parts_of(self.packet())
    }

    /// The parts of a packet that lies in this memory.
    #[inline]
    fn parts_of<'a>(&self, packet: &'a [u8]) -> MessageParts<'a> {
        let head = self.head();
        let part = |start: usize, end: usize| packet.get(start..end).unwrap_or_default();
        let (topic_at, payload_at) = (usize::from(head.topic_at), head.payload_at as usize);
        let properties_at = payload_at - head.properties_len as usize;
        MessageParts {
            topic: Topic::Bytes(part(topic_at, topic_at + usize::from(head.topic_len))),
            shared_properties: part(properties_at, payload_at),
            payload: packet.get(payload_at..).unwrap_or_default(),
            qos: head.qos,
            retain: head.retain,
            expires_at: head.expires_at,
            origin: self.origin(),
        }
    }

    /// A number that is the same for the same message, and for no other but by chance or if the two are equal.
    pub(crate) fn fingerprint(&self, hasher: &impl BuildHasher) -> u64 {
        let Origin { shard, session } = self.origin();
        hasher.hash_one((self.packet(), self.expires_at(), shard, session))
    }

    /// Whether both are the same message, not only equal ones.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        core::ptr::eq(self.head(), other.head())
    }

    /// The message in memory of the thread that asks, if it is small; for one that came from another thread and stays here.
    ///
    /// What one shard keeps then lies together: whoever walks through it finds in the next piece of memory the next message,
    /// and not every second time one of another shard.
    pub(crate) fn into_own(self) -> Self {
        if self.payload().len() >= CHAIN_THRESHOLD {
            return self;
        }
        Self(ThinArc::from_header_and_slice(*self.head(), self.packet()))
    }

    /// A PUBLISH with these parts and without an expiry interval; flags and packet identifier may be anything.
    pub(crate) fn packet(&self) -> &[u8] {
        &self.0.slice
    }

    pub(crate) fn form(&self) -> Form {
        self.head().form
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn part(&self, start: usize, end: usize) -> &[u8] {
        self.packet().get(start..end).unwrap_or_default()
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
    /// Encodes the parts into one allocation of their own.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let form = self.form();
        Message::of_packet(self, form, &self.encode(form, &[]))
    }

    /// [`Message::size`] of [`MessageParts::to_message`].
    pub(crate) fn message_size(&self) -> usize {
        let (version, head) = self.head(self.form(), &[]);
        head.packet_len(version) + Message::OVERHEAD
    }

    /// The parts as a PUBLISH without flags, with these property bytes in front of the shared ones.
    pub(crate) fn encode(&self, form: Form, own_properties: &[u8]) -> Vec<u8> {
        let (version, head) = self.head(form, own_properties);
        let mut packet = Vec::with_capacity(head.packet_len(version));
        head.encode(version, &mut packet);
        packet.extend_from_slice(self.payload);
        packet
    }

    /// The shortest form that has room for everything.
    const fn form(&self) -> Form {
        Form {
            v5: !self.shared_properties.is_empty(),
            has_id: !matches!(self.qos, QoS::AtMostOnce),
        }
    }

    #[inline]
    fn head<'a>(&'a self, form: Form, own_properties: &'a [u8]) -> (Version, PublishHead<'a>) {
        let version = if form.v5 { Version::V5 } else { Version::V311 };
        let head = PublishHead {
            dup: false,
            qos: if form.has_id {
                QoS::AtLeastOnce
            } else {
                QoS::AtMostOnce
            },
            retain: false,
            topic: self.topic.as_str(),
            packet_id: if form.has_id { PacketId::new(1) } else { None },
            own_properties,
            shared_properties: if form.v5 { self.shared_properties } else { &[] },
            payload_len: self.payload.len(),
        };
        (version, head)
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
}

impl<'a> Topic<'a> {
    /// The name's bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Bytes(bytes) => {
                let text = str::from_utf8(bytes);
                debug_assert!(text.is_ok(), "they were copied out of a str");
                text.unwrap_or_default()
            }
        }
    }
}

impl<'a> From<&'a str> for Topic<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl fmt::Debug for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Origin {
    /// No session of this node: the broker itself, or a will whose session is gone.
    pub const NONE: Self = Self {
        shard: u8::MAX,
        session: 0,
    };
}

/// Where the topic of a PUBLISH stands: behind the fixed header and its own length.
pub(crate) fn topic_at(packet: &[u8]) -> usize {
    1 + length_bytes(packet) + 2
}

/// How many bytes the Remaining Length of a packet takes.
pub(crate) fn length_bytes(packet: &[u8]) -> usize {
    packet
        .iter()
        .skip(1)
        .take_while(|byte| **byte & 0x80 != 0)
        .count()
        + 1
}

#[expect(
    clippy::expect_used,
    reason = "a packet is shorter than 2^29 bytes, and so is its every part"
)]
fn length(len: usize) -> u32 {
    u32::try_from(len).expect("shorter than a packet")
}

/// Rounded up: the part of a second that has not passed still counts, so the value is the received one less the
/// whole seconds waited, and a message that may still be delivered never says 0.
//= mqtt5 3.3.2-6
fn remaining_s(expires_at: Time, now: Time) -> u32 {
    let seconds = expires_at.millis_since(now).div_ceil(1_000);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Form, Head, Message, MessageParts, Origin};
    use crate::time::Time;
    use alloc::string::String;
    use alloc::vec::Vec;
    use martlet_codec::QoS;
    use proptest::prelude::*;

    fn parts<'a>(topic: &'a str, payload: &'a [u8]) -> MessageParts<'a> {
        MessageParts {
            topic: topic.into(),
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
                topic: topic.as_str().into(), shared_properties: &shared_properties, payload: &payload,
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
            let again = message.parts().to_message();
            prop_assert_eq!(again.packet(), message.packet());
        }
    }

    /// Optimisation: the publisher's packet is kept as it is, whatever its form.
    #[test]
    fn a_packet_that_is_kept_is_copied_as_a_whole() {
        for (v5, has_id) in [(false, false), (false, true), (true, false), (true, true)] {
            let form = Form { v5, has_id };
            let parts = MessageParts {
                shared_properties: if v5 { &[0x01, 0x01] } else { &[] },
                ..parts("a/b", &[7; 200])
            };
            let packet = parts.encode(form, &[]);
            let message = Message::of_packet(&parts, form, &packet);
            assert_eq!(message.packet(), packet);
            assert_eq!(message.form(), form);
            assert_eq!(message.topic(), "a/b");
            assert_eq!(message.shared_properties(), parts.shared_properties);
            assert_eq!(message.payload(), parts.payload);
        }
    }

    #[test]
    fn size_counts_every_byte_that_is_held() {
        let message = parts("a/b", b"12345").to_message();
        assert_eq!(size_of::<Head>(), 32);
        // The count, the length, the head; and of the packet two lengths.
        assert_eq!(message.size(), 16 + 32 + 2 + 2 + 3 + 5);
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
    fn a_handle_is_one_word() {
        assert_eq!(size_of::<Option<Message>>(), size_of::<usize>());
    }
}
