//! Disks that are full or broken, under a log that is at work.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by a panic; and not every file needs every one of these"
)]

mod support;

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use martlet_store::suite::{Churn, Model, restored};
use martlet_store::{
    Durability, FullBecause, Log, Maintenance, OpenError, RealDisk, Settings, Store, StoreError,
};
use tempfile::TempDir;

use support::faulty::{Faulty, Orders};
use support::{SEGMENT, content, settings};

fn open_faulty(folder: &Path) -> (Log<Faulty>, Orders) {
    open_durable(folder, Durability::Fsync)
}

fn open_durable(folder: &Path, durability: Durability) -> (Log<Faulty>, Orders) {
    let disk = Faulty::new(RealDisk::new(folder));
    let orders = disk.orders.clone();
    let settings = Settings {
        durability,
        ..settings()
    };
    let (log, _) = Log::open(disk, settings).unwrap();
    (log, orders)
}

/// Appends until the store is full; the batch that was refused.
fn fill(log: &mut Log<Faulty>, churn: &mut Churn) -> (Vec<u8>, Model) {
    for _ in 0..10_000 {
        let before = churn.model.clone();
        let batch = churn.batch(10);
        match log.append(&batch) {
            Ok(()) => {}
            Err(StoreError::Full(_)) => return (batch, before),
            Err(error) => panic!("{error}"),
        }
        log.sync().unwrap();
        // No checkpoint is written, so nothing can be cleaned.
        log.maintain().unwrap();
    }
    panic!("it is never full");
}

/// Past the system's cache where the device is waited for, and never where frames are written into the cache.
#[test]
fn a_new_segment_is_filled_where_its_frames_will_go() {
    for (durability, in_blocks) in [(Durability::Fsync, 1), (Durability::Os, 0)] {
        let folder = TempDir::new().unwrap();
        let (mut log, orders) = open_durable(folder.path(), durability);
        log.append(&Churn::new(1).batch(10)).unwrap();
        log.sync().unwrap();
        while log.maintain().unwrap() == Maintenance::Busy {}
        let zeros = orders.zeros.map(|bytes| bytes.load(SeqCst) as u64);
        assert!(zeros[in_blocks] >= SEGMENT, "{durability:?}: {zeros:?}");
        assert_eq!(zeros[1 - in_blocks], 0, "{durability:?}");
    }
}

#[test]
fn a_full_disk_refuses_batches_and_goes_on_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let (mut log, orders) = open_faulty(folder.path());
    let mut churn = Churn::new(1);
    churn.drain_percent = 0;
    for _ in 0..3 {
        while log.maintain().unwrap() == Maintenance::Busy {}
        orders.full.store(true, SeqCst);
        let (refused, before) = fill(&mut log, &mut churn);
        for _ in 0..10 {
            let result = log.append(&refused);
            assert!(matches!(result, Err(StoreError::Full(FullBecause::Disk))));
            log.sync().unwrap();
            log.maintain().unwrap();
        }
        // What had been taken is safe, whatever happens now.
        assert_eq!(content(support::copy_of(folder.path()).path()), before);
        orders.full.store(false, SeqCst);
        log.append(&refused).unwrap();
        log.sync().unwrap();
        assert_eq!(content(support::copy_of(folder.path()).path()), churn.model);
    }
}

#[test]
fn the_stores_own_limit_is_kept() {
    let folder = TempDir::new().unwrap();
    let limited = Settings {
        size_bytes_max: Some(5 * SEGMENT),
        ..settings()
    };
    let (mut log, _) = Log::open(Faulty::new(RealDisk::new(folder.path())), limited).unwrap();
    let mut churn = Churn::new(2);
    churn.drain_percent = 0;
    let (refused, _) = fill(&mut log, &mut churn);
    let result = log.append(&refused);
    let full = FullBecause::Limit(5 * SEGMENT);
    assert!(matches!(result, Err(StoreError::Full(because)) if because == full));
    assert!(log.stats().total_bytes <= 5 * SEGMENT);
}

/// What a full store holds may be garbage by now: cleaning has kept room for itself.
#[test]
fn a_full_store_cleans_itself() {
    let folder = TempDir::new().unwrap();
    let (mut log, orders) = open_faulty(folder.path());
    let mut churn = Churn::new(3);
    churn.payload_bytes_max = 50;
    churn.sessions_max = 4;
    churn.drain_percent = 400;
    while log.stats().segments < 6 {
        log.append(&churn.batch(10)).unwrap();
        log.sync().unwrap();
        log.maintain().unwrap();
    }
    orders.full.store(true, SeqCst);
    let (refused, before) = fill(&mut log, &mut churn);
    let after = std::mem::replace(&mut churn.model, before);
    // The checkpoints that were asked for until now did not come: they are asked for again, after a while.
    for _ in 0..50_000 {
        match log.maintain().unwrap() {
            Maintenance::WantsCheckpoint(slot) => log.append(&churn.checkpoint(slot)).unwrap(),
            Maintenance::Busy | Maintenance::Later | Maintenance::Idle => {}
        }
        log.sync().unwrap();
        if log.append(&refused).is_ok() {
            log.sync().unwrap();
            drop(log);
            assert_eq!(content(folder.path()), after);
            return;
        }
    }
    panic!("{:?}", log.stats());
}

/// Messages are held back as soon as there is no next segment; those under way still fit, and so does all that ends messages
/// and the checkpoints in between, in whatever order they come, until there is room again.
#[test]
fn a_store_at_its_limit_takes_what_makes_room() {
    for (seed, payload, segments) in [(0, 20, 6), (1, 300, 7), (2, 3_000, 8), (3, 3_000, 12)] {
        let folder = TempDir::new().unwrap();
        let limited = Settings {
            size_bytes_max: Some(segments * SEGMENT),
            ..settings()
        };
        let (mut log, _) = Log::open(RealDisk::new(folder.path()), limited).unwrap();
        let mut churn = Churn::new(seed);
        churn.payload_bytes_max = payload;
        churn.sessions_max = 10;
        for _ in 0..2 {
            while !log.is_short_of_room() {
                put(&mut log, &churn.fill(10));
                support::maintain(&mut log, &churn);
            }
            for _ in 0..3 {
                put(&mut log, &churn.fill(4));
            }
            let mut idle = 0;
            while log.is_short_of_room() {
                let batch = churn.drain(2);
                if !batch.is_empty() {
                    put(&mut log, &batch);
                }
                let is_busy = support::maintain(&mut log, &churn);
                idle = if batch.is_empty() && !is_busy {
                    idle + 1
                } else {
                    0
                };
                assert!(idle < 20_000, "seed {seed}, {payload}: {:?}", log.stats());
            }
            assert!(log.stats().total_bytes <= segments * SEGMENT);
        }
        drop(log);
        assert_eq!(content(folder.path()), churn.model);
    }
}

fn put(log: &mut impl Store, batch: &[u8]) {
    log.append(batch).unwrap();
    log.sync().unwrap();
}

#[test]
fn short_writes_are_gone_on_with() {
    let folder = TempDir::new().unwrap();
    let (mut log, orders) = open_faulty(folder.path());
    orders.short.store(100, SeqCst);
    let mut churn = Churn::new(4);
    for _ in 0..100 {
        log.append(&churn.batch(10)).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    assert_eq!(content(folder.path()), churn.model);
}

/// An I/O error at each call, in turn.
#[test]
fn after_an_error_nothing_is_acknowledged_and_what_was_is_there() {
    for call in 1.. {
        let folder = TempDir::new().unwrap();
        let (mut log, orders) = open_faulty(folder.path());
        let from = orders.calls.load(SeqCst);
        orders.fails_at.store(from + call, SeqCst);
        let mut churn = Churn::new(5);
        churn.payload_bytes_max = 3_000;
        churn.drain_percent = 400;
        let (stable, error) = work(&mut log, &mut churn);
        let Some(error) = error else {
            assert!(
                !orders.failed.load(SeqCst),
                "an error went unseen at call {call}"
            );
            assert!(call > 100, "{call}");
            return;
        };
        let StoreError::Poisoned(failed) = &error else {
            panic!("{error}");
        };
        assert_eq!(Some(&failed.call), orders.failed_call.get(), "{error}");
        assert!(failed.path.starts_with("log"), "{error}");
        // For ever, though the disk works again.
        for result in [
            log.append(&churn.batch(3)),
            log.sync(),
            log.maintain().map(|_| ()),
        ] {
            assert!(matches!(result, Err(StoreError::Poisoned(_))), "{result:?}");
        }
        drop(log);
        let found = content(folder.path());
        let position = stable.iter().rposition(|model| *model == found);
        assert!(position.is_some(), "call {call}: what was synced is lost");
    }
}

/// A full disk at each call, in turn, for one call.
#[test]
fn a_moment_of_no_space_is_gone_over() {
    for call in 1.. {
        let folder = TempDir::new().unwrap();
        let (mut log, orders) = open_faulty(folder.path());
        orders.error.store(1, SeqCst);
        let from = orders.calls.load(SeqCst);
        orders.fails_at.store(from + call, SeqCst);
        let mut churn = Churn::new(6);
        churn.payload_bytes_max = 3_000;
        churn.drain_percent = 400;
        let (stable, error) = work(&mut log, &mut churn);
        drop(log);
        let found = content(folder.path());
        match error {
            // A sync that fails is never good, whatever it says.
            Some(StoreError::Poisoned(_)) => assert!(stable.contains(&found), "call {call}"),
            Some(error) => panic!("{error}"),
            None => assert_eq!(found, churn.model, "call {call}"),
        }
        if !orders.failed.load(SeqCst) {
            return;
        }
    }
}

/// Works until an error; the states that may be found then, the last one that was acknowledged and those after it.
fn work(log: &mut Log<Faulty>, churn: &mut Churn) -> (Vec<Model>, Option<StoreError>) {
    let mut possible = vec![churn.model.clone()];
    for _ in 0..60 {
        for _ in 0..3 {
            let batch = churn.batch(10);
            // It may be in the file though it was never acknowledged.
            possible.push(churn.model.clone());
            if let Err(error) = again(|| log.append(&batch)) {
                return (possible, Some(error));
            }
        }
        match again(|| log.sync()) {
            Ok(()) => possible = vec![churn.model.clone()],
            Err(error) => return (possible, Some(error)),
        }
        for _ in 0..4 {
            let result = match log.maintain() {
                Ok(Maintenance::WantsCheckpoint(slot)) => {
                    let batch = churn.checkpoint(slot);
                    again(|| log.append(&batch))
                }
                result => result.map(|_| ()),
            };
            if let Err(error) = result {
                return (possible, Some(error));
            }
        }
    }
    (possible, None)
}

/// Tries the same again while there is no room.
fn again(mut what: impl FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
    for _ in 0..3 {
        match what() {
            Err(StoreError::Full(_)) => {}
            result => return result,
        }
    }
    panic!("full for longer than one call");
}

/// Whatever fails while a store is opened: it is said, and the next try finds everything.
#[test]
fn an_error_while_opening_costs_nothing() {
    let original = TempDir::new().unwrap();
    let mut churn = Churn::new(7);
    {
        let (mut log, _) = open_faulty(original.path());
        churn.payload_bytes_max = 3_000;
        let (_, error) = work(&mut log, &mut churn);
        assert!(error.is_none());
    }
    // Something to put right, too.
    support::damage_middle(original.path());
    let expected = content(support::copy_of(original.path()).path());
    for error in [0, 1] {
        for call in 1.. {
            let folder = support::copy_of(original.path());
            let disk = Faulty::new(RealDisk::new(folder.path()));
            let orders = disk.orders.clone();
            orders.error.store(error, SeqCst);
            orders.fails_at.store(call, SeqCst);
            match Log::open(disk, settings()) {
                Ok((mut log, _)) => assert_eq!(restored(&mut log, 1), expected),
                Err(OpenError::Io { .. }) => {
                    assert_eq!(content(folder.path()), expected, "call {call}");
                }
                Err(error) => panic!("{error}"),
            }
            assert_eq!(content(folder.path()), expected, "call {call}");
            if !orders.failed.load(SeqCst) {
                assert!(call > 5);
                break;
            }
        }
    }
}
