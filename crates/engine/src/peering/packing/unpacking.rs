//! A pack that has come from another shard.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::num::NonZeroU64;

use crate::durable::Part;
use crate::effects::Effects;
use crate::grouping::sharing::Member;
use crate::message::Topic;
use crate::packets::ahead::AHEAD_MAX;
use crate::peering::packing::{Entry, Pack, Purpose, Size, list_packets};
use crate::peering::parts::Ask;
use crate::publication::Publication;
use crate::routing::routes::Route;
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
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
            pack.clear();
            self.scratch.packs.push(pack);
        }
    }

    fn unpack(&mut self, from: usize, pack: &Pack, now: Time, fx: &mut Effects) {
        let mut route = None;
        // How many of the next messages it may help to look up together.
        let mut most_ahead = AHEAD_MAX;
        let mut asked: Option<Asked> = None;
        let mut rest = pack.packets.as_slice();
        let mut parts = pack.parts.as_slice();
        let mut entries = pack.entries.as_slice();
        while let [entry, others @ ..] = entries {
            if most_ahead > 0 && self.scratch.ahead.is_empty() {
                most_ahead = self.look_ahead_in_pack(entries, rest, route.as_ref(), most_ahead);
            }
            if let Some(known) = self.scratch.ahead.pop() {
                self.scratch.behind.extend(route.replace(known));
            }
            entries = others;
            let Some((packet, behind)) = rest.split_at_checked(entry.packet_len as usize) else {
                debug_assert!(false, "every entry has its packet");
                return;
            };
            rest = behind;
            let (these, others) = parts.split_at(parts.len().min(entry.run as usize));
            parts = others;
            match entry.purpose {
                Purpose::Match {
                    asked: publish,
                    hash,
                } => {
                    if asked.is_some_and(|asked| Some(asked.part.publish) != publish) {
                        self.confirm_asked(asked.take(), fx);
                    }
                    asked = asked.or_else(|| Asked::of(from, publish?, fx));
                    let sent = Sent { from, asked, hash };
                    let what = (entry, packet);
                    let dealt_with = if entry.run > 0 {
                        self.on_packed_run(sent, what, these, &mut route, now, fx)
                    } else {
                        let mut publication = entry.publication(packet);
                        self.on_packed_publish(sent, &mut publication, &mut route, now, fx)
                    };
                    if let Some(asked) = &mut asked {
                        asked.part.count += dealt_with;
                    }
                }
                Purpose::Offer {
                    session,
                    group,
                    sequence,
                    options,
                } => {
                    let member = Member {
                        owner: from,
                        group,
                        session,
                        options,
                    };
                    self.on_packed_offer((member, sequence), (entry, packet), these, now, fx);
                }
            }
        }
        debug_assert!(self.scratch.ahead.is_empty(), "each had its message");
        self.forget_routes();
        self.confirm_asked(asked, fx);
    }

    /// As [`Shard::look_ahead`], for the next messages of a pack. One alone, or one for the same topic as the last, is looked up
    /// when its turn comes.
    #[inline]
    fn look_ahead_in_pack(
        &mut self,
        entries: &[Entry],
        packets: &[u8],
        last: Option<&Arc<Route>>,
        most: usize,
    ) -> usize {
        let [first, second, ..] = entries else {
            return most;
        };
        let last = last.map(|route| route.hash);
        let (Some(hash), Some(next)) = (first.hash(), second.hash()) else {
            return most;
        };
        if Some(hash) == last || hash == next {
            return most;
        }
        self.look_ahead_in_mixed_pack(entries, packets, most)
    }

    #[inline(never)]
    fn look_ahead_in_mixed_pack(
        &mut self,
        entries: &[Entry],
        packets: &[u8],
        most: usize,
    ) -> usize {
        let mut last = None;
        let mut asked: [(&[u8], u64); AHEAD_MAX] = [(&[], 0); AHEAD_MAX];
        let mut count = 0;
        let mut rest = packets;
        for (entry, place) in entries.iter().take(most).zip(&mut asked) {
            let next = entry.asked_for(rest);
            let Some((topic, hash)) = next.filter(|(_, hash)| Some(*hash) != last) else {
                break;
            };
            *place = (topic, hash);
            last = Some(hash);
            count += 1;
            rest = rest.get(entry.packet_len as usize..).unwrap_or_default();
        }
        self.find_ahead(asked.get(..count).unwrap_or_default(), most)
    }

    fn confirm_asked(&mut self, asked: Option<Asked>, fx: &mut Effects) {
        if let Some(Asked { part, records }) = asked.filter(|asked| asked.part.count > 0) {
            self.confirm_part(part, records, fx);
        }
    }

    /// A run: to sessions that need nothing but copies as a run, to others message by message. Returns how many need not wait;
    /// those that have to are answered on their own.
    fn on_packed_run(
        &mut self,
        sent: Sent,
        (entry, bytes): (&Entry, &[u8]),
        parts: &[Size],
        last: &mut Option<Arc<Route>>,
        now: Time,
        fx: &mut Effects,
    ) -> u32 {
        let mut dealt_with = entry.run;
        let mut run = entry.run(bytes);
        let must_hold = self.joins.must_hold(run.topic.as_bytes(), sent.from);
        let mut repeats = core::mem::take(&mut self.scratch.repeats);
        list_packets(parts, &mut repeats);
        let route = if must_hold {
            None
        } else {
            Some(self.route_of_packed(run.topic, sent.hash, last))
        };
        // With a store a group gets its messages one by one.
        let group = route.as_ref().filter(|_| self.durable.is_none());
        let group = group.and_then(|route| route.only_group());
        if let Some(route) = route.filter(|route| route.targets.is_empty() || group.is_some()) {
            self.counters.peer_runs += 1;
            run.is_for_one = route.plain.len() == 1;
            self.give_run(&route.plain, run, &mut repeats, now, fx);
            if let Some(group) = group {
                self.give_run_to_group(group, run, &mut repeats, now, fx);
            }
            *last = Some(route);
        } else {
            dealt_with = 0;
            for repeat in &repeats {
                let single = Entry {
                    payload_len: repeat.payload_len,
                    ..*entry
                };
                let packet = bytes.get(repeat.start..repeat.end).unwrap_or_default();
                let mut publication = single.publication(packet);
                dealt_with += self.on_packed_publish(sent, &mut publication, last, now, fx);
            }
        }
        repeats.clear();
        self.scratch.repeats = repeats;
        dealt_with
    }

    /// `last`: the route of the message before, since many publishers repeat themselves, or one that was looked up ahead.
    fn route_of_packed(
        &mut self,
        topic: Topic<'_>,
        hash: u64,
        last: &mut Option<Arc<Route>>,
    ) -> Arc<Route> {
        match last.take() {
            Some(route)
                if route.hash == hash && self.is_route_to_bytes(&route, topic.as_bytes()) =>
            {
                route
            }
            Some(_) | None => self.lookup_hashed(topic, hash),
        }
    }

    /// `last`: see [`Shard::route_of_packed`]. Returns 0 if it has to wait, else 1.
    fn on_packed_publish(
        &mut self,
        Sent { from, asked, hash }: Sent,
        publication: &mut Publication<'_>,
        last: &mut Option<Arc<Route>>,
        now: Time,
        fx: &mut Effects,
    ) -> u32 {
        let topic = publication.parts.topic;
        if self.joins.must_hold(topic.as_bytes(), from) {
            let message = publication.message().clone();
            self.joins.hold(message, from, asked.map(Asked::on_its_own));
            return 0;
        }
        let route = self.route_of_packed(topic, hash, last);
        publication.is_for_one = route.plain.len() + route.targets.len() == 1;
        self.fan_out(&route, publication, now, fx);
        *last = Some(route);
        1
    }
}

/// What is known of a message, or a run of them, besides its packet.
#[derive(Debug, Clone, Copy)]
struct Sent {
    from: usize,
    asked: Option<Asked>,
    /// Of its topic.
    hash: u64,
}

/// What a pack's shard has asked for with the messages that are being dealt with.
#[derive(Debug, Clone, Copy)]
struct Asked {
    part: Part,
    /// How far the batch was before.
    records: usize,
}

impl Asked {
    fn of(from: usize, publish: NonZeroU64, fx: &Effects) -> Option<Self> {
        let part = Part {
            shard: u8::try_from(from).ok()?,
            publish,
            count: 0,
        };
        Some(Self {
            part,
            records: fx.store.progress(),
        })
    }

    const fn on_its_own(self) -> Ask {
        Ask {
            publish: self.part.publish,
            origin: self.part.shard,
            answer: true,
            doubtful: false,
        }
    }
}

/// Packs that came from others, kept for what this shard has to send: some hundred kilobytes.
const PACKS_KEPT: usize = 16;
