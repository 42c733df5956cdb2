//! What one tick has for a connection leaves in one write, and a reader that does not read harms nobody.

use crate::client::{Client, broker, publish, total};

#[test]
fn a_tick_writes_each_dirty_connection_once() {
    const MESSAGES: usize = 1_000;
    const SUBSCRIBERS: usize = 10;
    let broker = broker(1);
    let mut subscribers: Vec<Client> = (0..SUBSCRIBERS)
        .map(|number| {
            let mut client = Client::v3(&broker, &format!("s{number}"));
            client.subscribe("t");
            client
        })
        .collect();
    let mut publisher = Client::v3(&broker, "p");
    let before = broker.reports()[0].driver;
    let burst = publish("t", b"small").repeat(MESSAGES);
    publisher.send(&burst);
    for subscriber in &mut subscribers {
        subscriber.expect(&burst);
    }
    let after = broker.reports()[0].driver;
    let writes = after.writes - before.writes;
    assert_eq!(after.short_writes, before.short_writes);
    assert_eq!(
        writes,
        after.dirty - before.dirty,
        "one write per dirty connection"
    );
    let ticks = after.flushes - before.flushes;
    assert!(
        writes <= ticks * SUBSCRIBERS as u64,
        "{writes} writes, {ticks} ticks"
    );
    assert!(ticks <= after.reads - before.reads, "{ticks} ticks");
    // The burst is some reads long, far fewer than messages.
    assert!(
        writes < (MESSAGES * SUBSCRIBERS / 10) as u64,
        "{writes} writes"
    );
}

#[test]
fn a_reader_that_never_reads_costs_the_others_nothing() {
    let broker = broker(1);
    let mut stalled = Client::v3(&broker, "stalled");
    stalled.subscribe("t");
    let mut quick = Client::v3(&broker, "quick");
    quick.subscribe("t");
    let mut publisher = Client::v3(&broker, "p");
    let message = publish("t", &vec![1; 60_000]);
    let mut sent = 0;
    while total(&broker, |shard| shard.engine.dropped_outbox_full) == 0 {
        publisher.send(&message);
        quick.expect(&message);
        sent += 1;
        assert!(
            sent < 1_000,
            "the stalled reader's messages are never dropped"
        );
    }
    let before = broker.reports()[0].driver;
    assert!(before.short_writes > 0);
    for _ in 0..20 {
        publisher.send(&message);
        quick.expect(&message);
    }
    publisher.ping();
    let after = broker.reports()[0].driver;
    assert_eq!(
        after.short_writes, before.short_writes,
        "a full socket is not tried again"
    );
    // It gets everything that was kept for it, whole and in order, when it reads at last.
    for _ in 0..10 {
        stalled.expect(&message);
    }
    stalled.send(b"\xc0\x00");
    while stalled.packet().unwrap() != b"\xd0\x00" {}
}

/// As above for what leaves in one piece: the rest of it leaves when the socket has room again.
#[test]
fn a_reader_of_small_messages_that_stalls_gets_what_was_kept_for_it() {
    const BURST: usize = 1_000;
    let broker = broker(1);
    let mut stalled = Client::v3(&broker, "stalled");
    stalled.subscribe("t");
    let mut publisher = Client::v3(&broker, "p");
    let message = publish("t", &[1; 900]);
    let burst = message.repeat(BURST);
    let mut sent = 0;
    while broker.reports()[0].driver.short_writes == 0 {
        publisher.send(&burst);
        publisher.ping();
        sent += BURST;
        assert!(sent < 1_000 * BURST, "the socket is never full");
    }
    let before = broker.reports()[0].driver.short_writes;
    for _ in 0..100 {
        publisher.ping();
    }
    let tried = broker.reports()[0].driver.short_writes - before;
    // The system may find a little room by itself.
    assert!(
        tried < 50,
        "a full socket is not tried in every tick: {tried}"
    );
    stalled.send(b"\xc0\x00");
    let mut got = 0;
    loop {
        let packet = stalled.packet().unwrap();
        if packet == b"\xd0\x00" {
            break;
        }
        assert_eq!(packet, message);
        got += 1;
    }
    let dropped = total(&broker, |shard| shard.engine.dropped_outbox_full);
    assert_eq!(got + dropped, sent as u64);
}
