//! A server, a clock and an application for one machine.

use std::time::Duration;

use hashbrown::HashMap;
use martlet_codec::{
    Ack, ConnAck, Decoded, Disconnect, Packet, PacketId, PropertiesBuf, Property, Publish, QoS,
    ReasonCode, Rules, Sender, SubAck, TopicName, Version, decode,
};

use crate::error::{Error, ErrorKind};
use crate::machine::{AckId, Config, Event, Machine, OpId, Outcome, StreamId, StreamOptions, Time};
use crate::message::Message;
use crate::topic::{Filter, IntoFilter};

pub(super) struct Rig {
    pub(super) machine: Machine,
    pub(super) now: Time,
    outcomes: HashMap<OpId, Outcome>,
    next_op: u64,
    /// Bytes of the client that are not decoded yet.
    wire: Vec<u8>,
    /// What the machine wanted of the transport.
    pub(super) transport: Vec<&'static str>,
    pub(super) version: Version,
    pub(super) rooms: usize,
    /// What the outbox's file was told.
    pub(super) stored: Vec<String>,
}

/// Runs a test for both versions.
pub(super) fn both(test: impl Fn(Config)) {
    for version in [Version::V311, Version::V5] {
        test(Config::new(version));
    }
}

impl Rig {
    pub(super) fn new(config: Config) -> Self {
        let version = config.version;
        Self {
            machine: Machine::new(config, 7),
            now: Time::from_micros(1_000_000),
            outcomes: HashMap::new(),
            next_op: 0,
            wire: Vec::new(),
            transport: Vec::new(),
            version,
            rooms: 0,
            stored: Vec::new(),
        }
    }

    /// A client that is connected, with a new session.
    pub(super) fn online(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.machine.start(rig.now, None);
        rig.accept(false);
        rig.sent();
        rig
    }

    /// The server accepts the connection that the client is trying to make.
    pub(super) fn accept(&mut self, session_present: bool) {
        self.accept_with(session_present, &[]);
    }

    pub(super) fn accept_with(&mut self, session_present: bool, properties: &[Property<'_>]) {
        self.open();
        let mut buf = PropertiesBuf::new();
        if self.version.is_v5() {
            buf.extend(properties.iter().copied());
        }
        self.receive(&Packet::ConnAck(ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties: buf.as_properties(),
        }));
    }

    /// The transport stands.
    pub(super) fn open(&mut self) {
        self.wire.clear();
        self.machine.on_opened(self.now);
        self.settle();
    }

    pub(super) fn refuse(&mut self, reason: ReasonCode) {
        self.open();
        self.receive(&Packet::ConnAck(ConnAck {
            session_present: false,
            reason,
            properties: martlet_codec::Properties::EMPTY,
        }));
    }

    /// The connection breaks.
    pub(super) fn cut(&mut self) {
        let error = Error::new(ErrorKind::Io);
        self.machine.on_lost(self.now, error);
        self.settle();
        self.wire.clear();
    }

    /// The connection breaks, and the next one is accepted.
    pub(super) fn reconnect(&mut self, session_present: bool) {
        self.cut();
        self.wait_for_open();
        self.accept(session_present);
    }

    /// Time passes until the client tries to connect.
    pub(super) fn wait_for_open(&mut self) {
        self.transport.clear();
        while !self.transport.contains(&"open") {
            let next = self.machine.next_deadline().expect("it tries again");
            self.run_until(next);
        }
    }

    /// Time passes, with everything that is due.
    pub(super) fn advance(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while let Some(next) = self.machine.next_deadline()
            && next <= end
        {
            self.run_until(next);
        }
        self.now = end;
    }

    fn run_until(&mut self, moment: Time) {
        self.now = self.now.max(moment);
        self.machine.on_timer(self.now);
        self.settle();
    }

    /// A packet from the server.
    pub(super) fn receive(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).unwrap();
        self.receive_bytes(&bytes);
    }

    pub(super) fn receive_bytes(&mut self, bytes: &[u8]) -> usize {
        let taken = self.machine.on_bytes(self.now, bytes);
        self.settle();
        taken
    }

    /// PUBLISH from the server.
    pub(super) fn publish(&mut self, id: u16, qos: u8, topic: &str, payload: &str, dup: bool) {
        self.publish_with(id, qos, topic, payload, dup, &[]);
    }

    pub(super) fn publish_with(
        &mut self,
        id: u16,
        qos: u8,
        topic: &str,
        payload: &str,
        dup: bool,
        properties: &[Property<'_>],
    ) {
        let mut buf = PropertiesBuf::new();
        buf.extend(properties.iter().copied());
        self.receive(&Packet::Publish(Publish {
            dup,
            qos: QoS::from_bits(qos).unwrap(),
            retain: false,
            topic: TopicName::new(topic).ok(),
            packet_id: PacketId::new(id),
            properties: buf.as_properties(),
            payload: payload.as_bytes(),
        }));
    }

    pub(super) fn puback(&mut self, id: u16) {
        self.receive(&Packet::PubAck(ack(id, ReasonCode::Success)));
    }

    pub(super) fn puback_with(&mut self, id: u16, reason: ReasonCode) {
        self.receive(&Packet::PubAck(ack(id, reason)));
    }

    pub(super) fn pubrec(&mut self, id: u16, reason: ReasonCode) {
        self.receive(&Packet::PubRec(ack(id, reason)));
    }

    pub(super) fn pubrel(&mut self, id: u16) {
        self.receive(&Packet::PubRel(ack(id, ReasonCode::Success)));
    }

    pub(super) fn pubcomp(&mut self, id: u16) {
        self.receive(&Packet::PubComp(ack(id, ReasonCode::Success)));
    }

    pub(super) fn suback(&mut self, id: u16, codes: &[u8]) {
        self.receive(&Packet::SubAck(SubAck {
            packet_id: PacketId::new(id).unwrap(),
            properties: martlet_codec::Properties::EMPTY,
            reasons: codes,
        }));
    }

    pub(super) fn unsuback(&mut self, id: u16) {
        self.receive(&Packet::UnsubAck(SubAck {
            packet_id: PacketId::new(id).unwrap(),
            properties: martlet_codec::Properties::EMPTY,
            reasons: &[0],
        }));
    }

    pub(super) fn disconnect(&mut self, reason: ReasonCode, reference: Option<&str>) {
        let mut buf = PropertiesBuf::new();
        buf.extend(reference.map(Property::ServerReference));
        self.receive(&Packet::Disconnect(Disconnect {
            reason,
            properties: buf.as_properties(),
        }));
    }

    /// The application publishes.
    pub(super) fn send(&mut self, message: Message) -> OpId {
        let op = self.op();
        self.machine
            .publish(self.now, message, Some(op))
            .map_err(|refusal| refusal.kind)
            .unwrap();
        self.settle();
        op
    }

    pub(super) fn try_send(&mut self, message: Message) -> Result<OpId, (ErrorKind, bool)> {
        let op = self.op();
        let admitted = self.machine.publish(self.now, message, Some(op));
        self.settle();
        match admitted {
            Ok(_) => Ok(op),
            Err(refusal) => Err((refusal.kind, refusal.may_wait)),
        }
    }

    pub(super) fn subscribe(&mut self, filters: &[&str], qos: u8) -> (StreamId, OpId) {
        self.subscribe_with(filters, qos, StreamOptions::default())
    }

    pub(super) fn subscribe_with(
        &mut self,
        filters: &[&str],
        qos: u8,
        options: StreamOptions,
    ) -> (StreamId, OpId) {
        let op = self.op();
        let filters: Vec<Filter> = filters
            .iter()
            .map(|filter| filter.into_filter().qos(qos))
            .collect();
        let id = self.machine.subscribe(self.now, filters, options, Some(op));
        self.settle();
        (id.unwrap(), op)
    }

    /// A stream whose SUBSCRIBE is answered.
    pub(super) fn stream(&mut self, filters: &[&str], qos: u8) -> StreamId {
        self.stream_with(filters, qos, StreamOptions::default())
    }

    pub(super) fn stream_with(
        &mut self,
        filters: &[&str],
        qos: u8,
        options: StreamOptions,
    ) -> StreamId {
        let (id, op) = self.subscribe_with(filters, qos, options);
        let sent = self.sent();
        let subscribe = sent.iter().find(|line| line.starts_with("SUBSCRIBE"));
        let packet_id = subscribe.unwrap().split(['#', ' ']).nth(2).unwrap();
        let packet_id = packet_id.parse().unwrap();
        self.suback(packet_id, &vec![qos; filters.len()]);
        assert!(
            matches!(self.outcome(op), Some(Outcome::Subscribed(_))),
            "{sent:?}"
        );
        id
    }

    pub(super) fn unsubscribe(&mut self, id: StreamId) -> OpId {
        let op = self.op();
        self.machine.unsubscribe(self.now, id, Some(op));
        self.settle();
        op
    }

    /// All messages of a stream, as the application takes them.
    pub(super) fn take(&mut self, id: StreamId) -> Vec<String> {
        std::iter::from_fn(|| self.machine.recv(id))
            .map(|(message, _)| message.text().into_owned())
            .collect()
    }

    pub(super) fn take_one(&mut self, id: StreamId) -> (String, Option<AckId>) {
        let (message, ack) = self.machine.recv(id).unwrap();
        self.settle();
        (message.text().into_owned(), ack)
    }

    pub(super) fn op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    pub(super) fn outcome(&mut self, op: OpId) -> Option<Outcome> {
        self.settle();
        self.outcomes.remove(&op)
    }

    /// What became of a publish: "pending", "published", or the error and whether it was delivered.
    pub(super) fn fate(&mut self, op: OpId) -> String {
        match self.outcome(op) {
            None => "pending".into(),
            Some(Outcome::Published(_)) => "published".into(),
            Some(Outcome::PublishFailed(failure)) => {
                format!("{:?} {:?}", failure.kind, failure.delivered)
            }
            Some(other) => format!("{other:?}"),
        }
    }

    /// What the client has sent since the last look; everything of it is written.
    pub(super) fn sent(&mut self) -> Vec<String> {
        loop {
            let mut bytes = Vec::new();
            self.machine.take_output(&mut bytes);
            if bytes.is_empty() {
                break;
            }
            self.wire.extend_from_slice(&bytes);
            self.machine.on_written(self.now, bytes.len());
            self.settle();
        }
        let mut lines = Vec::new();
        let mut at = 0;
        let rules = Rules {
            version: self.version,
            sender: Sender::Client,
            max_packet_size: u32::MAX,
        };
        while let Decoded::Packet { packet, length } = decode(&self.wire[at..], rules).unwrap() {
            lines.push(line(&packet));
            at += length;
        }
        self.wire.drain(..at);
        lines
    }

    /// Performs what the machine wants.
    pub(super) fn settle(&mut self) {
        for event in self.machine.take_events() {
            match event {
                Event::Open => self.transport.push("open"),
                Event::Close { farewell } => {
                    self.wire.extend_from_slice(&farewell);
                    self.transport.push("close");
                }
                Event::Completed(op, outcome) => {
                    assert!(
                        self.outcomes.insert(op, outcome).is_none(),
                        "completed twice"
                    );
                }
                Event::Room => self.rooms += 1,
                Event::Ready(_) | Event::StateChanged => {}
                Event::Store(op) => self.stored.push(match op {
                    crate::machine::StoreOp::Put { number, .. } => format!("put {number}"),
                    crate::machine::StoreOp::Done { number } => format!("done {number}"),
                }),
            }
        }
    }
}

fn ack(id: u16, reason: ReasonCode) -> Ack<'static> {
    Ack {
        packet_id: PacketId::new(id).unwrap(),
        reason,
        properties: martlet_codec::Properties::EMPTY,
    }
}

/// One packet as one line.
fn line(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connect(connect) => {
            let clean = flag(connect.clean_start, " clean");
            let expiry = connect.properties.session_expiry_interval();
            let expiry = expiry.map(|s| format!(" expiry={s}")).unwrap_or_default();
            let id = connect.client_id;
            format!(
                "CONNECT{clean}{expiry} id={id} keep={}",
                connect.keep_alive_s
            )
        }
        Packet::Publish(publish) => publish_line(publish),
        Packet::PubAck(ack) => format!("PUBACK #{}{}", ack.packet_id, reason(ack.reason)),
        Packet::PubRec(ack) => format!("PUBREC #{}{}", ack.packet_id, reason(ack.reason)),
        Packet::PubRel(ack) => format!("PUBREL #{}{}", ack.packet_id, reason(ack.reason)),
        Packet::PubComp(ack) => format!("PUBCOMP #{}{}", ack.packet_id, reason(ack.reason)),
        Packet::Subscribe(subscribe) => {
            let filters: Vec<String> = subscribe
                .filters
                .iter()
                .map(|(filter, options)| format!("{filter}:{}", options.qos.bits()))
                .collect();
            let id = subscribe.properties.subscription_identifier();
            let id = id.map(|id| format!(" id={id}")).unwrap_or_default();
            format!(
                "SUBSCRIBE #{} {}{id}",
                subscribe.packet_id,
                filters.join(" ")
            )
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<&str> = unsubscribe
                .filters
                .iter()
                .map(martlet_codec::TopicFilter::as_str)
                .collect();
            format!(
                "UNSUBSCRIBE #{} {}",
                unsubscribe.packet_id,
                filters.join(" ")
            )
        }
        Packet::Disconnect(disconnect) => format!("DISCONNECT{}", reason(disconnect.reason)),
        Packet::PingReq => "PINGREQ".into(),
        Packet::ConnAck(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp
        | Packet::Auth(_) => format!("{packet:?}"),
    }
}

fn publish_line(publish: &Publish<'_>) -> String {
    let id = publish
        .packet_id
        .map(|id| format!(" #{id}"))
        .unwrap_or_default();
    let topic = publish.topic.map_or("", TopicName::as_str);
    let payload = if publish.payload.len() > 40 {
        format!("({} bytes)", publish.payload.len())
    } else {
        String::from_utf8_lossy(publish.payload).into_owned()
    };
    let properties = publish.properties;
    let alias = properties.topic_alias().map(|one| format!(" alias={one}"));
    let expiry = properties.message_expiry_interval();
    let expiry = expiry.map(|one| format!(" expiry={one}"));
    format!(
        "PUBLISH{}{} q{}{id} {topic}={payload}{}{}",
        flag(publish.dup, " dup"),
        flag(publish.retain, " retain"),
        publish.qos.bits(),
        alias.unwrap_or_default(),
        expiry.unwrap_or_default(),
    )
}

fn flag(set: bool, text: &'static str) -> &'static str {
    if set { text } else { "" }
}

fn reason(reason: ReasonCode) -> String {
    if reason == ReasonCode::Success {
        return String::new();
    }
    format!(" {reason}")
}
