//! What a legal client does with the packets that it reads.

use martlet_codec::{
    Ack, ConnAck, Decoded, Packet, Publish, QoS, ReasonCode, Rules, Sender, SubAck, Version, decode,
};

use super::{Client, Duty, ServerTerms, Stage, message_in, payload_of};
use crate::ledger::{Event, Ledger, Receipt};
use crate::rng::Rng;
use crate::server_view::expiry_of;

impl Client {
    /// Bytes have arrived on the current connection. `Err`: the server broke the protocol in a way that
    /// the codec or this model sees.
    pub(crate) fn on_bytes(
        &mut self,
        bytes: &[u8],
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let mut unread = core::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut at = 0;
        let rules = Rules {
            version: self.version,
            sender: Sender::Server,
            max_packet_size: u32::MAX,
        };
        while at < unread.len() {
            match decode(&unread[at..], rules) {
                Ok(Decoded::Incomplete { .. }) => break,
                Ok(Decoded::Packet { packet, length }) => {
                    if let Some(link) = self.link {
                        ledger.events.push(Event::Arrived(link, length));
                    }
                    self.on_packet(&packet, rng, ledger)
                        .map_err(|what| format!("{}: {what}: {packet:?}", self.name))?;
                    at += length;
                }
                Err(error) => {
                    return Err(format!("{}: the server sent {error}", self.name));
                }
            }
        }
        unread.drain(..at);
        self.unread = unread;
        Ok(())
    }

    fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        if !self.online && !matches!(packet, Packet::ConnAck(_) | Packet::Auth(_)) {
            return Err("came before CONNACK".into());
        }
        match packet {
            Packet::ConnAck(connack) => self.on_connack(connack, ledger),
            Packet::Publish(publish) => self.on_publish(publish, rng, ledger),
            Packet::PubAck(ack) => self.on_puback(ack, ledger),
            Packet::PubRec(ack) => self.on_pubrec(ack, ledger),
            Packet::PubRel(ack) => {
                let id = ack.packet_id.get();
                let known = self.inbound.remove(&id).is_some();
                let v5_unknown = !known && self.version == Version::V5;
                self.duties.push_back(Duty::PubComp(
                    id,
                    if v5_unknown {
                        ReasonCode::PacketIdentifierNotFound
                    } else {
                        ReasonCode::Success
                    },
                ));
                Ok(())
            }
            Packet::PubComp(ack) => {
                let id = ack.packet_id.get();
                self.outbound
                    .retain(|flow| flow.packet_id != id || flow.stage != Stage::AwaitPubComp);
                Ok(())
            }
            Packet::SubAck(suback) | Packet::UnsubAck(suback) => self.on_suback(suback, ledger),
            Packet::PingResp | Packet::Disconnect(_) => Ok(()),
            Packet::Auth(auth) => self.on_auth(auth, rng),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => Err("no server sends this here".into()),
        }
    }

    fn on_connack(&mut self, connack: &ConnAck<'_>, ledger: &mut Ledger) -> Result<(), String> {
        if self.online {
            return Err("a second CONNACK".into());
        }
        if connack.reason != ReasonCode::Success {
            return Ok(());
        }
        if connack.properties.authentication_method() != self.method() {
            return Err("CONNACK names another method".into());
        }
        let clean = self.terms.as_ref().is_some_and(|terms| terms.clean);
        if clean && connack.session_present {
            return Err("Session Present after Clean Start".into());
        }
        if !clean && !connack.session_present && self.version != Version::V31 {
            let packet_bytes_min = self.terms.as_ref().and_then(|terms| terms.packet_bytes_max);
            self.forget_session(ledger);
            let session = ledger.actors[self.id].session.expect("just begun");
            ledger.sessions[session].packet_bytes_min = packet_bytes_min.unwrap_or(u32::MAX);
        }
        let properties = connack.properties;
        let v5 = self.version == Version::V5;
        self.server = ServerTerms {
            receive_maximum: properties.receive_maximum().unwrap_or(if v5 {
                u16::MAX
            } else {
                MQTT_3_IN_FLIGHT
            }),
            packet_bytes_max: properties
                .maximum_packet_size()
                .unwrap_or(ledger.limits.packet_bytes_max),
            alias_maximum: properties.topic_alias_maximum().unwrap_or(0),
        };
        self.online = true;
        self.must_clean = false;
        self.attempts = 0;
        let tick = ledger.tick();
        ledger.actors[self.id].online_since = Some(tick);
        if let (Some(session), Some(terms)) = (ledger.actors[self.id].session, &self.terms) {
            let outlives_s = expiry_of(terms, ledger);
            let this_process = self.link >= ledger.crashes.last().map(|crash| crash.next_link);
            let session = &mut ledger.sessions[session];
            session.outlives_s = Some(outlives_s);
            // It may have been written by a process that is gone.
            // Then its end was written down before we know of it.
            session.offline_since = if this_process {
                let closed_at = self.link.and_then(|link| ledger.closed_at.get(&link));
                closed_at.copied()
            } else {
                Some(martlet_engine::Time::default())
            };
        }
        self.resend(ledger);
        Ok(())
    }

    fn on_publish(
        &mut self,
        publish: &Publish<'_>,
        rng: &mut Rng,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let session = ledger.actors[self.id].session.ok_or("no session")?;
        let alias = publish.properties.topic_alias();
        let topic = match (publish.topic, alias) {
            (Some(topic), alias) => {
                let topic = topic.as_str().to_owned();
                if let Some(alias) = alias {
                    self.aliases_in.insert(alias, topic.clone());
                }
                Some(topic)
            }
            (None, Some(alias)) => self.aliases_in.get(&alias).cloned(),
            (None, None) => None,
        };
        let message = message_in(publish.payload).filter(|id| *id < ledger.messages.len());
        let packet_id = publish.packet_id.map(martlet_codec::PacketId::get);
        let held = packet_id.and_then(|id| self.inbound.get(&id).copied());
        let at_qos_2 = publish.qos == QoS::ExactlyOnce;
        let v5 = self.version == Version::V5;
        let reason = if v5 && !self.steady && rng.one_in(40) {
            ReasonCode::UnspecifiedError
        } else {
            ReasonCode::Success
        };
        let receipt = Receipt {
            session,
            link: self.link.ok_or("not connected")?,
            tick: ledger.tick(),
            message,
            empty: publish.payload.is_empty(),
            intact: message.is_some_and(|id| {
                publish.payload == payload_of(id, ledger.messages[id].payload_len)
            }),
            topic,
            alias,
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            packet_id,
            expiry_s: publish.properties.message_expiry_interval(),
            subscription_ids: publish.properties.subscription_identifiers().collect(),
            repeated: at_qos_2 && held.is_some(),
            refused: at_qos_2 && reason.is_error(),
            identifier_reused: at_qos_2 && held.is_some_and(|before| before != message),
        };
        match (publish.qos, packet_id) {
            (QoS::AtMostOnce, _) | (_, None) => {}
            (QoS::AtLeastOnce, Some(id)) => self.duties.push_back(Duty::PubAck(id, reason)),
            (QoS::ExactlyOnce, Some(id)) if receipt.repeated => {
                self.duties.push_back(Duty::PubRec(id, ReasonCode::Success));
            }
            (QoS::ExactlyOnce, Some(id)) => {
                self.duties.push_back(Duty::PubRec(id, reason));
                if !reason.is_error() {
                    self.inbound.insert(id, message);
                }
            }
        }
        if let Some(message) = message {
            let receipts = &mut ledger.sessions[session].receipts;
            receipts.entry(message).or_default().push(receipt.clone());
        }
        ledger.events.push(Event::Received(receipt));
        Ok(())
    }

    fn on_puback(&mut self, ack: &Ack<'_>, ledger: &mut Ledger) -> Result<(), String> {
        let id = ack.packet_id.get();
        let at = self.outbound.iter().position(|flow| flow.packet_id == id);
        let Some(at) = at.filter(|at| self.outbound[*at].stage == Stage::AwaitPubAck) else {
            return Err("PUBACK for nothing".into());
        };
        let flow = self.outbound.remove(at);
        Self::acknowledged(flow.message, ack.reason, ledger);
        Ok(())
    }

    fn on_pubrec(&mut self, ack: &Ack<'_>, ledger: &mut Ledger) -> Result<(), String> {
        let id = ack.packet_id.get();
        let at = self.outbound.iter().position(|flow| flow.packet_id == id);
        let Some(at) = at.filter(|at| self.outbound[*at].stage != Stage::AwaitPubAck) else {
            return Err("PUBREC for nothing".into());
        };
        let message = self.outbound[at].message;
        if ack.reason.is_error() {
            self.outbound.remove(at);
        } else {
            self.outbound[at].stage = Stage::AwaitPubComp;
            if let Some(session) = ledger.actors[self.id].session {
                ledger.sessions[session].owed.insert(id);
            }
            self.duties.push_back(Duty::PubRel(id));
        }
        Self::acknowledged(message, ack.reason, ledger);
        Ok(())
    }

    fn acknowledged(message: usize, reason: ReasonCode, ledger: &mut Ledger) {
        if reason.is_error() {
            return;
        }
        let tick = ledger.tick();
        let fact = &mut ledger.messages[message];
        fact.acked.get_or_insert(tick);
        fact.processed = true;
    }

    fn on_suback(&mut self, suback: &SubAck<'_>, ledger: &mut Ledger) -> Result<(), String> {
        let changes = self
            .requests
            .remove(&suback.packet_id.get())
            .ok_or("an answer to nothing")?;
        let session = ledger.actors[self.id].session.ok_or("no session")?;
        let tick = ledger.tick();
        let round = ledger.round;
        for (n, change) in changes.into_iter().enumerate() {
            let change = &mut ledger.sessions[session].changes[change];
            let reason = suback.reasons.get(n).copied();
            match (change.wanted, reason) {
                (_, Some(0x80..)) => {
                    change.refused = true;
                    continue;
                }
                (None, _) => {}
                (Some(wanted), Some(granted)) if granted == wanted.qos.bits() => {}
                (Some(_), _) => return Err("another QoS was granted than asked for".into()),
            }
            change.done = Some(tick);
            change.done_round = round;
        }
        Ok(())
    }
}

/// How many unfinished messages an MQTT 3 client of this run has at most.
const MQTT_3_IN_FLIGHT: u16 = 20;
