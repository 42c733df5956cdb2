//! Messages in a session's queue that lie one behind the other in memory leave as one piece.
//!
//! ```text
//! queue    | 1 | 2 | 3 | 4 | 5 |       messages 1 to 5 of a run, in one piece of memory (`message/kept.rs`)
//! window   room for 3
//! outbox   | 1 | 2 | 3 |               one copy; identifiers are put right in it
//! ```
//! Each is an entry of the queue and of the window as if it had come alone: what bounds single messages bounds these.

use martlet_codec::{PacketId, QoS};

use crate::clients::client_session::ClientSession;
use crate::clients::connection::Connection;
use crate::message::Form;
use crate::sending::buffers::Buffers;
use crate::sending::delivery::Delivery;
use crate::sending::express::FIRST_BYTE;
use crate::sending::writing::give_buffer;

/// What was sent out of a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    /// How many messages.
    pub(crate) count: u64,
    /// How many pieces of messages that a group has given.
    pub(crate) group_pieces: u64,
    /// By how much more and less memory is held.
    pub(crate) more_bytes: usize,
    pub(crate) less_bytes: usize,
}

/// Sends the messages in front that lie together, as far as window and outbox have room. `false`: there are none, or they
/// take more than a copy.
#[inline]
pub(crate) fn send_piece(
    session: &mut ClientSession,
    connection: &mut Connection,
    outbox_max: usize,
    pool: &mut Buffers,
    sent: &mut Sent,
) -> bool {
    session.queue.begins_with_piece()
        && send_together(session, connection, outbox_max, pool, sent).is_some()
}

#[inline(never)]
fn send_together(
    session: &mut ClientSession,
    connection: &mut Connection,
    outbox_max: usize,
    pool: &mut Buffers,
    sent: &mut Sent,
) -> Option<()> {
    let outbox_room = outbox_max.saturating_sub(connection.outbox.len());
    let window_room = session.outbound.room();
    let piece = session.queue.front_piece(window_room, outbox_room)?;
    let form = Form {
        v5: connection.version().is_v5(),
        has_id: true,
    };
    let qos = piece.terms.qos;
    //= mqtt5 3.1.2-24
    if qos == QoS::AtMostOnce
        || piece.first.form() != form
        || connection.aliases_out.is_some()
        || piece.packets.len() > connection.packet_bytes_max as usize
        || (session.stored_as.is_some() && qos == QoS::ExactlyOnce)
    {
        return None;
    }
    let (count, id_at) = (piece.count, piece.first.id_at());
    sent.group_pieces += u64::from(piece.terms.is_of_group());
    let first_byte = FIRST_BYTE | (qos as u8) << 1 | u8::from(piece.terms.retain);
    give_buffer(connection, pool);
    let out = connection.outbox.bytes();
    let before = out.len();
    out.extend_from_slice(piece.packets);
    let mut copied = out.get_mut(before..).unwrap_or_default();
    let grown = copied.len();
    let is_passing = session.is_passing();
    for _ in 0..count {
        let (_, delivery) = session.queue.pop()?;
        let packet_len = delivery
            .message
            .as_ref()
            .map_or(0, |kept| kept.packet().len());
        let (packet, behind) = copied.split_at_mut_checked(packet_len)?;
        copied = behind;
        let forgets = is_passing && !delivery.terms.is_of_group();
        let id = put_into_window(session, delivery, forgets, sent);
        debug_assert!(id.is_some(), "there was room");
        if let Some(first) = packet.first_mut() {
            *first = first_byte;
        }
        if let (Some(id), Some(field)) = (id, packet.get_mut(id_at..id_at + 2)) {
            field.copy_from_slice(&id.get().to_be_bytes());
        }
    }
    sent.count += count as u64;
    sent.more_bytes += grown;
    connection.counted_bytes += grown;
    Some(())
}

/// What was in the queue goes into the window, and counts there. Returns its identifier.
#[inline]
pub(crate) fn put_into_window(
    session: &mut ClientSession,
    delivery: Delivery,
    forgets: bool,
    sent: &mut Sent,
) -> Option<PacketId> {
    let qos = delivery.terms.qos;
    let exactly_once = qos == QoS::ExactlyOnce;
    if !forgets {
        return session.outbound.send(exactly_once, delivery);
    }
    // Who cannot come back for it needs no copy of it any more.
    let forgotten = Delivery::forgotten(qos);
    sent.less_bytes += delivery.held_bytes();
    sent.more_bytes += forgotten.held_bytes();
    session.outbound.send(exactly_once, forgotten)
}
