//! The broker of the library's world: shards as in production, without a store; what a restart leaves is nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use martlet_engine::{
    AllowAll, CloseCause, ConnId, Effects, Limits, PeerMessage, Policy, Shard, ShardConfig, Time,
    TransportClose,
};

use crate::interest::SharedInterest;
use crate::rng::Rng;

/// The broker's end of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    /// Bytes on their way to the broker, and what it has not consumed.
    pub(super) up: VecDeque<u8>,
    unread: Vec<u8>,
    /// Bytes on their way to the program.
    pub(super) down: VecDeque<u8>,
    place: Place,
    /// The process that it led to is no more.
    pub(super) orphaned: bool,
    /// The program has closed its end, and the broker hears of it behind the last byte.
    pub(super) left: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Backlog(usize),
    Open(usize, ConnId),
    Closed,
}

impl Socket {
    /// Whether the broker has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.place == Place::Closed
    }
}

#[derive(Debug)]
pub(super) struct Broker {
    shards: Vec<Shard>,
    effects: Vec<Effects>,
    mail: BTreeMap<(usize, usize), VecDeque<PeerMessage>>,
    pub(super) sockets: BTreeMap<u64, Socket>,
    conns: BTreeMap<(usize, ConnId), u64>,
    next_socket: u64,
    seed: u64,
    /// When this process began, on the world's clock.
    zero_ms: u64,
    /// Programs are no hostile clients: why one of them was closed all the same.
    pub(super) blamed: Option<String>,
}

impl Broker {
    pub(super) fn new(shards: usize, seed: u64) -> Self {
        let mut broker = Self {
            shards: Vec::new(),
            effects: Vec::new(),
            mail: BTreeMap::new(),
            sockets: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_socket: 0,
            seed,
            zero_ms: 0,
            blamed: None,
        };
        broker.start(shards);
        broker
    }

    fn start(&mut self, count: usize) {
        let interest = Arc::new(SharedInterest::default());
        self.seed += 1;
        let shard = |index| {
            let config = ShardConfig {
                index,
                shard_count: count,
                seed: self.seed,
                limits: Limits::default(),
                policy: Policy::default(),
                store: None,
            };
            Shard::new(config, interest.clone(), Box::new(AllowAll))
        };
        self.shards = (0..count).map(shard).collect();
        self.effects = (0..count).map(|_| Effects::new(count)).collect();
    }

    /// It dies, and another one begins that knows nothing. Programs read a part of what was on its way to them.
    pub(super) fn restart(&mut self, now_ms: u64, rng: &mut Rng) {
        for socket in self.sockets.values_mut() {
            socket.place = Place::Closed;
            socket.orphaned = true;
            socket.up.clear();
            let kept = rng.below(socket.down.len() + 1);
            socket.down.truncate(kept);
        }
        self.conns.clear();
        self.mail.clear();
        self.zero_ms = now_ms;
        self.start(self.shards.len());
    }

    /// A program connects.
    pub(super) fn accept(&mut self, rng: &mut Rng) -> u64 {
        self.next_socket += 1;
        let socket = Socket {
            up: VecDeque::new(),
            unread: Vec::new(),
            down: VecDeque::new(),
            place: Place::Backlog(rng.below(self.shards.len())),
            orphaned: false,
            left: false,
        };
        self.sockets.insert(self.next_socket, socket);
        self.next_socket
    }

    /// Some bytes of a socket arrive, unless it is stalled: what the broker has in its hands it goes on with all the same.
    /// True: something happened.
    pub(super) fn receive(&mut self, id: u64, now_ms: u64, stalled: bool, rng: &mut Rng) -> bool {
        let now = self.clock(now_ms);
        let Some(socket) = self.sockets.get_mut(&id) else {
            return false;
        };
        match socket.place {
            Place::Closed => {
                socket.up.clear();
                false
            }
            Place::Backlog(shard) => {
                let fx = &mut self.effects[shard];
                let conn = self.shards[shard].on_open(now, fx);
                let conn = conn.expect("there is room for every program");
                socket.place = Place::Open(shard, conn);
                self.conns.insert((shard, conn), id);
                self.present(id, now);
                true
            }
            Place::Open(shard, conn) => {
                if stalled || !self.shards[shard].wants_read(conn) {
                    return false;
                }
                if socket.up.is_empty() {
                    if !socket.left {
                        return false;
                    }
                    let fx = &mut self.effects[shard];
                    self.shards[shard].on_close(conn, TransportClose::Eof, now, fx);
                    self.harvest(shard, now);
                    return true;
                }
                let count = rng.portion(socket.up.len());
                socket.unread.extend(socket.up.drain(..count));
                self.present(id, now);
                true
            }
        }
    }

    fn present(&mut self, id: u64, now: Time) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let Place::Open(shard, conn) = socket.place else {
            return;
        };
        let unread = std::mem::take(&mut socket.unread);
        let used = self.shards[shard].on_bytes(conn, &unread, now, &mut self.effects[shard]);
        socket.unread = unread[used..].to_vec();
        self.harvest(shard, now);
    }

    /// Everything that the shards have to say goes its way; mail between them as far as chance wants. True: something moved.
    pub(super) fn work(&mut self, now_ms: u64, rng: &mut Rng, everything: bool) -> bool {
        let now = self.clock(now_ms);
        let mut moved = false;
        for (from, to) in self.mail.keys().copied().collect::<Vec<_>>() {
            let Some(waiting) = self.mail.get_mut(&(from, to)).filter(|one| !one.is_empty()) else {
                continue;
            };
            let count = if everything {
                waiting.len()
            } else {
                rng.below(waiting.len() + 1)
            };
            let mut batch: Vec<PeerMessage> = waiting.drain(..count).collect();
            moved |= count > 0;
            self.shards[to].on_peer_batch(from, &mut batch, now, &mut self.effects[to]);
            self.harvest(to, now);
        }
        for shard in 0..self.shards.len() {
            if self.shards[shard]
                .next_deadline()
                .is_some_and(|due| due <= now)
            {
                self.shards[shard].on_timer(now, &mut self.effects[shard]);
                self.harvest(shard, now);
                moved = true;
            }
        }
        for ((shard, conn), id) in self.conns.clone() {
            moved |= self.write(shard, conn, id, now, rng, everything);
        }
        moved
    }

    fn write(
        &mut self,
        shard: usize,
        conn: ConnId,
        id: u64,
        now: Time,
        rng: &mut Rng,
        everything: bool,
    ) -> bool {
        let Some(outbox) = self.shards[shard].outbox(conn) else {
            return false;
        };
        let available = outbox.writable_len();
        if available == 0 || (!everything && rng.one_in(3)) {
            return false;
        }
        let count = if everything {
            available
        } else {
            rng.portion(available)
        };
        let bytes = crate::world::take(outbox, count);
        if let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.left) {
            socket.down.extend(bytes);
        }
        self.shards[shard].on_flushed(conn, now, &mut self.effects[shard]);
        self.harvest(shard, now);
        true
    }

    /// Carries out what a shard wants done, apart from writing.
    fn harvest(&mut self, shard: usize, now: Time) {
        let fx = &mut self.effects[shard];
        fx.dirty.clear();
        fx.connected.clear();
        let closed = std::mem::take(&mut fx.closed);
        let handovers = std::mem::take(&mut fx.handovers);
        let resumed = std::mem::take(&mut fx.resumed);
        for (to, batch) in fx.peers.iter_mut().enumerate() {
            let mail = self.mail.entry((shard, to)).or_default();
            mail.extend(batch.drain(..));
        }
        for mut closed in closed {
            let Some(id) = self.conns.remove(&(shard, closed.conn)) else {
                continue;
            };
            if let CloseCause::Malformed(_) | CloseCause::Violation(_) = closed.report.cause {
                self.blamed = Some(format!("{:?}", closed.report));
            }
            let count = closed.farewell.writable_len();
            let bytes = crate::world::take(&mut closed.farewell, count);
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.place = Place::Closed;
                if !socket.left {
                    socket.down.extend(bytes);
                }
            }
        }
        for handover in handovers {
            if let Some(id) = self.conns.remove(&(shard, handover.conn))
                && let Some(socket) = self.sockets.get_mut(&id)
            {
                socket.place = Place::Backlog(handover.to);
            }
        }
        for conn in resumed {
            if let Some(id) = self.conns.get(&(shard, conn)).copied() {
                self.present(id, now);
            }
        }
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let all = self.shards.iter().filter_map(Shard::next_deadline);
        all.map(|time| time.as_millis() + self.zero_ms).min()
    }

    pub(super) fn connection_count(&self) -> usize {
        self.shards.iter().map(Shard::connection_count).sum()
    }

    /// The time on the clock of this process.
    fn clock(&self, now_ms: u64) -> Time {
        Time::from_millis(now_ms - self.zero_ms + 5)
    }
}
