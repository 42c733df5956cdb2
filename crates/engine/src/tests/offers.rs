//! Runs of messages to members of shared subscriptions on other shards than the group's.

use std::string::String;
use std::vec::Vec;

use martlet_codec::{
    Ack, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, Version,
};

use super::world::{Client, World, id_on};
use crate::clients::client_slots::owner_of_group;
use crate::{Effects, Limits, PeerMessage, Policy};

const FILTER: &str = "$share/g/t";
const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A world of two shards: the group's, where the publisher is, and the other one.
struct Stage {
    w: World,
    p: Client,
    owner: usize,
    other: usize,
}

impl Stage {
    fn new() -> Self {
        Self::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        let mut w = World::with(2, limits, &Policy::default());
        let owner = owner_of_group(FILTER, 2);
        let p = w.connect(Version::V5, &id_on(owner, 2, "p"), true);
        Self {
            w,
            p,
            owner,
            other: 1 - owner,
        }
    }

    /// Members of the other shard; no message has been to the group.
    fn members<const N: usize>(&mut self, properties: &[Property<'_>]) -> [Client; N] {
        let ids: Vec<String> = (0..N).map(|n| std::format!("m{n}-")).collect();
        core::array::from_fn(|n| {
            let id = id_on(self.other, 2, &ids[n]);
            let member = self.w.connect_with(Version::V5, &id, true, properties);
            self.w.subscribe(member, FILTER, QoS::ExactlyOnce);
            self.w.received(member);
            member
        })
    }

    /// The first message of a topic does not come in a run.
    fn begin(&mut self) {
        let first = run(QoS::AtMostOnce, 0..=0, 1);
        self.w.send_bytes(self.p, &first);
    }

    /// Lets the publisher send, and holds back what that gives the other shard.
    fn under_way(&mut self, bytes: &[u8]) -> Effects {
        let mut fx = Effects::new(2);
        let now = self.w.now;
        self.w.shards[self.owner].on_bytes(self.p.conn, bytes, now, &mut fx);
        fx
    }

    fn arrive(&mut self, mut fx: Effects) {
        let now = self.w.now;
        let (shard, effects) = self.w.shard_and_effects(self.other);
        shard.on_peer_batch(self.owner, &mut fx.peers[self.other], now, effects);
        self.w.run();
    }

    fn peer_runs(&self) -> u64 {
        self.w.shards[self.other].counters().peer_runs
    }
}

/// Messages to `t`, one behind the other, that begin with their numbers.
fn run(qos: QoS, numbers: impl IntoIterator<Item = u16>, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let payload = std::format!("{number:<len$}");
        let publish = Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new("t").unwrap()),
            packet_id: (qos != QoS::AtMostOnce).then(|| PacketId::new(number).unwrap()),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        });
        publish.encode(Version::V5, &mut bytes).unwrap();
    }
    bytes
}

fn numbers(w: &mut World, client: Client) -> Vec<u16> {
    let payloads = w.payloads(client);
    payloads.iter().map(|text| text.parse().unwrap()).collect()
}

fn ack(w: &mut World, client: Client, id: u16) {
    let ack = Ack {
        packet_id: PacketId::new(id).unwrap(),
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    w.send(client, &Packet::PubAck(ack));
}

/// Optimisation: what a member elsewhere gets of a run is one piece, and mere copies over there.
#[test]
fn a_members_part_of_a_run_crosses_as_one_piece() {
    for qos in ALL_QOS {
        let mut stage = Stage::new();
        let members: [Client; 3] = stage.members(&[]);
        stage.begin();
        let before = *stage.w.shards[stage.other].counters();
        let fx = stage.under_way(&run(qos, 1..=20, 1));
        let counts: Vec<usize> = fx.peers[stage.other]
            .iter()
            .map(PeerMessage::count)
            .collect();
        assert_eq!(counts, [20], "one pack");
        stage.arrive(fx);
        let after = *stage.w.shards[stage.other].counters();
        assert_eq!(after.peer_runs - before.peer_runs, 3, "one for each member");
        assert_eq!(after.express_deliveries - before.express_deliveries, 20);
        assert_eq!(after.publishes_sent - before.publishes_sent, 20);
        // The first message was for the first one.
        for (member, first) in [(members[1], 1), (members[2], 2), (members[0], 3)] {
            let got = numbers(&mut stage.w, member);
            let zero = (first == 3).then_some(0);
            let expected: Vec<u16> = zero.into_iter().chain((first..=20).step_by(3)).collect();
            assert_eq!(got, expected, "{qos:?}");
        }
    }
}

/// Members here and there get their parts in turn, from publishers here and there.
#[test]
fn members_of_both_shards_take_turns_within_a_run() {
    for qos in ALL_QOS {
        for elsewhere in [false, true] {
            let mut stage = Stage::new();
            let [there] = stage.members(&[]);
            let here = id_on(stage.owner, 2, "here");
            let here = stage.w.connect(Version::V5, &here, true);
            stage.w.subscribe(here, FILTER, QoS::ExactlyOnce);
            stage.w.received(here);
            if elsewhere {
                let id = id_on(stage.other, 2, "p");
                stage.p = stage.w.connect(Version::V5, &id, true);
            }
            stage.begin();
            stage.w.send_bytes(stage.p, &run(qos, 1..=9, 1));
            assert_eq!(numbers(&mut stage.w, there), [0, 2, 4, 6, 8]);
            assert_eq!(numbers(&mut stage.w, here), [1, 3, 5, 7, 9]);
        }
    }
}

/// A run that arrives when its member has gone goes back as one piece, and to another member, in order.
#[test]
fn a_run_for_a_member_that_has_gone_goes_to_another() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut stage = Stage::new();
        let [a, b] = stage.members(&[]);
        stage.begin();
        let fx = stage.under_way(&run(qos, 1..=10, 1));
        let before = stage.peer_runs();
        stage.w.drop_connection(a);
        stage.arrive(fx);
        let taken = stage.peer_runs() - before;
        assert_eq!(taken, 2, "b's own part, and what a has left as one piece");
        let got = numbers(&mut stage.w, b);
        assert_eq!(got, [1, 3, 5, 7, 9, 2, 4, 6, 8, 10], "{qos:?}");
        stage.w.drop_connection(b);
        stage.w.drop_connection(stage.p);
        for shard in &stage.w.shards {
            assert_eq!(shard.memory_bytes(), 0);
        }
    }
}

/// Nothing that is to be acknowledged is lost while no member is there.
#[test]
fn a_run_that_nobody_takes_waits_for_the_next_member() {
    let mut stage = Stage::new();
    let [a] = stage.members(&[]);
    let away = id_on(stage.other, 2, "away");
    let b = stage.w.connect(Version::V311, &away, false);
    stage.w.subscribe(b, FILTER, QoS::AtLeastOnce);
    stage.w.drop_connection(b);
    stage.begin();
    let fx = stage.under_way(&run(QoS::AtLeastOnce, 1..=10, 1));
    stage.w.drop_connection(a);
    stage.arrive(fx);
    stage
        .w
        .send_bytes(stage.p, &run(QoS::AtLeastOnce, 11..=12, 1));
    let b = stage.w.connect(Version::V311, &away, false);
    let expected: Vec<u16> = (1..=12).collect();
    assert_eq!(numbers(&mut stage.w, b), expected);
}

/// Its window bounds what a member elsewhere gets at once; the rest waits there, in order.
#[test]
fn a_narrow_window_elsewhere_takes_a_part_of_a_run() {
    let mut stage = Stage::new();
    let [member] = stage.members(&[Property::ReceiveMaximum(2)]);
    stage.begin();
    stage
        .w
        .send_bytes(stage.p, &run(QoS::AtLeastOnce, 1..=7, 1));
    assert_eq!(numbers(&mut stage.w, member), [0, 1, 2]);
    for id in 1..=7 {
        ack(&mut stage.w, member, id);
        let next: Vec<u16> = (id + 2..=7).take(1).collect();
        assert_eq!(numbers(&mut stage.w, member), next);
    }
    stage.w.drop_connection(stage.p);
    stage.w.drop_connection(member);
    for shard in &stage.w.shards {
        assert_eq!(shard.memory_bytes(), 0);
    }
}

/// A group gives its members elsewhere as much as they have room for, and keeps the rest until they say that they have more.
#[test]
fn credit_bounds_what_crosses_of_a_run() {
    let limits = Limits {
        in_flight_to_client_max: 4,
        ..Limits::default()
    };
    let mut stage = Stage::with(&limits);
    let [a, b] = stage.members(&[]);
    stage.begin();
    let fx = stage.under_way(&run(QoS::AtLeastOnce, 1..=20, 1));
    let count: usize = fx.peers[stage.other].iter().map(PeerMessage::count).sum();
    assert_eq!(count, 8, "four for each");
    stage.arrive(fx);
    assert_eq!(numbers(&mut stage.w, a), [0, 2, 4, 6, 8]);
    assert_eq!(numbers(&mut stage.w, b), [1, 3, 5, 7]);
    for (id, member) in [(1, a), (1, b), (2, b), (3, b)] {
        ack(&mut stage.w, member, id);
    }
    assert_eq!(numbers(&mut stage.w, a), [9]);
    assert_eq!(numbers(&mut stage.w, b), [10, 11, 12]);
}

/// What needs more than a copy is done message by message over there: a lower QoS, a subscription identifier, another version.
#[test]
fn a_run_is_told_apart_for_a_member_that_wants_more_than_copies() {
    for qos in ALL_QOS {
        for special in 0..3 {
            let mut stage = Stage::new();
            let version = if special == 2 {
                Version::V311
            } else {
                Version::V5
            };
            let id = id_on(stage.other, 2, "m");
            let member = stage.w.connect(version, &id, true);
            let granted = if special == 0 {
                QoS::AtMostOnce
            } else {
                QoS::ExactlyOnce
            };
            let options = SubscriptionOptions::with_qos(granted);
            let mut properties = PropertiesBuf::new();
            if special == 1 {
                properties.push(Property::SubscriptionIdentifier(5));
            }
            let mut filters = SubscribeFiltersBuf::new();
            filters.push(TopicFilter::new(FILTER).unwrap(), options);
            let subscribe = Packet::Subscribe(Subscribe {
                packet_id: PacketId::new(1).unwrap(),
                properties: properties.as_properties(),
                filters: filters.as_filters(),
            });
            stage.w.send(member, &subscribe);
            stage.w.received(member);
            stage.begin();
            stage.w.send_bytes(stage.p, &run(qos, 1..=6, 1));
            let got = stage.w.received(member);
            assert_eq!(got.len(), 7, "{qos:?} {special}: {got:?}");
            for (n, text) in (0..).zip(&got) {
                assert!(text.contains(&std::format!("={n}")), "{text}");
                let marked = text.contains("sub5");
                assert_eq!(marked, special == 1, "{text}");
            }
        }
    }
}

/// What crosses is cut into packs as ever, and each piece knows the places of its messages.
#[test]
fn a_pack_is_bounded_within_an_offered_run() {
    let mut stage = Stage::new();
    let [a, b] = stage.members(&[]);
    stage.begin();
    let fx = stage.under_way(&run(QoS::AtLeastOnce, 1..=60, 900));
    let counts: Vec<usize> = fx.peers[stage.other]
        .iter()
        .map(PeerMessage::count)
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 60);
    assert!(
        counts.len() >= 3 && counts.iter().all(|count| *count <= 18),
        "{counts:?}"
    );
    stage.arrive(fx);
    let even: Vec<u16> = (0..=60).step_by(2).collect();
    let odd: Vec<u16> = (1..=60).step_by(2).collect();
    assert_eq!(numbers(&mut stage.w, a), even);
    assert_eq!(numbers(&mut stage.w, b), odd);
    // The places are right if what goes back comes in order.
    for id in 1..=10 {
        ack(&mut stage.w, a, id);
    }
    stage.w.drop_connection(a);
    assert_eq!(numbers(&mut stage.w, b), even[11..]);
    assert_eq!(stage.w.payloads(a), Vec::<String>::new());
}
