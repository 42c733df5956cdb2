//! A legal client: protocol state across connections and across the broker's deaths.
//!
//! It keeps the rules that bind clients: packet identifiers, QoS 1 and 2 flows across reconnects (re-sends in the
//! original order, with DUP, on a new connection only), the server's Receive Maximum.
//!
//! ```text
//!  Away ── connect() ──> Connecting ── CONNACK ──> Online ── leave(), the link ends ──> Away
//! ```
//! Map: here is the state and what becomes of it when connections come and go, `acting` sends, `reading` reads.

mod acting;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use martlet_codec::{
    Connect, Packet, PropertiesBuf, Property, QoS, ReasonCode, TopicName, Version, Will,
};

use crate::ledger::{Ledger, Message, MessageId, Session, SessionId, Subscription, payload_of};
use crate::plan::{Habits, TOPICS};
use crate::rng::Rng;

/// One client identifier and whoever uses it, one connection after the other.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) habits: Habits,
    pub(crate) state: State,
    /// Its connection's place in the network.
    pub(crate) link: Option<usize>,
    /// When it comes back, in milliseconds of the life; `None`: not before the next life.
    pub(crate) back_at_ms: Option<u64>,
    /// Packets written to its present connection that the network has not taken yet.
    pub(crate) wire: Vec<u8>,
    /// What the next CONNACK has to say about the session.
    expected: Expected,
    /// The CONNECT under way asked for a new session.
    cleaning: bool,
    session: Option<SessionId>,
    /// The will of the present connection.
    will: Option<MessageId>,
    /// Wills of connections that broke, perhaps without the broker's having noticed.
    unnoticed: Vec<MessageId>,
    outbound: Vec<Flow>,
    /// QoS 2 identifiers between PUBLISH and PUBREL, with their messages.
    inbound: BTreeMap<u16, Option<MessageId>>,
    /// SUBSCRIBE and UNSUBSCRIBE without answer: which subscriptions each is about.
    requests: BTreeMap<u16, Vec<usize>>,
    /// Acknowledgements to be sent.
    duties: VecDeque<Duty>,
    last_packet_id: u16,
    receive_maximum: usize,
    unread: Vec<u8>,
    /// What it got as retained, by topic, if it is there to ask.
    retained: Option<BTreeMap<usize, Vec<u8>>>,
}

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Away,
    Connecting,
    Online,
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// DISCONNECT was sent; perhaps it arrives.
    Left,
    /// It broke: the client vanished, was taken over, or the broker died.
    Broke,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Absent,
    Present,
    Unknown,
}

/// A QoS 1 or 2 message on its way to the broker.
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
#[expect(clippy::enum_variant_names, reason = "the specification's words")]
enum Duty {
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16, ReasonCode),
}

impl Client {
    pub(crate) fn new(index: usize, habits: Habits) -> Self {
        Self {
            index,
            habits,
            state: State::Away,
            link: None,
            back_at_ms: Some(0),
            wire: Vec::new(),
            expected: Expected::Absent,
            cleaning: false,
            session: None,
            will: None,
            unnoticed: Vec::new(),
            outbound: Vec::new(),
            inbound: BTreeMap::new(),
            requests: BTreeMap::new(),
            duties: VecDeque::new(),
            last_packet_id: 0,
            receive_maximum: 0,
            unread: Vec::new(),
            retained: None,
        }
    }

    /// From now on it writes down what it gets as retained.
    pub(crate) fn note_retained(&mut self) {
        self.retained = Some(BTreeMap::new());
    }

    /// What it has written down: topics and payloads.
    pub(crate) fn noted(&self) -> impl Iterator<Item = (&usize, &Vec<u8>)> {
        self.retained.iter().flatten()
    }

    pub(crate) fn version(&self) -> Version {
        self.habits.version
    }

    /// Sends CONNECT on a fresh connection; `wipe` asks for a new session.
    pub(crate) fn connect(&mut self, link: usize, wipe: bool, ledger: &mut Ledger) {
        self.link = Some(link);
        self.state = State::Connecting;
        self.unread.clear();
        self.wire.clear();
        // A new session that was asked for without an answer is asked for again: nobody can know which one is there.
        self.cleaning |= wipe || !self.habits.durable;
        if self.cleaning {
            self.give_up_session(ledger);
            self.expected = Expected::Absent;
        }
        self.will = self.habits.will.map(|(topic, _)| {
            ledger.send(Message {
                publisher: self.index,
                topic,
                qos: QoS::ExactlyOnce,
                retain: false,
                clear: false,
                will: true,
                payload_len: 20,
                sent: 0,
                sent_last: 0,
                acked: None,
            })
        });
        self.put_connect();
    }

    fn put_connect(&mut self) {
        let mut properties = PropertiesBuf::new();
        let mut will_properties = PropertiesBuf::new();
        if self.version().is_v5() {
            if self.habits.durable {
                properties.push(Property::SessionExpiryInterval(SESSION_EXPIRY_S));
            }
            if let Some(maximum) = self.habits.receive_maximum {
                properties.push(Property::ReceiveMaximum(maximum));
            }
            if let Some((_, delay_s @ 1..)) = self.habits.will {
                will_properties.push(Property::WillDelayInterval(delay_s));
            }
        }
        let payload = self.will.map(|id| payload_of(id, 20));
        let will = self.habits.will.map(|(topic, _)| Will {
            qos: QoS::ExactlyOnce,
            retain: false,
            properties: will_properties.as_properties(),
            topic: TopicName::new(TOPICS[topic]).expect("a legal topic"),
            payload: payload.as_deref().unwrap_or_default(),
        });
        let connect = Packet::Connect(Connect {
            version: self.version(),
            clean_start: self.cleaning,
            keep_alive_s: 0,
            properties: properties.as_properties(),
            client_id: &self.habits.name,
            will,
            user_name: None,
            password: None,
        });
        connect
            .encode(self.habits.version, &mut self.wire)
            .expect("a legal packet");
    }

    /// Its connection is gone, or given up.
    pub(crate) fn disconnected(&mut self, end: End, taken_over: bool, ledger: &mut Ledger) {
        if self.state == State::Online
            && end == End::Broke
            && let (Some(will), Some((_, delay_s))) = (self.will, self.habits.will)
        {
            // A delayed one is certain only if the client stays away.
            if delay_s == 0 || (!taken_over && self.back_at_ms.is_none()) {
                ledger.acknowledge(will);
                self.unnoticed.push(will);
            }
        }
        if self.state == State::Connecting && self.habits.durable {
            self.expected = match self.expected {
                Expected::Present => Expected::Present,
                Expected::Absent | Expected::Unknown => Expected::Unknown,
            };
        }
        self.will = None;
        self.link = None;
        self.state = State::Away;
        self.requests.clear();
        self.duties.clear();
        self.unread.clear();
        for flow in &mut self.outbound {
            flow.sent = false;
        }
    }

    /// The broker was killed: the next one finds every connection broken.
    pub(crate) fn broker_died(&mut self) {
        self.unnoticed.clear();
    }

    /// The broker was asked to stop, and then published no wills. Those of connections that it still held to be whole are
    /// not owed.
    pub(crate) fn broker_stopped(&mut self, ledger: &mut Ledger) {
        for will in self.unnoticed.drain(..) {
            ledger.doubt(will);
        }
    }

    /// From now on nothing is owed to its session; what was under way stays unknown.
    fn give_up_session(&mut self, ledger: &mut Ledger) {
        if let Some(session) = self.session.take() {
            ledger.sessions[session].over = true;
        }
        self.outbound.clear();
        self.inbound.clear();
    }

    /// The session begins that CONNACK has told of; the subscriptions are still to be made.
    fn begin_session(&mut self, durable: bool, ledger: &mut Ledger) {
        self.give_up_session(ledger);
        let Habits {
            name,
            group,
            filters,
            ..
        } = &self.habits;
        let mut session = Session::new(name.clone(), durable, *group);
        for (filter, qos) in filters {
            session.subscriptions.push(Subscription {
                filter: filter.clone(),
                qos: *qos,
                granted: None,
                again: 0,
                end_asked: None,
                ended: None,
            });
        }
        self.session = Some(ledger.begin(session));
    }

    /// Whether everything that it has begun has ended, and its subscriptions are made.
    pub(crate) fn is_settled(&self, ledger: &Ledger) -> bool {
        self.state == State::Online
            && self.outbound.is_empty()
            && self.requests.is_empty()
            && self.open_changes(ledger).is_empty()
    }

    /// Whether nothing is left to be acknowledged by it either.
    pub(crate) fn is_idle(&self, ledger: &Ledger) -> bool {
        self.is_settled(ledger) && self.duties.is_empty() && self.inbound.is_empty()
    }

    /// What it waits for, in words.
    pub(crate) fn waits_for(&self) -> String {
        format!(
            "{} ({}): {:?}, outbound {:?}, inbound {:?}, requests {:?}",
            self.habits.name,
            self.version(),
            self.state,
            self.outbound.iter().take(3).collect::<Vec<_>>(),
            self.inbound.iter().take(3).collect::<Vec<_>>(),
            self.requests.len(),
        )
    }

    /// Whether it begins a new session of its own accord now.
    pub(crate) fn wants_wipe(&self, rng: &mut Rng) -> bool {
        self.habits.fickle && rng.one_in(6)
    }
}

/// Longer than any run.
const SESSION_EXPIRY_S: u32 = 1_000_000;
