//! A program that uses the library: the pure machine, what the application wants of it, and its file of messages.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use martlet_client::machine::{
    AckId, Config, Event, Machine, OpId, Outcome, StoreOp, StreamId, StreamOptions, Time,
};
use martlet_client::{Error, Filter, Message, OnFull, Outbox, Overflow, Session};
use martlet_codec::{QoS, Version};

use super::books::{Fact, Facts, Reader, number_of};
use super::watch::Watch;
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
    /// What went over the wire.
    pub(super) watch: Watch,
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
            watch: Watch::new(version),
            fault: None,
        }
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
        self.watch.on_lost();
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
            resent: false,
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
            subscribes_before: self.watch.subscribes,
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
                reader.got.push(number_of(&message.text()));
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
        self.watch.enter(facts);
        let mut wishes = Vec::new();
        for event in self.machine.take_events() {
            match event {
                Event::Open => wishes.push(Wish::Open),
                Event::Close { farewell } => wishes.push(Wish::Close(farewell)),
                Event::Completed(op, outcome) => self.on_outcome(op, &outcome, facts),
                Event::Store(StoreOp::Put {
                    number, message, ..
                }) => {
                    let fact = number_of(&message.text());
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
        self.watch.on_sent(&bytes);
        self.outgoing.extend(&bytes);
        !bytes.is_empty()
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
        let in_doubt = self.watch.is_in_doubt();
        let seen = self
            .watch
            .on_received(inbox.get(..used).unwrap_or_default());
        let is_new = seen.is_new;
        if self.machine.stats().connections > connections && (is_new || in_doubt) {
            for waiting in self.ops.values() {
                if let Waiting::Publish(number) = waiting
                    && let Some(fact) = facts.get_mut(number)
                {
                    // Nobody can tell whether the broker has had it already.
                    fact.again |= in_doubt && !is_new;
                }
            }
            for (number, _) in self.stored.values() {
                if self.watch.was_sent(*number)
                    && let Some(fact) = facts.get_mut(number)
                {
                    // At least once goes before at most once.
                    fact.again = true;
                }
            }
            for (_, reader, _) in &mut self.streams {
                reader.stands_since = None;
                self.watch.owe(&reader.filter);
            }
        }
        for (_, reader, _) in &mut self.streams {
            let is_its = |(number, filter): &(u64, String)| {
                *number > reader.subscribes_before && *filter == reader.filter
            };
            if seen.granted.iter().any(is_its) {
                reader.stands_since = reader.stands_since.or(tick);
            }
        }
        self.inbox = inbox.get(used..).unwrap_or_default().to_vec();
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
        match self.watch.fault.take().or_else(|| self.fault.take()) {
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
