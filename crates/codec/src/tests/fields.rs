//! What is inside the packets of 5.0, right and wrong; a file for each group of packets, and one for properties.

mod connect;
mod properties;
mod publish;
mod subscribe;

use super::frame;
use crate::ReasonCode;
use std::vec::Vec;

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL: ReasonCode = ReasonCode::ProtocolError;

/// CONNECT of 5.0 with these flags; its properties start at byte 12 with their length.
fn connect(flags: u8, behind_keep_alive: &[&[u8]]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = std::vec![b"\x00\x04MQTT\x05"];
    let flags = [flags, 0, 60];
    parts.push(&flags);
    parts.extend(behind_keep_alive);
    frame(0x10, &parts)
}
