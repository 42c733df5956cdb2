//! Bytes from the server: packets, and what each of them means.

use martlet_codec::{
    DecodeError, Decoded, Disconnect, Packet, PacketId, PacketType, Publish, QoS, ReasonCode,
    Rules, Sender, TopicName, decode,
};
use martlet_session::InboundPublish;

use super::fingerprint::Fingerprint;
use super::stream::{Item, StreamId};
use super::unacked::AckId;
use super::{Event, Machine, Phase, Time, routing};
use crate::error::{Error, ErrorKind};
use crate::message::{Message, Properties};
use crate::options::{SessionKind, Unrouted};
use crate::topic::Topic;

impl Machine {
    /// Bytes have arrived, in front of them what the call before has left. Returns how many bytes it
    /// took; the rest is the beginning of a packet, to be presented again.
    pub fn on_bytes(&mut self, now: Time, input: &[u8]) -> usize {
        self.link.last_received = now;
        let mut at = 0;
        while matches!(self.phase, Phase::Handshake { .. } | Phase::Online) {
            let rules = Rules {
                version: self.config.version,
                sender: Sender::Server,
                max_packet_size: self.config.packet_size_max,
            };
            let rest = input.get(at..).unwrap_or_default();
            match decode(rest, rules) {
                Ok(Decoded::Incomplete { at_least }) => {
                    self.link.needed = at_least;
                    self.stats.bytes_received += at as u64;
                    self.send_due_acks();
                    self.pump(now);
                    return at;
                }
                Ok(Decoded::Packet { packet, length }) => {
                    at += length;
                    self.on_packet(now, &packet);
                }
                Err(error) => self.on_malformed(now, error),
            }
        }
        // The connection has ended: what follows belongs to nobody.
        input.len()
    }

    fn on_malformed(&mut self, now: Time, error: DecodeError) {
        //= mqtt5 1.5.4-1
        //= mqtt311 1.5.3-1
        //= mqtt311 4.8.0-1
        let what = Error::with_detail(ErrorKind::Protocol, error.to_string());
        // A client may not say all that a decoder may find.
        let reason = error.reason();
        let reason = if reason.allowed_in(PacketType::Disconnect, Sender::Client) {
            reason
        } else {
            ReasonCode::ProtocolError
        };
        self.drop_connection(now, what, Some(reason));
    }

    fn on_packet(&mut self, now: Time, packet: &Packet<'_>) {
        if matches!(self.phase, Phase::Handshake { .. }) {
            if let Packet::ConnAck(connack) = packet {
                self.on_connack(now, connack);
            } else {
                let detail = format!("{} instead of CONNACK", packet.packet_type());
                self.violation(now, &detail);
            }
            return;
        }
        match packet {
            Packet::Publish(publish) => self.on_publish(now, publish),
            Packet::PubAck(ack) => self.on_puback(now, ack),
            Packet::PubRec(ack) => self.on_pubrec(ack),
            Packet::PubRel(ack) => self.on_pubrel(ack),
            Packet::PubComp(ack) => self.on_pubcomp(now, ack),
            Packet::SubAck(suback) => self.on_suback(now, suback),
            Packet::UnsubAck(unsuback) => self.on_unsuback(unsuback),
            Packet::PingResp => self.link.ping_sent = None,
            Packet::Disconnect(disconnect) => self.on_disconnect(now, disconnect),
            //= mqtt5 4.12.0-7
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => {
                let detail = format!("{} was not expected", packet.packet_type());
                self.violation(now, &detail);
            }
        }
    }

    /// The server does what it must not do.
    pub(super) fn violation(&mut self, now: Time, detail: &str) {
        let error = Error::with_detail(ErrorKind::Protocol, detail);
        self.drop_connection(now, error, Some(ReasonCode::ProtocolError));
    }

    fn on_disconnect(&mut self, now: Time, disconnect: &Disconnect<'_>) {
        let mut error = Error::new(ErrorKind::Refused(disconnect.reason));
        let properties = disconnect.properties;
        error.detail = properties.reason_string().map(Into::into);
        if disconnect.reason == ReasonCode::SessionTakenOver {
            error.detail = Some("another client uses the same client identifier".into());
        }
        error.server_reference = properties.server_reference().map(Into::into);
        self.drop_connection(now, error, None);
    }

    fn on_publish(&mut self, now: Time, publish: &Publish<'_>) {
        self.stats.received += 1;
        let slot = match self.resolve_topic(publish) {
            Ok(slot) => slot,
            Err((reason, detail)) => {
                let error = Error::with_detail(ErrorKind::Protocol, detail);
                self.drop_connection(now, error, Some(reason));
                return;
            }
        };
        let mut ack = None;
        if let Some(packet_id) = publish.packet_id {
            ack = self.receive_once(now, publish, packet_id, slot);
            if ack.is_none() {
                return;
            }
        }
        let message = self.message_of(publish, slot);
        self.distribute(publish, slot, message, ack);
        if self.streams.bytes() > self.config.inbound_bytes_max {
            //= mqtt311 4.8.0-2
            let detail = "received more than the application takes";
            let error = Error::with_detail(ErrorKind::Io, detail);
            self.drop_connection(now, error, Some(ReasonCode::QuotaExceeded));
        }
    }

    /// The name of a message at QoS 1 or 2, if it is new to the application.
    fn receive_once(
        &mut self,
        now: Time,
        publish: &Publish<'_>,
        packet_id: PacketId,
        slot: usize,
    ) -> Option<AckId> {
        let exactly_once = publish.qos == QoS::ExactlyOnce;
        let print = self.fingerprint_of(publish, slot);
        let state = if exactly_once {
            self.forget_another(publish, packet_id, print);
            self.inbound.on_marked_publish_qos2(packet_id, print)
        } else if self.config.version.is_v5()
            && self.unacked.qos1_count() >= usize::from(self.config.receive_maximum.max(1))
        {
            InboundPublish::ReceiveMaximumExceeded
        } else {
            self.inbound.on_publish_qos1()
        };
        //= mqtt5 4.3.3-10
        //= mqtt311 4.3.3-2
        match state {
            InboundPublish::ReceiveMaximumExceeded => {
                let detail = "more messages than our Receive Maximum allows";
                let error = Error::with_detail(ErrorKind::Protocol, detail);
                let reason = ReasonCode::ReceiveMaximumExceeded;
                self.drop_connection(now, error, Some(reason));
                None
            }
            InboundPublish::Duplicate => {
                if !self.unacked.resume(packet_id, true, print)
                    && !self.unacked.is_waiting(packet_id)
                {
                    // The application has it, and PUBREC was sent: once more.
                    self.unacked.push(packet_id, true, print);
                }
                None
            }
            // It was never acknowledged, so the server cannot have used the identifier again.
            InboundPublish::Fresh
                if publish.dup && self.unacked.resume(packet_id, exactly_once, print) =>
            {
                None
            }
            //= mqtt5 4.3.2-5
            InboundPublish::Fresh => {
                self.unacked.forget(packet_id);
                Some(self.unacked.push(packet_id, exactly_once, print))
            }
        }
    }

    /// Where the session may be another one than that of an identifier which is not released: whether this is the message
    /// that had it.
    fn forget_another(&mut self, publish: &Publish<'_>, packet_id: PacketId, print: Fingerprint) {
        // A session that goes on sends again with DUP, and the same message.
        let comes_again = |of_before| publish.dup && of_before == print;
        if self.unacked.is_doubtful()
            && let Some(of_before) = self.inbound.mark_of_before(packet_id)
            && !comes_again(of_before)
        {
            self.inbound.release(packet_id);
        }
    }

    /// Nobody asks for it in a session that ends with its connection.
    fn fingerprint_of(&self, publish: &Publish<'_>, slot: usize) -> Fingerprint {
        if self.config.session.kind == SessionKind::Clean {
            return Fingerprint::default();
        }
        let topic = self.routes.topic(slot).map_or("", Topic::as_str);
        Fingerprint::of(topic, publish)
    }

    /// The route of the PUBLISH's topic, or what is wrong with its alias.
    fn resolve_topic(
        &mut self,
        publish: &Publish<'_>,
    ) -> Result<usize, (ReasonCode, &'static str)> {
        let alias = publish.properties.topic_alias();
        let Some(alias) = alias else {
            let topic = publish.topic.map_or("", TopicName::as_str);
            return Ok(self.routes.find(topic, &self.subscriptions));
        };
        //= mqtt5 3.3.2-10
        if !self.link.aliases_in.allows(alias) {
            return Err((ReasonCode::TopicAliasInvalid, "a topic alias out of range"));
        }
        if let Some(topic) = publish.topic {
            self.link.aliases_in.define(alias, topic.as_str());
            return Ok(self.routes.find(topic.as_str(), &self.subscriptions));
        }
        let known = self.link.aliases_in.resolve(alias);
        let topic = known.ok_or((
            ReasonCode::ProtocolError,
            "a topic alias that stands for nothing",
        ))?;
        Ok(self.routes.find(topic, &self.subscriptions))
    }

    fn message_of(&self, publish: &Publish<'_>, slot: usize) -> Message {
        let topic = self.routes.topic(slot).cloned();
        message_of(publish, topic.unwrap_or_else(|| Topic::from_checked("")))
    }

    /// Gives a message to the streams that want it.
    fn distribute(
        &mut self,
        publish: &Publish<'_>,
        slot: usize,
        message: Message,
        ack: Option<AckId>,
    ) {
        let mut targets = routing::Takers::default();
        self.routes.takers(slot, publish.properties, &mut targets);
        if targets.is_empty() {
            let rest = self
                .streams
                .iter()
                .filter(|(_, stream)| stream.options.rest);
            rest.for_each(|(id, _)| targets.push(id));
        }
        let Some((last, others)) = targets.as_slice().split_last() else {
            self.keep_or_drop(message, ack);
            return;
        };
        for id in others {
            self.hand_over(*id, message.clone(), ack);
        }
        self.hand_over(*last, message, ack);
    }

    pub(super) fn hand_over(&mut self, id: StreamId, message: Message, ack: Option<AckId>) {
        let Some(pushed) = self.streams.push(id, Item { message, ack }) else {
            return;
        };
        if pushed.taken
            && let Some(ack) = ack
        {
            self.unacked.add_taker(ack);
        }
        if let Some(dropped) = pushed.dropped {
            self.stats.lagged += 1;
            if pushed.taken
                && let Some(ack) = dropped.ack
            {
                self.unacked.settle(ack, None);
            }
        }
        if pushed.first {
            self.push_event(Event::Ready(id));
        }
    }

    /// Nobody wants the message: it waits for somebody, or it goes.
    fn keep_or_drop(&mut self, message: Message, ack: Option<AckId>) {
        let inherited = self.link.session_present || self.subscriptions.is_detached(&message.topic);
        let keep = self.config.unrouted == Unrouted::Hold
            && inherited
            && !self.subscriptions.is_retired(&message.topic);
        let Some(ack) = ack.filter(|_| keep) else {
            //= mqtt5 4.5.0-2
            //= mqtt311 4.5.0-2
            self.stats.unrouted += 1;
            return;
        };
        self.unacked.add_taker(ack);
        if self.streams.held_count() >= usize::from(self.config.receive_maximum.max(1)) {
            // 3.1.1 knows no Receive Maximum. It stays unacknowledged and comes again.
            self.abandon(ack);
            return;
        }
        self.streams.hold(Item {
            message,
            ack: Some(ack),
        });
    }
}

/// The message of a PUBLISH that has a topic.
pub(crate) fn message_from(publish: &Publish<'_>) -> Option<Message> {
    let topic = Topic::from_checked(publish.topic?.as_str());
    Some(message_of(publish, topic))
}

fn message_of(publish: &Publish<'_>, topic: Topic) -> Message {
    Message {
        topic,
        payload: bytes::Bytes::copy_from_slice(publish.payload),
        qos: publish.qos,
        retain: publish.retain,
        duplicate: publish.dup,
        properties: properties_of(publish.properties),
        ack: None,
        qos_valid: true,
    }
}

fn properties_of(from: martlet_codec::Properties<'_>) -> Option<Box<Properties>> {
    if from.is_empty() {
        return None;
    }
    let properties = Properties {
        is_text: from.payload_format_indicator() == Some(1),
        expiry_s: from.message_expiry_interval(),
        content_type: from.content_type().map(str::to_owned),
        response_topic: from.response_topic().map(Topic::from_checked),
        correlation_data: from.correlation_data().map(bytes::Bytes::copy_from_slice),
        user: from
            .user_properties()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        subscription_ids: from.subscription_identifiers().collect(),
    };
    Some(Box::new(properties))
}
