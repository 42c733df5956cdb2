//! Where batches are kept: in plain memory, which has no faults of its own, or in the log on the simulated disk.

use martlet_engine::{Body, BodyId, BodySummary, Record, Records};
use martlet_store::{
    BodyPlace, BodyReader, BySlot, Chunk, Durability, Log, Maintenance, Memory, Settings, Store,
    StoreError,
};

use crate::disk::{Crash, Device, SimDisk};
use crate::rng::Rng;
use crate::stored::Stored;

/// Keeps batches.
#[derive(Debug)]
pub(crate) enum Keeper {
    Plain(Plain),
    Log(Box<OnDisk>),
}

/// Where a body is.
#[derive(Debug)]
pub(crate) enum Whereabouts {
    /// Nothing refers to it.
    Nowhere,
    /// In plain memory.
    Memory,
    /// It was there a moment ago.
    Disk(BodyPlace),
}

/// Why it did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum KeeperError {
    /// There is no space, for now.
    Full,
    /// The process has to end: the disk has failed, or is gone.
    Broken(String),
    /// Our own fault.
    Nonsense(String),
}

/// Batches in memory, of which the first ones are stable.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    memory: Memory,
    stable: usize,
}

/// The log on its disk.
#[derive(Debug)]
pub(crate) struct OnDisk {
    disk: SimDisk,
    settings: Settings,
    log: Option<Log<Device>>,
}

impl Keeper {
    /// What the seed wants.
    pub(crate) fn choose(rng: &mut Rng) -> Self {
        if rng.one_in(4) {
            return Self::Plain(Plain::default());
        }
        let mut settings = Settings::new(rng.number());
        settings.segment_bytes = 0;
        if rng.one_in(4) {
            settings.durability = Durability::Os;
        }
        let disk = SimDisk::new(rng.number());
        if settings.durability == Durability::Os {
            disk.keeps_what_is_seen();
        }
        Self::Log(Box::new(OnDisk {
            disk,
            settings,
            log: None,
        }))
    }

    fn store(&mut self) -> &mut dyn Store {
        match self {
            Self::Plain(plain) => &mut plain.memory,
            Self::Log(on_disk) => on_disk.log.as_mut().expect("it was opened"),
        }
    }

    /// The disk, if there is one.
    pub(crate) const fn disk(&self) -> Option<&SimDisk> {
        match self {
            Self::Plain(_) => None,
            Self::Log(on_disk) => Some(&on_disk.disk),
        }
    }

    pub(crate) fn append(&mut self, batch: &[u8]) -> Result<(), KeeperError> {
        Ok(self.store().append(batch)?)
    }

    pub(crate) fn sync(&mut self) -> Result<(), KeeperError> {
        self.store().sync()?;
        if let Self::Plain(plain) = self {
            plain.stable = plain.memory.batches().count();
        }
        Ok(())
    }

    pub(crate) fn maintain(&mut self) -> Result<Maintenance, KeeperError> {
        Ok(self.store().maintain()?)
    }

    /// Where a body is.
    pub(crate) fn find_body(&mut self, body: BodyId) -> Result<Whereabouts, KeeperError> {
        let Self::Log(on_disk) = self else {
            return Ok(Whereabouts::Memory);
        };
        let log = on_disk.log.as_mut().expect("it was opened");
        Ok(log
            .place_of(body)?
            .map_or(Whereabouts::Nowhere, Whereabouts::Disk))
    }

    /// Reads a body directly.
    pub(crate) fn read_body(
        &mut self,
        body: BodyId,
        each: &mut dyn FnMut(&Body<'_>),
    ) -> Result<bool, KeeperError> {
        Ok(self.store().read_body(body, each)?)
    }

    /// Reads what is in a place, if that is still the body that was there, as another thread does.
    pub(crate) fn read_place(
        &mut self,
        place: BodyPlace,
        each: &mut dyn FnMut(&Body<'_>),
    ) -> Result<(), KeeperError> {
        let Self::Log(on_disk) = self else {
            return Ok(());
        };
        let mut reader = BodyReader::new(Device::new(&on_disk.disk));
        reader.read(&mut [place], &mut |_, found| {
            if let Some(found) = found {
                each(found);
            }
        });
        if on_disk.disk.is_dead() {
            return Err(KeeperError::Broken("the disk is gone".into()));
        }
        Ok(())
    }

    /// One of the crashes that are survived without loss.
    pub(crate) fn choose_crash(&self, rng: &mut Rng) -> Crash {
        match self {
            Self::Log(on_disk) if on_disk.settings.durability == Durability::Os => Crash::Kill,
            Self::Plain(_) | Self::Log(_) => *rng.pick(&[Crash::Power, Crash::Power, Crash::Kill]),
        }
    }

    /// The process is gone.
    pub(crate) fn crash(&mut self, how: Crash, rng: &mut Rng) {
        match self {
            Self::Plain(plain) => plain.crash(how, rng),
            Self::Log(on_disk) => {
                on_disk.log = None;
                on_disk.disk.crash(how);
            }
        }
    }

    /// What the store still has: `picture` gets every record, in order, and `each` what a shard gets, in the order in which
    /// the driver gives it. Returns the next counters.
    pub(crate) fn recover(
        &mut self,
        shard_count: usize,
        rng: &mut Rng,
        picture: &mut dyn FnMut(&Record<'_>),
        each: &mut dyn FnMut(usize, &Record<'_>, Option<BodySummary>),
    ) -> Result<(u64, u64), KeeperError> {
        let next = match self {
            Self::Plain(plain) => plain.next_counters(),
            Self::Log(on_disk) => on_disk.open(rng)?,
        };
        self.store().replay(1, &mut |_, record| picture(record))?;
        // Nearly as in the log, or each slot by itself, or something between.
        let (sessions, numbers) = next;
        let chunk_bytes = match (sessions + numbers) % 4 {
            0 => 1,
            1 => 100,
            2 => 2_000,
            _ => 1 << 20,
        };
        let mut sorter = BySlot::new(shard_count, chunk_bytes);
        let mut send = |shard, chunk: Chunk| {
            chunk.each(&mut |record, summary| each(shard, record, summary));
        };
        self.store()
            .restore(shard_count, &mut |shard, record, summary| {
                sorter.put(shard, record, summary, &mut send);
            })?;
        sorter.finish(&mut send);
        Ok(next)
    }

    /// A picture of what is stored, without disturbing it.
    pub(crate) fn picture(&mut self, rng: &mut Rng) -> Result<Stored, String> {
        let mut stored = Stored::default();
        let mut sense = Ok(());
        let mut each = |_, record: &Record<'_>| {
            if sense.is_ok() {
                sense = stored.apply(record);
            }
        };
        match self {
            Self::Plain(plain) => plain.memory.replay(1, &mut each),
            Self::Log(on_disk) => {
                let mut fork = on_disk.fork();
                fork.open(rng).map_err(|error| format!("{error:?}"))?;
                fork.log.as_mut().expect("just opened").replay(1, &mut each)
            }
        }
        .map_err(|error| error.to_string())?;
        sense?;
        stored.settle()?;
        Ok(stored)
    }

    /// What a damaged copy of the disk gives: `None` if there is nothing to damage, or it does not open.
    pub(crate) fn damaged_copy(&self, rng: &mut Rng) -> Option<Self> {
        let Self::Log(on_disk) = self else {
            return None;
        };
        let fork = on_disk.fork();
        for _ in 0..rng.between(1, 3) {
            fork.disk.damage(rng);
        }
        Some(Self::Log(Box::new(fork)))
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

impl OnDisk {
    /// Opens the log. Returns the next counters.
    fn open(&mut self, rng: &mut Rng) -> Result<(u64, u64), KeeperError> {
        self.log = None;
        self.settings.seed = rng.number();
        let opened = Log::open(Device::new(&self.disk), self.settings.clone());
        let (log, recovery) = opened.map_err(|error| KeeperError::Broken(error.to_string()))?;
        if recovery.has_loss() {
            let what = format!("loss is reported: {:?}", recovery.faults);
            return Err(KeeperError::Nonsense(what));
        }
        self.log = Some(log);
        Ok((
            recovery.highest_session_counter + 1,
            recovery.highest_number_counter + 1,
        ))
    }

    fn fork(&self) -> Self {
        Self {
            disk: self.disk.fork(),
            settings: self.settings.clone(),
            log: None,
        }
    }
}

impl From<StoreError> for KeeperError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) => Self::Full,
            StoreError::Invalid(error) => Self::Nonsense(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}
