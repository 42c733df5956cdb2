//! The parts of a packet, so that an error can say which one is wrong.

use crate::property::PropertyId;
use core::fmt;

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The packet type, upper half of the first byte.
    PacketType,
    /// The flags, lower half of the first byte.
    FixedHeaderFlags,
    /// The Remaining Length of the fixed header.
    RemainingLength,
    /// The protocol name of CONNECT.
    ProtocolName,
    /// The protocol level (version) of CONNECT.
    ProtocolLevel,
    /// The connect flags byte of CONNECT.
    ConnectFlags,
    /// The keep alive of CONNECT.
    KeepAlive,
    /// The client identifier of CONNECT.
    ClientIdentifier,
    /// The will's topic.
    WillTopic,
    /// The will's payload.
    WillPayload,
    /// The user name of CONNECT.
    UserName,
    /// The password of CONNECT.
    Password,
    /// The acknowledge flags byte of CONNACK (Session Present).
    AcknowledgeFlags,
    /// A reason code, or a return code of 3.x.
    ReasonCode,
    /// The topic name of PUBLISH.
    TopicName,
    /// A packet identifier.
    PacketIdentifier,
    /// A topic filter of SUBSCRIBE or UNSUBSCRIBE.
    TopicFilter,
    /// The options byte behind a topic filter.
    SubscriptionOptions,
    /// The payload of PUBLISH.
    Payload,
    /// The length in front of a block of properties.
    PropertyLength,
    /// A block of properties as a whole.
    Properties,
    /// The id in front of a property's value.
    PropertyIdentifier,
    /// One property.
    Property(PropertyId),
    /// What stands behind the last field that the packet may have.
    EndOfPacket,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PacketType => "packet type",
            Self::FixedHeaderFlags => "fixed header flags",
            Self::RemainingLength => "remaining length",
            Self::ProtocolName => "protocol name",
            Self::ProtocolLevel => "protocol level",
            Self::ConnectFlags => "connect flags",
            Self::KeepAlive => "keep alive",
            Self::ClientIdentifier => "client identifier",
            Self::WillTopic => "will topic",
            Self::WillPayload => "will payload",
            Self::UserName => "user name",
            Self::Password => "password",
            Self::AcknowledgeFlags => "acknowledge flags",
            Self::ReasonCode => "reason code",
            Self::TopicName => "topic name",
            Self::PacketIdentifier => "packet identifier",
            Self::TopicFilter => "topic filter",
            Self::SubscriptionOptions => "subscription options",
            Self::Payload => "payload",
            Self::PropertyLength => "property length",
            Self::Properties => "properties",
            Self::PropertyIdentifier => "property identifier",
            Self::Property(id) => id.name(),
            Self::EndOfPacket => "end of packet",
        })
    }
}
