//! Durability: records for what has to survive, and what waits until they are stable.
//!
//! Without a store ([`ShardConfig::store`](crate::ShardConfig)) `Shard::durable` is `None`, no session has a
//! number in the store, and of all this nothing is done but ask for that.
//!
//! A session is *durable* while it outlives its connection: then whatever changes of it is recorded where it changes,
//! each time by one call of a function named `record_…`. The records of an event get into the batch of
//! its tick. What the broker says waits for them, and only then, in one of two ways: an acknowledgement stays in its connection's
//! `held_answers`; other bytes stand behind a write barrier in the outbox.
//!
//! | what | waits for | where |
//! |---|---|---|
//! | PUBACK, PUBREC | the message, if it is retained or somebody durable gets it; the identifier of a QoS 2 flow | `packets/publishing.rs`, `packets/repeats.rs` |
//! | PUBCOMP | that the identifier is free | `packets/publishing.rs`, `packets/runs/stored.rs` |
//! | PUBREL | that PUBREC was seen | `packets/settling.rs`, `packets/runs/stored.rs` |
//! | CONNACK, SUBACK, UNSUBACK | what they promise | `packets/connecting.rs`, `packets/pending.rs` |
//! | PUBLISH of QoS 2 | its identifier | `sending.rs`, `sending/express.rs`, `packets/repeats.rs` |
//! | PUBLISH of QoS 2, from a group of another shard | besides, that the group's letting go is in the log behind that | `durable/groups.rs` |
//!
//! A shard that gives a publisher's message to other shards asks those for an answer that may have somebody durable
//! for it, and they give it when their batch is stable.
//!
//! | file | |
//! |---|---|
//! | `durable/sessions.rs`, `durable/deliveries.rs`, `durable/kept.rs`, `durable/groups.rs` | the records |
//! | `durable/runs.rs` | the same for many messages at once |
//! | `durable/wills.rs` | wills that several shards have a part in |
//! | `durable/waiting.rs` | what waits, and how it goes on |
//! | `durable/cache.rs`, `durable/reading.rs` | which bodies are in memory, and how the others are read back |
//! | `durable/pressure.rs` | when the store does not keep up |
//! | `durable/checkpoint.rs`, `durable/restoring.rs`, `durable/recovery.rs` | writing a slot again, and reading it |

mod cache;
mod checkpoint;
mod deliveries;
mod groups;
mod kept;
mod pressure;
mod reading;
mod recovery;
mod restoring;
mod runs;
mod sessions;
mod waiting;
mod wills;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use hashbrown::HashMap;
use martlet_codec::PacketId;

use crate::clients::client_slots::SLOT_COUNT;
use crate::collections::slab::Key;
use crate::config::{ShardConfig, StoreConfig, StorePressure};
use crate::effects::{Effects, StoreTicket};
use crate::peering::parts::{Doubt, SlotSet};
use crate::publication::Publication;
use crate::record::{Body, BodyId, NUMBERS_PER_COUNT, Record, SessionId, WallTime};
use crate::time::Time;

use cache::BodyCache;
pub(crate) use deliveries::{Source, Step, record_last_queued, stored_terms};
use groups::LettingGo;
use kept::KeptIndex;
pub(crate) use pressure::Admission;
pub use reading::FetchedBody;
use restoring::Recovery;
pub(crate) use runs::Together;
pub(crate) use waiting::Part;
use waiting::Waiter;
use wills::WillUnderWay;

/// What a shard with a store knows besides.
#[derive(Debug)]
pub(crate) struct Durable {
    config: StoreConfig,
    /// All batches up to this one are stable.
    stable: StoreTicket,
    /// What waits for a batch, in the order of their numbers.
    waiters: VecDeque<(StoreTicket, Waiter)>,
    slots: Vec<Slot>,
    cache: BodyCache,
    /// Subscriptions whose retained messages are all sent, but not all acknowledged, by session.
    replayed: HashMap<Key, Vec<Arc<str>>, foldhash::fast::FixedState>,
    pressure: StorePressure,
    /// Connections that wait for the pressure to end.
    parked: Vec<Key>,
    /// Messages of this shard's sessions that may come again after a crash.
    pub(crate) doubts: HashMap<(Key, PacketId), Doubt, foldhash::fast::FixedState>,
    /// Publishes that may, and which slots of this shard have recorded what they get of them.
    pub(crate) taken: HashMap<u64, SlotSet, foldhash::fast::FixedState>,
    /// Sessions whose messages groups of other shards have yet to let go.
    letting_go: HashMap<Key, VecDeque<LettingGo>, foldhash::fast::FixedState>,
    /// Wills on their way to several shards, by publish.
    wills: BTreeMap<NonZeroU64, WillUnderWay>,
    next_session: u64,
    next_number: u64,
    shard: u64,
    /// Until all shards are restored.
    recovery: Option<Box<Recovery>>,
}

/// What belongs to one slot, to be found without looking at everything.
#[derive(Debug)]
struct Slot {
    sessions: HashMap<SessionId, Key, foldhash::fast::FixedState>,
    /// The retained messages.
    kept: KeptIndex,
    /// The durable groups.
    groups: Vec<Key>,
    /// The last batch in which a session ended.
    ended: StoreTicket,
    /// The last batch in which a retained message was cleared.
    cleared: StoreTicket,
}

impl Durable {
    pub(crate) fn new(config: &ShardConfig) -> Option<Self> {
        let state = foldhash::fast::FixedState::with_seed(config.seed);
        let mut slots = Vec::new();
        slots.resize_with(SLOT_COUNT, || Slot {
            sessions: HashMap::with_hasher(state.clone()),
            kept: KeptIndex::new(state.clone()),
            groups: Vec::new(),
            ended: StoreTicket(0),
            cleared: StoreTicket(0),
        });
        Some(Self {
            config: config.store?,
            cache: BodyCache::new(config.store?, state.clone()),
            stable: StoreTicket(0),
            waiters: VecDeque::new(),
            slots,
            replayed: HashMap::with_hasher(state.clone()),
            doubts: HashMap::with_hasher(state.clone()),
            taken: HashMap::with_hasher(state.clone()),
            letting_go: HashMap::with_hasher(state),
            pressure: StorePressure::Normal,
            parked: Vec::new(),
            wills: BTreeMap::new(),
            next_session: 1,
            next_number: 1,
            shard: config.index as u64,
            recovery: None,
        })
    }

    /// A number that no other shard and no earlier process has used, above all that this shard has used.
    pub(crate) const fn next_number(&mut self) -> u64 {
        let number = self.next_number * NUMBERS_PER_COUNT + self.shard;
        self.next_number += 1;
        number
    }

    /// Whether the store keeps up with what is published.
    pub(crate) fn keeps_up(&self) -> bool {
        self.pressure == StorePressure::Normal
    }

    pub(crate) const fn wall_time(&self, time: Time) -> WallTime {
        WallTime(self.config.unix_ms_at_zero.saturating_add(time.as_millis()))
    }

    /// The shard's time for a wall time; 0 for everything before the shard.
    const fn time(&self, wall: WallTime) -> Time {
        self.config.time(wall)
    }

    fn slot(&mut self, slot: u8) -> &mut Slot {
        #[expect(clippy::indexing_slicing, reason = "there is one for each u8")]
        &mut self.slots[usize::from(slot)]
    }

    /// The body of a message; written once for all who get it in this shard.
    pub(crate) fn body_of(
        &mut self,
        publication: &mut Publication<'_>,
        fx: &mut Effects,
    ) -> Option<BodyId> {
        if publication.body.is_none() {
            let body = BodyId::new(self.next_number())?;
            let parts = &publication.parts;
            let message = Body {
                topic: parts.topic.as_str(),
                shared_properties: parts.shared_properties,
                payload: parts.payload,
                qos: parts.qos,
                retain: parts.retain,
                expires_at: parts.expires_at.map(|at| self.wall_time(at)),
            };
            fx.store.push(&Record::Body { body, message });
            publication.body = Some(body);
        }
        publication.body
    }
}
