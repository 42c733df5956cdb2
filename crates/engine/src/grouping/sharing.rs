//! Messages of a shared subscription that need not wait for a member: single ones, and runs.
//!
//! ```text
//! run             | 1 | 2 | 3 | 4 | 5 | 6 |        two members, in turn
//! outbox of one   | 1 | 3 | 5 |
//! of the other    | 2 | 4 | 6 |
//! ```
//! Of a run each member gets what it would get message by message; its session, its connection and its buffer are
//! looked up once. What takes more than a copy goes to its member as a single message does, in its turn. The part of a
//! member on another shard crosses as one piece, and is copied there (`peering/packing/offering.rs`).

use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::clients::client_session::ClientSession;
use crate::clients::connection::Connection;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::grouping::Group;
use crate::message::Form;
use crate::packets::repeats::{Repeat, Run};
use crate::peering::packing::Purpose;
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::routing::effective_qos;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::delivery::{Delivery, GroupTag, Terms};
use crate::sending::express::{FIRST_BYTE, copy};
use crate::sending::writing::{give_buffer, to_be_written};
use crate::shard::Shard;
use crate::time::Time;

/// Which member gets a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) shard: usize,
    pub(crate) session: Key,
    pub(crate) options: SubscriptionOptions,
    /// The message's place in the group's order.
    pub(crate) sequence: u64,
    /// The member has it, or it is on its way to the member's shard.
    is_given: bool,
}

/// A member on this shard, of a group on any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// The shard that owns the group.
    pub(crate) owner: usize,
    pub(crate) group: Key,
    pub(crate) session: Key,
    pub(crate) options: SubscriptionOptions,
}

impl Member {
    /// What the member remembers of the message with this place in the group's order.
    pub(crate) const fn tag(self, sequence: u64) -> GroupTag {
        GroupTag {
            owner: self.owner,
            group: self.group,
            sequence,
            stored: None,
        }
    }
}

/// What a member gets of a run.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// In the group's order.
    pub(super) places: Vec<u64>,
    pub(super) list: Vec<Repeat>,
    /// Its packets, if they were put together.
    pub(super) bytes: Vec<u8>,
}

impl Part {
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.list.clear();
        self.bytes.clear();
    }
}

impl Share {
    fn is_for_same(&self, other: &Self) -> bool {
        (self.shard, self.session) == (other.shard, other.session)
    }
}

impl Group {
    /// Whether a message may go to a member without being kept here.
    fn gives_at_once(&self) -> bool {
        !self.durable && self.queue.is_empty()
    }

    /// Counts a new message as given to the next member with room.
    fn give_to_next(&mut self, published: QoS) -> Option<Share> {
        let share = self.share(published, self.next_sequence)?;
        self.next_sequence += 1;
        Some(share)
    }

    /// Counts the message with this place as given to the next member with room.
    pub(super) fn share(&mut self, published: QoS, sequence: u64) -> Option<Share> {
        let member = self.pick(published)?;
        if effective_qos(published, member.options.qos) != QoS::AtMostOnce {
            member.credit = member.credit.saturating_sub(1);
        }
        Some(Share {
            shard: member.shard,
            session: member.session,
            options: member.options,
            sequence,
            is_given: false,
        })
    }
}

impl Shard {
    /// Gives a message to the next member without keeping it, if nothing waits in front of it, a member has room, and
    /// nothing is to be recorded.
    pub(super) fn offer_at_once(
        &mut self,
        key: Key,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> bool {
        let Some(group) = self.groups.get_mut(key) else {
            return true;
        };
        if self.durable.is_some() || !group.gives_at_once() || publication.parts.is_expired(now) {
            return false;
        }
        let Some(share) = group.give_to_next(publication.parts.qos) else {
            return false;
        };
        self.counters.group_messages_at_once += u64::from(share.shard == self.config.index);
        self.offer(key, share, publication, now, fx);
        true
    }

    /// Gives a message to its member, on whichever shard.
    pub(super) fn offer(
        &mut self,
        group: Key,
        share: Share,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        let Share {
            shard,
            session,
            options,
            sequence,
            ..
        } = share;
        if shard == self.config.index {
            let tag = GroupTag {
                owner: shard,
                group,
                sequence,
                stored: None,
            };
            self.take_offer(session, tag, publication, options, now, fx);
            return;
        }
        let purpose = || Purpose::Offer {
            session,
            group,
            sequence,
            options,
        };
        if !self.send_packed(shard, purpose, publication, fx) {
            let offer = Peer::GroupOffer {
                session,
                group,
                sequence,
                message: publication.message().clone(),
                options,
                stored: None,
            };
            self.send_to(shard, offer, fx);
        }
    }

    /// Gives the messages of a run to the members in turn; the group is the only one that gets them.
    pub(crate) fn give_run_to_group(
        &mut self,
        key: Key,
        run: Run<'_>,
        list: &mut [Repeat],
        now: Time,
        fx: &mut Effects,
    ) {
        let mut shares = core::mem::take(&mut self.scratch.shares);
        if let Some(group) = self.groups.get_mut(key)
            && self.durable.is_none()
            && group.gives_at_once()
        {
            shares.extend(list.iter().map_while(|_| group.give_to_next(run.qos)));
        }
        let here = |share: &&Share| share.shard == self.config.index;
        self.counters.group_messages_at_once += shares.iter().filter(here).count() as u64;
        self.give_shares(key, &mut shares, run, list, now, fx);
        let rest = list.get_mut(shares.len()..).unwrap_or_default();
        if run.qos != QoS::AtMostOnce {
            run.keep(rest);
        }
        for repeat in rest {
            let mut publication = run.publication(repeat);
            publication.is_for_one = true;
            self.publish_to_group(key, &mut publication, now, fx);
        }
        shares.clear();
        self.scratch.shares = shares;
    }

    /// Gives messages of a run, each to whom it is counted for.
    pub(super) fn give_shares(
        &mut self,
        key: Key,
        shares: &mut [Share],
        run: Run<'_>,
        list: &mut [Repeat],
        now: Time,
        fx: &mut Effects,
    ) {
        for at in 0..shares.len() {
            let rest = shares.get_mut(at..).unwrap_or_default();
            if rest.first().is_some_and(|share| share.is_given) {
                continue;
            }
            self.send_share(key, rest, at, run, list, fx);
            if let (Some(share), Some(repeat)) = (shares.get(at), list.get_mut(at))
                && !share.is_given
            {
                let mut publication = run.publication(repeat);
                publication.is_for_one = true;
                self.offer(key, *share, &mut publication, now, fx);
            }
        }
    }

    /// Gives the first share's member what it gets of the run from there (`at`) on, as one piece; nothing if anything else than a
    /// copy is needed.
    fn send_share(
        &mut self,
        group: Key,
        shares: &mut [Share],
        at: usize,
        run: Run<'_>,
        list: &[Repeat],
        fx: &mut Effects,
    ) {
        let Some(first) = shares.first().copied() else {
            return;
        };
        let same = shares
            .iter_mut()
            .zip(list.get(at..).unwrap_or_default())
            .filter(|(share, _)| share.is_for_same(&first))
            .map(|(share, repeat)| {
                share.is_given = true;
                (share.sequence, repeat)
            });
        if first.shard == self.config.index {
            let member = Member {
                owner: first.shard,
                group,
                session: first.session,
                options: first.options,
            };
            let mut same = same;
            self.copy_to_member(member, run, &mut same, fx);
            self.queue_for_member(member, run, &mut same, fx);
        } else {
            self.send_offers(group, first, run, same, fx);
        }
    }

    /// Copies messages of a run, with their places in the group's order, into the outbox of a member on this shard, as far as its window
    /// allows; nothing if anything else than a copy is needed. Takes out of `messages` what it copies, and returns how many.
    pub(crate) fn copy_to_member<'a>(
        &mut self,
        member: Member,
        run: Run<'_>,
        messages: impl Iterator<Item = (u64, &'a Repeat)>,
        fx: &mut Effects,
    ) -> usize {
        //= mqtt5 4.8.2-3
        let qos = effective_qos(run.qos, member.options.qos);
        let form = Form {
            v5: run.form.v5,
            has_id: qos != QoS::AtMostOnce,
        };
        if member.options.subscription_id != 0 || form != run.form {
            return 0;
        }
        let Some(session) = self.sessions.get_mut(member.session) else {
            return 0;
        };
        let Some((conn, connection)) = session
            .connection
            .and_then(|conn| Some((conn, self.connections.get_mut(conn)?)))
        else {
            return 0;
        };
        let room = if form.has_id {
            session.outbound.room()
        } else {
            usize::MAX
        };
        let outbox_max = self.config.limits.outbox_bytes_max;
        if room == 0 || !takes_copies(session, connection, form, run.bytes.len(), outbox_max) {
            // Each may still have room there on its own.
            return 0;
        }
        give_buffer(connection, &mut self.scratch.pool);
        let out = connection.outbox.bytes();
        let before = out.len();
        let (mut count, mut held_bytes) = (0, 0);
        let mut part = core::mem::take(&mut self.scratch.part);
        for (sequence, repeat) in messages.take(room) {
            let start = out.len() - before;
            let first_byte = FIRST_BYTE | (qos as u8) << 1;
            copy(out, run.packet(repeat), first_byte, None, 0);
            count += 1;
            if form.has_id {
                let end = out.len() - before;
                part.places.push(sequence);
                part.list
                    .push(Repeat::of_packed(start, end, repeat.payload_len));
            }
        }
        if form.has_id {
            let bytes = out.get_mut(before..).unwrap_or_default();
            held_bytes = part.put_into_window(session, member, run, bytes);
        }
        part.clear();
        self.scratch.part = part;
        let grown = out.len() - before;
        connection.counted_bytes += grown;
        self.memory_bytes += grown + held_bytes;
        if count > 0 {
            to_be_written(connection, conn, fx);
        }
        self.counters.publishes_sent += count as u64;
        self.counters.express_deliveries += count as u64;
        count
    }
}

impl Part {
    /// Takes identifiers for messages whose packets were copied, and puts them right there. Returns what that adds to the shard's
    /// memory.
    fn put_into_window(
        &self,
        session: &mut ClientSession,
        member: Member,
        run: Run<'_>,
        copied: &mut [u8],
    ) -> usize {
        let (mut at, mut held_bytes) = (0, 0);
        loop {
            // Another member gets them if this one goes.
            let run = Run {
                bytes: &*copied,
                ..run
            };
            let form = run.form;
            let Some(messages) = self.keep_from(at, member, run) else {
                return held_bytes;
            };
            held_bytes += messages.held_bytes();
            let mut repeats = self.list.iter().skip(at);
            at += messages.count();
            session.send(messages, |id| {
                if let Some(repeat) = repeats.next() {
                    repeat.put_id(copied, form, Some(id));
                }
            });
        }
    }

    /// The messages from the one at this place on, for the member to keep: as many as can be kept as one. `None`: there are no more.
    pub(super) fn keep_from(&self, at: usize, member: Member, run: Run<'_>) -> Option<Delivery> {
        let places = self.places.get(at..)?;
        let first = *places.first()?;
        let (stride, even) = strides(places);
        let list = self.list.get(at..at + even)?;
        let (kept, count) = run.keep_first(list)?;
        //= mqtt5 4.8.2-3
        let qos = effective_qos(run.qos, member.options.qos);
        let terms = Terms::of_group(qos, false, 0, member.tag(first));
        let count = u8::try_from(count).unwrap_or(u8::MAX);
        Some(Delivery::of_run(
            Some(kept),
            terms.of_several(count, stride),
        ))
    }
}

/// How far behind the one before it each of the first places stands, and how many places that is true of: a member that gets its messages in
/// turn mostly gets every fourth, or every second one.
fn strides(places: &[u64]) -> (u16, usize) {
    let gap = |first: u64, next: u64| {
        next.checked_sub(first)
            .and_then(|gap| u16::try_from(gap).ok())
    };
    let [first, second, ..] = places else {
        return (0, places.len());
    };
    let Some(stride) = gap(*first, *second) else {
        return (0, 1);
    };
    let pairs = places.iter().zip(places.iter().skip(1));
    let even = pairs.take_while(|(first, next)| gap(**first, **next) == Some(stride));
    (stride, 1 + even.count())
}

/// Whether a session takes packets of this form as they are, so many bytes of them, and nothing is in their way.
fn takes_copies(
    session: &ClientSession,
    connection: &Connection,
    form: Form,
    len: usize,
    outbox_max: usize,
) -> bool {
    //= mqtt5 3.1.2-24
    session.is_idle()
        && session.replays.is_empty()
        && connection.version().is_v5() == form.v5
        && connection.aliases_out.is_none()
        && len <= connection.packet_bytes_max as usize
        && connection.outbox.len() + len <= outbox_max
}
