//! What a client tells about itself: its state, the server's limits, counters.

use std::time::Duration;

use martlet_codec::QoS;

use crate::error::Error;

/// Where a client stands; see [`Client::state`](crate::Client::state).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum State {
    /// There is no connection, but there will be.
    Connecting {
        /// Attempts since the last good connection, the current one included.
        attempt: u32,
        /// How long until the next attempt; `None` while one is under way.
        next_try: Option<Duration>,
        /// Why the one before failed, or why the connection was lost.
        last_error: Option<Error>,
    },
    /// The server has accepted the connection.
    Connected {
        /// Whether the server has gone on with a stored session.
        session_present: bool,
        /// What the server allows.
        limits: Limits,
    },
    /// The end: nothing more will happen.
    Closed {
        /// Why, unless it was asked for.
        last_error: Option<Error>,
    },
}

impl State {
    /// Whether there is a connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Whether the client is closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

/// What the server allows on the current connection. In 3.1.1 servers do not say, so these are the
/// most that the protocol allows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what CONNACK says is independent flags"
)]
pub struct Limits {
    /// How many QoS 1 and 2 messages it takes without having acknowledged them.
    pub receive_maximum: u16,
    /// The highest QoS that it takes.
    pub maximum_qos: QoS,
    /// Whether it keeps retained messages.
    pub retain_available: bool,
    /// The largest packet that it takes.
    pub maximum_packet_size: u32,
    /// How many topic aliases it takes.
    pub topic_alias_maximum: u16,
    /// Whether filters may have wildcards.
    pub wildcards_available: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_ids_available: bool,
    /// Whether there are shared subscriptions.
    pub shared_available: bool,
    /// The Keep Alive in force, in seconds.
    pub keep_alive_s: u16,
    /// How long it keeps the session without a connection, in seconds.
    pub session_expiry_s: u32,
    /// The client identifier that it has chosen for us.
    pub assigned_client_id: Option<String>,
    /// Where request and response topics should be, if it says so.
    pub response_information: Option<String>,
    /// Another server that it names.
    pub server_reference: Option<String>,
    /// What else it says about the connection.
    pub reason: Option<String>,
    /// What else it says, as names and values.
    pub user_properties: Vec<(String, String)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            receive_maximum: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: PACKET_SIZE_MAX,
            topic_alias_maximum: 0,
            wildcards_available: true,
            subscription_ids_available: true,
            shared_available: true,
            keep_alive_s: 0,
            session_expiry_s: 0,
            assigned_client_id: None,
            response_information: None,
            server_reference: None,
            reason: None,
            user_properties: Vec::new(),
        }
    }
}

/// The longest packet that MQTT can express.
pub(crate) const PACKET_SIZE_MAX: u32 = 268_435_455 + 5;

/// Counters and sizes; see [`Client::stats`](crate::Client::stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that wait to be sent.
    pub queued: usize,
    /// What they account for.
    pub queued_bytes: usize,
    /// Messages that were sent and are not finished.
    pub in_flight: usize,
    /// Received messages that were not acknowledged yet.
    pub unacknowledged: usize,
    /// Received messages that no subscription wants yet.
    pub held: usize,
    /// Messages that were published successfully.
    pub published: u64,
    /// Messages that failed after admission, for whatever reason.
    pub failed: u64,
    /// Of these: expired in the queue.
    pub expired: u64,
    /// Of these: given up because the queue was full (also those that `DropNewest` did not admit).
    pub dropped: u64,
    /// Of these: replaced by a newer retained message.
    pub superseded: u64,
    /// Messages sent again after a reconnect.
    pub resent: u64,
    /// Messages received.
    pub received: u64,
    /// Messages that a subscription gave up because its buffer was full.
    pub lagged: u64,
    /// Messages at QoS 0, or told to be dropped, that no subscription wanted.
    pub unrouted: u64,
    /// Messages of manual subscriptions that were dropped without an acknowledgement: the server
    /// sends them again after a reconnect.
    pub unacked_dropped: u64,
    /// Answers to requests that nobody waits for any more, and foreign ones.
    pub late_replies: u64,
    /// Connections that the server accepted.
    pub connections: u64,
    /// Attempts to connect.
    pub attempts: u64,
    /// Times that the server accepted us without the session that we had.
    pub sessions_lost: u64,
    /// PINGREQ sent.
    pub pings: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Bytes written.
    pub bytes_sent: u64,
}
