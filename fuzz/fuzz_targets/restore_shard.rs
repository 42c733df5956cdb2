//! Gives shards arbitrary records to restore, lets clients come back, and writes what they know: that has to make sense, and
//! to be the same after it was restored.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use martlet_engine::{Record, Records};
use martlet_fuzz::Shards;

fuzz_target!(|input: &[u8]| {
    // Two bytes: how many bytes of records; behind them what clients send.
    let Some(([control, low, high], rest)) = input.split_first_chunk() else {
        return;
    };
    let count = usize::from(*low) | usize::from(*high) << 8;
    let (records, mut sent) = rest.split_at(count.min(rest.len()));
    let shard_count = 1 + usize::from(control & 1);
    let mut shards = Shards::new(shard_count);
    shards.restore(good(records));
    let first = shards.checkpoint();
    again(&first, 2 - usize::from(control & 1));

    for client_id in ["a", "client-1", "client-2", "c"] {
        let (mut bytes, keeps) = (connect(client_id, control >> 1), control >> 4 & 1 == 0);
        if keeps {
            let (some, others) = sent.split_at(sent.len().min(40));
            bytes.extend(some);
            sent = others;
        }
        (0..shard_count).for_each(|shard| shards.bytes(shard, &bytes));
    }
    shards.wait_s(100_000);
    let last = shards.checkpoint();
    again(&last, 1);
});

fn good(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    Records::new(bytes).map_while(Result::ok)
}

/// What shards have written they can read, and write again. Clients that were connected are not any more, so sessions say
/// other things about themselves; what they have, they still have.
fn again(checkpoint: &[u8], shard_count: usize) {
    assert!(Records::new(checkpoint).all(|record| record.is_ok()));
    let mut shards = Shards::new(shard_count);
    shards.restore(good(checkpoint));
    let again = shards.checkpoint();
    assert!(Records::new(&again).all(|record| record.is_ok()));
    let (before, after) = (sessions(checkpoint), sessions(&again));
    assert!(after.is_subset(&before), "{before:?} {after:?}");
}

fn sessions(checkpoint: &[u8]) -> BTreeSet<&str> {
    let client_id = |record| match record {
        Record::Session { client_id, .. } => Some(client_id),
        _ => None,
    };
    good(checkpoint).filter_map(client_id).collect()
}

/// CONNECT of MQTT 5, or 3.1.1: Clean Start 0.
fn connect(client_id: &str, control: u8) -> Vec<u8> {
    let level = if control & 1 == 0 { 5 } else { 4 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, control & 2, 0, 0];
    if level == 5 {
        body.extend([5, 0x11, 0, 0, 0xFF, 0xFF]);
    }
    body.extend([0, client_id.len() as u8]);
    body.extend(client_id.as_bytes());
    let mut packet = vec![0x10, body.len() as u8];
    packet.extend(body);
    packet
}
