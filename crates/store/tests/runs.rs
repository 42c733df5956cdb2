//! Records that are written together are counted one by one, and a store that has them is like one that has them singly.

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

use martlet_codec::{PacketId, QoS, Version};
use martlet_engine::{
    Body, BodyId, Record, RecordRun, Records, RunOf, SessionId, StoredTerms, slot_of,
};
use martlet_store::tools::{DumpForm, backup, dump, verify};
use martlet_store::{Log, Maintenance, RealDisk, Store, StoreStats};
use tempfile::TempDir;

use support::{SEGMENT, open};

const CLIENT: &str = "client";
/// Messages in a run.
const COUNT: u64 = 16;
/// Messages that are not ended yet.
const UNDER_WAY: u64 = 64;

fn session() -> SessionId {
    SessionId::new(1, slot_of(CLIENT))
}

fn body(number: u64) -> BodyId {
    BodyId::new(number * 64).unwrap()
}

fn packet(number: u64) -> PacketId {
    PacketId::new(u16::try_from(number).unwrap()).unwrap()
}

fn begin() -> Vec<u8> {
    let mut batch = Vec::new();
    Record::Session {
        session: session(),
        client_id: CLIENT,
        version: Version::V5,
        expiry_s: 100,
    }
    .encode(&mut batch);
    batch
}

/// Messages with these numbers, and references to them.
fn messages(numbers: impl Iterator<Item = u64> + Clone) -> Vec<u8> {
    let mut batch = Vec::new();
    for number in numbers.clone() {
        let payload = payload(number);
        Record::Body {
            body: body(number),
            message: Body {
                topic: "t",
                shared_properties: &[],
                payload: &payload,
                qos: QoS::AtLeastOnce,
                retain: false,
                expires_at: None,
            },
        }
        .encode(&mut batch);
    }
    run(RunOf::Queued(QoS::AtLeastOnce), numbers, &mut batch);
    batch
}

fn payload(number: u64) -> Vec<u8> {
    format!("payload {number} ").repeat(20).into_bytes()
}

fn ends(numbers: impl Iterator<Item = u64>) -> Vec<u8> {
    steps(RunOf::Finished, numbers)
}

fn steps(what: RunOf, numbers: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut batch = Vec::new();
    run(what, numbers, &mut batch);
    batch
}

/// If such records name bodies.
fn body_of(what: RunOf, number: u64) -> Option<BodyId> {
    match what {
        RunOf::Queued(_) | RunOf::Finished | RunOf::Released => Some(body(number)),
        RunOf::Ended | RunOf::Received | RunOf::Completed => None,
    }
}

fn run(what: RunOf, mut numbers: impl Iterator<Item = u64>, batch: &mut Vec<u8>) {
    let first = numbers.next().unwrap();
    let mut run = RecordRun::new(what, session(), body_of(what, first), packet(first)).unwrap();
    for number in numbers {
        assert!(run.take(body_of(what, number), packet(number)));
    }
    run.encode(batch);
}

/// The same records, each on its own.
fn singly(batch: &[u8]) -> Vec<u8> {
    let mut single = Vec::new();
    for record in Records::new(batch) {
        record.unwrap().encode(&mut single);
    }
    single
}

fn counts(log: &Log<RealDisk>) -> (usize, u64, u64) {
    let stats = log.stats();
    (stats.bodies, stats.references, stats.dangling_references)
}

fn is_there(log: &mut Log<RealDisk>, number: u64) -> bool {
    let mut found = false;
    let read = log.read_body(body(number), &mut |message| {
        assert_eq!(message.payload, payload(number));
        found = true;
    });
    assert_eq!(read.unwrap(), found);
    found
}

#[test]
fn of_a_run_some_go_and_the_others_stay() {
    for what in [RunOf::Finished, RunOf::Released] {
        let folder = TempDir::new().unwrap();
        let (mut log, _) = open(folder.path());
        log.append(&[begin(), messages(1..=COUNT)].concat())
            .unwrap();
        assert_eq!(counts(&log), (16, 16, 0));
        log.append(&steps(what, 4..9)).unwrap();
        // Of what is released only the flow is left; what clients send are other flows.
        for flows in [RunOf::Ended, RunOf::Received, RunOf::Completed] {
            log.append(&steps(flows, 4..9)).unwrap();
        }
        log.sync().unwrap();
        assert_eq!(counts(&log), (11, 11, 0));
        for number in 1..=COUNT {
            assert_eq!(is_there(&mut log, number), !(4..9).contains(&number));
        }
        drop(log);
        let (mut log, recovery) = open(folder.path());
        assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
        assert_eq!((recovery.bodies, recovery.references), (11, 11));
        // Some of them once more: they are missed, the others go.
        log.append(&steps(what, 3..=COUNT)).unwrap();
        assert_eq!(counts(&log), (2, 2, 5));
        log.append(&steps(what, 1..3)).unwrap();
        assert_eq!(counts(&log), (0, 0, 5));
    }
}

/// What a log gives back, and what the tools say about it.
fn all_of(folder: &Path) -> (Vec<String>, Vec<String>, Vec<u8>) {
    let verified = verify(&mut RealDisk::new(folder), &mut |_| {}).unwrap();
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
    let mut lines = Vec::new();
    dump(&mut RealDisk::new(folder), DumpForm::JsonLines, &mut lines).unwrap();
    let (mut log, recovery) = open(folder);
    assert_eq!(
        (recovery.bodies, recovery.references, recovery.records),
        (verified.bodies, verified.references, verified.records)
    );
    let (mut replayed, mut restored) = (Vec::new(), Vec::new());
    log.replay(2, &mut |shard, record| {
        replayed.push(format!("{shard} {record:?}"));
    })
    .unwrap();
    log.restore(2, &mut |shard, record, summary| {
        restored.push(format!("{shard} {record:?} {summary:?}"));
    })
    .unwrap();
    (replayed, restored, lines)
}

#[test]
fn a_store_with_runs_gives_back_what_one_without_gives_back() {
    let folders = [(); 3].map(|()| TempDir::new().unwrap());
    let batches = [
        [begin(), messages(1..17), messages(17..20)].concat(),
        ends(3..9),
        [messages(20..40), ends(1..3), ends(9..12)].concat(),
        ends(20..21),
        [steps(RunOf::Released, 21..30), steps(RunOf::Received, 1..9)].concat(),
        [steps(RunOf::Ended, 22..25), steps(RunOf::Completed, 2..4)].concat(),
    ];
    for (folder, together) in folders.iter().zip([true, false]) {
        let (mut log, _) = open(folder.path());
        for batch in &batches {
            let batch = if together {
                batch.clone()
            } else {
                singly(batch)
            };
            log.append(&batch).unwrap();
        }
        log.close().unwrap();
    }
    let [run, single] = [0, 1].map(|n| all_of(folders[n].path()));
    assert_eq!(run.0, single.0);
    assert_eq!(run.1, single.1);
    let lines =
        |(_, _, lines): &(_, _, Vec<u8>)| String::from_utf8(lines.clone()).unwrap().lines().count();
    assert_eq!(lines(&run), lines(&single));
    let mut copy = RealDisk::new(folders[2].path().join("copy"));
    backup(
        &mut RealDisk::new(folders[0].path()),
        &mut copy,
        &mut |_| {},
    )
    .unwrap();
    drop(copy);
    let copied = all_of(&folders[2].path().join("copy"));
    assert_eq!((copied.0, copied.1), (run.0, run.1));
}

/// One message of each run is never acknowledged: segments are cleaned all the same, and it moves.
#[test]
fn what_is_left_of_runs_is_copied_forward() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    log.append(&begin()).unwrap();
    let mut left = Vec::new();
    let mut number = 1;
    while log.stats().cleaned_segments < 3 {
        log.append(&messages(number..number + COUNT)).unwrap();
        let stays = number + left.len() as u64 % COUNT;
        for ended in [number..stays, stays + 1..number + COUNT] {
            if ended.is_empty() {
                continue;
            }
            if number.is_multiple_of(3) {
                log.append(&steps(RunOf::Released, ended.clone())).unwrap();
                log.append(&steps(RunOf::Ended, ended)).unwrap();
            } else {
                log.append(&ends(ended)).unwrap();
            }
        }
        left.push(stays);
        number += COUNT;
        log.sync().unwrap();
        match log.maintain().unwrap() {
            Maintenance::Idle | Maintenance::Busy | Maintenance::Later => {}
            Maintenance::WantsCheckpoint(slot) => log.append(&checkpoint(slot, &left)).unwrap(),
        }
        assert_eq!(counts(&log), (left.len(), left.len() as u64, 0));
    }
    assert!(left.iter().all(|number| is_there(&mut log, *number)));
    drop(log);
    let (mut log, recovery) = open(folder.path());
    assert!(recovery.faults.is_empty(), "{:?}", recovery.faults);
    assert_eq!(counts(&log), (left.len(), left.len() as u64, 0));
    assert!(left.iter().all(|number| is_there(&mut log, *number)));
}

/// Messages, each ended when so many have come behind it, as under full load. Those that are left.
fn flow(
    log: &mut Log<RealDisk>,
    mut is_enough: impl FnMut(StoreStats, Maintenance) -> bool,
) -> Vec<u64> {
    log.append(&begin()).unwrap();
    let mut number = 1;
    loop {
        log.append(&messages(number..number + COUNT)).unwrap();
        number += COUNT;
        if let Some(ended) = number
            .checked_sub(UNDER_WAY + COUNT)
            .filter(|first| *first > 0)
        {
            log.append(&ends(ended..ended + COUNT)).unwrap();
        }
        log.sync().unwrap();
        let left: Vec<u64> = (number.saturating_sub(UNDER_WAY).max(1)..number).collect();
        let maintenance = log.maintain().unwrap();
        if let Maintenance::WantsCheckpoint(slot) = maintenance {
            log.append(&checkpoint(slot, &left)).unwrap();
        }
        if is_enough(log.stats(), maintenance) {
            return left;
        }
    }
}

/// Receivers are done with a segment soon after it is full: there is nothing to look for in it.
#[test]
fn a_segment_that_gets_emptier_is_given_up_without_being_read() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let mut segments = 0;
    let left = flow(&mut log, |stats, _| {
        segments = segments.max(stats.segments);
        stats.cleaned_segments > 20
    });
    let stats = log.stats();
    assert_eq!(stats.scanned_bytes, 0, "{stats:?}");
    assert_eq!(
        segments, 2,
        "the head, and one that gets emptier or is in reserve"
    );
    assert!(left.iter().all(|number| is_there(&mut log, *number)));
}

/// If nothing is going on any more, nothing gets emptier: what is left is copied.
#[test]
fn a_quiet_log_is_cleaned() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let left = flow(&mut log, |_, maintenance| maintenance == Maintenance::Later);
    let live = log.stats().live_bytes;
    assert!(
        log.stats().total_bytes > 2 * live + SEGMENT,
        "with a reserve it is too much"
    );
    let mut calls = 0;
    loop {
        calls += 1;
        match log.maintain().unwrap() {
            Maintenance::Idle => break,
            Maintenance::Busy | Maintenance::Later => {}
            Maintenance::WantsCheckpoint(slot) => log.append(&checkpoint(slot, &left)).unwrap(),
        }
        log.sync().unwrap();
    }
    assert!(calls < 40, "{calls}");
    let stats = log.stats();
    assert!(
        stats.scanned_bytes > 0 && stats.cleaned_segments == 1,
        "{stats:?}"
    );
    assert!(stats.total_bytes <= 2 * live + 2 * SEGMENT, "{stats:?}");
    assert!(left.iter().all(|number| is_there(&mut log, *number)));
}

/// Messages that are ended at once, behind so many that are ended more and more slowly (`ended`: how many of those now), until all
/// of these are. The most segments there were, and what had been appended when the first one was read.
fn flow_behind(
    log: &mut Log<RealDisk>,
    count: u64,
    ended: impl Fn(usize) -> usize,
) -> (usize, u64) {
    let mut left: Vec<u64> = (1..=count).collect();
    let mut number = left.len() as u64 + 1;
    log.append(&begin()).unwrap();
    log.append(&messages(left.iter().copied())).unwrap();
    let (mut segments, mut read_at) = (0, 0);
    while log.stats().cleaned_segments < 2 {
        log.append(&messages(number..number + COUNT)).unwrap();
        log.append(&ends(number..number + COUNT)).unwrap();
        number += COUNT;
        let ended: Vec<u64> = left.drain(..ended(left.len())).collect();
        if !ended.is_empty() {
            log.append(&ends(ended.into_iter())).unwrap();
        }
        log.sync().unwrap();
        if let Maintenance::WantsCheckpoint(slot) = log.maintain().unwrap() {
            log.append(&checkpoint(slot, &left)).unwrap();
        }
        let stats = log.stats();
        segments = segments.max(stats.segments);
        if stats.scanned_bytes == 0 {
            read_at = stats.appended_bytes;
        }
    }
    assert!(left.iter().all(|number| is_there(log, *number)));
    (segments, read_at)
}

#[test]
fn a_segment_that_gets_no_emptier_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let (_, read_at) = flow_behind(&mut log, 48, |_| 0);
    assert!(read_at < SEGMENT * 3 / 2, "{read_at}");
}

/// Then there has to be a reserve soon.
#[test]
fn one_that_gets_emptier_slowly_is_waited_for_until_the_head_is_half_full() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    let (segments, read_at) = flow_behind(&mut log, 150, |left| left.div_ceil(12));
    let half = SEGMENT * 4 / 3..SEGMENT * 5 / 3;
    assert!(
        segments <= 3 && half.contains(&read_at),
        "{segments} {read_at}"
    );
    assert_eq!(log.stats().unprepared_rotations, 1, "the first one");
}

/// What has been left to lie is not waited for: there is too much of it.
#[test]
fn one_of_many_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    log.append(&begin()).unwrap();
    let mut number = 1;
    while log.stats().segments < 4 {
        log.append(&messages(number..number + COUNT)).unwrap();
        log.append(&ends(number + 1..number + COUNT)).unwrap();
        number += COUNT;
        log.sync().unwrap();
    }
    assert_eq!(log.stats().scanned_bytes, 0);
    log.maintain().unwrap();
    assert!(log.stats().scanned_bytes > 0);
}

/// Otherwise a little now and then would keep a segment for hours.
#[test]
fn little_that_comes_is_not_waited_for_long() {
    let folder = TempDir::new().unwrap();
    let (mut log, _) = open(folder.path());
    flow(&mut log, |_, maintenance| maintenance == Maintenance::Later);
    let mut calls = 0;
    while log.stats().scanned_bytes == 0 {
        log.append(&begin()).unwrap();
        log.sync().unwrap();
        log.maintain().unwrap();
        calls += 1;
    }
    assert!((2..=70).contains(&calls), "{calls}");
}

fn checkpoint(slot: u8, left: &[u64]) -> Vec<u8> {
    let mut batch = Vec::new();
    Record::SlotBegin { slot }.encode(&mut batch);
    if slot == session().slot() {
        batch.extend(begin());
        for number in left {
            Record::Queued {
                session: session(),
                position: 0,
                body: body(*number),
                terms: StoredTerms {
                    qos: QoS::AtLeastOnce,
                    retain: false,
                    ids: martlet_engine::Ids::default(),
                    group: None,
                },
                packet_id: Some(packet(*number)),
            }
            .encode(&mut batch);
        }
    }
    Record::SlotEnd { slot }.encode(&mut batch);
    batch
}
