//! MQTT 3.1, 3.1.1 and 5.0 packets: bytes to packets and back, without policy.
//!
//! One model serves all three versions and both directions. [`decode`] borrows the first packet out
//! of a slice that may hold half a packet, one, or many; [`Packet::encode`] writes into any
//! [`bytes::BufMut`]. What belongs to one version only (properties, reason codes) is simply empty
//! in the others.
//!
//! ```
//! use martlet_codec::{Decoded, Packet, Rules, Sender, Version, decode};
//!
//! let rules = Rules { version: Version::V5, sender: Sender::Client, max_packet_size: 1_048_576 };
//! // PUBLISH, QoS 0, topic "a/b", no properties, payload "hi"; then the start of another packet.
//! let input = b"\x30\x08\x00\x03a/b\x00hi\x30";
//! let Ok(Decoded::Packet { packet: Packet::Publish(publish), length }) = decode(input, rules)
//! else {
//!     panic!("a whole PUBLISH");
//! };
//! assert_eq!(publish.topic.map(|topic| topic.as_str()), Some("a/b"));
//! assert_eq!(publish.payload, b"hi");
//! // The caller presents the rest again, in front of what arrives next.
//! assert_eq!(decode(&input[length..], rules), Ok(Decoded::Incomplete { at_least: 2 }));
//! ```
//!
//! # Where things are
//! - `frame`: [`decode`] and the fixed header; `packet`: [`Packet`] and its encoder.
//! - `connect` (with [`peek_connect`]), `connack`, `publish`, `ack`, `subscribe`, `suback`,
//!   `disconnect`: one file per packet family, each with its struct, its decoder, its encoder.
//! - `table`: THE property table; `property` makes [`Property`] and [`PropertyId`] from it,
//!   `properties` the borrowed block with its getters and the buffer that builds one.
//! - `reason`: the table of reason codes; `topic`: names, filters, matching.
//! - `error`: what went wrong, where, and which reply it deserves; `statement`: which rule it broke.
//! - `reader`, `writer`: the primitive types of the wire.
//!
//! Decoding neither allocates nor panics, and copies nothing: a length field never reserves memory.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod ack;
mod connack;
mod connect;
mod disconnect;
mod error;
mod field;
mod frame;
mod packet;
mod properties;
mod property;
mod publish;
mod reader;
mod reason;
mod statement;
mod suback;
mod subscribe;
mod table;
mod topic;
mod types;
mod writer;

#[cfg(test)]
mod tests;

pub use ack::{Ack, ShortAcks};
pub use connack::ConnAck;
pub use connect::{Connect, ConnectPeek, Will, peek_connect};
pub use disconnect::{Auth, Disconnect};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use field::Field;
pub use frame::{Decoded, Rules, decode, packet_len};
pub use packet::Packet;
pub use properties::{
    Properties, PropertiesBuf, PropertiesIter, RawPropertiesIter, SubscriptionIdentifiers,
    UserProperties,
};
pub use property::{Place, Property, PropertyId};
pub use publish::{Publish, PublishHead, Repeated};
pub use reason::ReasonCode;
pub use suback::{ReasonCodes, SubAck};
pub use subscribe::{
    RetainHandling, Subscribe, SubscribeFilters, SubscribeFiltersBuf, SubscribeFiltersIter,
    SubscriptionOptions, Unsubscribe, UnsubscribeFilters, UnsubscribeFiltersBuf,
    UnsubscribeFiltersIter,
};
pub use topic::{TopicError, TopicErrorKind, TopicFilter, TopicName, topic_matches};
pub use types::{InvalidQoS, PacketId, PacketType, QoS, Sender, Version};
