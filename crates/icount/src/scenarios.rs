//! The canned work. Each scenario prepares once and then repeats one round; the count is per operation.

use martlet_codec::{Decoded, Packet, QoS, Rules, Sender, Version, decode};
use martlet_engine::ConnId;

use crate::answers::{acks, answers};
use crate::crossing;
use crate::queues;
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
        run: |n| fan_out(n, 1, QoS::AtMostOnce),
    },
    Scenario {
        name: "publish_qos0_to_500",
        operations: 500 * 8,
        run: |n| fan_out_many(n, QoS::AtMostOnce),
    },
    Scenario {
        name: "flow_qos1_to_500",
        operations: 500 * 8,
        run: flow_qos1_many,
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
        run: flow_qos1,
    },
    Scenario {
        name: "flow_qos1_kept",
        operations: 32,
        run: flow_qos1_kept,
    },
    Scenario {
        name: "flow_qos1_stored",
        operations: 32,
        run: |n| flow_qos1_stored(n, false),
    },
    Scenario {
        name: "flow_qos1_stored_and_logged",
        operations: 32,
        run: |n| flow_qos1_stored(n, true),
    },
    Scenario {
        name: "flow_qos2",
        operations: 32,
        run: flow_qos2,
    },
    Scenario {
        name: "flow_qos1_through_the_queue",
        operations: 64,
        run: queues::flow_queued,
    },
    Scenario {
        name: "flow_qos1_shared",
        operations: 64,
        run: flow_shared,
    },
    Scenario {
        name: "flow_qos1_shared_queued",
        operations: 64,
        run: queues::flow_shared_queued,
    },
    Scenario {
        name: "flow_qos1_group_queue",
        operations: 64,
        run: queues::flow_group_queue,
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
    let input = publishes(
        Version::V311,
        &[TOPIC; BATCH as usize],
        QoS::AtMostOnce,
        false,
        &PAYLOAD,
    );
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

fn fan_out(rounds: u32, receivers: u32, qos: QoS) -> u64 {
    let mut world = World::new();
    for n in 0..receivers {
        let conn = world.connect(Version::V311, &format!("sub-{n}"));
        world.subscribe(conn, Version::V311, TOPIC, qos);
    }
    let publisher = world.connect(Version::V311, "pub");
    let input = publishes(
        Version::V311,
        &[TOPIC; BATCH as usize],
        qos,
        false,
        &PAYLOAD,
    );
    for _ in 0..rounds {
        world.feed(publisher, &input);
    }
    world.written
}

fn fan_out_many(rounds: u32, qos: QoS) -> u64 {
    let mut world = World::new();
    for n in 0..500 {
        let conn = world.connect(Version::V311, &format!("sub-{n}"));
        world.subscribe(conn, Version::V311, TOPIC, qos);
    }
    let publisher = world.connect(Version::V311, "pub");
    let input = publishes(Version::V311, &[TOPIC; 8], qos, false, &PAYLOAD);
    for _ in 0..rounds {
        world.feed(publisher, &input);
    }
    world.written
}

/// Five hundred receivers, and their acknowledgements.
fn flow_qos1_many(rounds: u32) -> u64 {
    let mut world = World::new();
    let subscribers: Vec<_> = (0..500)
        .map(|n| world.connect(Version::V311, &format!("sub-{n}")))
        .collect();
    for conn in &subscribers {
        world.subscribe(*conn, Version::V311, TOPIC, QoS::AtLeastOnce);
    }
    let publisher = world.connect(Version::V311, "pub");
    let input = publishes(
        Version::V311,
        &[TOPIC; 8],
        QoS::AtLeastOnce,
        false,
        &PAYLOAD,
    );
    for answers in answers(rounds, 8, &[Packet::PubAck]) {
        world.feed(publisher, &input);
        for answer in answers {
            for conn in &subscribers {
                world.feed(*conn, &answer);
            }
        }
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

fn flow_qos1(rounds: u32) -> u64 {
    let mut world = World::new();
    let subscriber = world.connect(Version::V311, "sub");
    acknowledged(rounds, world, subscriber)
}

/// To a session that may come back: what it has not acknowledged is kept for it.
fn flow_qos1_kept(rounds: u32) -> u64 {
    let mut world = World::new();
    let subscriber = world.connect_to_stay(Version::V311, "sub");
    acknowledged(rounds, world, subscriber)
}

/// To a session that is in a store. The log syncs each batch.
fn flow_qos1_stored(rounds: u32, is_logged: bool) -> u64 {
    let mut world = World::with_store(is_logged);
    let subscriber = world.connect_to_stay(Version::V311, "sub");
    acknowledged(rounds, world, subscriber)
}

fn acknowledged(rounds: u32, mut world: World, subscriber: ConnId) -> u64 {
    world.subscribe(subscriber, Version::V311, TOPIC, QoS::AtLeastOnce);
    let publisher = world.connect(Version::V311, "pub");
    let input = publishes(
        Version::V311,
        &[TOPIC; 32],
        QoS::AtLeastOnce,
        false,
        &PAYLOAD,
    );
    for answers in answers(rounds, 32, &[Packet::PubAck]) {
        world.feed(publisher, &input);
        for answer in answers {
            world.feed(subscriber, &answer);
        }
    }
    world.written
}

fn flow_qos2(rounds: u32) -> u64 {
    let mut world = World::new();
    let subscriber = world.connect(Version::V311, "sub");
    world.subscribe(subscriber, Version::V311, TOPIC, QoS::ExactlyOnce);
    let publisher = world.connect(Version::V311, "pub");
    let input = publishes(
        Version::V311,
        &[TOPIC; 32],
        QoS::ExactlyOnce,
        false,
        &PAYLOAD,
    );
    let releases = acks(1, 32, Packet::PubRel);
    for answers in answers(rounds, 32, &[Packet::PubRec, Packet::PubComp]) {
        world.feed(publisher, &input);
        world.feed(publisher, &releases);
        for answer in answers {
            world.feed(subscriber, &answer);
        }
    }
    world.written
}

/// Four members of one group; their windows never close.
fn flow_shared(rounds: u32) -> u64 {
    let mut world = World::new();
    let members: Vec<_> = (0..4)
        .map(|n| world.connect(Version::V311, &format!("member-{n}")))
        .collect();
    for member in &members {
        let filter = "$share/group/bench/#";
        world.subscribe(*member, Version::V311, filter, QoS::AtLeastOnce);
    }
    let input = publishes(
        Version::V311,
        &[TOPIC; 64],
        QoS::AtLeastOnce,
        false,
        &PAYLOAD,
    );
    let publisher = world.connect(Version::V311, "pub");
    for answers in answers(rounds, 16, &[Packet::PubAck]) {
        world.feed(publisher, &input);
        for (member, answer) in members.iter().zip(answers.iter().cycle()) {
            world.feed(*member, answer);
        }
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
