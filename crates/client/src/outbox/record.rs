//! The records of an outbox's log.
//!
//! ```text
//!  file    "MRTLOB01"  record…
//!  record  length of the body: u32   CRC-32C of the body: u32   body       (little endian)
//!  body    1  number: u64  deadline in ms since 1970, 0: none: u64  PUBLISH as in MQTT 5.0    a message
//!          2  number: u64                                                                  done with
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use martlet_codec::{Decoded, Packet, PacketId, Rules, Sender, Version, decode};
use martlet_session::AliasUse;

use crate::machine::{Scratch, SendingAs, StoreOp, message_from, write_publish};
use crate::message::Message;

/// What the file begins with.
pub(super) const MAGIC: &[u8; 8] = b"MRTLOB01";

/// A message that an earlier process has left.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) number: u64,
    pub(crate) message: Message,
    /// How long it is of use.
    pub(crate) expires_in: Option<Duration>,
}

/// A record as it is read.
#[derive(Debug)]
pub(super) enum Record {
    Message(Restored),
    Done(u64),
}

/// Appends a record.
pub(super) fn write(op: &StoreOp, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    match op {
        StoreOp::Put {
            number,
            message,
            expires_in,
        } => {
            out.push(MESSAGE);
            out.extend_from_slice(&number.to_le_bytes());
            let deadline = expires_in.map_or(0, |left| unix_ms().saturating_add(ms(left)).max(1));
            out.extend_from_slice(&deadline.to_le_bytes());
            let sending = SendingAs {
                packet_id: Some(PacketId::MIN),
                duplicate: false,
                alias: AliasUse::None,
                expiry_s: message.properties().expiry_s,
            };
            write_publish(message, sending, Version::V5, &mut Scratch::default(), out);
        }
        StoreOp::Done { number } => {
            out.push(DONE);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    let body = out.get(start + HEADER..).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc32c::crc32c(body).to_le_bytes();
    if let Some(header) = out.get_mut(start..start + HEADER) {
        let (first, second) = header.split_at_mut(4);
        first.copy_from_slice(&length);
        second.copy_from_slice(&crc);
    }
}

/// Reads the record at the front of these bytes, and how many it takes. `None`: there is no whole one, or it is damaged.
pub(super) fn read(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let body = rest.get(..length)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (kind, body) = body.split_first()?;
    let (number, body) = body.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    let record = match *kind {
        DONE => Record::Done(number),
        MESSAGE => {
            let (deadline, packet) = body.split_first_chunk::<8>()?;
            let deadline = u64::from_le_bytes(*deadline);
            let left = Duration::from_millis(deadline.saturating_sub(unix_ms()));
            Record::Message(Restored {
                number,
                message: message(packet)?,
                expires_in: (deadline > 0).then_some(left),
            })
        }
        _ => return None,
    };
    Some((record, HEADER + length))
}

fn message(packet: &[u8]) -> Option<Message> {
    let rules = Rules {
        version: Version::V5,
        sender: Sender::Client,
        max_packet_size: u32::MAX,
    };
    match decode(packet, rules) {
        Ok(Decoded::Packet {
            packet: Packet::Publish(publish),
            ..
        }) => message_from(&publish),
        Ok(_) | Err(_) => None,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "an expiry that survives the process can only go by the wall clock"
)]
fn unix_ms() -> u64 {
    ms(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default())
}

const HEADER: usize = 8;
const MESSAGE: u8 = 1;
const DONE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(message: Message, expires_in: Option<Duration>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let op = StoreOp::Put {
            number: 7,
            message,
            expires_in,
        };
        write(&op, &mut bytes);
        bytes
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let mut message = Message::new("a/b", b"\x00\xff").qos(2).retain();
        message.properties_mut().content_type = Some("x".into());
        message.properties_mut().user.push(("k".into(), "v".into()));
        let bytes = put(message.clone(), Some(Duration::from_secs(60)));
        let Some((Record::Message(back), length)) = read(&bytes) else {
            panic!("a message");
        };
        assert_eq!((back.number, length), (7, bytes.len()));
        assert_eq!(back.message.topic, message.topic);
        assert_eq!(back.message.payload, message.payload);
        assert_eq!((back.message.qos, back.message.retain), (message.qos, true));
        assert_eq!(back.message.properties(), message.properties());
        let left = back.expires_in.unwrap();
        assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60));
    }

    #[test]
    fn half_a_record_and_a_damaged_one_are_none() {
        let bytes = put(Message::new("a", "b").qos(1), None);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_none());
            let mut damaged = bytes.clone();
            damaged[end] ^= 0x10;
            assert!(read(&damaged).is_none(), "byte {end}");
        }
    }
}
