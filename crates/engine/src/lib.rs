//! The broker shard: a pure state machine for sessions, routing, queues and retained messages.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod message;
mod slab;
mod time;

pub use message::{Message, MessageParts, Origin};
pub use time::Time;
