//! QoS 1 and 2 within one connection, and the order of messages (sections 4.3 and 4.6).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq, skip};
use crate::harness::{Client, Target, let_time_pass};
use crate::v5::support::Pipeline;
use crate::wire::{Ack, Acknowledge, Props, Publish, prop};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        unacknowledged_messages_have_different_identifiers,
        "2.2.1-4",
        "4.3.2-1",
        "4.3.2-2",
        "4.3.3-1",
        "4.3.3-2"
    ),
    case!(
        V5,
        identifier_is_free_again_after_puback,
        "4.3.2-5",
        "4.3.2-4"
    ),
    case!(
        V5,
        repeated_qos_2_message_is_delivered_once,
        "4.3.3-8",
        "4.3.3-10",
        "4.3.3-11",
        "4.3.3-12"
    ),
    case!(
        V5,
        pubrec_is_answered_with_pubrel,
        "4.3.3-4",
        "2.2.1-5",
        "3.6.2-1"
    ),
    case!(V5, refusing_pubrec_ends_the_delivery, "4.4.0-2", "4.3.3-4"),
    case!(
        V5,
        identifier_is_free_again_after_a_refusing_pubrec,
        "4.3.3-9"
    ),
    case!(
        V5,
        acknowledgements_of_unknown_identifiers_are_not_fatal,
        "3.7.2-1",
        "3.6.2-1",
        "2.2.1-5"
    ),
    case!(V5, qos_2_handshake_outlives_the_message, "4.3.3-13"),
    case!(V5, nothing_is_repeated_within_a_connection, "4.4.0-1"),
    case!(V5, messages_keep_their_order, "4.6.0-5", "4.6.0-6"),
    case!(
        V5,
        every_subscriber_gets_every_publishers_order,
        "4.6.0-5",
        "4.5.0-1"
    ),
    case!(
        V5,
        wrong_acknowledgements_close,
        "3.4.2-1",
        "3.5.2-1",
        "3.6.2-1",
        "3.7.2-1",
        "4.13.1-1"
    ),
];

/// A publisher and a subscriber of the topic at this QoS.
fn pair(target: &Target, qos: u8) -> Verdict<(Client, Client, String)> {
    target.needs_qos(qos)?;
    let topic = target.topic("t");
    let publisher = target.client(V5)?;
    let mut subscriber = target.client(V5)?;
    subscriber.subscribe(&topic, qos)?;
    Ok((publisher, subscriber, topic))
}

//= mqtt5 2.2.1-4 test
//= mqtt5 4.3.2-1 test
//= mqtt5 4.3.2-2 test
//= mqtt5 4.3.3-1 test
//= mqtt5 4.3.3-2 test
fn unacknowledged_messages_have_different_identifiers(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 2)?;
    for number in 0..16 {
        let qos = 1 + u8::from(number % 2 == 1);
        let id = publisher.fresh_id();
        publisher.publish(&Publish::new(&topic, number.to_string()).qos(qos, id))?;
    }
    let mut ids = BTreeSet::new();
    for number in 0..16 {
        let message = subscriber.expect_message(&topic, number.to_string())?;
        check_eq("QoS", message.qos, 1 + u8::from(number % 2 == 1))?;
        check(!message.dup, "DUP is set on a first delivery")?;
        check(
            ids.insert(message.id),
            "a packet identifier is in use twice",
        )?;
    }
    Ok(())
}

//= mqtt5 4.3.2-5 test
//= mqtt5 4.3.2-4 test
fn identifier_is_free_again_after_puback(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 1)?;
    publisher.publish(&Publish::new(&topic, "one").qos(1, 7))?;
    publisher.publish(&Publish::new(&topic, "one").qos(1, 7).dup())?;
    publisher.publish(&Publish::new(&topic, "two").qos(1, 7))?;
    for text in ["one", "one", "two"] {
        let message = subscriber.expect_message(&topic, text)?;
        subscriber.accept(&message)?;
    }
    subscriber.expect_silence(&mut publisher)
}

//= mqtt5 4.3.3-8 test
//= mqtt5 4.3.3-10 test
//= mqtt5 4.3.3-11 test
//= mqtt5 4.3.3-12 test
fn repeated_qos_2_message_is_delivered_once(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 2)?;
    let publish = Publish::new(&topic, "one").qos(2, 7);
    publisher.send(&publish)?;
    check(
        publisher.expect_pubrec(7)?.code < 0x80,
        "the PUBLISH was refused",
    )?;
    publisher.send(publish.clone().dup())?;
    check(
        publisher.expect_pubrec(7)?.code < 0x80,
        "the repetition was refused",
    )?;
    publisher.send(publish.clone().dup())?;
    check(
        publisher.expect_pubrec(7)?.code < 0x80,
        "the repetition was refused",
    )?;
    publisher.send(Acknowledge::pubrel(7))?;
    check_eq("reason of PUBCOMP", publisher.expect_pubcomp(7)?.code, 0)?;
    publisher.publish(&publish.dup())?;
    for _ in 0..2 {
        let message = subscriber.expect_message(&topic, "one")?;
        subscriber.accept(&message)?;
    }
    subscriber.expect_silence(&mut publisher)
}

//= mqtt5 4.3.3-4 test
//= mqtt5 2.2.1-5 test
//= mqtt5 3.6.2-1 test
fn pubrec_is_answered_with_pubrel(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 2)?;
    for code in [None, Some(0x00)] {
        publisher.publish(&Publish::new(&topic, "x").qos(2, 1))?;
        let message = subscriber.expect_message(&topic, "x")?;
        let pubrec = Acknowledge::pubrec(message.id);
        subscriber.send(match code {
            None => pubrec,
            Some(code) => pubrec.code(code),
        })?;
        let release = subscriber.expect_pubrel(message.id)?;
        check_eq("reason of PUBREL", release.code, 0)?;
        subscriber.send(Acknowledge::pubcomp(message.id).code(0).props(Props::new()))?;
        subscriber.expect_nothing()?;
    }
    Ok(())
}

//= mqtt5 4.4.0-2 test
//= mqtt5 4.3.3-4 test
fn refusing_pubrec_ends_the_delivery(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 2)?;
    for code in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
        publisher.publish(&Publish::new(&topic, "x").qos(2, 1))?;
        let message = subscriber.expect_message(&topic, "x")?;
        let why = Props::new().text(prop::REASON_STRING, "no").pair("a", "b");
        subscriber.send(Acknowledge::pubrec(message.id).code(code).props(why))?;
        subscriber
            .expect_nothing()
            .during("after a refusing PUBREC")?;
    }
    Ok(())
}

//= mqtt5 4.3.3-9 test
fn identifier_is_free_again_after_a_refusing_pubrec(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 2)?;
    // Well-formed, but deeper than many a broker wants to know about.
    let deep = format!("{topic}{}", "/".repeat(60_000));
    publisher.send(Publish::new(&deep, "x").qos(2, 7))?;
    let Ok(answer) = publisher.expect_pubrec(7) else {
        return skip("the broker closes instead of refusing the PUBLISH");
    };
    if answer.code < 0x80 {
        return skip("the broker refuses no PUBLISH that the suite knows of");
    }
    publisher.publish(&Publish::new(&topic, "y").qos(2, 7))?;
    let message = subscriber.expect_message(&topic, "y")?;
    subscriber.accept(&message)
}

//= mqtt5 3.7.2-1 test
//= mqtt5 3.6.2-1 test
//= mqtt5 2.2.1-5 test
fn acknowledgements_of_unknown_identifiers_are_not_fatal(target: &Target) -> Verdict {
    let mut client = target.client(V5)?;
    let fitting = |ack: Ack| check(matches!(ack.code, 0 | 0x92), "unfitting reason");
    client.send(Acknowledge::pubrel(77))?;
    fitting(client.expect_pubcomp(77)?).during("PUBCOMP")?;
    client.send(Acknowledge::pubrec(78))?;
    fitting(client.expect_pubrel(78)?).during("PUBREL")?;
    client.send(Acknowledge::pubcomp(78).code(0x92))?;
    client.send(Acknowledge::puback(79))?;
    client.expect_nothing()
}

//= mqtt5 4.3.3-13 test
fn qos_2_handshake_outlives_the_message(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let mut publisher = target.client(V5)?;
    let props = Props::new().u32(prop::MESSAGE_EXPIRY, 1);
    publisher.send(Publish::new(&target.topic("t"), "x").qos(2, 5).props(props))?;
    check(
        publisher.expect_pubrec(5)?.code < 0x80,
        "the PUBLISH was refused",
    )?;
    let_time_pass(Duration::from_millis(1_500));
    publisher.send(Acknowledge::pubrel(5))?;
    check_eq("reason of PUBCOMP", publisher.expect_pubcomp(5)?.code, 0)
}

//= mqtt5 4.4.0-1 test
fn nothing_is_repeated_within_a_connection(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 2)?;
    publisher.publish(&Publish::new(&topic, "one").qos(1, 1))?;
    publisher.publish(&Publish::new(&topic, "two").qos(2, 2))?;
    publisher.publish(&Publish::new(&topic, "three").qos(2, 3))?;
    subscriber.expect_message(&topic, "one")?;
    subscriber.expect_message(&topic, "two")?;
    let three = subscriber.expect_message(&topic, "three")?;
    subscriber.send(Acknowledge::pubrec(three.id))?;
    subscriber.expect_pubrel(three.id)?;
    subscriber.expect_quiet_for(Duration::from_millis(2_500))
}

//= mqtt5 4.6.0-5 test
//= mqtt5 4.6.0-6 test
fn messages_keep_their_order(target: &Target) -> Verdict {
    for qos in 0..=target.capabilities()?.maximum_qos {
        let (mut publisher, mut subscriber, topic) = pair(target, qos)?;
        let numbers = 0..60_u16;
        let mut pipeline = Pipeline::new(target)?;
        for number in numbers.clone() {
            let publish = Publish::new(&topic, number.to_string()).qos(qos, number + 1);
            if qos == 1 {
                pipeline.send(&mut publisher, &publish)?;
            } else {
                publisher.publish(&publish)?;
            }
        }
        for number in numbers {
            let message = subscriber.expect_message(&topic, number.to_string())?;
            check_eq("QoS", message.qos, qos)?;
            subscriber.accept(&message)?;
        }
        pipeline.finish(&mut publisher)?;
    }
    Ok(())
}

//= mqtt5 4.6.0-5 test
//= mqtt5 4.5.0-1 test
fn every_subscriber_gets_every_publishers_order(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut subscribers = Vec::new();
    for _ in 0..4 {
        let mut subscriber = target.client(V5)?;
        subscriber.subscribe(&topic, 1)?;
        subscribers.push(subscriber);
    }
    let (mut one, mut two) = (target.client(V5)?, target.client(V5)?);
    let (mut ones, mut twos) = (Pipeline::new(target)?, Pipeline::new(target)?);
    for number in 0..25_u16 {
        let publish = |name| Publish::new(&topic, format!("{name} {number:02}"));
        ones.send(&mut one, &publish("one").qos(1, number + 1))?;
        twos.send(&mut two, &publish("two").qos(1, number + 1))?;
    }
    for subscriber in &mut subscribers {
        let mut texts = Vec::new();
        for _ in 0..50 {
            let message = subscriber.expect_publish()?;
            subscriber.accept(&message)?;
            texts.push(message.text());
        }
        for publisher in ["one", "two"] {
            let got: Vec<&String> = texts.iter().filter(|t| t.starts_with(publisher)).collect();
            check(
                got.len() == 25 && got.is_sorted(),
                "messages are lost or out of order",
            )?;
        }
    }
    ones.finish(&mut one)?;
    twos.finish(&mut two)
}

//= mqtt5 3.4.2-1 test
//= mqtt5 3.5.2-1 test
//= mqtt5 3.6.2-1 test
//= mqtt5 3.7.2-1 test
//= mqtt5 4.13.1-1 test
fn wrong_acknowledgements_close(target: &Target) -> Verdict {
    let new = Props::new;
    let foreign = || new().u32(prop::MESSAGE_EXPIRY, 1);
    let twice = || {
        new()
            .text(prop::REASON_STRING, "a")
            .text(prop::REASON_STRING, "a")
    };
    let acks = [
        Acknowledge::puback as fn(u16) -> Acknowledge,
        Acknowledge::pubrec,
        Acknowledge::pubrel,
        Acknowledge::pubcomp,
    ];
    let mut packets: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, ack) in ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"]
        .into_iter()
        .zip(acks)
    {
        let first = ack(9).first_byte();
        let mut add = |what: &str, bytes: Vec<u8>| packets.push((format!("{name} {what}"), bytes));
        add("with an unlisted reason", vec![first, 3, 0, 9, 0x18]);
        add("without identifier", vec![first, 0]);
        add("with half an identifier", vec![first, 1, 0]);
        add("for identifier 0", vec![first, 2, 0, 0]);
        add("with surplus bytes", vec![first, 5, 0, 9, 0, 0, 0]);
        add(
            "with properties beyond the packet",
            vec![first, 4, 0, 9, 0, 7],
        );
        add(
            "with a foreign property",
            crate::wire::Encode::encode(&ack(9).props(foreign()), V5),
        );
        add(
            "with two reason strings",
            crate::wire::Encode::encode(&ack(9).props(twice()), V5),
        );
    }
    crate::v5::support::each(packets, |(what, bytes)| {
        crate::v5::support::closes(target, &what, bytes, &[])
    })
}
