//! Puts together what belongs together: a shard that is restored gets many records of one slot at a time.
//!
//! ```text
//! log, in order ──┬─► slot 0 ─ 256 KiB ─┐
//!                 ├─► slot 1 ─ 256 KiB ─┼─► shard, a chunk at a time
//!                 └─► …                 ┘
//! ```
//! What a log says of a session is scattered over it, and a shard with a million sessions has none of them at hand when
//! the next record comes: it waits for memory, several times for each record. A slot's sessions are a few thousand, which stay
//! in a core's cache while a chunk of their records is gone through. Slots have nothing to do with each other, so only the
//! order within each matters, and that a body is there before those who need it.

use martlet_engine::{BodySummary, Record, Records, SLOT_COUNT, WallTime};

/// What [`Store::restore`](crate::Store::restore) gives, on its way to the shards.
#[derive(Debug)]
pub struct BySlot {
    slots: Vec<Chunk>,
    /// Bodies, by shard.
    bodies: Vec<Chunk>,
    /// Chunks that have come back.
    unused: Vec<Chunk>,
    full_bytes: usize,
    /// Whether each slot has had a chunk: its first one is shorter.
    begun: Vec<bool>,
}

/// Records of one slot, or bodies for one shard.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
}

impl BySlot {
    /// For so many shards; a chunk is given out when it has about so many bytes.
    #[must_use]
    pub fn new(shard_count: usize, full_bytes: usize) -> Self {
        let chunks = |count| std::iter::repeat_with(Chunk::default).take(count).collect();
        Self {
            slots: chunks(SLOT_COUNT),
            bodies: chunks(shard_count.max(1)),
            unused: Vec::new(),
            full_bytes: full_bytes.max(1),
            begun: vec![false; SLOT_COUNT],
        }
    }

    /// Takes what is for a shard; gives chunks that are full to `send`.
    pub fn put(
        &mut self,
        shard: usize,
        record: &Record<'_>,
        summary: Option<BodySummary>,
        send: &mut dyn FnMut(usize, Chunk),
    ) {
        let Some(slot) = record.slot() else {
            let Some(chunk) = self.bodies.get_mut(shard) else {
                return;
            };
            if chunk.put(record, None, self.full_bytes, &mut self.unused) {
                send(shard, std::mem::take(chunk));
            }
            return;
        };
        let slot = usize::from(slot);
        let (Some(chunk), Some(begun)) = (self.slots.get_mut(slot), self.begun.get_mut(slot))
        else {
            return;
        };
        // Slots fill alike. That not all of them are full at once, and the shards have something to do all the time, each
        // begins with a part of its own.
        let full_bytes = if *begun {
            self.full_bytes
        } else {
            self.full_bytes * (slot + 1) / SLOT_COUNT
        };
        if chunk.put(record, summary, full_bytes, &mut self.unused) {
            *begun = true;
            let chunk = std::mem::take(chunk);
            send_bodies(&mut self.bodies, shard, send);
            send(shard, chunk);
        }
    }

    /// Gives out what is left, of each slot to its shard.
    pub fn finish(&mut self, send: &mut dyn FnMut(usize, Chunk)) {
        let shard_count = self.bodies.len();
        for shard in 0..shard_count {
            send_bodies(&mut self.bodies, shard, send);
        }
        self.unused.clear();
        for (slot, chunk) in self.slots.iter_mut().enumerate() {
            if !chunk.bytes.is_empty() {
                send(slot % shard_count, std::mem::take(chunk));
            }
        }
    }

    /// Takes a chunk back that has been gone through: its memory is used again.
    pub fn take_back(&mut self, mut chunk: Chunk) {
        chunk.bytes.clear();
        self.unused.push(chunk);
    }
}

/// Somebody may need them in what is sent next.
fn send_bodies(bodies: &mut [Chunk], shard: usize, send: &mut dyn FnMut(usize, Chunk)) {
    if let Some(chunk) = bodies
        .get_mut(shard)
        .filter(|chunk| !chunk.bytes.is_empty())
    {
        send(shard, std::mem::take(chunk));
    }
}

impl Chunk {
    /// Goes through it, in order.
    pub fn each(&self, each: &mut dyn FnMut(&Record<'_>, Option<BodySummary>)) {
        let mut rest = &*self.bytes;
        while let Some((summary, behind)) = split_summary(rest) {
            let mut records = Records::new(behind);
            let Some(Ok(record)) = records.next() else {
                debug_assert!(false, "a record has just been written there");
                return;
            };
            each(&record, summary);
            rest = behind.get(records.offset()..).unwrap_or_default();
        }
    }

    /// Whether it is full now.
    fn put(
        &mut self,
        record: &Record<'_>,
        summary: Option<BodySummary>,
        full_bytes: usize,
        unused: &mut Vec<Self>,
    ) -> bool {
        if self.bytes.capacity() == 0 {
            *self = unused.pop().unwrap_or_default();
            self.bytes.reserve(full_bytes + full_bytes / 16);
        }
        push_summary(summary, &mut self.bytes);
        record.encode(&mut self.bytes);
        self.bytes.len() >= full_bytes
    }
}

/// A byte that says what follows, then the size, then the time.
fn push_summary(summary: Option<BodySummary>, out: &mut Vec<u8>) {
    let Some(summary) = summary else {
        return out.push(NOTHING);
    };
    out.push(match summary.expires_at {
        None => SIZE,
        Some(_) => SIZE_AND_TIME,
    });
    out.extend_from_slice(&summary.size_bytes.to_le_bytes());
    if let Some(WallTime(at)) = summary.expires_at {
        out.extend_from_slice(&at.to_le_bytes());
    }
}

/// `None` at the end.
fn split_summary(bytes: &[u8]) -> Option<(Option<BodySummary>, &[u8])> {
    let (what, rest) = bytes.split_first()?;
    if *what == NOTHING {
        return Some((None, rest));
    }
    let (size, mut rest) = rest.split_first_chunk()?;
    let mut expires_at = None;
    if *what == SIZE_AND_TIME {
        let (time, behind) = rest.split_first_chunk()?;
        expires_at = Some(WallTime(u64::from_le_bytes(*time)));
        rest = behind;
    }
    let size_bytes = u32::from_le_bytes(*size);
    let summary = BodySummary {
        size_bytes,
        expires_at,
    };
    Some((Some(summary), rest))
}

const NOTHING: u8 = 0;
const SIZE: u8 = 1;
const SIZE_AND_TIME: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Churn;
    use martlet_engine::{BodyId, SessionId};
    use std::collections::BTreeMap;

    /// What comes out, as bytes, by shard and slot; bodies have none.
    type Streams = BTreeMap<(usize, Option<u8>), Vec<u8>>;

    fn write(record: &Record<'_>, summary: Option<BodySummary>, out: &mut Vec<u8>) {
        push_summary(summary, out);
        record.encode(out);
    }

    fn sorted(sorter: &mut BySlot, batches: &[Vec<u8>], shard_count: usize) -> (Streams, usize) {
        let (mut streams, mut chunks) = (Streams::new(), 0);
        let mut bodies = vec![std::collections::BTreeSet::new(); shard_count];
        let mut back = Vec::new();
        let mut send = |shard: usize, chunk: Chunk| {
            chunks += 1;
            let mut slots = std::collections::BTreeSet::new();
            chunk.each(&mut |record, summary| {
                slots.insert(record.slot());
                if let Record::Body { body, .. } = record {
                    bodies[shard].insert(body.as_u64());
                }
                for (body, more) in crate::counting::changes(record) {
                    assert!(!more || bodies[shard].contains(&body), "{record:?}");
                }
                write(
                    record,
                    summary,
                    streams.entry((shard, record.slot())).or_default(),
                );
            });
            assert_eq!(slots.len(), 1, "a chunk is of one slot");
            back.push(chunk);
        };
        for record in batches
            .iter()
            .flat_map(|batch| Records::new(batch).flatten())
        {
            match record.slot() {
                Some(slot) => {
                    let shard = usize::from(slot) % shard_count;
                    sorter.put(shard, &record, summary_for(&record), &mut send);
                }
                None => {
                    for shard in 0..shard_count {
                        sorter.put(shard, &record, None, &mut send);
                    }
                }
            }
        }
        sorter.finish(&mut send);
        for chunk in back {
            sorter.take_back(chunk);
        }
        (streams, chunks)
    }

    fn summary_for(record: &Record<'_>) -> Option<BodySummary> {
        let Record::Queued { position, .. } = record else {
            return None;
        };
        (position % 3 > 0).then(|| BodySummary {
            size_bytes: u32::try_from(*position).unwrap(),
            expires_at: (position % 3 > 1).then_some(WallTime(u64::MAX - position)),
        })
    }

    #[test]
    fn each_slot_keeps_its_order_and_bodies_come_before_who_needs_them() {
        let mut churn = Churn::new(3);
        let batches: Vec<Vec<u8>> = (0..400).map(|_| churn.batch(10)).collect();
        for (shard_count, full_bytes) in [(1, 1), (2, 300), (3, 4_000), (7, 1 << 20)] {
            let mut expected = Streams::new();
            for record in batches
                .iter()
                .flat_map(|batch| Records::new(batch).flatten())
            {
                let shards = match record.slot() {
                    Some(slot) => {
                        let shard = usize::from(slot) % shard_count;
                        shard..shard + 1
                    }
                    None => 0..shard_count,
                };
                for shard in shards {
                    let stream = expected.entry((shard, record.slot())).or_default();
                    write(&record, summary_for(&record), stream);
                }
            }
            let mut sorter = BySlot::new(shard_count, full_bytes);
            let (streams, chunks) = sorted(&mut sorter, &batches, shard_count);
            assert!(
                streams == expected,
                "{shard_count} shards, {full_bytes} bytes"
            );
            assert!(chunks > 256 / 8, "{chunks}");
        }
    }

    /// A start has no more of these at a time than the shards are behind.
    #[test]
    fn chunks_that_come_back_are_used_again() {
        let mut sorter = BySlot::new(1, 1_000);
        let mut made = std::collections::BTreeSet::new();
        let mut back = Vec::new();
        let mut chunks = 0;
        for position in 1..10_000 {
            let record = Record::Dropped {
                session: SessionId::new(position, 255),
                position,
                body: BodyId::new(64).unwrap(),
            };
            sorter.put(0, &record, None, &mut |_, chunk| {
                made.insert(chunk.bytes.as_ptr());
                chunks += 1;
                back.push(chunk);
            });
            back.drain(..).for_each(|chunk| sorter.take_back(chunk));
        }
        assert!(chunks > 50, "{chunks}");
        assert_eq!(made.len(), 1);
    }

    /// The shards shall have something to do from early on.
    #[test]
    fn slots_that_fill_alike_are_not_full_at_once() {
        let mut sorter = BySlot::new(2, 10_000);
        let mut rounds_with_chunks = 0;
        for position in 1..2_000 {
            let mut full = 0;
            for slot in 0..=255 {
                let record = Record::Dropped {
                    session: SessionId::new(1, slot),
                    position,
                    body: BodyId::new(64).unwrap(),
                };
                let shard = usize::from(slot) % 2;
                sorter.put(shard, &record, None, &mut |_, _| full += 1);
            }
            assert!(full < 16, "{full} at once");
            rounds_with_chunks += usize::from(full > 0);
        }
        assert!(rounds_with_chunks > 200, "{rounds_with_chunks}");
    }
}
