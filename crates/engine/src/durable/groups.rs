//! Records of shared subscriptions: their queues, and what their members have of them.
//!
//! A message is the group's until a member has finished or dropped it, or holds it for good: it is being sent at
//! QoS 2. Then three records follow each other in the log, and wherever it is cut, the message belongs to one of the two:
//!
//! ```text
//!   member's shard    Queued ────┬──────── both there ─▶ PUBLISH ─▶ PUBREC ─▶ Released
//!                        Held ▼  │ stable         ▲ LetGo
//!   group's shard          GroupDone ─────────────┘
//! ```
//! Before `Queued` it is the group's; from there on the member's, whose shard says so again after a crash. `Released`, or the end of
//! the session, takes it from the member, so `GroupDone` has to be in the log before it. Therefore the PUBLISH waits for
//! the group's answer besides its own batch; the answer leaves behind the group's record, which needs not be stable.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::clients::client_slots::{owner_of_group, slot_of};
use crate::collections::slab::Key;
use crate::effects::{Effects, StoreTicket};
use crate::grouping::{Group, GroupJoin, Waiting, plain_filter};
use crate::message::{Kept, Message};
use crate::peering::peers::{GroupEnd, Peer, StoredOffer};
use crate::publication::Publication;
use crate::record::{BodyId, Record};
use crate::routing::interest::InterestKey;
use crate::sending::delivery::GroupTag;
use crate::shard::Shard;
use crate::time::Time;

use super::Durable;

/// Queues of groups that have no member yet: the shard is being restored.
pub(super) type RestoredGroups = BTreeMap<Arc<str>, BTreeMap<u64, (BodyId, Message)>>;

/// A message that a session holds for good, until its group has let it go.
#[derive(Debug, Clone, Copy)]
pub(super) struct LettingGo {
    /// The group's.
    shard: usize,
    /// The batch with what the session has of it.
    batch: StoreTicket,
}

impl Durable {
    /// The batch of the oldest message that a group has yet to let go for this session; nothing that waits for it, or for
    /// later ones, may leave.
    pub(super) fn first_letting_go(&self, session: Key) -> Option<StoreTicket> {
        if self.letting_go.is_empty() {
            return None;
        }
        Some(self.letting_go.get(&session)?.front()?.batch)
    }

    /// The session has ended.
    pub(crate) fn forget_letting_go(&mut self, session: Key) {
        self.letting_go.remove(&session);
    }

    /// A message for a group; `None` if it is not recorded.
    pub(crate) fn record_group_queued(
        &mut self,
        group: &Group,
        sequence: u64,
        publication: &mut Publication<'_>,
        fx: &mut Effects,
    ) -> Option<BodyId> {
        if !group.is_durable() || publication.parts.qos == QoS::AtMostOnce {
            return None;
        }
        publication.is_taken_by(slot_of(&group.filter));
        let body = self.body_of(publication, fx)?;
        fx.store.push(&Record::GroupQueued {
            group: &group.filter,
            sequence,
            body,
        });
        Some(body)
    }
}

impl Group {
    /// A message is the group's no longer.
    pub(crate) fn record_done(&self, sequence: u64, body: Option<BodyId>, fx: &mut Effects) {
        if let Some(body) = body {
            fx.store.push(&Record::GroupDone {
                group: &self.filter,
                sequence,
                body,
            });
        }
    }

    /// A message goes to a member. If that will not acknowledge it, it is done.
    pub(crate) fn record_offered(
        &mut self,
        waiting: &Waiting,
        acknowledged: bool,
        fx: &mut Effects,
    ) -> Option<Box<StoredOffer>> {
        let body = waiting.body?;
        if !acknowledged {
            self.record_done(waiting.sequence, Some(body), fx);
            return None;
        }
        self.offered.insert(waiting.sequence, body);
        Some(Box::new(StoredOffer {
            filter: self.filter.clone(),
            body,
        }))
    }

    /// Nothing of it is recorded any longer.
    fn stop_storing(&mut self, fx: &mut Effects) {
        for (sequence, body) in core::mem::take(&mut self.offered) {
            self.record_done(sequence, Some(body), fx);
        }
        let mut queue = core::mem::take(&mut self.queue);
        for waiting in &mut queue {
            self.record_done(waiting.sequence, waiting.body.take(), fx);
        }
        self.queue = queue;
    }
}

impl Shard {
    /// The members of a group have changed; perhaps it is durable from now on, or no longer.
    pub(crate) fn group_changed(&mut self, key: Key, fx: &mut Effects) {
        let (Some(durable), Some(group)) = (&mut self.durable, self.groups.get_mut(key)) else {
            return;
        };
        let change = group.update_durable();
        let entry = InterestKey::of_filter(plain_filter(&group.filter));
        let groups = &mut durable.slot(slot_of(&group.filter)).groups;
        match change {
            (false, true) => {
                groups.push(key);
                self.interest.add_durable(entry, self.config.index);
            }
            (true, false) => {
                groups.retain(|other| *other != key);
                self.interest.remove_durable(entry, self.config.index);
                group.stop_storing(fx);
            }
            (true, true) | (false, false) => {}
        }
    }

    /// A message of a durable group is not the group's any longer.
    pub(crate) fn on_group_done(
        &mut self,
        from: usize,
        filter: &str,
        sequence: u64,
        end: GroupEnd,
        now: Time,
        fx: &mut Effects,
    ) {
        self.let_go_of(filter, sequence, fx);
        match end {
            GroupEnd::Finished(session) => {
                if let Some(key) = self.groups_by_filter.get(filter).copied() {
                    self.on_group_credit(from, key, session, 1, now, fx);
                }
            }
            GroupEnd::Held(session) => self.send_to(from, Peer::GroupLetGo { session }, fx),
            GroupEnd::Over => {}
        }
    }

    fn let_go_of(&mut self, filter: &str, sequence: u64, fx: &mut Effects) {
        let recovery = self.durable.as_mut().and_then(|d| d.recovery.as_mut());
        let restored = recovery.and_then(|recovery| recovery.groups.get_mut(filter));
        if let Some((body, _)) = restored.and_then(|queue| queue.remove(&sequence)) {
            fx.store.push(&Record::GroupDone {
                group: filter,
                sequence,
                body,
            });
        }
        let Some(key) = self.groups_by_filter.get(filter).copied() else {
            return;
        };
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let body = group.offered.remove(&sequence);
        group.record_done(sequence, body, fx);
    }

    /// A group of shard `from` has let the oldest message go that it was asked about for this session.
    pub(crate) fn on_group_let_go(&mut self, from: usize, session: Key, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let Some(open) = durable.letting_go.get_mut(&session) else {
            return;
        };
        if let Some(at) = open.iter().position(|message| message.shard == from) {
            open.remove(at);
        }
        if open.is_empty() {
            durable.letting_go.remove(&session);
        }
        if let Some(conn) = self.sessions.get(session).and_then(|s| s.connection) {
            self.lift_barrier(conn, fx);
        }
    }

    /// What a session has of durable groups is done: it ends, or has it for good.
    pub(crate) fn messages_of_groups_done(&mut self, session: Key, fx: &mut Effects) {
        let Some(state) = self.sessions.get(session) else {
            return;
        };
        let in_flight = state.outbound.messages();
        let places: Vec<(Arc<str>, u64)> = in_flight
            .filter_map(|delivery| delivery.terms.stored_in())
            .map(|(filter, sequence)| (Arc::clone(filter), sequence))
            .collect();
        for (filter, sequence) in places {
            self.group_done(filter, sequence, GroupEnd::Over, fx);
        }
    }

    /// A session holds a message for good from now on, and that is recorded; if a durable group has given it, that lets it go.
    /// What was written last to the client waits for it.
    pub(crate) fn hold_for_good(&mut self, session: Key, tag: Option<GroupTag>, fx: &mut Effects) {
        let Some(tag) = tag else {
            return;
        };
        let (Some(filter), Some(durable)) = (tag.stored, &mut self.durable) else {
            return;
        };
        let shard = owner_of_group(&filter, self.config.shard_count);
        let mut end = GroupEnd::Over;
        if shard != self.config.index {
            // This shard would have its record before anything else happens.
            end = GroupEnd::Held(session);
            let batch = fx.store.newest();
            let open = durable.letting_go.entry(session).or_default();
            open.push_back(LettingGo { shard, batch });
        }
        self.group_done(filter, tag.sequence, end, fx);
    }

    /// Tells a group's owner that a message is not the group's any longer.
    fn group_done(&mut self, filter: Arc<str>, sequence: u64, end: GroupEnd, fx: &mut Effects) {
        let owner = owner_of_group(&filter, self.config.shard_count);
        let done = Peer::GroupDone {
            filter,
            sequence,
            end,
        };
        self.send_to(owner, done, fx);
    }

    /// A restored session is a member of its groups again, and says what it has of them.
    pub(super) fn rejoin_groups(&mut self, session: Key, fx: &mut Effects) {
        for membership in self.memberships_of(session) {
            let join = GroupJoin {
                session,
                options: membership.options,
                window: None,
                ticket: Key::NOBODY,
                durable: true,
            };
            let owner = self.owner_of_group(&membership.filter);
            let filter = membership.filter;
            self.send_to(owner, Peer::GroupJoin { filter, join }, fx);
        }
        self.messages_of_groups_done(session, fx);
    }

    /// All members are known, and what they have: the rest is to be given out. What belongs to a group without
    /// members is gone with the last of them.
    pub(super) fn adopt_restored_groups(
        &mut self,
        groups: RestoredGroups,
        now: Time,
        fx: &mut Effects,
    ) {
        for (filter, queue) in groups {
            let key = self.groups_by_filter.get(&filter).copied();
            for (sequence, (body, message)) in queue {
                match key.and_then(|key| self.groups.get_mut(key)) {
                    Some(group) if group.is_durable() => {
                        self.memory_bytes += message.size();
                        group.take_back(Waiting {
                            sequence,
                            message: Kept::of(message),
                            body: Some(body),
                        });
                    }
                    Some(_) | None => fx.store.push(&Record::GroupDone {
                        group: &filter,
                        sequence,
                        body,
                    }),
                }
            }
            if let Some(key) = key {
                self.pump_group(key, now, fx);
            }
        }
    }

    /// All that there is of a durable group.
    pub(super) fn push_group(&self, key: Key, fx: &mut Effects) {
        let Some(group) = self.groups.get(key) else {
            return;
        };
        let waiting = group.queue.iter();
        let waiting = waiting.filter_map(|waiting| Some((waiting.sequence, waiting.body?)));
        let offered = group
            .offered
            .iter()
            .map(|(sequence, body)| (*sequence, *body));
        for (sequence, body) in waiting.chain(offered) {
            fx.store.push(&Record::GroupQueued {
                group: &group.filter,
                sequence,
                body,
            });
        }
    }
}
