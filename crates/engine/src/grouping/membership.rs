//! The member's side of shared subscriptions; the groups themselves live in `grouping.rs`.

use alloc::vec::Vec;

use martlet_codec::QoS;

use crate::clients::client_session::Membership;
use crate::clients::client_slots;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::message::Message;
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::record::BodyId;
use crate::routing::effective_qos;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::delivery::{Delivery, GroupTag, SubscriptionIds, Terms};
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    pub(crate) fn owner_of_group(&self, filter: &str) -> usize {
        client_slots::owner_of_group(filter, self.config.shard_count)
    }

    /// How many QoS 1 and 2 messages a session may be offered at a time; `None` while it is offline.
    pub(crate) fn member_window(&self, session: Key) -> Option<u32> {
        let state = self.sessions.get(session)?;
        state.connection?;
        Some(u32::from(self.config.limits.in_flight_to_client_max))
    }

    /// Whether the session was a member. If so, and there is a ticket, the group's owner says when it has let the member go.
    pub(crate) fn leave_group(
        &mut self,
        session: Key,
        filter: &str,
        ticket: Key,
        fx: &mut Effects,
    ) -> bool {
        let Some(state) = self.sessions.get_mut(session) else {
            return false;
        };
        let Some(at) = state.memberships.iter().position(|m| &*m.filter == filter) else {
            return false;
        };
        let Some(memberships) = state.memberships.existing() else {
            return false;
        };
        let membership = memberships.swap_remove(at);
        let owner = self.owner_of_group(filter);
        self.send_to(
            owner,
            Peer::GroupLeave {
                filter: membership.filter,
                session,
                ticket,
            },
            fx,
        );
        true
    }

    pub(crate) fn memberships_online(&mut self, session: Key, fx: &mut Effects) {
        let Some(window) = self.member_window(session) else {
            return;
        };
        for membership in self.memberships_of(session) {
            let owner = self.owner_of_group(&membership.filter);
            let peer = Peer::GroupOnline {
                filter: membership.filter,
                session,
                window,
                durable: self.stored(session).is_some(),
            };
            self.send_to(owner, peer, fx);
        }
    }

    /// The connection is gone: what was not acknowledged goes back to the groups.
    pub(crate) fn memberships_offline(&mut self, session: Key, fx: &mut Effects) {
        for membership in self.memberships_of(session) {
            let owner = self.owner_of_group(&membership.filter);
            self.send_to(
                owner,
                Peer::GroupOffline {
                    filter: membership.filter,
                    session,
                },
                fx,
            );
        }
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        // What was sent at QoS 2 is not among them: it ends with its session.
        //= mqtt5 4.8.2-5
        let mut back = state
            .outbound
            .extract_unacknowledged(|delivery: &Delivery| delivery.terms.is_of_group());
        if !state.queue.is_empty() {
            let waiting = state.queue.extract(|delivery| delivery.terms.is_of_group());
            back.extend(waiting.into_iter().flat_map(Delivery::apart));
        }
        let freed: usize = back.iter().map(Delivery::held_bytes).sum();
        self.memory_bytes = self.memory_bytes.saturating_sub(freed);
        let mut back = back
            .into_iter()
            .filter_map(|delivery| Some((delivery.terms.tag()?, delivery.message?)))
            .filter(|(_, message)| message.qos() != QoS::AtMostOnce)
            .collect::<Vec<_>>();
        back.sort_by_key(|(tag, _)| (tag.owner, tag.group, tag.sequence));
        let mut rest = back.into_iter().peekable();
        while let Some((first, message)) = rest.next() {
            let mut messages = alloc::vec![(first.sequence, message)];
            while let Some((tag, message)) =
                rest.next_if(|(tag, _)| (tag.owner, tag.group) == (first.owner, first.group))
            {
                messages.push((tag.sequence, message));
            }
            self.send_to(
                first.owner,
                Peer::GroupReturn {
                    group: first.group,
                    messages,
                },
                fx,
            );
        }
    }

    /// The session ends, and what was sent to it at QoS 2 and not acknowledged ends with it.
    pub(crate) fn memberships_end(&mut self, session: Key, fx: &mut Effects) {
        if self.durable.is_some() {
            self.messages_of_groups_done(session, fx);
        }
        for membership in self.memberships_of(session) {
            self.leave_group(session, &membership.filter, Key::NOBODY, fx);
        }
    }

    /// A group gives this session a message that it has kept.
    pub(crate) fn on_group_offer(
        &mut self,
        session: Key,
        tag: GroupTag,
        (message, body): (Message, Option<BodyId>),
        options: SubscriptionOptions,
        now: Time,
        fx: &mut Effects,
    ) {
        let mut publication = Publication::of(&message);
        publication.body = body;
        self.take_offer(session, tag, &mut publication, options, now, fx);
    }

    /// A group gives this session a message.
    pub(crate) fn take_offer(
        &mut self,
        session: Key,
        tag: GroupTag,
        publication: &mut Publication<'_>,
        options: SubscriptionOptions,
        now: Time,
        fx: &mut Effects,
    ) {
        if self
            .sessions
            .get(session)
            .is_none_or(|state| state.connection.is_none())
        {
            let messages = alloc::vec![(tag.sequence, publication.held())];
            self.send_to(
                tag.owner,
                Peer::GroupReturn {
                    group: tag.group,
                    messages,
                },
                fx,
            );
            return;
        }
        //= mqtt5 4.8.2-3
        let qos = effective_qos(publication.parts.qos, options.qos);
        if qos == QoS::AtMostOnce && options.subscription_id == 0 {
            let plain = (session, qos, options.retain_as_published);
            self.give_to_plain(&[plain], publication, now, fx);
            self.not_relayed(session, publication);
            return;
        }
        let retain = options.retain_as_published && publication.parts.retain;
        let id = options.subscription_id;
        let terms = if qos == QoS::AtMostOnce {
            // It is not acknowledged: nothing will come back for it.
            Terms::with_ids(qos, retain, SubscriptionIds::from_option(id))
        } else {
            Terms::of_group(qos, retain, id, tag)
        };
        self.deliver(session, publication, terms, now, fx);
        self.not_relayed(session, publication);
    }

    pub(crate) fn memberships_of(&self, session: Key) -> Vec<Membership> {
        self.sessions
            .get(session)
            .map(|state| state.memberships.clone())
            .unwrap_or_default()
    }
}
