//! Where batches are kept: in plain memory, which has no faults of its own, or in the log on the simulated disk.

use martlet_engine::{Record, Records};
use martlet_store::{Maintenance, Memory, Store, StoreError};

use crate::disk::Crash;
use crate::rng::Rng;
use crate::stored::Stored;

/// Keeps batches.
#[derive(Debug)]
pub(crate) enum Keeper {
    Plain(Plain),
}

/// Why it did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum KeeperError {
    /// There is no space, for now.
    Full,
    /// The process has to end: the disk has failed, or is gone.
    Broken(String),
}

/// Batches in memory, of which the first ones are stable.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    memory: Memory,
    stable: usize,
}

impl Keeper {
    pub(crate) fn choose(_rng: &mut Rng) -> Self {
        Self::Plain(Plain::default())
    }

    fn store(&mut self) -> &mut dyn Store {
        match self {
            Self::Plain(plain) => &mut plain.memory,
        }
    }

    pub(crate) fn append(&mut self, batch: &[u8]) -> Result<(), KeeperError> {
        Ok(self.store().append(batch)?)
    }

    pub(crate) fn sync(&mut self) -> Result<(), KeeperError> {
        self.store().sync()?;
        match self {
            Self::Plain(plain) => plain.stable = plain.memory.batches().count(),
        }
        Ok(())
    }

    pub(crate) fn maintain(&mut self) -> Result<Maintenance, KeeperError> {
        Ok(self.store().maintain()?)
    }

    /// The process is gone.
    pub(crate) fn crash(&mut self, how: Crash, rng: &mut Rng) {
        match self {
            Self::Plain(plain) => plain.crash(how, rng),
        }
    }

    /// A picture of what is stored, without disturbing it.
    pub(crate) fn picture(&mut self) -> Result<Stored, String> {
        let mut stored = Stored::default();
        let mut sense = Ok(());
        let mut each = |_, record: &Record<'_>| {
            if sense.is_ok() {
                sense = stored.apply(record);
            }
        };
        let replayed = self.store().replay(1, &mut each);
        replayed.map_err(|error| error.to_string())?;
        sense?;
        stored.settle()?;
        Ok(stored)
    }

    /// What the store still has: calls `each` with every record and its shard, in order. Returns the next counters.
    pub(crate) fn recover(
        &mut self,
        shard_count: usize,
        each: &mut dyn FnMut(usize, &Record<'_>),
    ) -> Result<(u64, u64), KeeperError> {
        let next = match self {
            Self::Plain(plain) => plain.next_counters(),
        };
        self.store().replay(shard_count, each)?;
        Ok(next)
    }
}

impl Plain {
    fn crash(&mut self, how: Crash, rng: &mut Rng) {
        let unsure = self.memory.batches().count() - self.stable;
        let kept = self.stable
            + match how {
                Crash::Kill => unsure,
                Crash::Power => rng.below(unsure + 1),
            };
        let before = core::mem::take(&mut self.memory);
        for batch in before.batches().take(kept) {
            self.memory.append(batch).expect("it was taken before");
        }
        self.stable = kept;
    }

    fn next_counters(&self) -> (u64, u64) {
        let records = self.memory.batches().flat_map(Records::new);
        records.fold((1, 1), |next, record| {
            let (sessions, numbers) = record.expect("it was checked").counters();
            (next.0.max(sessions + 1), next.1.max(numbers + 1))
        })
    }
}

impl From<StoreError> for KeeperError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) => Self::Full,
            error => Self::Broken(error.to_string()),
        }
    }
}
