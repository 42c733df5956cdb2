//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::{
    QoS, ReasonCode, RetainHandling, Subscribe, SubscriptionOptions as Requested, TopicFilter,
    Unsubscribe, Version,
};

use crate::acl::ClientInfo;
use crate::clients::client_session::Membership;
use crate::clients::client_slots::owner_of_topic;
use crate::clients::connection::Connection;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::grouping::GroupJoin;
use crate::packets::pending::AnswerTo;
use crate::peering::peers::Peer;
use crate::report::CloseCause;
use crate::retaining::replay::Replay;
use crate::routing::interest::InterestKey;
use crate::routing::subscriptions::{FilterId, SubscriptionOptions, Subscriptions};
use crate::shard::{Shard, Subscriber};
use crate::time::Time;

impl Shard {
    /// SUBSCRIBE from a client: as if each filter came by itself, in order, with one answer.
    pub(crate) fn on_subscribe(
        &mut self,
        conn: Key,
        session: Key,
        subscribe: &Subscribe<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        let id = subscribe
            .properties
            .subscription_identifiers()
            .next()
            .unwrap_or(0);
        let ticket = self.begin_answer(conn, AnswerTo::Subscribe, subscribe.packet_id);
        for (filter, requested) in subscribe.filters {
            //= mqtt5 3.8.4-5
            //= mqtt311 3.8.4-4
            let reason = match self.check_subscription(session, filter) {
                Err(reason) => reason,
                Ok(()) if filter.share_name().is_some() => {
                    self.join_group(session, filter, requested, id, ticket, fx);
                    granted(requested.qos)
                }
                Ok(()) => {
                    self.subscribe_plain(session, filter, (requested, id), ticket, now, fx);
                    granted(requested.qos)
                }
            };
            //= mqtt5 3.9.3-1
            //= mqtt5 3.8.4-6
            //= mqtt311 3.9.3-1
            //= mqtt311 3.8.4-5
            let code = match self.connections.get(conn).map(Connection::version) {
                //= mqtt311 3.9.3-2
                Some(Version::V31 | Version::V311) if reason.is_error() => 0x80,
                _ => reason.as_u8(),
            };
            if let Some(pending) = self.pending_answers.get_mut(ticket) {
                pending.reasons.push(code);
            }
        }
        self.refuse_if_not_sayable(conn, ticket, now, fx);
        self.end_answer(conn, ticket, now, fx);
        self.pump(session, now, fx);
    }

    /// SUBACK of MQTT 3.1 knows no failure: a client that cannot be told is closed.
    fn refuse_if_not_sayable(&mut self, conn: Key, ticket: Key, now: Time, fx: &mut Effects) {
        let refused = self
            .pending_answers
            .get(ticket)
            .is_some_and(|pending| pending.reasons.iter().any(|reason| *reason >= 0x80));
        if refused && self.version_of(conn) == Version::V31 {
            self.pending_answers.remove(ticket);
            let cause = CloseCause::Refused(ReasonCode::QuotaExceeded);
            self.close(conn, cause, now, fx);
        }
    }

    /// UNSUBSCRIBE from a client.
    pub(crate) fn on_unsubscribe(
        &mut self,
        conn: Key,
        session: Key,
        unsubscribe: &Unsubscribe<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        let v5 = self.version_of(conn).is_v5();
        let ticket = self.begin_answer(conn, AnswerTo::Unsubscribe, unsubscribe.packet_id);
        for filter in unsubscribe.filters {
            let existed = if filter.share_name().is_some() {
                let left = self.leave_group(session, filter.as_str(), ticket, fx);
                if left && let Some(pending) = self.pending_answers.get_mut(ticket) {
                    pending.waiting_for += 1;
                }
                left
            } else {
                self.unsubscribe_plain(session, filter.as_str(), now, fx)
            };
            if existed {
                self.record_unsubscribed(session, filter.as_str(), fx);
            }
            //= mqtt5 3.11.3-1
            if v5 && let Some(pending) = self.pending_answers.get_mut(ticket) {
                let reason = if existed {
                    ReasonCode::Success
                } else {
                    ReasonCode::NoSubscriptionExisted
                };
                pending.reasons.push(reason.as_u8());
            }
        }
        self.end_answer(conn, ticket, now, fx);
    }

    /// Takes a subscriber's filter out of the tables that routing reads.
    pub(crate) fn remove_subscription(&mut self, filter: FilterId, subscriber: Subscriber) -> bool {
        if self.subscriptions.options(filter, subscriber).is_none() {
            return false;
        }
        let mut buffer = core::mem::take(&mut self.scratch.filter);
        let text = self.subscriptions.text(filter, &mut buffer);
        let entry = InterestKey::of_filter(text);
        self.interest.remove(entry, self.config.index);
        if matches!(subscriber, Subscriber::Session(key) if self.stored(key).is_some()) {
            self.interest.remove_durable(entry, self.config.index);
        }
        stop_refusing(&mut self.refusing_retained, text, subscriber);
        self.scratch.filter = buffer;
        self.subscriptions.remove(filter, subscriber).is_some()
    }

    fn check_subscription(
        &mut self,
        session: Key,
        filter: TopicFilter<'_>,
    ) -> Result<(), ReasonCode> {
        if !self.topic_is_within_limits(filter.as_str()) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let Some(state) = self.sessions.get(session) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let client = ClientInfo {
            client_id: &state.client_id,
            version: state.version,
        };
        if !self.acl.may_subscribe(client, filter.filter()) {
            return Err(ReasonCode::NotAuthorized);
        }
        let count = state.filters.len() + state.memberships.len();
        let id = self.subscriptions.find(filter.as_str());
        let known = id.is_some_and(|id| state.filters.contains(id))
            || state
                .memberships
                .iter()
                .any(|m| &*m.filter == filter.as_str());
        if count >= self.config.limits.subscriptions_per_session_max && !known {
            self.counters.subscriptions_refused += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    fn subscribe_plain(
        &mut self,
        session: Key,
        filter: TopicFilter<'_>,
        (requested, id): (Requested, u32),
        ticket: Key,
        now: Time,
        fx: &mut Effects,
    ) {
        let options = options_of(requested, id);
        //= mqtt5 3.8.4-3
        //= mqtt311 3.8.4-3
        let subscriber = Subscriber::Session(session);
        let (id, replaced) = (self.subscriptions).insert(filter.as_str(), subscriber, options);
        let replaced = replaced.is_some();
        if !replaced {
            self.interest
                .add(InterestKey::of_filter(filter.as_str()), self.config.index);
            if let Some(state) = self.sessions.get_mut(session) {
                state.filters.insert(id);
            }
            if self.stored(session).is_some() {
                self.interest
                    .add_durable(InterestKey::of_filter(filter.as_str()), self.config.index);
            }
        }
        //= mqtt5 3.3.1-9
        //= mqtt5 3.3.1-10
        //= mqtt5 3.3.1-11
        //= mqtt5 3.8.4-4
        //= mqtt311 3.3.1-6
        let wanted = match requested.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => !replaced,
            RetainHandling::Never => false,
        };
        self.refuse_one_by_one(session);
        let refused = stop_refusing(&mut self.refusing_retained, filter.as_str(), subscriber);
        // What an earlier SUBSCRIBE asked for is still due.
        if !wanted && (!replaced || refused) {
            self.refusing_retained
                .insert(filter.as_str(), subscriber, options);
        }
        if wanted {
            self.start_replay(session, filter, options, ticket, now, fx);
        }
        self.record_subscribed(session, filter.as_str(), options, fx);
    }

    /// A restored session's subscriptions are no longer all alike: each that refuses retained messages is named.
    pub(crate) fn refuse_one_by_one(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if !core::mem::take(&mut session.refuses_retained) {
            return;
        }
        let subscriber = Subscriber::Session(key);
        let mut buffer = core::mem::take(&mut self.scratch.filter);
        for filter in session.filters.iter() {
            if let Some(options) = self.subscriptions.options(filter, subscriber) {
                let text = self.subscriptions.text(filter, &mut buffer);
                self.refusing_retained.insert(text, subscriber, options);
            }
        }
        self.scratch.filter = buffer;
    }

    fn start_replay(
        &mut self,
        session: Key,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        ticket: Key,
        now: Time,
        fx: &mut Effects,
    ) {
        let shard_count = self.config.shard_count;
        let sources: Vec<usize> = if filter.has_wildcard() {
            (0..shard_count).collect()
        } else {
            alloc::vec![owner_of_topic(filter.as_str(), shard_count)]
        };
        // The same filter again: the new replay covers what the old one has left.
        self.drop_replays(session, |old| &*old.filter == filter.as_str(), now, fx);
        if let Some(pending) = self.pending_answers.get_mut(ticket) {
            pending.waiting_for += 1;
        }
        self.replay_sequence += 1;
        let id = self.replay_sequence;
        let filter: Arc<str> = filter.as_str().into();
        let mut replay = Replay::new(id, filter, options, sources, Some(ticket), self.config.seed);
        let request = replay.next_request();
        if let Some(state) = self.sessions.get_mut(session) {
            state.replays.make().push_back(replay);
        }
        if let Some(request) = request {
            self.request_chunk(session, request, fx);
        }
    }

    /// Ends the replays for which `unwanted` holds.
    pub(crate) fn drop_replays(
        &mut self,
        session: Key,
        unwanted: impl Fn(&Replay) -> bool,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let mut tickets = Vec::new();
        let Some(replays) = state.replays.existing() else {
            return;
        };
        replays.retain(|replay| {
            let drop = unwanted(replay);
            if drop {
                tickets.extend(replay.ticket);
            }
            !drop
        });
        state.replays.release_memory();
        for ticket in tickets {
            self.answer_part_done(ticket, now, fx);
        }
    }

    fn unsubscribe_plain(
        &mut self,
        session: Key,
        filter: &str,
        now: Time,
        fx: &mut Effects,
    ) -> bool {
        //= mqtt5 3.10.4-1
        //= mqtt5 3.10.4-2
        //= mqtt311 3.10.4-1
        //= mqtt311 3.10.4-2
        // What has begun goes on: nothing in flight is touched.
        //= mqtt5 3.10.4-3
        //= mqtt311 3.10.4-3
        let id = self.subscriptions.find(filter);
        let removed =
            id.is_some_and(|id| self.remove_subscription(id, Subscriber::Session(session)));
        if removed && let (Some(id), Some(state)) = (id, self.sessions.get_mut(session)) {
            state.filters.remove(id);
        }
        self.drop_replays(session, |replay| &*replay.filter == filter, now, fx);
        removed
    }

    fn join_group(
        &mut self,
        session: Key,
        filter: TopicFilter<'_>,
        requested: Requested,
        id: u32,
        ticket: Key,
        fx: &mut Effects,
    ) {
        let options = options_of(requested, id);
        let name: Arc<str> = filter.as_str().into();
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let memberships = state.memberships.make();
        match memberships.iter_mut().find(|m| m.filter == name) {
            Some(membership) => membership.options = options,
            None => memberships.push(Membership {
                filter: name.clone(),
                options,
            }),
        }
        if let Some(pending) = self.pending_answers.get_mut(ticket) {
            pending.waiting_for += 1;
        }
        let window = self.member_window(session);
        let owner = self.owner_of_group(&name);
        let join = GroupJoin {
            session,
            options,
            window,
            ticket,
            durable: self.stored(session).is_some(),
        };
        let join = Peer::GroupJoin { filter: name, join };
        self.send_to(owner, join, fx);
        self.record_subscribed(session, filter.as_str(), options, fx);
    }
}

/// Takes a subscription from those that refuse retained messages; whether it was one.
pub(crate) fn stop_refusing(
    refusing: &mut Subscriptions<Subscriber>,
    filter: &str,
    subscriber: Subscriber,
) -> bool {
    if refusing.is_empty() {
        return false;
    }
    let id = refusing.find(filter);
    id.is_some_and(|id| refusing.remove(id, subscriber).is_some())
}

const fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}

const fn options_of(requested: Requested, subscription_id: u32) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: requested.qos,
        no_local: requested.no_local,
        retain_as_published: requested.retain_as_published,
        subscription_id,
    }
}
