//! What a legal client does of its own accord: chosen by the seed.

use martlet_codec::{
    Disconnect, Packet, PacketId, PropertiesBuf, Property, QoS, ReasonCode, RetainHandling,
    Subscribe, SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, Unsubscribe,
    UnsubscribeFiltersBuf, Version,
};

use martlet_engine::Authentication;

use super::{Client, Flow, Rush, Stage};
use crate::ledger::{Change, ConnectTerms, Ledger, MessageFact, MessageId, Wanted};
use crate::rng::Rng;

/// What a client wants of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    /// Close the connection behind what was sent.
    Close,
}

impl Client {
    /// Does one thing on an accepted connection.
    pub(crate) fn act(&mut self, rng: &mut Rng, ledger: &mut Ledger) -> Wish {
        if let Some(wish) = self.rush(rng, ledger) {
            return wish;
        }
        if !self.duties.is_empty() && rng.percent(45) {
            // Acknowledgements come late, and now and then out of order.
            let at = if rng.one_in(6) {
                rng.below(self.duties.len())
            } else {
                0
            };
            self.do_duty(at, ledger);
            return Wish::Nothing;
        }
        match rng.below(100) {
            0..=54 => self.publish_something(rng, ledger),
            55..=71 if self.id > 0 => self.subscribe_something(rng, ledger),
            72..=76 if !self.steady => self.unsubscribe_something(rng, ledger),
            77..=79 if !self.steady => {
                self.disconnect(rng, ledger);
                return Wish::Close;
            }
            80..=85 => self.put(&Packet::PingReq),
            86..=93 if self.may_reauthenticate(ledger) => self.reauthenticate(),
            _ => {}
        }
        Wish::Nothing
    }

    /// The terms of the next CONNECT.
    pub(crate) fn choose_terms(&mut self, rng: &mut Rng, ledger: &mut Ledger) -> ConnectTerms {
        let v5 = self.version == Version::V5;
        let clean = !self.steady && rng.one_in(6);
        let will = (!self.steady && rng.percent(35)).then(|| {
            let delay_s = if v5 { *rng.pick(&[0, 0, 1, 5, 60]) } else { 0 };
            (self.new_will(rng, ledger), delay_s)
        });
        let mut v5_only = |percent, value: u32| (v5 && rng.percent(percent)).then_some(value);
        let receive_maximum = v5_only(50, 0);
        let packet_bytes_max = v5_only(if self.steady { 0 } else { 12 }, 0);
        let alias_maximum = v5_only(50, 0);
        let asked = ledger.policy.authentication == Authentication::Ask;
        let method = asked && v5 && rng.percent(60);
        let mut terms = ConnectTerms {
            version: self.version,
            clean,
            keep_alive_s: if self.steady {
                0
            } else {
                *rng.pick(&[0, 0, 3, 20, 600])
            },
            expiry_s: self.expiry_s.filter(|_| v5),
            receive_maximum: receive_maximum.map(|_| *rng.pick(&[1, 2, 3, 10, 100])),
            packet_bytes_max: packet_bytes_max.map(|_| *rng.pick(&[120, 200, 1_500])),
            alias_maximum: alias_maximum.map(|_| *rng.pick(&[1, 2, 5, 100])),
            method,
            will,
        };
        self.rush_terms(&mut terms, rng);
        terms
    }

    /// Terms that put nothing in the way of what waits for the client.
    pub(crate) fn calm_terms(&self) -> ConnectTerms {
        ConnectTerms {
            version: self.version,
            clean: false,
            keep_alive_s: 0,
            expiry_s: self.expiry_s.filter(|_| self.version == Version::V5),
            receive_maximum: (self.rushes == Some(Rush::Member)).then_some(4),
            packet_bytes_max: None,
            alias_maximum: None,
            method: self.names_method,
            will: None,
        }
    }

    /// Terms after whose connection no session is left.
    pub(crate) fn last_terms(&self) -> ConnectTerms {
        ConnectTerms {
            clean: true,
            expiry_s: None,
            // Now and then it lies: but this one has to get in.
            method: false,
            ..self.calm_terms()
        }
    }

    fn new_message(&self, topic: &str, qos: QoS, ledger: &mut Ledger) -> MessageId {
        let id = ledger.messages.len();
        ledger.messages.push(MessageFact {
            id,
            publisher: self.id,
            session: ledger.actors[self.id].session.unwrap_or(0),
            topic: topic.to_owned(),
            qos,
            retain: false,
            clear: false,
            will: false,
            expiry_s: None,
            payload_len: 12,
            sent_at: ledger.now,
            sends: Vec::new(),
            end: (0, 0),
            acked: None,
            processed: false,
            round: ledger.round,
        });
        id
    }

    fn new_will(&self, rng: &mut Rng, ledger: &mut Ledger) -> MessageId {
        let topic = *rng.pick(&WILL_TOPICS);
        let qos = random_qos(rng);
        let id = self.new_message(topic, qos, ledger);
        let fact = &mut ledger.messages[id];
        fact.will = true;
        fact.retain = rng.one_in(4);
        id
    }

    pub(crate) fn publish_something(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let topic = *rng.pick(&TOPICS);
        let retain = rng.one_in(3);
        let qos = random_qos(rng);
        self.publish(topic, (retain, qos), rng, ledger);
        // The broker deals with many to one topic together.
        if !retain && rng.one_in(4) {
            for _ in 0..rng.between(2, 8) {
                self.publish(topic, (retain, qos), rng, ledger);
            }
        }
    }

    pub(crate) fn publish(
        &mut self,
        topic: &str,
        (retain, qos): (bool, QoS),
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) {
        if !self.may_send_qos(qos) || self.has_unsent() {
            return;
        }
        let id = self.new_message(topic, qos, ledger);
        let small = self.server.packet_bytes_max < 4_000;
        let fact = &mut ledger.messages[id];
        fact.retain = retain;
        fact.clear = retain && rng.one_in(5);
        fact.payload_len = match rng.below(12) {
            _ if fact.clear => 0,
            0 if !small => rng.between(1_000, 3_000),
            1 => rng.between(100, 400),
            _ => rng.between(8, 30),
        };
        if self.version == Version::V5 && rng.one_in(8) {
            fact.expiry_s = Some(*rng.pick(&[1, 30, 100_000]));
        }
        let alias = (self.server.alias_maximum > 0 && rng.one_in(3))
            .then(|| rng.between(1, usize::from(self.server.alias_maximum.min(3))))
            .and_then(|alias| u16::try_from(alias).ok());
        self.send_first(id, alias, ledger);
    }

    /// One with nothing to it but its payload.
    pub(super) fn publish_plainly(&mut self, topic: &str, qos: QoS, ledger: &mut Ledger) {
        if self.may_send_qos(qos) && !self.has_unsent() {
            let id = self.new_message(topic, qos, ledger);
            self.send_first(id, None, ledger);
        }
    }

    fn send_first(&mut self, id: MessageId, alias: Option<u16>, ledger: &mut Ledger) {
        let qos = ledger.messages[id].qos;
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.free_packet_id());
        if let Some(packet_id) = packet_id {
            self.outbound.push(Flow {
                packet_id,
                message: id,
                stage: if qos == QoS::AtLeastOnce {
                    Stage::AwaitPubAck
                } else {
                    Stage::AwaitPubRec
                },
                sent: true,
            });
        }
        self.put_publish(id, packet_id, false, alias, ledger);
    }

    fn has_unsent(&self) -> bool {
        self.outbound.iter().any(|flow| !flow.sent)
    }

    fn subscribe_something(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let count = if rng.one_in(3) { rng.between(2, 4) } else { 1 };
        let filters: Vec<String> = (0..count).map(|_| self.random_filter(rng)).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let options: Vec<_> = filters
            .iter()
            .map(|filter| self.random_options(filter, rng))
            .collect();
        let id = (self.version == Version::V5 && rng.one_in(3)).then(|| rng.between(1, 300));
        let id = id.and_then(|id| u32::try_from(id).ok());
        self.subscribe(&filters, &options, id, ledger);
    }

    /// Steady clients stay out of groups: who never leaves would keep them alive for ever.
    fn random_filter(&self, rng: &mut Rng) -> String {
        if self.steady || !rng.percent(25) {
            return (*rng.pick(&FILTERS)).to_owned();
        }
        let (name, filter) = (rng.pick(&GROUPS), rng.pick(&SHARED_FILTERS));
        format!("$share/{name}/{filter}")
    }

    fn random_options(&self, filter: &str, rng: &mut Rng) -> SubscriptionOptions {
        let v5 = self.version == Version::V5;
        let shared = filter.starts_with("$share/");
        let qos = random_qos(rng);
        SubscriptionOptions {
            qos: if shared && self.shares_surely {
                qos.max(QoS::AtLeastOnce)
            } else {
                qos
            },
            no_local: v5 && !shared && rng.one_in(4),
            retain_as_published: v5 && rng.one_in(3),
            retain_handling: if v5 {
                *rng.pick(&[
                    RetainHandling::Always,
                    RetainHandling::Always,
                    RetainHandling::IfNew,
                    RetainHandling::Never,
                ])
            } else {
                RetainHandling::Always
            },
        }
    }

    /// Sends one SUBSCRIBE, with a subscription identifier if there is one.
    pub(crate) fn subscribe(
        &mut self,
        filters: &[&str],
        options: &[SubscriptionOptions],
        subscription_id: Option<u32>,
        ledger: &mut Ledger,
    ) {
        let Some(session) = ledger.actors[self.id].session else {
            return;
        };
        let mut list = SubscribeFiltersBuf::new();
        let mut changes = Vec::new();
        for (filter, options) in filters.iter().zip(options) {
            list.push(TopicFilter::new(filter).expect("legal"), *options);
            ledger.tick();
            let all = &mut ledger.sessions[session].changes;
            changes.push(all.len());
            all.push(Change {
                filter: (*filter).to_owned(),
                wanted: Some(Wanted {
                    qos: options.qos,
                    no_local: options.no_local,
                    retain_as_published: options.retain_as_published,
                    replays: options.retain_handling != RetainHandling::Never
                        && !filter.starts_with("$share/"),
                    replays_always: options.retain_handling == RetainHandling::Always
                        && !filter.starts_with("$share/"),
                    id: subscription_id.unwrap_or(0),
                }),
                done: None,
                done_round: 0,
                refused: false,
            });
        }
        let mut properties = PropertiesBuf::new();
        if let Some(id) = subscription_id {
            properties.push(Property::SubscriptionIdentifier(id));
        }
        let packet_id = self.free_packet_id();
        self.requests.insert(packet_id, changes);
        self.put(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(packet_id).expect("not 0"),
            properties: properties.as_properties(),
            filters: list.as_filters(),
        }));
    }

    fn unsubscribe_something(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let Some(session) = ledger.actors[self.id].session else {
            return;
        };
        let changes = &ledger.sessions[session].changes;
        // Mostly something that there is, sometimes not.
        let filter = if changes.is_empty() || rng.one_in(5) {
            (*rng.pick(&FILTERS)).to_owned()
        } else {
            rng.pick(changes).filter.clone()
        };
        let mut list = UnsubscribeFiltersBuf::new();
        list.push(TopicFilter::new(&filter).expect("legal"));
        let packet_id = self.free_packet_id();
        ledger.tick();
        let changes = &mut ledger.sessions[session].changes;
        self.requests.insert(packet_id, vec![changes.len()]);
        changes.push(Change {
            filter,
            wanted: None,
            done: None,
            done_round: 0,
            refused: false,
        });
        self.put(&Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::new(packet_id).expect("not 0"),
            properties: martlet_codec::Properties::EMPTY,
            filters: list.as_filters(),
        }));
    }

    /// DISCONNECT in one of its forms.
    pub(crate) fn disconnect(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let mut properties = PropertiesBuf::new();
        let mut reason = ReasonCode::Success;
        if self.version == Version::V5 {
            if rng.one_in(3) {
                reason = ReasonCode::DisconnectWithWillMessage;
            }
            // From 0 it must not be changed.
            if self.expiry_s.unwrap_or(0) > 0 && rng.one_in(4) {
                let seconds = *rng.pick(&[0, 2, 100_000]);
                self.disconnect_expiry_s = Some(seconds);
                // Whether the broker gets to know is unknown.
                if let Some(session) = ledger.actors[self.id].session {
                    let outlives_s = &mut ledger.sessions[session].outlives_s;
                    *outlives_s = outlives_s.map(|before| before.min(seconds));
                }
                properties.push(Property::SessionExpiryInterval(seconds));
            }
        }
        self.put(&Packet::Disconnect(Disconnect {
            reason,
            properties: properties.as_properties(),
        }));
    }
}

fn random_qos(rng: &mut Rng) -> QoS {
    *rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

/// Few, so that clients meet; with empty levels and a `$` topic.
pub(crate) const TOPICS: [&str; 11] = [
    "a", "a/b", "a/b/c", "b/", "/b", "x/1", "x/2", "x/3", "g/1", "g/2", "$x/y",
];

const WILL_TOPICS: [&str; 3] = ["w/1", "w/2", "a/w"];

const FILTERS: [&str; 17] = [
    "#", "a/#", "a/+", "+/b", "+", "a", "a/b", "x/+", "x/1", "x/2", "+/+", "/+", "b/#", "$x/#",
    "+/y", "w/#", "a/b/c",
];

const GROUPS: [&str; 4] = ["s", "t", "u", "v"];

const SHARED_FILTERS: [&str; 5] = ["g/#", "g/+", "g/1", "x/1", "+/2"];
