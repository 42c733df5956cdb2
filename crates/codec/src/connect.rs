//! CONNECT: the client introduces itself.

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::properties::Properties;
use crate::property::{Place, PropertyId};
use crate::reader::{Reader, VariableByteInteger};
use crate::topic::TopicName;
use crate::types::{PacketType, QoS, Sender, Version};
use crate::writer::{Sink, check_binary, check_text};

/// CONNECT.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connect<'a> {
    /// The version that the client wants to speak; CONNECT is decoded and encoded by it.
    pub version: Version,
    /// Clean Start of 5.0, Clean Session of 3.x.
    pub clean_start: bool,
    /// Longest silence of the client in seconds; 0 switches the check off.
    pub keep_alive_s: u16,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
    /// The client identifier, perhaps empty: whether that will do is not the codec's to say.
    pub client_id: &'a str,
    /// What to publish when the connection dies.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The password, any bytes.
    pub password: Option<&'a [u8]>,
}

/// The message that the server publishes when the connection dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Will<'a> {
    /// The QoS of the publication.
    pub qos: QoS,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
    /// Where it is published.
    pub topic: TopicName<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What the first bytes of a CONNECT say about its version: enough to choose the form of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectPeek {
    /// The version, if it is one that this codec speaks.
    pub version: Option<Version>,
    /// The protocol level byte.
    pub level: u8,
}

/// Reads only the version of a CONNECT that may be incomplete or wrong behind it.
///
/// `None` if the bytes are no CONNECT, or end before the protocol level.
#[must_use]
pub fn peek_connect(input: &[u8]) -> Option<ConnectPeek> {
    let (&first, behind_first) = input.split_first()?;
    if PacketType::from_first_byte(first) != Some(PacketType::Connect) {
        return None;
    }
    let VariableByteInteger::Whole { length, .. } = VariableByteInteger::parse(behind_first) else {
        return None;
    };
    let mut reader = Reader::new(behind_first.get(length..)?, input.len());
    let name = reader.binary(Field::ProtocolName).ok()?;
    let level = reader.byte(Field::ProtocolLevel).ok()?;
    Some(ConnectPeek {
        version: known_version(name, level),
        level,
    })
}

impl<'a> Connect<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, padded: bool) -> Result<Self, DecodeError> {
        let version = decode_version(reader)?;
        //= mqtt5 1.5.5-1
        if padded && version.is_v5() {
            return Err(DecodeError::new(
                DecodeErrorKind::VariableByteIntegerNotShortest,
                Field::RemainingLength,
                1,
            ));
        }
        let flags_error = reader.error(DecodeErrorKind::ConnectFlagsReserved, Field::ConnectFlags);
        let flags = ConnectFlags(reader.byte(Field::ConnectFlags)?);
        flags
            .check(version)
            .map_err(|kind| DecodeError::new(kind, flags_error.field(), flags_error.offset()))?;
        let keep_alive_s = reader.short(Field::KeepAlive)?;
        let properties = if version.is_v5() {
            decode_properties(reader)?
        } else {
            Properties::EMPTY
        };
        //= mqtt5 3.1.3-1
        //= mqtt5 3.1.3-3
        //= mqtt5 3.1.3-4
        //= mqtt311 3.1.3-1
        //= mqtt311 3.1.3-3
        //= mqtt311 3.1.3-4
        let client_id = reader.text(Field::ClientIdentifier)?;
        let will = match flags.will_qos() {
            Some(qos) if flags.has(ConnectFlags::WILL) => Some(Will::decode(
                reader,
                version,
                qos,
                flags.has(ConnectFlags::WILL_RETAIN),
            )?),
            Some(_) | None => None,
        };
        // In 3.1 the Remaining Length wins over the flags: what is announced but not there is
        // absent.
        let announced = |flag, reader: &Reader<'_>| {
            flags.has(flag) && !(version == Version::V31 && reader.is_empty())
        };
        //= mqtt5 3.1.2-16
        //= mqtt5 3.1.2-17
        //= mqtt5 3.1.3-12
        //= mqtt311 3.1.2-18
        //= mqtt311 3.1.2-19
        //= mqtt311 3.1.3-11
        let user_name = if announced(ConnectFlags::USER_NAME, reader) {
            Some(reader.text(Field::UserName)?)
        } else {
            None
        };
        //= mqtt5 3.1.2-18
        //= mqtt5 3.1.2-19
        //= mqtt311 3.1.2-20
        //= mqtt311 3.1.2-21
        let password = if announced(ConnectFlags::PASSWORD, reader) {
            Some(reader.binary(Field::Password)?)
        } else {
            None
        };
        let clean_start = flags.has(ConnectFlags::CLEAN_START);
        Ok(Self {
            version,
            clean_start,
            keep_alive_s,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }

    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        self.properties
            .check(Place::Packet(PacketType::Connect), self.version)?;
        check_authentication(self.properties)?;
        check_text(self.client_id, Field::ClientIdentifier)?;
        if let Some(will) = &self.will {
            will.properties.check(Place::Will, self.version)?;
            check_binary(will.payload, Field::WillPayload)?;
        }
        if let Some(user_name) = self.user_name {
            check_text(user_name, Field::UserName)?;
        }
        if let Some(password) = self.password {
            check_binary(password, Field::Password)?;
            //= mqtt311 3.1.2-22
            if self.user_name.is_none() && !self.version.is_v5() {
                return Err(EncodeError::Missing(Field::UserName));
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) {
        //= mqtt5 3.1.2-1
        sink.binary(self.version.protocol_name().as_bytes());
        sink.byte(self.version.level());
        sink.byte(self.flags());
        sink.short(self.keep_alive_s);
        if self.version.is_v5() {
            self.properties.write(sink);
        }
        sink.binary(self.client_id.as_bytes());
        if let Some(will) = &self.will {
            //= mqtt5 3.1.2-9
            //= mqtt311 3.1.2-9
            if self.version.is_v5() {
                will.properties.write(sink);
            }
            sink.binary(will.topic.as_str().as_bytes());
            sink.binary(will.payload);
        }
        if let Some(user_name) = self.user_name {
            sink.binary(user_name.as_bytes());
        }
        if let Some(password) = self.password {
            sink.binary(password);
        }
    }

    fn flags(&self) -> u8 {
        let flag = |set, bit| if set { bit } else { 0 };
        let mut flags = flag(self.clean_start, ConnectFlags::CLEAN_START)
            | flag(self.user_name.is_some(), ConnectFlags::USER_NAME)
            | flag(self.password.is_some(), ConnectFlags::PASSWORD);
        if let Some(will) = &self.will {
            flags |= ConnectFlags::WILL
                | will.qos.bits() << ConnectFlags::WILL_QOS_SHIFT
                | flag(will.retain, ConnectFlags::WILL_RETAIN);
        }
        flags
    }
}

impl<'a> Will<'a> {
    fn decode(
        reader: &mut Reader<'a>,
        version: Version,
        qos: QoS,
        retain: bool,
    ) -> Result<Self, DecodeError> {
        //= mqtt5 3.1.2-9
        //= mqtt311 3.1.2-9
        let properties = if version.is_v5() {
            Properties::read(reader, Place::Will, Sender::Client)?
        } else {
            Properties::EMPTY
        };
        let empty = reader.error(DecodeErrorKind::TopicNameEmpty, Field::WillTopic);
        //= mqtt5 3.1.3-11
        //= mqtt311 3.1.3-10
        let topic = reader.topic_name(Field::WillTopic)?.ok_or(empty)?;
        let payload = reader.binary(Field::WillPayload)?;
        Ok(Self {
            qos,
            retain,
            properties,
            topic,
            payload,
        })
    }
}

/// The connect flags byte.
#[derive(Clone, Copy, Debug)]
struct ConnectFlags(u8);

impl ConnectFlags {
    const RESERVED: u8 = 0b0000_0001;
    const CLEAN_START: u8 = 0b0000_0010;
    const WILL: u8 = 0b0000_0100;
    const WILL_QOS: u8 = 0b0001_1000;
    const WILL_QOS_SHIFT: u8 = 3;
    const WILL_RETAIN: u8 = 0b0010_0000;
    const PASSWORD: u8 = 0b0100_0000;
    const USER_NAME: u8 = 0b1000_0000;

    const fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    const fn will_qos(self) -> Option<QoS> {
        QoS::from_bits((self.0 & Self::WILL_QOS) >> Self::WILL_QOS_SHIFT)
    }

    fn check(self, version: Version) -> Result<(), DecodeErrorKind> {
        // 3.1 does not use the reserved bit, nor the will's bits when there is no will, and has no
        // rule about them.
        let lenient = version == Version::V31;
        //= mqtt5 3.1.2-3
        //= mqtt311 3.1.2-3
        if self.has(Self::RESERVED) && !lenient {
            return Err(DecodeErrorKind::ConnectFlagsReserved);
        }
        if self.has(Self::WILL) {
            //= mqtt5 3.1.2-12
            //= mqtt311 3.1.2-14
            if self.will_qos().is_none() {
                return Err(DecodeErrorKind::QoSReserved);
            }
        } else if self.has(Self::WILL_QOS | Self::WILL_RETAIN) && !lenient {
            //= mqtt5 3.1.2-11
            //= mqtt5 3.1.2-13
            //= mqtt311 3.1.2-11
            //= mqtt311 3.1.2-13
            //= mqtt311 3.1.2-15
            return Err(DecodeErrorKind::WillBitsWithoutWill);
        }
        //= mqtt311 3.1.2-22
        if self.has(Self::PASSWORD) && !self.has(Self::USER_NAME) && !version.is_v5() {
            return Err(DecodeErrorKind::PasswordWithoutUserName);
        }
        Ok(())
    }
}

fn decode_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let unknown_name = reader.error(
        DecodeErrorKind::UnsupportedProtocolName,
        Field::ProtocolName,
    );
    let name = reader.binary(Field::ProtocolName)?;
    //= mqtt5 3.1.2-1
    //= mqtt311 3.1.2-1
    if name != Version::V5.protocol_name().as_bytes()
        && name != Version::V31.protocol_name().as_bytes()
    {
        return Err(unknown_name);
    }
    let unknown_level = reader.error(
        DecodeErrorKind::UnsupportedProtocolVersion,
        Field::ProtocolLevel,
    );
    let level = reader.byte(Field::ProtocolLevel)?;
    //= mqtt5 3.1.2-2
    //= mqtt311 3.1.2-2
    known_version(name, level).ok_or(unknown_level)
}

fn known_version(name: &[u8], level: u8) -> Option<Version> {
    [Version::V31, Version::V311, Version::V5]
        .into_iter()
        .find(|version| version.protocol_name().as_bytes() == name && version.level() == level)
}

fn decode_properties<'a>(reader: &mut Reader<'a>) -> Result<Properties<'a>, DecodeError> {
    let without_method = reader.error(
        DecodeErrorKind::AuthenticationMethodMissing,
        Field::Property(PropertyId::AuthenticationData),
    );
    let properties = Properties::read(reader, Place::Packet(PacketType::Connect), Sender::Client)?;
    if lacks_method(properties) {
        Err(without_method)
    } else {
        Ok(properties)
    }
}

/// Whether there is authentication data without the method that says how to read it.
pub(crate) const fn lacks_method(properties: Properties<'_>) -> bool {
    properties.contains(PropertyId::AuthenticationData)
        && !properties.contains(PropertyId::AuthenticationMethod)
}

pub(crate) fn check_authentication(properties: Properties<'_>) -> Result<(), EncodeError> {
    if lacks_method(properties) {
        return Err(EncodeError::Missing(Field::Property(
            PropertyId::AuthenticationMethod,
        )));
    }
    Ok(())
}
