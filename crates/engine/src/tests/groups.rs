//! Shared subscriptions.

use martlet_codec::{Ack, Packet, PacketId, Properties, QoS, ReasonCode, Version};
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
        counters.express_deliveries, 4,
        "those at QoS 0 are mere copies"
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
