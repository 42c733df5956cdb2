//! Optimisation: what a small message costs in memory, counted at the allocator.

use allocation_counter::{AllocationInfo, measure};
use martlet_codec::{Packet, QoS, Version};

use crate::answers::answers;
use crate::pair::Pair;
use crate::world::{World, publishes};

const TOPIC: &str = "a/topic/of/some/length";
const MESSAGES: usize = 64;

fn batch(qos: QoS) -> Vec<u8> {
    publishes(Version::V311, &[TOPIC; MESSAGES], qos, false, &[7; 64])
}

/// What one round takes from the allocator when a few have gone before it.
fn warm(mut round: impl FnMut()) -> AllocationInfo {
    for _ in 0..8 {
        round();
    }
    measure(round)
}

#[test]
fn nothing_is_allocated_for_small_messages() {
    for receivers in [1, 500] {
        let mut world = World::new();
        let ids = (0..receivers).map(|n| format!("s{n}"));
        world.subscribers(ids, TOPIC, QoS::AtMostOnce);
        let publisher = world.connect(Version::V311, "p");
        let input = batch(QoS::AtMostOnce);
        let info = warm(|| world.feed(publisher, &input));
        assert_eq!(info.count_total, 0, "{receivers} receivers: {info:?}");
        assert!(world.written > 0);
    }
}

/// Who ends with its connection is never sent anything again.
#[test]
fn nothing_is_allocated_for_acknowledged_messages_to_passing_sessions() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::new();
        world.subscribers((0..10).map(|n| format!("s{n}")), TOPIC, qos);
        let publisher = world.connect(Version::V311, "p");
        let input = publishes(Version::V311, &[TOPIC], QoS::AtLeastOnce, false, &[7; 64]);
        // The ninth makes the windows larger.
        warm(|| world.feed(publisher, &input));
        let info = measure(|| world.feed(publisher, &input));
        assert_eq!(info.count_total, 0, "{info:?}");
    }
}

/// What a log notes of messages that come and go lies in memory that it has.
#[test]
fn a_log_allocates_nothing_for_messages_that_come_and_go() {
    let of = |is_logged| {
        let mut world = World::with_store(is_logged);
        let subscriber = world.connect_to_stay(Version::V311, "s");
        world.subscribe(subscriber, Version::V311, TOPIC, QoS::AtLeastOnce);
        let publisher = world.connect(Version::V311, "p");
        let input = batch(QoS::AtLeastOnce);
        let mut answers = answers(64, 64, &[Packet::PubAck]).into_iter();
        let mut round = || {
            world.feed(publisher, &input);
            for answer in answers.next().into_iter().flatten() {
                world.feed(subscriber, &answer);
            }
        };
        (0..40).for_each(|_| round());
        measure(round).count_total
    };
    assert_eq!(of(true), of(false));
}

/// It has to be kept until it is acknowledged, however many receive it.
#[test]
fn a_message_that_is_kept_is_allocated_once() {
    let mut world = World::new();
    for n in 0..10 {
        let conn = world.connect_to_stay(Version::V311, &format!("s{n}"));
        world.subscribe(conn, Version::V311, TOPIC, QoS::AtLeastOnce);
    }
    let publisher = world.connect(Version::V311, "p");
    let input = publishes(Version::V311, &[TOPIC], QoS::AtLeastOnce, false, &[7; 64]);
    // The ninth makes the windows larger.
    warm(|| world.feed(publisher, &input));
    let info = measure(|| world.feed(publisher, &input));
    assert_eq!(info.count_total, 1, "{info:?}");
}

/// The same for a shared subscription, also while it waits in a member's queue.
#[test]
fn a_message_of_a_group_is_allocated_once() {
    for waiting in [0, 4] {
        let mut world = World::with_small_windows();
        let member = world.connect(Version::V311, "member");
        for n in 0..4 {
            let filter = format!("$share/g{n}/{TOPIC}");
            world.subscribe(member, Version::V311, &filter, QoS::AtLeastOnce);
        }
        let publisher = world.connect(Version::V311, "p");
        let input = publishes(Version::V311, &[TOPIC], QoS::AtLeastOnce, false, &[7; 64]);
        // Four groups: 64 go out, the others wait.
        for _ in 0..16 * waiting {
            world.feed(publisher, &input);
        }
        let mut acks = answers(64, 4, &[Packet::PubAck]).into_iter().flatten();
        let mut round = || {
            world.feed(publisher, &input);
            if let Some(ack) = acks.next() {
                world.feed(member, &ack);
            }
        };
        for _ in 0..32 {
            round();
        }
        let info = measure(round);
        assert_eq!(info.count_total, 1, "{waiting}: {info:?}");
    }
}

/// Messages of a run that wait are kept together: in a session's queue, and in a group's for its members' parts.
#[test]
fn what_waits_of_a_run_is_allocated_together() {
    for (members, filter, most) in [(1, TOPIC, 1), (4, "$share/g/#", 5)] {
        let mut world = World::with_small_windows();
        let ids = (0..members).map(|n| format!("m{n}"));
        let members = world.subscribers(ids, filter, QoS::AtLeastOnce);
        let publisher = world.connect(Version::V311, "p");
        let input = publishes(
            Version::V311,
            &[TOPIC; 16],
            QoS::AtLeastOnce,
            false,
            &[7; 64],
        );
        // All windows are full, and more waits.
        for _ in 0..4 * members.len() + 2 {
            world.feed(publisher, &input);
        }
        let each = u16::try_from(16 / members.len()).unwrap_or_default();
        let mut acks = answers(64, each, &[Packet::PubAck]).into_iter().flatten();
        let mut round = || {
            world.feed(publisher, &input);
            if let Some(ack) = acks.next() {
                for member in &members {
                    world.feed(*member, &ack);
                }
            }
        };
        for _ in 0..32 {
            round();
        }
        let info = measure(round);
        assert!(info.count_total <= most, "{filter}: {info:?}");
    }
}

/// The tags of whole windows come back at once, and are used again: only what is kept of the messages is allocated, by pieces.
#[test]
fn tags_are_used_again_by_hundreds() {
    const EACH: u16 = 256;
    let mut world = World::new();
    let ids = (0..4).map(|n| format!("m{n}"));
    let members = world.subscribers(ids, "$share/g/#", QoS::AtLeastOnce);
    let publisher = world.connect(Version::V311, "p");
    let input = batch(QoS::AtLeastOnce);
    let mut acks = answers(16, EACH, &[Packet::PubAck]).into_iter().flatten();
    let info = warm(|| {
        for _ in 0..members.len() * usize::from(EACH) / MESSAGES {
            world.feed(publisher, &input);
        }
        let ack = acks.next().unwrap_or_default();
        for member in &members {
            world.feed(*member, &ack);
        }
    });
    assert!(info.count_total <= 100, "1,024 messages: {info:?}");
}

#[test]
fn a_tick_that_crosses_shards_is_allocated_as_one_piece() {
    let mut pair = Pair::new();
    let publisher = pair.connect(TOPIC, QoS::AtMostOnce);
    let input = batch(QoS::AtMostOnce);
    let info = warm(|| {
        pair.publisher.feed(publisher, &input);
        pair.exchange();
    });
    assert!(info.count_total <= 12, "{MESSAGES} messages: {info:?}");
}

/// What one of many takes in the shard; the driver and the allocator come on top.
fn bytes_each(count: usize, make: impl FnOnce()) -> usize {
    let info = measure(make);
    usize::try_from(info.bytes_current).unwrap_or_default() / count
}

#[test]
fn subscriptions_sessions_and_retained_messages_take_few_bytes() {
    let mut world = World::with_few_routes();
    let clients: Vec<_> = (0..1_000)
        .map(|n| world.connect(Version::V311, &format!("client-{n:06}")))
        .collect();
    let subscriptions = bytes_each(50_000, || {
        for (n, client) in clients.iter().enumerate() {
            for k in 0..50 {
                let filter = format!("bench/{n:06}/topic/{k:06}");
                world.subscribe(*client, Version::V311, &filter, QoS::AtMostOnce);
            }
        }
    });
    assert!(subscriptions <= 150, "{subscriptions} bytes");
    let topics: Vec<String> = (0..20_000)
        .map(|n| format!("retained/topic/{n:08}"))
        .collect();
    let messages: Vec<Vec<u8>> = topics
        .iter()
        .map(|topic| {
            publishes(
                Version::V311,
                &[topic.as_str()],
                QoS::AtMostOnce,
                true,
                &[7; 64],
            )
        })
        .collect();
    let retained = bytes_each(20_000, || {
        for message in &messages {
            world.feed(clients[0], message);
        }
    });
    assert!(retained <= 200 + 23 + 64, "{retained} bytes");
}
