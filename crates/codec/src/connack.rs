//! CONNACK: the server's answer to CONNECT.

use crate::connect::{check_authentication, lacks_method};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::properties::Properties;
use crate::property::{Place, PropertyId};
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketType, Sender, Version};
use crate::writer::Sink;

/// CONNACK.
///
/// The return codes of 3.x appear as the reason codes that mean the same. Encoding a reason without
/// such a return code for a 3.x client is an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// Whether the server goes on with a stored session. 3.1 cannot say so: there it is neither
    /// read nor written.
    pub session_present: bool,
    /// Accepted, or why not.
    pub reason: ReasonCode,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let flags_error = reader.error(
            DecodeErrorKind::AcknowledgeFlagsReserved,
            Field::AcknowledgeFlags,
        );
        let flags = reader.byte(Field::AcknowledgeFlags)?;
        // The whole byte is reserved in 3.1, and nobody is told to check it.
        let session_present = version != Version::V31 && flags & 1 != 0;
        //= mqtt5 3.2.2-1
        if version != Version::V31 && flags & !1 != 0 {
            return Err(flags_error);
        }
        let code_error = reader.error(DecodeErrorKind::ReasonCodeNotAllowed, Field::ReasonCode);
        let code = reader.byte(Field::ReasonCode)?;
        let reason = if version.is_v5() {
            reason_of_v5(code)
        } else {
            reason_of_return_code(code)
        };
        let reason = reason.ok_or(code_error)?;
        //= mqtt5 3.2.2-6
        //= mqtt311 3.2.2-4
        if session_present && reason != ReasonCode::Success {
            return Err(DecodeError::new(
                DecodeErrorKind::SessionPresentInRefusal,
                flags_error.field(),
                flags_error.offset(),
            ));
        }
        let without_method = reader.error(
            DecodeErrorKind::AuthenticationMethodMissing,
            Field::Property(PropertyId::AuthenticationData),
        );
        let properties = if version.is_v5() {
            Properties::read(reader, Place::Packet(PacketType::ConnAck), Sender::Server)?
        } else {
            Properties::EMPTY
        };
        if lacks_method(properties) {
            return Err(without_method);
        }
        Ok(Self {
            session_present,
            reason,
            properties,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties
            .check(Place::Packet(PacketType::ConnAck), version)?;
        check_authentication(self.properties)?;
        //= mqtt5 3.2.2-8
        if !self.reason.allowed_in(PacketType::ConnAck, Sender::Server) {
            return Err(EncodeError::ReasonCodeNotAllowed(self.reason));
        }
        if !version.is_v5() && return_code(self.reason).is_none() {
            return Err(EncodeError::NotInThisVersion(Field::ReasonCode));
        }
        //= mqtt5 3.2.2-6
        //= mqtt311 3.2.2-4
        if self.session_present && self.reason != ReasonCode::Success {
            return Err(EncodeError::Contradiction(Field::AcknowledgeFlags));
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, sink: &mut impl Sink) {
        //= mqtt5 3.2.2-1
        sink.byte(u8::from(self.session_present && version != Version::V31));
        if version.is_v5() {
            sink.byte(self.reason.as_u8());
            self.properties.write(sink);
        } else {
            // `check` has refused what has no return code.
            sink.byte(return_code(self.reason).unwrap_or(SERVER_UNAVAILABLE));
        }
    }
}

const SERVER_UNAVAILABLE: u8 = 3;

fn reason_of_v5(code: u8) -> Option<ReasonCode> {
    //= mqtt5 3.2.2-8
    ReasonCode::from_u8(code)
        .filter(|reason| reason.allowed_in(PacketType::ConnAck, Sender::Server))
}

const fn reason_of_return_code(code: u8) -> Option<ReasonCode> {
    Some(match code {
        0 => ReasonCode::Success,
        1 => ReasonCode::UnsupportedProtocolVersion,
        2 => ReasonCode::ClientIdentifierNotValid,
        SERVER_UNAVAILABLE => ReasonCode::ServerUnavailable,
        4 => ReasonCode::BadUserNameOrPassword,
        5 => ReasonCode::NotAuthorized,
        _ => return None,
    })
}

fn return_code(reason: ReasonCode) -> Option<u8> {
    (0..=5).find(|&code| reason_of_return_code(code) == Some(reason))
}
