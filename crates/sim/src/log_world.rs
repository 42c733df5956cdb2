//! The log by itself on the simulated disk: batches that make sense, without shards or clients, so that a run is short and its
//! answer exact.
//!
//! After each crash what the log gives back has to be, record by record, what was stored after *some* batch: not before the last
//! one that was stable, and not half of any. Beside that a copy of the disk is damaged and opened: whatever is in it, opening never panics, and
//! what is not reported as damage is whole.

mod batches;

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use martlet_engine::Records;
use martlet_store::{Durability, Log, Maintenance, Recovery, Settings, Store, StoreError};

use self::batches::Writer;
use crate::disk::{Crash, Device, SimDisk};
use crate::rng::Rng;
use crate::stored::Stored;
use crate::world::{Failure, fail};

/// What a run of the log has to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Batches appended.
    pub batches: u64,
    /// Crashes, those while opening included.
    pub crashes: u64,
    /// Starts after which less was there than had been appended.
    pub shorter: u64,
    /// Checkpoints that the log asked for.
    pub checkpoints: u64,
    /// Segments that were cleaned.
    pub cleaned: u64,
    /// How often it was full.
    pub full: u64,
    /// How often a call to the disk failed.
    pub errors: u64,
    /// Damaged copies that were opened.
    pub damaged: u64,
    /// Of these, those whose damage was reported.
    pub reported: u64,
    /// And those that lack the end of the log, which nobody can see.
    pub unseen: u64,
}

/// Runs a log from its first batch through crashes and damage to its end. `trace`: says to the error output what happens.
pub fn run_log(seed: u64, steps: usize, trace: bool) -> Result<LogReport, Failure> {
    let mut world = LogWorld::new(seed);
    world.talks = trace;
    world.disk.talk(trace);
    world.open()?;
    for _ in 0..steps {
        world.step()?;
    }
    world.end()?;
    Ok(world.report)
}

struct LogWorld {
    rng: Rng,
    disk: SimDisk,
    settings: Settings,
    log: Option<Log<Device>>,
    writer: Writer,
    /// What is stored after each batch since the last one that is stable, that one included.
    pictures: VecDeque<Stored>,
    /// What was stored before that.
    history: BTreeSet<u64>,
    /// A batch that was not taken, because there was no room.
    refused: Option<(Vec<u8>, Stored)>,
    wishes: VecDeque<u8>,
    report: LogReport,
    talks: bool,
}

impl LogWorld {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut settings = Settings::new(rng.number());
        settings.segment_bytes = *rng.pick(&[0, 0, 128 << 10]);
        if rng.one_in(4) {
            settings.durability = Durability::Os;
        }
        if rng.one_in(6) {
            settings.size_bytes_max = Some(rng.between(5, 12) as u64 * (64 << 10));
        }
        let disk = SimDisk::new(rng.number());
        if settings.durability == Durability::Os {
            disk.keeps_what_is_seen();
        }
        Self {
            disk,
            settings,
            log: None,
            writer: Writer::new(&mut rng),
            pictures: VecDeque::from([Stored::default()]),
            history: BTreeSet::new(),
            refused: None,
            wishes: VecDeque::new(),
            report: LogReport::default(),
            talks: false,
            rng,
        }
    }

    fn step(&mut self) -> Result<(), Failure> {
        match self.rng.below(1_000) {
            0..=599 => self.append(),
            600..=749 => self.sync(),
            750..=899 => self.maintain().map(|_| ()),
            900..=949 => self.checkpoint(),
            950..=959 => {
                self.disk.set_full(self.rng.one_in(2));
                Ok(())
            }
            960..=963 => {
                self.disk
                    .fail_in(u32::try_from(self.rng.below(30)).unwrap_or(0));
                Ok(())
            }
            964..=975 => {
                self.disk
                    .die_in(u32::try_from(self.rng.below(12)).unwrap_or(0));
                Ok(())
            }
            976..=987 => self.crash(),
            988..=990 => self.close(),
            _ => self.damage_a_copy(),
        }
    }

    fn log(&mut self) -> &mut Log<Device> {
        self.log.as_mut().expect("it is open")
    }

    fn append(&mut self) -> Result<(), Failure> {
        let (batch, picture) = self.refused.take().unwrap_or_else(|| {
            let mut picture = self.present().clone();
            let batch = self.writer.batch(&mut picture, &mut self.rng);
            (batch, picture)
        });
        self.put(batch, picture)
    }

    fn checkpoint(&mut self) -> Result<(), Failure> {
        if self.refused.is_some() {
            return self.append();
        }
        let Some(slot) = self.wishes.pop_front() else {
            return Ok(());
        };
        self.report.checkpoints += 1;
        let picture = self.present().clone();
        let batch = Writer::checkpoint(slot, &picture);
        self.put(batch, picture)
    }

    fn put(&mut self, batch: Vec<u8>, picture: Stored) -> Result<(), Failure> {
        match self.log().append(&batch) {
            Ok(()) => {
                self.say(&format!("appended {} bytes", batch.len()));
                self.report.batches += 1;
                self.pictures.push_back(picture);
                Ok(())
            }
            Err(StoreError::Full(_)) => {
                self.report.full += 1;
                self.refused = Some((batch, picture));
                Ok(())
            }
            // It may be on the disk all the same.
            Err(error) => {
                self.pictures.push_back(picture);
                self.fails(&error)
            }
        }
    }

    fn sync(&mut self) -> Result<(), Failure> {
        match self.log().sync() {
            Ok(()) => {
                self.say("synced");
                self.all_is_stable();
                Ok(())
            }
            Err(StoreError::Full(_)) => Ok(()),
            Err(error) => self.fails(&error),
        }
    }

    /// Whether nothing is left to be done.
    fn maintain(&mut self) -> Result<bool, Failure> {
        match self.log().maintain() {
            Ok(Maintenance::WantsCheckpoint(slot)) => {
                if !self.wishes.contains(&slot) {
                    self.wishes.push_back(slot);
                }
                Ok(false)
            }
            Ok(maintenance) => Ok(maintenance == Maintenance::Idle),
            Err(StoreError::Full(_)) => Ok(false),
            Err(error) => self.fails(&error).map(|()| false),
        }
    }

    fn all_is_stable(&mut self) {
        let stable = self.pictures.len() - 1;
        for picture in self.pictures.drain(..stable) {
            self.history.insert(fingerprint(&settled(&picture)));
        }
    }

    /// The log is of no use any more: the process ends, or has ended.
    fn fails(&mut self, error: &StoreError) -> Result<(), Failure> {
        if matches!(error, StoreError::Invalid(_)) {
            return Err(fail("log_is_sound", error.to_string()));
        }
        self.report.errors += 1;
        self.say(&format!("fails: {error}"));
        self.crash()
    }

    fn say(&self, what: &str) {
        if self.talks {
            eprintln!("{what}");
        }
    }

    fn present(&self) -> &Stored {
        self.pictures.back().expect("never empty")
    }

    fn crash(&mut self) -> Result<(), Failure> {
        self.report.crashes += 1;
        self.report.cleaned += self.log.as_ref().map_or(0, |l| l.stats().cleaned_segments);
        self.log = None;
        self.say("crash");
        // A promise of the operating system's is worth nothing without power.
        let power = self.settings.durability == Durability::Fsync && self.rng.percent(70);
        self.disk
            .crash(if power { Crash::Power } else { Crash::Kill });
        self.open()
    }

    fn close(&mut self) -> Result<(), Failure> {
        if let Some(log) = self.log.take() {
            self.report.cleaned += log.stats().cleaned_segments;
            let closed = log.close();
            if closed.is_ok() {
                self.all_is_stable();
            }
        }
        self.disk.crash(Crash::Kill);
        self.open()
    }

    /// Opens the log, perhaps not at the first attempt, and looks what is in it.
    fn open(&mut self) -> Result<(), Failure> {
        self.refused = None;
        self.wishes.clear();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt + 1 < ATTEMPTS_MAX && self.rng.one_in(3) {
                let count = u32::try_from(self.rng.below(40)).unwrap_or(0);
                match self.rng.below(3) {
                    0 => self.disk.fail_in(count),
                    1 => self.disk.set_full(true),
                    _ => self.disk.die_in(count),
                }
            }
            self.settings.seed = self.rng.number();
            let opened = Log::open(Device::new(&self.disk), self.settings.clone());
            match opened {
                Ok((log, recovery)) => {
                    self.say(&format!("opened: {recovery:?}"));
                    self.log = Some(log);
                    match self.look(&recovery) {
                        Err(None) => {}
                        Err(Some(failure)) => return Err(failure),
                        Ok(()) => {
                            self.disk.heal();
                            return Ok(());
                        }
                    }
                    self.log = None;
                }
                Err(error) if attempt + 1 == ATTEMPTS_MAX => {
                    return Err(fail("always_starts", error.to_string()));
                }
                Err(error) => self.say(&format!("does not open: {error}")),
            }
            self.report.crashes += 1;
            let power = self.settings.durability == Durability::Fsync && self.rng.one_in(2);
            self.disk
                .crash(if power { Crash::Power } else { Crash::Kill });
        }
        Err(fail("always_starts", "it does not".into()))
    }

    /// Compares what is there with what was appended. `Err(None)`: reading failed.
    fn look(&mut self, recovery: &Recovery) -> Result<(), Option<Failure>> {
        if recovery.has_loss() {
            let what = format!("loss is reported: {:?}", recovery.faults);
            return Err(Some(fail("acked_is_durable", what)));
        }
        let log = self.log.as_mut().expect("just opened");
        let found = match picture(log) {
            Ok(found) => found,
            Err(Trouble::Reading) => return Err(None),
            Err(Trouble::Nonsense(what)) => return Err(Some(fail("log_is_sound", what))),
        };
        let mut pictures = self.pictures.iter();
        let at = pictures.position(|picture| settled(picture) == found);
        let Some(at) = at else {
            let first = self.pictures.front().expect("never empty");
            let what = first.difference(&found).unwrap_or_default();
            let count = self.pictures.len();
            let what = format!("none of {count} states; from the first it differs: {what}");
            return Err(Some(fail("acked_is_durable", what)));
        };
        self.report.shorter += u64::from(at + 1 < self.pictures.len());
        // What was there in between is in the log as well.
        for picture in self.pictures.drain(..=at) {
            self.history.insert(fingerprint(&settled(&picture)));
        }
        self.pictures.clear();
        self.pictures.push_back(found);
        let (sessions, numbers) = self.present().highest();
        if recovery.highest_session_counter < sessions || recovery.highest_number_counter < numbers
        {
            let what = format!("counters {recovery:?} below {sessions} and {numbers}");
            return Err(Some(fail("log_is_sound", what)));
        }
        self.writer.go_on(
            recovery.highest_session_counter,
            recovery.highest_number_counter,
        );
        Ok(())
    }

    /// Damage, whatever it is, is reported or does no harm; and nothing panics. Only the end of the log can go unnoticed:
    /// nobody can tell that there was more.
    fn damage_a_copy(&mut self) -> Result<(), Failure> {
        self.sync()?;
        let fork = self.disk.fork();
        let mut settings = self.settings.clone();
        settings.seed = self.rng.number();
        let (what, at_end) = fork.damage(&mut self.rng);
        self.report.damaged += 1;
        let Ok((mut log, recovery)) = Log::open(Device::new(&fork), settings) else {
            self.report.reported += 1;
            return Ok(());
        };
        let found = picture(&mut log);
        self.say(&format!("damage: {what}: {recovery:?}"));
        if !recovery.faults.is_empty() {
            // It may make no sense any more; it has to be readable, that is all.
            self.report.reported += 1;
            return Ok(());
        }
        let present = settled(self.present());
        let difference = match found {
            Ok(found) if found == present => return Ok(()),
            Ok(found) if at_end && self.history.contains(&fingerprint(&found)) => {
                self.report.unseen += 1;
                return Ok(());
            }
            Ok(found) => present.difference(&found).unwrap_or_default(),
            Err(Trouble::Nonsense(nonsense)) => nonsense,
            Err(Trouble::Reading) => return Ok(()),
        };
        Err(fail(
            "damage_is_reported",
            format!("{what} ({at_end}): {difference}"),
        ))
    }

    /// When all is done the log takes no more space than it should, and knows what it has.
    fn end(&mut self) -> Result<(), Failure> {
        self.disk.heal();
        self.settings.size_bytes_max = None;
        self.crash()?;
        for _ in 0..STEPS_TO_REST {
            self.sync()?;
            while !self.wishes.is_empty() || self.refused.is_some() {
                self.checkpoint()?;
            }
            if self.maintain()? {
                break;
            }
        }
        let present = settled(self.present());
        let stats = self.log().stats();
        let segment = self.settings.segment_bytes.max(64 << 10);
        if stats.total_bytes > 2 * stats.live_bytes + SEGMENTS_TO_SPARE * segment {
            return Err(fail("space", format!("{stats:?}")));
        }
        if stats.bodies != present.bodies.len() || stats.dangling_references > 0 {
            let count = present.bodies.len();
            return Err(fail("log_is_sound", format!("{count} bodies: {stats:?}")));
        }
        self.crash()
    }
}

enum Trouble {
    Reading,
    Nonsense(String),
}

/// Without what nothing refers to.
fn settled(picture: &Stored) -> Stored {
    let mut picture = picture.clone();
    picture.settle().expect("the writer makes sense");
    picture
}

fn fingerprint(picture: &Stored) -> u64 {
    let mut hasher = DefaultHasher::new();
    picture.hash(&mut hasher);
    hasher.finish()
}

/// What a log gives back.
fn picture(log: &mut Log<Device>) -> Result<Stored, Trouble> {
    let mut stored = Stored::default();
    let mut sense = Ok(());
    let replayed = log.replay(1, &mut |_, record| {
        if sense.is_ok() {
            sense = stored.apply(record);
        }
    });
    replayed.map_err(|_| Trouble::Reading)?;
    sense
        .and_then(|()| stored.settle())
        .map_err(Trouble::Nonsense)?;
    Ok(stored)
}

/// A batch carried out.
pub(crate) fn apply_batch(batch: &[u8], stored: &mut Stored) {
    for record in Records::new(batch) {
        let record = record.expect("just written");
        stored.apply(&record).expect("the writer makes sense");
    }
}

/// The last attempt to open is one without faults.
const ATTEMPTS_MAX: usize = 4;
/// More steps of maintenance than a run can make necessary.
const STEPS_TO_REST: usize = 5_000;
/// Beyond twice what is live: the one written to, one in reserve, one that is being cleaned.
const SEGMENTS_TO_SPARE: u64 = 3;
