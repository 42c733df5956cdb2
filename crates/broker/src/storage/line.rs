//! What the shards and the store's thread share: batches one way, news the other.
//!
//! ```text
//! shard ── put(batch) ──> waiting ── take() ──> store's thread: append ..., sync
//!   ^                                                   │
//!   └── bell ── News: stable ticket, pressure, wishes <─┘
//! ```
//! News are numbers that only the latest of counts, so nothing is queued towards a shard: it looks when its bell rings.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use martlet_engine::{BodyId, FetchedBody, SLOT_COUNT, StorePressure, StoreTicket};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// The line between all shards and the store's thread.
#[derive(Debug)]
pub(crate) struct StoreLine {
    waiting: Mutex<Waiting>,
    /// Rung for the store's thread.
    arrived: Condvar,
    /// By shard.
    news: Vec<News>,
    busy_bytes: usize,
    failure: Failure,
}

/// A shard's batch on its way.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) shard: usize,
    pub(super) ticket: StoreTicket,
    pub(super) bytes: Vec<u8>,
}

/// Bodies that a shard wants to have back.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) shard: usize,
    pub(super) bodies: Vec<BodyId>,
    /// How often they were not where they had been a moment before.
    pub(super) misses: u32,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: Vec<Batch>,
    /// Bytes put up and not yet stable.
    bytes: usize,
    pressure: StorePressure,
    /// Bodies that shards want to have back.
    wanted: Vec<Wanted>,
    /// Emptied buffers, to be used again.
    empties: Vec<Vec<u8>>,
    /// The shards have ended: nothing more comes.
    ending: bool,
    /// The store has failed: nothing more is taken.
    dead: bool,
}

/// What the store has to tell a shard.
#[derive(Debug)]
struct News {
    stable: AtomicU64,
    pressure: AtomicU8,
    /// Slots that the store wants a checkpoint of, one bit each.
    wishes: [AtomicU64; WISH_WORDS],
    /// Bodies that the shard wanted, and whether there are any.
    bodies: Mutex<Vec<FetchedBody>>,
    has_bodies: AtomicBool,
    bell: Arc<Notify>,
}

/// Why the store is not used any more: said once, never taken back.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    text: OnceLock<String>,
    said: Notify,
}

impl StoreLine {
    /// The line for shards with these bells.
    pub(crate) fn new(bells: Vec<Arc<Notify>>, busy_bytes: usize) -> Self {
        let news = |bell| News {
            stable: AtomicU64::new(0),
            pressure: AtomicU8::new(code(StorePressure::Normal)),
            wishes: Default::default(),
            bodies: Mutex::default(),
            has_bodies: AtomicBool::new(false),
            bell,
        };
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            news: bells.into_iter().map(news).collect(),
            busy_bytes,
            failure: Failure::default(),
        }
    }

    /// A shard's batch; a buffer to fill next comes back.
    pub(crate) fn put(&self, shard: usize, ticket: StoreTicket, bytes: Vec<u8>) -> Vec<u8> {
        let mut waiting = self.waiting.lock();
        if waiting.dead {
            // Its ticket never comes: nothing is acknowledged any more.
            return bytes;
        }
        waiting.bytes += bytes.len();
        if waiting.bytes > self.busy_bytes && waiting.pressure == StorePressure::Normal {
            self.set_pressure(&mut waiting, StorePressure::Busy);
        }
        waiting.batches.push(Batch {
            shard,
            ticket,
            bytes,
        });
        let empty = waiting.empties.pop().unwrap_or_default();
        let first = waiting.batches.len() == 1;
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
        empty
    }

    /// A shard wants to have bodies back, or they have to be looked for again.
    pub(super) fn want(&self, wanted: Wanted) {
        let mut waiting = self.waiting.lock();
        if waiting.dead {
            return;
        }
        waiting.wanted.push(wanted);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// A shard wants to have these bodies back.
    pub(crate) fn want_bodies(&self, shard: usize, bodies: Vec<BodyId>) {
        self.want(Wanted {
            shard,
            bodies,
            misses: 0,
        });
    }

    /// Gives a shard bodies that it wanted.
    pub(super) fn bring(&self, shard: usize, bodies: Vec<FetchedBody>) {
        if let Some(news) = self.news.get(shard) {
            news.bodies.lock().extend(bodies);
            news.has_bodies.store(true, Ordering::Release);
            news.bell.notify_one();
        }
    }

    /// Takes what was brought for a shard.
    pub(crate) fn take_bodies(&self, shard: usize) -> Vec<FetchedBody> {
        match self.news.get(shard) {
            Some(news) if news.has_bodies.swap(false, Ordering::AcqRel) => {
                mem::take(&mut *news.bodies.lock())
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The shards have ended: the store's thread ends, too, when everything is stable.
    pub(super) fn end(&self) {
        self.waiting.lock().ending = true;
        self.arrived.notify_one();
    }

    /// Whether the shards have ended.
    pub(super) fn is_ending(&self) -> bool {
        self.waiting.lock().ending
    }

    /// Takes everything that waits, for an empty list; waits for something to come, at most so long.
    pub(super) fn take(&self, empty: Vec<Batch>, at_most: Option<Duration>) -> Taken {
        let mut waiting = self.waiting.lock();
        if waiting.batches.is_empty() && waiting.wanted.is_empty() && !waiting.ending {
            match at_most {
                Some(time) => {
                    self.arrived.wait_for(&mut waiting, time);
                }
                None => self.arrived.wait(&mut waiting),
            }
        }
        Taken {
            batches: mem::replace(&mut waiting.batches, empty),
            wanted: mem::take(&mut waiting.wanted),
            ending: waiting.ending,
        }
    }

    /// These batches are stable.
    pub(super) fn done(&self, batches: &mut Vec<Batch>) {
        let mut freed = 0;
        for batch in &*batches {
            freed += batch.bytes.len();
            if let Some(news) = self.news.get(batch.shard) {
                news.stable.store(batch.ticket.0, Ordering::Release);
            }
        }
        for (shard, news) in self.news.iter().enumerate() {
            if batches.iter().any(|batch| batch.shard == shard) {
                news.bell.notify_one();
            }
        }
        let mut waiting = self.waiting.lock();
        waiting.bytes -= freed.min(waiting.bytes);
        if waiting.pressure == StorePressure::Busy && waiting.bytes <= self.busy_bytes / 2 {
            self.set_pressure(&mut waiting, StorePressure::Normal);
        }
        for batch in batches.drain(..) {
            let mut bytes = batch.bytes;
            if waiting.empties.len() < EMPTIES_MAX && bytes.capacity() <= EMPTY_CAPACITY_MAX {
                bytes.clear();
                waiting.empties.push(bytes);
            }
        }
    }

    /// The store is full, or takes something again. Until then it stays full, whatever becomes stable: what does has to
    /// make room.
    pub(super) fn set_full(&self, full: bool) {
        let mut waiting = self.waiting.lock();
        let pressure = if full {
            StorePressure::Full
        } else if waiting.bytes > self.busy_bytes {
            StorePressure::Busy
        } else {
            StorePressure::Normal
        };
        if waiting.pressure != pressure {
            self.set_pressure(&mut waiting, pressure);
        }
    }

    /// The store has failed: whoever waits for it is told why, the shards are told nothing any more.
    pub(super) fn fail(&self, why: String) {
        let mut waiting = self.waiting.lock();
        waiting.dead = true;
        waiting.batches = Vec::new();
        waiting.wanted = Vec::new();
        drop(waiting);
        let _ = self.failure.text.set(why);
        self.failure.said.notify_waiters();
    }

    pub(crate) const fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Asks the slot's shard for a checkpoint.
    pub(super) fn wish(&self, slot: u8) {
        let shard = usize::from(slot) % self.news.len().max(1);
        let (word, bit) = (usize::from(slot) / 64, slot % 64);
        if let Some(news) = self.news.get(shard)
            && let Some(word) = news.wishes.get(word)
        {
            word.fetch_or(1 << bit, Ordering::AcqRel);
            news.bell.notify_one();
        }
    }

    /// The last batch of a shard that is stable; 0 if there is none.
    pub(crate) fn stable(&self, shard: usize) -> StoreTicket {
        let news = self.news.get(shard);
        StoreTicket(news.map_or(0, |news| news.stable.load(Ordering::Acquire)))
    }

    /// How the store keeps up.
    pub(crate) fn pressure(&self, shard: usize) -> StorePressure {
        let news = self.news.get(shard);
        match news.map_or(0, |news| news.pressure.load(Ordering::Acquire)) {
            0 => StorePressure::Normal,
            1 => StorePressure::Busy,
            _ => StorePressure::Full,
        }
    }

    /// Takes one of the slots that the store wants a checkpoint of from this shard.
    pub(crate) fn take_wish(&self, shard: usize) -> Option<u8> {
        let news = self.news.get(shard)?;
        for (index, word) in news.wishes.iter().enumerate() {
            let wishes = word.load(Ordering::Acquire);
            if wishes != 0 {
                let bit = wishes.trailing_zeros();
                word.fetch_and(!(1 << bit), Ordering::AcqRel);
                let slot = index * 64 + usize::try_from(bit).unwrap_or_default();
                return u8::try_from(slot).ok();
            }
        }
        None
    }

    fn set_pressure(&self, waiting: &mut Waiting, pressure: StorePressure) {
        waiting.pressure = pressure;
        for news in &self.news {
            news.pressure.store(code(pressure), Ordering::Release);
            news.bell.notify_one();
        }
    }
}

/// What the store's thread took.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) batches: Vec<Batch>,
    pub(super) wanted: Vec<Wanted>,
    /// Nothing comes any more.
    pub(super) ending: bool,
}

impl Failure {
    /// Why the store failed, if it has.
    pub(crate) fn get(&self) -> Option<&str> {
        self.text.get().map(String::as_str)
    }

    /// Waits until it has, and says why.
    pub(crate) async fn wait(&self) -> &str {
        loop {
            let said = self.said.notified();
            // Whoever registers before it looks cannot miss it.
            tokio::pin!(said);
            said.as_mut().enable();
            if let Some(text) = self.get() {
                return text;
            }
            said.await;
        }
    }
}

const fn code(pressure: StorePressure) -> u8 {
    match pressure {
        StorePressure::Normal => 0,
        StorePressure::Busy => 1,
        StorePressure::Full => 2,
    }
}

/// Bits for all slots.
const WISH_WORDS: usize = SLOT_COUNT / 64;
/// Buffers kept for reuse, and how large they may be: a few ticks of each shard.
const EMPTIES_MAX: usize = 64;
const EMPTY_CAPACITY_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(busy_bytes: usize) -> StoreLine {
        StoreLine::new(vec![Arc::default(), Arc::default()], busy_bytes)
    }

    fn put(line: &StoreLine, shard: usize, ticket: u64, len: usize) {
        drop(line.put(shard, StoreTicket(ticket), vec![0; len]));
    }

    #[test]
    fn tickets_go_to_the_shards_that_wait_for_them() {
        let line = line(100);
        put(&line, 0, 1, 1);
        put(&line, 1, 1, 1);
        put(&line, 0, 2, 1);
        let mut taken = line.take(Vec::new(), None);
        assert_eq!(taken.batches.len(), 3);
        put(&line, 1, 2, 1);
        assert_eq!(line.stable(0), StoreTicket(0));
        line.done(&mut taken.batches);
        assert_eq!(
            (line.stable(0), line.stable(1)),
            (StoreTicket(2), StoreTicket(1))
        );
    }

    #[test]
    fn what_waits_and_what_is_being_written_counts_as_pressure() {
        let line = line(100);
        put(&line, 0, 1, 60);
        let mut first = line.take(Vec::new(), None);
        assert_eq!(line.pressure(0), StorePressure::Normal);
        put(&line, 1, 1, 60);
        assert_eq!(line.pressure(0), StorePressure::Busy);
        assert_eq!(line.pressure(1), StorePressure::Busy);
        line.done(&mut first.batches);
        assert_eq!(
            line.pressure(0),
            StorePressure::Busy,
            "not before half is gone"
        );
        let mut second = line.take(Vec::new(), None);
        line.done(&mut second.batches);
        assert_eq!(line.pressure(0), StorePressure::Normal);
        line.set_full(true);
        assert_eq!(line.pressure(1), StorePressure::Full);
        put(&line, 0, 2, 60);
        put(&line, 0, 3, 60);
        let mut third = line.take(Vec::new(), None);
        line.done(&mut third.batches);
        assert_eq!(line.pressure(1), StorePressure::Full, "not by what is done");
        line.set_full(false);
        assert_eq!(line.pressure(1), StorePressure::Normal);
    }

    #[test]
    fn each_wish_is_told_once_to_the_slots_shard() {
        let line = line(100);
        for slot in [0, 255, 130, 0] {
            line.wish(slot);
        }
        assert_eq!(line.take_wish(0), Some(0));
        assert_eq!(line.take_wish(0), Some(130));
        assert_eq!(line.take_wish(0), None);
        assert_eq!(line.take_wish(1), Some(255));
        assert_eq!(line.take_wish(1), None);
    }

    #[test]
    fn a_failed_store_takes_nothing_and_frees_nobody() {
        let line = line(100);
        put(&line, 0, 1, 10);
        line.fail("the disk is broken".to_owned());
        put(&line, 0, 2, 10);
        let taken = line.take(Vec::new(), Some(Duration::ZERO));
        assert!(taken.batches.is_empty());
        assert_eq!(line.stable(0), StoreTicket(0));
        assert_eq!(line.failure().get(), Some("the disk is broken"));
    }
}
