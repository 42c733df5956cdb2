//! The short way to a receiver: the same bytes for everybody, but for flags and packet identifier.
//!
//! A PUBLISH that has nothing of its own for a receiver (no subscription identifier, no topic alias, no time left to be
//! counted) is a copy of the publisher's packet, or of its parts if the receiver's form is another one. That
//! holds for a message that is published now and for one that was kept in a queue. Everything else takes the long way through
//! `sending.rs` and `delivery.rs`; both write the same bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use martlet_codec::{PacketId, Publish, QoS, Version};

use crate::clients::connection::Connection;
use crate::collections::slab::Key;
use crate::durable::{Durable, Source, Step};
use crate::effects::Effects;
use crate::message::{Form, Kept, Message, MessageParts, length_bytes, topic_at};
use crate::publication::Publication;
use crate::record::{BodyId, StoredTerms};
use crate::sending::delivery::{Delivery, Terms};
use crate::sending::outbox::CHAIN_THRESHOLD;
use crate::sending::piece::{Sent, put_into_window, send_piece};
use crate::sending::queue::{Front, STORED_BYTES};
use crate::sending::writing::{give_buffer, push_variable, to_be_written, variable_len};
use crate::shard::Shard;
use crate::time::Time;

/// A publication as a packet: the publisher's, or the one that is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template<'a> {
    form: Form,
    packet: &'a [u8],
    /// Receivers of this form get these bytes.
    is_sent: bool,
    /// It says what the publication's parts say and nothing else.
    is_kept: bool,
}

impl<'a> Template<'a> {
    /// The publisher's packet, if it may serve; `shared_len`: the length of the properties that all receivers get.
    pub(crate) fn of_packet(
        publish: &Publish<'_>,
        version: Version,
        packet: &'a [u8],
        shared_len: usize,
    ) -> Option<Self> {
        let properties_len = publish.properties.as_bytes().len();
        let has_alias = properties_len > 0 && publish.properties.topic_alias().is_some();
        if publish.topic.is_none() || has_alias || !has_shortest_length(packet) {
            return None;
        }
        Some(Self {
            form: Form {
                v5: version.is_v5(),
                has_id: publish.packet_id.is_some(),
            },
            packet,
            is_sent: publish.payload.len() < CHAIN_THRESHOLD,
            is_kept: shared_len == properties_len,
        })
    }

    pub(crate) fn of_message(message: &'a Message) -> Self {
        Self {
            form: message.form(),
            packet: message.packet(),
            is_sent: message.expires_at().is_none() && message.payload().len() < CHAIN_THRESHOLD,
            is_kept: true,
        }
    }

    /// A packet from another shard's pack.
    pub(crate) const fn of_packed(form: Form, packet: &'a [u8]) -> Self {
        Self {
            form,
            packet,
            is_sent: true,
            is_kept: true,
        }
    }

    /// Its form and its bytes, if [`Template::of_packed`] makes the same of them.
    pub(crate) fn to_pack(self) -> Option<(Form, &'a [u8])> {
        (self.is_sent && self.is_kept).then_some((self.form, self.packet))
    }

    /// The publication as something to keep.
    pub(crate) fn keep(template: Option<Self>, parts: &MessageParts<'_>) -> Message {
        match template.filter(|template| template.is_kept) {
            Some(template) => Message::of_packet(parts, template.form, template.packet),
            None => parts.to_message(),
        }
    }
}

/// How to write a PUBLISH that has nothing of a receiver's own: known before an identifier is spent on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plain<'a> {
    /// As a copy of this packet.
    Copy(&'a [u8]),
    /// From its parts, in this form and with this Remaining Length.
    Build(Form, usize),
}

impl<'a> Plain<'a> {
    /// `None`: there is something of the receiver's own in it, it is large, or the receiver does not take it.
    ///
    /// What comes back through memory, and is read there in other pieces than it was written in, makes the
    /// processor wait until all that it has begun is done, be it for a receiver in far memory.
    #[expect(
        clippy::inline_always,
        reason = "a third of the time of a delivery was that waiting"
    )]
    #[inline(always)]
    pub(crate) fn of(
        connection: &Connection,
        template: Option<Template<'a>>,
        parts: &MessageParts<'_>,
        qos: QoS,
    ) -> Option<Self> {
        if connection.aliases_out.is_some() {
            return None;
        }
        let form = Form {
            v5: connection.version().is_v5(),
            has_id: qos != QoS::AtMostOnce,
        };
        let max = connection.packet_bytes_max as usize;
        if let Some(template) = template
            && template.is_sent
            && template.form == form
        {
            //= mqtt5 3.1.2-24
            return (template.packet.len() <= max).then_some(Self::Copy(template.packet));
        }
        Self::in_form(form, max, parts)
    }

    /// As [`Plain::of`], if the publisher's packet does not serve.
    #[inline(never)]
    fn in_form(form: Form, max: usize, parts: &MessageParts<'_>) -> Option<Self> {
        if parts.payload.len() >= CHAIN_THRESHOLD || (form.v5 && parts.expires_at.is_some()) {
            return None;
        }
        let mut remaining = 2 + parts.topic.as_bytes().len() + parts.payload.len();
        remaining += if form.has_id { 2 } else { 0 };
        if form.v5 {
            let len = parts.shared_properties.len();
            remaining += variable_len(len) + len;
        }
        (1 + variable_len(remaining) + remaining <= max).then_some(Self::Build(form, remaining))
    }

    /// Appends the packet; `first` is its first byte.
    pub(crate) fn write(
        self,
        out: &mut Vec<u8>,
        first: u8,
        packet_id: Option<PacketId>,
        parts: &MessageParts<'_>,
    ) {
        match self {
            Self::Copy(packet) => copy(out, packet, first, packet_id, parts.topic.as_bytes().len()),
            Self::Build(form, remaining) => build(out, form, (first, remaining), packet_id, parts),
        }
    }
}

impl Shard {
    /// Sends to a session at once, if that takes nothing but a copy; its subscription has this QoS and this Retain As
    /// Published, and nothing else. `false`: take the long way.
    pub(crate) fn deliver_express(
        &mut self,
        key: Key,
        (granted, retain): (QoS, bool),
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return true;
        };
        let Some(conn) = session.connection else {
            return false;
        };
        if !session.is_idle() || !session.replays.is_empty() {
            return false;
        }
        let Some(connection) = self.connections.get_mut(conn) else {
            return false;
        };
        let qos = granted.min(publication.parts.qos);
        if connection.outbox.len() >= self.config.limits.outbox_bytes_max
            || (qos != QoS::AtMostOnce && !session.outbound.can_send())
            || publication.parts.is_expired(now)
        {
            return false;
        }
        let template = publication.template();
        let Some(plain) = Plain::of(connection, template, &publication.parts, qos) else {
            return false;
        };
        let retain = retain && publication.parts.retain;
        let mut packet_id = None;
        if qos != QoS::AtMostOnce {
            let mut body = None;
            if let Some(durable) = &mut self.durable {
                body = durable.body_for(session, publication, (qos, false), Step::Send, fx);
            }
            // Who cannot come back for it needs no copy of it.
            let is_kept = body.is_some() || !session.is_passing();
            let delivery = Delivery {
                message: is_kept.then(|| publication.kept()),
                body,
                terms: Terms::bare(qos, retain),
            };
            self.memory_bytes += delivery.held_bytes();
            packet_id = session.outbound.send(qos == QoS::ExactlyOnce, delivery);
            if let (Some(body), Some(durable)) = (body, &mut self.durable) {
                let sent = (body, StoredTerms::bare(qos, retain));
                let to = (&mut *connection, conn);
                durable.record_sending(session, to, Source::Live, sent, packet_id, fx);
            }
        }
        give_buffer(connection, &mut self.scratch.pool);
        let first = FIRST_BYTE | (qos as u8) << 1 | u8::from(retain);
        let grown = append(connection, plain, first, packet_id, &publication.parts);
        self.memory_bytes += grown;
        to_be_written(connection, conn, fx);
        self.counters.publishes_sent += 1;
        self.counters.express_deliveries += 1;
        true
    }

    /// Sends what waits in a session's queue, as far as its window and outbox allow and as it takes nothing but copies.
    /// Re-sends and retained messages are not in its way. Returns whether something is left that could go the long way.
    pub(crate) fn pump_express(
        &mut self,
        key: Key,
        conn: Key,
        now: Time,
        fx: &mut Effects,
    ) -> bool {
        let outbox_max = self.config.limits.outbox_bytes_max;
        let (Some(session), Some(connection)) =
            (self.sessions.get_mut(key), self.connections.get_mut(conn))
        else {
            return false;
        };
        let mut left = false;
        let (is_passing, mut sent) = (session.is_passing(), Sent::default());
        while connection.outbox.len() < outbox_max {
            let pool = &mut self.scratch.pool;
            if send_piece(session, connection, outbox_max, pool, &mut sent) {
                continue;
            }
            let Some(front) = session.queue.front() else {
                break;
            };
            if front.is_expired(now) {
                left = true;
                break;
            }
            let mut packet_id = None;
            let qos = front.qos();
            if qos != QoS::AtMostOnce {
                packet_id = session.outbound.next_id();
                if packet_id.is_none() {
                    break;
                }
            }
            // Nothing changes hands before it is written: it is looked at where it is, and then moved once.
            left = true;
            session.queue.part_front();
            let Some(Front::Whole(delivery)) = session.queue.front() else {
                break;
            };
            let kept = delivery.message.as_ref();
            let Some(message) = kept.filter(|_| delivery.is_bare()) else {
                break;
            };
            if session.stored_as.is_some() && qos == QoS::ExactlyOnce {
                // What a group has given at QoS 2 is recorded only now.
                break;
            }
            let parts = message.parts();
            let template = Some(message.template());
            let Some(plain) = Plain::of(connection, template, &parts, qos) else {
                break;
            };
            give_buffer(connection, &mut self.scratch.pool);
            let first = FIRST_BYTE | (qos as u8) << 1 | u8::from(delivery.terms.retain);
            sent.more_bytes += append(connection, plain, first, packet_id, &parts);
            sent.count += 1;
            left = false;
            let forgets = is_passing && !delivery.terms.is_of_group();
            let Some((_, delivery)) = session.queue.pop() else {
                break;
            };
            if qos == QoS::AtMostOnce {
                sent.less_bytes += delivery.held_bytes();
                continue;
            }
            put_into_window(session, delivery, forgets, &mut sent, |given| {
                debug_assert_eq!(Some(given), packet_id, "nothing has come between");
            });
        }
        if sent.count > 0 {
            to_be_written(connection, conn, fx);
        }
        self.count_sent(sent);
        if left && self.durable.is_some() {
            self.pump_express_stored(key, conn, now, fx);
        }
        left
    }

    const fn count_sent(&mut self, sent: Sent) {
        self.memory_bytes = (self.memory_bytes + sent.more_bytes).saturating_sub(sent.less_bytes);
        self.counters.publishes_sent += sent.count;
        self.counters.express_deliveries += sent.count;
        self.counters.group_pieces_sent += sent.group_pieces;
    }

    /// As [`Shard::pump_express`], also for messages that are in the store.
    #[inline(never)]
    fn pump_express_stored(&mut self, key: Key, conn: Key, now: Time, fx: &mut Effects) {
        let outbox_max = self.config.limits.outbox_bytes_max;
        let (Some(session), Some(connection)) =
            (self.sessions.get_mut(key), self.connections.get_mut(conn))
        else {
            return;
        };
        let mut moved = false;
        while connection.outbox.len() < outbox_max
            && let Some(front) = session.queue.front()
            && (front.qos() == QoS::AtMostOnce || session.outbound.can_send())
            && !front.has_ids()
            && !front.is_expired(now)
        {
            session.queue.part_front();
            let Some(front) = session.queue.front() else {
                break;
            };
            let (qos, retain) = (front.qos(), front.retain());
            let (message, body) = match front {
                Front::Whole(delivery) => (
                    delivery.message.as_ref().map(Kept::to_message),
                    delivery.body,
                ),
                Front::Stored(entry) => {
                    let body = Some(entry.body);
                    (in_memory(&mut self.durable, body), body)
                }
            };
            let Some(message) = message else { break };
            if body.is_none() && session.stored_as.is_some() && qos == QoS::ExactlyOnce {
                // What a group has given is recorded only now.
                break;
            }
            let parts = message.parts();
            let template = Some(Template::of_message(&message));
            let Some(plain) = Plain::of(connection, template, &parts, qos) else {
                break;
            };
            let Some((place, mut delivery)) = session.queue.pop() else {
                break;
            };
            if delivery.message.is_none()
                && let (Some(body), Some(durable)) = (body, &mut self.durable)
            {
                durable.let_go(body);
                delivery.message = Some(Kept::of(message.clone()));
                self.memory_bytes =
                    (self.memory_bytes + message.size()).saturating_sub(STORED_BYTES);
            }
            let mut packet_id = None;
            if qos == QoS::AtMostOnce {
                self.memory_bytes = self.memory_bytes.saturating_sub(message.size());
            } else {
                // It goes from the queue into the window, and counts there.
                packet_id = session.outbound.send(qos == QoS::ExactlyOnce, delivery);
            }
            if let (Some(body), Some(durable)) = (body, &mut self.durable) {
                let to = (&mut *connection, conn);
                let sent = (body, StoredTerms::bare(qos, retain));
                let from = Source::Queue(place, Some(body));
                durable.record_sending(session, to, from, sent, packet_id, fx);
            }
            give_buffer(connection, &mut self.scratch.pool);
            let first = FIRST_BYTE | (qos as u8) << 1 | u8::from(retain);
            self.memory_bytes += append(connection, plain, first, packet_id, &parts);
            self.counters.publishes_sent += 1;
            self.counters.express_deliveries += 1;
            moved = true;
        }
        if moved {
            to_be_written(connection, conn, fx);
        }
    }
}

/// The message of a body, if it is in memory.
#[inline(never)]
fn in_memory(durable: &mut Option<Box<Durable>>, body: Option<BodyId>) -> Option<Message> {
    durable.as_mut()?.look(body?).cloned()
}

/// Writes to the outbox; returns by how much it has grown, which the connection has counted.
fn append(
    connection: &mut Connection,
    plain: Plain<'_>,
    first: u8,
    packet_id: Option<PacketId>,
    parts: &MessageParts<'_>,
) -> usize {
    let out = connection.outbox.bytes();
    let before = out.len();
    plain.write(out, first, packet_id, parts);
    let grown = out.len() - before;
    connection.counted_bytes += grown;
    grown
}

/// Copies a packet and puts flags and identifier right.
#[inline]
pub(crate) fn copy(
    out: &mut Vec<u8>,
    packet: &[u8],
    first: u8,
    packet_id: Option<PacketId>,
    topic_len: usize,
) {
    let start = out.len();
    out.extend_from_slice(packet);
    let Some(copied) = out.get_mut(start..) else {
        return;
    };
    if let Some(byte) = copied.first_mut() {
        *byte = first;
    }
    if let Some(id) = packet_id {
        let at = topic_at(packet) + topic_len;
        if let Some(field) = copied.get_mut(at..at + 2) {
            field.copy_from_slice(&id.get().to_be_bytes());
        }
    }
}

fn build(
    out: &mut Vec<u8>,
    form: Form,
    (first, remaining): (u8, usize),
    packet_id: Option<PacketId>,
    parts: &MessageParts<'_>,
) {
    let topic = parts.topic.as_bytes();
    out.reserve(5 + remaining);
    out.push(first);
    push_variable(out, remaining);
    out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(topic);
    if let Some(id) = packet_id {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
    if form.v5 {
        push_variable(out, parts.shared_properties.len());
        out.extend_from_slice(parts.shared_properties);
    }
    out.extend_from_slice(parts.payload);
}

/// Whether the Remaining Length is in its shortest form; MQTT 3 publishers may pad it, v5 receivers refuse that.
fn has_shortest_length(packet: &[u8]) -> bool {
    let count = length_bytes(packet);
    count == 1 || packet.get(count).is_some_and(|last| *last != 0)
}

/// PUBLISH without flags.
pub(crate) const FIRST_BYTE: u8 = 0x30;
/// The DUP flag.
pub(crate) const DUP: u8 = 0x08;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_lengths_are_seen() {
        assert!(has_shortest_length(&[0x30, 0x05]));
        assert!(has_shortest_length(&[0x30, 0x80, 0x01]));
        assert!(!has_shortest_length(&[0x30, 0x85, 0x00]));
    }
}
