//! Writes the store in `tests/golden`, which every later version has to be able to read: run it for a *new* format only.
//!
//! ```text
//! cargo run --example golden EMPTY_FOLDER
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use martlet_codec::{PacketId, QoS, Version};
use martlet_engine::{
    Body, BodyId, Ids, Record, RecordRun, RunOf, SessionId, StoredTerms, slot_of,
};
use martlet_store::suite::{Churn, settle};
use martlet_store::tools::{DumpForm, backup, dump};
use martlet_store::{Log, RealDisk, Settings, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name an empty folder")?);
    let work = folder.join("work");
    write(&work)?;
    // A copy has no room for more, and so is smaller.
    let mut copy = RealDisk::new(folder.join("store"));
    backup(&mut RealDisk::new(&work), &mut copy, &mut |_| {})?;
    std::fs::remove_dir_all(&work)?;
    let mut lines = Vec::new();
    dump(&mut copy, DumpForm::JsonLines, &mut lines)?;
    std::fs::write(folder.join("dump.jsonl"), lines)?;
    Ok(())
}

/// Segments that were cleaned, copied bodies, checkpoints, a mark, and one of each record.
fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let settings = Settings {
        segment_bytes: 64 << 10,
        ..Settings::new(1)
    };
    let (mut log, _) = Log::open(RealDisk::new(folder), settings)?;
    let mut churn = Churn::new(1);
    churn.payload_bytes_max = 40;
    churn.sessions_max = 12;
    churn.drain_percent = 200;
    while log.stats().cleaned_segments < 1 {
        log.append(&churn.batch(10))?;
        log.sync()?;
        settle(&mut log, &churn);
    }
    for _ in 0..40 {
        log.append(&churn.batch(10))?;
    }
    let mut batch = churn.batch(10);
    runs(&mut batch);
    flows(&mut batch);
    rare(&mut batch);
    log.append(&batch)?;
    log.close()?;
    Ok(())
}

/// Since format 2: references that are written together. Of five messages two have been acknowledged.
fn runs(batch: &mut Vec<u8>) {
    let client_id = "run";
    let session = SessionId::new(1 << 30, slot_of(client_id));
    Record::Session {
        session,
        client_id,
        version: Version::V311,
        expiry_s: u32::MAX,
    }
    .encode(batch);
    let numbers = || (0..5).filter_map(|n| BodyId::new(64 * ((1 << 31) + n)));
    for (body, payload) in numbers().zip([&b"1"[..], b"2", b"3", b"4", b"5"]) {
        let message = Body {
            topic: "plant/1/power",
            shared_properties: &[],
            payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
        };
        Record::Body { body, message }.encode(batch);
    }
    for (what, skipped, count) in [
        (RunOf::Queued(QoS::AtLeastOnce), 0, 5),
        (RunOf::Finished, 1, 2),
    ] {
        let flows = numbers().map(Some).zip((300..).filter_map(PacketId::new));
        run_of(what, session, flows.skip(skipped).take(count), batch);
    }
}

/// Since format 3: steps of QoS 2 flows that are written together. Of five messages the first three have been released, and the first two
/// of those have come to their end; of four that the client has sent, the first two.
fn flows(batch: &mut Vec<u8>) {
    let client_id = "flows";
    let session = SessionId::new((1 << 30) + 1, slot_of(client_id));
    Record::Session {
        session,
        client_id,
        version: Version::V5,
        expiry_s: u32::MAX,
    }
    .encode(batch);
    let numbers = || (0..5).filter_map(|n| BodyId::new(64 * ((1 << 32) + n)));
    for (body, payload) in numbers().zip([&b"1"[..], b"2", b"3", b"4", b"5"]) {
        let message = Body {
            topic: "plant/2/power",
            shared_properties: &[],
            payload,
            qos: QoS::ExactlyOnce,
            retain: false,
            expires_at: None,
        };
        Record::Body { body, message }.encode(batch);
    }
    let ids = |first: u16| (first..).filter_map(PacketId::new);
    for (what, count) in [(RunOf::Queued(QoS::ExactlyOnce), 5), (RunOf::Released, 3)] {
        let flows = numbers().map(Some).zip(ids(400));
        run_of(what, session, flows.take(count), batch);
    }
    for (what, first, count) in [
        (RunOf::Ended, 400, 2),
        (RunOf::Received, 500, 4),
        (RunOf::Completed, 500, 2),
    ] {
        let flows = ids(first).map(|id| (None, id));
        run_of(what, session, flows.take(count), batch);
    }
}

/// One record of these.
fn run_of(
    what: RunOf,
    session: SessionId,
    mut all: impl Iterator<Item = (Option<BodyId>, PacketId)>,
    batch: &mut Vec<u8>,
) {
    let first = all.next();
    let run = first.and_then(|(body, id)| RecordRun::new(what, session, body, id));
    let Some(mut run) = run else { return };
    for (body, packet_id) in all {
        assert!(run.take(body, packet_id), "they go on from each other");
    }
    run.encode(batch);
}

/// Fields that the random work has not.
fn rare(batch: &mut Vec<u8>) {
    let session = SessionId::new(1 << 40, 9);
    let queued = |body, packet_id| Record::Queued {
        session,
        position: u64::MAX,
        body,
        terms: StoredTerms {
            qos: QoS::ExactlyOnce,
            retain: true,
            ids: Ids::new(&[1, 268_435_455]),
            group: Some(("$share/g/a/#", 70)),
        },
        packet_id,
    };
    if let Some(body) = BodyId::new(u64::MAX) {
        queued(body, PacketId::new(65_535)).encode(batch);
        queued(body, None).encode(batch);
    }
    Record::Taken {
        slot: 9,
        publish: 77,
    }
    .encode(batch);
    if let Some(packet_id) = PacketId::new(3) {
        Record::Received {
            session,
            packet_id,
            publish: Some(77),
        }
        .encode(batch);
    }
}
