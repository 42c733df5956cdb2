//! PUBACK, PUBREC, PUBREL, PUBCOMP: four packets of one shape.

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::frame::Rules;
use crate::packet::Packet;
use crate::properties::Properties;
use crate::property::Place;
use crate::publish::decode_packet_id;
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketId, PacketType, Sender, Version};
use crate::writer::Sink;

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
///
/// 3.x acknowledges without a reason code: `Success` when decoded; when encoding, a code below 0x80
/// is left out and one that reports a failure is an error, since 3.x cannot say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ack<'a> {
    /// The packet identifier of the PUBLISH that this is about.
    pub packet_id: PacketId,
    /// What became of it.
    pub reason: ReasonCode,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
}

/// Acknowledgements of one type that say nothing but yes, one behind the other; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortAcks<'a> {
    packet_type: PacketType,
    packets: &'a [[u8; Ack::SHORT_LEN]],
}

impl<'a> ShortAcks<'a> {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    /// The packets as they came.
    #[must_use]
    pub const fn packets(&self) -> &'a [[u8; Ack::SHORT_LEN]] {
        self.packets
    }

    /// What they acknowledge.
    #[inline]
    pub fn ids(&self) -> impl Iterator<Item = PacketId> + use<'a> {
        self.packets
            .iter()
            .filter_map(|&[.., high, low]| PacketId::new(u16::from_be_bytes([high, low])))
    }
}

impl<'a> Ack<'a> {
    /// An acknowledgement that says nothing but yes.
    #[must_use]
    pub const fn success(packet_id: PacketId) -> Self {
        Self {
            packet_id,
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        }
    }

    /// The length of an acknowledgement that says nothing but yes.
    pub const SHORT_LEN: usize = 4;

    /// The short way of [`decode`](crate::decode) for an acknowledgement that says nothing but yes: its type and
    /// what it acknowledges. `None`: it is something else.
    #[inline]
    #[must_use]
    pub fn decode_short(input: &[u8], rules: Rules) -> Option<(PacketType, PacketId)> {
        let &[first, 2, high, low, ..] = input else {
            return None;
        };
        if (rules.max_packet_size as usize) < Self::SHORT_LEN {
            return None;
        }
        let packet_type = match first {
            0x40 => PacketType::PubAck,
            0x50 => PacketType::PubRec,
            0x62 => PacketType::PubRel,
            0x70 => PacketType::PubComp,
            _ => return None,
        };
        Some((packet_type, PacketId::new(u16::from_be_bytes([high, low]))?))
    }

    /// The same for as many of one type as stand one behind the other: peers acknowledge what they have read at once.
    #[inline]
    #[must_use]
    pub fn decode_short_run(input: &'a [u8], rules: Rules) -> Option<ShortAcks<'a>> {
        let (packet_type, _) = Self::decode_short(input, rules)?;
        let (packets, _) = input.as_chunks::<{ Ack::SHORT_LEN }>();
        let &[first, ..] = packets.first()?;
        let same = |packet: &&[u8; Ack::SHORT_LEN]| {
            let [kind, length, high, low] = **packet;
            kind == first && length == 2 && high | low != 0
        };
        let count = packets.iter().take_while(same).count();
        Some(ShortAcks {
            packet_type,
            packets: packets.get(..count)?,
        })
    }

    /// This as a packet of one of the four types.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no other packet has this shape"
    )]
    pub(crate) const fn into_packet(self, packet_type: PacketType) -> Option<Packet<'a>> {
        match packet_type {
            PacketType::PubAck => Some(Packet::PubAck(self)),
            PacketType::PubRec => Some(Packet::PubRec(self)),
            PacketType::PubRel => Some(Packet::PubRel(self)),
            PacketType::PubComp => Some(Packet::PubComp(self)),
            _ => None,
        }
    }

    pub(crate) fn decode(
        packet_type: PacketType,
        reader: &mut Reader<'a>,
        version: Version,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        let packet_id = decode_packet_id(reader)?;
        if !version.is_v5() {
            return Ok(Self::success(packet_id));
        }
        //= mqtt5 3.4.2-1
        //= mqtt5 3.5.2-1
        //= mqtt5 3.6.2-1
        //= mqtt5 3.7.2-1
        let (reason, properties) = decode_optional_reason(packet_type, reader, sender)?;
        Ok(Self {
            packet_id,
            reason,
            properties,
        })
    }

    pub(crate) fn check(
        &self,
        packet_type: PacketType,
        version: Version,
    ) -> Result<(), EncodeError> {
        self.properties.check(Place::Packet(packet_type), version)?;
        check_reason(self.reason, packet_type)?;
        if self.reason.is_error() && !version.is_v5() {
            return Err(EncodeError::NotInThisVersion(Field::ReasonCode));
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, sink: &mut impl Sink) {
        sink.short(self.packet_id.get());
        if version.is_v5() {
            write_optional_reason(self.reason, self.properties, sink);
        }
    }
}

/// A reason code and properties, which may both be left out at the end of a packet.
pub(crate) fn decode_optional_reason<'a>(
    packet_type: PacketType,
    reader: &mut Reader<'a>,
    sender: Sender,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    let not_allowed = reader.error(DecodeErrorKind::ReasonCodeNotAllowed, Field::ReasonCode);
    let code = if reader.is_empty() {
        0
    } else {
        reader.byte(Field::ReasonCode)?
    };
    let reason = ReasonCode::from_u8(code)
        .filter(|reason| reason.allowed_in(packet_type, sender))
        .ok_or(not_allowed)?;
    let properties = if reader.is_empty() {
        Properties::EMPTY
    } else {
        Properties::read(reader, Place::Packet(packet_type), sender)?
    };
    Ok((reason, properties))
}

/// The shortest form that says the same.
pub(crate) fn write_optional_reason(
    reason: ReasonCode,
    properties: Properties<'_>,
    sink: &mut impl Sink,
) {
    if !properties.is_empty() {
        sink.byte(reason.as_u8());
        properties.write(sink);
    } else if reason != ReasonCode::Success {
        sink.byte(reason.as_u8());
    }
}

/// Whether a packet may say this, whoever sends it.
pub(crate) fn check_reason(reason: ReasonCode, packet_type: PacketType) -> Result<(), EncodeError> {
    let allowed = reason.allowed_in(packet_type, Sender::Client)
        || reason.allowed_in(packet_type, Sender::Server);
    if allowed {
        Ok(())
    } else {
        Err(EncodeError::ReasonCodeNotAllowed(reason))
    }
}
