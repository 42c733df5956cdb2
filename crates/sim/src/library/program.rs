//! A program that uses the library: the pure machine, what the application wants of it, and its file of messages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use martlet_client::machine::{
    AckId, Config, Event, Machine, OpId, Outcome, StoreOp, StreamId, StreamOptions, Time,
};
use martlet_client::{Error, Filter, Message, OnFull, Outbox, Overflow, Session, State};
use martlet_codec::{Decoded, Packet, PacketId, QoS, Rules, Sender, Version, decode};

use super::books::{Fact, Facts, Reader};
use crate::rng::Rng;

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Publish(u64),
    Subscribe,
    Unsubscribe,
    Flush,
    Close,
}

/// What a program wants of the network.
#[derive(Debug)]
pub(super) enum Wish {
    Open,
    Close(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Program {
    at: usize,
    config: Config,
    pub(super) machine: Machine,
    pub(super) ops: BTreeMap<OpId, Waiting>,
    next_op: u64,
    pub(super) streams: Vec<(StreamId, Reader, VecDeque<AckId>)>,
    /// Streams that have ended, to be checked all the same.
    pub(super) former: Vec<Reader>,
    /// What nobody else wants, of a process before.
    rest: Option<StreamId>,
    sub_qos: QoS,
    /// The file of an outbox that survives the process: message by number.
    stored: BTreeMap<u64, (u64, Message)>,
    // The connection.
    pub(super) socket: Option<u64>,
    /// Taken from the machine, not accepted by the network.
    pub(super) outgoing: VecDeque<u8>,
    inbox: Vec<u8>,
    /// Filters that have to be subscribed to again before anything is published.
    owed_filters: BTreeSet<String>,
    requests: BTreeMap<PacketId, Vec<String>>,
    pub(super) resubscribed: u64,
    /// A CONNECT is under way; one before it had no answer, so the broker may have begun another session.
    asked: bool,
    in_doubt: bool,
    fault: Option<(&'static str, String)>,
}

impl Program {
    pub(super) fn new(at: usize, rng: &mut Rng) -> Self {
        let version = *rng.pick(&[Version::V311, Version::V5]);
        let mut config = Config::new(version);
        config.client_id = format!("program-{at}");
        config.session = match rng.below(4) {
            0 => Session::clean(),
            1 => Session::fresh(Duration::from_secs(3_600)),
            _ => Session::persistent(Duration::from_secs(3_600)),
        };
        config.keep_alive_s = *rng.pick(&[5, 60]);
        config.receive_maximum = u16::try_from(rng.between(1, 20)).unwrap_or(1);
        config.in_flight_max = u16::try_from(rng.between(1, 20)).unwrap_or(1);
        config.aliases_in_max = u16::try_from(rng.below(3)).unwrap_or(0);
        config.aliases_out_max = config.aliases_in_max;
        config.stores = rng.one_in(2);
        let outbox = Outbox::memory().max_messages(rng.between(1, 50));
        config.outbox = outbox.on_full(OnFull::Wait).qos0(rng.one_in(2));
        let machine = Machine::new(config.clone(), rng.number());
        Self {
            at,
            config,
            machine,
            ops: BTreeMap::new(),
            next_op: 0,
            streams: Vec::new(),
            former: Vec::new(),
            rest: None,
            sub_qos: *rng.pick(&[
                QoS::AtMostOnce,
                QoS::AtLeastOnce,
                QoS::ExactlyOnce,
                QoS::ExactlyOnce,
            ]),
            stored: BTreeMap::new(),
            socket: None,
            outgoing: VecDeque::new(),
            inbox: Vec::new(),
            owed_filters: BTreeSet::new(),
            requests: BTreeMap::new(),
            resubscribed: 0,
            asked: false,
            in_doubt: false,
            fault: None,
        }
    }

    pub(super) const fn version(&self) -> Version {
        self.config.version
    }

    pub(super) fn keeps_a_file(&self) -> bool {
        self.config.stores
    }

    /// The process is killed, and the next one begins with what is in the file.
    pub(super) fn start_again(&mut self, now: Time, facts: &mut Facts, rng: &mut Rng) {
        self.ops.clear();
        let mut filters = Vec::new();
        for (_, mut reader, _) in std::mem::take(&mut self.streams) {
            reader.is_read = false;
            filters.push(reader.filter.clone());
            self.former.push(reader);
        }
        self.lose_socket();
        self.machine = Machine::new(self.config.clone(), rng.number());
        for (number, (fact, message)) in &self.stored {
            self.machine.restore(now, *number, message.clone(), None);
            if let Some(fact) = facts.get_mut(fact) {
                fact.again = true;
                fact.owed = true;
            }
        }
        for filter in filters {
            self.subscribe(now, &filter, rng);
        }
        let mut options = StreamOptions::default();
        options.rest = true;
        let rest = self.machine.subscribe(now, Vec::new(), options, None);
        self.rest = rest.ok();
        self.machine.start(now, None);
    }

    /// The socket is gone, without the machine being told.
    pub(super) fn lose_socket(&mut self) {
        self.socket = None;
        self.outgoing.clear();
        self.inbox.clear();
        self.requests.clear();
        self.owed_filters.clear();
    }

    fn op(&mut self, waiting: Waiting) -> OpId {
        self.next_op += 1;
        let op = OpId(self.next_op);
        self.ops.insert(op, waiting);
        op
    }

    /// The application does something.
    pub(super) fn act(&mut self, now: Time, tick: u64, facts: &mut Facts, rng: &mut Rng) {
        match rng.below(20) {
            0..=9 => self.publish(now, tick, facts, rng),
            10 if self.streams.len() < 4 => {
                let filter = *rng.pick(&["t/0", "t/1", "t/2", "t/+", "#", "t/#"]);
                self.subscribe(now, filter, rng);
            }
            11 if rng.one_in(4) && !self.streams.is_empty() => {
                let at = rng.below(self.streams.len());
                let (id, mut reader, acks) = self.streams.swap_remove(at);
                for ack in acks {
                    self.machine.ack(ack, None);
                }
                reader.is_read = false;
                self.former.push(reader);
                let op = self.op(Waiting::Unsubscribe);
                self.machine.unsubscribe(now, id, Some(op));
            }
            12 if rng.one_in(4) => {
                let op = self.op(Waiting::Flush);
                self.machine.flush(op);
            }
            13 => {
                let some = self.ops.iter().nth(rng.below(self.ops.len()));
                let publish = some.filter(|(_, what)| matches!(what, Waiting::Publish(_)));
                if let Some(op) = publish.map(|(op, _)| *op) {
                    self.machine.cancel(op);
                }
            }
            _ => self.read(rng, false),
        }
    }

    fn publish(&mut self, now: Time, tick: u64, facts: &mut Facts, rng: &mut Rng) {
        let qos = *rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let number = facts.len() as u64;
        let topic = format!("t/{}", self.at);
        let padding = if rng.one_in(20) { 3_000 } else { rng.below(20) };
        let text = format!("{number} {}", "x".repeat(padding));
        let message = Message::new(topic.as_str(), text).qos(qos);
        let op = self.op(Waiting::Publish(number));
        let fact = Fact {
            topic,
            qos,
            publisher: self.at,
            admitted: tick,
            owed: false,
            again: false,
        };
        facts.insert(number, fact);
        if self.machine.publish(now, message, Some(op)).is_err() {
            // No room, or no connection: it is forgotten, and nobody gets it.
            self.ops.remove(&op);
        }
    }

    fn subscribe(&mut self, now: Time, filter: &str, rng: &mut Rng) {
        let mut options = StreamOptions::default();
        options.capacity = rng.between(1, 30);
        options.manual = rng.one_in(4);
        let keeps_all = !rng.one_in(5);
        if !keeps_all {
            options.overflow = *rng.pick(&[Overflow::DropOldest, Overflow::LatestPerTopic]);
        }
        let op = self.op(Waiting::Subscribe);
        let filters = vec![Filter::new(filter).qos(self.sub_qos)];
        let id = self.machine.subscribe(now, filters, options, Some(op));
        let id = id.expect("the broker takes every filter");
        let reader = Reader {
            filter: filter.to_owned(),
            qos: self.sub_qos,
            stands_since: None,
            is_read: true,
            keeps_all,
            got: Vec::new(),
        };
        self.streams.push((id, reader, VecDeque::new()));
    }

    /// The application takes messages and acknowledges some. `all`: whatever there is.
    pub(super) fn read(&mut self, rng: &mut Rng, all: bool) {
        while let Some(rest) = self.rest
            && self.machine.recv(rest).is_some()
        {}
        for (id, reader, acks) in &mut self.streams {
            if !all && rng.one_in(2) {
                continue;
            }
            let mut left = if all { usize::MAX } else { rng.below(10) };
            while left > 0
                && let Some((message, ack)) = self.machine.recv(*id)
            {
                left -= 1;
                let text = message.text();
                let number = text.split(' ').next().and_then(|word| word.parse().ok());
                reader
                    .got
                    .push(number.expect("all payloads begin with a number"));
                acks.extend(ack);
            }
            while !acks.is_empty() && (all || rng.one_in(3)) {
                let at = rng.below(acks.len());
                if let Some(ack) = acks.remove(at) {
                    self.machine.ack(ack, None);
                }
            }
        }
    }

    pub(super) fn close(&mut self, now: Time) {
        let op = self.op(Waiting::Close);
        self.machine.close(now, op);
    }

    /// What the machine wants of the network; the rest of its events is entered in the books.
    pub(super) fn settle(&mut self, facts: &mut Facts) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for event in self.machine.take_events() {
            match event {
                Event::Open => wishes.push(Wish::Open),
                Event::Close { farewell } => wishes.push(Wish::Close(farewell)),
                Event::Completed(op, outcome) => self.on_outcome(op, &outcome, facts),
                Event::Store(StoreOp::Put {
                    number, message, ..
                }) => {
                    let text = message.text();
                    let fact = text.split(' ').next().and_then(|word| word.parse().ok());
                    let fact: u64 = fact.expect("all payloads begin with a number");
                    self.stored.insert(number, (fact, message));
                }
                Event::Store(StoreOp::Done { number }) => _ = self.stored.remove(&number),
                _ => {}
            }
        }
        wishes
    }

    fn on_outcome(&mut self, op: OpId, outcome: &Outcome, facts: &mut Facts) {
        let Some(waiting) = self.ops.remove(&op) else {
            self.fault = Some((
                "ends_once",
                format!("{op:?} has ended without need: {outcome:?}"),
            ));
            return;
        };
        let fits = match (waiting, outcome) {
            (Waiting::Publish(number), Outcome::Published(_)) => {
                if let Some(fact) = facts.get_mut(&number) {
                    fact.owed = true;
                }
                true
            }
            (Waiting::Publish(_), Outcome::PublishFailed(_))
            | (Waiting::Subscribe, Outcome::Subscribed(_) | Outcome::SubscribeFailed(_))
            | (Waiting::Unsubscribe, Outcome::Unsubscribed(_))
            | (Waiting::Flush, Outcome::Flushed)
            | (Waiting::Close, Outcome::Closed(_)) => true,
            _ => false,
        };
        if !fits {
            self.fault = Some(("ends_once", format!("{waiting:?} ended as {outcome:?}")));
        }
    }

    /// Takes what the machine wants to write.
    pub(super) fn take_output(&mut self) -> bool {
        let mut bytes = Vec::new();
        self.machine.take_output(&mut bytes);
        self.watch_sent(&bytes);
        self.outgoing.extend(&bytes);
        !bytes.is_empty()
    }

    pub(super) fn watch_sent(&mut self, mut bytes: &[u8]) {
        let rules = self.rules(Sender::Client);
        while let Ok(Decoded::Packet { packet, length }) = decode(bytes, rules) {
            match packet {
                Packet::Connect(_) => self.in_doubt |= std::mem::replace(&mut self.asked, true),
                Packet::Subscribe(subscribe) => {
                    let filters = subscribe.filters.iter();
                    let filters: Vec<String> =
                        filters.map(|(one, _)| one.as_str().to_owned()).collect();
                    for filter in &filters {
                        self.resubscribed += u64::from(self.owed_filters.remove(filter));
                    }
                    self.requests.insert(subscribe.packet_id, filters);
                }
                Packet::Unsubscribe(unsubscribe) => {
                    // The answer to an earlier SUBSCRIBE says nothing about a later stream.
                    for filters in self.requests.values_mut() {
                        let ended = |filter: &String| {
                            unsubscribe.filters.iter().any(|one| one.as_str() == filter)
                        };
                        filters.retain(|filter| !ended(filter));
                    }
                }
                Packet::Publish(publish) if !self.owed_filters.is_empty() => {
                    let text = String::from_utf8_lossy(publish.payload).into_owned();
                    let what = format!(
                        "{:?} before {:?}",
                        text.split(' ').next(),
                        self.owed_filters
                    );
                    self.fault = Some(("resubscribed_first", what));
                }
                _ => {}
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
    }

    /// The broker's process has ended, and with it what it knew.
    pub(super) fn forgotten(&mut self) {
        for (_, reader, _) in &mut self.streams {
            reader.stands_since = None;
        }
    }

    /// Bytes from the broker. No tick: from one that is no more.
    pub(super) fn on_bytes(
        &mut self,
        now: Time,
        bytes: impl Iterator<Item = u8>,
        tick: Option<u64>,
        facts: &mut Facts,
    ) {
        self.inbox.extend(bytes);
        let connections = self.machine.stats().connections;
        let inbox = std::mem::take(&mut self.inbox);
        let used = self.machine.on_bytes(now, &inbox);
        let state = self.machine.state(now);
        let is_new = matches!(
            state,
            State::Connected {
                session_present: false,
                ..
            }
        );
        if self.machine.stats().connections > connections && (is_new || self.in_doubt) {
            for waiting in self.ops.values() {
                if let Waiting::Publish(number) = waiting
                    && let Some(fact) = facts.get_mut(number)
                {
                    // Nobody can tell whether the broker has had it already.
                    fact.again |= self.in_doubt && !is_new;
                }
            }
            for (_, reader, _) in &mut self.streams {
                reader.stands_since = None;
                self.owed_filters.insert(reader.filter.clone());
            }
        }
        self.watch_received(inbox.get(..used).unwrap_or_default(), tick);
        self.inbox = inbox.get(used..).unwrap_or_default().to_vec();
    }

    fn watch_received(&mut self, mut bytes: &[u8], tick: Option<u64>) {
        let rules = self.rules(Sender::Server);
        while let Ok(Decoded::Packet { packet, length }) = decode(bytes, rules) {
            if let Packet::ConnAck(_) = packet {
                (self.asked, self.in_doubt) = (false, false);
            }
            if let Packet::SubAck(suback) = packet
                && let Some(filters) = self.requests.remove(&suback.packet_id)
            {
                for (_, reader, _) in &mut self.streams {
                    if filters.contains(&reader.filter) {
                        reader.stands_since = reader.stands_since.or(tick);
                    }
                }
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
    }

    fn rules(&self, sender: Sender) -> Rules {
        Rules {
            version: self.version(),
            sender,
            max_packet_size: u32::MAX,
        }
    }

    pub(super) fn lost(&mut self, now: Time, what: &str) {
        self.lose_socket();
        self.machine
            .on_lost(now, Error::from(std::io::Error::other(what)));
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_quiet(&self, now: Time) -> bool {
        let stats = self.machine.stats();
        let open = stats.queued + stats.in_flight + stats.unacknowledged;
        self.machine.state(now).is_connected() && self.ops.is_empty() && open == 0
    }

    /// Whether the program keeps to what the library promises, as far as can be seen now.
    pub(super) fn check(&mut self) -> Result<(), (&'static str, String)> {
        match self.fault.take() {
            Some((rule, what)) => Err((rule, format!("program {}: {what}", self.at))),
            None => Ok(()),
        }
    }

    pub(super) fn check_streams(
        &self,
        facts: &Facts,
        calm: bool,
    ) -> Result<(), (&'static str, String)> {
        let open = self.streams.iter().map(|(_, reader, _)| reader);
        for (_, reader, _) in &self.streams {
            if reader.stands_since.is_none() {
                return Err((
                    "resubscribed",
                    format!("program {}: {}", self.at, reader.filter),
                ));
            }
        }
        for reader in open.chain(&self.former) {
            let checked = reader.check(facts, calm);
            checked.map_err(|(rule, what)| (rule, format!("program {}: {what}", self.at)))?;
        }
        if self.stored.is_empty() {
            Ok(())
        } else {
            Err((
                "drains",
                format!(
                    "program {}: {} messages stay in the file",
                    self.at,
                    self.stored.len()
                ),
            ))
        }
    }
}
