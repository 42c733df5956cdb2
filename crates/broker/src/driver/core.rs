//! What a shard's thread owns, and the one door to it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use hashbrown::HashMap;
use martlet_engine::{
    AuthTicket, ConnId, Counters, Effects, PeerMessage, Shard, StorePressure, StoreTicket, Time,
    Verdict,
};
use tokio::sync::mpsc::UnboundedSender;

use super::conn::Conn;
use super::counters::DriverCounters;
use super::lanes::Lanes;
use super::limits::SCRATCH_BYTES;
use super::ready::Ready;
use super::tail::Spare;
use crate::auth::AuthLine;
use crate::bomb::EndProcessOnPanic;
use crate::storage::StoreLine;

/// What every shard's thread may read: set once, before the threads start.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The zero of every shard's clock.
    pub(crate) start: Instant,
    /// The shards' mailboxes, by shard number.
    pub(crate) mailboxes: Vec<UnboundedSender<Mail>>,
    /// The way to the authenticator, if there is one.
    pub(crate) auth: Option<AuthLine>,
    /// Open sockets of all shards.
    pub(crate) connections: AtomicUsize,
    /// The most there may be.
    pub(crate) connections_max: usize,
    /// The way to the store, if there is one.
    pub(crate) store: Option<Arc<StoreLine>>,
}

impl Shared {
    /// The shards' clock.
    pub(crate) fn now(&self) -> Time {
        let millis = self.start.elapsed().as_millis();
        Time::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// The right to one of the process's connections; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Shared>);

impl Permit {
    /// A permit, unless all are taken.
    ///
    /// The limit holds for the process, because file descriptors do: shares of single shards would refuse
    /// clients of a full shard while others have room.
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        let permit = Self(Arc::clone(shared));
        (before < shared.connections_max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What other threads may tell a shard. Per connection or rarer, never per message.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A socket whose client lives here, with what was read from it.
    Socket {
        stream: StdTcpStream,
        peer: SocketAddr,
        permit: Permit,
        unread: Vec<u8>,
    },
    /// An authenticator's answer.
    Verdict(AuthTicket, Verdict),
    /// How is it going?
    Report(mpsc::Sender<ShardReport>),
    /// Tell the clients and stop.
    Stop,
}

/// What one shard has done since the start, and what it holds now.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ShardReport {
    /// What the protocol did.
    pub engine: Counters,
    /// What the driver did.
    pub driver: DriverCounters,
    /// Open connections.
    pub connections: usize,
    /// Sessions, online or not.
    pub sessions: usize,
    /// Retained messages.
    pub retained: usize,
}

/// A shard and everything around it. Only its own thread has it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) index: usize,
    pub(super) shard: Shard,
    pub(super) fx: Effects,
    pub(super) lanes: Lanes<PeerMessage>,
    pub(super) store: Option<StorePort>,
    pub(super) shared: Arc<Shared>,
    /// Connections by `ConnId::index`.
    pub(super) slots: Vec<Option<Rc<Conn>>>,
    /// The one buffer that all sockets are read into.
    pub(super) scratch: Box<[u8]>,
    /// Memory for the next large packet.
    pub(super) spare: Spare,
    /// Connections to be written again: writable after a short write, or with more than one tick's worth.
    pub(super) rewrite: Vec<ConnId>,
    /// Connections that have something to be written, in the order in which they are, each with the count of bytes that had
    /// come before all of it.
    pub(super) waiting: VecDeque<(ConnId, u64)>,
    /// The list being sorted by a flush; kept for its memory.
    pub(super) dirty: Vec<ConnId>,
    /// Closed connections that may still read their last packet.
    pub(super) lingering: HashMap<ConnId, Rc<Conn>>,
    /// When they are cut, the first one first; some may be gone already.
    pub(super) cuts: VecDeque<(Time, ConnId)>,
    /// Connections that were woken.
    pub(super) ready: Arc<Ready>,
    /// The list of them being worked through; kept for its memory.
    pub(super) turns: Vec<ConnId>,
    /// Bytes that came from connections and other shards since the start.
    pub(super) arrived_bytes: u64,
    /// How many they were when the tick before had ended.
    pub(super) tick_from: u64,
    /// How many they were when the core was given away last, and how often it was since without any coming.
    pub(super) gave_way_at: u64,
    pub(super) gave_way_in_vain: u32,
    /// The rings to other shards are full: publishers are not read.
    pub(super) reads_paused: bool,
    /// The tick's end is ahead: what is found now leaves with it.
    pub(super) flush_pending: bool,
    /// When the tick under way began, or the last one.
    pub(super) tick_began: Time,
    /// When the timer goes off.
    pub(super) timer_armed: Option<Time>,
    pub(super) counters: DriverCounters,
}

/// A shard's end of the line to the store.
#[derive(Debug)]
pub(super) struct StorePort {
    line: Arc<StoreLine>,
    /// A buffer for the next batch.
    spare: Vec<u8>,
    /// What the shard has been told.
    stable: StoreTicket,
    pressure: StorePressure,
}

impl StorePort {
    fn new(line: Arc<StoreLine>) -> Self {
        Self {
            line,
            spare: Vec::new(),
            stable: StoreTicket(0),
            pressure: StorePressure::Normal,
        }
    }
}

impl Core {
    pub(super) fn new(
        index: usize,
        engine: Shard,
        fx: Effects,
        lanes: Lanes<PeerMessage>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            index,
            shard: engine,
            fx,
            lanes,
            store: shared.store.clone().map(StorePort::new),
            shared,
            slots: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            spare: Spare::default(),
            rewrite: Vec::new(),
            waiting: VecDeque::new(),
            dirty: Vec::new(),
            lingering: HashMap::new(),
            cuts: VecDeque::new(),
            ready: Arc::default(),
            turns: Vec::new(),
            arrived_bytes: 0,
            tick_from: 0,
            gave_way_at: 0,
            gave_way_in_vain: 0,
            reads_paused: false,
            flush_pending: false,
            tick_began: Time::default(),
            timer_armed: None,
            counters: DriverCounters::default(),
        }
    }

    /// The connection with this name, unless it is gone.
    pub(super) fn conn(&self, id: ConnId) -> Option<&Rc<Conn>> {
        let conn = self.slots.get(id.index())?.as_ref()?;
        (conn.id == id).then_some(conn)
    }

    /// Takes the connection out.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Rc<Conn>> {
        let slot = self.slots.get_mut(id.index())?;
        slot.take_if(|conn| conn.id == id)
    }

    /// After every event: the tick's end comes if there is something to do, or a timer to be set earlier.
    pub(super) fn after_event(&mut self) {
        if self.flush_pending {
            return;
        }
        let earlier = match (self.shard.next_deadline(), self.timer_armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier || !self.has_nothing_to_send() {
            self.request_flush();
        }
    }

    /// Whether the end of a tick would find nothing.
    pub(super) fn has_nothing_to_send(&self) -> bool {
        self.fx.is_empty() && self.rewrite.is_empty() && self.waiting.is_empty()
    }

    /// Lets the shard's task run, which ends the tick.
    pub(super) fn request_flush(&mut self) {
        self.flush_pending = true;
        self.ready.wake_task();
    }

    /// Connections that still have a socket.
    pub(super) fn socket_count(&self) -> usize {
        self.shard.connection_count() + self.lingering.len()
    }

    /// Takes what other shards have sent, until the tick has had its share. Returns whether more may be waiting.
    ///
    /// Called by the bell's task, and in every tick: what others have sent since it rang then leaves with what the tick's
    /// own connections have brought, in one write for each receiver. Whatever is left is the bell's, which was rung for
    /// each batch.
    pub(super) fn receive_batches(&mut self) -> bool {
        let mut more = false;
        if self.lanes.has_incoming() {
            let now = self.shared.now();
            let before = self.counters.batches_received;
            let joining = self.flush_pending;
            for from in 0..self.lanes.shard_count() {
                more |= self.receive_from(from, now);
            }
            if joining {
                self.counters.batches_joined += self.counters.batches_received - before;
            }
        }
        // Also when nothing came: the bell may have meant room for our own messages. And a tick that is full has to end.
        if (more || self.waits_for_room()) && !self.flush_pending {
            self.request_flush();
        }
        self.after_event();
        more
    }

    /// One batch at least, so that what the shard's own connections bring cannot keep its neighbours waiting for ever.
    fn receive_from(&mut self, from: usize, now: Time) -> bool {
        for _ in 0..super::lanes::RING_BATCHES {
            let Some((mut batch, bytes)) = self.lanes.receive(from) else {
                return false;
            };
            self.arrived_bytes += bytes as u64;
            self.shard
                .on_peer_batch(from, &mut batch, now, &mut self.fx);
            self.lanes.give_back(from, batch);
            self.counters.batches_received += 1;
            if self.is_tick_full() {
                self.counters.ticks_cut += 1;
                break;
            }
        }
        true
    }

    /// Whether something depends on what other shards take.
    pub(super) const fn waits_for_room(&self) -> bool {
        self.lanes.backlog_len() > 0 || self.reads_paused
    }

    /// Hands the tick's records to the store.
    ///
    /// Before the messages to other shards leave: what they write because of them then stands behind in the log, and
    /// what a crash leaves of the log is a beginning of it.
    pub(super) fn put_store_batch(&mut self) {
        if let Some(port) = self
            .store
            .as_ref()
            .filter(|_| !self.fx.wanted_bodies.is_empty())
        {
            let wanted = std::mem::take(&mut self.fx.wanted_bodies);
            port.line.want_bodies(self.index, wanted);
        }
        let Some(port) = &mut self.store else {
            debug_assert!(
                self.fx.store.is_empty(),
                "without a store there are no records"
            );
            return;
        };
        if self.fx.store.is_empty() {
            return;
        }
        let empty = std::mem::take(&mut port.spare);
        if let Some((ticket, bytes)) = self.fx.store.take(empty) {
            port.spare = port.line.put(self.index, ticket, bytes);
        }
    }

    /// Takes what the store has to tell. Returns whether it wants more than was done.
    pub(super) fn hear_store(&mut self) -> bool {
        let Some(port) = &mut self.store else {
            return false;
        };
        let now = self.shared.now();
        let stable = port.line.stable(self.index);
        if stable > port.stable {
            port.stable = stable;
            self.shard.on_store_done(stable, now, &mut self.fx);
        }
        let pressure = port.line.pressure(self.index);
        if pressure != port.pressure {
            port.pressure = pressure;
            self.shard.on_store_pressure(pressure, now, &mut self.fx);
        }
        let mut bodies = port.line.take_bodies(self.index);
        if !bodies.is_empty() {
            self.shard.on_bodies(&mut bodies, now, &mut self.fx);
        }
        // One slot at a time: a checkpoint is as large as the slot.
        let wish = port.line.take_wish(self.index);
        if let Some(slot) = wish {
            self.shard.checkpoint_slot(slot, now, &mut self.fx);
        }
        self.after_event();
        wish.is_some()
    }

    pub(super) fn report(&self) -> ShardReport {
        ShardReport {
            engine: *self.shard.counters(),
            driver: DriverCounters {
                peer_wakes: self.lanes.bells_rung(),
                rings_full: self.lanes.rings_full(),
                overfull: self.lanes.times_overfull(),
                ..self.counters
            },
            connections: self.shard.connection_count(),
            sessions: self.shard.session_count(),
            retained: self.shard.retained_count(),
        }
    }
}

/// The one door to a [`Core`]: entered by one task at a time, never across an await.
#[derive(Debug)]
pub(super) struct Local(RefCell<Core>);

impl Local {
    pub(super) fn new(core: Core) -> Rc<Self> {
        Rc::new(Self(RefCell::new(core)))
    }

    /// Works on the core. If that panics the process ends: the runtime would swallow the panic and go on with a
    /// shard whose state is half changed.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        EndProcessOnPanic::around("a shard's state", || work(&mut self.0.borrow_mut()))
    }
}
