//! A shard that does not keep up: who floods it is not read any more, and nothing is lost.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: helpers outside #[test] functions may fail as well"
)]

#[path = "driver/client.rs"]
#[expect(dead_code, reason = "shared with the other tests of the driver")]
mod client;
#[path = "rings/stage.rs"]
mod stage;

use std::thread;

use client::Client;
use martlet_broker::RunningBroker;
use stage::{FLOOD_MAX, Flooder, HOLDER, PAYLOAD, Stage, receive};

#[test]
fn who_floods_a_shard_that_does_not_keep_up_is_not_read_and_nothing_is_lost() {
    let (stage, release) = Stage::set(2);
    let broker = &stage.broker;
    let mut flooders = [0, 1].map(|number: u8| {
        let id = stage.name_on(&format!("flooder-{number}"), 0);
        let topic = format!("flood/{number}");
        Flooder::new(Client::v3(broker, &id), number, &topic, false)
    });
    let receiver = stage.receiver_on(1);
    let mut holder = stage.hold(&stage.name_on(HOLDER, 1));

    while stage.is_paused.try_recv().is_err() {
        assert!(flooders[0].begun < FLOOD_MAX, "all of it is read");
        flooders.iter_mut().for_each(Flooder::push);
    }
    let before = report(broker);
    while flooders.iter().any(|flooder| !flooder.is_blocked) {
        flooders.iter_mut().for_each(Flooder::push);
    }
    let after = report(broker);
    assert_eq!(after.driver.reads, before.driver.reads, "nothing is read");
    assert_eq!(after.driver.reads_paused, 1);
    let taken = after.engine.publishes_received;
    let begun: u64 = flooders
        .iter()
        .map(|flooder| u64::from(flooder.begun))
        .sum();
    assert!(taken < begun, "{taken} of {begun}: the others wait outside");
    // The bound, what one tick may bring in before it is looked at, and what messages weigh besides their payload.
    let most = 32 << 20 | 1 << 20;
    assert!(taken * (PAYLOAD as u64) < most, "{taken}");
    assert!(after.driver.peer_bytes_max < most + (1 << 20));

    assert!(
        stage.is_overfull.try_recv().is_err(),
        "half of what stops all"
    );
    release.now();
    let receiving = thread::spawn(move || receive(receiver, begun + 2));
    for flooder in &mut flooders {
        flooder.finish();
    }
    let messages = receiving.join().unwrap();
    for flooder in &flooders {
        flooder.check(&messages);
    }
    holder.expect(b"\x20\x02\x00\x00");
}

/// That of the only shard that answers.
fn report(broker: &RunningBroker) -> martlet_broker::ShardReport {
    let reports = broker.reports();
    assert_eq!(reports.len(), 1, "the other one is held");
    reports[0]
}
