//! Queues that survive the process.
//!
//! ```text
//!  machine ──Event::Store──▶ FileStore ──pending──▶ writer thread ──write, sync──▶ outbox.log
//!                               ▲                        │
//!                               └── durable up to n ◀────┘   (Publish::stored waits for this)
//! ```
//! Map: `record` is the format, `log` the file, `writer` the thread that owns it.

mod log;
mod record;
mod writer;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind};
use crate::machine::StoreOp;
use crate::options::Outbox;
use log::Log;
use record::Restored;

pub(crate) use record::Restored as RestoredMessage;

impl Outbox {
    /// In a directory on disk: messages at QoS 1 and 2 that were admitted and not delivered are there
    /// again after the process, however it ended. Bounds and policies are those of
    /// [`Outbox::memory`] unless set.
    ///
    /// [`Publish::stored`](crate::Publish::stored) waits until a message is on disk. Up to then it is as safe as in memory;
    /// from then on it is delivered at least once, also at QoS 2 if the process died in the middle
    /// of the handshake. Expiry goes by the wall clock across restarts.
    ///
    /// The directory is made if need be. One client at a time can use it: it is locked until the client, and
    /// all clones of this value, are gone.
    pub fn file(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = directory.as_ref();
        let (log, restored) = Log::open(directory).map_err(|cause| Error {
            detail: Some(directory.display().to_string().into()),
            ..Error::from_io(ErrorKind::Storage, cause)
        })?;
        let store = FileStore::new(log, restored)
            .map_err(|cause| Error::from_io(ErrorKind::Storage, cause))?;
        Ok(Self {
            file: Some(Arc::new(store)),
            ..Self::memory()
        })
    }
}

/// A log on disk and the thread that writes it.
pub(crate) struct FileStore {
    shared: Arc<writer::Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    restored: Mutex<Vec<Restored>>,
}

/// How far the log is on disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    /// All messages up to this number are.
    pub(crate) up_to: u64,
    /// The disk has failed: nothing more will be.
    pub(crate) error: Option<Arc<io::Error>>,
}

impl FileStore {
    fn new(log: Log, restored: Vec<Restored>) -> io::Result<Self> {
        let shared = Arc::new(writer::Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("martlet-outbox".into())
            .spawn(move || writer::run(log, &of_thread))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
            restored: Mutex::new(restored),
        })
    }

    /// What the process before has left, oldest first; once.
    pub(crate) fn take_restored(&self) -> Vec<Restored> {
        std::mem::take(&mut self.restored.lock())
    }

    /// Calls this when the writer has caught up, or has failed.
    pub(crate) fn on_progress(&self, call: impl Fn(bool) + Send + Sync + 'static) {
        *self.shared.progress.lock() = Some(Box::new(call));
    }

    /// Appends to what the writer will write. True: so much waits that nothing more should be
    /// admitted before the writer has caught up.
    pub(crate) fn append(&self, op: &StoreOp) -> bool {
        let mut pending = self.shared.pending.lock();
        pending.append(op);
        let busy = pending.is_busy();
        drop(pending);
        self.shared.wake.notify_one();
        busy
    }

    pub(crate) fn durable(&self) -> watch::Receiver<Durable> {
        self.shared.durable.subscribe()
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.shared.pending.lock().end = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().take();
        let own = thread
            .as_ref()
            .is_some_and(|thread| thread.thread().id() == std::thread::current().id());
        // The last handle may be dropped by the writer itself, which calls back.
        if let Some(thread) = thread.filter(|_| !own) {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").finish_non_exhaustive()
    }
}
