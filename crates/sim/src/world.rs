//! The world: shards, mailboxes, connections, clients, and the one clock.
//!
//! One [`World::step`] does one small thing that the seed chooses: a client acts, some bytes of one connection
//! move on in one direction, a shard writes, some messages of one mailbox arrive, time passes, a fault
//! strikes. After each, the invariants see what happened.

mod actors;
mod authenticator;
mod effects;
mod process;
mod stopping;
mod storing;
mod traffic;

pub(crate) use traffic::take;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use martlet_codec::ReasonCode;
use martlet_engine::{CloseCause, ConnId, Counters, Effects, PeerMessage, Shard, Time};

use self::authenticator::Authenticator;
use crate::client::Client;
use crate::hostile::Hostile;
use crate::interest::SharedInterest;
use crate::invariants::{self, Invariant};
use crate::ledger::{ActorFact, ConnectTerms, Event, Ledger, LinkId, MessageId};
use crate::link::Link;
use crate::rng::Rng;
use crate::setup::{Options, Setup};
use crate::storage::Storage;

/// A run under way.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) shards: Vec<Shard>,
    effects: Vec<Effects>,
    /// By sender and receiver: first in, first out.
    mail: Vec<Vec<VecDeque<PeerMessage>>>,
    /// Mailboxes that are not emptied for a while.
    held_mail: BTreeSet<(usize, usize)>,
    pub(crate) interest: Arc<SharedInterest>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
    conns: BTreeMap<(usize, ConnId), LinkId>,
    /// What was in each CONNECT, and which expiry its DISCONNECT asked for.
    terms: BTreeMap<LinkId, (ConnectTerms, Option<u32>)>,
    /// QoS 0 messages whose bytes the shard has not consumed yet.
    unprocessed: BTreeMap<LinkId, VecDeque<(u64, MessageId)>>,
    pending_writes: Vec<BTreeSet<ConnId>>,
    resumed: VecDeque<(usize, ConnId)>,
    seed: u64,
    /// How often the process was started before.
    incarnation: u64,
    /// When this process's clock was 0.
    clock_zero: Time,
    /// What the shards of earlier processes have counted.
    past: Counters,
    pub(crate) storage: Option<Storage>,
    authenticator: Authenticator,
    pub(crate) clients: Vec<Client>,
    pub(crate) hostiles: Vec<Hostile>,
    pub(crate) setup: Setup,
    pub(crate) ledger: Ledger,
    invariants: Vec<Box<dyn Invariant>>,
    hash: u64,
    talks: bool,
}

/// An invariant does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

impl World {
    pub(crate) fn new(options: &Options) -> Self {
        let mut rng = Rng::new(options.seed);
        let setup = Setup::choose(options, &mut rng);
        let interest = Arc::new(SharedInterest::default());
        let count = options.shards;
        let mut ledger = Ledger::new(setup.limits.clone(), setup.policy.clone(), count);
        let clients = Setup::clients(options, &mut rng);
        for client in &clients {
            ledger.actors.push(ActorFact {
                name: client.name.clone(),
                link: None,
                online_since: None,
                session: None,
            });
        }
        let storage = options.store.then(|| Storage::choose(&mut rng));
        let mut world = Self {
            shards: Vec::new(),
            effects: Vec::new(),
            mail: Vec::new(),
            held_mail: BTreeSet::new(),
            interest,
            links: BTreeMap::new(),
            next_link: 0,
            conns: BTreeMap::new(),
            terms: BTreeMap::new(),
            unprocessed: BTreeMap::new(),
            pending_writes: Vec::new(),
            resumed: VecDeque::new(),
            incarnation: 0,
            clock_zero: Time::default(),
            past: Counters::default(),
            storage,
            authenticator: Authenticator::default(),
            hostiles: setup.hostiles(),
            clients,
            ledger,
            invariants: invariants::all(),
            hash: 0xcbf2_9ce4_8422_2325,
            talks: options.trace,
            rng,
            setup,
            seed: options.seed,
        };
        if world.storage.is_none() {
            world.start_shards(count);
        }
        world
    }

    /// A number that differs, almost surely, if anything in the run differs.
    pub(crate) const fn trace_hash(&self) -> u64 {
        self.hash
    }

    fn trace(&mut self, kind: u8, number: usize, bytes: &[u8]) {
        let number = number.to_le_bytes();
        for byte in [kind].iter().chain(&number).chain(bytes) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// One small thing.
    pub(crate) fn step(&mut self) -> Result<(), Failure> {
        if self.storage.is_some() && self.rng.percent(STORE_PERCENT) {
            self.store_acts()?;
            return self.observe();
        }
        if self.setup.asks && self.rng.percent(self.setup.answers_percent) {
            return self.authenticator_acts();
        }
        if self.setup.stops && self.rng.one_in(STOP_ONE_IN) {
            self.planned_stop()?;
            return self.observe();
        }
        match self.rng.below(100) {
            0..=27 => self.client_acts()?,
            28..=29 => self.hostile_acts(),
            30..=51 => self.some_link(Self::bytes_go_up),
            52..=66 => self.some_shard_writes(),
            67..=83 => {
                if let Some(id) = self.random_link() {
                    self.bytes_go_down(id)?;
                }
            }
            84..=94 => {
                self.hold_some_mail();
                self.some_mail_arrives();
            }
            95..=96 => self.resume_one(),
            97 => self.fault(),
            _ => self.time_passes(),
        }
        self.observe()
    }

    /// Shows the invariants what has happened since the last time.
    pub(crate) fn observe(&mut self) -> Result<(), Failure> {
        self.look_at_shards();
        if let Some(storage) = &self.storage {
            self.ledger.stable = storage.stable_until(self.ledger.tick);
        }
        let events = core::mem::take(&mut self.ledger.events);
        if self.talks {
            for event in &events {
                eprintln!("{:?} {event:?}", self.ledger.now);
                if let Event::Sent(message) = event {
                    eprintln!("  {:?}", self.ledger.messages[*message]);
                }
            }
        }
        for invariant in &mut self.invariants {
            for event in &events {
                invariant
                    .on_event(event, &self.ledger)
                    .map_err(|what| fail(invariant.name(), what))?;
            }
            invariant
                .on_step(&self.ledger)
                .map_err(|what| fail(invariant.name(), what))?;
        }
        Ok(())
    }

    /// Everything is at rest.
    pub(crate) fn observe_rest(&mut self) -> Result<(), Failure> {
        self.observe()?;
        for invariant in &mut self.invariants {
            invariant
                .at_rest(&self.ledger)
                .map_err(|what| fail(invariant.name(), what))?;
        }
        Ok(())
    }

    /// Everybody has gone.
    pub(crate) fn observe_end(&mut self) -> Result<(), Failure> {
        self.observe()?;
        self.ledger.interest_is_empty = self.interest.is_empty();
        for invariant in &mut self.invariants {
            invariant
                .at_end(&self.ledger)
                .map_err(|what| fail(invariant.name(), what))?;
        }
        Ok(())
    }

    fn look_at_shards(&mut self) {
        let mut counters = self.past;
        for (index, shard) in self.shards.iter_mut().enumerate() {
            counters += *shard.counters();
            let longest = self.pending_writes[index]
                .iter()
                .filter_map(|conn| shard.outbox(*conn).map(|outbox| outbox.len()))
                .max();
            let fact = &mut self.ledger.shards[index];
            fact.memory_bytes = shard.memory_bytes();
            fact.connections = shard.connection_count();
            fact.sessions = shard.session_count();
            fact.retained = shard.retained_count();
            fact.outbox_bytes = longest.unwrap_or(0);
        }
        self.ledger.counters = counters;
    }

    fn random_link(&mut self) -> Option<LinkId> {
        let at = self.rng.below(self.links.len());
        self.links.keys().nth(at).copied()
    }

    fn some_link(&mut self, what: impl Fn(&mut Self, LinkId)) {
        if let Some(id) = self.random_link() {
            what(self, id);
        }
    }

    fn time_passes(&mut self) {
        let millis = match self.rng.below(400) {
            0..=3 => self.rng.between(1_000, 6_000),
            4 if self.rng.one_in(3) => self.rng.between(30_000, 700_000),
            _ => self.rng.between(1, 40),
        };
        self.advance(millis as u64);
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        self.ledger.now = self.ledger.now.plus_millis(millis);
        let now = self.shard_now();
        for shard in 0..self.shards.len() {
            if self.shards[shard]
                .next_deadline()
                .is_some_and(|due| due <= now)
            {
                self.shards[shard].on_timer(now, &mut self.effects[shard]);
                self.harvest(shard);
            }
        }
    }
}

/// How many steps belong to the store, if there is one.
const STORE_PERCENT: usize = 25;
/// In how many steps there is a planned stop, if there are any.
const STOP_ONE_IN: usize = 700;

pub(crate) const fn fail(invariant: &'static str, what: String) -> Failure {
    Failure { invariant, what }
}

/// Whether a legal client may be closed for this without being wronged.
pub(crate) const fn is_no_accusation(cause: &CloseCause) -> bool {
    match cause {
        CloseCause::Malformed(_) | CloseCause::Violation(_) => false,
        CloseCause::Refused(reason) => matches!(reason, ReasonCode::QuotaExceeded),
        _ => true,
    }
}
