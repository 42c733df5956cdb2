//! Writes seeds for the fuzz targets of recovery: batches as shards write them, alone and in segments.
//!
//! ```text
//! cargo run -p martlet-store --example fuzz_seeds     writes below fuzz/corpus
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

use martlet_store::suite::Churn;

fn main() -> Result<(), Box<dyn Error>> {
    let (folders, shards) = ("fuzz/corpus/recover_store", "fuzz/corpus/restore_shard");
    fs::create_dir_all(folders)?;
    fs::create_dir_all(shards)?;
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
        fs::write(
            Path::new(folders).join(format!("seed-{seed}")),
            folder(&batches, &checkpoint),
        )?;
        let records = [batches.concat(), checkpoint].concat();
        fs::write(
            Path::new(shards).join(format!("seed-{seed}")),
            shard(seed, &records),
        )?;
    }
    Ok(())
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
