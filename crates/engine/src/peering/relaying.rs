//! Retained messages on their way through their topic's owner; the waiting for each other is in `relay.rs`.

use alloc::vec::Vec;

use crate::clients::client_slots::owner_of_topic;
use crate::config::SHARDS_MAX;
use crate::effects::Effects;
use crate::message::{Message, MessageParts};
use crate::peering::parts::Ask;
use crate::peering::peers::Peer;
use crate::peering::relay::{Mark, Ready, topic_hash};
use crate::publication::Publication;
use crate::routing::subscriptions::SubscriptionOptions;
use crate::routing::{Routed, effective_qos};
use crate::sending::delivery::Terms;
use crate::shard::{Shard, Subscriber};
use crate::time::Time;

/// A retained message at its topic's owner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetainedRelay {
    /// Its place among what the publishing shard sends.
    pub(crate) mark: Mark,
    /// The shards that get a mark from the publishing shard.
    pub(crate) marked: u64,
    pub(crate) ask: Option<Ask>,
    /// The shards that answer, if there is an `ask`.
    pub(crate) asked: u64,
}

impl Shard {
    /// As [`Shard::route`] for a message with RETAIN: its topic's owner stores it and sets the order.
    pub(crate) fn route_retained(
        &mut self,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Routed {
        let me = self.config.index;
        let topic = publication.parts.topic;
        let owner = owner_of_topic(topic.as_str(), self.config.shard_count);
        let route = self.lookup(topic);
        let (targets, durable) = (route.mask, route.mask & route.durable);
        self.relay_sequence += 1;
        let sequence = self.relay_sequence;
        let mark = Mark {
            origin: me,
            sequence,
        };
        if owner == me {
            let asked = durable & !self.own_bit();
            let ask = self.ask_for_parts(publication, asked);
            let relay = RetainedRelay {
                mark,
                marked: 0,
                ask,
                asked,
            };
            self.retain_and_relay(publication, relay, now, fx);
            return self.waiting_for_all(ask, asked);
        }
        let hash = topic_hash(topic.as_bytes());
        let asked = durable | 1 << owner;
        let ask = self.ask_for_parts(publication, asked);
        let message = publication.message().clone();
        self.send_to(
            owner,
            Peer::RelayRequest {
                message,
                sequence,
                targets,
                ask,
                asked,
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
            self.joins.on_mark(hash, mark, &mut ready);
            self.deliver_ready(ready, now, fx);
        }
        self.waiting_for_all(ask, asked)
    }

    /// Who subscribes now may get it late: when it does not come again, all shards have to know.
    fn waiting_for_all(&self, ask: Option<Ask>, asked: u64) -> Routed {
        let all = u64::MAX >> (SHARDS_MAX - self.config.shard_count);
        Routed::waiting_for(ask, if asked == 0 { 0 } else { all })
    }

    /// At the owner: stores a retained message of another shard or this one, delivers it here, and relays it to
    /// the marked shards and to all others that may match.
    pub(crate) fn retain_and_relay(
        &mut self,
        publication: &mut Publication<'_>,
        relay: RetainedRelay,
        now: Time,
        fx: &mut Effects,
    ) {
        let RetainedRelay {
            mark: Mark { origin, sequence },
            marked,
            ask,
            asked,
        } = relay;
        self.store_retained(publication, now, fx);
        let route = self.lookup(publication.parts.topic);
        self.fan_out(&route, publication, now, fx);
        self.record_taken(publication, fx);
        for (mask, marked, answer) in [
            (marked & asked, true, true),
            (marked & !asked, true, false),
            (route.mask & !marked & asked, false, true),
            (route.mask & !marked & !asked, false, false),
        ] {
            self.send_to_each(mask & !self.own_bit(), fx, || Peer::Relayed {
                message: publication.message().clone(),
                origin,
                sequence,
                marked,
                ask: ask.map(|ask| Ask { answer, ..ask }),
            });
        }
    }

    pub(crate) fn deliver_ready(&mut self, ready: Vec<Ready>, now: Time, fx: &mut Effects) {
        for Ready { message, late, ask } in ready {
            if late {
                self.deliver_late(&message, ask, now, fx);
            } else {
                self.deliver_here(&message, ask, now, fx);
            }
        }
    }

    /// A retained message that was published before this shard had a matching subscription, and stored after: the
    /// subscriptions made since get it as the retained message that it is, unless they asked for none. A
    /// replay that has not come to the topic yet leaves it out, as it does what was delivered live.
    fn deliver_late(&mut self, message: &Message, ask: Option<Ask>, now: Time, fx: &mut Effects) {
        let records = fx.store.progress();
        let mut publication = Publication::of(message);
        self.begin_taking(&mut publication, ask);
        let topic = publication.parts.topic;
        let route = self.lookup(topic);
        let mut refusing = Vec::new();
        self.refusing_retained
            .matches(topic.as_str(), &mut |subscriber, options| {
                refusing.push((subscriber, options));
            });
        refusing.sort_unstable_by_key(|(subscriber, _)| *subscriber);
        for same in route.everybody().chunk_by(|one, next| one.0 == next.0) {
            // A shared subscription gets no retained messages.
            let [(subscriber @ Subscriber::Session(session), _), ..] = same else {
                continue;
            };
            if self
                .sessions
                .get(*session)
                .is_some_and(|session| session.refuses_retained)
            {
                continue;
            }
            if publication.taken.is_some() && self.had_before(*subscriber, &publication) {
                continue;
            }
            let first = refusing.partition_point(|(other, _)| other < subscriber);
            let refusing = refusing.iter().skip(first);
            let refusing = refusing.take_while(|(other, _)| other == subscriber);
            if let Some(terms) = late_terms(same, refusing.collect(), &publication.parts) {
                self.deliver(*session, &mut publication, terms, now, fx);
            }
        }
        self.record_taken(&publication, fx);
        self.confirm(ask, records, fx);
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
        //= mqtt5 3.3.1-8
        //= mqtt311 3.3.1-8
        let terms = terms.get_or_insert_with(|| Terms::bare(qos, true));
        terms.qos = terms.qos.max(qos);
        terms.push_id(options.subscription_id);
    }
    terms
}
