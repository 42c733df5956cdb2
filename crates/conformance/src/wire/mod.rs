//! MQTT on the wire, as the suite sees it: packets to send (right and wrong), packets received.
//!
//! `bytes` lays out primitive types, `packets` the packets that a client sends, `received` holds
//! what a server sent, `parse` reads it strictly, `tables` lists property ids and reason codes.

mod bytes;
mod connect;
mod packets;
mod parse;
mod received;
mod tables;

pub(crate) use bytes::{Bytes, packet, padded_varint, varint};
pub(crate) use connect::{Connect, Will};
pub(crate) use packets::{
    Acknowledge, Authenticate, Disconnect, Encode, Ping, Props, Publish, Subscribe, Unsubscribe,
};
pub(crate) use parse::parse;
pub(crate) use received::{Ack, Answer, ConnAck, Ended, Message, Packet};
pub(crate) use tables::prop;
