//! Writes the store in `tests/golden`, which every later version has to be able to read: run it for a *new* format only.
//!
//! ```text
//! cargo run --example golden EMPTY_FOLDER
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use martlet_codec::{PacketId, QoS};
use martlet_engine::{BodyId, Ids, Record, SessionId, StoredTerms};
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
    rare(&mut batch);
    log.append(&batch)?;
    log.close()?;
    Ok(())
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
