//! Retained messages: stored, replaced, cleared, replayed.

use martlet_codec::{QoS, Version};
use std::string::ToString;

use super::world::{World, id_on};
use crate::peering::peers::Peer;
use crate::{Limits, PeerMessage};

#[test]
fn a_new_subscription_gets_what_is_retained_from_every_shard() {
    for shards in [1, 2, 4] {
        let mut w = World::new(shards);
        let p = w.connect(Version::V311, "p", true);
        for n in 0..500 {
            w.publish(
                p,
                &std::format!("r/{n}"),
                QoS::AtLeastOnce,
                1,
                true,
                &n.to_string(),
            );
        }
        w.publish(p, "r/7", QoS::AtLeastOnce, 1, true, "");
        w.publish(p, "r/8", QoS::AtLeastOnce, 1, true, "new");
        w.publish(p, "r/9", QoS::AtLeastOnce, 1, false, "not retained");
        let s = w.connect(Version::V311, &id_on(0, shards, "s"), true);
        w.subscribe(s, "#", QoS::AtMostOnce);
        let mut got = w.received(s);
        assert_eq!(got.remove(0), "CONNACK 00 present=false");
        assert!(got.contains(&"SUBACK [00]".to_string()));
        got.retain(|line| line.starts_with("PUBLISH"));
        assert_eq!(got.len(), 499, "{shards} shards");
        assert!(got.iter().all(|line| line.ends_with(" retain")));
        assert!(got.contains(&"PUBLISH r/8=new q0 retain".to_string()));
        assert!(got.contains(&"PUBLISH r/9=9 q0 retain".to_string()));
        assert_eq!(
            w.shards
                .iter()
                .map(crate::Shard::retained_count)
                .sum::<usize>(),
            499
        );
    }
}

#[test]
fn the_receivers_window_sets_the_pace_and_the_queue_stays_empty() {
    let mut w = World::new(2);
    let window = usize::from(Limits::default().in_flight_to_client_max);
    let p = w.connect(Version::V311, "p", true);
    for n in 0..5 * window {
        w.publish(
            p,
            &std::format!("r/{n}"),
            QoS::AtLeastOnce,
            1,
            true,
            &n.to_string(),
        );
    }
    let s = w.connect(Version::V311, &id_on(0, 2, "s"), true);
    w.subscribe(s, "#", QoS::AtLeastOnce);
    let mut total = w.payloads(s).len();
    assert_eq!(total, window, "in flight to one client");
    let mut id = 0;
    while total < 5 * window {
        id += 1;
        assert!(usize::from(id) <= 5 * window, "stuck at {total}");
        w.send(
            s,
            &martlet_codec::Packet::PubAck(martlet_codec::Ack {
                packet_id: martlet_codec::PacketId::new(id).unwrap(),
                reason: martlet_codec::ReasonCode::Success,
                properties: martlet_codec::Properties::EMPTY,
            }),
        );
        total += w.payloads(s).len();
    }
    assert_eq!(w.shards[s.shard].counters().queued, 0);
}

#[test]
fn a_live_value_is_never_followed_by_an_older_retained_one() {
    let mut w = World::new(1);
    let window = Limits::default().in_flight_to_client_max;
    let p = w.connect(Version::V311, "p", true);
    for n in 0..4 * window {
        w.publish(
            p,
            &std::format!("r/{n:04}"),
            QoS::AtLeastOnce,
            1,
            true,
            "old",
        );
    }
    let s = w.connect(Version::V311, "s", true);
    w.subscribe(s, "#", QoS::AtLeastOnce);
    w.received(s);
    // A window is in flight, a chunk may wait behind it.
    for n in [10, window, window + 1, 2 * window, 4 * window - 1] {
        w.publish(
            p,
            &std::format!("r/{n:04}"),
            QoS::AtLeastOnce,
            1,
            true,
            "new",
        );
    }
    let mut lines = std::vec::Vec::new();
    for id in 1..=5 * window {
        w.send(
            s,
            &martlet_codec::Packet::PubAck(martlet_codec::Ack {
                packet_id: martlet_codec::PacketId::new(id).unwrap(),
                reason: martlet_codec::ReasonCode::Success,
                properties: martlet_codec::Properties::EMPTY,
            }),
        );
        lines.extend(w.received(s));
    }
    for n in [window, window + 1, 2 * window, 4 * window - 1] {
        let topic = std::format!("r/{n:04}=");
        let seen: std::vec::Vec<_> = lines.iter().filter(|line| line.contains(&topic)).collect();
        assert!(seen.iter().all(|line| line.contains("=new")), "{seen:?}");
        assert!(!seen.is_empty(), "{topic}");
    }
}

/// Whoever has seen the acknowledgement and subscribes then gets the message as a retained one.
#[test]
fn a_retained_message_is_acknowledged_when_its_owner_has_it_and_answers_keep_their_order() {
    let mut w = World::new(2);
    let topic = (0..100)
        .map(|n| std::format!("r/{n}"))
        .find(|topic| crate::owner_of_topic(topic, 2) == 1)
        .unwrap();
    let p = w.connect(Version::V311, &id_on(0, 2, "p"), true);
    w.received(p);
    let mut fx = crate::Effects::new(2);
    for (id, retain) in [(1, true), (2, false)] {
        let mut bytes = std::vec::Vec::new();
        martlet_codec::Packet::Publish(martlet_codec::Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain,
            topic: Some(martlet_codec::TopicName::new(&topic).unwrap()),
            packet_id: martlet_codec::PacketId::new(id),
            properties: martlet_codec::Properties::EMPTY,
            payload: b"x",
        })
        .encode(Version::V311, &mut bytes)
        .unwrap();
        w.shards[0].on_bytes(p.conn, &bytes, w.now, &mut fx);
    }
    assert!(fx.dirty.is_empty(), "nothing is answered yet");
    let mut to_owner = core::mem::take(&mut fx.peers[1]);
    w.shards[1].on_peer_batch(0, &mut to_owner, w.now, &mut fx);
    let mut back = core::mem::take(&mut fx.peers[0]);
    w.shards[0].on_peer_batch(1, &mut back, w.now, &mut fx);
    assert_eq!(fx.dirty, [p.conn]);
    let mut slices: [&[u8]; 1] = [&[]];
    w.shards[0].outbox(p.conn).unwrap().io_slices(&mut slices);
    assert_eq!(slices[0], [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
}

/// Never an older value after a newer one: what waits in the queue is older than what is asked for now.
#[test]
fn a_replay_does_not_overtake_what_was_queued_before() {
    let mut w = World::new(1);
    let p = w.connect(Version::V311, "p", true);
    let one = [
        martlet_codec::Property::ReceiveMaximum(1),
        martlet_codec::Property::SessionExpiryInterval(100),
    ];
    let s = w.connect_with(Version::V5, "s", true, &one);
    w.subscribe(s, "r", QoS::AtLeastOnce);
    w.drop_connection(s);
    w.publish(p, "r", QoS::AtLeastOnce, 1, false, "1");
    w.publish(p, "r", QoS::AtLeastOnce, 2, true, "2");
    w.publish(p, "r", QoS::AtMostOnce, 0, true, "3");
    let s = w.connect_with(Version::V5, "s", false, &one);
    w.subscribe(s, "r", QoS::AtLeastOnce);
    let mut seen = w.payloads(s);
    for id in 1..=2 {
        w.send(
            s,
            &martlet_codec::Packet::PubAck(martlet_codec::Ack {
                packet_id: martlet_codec::PacketId::new(id).unwrap(),
                reason: martlet_codec::ReasonCode::Success,
                properties: martlet_codec::Properties::EMPTY,
            }),
        );
        seen.extend(w.payloads(s));
    }
    assert_eq!(seen, ["1", "2", "3"]);
}

/// Whoever publishes after SUBACK was seen publishes behind what was retained before, on whichever shard that is.
#[test]
fn suback_comes_when_the_retained_messages_are_here() {
    let mut w = World::new(4);
    let p = w.connect(Version::V311, "p", true);
    for n in 0..20 {
        w.publish(p, &std::format!("r/{n}"), QoS::AtLeastOnce, 1, true, "old");
    }
    let s = w.connect(Version::V311, &id_on(0, 4, "s"), true);
    w.received(s);
    let mut fx = crate::Effects::new(4);
    // SUBSCRIBE to "r/#", QoS 0.
    let subscribe = [0x82, 8, 0, 1, 0, 3, b'r', b'/', b'#', 0];
    w.shards[0].on_bytes(s.conn, &subscribe, w.now, &mut fx);
    let mut rounds = 0;
    while fx.dirty.is_empty() {
        rounds += 1;
        assert!(rounds <= 4, "SUBACK never came");
        for shard in 1..4 {
            let mut request = core::mem::take(&mut fx.peers[shard]);
            let mut there = crate::Effects::new(4);
            w.shards[shard].on_peer_batch(0, &mut request, w.now, &mut there);
            w.shards[0].on_peer_batch(shard, &mut there.peers[0], w.now, &mut fx);
        }
    }
    let mut slices: [&[u8]; 1] = [&[]];
    w.shards[0].outbox(s.conn).unwrap().io_slices(&mut slices);
    assert_eq!(slices[0][..5], [0x90, 3, 0, 1, 0], "SUBACK is first");
    let publishes = slices[0][5..]
        .windows(3)
        .filter(|bytes| bytes == b"old")
        .count();
    assert_eq!(publishes, 20, "and all are behind it");
}

#[test]
fn a_reconnect_in_the_middle_goes_on_where_it_was_and_leaves_no_suback_behind() {
    for shards in [1, 3] {
        let mut w = World::new(shards);
        let p = w.connect(Version::V311, "p", true);
        for n in 0..300 {
            w.publish(p, &std::format!("r/{n:03}"), QoS::AtLeastOnce, 1, true, "x");
        }
        let id = id_on(0, shards, "s");
        let s = w.connect(Version::V311, &id, false);
        w.subscribe(s, "#", QoS::AtLeastOnce);
        let mut seen = std::collections::BTreeSet::new();
        let mut collect = |lines: std::vec::Vec<std::string::String>| {
            for line in lines.iter().filter(|line| line.starts_with("PUBLISH")) {
                seen.insert(line.split('=').next().unwrap().to_string());
            }
        };
        collect(w.received(s));
        w.drop_connection(s);
        let s = w.connect(Version::V311, &id, false);
        collect(w.received(s));
        for id in 1..=400_u16 {
            let [high, low] = id.to_be_bytes();
            w.send_bytes(s, &[0x40, 2, high, low]);
            collect(w.received(s));
        }
        assert_eq!(seen.len(), 300, "{shards} shards");
    }
}

#[test]
fn a_filter_that_stands_twice_in_a_subscribe_is_answered_twice() {
    for shards in [1, 2] {
        let mut w = World::new(shards);
        let s = w.connect(Version::V311, "s", true);
        let mut filters = martlet_codec::SubscribeFiltersBuf::new();
        for qos in [QoS::AtMostOnce, QoS::ExactlyOnce] {
            let options = martlet_codec::SubscriptionOptions::with_qos(qos);
            filters.push(martlet_codec::TopicFilter::new("r/#").unwrap(), options);
        }
        w.send(
            s,
            &martlet_codec::Packet::Subscribe(martlet_codec::Subscribe {
                packet_id: martlet_codec::PacketId::new(1).unwrap(),
                properties: martlet_codec::Properties::EMPTY,
                filters: filters.as_filters(),
            }),
        );
        assert_eq!(w.received(s)[1..], ["SUBACK [00, 02]"], "{shards} shards");
    }
}

#[test]
fn subacks_keep_the_order_of_their_subscribes_and_have_all_codes() {
    let mut w = World::new(2);
    let s = w.connect(Version::V5, &id_on(0, 2, "s"), true);
    w.received(s);
    // One write: SUBSCRIBE 1 of topics of both shards, SUBSCRIBE 2 that asks nobody (Retain Handling 2),
    // SUBSCRIBE 3 of one filter twice.
    let mut bytes = std::vec::Vec::new();
    bytes.extend([0x82, 11, 0, 1, 0, 0, 1, b'a', 0, 0, 1, b'b', 0]);
    bytes.extend([0x82, 7, 0, 2, 0, 0, 1, b'c', 0x20]);
    bytes.extend([0x82, 11, 0, 3, 0, 0, 1, b'd', 0, 0, 1, b'd', 1]);
    w.send_bytes(s, &bytes);
    assert_eq!(
        w.received(s),
        ["SUBACK [00, 00]", "SUBACK [00]", "SUBACK [00, 01]"]
    );
}

/// A client that subscribes and publishes to itself in one write sees SUBACK first, and PINGRESP last.
#[test]
fn what_is_pipelined_behind_subscribe_happens_behind_suback() {
    for shards in [1, 2, 4] {
        let mut w = World::new(shards);
        let s = w.connect(Version::V311, &id_on(0, shards, "s"), true);
        w.received(s);
        let mut bytes = std::vec::Vec::new();
        bytes.extend([0x82, 6, 0, 1, 0, 1, b'#', 0]);
        bytes.extend([0x30, 4, 0, 1, b't', b'x']);
        bytes.extend([0xC0, 0]);
        w.send_bytes(s, &bytes);
        assert_eq!(w.received(s), ["SUBACK [00]", "PUBLISH t=x q0", "PingResp"]);
    }
}

/// Two subscriptions of a client ask for the same topic, one before and one after the client itself replaces its value.
#[test]
fn no_replay_sends_an_older_value_than_the_clients_own() {
    let limits = Limits {
        retained_chunk_messages: 1,
        ..Limits::default()
    };
    let mut w = World::with(1, &limits, &crate::Policy::default());
    let p = w.connect(Version::V311, "p", true);
    for (id, topic) in [(1, "r/a"), (2, "r/b"), (3, "r/c"), (4, "r/d")] {
        w.publish(p, topic, QoS::AtLeastOnce, id, true, "old");
    }
    let one = [martlet_codec::Property::ReceiveMaximum(1)];
    let s = w.connect_with(Version::V5, "s", true, &one);
    for filter in ["r/#", "r/d"] {
        let mut filters = martlet_codec::SubscribeFiltersBuf::new();
        let options = martlet_codec::SubscriptionOptions {
            no_local: true,
            ..martlet_codec::SubscriptionOptions::with_qos(QoS::AtLeastOnce)
        };
        filters.push(martlet_codec::TopicFilter::new(filter).unwrap(), options);
        w.send(
            s,
            &martlet_codec::Packet::Subscribe(martlet_codec::Subscribe {
                packet_id: martlet_codec::PacketId::new(1).unwrap(),
                properties: martlet_codec::Properties::EMPTY,
                filters: filters.as_filters(),
            }),
        );
    }
    w.publish(s, "r/d", QoS::AtMostOnce, 0, true, "new");
    let mut lines = w.received(s);
    for id in 1..=5 {
        w.send(
            s,
            &martlet_codec::Packet::PubAck(martlet_codec::Ack {
                packet_id: martlet_codec::PacketId::new(id).unwrap(),
                reason: martlet_codec::ReasonCode::Success,
                properties: martlet_codec::Properties::EMPTY,
            }),
        );
        lines.extend(w.received(s));
    }
    let seen: std::vec::Vec<_> = lines.iter().filter(|line| line.contains("r/d=")).collect();
    assert_eq!(seen.len(), 2, "{lines:?}");
    assert!(seen.iter().all(|line| line.contains("=new")), "{seen:?}");
}

/// Many subscriptions wait for the same message, which is replaced; the last one waits for another.
#[test]
fn replays_that_have_become_empty_do_not_hold_up_the_next() {
    let mut w = World::new(1);
    let p = w.connect(Version::V311, "p", true);
    w.publish(p, "r/a", QoS::AtLeastOnce, 1, true, "old");
    w.publish(p, "b", QoS::AtLeastOnce, 2, true, "b");
    let one = [martlet_codec::Property::ReceiveMaximum(1)];
    let s = w.connect_with(Version::V5, "s", true, &one);
    w.subscribe(s, "x", QoS::AtLeastOnce);
    w.publish(p, "x", QoS::AtLeastOnce, 3, false, "x");
    for filter in ["r/a", "r/+", "r/#", "+/a", "+/+", "+/a/#", "b"] {
        w.subscribe(s, filter, QoS::AtLeastOnce);
    }
    w.publish(p, "r/a", QoS::AtLeastOnce, 4, true, "new");
    let mut seen = w.payloads(s);
    for id in 1..=2 {
        w.send_bytes(s, &[0x40, 2, 0, id]);
        seen.extend(w.payloads(s));
    }
    seen.sort_unstable();
    assert_eq!(seen, ["b", "new", "x"]);
}

/// Optimisation: a subscription that has got its retained messages holds no memory for that, nor does one that has ended.
#[test]
fn a_replay_that_is_over_leaves_nothing() {
    let mut w = World::new(2);
    let p = w.connect(Version::V311, "p", true);
    for n in 0..10 {
        w.publish(p, &std::format!("r/{n}"), QoS::AtMostOnce, 0, true, "x");
    }
    let s = w.connect(Version::V311, "s", true);
    let none_left = |w: &World| {
        let mut sessions = w.shards.iter().flat_map(|shard| shard.sessions.iter());
        sessions.all(|(_, session)| !session.replays.has_memory())
    };
    w.subscribe(s, "r/#", QoS::AtMostOnce);
    assert_eq!(w.payloads(s).len(), 10);
    assert!(none_left(&w));
    w.subscribe(s, "nothing", QoS::AtMostOnce);
    w.unsubscribe(s, "nothing");
    assert!(none_left(&w));
}

/// Optimisation: what a shard keeps lies in its own memory, whoever has sent it. Large payloads are not moved for that.
#[test]
fn a_retained_message_of_another_shard_is_kept_in_memory_of_ones_own() {
    for (payload, moved) in [("x", true), (&*"l".repeat(2_000), false)] {
        let mut w = World::new(2);
        let p = w.connect(Version::V311, &id_on(0, 2, "p"), true);
        let topic = (0..100)
            .map(|n| std::format!("t{n}"))
            .find(|topic| crate::owner_of_topic(topic, 2) == 1)
            .unwrap();
        let publish = martlet_codec::Packet::Publish(martlet_codec::Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: Some(martlet_codec::TopicName::new(&topic).unwrap()),
            packet_id: None,
            properties: martlet_codec::Properties::EMPTY,
            payload: payload.as_bytes(),
        });
        let mut bytes = std::vec::Vec::new();
        publish.encode(Version::V311, &mut bytes).unwrap();
        let mut fx = crate::Effects::new(2);
        w.shards[0].on_bytes(p.conn, &bytes, w.now, &mut fx);
        let PeerMessage(Peer::RelayRequest { message, .. }) = &fx.peers[1][0] else {
            panic!("{:?}", fx.peers[1]);
        };
        let sent = message.clone();
        let now = w.now;
        let (shard, effects) = w.shard_and_effects(1);
        shard.on_peer_batch(0, &mut fx.peers[1], now, effects);
        let kept = shard.retained.get(&topic).unwrap();
        assert_eq!(kept.payload(), payload.as_bytes());
        assert_eq!(kept.is_same(&sent), !moved);
    }
}
