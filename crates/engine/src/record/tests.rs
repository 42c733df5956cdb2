//! Round trips of every record, every cut, arbitrary bytes, and one golden batch.

use alloc::vec::Vec;

use martlet_codec::{PacketId, QoS, Version};
use proptest::prelude::*;

use self::runs::some_runs;
use super::decode::Reader;
use super::encode::encode_integer;
use super::*;

mod runs;

fn body(number: u64) -> BodyId {
    BodyId::new(number).unwrap()
}

fn packet(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

const MESSAGE: Body<'_> = Body {
    topic: "meter/7",
    shared_properties: &[0x01, 0x01],
    payload: b"42 W",
    qos: QoS::ExactlyOnce,
    retain: true,
    expires_at: Some(WallTime(1_700_000_000_000)),
};

/// One of each, with every option set at least once.
#[expect(clippy::too_many_lines, reason = "one of each")]
fn one_of_each() -> Vec<Record<'static>> {
    let session = SessionId::new(5, 200);
    let options = StoredOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        subscription_id: 268_435_455,
    };
    let bare = StoredTerms {
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: Ids::default(),
        group: None,
    };
    let full = StoredTerms {
        qos: QoS::ExactlyOnce,
        retain: true,
        ids: Ids::new(&[1, 300, 70_000]),
        group: Some(("$share/g/a/#", 9)),
    };
    alloc::vec![
        Record::SlotBegin { slot: 200 },
        Record::Session {
            session,
            client_id: "pump-1",
            version: Version::V5,
            expiry_s: u32::MAX
        },
        Record::Session {
            session,
            client_id: "",
            version: Version::V31,
            expiry_s: 0
        },
        Record::Offline {
            session,
            ends_at: None,
            will_at: Some(WallTime(0))
        },
        Record::Offline {
            session,
            ends_at: Some(WallTime(7)),
            will_at: None
        },
        Record::Will {
            session,
            message: MESSAGE,
            delay_s: 3,
            expiry_s: Some(0)
        },
        Record::Will {
            session,
            message: MESSAGE,
            delay_s: 0,
            expiry_s: None
        },
        Record::WillCleared { session },
        Record::WillUnderWay {
            session,
            publish: 6_465,
            message: MESSAGE
        },
        Record::WillDone {
            session,
            publish: 6_465
        },
        Record::Subscribed {
            session,
            filter: "a/#",
            options,
            replaying: true
        },
        Record::Replayed {
            session,
            filter: "a/#"
        },
        Record::Unsubscribed {
            session,
            filter: "a/#"
        },
        Record::Body {
            body: body(1),
            message: MESSAGE
        },
        Record::Queued {
            session,
            position: 1,
            body: body(1),
            terms: bare,
            packet_id: None
        },
        Record::Queued {
            session,
            position: 2,
            body: body(1),
            terms: full,
            packet_id: Some(packet(65_535))
        },
        Record::Sent {
            session,
            position: 1,
            packet_id: packet(1)
        },
        Record::Dropped {
            session,
            position: 1,
            body: body(1)
        },
        Record::Released {
            session,
            packet_id: packet(65_535),
            body: Some(body(1))
        },
        Record::Released {
            session,
            packet_id: packet(7),
            body: None
        },
        Record::Finished {
            session,
            packet_id: packet(65_535),
            body: None
        },
        Record::Finished {
            session,
            packet_id: packet(1),
            body: Some(body(u64::MAX))
        },
        Record::Received {
            session,
            packet_id: packet(4),
            publish: None
        },
        Record::Received {
            session,
            packet_id: packet(5),
            publish: Some(6_401)
        },
        Record::Taken {
            slot: 9,
            publish: 6_401
        },
        Record::Completed {
            session,
            packet_id: packet(4)
        },
        Record::Retained {
            slot: 9,
            body: body(1),
            replaces: None
        },
        Record::Retained {
            slot: 9,
            body: body(2),
            replaces: Some(body(1))
        },
        Record::RetainedCleared {
            topic: "meter/7",
            body: body(2)
        },
        Record::GroupQueued {
            group: "$share/g/a/#",
            sequence: 3,
            body: body(1)
        },
        Record::GroupDone {
            group: "$share/g/a/#",
            sequence: 3,
            body: body(1)
        },
        Record::SessionEnded { session },
        Record::SlotEnd { slot: 200 },
    ]
}

fn encode(records: &[Record<'_>]) -> Vec<u8> {
    let mut batch = Vec::new();
    for record in records {
        record.encode(&mut batch);
    }
    batch
}

#[test]
fn every_record_comes_back() {
    let records = one_of_each();
    let batch = encode(&records);
    let back: Vec<_> = Records::new(&batch).map(Result::unwrap).collect();
    assert_eq!(back, records);
}

#[test]
fn a_long_record_has_a_long_length() {
    let payload = alloc::vec![7; 100_000];
    let record = Record::Body {
        body: body(1),
        message: Body {
            payload: &payload,
            ..MESSAGE
        },
    };
    let batch = encode(&[record, Record::SlotEnd { slot: 1 }]);
    let back: Vec<_> = Records::new(&batch).map(Result::unwrap).collect();
    assert_eq!(back, [record, Record::SlotEnd { slot: 1 }]);
}

#[test]
fn a_batch_that_is_cut_is_an_error_unless_the_cut_is_between_records() {
    let records = one_of_each();
    let batch = encode(&records);
    let mut ends = Vec::new();
    let mut reading = Records::new(&batch);
    while reading.next().is_some() {
        ends.push(reading.offset());
    }
    for cut in 0..batch.len() {
        let whole = Records::new(&batch[..cut])
            .take_while(Result::is_ok)
            .count();
        assert_eq!(
            whole,
            ends.iter().filter(|end| **end <= cut).count(),
            "cut at {cut}"
        );
        let failed = Records::new(&batch[..cut]).any(|record| record.is_err());
        assert_eq!(failed, cut != 0 && !ends.contains(&cut), "cut at {cut}");
    }
}

/// What a record says in brief.
fn brief_of<'a>(record: &Record<'a>) -> Brief<'a> {
    if let Record::Body { body, .. } = *record {
        return Brief::Body(body);
    }
    if let Record::Queued {
        session,
        body,
        terms,
        ..
    } = *record
        && terms.group.is_none()
        && terms.ids.iter().next().is_none()
    {
        return Brief::Queued(session, body);
    }
    if let Record::Finished {
        session,
        body: Some(body),
        ..
    } = *record
    {
        return Brief::Finished(session, body);
    }
    Brief::Other(*record)
}

/// Both ways of reading a batch take the same, and stop at the same place for the same reason.
fn assert_briefs_fit(batch: &[u8]) {
    let (mut full, mut brief) = (Records::new(batch), Records::new(batch));
    loop {
        let said = brief.next_brief();
        if let Some(Ok(Brief::Run(run))) = said {
            for place in 0..run.count() {
                let record = full.next().unwrap().unwrap();
                assert_eq!(Some(record), run.at(place));
                assert_eq!(
                    (record.slot(), record.counters()),
                    (Some(run.session().slot()), (0, 0))
                );
            }
            assert_eq!(brief.offset(), full.offset());
            continue;
        }
        let read = full.next();
        assert_eq!(said, read.map(|read| read.map(|record| brief_of(&record))));
        assert_eq!(brief.offset(), full.offset());
        if let (Some(Ok(record)), Some(Ok(said))) = (read, said) {
            assert_eq!(said.slot(), record.slot());
            assert_eq!(said.counters(), record.counters());
        } else {
            return;
        }
    }
}

#[test]
fn records_in_brief_are_the_same_records() {
    let mut batch = encode(&one_of_each());
    some_runs(&mut batch);
    for cut in 0..=batch.len() {
        assert_briefs_fit(&batch[..cut]);
    }
}

/// A topic that was the same before is not looked at again; one that is not is.
#[test]
fn every_topic_is_a_text() {
    let record = |topic, number| Record::Body {
        body: body(number),
        message: Body { topic, ..MESSAGE },
    };
    let records = [
        record("ab", 1),
        record("ab", 2),
        record("a", 3),
        record("ab", 4),
        record("ac", 5),
    ];
    let batch = encode(&records);
    let back: Vec<_> = Records::new(&batch).map(Result::unwrap).collect();
    assert_eq!(back, records);
    assert_briefs_fit(&batch);
    let last = batch.iter().rposition(|byte| *byte == b'c').unwrap();
    let mut bad = batch;
    bad[last] = 0xFF;
    assert_eq!(Records::new(&bad).flatten().count(), 4);
    assert_briefs_fit(&bad);
}

/// Its fields go on into the next record.
#[test]
fn a_record_that_is_too_short_for_its_fields_is_none_in_brief() {
    let session = SessionId::new(5, 200);
    let finished = |number| Record::Finished {
        session,
        packet_id: packet(number),
        body: Some(body(9)),
    };
    let mut batch = encode(&[finished(1), finished(2)]);
    batch[0] -= 1;
    assert!(Records::new(&batch).next_brief().unwrap().is_err());
    assert_briefs_fit(&batch);
    batch[0] += 2;
    assert_briefs_fit(&batch);
}

/// Written by hand from the description of the format: it must stay readable for ever.
#[test]
fn the_format_is_the_one_that_disks_hold() {
    let batch = b"\x02\x01\xC8\
        \x0E\x04\xC8\x0B\x06pump-1\x05\x80\xA3\x05\
        \x12\x03\x01\x05\x00\x07meter/7\x00\x0442 W\
        \x08\x0C\xC8\x0B\x01\x01\x01\x85\x02";
    let session = SessionId::new(5, 200);
    let message = Body {
        shared_properties: &[],
        qos: QoS::AtLeastOnce,
        expires_at: None,
        ..MESSAGE
    };
    let terms = StoredTerms {
        qos: QoS::AtLeastOnce,
        retain: false,
        ids: Ids::default(),
        group: None,
    };
    let expected = [
        Record::SlotBegin { slot: 200 },
        Record::Session {
            session,
            client_id: "pump-1",
            version: Version::V5,
            expiry_s: 86_400,
        },
        Record::Body {
            body: body(1),
            message,
        },
        Record::Queued {
            session,
            position: 1,
            body: body(1),
            terms,
            packet_id: Some(packet(261)),
        },
    ];
    let back: Vec<_> = Records::new(batch).map(Result::unwrap).collect();
    assert_eq!(back, expected);
    assert_eq!(encode(&expected), batch);
}

#[test]
fn references_are_named_by_the_records_that_begin_and_end_them() {
    use super::BodyChange::{Let, Referred};
    let mut count = std::collections::BTreeMap::<u64, i32>::new();
    for record in one_of_each() {
        for change in record.body_change().into_iter().flatten() {
            match change {
                Referred(id) => *count.entry(id.as_u64()).or_default() += 1,
                Let(id) => *count.entry(id.as_u64()).or_default() -= 1,
            }
        }
    }
    // Body 1: two queued, one dropped, one released; retained, replaced; group queued, done. `MAX` only ends.
    assert_eq!(
        count.into_iter().collect::<Vec<_>>(),
        [(1, 0), (2, 0), (u64::MAX, -1)]
    );
}

#[test]
fn slots_follow_from_the_names() {
    for record in one_of_each() {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all others name the session"
        )]
        let expected = match record {
            Record::Body { .. } => None,
            Record::Retained { slot, .. } | Record::Taken { slot, .. } => Some(slot),
            Record::RetainedCleared { topic, .. } => Some(slot_of(topic)),
            Record::GroupQueued { group, .. } | Record::GroupDone { group, .. } => {
                Some(slot_of(group))
            }
            _ => Some(200),
        };
        assert_eq!(record.slot(), expected, "{record:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_end(bytes: Vec<u8>) {
        let count = Records::new(&bytes).count();
        prop_assert!(count <= bytes.len() * 1_024);
    }

    #[test]
    fn arbitrary_bytes_say_the_same_in_brief(bytes: Vec<u8>, at in 0_usize..300, bits: u8) {
        assert_briefs_fit(&bytes);
        let mut batch = Vec::new();
        some_runs(&mut batch);
        batch.extend(encode(&one_of_each()));
        let at = at % batch.len();
        batch[at] ^= bits;
        assert_briefs_fit(&batch);
    }

    #[test]
    fn a_body_of_any_length_comes_back(len in 0_usize..40_000, number in 1_u64.., expires in proptest::option::of(0..u64::MAX)) {
        let payload = alloc::vec![7; len];
        let record = Record::Body {
            body: body(number),
            message: Body { payload: &payload, expires_at: expires.map(WallTime), ..MESSAGE },
        };
        let batch = encode(&[record, record]);
        let back: Vec<_> = Records::new(&batch).map(Result::unwrap).collect();
        prop_assert_eq!(back, [record, record]);
    }

    #[test]
    fn integers_come_back(value: u64) {
        let mut buffer = [0; 10];
        let bytes = encode_integer(&mut buffer, value);
        prop_assert_eq!(Reader::new(bytes).integer(), Ok(value));
    }

    #[test]
    fn one_flipped_byte_never_panics(at in 0_usize..300, bits: u8) {
        let mut batch = encode(&one_of_each());
        let at = at % batch.len();
        batch[at] ^= bits;
        prop_assert!(Records::new(&batch).count() <= batch.len());
    }
}
