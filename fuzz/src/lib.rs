//! What the fuzz targets share: how an input says which connection its bytes are from, and what must
//! hold for every outcome of decoding.
//!
//! An input is one control byte and a stream. Bit 0 of the control byte is the sender (1: server).
//! The bits above choose the version where a target does not fix it, and in `split_reads` the sizes
//! of the reads.
//!
//! The targets of recovery have inputs of their own: see `folder.rs` and `restore_shard.rs`.

mod disk;
mod folder;
mod shards;

pub use disk::MemoryDisk;
pub use folder::folder;
pub use shards::Shards;

use martlet_codec::{
    DecodeError, Decoded, Packet, Properties, PropertyId, Rules, Sender, Version, decode,
    peek_connect,
};

/// Large enough for everything a fuzzer writes, small enough to be met.
const MAX_PACKET_SIZE: u32 = 65_536;

/// Splits an input into control byte and stream.
pub fn control(input: &[u8]) -> Option<(u8, &[u8])> {
    input
        .split_first()
        .map(|(&control, stream)| (control, stream))
}

/// The rules that a control byte stands for.
pub fn rules(control: u8, version: Version) -> Rules {
    let sender = if control & 1 == 0 {
        Sender::Client
    } else {
        Sender::Server
    };
    Rules {
        version,
        sender,
        max_packet_size: MAX_PACKET_SIZE,
    }
}

/// The version that the bits above the sender choose.
pub fn any_version(control: u8) -> Version {
    [Version::V31, Version::V311, Version::V5, Version::V5][usize::from(control >> 1 & 3)]
}

/// Decodes packet after packet until the stream ends or is wrong; gives each to `check`.
pub fn decode_all<'a>(stream: &'a [u8], rules: Rules, mut check: impl FnMut(Packet<'a>, &'a [u8])) {
    let _ = peek_connect(stream);
    let mut rest = stream;
    loop {
        match decode(rest, rules) {
            Ok(Decoded::Packet { packet, length }) => {
                check(packet, &rest[..length]);
                rest = &rest[length..];
            }
            Ok(Decoded::Incomplete { at_least }) => {
                assert!(at_least > rest.len());
                return;
            }
            Err(error) => return check_error(&error),
        }
    }
}

/// An error can always be told, answered and looked up.
fn check_error(error: &DecodeError) {
    assert!(error.reason().is_error());
    assert!(!error.to_string().is_empty());
    for version in [Version::V31, Version::V311, Version::V5] {
        let _ = error.statement(version);
    }
}

/// Reads all that can be read from a packet.
pub fn read_all(packet: &Packet<'_>) {
    match packet {
        Packet::Connect(packet) => {
            read_properties(packet.properties);
            if let Some(will) = packet.will {
                read_properties(will.properties);
                assert!(!will.topic.as_str().contains(['+', '#', '\0']));
            }
        }
        Packet::ConnAck(packet) => read_properties(packet.properties),
        Packet::Publish(packet) => {
            read_properties(packet.properties);
            assert_eq!(packet.packet_id.is_some(), packet.qos.bits() > 0);
            assert!(packet.topic.is_some() || packet.properties.topic_alias().is_some());
        }
        Packet::PubAck(packet)
        | Packet::PubRec(packet)
        | Packet::PubRel(packet)
        | Packet::PubComp(packet) => read_properties(packet.properties),
        Packet::Subscribe(packet) => {
            read_properties(packet.properties);
            assert!(!packet.filters.is_empty());
            assert_eq!(packet.filters.iter().count(), packet.filters.len());
            for (filter, options) in packet.filters {
                assert!(!options.no_local || filter.share_name().is_none());
                assert!(filter.filter().starts_with(filter.literal_prefix()));
            }
        }
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => {
            read_properties(packet.properties);
            assert!(
                packet
                    .reason_codes()
                    .map(|reason| reason.as_u8())
                    .eq(packet.reasons.to_vec())
            );
        }
        Packet::Unsubscribe(packet) => {
            read_properties(packet.properties);
            assert!(!packet.filters.is_empty());
            assert_eq!(packet.filters.iter().count(), packet.filters.len());
        }
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(packet) => read_properties(packet.properties),
        Packet::Auth(packet) => {
            read_properties(packet.properties);
            assert!(packet.properties.authentication_method().is_some());
        }
    }
}

fn read_properties(properties: Properties<'_>) {
    let length: usize = properties.iter_raw().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(length, properties.as_bytes().len());
    assert_eq!(properties.iter().count(), properties.iter_raw().count());
    for &id in PropertyId::ALL {
        let first = properties.iter().find(|property| property.id() == id);
        assert_eq!(properties.contains(id), first.is_some());
    }
    let _ = properties.user_properties().count() + properties.subscription_identifiers().count();
}
