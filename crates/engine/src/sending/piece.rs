//! Messages in a session's queue that lie one behind the other in memory leave as one piece.
//!
//! ```text
//! queue    | 1 | 2 | 3 | 4 | 5 |       messages 1 to 5 of a run, in one piece of memory (`message/kept.rs`)
//! window   room for 3
//! outbox   | 1 | 2 | 3 |               one copy; identifiers are put right in it
//! ```
//! They are one entry of the queue, and those that leave together one of the window (`delivery/several.rs`); what bounds single messages bounds
//! these.

use martlet_codec::{PacketId, QoS, packet_len};

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
    session.queue.front_of_run().is_some()
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
    let waiting = session.queue.front_of_run()?;
    let first = waiting.message.as_ref()?;
    let form = Form {
        v5: connection.version().is_v5(),
        has_id: true,
    };
    let qos = waiting.terms.qos;
    if qos == QoS::AtMostOnce
        || first.form() != form
        || connection.aliases_out.is_some()
        || !waiting.is_bare()
        || (session.stored_as.is_some() && qos == QoS::ExactlyOnce)
    {
        return None;
    }
    let (count, packets) = first.first_packets(window_room.min(waiting.count()), outbox_room);
    //= mqtt5 3.1.2-24
    if count == 0 || packets.len() > connection.packet_bytes_max as usize {
        return None;
    }
    let id_at = first.id_at();
    let (retain, is_of_group) = (waiting.terms.retain, waiting.terms.is_of_group());
    sent.group_pieces += u64::from(is_of_group);
    let first_byte = FIRST_BYTE | (qos as u8) << 1 | u8::from(retain);
    give_buffer(connection, pool);
    let out = connection.outbox.bytes();
    let before = out.len();
    out.extend_from_slice(packets);
    let mut copied = out.get_mut(before..).unwrap_or_default();
    let grown = copied.len();
    let messages = session.queue.pop_of_run(count)?;
    let forgets = session.is_passing() && !is_of_group;
    put_into_window(session, messages, forgets, sent, |id| {
        let all = core::mem::take(&mut copied);
        let len = packet_len(all).unwrap_or_default();
        let Some((packet, behind)) = all.split_at_mut_checked(len) else {
            return;
        };
        copied = behind;
        if let Some(first) = packet.first_mut() {
            *first = first_byte;
        }
        if let Some(field) = packet.get_mut(id_at..id_at + 2) {
            field.copy_from_slice(&id.get().to_be_bytes());
        }
    });
    sent.count += count as u64;
    sent.more_bytes += grown;
    connection.counted_bytes += grown;
    Some(())
}

/// What was in the queue goes into the window, and counts there. `each` gets the identifiers.
#[inline]
pub(crate) fn put_into_window(
    session: &mut ClientSession,
    messages: Delivery,
    forgets: bool,
    sent: &mut Sent,
    each: impl FnMut(PacketId),
) {
    if !forgets {
        session.send(messages, each);
        return;
    }
    // Who cannot come back for it needs no copy of it any more.
    let forgotten = messages.forgotten();
    sent.less_bytes += messages.held_bytes();
    sent.more_bytes += forgotten.held_bytes();
    session.send(forgotten, each);
}
