//! PUBLISH: a message. The packet that matters for speed: its payload is never looked at, its topic
//! is read twice (UTF-8, then wildcards and U+0000 together).

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::frame::Rules;
use crate::properties::Properties;
use crate::property::{Place, PropertyId};
use crate::reader::Reader;
use crate::topic::TopicName;
use crate::types::{PacketId, PacketType, QoS, Sender, Version};
use crate::writer::{Count, Sink, Target, packet_len};
use bytes::BufMut;

/// PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publish<'a> {
    /// Whether this may be a repetition of an earlier attempt.
    pub dup: bool,
    /// The QoS of this transmission.
    pub qos: QoS,
    /// To a server: keep the message. To a client: it was kept, or is forwarded as published.
    pub retain: bool,
    /// The topic; `None` if it is empty and a topic alias stands for it.
    pub topic: Option<TopicName<'a>>,
    /// The packet identifier; there is one exactly if the QoS is not 0.
    pub packet_id: Option<PacketId>,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
    /// The message itself, any bytes.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(crate) fn decode(
        first: u8,
        reader: &mut Reader<'a>,
        version: Version,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        let empty_topic = reader.error(DecodeErrorKind::TopicNameEmpty, Field::TopicName);
        //= mqtt5 3.3.2-1
        //= mqtt5 3.3.2-2
        //= mqtt311 3.3.2-1
        //= mqtt311 3.3.2-2
        let topic = reader.topic_name(Field::TopicName)?;
        // The fixed header's check has refused QoS 3.
        let qos = QoS::from_bits(first >> 1 & 0b11).unwrap_or_default();
        //= mqtt5 2.2.1-2
        //= mqtt311 2.3.1-5
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(decode_packet_id(reader)?),
        };
        let properties = if version.is_v5() {
            Properties::read(reader, Place::Packet(PacketType::Publish), sender)?
        } else {
            Properties::EMPTY
        };
        //= mqtt5 4.7.3-1
        //= mqtt311 4.7.3-1
        if topic.is_none() && !properties.contains(PropertyId::TopicAlias) {
            return Err(empty_topic);
        }
        Ok(Self {
            dup: first & DUP != 0,
            qos,
            retain: first & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: reader.take_rest(),
        })
    }

    /// The short way of [`decode`](crate::decode) for what a broker mostly gets: a whole PUBLISH of up to 16 KiB with
    /// a topic, and its length. `None`: it is something else, or something is wrong with it; the long way says what.
    ///
    /// `known` is the text of a topic name that was accepted before. Most publishers repeat themselves, and whether
    /// two topics are the same is found out faster than whether one is well-formed.
    #[inline]
    #[must_use]
    pub fn decode_simple(
        input: &'a [u8],
        rules: Rules,
        known: Option<&'a str>,
    ) -> Option<(Self, usize)> {
        let Simple {
            first,
            qos,
            topic,
            body,
            length,
        } = Simple::split(input, rules)?;
        let dup = first & DUP != 0;
        let topic = match known {
            Some(known) if known.as_bytes() == topic => TopicName::from_accepted(known),
            Some(_) | None => TopicName::from_bytes(topic)?,
        };
        let (packet_id, mut body) = split_packet_id(qos, body)?;
        let mut properties = Properties::EMPTY;
        if let (true, Some((0, rest))) = (rules.version.is_v5(), body.split_first()) {
            body = rest;
        } else if rules.version.is_v5() {
            let mut reader = Reader::new(body, length);
            let place = Place::Packet(PacketType::Publish);
            properties = Properties::read(&mut reader, place, rules.sender).ok()?;
            body = reader.take_rest();
        }
        let publish = Self {
            dup,
            qos,
            retain: first & RETAIN != 0,
            topic: Some(topic),
            packet_id,
            properties,
            payload: body,
        };
        Some((publish, length))
    }

    /// Whether this is the beginning of a PUBLISH.
    #[inline]
    #[must_use]
    pub const fn begins(input: &[u8]) -> bool {
        matches!(input, [first, ..] if *first >> 4 == PUBLISH_TYPE)
    }

    /// The topic name's bytes, as they come, of a PUBLISH that [`Publish::decode_simple`] may take, and the length of the whole
    /// packet. Nothing is checked that is not needed for that: it is for somebody who looks ahead.
    #[inline]
    #[must_use]
    pub fn split_topic(input: &'a [u8], rules: Rules) -> Option<(&'a [u8], usize)> {
        let simple = Simple::split(input, rules)?;
        Some((simple.topic, simple.length))
    }

    /// The shortest way, for a PUBLISH that repeats the topic of one that was accepted before and has neither RETAIN nor
    /// properties: what is its own. `None`: it is something else.
    #[inline]
    #[must_use]
    pub fn decode_repeated(input: &'a [u8], rules: Rules, known: &str) -> Option<Repeated<'a>> {
        let Simple {
            first,
            qos,
            topic,
            body,
            length,
        } = Simple::split(input, rules)?;
        if first & RETAIN != 0 || topic != known.as_bytes() {
            return None;
        }
        let (packet_id, mut body) = split_packet_id(qos, body)?;
        if rules.version.is_v5() {
            let (0, rest) = body.split_first()? else {
                return None;
            };
            body = rest;
        }
        Some(Repeated {
            qos,
            packet_id,
            payload: body,
            length,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties
            .check(Place::Packet(PacketType::Publish), version)?;
        if self.topic.is_none() && !self.properties.contains(PropertyId::TopicAlias) {
            return Err(EncodeError::Missing(Field::TopicName));
        }
        match (self.qos, self.packet_id) {
            //= mqtt5 2.2.1-2
            //= mqtt311 2.3.1-5
            (QoS::AtMostOnce, Some(_)) => {
                return Err(EncodeError::Contradiction(Field::PacketIdentifier));
            }
            (QoS::AtLeastOnce | QoS::ExactlyOnce, None) => {
                return Err(EncodeError::Missing(Field::PacketIdentifier));
            }
            (QoS::AtMostOnce, None) | (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(_)) => {}
        }
        //= mqtt5 3.3.1-2
        //= mqtt311 3.3.1-2
        if self.dup && self.qos == QoS::AtMostOnce && version != Version::V31 {
            return Err(EncodeError::Contradiction(Field::FixedHeaderFlags));
        }
        Ok(())
    }

    pub(crate) fn first_byte(&self) -> u8 {
        self.head().first_byte()
    }

    pub(crate) fn write(&self, version: Version, sink: &mut impl Sink) {
        self.head().write(version, sink);
        sink.bytes(self.payload);
    }

    fn head(&self) -> PublishHead<'a> {
        PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.map_or("", TopicName::as_str),
            packet_id: self.packet_id,
            own_properties: self.properties.as_bytes(),
            shared_properties: &[],
            payload_len: self.payload.len(),
        }
    }
}

/// What is its own of a PUBLISH that repeats a known topic, see [`Publish::decode_repeated`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated<'a> {
    /// The QoS of this transmission.
    pub qos: QoS,
    /// The packet identifier; there is one exactly if the QoS is not 0.
    pub packet_id: Option<PacketId>,
    /// The message itself.
    pub payload: &'a [u8],
    /// The length of the whole packet.
    pub length: usize,
}

/// A whole PUBLISH of up to 16 KiB, its Remaining Length in the shortest form, up to its topic.
struct Simple<'a> {
    first: u8,
    qos: QoS,
    topic: &'a [u8],
    /// What stands behind the topic.
    body: &'a [u8],
    /// Of the whole packet.
    length: usize,
}

impl<'a> Simple<'a> {
    #[inline]
    fn split(input: &'a [u8], rules: Rules) -> Option<Self> {
        let &[first, low, ref behind @ ..] = input else {
            return None;
        };
        let qos = QoS::from_bits(first >> 1 & 0b11)?;
        if first >> 4 != PUBLISH_TYPE || (first & DUP != 0 && qos == QoS::AtMostOnce) {
            return None;
        }
        let (body_len, behind) = if low < 0x80 {
            (usize::from(low), behind)
        } else {
            let (&high, behind) = behind.split_first()?;
            if high == 0 || high >= 0x80 {
                return None;
            }
            (usize::from(low & 0x7F) | usize::from(high) << 7, behind)
        };
        let length = input.len() - behind.len() + body_len;
        let body = behind.get(..body_len)?;
        if length > rules.max_packet_size as usize {
            return None;
        }
        let (topic_len, body) = body.split_first_chunk()?;
        let topic_len = usize::from(u16::from_be_bytes(*topic_len));
        let (topic, body) = body.split_at_checked(topic_len)?;
        Some(Self {
            first,
            qos,
            topic,
            body,
            length,
        })
    }
}

/// The Packet Identifier, if there is one at this QoS, and what stands behind it. `None`: it is not whole, or 0.
#[inline]
fn split_packet_id(qos: QoS, body: &[u8]) -> Option<(Option<PacketId>, &[u8])> {
    if qos == QoS::AtMostOnce {
        return Some((None, body));
    }
    let (id, rest) = body.split_first_chunk()?;
    Some((Some(PacketId::new(u16::from_be_bytes(*id))?), rest))
}

/// PUBLISH for one of many receivers: everything in front of the payload, which all receivers
/// share.
///
/// Nothing is checked here: the topic is a [`TopicName`]'s text (or empty if an alias stands for
/// it), the properties come from [`Properties`], the packet identifier is there exactly if the QoS
/// is not 0, and the caller compares [`packet_len`](Self::packet_len) with what the receiver
/// accepts. 3.x has no properties, so they are left out there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// Whether this repeats an earlier attempt.
    pub dup: bool,
    /// The QoS of this transmission.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic; empty with a topic alias.
    pub topic: &'a str,
    /// The packet identifier for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// The bytes of the properties that are this receiver's own (expiry, alias, subscription
    /// identifiers).
    pub own_properties: &'a [u8],
    /// The bytes of the properties that all receivers share.
    pub shared_properties: &'a [u8],
    /// The length of the payload that follows.
    pub payload_len: usize,
}

impl PublishHead<'_> {
    /// The length of the whole packet, payload included.
    #[must_use]
    pub fn packet_len(&self, version: Version) -> usize {
        packet_len(self.body_len(version))
    }

    /// Writes everything in front of the payload.
    pub fn encode(&self, version: Version, out: &mut impl BufMut) {
        let mut sink = Target(out);
        sink.byte(self.first_byte());
        sink.variable(self.body_len(version));
        self.write(version, &mut sink);
    }

    fn body_len(&self, version: Version) -> usize {
        let mut count = Count::default();
        self.write(version, &mut count);
        count.0 + self.payload_len
    }

    fn first_byte(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        PacketType::Publish.first_byte(dup | self.qos.bits() << 1 | retain)
    }

    /// Topic, packet identifier, properties.
    fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.binary(self.topic.as_bytes());
        if let Some(packet_id) = self.packet_id {
            sink.short(packet_id.get());
        }
        if version.is_v5() {
            sink.variable(self.own_properties.len() + self.shared_properties.len());
            sink.bytes(self.own_properties);
            sink.bytes(self.shared_properties);
        }
    }
}

/// PUBLISH in the high half of the first byte.
const PUBLISH_TYPE: u8 = 3;
const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// A packet identifier, which is never 0.
pub(crate) fn decode_packet_id(reader: &mut Reader<'_>) -> Result<PacketId, DecodeError> {
    let zero = reader.error(
        DecodeErrorKind::PacketIdentifierZero,
        Field::PacketIdentifier,
    );
    //= mqtt5 2.2.1-3
    //= mqtt5 2.2.1-4
    //= mqtt311 2.3.1-1
    PacketId::new(reader.short(Field::PacketIdentifier)?).ok_or(zero)
}
