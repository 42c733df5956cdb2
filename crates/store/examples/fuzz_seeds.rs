//! Writes seeds for the fuzz targets of recovery: batches as shards write them, alone and in segments.
//!
//! ```text
//! cargo run -p martlet-store --example fuzz_seeds     writes below fuzz/corpus
//! ```

use std::error::Error;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use martlet_engine::{
    AllowAll, ConnId, Effects, Limits, LocalInterest, Policy, Shard, ShardConfig, StoreConfig, Time,
};
use martlet_store::suite::Churn;

fn main() -> Result<(), Box<dyn Error>> {
    for (name, bytes) in seeds() {
        let path = Path::new("fuzz/corpus").join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Where each stands below `fuzz/corpus`, and what is in it.
pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let batches = runs();
    seeds.extend([
        ("recover_store/seed-7".to_owned(), folder(&batches, &[])),
        (
            "restore_shard/seed-7".to_owned(),
            shard(7, &batches.concat()),
        ),
    ]);
    for seed in 1..=6 {
        let mut churn = Churn::new(seed);
        churn.payload_bytes_max = 8;
        churn.sessions_max = 4;
        let batches: Vec<Vec<u8>> = (0..4 * seed).map(|_| churn.batch(6)).collect();
        let checkpoint = (0..=u8::MAX).map(|slot| churn.checkpoint(slot));
        let checkpoint: Vec<u8> = checkpoint
            .filter(|batch| batch.len() > 8)
            .flatten()
            .collect();
        let records = [batches.concat(), checkpoint.clone()].concat();
        seeds.extend([
            (
                format!("recover_store/seed-{seed}"),
                folder(&batches, &checkpoint),
            ),
            (format!("restore_shard/seed-{seed}"), shard(seed, &records)),
        ]);
    }
    seeds
}

/// What a shard writes of messages at QoS 1 and 2 for a session that is stored, and of their acknowledgements, which come in runs
/// and are recorded so.
fn runs() -> Vec<Vec<u8>> {
    let config = ShardConfig {
        index: 0,
        shard_count: 1,
        seed: 1,
        limits: Limits::default(),
        policy: Policy::default(),
        store: Some(StoreConfig {
            unix_ms_at_zero: 1_700_000_000_000,
            body_cache_bytes: usize::MAX,
            read_ahead_bytes: 1 << 20,
        }),
    };
    let now = Time::from_millis(5);
    let mut fx = Effects::new(1);
    let mut shard = Shard::new(config, Arc::new(LocalInterest), Box::new(AllowAll));
    let (Some(receiver), Some(publisher)) =
        (shard.on_open(now, &mut fx), shard.on_open(now, &mut fx))
    else {
        return Vec::new();
    };
    let ids = |ids: RangeInclusive<u8>, packet: fn(u8) -> Vec<u8>| ids.flat_map(packet).collect();
    let steps: [(ConnId, Vec<u8>); 8] = [
        // Clean Start 0, Session Expiry Interval 65,535; SUBSCRIBE to "#" at QoS 2.
        (
            receiver,
            b"\x10\x1a\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\xff\xff\x00\x08client-1\x82\x07\x00\x01\x00\x00\x01#\x02"
                .to_vec(),
        ),
        (publisher, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a".to_vec()),
        (publisher, ids(1..=8, |id| publish(0x32, id))),
        (publisher, ids(9..=16, |id| publish(0x34, id))),
        (publisher, ids(9..=16, |id| vec![0x62, 2, 0, id])),
        (receiver, ids(1..=6, |id| vec![0x40, 2, 0, id])),
        (receiver, ids(9..=14, |id| vec![0x50, 2, 0, id])),
        (receiver, ids(9..=12, |id| vec![0x70, 2, 0, id])),
    ];
    let mut batches = Vec::new();
    for (conn, bytes) in steps {
        shard.on_bytes(conn, &bytes, now, &mut fx);
        while let Some((ticket, batch)) = fx.store.take(Vec::new()) {
            batches.push(batch);
            shard.on_store_done(ticket, now, &mut fx);
        }
        for conn in [receiver, publisher] {
            if let Some(outbox) = shard.outbox(conn) {
                let written = outbox.writable_len();
                outbox.advance(written);
                shard.on_flushed(conn, now, &mut fx);
            }
        }
    }
    batches
}

/// PUBLISH to "a/b" with this first byte.
fn publish(first: u8, id: u8) -> Vec<u8> {
    let mut packet = vec![first, 15, 0, 3, b'a', b'/', b'b', 0, id];
    packet.extend(b"payload");
    packet.push(id);
    packet
}

/// Steps of `fuzz/src/folder.rs`: segments with two frames each; the last one holds checkpoints.
fn folder(batches: &[Vec<u8>], checkpoint: &[u8]) -> Vec<u8> {
    let mut steps = Vec::new();
    for pair in batches.chunks(2) {
        steps.extend([0, 1]);
        steps.extend([7; 8]);
        steps.push(0);
        for batch in pair {
            frame(1, batch, &mut steps);
        }
    }
    frame(5, checkpoint, &mut steps);
    steps
}

fn frame(kind: u8, payload: &[u8], steps: &mut Vec<u8>) {
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    steps.extend([2, kind, 1]);
    steps.extend(len.to_le_bytes());
    steps.extend(payload.iter().take(len.into()));
}

/// An input of `restore_shard`: records, and then what a client sends.
fn shard(seed: u64, records: &[u8]) -> Vec<u8> {
    let len = u16::try_from(records.len()).unwrap_or(u16::MAX);
    let control = u8::try_from(seed).unwrap_or(0);
    let mut input = vec![control];
    input.extend(len.to_le_bytes());
    input.extend(records.iter().take(len.into()));
    // SUBSCRIBE to everything, PUBLISH of QoS 1, PUBACK and PUBREC of the first messages.
    input.extend(b"\x82\x07\x00\x01\x00\x00\x01#\x02\x32\x08\x00\x01a\x00\x02\x00hi\x40\x02\x00\x01\x50\x02\x00\x02");
    input
}
