//! Retained messages on their way to a new subscription.
//!
//! A replay walks through the shards that may hold matching retained messages, one after the other,
//! and asks each for one chunk at a time: the receiver's own window sets the pace, nothing is put into
//! its queue, and a hundred thousand topics cost one chunk of memory.
//!
//! *Never an older value after a newer one.* A topic whose retained message was published, and delivered
//! live, since the replay began is left out of it: the subscriber has the newer value already, or has it queued.
//! What was queued when a chunk arrived may hold older values of its topics; the chunk waits for that to leave.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashSet;

use crate::message::Message;
use crate::subscriptions::SubscriptionOptions;

/// One subscription's replay. Kept across a reconnect of the session.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Names it towards other shards; changes when an answer that is still under way has become void.
    pub(crate) id: u64,
    pub(crate) filter: Arc<str>,
    pub(crate) options: SubscriptionOptions,
    /// Shards still to be asked; the last one is being asked.
    pub(crate) sources: Vec<usize>,
    /// A request is under way.
    pub(crate) awaiting: bool,
    /// Where the next request to the current source begins.
    pub(crate) after: Option<Box<str>>,
    /// Arrived, not yet sent.
    pub(crate) buffer: VecDeque<Message>,
    /// The end of the session's queue when they arrived: what waited there is older, and goes first.
    pub(crate) behind: u64,
    /// The last message taken from the buffer.
    last: Option<Message>,
    /// Where the buffered chunk began.
    chunk_after: Option<Box<str>>,
    /// The shard that the buffered chunk came from had nothing behind it.
    chunk_ends_source: bool,
    superseded: HashSet<Box<str>, foldhash::fast::FixedState>,
}

impl Replay {
    pub(crate) fn new(
        id: u64,
        filter: Arc<str>,
        options: SubscriptionOptions,
        sources: Vec<usize>,
        seed: u64,
    ) -> Self {
        Self {
            id,
            filter,
            options,
            sources,
            awaiting: false,
            after: None,
            buffer: VecDeque::new(),
            behind: 0,
            last: None,
            chunk_after: None,
            chunk_ends_source: false,
            superseded: HashSet::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
        }
    }

    /// A chunk has arrived; `next`: where to go on, `None` if this shard has no more; `behind`: the end of the
    /// session's queue.
    pub(crate) fn on_chunk(&mut self, messages: Vec<Message>, next: Option<Box<str>>, behind: u64) {
        self.awaiting = false;
        self.behind = behind;
        self.buffer = messages.into();
        self.last = None;
        self.chunk_after = self.after.take();
        self.chunk_ends_source = next.is_none();
        self.after = next;
        if self.buffer.is_empty() {
            self.end_chunk();
        }
    }

    /// The next message to send, without taking it. Superseded ones are dropped on the way.
    pub(crate) fn peek(&mut self) -> Option<&Message> {
        while let Some(front) = self.buffer.front() {
            if !self.superseded.contains(front.topic()) {
                break;
            }
            self.take();
        }
        self.buffer.front()
    }

    /// Takes the message that [`Replay::peek`] has shown.
    pub(crate) fn take(&mut self) {
        self.last = self.buffer.pop_front();
        if self.buffer.is_empty() {
            self.end_chunk();
        }
    }

    /// Whether the next chunk should be asked for now.
    pub(crate) fn wants_chunk(&self) -> bool {
        self.buffer.is_empty() && !self.awaiting && !self.sources.is_empty()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.buffer.is_empty() && !self.awaiting && self.sources.is_empty()
    }

    /// A newer retained message of this topic was delivered live.
    pub(crate) fn supersede(&mut self, topic: &str) {
        if !self.superseded.contains(topic) {
            self.superseded.insert(topic.into());
        }
    }

    /// A newer retained message of this topic could not be delivered live: send it instead of the older one.
    pub(crate) fn refresh(&mut self, newer: &Message) {
        let old = self
            .buffer
            .iter()
            .position(|message| message.topic() == newer.topic());
        if let Some(at) = old {
            if newer.payload().is_empty() {
                self.supersede(newer.topic());
            } else if let Some(slot) = self.buffer.get_mut(at) {
                *slot = newer.clone();
            }
        }
    }

    /// The connection has ended: what is buffered may be old when the client is back, so it is
    /// asked for again from the place that was reached.
    pub(crate) fn rewind(&mut self, new_id: u64) {
        self.id = new_id;
        if !self.buffer.is_empty() {
            self.after = match self.last.take() {
                Some(last) => Some(last.topic().into()),
                None => self.chunk_after.take(),
            };
            self.buffer.clear();
            self.chunk_ends_source = false;
        }
        self.awaiting = false;
    }

    fn end_chunk(&mut self) {
        if self.chunk_ends_source {
            self.chunk_ends_source = false;
            self.sources.pop();
            self.after = None;
        }
    }
}
