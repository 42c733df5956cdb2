//! What the store gives back goes to the shards, each on a thread of its own.
//!
//! ```text
//! store: read, check, decode ──┬── records of shard 0, 256 KiB at a time ──► restore
//!                              └── records of shard 1, 256 KiB at a time ──► restore
//! ```
//! A record costs its shard a few misses of the cache (the session, its queue, the message), which takes longer than to
//! read it: so all cores wait for memory at once. Each shard gets its records in the order of the log; what other shards
//! have, and when, is nothing to it.

use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use martlet_engine::{Record, Records, Time};
use martlet_store::{Recovery, Store, StoreError};

use super::opening::{RecoveryProgress, Seat};

/// Gives the shards back what they had, and says to each that it is restored.
pub(super) fn replay(
    store: &mut dyn Store,
    recovery: &Recovery,
    seats: &mut [Seat],
    now: &(impl Fn() -> Time + Sync),
    progress: &mut dyn FnMut(RecoveryProgress),
) -> Result<(), StoreError> {
    let start = now();
    let sessions = recovery.highest_session_counter + 1;
    let numbers = recovery.highest_number_counter + 1;
    thread::scope(|scope| {
        let mut lanes: Vec<Lane> = Vec::new();
        for seat in &mut *seats {
            let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
            lanes.push(Lane::new(sender));
            scope.spawn(move || {
                restore(seat, &chunks, start);
                seat.shard.restored(sessions, numbers, now(), &mut seat.fx);
            });
        }
        let mut given = 0;
        let result = store.replay(lanes.len(), &mut |shard, record| {
            if let Some(lane) = lanes.get_mut(shard) {
                lane.put(record);
            }
            given += 1;
            if given % RECORDS_PER_WORD == 0 {
                progress(RecoveryProgress {
                    doing: DOING,
                    percent: percent(given, recovery.records),
                });
            }
        });
        for lane in &mut lanes {
            lane.send();
        }
        progress(RecoveryProgress {
            doing: DOING,
            percent: 100,
        });
        result
        // The lanes end here, and so do the threads; one that panics takes this one with it.
    })
}

fn restore(seat: &mut Seat, chunks: &Receiver<Vec<u8>>, start: Time) {
    for chunk in chunks {
        for record in Records::new(&chunk).flatten() {
            seat.shard.restore(&record, start);
        }
    }
}

/// The way to one shard.
struct Lane {
    sender: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
}

impl Lane {
    const fn new(sender: SyncSender<Vec<u8>>) -> Self {
        Self {
            sender,
            chunk: Vec::new(),
        }
    }

    fn put(&mut self, record: &Record<'_>) {
        if self.chunk.capacity() == 0 {
            self.chunk.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
        }
        record.encode(&mut self.chunk);
        if self.chunk.len() >= CHUNK_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        // Fails only if the shard's thread has panicked, which the scope passes on.
        let _ = self.sender.send(mem::take(&mut self.chunk));
    }
}

fn percent(done: u64, total: u64) -> u8 {
    let done = done.min(total).saturating_mul(100);
    u8::try_from(done / total.max(1)).unwrap_or(100)
}

const DOING: &str = "sessions and messages";
/// Large enough that handing it over costs nothing, small enough to stay in the cache of two cores.
const CHUNK_BYTES: usize = 256 << 10;
/// A shard may be so far behind.
const CHUNKS_AHEAD: usize = 4;
const RECORDS_PER_WORD: u64 = 1 << 16;
