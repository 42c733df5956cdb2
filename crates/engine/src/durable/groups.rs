//! Records of shared subscriptions: their queues, and what their members have of them.
//!
//! A message is the group's until a member has finished or dropped it, or holds it for good: it is being sent at
//! QoS 2. The member's shard says so in the tick in which it records that; the group's record of it is behind the member's in
//! the log, so a crash between the two gives the message back to the member, and one before both to the group. It does not
//! wait until the member's record is stable: the PUBLISH does, and PUBREC, which takes the message out of the member's
//! session, must not be in the log before the group has let go.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::client_slots::{owner_of_group, slot_of};
use crate::delivery::GroupTag;
use crate::effects::Effects;
use crate::grouping::{Group, GroupJoin, Waiting, plain_filter};
use crate::interest::InterestKey;
use crate::message::Message;
use crate::peers::{Peer, StoredOffer};
use crate::publication::Publication;
use crate::record::{BodyId, Record};
use crate::shard::Shard;
use crate::slab::Key;
use crate::time::Time;

use super::Durable;

/// Queues of groups that have no member yet: the shard is being restored.
pub(super) type RestoredGroups = BTreeMap<Arc<str>, BTreeMap<u64, (BodyId, Message)>>;

impl Durable {
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

    /// A message of a durable group is finished, dropped, or its member holds it for good.
    pub(crate) fn on_group_done(
        &mut self,
        from: usize,
        filter: &str,
        sequence: u64,
        credit: Option<Key>,
        now: Time,
        fx: &mut Effects,
    ) {
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
        if let Some(session) = credit {
            group.credit(from, session);
            self.pump_group(key, now, fx);
        }
    }

    /// What a session has of durable groups is done: it ends, or has it for good.
    pub(crate) fn messages_of_groups_done(&mut self, session: Key, fx: &mut Effects) {
        let Some(state) = self.sessions.get(session) else {
            return;
        };
        let in_flight = state.outbound.messages();
        let tags: Vec<GroupTag> = in_flight
            .filter_map(|delivery| delivery.terms.group.as_deref())
            .filter(|tag| tag.stored.is_some())
            .cloned()
            .collect();
        for tag in tags {
            if let Some(filter) = tag.stored {
                self.group_done(filter, tag.sequence, fx);
            }
        }
    }

    /// A session holds a message for good from now on; if a durable group has given it, that lets it go.
    pub(crate) fn hold_for_good(&mut self, tag: Option<Box<GroupTag>>, fx: &mut Effects) {
        if let Some(tag) = tag
            && let Some(filter) = tag.stored
        {
            self.group_done(filter, tag.sequence, fx);
        }
    }

    /// Tells a group's owner that a message is not the group's any longer.
    pub(super) fn group_done(&mut self, filter: Arc<str>, sequence: u64, fx: &mut Effects) {
        let owner = owner_of_group(&filter, self.config.shard_count);
        let done = Peer::GroupDone {
            filter,
            sequence,
            credit: None,
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
                            message,
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
