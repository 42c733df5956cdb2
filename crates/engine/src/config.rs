//! What a shard is told at its start.

use crate::limits::Limits;

/// A shard's place among its peers, its seed, its bounds and its rules.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// This shard's number, from 0.
    pub index: usize,
    /// How many shards there are (1 to 64). The same for all of them.
    pub shard_count: usize,
    /// Seeds the hash tables and assigned client identifiers. Random in production, so that nobody can
    /// choose topics that collide; fixed in simulations. The same for all of them: a message goes from one to another
    /// with its topic's hash.
    pub seed: u64,
    /// The bounds.
    pub limits: Limits,
    /// The rules.
    pub policy: Policy,
    /// Set if there is a store. Without one no record is ever written, and nothing waits.
    pub store: Option<StoreConfig>,
}

/// What a shard has to know to write records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreConfig {
    /// The wall clock, in milliseconds since 1970, at [`Time`](crate::Time) 0.
    pub unix_ms_at_zero: u64,
    /// Bytes of message bodies that a shard keeps in memory although they are in the store: see
    /// [`Effects::wanted_bodies`](crate::Effects::wanted_bodies). Those that are not stable yet come on top.
    pub body_cache_bytes: usize,
    /// Bytes of bodies that were read back and wait to be sent: on top of that.
    pub read_ahead_bytes: usize,
}

/// How the store keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StorePressure {
    /// It does.
    #[default]
    Normal,
    /// Much waits to be stored: who publishes something that has to be stored is not read for the time being.
    Busy,
    /// It takes nothing more: such a PUBLISH is refused with 0x97 (v5), or waits (MQTT 3).
    Full,
}

/// The most shards that a process may have: a shard mask is one 64-bit word.
pub const SHARDS_MAX: usize = 64;

/// Rules that an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Who may connect.
    pub authentication: Authentication,
    /// Whether a planned shutdown publishes the wills of those it disconnects. Off by default: the
    /// clients are told (v5: 0x8B) and are expected back.
    pub wills_on_shutdown: bool,
    /// How long the session of an MQTT 3 client with Clean Session 0 outlives its connection, in seconds.
    /// MQTT 3 cannot say it; without an end, the session of every device ever seen would queue for ever.
    pub session_expiry_default_s: u32,
    /// The longest Session Expiry Interval that a v5 client is granted, in seconds; `u32::MAX`: no cap.
    /// What is granted stands in CONNACK if it differs from what was asked.
    pub session_expiry_cap_s: u32,
    /// The longest Keep Alive, in seconds, that v5 clients may use: a longer one (or 0) is replaced through
    /// Server Keep Alive. `None`: the client decides.
    pub keep_alive_cap_s: Option<u16>,
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody; user name and password are ignored, an Authentication Method is refused with 0x8C.
    Anonymous,
    /// Each CONNECT and AUTH becomes a question in [`Effects::auth`](crate::Effects::auth).
    Ask,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            authentication: Authentication::Anonymous,
            wills_on_shutdown: false,
            session_expiry_default_s: 7 * 24 * 60 * 60,
            session_expiry_cap_s: 30 * 24 * 60 * 60,
            keep_alive_cap_s: None,
        }
    }
}
