//! Messages of a run that wait: in a session's queue, in a group's, and on another shard. They wait together, and nothing else
//! is different from messages that came one by one.

use std::string::{String, ToString};
use std::vec::Vec;

use martlet_codec::{
    Ack, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, QoS, TopicName, Version,
};

use super::world::{Client, World, id_on};
use crate::clients::client_slots::owner_of_group;
use crate::{Limits, Policy, Shard};

const FILTER: &str = "$share/g/t";

fn publish(qos: QoS, number: u16, expiry_s: Option<u32>) -> Vec<u8> {
    let payload = number.to_string();
    let mut properties = PropertiesBuf::new();
    if let Some(expiry_s) = expiry_s {
        properties.push(Property::MessageExpiryInterval(expiry_s));
    }
    let publish = Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::new("t").unwrap()),
        packet_id: (qos != QoS::AtMostOnce).then(|| PacketId::new(number).unwrap()),
        properties: match expiry_s {
            Some(_) => properties.as_properties(),
            None => Properties::EMPTY,
        },
        payload: payload.as_bytes(),
    });
    let mut bytes = Vec::new();
    publish.encode(Version::V5, &mut bytes).unwrap();
    bytes
}

/// Messages to `t`, one behind the other: their numbers.
fn run(qos: QoS, numbers: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let each = |number| publish(qos, number, None);
    numbers.into_iter().flat_map(each).collect()
}

fn acks(ids: impl IntoIterator<Item = u16>, kind: fn(Ack<'static>) -> Packet<'static>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for id in ids {
        let ack = kind(Ack::success(PacketId::new(id).unwrap()));
        ack.encode(Version::V5, &mut bytes).unwrap();
    }
    bytes
}

fn numbers(w: &mut World, client: Client) -> Vec<u16> {
    let payloads = w.payloads(client);
    payloads.iter().map(|text| text.parse().unwrap()).collect()
}

fn window(of: u16) -> Limits {
    Limits {
        in_flight_to_client_max: of,
        ..Limits::default()
    }
}

fn world(shards: usize, limits: &Limits) -> World {
    World::with(shards, limits, &Policy::default())
}

fn memory_bytes(w: &World) -> usize {
    w.shards.iter().map(Shard::memory_bytes).sum()
}

fn connect(w: &mut World, clean: bool) -> Client {
    let lasting = [Property::SessionExpiryInterval(100)];
    let properties: &[_] = if clean { &[] } else { &lasting };
    w.connect_with(Version::V5, "s", clean, properties)
}

/// A publisher whose messages come in runs, and a subscriber of `t`.
fn pair(w: &mut World, clean: bool, qos: QoS) -> (Client, Client) {
    let s = connect(w, clean);
    let p = w.connect(Version::V5, "p", true);
    w.subscribe(s, "t", qos);
    w.send_bytes(p, &run(QoS::AtMostOnce, [0]));
    w.received(s);
    (p, s)
}

/// Optimisation: what has waited together leaves together, as far as there is room; each message under its own identifier.
#[test]
fn what_waits_for_room_leaves_piece_by_piece() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for clean in [true, false] {
            let mut w = world(1, &window(4));
            let (p, s) = pair(&mut w, clean, qos);
            w.send_bytes(p, &run(qos, 1..=11));
            w.received(p);
            assert_eq!(numbers(&mut w, s), [1, 2, 3, 4]);
            let mut ids = 1..=4;
            let mut expected = 5_u16;
            while !ids.is_empty() {
                let before = w.shards[0].counters().express_deliveries;
                let last = *ids.end();
                if qos == QoS::AtLeastOnce {
                    w.send_bytes(s, &acks(ids.clone(), Packet::PubAck));
                } else {
                    w.send_bytes(s, &acks(ids.clone(), Packet::PubRec));
                    w.send_bytes(s, &acks(ids.clone(), Packet::PubComp));
                }
                let got = w.received(s);
                let lines: Vec<&String> = got.iter().filter(|l| l.starts_with("PUBLISH")).collect();
                let sent = w.shards[0].counters().express_deliveries - before;
                assert_eq!(sent, lines.len() as u64, "mere copies");
                for line in &lines {
                    let q = qos as u8;
                    assert_eq!(
                        **line,
                        std::format!("PUBLISH t={expected} q{q} #{expected}")
                    );
                    expected += 1;
                }
                ids = last + 1..=last + u16::try_from(lines.len()).unwrap();
            }
            assert_eq!(expected, 12);
            assert_eq!(w.shards[0].counters().queued, 7);
            for id in 1..=11 {
                w.send_bytes(p, &acks([id], Packet::PubRel));
            }
            w.drop_connection(s);
            w.drop_connection(p);
            assert_eq!(memory_bytes(&w), 0);
        }
    }
}

/// Bounds are met in the middle of a run, where they are met message by message.
#[test]
fn a_queue_that_is_full_in_the_middle_of_a_run_takes_the_first_part() {
    let size = {
        let mut w = world(1, &window(1));
        let (p, _) = pair(&mut w, false, QoS::AtLeastOnce);
        w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=1));
        let before = memory_bytes(&w);
        w.send_bytes(p, &run(QoS::AtLeastOnce, 2..=2));
        memory_bytes(&w) - before
    };
    let by_count = Limits {
        session_queue_messages_max: 5,
        ..window(1)
    };
    let by_bytes = Limits {
        session_queue_bytes_max: 5 * size + size / 2,
        ..window(1)
    };
    for limits in [by_count, by_bytes] {
        let mut w = world(1, &limits);
        let (p, s) = pair(&mut w, true, QoS::AtLeastOnce);
        w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=9));
        let counters = *w.shards[0].counters();
        assert_eq!((counters.queued, counters.dropped_queue_full), (5, 3));
        let mut got = numbers(&mut w, s);
        for id in 1..=5 {
            w.send_bytes(s, &acks([id], Packet::PubAck));
            got.extend(numbers(&mut w, s));
            if id == 2 {
                // Two have left: there is room for two.
                w.send_bytes(p, &run(QoS::AtLeastOnce, 11..=14));
                assert_eq!(w.shards[0].counters().dropped_queue_full, 5);
            }
        }
        w.send_bytes(s, &acks(6..=9, Packet::PubAck));
        w.send_bytes(s, &acks(7..=9, Packet::PubAck));
        w.send_bytes(s, &acks(8..=9, Packet::PubAck));
        got.extend(numbers(&mut w, s));
        assert_eq!(got, [1, 2, 3, 4, 5, 6, 11, 12]);
        assert_eq!(memory_bytes(&w), 0);
    }
}

/// A QoS 0 message makes room wherever it stands, also between two parts of a run.
#[test]
fn what_is_displaced_between_runs_leaves_no_trace() {
    let limits = Limits {
        session_queue_messages_max: 7,
        ..window(1)
    };
    let mut w = world(1, &limits);
    let (p, s) = pair(&mut w, true, QoS::AtLeastOnce);
    w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=4));
    w.send_bytes(p, &run(QoS::AtMostOnce, 5..=6));
    w.send_bytes(p, &run(QoS::AtLeastOnce, 7..=10));
    let counters = *w.shards[0].counters();
    // One is sent, and seven of nine have room: the two of QoS 0 go.
    assert_eq!((counters.queued, counters.dropped_queue_full), (9, 2));
    let mut got = numbers(&mut w, s);
    for id in 1..=8 {
        w.send_bytes(s, &acks([id], Packet::PubAck));
        got.extend(numbers(&mut w, s));
    }
    assert_eq!(got, [1, 2, 3, 4, 7, 8, 9, 10]);
    assert_eq!(memory_bytes(&w), 0);
}

/// What has expired between two runs is dropped when its turn comes, in a session's queue and in a group's.
#[test]
fn what_expires_between_runs_is_left_out() {
    for filter in ["t", FILTER] {
        for shards in [1, 2] {
            let mut w = world(shards, &window(2));
            let s = w.connect(Version::V5, &id_on(shards - 1, shards, "s"), true);
            w.subscribe(s, filter, QoS::AtLeastOnce);
            w.received(s);
            let p = w.connect(Version::V5, "p", true);
            w.send_bytes(p, &run(QoS::AtMostOnce, [0]));
            let mut bytes = run(QoS::AtLeastOnce, 1..=4);
            bytes.extend(publish(QoS::AtLeastOnce, 5, Some(1)));
            bytes.extend(publish(QoS::AtLeastOnce, 6, Some(100)));
            bytes.extend(run(QoS::AtLeastOnce, 7..=9));
            w.send_bytes(p, &bytes);
            assert_eq!(numbers(&mut w, s), [0, 1, 2]);
            w.advance(2_000);
            let mut got = Vec::new();
            for first in [1, 3, 5, 7] {
                w.send_bytes(s, &acks(first..first + 2, Packet::PubAck));
                got.extend(numbers(&mut w, s));
            }
            assert_eq!(got, [3, 4, 6, 7, 8, 9], "{filter}");
            let expired: u64 = w.shards.iter().map(|s| s.counters().dropped_expired).sum();
            assert_eq!(expired, 1);
            assert_eq!(memory_bytes(&w), 0);
        }
    }
}

/// The outbox bounds what leaves of a piece: it ends with the message that goes beyond the bound, as ever.
#[test]
fn an_outbox_bounds_a_piece() {
    let len = publish(QoS::AtLeastOnce, 11, None).len();
    let limits = Limits {
        outbox_bytes_max: 2 * len + 1,
        ..window(8)
    };
    let mut w = world(1, &limits);
    let (p, s) = pair(&mut w, true, QoS::AtLeastOnce);
    for number in 1..=8 {
        w.send_bytes(p, &run(QoS::AtLeastOnce, [number]));
    }
    w.send_bytes(p, &run(QoS::AtLeastOnce, 11..=18));
    assert_eq!(numbers(&mut w, s), [1, 2, 3, 4, 5, 6, 7, 8]);
    let before = w.shards[0].counters().publishes_sent;
    let now = w.now;
    let (shard, fx) = w.shard_and_effects(0);
    shard.on_bytes(s.conn, &acks(1..=8, Packet::PubAck), now, fx);
    assert_eq!(shard.counters().publishes_sent - before, 3);
    w.run();
    assert_eq!(numbers(&mut w, s), [11, 12, 13, 14, 15, 16, 17, 18]);
    w.send_bytes(s, &acks(9..=16, Packet::PubAck));
    assert_eq!(memory_bytes(&w), 0);
}

/// A session that comes back gets what it has not acknowledged, and behind it what has waited, also out of the middle of a piece.
#[test]
fn a_session_that_comes_back_gets_its_part_of_a_piece_again() {
    let mut w = world(1, &window(4));
    let (p, s) = pair(&mut w, false, QoS::AtLeastOnce);
    w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=12));
    w.send_bytes(s, &acks(1..=4, Packet::PubAck));
    assert_eq!(numbers(&mut w, s), [1, 2, 3, 4, 5, 6, 7, 8]);
    w.send_bytes(s, &acks([6], Packet::PubAck));
    assert_eq!(numbers(&mut w, s), [9]);
    w.drop_connection(s);
    // While it is away more comes, and by a takeover it is away for a moment only.
    w.send_bytes(p, &run(QoS::AtLeastOnce, 13..=15));
    connect(&mut w, false);
    let s = connect(&mut w, false);
    let got = w.received(s);
    let lines: Vec<&String> = got.iter().filter(|l| l.starts_with("PUBLISH")).collect();
    let expected = [(5, 5), (7, 7), (8, 8), (9, 9)];
    assert_eq!(lines.len(), 4, "{got:?}");
    for (line, (number, id)) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(&std::format!("PUBLISH t={number} q1 #{id} ")),
            "{line}"
        );
        assert!(line.contains("dup"), "{line}");
    }
    let mut ids: Vec<u16> = std::vec![5, 7, 8, 9];
    let mut rest = Vec::new();
    while !ids.is_empty() {
        w.send_bytes(s, &acks(ids, Packet::PubAck));
        let got = w.received(s);
        ids = got
            .iter()
            .filter_map(|line| line.split('#').nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        rest.extend(got.iter().filter_map(|line| {
            let number = line.strip_prefix("PUBLISH t=")?.split(' ').next()?;
            number.parse::<u16>().ok()
        }));
    }
    assert_eq!(rest, [10, 11, 12, 13, 14, 15]);
    assert_eq!(memory_bytes(&w), 0);
}

/// A group with members on one shard or on two; returns publisher and members.
fn group(w: &mut World, shards: usize, qos: QoS, narrow: &[Property<'_>]) -> (Client, [Client; 2]) {
    let owner = owner_of_group(FILTER, shards);
    let other = shards - 1 - owner;
    let members = [(other, "a"), (owner, "b")].map(|(shard, name)| {
        let member = w.connect_with(Version::V5, &id_on(shard, shards, name), true, narrow);
        w.subscribe(member, FILTER, qos);
        w.received(member);
        member
    });
    let p = w.connect(Version::V5, &id_on(owner, shards, "p"), true);
    w.send_bytes(p, &run(QoS::AtMostOnce, [0]));
    (p, members)
}

/// Optimisation: what waits in a group's queue is given as runs, each member's part as one piece, to other shards as well.
#[test]
fn a_groups_queue_gives_each_member_its_part_of_a_run_as_one_piece() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut w = world(2, &window(4));
        let (p, [a, b]) = group(&mut w, 2, qos, &[]);
        w.send_bytes(p, &run(qos, 1..=20));
        assert_eq!(numbers(&mut w, a), [0, 2, 4, 6, 8]);
        assert_eq!(numbers(&mut w, b), [1, 3, 5, 7]);
        let others = 1 - owner_of_group(FILTER, 2);
        let before = *w.shards[others].counters();
        let kind = match qos {
            QoS::AtLeastOnce => Packet::PubAck as fn(_) -> _,
            QoS::AtMostOnce | QoS::ExactlyOnce => Packet::PubRec,
        };
        w.send_bytes(a, &acks(1..=4, kind));
        if qos == QoS::ExactlyOnce {
            assert_eq!(numbers(&mut w, a), [9, 10, 11, 12][..0]);
            w.send_bytes(a, &acks(1..=4, Packet::PubComp));
        }
        assert_eq!(numbers(&mut w, a), [9, 10, 11, 12]);
        let after = *w.shards[others].counters();
        assert_eq!(after.peer_runs - before.peer_runs, 1, "one piece");
        w.send_bytes(b, &acks(1..=4, kind));
        w.send_bytes(b, &acks(1..=4, Packet::PubComp));
        assert_eq!(numbers(&mut w, b), [13, 14, 15, 16]);
        w.drop_connection(a);
        w.drop_connection(b);
    }
}

/// What a member leaves of its part, sent or not, goes to the other one in its order; nothing is lost and nothing stays.
#[test]
fn what_a_member_leaves_of_a_piece_goes_to_the_other_one() {
    for shards in [1, 2] {
        for acked in [0, 1, 2] {
            let mut w = world(shards, &window(6));
            let narrow = [Property::ReceiveMaximum(3)];
            let (p, [a, b]) = group(&mut w, shards, QoS::AtLeastOnce, &narrow);
            // Six for each, of which three are sent; eight stay with the group.
            w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=20));
            assert_eq!(numbers(&mut w, a), [0, 2, 4, 6]);
            assert_eq!(numbers(&mut w, b), [1, 3, 5]);
            w.send_bytes(a, &acks(1..=acked, Packet::PubAck));
            let mut got = numbers(&mut w, a);
            got.extend([2, 4, 6]);
            got.sort_unstable();
            let kept: Vec<u16> = got.iter().copied().take(usize::from(acked)).collect();
            w.drop_connection(a);
            let mut all = std::vec![1, 3, 5];
            for first in (1..=20).step_by(3) {
                w.send_bytes(b, &acks(first..first + 3, Packet::PubAck));
                all.extend(numbers(&mut w, b));
            }
            // What it had waiting itself comes first; then what came back, in the group's order.
            assert_eq!(all[3..6], [7, 9, 11]);
            assert!(all[6..].is_sorted(), "{all:?}");
            all.extend(&kept);
            all.sort_unstable();
            assert_eq!(all, (1..=20).collect::<Vec<u16>>(), "{shards} {acked}");
            assert_eq!(memory_bytes(&w), 0);
            assert_eq!(kept.len(), usize::from(acked));
        }
    }
}

/// What a member has no room for waits in its own queue, together; if that is full in the middle of a part, the group hears of the
/// rest, and gives the member as many more.
#[test]
fn a_members_queue_that_is_full_in_the_middle_of_its_part_gives_credit_back() {
    for shards in [1, 2] {
        let limits = Limits {
            session_queue_messages_max: 3,
            ..window(6)
        };
        let mut w = world(shards, &limits);
        let narrow = [Property::ReceiveMaximum(2)];
        let (p, [a, b]) = group(&mut w, shards, QoS::AtLeastOnce, &narrow);
        w.drop_connection(b);
        w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=6));
        let dropped = |w: &World| -> u64 {
            w.shards
                .iter()
                .map(|s| s.counters().dropped_queue_full)
                .sum()
        };
        // Two are sent, three wait, and one is lost: one more may come, and is lost, too.
        assert_eq!(dropped(&w), 1);
        w.send_bytes(p, &run(QoS::AtLeastOnce, 7..=8));
        assert_eq!(dropped(&w), 2 + 1);
        assert_eq!(numbers(&mut w, a), [0, 1, 2]);
        let before: u64 = w
            .shards
            .iter()
            .map(|s| s.counters().express_deliveries)
            .sum();
        w.send_bytes(a, &acks(1..=2, Packet::PubAck));
        assert_eq!(numbers(&mut w, a), [3, 4]);
        let after: u64 = w
            .shards
            .iter()
            .map(|s| s.counters().express_deliveries)
            .sum();
        assert_eq!(after - before, 2);
        w.send_bytes(a, &acks(3..=4, Packet::PubAck));
        assert_eq!(numbers(&mut w, a), [5]);
        w.send_bytes(a, &acks(5..=5, Packet::PubAck));
        w.send_bytes(p, &run(QoS::AtLeastOnce, 9..=10));
        assert_eq!(numbers(&mut w, a), [9, 10]);
        w.send_bytes(a, &acks(6..=7, Packet::PubAck));
        assert_eq!(memory_bytes(&w), 0);
    }
}

/// A group's queue is bounded in the middle of a run, by messages and by bytes.
#[test]
fn a_groups_queue_that_is_full_in_the_middle_of_a_run_takes_the_first_part() {
    let by_count = Limits {
        group_queue_messages_max: 3,
        ..window(2)
    };
    let size = {
        let mut w = world(1, &window(2));
        let (p, _) = group(&mut w, 1, QoS::AtLeastOnce, &[]);
        w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=4));
        let before = memory_bytes(&w);
        w.send_bytes(p, &run(QoS::AtLeastOnce, 5..=5));
        memory_bytes(&w) - before
    };
    let by_bytes = Limits {
        group_queue_bytes_max: 4 * size - 1,
        ..window(2)
    };
    for limits in [by_count, by_bytes] {
        for shards in [1, 2] {
            let mut w = world(shards, &limits);
            let (p, [a, b]) = group(&mut w, shards, QoS::AtLeastOnce, &[]);
            w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=9));
            let owner = owner_of_group(FILTER, shards);
            assert_eq!(w.shards[owner].counters().dropped_queue_full, 2);
            assert_eq!(numbers(&mut w, a), [0, 2, 4]);
            assert_eq!(numbers(&mut w, b), [1, 3]);
            w.send_bytes(b, &acks(1..=2, Packet::PubAck));
            assert_eq!(numbers(&mut w, b), [5, 6]);
            w.send_bytes(a, &acks(1..=2, Packet::PubAck));
            assert_eq!(numbers(&mut w, a), [7]);
            w.send_bytes(b, &acks(3..=4, Packet::PubAck));
            w.send_bytes(a, &acks(3..=3, Packet::PubAck));
            assert_eq!(memory_bytes(&w), 0);
        }
    }
}

/// Who joins a group in whose queue something waits hears first that it is a member.
#[test]
fn suback_comes_before_what_has_waited() {
    for shards in [1, 2] {
        for shard in 0..shards {
            let mut w = world(shards, &window(2));
            let (p, [a, _]) = group(&mut w, shards, QoS::AtLeastOnce, &[]);
            w.send_bytes(p, &run(QoS::AtLeastOnce, 1..=9));
            w.received(a);
            let c = w.connect(Version::V5, &id_on(shard, shards, "c"), true);
            w.received(c);
            w.subscribe(c, FILTER, QoS::AtLeastOnce);
            let got = w.received(c);
            assert!(got[0].starts_with("SUBACK"), "{got:?}");
            assert_eq!(got.len(), 3, "{got:?}");
            assert!(got[1].starts_with("PUBLISH t=5") && got[2].starts_with("PUBLISH t=6"));
        }
    }
}
