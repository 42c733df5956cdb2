//! The thread that writes the log: one write and one sync for all that has come together meanwhile.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::Durable;
use super::log::Log;
use super::record::write;
use crate::machine::StoreOp;

pub(super) type OnProgress = Box<dyn Fn(bool) + Send + Sync>;

/// What the thread and the clients of the store share.
pub(super) struct Shared {
    pub(super) pending: Mutex<Pending>,
    pub(super) wake: Condvar,
    pub(super) durable: watch::Sender<Durable>,
    /// Told when the writer has caught up (true) or has failed (false).
    pub(super) progress: Mutex<Option<OnProgress>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            wake: Condvar::new(),
            durable: watch::channel(Durable::default()).0,
            progress: Mutex::new(None),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Records that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// Number, offset and length of each message in `bytes`.
    messages: Vec<(u64, usize, usize)>,
    done: Vec<u64>,
    /// Somebody was told to wait until this is written.
    was_busy: bool,
    /// Nothing more will come.
    pub(super) end: bool,
}

impl Pending {
    pub(super) fn append(&mut self, op: &StoreOp) {
        let start = self.bytes.len();
        write(op, &mut self.bytes);
        match op {
            StoreOp::Put { number, .. } => {
                self.messages
                    .push((*number, start, self.bytes.len() - start));
            }
            StoreOp::Done { number } => self.done.push(*number),
        }
    }

    pub(super) fn is_busy(&mut self) -> bool {
        self.was_busy = self.bytes.len() > PENDING_MAX;
        self.was_busy
    }
}

/// Writes until the store is dropped, or the disk fails.
pub(super) fn run(mut log: Log, shared: &Arc<Shared>) {
    loop {
        let (batch, end) = {
            let mut pending = shared.pending.lock();
            while pending.bytes.is_empty() && !pending.end {
                shared.wake.wait(&mut pending);
            }
            let end = pending.end;
            (std::mem::take(&mut *pending), end)
        };
        // What is done with may be forgotten in a crash; it is then sent again.
        let sync = !batch.messages.is_empty();
        let written = log.append(&batch.bytes, &batch.messages, &batch.done, sync);
        let failed = written.is_err();
        report(written, &batch, shared);
        if failed || end {
            return;
        }
    }
}

fn report(written: io::Result<()>, batch: &Pending, shared: &Shared) {
    let well = written.is_ok();
    match written {
        Ok(()) => {
            if let Some((number, ..)) = batch.messages.last() {
                shared
                    .durable
                    .send_modify(|durable| durable.up_to = *number);
            }
        }
        Err(error) => {
            tracing::error!(%error, "the outbox cannot be written; nothing more is stored");
            let error = Some(Arc::new(error));
            shared.durable.send_modify(|durable| durable.error = error);
        }
    }
    if (batch.was_busy || !well)
        && let Some(call) = &*shared.progress.lock()
    {
        call(well);
    }
}

/// More unwritten bytes than this, and nothing more is admitted.
const PENDING_MAX: usize = 4 << 20;
