//! Messages of a run that are one entry of a queue or a window: that they are, and that each is still on its own.

use std::collections::BTreeMap;
use std::string::ToString;
use std::vec::Vec;

use martlet_codec::{
    Ack, Packet, PacketId, Properties, Property, Publish, QoS, TopicName, Version,
};

use super::world::{Client, World, id_on};
use crate::clients::client_session::ClientSession;
use crate::clients::client_slots::owner_of_group;
use crate::{Limits, Policy, Shard};

const FILTER: &str = "$share/g/t";

/// Messages to `t`, one behind the other: their numbers.
fn run(numbers: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let payload = number.to_string();
        let publish = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Some(TopicName::new("t").unwrap()),
            packet_id: PacketId::new(number + 1),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        });
        publish.encode(Version::V5, &mut bytes).unwrap();
    }
    bytes
}

fn acks(w: &mut World, client: Client, ids: impl IntoIterator<Item = u16>) {
    let mut bytes = Vec::new();
    for id in ids {
        let ack = Packet::PubAck(Ack::success(PacketId::new(id).unwrap()));
        ack.encode(Version::V5, &mut bytes).unwrap();
    }
    w.send_bytes(client, &bytes);
}

/// Number and identifier of each message that has come.
fn publishes(w: &mut World, client: Client) -> Vec<(u16, u16)> {
    let lines = w.received(client);
    let of = |line: &str| {
        let (number, rest) = line.strip_prefix("PUBLISH t=")?.split_once(' ')?;
        let id = rest.split('#').nth(1)?.split(' ').next()?;
        Some((number.parse().ok()?, id.parse().ok()?))
    };
    lines.iter().filter_map(|line| of(line)).collect()
}

fn window(of: u16) -> Limits {
    Limits {
        in_flight_to_client_max: of,
        ..Limits::default()
    }
}

fn memory_bytes(w: &World) -> usize {
    w.shards.iter().map(Shard::memory_bytes).sum()
}

fn session_of(w: &World, client: Client) -> &ClientSession {
    let shard = &w.shards[client.shard];
    let connection = shard.connections.get(client.conn.0).unwrap();
    shard.sessions.get(connection.session.unwrap()).unwrap()
}

/// Messages of the window, and entries that they are; the same of the queue.
fn entries(w: &World, client: Client) -> [(usize, usize); 2] {
    let session = session_of(w, client);
    let window = &session.outbound;
    [
        (window.open_count(), window.messages().count()),
        session.queue.counts(),
    ]
}

/// Optimisation: a run is one entry, for who ends with its connection, who does not, and a member of a group; what a narrow window
/// lets through of it is one, too.
#[test]
fn a_run_is_one_entry() {
    let lasting = [Property::SessionExpiryInterval(100)];
    for (filter, properties) in [
        ("t", &[][..]),
        ("t", &lasting),
        (FILTER, &[]),
        (FILTER, &lasting),
    ] {
        let mut w = World::with(1, &window(6), &Policy::default());
        let s = w.connect_with(Version::V5, "s", true, properties);
        let p = w.connect(Version::V5, "p", true);
        w.subscribe(s, filter, QoS::AtLeastOnce);
        w.send_bytes(p, &run([0]));
        acks(&mut w, s, [1]);
        w.send_bytes(p, &run(1..=5));
        assert_eq!(entries(&w, s), [(5, 1), (0, 0)]);
        acks(&mut w, s, [3]);
        assert_eq!(entries(&w, s), [(4, 1), (0, 0)]);
        acks(&mut w, s, [2, 4, 5, 6]);
        assert_eq!(entries(&w, s), [(0, 0), (0, 0)]);
        if filter == FILTER {
            // Only as many are offered as the window takes.
            continue;
        }
        w.send_bytes(p, &run(11..=25));
        assert_eq!(entries(&w, s), [(6, 1), (9, 1)]);
        acks(&mut w, s, [8, 9]);
        assert_eq!(entries(&w, s), [(6, 2), (7, 1)]);
        acks(&mut w, s, [7, 10, 11, 12, 13, 14]);
        assert_eq!(entries(&w, s), [(6, 1), (1, 1)]);
        let numbers: Vec<u16> = publishes(&mut w, s)
            .iter()
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(
            numbers[6..],
            [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]
        );
    }
}

/// What members leave goes on in the order in which it came, whatever places their parts of a run had.
#[test]
fn what_members_leave_goes_on_in_its_order() {
    for shards in [1, 2] {
        for held in [0, 1, 2, 3] {
            let mut w = World::with(shards, &window(6), &Policy::default());
            let owner = owner_of_group(FILTER, shards);
            let p = w.connect(Version::V5, &id_on(owner, shards, "p"), true);
            let lasting = [Property::SessionExpiryInterval(100)];
            let [away, first, second] = ["c", "a", "b"].map(|name| {
                let id = id_on(shards - 1 - owner, shards, name);
                let member = w.connect_with(Version::V5, &id, false, &lasting);
                w.subscribe(member, FILTER, QoS::AtLeastOnce);
                member
            });
            // The one who stays a member, and is away meanwhile.
            w.drop_connection(away);
            // Who holds messages has less room, and the other one gets the last ones: one behind the other.
            w.send_bytes(p, &run(0..2 * held));
            acks(&mut w, second, 1..=held);
            let rest = 2 * held..2 * held + 18;
            w.send_bytes(p, &run(rest.clone()));
            let open: Vec<u16> = [first, second]
                .into_iter()
                .flat_map(|member| publishes(&mut w, member))
                .map(|(number, _)| number)
                .collect();
            assert_eq!(open.len(), usize::from(held) + 12, "the others wait");
            w.drop_connection(second);
            w.drop_connection(first);
            let name = id_on(shards - 1 - owner, shards, "c");
            let away = w.connect_with(Version::V5, &name, false, &lasting);
            let mut got = Vec::new();
            for id in (1..=30).step_by(6) {
                got.extend(publishes(&mut w, away).iter().map(|(number, _)| *number));
                acks(&mut w, away, id..id + 6);
            }
            let left = got.iter().copied().filter(|number| rest.contains(number));
            assert_eq!(got.len(), usize::from(held) + 18);
            assert_eq!(left.collect::<Vec<_>>(), rest.collect::<Vec<_>>(), "{held}");
        }
    }
}

/// Members that come and go, acknowledge what they like in the order that they like, and what they have not acknowledged goes to others: in
/// the end each message is acknowledged once, by somebody who got it, and nothing is held.
#[test]
fn a_group_gives_each_message_to_one_member_in_the_end() {
    for shards in [1, 2] {
        for case in 0..30 {
            come_and_go(shards, case, None);
            // With a store: members whose sessions do not last are in it as little, but their acknowledgements go another way.
            come_and_go(shards, case, Some(0));
        }
    }
}

fn come_and_go(shards: usize, case: u64, store: Option<u64>) {
    let mut seed = case;
    let mut random = |below: u16| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u16::try_from((seed >> 33) % u64::from(below)).unwrap()
    };
    let mut w = World::with_store(shards, &window(12), &Policy::default(), store);
    let owner = owner_of_group(FILTER, shards);
    let p = w.connect(Version::V5, &id_on(owner, shards, "p"), true);
    let narrow = [Property::ReceiveMaximum(5)];
    let join = |w: &mut World, who: usize| {
        let properties: &[_] = if who == 1 { &narrow } else { &[] };
        let id = id_on(who % shards, shards, &std::format!("m{who}-"));
        let member = w.connect_with(Version::V5, &id, true, properties);
        w.subscribe(member, FILTER, QoS::AtLeastOnce);
        member
    };
    let mut members: Vec<Client> = (0..3).map(|who| join(&mut w, who)).collect();
    // What each has got and not acknowledged: number by identifier.
    let mut open: Vec<BTreeMap<u16, u16>> = std::vec![BTreeMap::new(); 3];
    let (mut next, mut acknowledged) = (0, Vec::new());
    for step in 0..400 {
        if step < 120 {
            let count = random(20);
            w.send_bytes(p, &run(next..next + count));
            next += count;
        }
        let who = usize::from(random(3));
        for (member, open) in members.iter().zip(&mut open) {
            for (number, id) in publishes(&mut w, *member) {
                assert_eq!(open.insert(id, number), None, "{id} is still in use");
            }
        }
        let chosen: Vec<u16> = match (step, random(4)) {
            (120.., _) | (_, 0) => open[who].keys().copied().collect(),
            (_, 1) => open[who]
                .keys()
                .copied()
                .filter(|_| random(2) == 0)
                .collect(),
            (_, 2) => open[who]
                .keys()
                .rev()
                .copied()
                .filter(|_| random(3) == 0)
                .collect(),
            _ => Vec::new(),
        };
        for id in &chosen {
            acknowledged.extend(open[who].remove(id));
        }
        acks(&mut w, members[who], chosen);
        if step < 120 && random(8) == 0 {
            // What is on its way to it comes too late.
            w.drop_connection(members[who]);
            open[who].clear();
            members[who] = join(&mut w, who);
        }
    }
    acknowledged.sort_unstable();
    assert_eq!(acknowledged, (0..next).collect::<Vec<u16>>(), "case {case}");
    assert_eq!(memory_bytes(&w), 0, "case {case}");
}
