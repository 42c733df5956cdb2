//! Order of messages and acknowledgements (section 4.6), also under a burst.

use super::{about, client, subscriber};
use crate::case::{Case, Verdict, Version, check, check_eq};
use crate::harness::{Client, Target};
use crate::wire::{Acknowledge, Encode, Packet, Publish};

cases! {
    messages_arrive_in_the_order_of_their_publisher: ["4.6.0-5", "4.6.0-6"];
    two_publishers_each_keep_their_order: ["4.6.0-5", "4.6.0-6"];
    pubacks_are_sent_in_order: ["4.6.0-2", "4.6.0-6"];
    pubrecs_are_sent_in_order: ["4.6.0-3", "4.6.0-6"];
    pubrels_are_sent_in_the_order_of_pubrecs: ["4.6.0-4", "4.6.0-6"];
    qos_1_burst_to_a_silent_subscriber_arrives: ["4.5.0-1", "4.3.2-2"];
    qos_2_burst_to_a_silent_subscriber_arrives_once: ["4.5.0-1", "4.3.3-2"];
    acknowledgements_out_of_order_do_not_lose_messages: ["4.5.0-1"];
    reader_that_never_reads_costs_others_nothing: ["4.5.0-1"];
}

//= mqtt311 4.6.0-5 test
//= mqtt311 4.6.0-6 test
fn messages_arrive_in_the_order_of_their_publisher(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    let ids: Vec<u16> = (1..=BURST).collect();
    for qos in 0..3 {
        let topic = target.topic("t");
        let mut receiver = subscriber(target, &topic, qos)?;
        // In pieces, since a broker may forward QoS 2 only at PUBREL.
        for piece in ids.chunks(10) {
            send_all(&mut publisher, &topic, qos, piece)?;
            for id in piece {
                acknowledged(&mut publisher, qos, *id)?;
                release(&mut publisher, qos, *id)?;
                if qos == 2 {
                    publisher.expect_pubcomp(*id)?;
                }
            }
            for id in piece {
                let message = receiver.expect_message(&topic, id.to_string());
                let message = about(&format!("QoS {qos}"), message)?;
                receiver.accept(&message)?;
            }
        }
        receiver.disconnect()?;
    }
    Ok(())
}

//= mqtt311 4.6.0-5 test
//= mqtt311 4.6.0-6 test
fn two_publishers_each_keep_their_order(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 1)?;
    let mut publishers = [client(target)?, client(target)?];
    for id in 1..=BURST {
        for (name, publisher) in ["a", "b"].iter().zip(&mut publishers) {
            publisher.send(Publish::new(&topic, format!("{name}{id}")).qos(1, id))?;
        }
    }
    let mut next = [1, 1];
    for _ in 0..2 * BURST {
        let message = receiver.expect_publish()?;
        receiver.accept(&message)?;
        let text = message.text();
        for (name, next) in ["a", "b"].iter().zip(&mut next) {
            if let Some(number) = text.strip_prefix(name) {
                check_eq(name, number, &next.to_string())?;
                *next += 1;
            }
        }
    }
    check_eq("messages of each", next, [BURST + 1; 2])
}

//= mqtt311 4.6.0-2 test
//= mqtt311 4.6.0-6 test
fn pubacks_are_sent_in_order(target: &Target) -> Verdict {
    in_order(
        target,
        1,
        |packet, id| matches!(packet, Packet::PubAck(ack) if ack.id == id),
    )
}

//= mqtt311 4.6.0-3 test
//= mqtt311 4.6.0-6 test
fn pubrecs_are_sent_in_order(target: &Target) -> Verdict {
    in_order(
        target,
        2,
        |packet, id| matches!(packet, Packet::PubRec(ack) if ack.id == id),
    )
}

/// A burst on several topics, with identifiers that do not rise, is acknowledged as it was sent.
fn in_order(target: &Target, qos: u8, is_for: fn(&Packet, u16) -> bool) -> Verdict {
    let watched = target.topic("a");
    let _receiver = subscriber(target, &watched, 1)?;
    let topics = [watched, target.topic("b"), target.topic("c")];
    let mut publisher = client(target)?;
    let ids: Vec<u16> = (1..=BURST).map(|n| n.wrapping_mul(40_503)).collect();
    let mut bytes = Vec::new();
    for (id, topic) in ids.iter().zip(topics.iter().cycle()) {
        bytes.extend(Publish::new(topic, "x").qos(qos, *id).encode(Version::V311));
    }
    publisher.send(bytes)?;
    for id in ids {
        let packet = publisher.next("an acknowledgement")?;
        let text = packet.describe();
        check(
            is_for(&packet, id),
            &format!("expected the one for {id}, got {text}"),
        )?;
    }
    Ok(())
}

//= mqtt311 4.6.0-4 test
//= mqtt311 4.6.0-6 test
fn pubrels_are_sent_in_the_order_of_pubrecs(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    let mut ids = Vec::new();
    for payload in 1..=10 {
        publisher.publish(&Publish::new(&topic, payload.to_string()).qos(2, 1_000))?;
        ids.push(receiver.expect_message(&topic, payload.to_string())?.id);
    }
    let mut bytes = Vec::new();
    for id in &ids {
        bytes.extend(Acknowledge::pubrec(*id).encode(Version::V311));
    }
    receiver.send(bytes)?;
    for id in ids {
        receiver.expect_pubrel(id)?;
        receiver.send(Acknowledge::pubcomp(id))?;
    }
    receiver.expect_nothing()
}

//= mqtt311 4.5.0-1 test
//= mqtt311 4.3.2-2 test
fn qos_1_burst_to_a_silent_subscriber_arrives(target: &Target) -> Verdict {
    burst_to_a_silent_subscriber(target, 1)
}

//= mqtt311 4.5.0-1 test
//= mqtt311 4.3.3-2 test
fn qos_2_burst_to_a_silent_subscriber_arrives_once(target: &Target) -> Verdict {
    burst_to_a_silent_subscriber(target, 2)
}

/// The subscriber acknowledges nothing until the publisher has everything acknowledged, or gets no
/// further because the broker has stopped reading: MQTT 3.1.1 has no Receive Maximum, so a full
/// window is no reason to drop what has been, or will be, acknowledged.
fn burst_to_a_silent_subscriber(target: &Target, qos: u8) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, qos)?;
    let mut publisher = client(target)?;
    let ids: Vec<u16> = (1..=BURST).collect();
    send_all(&mut publisher, &topic, qos, &ids)?;
    let mut done = 0;
    // A broker that has stopped reading waits for the subscriber, so do not wait for long.
    publisher.set_timeout(publisher.timeout() / 2);
    while done < BURST && acknowledged(&mut publisher, qos, done + 1).is_ok() {
        done += 1;
        release(&mut publisher, qos, done)?;
    }
    publisher.set_timeout(receiver.timeout());
    for id in ids {
        if id > done {
            acknowledged(&mut publisher, qos, id)?;
            release(&mut publisher, qos, id)?;
        }
        let what = format!(
            "{done} messages were acknowledged to the publisher, {} arrived",
            id - 1
        );
        let message = about(&what, receiver.expect_publish())?;
        check_eq("order", message.text(), id.to_string())?;
        check_eq("DUP", message.dup, false)?;
        receiver.accept(&message)?;
    }
    if qos == 2 {
        for id in 1..=BURST {
            publisher.expect_pubcomp(id)?;
        }
    }
    receiver.expect_silence(&mut publisher)
}

/// Publishes every identifier as a message, in one write.
fn send_all(publisher: &mut Client, topic: &str, qos: u8, ids: &[u16]) -> Verdict {
    let mut bytes = Vec::new();
    for id in ids {
        let publish = Publish::new(topic, id.to_string()).qos(qos, *id);
        bytes.extend(publish.encode(Version::V311));
    }
    publisher.send(bytes)
}

/// Waits for PUBACK or PUBREC.
fn acknowledged(publisher: &mut Client, qos: u8, id: u16) -> Verdict {
    match qos {
        0 => Ok(()),
        1 => publisher.expect_puback(id).map(drop),
        _ => publisher.expect_pubrec(id).map(drop),
    }
}

/// Sends PUBREL, if that is the next step.
fn release(publisher: &mut Client, qos: u8, id: u16) -> Verdict {
    if qos == 2 {
        publisher.send(Acknowledge::pubrel(id))?;
    }
    Ok(())
}

//= mqtt311 4.5.0-1 test
fn acknowledgements_out_of_order_do_not_lose_messages(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 1)?;
    let mut publisher = client(target)?;
    for round in 0..20 {
        let mut held = Vec::new();
        for n in 0..5 {
            let payload = format!("{round}.{n}");
            publisher.publish_acked(&topic, &payload)?;
            held.push(receiver.expect_message(&topic, &payload)?);
        }
        // The last one first.
        while let Some(message) = held.pop() {
            receiver.accept(&message)?;
        }
    }
    receiver.expect_nothing()
}

/// The stalled subscriber is owed nothing at QoS 0, and may even be closed.
//= mqtt311 4.5.0-1 test
fn reader_that_never_reads_costs_others_nothing(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let _stalled = [
        subscriber(target, &topic, 0)?,
        subscriber(target, &topic, 0)?,
    ];
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    // 16 MiB to each, more than the buffers of two sockets hold.
    let payload = vec![b'x'; 16 * 1024];
    for round in 0..1_000 {
        publisher.send(Publish::new(&topic, &payload))?;
        let message = about(&format!("message {round}"), receiver.expect_publish())?;
        check_eq("bytes", message.payload.len(), payload.len())?;
    }
    publisher.expect_alive()?;
    receiver.expect_nothing()
}

/// More than any window of messages in flight that a broker has by default.
const BURST: u16 = 200;
