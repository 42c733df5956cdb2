//! A legal client: protocol state across connections, and what the ledger has to know of it.
//!
//! It keeps the rules that bind clients: packet identifiers, QoS 1 and 2 flows across reconnects (re-sends
//! in the original order, with DUP, only on a new connection), the server's Receive Maximum, Maximum Packet
//! Size and Topic Alias Maximum. Within them it does whatever the seed says.

mod acting;
mod authenticating;
mod reading;
mod rushing;

pub(crate) use acting::{TOPICS, Wish};
pub(crate) use authenticating::{PATIENT_MS, answer_to, data_of};
pub(crate) use rushing::{Rush, WITNESSED_TOPIC};

use std::collections::{BTreeMap, VecDeque};

use martlet_codec::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, QoS, ReasonCode,
    TopicName, Version, Will,
};

use self::authenticating::METHOD;
use crate::ledger::{ActorId, ConnectTerms, Event, Ledger, LinkId, MessageId};

/// One client identifier and whoever uses it, one connection after the other.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ActorId,
    pub(crate) name: String,
    pub(crate) version: Version,
    /// Connected from the first step to the last: no fault and no whim disturbs it.
    pub(crate) steady: bool,
    /// It is there to ask what is retained, and does nothing else.
    pub(crate) probe: bool,
    /// In this run nobody asks for a shared subscription of QoS 0: each message has to reach a member.
    pub(crate) shares_surely: bool,
    /// What it does in a rush; `None`: there is none.
    pub(crate) rushes: Option<Rush>,
    /// When all is calm it names an Authentication Method, too.
    pub(crate) names_method: bool,
    /// What it asks for in each CONNECT of version 5.
    pub(crate) expiry_s: Option<u32>,
    pub(crate) link: Option<LinkId>,
    pub(crate) online: bool,
    /// A CONNECT with Clean Start was sent, and its CONNACK not seen: whether the old session
    /// is gone is unknown, so the next CONNECT asks for the same.
    must_clean: bool,
    pub(crate) terms: Option<ConnectTerms>,
    /// The expiry that its DISCONNECT asked for.
    pub(crate) disconnect_expiry_s: Option<u32>,
    last_packet_id: u16,
    outbound: Vec<Flow>,
    /// QoS 2 identifiers between PUBLISH and PUBREL, with their messages.
    inbound: BTreeMap<u16, Option<MessageId>>,
    /// SUBSCRIBE and UNSUBSCRIBE without answer: the changes that each asks for.
    requests: BTreeMap<u16, Vec<usize>>,
    /// Acknowledgements to be sent.
    duties: VecDeque<Duty>,
    /// What our aliases stand for on this connection.
    aliases_out: BTreeMap<u16, String>,
    aliases_in: BTreeMap<u16, String>,
    server: ServerTerms,
    /// It authenticates anew, and has not heard how that ends.
    reauthenticates: bool,
    /// Read, not a whole packet yet.
    unread: Vec<u8>,
    /// To be handed to the network.
    pub(crate) wire: Vec<u8>,
    /// Bytes handed to the network on this connection.
    pub(crate) sent_bytes: u64,
    /// CONNECTs in a row that were not accepted.
    pub(crate) attempts: u32,
}

/// A QoS 1 or 2 message on its way to the server.
#[derive(Debug, Clone, Copy)]
struct Flow {
    packet_id: u16,
    message: MessageId,
    stage: Stage,
    /// On this connection.
    sent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the specification's words")]
enum Stage {
    AwaitPubAck,
    AwaitPubRec,
    AwaitPubComp,
}

/// An acknowledgement that the client owes.
#[derive(Debug, Clone, Copy)]
enum Duty {
    PubAck(u16, ReasonCode),
    PubRec(u16, ReasonCode),
    PubRel(u16),
    PubComp(u16, ReasonCode),
    /// AUTH with this answer to a challenge.
    Proof(u32),
}

/// What CONNACK said.
#[derive(Debug, Clone, Copy)]
struct ServerTerms {
    receive_maximum: u16,
    packet_bytes_max: u32,
    alias_maximum: u16,
}

impl Client {
    pub(crate) fn new(id: ActorId, name: String, version: Version, expiry_s: Option<u32>) -> Self {
        Self {
            id,
            name,
            version,
            steady: false,
            probe: false,
            shares_surely: false,
            rushes: None,
            names_method: false,
            expiry_s,
            link: None,
            online: false,
            must_clean: true,
            terms: None,
            disconnect_expiry_s: None,
            last_packet_id: 0,
            outbound: Vec::new(),
            inbound: BTreeMap::new(),
            requests: BTreeMap::new(),
            duties: VecDeque::new(),
            aliases_out: BTreeMap::new(),
            aliases_in: BTreeMap::new(),
            server: ServerTerms {
                receive_maximum: 0,
                packet_bytes_max: 0,
                alias_maximum: 0,
            },
            reauthenticates: false,
            unread: Vec::new(),
            wire: Vec::new(),
            sent_bytes: 0,
            attempts: 0,
        }
    }

    /// Sends CONNECT on a fresh connection. Whatever connection it had is forgotten.
    pub(crate) fn connect(&mut self, link: LinkId, mut terms: ConnectTerms, ledger: &mut Ledger) {
        self.forget_connection(ledger);
        terms.clean |= self.must_clean;
        let ended = self.terms.as_ref().is_some_and(|last| last.clean);
        // A clean session of MQTT 3 is gone with its connection, and MQTT 3.1 has no Session Present to say so.
        let gone = terms.clean || (self.version != Version::V5 && ended);
        if gone {
            self.forget_session(ledger);
        }
        self.must_clean = terms.clean;
        self.link = Some(link);
        self.attempts += 1;
        ledger.actors[self.id].link = Some(link);
        if let Some(session) = ledger.actors[self.id].session {
            let session = &mut ledger.sessions[session];
            session.packet_bytes_min =
                (session.packet_bytes_min).min(terms.packet_bytes_max.unwrap_or(u32::MAX));
        }
        let mut properties = PropertiesBuf::new();
        let mut will_properties = PropertiesBuf::new();
        if self.version == Version::V5 {
            push_connect_properties(&mut properties, &terms);
            if let Some((_, delay_s @ 1..)) = terms.will {
                will_properties.push(Property::WillDelayInterval(delay_s));
            }
        }
        let will = terms.will.map(|(message, _)| &ledger.messages[message]);
        let payload = will.map(|will| payload_of(will.id, will.payload_len));
        let will = will.map(|will| Will {
            qos: will.qos,
            retain: will.retain,
            properties: will_properties.as_properties(),
            topic: TopicName::new(&will.topic).expect("legal"),
            payload: payload.as_deref().unwrap_or_default(),
        });
        let connect = Connect {
            version: self.version,
            clean_start: terms.clean,
            keep_alive_s: terms.keep_alive_s,
            properties: properties.as_properties(),
            client_id: &self.name,
            will,
            user_name: None,
            password: None,
        };
        Packet::Connect(connect)
            .encode(self.version, &mut self.wire)
            .expect("a legal packet");
        ledger.events.push(Event::ConnectSent(link, terms.clone()));
        self.terms = Some(terms);
    }

    /// The server has begun a new session for a CONNECT without Clean Start, and may not get to tell: the
    /// CONNACK after the next one would say that there is a session, and the client would take it for its old one.
    /// No client can know better, so here chance makes it ask for a clean start.
    pub(crate) const fn session_was_lost(&mut self) {
        self.must_clean = true;
    }

    /// The connection is gone, or is given up.
    pub(crate) fn forget_connection(&mut self, ledger: &mut Ledger) {
        self.link = None;
        self.online = false;
        self.disconnect_expiry_s = None;
        self.requests.clear();
        self.duties.clear();
        self.aliases_out.clear();
        self.aliases_in.clear();
        self.reauthenticates = false;
        self.unread.clear();
        self.wire.clear();
        self.sent_bytes = 0;
        for flow in &mut self.outbound {
            flow.sent = false;
        }
        ledger.actors[self.id].link = None;
        ledger.actors[self.id].online_since = None;
    }

    fn forget_session(&mut self, ledger: &mut Ledger) {
        ledger.begin_session(self.id);
        self.outbound.clear();
        self.inbound.clear();
    }

    /// Whether acknowledgements or re-sends wait.
    pub(crate) fn has_duties(&self) -> bool {
        !self.duties.is_empty() || (self.online && self.outbound.iter().any(|flow| !flow.sent))
    }

    /// Whether all its flows have ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.has_its_due() && !self.reauthenticates
    }

    /// Whether all that does not depend on the authenticator has ended.
    pub(crate) fn has_its_due(&self) -> bool {
        self.duties.is_empty() && self.outbound.is_empty() && self.requests.is_empty()
    }

    /// Re-sends what waits for it, as far as the server's Receive Maximum allows; in the original order, and
    /// before anything new.
    pub(crate) fn resend(&mut self, ledger: &mut Ledger) {
        for at in 0..self.outbound.len() {
            let flow = self.outbound[at];
            if flow.sent {
                continue;
            }
            self.outbound[at].sent = true;
            if flow.stage == Stage::AwaitPubComp {
                self.send_ack(Duty::PubRel(flow.packet_id), ledger);
            } else {
                self.put_publish(flow.message, Some(flow.packet_id), true, None, ledger);
            }
        }
    }

    fn put(&mut self, packet: &Packet<'_>) {
        packet
            .encode(self.version, &mut self.wire)
            .expect("a legal packet");
    }

    /// Sends the acknowledgement that was owed longest, or sometimes another.
    pub(crate) fn do_duty(&mut self, at: usize, ledger: &mut Ledger) {
        if let Some(duty) = self.duties.remove(at) {
            self.send_ack(duty, ledger);
        }
    }

    pub(crate) fn duty_count(&self) -> usize {
        self.duties.len()
    }

    fn send_ack(&mut self, duty: Duty, ledger: &mut Ledger) {
        let ack = |id: u16, reason: ReasonCode| Ack {
            packet_id: PacketId::new(id).expect("not 0"),
            reason,
            properties: Properties::EMPTY,
        };
        let packet = match duty {
            Duty::PubAck(id, reason) => Packet::PubAck(ack(id, reason)),
            Duty::PubRec(id, reason) => Packet::PubRec(ack(id, reason)),
            Duty::PubRel(id) => Packet::PubRel(ack(id, ReasonCode::Success)),
            Duty::PubComp(id, reason) => Packet::PubComp(ack(id, reason)),
            Duty::Proof(proof) => {
                return self.put_auth(ReasonCode::ContinueAuthentication, Some(proof));
            }
        };
        if let (Duty::PubRel(id), Some(session)) = (duty, ledger.actors[self.id].session) {
            ledger.sessions[session].owed.remove(&id);
        }
        if let (Duty::PubAck(id, _), Some(session)) = (duty, ledger.actors[self.id].session) {
            ledger.sessions[session].note_answer(self.link, id);
        }
        self.put(&packet);
        let ended = match duty {
            Duty::PubAck(id, _) | Duty::PubComp(id, _) => Some(id),
            Duty::PubRec(id, reason) if reason.is_error() => Some(id),
            Duty::PubRec(..) | Duty::PubRel(_) | Duty::Proof(_) => None,
        };
        if let (Some(id), Some(link)) = (ended, self.link) {
            ledger.events.push(Event::FlowEnded(link, id));
        }
    }

    fn put_publish(
        &mut self,
        message: MessageId,
        packet_id: Option<u16>,
        dup: bool,
        alias: Option<u16>,
        ledger: &mut Ledger,
    ) {
        let tick = ledger.tick();
        let fact = &mut ledger.messages[message];
        let payload = if fact.clear {
            Vec::new()
        } else {
            payload_of(message, fact.payload_len)
        };
        let mut properties = PropertiesBuf::new();
        let mut topic = Some(TopicName::new(&fact.topic).expect("legal"));
        if self.version == Version::V5 {
            if let Some(seconds) = fact.expiry_s {
                properties.push(Property::MessageExpiryInterval(seconds));
            }
            if let Some(alias) = alias {
                properties.push(Property::TopicAlias(alias));
                if self.aliases_out.get(&alias) == Some(&fact.topic) {
                    topic = None;
                } else {
                    self.aliases_out.insert(alias, fact.topic.clone());
                }
            }
        }
        let publish = Packet::Publish(Publish {
            dup,
            qos: fact.qos,
            retain: fact.retain,
            topic,
            packet_id: packet_id.and_then(PacketId::new),
            properties: properties.as_properties(),
            payload: &payload,
        });
        publish
            .encode(self.version, &mut self.wire)
            .expect("a legal packet");
        fact.sends.push(tick);
        fact.end = (
            self.link.expect("connected"),
            self.sent_bytes + self.wire.len() as u64,
        );
        ledger.events.push(Event::Sent(message));
    }

    /// An identifier that neither a flow nor a request uses.
    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id % 300 + 1;
            let id = self.last_packet_id;
            let used = self.outbound.iter().any(|flow| flow.packet_id == id);
            if !used && !self.requests.contains_key(&id) {
                return id;
            }
        }
    }

    fn may_send_qos(&self, qos: QoS) -> bool {
        qos == QoS::AtMostOnce || self.outbound.len() < usize::from(self.server.receive_maximum)
    }
}

fn push_connect_properties(properties: &mut PropertiesBuf, terms: &ConnectTerms) {
    if let Some(seconds) = terms.expiry_s {
        properties.push(Property::SessionExpiryInterval(seconds));
    }
    if let Some(maximum) = terms.receive_maximum {
        properties.push(Property::ReceiveMaximum(maximum));
    }
    if let Some(maximum) = terms.packet_bytes_max {
        properties.push(Property::MaximumPacketSize(maximum));
    }
    if terms.method {
        properties.push(Property::AuthenticationMethod(METHOD));
    }
    if let Some(maximum) = terms.alias_maximum {
        properties.push(Property::TopicAliasMaximum(maximum));
    }
}

/// The payload of a message: its number, and filling.
pub(crate) fn payload_of(message: MessageId, len: usize) -> Vec<u8> {
    let mut payload = format!("m{message}|").into_bytes();
    payload.resize(len.max(payload.len()), b'.');
    payload
}

/// The message that a payload names.
pub(crate) fn message_in(payload: &[u8]) -> Option<MessageId> {
    let text = std::str::from_utf8(payload).ok()?;
    text.strip_prefix('m')?.split_once('|')?.0.parse().ok()
}
