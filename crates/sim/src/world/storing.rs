//! The store at work beside the shards, crashes, and what the next process finds.

use martlet_engine::{Record, Records, Shard};

use super::{Failure, World, fail};
use crate::disk::Crash;
use crate::keeper::KeeperError;
use crate::ledger::Event;
use crate::stored::Stored;

impl World {
    /// Gives the store what a shard has to have stored.
    pub(super) fn hand_over_batch(&mut self, shard: usize) {
        let batch = self.effects[shard].store.take(Vec::new());
        let Some((ticket, bytes)) = batch else { return };
        let tick = self.ledger.tick();
        self.trace(5, shard, &bytes);
        if self.talks {
            for record in Records::new(&bytes) {
                eprintln!("  shard {shard}, {ticket:?}: {record:?}");
            }
        }
        let storage = self.storage.as_mut();
        let storage = storage.expect("without a store no record is written");
        storage.hand_over(shard, ticket, bytes, tick);
    }

    /// One small thing that has to do with the store.
    pub(super) fn store_acts(&mut self) -> Result<(), Failure> {
        let Some(storage) = &mut self.storage else {
            return Ok(());
        };
        let rng = &mut self.rng;
        if !storage.wants.is_empty() && rng.one_in(3) {
            self.bodies_come_back(false)?;
            return Ok(());
        }
        let Some(storage) = &mut self.storage else {
            return Ok(());
        };
        if storage.fault_one_in > 0 && rng.one_in(storage.fault_one_in) {
            if rng.one_in(2) {
                storage.disk_fault(rng);
                return Ok(());
            }
            let how = storage.keeper().choose_crash(rng);
            return self.crash(how);
        }
        let done = match rng.below(100) {
            0..=29 => storage.append_some(rng),
            30..=44 => {
                storage.begin_sync();
                Ok(())
            }
            45..=59 => storage.end_sync(),
            60..=83 => {
                self.ticket_comes_back();
                return Ok(());
            }
            84..=91 => storage.maintain().map(|_| ()),
            92..=96 => {
                self.checkpoint();
                return Ok(());
            }
            _ => {
                self.tell_pressure();
                return Ok(());
            }
        };
        self.survive(done)
    }

    /// A store that fails ends the process.
    fn survive<T>(&mut self, result: Result<T, KeeperError>) -> Result<(), Failure> {
        match result {
            Ok(_) | Err(KeeperError::Full) => Ok(()),
            Err(KeeperError::Broken(what)) => {
                self.say(&format!("the store fails: {what}"));
                let storage = self.storage.as_mut().expect("it has failed");
                let how = storage.keeper().choose_crash(&mut self.rng);
                self.crash(how)
            }
            Err(KeeperError::Nonsense(what)) => Err(fail("log_is_sound", what)),
        }
    }

    fn say(&self, what: &str) {
        if self.talks {
            eprintln!("{:?} {what}", self.ledger.now);
        }
    }

    pub(super) fn ticket_comes_back(&mut self) -> bool {
        let storage = self.storage.as_mut();
        let ticket = storage.and_then(|storage| storage.ticket_comes_back(&mut self.rng));
        let Some((shard, ticket)) = ticket else {
            return false;
        };
        self.say(&format!("stable for shard {shard}: {ticket:?}"));
        let now = self.shard_now();
        self.shards[shard].on_store_done(ticket, now, &mut self.effects[shard]);
        self.harvest(shard);
        true
    }

    /// Some of the bodies that shards wait for come, or all. Whether there were any.
    fn bodies_come_back(&mut self, all: bool) -> Result<bool, Failure> {
        let config = self.shards.first().and_then(Shard::store_config);
        let (Some(storage), Some(config)) = (&mut self.storage, config) else {
            return Ok(false);
        };
        if storage.wants.is_empty() {
            return Ok(false);
        }
        let answers = match storage.fetch(all, config, &mut self.rng) {
            Ok(answers) => answers,
            Err(error) => return self.survive::<()>(Err(error)).map(|()| true),
        };
        let now = self.shard_now();
        for shard in 0..self.shards.len() {
            let of_shard = answers.iter().filter(|(of, _)| *of == shard);
            let mut bodies: Vec<_> = of_shard.map(|(_, body)| body.clone()).collect();
            if !bodies.is_empty() {
                self.say(&format!("shard {shard} gets {bodies:?}"));
                self.shards[shard].on_bodies(&mut bodies, now, &mut self.effects[shard]);
                self.harvest(shard);
            }
        }
        Ok(true)
    }

    fn tell_pressure(&mut self) -> bool {
        let storage = self.storage.as_mut();
        let news = storage.and_then(|storage| storage.pressure_news(&mut self.rng));
        let Some((shard, pressure)) = news else {
            return false;
        };
        let now = self.shard_now();
        self.shards[shard].on_store_pressure(pressure, now, &mut self.effects[shard]);
        self.harvest(shard);
        true
    }

    fn checkpoint(&mut self) -> bool {
        let wishes = self.storage.as_mut().map(|storage| &mut storage.wishes);
        let Some(slot) = wishes.and_then(std::collections::VecDeque::pop_front) else {
            return false;
        };
        self.checkpoint_slot(slot);
        true
    }

    pub(crate) fn checkpoint_slot(&mut self, slot: u8) {
        let shard = usize::from(slot) % self.shards.len();
        let now = self.shard_now();
        self.shards[shard].checkpoint_slot(slot, now, &mut self.effects[shard]);
        self.harvest(shard);
    }

    /// At rest: the store does all that there is to do. Whether that was anything.
    pub(crate) fn store_comes_to_rest(&mut self) -> Result<bool, Failure> {
        let Some(storage) = &mut self.storage else {
            return Ok(false);
        };
        let mut moved = !storage.is_quiet();
        let mut done = storage.append_some(&mut self.rng);
        if done.is_ok() {
            storage.begin_sync();
            done = storage.end_sync();
        }
        let maintained = match done {
            Ok(()) => storage.maintain(),
            Err(error) => Err(error),
        };
        moved |= matches!(maintained, Ok(true));
        self.survive(maintained)?;
        while self.ticket_comes_back() {}
        moved |= self.bodies_come_back(true)?;
        moved |= self.checkpoint();
        moved |= self.tell_pressure();
        Ok(moved)
    }

    /// What the log says is what the shards know: a checkpoint of every slot changes nothing.
    pub(crate) fn compare_log_and_shards(&mut self) -> Result<(), Failure> {
        self.look_at_bodies()?;
        let sound = |picture: Result<_, String>| picture.map_err(|what| fail("log_is_sound", what));
        let Some(storage) = &mut self.storage else {
            return Ok(());
        };
        let before = sound(storage.keeper().picture(&mut self.rng))?;
        if self.rng.one_in(2) {
            return Ok(());
        }
        (0..=u8::MAX).for_each(|slot| self.checkpoint_slot(slot));
        self.come_to_rest()?;
        let storage = self.storage.as_mut().expect("it was there");
        let after = sound(storage.keeper().picture(&mut self.rng))?;
        match before.difference(&after) {
            None => Ok(()),
            Some(what) => Err(fail("log_is_state", what)),
        }
    }

    /// Whoever asked for a body has it, none is lost, and no more are in memory than there may be.
    fn look_at_bodies(&self) -> Result<(), Failure> {
        for (at, shard) in self.shards.iter().enumerate() {
            let (asked, bytes) = (shard.asked_body_count(), shard.cached_body_bytes());
            let lost = shard.counters().dropped_lost;
            if asked > 0
                || lost > 0
                || bytes
                    > self
                        .body_cache_bytes()
                        .saturating_add(self.read_ahead_bytes())
            {
                let what = format!("shard {at}: {asked} asked for, {lost} lost, {bytes} bytes");
                return Err(fail("bodies_come_back", what));
            }
        }
        Ok(())
    }

    /// The process ends without being asked, and another one begins.
    pub(super) fn crash(&mut self, how: Crash) -> Result<(), Failure> {
        self.trace(6, usize::from(how == Crash::Power), &[]);
        self.say(&format!("CRASH {how:?}"));
        // What has happened until now is looked at first.
        self.observe()?;
        self.end_process(how);
        let storage = self.storage.as_mut().expect("only a store can survive");
        storage.crash(how, &mut self.rng);
        let away = match self.rng.below(8) {
            0 => self.rng.between(1_000, 20_000),
            1 if self.rng.one_in(4) => self.rng.between(30_000, 700_000),
            _ => self.rng.between(0, 900),
        };
        self.ledger.now = self.ledger.now.plus_millis(away as u64);
        let count = if self.setup.may_change_shards && self.rng.one_in(3) {
            *self.rng.pick(&[1, 2, 3, 4])
        } else {
            self.ledger.shards.len()
        };
        if self.rng.one_in(2) {
            self.try_damaged_copy(count);
        }
        self.start(count, ATTEMPTS_MAX)
    }

    /// The first start.
    pub(crate) fn open_store(&mut self, count: usize) -> Result<(), Failure> {
        self.start(count, 1)
    }

    /// Starts a process; all attempts but the last meet faults.
    fn start(&mut self, count: usize, attempts: u32) -> Result<(), Failure> {
        for attempt in 1..=attempts {
            if attempt < attempts && self.rng.one_in(3) {
                let storage = self.storage.as_mut().expect("it is there");
                storage.disk_fault(&mut self.rng);
            }
            match self.recover(count) {
                Ok(stored) => return self.begin_again(stored),
                Err(KeeperError::Nonsense(what)) => return Err(fail("log_is_sound", what)),
                Err(error) if attempt == attempts => {
                    return Err(fail("always_starts", format!("{error:?}")));
                }
                Err(error) => {
                    self.say(&format!("does not start: {error:?}"));
                    let storage = self.storage.as_mut().expect("it is there");
                    let how = storage.keeper().choose_crash(&mut self.rng);
                    storage.crash(how, &mut self.rng);
                }
            }
        }
        Err(fail("always_starts", "it does not".into()))
    }

    /// New shards get what the store has. Returns what that is.
    fn recover(&mut self, count: usize) -> Result<Stored, KeeperError> {
        self.start_shards(count);
        let now = self.shard_now();
        let (shards, storage) = (&mut self.shards, self.storage.as_mut());
        let storage = storage.expect("it is there");
        let mut stored = Stored::default();
        let mut sense = Ok(());
        let mut picture = |record: &Record<'_>| {
            if sense.is_ok() {
                sense = stored.apply(record);
            }
        };
        let mut each = |shard: usize, record: &Record<'_>, summary| {
            shards[shard].restore(record, summary);
        };
        let next = storage.recover(count, &mut self.rng, &mut picture, &mut each)?;
        sense
            .and_then(|()| stored.settle())
            .map_err(KeeperError::Nonsense)?;
        for shard in 0..count {
            self.shards[shard].restored(next.0, next.1, now, &mut self.effects[shard]);
            self.harvest(shard);
        }
        Ok(stored)
    }

    /// The shards tell each other that they are there; then clients are let in.
    fn begin_again(&mut self, stored: Stored) -> Result<(), Failure> {
        if let Some(storage) = &mut self.storage {
            storage.end_faults();
        }
        for _ in 0..MESSAGES_TO_RECOVER {
            if !self.shards.iter().any(Shard::is_recovering) {
                self.ledger.found = Some(stored);
                self.ledger.events.push(Event::Recovered);
                self.observe()?;
                self.ledger.recovered();
                return Ok(());
            }
            self.some_mail_arrives();
        }
        Err(fail("always_starts", "recovery does not end".into()))
    }

    /// Whatever damage has made of the log, shards take what can be read of it and do not panic.
    fn try_damaged_copy(&mut self, count: usize) {
        let storage = self.storage.as_mut().expect("it is there");
        let Some(mut copy) = storage.keeper().damaged_copy(&mut self.rng) else {
            return;
        };
        self.start_shards(count);
        let now = self.shard_now();
        let shards = &mut self.shards;
        let mut each = |shard: usize, record: &Record<'_>, summary| {
            shards[shard].restore(record, summary);
        };
        let next = copy.recover(count, &mut self.rng, &mut |_| {}, &mut each);
        if let Ok(next) = next {
            for (shard, fx) in self.shards.iter_mut().zip(&mut self.effects) {
                shard.restored(next.0, next.1, now, fx);
                shard.on_timer(now.plus_secs(60), fx);
            }
        }
    }
}

/// After so many portions of mail the shards must know that all are restored.
const MESSAGES_TO_RECOVER: usize = 10_000;
/// The last attempt to start is one without faults.
const ATTEMPTS_MAX: u32 = 4;
