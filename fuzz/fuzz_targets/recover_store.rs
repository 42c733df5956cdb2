//! Opens a store of arbitrary files, gives back what is in it, goes on with it, and opens it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use martlet_engine::{BodyId, Record, SessionId};
use martlet_fuzz::{MemoryDisk, folder};
use martlet_store::tools::{DumpForm, backup, dump, verify};
use martlet_store::{Log, Maintenance, Settings, Store, StoreError};

fuzz_target!(|input: &[u8]| {
    let disk = folder(input);
    // The tools look, and change nothing.
    let _ = verify(&mut disk.clone(), &mut |_| {});
    let _ = dump(&mut disk.clone(), DumpForm::JsonLines, &mut std::io::sink());
    let _ = backup(&mut disk.clone(), &mut MemoryDisk::default(), &mut |_| {});
    let Some((mut log, first)) = open(&disk) else {
        return;
    };
    // A second start finds what the first one did: unless that had no room to put things right.
    drop(log);
    let Some((reopened, second)) = open(&disk) else {
        panic!("it opened once, and does not again");
    };
    log = reopened;
    if disk.bytes() < 1 << 20 {
        assert_eq!(first, second);
    }
    go_on(&mut log);
    drop(log);
    assert!(
        open(&disk).is_some(),
        "it was gone on with, and does not open"
    );
});

/// What is in it, by shard.
fn open(disk: &MemoryDisk) -> Option<(Log<MemoryDisk>, Vec<Vec<u8>>)> {
    let mut settings = Settings::new(7);
    settings.segment_bytes = 65_536;
    let (mut log, recovery) = Log::open(disk.clone(), settings).ok()?;
    for fault in &recovery.faults {
        assert!(!fault.to_string().is_empty());
    }
    let mut found = vec![Vec::new(); 3];
    let replayed = log.replay(3, &mut |shard, record| record.encode(&mut found[shard]));
    replayed.ok().map(|()| (log, found))
}

fn go_on(log: &mut Log<MemoryDisk>) {
    let mut batch = Vec::new();
    let session = SessionId::new(1, 9);
    if let Some(body) = BodyId::new(64) {
        Record::Dropped {
            session,
            position: 1,
            body,
        }
        .encode(&mut batch);
    }
    for _ in 0..12 {
        match log.append(&batch) {
            Ok(()) | Err(StoreError::Full(_)) => {}
            Err(error) => panic!("{error}"),
        }
        if let Ok(Maintenance::WantsCheckpoint(slot)) = log.maintain() {
            batch.clear();
            Record::SlotBegin { slot }.encode(&mut batch);
            Record::SlotEnd { slot }.encode(&mut batch);
        }
        let _ = log.sync();
    }
}
