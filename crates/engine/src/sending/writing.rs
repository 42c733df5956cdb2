//! Bytes into outboxes.

use alloc::vec::Vec;

use core::num::NonZeroU32;

use martlet_codec::Packet;

use crate::clients::connection::Connection;
use crate::collections::slab::Key;
use crate::effects::{ConnId, Effects};
use crate::report::CloseCause;
use crate::sending::buffers::Buffers;
use crate::shard::Shard;
use crate::time::Time;

/// The four packets that acknowledge; the number is their first byte.
#[expect(clippy::enum_variant_names, reason = "the packets are called so")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckKind {
    PubAck = 0x40,
    PubRec = 0x50,
    PubRel = 0x62,
    PubComp = 0x70,
}

impl Shard {
    /// Writes a packet other than PUBLISH to a connection. Such packets are never dropped; a peer that lets
    /// them pile up beyond the hard limit is closed.
    pub(crate) fn write(&mut self, conn: Key, packet: &Packet<'_>, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let version = connection.version();
        //= mqtt5 3.1.2-24
        if packet.encoded_len(version) > connection.packet_bytes_max as usize {
            return;
        }
        // Whatever windows are full.
        //= mqtt5 3.3.4-10
        //= mqtt5 4.9.0-3
        give_buffer(connection, &mut self.scratch.pool);
        let written = packet.encode(version, connection.outbox.bytes());
        debug_assert!(written.is_ok(), "{packet:?} cannot be encoded: {written:?}");
        let overflow = connection.outbox.len() > self.config.limits.outbox_bytes_hard_max;
        self.mark_dirty(conn, fx);
        if overflow {
            self.counters.closed_outbox_overflow += 1;
            self.close(conn, CloseCause::OutboxOverflow, now, fx);
        }
    }

    /// The connection's outbox has grown.
    pub(crate) fn mark_dirty(&mut self, conn: Key, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        to_be_written(connection, conn, fx);
        let len = connection.outbox.len();
        let before = core::mem::replace(&mut connection.counted_bytes, len);
        self.memory_bytes = (self.memory_bytes + len).saturating_sub(before);
    }
}

/// The connection has something to be written at the end of the tick. Its bytes are counted elsewhere.
#[inline]
pub(crate) fn to_be_written(connection: &mut Connection, conn: Key, fx: &mut Effects) {
    if connection.dirty.is_none() {
        list_as_dirty(connection, conn, fx);
    }
}

/// The same for bytes that were there and may leave from now on: also if it was flushed in vain meanwhile. Once a tick, however often more of
/// them may leave.
pub(crate) fn may_be_written(connection: &mut Connection, conn: Key, fx: &mut Effects) {
    let place = connection.dirty.map(|place| place.get() as usize - 1);
    let listed = place.and_then(|place| fx.dirty.get(place));
    if listed != Some(&ConnId(conn)) {
        list_as_dirty(connection, conn, fx);
    }
}

fn list_as_dirty(connection: &mut Connection, conn: Key, fx: &mut Effects) {
    fx.dirty.push(ConnId(conn));
    let place = u32::try_from(fx.dirty.len()).unwrap_or(u32::MAX);
    connection.dirty = NonZeroU32::new(place);
}

/// An outbox that begins to fill gets a buffer that another one has emptied.
pub(crate) fn give_buffer(connection: &mut Connection, pool: &mut Buffers) {
    if connection.outbox.has_no_memory()
        && let Some(buffer) = pool.take()
    {
        connection.outbox.give_buffer(buffer);
    }
}

/// How many bytes a Variable Byte Integer takes.
pub(crate) const fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Appends one.
pub(crate) fn push_variable(out: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        out.push(0x80 | low);
        rest >>= 7;
    }
    let [low, ..] = rest.to_le_bytes();
    out.push(low);
}
