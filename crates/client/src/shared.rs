//! What handles, futures and the driver share: the machine, and who waits for it.
//!
//! One short lock, never held across an await: every method of the machine finishes by itself. What
//! has to be woken is woken after the lock is gone. So is what waits for others: the state is shown by the driver alone, without
//! the lock, because an application that looks at it holds up whoever wants to change it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::error::Public;
use crate::machine::{Event, Machine, OpId, Outcome, StreamId, Time};
use crate::ops::Ops;
use crate::outbox::FileStore;
use crate::request::Replies;
use crate::state::State;

/// See the module's documentation.
pub(crate) struct Shared {
    core: Mutex<Core>,
    state: watch::Sender<State>,
    /// Whether the driver has ended: the last bytes are written, or cannot be.
    ended: watch::Sender<bool>,
    /// Told when a queue that was full has room.
    pub(crate) room: Notify,
    /// Who waits for the answer to a request.
    pub(crate) replies: Replies,
    /// When the machine's clock started.
    start: Instant,
    #[cfg(feature = "metrics")]
    meters: crate::meters::Meters,
}

/// What the lock guards.
pub(crate) struct Core {
    pub(crate) machine: Machine,
    pub(crate) ops: Ops,
    /// Who waits for a message of a stream, by the stream's index.
    readers: Vec<Option<Waker>>,
    driver: Option<Waker>,
    /// When the driver will wake by itself.
    pub(crate) armed: Option<Time>,
    /// What the driver has to do, in this order.
    pub(crate) actions: Vec<Action>,
    /// The outbox's file, if it has one.
    pub(crate) store: Option<Arc<FileStore>>,
    /// The driver has to show a new state.
    state_changed: bool,
    #[cfg(feature = "metrics")]
    told: crate::meters::Told,
}

/// What the machine wants of the driver besides reading and writing.
#[derive(Debug)]
pub(crate) enum Action {
    Open,
    Close(Vec<u8>),
}

/// Whom to tell when the lock is gone.
#[derive(Default)]
struct Wakes {
    wakers: Vec<Waker>,
    room: bool,
    closed: bool,
    store: Option<Arc<FileStore>>,
    #[cfg(feature = "metrics")]
    change: Option<crate::meters::Change>,
    #[cfg(feature = "metrics")]
    round_trips: Vec<std::time::Duration>,
}

impl Shared {
    pub(crate) fn new(machine: Machine, store: Option<Arc<FileStore>>) -> Self {
        let start = Instant::now();
        let (state, _) = watch::channel(machine.state(Time::default()));
        let core = Core {
            machine,
            ops: Ops::default(),
            readers: Vec::new(),
            driver: None,
            armed: None,
            actions: Vec::new(),
            store,
            state_changed: false,
            #[cfg(feature = "metrics")]
            told: crate::meters::Told::default(),
        };
        Self {
            core: Mutex::new(core),
            state,
            ended: watch::Sender::new(false),
            room: Notify::new(),
            replies: Replies::default(),
            start,
            #[cfg(feature = "metrics")]
            meters: crate::meters::Meters::new(),
        }
    }

    /// The driver has ended.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits until the driver has ended.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as we do.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Does something with the machine, then tells everybody whom it concerns.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Core, Time) -> R) -> R {
        let now = self.now();
        let mut wakes = Wakes::default();
        let result = {
            let mut core = self.core.lock();
            let result = act(&mut core, now);
            core.dispatch(&mut wakes);
            core.wake_driver(&mut wakes);
            result
        };
        self.wake(wakes);
        result
    }

    /// As [`with`](Self::with), for the driver: it looks at output and actions by itself, and shows the state.
    pub(crate) fn drive<R>(&self, act: impl FnOnce(&mut Core, Time) -> R) -> R {
        let now = self.now();
        let mut wakes = Wakes::default();
        let (result, state) = {
            let mut core = self.core.lock();
            let result = act(&mut core, now);
            core.dispatch(&mut wakes);
            let changed = std::mem::take(&mut core.state_changed);
            (result, changed.then(|| core.machine.state(now)))
        };
        if let Some(state) = state {
            log(&state);
            // Before anybody is told of an operation that changed it.
            self.state.send_replace(state);
        }
        self.wake(wakes);
        result
    }

    pub(crate) fn now(&self) -> Time {
        let micros = Instant::now()
            .saturating_duration_since(self.start)
            .as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant_of(&self, time: Time) -> Instant {
        let since = time.since(Time::default());
        self.start.checked_add(since).unwrap_or_else(|| {
            // A hundred years are as good as for ever.
            self.start + std::time::Duration::from_secs(100 * 366 * 86_400)
        })
    }

    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Polls an operation. `None`: somebody has taken its outcome.
    pub(crate) fn poll_op(&self, op: OpId, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        self.core.lock().ops.poll(op, cx)
    }

    /// Waits for an operation. Dropping the future ends the operation's slot.
    pub(crate) async fn wait(&self, op: OpId) -> Option<Outcome> {
        let _guard = OpGuard { shared: self, op };
        std::future::poll_fn(|cx| self.poll_op(op, cx)).await
    }

    fn wake(&self, wakes: Wakes) {
        #[cfg(feature = "metrics")]
        self.meters.tell(wakes.change.as_ref(), &wakes.round_trips);
        for waker in wakes.wakers {
            waker.wake();
        }
        if wakes.closed {
            self.room.notify_waiters();
        }
        if wakes.room {
            self.room.notify_one();
        }
    }
}

impl Core {
    /// A stream's next reader. True: there is something for it already.
    pub(crate) fn register_reader(&mut self, id: StreamId, waker: &Waker) {
        if self.readers.len() <= id.index() {
            self.readers.resize_with(id.index() + 1, || None);
        }
        if let Some(slot) = self.readers.get_mut(id.index()) {
            *slot = Some(waker.clone());
        }
    }

    pub(crate) fn forget_reader(&mut self, id: StreamId) {
        if let Some(slot) = self.readers.get_mut(id.index()) {
            *slot = None;
        }
    }

    pub(crate) fn register_driver(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(driver) => driver.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn dispatch(&mut self, wakes: &mut Wakes) {
        #[cfg(feature = "metrics")]
        {
            wakes.change = self.told.follow(&self.machine);
        }
        if !self.machine.has_events() {
            return;
        }
        let mut events = self.machine.take_events();
        for event in events.drain(..) {
            match event {
                Event::Completed(op, outcome) => {
                    #[cfg(feature = "metrics")]
                    if let Outcome::Published(receipt) = &outcome {
                        wakes.round_trips.push(receipt.rtt);
                    }
                    wakes.wakers.extend(self.ops.finish(op, outcome));
                }
                Event::Ready(id) => {
                    let reader = self.readers.get_mut(id.index());
                    wakes.wakers.extend(reader.and_then(Option::take));
                }
                Event::Open => self.actions.push(Action::Open),
                Event::Close { farewell } => self.actions.push(Action::Close(farewell)),
                Event::StateChanged => self.state_changed = true,
                Event::Room => wakes.room = true,
                Event::Store(op) => {
                    if self.store.as_ref().is_some_and(|store| store.append(&op)) {
                        self.machine.set_storage_busy(true);
                    }
                }
            }
        }
        if self.machine.is_closed() {
            wakes.closed = true;
            // Another client may want it.
            wakes.store = self.store.take();
        }
        self.machine.recycle_events(events);
    }

    /// Wakes the driver if there is something for it that it does not know of.
    fn wake_driver(&mut self, wakes: &mut Wakes) {
        if self.driver.is_none() {
            return;
        }
        let sooner = || match (self.machine.next_deadline(), self.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let work = self.machine.has_output() || !self.actions.is_empty() || self.state_changed;
        if work || sooner() {
            wakes.wakers.extend(self.driver.take());
        }
    }
}

/// Frees the slot of an operation whose future goes away.
struct OpGuard<'a> {
    shared: &'a Shared,
    op: OpId,
}

impl Drop for OpGuard<'_> {
    fn drop(&mut self) {
        self.shared.with(|core, _| {
            core.machine.forget(self.op);
            core.ops.end(self.op);
        });
    }
}

/// One line per change at most, and nothing in it that is anybody's business.
fn log(state: &State) {
    match state {
        State::Connecting {
            attempt,
            next_try: Some(wait),
            last_error,
        } => {
            let error = last_error.as_ref().map(Public).map(tracing::field::display);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(attempt, wait_ms, error, "not connected; trying again");
        }
        State::Connecting { attempt, .. } => tracing::debug!(attempt, "connecting"),
        State::Connected {
            session_present, ..
        } => tracing::info!(session_present, "connected"),
        State::Closed { last_error } => {
            let error = last_error.as_ref().map(Public).map(tracing::field::display);
            tracing::info!(error, "closed");
        }
    }
}

#[cfg(feature = "metrics")]
impl Drop for Shared {
    fn drop(&mut self) {
        let change = self.core.get_mut().told.end();
        self.meters.tell(Some(&change), &[]);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
