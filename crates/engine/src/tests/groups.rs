//! Shared subscriptions.

use martlet_codec::{
    Ack, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode, TopicName, Version,
};
use std::string::{String, ToString};
use std::vec::Vec;

use crate::Interest;

use super::world::{Client, World, id_on};

fn members(w: &mut World, shards: usize) -> [Client; 2] {
    [0, shards - 1].map(|shard| {
        let client = w.connect(Version::V311, &id_on(shard, shards, "m"), false);
        w.subscribe(client, "$share/g/t/#", QoS::AtLeastOnce);
        assert_eq!(w.received(client)[1..], ["SUBACK [01]"], "{shards} shards");
        client
    })
}

fn ack(w: &mut World, client: Client, id: u16) {
    let ack = Ack {
        packet_id: PacketId::new(id).unwrap(),
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    w.send(client, &Packet::PubAck(ack));
}

#[test]
fn members_take_turns_and_each_message_goes_to_one() {
    for shards in [2, 4] {
        let mut w = World::new(shards);
        let [a, b] = members(&mut w, shards);
        let p = w.connect(Version::V311, "p", true);
        for n in 1..=4 {
            w.publish(p, "t/x", QoS::AtLeastOnce, n, false, &n.to_string());
        }
        let (mut got_a, got_b) = (w.payloads(a), w.payloads(b));
        assert_eq!((got_a.len(), got_b.len()), (2, 2), "{shards} shards");
        got_a.extend(got_b);
        got_a.sort();
        assert_eq!(got_a, ["1", "2", "3", "4"]);
    }
}

#[test]
fn what_a_member_leaves_goes_to_another_and_waits_if_there_is_none() {
    for shards in [2, 4] {
        let mut w = World::new(shards);
        let [a, b] = members(&mut w, shards);
        let p = w.connect(Version::V311, "p", true);
        for n in 1..=4 {
            w.publish(p, "t/x", QoS::AtLeastOnce, n, false, &n.to_string());
        }
        let (got_a, got_b) = (w.payloads(a), w.payloads(b));
        ack(&mut w, a, 1);
        w.drop_connection(a);
        assert_eq!(
            w.payloads(b),
            got_a[1..],
            "what {:?} did not acknowledge",
            a.conn
        );
        w.drop_connection(b);
        w.publish(p, "t/x", QoS::AtLeastOnce, 5, false, "5");
        w.publish(p, "t/x", QoS::AtMostOnce, 0, false, "lost: nobody is there");
        let b = w.connect(Version::V311, &id_on(shards - 1, shards, "m"), false);
        let mut expected: Vec<String> = got_b;
        expected.extend(got_a[1..].iter().cloned());
        expected.push("5".into());
        expected.sort();
        assert_eq!(w.payloads(b), expected);
    }
}

/// However slow the way to the group's owner is: what is published after UNSUBACK was seen goes to others.
//= mqtt5 3.10.4-2 test
//= mqtt311 3.10.4-2 test
#[test]
fn unsuback_comes_when_the_group_has_let_the_member_go() {
    for version in [Version::V311, Version::V5] {
        let mut w = World::new(2);
        let filter = "$share/g/t/#";
        let owner = w.shards[0].owner_of_group(filter);
        let home = 1 - owner;
        let member = w.connect(version, &id_on(home, 2, "m"), true);
        w.subscribe(member, filter, QoS::AtMostOnce);
        let p = w.connect(Version::V311, &id_on(owner, 2, "p"), true);
        w.received(member);
        w.held = [(home, owner)].into();
        w.unsubscribe(member, filter);
        w.send(member, &Packet::PingReq);
        w.publish(p, "t/x", QoS::AtLeastOnce, 1, false, "before");
        assert_eq!(w.received(member), ["PUBLISH t/x=before q0"]);
        w.held.clear();
        w.run();
        let unsuback = match version {
            Version::V5 => "UNSUBACK [00]",
            Version::V31 | Version::V311 => "UNSUBACK []",
        };
        assert_eq!(w.received(member), [unsuback, "PingResp"]);
        w.publish(p, "t/x", QoS::AtLeastOnce, 2, false, "after");
        assert_eq!(w.received(member), [""; 0]);
    }
}

#[test]
fn an_unsuback_that_waits_goes_with_its_connection() {
    let mut w = World::new(2);
    let filter = "$share/g/t/#";
    let owner = w.shards[0].owner_of_group(filter);
    let home = 1 - owner;
    let member = w.connect(Version::V5, &id_on(home, 2, "m"), true);
    w.subscribe(member, filter, QoS::AtMostOnce);
    w.held = [(home, owner)].into();
    w.unsubscribe(member, filter);
    w.drop_connection(member);
    w.held.clear();
    w.run();
    for shard in &w.shards {
        assert_eq!((shard.groups.len(), shard.pending_answers.len()), (0, 0));
    }
}

#[test]
fn the_group_ends_with_its_last_session_and_nothing_stays() {
    for shards in [2, 4] {
        let mut w = World::new(shards);
        let [a, b] = members(&mut w, shards);
        let p = w.connect(Version::V311, "p", true);
        w.drop_connection(a);
        w.drop_connection(b);
        w.publish(p, "t/x", QoS::AtLeastOnce, 1, false, "queued");
        for shard in [0, shards - 1] {
            let client = w.connect(Version::V311, &id_on(shard, shards, "m"), true);
            w.drop_connection(client);
        }
        w.drop_connection(p);
        for shard in &w.shards {
            assert_eq!(shard.memory_bytes(), 0);
            assert_eq!(shard.session_count(), 0);
        }
        assert_eq!(w.interest.shards("t/x"), 0);
    }
}

/// Optimisation: a member of this shard with room gets a message without anybody keeping it.
#[test]
fn a_local_member_with_room_gets_it_at_once() {
    let mut w = World::new(1);
    let a = w.connect(Version::V5, "a", true);
    let b = w.connect(Version::V5, "b", true);
    let p = w.connect(Version::V5, "p", true);
    for member in [a, b] {
        w.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
        w.received(member);
    }
    for id in 1..=4 {
        w.publish(p, "t", QoS::AtLeastOnce, id, false, &id.to_string());
        w.publish(p, "t", QoS::AtMostOnce, 0, false, "q0");
    }
    let counters = *w.shards[0].counters();
    assert_eq!((counters.group_messages_at_once, counters.queued), (8, 0));
    assert_eq!(
        counters.express_deliveries, 7,
        "all but the first one, for which the route is looked up, are mere copies"
    );
    let got = [w.received(a), w.received(b)];
    assert_eq!(got[0].len() + got[1].len(), 8);
    // What they acknowledge the group knows at once: no message to the shard itself.
    for (member, got) in [(a, &got[0]), (b, &got[1])] {
        for (id, _) in (1..).zip(got.iter().filter(|text| text.contains('#'))) {
            ack(&mut w, member, id);
        }
    }
    assert_eq!(w.shards[0].counters().group_credits_at_once, 4);
}

/// Optimisation: of twenty messages of one read each member gets its part as one piece.
#[test]
fn members_get_their_parts_of_a_run_in_turn() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut w = World::new(1);
        let p = w.connect(Version::V311, "p", true);
        let all: Vec<_> = (0..3)
            .map(|n| w.connect(Version::V311, &std::format!("m{n}"), true))
            .collect();
        for member in &all {
            w.subscribe(*member, "$share/g/t", qos);
            w.received(*member);
        }
        w.publish(p, "t", QoS::AtMostOnce, 0, false, "first");
        let before = *w.shards[0].counters();
        w.send_bytes(p, &run(Version::V311, qos, 1..=20));
        let after = *w.shards[0].counters();
        assert_eq!(after.publish_runs - before.publish_runs, 1);
        assert_eq!(after.express_deliveries - before.express_deliveries, 20);
        let at_once = after.group_messages_at_once - before.group_messages_at_once;
        assert_eq!(at_once, 20);
        // The first message was for the first one.
        for (member, first) in [(all[1], 1), (all[2], 2), (all[0], 3)] {
            let mut expected: Vec<String> =
                (first..=20).step_by(3).map(|n| n.to_string()).collect();
            if first == 3 {
                expected.insert(0, "first".into());
            }
            assert_eq!(w.payloads(member), expected);
        }
    }
}

/// What was given in a run is kept until it is acknowledged: another member gets it.
#[test]
fn what_a_member_leaves_of_a_run_goes_to_another() {
    let mut w = World::new(1);
    let p = w.connect(Version::V311, "p", true);
    let [a, b] = ["a", "b"].map(|id| w.connect(Version::V311, id, true));
    for member in [a, b] {
        w.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
        w.received(member);
    }
    w.publish(p, "t", QoS::AtMostOnce, 0, false, "0");
    w.send_bytes(p, &run(Version::V311, QoS::AtLeastOnce, 1..=6));
    assert_eq!(w.payloads(a), ["0", "2", "4", "6"]);
    assert_eq!(w.payloads(b), ["1", "3", "5"]);
    ack(&mut w, a, 1);
    w.drop_connection(a);
    assert_eq!(w.payloads(b), ["4", "6"]);
    for id in 1..=5 {
        ack(&mut w, b, id);
    }
    assert_eq!(w.shards[0].memory_bytes(), 0);
}

/// QoS 1 and 2 messages to `t`, one behind the other, their numbers as payloads.
fn run(version: Version, qos: QoS, numbers: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let payload = number.to_string();
        let publish = Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new("t").unwrap()),
            packet_id: (qos != QoS::AtMostOnce).then(|| PacketId::new(number).unwrap()),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        });
        publish.encode(version, &mut bytes).unwrap();
    }
    bytes
}

/// Its window bounds what a member gets of a run at once; the rest waits with it, in order.
#[test]
fn a_narrow_window_takes_a_part_of_a_run() {
    let mut w = World::new(1);
    let p = w.connect(Version::V5, "p", true);
    let narrow = [Property::ReceiveMaximum(2)];
    let member = w.connect_with(Version::V5, "m", true, &narrow);
    w.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
    w.received(member);
    w.publish(p, "t", QoS::AtMostOnce, 0, false, "0");
    w.send_bytes(p, &run(Version::V5, QoS::AtLeastOnce, 1..=7));
    assert_eq!(w.payloads(member), ["0", "1", "2"]);
    for id in 1..=7 {
        ack(&mut w, member, id);
        let next = (id + 2).to_string();
        let expected: &[String] = if id > 5 { &[] } else { &[next] };
        assert_eq!(w.payloads(member), expected);
    }
    assert_eq!(w.shards[0].memory_bytes(), 0);
}
