//! Small messages for another shard, packed into one piece of memory.
//!
//! A message of its own that one shard takes from the heap and another gives back costs more than everything else that is
//! done with it: its memory, its count of holders and the heap's own lists wander between the processors. A pack is filled
//! and read from front to end, and is one piece of memory for a whole tick. Over there a message is read from the
//! pack like one of a client from the read buffer: who has to keep it makes a copy.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::message::{Form, MessageParts, Origin, Topic, topic_at};
use crate::peering::peers::{Peer, PeerMessage};
use crate::publication::Publication;
use crate::routing::routes::Route;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::delivery::GroupTag;
use crate::sending::express::Template;
use crate::shard::Shard;
use crate::time::Time;

/// Messages in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Pack {
    entries: Vec<Entry>,
    /// Their packets, one behind the other.
    packets: Vec<u8>,
}

/// What is known of a packet without reading it again.
#[derive(Debug, Clone, Copy)]
struct Entry {
    purpose: Purpose,
    origin: Origin,
    packet_len: u32,
    payload_len: u32,
    properties_len: u32,
    topic_len: u16,
    qos: QoS,
    retain: bool,
    form: Form,
}

/// What a message in a pack is sent for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// For whoever matches over there.
    Match,
    /// For one member of a shared subscription.
    Offer {
        session: Key,
        group: Key,
        sequence: u64,
        options: SubscriptionOptions,
    },
}

impl Pack {
    /// How many messages are in it.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory that it holds.
    pub(crate) const fn memory(&self) -> usize {
        size_of::<Self>() + self.packets.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    fn has_room(&self, packet: &[u8]) -> bool {
        self.packets.len() + packet.len() <= PACK_BYTES_MAX
    }

    fn push(&mut self, parts: &MessageParts<'_>, form: Form, packet: &[u8], purpose: Purpose) {
        if self.packets.is_empty() {
            self.packets.reserve(PACK_BYTES_FIRST);
            self.entries.reserve(PACK_ENTRIES_FIRST);
        }
        let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        self.packets.extend_from_slice(packet);
        self.entries.push(Entry {
            purpose,
            origin: parts.origin,
            packet_len: length(packet.len()),
            payload_len: length(parts.payload.len()),
            properties_len: length(parts.shared_properties.len()),
            // Two bytes on the wire.
            topic_len: u16::try_from(parts.topic.as_bytes().len()).unwrap_or(u16::MAX),
            qos: parts.qos,
            retain: parts.retain,
            form,
        });
    }
}

impl Entry {
    fn publication<'a>(&self, packet: &'a [u8]) -> Publication<'a> {
        let topic_at = topic_at(packet);
        let payload_at = packet.len() - (self.payload_len as usize).min(packet.len());
        let properties_at = payload_at.saturating_sub(self.properties_len as usize);
        let topic = packet.get(topic_at..topic_at + usize::from(self.topic_len));
        let parts = MessageParts {
            topic: Topic::Bytes(topic.unwrap_or_default()),
            shared_properties: packet.get(properties_at..payload_at).unwrap_or_default(),
            payload: packet.get(payload_at..).unwrap_or_default(),
            qos: self.qos,
            retain: self.retain,
            expires_at: None,
            origin: self.origin,
        };
        Publication::with_template(parts, Some(Template::of_packed(self.form, packet)))
    }
}

impl Shard {
    /// Sends a message to another shard in a pack. `false`: it is not one for a pack, be it large or be it one whose time
    /// is limited.
    pub(crate) fn send_packed(
        &mut self,
        shard: usize,
        purpose: Purpose,
        publication: &Publication<'_>,
        fx: &mut Effects,
    ) -> bool {
        let template = publication.template().and_then(Template::to_pack);
        let (Some((form, packet)), None) = (template, publication.parts.expires_at) else {
            return false;
        };
        let Some(batch) = fx.peers.get_mut(shard) else {
            return false;
        };
        self.counters.peer_messages_sent += 1;
        if let Some(PeerMessage(Peer::Packed(pack))) = batch.last_mut()
            && pack.has_room(packet)
        {
            pack.push(&publication.parts, form, packet, purpose);
        } else {
            let mut pack = self.scratch.packs.pop().unwrap_or_default();
            pack.push(&publication.parts, form, packet, purpose);
            batch.push(Peer::Packed(pack).into());
        }
        true
    }

    /// A pack from shard `from`.
    pub(crate) fn on_packed(
        &mut self,
        from: usize,
        mut pack: Box<Pack>,
        now: Time,
        fx: &mut Effects,
    ) {
        self.unpack(from, &pack, now, fx);
        if self.scratch.packs.len() < PACKS_KEPT {
            pack.entries.clear();
            pack.packets.clear();
            self.scratch.packs.push(pack);
        }
    }

    fn unpack(&mut self, from: usize, pack: &Pack, now: Time, fx: &mut Effects) {
        let mut route = None;
        let mut rest = pack.packets.as_slice();
        for entry in &pack.entries {
            let Some((packet, behind)) = rest.split_at_checked(entry.packet_len as usize) else {
                debug_assert!(false, "every entry has its packet");
                return;
            };
            rest = behind;
            let mut publication = entry.publication(packet);
            match entry.purpose {
                Purpose::Match => {
                    self.on_packed_publish(from, &mut publication, &mut route, now, fx);
                }
                Purpose::Offer {
                    session,
                    group,
                    sequence,
                    options,
                } => {
                    let tag = GroupTag {
                        owner: from,
                        group,
                        sequence,
                        stored: None,
                    };
                    self.take_offer(session, tag, &mut publication, options, now, fx);
                }
            }
        }
    }

    /// `last`: the route of the message before; many publishers repeat themselves.
    fn on_packed_publish(
        &mut self,
        from: usize,
        publication: &mut Publication<'_>,
        last: &mut Option<Arc<Route>>,
        now: Time,
        fx: &mut Effects,
    ) {
        let topic = publication.parts.topic;
        if self.joins.must_hold(topic.as_bytes(), from) {
            let message = publication.message().clone();
            self.joins.hold(message, from, None);
            return;
        }
        let route = match last.take() {
            Some(route) if self.is_route_to_bytes(&route, topic.as_bytes()) => route,
            Some(_) | None => self.lookup(topic),
        };
        self.fan_out(&route, publication, now, fx);
        *last = Some(route);
    }
}

/// Beyond this a new pack is begun: a receiver that is behind lets go of its memory piece by piece.
const PACK_BYTES_MAX: usize = 16 << 10;
/// What a pack takes at once.
const PACK_BYTES_FIRST: usize = 1 << 10;
/// See [`PACK_BYTES_FIRST`].
const PACK_ENTRIES_FIRST: usize = 8;
/// Packs that came from others, kept for what this shard has to send: some hundred kilobytes.
const PACKS_KEPT: usize = 16;
