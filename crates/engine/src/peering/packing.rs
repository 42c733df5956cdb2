//! Small messages for another shard, packed into one piece of memory.
//!
//! A message of its own that one shard takes from the heap and another gives back costs more than everything else that is
//! done with it: its memory, its count of holders and the heap's own lists wander between the processors. A pack is filled
//! and read from front to end, and is one piece of memory for a whole tick. Over there a message is read from the
//! pack like one of a client from the read buffer: who has to keep it makes a copy.
//!
//! A run of messages to one topic (`packets/repeats.rs`) is one entry, and is given to its receivers as a run over there. So is
//! what one member of a shared subscription gets of a run (`offering.rs`).

mod offering;
mod unpacking;

use alloc::vec::Vec;
use core::num::NonZeroU64;

use martlet_codec::QoS;

use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::message::{Form, MessageParts, Origin, Topic, topic_at};
use crate::packets::repeats::{Repeat, Run};
use crate::peering::parts::Ask;
use crate::peering::peers::{Peer, PeerMessage};
use crate::publication::Publication;
use crate::routing::routes::Route;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::express::Template;
use crate::shard::Shard;

/// Messages in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Pack {
    entries: Vec<Entry>,
    /// The messages of all runs, in order.
    parts: Vec<Size>,
    /// Their packets, one behind the other.
    packets: Vec<u8>,
    /// How many messages it holds.
    count: usize,
}

/// What is known of a packet, or a run of them, without reading it again.
#[derive(Debug, Clone, Copy)]
struct Entry {
    purpose: Purpose,
    origin: Origin,
    /// Of all packets.
    packet_len: u32,
    /// Of the first one.
    payload_len: u32,
    /// How many messages of a run; 0: it is a single one.
    run: u32,
    properties_len: u32,
    topic_len: u16,
    qos: QoS,
    retain: bool,
    form: Form,
}

/// Of a message of a run.
#[derive(Debug, Clone, Copy)]
struct Size {
    packet_len: u32,
    payload_len: u32,
    /// How far its place in a group's order is behind that of the first one.
    behind: u32,
}

/// What a message in a pack is sent for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// For whoever matches over there.
    Match {
        /// The publish, if its shard asks whether it is stored.
        asked: Option<NonZeroU64>,
        /// Of the topic: it is the same on all shards.
        hash: u64,
    },
    /// For one member of a shared subscription.
    Offer {
        session: Key,
        group: Key,
        /// The place of the message, or of the first one of a run.
        sequence: u64,
        options: SubscriptionOptions,
    },
}

impl Purpose {
    /// For whoever matches; this publish is asked about, if any is.
    pub(crate) fn of_route(route: &Route, ask: Option<Ask>) -> Self {
        Self::Match {
            asked: ask.map(|ask| ask.publish),
            hash: route.hash,
        }
    }
}

impl Pack {
    /// How many messages are in it.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// The memory that it holds.
    pub(crate) const fn memory(&self) -> usize {
        size_of::<Self>()
            + self.packets.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.parts.capacity() * size_of::<Size>()
    }

    /// What was asked for with the last message in it, if one more of this length goes in as well.
    fn last_asked(&self, packet: &[u8]) -> Option<NonZeroU64> {
        match self.entries.last()?.purpose {
            Purpose::Match { asked, .. } if self.has_room(packet.len()) => asked,
            Purpose::Match { .. } | Purpose::Offer { .. } => None,
        }
    }

    const fn has_room(&self, packet_len: usize) -> bool {
        self.packets.len() + packet_len <= PACK_BYTES_MAX
    }

    #[inline]
    fn reserve(&mut self) {
        if self.packets.is_empty() {
            self.packets.reserve(PACK_BYTES_FIRST);
            self.entries.reserve(PACK_ENTRIES_FIRST);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.parts.clear();
        self.packets.clear();
        self.count = 0;
    }

    #[expect(
        clippy::inline_always,
        reason = "the purpose would be moved through memory, see Shard::send_packed"
    )]
    #[inline(always)]
    fn push(&mut self, parts: &MessageParts<'_>, form: Form, packet: &[u8], purpose: Purpose) {
        self.reserve();
        self.packets.extend_from_slice(packet);
        self.count += 1;
        self.entries.push(Entry {
            purpose,
            origin: parts.origin,
            packet_len: length(packet.len()),
            payload_len: length(parts.payload.len()),
            run: 0,
            properties_len: length(parts.shared_properties.len()),
            // Two bytes on the wire.
            topic_len: u16::try_from(parts.topic.as_bytes().len()).unwrap_or(u16::MAX),
            qos: parts.qos,
            retain: parts.retain,
            form,
        });
    }

    /// Takes the beginning of a run, as far as there is room; one message at least if the pack is empty. Returns how many.
    fn push_run(&mut self, run: Run<'_>, purpose: Purpose, list: &[Repeat]) -> usize {
        let Some(start) = list.first().map(|first| first.start) else {
            return 0;
        };
        let fits = |last: &Repeat| self.has_room(last.end - start);
        let mut taken = list.len();
        if !list.last().is_some_and(fits) {
            taken = list.iter().take_while(|repeat| fits(repeat)).count();
            taken = taken.max(usize::from(self.packets.is_empty()));
        }
        let Some(list) = list.get(..taken).filter(|list| !list.is_empty()) else {
            return 0;
        };
        let end = list.last().map_or(start, |last| last.end);
        self.reserve();
        self.packets
            .extend_from_slice(run.bytes.get(start..end).unwrap_or_default());
        self.count += taken;
        self.parts.extend(list.iter().map(|repeat| Size {
            packet_len: length(repeat.end - repeat.start),
            payload_len: repeat.payload_len,
            behind: 0,
        }));
        let lens = (
            end - start,
            list.first().map_or(0, |first| first.payload_len),
        );
        self.entries.push(Entry::of_run(run, purpose, taken, lens));
        taken
    }
}

impl Entry {
    /// For so many messages of a run: the length of all packets, and of the first one's payload.
    fn of_run(
        run: Run<'_>,
        purpose: Purpose,
        count: usize,
        (packets_len, payload_len): (usize, u32),
    ) -> Self {
        Self {
            purpose,
            origin: run.origin,
            packet_len: length(packets_len),
            payload_len,
            run: length(count),
            properties_len: 0,
            topic_len: u16::try_from(run.topic.as_bytes().len()).unwrap_or(u16::MAX),
            qos: run.qos,
            retain: false,
            form: run.form,
        }
    }

    /// Of its topic, if it is for whoever matches.
    const fn hash(&self) -> Option<u64> {
        match self.purpose {
            Purpose::Match { hash, .. } => Some(hash),
            Purpose::Offer { .. } => None,
        }
    }

    /// Its topic and the hash of that, if it is for whoever matches; `packets`: its own, and perhaps others behind them.
    fn asked_for<'a>(&self, packets: &'a [u8]) -> Option<(&'a [u8], u64)> {
        let hash = self.hash()?;
        let at = topic_at(packets);
        let topic = packets.get(at..at + usize::from(self.topic_len))?;
        Some((topic, hash))
    }

    /// The run that it stands for.
    fn run<'a>(&self, bytes: &'a [u8]) -> Run<'a> {
        let at = topic_at(bytes);
        let topic = bytes.get(at..at + usize::from(self.topic_len));
        Run {
            topic: Topic::Bytes(topic.unwrap_or_default()),
            qos: self.qos,
            form: self.form,
            origin: self.origin,
            is_for_one: false,
            bytes,
        }
    }

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

impl Effects {
    /// What was asked for with the last message to a shard, if this one is like it and goes the same way.
    pub(crate) fn last_asked(
        &self,
        shard: usize,
        publication: &Publication<'_>,
    ) -> Option<NonZeroU64> {
        let (_, packet) = publication.template().and_then(Template::to_pack)?;
        let PeerMessage(Peer::Packed(pack)) = self.peers.get(shard)?.last()? else {
            return None;
        };
        pack.last_asked(packet)
            .filter(|_| publication.parts.expires_at.is_none())
    }
}

impl Shard {
    /// Sends a message to another shard in a pack. `false`: it is not one for a pack, be it large or be it one whose time
    /// is limited.
    ///
    /// The purpose is made where it is stored: to move it there would mean to wait, as [`Plain::of`] says.
    ///
    /// [`Plain::of`]: crate::sending::express::Plain::of
    pub(crate) fn send_packed(
        &mut self,
        shard: usize,
        purpose: impl FnOnce() -> Purpose,
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
        let takes_it = |last: &PeerMessage| matches!(&last.0, Peer::Packed(pack) if pack.has_room(packet.len()));
        if !batch.last().is_some_and(takes_it) {
            let pack = self.scratch.packs.pop().unwrap_or_default();
            batch.push(Peer::Packed(pack).into());
        }
        if let Some(PeerMessage(Peer::Packed(pack))) = batch.last_mut() {
            pack.push(&publication.parts, form, packet, purpose());
        }
        true
    }

    /// Sends a run to these other shards, in packs.
    #[inline(never)]
    pub(crate) fn send_run_to_each(
        &mut self,
        mask: u64,
        purpose: Purpose,
        run: Run<'_>,
        list: &[Repeat],
        fx: &mut Effects,
    ) {
        let mut shards = mask;
        while shards != 0 {
            let shard = shards.trailing_zeros() as usize;
            shards &= shards - 1;
            let Some(batch) = fx.peers.get_mut(shard) else {
                continue;
            };
            self.counters.peer_messages_sent += list.len() as u64;
            let mut left = list;
            if let Some(PeerMessage(Peer::Packed(pack))) = batch.last_mut() {
                let taken = pack.push_run(run, purpose, left);
                left = left.get(taken..).unwrap_or_default();
            }
            while !left.is_empty() {
                let mut pack = self.scratch.packs.pop().unwrap_or_default();
                let taken = pack.push_run(run, purpose, left);
                left = left.get(taken..).unwrap_or_default();
                batch.push(Peer::Packed(pack).into());
            }
        }
    }
}

/// The messages of a run, as they stand in its bytes.
fn list_packets(parts: &[Size], repeats: &mut Vec<Repeat>) {
    let mut end = 0;
    repeats.extend(parts.iter().map(|part| {
        let start = end;
        end += part.packet_len as usize;
        Repeat::of_packed(start, end, part.payload_len)
    }));
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Beyond this a new pack is begun: a receiver that is behind lets go of its memory piece by piece.
const PACK_BYTES_MAX: usize = 16 << 10;
/// What a pack takes at once.
const PACK_BYTES_FIRST: usize = 1 << 10;
/// See [`PACK_BYTES_FIRST`].
const PACK_ENTRIES_FIRST: usize = 8;
