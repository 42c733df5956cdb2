//! A shard that owes others more and more though it reads nothing, because it has to pass on what others send: then no shard reads.

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
#[expect(dead_code, reason = "shared with `rings.rs`")]
mod stage;

use std::thread;

use client::{Client, packet, text};
use stage::{FLOOD_MAX, Flooder, HOLDER, PAYLOAD, Stage, receive};

/// The flooder lives on shard 0, the retained topic on shard 1, which stores each message and passes it on, and who wants it on
/// shard 2, which is held.
#[test]
fn a_shard_that_has_to_pass_on_too_much_stops_all_and_nothing_is_lost() {
    let (stage, release) = Stage::set(3);
    let broker = &stage.broker;
    let topic = retained_topic_on(&stage, 1);
    let mut flooder = Flooder::new(
        Client::v3(broker, &stage.name_on("flooder", 0)),
        0,
        &topic,
        true,
    );
    let receiver = stage.receiver_on(2);
    let mut holder = stage.hold(&stage.name_on(HOLDER, 2));

    while stage.is_overfull.try_recv().is_err() {
        assert!(flooder.begun < FLOOD_MAX, "all of it is read");
        flooder.push();
    }
    // The first one hears of it when it has read once more. Asking takes a second: the held shard is waited for.
    let mut before = None;
    loop {
        assert!(flooder.begun < FLOOD_MAX, "all of it is read");
        flooder.push();
        if flooder.is_blocked {
            let reads = broker.reports()[0].driver.reads;
            if before.replace(reads) == Some(reads) {
                break;
            }
        }
    }
    // The third is held, and does not answer.
    let reports = broker.reports();
    let [first, second] = [reports[0].driver, reports[1].driver];
    assert_eq!((first.overfull, second.overfull), (0, 1));
    // The bound, and what the first one may have had on its way to the second.
    let most = (64 << 20) + (40 << 20);
    assert!(second.peer_bytes_max > 64 << 20, "{second:?}");
    assert!(second.peer_bytes_max < most, "{second:?}");
    let taken = reports[0].engine.publishes_received;
    assert!(taken < u64::from(flooder.begun), "the rest waits outside");
    assert!(taken * (PAYLOAD as u64) < most + (40 << 20), "{taken}");

    release.now();
    let count = u64::from(flooder.begun) + 1;
    let receiving = thread::spawn(move || receive(receiver, count));
    flooder.finish();
    flooder.check(&receiving.join().unwrap());
    holder.expect(b"\x20\x02\x00\x00");
}

/// A topic whose retained message that shard keeps; there is none any more.
fn retained_topic_on(stage: &Stage, shard: usize) -> String {
    let mut client = Client::v3(&stage.broker, "retainer");
    for number in 0..8 {
        let topic = format!("flood/{number}");
        let publish =
            |payload: &[u8]| packet(0x33, &[&text(&topic), &b"\x00\x01"[..], payload].concat());
        client.send(&publish(b"x"));
        client.expect(b"\x40\x02\x00\x01");
        let found = stage.broker.reports()[shard].retained == 1;
        client.send(&publish(b""));
        client.expect(b"\x40\x02\x00\x01");
        if found {
            return topic;
        }
    }
    panic!("no topic of eight is on shard {shard}");
}
