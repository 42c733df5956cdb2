//! Runs of QoS 2 messages and of the acknowledgements of their flows, where there is a store: each step of all of them waits for its records, and
//! those are few.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{Ack, Packet, PacketId, Properties, Property, QoS, ReasonCode, Version};

use super::super::world::{Client, World, id_on};
use super::runs::{acks_of, packets_of, payloads};
use super::{ZERO, durable, durable_and_held};
use crate::{Brief, Limits, Policy, Record, Records};

const COUNT: u16 = 20;
const NOTHING: [&str; 0] = [];

/// PUBLISH packets of QoS 2, whose payloads are their identifiers.
fn run_of(client: Client, ids: impl IntoIterator<Item = u16>) -> Vec<u8> {
    packets_of(client.version, "t", QoS::ExactlyOnce, ids).concat()
}

fn lines(kind: &str, ids: impl IntoIterator<Item = u16>) -> Vec<String> {
    let line = |id| std::format!("{kind} #{id} 00");
    ids.into_iter().map(line).collect()
}

/// A subscriber whose session lasts, and a publisher that has published once: the next ones come in runs.
fn pair(world: &mut World, publisher_stays: bool) -> (Client, Client) {
    let subscriber = world.connect(Version::V311, "sub", false);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V311, "pub", !publisher_stays);
    let first = packets_of(Version::V311, "t", QoS::AtMostOnce, [0]).concat();
    world.send_bytes(publisher, &first);
    world.sync();
    world.received(subscriber);
    world.received(publisher);
    (subscriber, publisher)
}

/// How many records of which kind a batch has, and how many of them are written as one.
fn written(world: &World, batch: usize) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    let mut records = Records::new(&world.store.log[batch].2);
    while let Some(brief) = records.next_brief().map(Result::unwrap) {
        let (kind, count) = match brief {
            Brief::Body(_) => (String::from("Body"), 1),
            Brief::Run(run) => (std::format!("{:?}", run.what()), run.count().into()),
            Brief::Queued(..) => (String::from("single Queued"), 1),
            Brief::Finished(..) => (String::from("single Finished"), 1),
            Brief::Other(record) => {
                let text = std::format!("{record:?}");
                let name = text.split(' ').next().unwrap();
                (std::format!("single {name}"), 1)
            }
        };
        *kinds.entry(kind).or_default() += count;
    }
    kinds
}

fn last_written(world: &World) -> BTreeMap<String, usize> {
    written(world, world.store.log.len() - 1)
}

fn kinds<const N: usize>(kinds: [&str; N]) -> BTreeMap<String, usize> {
    let all = kinds.into_iter();
    all.map(|kind| (String::from(kind), usize::from(COUNT)))
        .collect()
}

/// What the session is sent when its client comes back after a crash, without what begins it.
fn comes_again(world: &World, client_id: &str) -> Vec<String> {
    let mut next = world.crash_now();
    assert_eq!(next.references(), next.references_held());
    let client = next.connect(Version::V311, client_id, false);
    next.received(client).split_off(1)
}

/// Optimisation, and what it must not change: nothing leaves before its records are stable, after a crash each flow goes on where it was.
#[test]
fn every_step_of_a_run_of_flows_waits_for_its_records() {
    let mut world = durable_and_held();
    let (subscriber, publisher) = pair(&mut world, false);
    let before = *world.shards[0].counters();
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    assert_eq!(last_written(&world), kinds(["Body", "Queued(ExactlyOnce)"]));
    assert_eq!(world.received(subscriber), NOTHING, "identifiers");
    assert_eq!(world.received(publisher), NOTHING, "the messages");
    world.sync();
    assert_eq!(world.received(publisher), lines("PUBREC", 1..=COUNT));
    assert_eq!(world.payloads(subscriber), payloads(1..=COUNT));
    let again = |id| std::format!("PUBLISH t={id} q2 #{id} dup");
    let expected: Vec<String> = (1..=COUNT).map(again).collect();
    assert_eq!(comes_again(&world, "sub"), expected);

    // Nothing is recorded of a publisher whose session ends.
    let batches = world.store.log.len();
    let releases = acks_of(Version::V311, Packet::PubRel, 1..=COUNT);
    world.send_bytes(publisher, &releases);
    assert_eq!(world.received(publisher), lines("PUBCOMP", 1..=COUNT));
    assert_eq!(world.store.log.len(), batches);

    let pubrecs = acks_of(Version::V311, Packet::PubRec, 1..=COUNT);
    world.send_bytes(subscriber, &pubrecs);
    assert_eq!(last_written(&world), kinds(["Released"]));
    assert_eq!(world.received(subscriber), NOTHING, "PUBREC was seen");
    world.sync();
    assert_eq!(world.received(subscriber), lines("PUBREL", 1..=COUNT));
    assert_eq!(comes_again(&world, "sub"), lines("PUBREL", 1..=COUNT));

    let pubcomps = acks_of(Version::V311, Packet::PubComp, 1..=COUNT);
    world.send_bytes(subscriber, &pubcomps);
    assert_eq!(last_written(&world), kinds(["Ended"]));
    assert_eq!(comes_again(&world, "sub"), NOTHING);
    let counters = *world.shards[0].counters();
    assert_eq!(counters.publish_runs - before.publish_runs, 1);
    assert_eq!(
        counters.acknowledgement_runs - before.acknowledgement_runs,
        3
    );
}

#[test]
fn identifiers_of_a_run_are_known_after_a_crash_until_they_are_free() {
    let mut world = durable_and_held();
    let (_, publisher) = pair(&mut world, true);
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    let expected = ["Body", "Queued(ExactlyOnce)", "Received"];
    assert_eq!(last_written(&world), kinds(expected));
    assert_eq!(world.received(publisher), NOTHING);
    world.sync();
    assert_eq!(world.received(publisher), lines("PUBREC", 1..=COUNT));

    let mut next = world.crash_now();
    let subscriber = next.connect(Version::V311, "sub", false);
    assert_eq!(next.payloads(subscriber), payloads(1..=COUNT));
    let publisher = next.connect(Version::V311, "pub", false);
    next.received(publisher);
    next.send_bytes(publisher, &run_of(publisher, 1..=COUNT + 1));
    assert_eq!(next.received(publisher), lines("PUBREC", 1..=COUNT + 1));
    assert_eq!(next.payloads(subscriber), ["21"], "the others are known");

    next.store.held = true;
    let releases = acks_of(Version::V311, Packet::PubRel, 1..=COUNT);
    next.send_bytes(publisher, &releases);
    assert_eq!(last_written(&next), kinds(["Completed"]));
    assert_eq!(next.received(publisher), NOTHING, "they are not free");
    next.sync();
    assert_eq!(next.received(publisher), lines("PUBCOMP", 1..=COUNT));
    let mut last = next.crash_now();
    let subscriber = last.connect(Version::V311, "sub", false);
    last.received(subscriber);
    let publisher = last.connect(Version::V311, "pub", false);
    last.received(publisher);
    last.send_bytes(publisher, &run_of(publisher, 1..=COUNT + 1));
    // All but the last are new messages.
    assert_eq!(last.payloads(subscriber), payloads(1..=COUNT));
}

/// Whoever waits for an answer of a run waits behind those before.
#[test]
fn answers_of_runs_stay_in_order() {
    let mut world = durable_and_held();
    let (_, publisher) = pair(&mut world, false);
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    world.sync();
    world.received(publisher);
    world.send_bytes(publisher, &run_of(publisher, COUNT + 1..=2 * COUNT));
    let releases = acks_of(Version::V311, Packet::PubRel, 1..=COUNT);
    world.send_bytes(publisher, &releases);
    assert_eq!(world.received(publisher), NOTHING);
    world.sync();
    let mut expected = lines("PUBREC", COUNT + 1..=2 * COUNT);
    expected.extend(lines("PUBCOMP", 1..=COUNT));
    assert_eq!(world.received(publisher), expected);
}

/// A publisher whose session ends asks another shard once about all of a run, and the PUBLISH packets wait over there.
#[test]
fn a_run_for_another_shard_is_asked_for_together() {
    let mut world = durable(2);
    let subscriber = world.connect(Version::V311, &id_on(1, 2, "sub"), false);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V311, &id_on(0, 2, "pub"), true);
    world.send_bytes(publisher, &run_of(publisher, [99]));
    world.received(subscriber);
    world.received(publisher);
    world.store.held = true;
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    assert_eq!(world.shards[0].awaited_parts.len(), 1);
    assert_eq!(last_written(&world), kinds(["Body", "Queued(ExactlyOnce)"]));
    assert_eq!(world.received(subscriber), NOTHING);
    assert_eq!(world.received(publisher), NOTHING);
    world.sync();
    assert_eq!(world.payloads(subscriber), payloads(1..=COUNT));
    assert_eq!(world.received(publisher), lines("PUBREC", 1..=COUNT));
    assert!(world.shards[0].awaited_parts.is_empty());
}

/// What other shards have of a message that may come again after a crash is recorded under a number of its own: no run.
#[test]
fn a_message_that_may_come_again_has_its_own_number_on_other_shards() {
    let mut world = durable(2);
    let subscriber = world.connect(Version::V311, &id_on(1, 2, "sub"), false);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V311, &id_on(0, 2, "pub"), false);
    world.send_bytes(publisher, &run_of(publisher, [99]));
    world.received(publisher);
    let before = world.shards[0].counters().publish_runs;
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    assert_eq!(world.shards[0].counters().publish_runs, before);
    let mut numbers: Vec<Option<u64>> = Vec::new();
    for (_, _, batch) in &world.store.log {
        for record in Records::new(batch).map(Result::unwrap) {
            if let Record::Received { publish, .. } = record {
                numbers.push(publish);
            }
        }
    }
    assert_eq!(numbers.len(), usize::from(COUNT) + 1);
    assert!(numbers.iter().all(Option::is_some));
    numbers.dedup();
    assert_eq!(numbers.len(), usize::from(COUNT) + 1, "one for each");
}

/// The window is full in the middle of a run: what is left waits in the queue, and moves on as flows come to their end.
#[test]
fn a_run_stops_at_the_receive_maximum_of_its_receiver() {
    let mut world = durable(1);
    let properties = [
        Property::SessionExpiryInterval(1_000),
        Property::ReceiveMaximum(5),
    ];
    let subscriber = world.connect_with(Version::V5, "five", true, &properties);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V5, "pub", true);
    world.send_bytes(publisher, &run_of(publisher, [99]));
    world.received(subscriber);
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    assert_eq!(world.payloads(subscriber), payloads(1..=4));
    let mut got = Vec::new();
    for first in (1..=COUNT).step_by(5) {
        for kind in [Packet::PubRec, Packet::PubComp] {
            let answers = acks_of(Version::V5, kind, first..first + 5);
            world.send_bytes(subscriber, &answers);
            got.extend(world.payloads(subscriber));
        }
    }
    assert_eq!(got, payloads(5..=COUNT));
}

//= mqtt5 3.3.4-7 test
#[test]
fn a_run_stops_at_our_receive_maximum() {
    let limits = Limits {
        receive_maximum: 8,
        ..Limits::default()
    };
    let mut world = World::with_store(1, &limits, &Policy::default(), Some(ZERO));
    let subscriber = world.connect(Version::V311, "sub", false);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V5, "pub", true);
    world.send_bytes(publisher, &run_of(publisher, [99]));
    world.received(subscriber);
    world.received(publisher);
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    assert_eq!(world.payloads(subscriber), payloads(1..=7));
    assert_eq!(world.received(publisher), ["DISCONNECT 93"]);
}

/// Identifiers start again in the middle of a run, and some are still in use.
#[test]
fn a_run_goes_on_behind_the_last_identifier() {
    let mut world = durable_and_held();
    let (subscriber, publisher) = pair(&mut world, false);
    world.send_bytes(publisher, &run_of(publisher, [99]));
    let shard = &mut world.shards[0];
    let session = shard.clients.get("sub", &shard.sessions).unwrap();
    let state = shard.sessions.get_mut(session).unwrap();
    state.outbound.continue_behind(65_530);
    world.send_bytes(publisher, &run_of(publisher, 1..=COUNT));
    let expected = [
        ("Body", usize::from(COUNT)),
        ("Queued(ExactlyOnce)", usize::from(COUNT)),
    ];
    let expected = expected.map(|(kind, count)| (String::from(kind), count));
    assert_eq!(last_written(&world), BTreeMap::from(expected));
    world.sync();
    // 1 is in use.
    let ids = |line: &String| line.split('#').nth(1).unwrap().parse::<u16>().unwrap();
    let got: Vec<u16> = world.received(subscriber).iter().map(ids).collect();
    let expected: Vec<u16> = [1]
        .into_iter()
        .chain(65_531..=65_535)
        .chain(2..=16)
        .collect();
    assert_eq!(got, expected);
    let pubrecs = acks_of(Version::V311, Packet::PubRec, got.iter().copied());
    world.send_bytes(subscriber, &pubrecs);
    world.sync();
    assert_eq!(world.received(subscriber), lines("PUBREL", got));
}

/// What is not known, or refused, is answered on its own; what comes before and behind it is a run.
#[test]
fn what_is_special_in_a_run_goes_its_own_way() {
    let mut world = durable_and_held();
    let (_, publisher) = pair(&mut world, false);
    let properties = [Property::SessionExpiryInterval(1_000)];
    let subscriber = world.connect_with(Version::V5, "five", true, &properties);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    world.send_bytes(publisher, &run_of(publisher, 1..=6));
    world.sync();
    world.received(subscriber);
    let refused = Ack {
        packet_id: PacketId::new(3).unwrap(),
        reason: ReasonCode::QuotaExceeded,
        properties: Properties::EMPTY,
    };
    let mut bytes = acks_of(Version::V5, Packet::PubRec, [1, 2]);
    Packet::PubRec(refused)
        .encode(Version::V5, &mut bytes)
        .unwrap();
    // 4 a second time, one that was never sent, and the rest.
    bytes.extend(acks_of(Version::V5, Packet::PubRec, [4, 4, 77, 5, 6]));
    world.send_bytes(subscriber, &bytes);
    assert_eq!(world.received(subscriber), NOTHING);
    world.sync();
    let mut expected = lines("PUBREL", [1, 2, 4, 4]);
    expected.push(String::from("PUBREL #77 92"));
    expected.extend(lines("PUBREL", [5, 6]));
    assert_eq!(world.received(subscriber), expected);
    assert_eq!(world.references(), world.references_held());
    let bytes = acks_of(Version::V5, Packet::PubComp, [1, 77, 2, 4, 4, 5]);
    world.send_bytes(subscriber, &bytes);
    let mut next = world.crash_now();
    let subscriber = next.connect_with(Version::V5, "five", false, &properties);
    assert_eq!(next.received(subscriber)[1..], lines("PUBREL", [6]));
}

/// A run ends where the acknowledgements that may wait end.
#[test]
fn no_more_answers_wait_than_may() {
    let limits = Limits {
        held_answers_max: 4,
        ..Limits::default()
    };
    let mut world = World::with_store(1, &limits, &Policy::default(), Some(ZERO));
    let (subscriber, publisher) = pair(&mut world, true);
    for id in 1..=COUNT {
        world.send_bytes(publisher, &run_of(publisher, [id]));
    }
    world.received(publisher);
    world.received(subscriber);
    world.store.held = true;
    for (client, kind) in [
        (publisher, Packet::PubRel as fn(Ack<'static>) -> _),
        (subscriber, Packet::PubRec),
    ] {
        let packets = acks_of(Version::V311, kind, 1..=COUNT);
        world.send_bytes(client, &packets);
        let connection = world.shards[0].connections.get(client.conn.0).unwrap();
        assert_eq!(connection.held_answers.len(), limits.held_answers_max);
        assert!(connection.parked.is_some());
    }
    let mut got = Vec::new();
    while got.len() < usize::from(COUNT) {
        world.sync();
        let more = world.received(publisher);
        assert!(!more.is_empty());
        got.extend(more);
    }
    assert_eq!(got, lines("PUBCOMP", 1..=COUNT));
}

/// Optimisation: one record of many costs more than one of one.
#[test]
fn a_flow_of_one_is_recorded_as_ever() {
    let mut world = durable_and_held();
    let (_, publisher) = pair(&mut world, true);
    world.send_bytes(publisher, &run_of(publisher, [1]));
    let expected = [("Body", 1), ("single Queued", 1), ("single Received", 1)];
    let expected = expected.map(|(kind, count)| (String::from(kind), count));
    assert_eq!(last_written(&world), BTreeMap::from(expected));
}
