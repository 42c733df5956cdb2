//! The client as a pure state machine: no socket, no clock, no randomness of its own.
//!
//! ```text
//!   application ──publish, subscribe, recv, ack, flush, close──▶ ┌─────────┐ ──bytes to write────▶ driver
//!   driver ──bytes, written, opened, failed, timer────────────▶ │ Machine │ ──Event: open, close─▶ driver
//!                                                               └─────────┘ ──Event: completed──▶ application
//!
//!              start            opened           CONNACK 0
//!   Idle ───────────▶ Opening ────────▶ Handshake ────────▶ Online ──close──▶ Closed
//!                        ▲  └─failed──┐     │refused, lost     │lost
//!                        └──timer── Waiting ◀──────────────────┘
//! ```
//! Every input is a method that takes `now` and is finished when it returns; what is to be done
//! outside collects in [`Machine::take_events`], what is to be written in [`Machine::take_output`].
//!
//! Map: `connecting` makes and loses connections, `sending` queues and sends messages, `resending` does it again, `answering`
//! takes their acknowledgements, `receiving` reads packets, `routing` finds the streams of a message, `subscribing` keeps the
//! server's subscriptions as the streams want them, `inherited` frees the identifiers of a process before, `closing` flushes and
//! ends, `timing` knows when to call again. The others are the data structures, and `wire` the encoders.

mod answering;
mod backoff;
mod closing;
mod config;
mod connecting;
mod epochs;
mod fingerprint;
mod inherited;
mod queue;
mod receiving;
mod resending;
mod routing;
mod sending;
mod stream;
mod subscribing;
mod subscriptions;
mod timing;
mod unacked;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use martlet_codec::{PacketId, ReasonCode, Version};
use martlet_session::{Inbound, InboundAliases, Outbound, OutboundAliases};

use crate::error::{Delivered, Error, ErrorKind, Receipt, Unfinished};
use crate::message::Message;
use crate::state::{Limits, State, Stats};

pub use config::{Config, Credentials};
pub(crate) use receiving::message_from;
pub use sending::Refusal;
pub use stream::{Granted, StreamId, StreamOptions};
pub use unacked::AckId;
pub(crate) use wire::{Scratch, Sending as SendingAs, publish as write_publish};

use backoff::Backoff;
use epochs::Epochs;
use queue::{Outgoing, Queue};
use routing::Routes;
use stream::Streams;
use subscriptions::Subscriptions;
use unacked::Unacked;

/// A moment on the caller's monotonic clock, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment this many microseconds after the clock's start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the clock's start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment so much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long ago `earlier` was; nothing if it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The caller's name for something that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Something to be done outside the machine.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Open a transport; answer with [`Machine::on_opened`] or [`Machine::on_failed`].
    Open,
    /// Write these bytes, best effort, behind what was taken from [`Machine::take_output`], and close the
    /// transport, or stop opening it. No answer is expected.
    Close {
        /// What is still to be written: DISCONNECT, mostly.
        farewell: Vec<u8>,
    },
    /// What somebody waits for has come.
    Completed(OpId, Outcome),
    /// A stream that was empty has a message, or has ended.
    Ready(StreamId),
    /// [`Machine::state`] has changed.
    StateChanged,
    /// The queue that was full has room.
    Room,
    /// To be recorded, in this order, if the outbox is a file.
    Store(StoreOp),
}

/// A record of an outbox that survives the process.
#[derive(Debug)]
pub enum StoreOp {
    /// A message was admitted.
    Put {
        /// Its number; numbers rise.
        number: u64,
        /// The message.
        message: Message,
        /// How long it is of use.
        expires_in: Option<Duration>,
    },
    /// A message is done with.
    Done {
        /// Its number.
        number: u64,
    },
}

/// How an operation ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The first connection stands.
    Connected,
    /// The first connection failed, and it was not to be tried again.
    ConnectFailed(Error),
    /// The message was published.
    Published(Receipt),
    /// It was not.
    PublishFailed(Box<Failure>),
    /// The server has answered SUBSCRIBE; at least one filter was granted.
    Subscribed(Vec<Granted>),
    /// No filter was granted, or something else went wrong.
    SubscribeFailed(Error),
    /// The server has answered UNSUBSCRIBE, or there is nothing to unsubscribe from.
    Unsubscribed(Result<(), Error>),
    /// All messages admitted before the flush are done with.
    Flushed,
    /// The client is closed.
    Closed(Result<(), Unfinished>),
}

/// Why a message was not published.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Whether the server can have it all the same.
    pub delivered: Delivered,
    /// What there is to say about it.
    pub reason: Option<String>,
    /// The message; `None` if it was given up when the server took it over (QoS 2).
    pub message: Option<Message>,
}

/// A client. See the [module's documentation](self).
#[derive(Debug)]
pub struct Machine {
    config: Config,
    phase: Phase,
    /// What lives as long as one connection.
    link: Link,
    /// Messages at QoS 1 and 2 on their way out, and the identifiers of requests.
    outbound: Outbound<Outgoing>,
    /// How many of them are at QoS 2.
    outbound_qos2: usize,
    /// QoS 2 messages between PUBREC and PUBCOMP.
    releasing: VecDeque<Releasing>,
    /// What a process before has left in the session, if it was another's.
    inherited: Option<inherited::Inherited>,
    inbound: Inbound<fingerprint::Fingerprint>,
    unacked: Unacked,
    queue: Queue,
    epochs: Epochs,
    streams: Streams,
    subscriptions: Subscriptions,
    routes: Routes,
    backoff: Backoff,
    closing: Option<closing::Closing>,
    /// Bytes to write on the current connection.
    out: Vec<u8>,
    events: Vec<Event>,
    stats: Stats,
    last_error: Option<Error>,
    /// Whether there was a connection, so that the server may hold a session of ours.
    was_online: bool,
    /// How many CONNECTs have had no answer since the last CONNACK: the server may have begun a session that we know nothing of.
    unanswered: u32,
    /// The identifier that the server gave us, if it did.
    assigned_client_id: Option<String>,
    /// An old session of ours is cleared, as 3.1.1 needs it: by a connection with Clean Session 1.
    cleared: bool,
    /// Who waits for the first connection.
    connecting: Option<OpId>,
    /// Somebody was told that the queue is full.
    room_wanted: bool,
    /// The number of the last message that was stored.
    last_stored: u64,
    storage: Storage,
    scratch: Scratch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Waiting { until: Time },
    Opening { deadline: Option<Time> },
    Handshake { deadline: Option<Time> },
    Online,
    Closed,
}

/// How the file of the outbox does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    /// Well, or there is none.
    Ready,
    /// So much is to be written that nothing more should come.
    Busy,
    /// The disk has failed.
    Failed,
}

/// The state of one connection.
#[derive(Debug)]
struct Link {
    limits: Limits,
    session_present: bool,
    /// The session that is present may be another one than ours: it has nothing of what ours had.
    doubtful: bool,
    online_since: Time,
    /// 0: none.
    keep_alive: Duration,
    last_sent: Time,
    last_received: Time,
    ping_sent: Option<Time>,
    aliases_in: InboundAliases,
    aliases_out: OutboundAliases,
    /// Bytes taken from `out` on this connection, and how many of them are written.
    taken: u64,
    written: u64,
    /// QoS 0 messages whose last byte is not written yet, with the place of that byte.
    unwritten: VecDeque<(u64, Outgoing)>,
    /// How many bytes the next packet needs before it can be decoded.
    needed: usize,
}

/// A QoS 2 message that the server has taken over.
#[derive(Debug)]
struct Releasing {
    id: PacketId,
    op: Option<OpId>,
    epoch: u64,
    reason: ReasonCode,
    admitted: Time,
    sent: Time,
    resent: bool,
    stored: Option<u64>,
}

impl Machine {
    /// A client that does nothing yet. `seed` decides how long it waits between attempts.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            link: Link::none(&config),
            queue: Queue::new(&config.outbox),
            backoff: Backoff::new(config.reconnect, seed),
            phase: Phase::Idle,
            outbound: Outbound::default(),
            outbound_qos2: 0,
            releasing: VecDeque::new(),
            inherited: None,
            inbound: Inbound::default(),
            unacked: Unacked::default(),
            epochs: Epochs::default(),
            streams: Streams::default(),
            subscriptions: Subscriptions::default(),
            routes: Routes::default(),
            closing: None,
            out: Vec::new(),
            events: Vec::new(),
            stats: Stats::default(),
            last_error: None,
            was_online: false,
            unanswered: 0,
            assigned_client_id: None,
            cleared: false,
            connecting: None,
            room_wanted: false,
            last_stored: 0,
            storage: Storage::Ready,
            scratch: Scratch::default(),
            config,
        }
    }

    /// What has to be done outside, in this order. The list that comes back can be given to
    /// [`Machine::recycle_events`].
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether [`Machine::take_events`] has anything.
    #[must_use]
    pub const fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes an emptied list back, to save its memory.
    pub fn recycle_events(&mut self, mut events: Vec<Event>) {
        if self.events.is_empty() {
            events.clear();
            self.events = events;
        }
    }

    /// Moves the bytes to be written to the transport into `buffer`, behind what is there. Report
    /// with [`Machine::on_written`] what the transport has accepted of them.
    pub fn take_output(&mut self, buffer: &mut Vec<u8>) {
        self.link.taken += self.out.len() as u64;
        if buffer.is_empty() {
            std::mem::swap(&mut self.out, buffer);
        } else {
            buffer.append(&mut self.out);
        }
    }

    /// Whether there is anything to write.
    #[must_use]
    pub const fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// How many bytes have to be there, from the start of the current packet, before
    /// [`Machine::on_bytes`] can get further.
    #[must_use]
    pub const fn needed(&self) -> usize {
        self.link.needed
    }

    /// What to tell those who ask for the state.
    #[must_use]
    pub fn state(&self, now: Time) -> State {
        match self.phase {
            Phase::Idle | Phase::Opening { .. } | Phase::Handshake { .. } => State::Connecting {
                attempt: self.backoff.attempt(),
                next_try: None,
                last_error: self.last_error.clone(),
            },
            Phase::Waiting { until } => State::Connecting {
                attempt: self.backoff.attempt(),
                next_try: Some(until.since(now)),
                last_error: self.last_error.clone(),
            },
            Phase::Online => State::Connected {
                session_present: self.link.session_present,
                limits: self.link.limits.clone(),
            },
            Phase::Closed => State::Closed {
                last_error: self.last_error.clone(),
            },
        }
    }

    /// Counters and sizes at this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            queued: self.queue.len(),
            queued_bytes: self.queue.bytes(),
            in_flight: self.outbound.open_count() + self.link.unwritten.len(),
            unacknowledged: self.unacked.len(),
            held: self.streams.held_count(),
            ..self.stats
        }
    }

    /// The version of the protocol.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.config.version
    }

    /// Whether the client is closed for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// An answer has come that nobody waits for.
    pub fn count_late_reply(&mut self) {
        self.stats.late_replies += 1;
    }

    pub(crate) fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    fn push_event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn complete(&mut self, op: Option<OpId>, outcome: Outcome) {
        if let Some(op) = op {
            self.events.push(Event::Completed(op, outcome));
        }
    }

    /// The message is done with, well or badly.
    fn finish_epoch(&mut self, epoch: u64) {
        for op in self.epochs.finish(epoch) {
            self.events.push(Event::Completed(op, Outcome::Flushed));
        }
        self.close_if_drained();
    }

    /// A message of a file outbox need not be kept any longer.
    fn unstore(&mut self, stored: Option<u64>) {
        if let Some(number) = stored {
            self.push_event(Event::Store(StoreOp::Done { number }));
        }
    }

    fn fail(&mut self, outgoing: Outgoing, kind: ErrorKind, delivered: Delivered) {
        self.fail_with(outgoing, kind, delivered, None);
    }

    fn fail_with(
        &mut self,
        outgoing: Outgoing,
        kind: ErrorKind,
        delivered: Delivered,
        reason: Option<String>,
    ) {
        self.stats.failed += 1;
        // At the end of the client what is not delivered stays for the next one.
        self.unstore(outgoing.stored.filter(|_| kind != ErrorKind::Closed));
        let epoch = outgoing.epoch;
        if let Some(op) = outgoing.op {
            let failure = Failure {
                kind,
                delivered,
                reason,
                message: Some(outgoing.message),
            };
            self.complete(Some(op), Outcome::PublishFailed(Box::new(failure)));
        }
        self.finish_epoch(epoch);
    }
}

impl Link {
    fn none(config: &Config) -> Self {
        Self {
            limits: Limits::default(),
            session_present: false,
            doubtful: false,
            online_since: Time::default(),
            keep_alive: Duration::from_secs(config.keep_alive_s.into()),
            last_sent: Time::default(),
            last_received: Time::default(),
            ping_sent: None,
            aliases_in: InboundAliases::new(0),
            aliases_out: OutboundAliases::new(0),
            taken: 0,
            written: 0,
            unwritten: VecDeque::new(),
            needed: 2,
        }
    }
}
