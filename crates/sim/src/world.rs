//! The world: shards, mailboxes, connections, clients, and the one clock.
//!
//! One [`World::step`] does one small thing that the seed chooses: a client acts, some bytes of one connection
//! move on in one direction, a shard writes, some messages of one mailbox arrive, time passes, a fault
//! strikes. After each, the invariants see what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use martlet_codec::{QoS, ReasonCode};
use martlet_engine::{
    AllowAll, CloseCause, Closed, ConnId, Connected, Counters, Effects, Interest, PeerMessage,
    Shard, ShardConfig, TransportClose,
};

use crate::client::{Client, Wish};
use crate::hostile::Hostile;
use crate::interest::SharedInterest;
use crate::invariants::{self, Invariant};
use crate::ledger::{ActorFact, ConnectTerms, Event, Ledger, LinkId, MessageId};
use crate::link::{Link, Owner, Place};
use crate::rng::Rng;
use crate::setup::{Options, Setup};

/// A run under way.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) shards: Vec<Shard>,
    effects: Vec<Effects>,
    /// By sender and receiver: first in, first out.
    mail: Vec<Vec<VecDeque<PeerMessage>>>,
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
        let shards = (0..count)
            .map(|index| {
                let config = ShardConfig {
                    index,
                    shard_count: count,
                    seed: options.seed,
                    limits: setup.limits.clone(),
                    policy: setup.policy.clone(),
                };
                let shared: Arc<dyn Interest> = interest.clone();
                Shard::new(config, shared, Box::new(AllowAll))
            })
            .collect();
        let mut ledger = Ledger::new(setup.limits.clone(), setup.policy.clone(), count);
        let clients = setup.clients(&mut rng);
        for client in &clients {
            ledger.actors.push(ActorFact {
                name: client.name.clone(),
                link: None,
                online_since: None,
                session: None,
            });
        }
        Self {
            shards,
            effects: (0..count).map(|_| Effects::new(count)).collect(),
            mail: (0..count)
                .map(|_| (0..count).map(|_| VecDeque::new()).collect())
                .collect(),
            interest,
            links: BTreeMap::new(),
            next_link: 0,
            conns: BTreeMap::new(),
            terms: BTreeMap::new(),
            unprocessed: BTreeMap::new(),
            pending_writes: vec![BTreeSet::new(); count],
            resumed: VecDeque::new(),
            hostiles: setup.hostiles(),
            clients,
            ledger,
            invariants: invariants::all(),
            hash: 0xcbf2_9ce4_8422_2325,
            talks: options.trace,
            rng,
            setup,
        }
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
            84..=94 => self.some_mail_arrives(),
            95..=96 => self.resume_one(),
            97 => self.fault(),
            _ => self.time_passes(),
        }
        self.observe()
    }

    /// Shows the invariants what has happened since the last time.
    pub(crate) fn observe(&mut self) -> Result<(), Failure> {
        self.look_at_shards();
        let events = core::mem::take(&mut self.ledger.events);
        if self.talks {
            for event in &events {
                eprintln!("{:?} {event:?}", self.ledger.now);
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
        let mut counters = Counters::default();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            add(&mut counters, shard.counters());
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

    fn client_acts(&mut self) -> Result<(), Failure> {
        let at = self.rng.below(self.clients.len() - 1);
        let client = &mut self.clients[at];
        match client.link {
            None if client.steady || self.rng.percent(30) => {
                let terms = client.choose_terms(&mut self.rng, &mut self.ledger);
                self.connect(at, terms);
            }
            None => {}
            Some(link) if client.online => {
                if client.act(&mut self.rng, &mut self.ledger) == Wish::Close {
                    let expiry_s = client.disconnect_expiry_s;
                    if let Some((_, disconnect)) = self.terms.get_mut(&link) {
                        *disconnect = expiry_s;
                    }
                    self.hand_over_wire(at);
                    self.clients[at].forget_connection(&mut self.ledger);
                    self.abandon(link, false);
                }
            }
            Some(_) => {}
        }
        self.hand_over_wire(at);
        self.observe()
    }

    /// Opens a connection for a legal client and sends CONNECT on it.
    pub(crate) fn connect(&mut self, at: usize, terms: ConnectTerms) {
        let link = self.open_link(Owner::Client(at));
        self.clients[at].connect(link, terms, &mut self.ledger);
        let terms = self.clients[at].terms.clone().expect("just set");
        self.terms.insert(link, (terms, None));
        self.hand_over_wire(at);
    }

    pub(crate) fn open_link(&mut self, owner: Owner) -> LinkId {
        let id = self.next_link;
        self.next_link += 1;
        let shard = self.rng.below(self.shards.len());
        let window = *self.rng.pick(&[64, 700, 1 << 16]);
        self.links.insert(id, Link::new(id, owner, shard, window));
        id
    }

    /// Gives what a client has written to the network.
    pub(crate) fn hand_over_wire(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let wire = core::mem::take(&mut client.wire);
        let Some(id) = client.link.filter(|_| !wire.is_empty()) else {
            return;
        };
        client.sent_bytes += wire.len() as u64;
        for event in &self.ledger.events {
            if let Event::Sent(message) = event {
                let fact = &self.ledger.messages[*message];
                if fact.qos == QoS::AtMostOnce && fact.end.0 == id && !fact.processed {
                    let waiting = self.unprocessed.entry(id).or_default();
                    if waiting.back().is_none_or(|(_, last)| last != message) {
                        waiting.push_back((fact.end.1, *message));
                    }
                }
            }
        }
        self.trace(1, id, &wire);
        if let Some(link) = self.links.get_mut(&id) {
            link.up.extend_from_slice(&wire);
        }
    }

    fn hostile_acts(&mut self) {
        if self.hostiles.is_empty() {
            return;
        }
        let at = self.rng.below(self.hostiles.len());
        let gone = self.hostiles[at].link.is_none_or(|link| {
            self.links
                .get(&link)
                .is_none_or(|link| link.place == Place::Closed)
        });
        if gone {
            let link = self.open_link(Owner::Hostile(at));
            self.hostiles[at].begin(link, &mut self.rng);
        } else if self.rng.one_in(25) {
            // Had enough.
            if let Some(link) = self.hostiles[at].link.take() {
                self.abandon(link, false);
            }
            return;
        }
        let (bytes, must_close, stalled) =
            self.hostiles[at].act(&mut self.rng, &self.ledger.limits);
        let link = self.hostiles[at]
            .link
            .and_then(|id| self.links.get_mut(&id));
        if let Some(link) = link {
            link.up.extend_from_slice(&bytes);
            link.must_close |= must_close;
            link.stalled |= stalled;
        }
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

    /// Some of a connection's bytes arrive at its shard; or its end does.
    pub(crate) fn bytes_go_up(&mut self, id: LinkId) {
        let now = self.ledger.now;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match link.place {
            Place::Closed => {
                link.up.clear();
                self.forget_if_over(id);
            }
            Place::Backlog(shard) | Place::Moving(shard) => {
                match self.shards[shard].on_open(now, &mut self.effects[shard]) {
                    Some(conn) => {
                        link.place = Place::Open(shard, conn);
                        self.conns.insert((shard, conn), id);
                    }
                    None => link.place = Place::Closed,
                }
                self.harvest(shard);
                self.present(id);
            }
            Place::Open(shard, conn) => {
                if !self.shards[shard].wants_read(conn) {
                    return;
                }
                if !link.up.is_empty() {
                    let count = self.rng.portion(link.up.len());
                    link.unread.extend(link.up.drain(..count));
                    self.present(id);
                } else if link.abandoned && !link.silent {
                    let cause = if link.broken {
                        TransportClose::Error
                    } else {
                        TransportClose::Eof
                    };
                    self.shards[shard].on_close(conn, cause, now, &mut self.effects[shard]);
                    self.harvest(shard);
                    self.forget_if_over(id);
                }
            }
        }
    }

    /// Gives a shard all bytes of a connection that it has not consumed.
    fn present(&mut self, id: LinkId) {
        let now = self.ledger.now;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Place::Open(shard, conn) = link.place else {
            return;
        };
        let unread = core::mem::take(&mut link.unread);
        if unread.is_empty() {
            return;
        }
        let used = self.shards[shard].on_bytes(conn, &unread, now, &mut self.effects[shard]);
        self.trace(2, used, &[]);
        self.harvest(shard);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.unread = unread[used..].to_vec();
        if link.place != Place::Open(shard, conn) {
            return;
        }
        link.processed += used as u64;
        let processed = link.processed;
        if let Some(waiting) = self.unprocessed.get_mut(&id) {
            while waiting.front().is_some_and(|(end, _)| *end <= processed) {
                if let Some((_, message)) = waiting.pop_front() {
                    self.ledger.messages[message].processed = true;
                }
            }
        }
    }

    /// Some of what the server has written is read by its client.
    pub(crate) fn bytes_go_down(&mut self, id: LinkId) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        if link.stalled && !link.abandoned {
            return Ok(());
        }
        let reader = match link.owner {
            Owner::Client(at) if self.clients[at].link == Some(id) => Some(at),
            Owner::Client(_) | Owner::Hostile(_) => None,
        };
        if !link.down.is_empty() {
            let count = self.rng.portion(link.down.len());
            let bytes: Vec<u8> = link.down.drain(..count).collect();
            self.trace(3, id, &bytes);
            if let Some(at) = reader {
                self.clients[at]
                    .on_bytes(&bytes, &mut self.rng, &mut self.ledger)
                    .map_err(|what| fail("protocol", what))?;
                self.hand_over_wire(at);
            }
        }
        let over = self.links.get(&id).is_some_and(Link::is_over);
        if let Some(at) = reader.filter(|_| over) {
            self.clients[at].forget_connection(&mut self.ledger);
        }
        self.forget_if_over(id);
        Ok(())
    }

    fn forget_if_over(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(Link::is_over) {
            let link = self.links.remove(&id);
            self.terms.remove(&id);
            self.unprocessed.remove(&id);
            // Its client reads the end of the connection.
            if let Some(Owner::Client(at)) = link.map(|link| link.owner)
                && self.clients[at].link == Some(id)
            {
                self.clients[at].forget_connection(&mut self.ledger);
            }
        }
    }

    fn some_shard_writes(&mut self) {
        let shard = self.rng.below(self.shards.len());
        let all: Vec<ConnId> = self.pending_writes[shard].iter().copied().collect();
        let everything = self.rng.percent(40);
        let one = self.rng.below(all.len());
        for (at, conn) in all.into_iter().enumerate() {
            if everything || at == one {
                self.write(shard, conn);
            }
        }
    }

    /// Writes some of a connection's outbox, as far as the network takes it.
    pub(crate) fn write(&mut self, shard: usize, conn: ConnId) -> bool {
        let link = self.conns.get(&(shard, conn)).copied();
        let link = link.and_then(|id| self.links.get_mut(&id));
        let (Some(link), Some(outbox)) = (link, self.shards[shard].outbox(conn)) else {
            self.pending_writes[shard].remove(&conn);
            return false;
        };
        let available = outbox.len().min(link.room());
        if available == 0 {
            if outbox.is_empty() {
                self.pending_writes[shard].remove(&conn);
            }
            return false;
        }
        let count = self.rng.portion(available);
        let bytes = take(outbox, count);
        if outbox.is_empty() {
            self.pending_writes[shard].remove(&conn);
        }
        if !link.abandoned {
            link.down.extend_from_slice(&bytes);
        }
        let now = self.ledger.now;
        self.shards[shard].on_flushed(conn, now, &mut self.effects[shard]);
        self.harvest(shard);
        true
    }

    pub(crate) fn write_all(&mut self) -> bool {
        let mut moved = false;
        for shard in 0..self.shards.len() {
            for conn in self.pending_writes[shard].clone() {
                moved |= self.write(shard, conn);
            }
        }
        moved
    }

    /// Some messages from one shard arrive at another.
    pub(crate) fn some_mail_arrives(&mut self) {
        let full: Vec<(usize, usize)> = self.full_mailboxes();
        if full.is_empty() {
            return;
        }
        let (from, to) = *self.rng.pick(&full);
        let count = self.rng.portion(self.mail[from][to].len());
        let mut batch: Vec<PeerMessage> = self.mail[from][to].drain(..count).collect();
        self.trace(4, from * 100 + to, &count.to_le_bytes());
        let now = self.ledger.now;
        self.shards[to].on_peer_batch(from, &mut batch, now, &mut self.effects[to]);
        self.harvest(to);
    }

    pub(crate) fn full_mailboxes(&self) -> Vec<(usize, usize)> {
        let count = self.shards.len();
        (0..count * count)
            .map(|n| (n / count, n % count))
            .filter(|(from, to)| !self.mail[*from][*to].is_empty())
            .collect()
    }

    /// A connection that was parked is read again.
    pub(crate) fn resume_one(&mut self) {
        let Some((shard, conn)) = self.resumed.pop_front() else {
            return;
        };
        if let Some(id) = self.conns.get(&(shard, conn)).copied() {
            self.present(id);
        }
    }

    pub(crate) fn has_resumed(&self) -> bool {
        !self.resumed.is_empty()
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
        let now = self.ledger.now;
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

    /// The client closes a connection behind what it has sent; `silently`: the server does not get to know.
    pub(crate) fn abandon(&mut self, id: LinkId, silently: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            link.abandoned = true;
            link.silent = silently;
            link.down.clear();
        }
        self.forget_if_over(id);
    }

    /// Something happens to a client's connection that it did not ask for.
    fn fault(&mut self) {
        let at = self.rng.below(self.clients.len() - 1);
        let client = &self.clients[at];
        let Some(id) = client.link else { return };
        let (steady, online) = (client.steady, client.online);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if self.rng.one_in(3) {
            link.stalled = !link.stalled;
            return;
        }
        // A CONNECT that may still arrive would be a rival of the next one.
        let undecided = !online && !link.accepted && link.place != Place::Closed;
        if steady || (undecided && matches!(link.place, Place::Moving(_))) {
            return;
        }
        let kind = if undecided { 0 } else { self.rng.below(3) };
        if kind == 0 {
            // Both directions lose what is under way.
            link.up.clear();
            link.unread.clear();
            link.broken = true;
        }
        self.clients[at].forget_connection(&mut self.ledger);
        self.abandon(id, kind == 2);
    }

    /// Carries out what a shard wants done.
    fn harvest(&mut self, shard: usize) {
        let fx = &mut self.effects[shard];
        let connected = core::mem::take(&mut fx.connected);
        let closed = core::mem::take(&mut fx.closed);
        let handovers = core::mem::take(&mut fx.handovers);
        self.pending_writes[shard].extend(fx.dirty.drain(..));
        self.resumed
            .extend(fx.resumed.drain(..).map(|conn| (shard, conn)));
        for (to, batch) in fx.peers.iter_mut().enumerate() {
            self.mail[shard][to].extend(batch.drain(..));
        }
        let (later, first): (Vec<_>, Vec<_>) = closed
            .into_iter()
            .partition(|closed| connected.iter().any(|c| c.conn == closed.conn));
        for closed in first {
            self.on_closed(shard, closed);
        }
        for connected in connected {
            self.on_connected(shard, connected);
        }
        for closed in later {
            self.on_closed(shard, closed);
        }
        for handover in handovers {
            if let Some(id) = self.conns.remove(&(shard, handover.conn))
                && let Some(link) = self.links.get_mut(&id)
            {
                link.place = Place::Moving(handover.to);
            }
        }
    }

    fn on_connected(&mut self, shard: usize, connected: Connected) {
        let Some(id) = self.conns.get(&(shard, connected.conn)).copied() else {
            return;
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.accepted = true;
        let actor = match link.owner {
            Owner::Client(at) => Some(at),
            Owner::Hostile(_) => None,
        };
        if let Some(at) = actor.filter(|_| !connected.session_present) {
            self.clients[at].session_was_lost();
        }
        self.ledger.events.push(Event::Accepted {
            shard,
            conn: connected.conn,
            link: id,
            client: connected.client_id.to_string(),
            actor,
            terms: self.terms.get(&id).map(|(terms, _)| terms.clone()),
            present: connected.session_present,
        });
    }

    fn on_closed(&mut self, shard: usize, mut closed: Closed) {
        self.pending_writes[shard].remove(&closed.conn);
        let Some(id) = self.conns.remove(&(shard, closed.conn)) else {
            return;
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.place = Place::Closed;
        let count = closed.farewell.len().min(link.room());
        let bytes = take(&mut closed.farewell, count);
        if !link.abandoned {
            link.down.extend_from_slice(&bytes);
        }
        let actor = match link.owner {
            Owner::Client(at) => Some(at),
            Owner::Hostile(_) => None,
        };
        let by_client = matches!(closed.report.cause, CloseCause::ClientDisconnected(_));
        let expiry_s = self.terms.get(&id).and_then(|(_, expiry_s)| *expiry_s);
        self.ledger.events.push(Event::Closed {
            shard,
            conn: closed.conn,
            actor,
            client: closed.report.client_id.as_deref().map(str::to_owned),
            expiry_s: expiry_s.filter(|_| by_client),
            cause: closed.report.cause,
        });
    }
}

fn take(outbox: &mut martlet_engine::Outbox, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        let mut slices: [&[u8]; 4] = [&[]; 4];
        let filled = outbox.io_slices(&mut slices);
        let before = bytes.len();
        for slice in &slices[..filled] {
            let wanted = (count - bytes.len()).min(slice.len());
            bytes.extend_from_slice(&slice[..wanted]);
        }
        let got = bytes.len() - before;
        outbox.advance(got);
    }
    bytes
}

fn add(sum: &mut Counters, one: &Counters) {
    sum.packets_received += one.packets_received;
    sum.publishes_received += one.publishes_received;
    sum.publishes_sent += one.publishes_sent;
    sum.queued += one.queued;
    sum.dropped_outbox_full += one.dropped_outbox_full;
    sum.dropped_queue_full += one.dropped_queue_full;
    sum.dropped_expired += one.dropped_expired;
    sum.dropped_too_large += one.dropped_too_large;
    sum.dropped_offline += one.dropped_offline;
    sum.dropped_by_member += one.dropped_by_member;
    sum.connections_refused += one.connections_refused;
    sum.closed_outbox_overflow += one.closed_outbox_overflow;
    sum.subscriptions_refused += one.subscriptions_refused;
    sum.retained_refused += one.retained_refused;
    sum.publishers_paused += one.publishers_paused;
    sum.wills_published += one.wills_published;
    sum.peer_messages_sent += one.peer_messages_sent;
    sum.route_cache_hits += one.route_cache_hits;
    sum.route_cache_misses += one.route_cache_misses;
}

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
