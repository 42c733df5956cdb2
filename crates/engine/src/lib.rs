//! The broker shard: a pure state machine for sessions, routing, queues and retained messages.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod client_slots;
pub mod interest;
mod message;
mod outbox;
mod slab;
mod time;
mod wheel;

pub use client_slots::{SLOT_COUNT, owner_of_group, owner_of_topic, shard_of, slot_of};
pub use interest::{Interest, InterestKey, LocalInterest};
pub use message::{Message, MessageParts, Origin};
pub use outbox::Outbox;
pub use time::Time;
