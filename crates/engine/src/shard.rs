//! The shard: all sessions whose client identifier hashes to it, and everything that they share.
//!
//! A pure state machine. Events come in (`on_…`), each is finished before the next, each appends to
//! [`Effects`]; sockets, clocks, threads and randomness stay outside. The parts of its behaviour live in
//! files of their own, each with an `impl Shard`:
//!
//! | file | events |
//! |---|---|
//! | `packets/reading.rs` | bytes of a client, one packet after the other |
//! | `packets/connecting.rs`, `packets/refusing.rs` | CONNECT, takeover, session start, CONNACK |
//! | `packets/authentication.rs` | AUTH, verdicts |
//! | `packets/closing.rs` | DISCONNECT, faults, wills, session end, shutdown |
//! | `packets/publishing.rs`, `packets/answering.rs` | PUBLISH from a client, and PUBACK or PUBREC for it |
//! | `packets/repeats.rs` | many PUBLISH to one topic at once |
//! | `routing.rs`, `peering/relaying.rs` | who gets a message: route cache, local targets, other shards; retained ones |
//! | `peering/parts.rs` | a publish that several shards have a part in |
//! | `sending/express.rs`, `sending.rs` | a message to one session: window, queue, outbox |
//! | `sending/pumping.rs` | what waits for a session moves on: re-sends, queue |
//! | `packets/settling.rs`, `packets/runs.rs` | acknowledgements from receivers; many of one kind at once |
//! | `packets/subscribing.rs` | SUBSCRIBE, UNSUBSCRIBE |
//! | `retaining.rs` | storing retained messages, replaying them to new subscriptions |
//! | `grouping.rs`, `grouping/membership.rs` | shared subscriptions: the groups, their members |
//! | `peering.rs`, `peering/packing.rs` | batches from other shards, and packs of small messages in them |
//! | `durable.rs` | records, tickets, recovery |
//! | `timing.rs`, `sending/writing.rs` | timers; bytes into outboxes |

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU64;

use hashbrown::HashMap;
use martlet_codec::{PropertiesBuf, Version};
use martlet_session::KeepAlive;

use crate::acl::Acl;
use crate::clients::Clients;
use crate::clients::client_session::ClientSession;
use crate::clients::connection::Connection;
use crate::collections::slab::{Key, Slab};
use crate::collections::wheel::Wheel;
use crate::config::{SHARDS_MAX, ShardConfig};
use crate::counters::Counters;
use crate::durable::Durable;
use crate::effects::{ConnId, Effects};
use crate::grouping::Group;
use crate::grouping::sharing::{Part, Share};
use crate::packets::answering::AwaitedParts;
use crate::packets::pending::PendingAnswer;
use crate::packets::repeats::Repeat;
use crate::packets::runs::Credit;
use crate::peering::packing::Pack;
use crate::peering::peers::{Peer, PeerMessage};
use crate::peering::relay::Joins;
use crate::report::CloseCause;
use crate::retaining::retained::Retained;
use crate::routing::interest::Interest;
use crate::routing::routes::{Route, RouteCache};
use crate::routing::subscriptions::Subscriptions;
use crate::sending::buffers::Buffers;
use crate::sending::outbox::Outbox;
use crate::time::Time;
use crate::timing::Reading;

/// One shard of the broker. See the module documentation for the map of its parts.
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) interest: Arc<dyn Interest>,
    pub(crate) acl: Box<dyn Acl>,
    /// The list allows everything: it need not be asked.
    pub(crate) acl_is_open: bool,
    pub(crate) connections: Slab<Connection>,
    pub(crate) sessions: Slab<ClientSession>,
    pub(crate) clients: Clients,
    pub(crate) subscriptions: Subscriptions<Subscriber>,
    /// Those of them that never asked for retained messages: few, and looked at for late ones only (`relay.rs`). A
    /// restored session has a mark instead.
    pub(crate) refusing_retained: Subscriptions<Subscriber>,
    pub(crate) routes: RouteCache,
    pub(crate) retained: Retained,
    pub(crate) groups: Slab<Group>,
    pub(crate) groups_by_filter: HashMap<Arc<str>, Key, foldhash::fast::FixedState>,
    pub(crate) joins: Joins,
    pub(crate) relay_sequence: u64,
    /// Publishes that wait for other shards to store their part, by number.
    pub(crate) awaited_parts: HashMap<NonZeroU64, AwaitedParts, foldhash::fast::FixedState>,
    /// Only if there is a store.
    pub(crate) durable: Option<Box<Durable>>,
    /// CONNECTs that the authenticator was asked about, by client identifier, the oldest first.
    pub(crate) attempts: HashMap<Box<str>, Vec<Key>, foldhash::fast::FixedState>,
    pub(crate) pending_answers: Slab<PendingAnswer>,
    pub(crate) replay_sequence: u64,
    /// Messages to this shard itself; handled before the event ends.
    pub(crate) inbox: VecDeque<Peer>,
    pub(crate) wheel: Wheel<TimerKey>,
    pub(crate) counters: Counters,
    random: u64,
    /// Bytes in queues and outboxes.
    pub(crate) memory_bytes: usize,
    pub(crate) paused: Vec<Key>,
    pub(crate) reading: Reading,
    pub(crate) scratch: Scratch,
}

/// Who is subscribed: a session of this shard, or a shared subscription that this shard owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subscriber {
    Session(Key),
    Group(Key),
}

/// What a timer is about. Timers are not cancelled: whoever is woken looks whether it still applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerKey {
    /// CONNECT has to be here; if it is, the keep alive follows.
    ConnectTimeout(Key),
    KeepAlive(Key),
    /// The step of its authentication.
    Authentication(Key),
    /// A session's will or its end.
    Session(Key),
    Paused,
    Sweep,
    /// Wills that were on their way when the broker ended.
    WillsUnderWay,
}

/// Reused buffers: nothing on the path of a small message is allocated.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Property bytes of one receiver.
    pub(crate) own: PropertiesBuf,
    /// Property bytes that all receivers get.
    pub(crate) shared: Vec<u8>,
    /// The topic that an alias stands for.
    pub(crate) topic: String,
    /// The text of a filter with wildcards.
    pub(crate) filter: String,
    /// Where the message went that was published last, if that was looked up.
    pub(crate) route: Option<Arc<Route>>,
    /// Where the next messages of the read under way go, the first one last.
    pub(crate) ahead: Vec<Arc<Route>>,
    /// Where the last ones went. They are let go of together: the processor does that only when everything before is done, and
    /// what was written to receivers in far memory is not for long.
    pub(crate) behind: Vec<Arc<Route>>,
    pub(crate) expired: Vec<TimerKey>,
    /// Empty buffers of outboxes that were written out.
    pub(crate) pool: Buffers,
    /// The memory that the next PUBLISH is in, if outboxes may go on using it.
    pub(crate) lent: Option<Arc<Vec<u8>>>,
    /// The messages of a run.
    pub(crate) repeats: Vec<Repeat>,
    /// Who of a shared subscription gets which of them.
    pub(crate) shares: Vec<Share>,
    /// What one of them gets of it.
    pub(crate) part: Part,
    /// What shared subscriptions are to hear of at the end of a run of acknowledgements.
    pub(crate) credits: Vec<Credit>,
    /// Empty packs of other shards.
    #[expect(clippy::vec_box, reason = "they come in boxes and leave in them")]
    pub(crate) packs: Vec<Box<Pack>>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It is dealt with.
    Taken,
    /// It has to be presented again later.
    NotNow,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("index", &self.config.index)
            .field("connections", &self.connections.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard without connections. Panics never; a `config.index` outside `config.shard_count`, or more than
    /// 64 shards, is the caller's bug and is corrected to the nearest legal value.
    #[must_use]
    pub fn new(mut config: ShardConfig, interest: Arc<dyn Interest>, acl: Box<dyn Acl>) -> Self {
        debug_assert!(config.shard_count >= 1 && config.shard_count <= SHARDS_MAX);
        debug_assert!(config.index < config.shard_count);
        config.shard_count = config.shard_count.clamp(1, SHARDS_MAX);
        config.index = config.index.min(config.shard_count - 1);
        let seed = config.seed;
        let state = foldhash::fast::FixedState::with_seed(seed);
        Self {
            interest,
            acl_is_open: acl.allows_everything(),
            acl,
            connections: Slab::new(),
            sessions: Slab::new(),
            clients: Clients::new(state.clone()),
            subscriptions: Subscriptions::new(seed),
            refusing_retained: Subscriptions::new(seed),
            routes: RouteCache::new(seed),
            retained: Retained::new(),
            groups: Slab::new(),
            groups_by_filter: HashMap::with_hasher(state.clone()),
            awaited_parts: HashMap::with_hasher(state.clone()),
            attempts: HashMap::with_hasher(state),
            durable: Durable::new(&config).map(Box::new),
            joins: Joins::new(seed),
            relay_sequence: 0,
            pending_answers: Slab::new(),
            replay_sequence: 0,
            inbox: VecDeque::new(),
            wheel: Wheel::new(),
            counters: Counters::default(),
            random: seed ^ 0x9E37_79B9_7F4A_7C15 ^ config.index as u64,
            memory_bytes: 0,
            paused: Vec::new(),
            reading: Reading::Since(Time::default()),
            scratch: Scratch::default(),
            config,
        }
    }

    /// A transport connection was accepted. `None`: the connection limit is reached, close it.
    pub fn on_open(&mut self, now: Time, _fx: &mut Effects) -> Option<ConnId> {
        if self.connections.len() >= self.config.limits.connections_max {
            self.counters.connections_refused += 1;
            return None;
        }
        let key = self
            .connections
            .insert(Connection::new(KeepAlive::new(0, now.as_millis())));
        let deadline = now.plus_millis(self.config.limits.connect_timeout_ms);
        self.schedule(deadline, TimerKey::ConnectTimeout(key));
        Some(ConnId(key))
    }

    /// The transport is gone. Without effect if the shard has closed the connection itself.
    pub fn on_close(&mut self, conn: ConnId, cause: TransportClose, now: Time, fx: &mut Effects) {
        let cause = match cause {
            TransportClose::Eof => CloseCause::ConnectionLost,
            TransportClose::Error => CloseCause::TransportFailed,
        };
        self.close(conn.0, cause, now, fx);
        self.settle(now, fx);
    }

    /// Whether the connection may be read. If not, `effects.resumed` will name it.
    #[must_use]
    pub fn wants_read(&self, conn: ConnId) -> bool {
        self.connections
            .get(conn.0)
            .is_some_and(|connection| connection.parked.is_none())
    }

    /// The bytes to be written to a connection. Report what was written with [`Shard::on_flushed`].
    pub fn outbox(&mut self, conn: ConnId) -> Option<&mut Outbox> {
        self.connections
            .get_mut(conn.0)
            .map(|connection| &mut connection.outbox)
    }

    /// Whether a client has published: such a one may wait for an answer before it sends more.
    #[must_use]
    pub fn has_published(&self, conn: ConnId) -> bool {
        let connection = self.connections.get(conn.0);
        connection.is_some_and(|connection| connection.route.is_some())
    }

    /// Some of the outbox was written: there may be room for what waits.
    pub fn on_flushed(&mut self, conn: ConnId, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn.0) else {
            return;
        };
        connection.dirty = None;
        let len = connection.outbox.len();
        let before = core::mem::replace(&mut connection.counted_bytes, len);
        if len == 0 {
            self.scratch.pool.keep(connection.outbox.take_buffer());
        }
        let session = connection.session;
        self.memory_bytes = (self.memory_bytes + len).saturating_sub(before);
        if let Some(session) = session {
            self.pump(session, now, fx);
        }
        self.settle(now, fx);
    }

    /// A batch from another shard, in the order in which that shard sent it. Leaves `batch` empty.
    pub fn on_peer_batch(
        &mut self,
        from: usize,
        batch: &mut Vec<PeerMessage>,
        now: Time,
        fx: &mut Effects,
    ) {
        for PeerMessage(peer) in batch.drain(..) {
            self.on_peer(from, peer, now, fx);
        }
        self.settle(now, fx);
    }

    /// The shard's counters.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Open connections, those before CONNECT included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Sessions, online or not.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Retained messages stored in this shard.
    #[must_use]
    pub fn retained_count(&self) -> usize {
        self.retained.len()
    }

    /// Timers that run: a bounded number per connection and session.
    #[must_use]
    pub const fn timer_count(&self) -> usize {
        self.wheel.len()
    }

    /// Bytes held in queues, in flight and in outboxes.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Finishes an event: messages to ourselves are handled until none is left.
    pub(crate) fn settle(&mut self, now: Time, fx: &mut Effects) {
        let index = self.config.index;
        while let Some(peer) = self.inbox.pop_front() {
            self.on_peer(index, peer, now, fx);
        }
        if self.memory_bytes < self.config.limits.memory_budget_bytes && !self.paused.is_empty() {
            self.resume_paused(now, fx);
        }
    }

    /// Sends to a shard, which may be this one.
    pub(crate) fn send_to(&mut self, shard: usize, peer: Peer, fx: &mut Effects) {
        if shard == self.config.index {
            self.inbox.push_back(peer);
        } else {
            self.counters.peer_messages_sent += 1;
            fx.send(shard, peer.into());
        }
    }

    /// The next number of a splitmix64 sequence: good enough for identifiers, not for secrets.
    pub(crate) const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The version a connection speaks; v5 if it is gone, which then does not matter.
    pub(crate) fn version_of(&self, conn: Key) -> Version {
        self.connections
            .get(conn)
            .map_or(Version::V5, Connection::version)
    }
}

/// How a transport connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportClose {
    /// The peer closed it.
    Eof,
    /// It failed.
    Error,
}
