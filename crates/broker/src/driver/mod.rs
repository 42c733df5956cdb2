//! The driver: threads, sockets and clocks around the pure [`Shard`](martlet_engine::Shard).
//!
//! One OS thread per shard, each with a single-threaded runtime; nothing of a shard is ever touched by another
//! thread. One *tick* is what happens between two sleeps of such a thread:
//!
//! ```text
//!  ready sockets ─> conn.rs   read into the shared scratch ─> Shard::on_bytes ─┐
//!  other shards  ─> lanes.rs  batches                      ─> on_peer_batch    ├─> Effects (collected)
//!  mailbox       ─> run.rs    handed-over sockets, verdicts ─> on_open, ...    │        │
//!  clock         ─> tick.rs   one timer                     ─> on_timer       ─┘        v
//!                   flush.rs  behind everything that was ready: one batch per other shard,
//!                             closes, one write per dirty connection
//! ```
//! Map: `run` is the thread, `core` what it owns, `tick` the task that does the ticks, `ready` who has a turn in
//! it, `conn` one connection, `tail` the packet that it is in the middle of, `flush` the end of the tick, `lanes` the rings
//! between shards, `accept` the listening sockets, `limits` the driver's bounds, `counters` what shows them.

mod accept;
mod conn;
mod core;
mod counters;
mod flush;
mod lanes;
mod limits;
mod ready;
mod run;
mod tail;
mod tick;

pub use self::core::ShardReport;
pub(crate) use self::core::{Mail, Shared};
pub use counters::DriverCounters;
pub(crate) use lanes::Lanes;
pub(crate) use run::{Post, ShardThread};
