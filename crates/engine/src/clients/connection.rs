//! One connection of the shard: protocol phase, outbox, and all that ends with the connection.
//!
//! ```text
//!              CONNECT, Anonymous
//!  AwaitConnect ────────────────────────────────▶ Online ── any end ──▶ (removed)
//!       │  CONNECT, Ask                              ▲
//!       └──────────────▶ Authenticating ── Accept ───┘
//! ```

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use martlet_codec::{PacketId, ReasonCode, Version};
use martlet_session::{InboundAliases, KeepAlive, OutboundAliases};

use crate::clients::rare::Rare;
use crate::collections::slab::Key;
use crate::effects::StoreTicket;
use crate::routing::routes::Route;
use crate::sending::outbox::Outbox;
use crate::sending::writing::AckKind;
use crate::time::Time;

/// Owned by its shard; created at accept, removed when it ends. An idle one owns no buffer.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) phase: Phase,
    /// Known from CONNECT on.
    pub(crate) version: Option<Version>,
    /// The session it serves; only when online.
    pub(crate) session: Option<Key>,
    pub(crate) outbox: Outbox,
    /// Its place in `Effects::dirty`, from 1 on, if it has come there and was not flushed since.
    pub(crate) dirty: Option<NonZeroU32>,
    /// Why it is not read.
    pub(crate) parked: Option<Parked>,
    /// One PUBLISH may pass though the shard is over its memory budget.
    pub(crate) budget_exempt: bool,
    /// What `outbox` had when the shard's memory was last counted.
    pub(crate) counted_bytes: usize,
    /// The client's Maximum Packet Size.
    pub(crate) packet_bytes_max: u32,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) aliases_in: Option<Box<InboundAliases>>,
    pub(crate) aliases_out: Option<Box<OutboundAliases>>,
    pub(crate) auth: Option<Box<AuthState>>,
    /// Acknowledgements that may not be sent yet, and those behind them. Never longer than what the client
    /// may have unacknowledged; MQTT 3 clients: than what was read while other shards or the store answered.
    pub(crate) held_answers: Rare<VecDeque<HeldAnswer>>,
    /// The SUBACK or UNSUBACK that waits for other shards; meanwhile nothing more is read.
    pub(crate) pending_answer: Option<Key>,
    /// Where its last message went.
    pub(crate) route: Option<Arc<Route>>,
}

/// An acknowledgement that waits until what it promises is safe where it has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldAnswer {
    pub(crate) kind: AckKind,
    pub(crate) packet_id: PacketId,
    pub(crate) reason: ReasonCode,
    pub(crate) waits: Waits,
}

/// What an acknowledgement waits for, besides those before it. Two words, 0 for nothing: it goes through registers on
/// the way of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    /// A batch of this shard to be stable.
    pub(crate) batch: StoreTicket,
    /// Other shards to have stored their part of a publish; its number.
    pub(crate) publish: u64,
}

impl Waits {
    pub(crate) const NOTHING: Self = Self {
        batch: StoreTicket(0),
        publish: 0,
    };

    pub(crate) const fn is_nothing(self) -> bool {
        self.batch.0 | self.publish == 0
    }
}

/// What a connection that is not read waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// The authenticator's verdict.
    Verdict,
    /// The shard to be under its memory budget.
    Budget,
    /// Answers to its messages to leave.
    Answers,
    /// The store to keep up.
    Store,
    /// SUBACK or UNSUBACK to leave: what a client sends behind SUBSCRIBE or UNSUBSCRIBE happens behind it.
    PendingAnswer,
}

/// How far the connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    AwaitConnect,
    Authenticating,
    Online,
}

/// An authentication under way, or the method of one that has succeeded.
#[derive(Debug, Default)]
pub(crate) struct AuthState {
    /// The bytes of CONNECT, decoded again when the verdict comes.
    pub(crate) connect: Vec<u8>,
    pub(crate) method: Option<Box<str>>,
    /// Number of the last question: an answer to an older one is ignored.
    pub(crate) question: u32,
    pub(crate) step: AuthStep,
    /// Since when it has taken.
    pub(crate) since: Time,
    /// A timer looks at it.
    pub(crate) timed: bool,
}

/// Whose turn it is in an authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AuthStep {
    /// None is under way.
    #[default]
    Idle,
    /// The authenticator has been asked.
    Asked,
    /// The client has been challenged.
    Challenged,
}

impl AuthState {
    /// When its step has taken too long.
    pub(crate) fn due(&self, timeout_ms: u64) -> Time {
        self.since.plus_millis(timeout_ms)
    }

    /// A client that we do not read cannot answer a challenge.
    pub(crate) fn excuse_until(&mut self, now: Time) {
        if self.step == AuthStep::Challenged {
            self.since = self.since.max(now);
        }
    }
}

impl Connection {
    pub(crate) const fn new(keep_alive: KeepAlive) -> Self {
        Self {
            phase: Phase::AwaitConnect,
            version: None,
            session: None,
            outbox: Outbox::new(),
            dirty: None,
            parked: None,
            budget_exempt: false,
            counted_bytes: 0,
            packet_bytes_max: u32::MAX,
            keep_alive,
            aliases_in: None,
            aliases_out: None,
            auth: None,
            held_answers: Rare::new(),
            pending_answer: None,
            route: None,
        }
    }

    /// Lets it be read again. Its silence was ours meanwhile, and what it has sent is still to be read.
    pub(crate) fn unpark(&mut self, now: Time) {
        self.parked = None;
        self.keep_alive.excuse_until(now.as_millis());
        if let Some(state) = self.auth.as_deref_mut() {
            state.excuse_until(now);
        }
    }

    /// The version to encode for; before CONNECT was read it does not matter.
    pub(crate) fn version(&self) -> Version {
        self.version.unwrap_or(Version::V5)
    }
}

#[cfg(test)]
mod tests {
    use super::Connection;

    /// Most connections are idle at any moment.
    #[test]
    fn a_connection_costs_few_bytes() {
        assert_eq!(size_of::<Connection>(), 152);
    }
}
