//! The tight paths of the wire: PUBLISH packets stamped from a template, and a reader that looks at PUBLISH and
//! acknowledgements itself and leaves every other packet to the codec.
//!
//! A payload begins with a header of [`HEADER_BYTES`]: run, publisher, sequence number, time. The rest is filler.

use martlet_codec::{
    Decoded, Packet, PacketId, PublishHead, QoS, Rules, Sender, TopicName, Version, decode,
};

/// The first packet of some bytes.
#[derive(Debug, PartialEq)]
pub(crate) enum Step<'a> {
    /// Not all of it is there.
    Incomplete,
    /// PUBLISH.
    Message(Message<'a>, usize),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack, usize),
    /// Anything else.
    Other(Packet<'a>, usize),
    /// No packet that a server may send.
    Broken(String),
}

/// A PUBLISH, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) qos: QoS,
    pub(crate) packet_id: u16,
    pub(crate) topic: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// An acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) kind: AckKind,
    pub(crate) packet_id: u16,
    /// A reason code below 0x80.
    pub(crate) accepted: bool,
}

/// The four of them, by the first byte on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum AckKind {
    Ack = 0x40,
    Received = 0x50,
    Release = 0x62,
    Complete = 0x70,
}

/// Reads the first packet.
#[inline]
pub(crate) fn step(input: &[u8], version: Version) -> Step<'_> {
    let Some((&first, rest)) = input.split_first() else {
        return Step::Incomplete;
    };
    let kind = match first >> 4 {
        3 => return message(input, first, rest, version),
        4 => AckKind::Ack,
        5 => AckKind::Received,
        6 => AckKind::Release,
        7 => AckKind::Complete,
        _ => return other(input, version),
    };
    match rest {
        // Without reason code: success.
        [2, high, low, ..] => Step::Ack(
            Ack {
                kind,
                packet_id: u16::from_be_bytes([*high, *low]),
                accepted: true,
            },
            4,
        ),
        _ => other(input, version),
    }
}

#[inline]
fn message<'a>(input: &'a [u8], first: u8, rest: &'a [u8], version: Version) -> Step<'a> {
    let Some((body_len, header_len)) = variable(rest) else {
        // Too short to say, or too long to be a length: the codec knows.
        return other(input, version);
    };
    let length = 1 + header_len + body_len;
    let Some(body) = input.get(1 + header_len..length) else {
        return Step::Incomplete;
    };
    parse_body(body, first, version).map_or_else(
        || Step::Broken("a PUBLISH whose fields do not fit into it".to_owned()),
        |message| Step::Message(message, length),
    )
}

#[inline]
fn parse_body(body: &[u8], first: u8, version: Version) -> Option<Message<'_>> {
    let qos = QoS::from_bits(first >> 1 & 0b11)?;
    let (topic_len, body) = body.split_first_chunk::<2>()?;
    let (topic, body) = body.split_at_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
    let (packet_id, body) = if qos == QoS::AtMostOnce {
        (0, body)
    } else {
        let (packet_id, body) = body.split_first_chunk::<2>()?;
        (u16::from_be_bytes(*packet_id), body)
    };
    let payload = if version.is_v5() {
        let (properties_len, taken) = variable(body)?;
        body.get(taken + properties_len..)?
    } else {
        body
    };
    Some(Message {
        qos,
        packet_id,
        topic,
        payload,
    })
}

/// A variable byte integer and how many bytes it took.
#[inline]
fn variable(input: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in input.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cold]
fn other(input: &[u8], version: Version) -> Step<'_> {
    let rules = Rules {
        version,
        sender: Sender::Server,
        max_packet_size: u32::MAX,
    };
    let ack = |kind, ack: martlet_codec::Ack<'_>, length| {
        Step::Ack(
            Ack {
                kind,
                packet_id: ack.packet_id.get(),
                accepted: !ack.reason.is_error(),
            },
            length,
        )
    };
    match decode(input, rules) {
        Ok(Decoded::Incomplete { .. }) => Step::Incomplete,
        Ok(Decoded::Packet { packet, length }) => match packet {
            Packet::PubAck(fields) => ack(AckKind::Ack, fields, length),
            Packet::PubRec(fields) => ack(AckKind::Received, fields, length),
            Packet::PubRel(fields) => ack(AckKind::Release, fields, length),
            Packet::PubComp(fields) => ack(AckKind::Complete, fields, length),
            packet @ (Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Publish(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect(_)
            | Packet::Auth(_)) => Step::Other(packet, length),
        },
        Err(error) => Step::Broken(error.to_string()),
    }
}

/// Appends an acknowledgement without reason code.
#[inline]
pub(crate) fn put_ack(out: &mut Vec<u8>, kind: AckKind, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[kind as u8, 2, high, low]);
}

/// A PUBLISH in which only packet identifier, sequence number and time change.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    packet: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    /// The packet for one topic. The payload has at least [`HEADER_BYTES`].
    pub(crate) fn new(
        version: Version,
        topic: TopicName<'_>,
        qos: QoS,
        retain: bool,
        stamp: Stamp,
        payload_len: usize,
    ) -> Self {
        let packet_id = (qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        let head = PublishHead {
            dup: false,
            qos,
            retain,
            topic: topic.as_str(),
            packet_id,
            own_properties: &[],
            shared_properties: &[],
            payload_len,
        };
        let mut packet = Vec::with_capacity(head.packet_len(version));
        head.encode(version, &mut packet);
        let payload_at = packet.len();
        packet.extend_from_slice(&stamp.run.to_be_bytes());
        packet.extend_from_slice(&stamp.publisher.to_be_bytes());
        packet.resize(payload_at + payload_len, FILLER);
        let properties_len = usize::from(version.is_v5());
        Self {
            packet,
            packet_id_at: packet_id.map(|_| payload_at - properties_len - 2),
            payload_at,
        }
    }

    /// The length of the packet.
    pub(crate) const fn len(&self) -> usize {
        self.packet.len()
    }

    /// Appends one message.
    #[inline]
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, packet_id: u16, sequence: u64, time_ns: u64) {
        if let Some(at) = self.packet_id_at {
            patch(&mut self.packet, at, &packet_id.to_be_bytes());
        }
        patch(
            &mut self.packet,
            self.payload_at + 8,
            &sequence.to_be_bytes(),
        );
        patch(
            &mut self.packet,
            self.payload_at + 16,
            &time_ns.to_be_bytes(),
        );
        out.extend_from_slice(&self.packet);
    }
}

#[inline]
fn patch(packet: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = packet.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// What stays the same in all payloads of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells this run's messages from those of others.
    pub(crate) run: u32,
    pub(crate) publisher: u32,
}

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) stamp: Stamp,
    pub(crate) sequence: u64,
    pub(crate) time_ns: u64,
}

impl Header {
    /// The header of a payload, if that is long enough and its filler is as it was sent.
    #[inline]
    pub(crate) fn read(payload: &[u8], payload_len: usize) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk::<4>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (time_ns, filler) = rest.split_first_chunk::<8>()?;
        // Both ends of the filler: enough to notice shifted or cut payloads, cheap enough for every message.
        let whole = payload.len() == payload_len
            && filler.first().is_none_or(|byte| *byte == FILLER)
            && filler.last().is_none_or(|byte| *byte == FILLER);
        whole.then_some(Self {
            stamp: Stamp {
                run: u32::from_be_bytes(*run),
                publisher: u32::from_be_bytes(*publisher),
            },
            sequence: u64::from_be_bytes(*sequence),
            time_ns: u64::from_be_bytes(*time_ns),
        })
    }
}

/// Run, publisher, sequence number and time.
pub(crate) const HEADER_BYTES: usize = 24;
const FILLER: u8 = b'.';

#[cfg(test)]
mod tests {
    use martlet_codec::{Ack as CodecAck, Properties, ReasonCode};

    use super::*;

    const STAMP: Stamp = Stamp {
        run: 0xDEAD_BEEF,
        publisher: 7,
    };

    fn template(version: Version, qos: QoS, payload_len: usize) -> Template {
        Template::new(
            version,
            TopicName::new("a/b").unwrap(),
            qos,
            false,
            STAMP,
            payload_len,
        )
    }

    #[test]
    fn what_the_template_writes_the_codec_and_the_tight_reader_read() {
        for version in [Version::V311, Version::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for payload_len in [HEADER_BYTES, 64, 200, 20_000] {
                    let mut template = template(version, qos, payload_len);
                    let mut out = Vec::new();
                    template.put(&mut out, 300, 5, 6);
                    assert_eq!(out.len(), template.len());
                    let rules = Rules {
                        version,
                        sender: Sender::Client,
                        max_packet_size: u32::MAX,
                    };
                    let Ok(Decoded::Packet {
                        packet: Packet::Publish(publish),
                        length,
                    }) = decode(&out, rules)
                    else {
                        panic!("a PUBLISH");
                    };
                    assert_eq!(length, out.len());
                    assert_eq!(publish.qos, qos);
                    let Step::Message(message, taken) = step(&out, version) else {
                        panic!("a PUBLISH");
                    };
                    assert_eq!(taken, out.len());
                    assert_eq!(message.topic, b"a/b");
                    assert_eq!(message.payload, publish.payload);
                    let expected = publish.packet_id.map_or(0, PacketId::get);
                    assert_eq!(message.packet_id, expected);
                    assert_eq!(expected, if qos == QoS::AtMostOnce { 0 } else { 300 });
                    assert_eq!(
                        Header::read(message.payload, payload_len),
                        Some(Header {
                            stamp: STAMP,
                            sequence: 5,
                            time_ns: 6
                        })
                    );
                    for cut in 0..out.len().min(300) {
                        assert_eq!(step(&out[..cut], version), Step::Incomplete, "{cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_changed_payload_is_noticed() {
        let mut out = Vec::new();
        template(Version::V5, QoS::AtMostOnce, 64).put(&mut out, 0, 1, 2);
        let payload = out.split_off(out.len() - 64);
        assert!(Header::read(&payload, 64).is_some());
        assert!(Header::read(&payload[..63], 64).is_none());
        assert!(Header::read(&payload, 65).is_none());
        let mut changed = payload;
        changed[63] = 0;
        assert!(Header::read(&changed, 64).is_none());
    }

    #[test]
    fn acknowledgements_are_read_with_and_without_reason() {
        let mut out = Vec::new();
        put_ack(&mut out, AckKind::Release, 513);
        assert_eq!(out, [0x62, 2, 2, 1]);
        let ack = |accepted| Ack {
            kind: AckKind::Ack,
            packet_id: 9,
            accepted,
        };
        assert_eq!(
            step(&[0x40, 2, 0, 9, 0x40], Version::V311),
            Step::Ack(ack(true), 4)
        );
        assert_eq!(step(&[0x40, 2, 0], Version::V311), Step::Incomplete);
        let refused = Packet::PubAck(CodecAck {
            packet_id: PacketId::new(9).unwrap(),
            reason: ReasonCode::NotAuthorized,
            properties: Properties::EMPTY,
        });
        let mut out = Vec::new();
        refused.encode(Version::V5, &mut out).unwrap();
        assert_eq!(step(&out, Version::V5), Step::Ack(ack(false), out.len()));
    }

    #[test]
    fn nonsense_is_called_that() {
        assert!(matches!(step(&[0x10, 0], Version::V5), Step::Broken(_)));
        assert!(matches!(
            step(&[0x30, 2, 0, 9], Version::V311),
            Step::Broken(_)
        ));
        assert!(matches!(
            step(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1], Version::V5),
            Step::Broken(_)
        ));
    }
}
