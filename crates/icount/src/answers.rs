//! What receivers answer.

use martlet_codec::{Ack, Packet, PacketId, Properties, ReasonCode, Version};

use crate::world::bytes;

/// `count` acknowledgements with identifiers from `first`, wrapping as the broker's do.
pub(crate) fn acks(first: u16, count: u16, packet: fn(Ack<'static>) -> Packet<'static>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut id = first;
    for _ in 0..count {
        if let Some(packet_id) = PacketId::new(id) {
            let ack = Ack {
                packet_id,
                reason: ReasonCode::Success,
                properties: Properties::EMPTY,
            };
            out.extend(bytes(Version::V311, &packet(ack)));
        }
        id = id.checked_add(1).unwrap_or(1);
    }
    out
}

fn advance(id: u16, count: u16) -> u16 {
    let next = u32::from(id) + u32::from(count);
    u16::try_from(if next > 65_535 { next - 65_535 } else { next }).unwrap_or(1)
}

/// What receivers answer in each round: so many acknowledgements of each kind. The same work for any number of
/// rounds, so that it does not count.
pub(crate) fn answers(
    rounds: u32,
    count: u16,
    kinds: &[fn(Ack<'static>) -> Packet<'static>],
) -> Vec<Vec<Vec<u8>>> {
    let mut id = 1;
    let mut all = Vec::new();
    for _ in 0..rounds.max(ROUNDS_PREPARED) {
        all.push(kinds.iter().map(|kind| acks(id, count, *kind)).collect());
        id = advance(id, count);
    }
    all.truncate(rounds as usize);
    all
}

/// As many as are asked for, or more.
const ROUNDS_PREPARED: u32 = 16;
