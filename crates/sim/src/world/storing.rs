//! The store at work beside the shards, crashes, and what the next process finds.

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
        let done = match rng.below(100) {
            0..=29 => storage.append_some(rng),
            30..=44 => {
                storage.begin_sync();
                Ok(())
            }
            45..=59 => storage.end_sync(),
            60..=82 => {
                self.ticket_comes_back();
                return Ok(());
            }
            83..=90 => storage.maintain().map(|_| ()),
            91..=94 => {
                self.checkpoint();
                return Ok(());
            }
            95..=97 => {
                self.tell_pressure();
                return Ok(());
            }
            _ => {
                if storage.crash_one_in > 0 && rng.one_in(storage.crash_one_in / 20) {
                    let how = *rng.pick(&[Crash::Power, Crash::Power, Crash::Kill]);
                    return self.crash(how);
                }
                Ok(())
            }
        };
        self.survive(done)
    }

    /// A store that fails ends the process.
    fn survive<T>(&mut self, result: Result<T, KeeperError>) -> Result<(), Failure> {
        match result {
            Ok(_) | Err(KeeperError::Full) => Ok(()),
            Err(KeeperError::Broken(what)) => {
                if self.talks {
                    eprintln!("{:?} the store: {what}", self.ledger.now);
                }
                self.crash(Crash::Kill)
            }
        }
    }

    pub(super) fn ticket_comes_back(&mut self) -> bool {
        let storage = self.storage.as_mut();
        let ticket = storage.and_then(|storage| storage.ticket_comes_back(&mut self.rng));
        let Some((shard, ticket)) = ticket else {
            return false;
        };
        let now = self.shard_now();
        self.shards[shard].on_store_done(ticket, now, &mut self.effects[shard]);
        self.harvest(shard);
        true
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
        moved |= self.checkpoint();
        moved |= self.tell_pressure();
        Ok(moved)
    }

    /// What the log says is what the shards know: a checkpoint of every slot changes nothing.
    pub(crate) fn compare_log_and_shards(&mut self) -> Result<(), Failure> {
        let sound = |picture: Result<_, String>| picture.map_err(|what| fail("log_is_sound", what));
        let Some(storage) = &mut self.storage else {
            return Ok(());
        };
        let before = sound(storage.picture())?;
        if self.rng.one_in(2) {
            return Ok(());
        }
        (0..=u8::MAX).for_each(|slot| self.checkpoint_slot(slot));
        self.come_to_rest()?;
        let storage = self.storage.as_mut().expect("it was there");
        let after = sound(storage.picture())?;
        match before.difference(&after) {
            None => Ok(()),
            Some(what) => Err(fail("log_is_state", what)),
        }
    }

    /// The process ends without being asked, and another one begins.
    pub(super) fn crash(&mut self, how: Crash) -> Result<(), Failure> {
        self.trace(6, usize::from(how == Crash::Power), &[]);
        if self.talks {
            eprintln!("{:?} CRASH {how:?}", self.ledger.now);
        }
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
        self.recover(count)
    }

    /// New shards get what the store has.
    fn recover(&mut self, count: usize) -> Result<(), Failure> {
        self.start_shards(count);
        let now = self.shard_now();
        let (shards, storage) = (&mut self.shards, self.storage.as_mut());
        let storage = storage.expect("it is there");
        let mut stored = Stored::default();
        let mut sense = Ok(());
        let recovered = storage.recover(count, &mut |shard, record| {
            if sense.is_ok() {
                sense = stored.apply(record);
            }
            shards[shard].restore(record, now);
        });
        let next = match recovered {
            Ok(next) => next,
            Err(error) => return Err(fail("always_starts", format!("{error:?}"))),
        };
        sense
            .and_then(|()| stored.settle())
            .map_err(|what| fail("log_is_sound", what))?;
        for shard in 0..count {
            self.shards[shard].restored(next.0, next.1, now, &mut self.effects[shard]);
            self.harvest(shard);
        }
        for _ in 0..MESSAGES_TO_RECOVER {
            if !self.shards.iter().any(martlet_engine::Shard::is_recovering) {
                self.ledger.recovered = Some(stored);
                self.ledger.events.push(Event::Recovered);
                return self.observe();
            }
            self.some_mail_arrives();
        }
        Err(fail("always_starts", "recovery does not end".into()))
    }
}

/// After so many portions of mail the shards must know that all are restored.
const MESSAGES_TO_RECOVER: usize = 10_000;
