//! The server's subscriptions, kept as the streams want them.
//!
//! A filter that several streams have asked for is one subscription on the server; it ends with the
//! last of them. In 5.0 a SUBSCRIBE carries an identifier, one per stream, which the server repeats
//! with each message: see `routing`.

use std::sync::Arc;

use martlet_codec::{ReasonCode, RetainHandling, SubAck, TopicFilter};

use super::stream::{Granted, Item, StreamId, StreamOptions, Wire};
use super::subscriptions::{Gone, Request, RequestKind, matches};
use super::{Event, Machine, OpId, Outcome, Time, wire};
use crate::error::{Error, ErrorKind, Feature};
use crate::topic::{Filter, describe};

impl Machine {
    /// Makes a stream of what matches these filters. `op` is completed by the server's answer.
    pub fn subscribe(
        &mut self,
        now: Time,
        filters: Vec<Filter>,
        options: StreamOptions,
        op: Option<OpId>,
    ) -> Result<StreamId, Error> {
        if self.closing.is_some() || self.is_closed() {
            return Err(Error::new(ErrorKind::Closed));
        }
        self.check_filters(&filters)?;
        let for_the_rest = filters.is_empty();
        let id = self.streams.add(options, filters, op);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.subscription_id = self.subscriptions.add(id, &stream.filters);
            if for_the_rest {
                // It needs no subscription.
                stream.wire = Wire::Done;
                stream.op = None;
            }
        }
        if for_the_rest {
            self.complete(op, Outcome::Subscribed(Vec::new()));
        }
        self.hand_out_held(id, options.rest);
        self.subscriptions.wanted = true;
        self.send_wanted_subscriptions(now);
        Ok(id)
    }

    /// Ends a stream and, if no other stream wants its filters, its subscriptions. What it still
    /// holds counts as dealt with. `op` is completed by the server's answer.
    pub fn unsubscribe(&mut self, now: Time, id: StreamId, op: Option<OpId>) {
        let Some((stream, items)) = self.streams.remove(id) else {
            self.complete(op, Outcome::Unsubscribed(Ok(())));
            return;
        };
        self.complete(
            stream.op,
            Outcome::SubscribeFailed(Error::new(ErrorKind::Cancelled)),
        );
        let filters = self.subscriptions.remove(id, stream.filters.iter());
        self.subscriptions.retire(&filters);
        self.settle_all(items);
        let known_to_server = stream.wire != Wire::Wanted || (self.was_online && !self.is_online());
        if filters.is_empty() || !known_to_server || self.is_closed() {
            self.complete(op, Outcome::Unsubscribed(Ok(())));
            return;
        }
        self.subscriptions.gone.push(Gone { filters, op });
        self.subscriptions.wanted = true;
        self.send_wanted_subscriptions(now);
    }

    /// Ends a stream but leaves its subscriptions at the server. What it still holds stays
    /// unacknowledged and comes again.
    pub fn detach(&mut self, id: StreamId) {
        let Some((stream, items)) = self.streams.remove(id) else {
            return;
        };
        let filters = self.subscriptions.remove(id, stream.filters.iter());
        self.subscriptions.detach(&filters);
        for item in items {
            if let Some(ack) = item.ack {
                self.unacked.abandon(ack);
            }
        }
        self.send_due_acks();
    }

    /// The next message of a stream, with its name if the application has to acknowledge it. In all
    /// other streams it is acknowledged hereby.
    pub fn recv(&mut self, id: StreamId) -> Option<(crate::Message, Option<super::AckId>)> {
        let item = self.streams.pop(id)?;
        if self
            .streams
            .get(id)
            .is_some_and(|stream| stream.options.manual)
        {
            return Some((item.message, item.ack));
        }
        if let Some(ack) = item.ack {
            self.ack(ack, None);
        }
        Some((item.message, None))
    }

    /// Whether a stream has nothing to give.
    #[must_use]
    pub fn is_stream_empty(&self, id: StreamId) -> bool {
        self.streams.is_empty(id)
    }

    /// Whether nothing more will come into a stream.
    #[must_use]
    pub fn has_stream_ended(&self, id: StreamId) -> bool {
        self.streams.has_ended(id)
    }

    /// How many messages a stream has given up because its buffer was full.
    #[must_use]
    pub fn lagged(&self, id: StreamId) -> u64 {
        self.streams.lagged(id)
    }

    /// What the server has granted for each filter of a stream.
    pub fn granted(&self, id: StreamId) -> &[Granted] {
        self.streams.get(id).map_or(&[], |stream| &stream.granted)
    }

    fn check_filters(&self, filters: &[Filter]) -> Result<(), Error> {
        let v5 = self.config.version.is_v5();
        for filter in filters {
            if let Err(fault) = filter.check() {
                let detail = format!("'{}': {}", filter.text, describe(fault));
                return Err(Error::with_detail(ErrorKind::InvalidTopic, detail));
            }
            if !filter.qos_valid {
                return Err(Error::with_detail(
                    ErrorKind::InvalidOption,
                    "QoS is 0, 1 or 2",
                ));
            }
            if filter.needs_v5() && !v5 {
                return Err(Error::new(ErrorKind::NotSupported(Feature::Mqtt5)));
            }
            //= mqtt5 3.8.3-4
            let shared = TopicFilter::new(&filter.text).is_ok_and(|one| one.share_name().is_some());
            if shared && filter.options.no_local {
                let detail = "no_local makes no sense for a shared subscription";
                return Err(Error::with_detail(ErrorKind::InvalidOption, detail));
            }
        }
        if self.is_online() {
            self.unsupported(filters).map_or(Ok(()), |feature| {
                Err(Error::new(ErrorKind::NotSupported(feature)))
            })
        } else {
            Ok(())
        }
    }

    /// What the server has said that it cannot do.
    fn unsupported(&self, filters: &[Filter]) -> Option<Feature> {
        let limits = &self.link.limits;
        filters.iter().find_map(|filter| {
            let filter = TopicFilter::new(&filter.text).ok()?;
            if !limits.wildcards_available && filter.has_wildcard() {
                Some(Feature::Wildcards)
            } else if !limits.shared_available && filter.share_name().is_some() {
                Some(Feature::SharedSubscriptions)
            } else {
                None
            }
        })
    }

    /// Gives a new stream what has waited for it.
    fn hand_out_held(&mut self, id: StreamId, rest: bool) {
        let filters = self.streams.get(id).map(|stream| stream.filters.clone());
        let filters = filters.unwrap_or_default();
        let matching = |topic: &str| filters.iter().any(|filter| matches(&filter.text, topic));
        let wanted = |message: &crate::Message| rest || matching(&message.topic);
        for Item { message, ack } in self.streams.take_held(wanted) {
            self.hand_over(id, message, ack);
            // The place that it was held in.
            if let Some(ack) = ack {
                self.unacked.settle(ack, None);
            }
        }
        self.send_due_acks();
    }

    /// Sends the SUBSCRIBEs and UNSUBSCRIBEs that wait for a connection or an identifier.
    pub(super) fn send_wanted_subscriptions(&mut self, now: Time) {
        if !self.subscriptions.wanted || !self.is_online() {
            return;
        }
        self.subscriptions.wanted = false;
        for gone in std::mem::take(&mut self.subscriptions.gone) {
            if gone.filters.is_empty() {
                self.complete(gone.op, Outcome::Unsubscribed(Ok(())));
                continue;
            }
            self.send_unsubscribe(gone);
        }
        for id in self.streams.ids() {
            if self
                .streams
                .get(id)
                .is_some_and(|stream| stream.wire == Wire::Wanted)
            {
                self.send_subscribe(now, id);
            }
        }
    }

    fn send_unsubscribe(&mut self, gone: Gone) {
        let Some(packet_id) = self.outbound.reserve() else {
            self.subscriptions.gone.push(gone);
            self.subscriptions.wanted = true;
            return;
        };
        let filters = gone.filters.iter().map(|filter| &**filter);
        let sent = self.out.len();
        let encoded = wire::unsubscribe(filters, packet_id, self.config.version, &mut self.out);
        let max = self.link.limits.maximum_packet_size;
        if encoded.is_err() || self.out.len() - sent > max as usize {
            self.out.truncate(sent);
            self.outbound.release(packet_id);
            let too_large = Error::new(ErrorKind::TooLarge { max });
            self.complete(gone.op, Outcome::Unsubscribed(Err(too_large)));
            return;
        }
        self.subscriptions.requests.push(Request {
            packet_id,
            kind: RequestKind::Unsubscribe(gone),
        });
    }

    fn send_subscribe(&mut self, _now: Time, id: StreamId) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        if let Some(feature) = self.unsupported(&stream.filters) {
            self.refuse_stream(id, Error::new(ErrorKind::NotSupported(feature)));
            return;
        }
        let Some(packet_id) = self.outbound.reserve() else {
            self.subscriptions.wanted = true;
            return;
        };
        let with_id = self.link.limits.subscription_ids_available;
        let filters = self.with_highest_qos(&stream.filters);
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let subscription_id = if with_id { stream.subscription_id } else { 0 };
        let version = self.config.version;
        let sent = self.out.len();
        let encoded = wire::subscribe(&filters, packet_id, subscription_id, version, &mut self.out);
        let too_large = self.out.len() - sent > self.link.limits.maximum_packet_size as usize;
        if encoded.is_err() || too_large {
            self.out.truncate(sent);
            self.outbound.release(packet_id);
            let max = self.link.limits.maximum_packet_size;
            self.refuse_stream(id, Error::new(ErrorKind::TooLarge { max }));
            return;
        }
        stream.wire = Wire::Sent;
        let texts: Vec<Arc<str>> = stream
            .filters
            .iter()
            .map(|one| Arc::clone(&one.text))
            .collect();
        for entry in &mut self.subscriptions.entries {
            if texts.contains(&entry.text) {
                entry.rename(subscription_id);
            }
        }
        self.subscriptions.generation += 1;
        self.subscriptions.requests.push(Request {
            packet_id,
            kind: RequestKind::Subscribe(id),
        });
    }

    /// A filter that several streams want is one subscription: it has the highest QoS that any of them asked for.
    fn with_highest_qos(&self, filters: &[Filter]) -> Vec<Filter> {
        let mut filters = filters.to_vec();
        for filter in &mut filters {
            let wanted = self.streams.iter().flat_map(|(_, stream)| &stream.filters);
            let same = wanted.filter(|other| other.text == filter.text);
            let highest = same.map(|other| other.options.qos).max();
            filter.options.qos = filter.options.qos.max(highest.unwrap_or_default());
            if self.link.doubtful
                && self.config.version.is_v5()
                && filter.options.retain_handling == RetainHandling::Always
            {
                // Only if the session turns out to be another one.
                filter.options.retain_handling = RetainHandling::IfNew;
            }
        }
        filters
    }

    pub(super) fn on_suback(&mut self, now: Time, suback: &SubAck<'_>) {
        //= mqtt311 2.3.1-3
        self.outbound.release(suback.packet_id);
        let Some(RequestKind::Subscribe(id)) = self.subscriptions.take_request(suback.packet_id)
        else {
            return;
        };
        // The stream may have gone meanwhile.
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let granted: Vec<Granted> = suback.reason_codes().map(grant).collect();
        if granted.len() != stream.filters.len() {
            self.violation(
                now,
                "SUBACK has not as many reason codes as SUBSCRIBE has filters",
            );
            return;
        }
        stream.wire = Wire::Done;
        let refused: Vec<Filter> = stream
            .filters
            .iter()
            .zip(&granted)
            .filter(|(_, granted)| granted.is_err())
            .map(|(filter, _)| filter.clone())
            .collect();
        let all_refused = refused.len() == granted.len();
        if all_refused {
            let reason = granted.iter().find_map(|one| one.err());
            let reason = reason.unwrap_or(ReasonCode::UnspecifiedError);
            let mut error = Error::new(ErrorKind::Rejected(reason));
            error.detail = suback.properties.reason_string().map(Into::into);
            self.refuse_stream(id, error);
            return;
        }
        stream.filters.retain(|filter| !refused.contains(filter));
        stream.granted.clone_from(&granted);
        let op = stream.op.take();
        if !refused.is_empty() {
            self.subscriptions.remove(id, refused.iter());
        }
        self.complete(op, Outcome::Subscribed(granted));
    }

    pub(super) fn on_unsuback(&mut self, unsuback: &SubAck<'_>) {
        self.outbound.release(unsuback.packet_id);
        let Some(RequestKind::Unsubscribe(gone)) =
            self.subscriptions.take_request(unsuback.packet_id)
        else {
            return;
        };
        let refused = unsuback.reason_codes().find(|reason| reason.is_error());
        let result = refused.map_or(Ok(()), |reason| {
            let mut error = Error::new(ErrorKind::Rejected(reason));
            error.detail = unsuback.properties.reason_string().map(Into::into);
            Err(error)
        });
        self.complete(gone.op, Outcome::Unsubscribed(result));
    }

    /// The server wants to have nothing to do with a stream: whoever waits for it is told, and a
    /// stream that is in use ends.
    fn refuse_stream(&mut self, id: StreamId, error: Error) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        stream.wire = Wire::Done;
        let filters = std::mem::take(&mut stream.filters);
        let op = stream.op.take();
        self.subscriptions.remove(id, filters.iter());
        self.streams.end(id);
        if op.is_some() {
            self.complete(op, Outcome::SubscribeFailed(error));
        } else {
            self.last_error = Some(error);
        }
        self.push_event(Event::Ready(id));
    }

    /// Messages that nobody will take any more.
    fn settle_all(&mut self, items: Vec<Item>) {
        for item in items {
            if let Some(ack) = item.ack {
                self.unacked.settle(ack, None);
            }
        }
        self.send_due_acks();
    }
}

fn grant(reason: ReasonCode) -> Granted {
    martlet_codec::QoS::from_bits(reason.as_u8()).ok_or(reason)
}
