//! Who gets a message: sessions and groups of this shard, and which other shards.
//!
//! Map: `filters` of one session, `subscriptions` of all (exact and wildcard), `routes` found already, `interest` of the other
//! shards, `places` where changes of both are counted.

pub(crate) mod filters;
pub(crate) mod interest;
pub(crate) mod places;
pub(crate) mod routes;
#[cfg(test)]
mod strategies;
pub(crate) mod subscriptions;

use core::num::NonZeroU64;

use martlet_codec::QoS;

use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::message::Message;
use crate::peering::packing::Purpose;
use crate::peering::parts::Ask;
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::routing::routes::Route;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::sending::delivery::{SubscriptionIds, Terms};
use crate::shard::{Shard, Subscriber};
use crate::time::Time;

/// What is known of a message's fate when it was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routed {
    Matched,
    NobodyMatched,
    /// These shards are storing it, and will say when they have.
    Storing {
        publish: NonZeroU64,
        shards: u64,
    },
}

impl Routed {
    pub(crate) fn waiting_for(ask: Option<Ask>, shards: u64) -> Self {
        match ask {
            Some(Ask { publish, .. }) if shards != 0 => Self::Storing { publish, shards },
            Some(_) | None => Self::Matched,
        }
    }
}

impl Shard {
    /// Retains a message if it asks for that, and gives it to everybody who matches, on all shards.
    pub(crate) fn route(
        &mut self,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Routed {
        if publication.parts.retain {
            return self.route_retained(publication, now, fx);
        }
        let route = self.lookup(publication.parts.topic);
        self.route_plain(&route, publication, now, fx)
    }

    /// As [`Shard::route`] for a message without RETAIN, whose route is known.
    pub(crate) fn route_plain(
        &mut self,
        route: &Route,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Routed {
        let others = route.mask & !self.own_bit();
        if others == 0 && route.targets.is_empty() && route.plain.is_empty() {
            return Routed::NobodyMatched;
        }
        if self.durable.is_some() || !self.joins.is_empty() {
            return self.route_in_parts(route, publication, now, fx);
        }
        publication.is_for_one = others == 0 && route.plain.len() + route.targets.len() == 1;
        self.fan_out(route, publication, now, fx);
        self.publish_to_each(others, route, None, publication, fx);
        Routed::Matched
    }

    /// A message from elsewhere, for the matching subscribers of this shard only.
    pub(crate) fn deliver_here(
        &mut self,
        message: &Message,
        ask: Option<Ask>,
        now: Time,
        fx: &mut Effects,
    ) {
        let records = fx.store.progress();
        let mut publication = Publication::of(message);
        self.begin_taking(&mut publication, ask);
        let route = self.lookup(publication.parts.topic);
        self.fan_out(&route, &mut publication, now, fx);
        self.record_taken(&publication, fx);
        self.confirm(ask, records, fx);
    }

    pub(crate) fn fan_out(
        &mut self,
        route: &Route,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        // At once and to all: nothing of the same publisher can come between.
        //= mqtt311 4.5.0-1
        //= mqtt311 4.6.0-5
        //= mqtt311 4.6.0-6
        //= mqtt5 4.6.0-5
        //= mqtt5 4.6.0-6
        self.give_to_plain(&route.plain, publication, now, fx);
        let mut targets = &*route.targets;
        while let [(subscriber, _), ..] = targets {
            let count = targets
                .iter()
                .take_while(|(other, _)| other == subscriber)
                .count();
            let (same, rest) = targets.split_at(count);
            targets = rest;
            if publication.taken.is_some() && self.had_before(*subscriber, publication) {
                continue;
            }
            match *subscriber {
                Subscriber::Session(session) => match self.merge(session, same, publication) {
                    Some(terms) => self.deliver(session, publication, terms, now, fx),
                    None => self.refresh_replays(session, publication),
                },
                Subscriber::Group(group) => self.publish_to_group(group, publication, now, fx),
            }
        }
    }

    /// Gives a message to sessions whose subscription has this QoS and this Retain As Published, and nothing else.
    ///
    /// All of them come through this one loop: [`Shard::deliver_express`] then stands in it and not beside it, which is
    /// worth 20 instructions of 300 for each receiver.
    pub(crate) fn give_to_plain(
        &mut self,
        receivers: &[(Key, QoS, bool)],
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        for (session, qos, retain) in receivers {
            if publication.taken.is_some()
                && self.had_before(Subscriber::Session(*session), publication)
            {
                continue;
            }
            let granted = (*qos, *retain);
            if !self.deliver_express(*session, granted, publication, now, fx) {
                let qos = granted.0.min(publication.parts.qos);
                let terms = Terms::bare(qos, granted.1 && publication.parts.retain);
                self.deliver(*session, publication, terms, now, fx);
            }
        }
    }

    /// No Local keeps a session's own message from it as a live one. As a retained one it gets it, and from then on
    /// nothing older, though a replay may hold that already.
    fn refresh_replays(&mut self, session: Key, publication: &mut Publication<'_>) {
        if publication.parts.retain
            && let Some(session) = self.sessions.get_mut(session)
        {
            for replay in session.replays.existing().into_iter().flatten() {
                replay.refresh(publication.message());
            }
        }
    }

    /// What one session's matching subscriptions make of a message: one copy, at the highest QoS, with all
    /// identifiers. `None` if all of them exclude the session's own messages and this is one.
    fn merge(
        &self,
        session: Key,
        subscriptions: &[(Subscriber, SubscriptionOptions)],
        publication: &Publication<'_>,
    ) -> Option<Terms> {
        let own = publication.parts.origin == self.origin_of(session);
        let mut terms: Option<Terms> = None;
        for (_, options) in subscriptions {
            if options.no_local && own {
                //= mqtt5 3.8.3-3
                continue;
            }
            //= mqtt5 3.3.4-2
            //= mqtt5 3.8.4-8
            //= mqtt311 3.3.5-1
            //= mqtt311 3.8.4-6
            let qos = options.qos.min(publication.parts.qos);
            //= mqtt5 3.3.1-12
            //= mqtt5 3.3.1-13
            //= mqtt311 3.3.1-9
            let retain = options.retain_as_published && publication.parts.retain;
            match &mut terms {
                None => {
                    let ids = SubscriptionIds::from_option(options.subscription_id);
                    terms = Some(Terms::with_ids(qos, retain, ids));
                }
                Some(terms) => {
                    terms.qos = terms.qos.max(qos);
                    terms.retain |= retain;
                    terms.push_id(options.subscription_id);
                }
            }
        }
        terms
    }

    /// Gives a message to these other shards; none of them has to know whether it may come again.
    pub(crate) fn publish_to_each(
        &mut self,
        mask: u64,
        route: &Route,
        ask: Option<Ask>,
        publication: &mut Publication<'_>,
        fx: &mut Effects,
    ) {
        let mut rest = mask;
        while rest != 0 {
            let shard = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let purpose = || Purpose::of_route(route, ask);
            if !self.send_packed(shard, purpose, publication, fx) {
                let message = publication.message().clone();
                self.send_to(shard, Peer::Publish { message, ask }, fx);
            }
        }
    }

    pub(crate) fn send_to_each(
        &mut self,
        mask: u64,
        fx: &mut Effects,
        mut peer: impl FnMut() -> Peer,
    ) {
        let mut rest = mask;
        while rest != 0 {
            let shard = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            self.send_to(shard, peer(), fx);
        }
    }

    pub(crate) const fn own_bit(&self) -> u64 {
        1 << self.config.index
    }
}

/// The quality of service of a message for a subscription.
pub(crate) fn effective_qos(published: QoS, granted: QoS) -> QoS {
    published.min(granted)
}
