//! One packet of any type, and how it is encoded: check, count, write.

use crate::ack::Ack;
use crate::connack::ConnAck;
use crate::connect::Connect;
use crate::disconnect::{Auth, Disconnect};
use crate::error::EncodeError;
use crate::publish::Publish;
use crate::reader::VariableByteInteger;
use crate::suback::SubAck;
use crate::subscribe::{Subscribe, Unsubscribe};
use crate::types::{PacketType, Version};
use crate::writer::{Count, Sink, Target, packet_len};
use bytes::BufMut;

/// A packet, borrowing from the bytes that it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packet<'a> {
    /// The client introduces itself.
    Connect(Connect<'a>),
    /// The server accepts or refuses.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// A QoS 1 message has arrived.
    PubAck(Ack<'a>),
    /// A QoS 2 message has arrived.
    PubRec(Ack<'a>),
    /// The sender of a QoS 2 message has seen PUBREC.
    PubRel(Ack<'a>),
    /// A QoS 2 message is done with.
    PubComp(Ack<'a>),
    /// The client asks for messages.
    Subscribe(Subscribe<'a>),
    /// The server grants or refuses each filter.
    SubAck(SubAck<'a>),
    /// The client wants no more of them.
    Unsubscribe(Unsubscribe<'a>),
    /// The server has ended the subscriptions.
    UnsubAck(SubAck<'a>),
    /// The client is still there.
    PingReq,
    /// The server, too.
    PingResp,
    /// The connection ends here.
    Disconnect(Disconnect<'a>),
    /// A step of an enhanced authentication.
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// The packet's type.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// The length of the whole packet in this version, fixed header included. CONNECT goes by its
    /// own version.
    #[must_use]
    pub fn encoded_len(&self, version: Version) -> usize {
        packet_len(self.body_len(version))
    }

    /// Appends the packet to `out`, in the shortest form. CONNECT goes by its own version.
    ///
    /// On an error nothing has been written.
    pub fn encode(&self, version: Version, out: &mut impl BufMut) -> Result<(), EncodeError> {
        self.check(version)?;
        let body_len = self.body_len(version);
        if body_len > VariableByteInteger::MAX as usize {
            return Err(EncodeError::PacketTooLarge);
        }
        if out.remaining_mut() < packet_len(body_len) {
            return Err(EncodeError::OutOfSpace);
        }
        let mut sink = Target(out);
        sink.byte(self.first_byte());
        sink.variable(body_len);
        self.write_body(version, &mut sink);
        Ok(())
    }

    fn body_len(&self, version: Version) -> usize {
        let mut count = Count::default();
        self.write_body(version, &mut count);
        count.0
    }

    fn first_byte(&self) -> u8 {
        //= mqtt5 2.1.3-1
        //= mqtt311 2.2.2-1
        match self {
            Self::Publish(publish) => publish.first_byte(),
            Self::PubRel(_) | Self::Subscribe(_) | Self::Unsubscribe(_) => {
                self.packet_type().first_byte(0b0010)
            }
            Self::Connect(_)
            | Self::ConnAck(_)
            | Self::PubAck(_)
            | Self::PubRec(_)
            | Self::PubComp(_)
            | Self::SubAck(_)
            | Self::UnsubAck(_)
            | Self::PingReq
            | Self::PingResp
            | Self::Disconnect(_)
            | Self::Auth(_) => self.packet_type().first_byte(0),
        }
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        match self {
            Self::Connect(connect) => connect.check(),
            Self::ConnAck(connack) => connack.check(version),
            Self::Publish(publish) => publish.check(version),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.check(self.packet_type(), version)
            }
            Self::Subscribe(subscribe) => subscribe.check(version),
            Self::SubAck(suback) | Self::UnsubAck(suback) => {
                suback.check(self.packet_type(), version)
            }
            Self::Unsubscribe(unsubscribe) => unsubscribe.check(version),
            Self::PingReq | Self::PingResp => Ok(()),
            Self::Disconnect(disconnect) => disconnect.check(version),
            Self::Auth(auth) => auth.check(version),
        }
    }

    fn write_body(&self, version: Version, sink: &mut impl Sink) {
        match self {
            Self::Connect(connect) => connect.write(sink),
            Self::ConnAck(connack) => connack.write(version, sink),
            Self::Publish(publish) => publish.write(version, sink),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.write(version, sink);
            }
            Self::Subscribe(subscribe) => subscribe.write(version, sink),
            Self::SubAck(suback) | Self::UnsubAck(suback) => {
                suback.write(self.packet_type(), version, sink);
            }
            Self::Unsubscribe(unsubscribe) => unsubscribe.write(version, sink),
            Self::PingReq | Self::PingResp => {}
            Self::Disconnect(disconnect) => disconnect.write(version, sink),
            Self::Auth(auth) => auth.write(sink),
        }
    }
}
