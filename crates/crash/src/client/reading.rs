//! What a client does with the packets that it reads.

use martlet_codec::{
    Ack, ConnAck, Decoded, Packet, PacketId, Publish, QoS, ReasonCode, Rules, Sender, SubAck,
    Version, decode,
};

use super::{Client, Duty, Expected, Stage, State};
use crate::faults::Kind;
use crate::ledger::{Arrival, Ledger};
use crate::plan::TOPICS;

impl Client {
    /// Bytes have arrived on its connection. `Err`: the broker broke the protocol.
    pub(crate) fn on_bytes(&mut self, bytes: &[u8], ledger: &mut Ledger) -> Result<(), String> {
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut at = 0;
        let rules = Rules {
            version: self.version(),
            sender: Sender::Server,
            max_packet_size: u32::MAX,
        };
        while at < unread.len() {
            match decode(&unread[at..], rules) {
                Ok(Decoded::Incomplete { .. }) => break,
                Ok(Decoded::Packet { packet, length }) => {
                    self.on_packet(&packet, ledger)
                        .map_err(|what| format!("{}: {what}", self.habits.name))?;
                    at += length;
                }
                Err(error) => return Err(format!("{}: {error}", self.habits.name)),
            }
        }
        unread.drain(..at);
        self.unread = unread;
        Ok(())
    }

    fn on_packet(&mut self, packet: &Packet<'_>, ledger: &mut Ledger) -> Result<(), String> {
        if self.state != State::Online && !matches!(packet, Packet::ConnAck(_)) {
            return Err(format!("{:?} before CONNACK", packet.packet_type()));
        }
        match packet {
            Packet::ConnAck(connack) => self.on_connack(connack, ledger),
            Packet::Publish(publish) => {
                self.on_publish(publish, ledger);
                Ok(())
            }
            Packet::PubAck(ack) => self.on_puback(ack, ledger),
            Packet::PubRec(ack) => self.on_pubrec(ack, ledger),
            Packet::PubRel(ack) => {
                self.on_pubrel(ack.packet_id.get());
                Ok(())
            }
            Packet::PubComp(ack) => {
                let id = ack.packet_id.get();
                self.outbound
                    .retain(|flow| flow.packet_id != id || flow.stage != Stage::AwaitPubComp);
                Ok(())
            }
            Packet::SubAck(suback) | Packet::UnsubAck(suback) => self.on_suback(suback, ledger),
            Packet::PingResp => Ok(()),
            Packet::Disconnect(disconnect) => Err(format!("DISCONNECT {:?}", disconnect.reason)),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => Err("no server sends this here".to_owned()),
        }
    }

    fn on_connack(&mut self, connack: &ConnAck<'_>, ledger: &mut Ledger) -> Result<(), String> {
        if self.state == State::Online {
            return Err("a second CONNACK".to_owned());
        }
        if connack.reason != ReasonCode::Success {
            return Err(format!("CONNACK {:?}", connack.reason));
        }
        let name = &self.habits.name;
        match (self.expected, connack.session_present) {
            (Expected::Present, false) => {
                ledger.faults.add(Kind::SessionLost, name.clone());
            }
            (Expected::Absent, true) => {
                ledger
                    .faults
                    .add(Kind::Resurrected, format!("{name}: a session"));
            }
            (Expected::Present | Expected::Unknown, true)
            | (Expected::Absent | Expected::Unknown, false) => {}
        }
        self.state = State::Online;
        // Its connections before have ended for the broker as well, if only because this one took over.
        self.unnoticed.clear();
        // MQTT 3 has one flag for 'begin anew' and 'end with the connection' (MQTT-3.1.2-6 of 3.1.1: such a session "lasts as
        // long as the Network Connection").
        let durable = self.habits.durable && (self.version().is_v5() || !self.cleaning);
        self.cleaning = false;
        if connack.session_present && self.session.is_some() {
            ledger.sums.resumed += 1;
        } else {
            self.begin_session(durable, ledger);
        }
        self.expected = if durable {
            Expected::Present
        } else {
            Expected::Absent
        };
        let maximum = connack.properties.receive_maximum();
        self.receive_maximum = match (self.version(), maximum) {
            (Version::V5, maximum) => usize::from(maximum.unwrap_or(u16::MAX)),
            (Version::V31 | Version::V311, _) => MQTT_3_IN_FLIGHT,
        };
        self.resend(ledger);
        self.ask_for_changes(ledger);
        Ok(())
    }

    fn on_publish(&mut self, publish: &Publish<'_>, ledger: &mut Ledger) {
        let Some(session) = self.session else {
            return;
        };
        self.note(publish);
        let packet_id = publish.packet_id.map(PacketId::get);
        let held = packet_id
            .filter(|_| publish.qos == QoS::ExactlyOnce)
            .and_then(|id| self.inbound.get(&id).copied());
        let message = ledger.arrive(Arrival {
            session,
            topic: publish.topic.map_or("", |topic| topic.as_str()),
            payload: publish.payload,
            qos: publish.qos,
            replayed: publish.retain,
            repeated: held.is_some(),
        });
        if held.is_some_and(|before| before != message) {
            let text = format!(
                "{}: {packet_id:?} was {held:?}, now {message:?}",
                self.habits.name
            );
            ledger.faults.add(Kind::IdentifierReused, text);
        }
        match (publish.qos, packet_id) {
            (QoS::AtMostOnce, _) | (_, None) => {}
            (QoS::AtLeastOnce, Some(id)) => self.duties.push_back(Duty::PubAck(id)),
            (QoS::ExactlyOnce, Some(id)) => {
                self.duties.push_back(Duty::PubRec(id));
                self.inbound.entry(id).or_insert(message);
            }
        }
    }

    fn note(&mut self, publish: &Publish<'_>) {
        let topic = publish.topic.map_or("", |topic| topic.as_str());
        let topic = TOPICS.iter().position(|known| *known == topic);
        if let (Some(retained), Some(topic), true) = (&mut self.retained, topic, publish.retain) {
            retained.insert(topic, publish.payload.to_vec());
        }
    }

    fn on_pubrel(&mut self, id: u16) {
        let known = self.inbound.remove(&id).is_some();
        let reason = if known || !self.version().is_v5() {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.duties.push_back(Duty::PubComp(id, reason));
    }

    fn on_puback(&mut self, ack: &Ack<'_>, ledger: &mut Ledger) -> Result<(), String> {
        let at = self.flow(ack.packet_id, |stage| stage == Stage::AwaitPubAck)?;
        let flow = self.outbound.remove(at);
        if ack.reason.is_error() {
            return Err(refusal(flow.message, ack.reason, ledger));
        }
        ledger.acknowledge(flow.message);
        Ok(())
    }

    fn on_pubrec(&mut self, ack: &Ack<'_>, ledger: &mut Ledger) -> Result<(), String> {
        // A PUBREC for a flow that is further already answers the re-send of its PUBLISH.
        let at = self.flow(ack.packet_id, |stage| stage != Stage::AwaitPubAck)?;
        let message = self.outbound[at].message;
        if ack.reason.is_error() {
            self.outbound.remove(at);
            return Err(refusal(message, ack.reason, ledger));
        }
        self.outbound[at].stage = Stage::AwaitPubComp;
        self.duties.push_back(Duty::PubRel(ack.packet_id.get()));
        ledger.acknowledge(message);
        Ok(())
    }

    fn flow(&self, id: PacketId, fits: impl Fn(Stage) -> bool) -> Result<usize, String> {
        let is_it = |flow: &super::Flow| flow.packet_id == id.get() && fits(flow.stage);
        let at = self.outbound.iter().position(is_it);
        at.ok_or_else(|| format!("an acknowledgement of nothing: {id}"))
    }

    fn on_suback(&mut self, suback: &SubAck<'_>, ledger: &mut Ledger) -> Result<(), String> {
        let id = suback.packet_id.get();
        let changes = self.requests.remove(&id).ok_or("an answer to nothing")?;
        let session = self.session.ok_or("no session")?;
        for (n, change) in changes.into_iter().enumerate() {
            let now = ledger.moment();
            let subscription = &mut ledger.sessions[session].subscriptions[change];
            let code = suback.reasons.get(n).copied();
            if subscription.end_asked.is_some() {
                subscription.ended = Some(now);
            } else if code == Some(subscription.qos.bits()) {
                subscription.granted.get_or_insert(now);
            } else {
                return Err(format!("{}: SUBACK {code:?}", subscription.filter));
            }
        }
        Ok(())
    }
}

/// No limit of the broker is in reach, so it has no reason to refuse anything.
fn refusal(message: usize, reason: ReasonCode, ledger: &Ledger) -> String {
    let topic = TOPICS[ledger.messages[message].topic];
    format!("m{message} on {topic} was refused: {reason:?}")
}

/// What an MQTT 3 client has under way at most: the broker's default Receive Maximum.
const MQTT_3_IN_FLIGHT: usize = 64;
