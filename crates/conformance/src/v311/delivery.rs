//! PUBLISH in both directions, and its acknowledgements (sections 3.3 to 3.7, 4.3 and 4.5).

use super::{about, client, forget, persistent, subscriber};
use crate::case::{Case, Failure, Verdict, Version, check, check_eq, fail};
use crate::harness::{Client, Event, Target};
use crate::wire::{Acknowledge, Encode, Packet, Publish};
use std::collections::BTreeSet;
use std::time::Instant;

cases! {
    publish_is_answered_by_its_qos: ["3.3.4-1", "2.3.1-6", "4.5.0-2"];
    packet_identifiers_are_echoed: ["2.3.1-6", "2.3.1-1"];
    qos_0_goes_out_without_identifier_and_dup: ["2.3.1-5", "3.3.1-2", "4.3.1-1"];
    qos_1_goes_out_with_a_fresh_identifier: ["4.3.2-1", "2.3.1-4", "2.3.1-1"];
    qos_1_identifier_is_free_after_puback: ["4.3.2-2"];
    qos_1_subscriber_may_reuse_nothing_unacknowledged: ["2.3.1-4"];
    qos_2_goes_out_through_the_whole_handshake: ["4.3.3-1", "2.3.1-6", "2.3.1-4"];
    qos_2_repeat_is_acknowledged_but_not_routed_again: ["4.3.3-2"];
    qos_2_repeat_without_dup_is_not_routed_again: ["4.3.3-2"];
    qos_2_identifier_is_free_after_pubcomp: ["4.3.3-2"];
    qos_2_is_delivered_even_if_acknowledged_in_bulk: ["4.3.3-2", "4.5.0-1"];
    unknown_pubrel_is_answered: ["4.3.3-2"];
    dup_of_the_publisher_is_not_copied: ["3.3.1-3", "4.3.2-1"];
    both_directions_have_their_own_identifiers: ["2.3.1-4"];
    message_reaches_every_matching_session: ["4.5.0-1", "3.3.2-3"];
    delivery_qos_is_the_lower_one: ["3.8.4-6"];
    publish_that_may_be_forbidden_is_acknowledged_or_closes: ["3.3.5-2"];
    message_without_subscribers_is_acknowledged: ["3.3.4-1"];
    own_message_comes_back_to_a_subscribed_publisher: ["4.5.0-1"];
}

//= mqtt311 3.3.4-1 test
//= mqtt311 2.3.1-6 test
//= mqtt311 4.5.0-2 test
fn publish_is_answered_by_its_qos(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = client(target)?;
    client.send(Publish::new(&topic, "0"))?;
    client.expect_nothing()?;
    client.send(Publish::new(&topic, "1").qos(1, 11))?;
    client.expect_puback(11)?;
    client.expect_nothing()?;
    client.send(Publish::new(&topic, "2").qos(2, 12))?;
    client.expect_pubrec(12)?;
    client.expect_nothing()?;
    client.send(Acknowledge::pubrel(12))?;
    client.expect_pubcomp(12)?;
    client.expect_nothing()
}

//= mqtt311 2.3.1-6 test
//= mqtt311 2.3.1-1 test
fn packet_identifiers_are_echoed(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = client(target)?;
    for id in [1, 2, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF] {
        client.publish(&Publish::new(&topic, "1").qos(1, id))?;
        client.publish(&Publish::new(&topic, "2").qos(2, id))?;
    }
    client.expect_nothing()
}

/// A packet identifier would show as two more bytes of payload.
//= mqtt311 2.3.1-5 test
//= mqtt311 3.3.1-2 test
//= mqtt311 4.3.1-1 test
fn qos_0_goes_out_without_identifier_and_dup(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 2)?;
    client(target)?.send(Publish::new(&topic, "payload"))?;
    let message = receiver.expect_message(&topic, "payload")?;
    check_eq("QoS", message.qos, 0)?;
    check_eq("DUP", message.dup, false)?;
    check_eq("bytes", message.size, 2 + 2 + topic.len() + 7)
}

//= mqtt311 4.3.2-1 test
//= mqtt311 2.3.1-4 test
//= mqtt311 2.3.1-1 test
fn qos_1_goes_out_with_a_fresh_identifier(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 1)?;
    let mut publisher = client(target)?;
    let mut unacknowledged = BTreeSet::new();
    for payload in ["1", "2", "3", "4", "5"] {
        publisher.publish_acked(&topic, payload)?;
        let message = receiver.expect_message(&topic, payload)?;
        check_eq("QoS", message.qos, 1)?;
        check_eq("DUP", message.dup, false)?;
        check(
            unacknowledged.insert(message.id),
            "a packet identifier was used twice",
        )?;
    }
    for id in unacknowledged {
        receiver.send(Acknowledge::puback(id))?;
    }
    receiver.expect_nothing()
}

//= mqtt311 4.3.2-2 test
fn qos_1_identifier_is_free_after_puback(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "first").qos(1, 5))?;
    publisher.publish(&Publish::new(&topic, "second").qos(1, 5))?;
    // DUP makes no difference: the first one is done with.
    publisher.publish(&Publish::new(&topic, "third").qos(1, 5).dup())?;
    for payload in ["first", "second", "third"] {
        receiver.expect_message(&topic, payload)?;
    }
    receiver.expect_nothing()
}

/// Out of order acknowledgement frees exactly the identifier that it names.
//= mqtt311 2.3.1-4 test
fn qos_1_subscriber_may_reuse_nothing_unacknowledged(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 1)?;
    let mut publisher = client(target)?;
    let mut held = BTreeSet::new();
    for round in 0..10 {
        publisher.publish_acked(&topic, &round.to_string())?;
        publisher.publish_acked(&topic, &format!("{round}b"))?;
        let keep = receiver.expect_message(&topic, round.to_string())?;
        check(
            held.insert(keep.id),
            "an unacknowledged identifier was used again",
        )?;
        let done = receiver.expect_message(&topic, format!("{round}b"))?;
        check(
            !held.contains(&done.id),
            "an unacknowledged identifier was used again",
        )?;
        receiver.send(Acknowledge::puback(done.id))?;
    }
    receiver.expect_nothing()
}

//= mqtt311 4.3.3-1 test
//= mqtt311 2.3.1-6 test
//= mqtt311 2.3.1-4 test
fn qos_2_goes_out_through_the_whole_handshake(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    let mut held = BTreeSet::new();
    for payload in ["1", "2"] {
        publisher.publish(&Publish::new(&topic, payload).qos(2, 1_000))?;
        let message = receiver.expect_message(&topic, payload)?;
        check_eq("QoS", message.qos, 2)?;
        check_eq("DUP", message.dup, false)?;
        check(
            held.insert(message.id),
            "a packet identifier was used twice",
        )?;
        receiver.expect_nothing()?;
        receiver.send(Acknowledge::pubrec(message.id))?;
        receiver.expect_pubrel(message.id)?;
        // Without PUBCOMP the identifier stays taken; and the PUBLISH is not sent again.
        receiver.expect_nothing()?;
    }
    for id in held {
        receiver.send(Acknowledge::pubcomp(id))?;
    }
    receiver.expect_nothing()
}

//= mqtt311 4.3.3-2 test
fn qos_2_repeat_is_acknowledged_but_not_routed_again(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    let publish = Publish::new(&topic, "once").qos(2, 1_000);
    publisher.send(&publish)?;
    publisher.expect_pubrec(1_000)?;
    for _ in 0..3 {
        publisher.send(publish.clone().dup())?;
        publisher.expect_pubrec(1_000)?;
    }
    publisher.send(Acknowledge::pubrel(1_000))?;
    publisher.expect_pubcomp(1_000)?;
    // PUBREL may be repeated, too.
    publisher.send(Acknowledge::pubrel(1_000))?;
    publisher.expect_pubcomp(1_000)?;
    receiver.expect_message(&topic, "once")?;
    receiver.expect_silence(&mut publisher)
}

/// The client may not do this, so the broker may close; it may not route the message twice.
//= mqtt311 4.3.3-2 test
fn qos_2_repeat_without_dup_is_not_routed_again(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    let publish = Publish::new(&topic, "once").qos(2, 1_000);
    publisher.send(&publish)?;
    publisher.expect_pubrec(1_000)?;
    publisher.send(&publish)?;
    match publisher.read(Instant::now() + publisher.timeout())? {
        Event::Packet(Packet::PubRec(ack)) => check_eq("packet identifier", ack.id, 1_000)?,
        Event::Packet(other) => return fail(format!("answered with {}", other.describe())),
        Event::Timeout => return fail("neither acknowledged nor closed"),
        // A broker that forwards at PUBREL has forwarded nothing.
        Event::Closed => return at_most_once(&mut receiver, &mut client(target)?, &topic),
    }
    publisher.send(Acknowledge::pubrel(1_000))?;
    publisher.expect_pubcomp(1_000)?;
    receiver.expect_message(&topic, "once")?;
    receiver.expect_silence(&mut publisher)
}

fn at_most_once(receiver: &mut Client, publisher: &mut Client, topic: &str) -> Verdict {
    publisher.send(Publish::new(topic, "end"))?;
    if receiver.expect_publish()?.text() == "once" {
        receiver.expect_message(topic, "end")?;
    }
    Ok(())
}

//= mqtt311 4.3.3-2 test
fn qos_2_identifier_is_free_after_pubcomp(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "first").qos(2, 1_000))?;
    publisher.publish(&Publish::new(&topic, "second").qos(2, 1_000))?;
    publisher.publish(&Publish::new(&topic, "third").qos(2, 1_000).dup())?;
    for payload in ["first", "second", "third"] {
        receiver.expect_message(&topic, payload)?;
    }
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 4.3.3-2 test
//= mqtt311 4.5.0-1 test
fn qos_2_is_delivered_even_if_acknowledged_in_bulk(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    let mut bytes = Vec::new();
    for id in 1..=20 {
        let publish = Publish::new(&topic, id.to_string()).qos(2, id);
        bytes.extend(publish.encode(Version::V311));
    }
    publisher.send(bytes)?;
    for id in 1..=20 {
        publisher.expect_pubrec(id)?;
    }
    for id in 1..=20 {
        publisher.send(Acknowledge::pubrel(id))?;
    }
    for id in 1..=20 {
        publisher.expect_pubcomp(id)?;
        receiver.expect_message(&topic, id.to_string())?;
    }
    receiver.expect_nothing()
}

/// After PUBCOMP was lost, the client cannot but send PUBREL again.
//= mqtt311 4.3.3-2 test
fn unknown_pubrel_is_answered(target: &Target) -> Verdict {
    let mut client = client(target)?;
    client.send(Acknowledge::pubrel(4_321))?;
    client.expect_pubcomp(4_321)?;
    client.expect_nothing()
}

//= mqtt311 3.3.1-3 test
//= mqtt311 4.3.2-1 test
fn dup_of_the_publisher_is_not_copied(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    for qos in 1..=2 {
        publisher.publish(&Publish::new(&topic, "x").qos(qos, 1_000).dup())?;
        let message = receiver.expect_message(&topic, "x")?;
        check_eq("QoS", message.qos, qos)?;
        check_eq("DUP", message.dup, false)?;
        receiver.accept(&message)?;
    }
    receiver.expect_nothing()
}

//= mqtt311 2.3.1-4 test
fn both_directions_have_their_own_identifiers(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut peer = subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "in").qos(2, 1_000))?;
    let incoming = peer.expect_message(&topic, "in")?;
    // The same number in the other direction, both unfinished.
    let other = target.topic("other");
    let mut watcher = subscriber(target, &other, 0)?;
    peer.send(Publish::new(&other, "out").qos(2, incoming.id))?;
    peer.expect_pubrec(incoming.id)?;
    peer.send(Acknowledge::pubrec(incoming.id))?;
    peer.expect_pubrel(incoming.id)?;
    peer.send(Acknowledge::pubrel(incoming.id))?;
    peer.expect_pubcomp(incoming.id)?;
    peer.send(Acknowledge::pubcomp(incoming.id))?;
    peer.expect_nothing()?;
    watcher.expect_message(&other, "out")?;
    watcher.expect_silence(&mut publisher)
}

//= mqtt311 4.5.0-1 test
//= mqtt311 3.3.2-3 test
fn message_reaches_every_matching_session(target: &Target) -> Verdict {
    let base = target.topic("t");
    let topic = format!("{base}/a/b");
    let id = target.id();
    let (mut offline, _) = persistent(target, &id)?;
    offline.subscribe(&topic, 1)?;
    offline.disconnect()?;
    let filters = [topic.clone(), format!("{base}/+/b"), format!("{base}/#")];
    let mut online = Vec::new();
    for filter in &filters {
        for qos in 0..3 {
            online.push(subscriber(target, filter, qos)?);
        }
    }
    let mut others = subscriber(target, &format!("{base}/a"), 0)?;
    let mut publisher = client(target)?;
    publisher.publish_acked(&topic, "x")?;
    let (back, _) = persistent(target, &id)?;
    online.push(back);
    for client in &mut online {
        let message = client.expect_message(&topic, "x")?;
        client.accept(&message)?;
        client.expect_nothing()?;
    }
    others.expect_silence(&mut publisher)?;
    drop(online);
    forget(target, &id)
}

//= mqtt311 3.8.4-6 test
fn delivery_qos_is_the_lower_one(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for requested in 0..3 {
        let topic = target.topic("t");
        let mut receiver = client(target)?;
        let granted = receiver.subscribe(&topic, requested)?;
        check(granted <= requested, "more was granted than requested")?;
        for published in 0..3 {
            let payload = format!("published {published}, granted {granted}");
            publisher.publish(&Publish::new(&topic, &payload).qos(published, 1_000))?;
            let message = receiver.expect_message(&topic, &payload)?;
            about(
                &payload,
                check_eq("QoS", message.qos, published.min(granted)),
            )?;
            receiver.accept(&message)?;
        }
        receiver.expect_nothing()?;
        receiver.disconnect()?;
    }
    Ok(())
}

/// Which topics a broker forbids is its own affair; most forbid `$SYS`. There is no third way.
//= mqtt311 3.3.5-2 test
fn publish_that_may_be_forbidden_is_acknowledged_or_closes(target: &Target) -> Verdict {
    for topic in ["$SYS/broker/version", "$SYS/x", "$share/x/y"] {
        for qos in 1..=2 {
            let mut client = client(target)?;
            client.send(Publish::new(topic, "x").qos(qos, 9))?;
            about(topic, acknowledged_or_closed(&mut client, qos))?;
        }
    }
    Ok(())
}

fn acknowledged_or_closed(client: &mut Client, qos: u8) -> Verdict {
    match client.read(Instant::now() + client.timeout())? {
        Event::Closed => Ok(()),
        Event::Packet(Packet::PubAck(ack)) if qos == 1 => check_eq("id", ack.id, 9),
        Event::Packet(Packet::PubRec(ack)) if qos == 2 => check_eq("id", ack.id, 9),
        Event::Packet(other) => fail(format!("answered with {}", other.describe())),
        Event::Timeout => Err(Failure::Failed("neither acknowledged nor closed".into())),
    }
}

//= mqtt311 3.3.4-1 test
fn message_without_subscribers_is_acknowledged(target: &Target) -> Verdict {
    let mut client = client(target)?;
    for qos in 0..3 {
        client.publish(&Publish::new(&target.topic("nobody"), "x").qos(qos, 1_000))?;
    }
    client.expect_nothing()
}

//= mqtt311 4.5.0-1 test
fn own_message_comes_back_to_a_subscribed_publisher(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = subscriber(target, &topic, 2)?;
    for qos in 0..3 {
        client.publish(&Publish::new(&topic, [b'0' + qos]).qos(qos, 1_000))?;
        let message = client.expect_message(&topic, [b'0' + qos])?;
        check_eq("QoS", message.qos, qos)?;
        client.accept(&message)?;
    }
    client.expect_nothing()
}
