//! The store's thread: takes what all shards have put up while it was busy, appends it, syncs once, tells the shards.
//!
//! That is the whole of group commit: no timer, one sync under way, and the longer a sync takes, the more share the next.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use martlet_engine::{BodyId, FetchedBody};
use martlet_store::{BodyPlace, Disk, Log, Maintenance, Store, StoreError};

use super::line::{Batch, StoreLine, Taken, Wanted};
use super::reader::{Job, Reader};
use crate::bomb::EndProcessOnPanic;

/// The running thread.
#[derive(Debug)]
pub(crate) struct Writer {
    line: Arc<StoreLine>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it. `place` is what a failure calls the store.
    pub(super) fn start(
        store: Box<dyn Closing>,
        reader: Option<Reader>,
        line: Arc<StoreLine>,
        place: String,
    ) -> io::Result<Self> {
        let work = Work {
            store,
            reader,
            line: Arc::clone(&line),
            place,
            maintenance_in: Some(Duration::ZERO),
            full: false,
            stuck: false,
            unplaced: Vec::new(),
        };
        let thread = thread::Builder::new()
            .name("martlet-store".to_owned())
            .spawn(move || EndProcessOnPanic::around("the store's thread", || work.run()))?;
        Ok(Self {
            line,
            thread: Some(thread),
        })
    }

    /// Waits until everything that the shards have put up is stable, and ends the thread. The store is closed then.
    pub(crate) fn stop(&mut self) {
        self.line.end();
        if let Some(thread) = self.thread.take() {
            // A panic in there ends the process.
            let _ = thread.join();
        }
    }
}

/// A store that knows when it is used for the last time.
pub(super) trait Closing: Store {
    /// Where a body is.
    fn place_of(&mut self, body: BodyId) -> Result<Option<BodyPlace>, StoreError>;

    /// Whether that takes a write.
    fn is_unwritten(&self, body: BodyId) -> bool;

    /// Everything is in it; nothing comes any more.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

impl<D: Disk> Closing for Log<D> {
    fn place_of(&mut self, body: BodyId) -> Result<Option<BodyPlace>, StoreError> {
        Self::place_of(self, body)
    }

    fn is_unwritten(&self, body: BodyId) -> bool {
        Self::is_unwritten(self, body)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Self::close(*self).map(drop)
    }
}

/// What the thread owns.
struct Work {
    store: Box<dyn Closing>,
    reader: Option<Reader>,
    line: Arc<StoreLine>,
    place: String,
    /// The store has something to do when nothing has come for so long.
    maintenance_in: Option<Duration>,
    /// The shards have been told that it is full, or will be soon.
    full: bool,
    /// Something waits to be appended or synced because it is.
    stuck: bool,
    /// Bodies that cannot be read before there is room.
    unplaced: Vec<Wanted>,
}

impl Work {
    fn run(mut self) {
        let mut empty = Vec::new();
        loop {
            let taken = self.line.take(std::mem::take(&mut empty), self.patience());
            let maintains = self.is_time_to_maintain(&taken);
            let mut batches = taken.batches;
            if batches.is_empty() && taken.ending {
                if let Err(error) = self.store.close() {
                    // What was acknowledged is stable all the same.
                    tracing::error!("{}: closing: {error}", self.place);
                }
                return;
            }
            let done = self.store_all(&mut batches);
            let done = done.and_then(|()| self.look_for_all(taken.wanted));
            let done = done.and_then(|()| if maintains { self.maintain() } else { Ok(()) });
            if let Err(error) = done {
                self.fail(&error);
                return;
            }
            empty = batches;
        }
    }

    /// While a stream of batches comes, maintenance has its share of the time: one short piece for each sync. Without it
    /// the space would only be given back in quiet hours. What can wait for those does, though bodies are asked for.
    fn is_time_to_maintain(&self, taken: &Taken) -> bool {
        let is_quiet = taken.batches.is_empty() && taken.wanted.is_empty();
        let is_due = !taken.batches.is_empty() || self.maintenance_in == Some(Duration::ZERO);
        !taken.ending && (is_quiet || is_due)
    }

    /// How long there is nothing to do but for what comes; `None`: for ever.
    fn patience(&self) -> Option<Duration> {
        let room_in = (self.full || !self.unplaced.is_empty()).then_some(ROOM_POLL);
        self.maintenance_in.into_iter().chain(room_in).min()
    }

    /// Appends all, syncs once, and tells the shards. What does not fit waits for room; nothing overtakes it.
    fn store_all(&mut self, batches: &mut Vec<Batch>) -> Result<(), StoreError> {
        while !batches.is_empty() {
            let mut count = 0;
            let mut full = None;
            for batch in &*batches {
                match self.store.append(&batch.bytes) {
                    Ok(()) => count += 1,
                    Err(StoreError::Full(because)) => {
                        full = Some(because);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            if count > 0 {
                self.sync()?;
                let left = batches.split_off(count);
                self.line.done(batches);
                *batches = left;
                self.stuck = false;
            }
            if let Some(because) = full {
                // A store that is full must not keep a broker from stopping. What is left was not acknowledged.
                if self.line.is_ending() {
                    let count = batches.len();
                    tracing::error!(
                        "{}: full until the end; {count} batches are lost",
                        self.place
                    );
                    batches.clear();
                    return Ok(());
                }
                self.wait_for_room(&because.to_string());
                // Cleaning may make the room.
                self.maintain()?;
            }
        }
        Ok(())
    }

    /// Has bodies read that shards want to have back, first those that had to wait. A disk that has refused a write is not
    /// asked for the next one in the same round: all would be the same write.
    fn look_for_all(&mut self, wanted: Vec<Wanted>) -> Result<(), StoreError> {
        let mut is_refused = false;
        let waiting = std::mem::take(&mut self.unplaced);
        for wanted in waiting.into_iter().chain(wanted) {
            self.look_for(wanted, &mut is_refused)?;
        }
        Ok(())
    }

    /// Here is only said where they are.
    fn look_for(&mut self, wanted: Wanted, is_refused: &mut bool) -> Result<(), StoreError> {
        let Wanted {
            shard,
            bodies,
            misses,
        } = wanted;
        let mut places = Vec::with_capacity(bodies.len());
        let mut gone = Vec::new();
        let mut unplaced = Vec::new();
        for body in bodies {
            if *is_refused && self.store.is_unwritten(body) {
                unplaced.push(body);
                continue;
            }
            match self.store.place_of(body) {
                Ok(Some(place)) => places.push(place),
                // Nothing refers to it any more: whoever wanted it has ended meanwhile.
                Ok(None) => gone.push(FetchedBody {
                    body,
                    message: None,
                }),
                // It is where cleaning has put it, which could not be written yet. Asked again at once, it would be the same.
                Err(StoreError::Full(_)) => {
                    *is_refused = true;
                    unplaced.push(body);
                }
                Err(error) => return Err(error),
            }
        }
        if !unplaced.is_empty() {
            self.unplaced.push(Wanted {
                shard,
                bodies: unplaced,
                misses,
            });
        }
        if !gone.is_empty() {
            self.line.bring(shard, gone);
        }
        if let Some(reader) = self.reader.as_ref().filter(|_| !places.is_empty()) {
            reader.read(Job {
                shard,
                places,
                misses,
            });
        }
        Ok(())
    }

    /// What was appended stays appended: while the disk is full, only the sync is tried again.
    fn sync(&mut self) -> Result<(), StoreError> {
        loop {
            match self.store.sync() {
                Err(StoreError::Full(because)) if !self.line.is_ending() => {
                    self.wait_for_room(&because.to_string());
                }
                result => return result,
            }
        }
    }

    fn wait_for_room(&mut self, because: &str) {
        self.stuck = true;
        self.set_full(true, because);
        thread::park_timeout(ROOM_POLL);
    }

    /// Says it once, and tells the shards.
    fn set_full(&mut self, full: bool, because: &str) {
        if self.full == full {
            return;
        }
        self.full = full;
        self.line.set_full(full);
        if full {
            tracing::error!(
                "{}: {because}; durable publishes are held or refused until there is room: free some space there, \
                 or give the broker another directory (--data-dir)",
                self.place
            );
        } else {
            tracing::warn!("{}: there is room again", self.place);
        }
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.maintenance_in = loop {
            match self.store.maintain() {
                // Full: nothing is lost by it; what has to be appended will find out for itself.
                Ok(Maintenance::Idle) | Err(StoreError::Full(_)) => break None,
                Ok(Maintenance::Busy) => break Some(Duration::ZERO),
                Ok(Maintenance::Later) => break Some(QUIET),
                // It wants no more of them than are to be asked for at once.
                Ok(Maintenance::WantsCheckpoint(slot)) => self.line.wish(slot),
                Err(error) => return Err(error),
            }
        };
        // Messages are refused as soon as there is no room for the next segment: what is left of the present one is for
        // the acknowledgements that end messages, without which there would never be room again.
        let full = self.stuck || self.store.is_short_of_room();
        self.set_full(full, "there is no room for more");
        Ok(())
    }

    /// Nothing is acknowledged from here on.
    fn fail(&self, error: &StoreError) {
        let of_the_disk = matches!(error, StoreError::Poisoned(_) | StoreError::Unreadable(_));
        let what_to_do = if of_the_disk {
            "check the disk (dmesg), then start the broker again: what was acknowledged before is on it"
        } else {
            "this is a fault of the broker: please report it"
        };
        self.line
            .fail(format!("{}: {error}; {what_to_do}", self.place));
    }
}

/// How often a full store is tried again.
const ROOM_POLL: Duration = Duration::from_millis(200);
/// What may become needless is done when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
