//! Which connections of a shard have something to do.
//!
//! One task serves all connections of a shard. What the runtime wakes is not a task for each, but a *signal*: it
//! puts the connection's name on this list and wakes the one task. A signal is 32 bytes where a task is 256, and
//! the shard's turn through its ready connections is a plain loop.
//!
//! The lock is taken once per wake of a connection (a readiness event, never a message), practically always by the
//! shard's own thread; it is there because the runtime's wakers must be `Sync`.

use std::mem;
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

use martlet_engine::ConnId;
use parking_lot::Mutex;

/// The list of one shard.
#[derive(Debug, Default)]
pub(super) struct Ready {
    list: Mutex<Vec<ConnId>>,
    task: OnceLock<Waker>,
}

impl Ready {
    /// The signal of a connection, to be given to whatever it waits for.
    pub(super) fn signal(self: &Arc<Self>, id: ConnId) -> Waker {
        Waker::from(Arc::new(Signal {
            id,
            ready: Arc::clone(self),
        }))
    }

    /// Says which task serves the list; that task looks at the list after it has said so.
    pub(super) fn serve_by(&self, task: &Waker) {
        // The waker of a task is the same for its whole life.
        if self.task.get().is_none() {
            let _ = self.task.set(task.clone());
        }
    }

    /// Lets the task run, though perhaps no connection is ready.
    pub(super) fn wake_task(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// Takes the list, for an empty one.
    pub(super) fn take(&self, empty: &mut Vec<ConnId>) {
        debug_assert!(empty.is_empty(), "only its memory is used");
        mem::swap(&mut *self.list.lock(), empty);
    }

    fn push(&self, id: ConnId) {
        let first = {
            let mut list = self.list.lock();
            list.push(id);
            list.len() == 1
        };
        if first {
            self.wake_task();
        }
    }
}

/// Puts one connection on the list.
struct Signal {
    id: ConnId,
    ready: Arc<Ready>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.id);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.push(self.id);
    }
}
