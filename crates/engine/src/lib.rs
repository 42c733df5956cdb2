//! The broker shard: a pure state machine for sessions, routing, queues and retained messages.
//!
//! [`Shard`] takes events (`on_open`, `on_bytes`, `on_peer_batch`, `on_timer`, …) and appends what has to be
//! done to [`Effects`]. It never sees a socket, a clock, a thread or a random number that it did not
//! get as an argument, so the same code runs under tokio in production and under a seeded simulator in tests.
//! A process has one shard per core; shards share nothing but the [`Interest`] map and speak in batches of
//! [`PeerMessage`].
//!
//! ```
//! use std::sync::Arc;
//! use martlet_engine::{AllowAll, Effects, Limits, LocalInterest, Policy, Shard, ShardConfig, Time};
//!
//! let config = ShardConfig {
//!     index: 0, shard_count: 1, seed: 42, limits: Limits::default(), policy: Policy::default(), store: None,
//! };
//! let mut shard = Shard::new(config, Arc::new(LocalInterest), Box::new(AllowAll));
//! let mut effects = Effects::new(1);
//! let now = Time::from_millis(0);
//! let conn = shard.on_open(now, &mut effects).expect("no limit is reached");
//! // CONNECT of MQTT 3.1.1: clean session, keep alive 0, client identifier "a".
//! let connect = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
//! assert_eq!(shard.on_bytes(conn, connect, now, &mut effects), connect.len());
//! assert_eq!(effects.dirty, [conn]);
//! let mut slices: [&[u8]; 1] = [&[]];
//! shard.outbox(conn).expect("it is open").io_slices(&mut slices);
//! assert_eq!(slices[0], b"\x20\x02\x00\x00"); // CONNACK, accepted
//! ```

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acl;
mod clients;
mod collections;
mod config;
mod counters;
mod durable;
mod effects;
mod grouping;
mod limits;
mod message;
mod packets;
mod peering;
mod publication;
mod record;
mod report;
mod retaining;
mod routing;
mod sending;
mod shard;
#[cfg(test)]
mod tests;
mod time;
mod timing;

pub use acl::{Acl, AllowAll, ClientInfo};
pub use clients::client_slots::{SLOT_COUNT, owner_of_group, owner_of_topic, shard_of, slot_of};
pub use config::{Authentication, Policy, SHARDS_MAX, ShardConfig, StoreConfig, StorePressure};
pub use counters::Counters;
pub use durable::FetchedBody;
pub use effects::{
    AuthKind, AuthQuestion, AuthTicket, Closed, ConnId, Connected, Effects, Handover, StoreBatch,
    StoreTicket, Verdict,
};
pub use limits::Limits;
pub use message::{Message, MessageParts, Origin, Topic};
pub use peering::peers::PeerMessage;
pub use record::{
    Body, BodyChange, BodyId, BodySummary, Brief, Ids, Record, RecordError, RecordRun, Records,
    RunOf, SessionId, StoredOptions, StoredTerms, WallTime,
};
pub use report::{CloseCause, CloseReport, Drops, Violation};
pub use routing::interest::{Interest, InterestKey, LocalInterest, prefixes_of};
pub use routing::places::Places;
pub use sending::outbox::{LENT_SLACK, Outbox};
pub use shard::{Shard, TransportClose};
pub use time::Time;
