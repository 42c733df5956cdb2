//! Bodies in rows and single ones: each kind by itself, and both beside a map that knows neither.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pages::STEP;
use super::*;

#[test]
fn every_flipped_bit_changes_the_checksum() {
    for len in [1, 7, 8, 16, 17, 40, 255, 256, 257, 300, 1_000] {
        let record: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
        let good = checksum(&record);
        for bit in 0..len * 8 {
            let mut other = record.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(&other), good, "bit {bit} of {len} bytes");
        }
        assert_ne!(checksum(&record[..len - 1]), good, "{len} bytes cut short");
        assert_ne!(checksum(&vec![0; len]), checksum(&vec![0; len + 1]));
    }
}

fn at(offset: u32) -> Location {
    Location {
        generation: 1,
        offset,
        len: 10,
    }
}

fn let_go(bodies: &mut Bodies, id: u64) {
    assert_eq!(bodies.unrefer(id, 1), 0);
    assert_eq!(freed(bodies), [(1, 10)], "something else refers to {id}");
}

fn freed(bodies: &mut Bodies) -> Vec<(u32, u64)> {
    let mut freed = Vec::new();
    bodies.remove_lost(|generation, bytes| freed.push((generation, bytes)));
    freed
}

#[test]
fn a_body_is_there_as_long_as_something_refers_to_it() {
    let mut bodies = Bodies::default();
    assert_eq!(bodies.put(7, at(1), 0), None);
    assert_eq!((bodies.refer(7, 1), bodies.refer(7, 1)), (0, 0));
    assert_eq!(bodies.put(7, at(2), 0), Some(at(1)), "it has moved");
    assert_eq!(bodies.unrefer(7, 1), 0);
    assert_eq!(freed(&mut bodies), []);
    assert_eq!(bodies.unrefer(7, 1), 0);
    assert_eq!(bodies.unrefer(7, 1), 1, "nothing refers to it");
    assert_eq!(freed(&mut bodies), [(1, 10)]);
    assert_eq!(freed(&mut bodies), [], "not a second time");
    assert_eq!((bodies.len(), bodies.references()), (0, 0));
    assert_eq!(bodies.refer(7, 1), 1);
}

#[test]
fn an_entry_costs_few_bytes() {
    assert_eq!(size_of::<Entry>(), 28);
    for id in [1, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let mut bodies = Bodies::default();
        bodies.put(id, at(1), 9);
        assert_eq!(bodies.location_and_checksum(id), Some((at(1), 9)));
        assert_eq!(bodies.location_and_checksum(id - 1), None);
    }
}

#[test]
fn places_are_used_again() {
    let mut bodies = Bodies::default();
    for id in 1..10_000 {
        bodies.put(id, at(1), 0);
        bodies.refer(id, 1);
        if id > 10 {
            let_go(&mut bodies, id - 10);
        }
    }
    assert_eq!(bodies.len(), 10);
    assert!(bodies.entries.len() <= 11);
}

#[test]
fn a_place_that_is_near_is_found_only_while_a_body_is_there() {
    let mut bodies = Bodies::default();
    for id in [10, 20, 30, 40] {
        bodies.put(id, at(1), 0);
        bodies.refer(id, 1);
    }
    let_go(&mut bodies, 20);
    bodies.unrefer(30, 1);
    bodies.settle();
    for near in 0..6 {
        assert_eq!(bodies.place_near(10, near), Some(0));
        assert_eq!(bodies.place_near(20, near), None);
        assert_eq!(bodies.place_near(30, near), None);
        assert_eq!(bodies.place_near(40, near), Some(3));
    }
    let places: Vec<u32> = bodies.places().map(|(place, _)| place).collect();
    assert_eq!(places, [0, 3]);
}

#[test]
fn counting_may_begin_before_a_body_is_found() {
    let mut bodies = Bodies::default();
    for id in [1, 2, 3] {
        let place = bodies.place_or_new(id).unwrap();
        assert_eq!(bodies.place_near(id, 0), Some(place));
        bodies.refer_ahead(place);
    }
    bodies.put(1, at(1), 0);
    bodies.put(2, at(2), 0);
    bodies.put(4, at(4), 0);
    bodies.unrefer_ahead(2);
    assert_eq!(bodies.settle(), 1, "3 was not found");
    assert_eq!((bodies.len(), bodies.references()), (1, 1));
    assert_eq!(bodies.location(1), Some(at(1)));
    assert_eq!(bodies.location(2), None);
}

/// A body as anybody would count it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    location: Location,
    checksum: u32,
    references: u64,
    is_lost: bool,
}

/// What the bodies ought to be.
#[derive(Debug, Default)]
struct Model(BTreeMap<u64, Known>);

impl Model {
    fn put(&mut self, id: u64, location: Location, checksum: u32) {
        let known = self.0.get(&id).copied();
        self.0.insert(
            id,
            Known {
                location,
                checksum,
                references: known.map_or(0, |known| known.references),
                is_lost: known.is_some_and(|known| known.is_lost),
            },
        );
    }

    fn count(&mut self, ids: impl Iterator<Item = u64>, more: bool) -> usize {
        let step = |known: &mut Known| {
            known.references = if more {
                Some(known.references + 1)
            } else {
                known.references.checked_sub(1)
            }?;
            known.is_lost |= known.references == 0;
            Some(())
        };
        let done = ids.map(|id| self.0.get_mut(&id).and_then(step));
        done.filter(Option::is_none).count()
    }

    fn remove_lost(&mut self) -> u64 {
        let mut freed = 0;
        self.0.retain(|_, known| {
            let stays = known.references > 0 || !known.is_lost;
            known.is_lost = false;
            freed += if stays { 0 } else { known.location.len.into() };
            stays
        });
        freed
    }
}

/// Does the same to both; whether a row came of it.
fn step(
    round: u32,
    bodies: &mut Bodies,
    model: &mut Model,
    mut pick: impl FnMut(u64) -> u64,
) -> bool {
    // Of two shards, with ids that many rows and pages begin and end between.
    let first = (100 + u64::from(round) / 8 + pick(60)) * STEP + pick(2) + 1;
    let count = usize::try_from(1 + pick(8)).unwrap();
    let ids = (0..count).map(|place| nth(first, place));
    match pick(16) {
        0..4 => {
            let location = Location {
                generation: round,
                ..at(1_000)
            };
            let sums: Vec<u32> = (round..).take(count).collect();
            if !bodies.put_row(first, location, &sums) {
                assert!(count < 3 || ids.clone().any(|id| model.0.contains_key(&id)));
                return false;
            }
            for (place, id) in ids.enumerate() {
                // Counted here, not by what is tested.
                let offset = location.offset + 10 * u32::try_from(place).unwrap();
                model.put(id, Location { offset, ..location }, sums[place]);
            }
            return true;
        }
        4 => {
            let before = bodies.put(first, at(round), round);
            assert_eq!(before, model.0.get(&first).map(|known| known.location));
            model.put(first, at(round), round);
        }
        5..9 => assert_eq!(bodies.refer(first, count), model.count(ids, true)),
        9 => (0..300).for_each(|_| {
            assert_eq!(bodies.refer(first, count), model.count(ids.clone(), true));
        }),
        10..15 => {
            let often = if pick(20) == 0 { 400 } else { 1 };
            for _ in 0..often {
                let missing = model.count(ids.clone(), false);
                assert_eq!(bodies.unrefer(first, count), missing);
            }
        }
        _ => {
            let freed = freed(bodies);
            let bytes: u64 = freed.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(bytes, model.remove_lost());
        }
    }
    for id in (0..8).map(|place| nth(first, place)) {
        let known = model.0.get(&id);
        let known = known.map(|known| (known.location, known.checksum));
        assert_eq!(bodies.location_and_checksum(id), known, "{id}");
    }
    false
}

/// What comes in rows and goes in others, is moved, referred to more often than a row can count, and put where something is
/// already.
#[test]
fn rows_and_single_ones_count_what_a_map_counts() {
    let (mut bodies, mut model) = (Bodies::default(), Model::default());
    let (mut chance, mut rows, mut most) = (11_u64, 0, 0);
    let mut pick = |below: u64| {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (chance >> 33) % below
    };
    for round in 0..20_000_u32 {
        rows += usize::from(step(round, &mut bodies, &mut model, &mut pick));
        most = most.max(bodies.in_rows);
        if round % 16 == 0 {
            assert_eq!(bodies.len(), model.0.len());
            let references = model.0.values().map(|known| known.references);
            assert_eq!(bodies.references(), references.sum::<u64>());
        }
    }
    assert!(rows > 500 && most > 100, "{rows} {most}");
    let places = |at: &Location| (at.generation, at.offset);
    let found: BTreeSet<_> = bodies.locations().map(|at| places(&at)).collect();
    let expected = model.0.values().map(|known| places(&known.location));
    assert_eq!(found, expected.collect());
    // Everything goes; nothing is left that is used.
    for (id, known) in &model.0 {
        bodies.refer(*id, 1);
        (0..=known.references).for_each(|_| assert_eq!(bodies.unrefer(*id, 1), 0));
    }
    bodies.remove_lost(|_, _| {});
    let left = (bodies.len(), bodies.references(), bodies.in_rows);
    assert_eq!(left, (0, 0, 0));
    assert_eq!(bodies.rows.len(), bodies.free_rows.len());
    assert_eq!(bodies.entries.len(), bodies.free.len());
}

/// What nearly everything comes in: that it is cheap must not be lost unseen.
#[test]
fn what_comes_together_is_in_rows() {
    let mut bodies = Bodies::default();
    assert!(bodies.put_row(STEP, at(0), &[0; 8]) && bodies.put_row(9 * STEP, at(80), &[0; 3]));
    assert!(
        !bodies.put_row(12 * STEP, at(110), &[0; 2]),
        "two are not worth it"
    );
    assert_eq!((bodies.in_rows, bodies.entries.len()), (11, 0));
    assert_eq!((bodies.refer(STEP, 11), bodies.unrefer(STEP, 11)), (0, 0));
    assert_eq!(bodies.lost.len(), 2, "rows are lost as one");
    assert_eq!(freed(&mut bodies), [(1, 30), (1, 80)]);
    assert!(bodies.put_row(STEP, at(0), &[0; 8]));
    assert_eq!(bodies.rows.len(), 2, "rows are used again");
}
