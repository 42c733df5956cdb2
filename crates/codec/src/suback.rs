//! SUBACK and UNSUBACK: one code per filter.

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::properties::Properties;
use crate::property::Place;
use crate::publish::decode_packet_id;
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketId, PacketType, Sender, Version};
use crate::writer::Sink;

/// SUBACK or UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// The packet identifier of the request.
    pub packet_id: PacketId,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
    /// One code per filter, in the order of the filters; none in UNSUBACK of 3.x.
    ///
    /// When a SUBACK is encoded for 3.1.1, every failure becomes its 0x80. 3.1 has no failure code:
    /// there it is an error. UNSUBACK of 3.x leaves the codes out.
    pub reasons: &'a [u8],
}

impl<'a> SubAck<'a> {
    /// The codes as what they mean.
    #[must_use]
    pub const fn reason_codes(&self) -> ReasonCodes<'a> {
        ReasonCodes(self.reasons)
    }

    pub(crate) fn decode(
        packet_type: PacketType,
        reader: &mut Reader<'a>,
        version: Version,
    ) -> Result<Self, DecodeError> {
        let packet_id = decode_packet_id(reader)?;
        let properties = if version.is_v5() {
            Properties::read(reader, Place::Packet(packet_type), Sender::Server)?
        } else {
            Properties::EMPTY
        };
        if packet_type == PacketType::UnsubAck && !version.is_v5() {
            return Ok(Self {
                packet_id,
                properties,
                reasons: &[],
            });
        }
        if reader.is_empty() {
            return Err(reader.error(DecodeErrorKind::NoReasonCodes, Field::ReasonCode));
        }
        let start = reader.offset();
        let reasons = reader.take_rest();
        match reasons
            .iter()
            .position(|&code| !is_legal(code, packet_type, version))
        {
            None => Ok(Self {
                packet_id,
                properties,
                reasons,
            }),
            Some(at) => Err(DecodeError::new(
                DecodeErrorKind::ReasonCodeNotAllowed,
                Field::ReasonCode,
                start + at,
            )),
        }
    }

    pub(crate) fn check(
        &self,
        packet_type: PacketType,
        version: Version,
    ) -> Result<(), EncodeError> {
        self.properties.check(Place::Packet(packet_type), version)?;
        if packet_type == PacketType::UnsubAck && !version.is_v5() {
            return Ok(());
        }
        if self.reasons.is_empty() {
            return Err(EncodeError::Missing(Field::ReasonCode));
        }
        for &code in self.reasons {
            // What is sent to a 3.1.1 client comes from the codes of 5.0.
            if !is_legal(code, packet_type, Version::V5) {
                let reason = ReasonCode::from_u8(code).unwrap_or(ReasonCode::UnspecifiedError);
                return Err(EncodeError::ReasonCodeNotAllowed(reason));
            }
            if code >= FAILURE && version == Version::V31 {
                return Err(EncodeError::NotInThisVersion(Field::ReasonCode));
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, packet_type: PacketType, version: Version, sink: &mut impl Sink) {
        sink.short(self.packet_id.get());
        if version.is_v5() {
            self.properties.write(sink);
            sink.bytes(self.reasons);
        } else if packet_type == PacketType::SubAck {
            for &code in self.reasons {
                //= mqtt311 3.9.3-2
                sink.byte(code.min(FAILURE));
            }
        }
    }
}

/// Iterator over reason codes, made by [`SubAck::reason_codes`].
#[derive(Clone, Debug)]
pub struct ReasonCodes<'a>(&'a [u8]);

impl Iterator for ReasonCodes<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        let (&code, rest) = self.0.split_first()?;
        self.0 = rest;
        // A code that is none can only come from a caller that has built this packet wrongly.
        Some(ReasonCode::from_u8(code).unwrap_or(ReasonCode::UnspecifiedError))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for ReasonCodes<'_> {}

/// The only failure code of 3.1.1.
const FAILURE: u8 = 0x80;

fn is_legal(code: u8, packet_type: PacketType, version: Version) -> bool {
    match version {
        //= mqtt5 3.9.3-2
        //= mqtt5 3.11.3-2
        Version::V5 => ReasonCode::from_u8(code)
            .is_some_and(|reason| reason.allowed_in(packet_type, Sender::Server)),
        //= mqtt311 3.9.3-2
        Version::V311 => matches!(code, 0..=2 | FAILURE),
        Version::V31 => matches!(code, 0..=2),
    }
}
