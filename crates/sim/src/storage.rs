//! The store as an actor of the world: batches that wait for it, what it has been given, tickets on their way back.
//!
//! ```text
//! shard --batch--> waiting --append--> appended --sync--> done --ticket--> shard
//! ```
//! One line for all shards: a batch is handed over before the messages that its shard sends, so what follows from it is
//! behind it. A crash takes all that is waiting; of what is appended it leaves a part; the rest is stable.

use std::collections::VecDeque;

use martlet_engine::{BodySummary, Record, StorePressure, StoreTicket};
use martlet_store::Maintenance;

use crate::disk::Crash;
use crate::fetching::Want;
use crate::keeper::{Keeper, KeeperError};
use crate::ledger::Tick;
use crate::rng::Rng;

/// The store of a run.
#[derive(Debug)]
pub(crate) struct Storage {
    keeper: Keeper,
    waiting: VecDeque<Batch>,
    appended: VecDeque<Batch>,
    /// Whether a sync is under way.
    pub(crate) syncing: bool,
    /// Stable, the shard does not know yet.
    done: Vec<VecDeque<StoreTicket>>,
    /// Slots whose checkpoints the store would like to have.
    pub(crate) wishes: VecDeque<u8>,
    /// Bodies that shards wait for.
    pub(crate) wants: Vec<Want>,
    pressure: StorePressure,
    told: Vec<StorePressure>,
    busy_bytes: usize,
    full: bool,
    /// One of so many steps of the store is a crash, or has to do with a fault of the disk; 0: none.
    pub(crate) fault_one_in: usize,
    pub(crate) facts: StorageFacts,
}

/// What has happened to it, for the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// Crashes, those in recovery included.
    pub crashes: u64,
    /// Batches made stable.
    pub batches: u64,
    /// Checkpoints of slots that the store asked for.
    pub checkpoints: u64,
    /// How often the store was full.
    pub full: u64,
    /// Bodies read back.
    pub read_back: u64,
    /// How often one had moved while it was to be read.
    pub misses: u64,
}

#[derive(Debug)]
struct Batch {
    shard: usize,
    ticket: StoreTicket,
    bytes: Vec<u8>,
    tick: Tick,
}

impl Storage {
    /// What the seed wants.
    pub(crate) fn choose(rng: &mut Rng) -> Self {
        Self {
            fault_one_in: *rng.pick(&[0, 20, 60, 60, 200]),
            busy_bytes: *rng.pick(&[200, 2_000, usize::MAX]),
            keeper: Keeper::choose(rng),
            waiting: VecDeque::new(),
            appended: VecDeque::new(),
            syncing: false,
            done: Vec::new(),
            wishes: VecDeque::new(),
            wants: Vec::new(),
            pressure: StorePressure::Normal,
            told: Vec::new(),
            full: false,
            facts: StorageFacts::default(),
        }
    }

    /// A shard has put up a batch.
    pub(crate) fn hand_over(
        &mut self,
        shard: usize,
        ticket: StoreTicket,
        bytes: Vec<u8>,
        tick: Tick,
    ) {
        self.waiting.push_back(Batch {
            shard,
            ticket,
            bytes,
            tick,
        });
        self.look_at_pressure();
    }

    /// Appends some of what waits.
    pub(crate) fn append_some(&mut self, rng: &mut Rng) -> Result<(), KeeperError> {
        let count = rng.portion(self.waiting.len().max(1));
        for _ in 0..count {
            let Some(batch) = self.waiting.front().filter(|_| !self.syncing) else {
                break;
            };
            match self.keeper.append(&batch.bytes) {
                Ok(()) => {
                    self.full = false;
                    self.appended.extend(self.waiting.pop_front());
                }
                Err(KeeperError::Full) => {
                    self.facts.full += u64::from(!self.full);
                    self.full = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.look_at_pressure();
        Ok(())
    }

    /// A sync of what is appended begins.
    pub(crate) fn begin_sync(&mut self) {
        self.syncing |= !self.appended.is_empty();
    }

    /// The sync is over.
    pub(crate) fn end_sync(&mut self) -> Result<(), KeeperError> {
        if !core::mem::take(&mut self.syncing) {
            return Ok(());
        }
        self.keeper.sync()?;
        for batch in self.appended.drain(..) {
            self.facts.batches += 1;
            self.done[batch.shard].push_back(batch.ticket);
        }
        Ok(())
    }

    /// Some tickets of some shard are on their way back.
    pub(crate) fn ticket_comes_back(&mut self, rng: &mut Rng) -> Option<(usize, StoreTicket)> {
        let some: Vec<usize> = (0..self.done.len())
            .filter(|shard| !self.done[*shard].is_empty())
            .collect();
        if some.is_empty() {
            return None;
        }
        let shard = *rng.pick(&some);
        let count = rng.portion(self.done[shard].len());
        let ticket = self.done[shard].drain(..count).next_back();
        ticket.map(|ticket| (shard, ticket))
    }

    /// The store does a little of its own work. `false`: nothing is left to do.
    pub(crate) fn maintain(&mut self) -> Result<bool, KeeperError> {
        if self.syncing {
            return Ok(false);
        }
        match self.keeper.maintain()? {
            Maintenance::Idle => Ok(false),
            Maintenance::Busy | Maintenance::Later => Ok(true),
            Maintenance::WantsCheckpoint(slot) => {
                if self.wishes.contains(&slot) {
                    return Ok(false);
                }
                self.facts.checkpoints += 1;
                self.wishes.push_back(slot);
                Ok(true)
            }
        }
    }

    fn look_at_pressure(&mut self) {
        let bytes: usize = self.waiting.iter().map(|batch| batch.bytes.len()).sum();
        self.pressure = if self.full {
            StorePressure::Full
        } else if bytes > self.busy_bytes {
            StorePressure::Busy
        } else {
            StorePressure::Normal
        };
    }

    /// A shard that does not know yet how the store keeps up.
    pub(crate) fn pressure_news(&mut self, rng: &mut Rng) -> Option<(usize, StorePressure)> {
        let some: Vec<usize> = (0..self.told.len())
            .filter(|shard| self.told[*shard] != self.pressure)
            .collect();
        if some.is_empty() {
            return None;
        }
        let shard = *rng.pick(&some);
        self.told[shard] = self.pressure;
        Some((shard, self.pressure))
    }

    /// The disk works, and has space.
    pub(crate) fn end_faults(&mut self) {
        if let Some(disk) = self.keeper.disk().filter(|disk| !disk.is_dead()) {
            disk.heal();
        }
        self.full = false;
        self.look_at_pressure();
    }

    /// Everything up to this fact is stable, whoever did it.
    pub(crate) fn stable_until(&self, now: Tick) -> Tick {
        let mut unsure = self.appended.iter().chain(&self.waiting);
        let first = unsure.next();
        first.map_or(now, |batch| batch.tick - 1)
    }

    /// Whether all that was handed over is stable, and every shard knows.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
            && self.appended.is_empty()
            && self.done.iter().all(VecDeque::is_empty)
    }

    /// The process is gone.
    pub(crate) fn crash(&mut self, how: Crash, rng: &mut Rng) {
        self.facts.crashes += 1;
        self.waiting.clear();
        self.appended.clear();
        self.syncing = false;
        self.wishes.clear();
        self.wants.clear();
        self.full = false;
        self.pressure = StorePressure::Normal;
        self.keeper.crash(how, rng);
    }

    /// A process with so many shards begins.
    pub(crate) fn begin(&mut self, shard_count: usize) {
        self.done = vec![VecDeque::new(); shard_count];
        self.told = vec![StorePressure::Normal; shard_count];
    }

    /// What the store still has: see [`Keeper::recover`].
    pub(crate) fn recover(
        &mut self,
        shard_count: usize,
        rng: &mut Rng,
        picture: &mut dyn FnMut(&Record<'_>),
        each: &mut dyn FnMut(usize, &Record<'_>, Option<BodySummary>),
    ) -> Result<(u64, u64), KeeperError> {
        self.keeper.recover(shard_count, rng, picture, each)
    }

    /// Where batches are kept.
    pub(crate) const fn keeper(&mut self) -> &mut Keeper {
        &mut self.keeper
    }

    /// Something happens to the disk, now or soon.
    pub(crate) fn disk_fault(&mut self, rng: &mut Rng) {
        let Some(disk) = self.keeper.disk() else {
            return;
        };
        let soon = u32::try_from(rng.below(20)).unwrap_or(0);
        match rng.below(4) {
            0 => disk.fail_in(soon),
            1 => disk.die_in(soon),
            _ => disk.set_full(rng.one_in(2)),
        }
    }
}
