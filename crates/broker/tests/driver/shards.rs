//! Several shards are one broker.

use crate::client::{Client, broker, connect_v3, publish, subscribe, total};

#[test]
fn a_handed_over_connection_keeps_every_byte() {
    let broker = broker(4);
    for number in 0..40 {
        let id = format!("client-{number}");
        let mut client = Client::open(broker.local_addrs()[0]);
        // CONNECT and what follows in one segment, cut in the middle of the last packet.
        let publish = publish(&id, &vec![9; 10_000]);
        let (head, rest) = publish.split_at(5_000);
        let first = [connect_v3(&id), subscribe(7, &id), head.to_vec()].concat();
        client.send(&first);
        client.expect(b"\x20\x02\x00\x00\x90\x03\x00\x07\x00");
        client.send(rest);
        client.expect(&publish);
    }
    let homes = broker
        .reports()
        .iter()
        .filter(|shard| shard.engine.publishes_received > 0)
        .count();
    assert_eq!(homes, 4, "clients live on every shard");
    let handovers = total(&broker, |shard| shard.driver.handovers);
    assert!((1..40).contains(&handovers), "{handovers}");
}

/// Optimisation: the answer to CONNECT does not wait until the system has said that the new socket may be written, though the
/// shard where the client lives has not heard of it before.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_is_handed_over_is_answered_at_once() {
    let broker = broker(4);
    for number in 0..40 {
        let mut client = Client::v3(&broker, &format!("client-{number}"));
        client.ping();
    }
    let handovers = total(&broker, |shard| shard.driver.handovers);
    assert!((1..40).contains(&handovers), "{handovers}");
    assert_eq!(total(&broker, |shard| shard.driver.short_writes), 0);
}

#[test]
fn every_shard_gets_a_message_once_and_in_order() {
    const MESSAGES: usize = 3_000;
    let broker = broker(4);
    let mut subscribers: Vec<Client> = (0..12)
        .map(|number| {
            let mut client = Client::v3(&broker, &format!("s{number}"));
            client.subscribe("a/+");
            client
        })
        .collect();
    let mut publisher = Client::v3(&broker, "p");
    let all: Vec<u8> = (0..MESSAGES)
        .flat_map(|number| publish("a/b", number.to_string().as_bytes()))
        .collect();
    publisher.send(&all);
    for subscriber in &mut subscribers {
        subscriber.expect(&all);
    }
    let sent = total(&broker, |shard| shard.engine.peer_messages_sent);
    // And what the subscriptions cost: a question to each other shard for retained messages, and its answer.
    let most = 3 * MESSAGES + subscribers.len() * 3 * 2;
    assert!(sent <= most as u64, "one message per other shard: {sent}");
    let wakes = total(&broker, |shard| shard.driver.peer_wakes);
    assert!(wakes < sent / 10, "{wakes} wakes for {sent} messages");
}

#[test]
fn a_topic_that_nobody_elsewhere_wants_stays_at_home() {
    let broker = broker(4);
    let mut subscriber = Client::v3(&broker, "s");
    subscriber.subscribe("other/topic");
    let mut publisher = Client::v3(&broker, "p");
    publisher.send(&publish("a/b", b"x").repeat(1_000));
    publisher.ping();
    let sent = total(&broker, |shard| shard.engine.peer_messages_sent);
    assert!(sent <= 3 * 2, "only what the subscription costs: {sent}");
}

/// What is published after SUBACK was seen arrives, whatever the shards.
#[test]
fn a_subscription_holds_for_every_shard_once_it_is_acknowledged() {
    let broker = broker(4);
    let mut publishers: Vec<Client> = (0..8)
        .map(|number| Client::v3(&broker, &format!("p{number}")))
        .collect();
    for round in 0..50 {
        let topic = format!("t/{round}");
        let mut subscriber = Client::v3(&broker, &format!("s{round}"));
        subscriber.subscribe(&topic);
        let publisher = &mut publishers[round % 8];
        publisher.send(&publish(&topic, b"x"));
        subscriber.expect(&publish(&topic, b"x"));
    }
}
