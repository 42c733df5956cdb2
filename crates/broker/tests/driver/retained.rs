//! Many retained messages for one subscriber: paced by its window, none left out.

use std::collections::BTreeSet;

use crate::client::{Client, broker, packet, text, total};

const TOPICS: u32 = 100_000;
const BATCH: u32 = 1_000;

/// The queue limit is a tenth of this, and the window 64: neither may cost a message.
#[test]
fn a_hundred_thousand_retained_messages_reach_one_subscriber() {
    for shards in [1, 2] {
        let broker = broker(shards);
        let mut publisher = Client::v3(&broker, "publisher");
        for first in (0..TOPICS).step_by(BATCH as usize) {
            let batch: Vec<u8> = (first..first + BATCH).flat_map(retained).collect();
            publisher.send(&batch);
            // In order, each four bytes long.
            let pubacks: Vec<u8> = (first..first + BATCH)
                .flat_map(|number| [0x40, 2, id(number)[0], id(number)[1]])
                .collect();
            publisher.expect(&pubacks);
        }
        let mut subscriber = Client::v3(&broker, "subscriber");
        subscriber.send(&packet(0x82, &[&[0, 1][..], &text("#"), &[1]].concat()));
        subscriber.expect(b"\x90\x03\x00\x01\x01");
        let mut topics = BTreeSet::new();
        for _ in 0..TOPICS {
            let publish = subscriber.packet().unwrap();
            assert_eq!(publish[0], 0x33, "QoS 1 with RETAIN");
            let topic_len = usize::from(publish[3]);
            let topic = &publish[4..4 + topic_len];
            assert!(topics.insert(topic.to_vec()), "{topic:?} twice");
            let id = &publish[4 + topic_len..6 + topic_len];
            subscriber.send(&[0x40, 2, id[0], id[1]]);
        }
        subscriber.ping();
        assert_eq!(topics.len(), TOPICS as usize, "{shards} shards");
        assert_eq!(total(&broker, |shard| shard.engine.queued), 0);
    }
}

/// Packet identifiers 1 to 60,000, in turn.
fn id(number: u32) -> [u8; 2] {
    u16::try_from(number % 60_000 + 1).unwrap().to_be_bytes()
}

fn retained(number: u32) -> Vec<u8> {
    let topic = text(&format!("retained/{number}"));
    packet(0x33, &[&topic, &id(number)[..], b"x"].concat())
}
