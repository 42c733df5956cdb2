//! Who gets a message: sessions and groups of this shard, and which other shards.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use hashbrown::HashMap;
use martlet_codec::QoS;

use crate::client_slots::owner_of_topic;
use crate::delivery::{SubscriptionIds, Terms};
use crate::effects::Effects;
use crate::express::Templates;
use crate::message::{Message, MessageParts};
use crate::peers::Peer;
use crate::record::BodyId;
use crate::relay::{Mark, Ready, topic_hash};
use crate::shard::{Shard, Subscriber};
use crate::slab::Key;
use crate::subscriptions::SubscriptionOptions;
use crate::time::Time;

/// A message on its way through the shard: borrowed, until somebody has to keep it.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) parts: MessageParts<'a>,
    message: Option<Message>,
    templates: Templates<'a>,
    /// Its name in this shard's store; from the first record that refers to it on.
    pub(crate) body: Option<BodyId>,
}

impl<'a> Publication<'a> {
    pub(crate) fn new(parts: MessageParts<'a>) -> Self {
        Self::with_templates(parts, Templates::default())
    }

    pub(crate) const fn with_templates(parts: MessageParts<'a>, templates: Templates<'a>) -> Self {
        Self {
            parts,
            message: None,
            templates,
            body: None,
        }
    }

    pub(crate) fn of(message: &'a Message) -> Self {
        Self {
            parts: message.parts(),
            message: Some(message.clone()),
            templates: Templates::default(),
            body: None,
        }
    }

    pub(crate) const fn templates(&mut self) -> (&MessageParts<'a>, &mut Templates<'a>) {
        (&self.parts, &mut self.templates)
    }

    /// The message as something to keep; made at the first call.
    pub(crate) fn message(&mut self) -> &Message {
        let parts = &self.parts;
        self.message.get_or_insert_with(|| parts.to_message())
    }

    /// The message, if somebody keeps it already, or if its payload is worth sharing.
    pub(crate) fn shareable(&mut self, threshold: usize) -> Option<&Message> {
        if self.parts.payload.len() >= threshold {
            return Some(self.message());
        }
        self.message.as_ref()
    }
}

/// What is known of a message's fate when it was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routed {
    Matched,
    NobodyMatched,
    /// Another shard is storing it, and will say when it has.
    Storing(NonZeroU64),
}

/// Where messages of one topic go.
#[derive(Debug)]
pub(crate) struct Route {
    topic: Box<str>,
    /// Of the subscriptions and of the interest map, when the route was computed.
    generations: (u64, u64),
    /// Sorted by subscriber, so that the subscriptions of one stand together.
    targets: Vec<(Subscriber, SubscriptionOptions)>,
    /// Shards that may match, this one included.
    mask: u64,
    /// Of these, the ones where that may have to be stored; none if there is no store.
    durable: u64,
}

impl Route {
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = Subscriber> {
        self.targets.iter().map(|(subscriber, _)| *subscriber)
    }

    /// Other shards where a message may have to be stored.
    pub(crate) const fn durable_elsewhere(&self, here: usize) -> u64 {
        self.mask & self.durable & !(1 << here)
    }
}

/// Routes by topic, valid as long as no subscription changes.
#[derive(Debug)]
pub(crate) struct RouteCache {
    routes: HashMap<Box<str>, Arc<Route>, foldhash::fast::FixedState>,
    /// Of the subscriptions and of the interest map, when the cache was begun.
    generations: (u64, u64),
}

impl RouteCache {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            routes: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            generations: (0, 0),
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
        if others == 0 && route.targets.is_empty() {
            return Routed::NobodyMatched;
        }
        let me = self.config.index;
        let topic = publication.parts.topic.as_bytes();
        if !self.joins.is_empty() && self.joins.must_hold(topic, me) {
            let message = publication.message().clone();
            self.joins.hold(message, me);
        } else {
            self.fan_out(route, publication, now, fx);
        }
        self.send_to_each(others, fx, || Peer::Publish(publication.message().clone()));
        Routed::Matched
    }

    /// As [`Shard::route`] for a message with RETAIN: its topic's owner stores it and sets the order.
    fn route_retained(
        &mut self,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Routed {
        let me = self.config.index;
        let topic = publication.parts.topic;
        let owner = owner_of_topic(topic, self.config.shard_count);
        if owner == me {
            self.relay_sequence += 1;
            let sequence = self.relay_sequence;
            return self.retain_and_relay(publication, me, sequence, 0, now, fx);
        }
        let targets = self.lookup(topic).mask;
        let hash = topic_hash(topic.as_bytes());
        self.relay_sequence += 1;
        let sequence = self.relay_sequence;
        let confirm = publication.parts.qos != QoS::AtMostOnce;
        let message = publication.message().clone();
        self.send_to(
            owner,
            Peer::RelayRequest {
                message,
                sequence,
                targets,
                confirm,
            },
            fx,
        );
        let elsewhere = targets & !self.own_bit() & !(1 << owner);
        self.send_to_each(elsewhere, fx, || Peer::RelayMark {
            topic_hash: hash,
            sequence,
        });
        if targets & self.own_bit() != 0 {
            let mut ready = Vec::new();
            let mark = Mark {
                origin: me,
                sequence,
            };
            self.joins.on_mark(hash, mark, &mut ready);
            self.deliver_ready(ready, now, fx);
        }
        if confirm {
            NonZeroU64::new(sequence).map_or(Routed::Matched, Routed::Storing)
        } else {
            Routed::Matched
        }
    }

    /// At the owner: stores a retained message of shard `origin`, delivers it here, and relays it to
    /// `marked` shards (which get a mark from `origin`) and to all others that may match.
    pub(crate) fn retain_and_relay(
        &mut self,
        publication: &mut Publication<'_>,
        origin: usize,
        sequence: u64,
        marked: u64,
        now: Time,
        fx: &mut Effects,
    ) -> Routed {
        self.store_retained(publication, now, fx);
        let route = self.lookup(publication.parts.topic);
        self.fan_out(&route, publication, now, fx);
        for (mask, marked) in [(marked, true), (route.mask & !marked, false)] {
            self.send_to_each(mask & !self.own_bit(), fx, || Peer::Relayed {
                message: publication.message().clone(),
                origin,
                sequence,
                marked,
            });
        }
        Routed::Matched
    }

    /// A message from elsewhere, for the matching subscribers of this shard only.
    pub(crate) fn deliver_here(&mut self, message: &Message, now: Time, fx: &mut Effects) {
        let mut publication = Publication::of(message);
        let route = self.lookup(publication.parts.topic);
        self.fan_out(&route, &mut publication, now, fx);
    }

    pub(crate) fn deliver_ready(&mut self, ready: Vec<Ready>, now: Time, fx: &mut Effects) {
        for Ready { message, late } in ready {
            if late {
                self.deliver_late(&message, now, fx);
            } else {
                self.deliver_here(&message, now, fx);
            }
        }
    }

    /// A retained message that was published before this shard had a matching subscription, and stored after: the
    /// subscriptions made since get it as the retained message that it is, unless they asked for none. A
    /// replay that has not come to the topic yet leaves it out, as it does what was delivered live.
    fn deliver_late(&mut self, message: &Message, now: Time, fx: &mut Effects) {
        let mut publication = Publication::of(message);
        let topic = publication.parts.topic;
        let route = self.lookup(topic);
        let mut refusing = Vec::new();
        self.refusing_retained
            .matches(topic, &mut |subscriber, options| {
                refusing.push((subscriber, options));
            });
        refusing.sort_unstable_by_key(|(subscriber, _)| *subscriber);
        for same in route.targets.chunk_by(|one, next| one.0 == next.0) {
            // A shared subscription gets no retained messages.
            let [(subscriber @ Subscriber::Session(session), _), ..] = same else {
                continue;
            };
            let first = refusing.partition_point(|(other, _)| other < subscriber);
            let refusing = refusing.iter().skip(first);
            let refusing = refusing.take_while(|(other, _)| other == subscriber);
            if let Some(terms) = late_terms(same, refusing.collect(), &publication.parts) {
                self.deliver(*session, &mut publication, terms, now, fx);
            }
        }
    }

    fn fan_out(
        &mut self,
        route: &Route,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        let mut targets = route.targets.as_slice();
        let many = targets.len() >= TEMPLATE_RECEIVERS_MIN;
        while let [(subscriber, _), ..] = targets {
            let count = targets
                .iter()
                .take_while(|(other, _)| other == subscriber)
                .count();
            let (same, rest) = targets.split_at(count);
            targets = rest;
            match *subscriber {
                Subscriber::Session(session) => {
                    if let [(_, options)] = same
                        && self.deliver_express(session, *options, publication, many, now, fx)
                    {
                        continue;
                    }
                    match self.merge(session, same, publication) {
                        Some(terms) => self.deliver(session, publication, terms, now, fx),
                        None => self.refresh_replays(session, publication),
                    }
                }
                Subscriber::Group(group) => self.publish_to_group(group, publication, now, fx),
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
                    terms = Some(Terms {
                        qos,
                        retain,
                        ids,
                        group: None,
                    });
                }
                Some(terms) => {
                    terms.qos = terms.qos.max(qos);
                    terms.retain |= retain;
                    terms.ids.push(options.subscription_id);
                }
            }
        }
        terms
    }

    /// Whether a route is one to this topic, and still right.
    pub(crate) fn is_route_to(&self, route: &Route, topic: &str) -> bool {
        (core::ptr::eq(route.topic(), topic) || route.topic() == topic)
            && route.generations == self.generations()
    }

    fn generations(&self) -> (u64, u64) {
        (self.subscriptions.generation(), self.interest.generation())
    }

    /// The route of a topic, from the cache if it is there.
    pub(crate) fn lookup(&mut self, topic: &str) -> Arc<Route> {
        let generations = self.generations();
        if self.routes.generations != generations
            || self.routes.routes.len() >= self.config.limits.route_cache_entries_max
        {
            self.routes.generations = generations;
            self.routes.routes.clear();
        }
        if let Some(route) = self.routes.routes.get(topic) {
            self.counters.route_cache_hits += 1;
            return route.clone();
        }
        self.counters.route_cache_misses += 1;
        let mut targets = Vec::new();
        self.subscriptions
            .matches(topic, &mut |subscriber, options| {
                targets.push((subscriber, options));
            });
        targets.sort_unstable_by_key(|(subscriber, _)| *subscriber);
        let mask = self.interest.shards(topic);
        let durable = match self.durable {
            Some(_) => self.interest.durable_shards(topic),
            None => 0,
        };
        let route = Arc::new(Route {
            topic: topic.into(),
            generations,
            targets,
            mask,
            durable,
        });
        self.routes.routes.insert(topic.into(), route.clone());
        route
    }

    fn send_to_each(&mut self, mask: u64, fx: &mut Effects, mut peer: impl FnMut() -> Peer) {
        let mut rest = mask;
        while rest != 0 {
            let shard = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            self.send_to(shard, peer(), fx);
        }
    }

    const fn own_bit(&self) -> u64 {
        1 << self.config.index
    }
}

/// How one session gets a late retained message: one copy for all of its subscriptions but those that refuse.
/// As a replay's, it comes to its own publisher as well.
fn late_terms(
    subscriptions: &[(Subscriber, SubscriptionOptions)],
    mut refusing: Vec<&(Subscriber, SubscriptionOptions)>,
    parts: &MessageParts<'_>,
) -> Option<Terms> {
    let mut terms: Option<Terms> = None;
    for subscription in subscriptions {
        //= mqtt5 3.3.1-11
        if let Some(at) = refusing.iter().position(|other| *other == subscription) {
            refusing.swap_remove(at);
            continue;
        }
        let options = subscription.1;
        let qos = effective_qos(parts.qos, options.qos);
        let terms = terms.get_or_insert(Terms {
            qos,
            //= mqtt5 3.3.1-8
            //= mqtt311 3.3.1-8
            retain: true,
            ids: SubscriptionIds::None,
            group: None,
        });
        terms.qos = terms.qos.max(qos);
        terms.ids.push(options.subscription_id);
    }
    terms
}

/// The quality of service of a message for a subscription.
pub(crate) fn effective_qos(published: QoS, granted: QoS) -> QoS {
    published.min(granted)
}

/// From so many receivers on, a packet that cannot be copied from the publisher's is encoded once for all.
const TEMPLATE_RECEIVERS_MIN: usize = 3;
