//! The reading thread: bodies that are not in memory any more come back through it, so that no commit waits for a read.
//!
//! ```text
//! shard ── want_bodies ──▶ store's thread: where is it? ──▶ this thread ── bring ──▶ shard
//!                                    ▲                           │
//!                                    └── moved in the meantime ──┘
//! ```

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use martlet_engine::{FetchedBody, StoreConfig};
use martlet_store::{BodyPlace, BodyReader, RealDisk};

use super::line::{StoreLine, Wanted};
use crate::bomb::EndProcessOnPanic;

/// The running thread.
#[derive(Debug)]
pub(super) struct Reader {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Bodies for a shard.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) shard: usize,
    pub(super) places: Vec<BodyPlace>,
    /// How often they were not where they had been a moment before.
    pub(super) misses: u32,
}

impl Reader {
    /// Starts it. `place` is what a failure calls the store.
    pub(super) fn start(
        reader: BodyReader<RealDisk>,
        line: Arc<StoreLine>,
        config: StoreConfig,
        place: String,
    ) -> io::Result<Self> {
        let (sender, jobs) = channel();
        let mut work = Work {
            reader,
            line,
            config,
            place,
        };
        let thread = thread::Builder::new()
            .name("martlet-reader".to_owned())
            .spawn(move || {
                // Who waits for a body would wait for ever.
                EndProcessOnPanic::around("the reading thread", || work.run(&jobs));
            })?;
        Ok(Self {
            jobs: Some(sender),
            thread: Some(thread),
        })
    }

    /// Has something read.
    pub(super) fn read(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It ends only when this end does.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    reader: BodyReader<RealDisk>,
    line: Arc<StoreLine>,
    config: StoreConfig,
    place: String,
}

impl Work {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(mut job) = jobs.recv() {
            loop {
                self.read(&mut job);
                match jobs.try_recv() {
                    Ok(next) => job = next,
                    Err(_) => break,
                }
            }
            self.reader.rest();
        }
    }

    fn read(&mut self, job: &mut Job) {
        let mut bodies = Vec::with_capacity(job.places.len());
        let mut again = Vec::new();
        let (config, misses, place) = (self.config, job.misses, &self.place);
        self.reader.read(&mut job.places, &mut |at, found| {
            let body = at.body();
            if found.is_none() && misses < MISSES_MAX {
                again.push(body);
                return;
            }
            if found.is_none() {
                tracing::error!(
                    "{place}: message body {} cannot be read back; check the disk (dmesg). Whoever has it queued \
                     does not get it",
                    body.as_u64()
                );
            }
            let message = found.map(|found| config.message_of(found));
            bodies.push(FetchedBody { body, message });
        });
        if !bodies.is_empty() {
            self.line.bring(job.shard, bodies);
        }
        if !again.is_empty() {
            self.line.want(Wanted {
                shard: job.shard,
                bodies: again,
                misses: misses + 1,
            });
        }
    }
}

/// Cleaning moves a body once in a long while: who misses one so often does not miss it because of that.
const MISSES_MAX: u32 = 3;
