//! What members of shared subscriptions get of a run, if they are on another shard than their group.
//!
//! ```text
//! run                 | 1 | 2 | 3 | 4 | 5 | 6 |      on the group's shard; members a and b elsewhere, in turn
//! entries of a pack   a: | 1 | 3 | 5 |   b: | 2 | 4 | 6 |
//! ```
//! Each entry promises what as many single offers promise. The group has taken the messages' places in its order and
//! the member's room for them; on the member's shard each is sent, waits for the member's window, or goes back with its
//! place, and then to another member. Offers to one member stay in order, since all to one shard stand in one line.

use core::iter::Peekable;

use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::grouping::sharing::{Member, Share};
use crate::packets::repeats::{Repeat, Run};
use crate::peering::packing::{Entry, Pack, Purpose, Size, length, list_packets};
use crate::peering::peers::{Peer, PeerMessage};
use crate::shard::Shard;
use crate::time::Time;

impl Pack {
    /// Takes messages of a run for one member, as far as there is room; one at least if the pack is empty.
    fn push_offers<'a>(
        &mut self,
        (group, share): (Key, Share),
        run: Run<'_>,
        messages: &mut Peekable<impl Iterator<Item = (u64, &'a Repeat)>>,
    ) {
        self.reserve();
        let Some((first, payload_len)) = messages
            .peek()
            .map(|(sequence, repeat)| (*sequence, repeat.payload_len))
        else {
            return;
        };
        let (entry_at, mut count) = (self.packets.len(), 0);
        while let Some((sequence, repeat)) = messages.next_if(|(_, repeat)| {
            self.packets.is_empty() || self.has_room(repeat.end - repeat.start)
        }) {
            let packet = run.packet(repeat);
            self.packets.extend_from_slice(packet);
            self.parts.push(Size {
                packet_len: length(packet.len()),
                payload_len: repeat.payload_len,
                behind: u32::try_from(sequence - first).unwrap_or(u32::MAX),
            });
            count += 1;
        }
        if count == 0 {
            return;
        }
        self.count += count;
        let purpose = Purpose::Offer {
            session: share.session,
            group,
            sequence: first,
            options: share.options,
        };
        let lens = (self.packets.len() - entry_at, payload_len);
        self.entries.push(Entry::of_run(run, purpose, count, lens));
    }
}

impl Shard {
    /// Sends messages of a run, with their places in the group's order, to a member on another shard; takes none out of
    /// `messages` if there is no such shard.
    pub(crate) fn send_offers<'a>(
        &mut self,
        group: Key,
        share: Share,
        run: Run<'_>,
        messages: impl Iterator<Item = (u64, &'a Repeat)>,
        fx: &mut Effects,
    ) {
        let Some(batch) = fx.peers.get_mut(share.shard) else {
            return;
        };
        let sent = &mut self.counters.peer_messages_sent;
        let mut messages = messages.inspect(|_| *sent += 1).peekable();
        if let Some(PeerMessage(Peer::Packed(pack))) = batch.last_mut() {
            pack.push_offers((group, share), run, &mut messages);
        }
        while messages.peek().is_some() {
            let mut pack = self.scratch.packs.pop().unwrap_or_default();
            pack.push_offers((group, share), run, &mut messages);
            batch.push(Peer::Packed(pack).into());
        }
    }

    /// A group of another shard gives a member on this one a message, or a part of a run; `first`: the place of the first one.
    pub(super) fn on_packed_offer(
        &mut self,
        (member, first): (Member, u64),
        (entry, bytes): (&Entry, &[u8]),
        parts: &[Size],
        now: Time,
        fx: &mut Effects,
    ) {
        let Member {
            session, options, ..
        } = member;
        if entry.run == 0 {
            let mut publication = entry.publication(bytes);
            self.take_offer(
                session,
                member.tag(first),
                &mut publication,
                options,
                now,
                fx,
            );
            return;
        }
        let run = Run {
            is_for_one: true,
            ..entry.run(bytes)
        };
        let mut repeats = core::mem::take(&mut self.scratch.repeats);
        list_packets(parts, &mut repeats);
        let places = parts.iter().map(|part| first + u64::from(part.behind));
        let state = self.sessions.get(session);
        if state.is_some_and(|state| state.connection.is_some()) {
            self.counters.peer_runs += 1;
            let mut given = places.clone().zip(&repeats);
            let sent = self.copy_to_member(member, run, &mut given, fx);
            let taken = sent + self.queue_for_member(member, run, &mut given, fx);
            if run.qos != QoS::AtMostOnce {
                // What waits here for room in its window.
                run.keep(repeats.get_mut(taken..).unwrap_or_default());
            }
            for (place, repeat) in places.zip(&mut repeats).skip(taken) {
                let mut publication = run.publication(repeat);
                publication.is_for_one = true;
                self.take_offer(
                    session,
                    member.tag(place),
                    &mut publication,
                    options,
                    now,
                    fx,
                );
            }
        } else {
            run.keep(&mut repeats);
            let kept = repeats
                .iter_mut()
                .filter_map(|repeat| repeat.message.take());
            let messages: Vec<_> = places.zip(kept).collect();
            let group = member.group;
            self.send_to(member.owner, Peer::GroupReturn { group, messages }, fx);
        }
        repeats.clear();
        self.scratch.repeats = repeats;
    }
}
