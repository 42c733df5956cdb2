//! Retained messages on their way to a new subscription.
//!
//! A replay walks through the shards that may hold matching retained messages, one after the other,
//! and asks each for one chunk at a time: the receiver's own window sets the pace, nothing is put into
//! its queue, and a hundred thousand topics cost one chunk of memory.
//!
//! ```text
//!   Prefetching ── everything is here, or a whole chunk ──▶ Sending ── all shards asked, all sent ──▶ done
//!   (SUBACK waits)                                          (chunk by chunk)
//! ```
//! SUBACK waits for the first chunks, so that what is published after SUBACK was seen comes behind them.
//!
//! *Never an older value after a newer one.* Relays and chunks of one owner arrive in the order in which it has stored and
//! looked. So a value that is delivered live is newer than what has arrived for its topic, which is left out; and what
//! arrives later is newer, or the same once more, which is left out as well. (It can be newer without having come live:
//! stored while this shard had no subscription, behind one that was on its way here already.)
//! What was queued when a chunk arrived may hold older values of its topics; the chunk waits for that to leave.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::collections::slab::Key;
use crate::message::Message;
use crate::retaining::silence::{Silence, stays};
use crate::routing::subscriptions::SubscriptionOptions;

/// One subscription's replay. Kept across a reconnect of the session.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Names it towards other shards; changes when an answer that is still under way has become void.
    pub(crate) id: u64,
    pub(crate) filter: Arc<str>,
    pub(crate) options: SubscriptionOptions,
    /// The SUBACK that waits for the first chunks; set while prefetching.
    pub(crate) ticket: Option<Key>,
    /// Shards still to be asked; the last one is being asked.
    sources: Vec<usize>,
    /// A request is under way.
    awaiting: bool,
    /// Where the next request to the current source begins.
    after: Option<Box<str>>,
    /// Arrived, not yet sent.
    chunks: VecDeque<Chunk>,
    /// Answers that prefetching may still wait for.
    prefetches_left: u32,
    /// The last value delivered live since the replay began, by topic.
    live: HashMap<Box<str>, Live, FixedState>,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    fingerprint: u64,
    /// Its owner has relayed it, and would have to be told to clear it.
    stays: bool,
}

/// What one shard has answered to one request.
#[derive(Debug)]
struct Chunk {
    source: usize,
    /// Where it began.
    after: Option<Box<str>>,
    messages: VecDeque<Message>,
    /// The last message taken from it.
    last: Option<Message>,
    /// The end of the session's queue when it arrived: what waited there is older, and goes first.
    behind: u64,
}

/// What to ask which shard for.
#[derive(Debug, Clone)]
pub(crate) struct ChunkRequest {
    pub(crate) source: usize,
    pub(crate) replay: u64,
    pub(crate) filter: Arc<str>,
    pub(crate) after: Option<Box<str>>,
}

impl Replay {
    pub(crate) fn new(
        id: u64,
        filter: Arc<str>,
        options: SubscriptionOptions,
        sources: Vec<usize>,
        ticket: Option<Key>,
        seed: u64,
    ) -> Self {
        Self {
            id,
            filter,
            options,
            ticket,
            sources,
            awaiting: false,
            after: None,
            chunks: VecDeque::new(),
            prefetches_left: PREFETCHES_MAX,
            live: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// The next request, if one should be sent now; then it counts as sent.
    pub(crate) fn next_request(&mut self) -> Option<ChunkRequest> {
        let hungry = self.chunks.is_empty() || self.ticket.is_some();
        if self.awaiting || !hungry {
            return None;
        }
        let source = self.sources.last().copied()?;
        self.awaiting = true;
        Some(ChunkRequest {
            source,
            replay: self.id,
            filter: self.filter.clone(),
            after: self.after.clone(),
        })
    }

    /// A chunk has arrived; `next`: where to go on, `None` if this shard has no more; `behind`: the end of the
    /// session's queue. Returns the SUBACK that need not wait any longer.
    pub(crate) fn on_chunk(
        &mut self,
        mut messages: Vec<Message>,
        next: Option<Box<str>>,
        behind: u64,
    ) -> Option<Key> {
        if !self.live.is_empty() {
            messages.retain(|message| {
                let known = self.live.get(message.topic());
                known.map(|live| live.fingerprint) != Some(message.fingerprint(self.live.hasher()))
            });
        }
        self.awaiting = false;
        let after = self.after.take();
        let more = next.is_some();
        if let (Some(source), false) = (self.sources.last().copied(), messages.is_empty()) {
            self.chunks.push_back(Chunk {
                source,
                after,
                messages: messages.into(),
                last: None,
                behind,
            });
        }
        self.after = next;
        if !more {
            self.sources.pop();
        }
        self.prefetches_left = self.prefetches_left.saturating_sub(1);
        let a_whole_chunk = more && !self.chunks.is_empty();
        if a_whole_chunk || self.sources.is_empty() || self.prefetches_left == 0 {
            return self.ticket.take();
        }
        None
    }

    /// What the answer that has just come for the next request would say by its silence.
    pub(crate) fn silence<'a>(
        &'a self,
        messages: &'a [Message],
        last: Option<&'a str>,
        shard_count: usize,
    ) -> Option<Silence<'a>> {
        Some(Silence {
            source: *self.sources.last()?,
            shard_count,
            filter: &self.filter,
            after: self.after.as_deref(),
            last,
            messages,
        })
    }

    /// The topics whose last value came live, and is gone by this answer.
    pub(crate) fn gone<'a>(&'a self, silence: &Silence<'_>) -> impl Iterator<Item = &'a str> {
        let stay = self.live.iter().filter(|(_, live)| live.stays);
        let topics = stay.map(|(topic, _)| &**topic);
        topics.filter(|topic| silence.covers(topic))
    }

    /// The next message to send, without taking it, and what has to leave the session's queue before. `None` also
    /// while prefetching.
    pub(crate) fn peek(&self) -> Option<(&Message, u64)> {
        if self.ticket.is_some() {
            return None;
        }
        let chunk = self.chunks.front()?;
        chunk
            .messages
            .front()
            .map(|message| (message, chunk.behind))
    }

    /// Takes the message that [`Replay::peek`] has shown.
    pub(crate) fn take(&mut self) {
        if let Some(chunk) = self.chunks.front_mut() {
            chunk.last = chunk.messages.pop_front();
            if chunk.messages.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.chunks.is_empty() && !self.awaiting && self.sources.is_empty()
    }

    /// A newer retained message of this topic was delivered live.
    pub(crate) fn supersede(&mut self, newer: &Message) {
        let topic = newer.topic();
        self.leave_out(topic);
        let live = Live {
            fingerprint: newer.fingerprint(self.live.hasher()),
            stays: stays(newer),
        };
        if let Some(known) = self.live.get_mut(topic) {
            *known = live;
        } else if self.live.len() < LIVE_TOPICS_MAX {
            // Beyond, it may come once more, as a retained one.
            self.live.insert(topic.into(), live);
        }
    }

    /// What was delivered last came by another way than through its owner, which may not even have it yet.
    pub(crate) fn not_relayed(&mut self, topic: &str) {
        if let Some(live) = self.live.get_mut(topic) {
            live.stays = false;
        }
    }

    /// A newer retained message of this topic could not be delivered live: send it instead of the older one.
    pub(crate) fn refresh(&mut self, newer: &Message) {
        let mut buffered = self
            .chunks
            .iter_mut()
            .flat_map(|chunk| chunk.messages.iter_mut());
        let Some(old) = buffered.find(|message| message.topic() == newer.topic()) else {
            return;
        };
        if newer.payload().is_empty() {
            self.leave_out(newer.topic());
        } else {
            *old = newer.clone();
        }
    }

    /// The connection has ended: what is buffered may be old when the client is back, so it is
    /// asked for again from the place that was reached.
    pub(crate) fn rewind(&mut self, new_id: u64) {
        self.id = new_id;
        self.awaiting = false;
        let first = self.chunks.pop_front();
        for chunk in core::mem::take(&mut self.chunks).into_iter().rev() {
            self.ask_again(chunk.source);
        }
        if let Some(first) = first {
            self.ask_again(first.source);
            self.after = match first.last {
                Some(last) => Some(last.topic().into()),
                None => first.after,
            };
        }
        // SUBACK has gone with the connection.
        self.ticket = None;
    }

    /// Drops what has arrived for a topic.
    fn leave_out(&mut self, topic: &str) {
        for chunk in &mut self.chunks {
            chunk.messages.retain(|message| message.topic() != topic);
        }
        self.chunks.retain(|chunk| !chunk.messages.is_empty());
    }

    /// Makes a shard the one to be asked next.
    fn ask_again(&mut self, source: usize) {
        if self.sources.last() != Some(&source) {
            self.sources.push(source);
        }
        self.after = None;
    }
}

/// Answers that SUBACK waits for at most: a filter that matches little of much must not hold it up for long.
const PREFETCHES_MAX: u32 = 128;
/// Topics of which a replay remembers what was delivered live: more than are published while one is under way, and no more
/// memory than its chunks.
const LIVE_TOPICS_MAX: usize = 1_024;
