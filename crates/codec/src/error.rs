//! What can be wrong with received bytes ([`DecodeError`]: the peer's fault) and with a packet to
//! send ([`EncodeError`]: our own).

use crate::field::Field;
use crate::property::PropertyId;
use crate::reason::ReasonCode;
use crate::statement;
use crate::topic::TopicErrorKind;
use crate::types::{PacketType, Version};
use core::fmt;

/// Received bytes that are no legal packet: what is wrong, in which field, at which byte, and which
/// reply it deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    kind: DecodeErrorKind,
    field: Field,
    offset: usize,
    packet: Option<PacketType>,
}

impl DecodeError {
    pub(crate) const fn new(kind: DecodeErrorKind, field: Field, offset: usize) -> Self {
        Self {
            kind,
            field,
            offset,
            packet: None,
        }
    }

    /// Adds the packet type, which the readers of single fields do not know.
    pub(crate) const fn in_packet(self, packet: PacketType) -> Self {
        Self {
            packet: Some(packet),
            ..self
        }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// The field that is wrong.
    #[must_use]
    pub const fn field(&self) -> Field {
        self.field
    }

    /// Where the fault is, in bytes from the start of the packet.
    ///
    /// It is the first byte that is wrong where one can be named (an ill-formed sequence, a
    /// wildcard), else the first byte of the field.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The packet that holds the fault; `None` if even its type is not legal.
    #[must_use]
    pub const fn packet_type(&self) -> Option<PacketType> {
        self.packet
    }

    /// The reason code with which an MQTT 5.0 peer answers (in CONNACK or DISCONNECT).
    #[must_use]
    pub const fn reason(&self) -> ReasonCode {
        if matches!(
            (self.kind, self.field),
            (
                DecodeErrorKind::PropertyValue,
                Field::Property(PropertyId::TopicAlias)
            )
        ) {
            return ReasonCode::TopicAliasInvalid;
        }
        self.kind.reason()
    }

    /// The statement of the specification that the bytes break, such as "MQTT-1.5.4-1".
    ///
    /// `None` where the rule is stated without an id, as many of 5.0's protocol errors are, and for
    /// 3.1, which has no ids.
    #[must_use]
    pub const fn statement(&self, version: Version) -> Option<&'static str> {
        match version {
            Version::V31 => None,
            Version::V311 => statement::v311(self.kind, self.field, self.packet),
            Version::V5 => statement::v5(self.kind, self.field, self.packet),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.field, self.offset, self.kind)
    }
}

impl core::error::Error for DecodeError {}

/// What is wrong with received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// Packet type 0.
    PacketTypeReserved,
    /// A packet type that this version does not have (AUTH before 5.0).
    PacketTypeNotInVersion,
    /// A packet that only the other side may send.
    PacketTypeFromWrongSide,
    /// Flags in the first byte that this packet type does not allow.
    FixedHeaderFlags,
    /// DUP on a QoS 0 PUBLISH.
    DupWithQoS0,
    /// The reserved QoS 3, in PUBLISH or in the connect flags.
    QoSReserved,
    /// A variable byte integer of more than four bytes.
    VariableByteIntegerTooLong,
    /// A variable byte integer that could be shorter.
    VariableByteIntegerNotShortest,
    /// The packet is larger than the receiver accepts.
    PacketTooLarge,
    /// The packet, or the block of properties, ends inside the field.
    Truncated,
    /// Bytes are left behind the last field.
    TrailingBytes,
    /// Ill-formed UTF-8.
    InvalidUtf8,
    /// U+0000 in a string.
    Nul,
    /// Packet identifier 0.
    PacketIdentifierZero,
    /// The protocol name is neither "MQTT" nor "`MQIsdp`".
    UnsupportedProtocolName,
    /// The protocol name is known, its level is not.
    UnsupportedProtocolVersion,
    /// Bit 0 of the connect flags is set.
    ConnectFlagsReserved,
    /// Will QoS or Will Retain is set although the will flag is not.
    WillBitsWithoutWill,
    /// A password without a user name, before 5.0.
    PasswordWithoutUserName,
    /// Bits 7 to 1 of CONNACK's acknowledge flags are set.
    AcknowledgeFlagsReserved,
    /// Session Present in a CONNACK that refuses.
    SessionPresentInRefusal,
    /// A code that is none, or not in this packet, or not from this side.
    ReasonCodeNotAllowed,
    /// SUBACK, or UNSUBACK of 5.0, without any code.
    NoReasonCodes,
    /// A property id that does not exist.
    PropertyUnknown,
    /// A property that this packet cannot have.
    PropertyNotAllowed,
    /// A property that this packet can have, but only when the other side sends it.
    PropertyFromWrongSide,
    /// A property twice that may stand only once.
    PropertyRepeated,
    /// A property whose value is outside its range.
    PropertyValue,
    /// Authentication data, or AUTH, without an authentication method.
    AuthenticationMethodMissing,
    /// An empty topic name without a topic alias.
    TopicNameEmpty,
    /// A wildcard in a topic name.
    TopicNameWildcard,
    /// A topic filter that breaks the syntax.
    TopicFilter(TopicErrorKind),
    /// SUBSCRIBE or UNSUBSCRIBE without a filter.
    NoTopicFilters,
    /// Reserved bits in the subscription options.
    SubscriptionOptionsReserved,
    /// QoS 3 in the subscription options.
    SubscriptionQoSReserved,
    /// Retain Handling 3 in the subscription options.
    RetainHandlingReserved,
    /// No Local on a shared subscription.
    NoLocalOnSharedSubscription,
}

impl DecodeErrorKind {
    const fn reason(self) -> ReasonCode {
        match self {
            Self::FixedHeaderFlags
            | Self::DupWithQoS0
            | Self::QoSReserved
            | Self::VariableByteIntegerTooLong
            | Self::VariableByteIntegerNotShortest
            | Self::Truncated
            | Self::TrailingBytes
            | Self::InvalidUtf8
            | Self::Nul
            | Self::ConnectFlagsReserved
            | Self::WillBitsWithoutWill
            | Self::PasswordWithoutUserName
            | Self::AcknowledgeFlagsReserved
            | Self::PropertyUnknown
            | Self::PropertyNotAllowed
            | Self::SubscriptionOptionsReserved => ReasonCode::MalformedPacket,
            Self::PacketTypeReserved
            | Self::PacketTypeNotInVersion
            | Self::PacketTypeFromWrongSide
            | Self::PacketIdentifierZero
            | Self::SessionPresentInRefusal
            | Self::ReasonCodeNotAllowed
            | Self::NoReasonCodes
            | Self::PropertyFromWrongSide
            | Self::PropertyRepeated
            | Self::PropertyValue
            | Self::AuthenticationMethodMissing
            | Self::TopicNameEmpty
            | Self::NoTopicFilters
            | Self::SubscriptionQoSReserved
            | Self::RetainHandlingReserved
            | Self::NoLocalOnSharedSubscription => ReasonCode::ProtocolError,
            Self::PacketTooLarge => ReasonCode::PacketTooLarge,
            Self::UnsupportedProtocolName | Self::UnsupportedProtocolVersion => {
                ReasonCode::UnsupportedProtocolVersion
            }
            Self::TopicNameWildcard => ReasonCode::TopicNameInvalid,
            Self::TopicFilter(_) => ReasonCode::TopicFilterInvalid,
        }
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PacketTypeReserved => "type 0 is forbidden",
            Self::PacketTypeNotInVersion => "this protocol version has no such packet",
            Self::PacketTypeFromWrongSide => "only the other side may send this packet",
            Self::FixedHeaderFlags => "flags not allowed in this packet",
            Self::DupWithQoS0 => "DUP with QoS 0",
            Self::QoSReserved | Self::SubscriptionQoSReserved => "QoS 3 is reserved",
            Self::VariableByteIntegerTooLong => "more than four length bytes",
            Self::VariableByteIntegerNotShortest => "not in the shortest form",
            Self::PacketTooLarge => "packet too large",
            Self::Truncated => "ends too early",
            Self::TrailingBytes => "surplus bytes",
            Self::InvalidUtf8 => "ill-formed UTF-8",
            Self::Nul => "contains U+0000",
            Self::PacketIdentifierZero => "is 0",
            Self::UnsupportedProtocolName => "unknown protocol",
            Self::UnsupportedProtocolVersion => "unknown protocol version",
            Self::ConnectFlagsReserved => "reserved bit is set",
            Self::WillBitsWithoutWill => "will QoS or will retain without a will",
            Self::PasswordWithoutUserName => "password without user name",
            Self::AcknowledgeFlagsReserved | Self::SubscriptionOptionsReserved => {
                "reserved bits are set"
            }
            Self::SessionPresentInRefusal => "session present although refused",
            Self::ReasonCodeNotAllowed => "code not allowed in this packet from this side",
            Self::NoReasonCodes => "no code at all",
            Self::PropertyUnknown => "unknown property",
            Self::PropertyNotAllowed => "not allowed in this packet",
            Self::PropertyFromWrongSide => "not allowed in this packet from this side",
            Self::PropertyRepeated => "given more than once",
            Self::PropertyValue => "value out of range",
            Self::AuthenticationMethodMissing => "authentication without a method",
            Self::TopicNameEmpty => "empty, and no topic alias",
            Self::TopicNameWildcard => "contains a wildcard",
            Self::TopicFilter(kind) => return kind.fmt(f),
            Self::NoTopicFilters => "no topic filter at all",
            Self::RetainHandlingReserved => "retain handling 3 is reserved",
            Self::NoLocalOnSharedSubscription => "no local on a shared subscription",
        })
    }
}

/// A packet that cannot be sent: our own mistake, found before a byte is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// More than 268,435,455 bytes behind the fixed header.
    PacketTooLarge,
    /// The output has no room for the packet.
    OutOfSpace,
    /// A string or binary value of more than 65,535 bytes.
    StringTooLong(Field),
    /// A string with U+0000.
    Nul(Field),
    /// Something that this version of the protocol cannot say.
    NotInThisVersion(Field),
    /// A property that does not belong into this packet.
    PropertyNotAllowed(PropertyId),
    /// A property given more than once that may stand only once.
    PropertyRepeated,
    /// A property whose value is outside its range.
    PropertyValue,
    /// A reason code that does not belong into this packet.
    ReasonCodeNotAllowed(ReasonCode),
    /// A field that has to be there and is not.
    Missing(Field),
    /// A field that contradicts another one.
    Contradiction(Field),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PacketTooLarge => f.write_str("packet larger than MQTT allows"),
            Self::OutOfSpace => f.write_str("no room in the output"),
            Self::StringTooLong(field) => write!(f, "{field} is longer than 65,535 bytes"),
            Self::Nul(field) => write!(f, "{field} contains U+0000"),
            Self::NotInThisVersion(field) => {
                write!(f, "{field} cannot be expressed in this protocol version")
            }
            Self::PropertyNotAllowed(id) => write!(f, "{} not allowed in this packet", id.name()),
            Self::PropertyRepeated => f.write_str("a property is given more than once"),
            Self::PropertyValue => f.write_str("a property's value is out of range"),
            Self::ReasonCodeNotAllowed(reason) => write!(f, "{reason} not allowed in this packet"),
            Self::Missing(field) => write!(f, "{field} is missing"),
            Self::Contradiction(field) => write!(f, "{field} contradicts another field"),
        }
    }
}

impl core::error::Error for EncodeError {}
