//! Storing retained messages, and giving them out chunk by chunk.
//!
//! Map: `retained` is the table, `replay` gives it out, `silence` tells what it does not have any more.

pub(crate) mod replay;
pub(crate) mod retained;
pub(crate) mod silence;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::clients::client_slots::slot_of;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::shard::{Shard, TimerKey};
use crate::time::Time;
use crate::timing::SWEEP_INTERVAL_MS;

/// Who asks for a chunk of retained messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkFor {
    pub(crate) shard: usize,
    pub(crate) session: Key,
    pub(crate) replay: u64,
}

impl Shard {
    /// Stores, replaces or clears the retained message of a topic that this shard owns.
    pub(crate) fn store_retained(
        &mut self,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        if publication.was_taken_by(slot_of(publication.parts.topic.as_str())) {
            // Perhaps there is a newer one since.
            return;
        }
        let message = publication.message().clone();
        if message.payload().is_empty() {
            //= mqtt5 3.3.1-6
            //= mqtt5 3.3.1-7
            //= mqtt311 3.3.1-10
            //= mqtt311 3.3.1-11
            self.retained.clear(message.topic());
            self.record_retained_cleared(message.topic(), fx);
            return;
        }
        let limits = &self.config.limits;
        let full = self.retained.len() >= limits.retained_messages_max
            || self.retained.bytes() + message.size() > limits.retained_bytes_max;
        if full && self.retained.get(message.topic()).is_none() {
            self.counters.retained_refused += 1;
            return;
        }
        if self.retained.is_empty() {
            self.schedule(now.plus_millis(SWEEP_INTERVAL_MS), TimerKey::Sweep);
        }
        //= mqtt5 3.3.1-5
        //= mqtt311 3.3.1-5
        //= mqtt311 3.3.1-7
        //= mqtt311 3.1.2-7
        self.retained.set(message);
        self.record_retained(publication, fx);
    }

    /// Answers a request for the next chunk.
    pub(crate) fn on_retained_request(
        &mut self,
        to: ChunkFor,
        filter: &Arc<str>,
        after: Option<&str>,
        now: Time,
        fx: &mut Effects,
    ) {
        let limit = self.config.limits.retained_chunk_messages;
        let mut messages = Vec::new();
        let next = self
            .retained
            .scan(filter, after, limit, now, &mut |message| {
                messages.push(message.clone());
            })
            .map(Into::into);
        self.counters.retained_chunks_cut += u64::from(next.is_some());
        let chunk = Peer::RetainedChunk {
            session: to.session,
            replay: to.replay,
            messages,
            next,
            tells_clearings: self.counters.retained_refused == 0 && !self.retained.may_expire(),
        };
        self.send_to(to.shard, chunk, fx);
    }
}
