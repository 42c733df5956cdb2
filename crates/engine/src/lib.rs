//! The broker shard: a pure state machine for sessions, routing, queues and retained messages.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod message;
mod outbox;
mod slab;
mod time;
mod wheel;

pub use message::{Message, MessageParts, Origin};
pub use outbox::Outbox;
pub use time::Time;
