//! The small words of the protocol: version, QoS, packet identifier, packet type, and who is
//! talking.

use core::fmt;
use core::num::NonZeroU16;

/// A version of the protocol that this codec speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1, "`MQIsdp`", level 3.
    V31,
    /// MQTT 3.1.1, level 4.
    V311,
    /// MQTT 5.0, level 5.
    V5,
}

impl Version {
    /// Whether packets of this version carry properties and reason codes.
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The protocol level byte of CONNECT: 3, 4 or 5.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name of CONNECT.
    pub(crate) const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// How hard sender and receiver try to deliver a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: acknowledged; may arrive more than once.
    AtLeastOnce = 1,
    /// QoS 2: handed on exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS that two bits of a packet mean; `None` for the reserved 3 and above.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The two bits that stand for this QoS.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for QoS {
    type Error = InvalidQoS;

    fn try_from(bits: u8) -> Result<Self, InvalidQoS> {
        Self::from_bits(bits).ok_or(InvalidQoS(bits))
    }
}

/// A number that is no QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidQoS(pub u8);

impl fmt::Display for InvalidQoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a QoS: it is 0, 1 or 2", self.0)
    }
}

impl core::error::Error for InvalidQoS {}

/// The number that ties an acknowledgement to its packet; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest packet identifier.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// A packet identifier, or `None` for 0, which no packet may carry.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The side that opened the connection and sent CONNECT.
    Client,
    /// The side that answered with CONNACK.
    Server,
}

/// The type in the upper half of a packet's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// CONNECT, client to server.
    Connect = 1,
    /// CONNACK, server to client.
    ConnAck = 2,
    /// PUBLISH, both ways.
    Publish = 3,
    /// PUBACK, both ways.
    PubAck = 4,
    /// PUBREC, both ways.
    PubRec = 5,
    /// PUBREL, both ways.
    PubRel = 6,
    /// PUBCOMP, both ways.
    PubComp = 7,
    /// SUBSCRIBE, client to server.
    Subscribe = 8,
    /// SUBACK, server to client.
    SubAck = 9,
    /// UNSUBSCRIBE, client to server.
    Unsubscribe = 10,
    /// UNSUBACK, server to client.
    UnsubAck = 11,
    /// PINGREQ, client to server.
    PingReq = 12,
    /// PINGRESP, server to client.
    PingResp = 13,
    /// DISCONNECT: client to server, in 5.0 both ways.
    Disconnect = 14,
    /// AUTH, 5.0 only, both ways.
    Auth = 15,
}

impl PacketType {
    /// The type in the upper four bits of a first byte; `None` for the forbidden type 0.
    pub(crate) const fn from_first_byte(byte: u8) -> Option<Self> {
        Some(match byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type with these flags.
    pub(crate) const fn first_byte(self, flags: u8) -> u8 {
        (self as u8) << 4 | flags
    }

    /// Whether packets of this type exist in this version and may come from this side.
    pub(crate) const fn may_come_from(self, sender: Sender, version: Version) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => {
                matches!(sender, Sender::Client)
            }
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => {
                matches!(sender, Sender::Server)
            }
            Self::Disconnect => matches!(sender, Sender::Client) || version.is_v5(),
            Self::Publish
            | Self::PubAck
            | Self::PubRec
            | Self::PubRel
            | Self::PubComp
            | Self::Auth => true,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

/// Sets of (packet type, sender), one bit each: what the tables of properties and reason codes are
/// made of.
///
/// Bits 0..16 are a client's packets by type number, bits 16..32 a server's. Bit 0 (type 0 does not
/// exist) stands for the will properties inside CONNECT.
pub(crate) mod places {
    use super::{PacketType, Sender};

    pub(crate) const WILL: u32 = 1;
    pub(crate) const CONNECT: u32 = client(PacketType::Connect);
    pub(crate) const CONNACK: u32 = server(PacketType::ConnAck);
    pub(crate) const PUBLISH: u32 = both(PacketType::Publish);
    pub(crate) const PUBLISH_BY_SERVER: u32 = server(PacketType::Publish);
    pub(crate) const PUBACK: u32 = both(PacketType::PubAck);
    pub(crate) const PUBREC: u32 = both(PacketType::PubRec);
    pub(crate) const PUBACK_BY_SERVER: u32 = server(PacketType::PubAck);
    pub(crate) const PUBREC_BY_SERVER: u32 = server(PacketType::PubRec);
    pub(crate) const PUBREL: u32 = both(PacketType::PubRel);
    pub(crate) const PUBCOMP: u32 = both(PacketType::PubComp);
    pub(crate) const SUBSCRIBE: u32 = client(PacketType::Subscribe);
    pub(crate) const SUBACK: u32 = server(PacketType::SubAck);
    pub(crate) const UNSUBSCRIBE: u32 = client(PacketType::Unsubscribe);
    pub(crate) const UNSUBACK: u32 = server(PacketType::UnsubAck);
    pub(crate) const DISCONNECT: u32 = both(PacketType::Disconnect);
    pub(crate) const DISCONNECT_BY_CLIENT: u32 = client(PacketType::Disconnect);
    pub(crate) const DISCONNECT_BY_SERVER: u32 = server(PacketType::Disconnect);
    pub(crate) const AUTH: u32 = both(PacketType::Auth);
    pub(crate) const AUTH_BY_CLIENT: u32 = client(PacketType::Auth);
    pub(crate) const AUTH_BY_SERVER: u32 = server(PacketType::Auth);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK.
    pub(crate) const ACKS: u32 = PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK;
    /// Every packet that has properties at all.
    pub(crate) const PACKETS: u32 =
        CONNECT | CONNACK | PUBLISH | ACKS | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH;

    pub(crate) const fn client(packet: PacketType) -> u32 {
        1 << (packet as u32)
    }

    pub(crate) const fn server(packet: PacketType) -> u32 {
        1 << (packet as u32 + 16)
    }

    pub(crate) const fn both(packet: PacketType) -> u32 {
        client(packet) | server(packet)
    }

    pub(crate) const fn by(packet: PacketType, sender: Sender) -> u32 {
        match sender {
            Sender::Client => client(packet),
            Sender::Server => server(packet),
        }
    }
}
