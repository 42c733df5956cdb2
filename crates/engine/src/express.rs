//! The short way to a receiver: the same bytes for everybody, but for flags and packet identifier.
//!
//! A PUBLISH that needs nothing of its own for a receiver (no subscription identifier, no topic alias, no queue in
//! front of it) is one copy of a *template*: the publisher's own packet if it has the right form, else one that is
//! encoded once. Everything else takes the long way through `sending.rs`; both write the same bytes.

use alloc::vec::Vec;

use martlet_codec::{PacketId, PropertiesBuf, Publish, PublishHead, QoS, Version};

use crate::connection::Connection;
use crate::delivery::{Delivery, SubscriptionIds, Terms};
use crate::durable::{Source, Step};
use crate::effects::{ConnId, Effects};
use crate::message::MessageParts;
use crate::outbox::CHAIN_THRESHOLD;
use crate::publication::Publication;
use crate::record::StoredTerms;
use crate::shard::Shard;
use crate::slab::Key;
use crate::subscriptions::SubscriptionOptions;
use crate::time::Time;
use crate::writing::give_buffer;

/// The encoded forms of one publication, by version (5 or 3) and by whether there is a packet identifier.
#[derive(Debug, Default)]
pub(crate) struct Templates<'a> {
    /// The publisher's packet.
    raw: Option<(Form, &'a [u8])>,
    built: Vec<(Form, Vec<u8>)>,
}

/// What decides the layout of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    v5: bool,
    has_id: bool,
}

impl<'a> Templates<'a> {
    /// The publisher's packet as a template, if its bytes are what receivers get.
    pub(crate) fn of_packet(publish: &Publish<'_>, version: Version, raw: &'a [u8]) -> Self {
        let plain = publish.topic.is_some()
            && publish.payload.len() < CHAIN_THRESHOLD
            && (publish.properties.is_empty() || publish.properties.topic_alias().is_none())
            && has_shortest_length(raw);
        let form = Form {
            v5: version.is_v5(),
            has_id: publish.packet_id.is_some(),
        };
        Self {
            raw: plain.then_some((form, raw)),
            built: Vec::new(),
        }
    }

    /// The template of a form; encoded now if `build` and it is not there yet.
    fn get(
        &mut self,
        form: Form,
        parts: &MessageParts<'_>,
        build: bool,
        now: Time,
    ) -> Option<&[u8]> {
        if let Some((_, raw)) = self.raw.filter(|(raw_form, _)| *raw_form == form) {
            return Some(raw);
        }
        let known = self.built.iter().position(|(built, _)| *built == form);
        let at = match known {
            Some(at) => at,
            None if build && parts.payload.len() < CHAIN_THRESHOLD => {
                self.built.push((form, encode(form, parts, now)));
                self.built.len() - 1
            }
            None => return None,
        };
        self.built.get(at).map(|(_, bytes)| bytes.as_slice())
    }
}

impl Shard {
    /// Sends to a session at once, if that takes nothing but a copy. `false`: take the long way.
    pub(crate) fn deliver_express(
        &mut self,
        key: Key,
        options: SubscriptionOptions,
        publication: &mut Publication<'_>,
        many: bool,
        now: Time,
        fx: &mut Effects,
    ) -> bool {
        if options.subscription_id != 0 || options.no_local || publication.parts.is_expired(now) {
            return false;
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return true;
        };
        let free = session.is_idle() && session.replays.is_empty();
        let Some(conn) = session.connection.filter(|_| free) else {
            return false;
        };
        let Some(connection) = self.connections.get_mut(conn) else {
            return false;
        };
        let qos = options.qos.min(publication.parts.qos);
        let has_id = qos != QoS::AtMostOnce;
        if connection.aliases_out.is_some()
            || connection.outbox.len() >= self.config.limits.outbox_bytes_max
            || (has_id && !session.outbound.can_send())
        {
            return false;
        }
        let form = Form {
            v5: connection.version().is_v5(),
            has_id,
        };
        let retain = options.retain_as_published && publication.parts.retain;
        let message = has_id.then(|| publication.message().clone());
        let durable = self.durable.as_mut();
        let body =
            durable.and_then(|d| d.body_for(session, publication, (qos, false), Step::Send, fx));
        let (parts, templates) = publication.templates();
        let Some(template) = templates.get(form, parts, many, now) else {
            return false;
        };
        if template.len() > connection.packet_bytes_max as usize {
            return false;
        }
        let mut packet_id = None;
        if let Some(message) = message {
            let terms = Terms {
                qos,
                retain,
                ids: SubscriptionIds::None,
                group: None,
            };
            self.memory_bytes += message.size();
            let delivery = Delivery {
                message,
                body,
                terms,
            };
            packet_id = session.outbound.send(qos == QoS::ExactlyOnce, delivery);
        }
        if let (Some(body), Some(durable)) = (body, &mut self.durable) {
            let sent = (body, StoredTerms::bare(qos, retain));
            let to = (&mut *connection, conn);
            durable.record_sending(session, to, Source::Live, sent, packet_id, fx);
        }
        let first = FIRST_BYTE | (qos as u8) << 1 | u8::from(retain);
        give_buffer(connection, &mut self.scratch.pool);
        append(connection, template, first, packet_id, parts.topic.len());
        connection.counted_bytes += template.len();
        self.memory_bytes += template.len();
        if !connection.dirty {
            connection.dirty = true;
            fx.dirty.push(ConnId(conn));
        }
        self.counters.publishes_sent += 1;
        self.counters.express_deliveries += 1;
        true
    }
}

/// Copies a template to the outbox and puts flags and identifier right.
fn append(
    connection: &mut Connection,
    template: &[u8],
    first: u8,
    packet_id: Option<PacketId>,
    topic_len: usize,
) {
    let out = connection.outbox.bytes();
    let start = out.len();
    out.extend_from_slice(template);
    let Some(packet) = out.get_mut(start..) else {
        return;
    };
    if let Some(byte) = packet.first_mut() {
        *byte = first;
    }
    if let Some(id) = packet_id {
        // Behind the fixed header and the topic with its two-byte length.
        let at = 1 + length_bytes(packet) + 2 + topic_len;
        if let Some(field) = packet.get_mut(at..at + 2) {
            field.copy_from_slice(&id.get().to_be_bytes());
        }
    }
}

fn encode(form: Form, parts: &MessageParts<'_>, now: Time) -> Vec<u8> {
    let mut own = PropertiesBuf::new();
    let version = if form.v5 { Version::V5 } else { Version::V311 };
    let mut shared: &[u8] = &[];
    if form.v5 {
        shared = parts.shared_properties;
        crate::delivery::push_expiry(parts, now, &mut own);
    }
    let head = PublishHead {
        dup: false,
        qos: if form.has_id {
            QoS::AtLeastOnce
        } else {
            QoS::AtMostOnce
        },
        retain: false,
        topic: parts.topic,
        packet_id: if form.has_id { PacketId::new(1) } else { None },
        own_properties: own.as_properties().as_bytes(),
        shared_properties: shared,
        payload_len: parts.payload.len(),
    };
    let mut bytes = Vec::with_capacity(head.packet_len(version));
    head.encode(version, &mut bytes);
    bytes.extend_from_slice(parts.payload);
    bytes
}

/// How many bytes the Remaining Length of a packet takes.
fn length_bytes(packet: &[u8]) -> usize {
    packet
        .iter()
        .skip(1)
        .take_while(|byte| **byte & 0x80 != 0)
        .count()
        + 1
}

/// Whether the Remaining Length is in its shortest form; MQTT 3 publishers may pad it, v5 receivers refuse that.
fn has_shortest_length(packet: &[u8]) -> bool {
    let count = length_bytes(packet);
    count == 1 || packet.get(count).is_some_and(|last| *last != 0)
}

/// PUBLISH without flags.
const FIRST_BYTE: u8 = 0x30;

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
