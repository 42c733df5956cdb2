//! What the store gives back goes to the shards, each on a thread of its own.
//!
//! ```text
//! store: read, check, decode ──┬── records of shard 0, by slots ──► restore
//!                              └── records of shard 1, by slots ──► restore
//! ```
//! A record costs its shard a few misses of the cache (the session, its queue, the message), which takes longer than to
//! read it: so all cores wait for memory at once, and records of one slot come together (`martlet_store::BySlot`). What
//! other shards have, and when, is nothing to a shard.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use martlet_engine::Time;
use martlet_store::{BySlot, Chunk, Recovery, Store, StoreError};

use super::opening::{RecoveryProgress, Seat};

/// Gives the shards back what they had, and says to each that it is restored.
pub(super) fn replay(
    store: &mut dyn Store,
    recovery: &Recovery,
    seats: &mut [Seat],
    now: &(impl Fn() -> Time + Sync),
    progress: &mut dyn FnMut(RecoveryProgress),
) -> Result<(), StoreError> {
    let sessions = recovery.highest_session_counter + 1;
    let numbers = recovery.highest_number_counter + 1;
    let mut sorter = BySlot::new(seats.len(), CHUNK_BYTES);
    let (give_back, back) = channel();
    thread::scope(|scope| {
        let mut lanes = Vec::new();
        for seat in &mut *seats {
            let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
            lanes.push(sender);
            let give_back = give_back.clone();
            scope.spawn(move || {
                restore(seat, &chunks, &give_back);
                drop(give_back);
                seat.shard.restored(sessions, numbers, now(), &mut seat.fx);
            });
        }
        drop(give_back);
        let mut send = |shard: usize, chunk: Chunk| {
            if let Some(lane) = lanes.get(shard) {
                // Fails only if the shard's thread has panicked, which the scope passes on.
                let _ = lane.send(chunk);
            }
        };
        let mut given = 0;
        let result = store.restore(lanes.len(), &mut |shard, record, summary| {
            sorter.put(shard, record, summary, &mut send);
            given += 1;
            if given % RECORDS_PER_LOOK == 0 {
                for chunk in back.try_iter() {
                    sorter.take_back(chunk);
                }
            }
            if given % RECORDS_PER_WORD == 0 {
                progress(RecoveryProgress {
                    doing: DOING,
                    percent: percent(given, recovery.records),
                });
            }
        });
        sorter.finish(&mut send);
        drop(lanes);
        // This thread has made the chunks: if it lets go of them, their memory is free at once.
        back.into_iter().for_each(drop);
        progress(RecoveryProgress {
            doing: DOING,
            percent: 100,
        });
        result
        // One that panics takes this thread with it.
    })
}

fn restore(seat: &mut Seat, chunks: &Receiver<Chunk>, give_back: &Sender<Chunk>) {
    for chunk in chunks {
        chunk.each(&mut |record, summary| seat.shard.restore(record, summary));
        let _ = give_back.send(chunk);
    }
}

fn percent(done: u64, total: u64) -> u8 {
    let done = done.min(total).saturating_mul(100);
    u8::try_from(done / total.max(1)).unwrap_or(100)
}

const DOING: &str = "sessions and messages";
/// Of each slot so much is put together: several records for each of thousands of sessions. 64 MiB for all of them.
const CHUNK_BYTES: usize = 256 << 10;
/// A shard may be so far behind.
const CHUNKS_AHEAD: usize = 32;
const RECORDS_PER_LOOK: u64 = 1 << 10;
const RECORDS_PER_WORD: u64 = 1 << 16;
