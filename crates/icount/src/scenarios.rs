//! The canned work. Each scenario prepares once and then repeats one round; the count is per operation.

use martlet_codec::{Decoded, Packet, QoS, Rules, Sender, Version, decode};

use crate::crossing;
use crate::flows;
use crate::groups;
use crate::world::{World, bytes, connect_bytes, publishes};

/// One kind of work.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called in the baseline.
    pub name: &'static str,
    /// Operations in one round.
    pub operations: u32,
    /// Prepares, then runs so many rounds. Returns a number that depends on the work.
    pub run: fn(rounds: u32) -> u64,
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decode_publish_qos0",
        operations: BATCH,
        run: decode_publish,
    },
    Scenario {
        name: "decode_publish_v5_properties",
        operations: BATCH,
        run: decode_properties,
    },
    Scenario {
        name: "publish_qos0_to_1",
        operations: BATCH,
        run: |n| fan_out(n, 1, BATCH as usize),
    },
    Scenario {
        name: "publish_qos0_to_500",
        operations: 500 * 8,
        run: |n| fan_out(n, 500, 8),
    },
    Scenario {
        name: "flow_qos1_to_500",
        operations: 500 * 8,
        run: flows::qos1_to_many,
    },
    Scenario {
        name: "publish_qos0_across_shards",
        operations: BATCH,
        run: |n| crossing::plain(n, QoS::AtMostOnce),
    },
    Scenario {
        name: "publish_qos0_shared_across_shards",
        operations: BATCH,
        run: |n| crossing::shared(n, QoS::AtMostOnce),
    },
    Scenario {
        name: "flow_qos1_shared_across_shards",
        operations: BATCH,
        run: |n| crossing::shared(n, QoS::AtLeastOnce),
    },
    Scenario {
        name: "connect_and_disconnect",
        operations: 1,
        run: connect,
    },
    Scenario {
        name: "flow_qos1",
        operations: 32,
        run: flows::qos1,
    },
    Scenario {
        name: "flow_qos1_kept",
        operations: 32,
        run: flows::qos1_kept,
    },
    Scenario {
        name: "flow_qos1_stored",
        operations: 32,
        run: |n| flows::qos1_stored(n, false),
    },
    Scenario {
        name: "flow_qos1_stored_and_logged",
        operations: 32,
        run: |n| flows::qos1_stored(n, true),
    },
    Scenario {
        name: "flow_qos2",
        operations: 32,
        run: flows::qos2,
    },
    Scenario {
        name: "flow_qos2_stored",
        operations: 32,
        run: |n| flows::qos2_stored(n, false),
    },
    Scenario {
        name: "flow_qos2_stored_and_logged",
        operations: 32,
        run: |n| flows::qos2_stored(n, true),
    },
    Scenario {
        name: "flow_qos1_through_the_queue",
        operations: 64,
        run: flows::qos1_queued,
    },
    Scenario {
        name: "flow_qos1_shared",
        operations: 64,
        run: groups::shared,
    },
    Scenario {
        name: "flow_qos1_shared_queued",
        operations: 64,
        run: groups::shared_queued,
    },
    Scenario {
        name: "flow_qos1_group_queue",
        operations: 64,
        run: groups::group_queue,
    },
    Scenario {
        name: "flow_qos1_group_queue_across_shards",
        operations: BATCH,
        run: crossing::group_queue,
    },
    Scenario {
        name: "match_20000_wildcard_filters",
        operations: 1_000,
        run: wildcard,
    },
    Scenario {
        name: "publish_to_10000_topics",
        operations: 10_000,
        run: many_topics,
    },
    Scenario {
        name: "retained_replay",
        operations: 10_000,
        run: retained,
    },
];

pub(crate) const BATCH: u32 = 64;
pub(crate) const PAYLOAD: [u8; 64] = [b'x'; 64];
pub(crate) const TOPIC: &str = "bench/p2p/topic/17";

/// So many messages to one topic.
pub(crate) fn batch(count: usize, qos: QoS) -> Vec<u8> {
    publishes(Version::V311, &vec![TOPIC; count], qos, false, &PAYLOAD)
}

fn decode_all(input: &[u8], version: Version, rounds: u32) -> u64 {
    let rules = Rules {
        version,
        sender: Sender::Client,
        max_packet_size: 1 << 20,
    };
    let mut sum = 0;
    for _ in 0..rounds {
        let mut rest = input;
        while let Ok(Decoded::Packet { packet, length }) = decode(rest, rules) {
            if let Packet::Publish(publish) = packet {
                sum += publish.payload.len() as u64;
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    sum
}

fn decode_publish(rounds: u32) -> u64 {
    let input = batch(BATCH as usize, QoS::AtMostOnce);
    decode_all(&input, Version::V311, rounds)
}

fn decode_properties(rounds: u32) -> u64 {
    let mut properties = martlet_codec::PropertiesBuf::new();
    properties.push(martlet_codec::Property::MessageExpiryInterval(60));
    properties.push(martlet_codec::Property::ContentType("text/plain"));
    properties.push(martlet_codec::Property::UserProperty("unit", "W"));
    let publish = martlet_codec::Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: martlet_codec::TopicName::new(TOPIC).ok(),
        packet_id: None,
        properties: properties.as_properties(),
        payload: &PAYLOAD,
    };
    let one = bytes(Version::V5, &Packet::Publish(publish));
    decode_all(&one.repeat(BATCH as usize), Version::V5, rounds)
}

/// Some subscribers of what one publishes at QoS 0, so many messages at a time.
fn fan_out(rounds: u32, receivers: u32, count: usize) -> u64 {
    let mut world = World::new();
    let ids = (0..receivers).map(|n| format!("sub-{n}"));
    world.subscribers(ids, TOPIC, QoS::AtMostOnce);
    let publisher = world.connect(Version::V311, "pub");
    let input = batch(count, QoS::AtMostOnce);
    for _ in 0..rounds {
        world.feed(publisher, &input);
    }
    world.written
}

fn connect(rounds: u32) -> u64 {
    let mut world = World::new();
    let connect = connect_bytes(Version::V311, "client");
    // DISCONNECT.
    let disconnect = [0xE0, 0];
    for _ in 0..rounds {
        world.come_and_go(&connect, &disconnect);
    }
    world.written
}

/// Every topic is new to the route cache: its size is below the number of topics.
fn wildcard(rounds: u32) -> u64 {
    let mut world = World::new();
    for n in 0..1_000 {
        let conn = world.connect(Version::V311, &format!("sub-{n}"));
        for k in 0..20 {
            let filter = match k % 3 {
                0 => format!("site/{}/+/value", n * 20 + k),
                1 => format!("site/{}/#", n * 20 + k),
                _ => format!("+/{}/line/value", n * 20 + k),
            };
            world.subscribe(conn, Version::V311, &filter, QoS::AtMostOnce);
        }
    }
    let publisher = world.connect(Version::V311, "pub");
    // Made before the first round: neither their text nor their memory is the shard's work.
    let inputs: Vec<Vec<u8>> = (0..20)
        .map(|block| {
            let topics: Vec<String> = (0..1_000)
                .map(|k| format!("site/{}/line/value", block * 1_000 + k))
                .collect();
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            publishes(Version::V311, &topics, QoS::AtMostOnce, false, &PAYLOAD)
        })
        .collect();
    for (_, input) in (0..rounds).zip(inputs.iter().cycle()) {
        world.feed(publisher, input);
    }
    world.written
}

/// Topics whose routes are known, with three receivers each.
fn many_topics(rounds: u32) -> u64 {
    let mut world = World::new();
    for n in 0..1_000 {
        let conn = world.connect(Version::V311, &format!("sub-{n}"));
        for k in 0..3 {
            let filter = format!("site/{}/+/value", (n + 333 * k) % 1_000);
            world.subscribe(conn, Version::V311, &filter, QoS::AtMostOnce);
        }
    }
    let publisher = world.connect(Version::V311, "pub");
    let inputs: Vec<Vec<u8>> = (0..10)
        .map(|line| {
            let topics: Vec<String> = (0..1_000)
                .map(|site| format!("site/{}/l{line}/value", site * 7 % 1_000))
                .collect();
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            publishes(Version::V311, &topics, QoS::AtMostOnce, false, &PAYLOAD)
        })
        .collect();
    // Once before: here they are found out.
    for _ in 0..=rounds {
        for input in &inputs {
            world.feed(publisher, input);
        }
    }
    world.written
}

fn retained(rounds: u32) -> u64 {
    let mut world = World::new();
    let publisher = world.connect(Version::V311, "pub");
    for n in 0..10_000 {
        let topic = format!("retained/{}/{}", n % 100, n);
        let input = publishes(Version::V311, &[&topic], QoS::AtMostOnce, true, &PAYLOAD);
        world.feed(publisher, &input);
    }
    let subscriber = world.connect(Version::V311, "sub");
    for _ in 0..rounds {
        world.subscribe(subscriber, Version::V311, "#", QoS::AtMostOnce);
    }
    world.written
}
