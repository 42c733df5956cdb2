//! Shared subscriptions: the groups. Their members' side is in `membership.rs`.
//!
//! A group lives on the shard that its whole filter hashes to, and owns a queue: members
//! are offered messages only while they are online and have room, and what a member leaves unacknowledged
//! comes back and goes to another.
//!
//! ```text
//!   publish ─▶ group's queue ── Offer ──▶ member's shard ─▶ its session, its window
//!                  ▲   ▲                        │
//!                  │   └─────── Credit ─────────┤ acknowledged, or refused: one more may come
//!                  └─────────── Return ─────────┘ connection lost: QoS 1 unacknowledged, and all not yet sent
//! ```
//! A QoS 2 message that was sent stays with its member's session [MQTT-4.8.2-4] and ends with it [MQTT-4.8.2-5].
//!
//! Map: `membership` is what the shard of a member does; `sharing` gives messages out that need not wait, single ones and runs;
//! `waiting` is about runs that have to.

pub(crate) mod membership;
pub(crate) mod sharing;
mod waiting;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::message::Kept;
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::record::BodyId;
use crate::routing::effective_qos;
use crate::routing::interest::InterestKey;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::shard::{Shard, Subscriber};
use crate::time::Time;

/// One shared subscription.
///
/// With a durable member it is durable itself: what waits in its queue, and what was offered and is not done, is recorded.
#[derive(Debug)]
pub(crate) struct Group {
    /// The whole filter.
    pub(crate) filter: Arc<str>,
    members: Vec<Member>,
    /// In the order of their sequence numbers.
    pub(crate) queue: VecDeque<Waiting>,
    durable: bool,
    /// Recorded messages that members have, by sequence number.
    pub(crate) offered: BTreeMap<u64, BodyId>,
    queue_bytes: usize,
    next_sequence: u64,
    /// The member after the one that got the last message.
    turn: usize,
}

#[derive(Debug)]
struct Member {
    shard: usize,
    session: Key,
    options: SubscriptionOptions,
    online: bool,
    /// QoS 1 and 2 messages that may be offered; `window` at most.
    credit: u32,
    window: u32,
    /// Whether its session outlives its connections.
    durable: bool,
}

/// A session that subscribes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupJoin {
    pub(crate) session: Key,
    pub(crate) options: SubscriptionOptions,
    /// Its credit, if it is online.
    pub(crate) window: Option<u32>,
    /// The SUBACK that waits for the answer.
    pub(crate) ticket: Key,
    /// Whether its session outlives its connections.
    pub(crate) durable: bool,
}

/// A message in a group's queue.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) sequence: u64,
    pub(crate) message: Kept,
    /// Set if it is recorded.
    pub(crate) body: Option<BodyId>,
}

impl Group {
    const fn new(filter: Arc<str>) -> Self {
        Self {
            filter,
            members: Vec::new(),
            queue: VecDeque::new(),
            durable: false,
            offered: BTreeMap::new(),
            queue_bytes: 0,
            next_sequence: 0,
            turn: 0,
        }
    }

    fn member(&mut self, shard: usize, session: Key) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|m| m.shard == shard && m.session == session)
    }

    pub(crate) const fn is_durable(&self) -> bool {
        self.durable
    }

    /// Looks at its members again; returns whether it was durable, and is.
    pub(crate) fn update_durable(&mut self) -> (bool, bool) {
        let was = self.durable;
        self.durable = self.members.iter().any(|member| member.durable);
        (was, self.durable)
    }

    /// A member has room for so many more messages.
    pub(crate) fn credit(&mut self, shard: usize, session: Key, count: u32) {
        if let Some(member) = self.member(shard, session) {
            member.credit = (member.credit + count).min(member.window);
        }
    }

    /// The next member that can take a message of this QoS, in turn.
    fn pick(&mut self, published: QoS) -> Option<&mut Member> {
        let count = self.members.len();
        // Behind the end once members have left.
        let mut at = if self.turn < count { self.turn } else { 0 };
        for _ in 0..count {
            let next = if at + 1 < count { at + 1 } else { 0 };
            let can_take = self.members.get(at).is_some_and(|member| {
                member.online
                    && (effective_qos(published, member.options.qos) == QoS::AtMostOnce
                        || member.credit > 0)
            });
            if can_take {
                self.turn = next;
                return self.members.get_mut(at);
            }
            at = next;
        }
        None
    }

    /// Puts a message that came back into its place.
    pub(crate) fn take_back(&mut self, waiting: Waiting) {
        let at = self
            .queue
            .partition_point(|other| other.sequence < waiting.sequence);
        self.queue_bytes += waiting.message.size();
        self.queue.insert(at, waiting);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        self.queue_bytes = self.queue_bytes.saturating_sub(waiting.message.size());
        Some(waiting)
    }
}

impl Shard {
    /// A message matches the group's filter.
    pub(crate) fn publish_to_group(
        &mut self,
        key: Key,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let qos = publication.parts.qos;
        if qos == QoS::AtMostOnce && !group.members.iter().any(|member| member.online) {
            self.counters.dropped_offline += 1;
            return;
        }
        if self.offer_at_once(key, publication, now, fx) {
            return;
        }
        let limits = &self.config.limits;
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let message = publication.held();
        let size = message.size();
        if group.queue.len() >= limits.group_queue_messages_max
            || group.queue_bytes + size > limits.group_queue_bytes_max
        {
            self.counters.dropped_queue_full += 1;
            return;
        }
        let mut body = None;
        if let Some(durable) = &mut self.durable {
            group.next_sequence = durable.next_number();
            body = durable.record_group_queued(group, group.next_sequence, publication, fx);
        }
        let sequence = group.next_sequence;
        group.next_sequence += 1;
        group.queue_bytes += size;
        self.memory_bytes += size;
        group.queue.push_back(Waiting {
            sequence,
            message,
            body,
        });
        self.pump_group(key, now, fx);
    }

    pub(crate) fn on_group_join(
        &mut self,
        from: usize,
        filter: &Arc<str>,
        join: GroupJoin,
        now: Time,
        fx: &mut Effects,
    ) {
        let GroupJoin {
            session,
            options,
            window,
            ticket,
            durable,
        } = join;
        let key = self.group_of(filter);
        if let Some(group) = self.groups.get_mut(key) {
            match group.member(from, session) {
                Some(member) => (member.options, member.durable) = (options, durable),
                None => group.members.push(Member {
                    shard: from,
                    session,
                    options,
                    online: window.is_some(),
                    credit: window.unwrap_or(0),
                    window: window.unwrap_or(0),
                    durable,
                }),
            }
            self.group_changed(key, fx);
        }
        self.tell_taken(from, ticket, fx);
        if from == self.config.index {
            // It hears of that first, and then gets what waits.
            let count = 0;
            let pump = Peer::GroupCredit {
                group: key,
                session,
                count,
            };
            self.send_to(from, pump, fx);
        } else {
            self.pump_group(key, now, fx);
        }
    }

    pub(crate) fn on_group_leave(
        &mut self,
        from: usize,
        filter: &str,
        (session, ticket): (Key, Key),
        fx: &mut Effects,
    ) {
        self.let_member_go((from, session), filter, fx);
        self.tell_taken(from, ticket, fx);
    }

    /// Who restores its sessions, or ends one, has no answer to send, and waits for nothing.
    fn tell_taken(&mut self, from: usize, ticket: Key, fx: &mut Effects) {
        if ticket != Key::NOBODY {
            self.send_to(from, Peer::GroupTaken { ticket }, fx);
        }
    }

    fn let_member_go(&mut self, (from, session): (usize, Key), filter: &str, fx: &mut Effects) {
        let Some(key) = self.groups_by_filter.get(filter).copied() else {
            return;
        };
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        group
            .members
            .retain(|m| m.shard != from || m.session != session);
        let is_empty = group.members.is_empty();
        self.group_changed(key, fx);
        let Some(group) = self.groups.get_mut(key).filter(|_| is_empty) else {
            return;
        };
        self.memory_bytes = self.memory_bytes.saturating_sub(group.queue_bytes);
        self.groups.remove(key);
        self.groups_by_filter.remove(filter);
        let plain = plain_filter(filter);
        if let Some(plain) = self.subscriptions.find(plain) {
            self.remove_subscription(plain, Subscriber::Group(key));
        }
    }

    pub(crate) fn on_group_online(
        &mut self,
        (from, session): (usize, Key),
        filter: &str,
        (window, durable): (u32, bool),
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(key) = self.groups_by_filter.get(filter).copied() else {
            return;
        };
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        if let Some(member) = group.member(from, session) {
            (member.online, member.credit, member.window) = (true, window, window);
            member.durable = durable;
        }
        self.group_changed(key, fx);
        self.pump_group(key, now, fx);
    }

    pub(crate) fn on_group_offline(&mut self, from: usize, filter: &str, session: Key) {
        let Some(key) = self.groups_by_filter.get(filter).copied() else {
            return;
        };
        let member = self
            .groups
            .get_mut(key)
            .and_then(|group| group.member(from, session));
        if let Some(member) = member {
            member.online = false;
        }
    }

    pub(crate) fn on_group_return(
        &mut self,
        key: Key,
        messages: Vec<(u64, Kept)>,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let before = group.queue_bytes;
        for (sequence, message) in messages {
            let mut body = group.offered.remove(&sequence);
            if let (None, Some(durable)) = (body, &mut self.durable) {
                let mut publication = Publication::of_kept(&message);
                body = durable.record_group_queued(group, sequence, &mut publication, fx);
            }
            group.take_back(Waiting {
                sequence,
                message,
                body,
            });
        }
        self.memory_bytes += group.queue_bytes - before;
        self.pump_group(key, now, fx);
    }

    pub(crate) fn on_group_credit(
        &mut self,
        from: usize,
        key: Key,
        session: Key,
        count: u32,
        now: Time,
        fx: &mut Effects,
    ) {
        if let Some(group) = self.groups.get_mut(key) {
            group.credit(from, session, count);
        }
        self.pump_group(key, now, fx);
    }

    /// Offers what waits, as far as members have room.
    pub(crate) fn pump_group(&mut self, key: Key, now: Time, fx: &mut Effects) {
        if self.is_recovering() {
            // Members may have some of it.
            return;
        }
        loop {
            let Some(group) = self.groups.get_mut(key) else {
                return;
            };
            let Some(front) = group.queue.front() else {
                return;
            };
            let qos = front.message.qos();
            if front.message.is_expired(now) {
                //= mqtt5 3.3.2-5
                self.counters.dropped_expired += 1;
                let Some(gone) = group.pop() else {
                    return;
                };
                group.record_done(gone.sequence, gone.body, fx);
                self.memory_bytes = self.memory_bytes.saturating_sub(gone.message.size());
                continue;
            }
            if self.durable.is_none() {
                if !self.offer_front(key, now, fx) {
                    return;
                }
                continue;
            }
            let Some(member) = group.pick(qos) else {
                return;
            };
            let acknowledged = effective_qos(qos, member.options.qos) != QoS::AtMostOnce;
            if acknowledged {
                member.credit = member.credit.saturating_sub(1);
            }
            let (shard, session, options) = (member.shard, member.session, member.options);
            let Some(waiting) = group.pop() else {
                return;
            };
            let stored = group.record_offered(&waiting, acknowledged, fx);
            let Waiting {
                sequence, message, ..
            } = waiting;
            self.memory_bytes = self.memory_bytes.saturating_sub(message.size());
            let offer = Peer::GroupOffer {
                session,
                group: key,
                sequence,
                message: message.to_message(),
                options,
                stored,
            };
            self.send_to(shard, offer, fx);
        }
    }

    fn group_of(&mut self, filter: &Arc<str>) -> Key {
        if let Some(key) = self.groups_by_filter.get(filter) {
            return *key;
        }
        let key = self.groups.insert(Group::new(filter.clone()));
        self.groups_by_filter.insert(filter.clone(), key);
        let plain = plain_filter(filter);
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            subscription_id: 0,
        };
        self.subscriptions
            .insert(plain, Subscriber::Group(key), options);
        self.interest
            .add(InterestKey::of_filter(plain), self.config.index);
        key
    }
}

/// The filter behind `$share/name/`.
pub(crate) fn plain_filter(filter: &str) -> &str {
    filter.splitn(3, '/').nth(2).unwrap_or(filter)
}
