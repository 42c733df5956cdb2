//! Splits a stream of bytes into packets: the fixed header, and what it alone can tell to be wrong.

use crate::ack::Ack;
use crate::connack::ConnAck;
use crate::connect::Connect;
use crate::disconnect::{Auth, Disconnect};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::field::Field;
use crate::packet::Packet;
use crate::publish::Publish;
use crate::reader::{Reader, VariableByteInteger};
use crate::suback::SubAck;
use crate::subscribe::{Subscribe, Unsubscribe};
use crate::types::{PacketType, QoS, Sender, Version};

/// What the receiver of bytes expects of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The version of the connection; ignored for CONNECT, which carries its own.
    pub version: Version,
    /// Who sent the bytes.
    pub sender: Sender,
    /// The largest packet that the receiver accepts, fixed header included.
    pub max_packet_size: u32,
}

/// What is at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decoded<'a> {
    /// The first packet is not complete.
    Incomplete {
        /// How many bytes there must be before decoding can get further, counted from the start of
        /// the packet. Always more than there were; the whole packet's length as soon as that is
        /// known.
        at_least: usize,
    },
    /// A packet.
    Packet {
        /// The packet.
        packet: Packet<'a>,
        /// How many bytes it took.
        length: usize,
    },
}

/// Decodes the first packet of `input`.
///
/// Borrows from `input`, allocates nothing and never panics. What the fixed header shows to be
/// wrong (type, flags, length) is reported as soon as the bytes that show it are there, before the
/// body has arrived.
pub fn decode(input: &[u8], rules: Rules) -> Result<Decoded<'_>, DecodeError> {
    if let Some((publish, length)) = Publish::decode_simple(input, rules, None) {
        return Ok(Decoded::Packet {
            packet: Packet::Publish(publish),
            length,
        });
    }
    if let Some((packet_type, packet_id)) = Ack::decode_short(input, rules)
        && let Some(packet) = Ack::success(packet_id).into_packet(packet_type)
    {
        return Ok(Decoded::Packet {
            packet,
            length: Ack::SHORT_LEN,
        });
    }
    decode_any(input, rules)
}

/// How long the first packet of `input` says to be, fixed header included; nothing else of it is looked at.
///
/// `None` as long as the length itself is not whole, and if it is no length.
///
/// ```
/// assert_eq!(martlet_codec::packet_len(&[0x30, 0x80, 0x01, 7]), Some(3 + 128));
/// assert_eq!(martlet_codec::packet_len(&[0x30, 0x80]), None);
/// ```
#[must_use]
pub fn packet_len(input: &[u8]) -> Option<usize> {
    match VariableByteInteger::parse(input.get(1..)?) {
        VariableByteInteger::Whole { value, length, .. } => Some(1 + length + value as usize),
        VariableByteInteger::Incomplete | VariableByteInteger::TooLong => None,
    }
}

/// As [`decode`], for every packet and every fault.
pub(crate) fn decode_any(input: &[u8], rules: Rules) -> Result<Decoded<'_>, DecodeError> {
    let Some((&first, behind_first)) = input.split_first() else {
        return Ok(Decoded::Incomplete { at_least: 2 });
    };
    let packet_type = check_first_byte(first, rules)?;
    let in_packet = |error: DecodeError| error.in_packet(packet_type);
    let header_error = |kind| in_packet(DecodeError::new(kind, Field::RemainingLength, 1));
    let (remaining, padded, header_len) = match VariableByteInteger::parse(behind_first) {
        VariableByteInteger::Incomplete => {
            return Ok(Decoded::Incomplete {
                at_least: input.len() + 1,
            });
        }
        VariableByteInteger::TooLong => {
            return Err(header_error(DecodeErrorKind::VariableByteIntegerTooLong));
        }
        VariableByteInteger::Whole {
            value,
            length,
            padded,
        } => (value, padded, 1 + length),
    };
    // CONNECT's version is not known before its body is read.
    //= mqtt5 1.5.5-1
    if padded && rules.version.is_v5() && packet_type != PacketType::Connect {
        return Err(header_error(
            DecodeErrorKind::VariableByteIntegerNotShortest,
        ));
    }
    // Four length bytes hold 28 bits, so this fits any usize that the rest of the crate can live
    // with.
    let body_len = remaining as usize;
    let length = header_len + body_len;
    if length > rules.max_packet_size as usize {
        return Err(header_error(DecodeErrorKind::PacketTooLarge));
    }
    if let Some(most) = longest_body(packet_type, rules.version)
        && body_len > most
    {
        let surplus = header_len + most;
        return Err(in_packet(DecodeError::new(
            DecodeErrorKind::TrailingBytes,
            Field::EndOfPacket,
            surplus,
        )));
    }
    let Some(body) = input.get(header_len..length) else {
        return Ok(Decoded::Incomplete { at_least: length });
    };
    let mut reader = Reader::new(body, length);
    let packet = decode_body(packet_type, first, &mut reader, rules, padded).map_err(in_packet)?;
    reader.finish().map_err(in_packet)?;
    Ok(Decoded::Packet { packet, length })
}

fn decode_body<'a>(
    packet_type: PacketType,
    first: u8,
    reader: &mut Reader<'a>,
    rules: Rules,
    padded: bool,
) -> Result<Packet<'a>, DecodeError> {
    let Rules {
        version, sender, ..
    } = rules;
    let ack = |reader: &mut Reader<'a>| Ack::decode(packet_type, reader, version, sender);
    Ok(match packet_type {
        PacketType::Publish => Packet::Publish(Publish::decode(first, reader, version, sender)?),
        PacketType::PubAck => Packet::PubAck(ack(reader)?),
        PacketType::PubRec => Packet::PubRec(ack(reader)?),
        PacketType::PubRel => Packet::PubRel(ack(reader)?),
        PacketType::PubComp => Packet::PubComp(ack(reader)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Connect => Packet::Connect(Connect::decode(reader, padded)?),
        PacketType::ConnAck => Packet::ConnAck(ConnAck::decode(reader, version)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(reader, version)?),
        PacketType::SubAck => Packet::SubAck(SubAck::decode(packet_type, reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(reader, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(SubAck::decode(packet_type, reader, version)?),
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(reader, version, sender)?),
        PacketType::Auth => Packet::Auth(Auth::decode(reader, sender)?),
    })
}

/// Type and flags of the first byte.
fn check_first_byte(first: u8, rules: Rules) -> Result<PacketType, DecodeError> {
    let Some(packet_type) = PacketType::from_first_byte(first) else {
        return Err(DecodeError::new(
            DecodeErrorKind::PacketTypeReserved,
            Field::PacketType,
            0,
        ));
    };
    let error = |kind, field| Err(DecodeError::new(kind, field, 0).in_packet(packet_type));
    if packet_type == PacketType::Auth && !rules.version.is_v5() {
        return error(DecodeErrorKind::PacketTypeNotInVersion, Field::PacketType);
    }
    if !packet_type.may_come_from(rules.sender, rules.version) {
        return error(DecodeErrorKind::PacketTypeFromWrongSide, Field::PacketType);
    }
    let flags = first & 0x0F;
    match wrong_flags(packet_type, flags, rules.version) {
        None => Ok(packet_type),
        Some(kind) => error(kind, Field::FixedHeaderFlags),
    }
}

fn wrong_flags(packet_type: PacketType, flags: u8, version: Version) -> Option<DecodeErrorKind> {
    match packet_type {
        PacketType::Publish => match QoS::from_bits(flags >> 1 & 0b11) {
            //= mqtt5 3.3.1-4
            //= mqtt311 3.3.1-4
            None => Some(DecodeErrorKind::QoSReserved),
            // 3.1 has no such rule.
            //= mqtt5 3.3.1-2
            //= mqtt311 3.3.1-2
            Some(QoS::AtMostOnce) if flags & 0b1000 != 0 && version != Version::V31 => {
                Some(DecodeErrorKind::DupWithQoS0)
            }
            Some(QoS::AtMostOnce | QoS::AtLeastOnce | QoS::ExactlyOnce) => None,
        },
        //= mqtt5 3.6.1-1
        //= mqtt5 3.8.1-1
        //= mqtt5 3.10.1-1
        //= mqtt311 3.6.1-1
        //= mqtt311 3.8.1-1
        //= mqtt311 3.10.1-1
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => {
            // In 3.1 these are "QoS 1 messages", and a repeated one has DUP.
            let repeated_in_31 = version == Version::V31 && flags == 0b1010;
            (flags != 0b0010 && !repeated_in_31).then_some(DecodeErrorKind::FixedHeaderFlags)
        }
        //= mqtt5 2.1.3-1
        //= mqtt5 3.14.1-1
        //= mqtt5 3.15.1-1
        //= mqtt311 2.2.2-1
        //= mqtt311 2.2.2-2
        //= mqtt311 3.14.1-1
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubComp
        | PacketType::SubAck
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp
        | PacketType::Disconnect
        | PacketType::Auth => (flags != 0).then_some(DecodeErrorKind::FixedHeaderFlags),
    }
}

/// The longest legal body, where that is fixed: a longer one need not be waited for.
fn longest_body(packet_type: PacketType, version: Version) -> Option<usize> {
    match packet_type {
        PacketType::PingReq | PacketType::PingResp => Some(0),
        PacketType::Disconnect if !version.is_v5() => Some(0),
        PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp
        | PacketType::UnsubAck
            if !version.is_v5() =>
        {
            Some(2)
        }
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp
        | PacketType::Subscribe
        | PacketType::SubAck
        | PacketType::Unsubscribe
        | PacketType::UnsubAck
        | PacketType::Disconnect
        | PacketType::Auth => None,
    }
}
