//! Reading single bodies beside a log that goes on: cleaning moves them, and their files are used anew.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic; and not every file needs every one of these"
)]

mod support;

use martlet_engine::BodyId;
use martlet_store::suite::{Churn, Model, every_body_can_be_read};
use martlet_store::{BodyPlace, BodyReader, Log, RealDisk, Store};
use tempfile::TempDir;

use support::{maintain, open, overwrite, segments};

fn places(log: &mut Log<RealDisk>, model: &Model) -> Vec<BodyPlace> {
    let bodies: Vec<BodyId> = model.bodies().collect();
    let places = bodies.into_iter().map(|body| log.place_of(body).unwrap());
    places.map(Option::unwrap).collect()
}

#[test]
fn a_place_is_good_or_known_to_be_old() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let mut reader = BodyReader::new(RealDisk::new(folder.path()));
    let mut churn = Churn::new(3);
    churn.payload_bytes_max = 3_000;
    let (mut good, mut old) = (0, 0);
    for round in 0..40 {
        churn.drain_percent = if round % 2 == 0 { 60 } else { 160 };
        for _ in 0..10 {
            log.append(&churn.batch(10)).unwrap();
            log.sync().unwrap();
        }
        let mut held = places(&mut log, &churn.model);
        let before = churn.model.clone();
        for _ in 0..4 * round {
            log.append(&churn.batch(10)).unwrap();
            log.sync().unwrap();
            maintain(&mut log, &churn);
        }
        reader.read(&mut held, &mut |place, found| match found {
            Some(found) => {
                assert!(before.is_body(place.body(), found), "another body");
                good += 1;
            }
            None => old += 1,
        });
        if round % 7 == 0 {
            reader.rest();
        }
        // Asked for again, all of them are there.
        let mut again = places(&mut log, &churn.model);
        reader.read(&mut again, &mut |place, found| {
            assert!(churn.model.is_body(place.body(), found.unwrap()));
        });
        every_body_can_be_read(&mut log, &churn.model);
    }
    assert!(good > 1_000 && old > 10, "{good} good, {old} old");
    assert!(log.stats().cleaned_segments > 3, "{:?}", log.stats());
}

#[test]
fn a_body_is_unwritten_until_somebody_has_to_know_where_it_is() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let mut churn = Churn::new(5);
    log.append(&churn.batch(200)).unwrap();
    log.sync().unwrap();
    let stable: Vec<BodyId> = churn.model.bodies().collect();
    assert!(!stable.is_empty());
    assert!(stable.iter().all(|body| !log.is_unwritten(*body)));
    log.append(&churn.batch(200)).unwrap();
    let new = churn.model.bodies().find(|body| !stable.contains(body));
    let new = new.unwrap();
    assert!(log.is_unwritten(new));
    assert!(log.place_of(new).unwrap().is_some());
    assert!(!log.is_unwritten(new));
    let unknown = BodyId::new(u64::MAX).unwrap();
    assert!(!log.is_unwritten(unknown), "there is nothing to write");
}

#[test]
fn a_body_that_is_damaged_is_not_given() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let mut churn = Churn::new(5);
    for _ in 0..5 {
        log.append(&churn.fill(4)).unwrap();
    }
    log.sync().unwrap();
    let mut held = places(&mut log, &churn.model);
    assert!(held.len() > 5);
    let path = segments(folder.path())[0].clone();
    let end = usize::try_from(support::end_of(&path)).unwrap();
    // All that was written, but for the header of the file.
    overwrite(&path, 4_096, &vec![0x55; end - 4_096]);
    let mut reader = BodyReader::new(RealDisk::new(folder.path()));
    let mut asked = 0;
    reader.read(&mut held, &mut |_, found| {
        assert!(found.is_none());
        asked += 1;
    });
    assert_eq!(asked, held.len());
    for place in held {
        let read = log.read_body(place.body(), &mut |_| panic!("it is damaged"));
        assert!(!read.unwrap());
    }
}
