//! The broker shard: a pure state machine for sessions, routing, queues and retained messages.
