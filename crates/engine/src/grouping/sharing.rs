//! Messages of a shared subscription that need not wait for a member: single ones, and runs.
//!
//! ```text
//! run             | 1 | 2 | 3 | 4 | 5 | 6 |        two members, in turn
//! outbox of one   | 1 | 3 | 5 |
//! of the other    | 2 | 4 | 6 |
//! ```
//! Of a run each member gets what it would get message by message; its session, its connection and its buffer are
//! looked up once. What takes more than a copy goes to its member as a single message does, in its turn.

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
use crate::shard::{Scratch, Shard};
use crate::time::Time;

/// Which member gets a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    shard: usize,
    session: Key,
    options: SubscriptionOptions,
    /// The message's place in the group's order.
    sequence: u64,
    /// The member has it.
    is_given: bool,
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

    /// Counts a message as given to the next member with room.
    fn give_to_next(&mut self, published: QoS) -> Option<Share> {
        let sequence = self.next_sequence;
        let member = self.pick(published)?;
        if effective_qos(published, member.options.qos) != QoS::AtMostOnce {
            member.credit = member.credit.saturating_sub(1);
        }
        let share = Share {
            shard: member.shard,
            session: member.session,
            options: member.options,
            sequence,
            is_given: false,
        };
        self.next_sequence += 1;
        Some(share)
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
        self.offer(key, share, publication, now, fx);
        true
    }

    fn offer(
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
            self.counters.group_messages_at_once += 1;
            self.take_offer(session, tag, publication, options, now, fx);
            return;
        }
        let purpose = Purpose::Offer {
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
        for at in 0..shares.len() {
            self.send_share(
                key,
                shares.get_mut(at..).unwrap_or_default(),
                at,
                run,
                list,
                fx,
            );
            if let (Some(share), Some(repeat)) = (shares.get(at), list.get_mut(at))
                && !share.is_given
            {
                let mut publication = run.publication(repeat);
                publication.is_for_one = true;
                self.offer(key, *share, &mut publication, now, fx);
            }
        }
        for repeat in list.iter_mut().skip(shares.len()) {
            let mut publication = run.publication(repeat);
            publication.is_for_one = true;
            self.publish_to_group(key, &mut publication, now, fx);
        }
        shares.clear();
        self.scratch.shares = shares;
    }

    /// Copies into the outbox of the first share's member what it gets of the run from there (`at`) on, as far as its window allows;
    /// nothing if anything else than a copy is needed.
    fn send_share(
        &mut self,
        group: Key,
        shares: &mut [Share],
        at: usize,
        run: Run<'_>,
        list: &[Repeat],
        fx: &mut Effects,
    ) {
        let Some(first) = shares.first().copied().filter(|first| !first.is_given) else {
            return;
        };
        //= mqtt5 4.8.2-3
        let qos = effective_qos(run.qos, first.options.qos);
        let form = Form {
            v5: run.form.v5,
            has_id: qos != QoS::AtMostOnce,
        };
        if first.shard != self.config.index
            || first.options.subscription_id != 0
            || form != run.form
        {
            return;
        }
        let Some(session) = self.sessions.get_mut(first.session) else {
            return;
        };
        let Some((conn, connection)) = session
            .connection
            .and_then(|conn| Some((conn, self.connections.get_mut(conn)?)))
        else {
            return;
        };
        let room = if form.has_id {
            session.outbound.room()
        } else {
            usize::MAX
        };
        let outbox_max = self.config.limits.outbox_bytes_max;
        if room == 0 || !takes_copies(session, connection, form, run.bytes.len(), outbox_max) {
            // Each may still have room there on its own.
            return;
        }
        give_buffer(connection, &mut self.scratch.pool);
        let out = connection.outbox.bytes();
        let before = out.len();
        let copies = Copies { group, qos, room };
        let list = list.get(at..).unwrap_or_default();
        let (count, held_bytes) = copies.write(shares, run, list, session, out, &mut self.scratch);
        let grown = out.len() - before;
        connection.counted_bytes += grown;
        self.memory_bytes += grown + held_bytes;
        if count > 0 {
            to_be_written(connection, conn, fx);
        }
        self.counters.publishes_sent += count;
        self.counters.express_deliveries += count;
        self.counters.group_messages_at_once += count;
    }
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

/// What a member gets of a run as mere copies.
#[derive(Debug, Clone, Copy)]
struct Copies {
    group: Key,
    qos: QoS,
    /// How many at most.
    room: usize,
}

impl Copies {
    /// Copies what is for the first share's member, and takes identifiers for it. Returns how many messages that are, and by how much
    /// the session's window has grown.
    fn write(
        self,
        shares: &mut [Share],
        run: Run<'_>,
        list: &[Repeat],
        session: &mut ClientSession,
        out: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> (u64, usize) {
        let Self { group, qos, room } = self;
        let (mut count, mut held_bytes) = (0, 0);
        let Some(first) = shares.first().copied() else {
            return (count, held_bytes);
        };
        let same = shares
            .iter_mut()
            .zip(list)
            .filter(|(share, _)| share.is_for_same(&first));
        for (share, repeat) in same.take(room) {
            let mut packet_id = None;
            if qos != QoS::AtMostOnce {
                let tag = scratch.boxed_tag(GroupTag {
                    owner: first.shard,
                    group,
                    sequence: share.sequence,
                    stored: None,
                });
                // Another member gets it if this one goes.
                let delivery = Delivery {
                    message: Some(run.message(repeat)),
                    body: None,
                    terms: Terms {
                        group: Some(tag),
                        ..Terms::bare(qos, false)
                    },
                };
                held_bytes += delivery.held_bytes();
                packet_id = session.outbound.send(qos == QoS::ExactlyOnce, delivery);
                debug_assert!(packet_id.is_some(), "there was room");
            }
            let first_byte = FIRST_BYTE | (qos as u8) << 1;
            copy(
                out,
                run.packet(repeat),
                first_byte,
                packet_id,
                run.topic.as_bytes().len(),
            );
            share.is_given = true;
            count += 1;
        }
        (count, held_bytes)
    }
}
