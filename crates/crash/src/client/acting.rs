//! What a client sends: acknowledgements, re-sends, publishes, changes of its subscriptions.

use martlet_codec::{
    Ack, Disconnect, Packet, PacketId, Properties, Publish, QoS, ReasonCode, RetainHandling,
    Subscribe, SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, Unsubscribe,
    UnsubscribeFiltersBuf,
};

use super::{Client, Duty, Flow, Stage};
use crate::ledger::{Ledger, Message, MessageId, Subscription, payload_of};
use crate::plan::TOPICS;
use crate::rng::Rng;

impl Client {
    /// Sends acknowledgements: now and then some, out of order at QoS 1, or all that there are.
    pub(crate) fn do_duties(&mut self, all: bool, rng: &mut Rng) {
        if !all && !rng.percent(self.habits.diligence) {
            return;
        }
        let count = if all {
            self.duties.len()
        } else {
            rng.below(self.duties.len() + 1)
        };
        for _ in 0..count {
            if let Some(duty) = self.duties.pop_front() {
                self.send_ack(duty);
            }
        }
    }

    fn send_ack(&mut self, duty: Duty) {
        let ack = |id: u16, reason: ReasonCode| Ack {
            packet_id: PacketId::new(id).expect("not 0"),
            reason,
            properties: Properties::EMPTY,
        };
        let packet = match duty {
            Duty::PubAck(id) => Packet::PubAck(ack(id, ReasonCode::Success)),
            Duty::PubRec(id) => Packet::PubRec(ack(id, ReasonCode::Success)),
            Duty::PubRel(id) => Packet::PubRel(ack(id, ReasonCode::Success)),
            Duty::PubComp(id, reason) => Packet::PubComp(ack(id, reason)),
        };
        self.put(&packet);
    }

    fn put(&mut self, packet: &Packet<'_>) {
        packet
            .encode(self.habits.version, &mut self.wire)
            .expect("a legal packet");
    }

    /// Sends again what was under way on the connection before, in the original order.
    pub(super) fn resend(&mut self, ledger: &mut Ledger) {
        for at in 0..self.outbound.len() {
            let flow = self.outbound[at];
            if flow.sent {
                continue;
            }
            self.outbound[at].sent = true;
            if flow.stage == Stage::AwaitPubComp {
                ledger.sums.resent += 1;
                self.send_ack(Duty::PubRel(flow.packet_id));
            } else {
                ledger.resend(flow.message);
                self.put_publish(flow.message, Some(flow.packet_id), true, ledger);
            }
        }
    }

    /// Publishes up to `count` messages, as far as its window allows. Returns how many.
    pub(crate) fn publish(&mut self, count: usize, rng: &mut Rng, ledger: &mut Ledger) -> usize {
        let window = self.habits.window.min(self.receive_maximum);
        for published in 0..count {
            let qos = *rng.pick(&[
                QoS::AtMostOnce,
                QoS::AtLeastOnce,
                QoS::AtLeastOnce,
                QoS::ExactlyOnce,
                QoS::ExactlyOnce,
            ]);
            if qos != QoS::AtMostOnce && self.outbound.len() >= window {
                return published;
            }
            let topic = *rng.pick(&self.habits.topics);
            self.publish_to(topic, qos, rng, ledger);
        }
        count
    }

    /// Publishes one message.
    pub(crate) fn publish_to(
        &mut self,
        topic: usize,
        qos: QoS,
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) {
        let clear = self.habits.retains && rng.one_in(10);
        let payload_len = match rng.below(400) {
            _ if clear => 0,
            0 => rng.between(50_000, 200_000),
            1..=8 => rng.between(1_000, 20_000),
            _ => rng.between(20, 300),
        };
        let message = ledger.send(Message {
            publisher: self.index,
            topic,
            qos,
            retain: self.habits.retains,
            clear,
            will: false,
            payload_len,
            sent: 0,
            sent_last: 0,
            acked: None,
        });
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.free_packet_id());
        if let Some(packet_id) = packet_id {
            let stage = if qos == QoS::AtLeastOnce {
                Stage::AwaitPubAck
            } else {
                Stage::AwaitPubRec
            };
            self.outbound.push(Flow {
                packet_id,
                message,
                stage,
                sent: true,
            });
        }
        self.put_publish(message, packet_id, false, ledger);
    }

    fn put_publish(&mut self, id: MessageId, packet_id: Option<u16>, dup: bool, ledger: &Ledger) {
        let message = &ledger.messages[id];
        let payload = if message.clear {
            Vec::new()
        } else {
            payload_of(id, message.payload_len)
        };
        self.put(&Packet::Publish(Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic: Some(TopicName::new(TOPICS[message.topic]).expect("a legal topic")),
            packet_id: packet_id.and_then(PacketId::new),
            properties: Properties::EMPTY,
            payload: &payload,
        }));
    }

    /// An identifier that neither a flow nor a request uses.
    fn free_packet_id(&mut self) -> u16 {
        if self.habits.lowest_identifier {
            self.last_packet_id = 0;
        }
        loop {
            self.last_packet_id = self.last_packet_id % 300 + 1;
            let id = self.last_packet_id;
            let used = self.outbound.iter().any(|flow| flow.packet_id == id);
            if !used && !self.requests.contains_key(&id) {
                return id;
            }
        }
    }

    /// The changes of its subscriptions that nobody has confirmed and that are not being asked for.
    pub(super) fn open_changes(&self, ledger: &Ledger) -> Vec<usize> {
        let Some(session) = self.session else {
            return Vec::new();
        };
        let is_open = |subscription: &Subscription| match subscription.end_asked {
            Some(_) => subscription.ended.is_none(),
            None => subscription.granted.is_none(),
        };
        let subscriptions = ledger.sessions[session].subscriptions.iter().enumerate();
        subscriptions
            .filter(|(n, subscription)| {
                is_open(subscription) && !self.requests.values().any(|list| list.contains(n))
            })
            .map(|(n, _)| n)
            .collect()
    }

    /// Asks for them: what has to begin in one SUBSCRIBE, what has to end in one UNSUBSCRIBE.
    pub(crate) fn ask_for_changes(&mut self, ledger: &mut Ledger) {
        let open = self.open_changes(ledger);
        let Some(session) = self.session.filter(|_| !open.is_empty()) else {
            return;
        };
        let subscriptions = &ledger.sessions[session].subscriptions;
        let (ends, begins): (Vec<usize>, Vec<usize>) = open
            .into_iter()
            .partition(|n| subscriptions[*n].end_asked.is_some());
        let mut list = SubscribeFiltersBuf::new();
        for n in &begins {
            let options = SubscriptionOptions {
                qos: subscriptions[*n].qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Always,
            };
            let filter = TopicFilter::new(&subscriptions[*n].filter).expect("a legal filter");
            list.push(filter, options);
        }
        let mut end_list = UnsubscribeFiltersBuf::new();
        for n in &ends {
            end_list.push(TopicFilter::new(&subscriptions[*n].filter).expect("a legal filter"));
        }
        if !ends.is_empty() {
            let id = self.free_packet_id();
            self.requests.insert(id, ends);
            self.put(&Packet::Unsubscribe(Unsubscribe {
                packet_id: PacketId::new(id).expect("not 0"),
                properties: Properties::EMPTY,
                filters: end_list.as_filters(),
            }));
        }
        if !begins.is_empty() {
            let id = self.free_packet_id();
            self.requests.insert(id, begins);
            self.put(&Packet::Subscribe(Subscribe {
                packet_id: PacketId::new(id).expect("not 0"),
                properties: Properties::EMPTY,
                filters: list.as_filters(),
            }));
        }
    }

    /// Ends one of its subscriptions, or makes an ended one again.
    pub(crate) fn change_a_subscription(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let Some(session) = self.session else { return };
        if !self.requests.is_empty() || !self.open_changes(ledger).is_empty() {
            return;
        }
        let (filter, qos) = rng.pick(&self.habits.filters).clone();
        let now = ledger.moment();
        let subscriptions = &mut ledger.sessions[session].subscriptions;
        let running = subscriptions
            .iter_mut()
            .find(|one| one.filter == filter && one.end_asked.is_none());
        match running {
            Some(subscription) => subscription.end_asked = Some(now),
            None => subscriptions.push(Subscription {
                filter,
                qos,
                granted: None,
                again: 0,
                end_asked: None,
                ended: None,
            }),
        }
        self.ask_for_changes(ledger);
    }

    /// Subscribes once more to something that it has: the subscription stays, retained messages come again.
    pub(crate) fn subscribe_again(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let Some(session) = self.session else { return };
        if !self.requests.is_empty() || !self.open_changes(ledger).is_empty() {
            return;
        }
        let now = ledger.moment();
        let subscriptions = &mut ledger.sessions[session].subscriptions;
        let running: Vec<usize> = (0..subscriptions.len())
            .filter(|n| subscriptions[*n].end_asked.is_none())
            .collect();
        if running.is_empty() {
            return;
        }
        let again = *rng.pick(&running);
        // Granted it stays: the broker must go on with it whatever becomes of this SUBSCRIBE.
        let granted = subscriptions[again].granted.take();
        subscriptions[again].again = now;
        self.ask_for_changes(ledger);
        ledger.sessions[session].subscriptions[again].granted = granted;
    }

    /// DISCONNECT.
    pub(crate) fn say_goodbye(&mut self) {
        self.put(&Packet::Disconnect(Disconnect {
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        }));
    }
}
