//! Each row of the table: what is said only after something is stable, and what is said at once.

use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{Connect, Packet, Properties, QoS, TopicName, Version, Will};

use super::super::world::{Client, World};
use super::{durable, durable_and_held};
use crate::{Record, StorePressure};

const NOTHING: [&str; 0] = [];

/// What the client gets now is nothing; what it gets when everything is stable.
fn after_sync(world: &mut World, client: Client) -> Vec<String> {
    assert_eq!(world.received(client), NOTHING, "before the store was done");
    world.sync();
    world.received(client)
}

/// A subscriber whose session outlives its connections, at QoS 2, and a publisher whose session does not.
fn pair(world: &mut World) -> (Client, Client) {
    let subscriber = world.connect(Version::V311, "sub", false);
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    world.sync();
    world.received(subscriber);
    let publisher = world.connect(Version::V311, "pub", true);
    assert_eq!(world.received(publisher), ["CONNACK 00 present=false"]);
    (subscriber, publisher)
}

#[test]
fn puback_waits_for_the_message() {
    let mut world = durable_and_held();
    let (subscriber, publisher) = pair(&mut world);
    world.publish(publisher, "t", QoS::AtLeastOnce, 7, false, "x");
    // At QoS 1 nothing holds the message itself up.
    assert_eq!(world.received(subscriber), ["PUBLISH t=x q1 #1"]);
    assert_eq!(after_sync(&mut world, publisher), ["PUBACK #7 00"]);
}

#[test]
fn pubrec_waits_for_the_message_and_pubcomp_for_nothing_of_a_session_that_ends() {
    let mut world = durable_and_held();
    let (_, publisher) = pair(&mut world);
    world.publish(publisher, "t", QoS::ExactlyOnce, 7, false, "x");
    assert_eq!(after_sync(&mut world, publisher), ["PUBREC #7 00"]);
    world.ack(publisher, Packet::PubRel, 7);
    assert_eq!(world.received(publisher), ["PUBCOMP #7 00"]);
}

#[test]
fn pubrec_and_pubcomp_wait_for_the_identifier_of_a_persistent_session() {
    let mut world = durable_and_held();
    let publisher = world.connect(Version::V311, "pub", false);
    assert_eq!(
        after_sync(&mut world, publisher),
        ["CONNACK 00 present=false"]
    );
    world.publish(publisher, "nobody", QoS::ExactlyOnce, 7, false, "x");
    assert_eq!(after_sync(&mut world, publisher), ["PUBREC #7 00"]);
    world.ack(publisher, Packet::PubRel, 7);
    assert_eq!(after_sync(&mut world, publisher), ["PUBCOMP #7 00"]);
    world.publish(publisher, "nobody", QoS::AtLeastOnce, 8, false, "x");
    assert_eq!(world.received(publisher), ["PUBACK #8 00"]);
}

/// The second CONNECT has nothing to record, but what the first one ended could still come back.
#[test]
fn connack_waits_for_the_end_of_a_session_that_an_earlier_connect_has_asked_for() {
    let mut world = durable_and_held();
    pair(&mut world);
    let first = world.connect(Version::V311, "sub", true);
    let second = world.connect(Version::V311, "sub", true);
    assert_eq!(after_sync(&mut world, second), ["CONNACK 00 present=false"]);
    assert_eq!(world.received(first), NOTHING);
    // What is stable stays so: the next one waits for nothing.
    let third = world.connect(Version::V311, "sub", true);
    assert_eq!(world.received(third), ["CONNACK 00 present=false"]);
}

#[test]
fn a_retained_message_is_stored_before_its_answer() {
    let mut world = durable_and_held();
    let publisher = world.connect(Version::V311, "pub", true);
    world.received(publisher);
    world.publish(publisher, "r", QoS::AtLeastOnce, 7, true, "x");
    assert_eq!(after_sync(&mut world, publisher), ["PUBACK #7 00"]);
    // Nobody waits for one of QoS 0, but it is written.
    let before = world.store.log.len();
    world.publish(publisher, "r", QoS::AtMostOnce, 0, true, "y");
    assert_eq!(world.store.log.len(), before + 1);
}

#[test]
fn suback_and_unsuback_wait_for_the_change() {
    let mut world = durable_and_held();
    let client = world.connect(Version::V5, "sub", true);
    world.received(client);
    world.subscribe(client, "t", QoS::AtLeastOnce);
    assert_eq!(world.received(client), ["SUBACK [01]"], "its session ends");
    let client = world.connect(Version::V311, "old", false);
    world.sync();
    world.received(client);
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.subscribe(client, "$share/g/t", QoS::AtLeastOnce);
    assert_eq!(
        after_sync(&mut world, client),
        ["SUBACK [01]", "SUBACK [01]"]
    );
    world.unsubscribe(client, "t");
    assert_eq!(after_sync(&mut world, client), ["UNSUBACK []"]);
}

#[test]
fn connack_waits_for_the_session_and_its_will() {
    let mut world = durable_and_held();
    let client = world.connect_packet(&Connect {
        version: Version::V311,
        clean_start: false,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_id: "c",
        will: Some(Will {
            topic: TopicName::new("w").unwrap(),
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Properties::EMPTY,
        }),
        user_name: None,
        password: None,
    });
    assert_eq!(after_sync(&mut world, client), ["CONNACK 00 present=false"]);
    let clean = world.connect(Version::V311, "c", true);
    assert_eq!(
        after_sync(&mut world, clean),
        ["CONNACK 00 present=false"],
        "the old session's end"
    );
}

#[test]
fn a_qos_2_message_waits_for_its_identifier_and_what_is_behind_it_too() {
    let mut world = durable_and_held();
    let (subscriber, publisher) = pair(&mut world);
    world.publish(publisher, "t", QoS::AtMostOnce, 0, false, "first");
    world.publish(publisher, "t", QoS::ExactlyOnce, 7, false, "x");
    world.publish(publisher, "t", QoS::AtMostOnce, 0, false, "behind");
    assert_eq!(world.received(subscriber), ["PUBLISH t=first q0"]);
    assert_eq!(
        after_sync(&mut world, subscriber),
        ["PUBLISH t=x q2 #1", "PUBLISH t=behind q0"]
    );
}

#[test]
fn a_qos_2_message_from_the_queue_waits_for_its_identifier() {
    let mut world = durable_and_held();
    let (subscriber, publisher) = pair(&mut world);
    world.drop_connection(subscriber);
    world.publish(publisher, "t", QoS::ExactlyOnce, 7, false, "x");
    world.sync();
    let subscriber = world.connect(Version::V311, "sub", false);
    assert_eq!(
        after_sync(&mut world, subscriber),
        ["CONNACK 00 present=true", "PUBLISH t=x q2 #1"]
    );
}

#[test]
fn pubrel_waits_until_pubrec_is_stored_and_acknowledgements_from_subscribers_hold_up_nobody() {
    let mut world = durable_and_held();
    let (subscriber, publisher) = pair(&mut world);
    world.publish(publisher, "t", QoS::ExactlyOnce, 7, false, "x");
    world.publish(publisher, "t", QoS::AtLeastOnce, 8, false, "y");
    world.sync();
    world.received(subscriber);
    world.ack(subscriber, Packet::PubAck, 2);
    world.ack(subscriber, Packet::PubRec, 1);
    // A repetition is not quicker than the first one.
    world.ack(subscriber, Packet::PubRec, 1);
    assert_eq!(
        after_sync(&mut world, subscriber),
        ["PUBREL #1 00", "PUBREL #1 00"]
    );
    world.ack(subscriber, Packet::PubComp, 1);
    let waits = world.store.log.len();
    world.publish(publisher, "elsewhere", QoS::AtLeastOnce, 9, false, "z");
    assert_eq!(
        world.received(publisher).last().unwrap(),
        "PUBACK #9 00",
        "{waits} batches, none of them its business"
    );
}

#[test]
fn answers_leave_in_order_though_only_the_first_waits() {
    let mut world = durable_and_held();
    let (_, publisher) = pair(&mut world);
    world.publish(publisher, "t", QoS::AtLeastOnce, 1, false, "x");
    world.publish(publisher, "nobody", QoS::AtLeastOnce, 2, false, "x");
    assert_eq!(
        after_sync(&mut world, publisher),
        ["PUBACK #1 00", "PUBACK #2 00"]
    );
}

#[test]
fn a_batch_releases_what_waits_for_it_and_nothing_else() {
    let mut world = durable_and_held();
    let (_, publisher) = pair(&mut world);
    let first = world.store.log.len();
    world.publish(publisher, "t", QoS::AtLeastOnce, 1, false, "x");
    world.publish(publisher, "t", QoS::AtLeastOnce, 2, false, "x");
    assert_eq!(world.store.log.len(), first + 2);
    world.store_done(first + 1);
    world.run();
    assert_eq!(world.received(publisher), ["PUBACK #1 00"]);
    world.sync();
    assert_eq!(world.received(publisher), ["PUBACK #2 00"]);
}

#[test]
fn what_may_not_leave_yet_is_dropped_when_the_connection_ends() {
    let mut world = durable_and_held();
    let (subscriber, publisher) = pair(&mut world);
    let v5 = world.connect_with(
        Version::V5,
        "v5",
        false,
        &[martlet_codec::Property::SessionExpiryInterval(60)],
    );
    world.connect_with(
        Version::V5,
        "v5",
        false,
        &[martlet_codec::Property::SessionExpiryInterval(60)],
    );
    assert_eq!(
        world.received(v5),
        NOTHING,
        "no DISCONNECT before CONNACK, which waits"
    );
    world.publish(publisher, "t", QoS::ExactlyOnce, 7, false, "x");
    let (_, closed) = {
        world.connect(Version::V311, "sub", false);
        world.closed.pop().unwrap()
    };
    assert_eq!(closed.conn, subscriber.conn);
    assert!(closed.farewell.is_empty());
    world.sync();
    assert_eq!(world.received(subscriber), NOTHING);
}

/// Nobody's business, nothing written.
#[test]
fn clean_sessions_and_qos_0_write_nothing() {
    let mut world = durable(1);
    let subscriber = world.connect(Version::V311, "sub", true);
    world.subscribe(subscriber, "#", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V5, "pub", true);
    for (qos, id) in [
        (QoS::AtMostOnce, 0),
        (QoS::AtLeastOnce, 1),
        (QoS::ExactlyOnce, 2),
    ] {
        world.publish(publisher, "t", qos, id, false, "x");
    }
    world.ack(publisher, Packet::PubRel, 2);
    world.ack(subscriber, Packet::PubAck, 1);
    world.ack(subscriber, Packet::PubRec, 2);
    world.ack(subscriber, Packet::PubComp, 2);
    world.drop_connection(subscriber);
    assert!(world.store.log.is_empty());
    let durable = world.connect(Version::V311, "durable", false);
    world.subscribe(durable, "t", QoS::AtMostOnce);
    let before = world.store.log.len();
    world.publish(publisher, "t", QoS::AtMostOnce, 0, false, "x");
    world.publish(publisher, "t", QoS::AtLeastOnce, 3, false, "x");
    assert_eq!(
        world.store.log.len(),
        before,
        "it gets them at QoS 0: {:?}",
        world.records()
    );
}

#[test]
fn a_store_that_does_not_keep_up_holds_up_only_who_publishes_durably() {
    let mut world = durable(1);
    let (_, publisher) = pair(&mut world);
    let v5 = world.connect(Version::V5, "v5", true);
    world.received(v5);
    let clean = world.connect(Version::V311, "clean", true);
    world.subscribe(clean, "other", QoS::AtLeastOnce);
    world.received(clean);
    world.pressure(StorePressure::Busy);
    for client in [publisher, v5] {
        world.publish(client, "other", QoS::AtLeastOnce, 1, false, "a");
        world.publish(client, "t", QoS::AtMostOnce, 0, false, "b");
        assert_eq!(world.received(client), ["PUBACK #1 00"]);
        world.publish(client, "t", QoS::AtLeastOnce, 2, false, "c");
        world.publish(client, "other", QoS::AtLeastOnce, 3, false, "behind");
        assert_eq!(world.received(client), NOTHING);
    }
    assert_eq!(world.payloads(clean), ["a", "a"]);
    world.pressure(StorePressure::Full);
    assert_eq!(
        world.received(v5),
        ["PUBACK #2 97", "PUBACK #3 00"],
        "no room, and on"
    );
    world.publish(v5, "r", QoS::ExactlyOnce, 4, true, "retained");
    assert_eq!(world.received(v5), ["PUBREC #4 97"]);
    assert_eq!(world.received(publisher), NOTHING);
    world.pressure(StorePressure::Normal);
    assert_eq!(world.received(publisher), ["PUBACK #2 00", "PUBACK #3 00"]);
    assert_eq!(world.payloads(clean), ["behind", "behind"]);
}

/// Nobody flushes a connection that has nothing to write; if it counted as dirty, what it gets later would stay where it is.
#[test]
fn a_barrier_with_nothing_behind_it_leaves_the_connection_clean() {
    let mut world = durable_and_held();
    let (subscriber, _) = pair(&mut world);
    let now = world.now;
    let (shard, fx) = world.shard_and_effects(0);
    fx.store.push(&Record::SlotBegin { slot: 0 });
    shard.withhold(subscriber.conn.0, fx);
    let (ticket, _) = fx.store.take(Vec::new()).unwrap();
    shard.on_store_done(ticket, now, fx);
    assert!(fx.dirty.is_empty());
    assert_eq!(
        shard.connections.get(subscriber.conn.0).unwrap().dirty,
        None
    );
}

/// However many barriers are lifted in a tick, by one word of the store or by several; and again in the next tick, if the driver
/// has written nothing meanwhile.
#[test]
fn a_connection_whose_barriers_are_lifted_is_listed_once_a_tick() {
    let mut world = durable_and_held();
    let (subscriber, _) = pair(&mut world);
    let now = world.now;
    let (shard, fx) = world.shard_and_effects(0);
    let mut tickets = Vec::new();
    for _ in 0..6 {
        fx.store.push(&Record::SlotBegin { slot: 0 });
        shard.withhold(subscriber.conn.0, fx);
        let ping = [0xC0, 0];
        shard.on_bytes(subscriber.conn, &ping, now, fx);
        tickets.push(fx.store.take(Vec::new()).unwrap().0);
    }
    let [_, _, second, third, fourth, last] = tickets[..] else {
        return;
    };
    let mut lift = |ticket, drives: bool| {
        shard.on_store_done(ticket, now, fx);
        let listed = fx.dirty.len();
        if drives {
            // It finds nothing that it can write, and says nothing of it.
            fx.dirty.clear();
        }
        let outbox = shard.outbox(subscriber.conn).unwrap();
        (listed, outbox.writable_len())
    };
    assert_eq!(lift(second, false), (1, 6), "three at once");
    assert_eq!(lift(third, true), (1, 8), "in the same tick");
    assert_eq!(lift(fourth, false), (1, 10), "in the next one");
    assert_eq!(lift(last, true), (1, 12));
}
