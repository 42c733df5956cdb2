//! One life of a broker's directory: clients at work, the broker killed and started again, and again; in between and
//! at the end everything comes to rest and the books are checked.
//!
//! ```text
//!  start ──> work ──> kill -9 ──┬──────────────────> start ──> rest ──> check ──> work ...
//!                               └> start, kill -9 ─┘       └─────────────────> work ...
//! ```

use std::io;
use std::time::{Duration, Instant};

use crate::client::{Client, End, State};
use crate::faults::Kind;
use crate::ledger::{Ledger, MessageId};
use crate::network::{Happening, Network};
use crate::options::Options;
use crate::plan::cast;
use crate::process::{Broker, Launch};
use crate::rng::Rng;

/// A directory, its broker, its clients and their books.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) launch: Launch,
    /// Fixed, or another one after each start.
    shards: Option<usize>,
    broker: Option<Broker>,
    network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) ledger: Ledger,
    pub(crate) rng: Rng,
    begun: Instant,
    pub(crate) mode: Mode,
    /// The broker is killed when more acknowledgements than these have been seen.
    trigger: Option<u64>,
    /// It is being asked to stop.
    stopping: bool,
    /// Messages that may still be published in this round.
    budget: usize,
    /// When a packet with something new arrived last.
    last_arrival: Instant,
    /// Up to which message everything was checked.
    pub(super) checked: MessageId,
    pub(crate) tally: Tally,
}

/// What clients do of their own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Whatever comes to their minds.
    Work,
    /// They come back and end what they have begun.
    Rest,
}

/// How often the broker ended, and how long it took to come back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    pub(crate) kills_at_start: u64,
    pub(crate) stops: u64,
    pub(crate) checks: u64,
    pub(crate) slowest_start: Duration,
}

impl Life {
    pub(crate) fn new(launch: Launch, options: &Options, mut rng: Rng) -> io::Result<Self> {
        let mut clients = cast(&mut rng);
        clients.retain(|habits| options.groups || habits.group.is_none());
        let clients = clients.into_iter().enumerate();
        Ok(Self {
            launch,
            shards: options.shards,
            broker: None,
            network: Network::new()?,
            clients: clients
                .map(|(index, habits)| Client::new(index, habits))
                .collect(),
            ledger: Ledger::default(),
            rng,
            begun: Instant::now(),
            mode: Mode::Work,
            trigger: None,
            stopping: false,
            budget: 0,
            last_arrival: Instant::now(),
            checked: 0,
            tally: Tally::default(),
        })
    }

    /// One round: work, an end of the broker, its return; with a check, or without.
    pub(crate) fn round(&mut self, check: bool) -> io::Result<()> {
        if self.broker.is_none() && !self.start()? {
            return Ok(());
        }
        self.work()?;
        if self.ledger.faults.count(Kind::Broker) > 0 {
            return Ok(());
        }
        self.end_the_broker()?;
        while self.rng.percent(20) {
            // Recovery is interrupted, too.
            let shards = self.choose_shards();
            let broker = self.launch.start(shards)?;
            let pause = Duration::from_millis(self.rng.between(0, 25) as u64);
            self.idle(pause)?;
            broker.kill();
            self.ledger.kill();
            self.tally.kills_at_start += 1;
        }
        if self.start()? && check {
            self.rest()?;
        }
        Ok(())
    }

    /// A round in which nobody is killed.
    pub(crate) fn peaceful_round(&mut self) -> io::Result<()> {
        if self.broker.is_none() && !self.start()? {
            return Ok(());
        }
        self.work()?;
        self.rest()
    }

    /// Clients do what they like for a while.
    fn work(&mut self) -> io::Result<()> {
        self.mode = Mode::Work;
        self.budget = *self.rng.pick(&[50, 500, 1_500, 4_000]);
        let time = Duration::from_millis(self.rng.between(5, 700) as u64);
        let end = Instant::now() + time;
        while Instant::now() < end && self.ledger.faults.count(Kind::Broker) == 0 {
            self.turn(Duration::from_micros(500))?;
        }
        Ok(())
    }

    /// Mostly with SIGKILL. What it had written to its sockets before is read: an acknowledgement in there counts.
    fn end_the_broker(&mut self) -> io::Result<()> {
        let in_peace = self.rng.percent(8);
        if !in_peace && self.rng.percent(60) {
            self.wait_for_an_acknowledgement()?;
        }
        let Some(broker) = self.broker.take() else {
            return Ok(());
        };
        if in_peace {
            self.tally.stops += 1;
            if self.rng.percent(50) {
                self.break_mourners();
            }
            self.stopping = true;
            if let Err(what) = broker.stop() {
                self.ledger.faults.add(Kind::Broker, what);
            }
            for client in &mut self.clients {
                client.broker_stopped(&mut self.ledger);
            }
        } else {
            self.tally.kills += 1;
            broker.kill();
            self.ledger.kill();
            for client in &mut self.clients {
                client.broker_died();
            }
        }
        self.idle(Duration::ZERO)?;
        while self.network.owned() > 0 {
            self.idle(Duration::from_millis(20))?;
        }
        self.network.clear();
        self.stopping = false;
        Ok(())
    }

    /// Clients with wills vanish in the moment in which the broker is asked to stop.
    fn break_mourners(&mut self) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            if let (Some(_), Some(link)) = (client.habits.will, client.link) {
                self.network.cut(link);
                self.part(index, End::Broke, false);
            }
        }
    }

    /// The worst moment for a broker that promises too early is directly behind an acknowledgement.
    fn wait_for_an_acknowledgement(&mut self) -> io::Result<()> {
        self.trigger = Some(self.ledger.sums.acknowledged);
        let end = Instant::now() + TRIGGER_WAIT;
        while self.trigger.is_some() && Instant::now() < end {
            self.idle(Duration::from_millis(1))?;
        }
        self.trigger = None;
        Ok(())
    }

    /// Starts the broker and waits for it; clients come back one after the other.
    fn start(&mut self) -> io::Result<bool> {
        let shards = self.choose_shards();
        let mut broker = self.launch.start(shards)?;
        match broker.wait_until_it_listens() {
            Ok(took) => {
                self.tally.slowest_start = self.tally.slowest_start.max(took);
                self.broker = Some(broker);
            }
            Err(what) => {
                let text = format!("{what}\n{}", self.launch.last_words());
                self.ledger.faults.add(Kind::Broker, text);
                return Ok(false);
            }
        }
        let now = self.now_ms();
        for client in &mut self.clients {
            if client
                .back_at_ms
                .is_some_and(|due| due < NOT_BEFORE_REST_MS)
            {
                client.back_at_ms = Some(now + self.rng.below(60) as u64);
            }
        }
        Ok(true)
    }

    fn choose_shards(&mut self) -> usize {
        self.shards
            .unwrap_or_else(|| *self.rng.pick(&[1, 2, 2, 3, 4]))
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn since_last_arrival(&self) -> Duration {
        self.last_arrival.elapsed()
    }

    /// Begins to count the silence anew.
    pub(super) fn listen_anew(&mut self) {
        self.last_arrival = Instant::now();
    }

    /// One turn: what has arrived, then what each client does about it.
    pub(super) fn turn(&mut self, wait: Duration) -> io::Result<()> {
        self.idle(wait)?;
        for index in 0..self.clients.len() {
            match self.clients[index].state {
                State::Away => self.come_back(index)?,
                State::Connecting => {}
                State::Online => self.act(index)?,
            }
            self.flush(index);
        }
        self.watch_the_broker();
        Ok(())
    }

    /// Reads what has arrived; nobody does anything of his own accord.
    fn idle(&mut self, wait: Duration) -> io::Result<()> {
        for happening in self.network.turn(wait)? {
            match happening {
                Happening::Bytes { client, bytes } => {
                    self.on_bytes(client, &bytes);
                    let seen = self.ledger.sums.acknowledged;
                    if self.trigger.is_some_and(|before| before < seen) {
                        self.trigger = None;
                        if let Some(broker) = &mut self.broker {
                            broker.kill_now();
                        }
                    }
                }
                Happening::Ended { client, link } => {
                    if self.clients[client].link == Some(link) {
                        self.on_end(client);
                    }
                }
            }
        }
        Ok(())
    }

    fn on_bytes(&mut self, client: usize, bytes: &[u8]) {
        self.last_arrival = Instant::now();
        if let Err(what) = self.clients[client].on_bytes(bytes, &mut self.ledger) {
            // A broker that stops says so, and is to end the connections.
            if self.broker.is_some() {
                self.ledger.faults.add(Kind::Protocol, what);
            }
            if let Some(link) = self.clients[client].link {
                self.network.cut(link);
            }
            self.on_end(client);
        }
    }

    fn on_end(&mut self, client: usize) {
        if self.broker.is_some() && self.mode == Mode::Rest {
            let text = format!(
                "{}: the broker ended the connection",
                self.clients[client].habits.name
            );
            self.ledger.faults.add(Kind::Protocol, text);
        }
        // Whether a stop in peace publishes wills is a setting.
        let end = if self.stopping { End::Left } else { End::Broke };
        self.part(client, end, false);
    }

    /// A client without connection: perhaps for a while.
    fn part(&mut self, client: usize, end: End, taken_over: bool) {
        let now = self.now_ms();
        let delayed_will = matches!(self.clients[client].habits.will, Some((_, 1..)));
        let pause = match self.mode {
            Mode::Rest => 0,
            Mode::Work => *self.rng.pick(&[0, 1, 10, 100, 400]),
        };
        let stays_away = delayed_will && end == End::Broke && self.mode == Mode::Work;
        self.clients[client].back_at_ms = (!stays_away).then_some(now + pause);
        self.clients[client].disconnected(end, taken_over, &mut self.ledger);
    }

    fn come_back(&mut self, index: usize) -> io::Result<()> {
        let Some(due) = self.clients[index].back_at_ms else {
            return Ok(());
        };
        if self.mode == Mode::Work && due > self.now_ms() {
            return Ok(());
        }
        let wipe = self.mode == Mode::Work && self.clients[index].wants_wipe(&mut self.rng);
        self.connect(index, wipe)
    }

    fn connect(&mut self, index: usize, wipe: bool) -> io::Result<()> {
        let Some(address) = self.broker.as_ref().and_then(Broker::address) else {
            return Ok(());
        };
        let link = self.network.connect(index, address)?;
        self.clients[index].connect(link, wipe, &mut self.ledger);
        Ok(())
    }

    fn flush(&mut self, index: usize) {
        if let Some(link) = self.clients[index].link {
            self.network.send(link, &mut self.clients[index].wire);
        }
    }

    fn act(&mut self, index: usize) -> io::Result<()> {
        let rest = self.mode == Mode::Rest;
        let client = &mut self.clients[index];
        client.do_duties(rest, &mut self.rng);
        if rest {
            return Ok(());
        }
        if client.habits.sleepy && client.is_settled(&self.ledger) {
            if let Some(link) = client.link {
                self.network.cut(link);
                self.part(index, End::Broke, false);
                self.clients[index].back_at_ms = Some(NOT_BEFORE_REST_MS);
            }
            return Ok(());
        }
        if !client.habits.topics.is_empty() && self.budget > 0 {
            let count = self.rng.below(self.budget.min(12) + 1);
            self.budget -= client.publish(count, &mut self.rng, &mut self.ledger);
        }
        if client.habits.fickle && self.rng.one_in(60) {
            client.change_a_subscription(&mut self.rng, &mut self.ledger);
        } else if self.rng.one_in(150) {
            client.subscribe_again(&mut self.rng, &mut self.ledger);
        }
        if self.rng.one_in(client.habits.restlessness) {
            self.disturb(index)?;
        }
        Ok(())
    }

    /// Something happens to its connection.
    fn disturb(&mut self, index: usize) -> io::Result<()> {
        let Some(link) = self.clients[index].link else {
            return Ok(());
        };
        match self.rng.below(3) {
            0 => {
                self.network.cut(link);
                self.part(index, End::Broke, false);
            }
            1 => {
                self.clients[index].say_goodbye();
                self.flush(index);
                self.network.close(link);
                self.part(index, End::Left, false);
            }
            _ => {
                self.flush(index);
                self.network.orphan(link);
                self.part(index, End::Broke, true);
                self.ledger.sums.takeovers += 1;
                // A client whose delayed will has been taken over stays, or nobody could say what becomes of it.
                self.clients[index].back_at_ms = Some(0);
                self.connect(index, false)?;
            }
        }
        Ok(())
    }

    /// A client says goodbye and goes.
    pub(super) fn leave(&mut self, index: usize) {
        if let Some(link) = self.clients[index].link {
            self.clients[index].say_goodbye();
            self.flush(index);
            self.network.close(link);
        }
    }

    fn watch_the_broker(&mut self) {
        let ended = self.broker.as_mut().and_then(Broker::has_ended);
        if let Some(status) = ended {
            let text = format!("it ended by itself: {status}\n{}", self.launch.last_words());
            self.ledger.faults.add(Kind::Broker, text);
            self.broker = None;
        }
    }
}

/// Who comes back then comes back when everything comes to rest.
const NOT_BEFORE_REST_MS: u64 = 1 << 50;
/// How long an acknowledgement is waited for before the broker is killed without.
const TRIGGER_WAIT: Duration = Duration::from_millis(30);
