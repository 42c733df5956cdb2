//! Runs of records, and of bodies: on the disk, and as the records that they stand for.

use super::*;

/// What came with format 2.
#[test]
fn runs_are_the_ones_that_disks_hold() {
    let batch = b"\x0A\x1A\x01\xC8\x0B\x81\x0A\xFE\xFF\x03\x02\
        \x07\x1B\xC8\x0B\x01\x85\x02\x03";
    let session = SessionId::new(5, 200);
    let queued = |number, id| Record::Queued {
        session,
        position: 0,
        body: body(number),
        terms: StoredTerms::bare(QoS::AtLeastOnce, false),
        packet_id: Some(packet(id)),
    };
    let finished = |number, id| Record::Finished {
        session,
        packet_id: packet(id),
        body: Some(body(number)),
    };
    let expected = [
        queued(1_281, 65_534),
        queued(1_345, 65_535),
        finished(1, 261),
        finished(65, 262),
        finished(129, 263),
    ];
    let back: Vec<_> = Records::new(batch).map(Result::unwrap).collect();
    assert_eq!(back, expected);
    let mut again = Vec::new();
    let mut run = RecordRun::new(
        RunOf::Queued(QoS::AtLeastOnce),
        session,
        Some(body(1_281)),
        packet(65_534),
    )
    .unwrap();
    assert!(run.take(Some(body(1_345)), packet(65_535)));
    assert!(
        !run.take(Some(body(1_409)), packet(1)),
        "an identifier that is not one more"
    );
    run.encode(&mut again);
    let mut run = RecordRun::new(RunOf::Finished, session, Some(body(1)), packet(261)).unwrap();
    assert!(run.take(Some(body(65)), packet(262)));
    assert!(
        !run.take(Some(body(130)), packet(263)),
        "a body of another shard"
    );
    assert!(!run.take(None, packet(263)), "no body at all");
    assert!(run.take(Some(body(129)), packet(263)));
    run.encode(&mut again);
    assert_eq!(again, batch);
}

/// What came with format 3.
#[test]
fn steps_of_flows_are_the_ones_that_disks_hold() {
    let batch = b"\x08\x1C\xC8\x0B\x81\x0A\x85\x02\x02\
        \x06\x1D\xC8\x0B\x85\x02\x02\
        \x07\x1E\xC8\x0B\xFE\xFF\x03\x02\
        \x05\x1F\xC8\x0B\x01\x02";
    let session = SessionId::new(5, 200);
    let released = |number, id| Record::Released {
        session,
        packet_id: packet(id),
        body: Some(body(number)),
    };
    let ended = |id| Record::Finished {
        session,
        packet_id: packet(id),
        body: None,
    };
    let received = |id| Record::Received {
        session,
        packet_id: packet(id),
        publish: None,
    };
    let completed = |id| Record::Completed {
        session,
        packet_id: packet(id),
    };
    let expected = [
        released(1_281, 261),
        released(1_345, 262),
        ended(261),
        ended(262),
        received(65_534),
        received(65_535),
        completed(1),
        completed(2),
    ];
    let back: Vec<_> = Records::new(batch).map(Result::unwrap).collect();
    assert_eq!(back, expected);
    let mut again = Vec::new();
    for (what, bodies, first) in [
        (RunOf::Released, [Some(body(1_281)), Some(body(1_345))], 261),
        (RunOf::Ended, [None; 2], 261),
        (RunOf::Received, [None; 2], 65_534),
        (RunOf::Completed, [None; 2], 1),
    ] {
        let mut run = RecordRun::new(what, session, bodies[0], packet(first)).unwrap();
        assert!(run.take(bodies[1], packet(first + 1)), "{what:?}");
        run.encode(&mut again);
    }
    assert_eq!(again, batch);
}

#[test]
fn who_names_no_bodies_takes_none() {
    let session = SessionId::new(5, 200);
    for what in KINDS {
        let is_there = |body| RecordRun::new(what, session, body, packet(1)).is_some();
        let has_bodies = is_there(Some(body(1)));
        assert_ne!(has_bodies, is_there(None), "{what:?}");
        let first = has_bodies.then(|| body(1));
        let mut run = RecordRun::new(what, session, first, packet(1)).unwrap();
        let other = (!has_bodies).then(|| body(65));
        assert!(!run.take(other, packet(2)), "{what:?}");
        assert_eq!((run.first_body(), run.count()), (first, 1), "{what:?}");
    }
}

/// Of each kind.
const KINDS: [RunOf; 7] = [
    RunOf::Queued(QoS::AtLeastOnce),
    RunOf::Queued(QoS::ExactlyOnce),
    RunOf::Finished,
    RunOf::Released,
    RunOf::Ended,
    RunOf::Received,
    RunOf::Completed,
];

/// What such a record names.
fn body_of(what: RunOf, number: u64) -> Option<BodyId> {
    match what {
        RunOf::Queued(_) | RunOf::Finished | RunOf::Released => Some(body(number)),
        RunOf::Ended | RunOf::Received | RunOf::Completed => None,
    }
}

/// Such a record.
fn one_of(what: RunOf, session: SessionId, number: u64, packet_id: PacketId) -> Record<'static> {
    let body_id = body_of(what, number);
    match what {
        RunOf::Queued(qos) => Record::Queued {
            session,
            position: 0,
            body: body(number),
            terms: StoredTerms::bare(qos, false),
            packet_id: Some(packet_id),
        },
        RunOf::Finished | RunOf::Ended => Record::Finished {
            session,
            packet_id,
            body: body_id,
        },
        RunOf::Released => Record::Released {
            session,
            packet_id,
            body: body_id,
        },
        RunOf::Received => Record::Received {
            session,
            packet_id,
            publish: None,
        },
        RunOf::Completed => Record::Completed { session, packet_id },
    }
}

/// Some of each kind, one behind the other.
pub(super) fn some_runs(batch: &mut Vec<u8>) {
    let session = SessionId::new(5, 200);
    for what in KINDS {
        let mut run = RecordRun::new(what, session, body_of(what, 64), packet(300)).unwrap();
        run.encode(batch);
        for place in 1..5 {
            let body = body_of(what, 64 * (1 + u64::from(place)));
            assert!(run.take(body, packet(300 + place)));
        }
        run.encode(batch);
    }
}

#[test]
fn runs_that_go_on_for_ever_are_none() {
    // Tag, flags or none, session, body, identifier, count.
    for (bad, why) in [
        (&b"\x1A\x01\x01\x01\x01\x00"[..], "none"),
        (b"\x1A\x01\x01\x01\x01\x81\x08", "1,025"),
        (b"\x1A\x00\x01\x01\x01\x02", "QoS 0"),
        (b"\x1A\x05\x01\x01\x01\x02", "an unknown flag"),
        (b"\x1A\x01\x01\x00\x01\x02", "body 0"),
        (b"\x1B\x01\x01\x00\x02", "identifier 0"),
        (b"\x1B\x01\x01\xFF\xFF\x03\x02", "identifier 65,536"),
        (
            b"\x1B\x01\xC0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x01\x02",
            "a body of 65 bits",
        ),
        (b"\x1B\x01\x01\x01\x02\x00", "bytes behind it"),
        (b"\x1B\x01\x01\x01", "cut off"),
        (b"\x1C\x01\x00\x01\x02", "body 0"),
        (b"\x1C\x01\x01\xFF\xFF\x03\x02", "identifier 65,536"),
        (b"\x1D\x01\x00\x02", "identifier 0"),
        (b"\x1E\x01\x01\x00", "none"),
        (b"\x1F\x01\xFF\xFF\x03\x02", "identifier 65,536"),
        (b"\x1F\x01\x01\x81\x08", "1,025"),
        (b"\x1D\x01\x01\x02\x00", "bytes behind it"),
        (b"\x20\x01\x01\x02", "a tag of a later version"),
    ] {
        let mut batch = Vec::from([u8::try_from(bad.len()).unwrap()]);
        batch.extend(bad);
        assert!(Records::new(&batch).next().unwrap().is_err(), "{why}");
        assert_briefs_fit(&batch);
    }
    let longest = b"\x06\x1B\x01\x01\x01\x80\x08";
    assert_eq!(Records::new(longest).flatten().count(), 1_024);
}

/// Optimisation: what a body has in common with the one before it is compared as a whole, whatever stands between them.
#[test]
fn bodies_of_a_run_are_read_as_the_one_before_them() {
    let payload = [7; 1_000];
    for (len, first) in [(0, 20_000_000), (64, 9_000_000), (1_000, 1 << 40)] {
        let numbers = (0..64).map(|place| first + place * NUMBERS_PER_COUNT);
        let numbers: Vec<u64> = numbers.collect();
        let mut batch = Vec::new();
        let bodies = numbers.iter().map(|n| (body(*n), &payload[..len]));
        encode_bodies(&MESSAGE, bodies, &mut batch);
        let mut records = Records::new(&batch);
        assert_eq!(records.body_like_last(), None, "there is none before it");
        let mut briefs = Vec::from_iter(records.next_brief());
        briefs.extend(core::iter::from_fn(|| records.body_like_last()).map(|b| Ok(Brief::Body(b))));
        let expected = numbers.iter().map(|n| Ok(Brief::Body(body(*n))));
        assert_eq!(briefs, expected.collect::<Vec<_>>(), "{len} bytes");
    }
}

proptest! {
    /// Whoever reads them gets the records that somebody gets who has written them one by one.
    #[test]
    fn a_run_is_the_records_that_it_stands_for(
        what in proptest::sample::select(&KINDS[..]),
        session in any::<u64>().prop_map(SessionId::from_u64),
        first in prop_oneof![1_u64..9_999_999, u64::MAX - 200..],
        first_id in prop_oneof![1_u16..300, 65_530_u16..],
        count in 1_u16..1_200,
    ) {
        let of = |number: u64| body_of(what, number);
        let mut run = RecordRun::new(what, session, of(first), packet(first_id)).unwrap();
        let mut expected = Vec::new();
        for place in 0..count {
            let Some(id) = first_id.checked_add(place).map(packet) else { break };
            // Who names no bodies has no end of them.
            let number = first.checked_add(u64::from(place) * 64);
            let Some(number) = number.or_else(|| of(1).is_none().then_some(1)) else { break };
            if place > 0 && !run.take(of(number), id) {
                prop_assert_eq!(place, 1_024);
                break;
            }
            prop_assert!(!run.take(of(number), id), "the same again");
            expected.push(one_of(what, session, number, id));
        }
        let mut batch = encode(&[Record::SlotEnd { slot: 1 }]);
        let begin = batch.len();
        run.encode(&mut batch);
        prop_assert!(batch.len() - begin <= 34, "however many");
        let end = batch.len();
        batch.extend(encode(&[Record::SlotBegin { slot: 2 }]));
        let mut records = Records::new(&batch);
        records.next();
        for record in &expected {
            prop_assert_eq!(records.offset(), begin);
            prop_assert_eq!(records.next(), Some(Ok(*record)));
        }
        prop_assert_eq!(records.offset(), end);
        prop_assert_eq!(records.next(), Some(Ok(Record::SlotBegin { slot: 2 })));
        prop_assert_eq!(records.next(), None);
        assert_briefs_fit(&batch);
        prop_assert_eq!(usize::from(run.count()), expected.len());
        let mut passed_over = Records::new(&batch);
        prop_assert_eq!(passed_over.next_body(), None);
    }

    /// Optimisation: written together they are what they are one by one.
    #[test]
    fn bodies_of_a_run_are_ordinary_bodies(
        numbers in proptest::collection::vec((1_u64.., 0_usize..300), 0..8),
        topic_len in 0_usize..200,
        expires in proptest::option::of(0..u64::MAX),
    ) {
        let payload = [7; 300];
        let topic = "t".repeat(topic_len);
        let like = Body { topic: &topic, expires_at: expires.map(WallTime), ..MESSAGE };
        let bodies: Vec<_> = numbers.iter().map(|(number, len)| (body(*number), &payload[..*len])).collect();
        let mut together = alloc::vec![1, 2, 3];
        encode_bodies(&like, bodies.iter().copied(), &mut together);
        let records = bodies.iter().map(|(body, payload)| Record::Body {
            body: *body,
            message: Body { payload, ..like },
        });
        prop_assert_eq!(&together[3..], &encode(&records.collect::<Vec<_>>()));
    }

    /// Optimisation: read as the ones before them, they are what they are read alone, or the same error.
    #[test]
    fn bodies_that_are_nearly_the_same_are_told_apart(
        numbers in proptest::collection::vec((1_u64..70_000, 100_usize..103), 2..8),
        topic_len in 0_usize..4,
        at in 0_usize..1_000,
        bits: u8,
    ) {
        let payload = [7; 300];
        let topic = "t".repeat(topic_len);
        let like = Body { topic: &topic, ..MESSAGE };
        let bodies = numbers.iter().map(|(number, len)| (body(*number), &payload[..*len]));
        let mut batch = Vec::new();
        encode_bodies(&like, bodies, &mut batch);
        assert_briefs_fit(&batch);
        let at = at % batch.len();
        batch[at] ^= bits;
        assert_briefs_fit(&batch);
        assert_briefs_fit(&batch[..at]);
    }
}
