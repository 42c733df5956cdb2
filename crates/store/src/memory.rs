//! A store in memory: for tests, and the simplest statement of what a store does.

use hashbrown::HashMap;
use martlet_engine::{Body, BodyId, Brief, Record, Records};

use crate::counting::{Checkpoints, Place, changes, check, placed};
use crate::store::{Maintenance, Store, StoreError, StoreStats};

/// Keeps every batch in memory and never cleans.
#[derive(Debug, Default)]
pub struct Memory {
    batches: Vec<Box<[u8]>>,
    synced: usize,
    /// Where each body is: its batch, and its place there.
    bodies: HashMap<u64, (usize, usize)>,
    stats: StoreStats,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a crash leaves: the batches that were synced.
    #[must_use]
    pub fn crash(mut self) -> Self {
        self.batches.truncate(self.synced);
        let left = self.batches.len();
        self.bodies.retain(|_, (batch, _)| *batch < left);
        self
    }

    /// The batches, in order.
    pub fn batches(&self) -> impl Iterator<Item = &[u8]> {
        self.batches.iter().map(AsRef::as_ref)
    }

    /// All records, each with its place.
    fn records(&self) -> impl Iterator<Item = (Place, Record<'_>)> {
        (1..).zip(&self.batches).flat_map(|(sequence, batch)| {
            placed(batch).map(move |(offset, record)| (Place { sequence, offset }, record))
        })
    }

    fn checkpoints(&self) -> Checkpoints {
        let mut checkpoints = Checkpoints::new();
        for (sequence, batch) in (1..).zip(&self.batches) {
            checkpoints.scan(sequence, batch);
        }
        checkpoints
    }

    /// How often each body is referred to.
    fn references(&self, checkpoints: &Checkpoints) -> HashMap<u64, i64> {
        let mut references = HashMap::new();
        for (place, record) in self.records() {
            if record
                .slot()
                .is_none_or(|slot| checkpoints.counts(slot, place))
            {
                for (body, more) in changes(&record) {
                    *references.entry(body).or_insert(0) += if more { 1 } else { -1 };
                }
            }
        }
        references.retain(|_, count| *count > 0);
        references
    }
}

impl Store for Memory {
    fn append(&mut self, batch: &[u8]) -> Result<(), StoreError> {
        let (bodies, here) = (&mut self.bodies, self.batches.len());
        check(batch, |offset, _, brief| {
            if let Brief::Body(body) = brief {
                bodies.insert(body.as_u64(), (here, offset));
            }
        })
        .map_err(StoreError::Invalid)?;
        self.batches.push(batch.into());
        self.stats.batches += 1;
        self.stats.appended_bytes += batch.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.synced = self.batches.len();
        self.stats.syncs += 1;
        Ok(())
    }

    fn maintain(&mut self) -> Result<Maintenance, StoreError> {
        Ok(Maintenance::Idle)
    }

    fn replay(
        &mut self,
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>),
    ) -> Result<(), StoreError> {
        let checkpoints = self.checkpoints();
        let references = self.references(&checkpoints);
        let shard_count = shard_count.max(1);
        for (_, record) in self.records() {
            if let Record::Body { body, .. } = &record
                && references.contains_key(&body.as_u64())
            {
                (0..shard_count).for_each(|shard| each(shard, &record));
            }
        }
        for (place, record) in self.records() {
            if let Some(slot) = record.slot()
                && checkpoints.counts(slot, place)
            {
                each(usize::from(slot) % shard_count, &record);
            }
        }
        Ok(())
    }

    fn read_body(
        &mut self,
        body: BodyId,
        each: &mut dyn FnMut(&Body<'_>),
    ) -> Result<bool, StoreError> {
        let at = self.bodies.get(&body.as_u64());
        let batch = at.and_then(|(batch, at)| self.batches.get(*batch)?.get(*at..));
        match batch.and_then(|batch| Records::new(batch).next()) {
            Some(Ok(Record::Body { message, .. })) => {
                each(&message);
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    fn stats(&self) -> StoreStats {
        let references = self.references(&self.checkpoints());
        let bytes = self.batches().map(|batch| batch.len() as u64).sum();
        StoreStats {
            live_bytes: bytes,
            total_bytes: bytes,
            bodies: references.len(),
            references: references.values().map(|count| count.unsigned_abs()).sum(),
            ..self.stats
        }
    }
}
