//! An hour without a server, ten messages a second: how much memory it takes, to the byte. A program of its own, because it
//! counts what is allocated.
#![expect(clippy::unwrap_used, reason = "a test, also outside test functions")]

use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use martlet_client::{Client, Message, OnFull, Outbox, transport_fn};
use tokio::runtime::Runtime;

const PER_TEN_MINUTES: u32 = 6_000;
const LIMIT: usize = 1 << 20;

/// Ten minutes on a clock that jumps: nine plain messages a second, and the newest state of one of five topics.
async fn ten_minutes(client: &Client, first: u32) {
    for n in first..first + PER_TEN_MINUTES {
        let nothing = std::future::pending::<()>();
        tokio::time::timeout(Duration::from_millis(100), nothing)
            .await
            .unwrap_err();
        let message = if n % 10 == 0 {
            Message::new(format!("state/{}", n / 10 % 5), n).retain()
        } else {
            Message::new("event", vec![b'x'; 1_024])
        };
        let publish = client.publish_message(message.qos(1));
        drop(publish.enqueue().await.unwrap());
    }
}

fn taken_by(runtime: &Runtime, client: &Client, part: u32) -> AllocationInfo {
    measure(|| runtime.block_on(ten_minutes(client, part * PER_TEN_MINUTES)))
}

#[test]
fn must_have_6_an_hour_without_a_server_takes_no_more_memory_than_its_start() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let nobody = transport_fn(|| async {
            Err::<tokio::io::DuplexStream, _>(std::io::ErrorKind::ConnectionRefused.into())
        });
        let outbox = Outbox::memory()
            .max_bytes(LIMIT)
            .on_full(OnFull::DropOldest);
        let builder = Client::builder("mqtt://x").transport(nobody).outbox(outbox);
        builder.start().unwrap()
    });
    let limit = LIMIT as u64;
    let filled = taken_by(&runtime, &client, 0);
    assert!(filled.bytes_max < limit + limit / 4, "{filled:?}");
    for part in 1..6 {
        let more = taken_by(&runtime, &client, part);
        // What is given up is as large as what comes; a table may grow once.
        assert!(more.bytes_current < 16 << 10, "{part}: {more:?}");
        assert!(more.bytes_max < 64 << 10, "{part}: {more:?}");
        assert!(more.bytes_total > 5_000_000, "it counts: {more:?}");
    }
    let stats = client.stats();
    assert!(stats.queued_bytes <= LIMIT);
    let given_up = stats.dropped + stats.superseded;
    assert_eq!(given_up + stats.queued as u64, 36_000, "{stats:?}");
    assert_eq!(stats.failed, given_up);
    assert!(stats.dropped > 30_000 && stats.superseded > 3_500);
}
