//! Settings that are more than a number.

use std::sync::Arc;
use std::time::Duration;

use crate::outbox::FileStore;

/// What the server keeps of us between connections. One setting for both versions of the protocol.
///
/// | | 3.1.1 | 5.0 |
/// |---|---|---|
/// | [`Session::clean`] | Clean Session 1, always | Clean Start 1, always; expiry 0 |
/// | [`Session::fresh`] | one short connection with Clean Session 1, then 0 | Clean Start 1 once, then 0; expiry as given |
/// | [`Session::persistent`] | Clean Session 0 | Clean Start 0; expiry as given |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub(crate) kind: SessionKind,
    pub(crate) expiry_s: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    Clean,
    Fresh,
    Persistent,
}

impl Session {
    /// Nothing: each connection starts anew. The library subscribes again and, by default, sends
    /// unacknowledged QoS 1 messages again as new ones.
    #[must_use]
    pub const fn clean() -> Self {
        Self {
            kind: SessionKind::Clean,
            expiry_s: 0,
        }
    }

    /// Begins with an empty session and resumes it after a lost connection: no message is lost or
    /// doubled by a reconnect, and nothing of earlier runs of the program is left. Needs a client
    /// identifier in 3.1.1, where a clean session cannot be resumed: so a first connection clears what there is, and
    /// the second one is for use.
    #[must_use]
    pub fn fresh(expiry: Duration) -> Self {
        Self {
            kind: SessionKind::Fresh,
            expiry_s: crate::message::seconds_up(expiry),
        }
    }

    /// Goes on where the client of this name was before, perhaps in an earlier run of the program.
    /// The server keeps the session for this long without a connection (3.1.1: as long as it likes).
    /// Needs a client identifier.
    #[must_use]
    pub fn persistent(expiry: Duration) -> Self {
        Self {
            kind: SessionKind::Persistent,
            expiry_s: crate::message::seconds_up(expiry),
        }
    }
}

/// How long to wait before the next attempt to connect.
///
/// Each wait is random between nothing and a limit ("full jitter"), so that clients that lost their
/// server together do not come back together. The limit starts at `first`, doubles with each
/// attempt up to `longest`, and starts again after a connection that lasted for `stable_after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The limit of the first wait: 250 ms.
    pub first: Duration,
    /// The largest limit: 60 s.
    pub longest: Duration,
    /// How long a connection has to last until it counts as good: 30 s.
    pub stable_after: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(60),
            stable_after: Duration::from_secs(30),
        }
    }
}

/// The queue of messages that are not sent yet: how much it holds, and what happens beyond.
///
/// While there is a connection it is mostly empty. Without one it fills, and after a reconnect it is
/// sent in its order. A retained message that waits in it without a connection gives way to a newer
/// one for the same topic: nobody needs the value of an hour ago.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) age_max: Option<Duration>,
    pub(crate) on_full: OnFull,
    pub(crate) qos0: bool,
    pub(crate) newest_retained: bool,
    pub(crate) file: Option<Arc<FileStore>>,
}

/// What happens to a publish when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFull {
    /// It waits for room (the default). `try_enqueue` does not: `QueueFull`.
    Wait,
    /// It fails with `QueueFull`.
    Reject,
    /// The oldest message in the queue is given up (`QueueFull`) to make room.
    DropOldest,
    /// It is given up itself: as `Reject`, but counted as dropped.
    DropNewest,
}

impl Outbox {
    /// In memory: up to 10,000 messages and 16 MiB, for as long as it takes.
    #[must_use]
    pub const fn memory() -> Self {
        Self {
            messages_max: 10_000,
            bytes_max: 16 << 20,
            age_max: None,
            on_full: OnFull::Wait,
            qos0: false,
            newest_retained: true,
            file: None,
        }
    }

    /// At most this many messages (at least 1).
    #[must_use]
    pub fn max_messages(mut self, count: usize) -> Self {
        self.messages_max = count.max(1);
        self
    }

    /// At most this many bytes, with 128 for each message besides topic and payload. A single message
    /// may be larger: it then waits alone.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Messages that have waited for this long are given up (`Expired`).
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.age_max = Some(age);
        self
    }

    /// What happens when it is full.
    #[must_use]
    pub const fn on_full(mut self, policy: OnFull) -> Self {
        self.on_full = policy;
        self
    }

    /// Whether QoS 0 messages wait for a connection, too. Without it they fail with `Offline`.
    #[must_use]
    pub const fn qos0(mut self, queued: bool) -> Self {
        self.qos0 = queued;
        self
    }

    /// Whether only the newest retained message of each topic waits for a connection (the default).
    #[must_use]
    pub const fn newest_retained(mut self, only: bool) -> Self {
        self.newest_retained = only;
        self
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::memory()
    }
}

/// What a subscription does with messages that the application does not take fast enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// QoS 1 and 2: they are not acknowledged until the application takes them, so the server stops
    /// sending when our Receive Maximum is reached; nothing is lost. QoS 0, which nothing can stop:
    /// as `DropOldest`. This is the default.
    #[default]
    Backpressure,
    /// The oldest message in the buffer is given up, whatever its QoS, and counted.
    DropOldest,
    /// The new message is given up, whatever its QoS, and counted.
    DropNewest,
    /// A newer message takes the place of an older one of the same topic; when the buffer is full of
    /// different topics, the oldest is given up.
    LatestPerTopic,
}

/// What becomes of a message in flight when the server has lost the session.
///
/// One in the file of [`Outbox::file`] is always sent again: it is to be delivered at least once, and a program that
/// starts again cannot be told that it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnSessionLost {
    /// Its publish fails with `SessionLost`, `Delivered::Maybe`. The default for QoS 2.
    Fail,
    /// It is sent again as a new message, and may arrive twice. The default for QoS 1.
    Republish,
}

/// What becomes of messages at QoS 1 and 2 that no subscription of this program wants.
///
/// It happens when a session is resumed, and with it subscriptions of an earlier run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unrouted {
    /// They wait, unacknowledged and at most as many as our Receive Maximum, until a subscription
    /// matches. This is the default: a program that subscribes a moment later loses nothing.
    #[default]
    Hold,
    /// They are acknowledged and dropped.
    Drop,
}
