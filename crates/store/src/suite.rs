//! What every store has to do, as tests for any: [`run`] them with a [`Subject`].
//!
//! Also what they are made of: [`Churn`] writes random batches, and [`Model`] is what a store has to give back.

mod churn;
mod model;
mod session;

pub use churn::Churn;
pub use model::Model;

use std::collections::{BTreeMap, BTreeSet};

use martlet_engine::{BodySummary, Record};

use crate::store::{BadBatch, Maintenance, Store, StoreError};

/// Makes stores to be tested.
pub trait Subject {
    /// What it makes.
    type Store: Store;

    /// An empty store.
    fn fresh(&mut self) -> Self::Store;

    /// What is there when the store's process has ended without a word, and a new one has opened it.
    fn reopen(&mut self, store: Self::Store) -> Self::Store;
}

/// Runs every case, and panics at the first that fails.
pub fn run(subject: &mut impl Subject) {
    nothing_is_in_an_empty_store(subject);
    what_was_synced_comes_back(subject);
    slots_go_to_their_shards(subject);
    a_checkpoint_voids_what_was_before(subject);
    a_batch_that_is_none_is_refused(subject);
    random_work_comes_back(subject);
}

/// What a store gives back, as a model: whatever the number of shards.
///
/// # Panics
/// If it does not, or a record comes to a shard that it does not belong to, or before the body that it refers to.
pub fn restored(store: &mut impl Store, shard_count: usize) -> Model {
    let mut shards = vec![(Model::new(), BTreeSet::new()); shard_count];
    let mut whole = Model::new();
    let result = store.replay(shard_count, &mut |shard, record| {
        let Some((model, bodies)) = shards.get_mut(shard) else {
            assert!(
                shard < shard_count,
                "a record for shard {shard} of {shard_count}"
            );
            return;
        };
        if let Record::Body { body, .. } = record {
            assert!(
                bodies.insert(body.as_u64()),
                "{body:?} comes to shard {shard} once, before anything refers to it"
            );
        }
        // One that is not there by now must not come any more.
        bodies.extend(crate::counting::changes(record).map(|(body, _)| body));
        if let Some(slot) = record.slot() {
            assert_eq!(usize::from(slot) % shard_count, shard, "{record:?}");
        }
        model.apply(record);
        whole.apply(record);
    });
    assert!(result.is_ok(), "it can be read back: {result:?}");
    shards_get_the_same(store, shard_count);
    whole.forget_unreferred();
    whole
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "three kinds of records begin a reference"
)]
/// What [`Store::restore`] gives is what [`Store::replay`] gives, with summaries in place of some bodies.
fn shards_get_the_same(store: &mut impl Store, shard_count: usize) {
    let mut summaries = BTreeMap::new();
    let mut expected = vec![Vec::new(); shard_count];
    must(store.replay(shard_count, &mut |shard, record| {
        if let Record::Body { body, message } = record {
            summaries.insert(*body, BodySummary::of(message));
        } else if let Some(records) = expected.get_mut(shard) {
            record.encode(records);
        }
    }));
    let mut found = vec![(Vec::new(), BTreeSet::new()); shard_count];
    must(store.restore(shard_count, &mut |shard, record, summary| {
        let Some((records, whole)) = found.get_mut(shard) else {
            return;
        };
        if let Record::Body { body, message } = record {
            assert_eq!(summaries.get(body), Some(&BodySummary::of(message)));
            assert!(whole.insert(*body), "{body:?} comes once");
            return;
        }
        record.encode(records);
        let is_queued = matches!(record, Record::Queued { .. });
        let named = match record {
            Record::Queued { body, .. }
            | Record::Retained { body, .. }
            | Record::GroupQueued { body, .. } => Some(body),
            _other => None,
        };
        if summary.is_some() {
            assert!(is_queued, "{record:?}");
            let known = named.and_then(|body| summaries.get(body));
            assert_eq!(summary.as_ref(), known, "{record:?}");
            return;
        }
        if let Some(body) = named.filter(|body| summaries.contains_key(*body)) {
            assert!(whole.contains(body), "{body:?} is there before {record:?}");
        }
    }));
    let found: Vec<Vec<u8>> = found.into_iter().map(|(records, _)| records).collect();
    assert!(found == expected, "the same records, in the same order");
}

/// Carries out maintenance until there is none left; `churn` writes the checkpoints that are wanted.
///
/// # Panics
/// If it fails, or does not end.
pub fn settle(store: &mut impl Store, churn: &Churn) {
    for _ in 0..100_000 {
        match store.maintain() {
            Ok(Maintenance::Idle) => return,
            Ok(Maintenance::Busy | Maintenance::Later) => {}
            Ok(Maintenance::WantsCheckpoint(slot)) => must(store.append(&churn.checkpoint(slot))),
            Err(error) => must(Err(error)),
        }
        must(store.sync());
    }
    assert!(false_of("maintenance that ends"), "maintenance ends");
}

/// Reads every body that something refers to.
///
/// # Panics
/// If one is not what it was.
pub fn every_body_can_be_read(store: &mut impl Store, model: &Model) {
    for body in model.bodies() {
        let mut same = false;
        let read = store.read_body(body, &mut |message| same = model.is_body(body, message));
        assert!(matches!(read, Ok(true)), "{body:?}: {read:?}");
        assert!(same, "{body:?} is what it was");
    }
}

fn nothing_is_in_an_empty_store(subject: &mut impl Subject) {
    let mut store = subject.fresh();
    assert_eq!(restored(&mut store, 3), Model::new());
    must(store.sync());
    let mut store = subject.reopen(store);
    assert_eq!(restored(&mut store, 1), Model::new());
    assert_eq!(store.stats().bodies, 0);
}

fn what_was_synced_comes_back(subject: &mut impl Subject) {
    let mut store = subject.fresh();
    let mut churn = Churn::new(1);
    for _ in 0..20 {
        must(store.append(&churn.batch(5)));
    }
    must(store.sync());
    let mut store = subject.reopen(store);
    assert_eq!(restored(&mut store, 2), churn.model);
    every_body_can_be_read(&mut store, &churn.model);
    // Reading it back changes nothing.
    let mut store = subject.reopen(store);
    assert_eq!(restored(&mut store, 2), churn.model);
    // And it goes on where it was.
    must(store.append(&churn.batch(5)));
    must(store.sync());
    let mut store = subject.reopen(store);
    assert_eq!(restored(&mut store, 2), churn.model);
}

fn slots_go_to_their_shards(subject: &mut impl Subject) {
    let mut store = subject.fresh();
    let mut churn = Churn::new(2);
    for _ in 0..50 {
        must(store.append(&churn.batch(10)));
    }
    must(store.sync());
    for shard_count in [1, 2, 3, 7, 64] {
        store = subject.reopen(store);
        assert_eq!(restored(&mut store, shard_count), churn.model);
    }
}

fn a_checkpoint_voids_what_was_before(subject: &mut impl Subject) {
    let mut store = subject.fresh();
    let mut churn = Churn::new(3);
    for _ in 0..50 {
        must(store.append(&churn.batch(10)));
    }
    // Slots that have nothing have checkpoints, too.
    for slot in 0..=255 {
        must(store.append(&churn.checkpoint(slot)));
    }
    must(store.append(&churn.batch(10)));
    must(store.sync());
    let mut store = subject.reopen(store);
    let mut begun = [0; 256];
    must(store.replay(1, &mut |_, record| {
        if let Record::SlotBegin { slot } = record
            && let Some(count) = begun.get_mut(usize::from(*slot))
        {
            *count += 1;
        }
    }));
    assert_eq!(begun, [1; 256], "every slot begins once");
    assert_eq!(restored(&mut store, 1), churn.model);
}

fn a_batch_that_is_none_is_refused(subject: &mut impl Subject) {
    let mut store = subject.fresh();
    let mut begun = Vec::new();
    Record::SlotBegin { slot: 9 }.encode(&mut begun);
    let mut ended = Vec::new();
    Record::SlotEnd { slot: 9 }.encode(&mut ended);
    let mut other = begun.clone();
    Record::SlotEnd { slot: 8 }.encode(&mut other);
    for bad in [&b""[..], b"\x05xx", &begun, &ended, &other] {
        let result = store.append(bad);
        assert!(
            matches!(result, Err(StoreError::Invalid(_))),
            "{bad:?}: {result:?}"
        );
    }
    assert!(matches!(
        store.append(&begun),
        Err(StoreError::Invalid(BadBatch::Checkpoint(9)))
    ));
    // It is none the worse for it.
    let mut churn = Churn::new(4);
    must(store.append(&churn.batch(5)));
    must(store.sync());
    let mut store = subject.reopen(store);
    assert_eq!(restored(&mut store, 1), churn.model);
}

fn random_work_comes_back(subject: &mut impl Subject) {
    for seed in 10..14 {
        let mut store = subject.fresh();
        let mut churn = Churn::new(seed);
        churn.payload_bytes_max = 2_000;
        for round in 0..8 {
            for _ in 0..60 {
                must(store.append(&churn.batch(8)));
                if churn.below(4) == 0 {
                    must(store.sync());
                    step(&mut store, &churn);
                }
            }
            must(store.sync());
            settle(&mut store, &churn);
            let stable = churn.model.clone();
            // This may come back or not, but only as far as it was written.
            let mut possible = vec![stable.clone()];
            for _ in 0..churn.below(4) {
                must(store.append(&churn.batch(3)));
                possible.push(churn.model.clone());
            }
            store = subject.reopen(store);
            let found = restored(&mut store, 1 + round % 4);
            assert!(possible.contains(&found), "seed {seed}, round {round}");
            assert_eq!(
                (store.stats().bodies, store.stats().references),
                found.references(),
                "seed {seed}, round {round}"
            );
            churn.resume(found);
        }
    }
}

/// One piece of maintenance.
fn step(store: &mut impl Store, churn: &Churn) {
    match store.maintain() {
        Ok(Maintenance::WantsCheckpoint(slot)) => must(store.append(&churn.checkpoint(slot))),
        result => must(result.map(|_| ())),
    }
}

fn must(result: Result<(), StoreError>) {
    let error = result.err();
    assert!(error.is_none(), "{error:?}");
}

/// For an `assert!` that must not be reached.
const fn false_of(_: &str) -> bool {
    false
}
