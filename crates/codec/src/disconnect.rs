//! DISCONNECT and AUTH.

use crate::ack::{check_reason, decode_optional_reason, write_optional_reason};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::properties::Properties;
use crate::property::{Place, PropertyId};
use crate::reader::Reader;
use crate::reason::ReasonCode;
use crate::types::{PacketType, Sender, Version};
use crate::writer::Sink;

/// DISCONNECT: the last packet of a connection. In 3.x only a client sends it, without anything in
/// it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// Why; `Success` is a normal disconnection.
    pub reason: ReasonCode,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    pub(crate) fn decode(
        reader: &mut Reader<'a>,
        version: Version,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        if !version.is_v5() {
            return Ok(Self {
                reason: ReasonCode::Success,
                properties: Properties::EMPTY,
            });
        }
        //= mqtt5 3.14.2-1
        let (reason, properties) = decode_optional_reason(PacketType::Disconnect, reader, sender)?;
        Ok(Self { reason, properties })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties
            .check(Place::Packet(PacketType::Disconnect), version)?;
        check_reason(self.reason, PacketType::Disconnect)?;
        if self.reason != ReasonCode::Success && !version.is_v5() {
            return Err(EncodeError::NotInThisVersion(Field::ReasonCode));
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, sink: &mut impl Sink) {
        if version.is_v5() {
            write_optional_reason(self.reason, self.properties, sink);
        }
    }
}

/// AUTH: a step of an enhanced authentication, 5.0 only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Go on, start again, or done.
    pub reason: ReasonCode,
    /// Properties; the authentication method is always among them.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, sender: Sender) -> Result<Self, DecodeError> {
        let start = *reader;
        //= mqtt5 3.15.2-1
        let (reason, properties) = match decode_optional_reason(PacketType::Auth, reader, sender) {
            // The empty form means Success, which a client may not send; what is wrong with it is
            // the missing method.
            Err(_) if start.is_empty() => return Err(no_method(start)),
            decoded => decoded?,
        };
        if !properties.contains(PropertyId::AuthenticationMethod) {
            return Err(no_method(start));
        }
        Ok(Self { reason, properties })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NotInThisVersion(Field::PacketType));
        }
        self.properties
            .check(Place::Packet(PacketType::Auth), version)?;
        if !self.properties.contains(PropertyId::AuthenticationMethod) {
            return Err(EncodeError::Missing(Field::Property(
                PropertyId::AuthenticationMethod,
            )));
        }
        check_reason(self.reason, PacketType::Auth)
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) {
        write_optional_reason(self.reason, self.properties, sink);
    }
}

fn no_method(start: Reader<'_>) -> DecodeError {
    start.error(
        DecodeErrorKind::AuthenticationMethodMissing,
        Field::Property(PropertyId::AuthenticationMethod),
    )
}
