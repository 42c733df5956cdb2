//! Receive Maximum and Maximum Packet Size (sections 3.1.2.11.3, 3.1.2.11.4 and 4.9).

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq, skip};
use crate::harness::{Client, Target};
use crate::v5::support::{closes, end_session, persistent};
use crate::wire::{
    Acknowledge, Bytes, Connect, Packet, Ping, Props, Publish, Subscribe, Unsubscribe, packet,
    prop, varint,
};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        server_respects_the_receive_maximum,
        "3.3.4-9",
        "4.9.0-1",
        "4.9.0-2"
    ),
    case!(
        V5,
        refusing_acknowledgements_free_the_window,
        "3.3.4-9",
        "4.9.0-2"
    ),
    case!(
        V5,
        surplus_acknowledgements_do_not_widen_the_window,
        "4.9.0-2"
    ),
    case!(
        V5,
        full_window_holds_back_only_publishes,
        "3.3.4-10",
        "4.9.0-3"
    ),
    case!(
        V5,
        repeated_messages_count_against_the_window,
        "3.3.4-9",
        "4.4.0-1"
    ),
    case!(
        V5,
        used_up_window_queues_instead_of_dropping,
        "3.3.4-9",
        "4.5.0-1"
    ),
    case!(
        V5,
        exceeding_the_servers_receive_maximum_closes,
        "3.3.4-7",
        "4.13.1-1"
    ),
    case!(
        V5,
        servers_receive_maximum_counts_open_handshakes,
        "3.3.4-7",
        "4.9.0-3"
    ),
    case!(
        V5,
        too_large_messages_are_dropped_for_the_client,
        "3.1.2-24",
        "3.1.2-25"
    ),
    case!(
        V5,
        too_large_message_in_the_queue_is_passed_over,
        "3.1.2-24",
        "3.1.2-25"
    ),
    case!(
        V5,
        connack_respects_the_maximum_packet_size,
        "3.1.2-24",
        "3.2.2-19",
        "3.2.2-20"
    ),
    case!(
        V5,
        answers_respect_the_maximum_packet_size,
        "3.1.2-24",
        "3.4.2-2",
        "3.4.2-3",
        "3.5.2-2",
        "3.5.2-3",
        "3.6.2-2",
        "3.6.2-3",
        "3.7.2-2",
        "3.7.2-3",
        "3.9.2-1",
        "3.9.2-2",
        "3.11.2-1",
        "3.11.2-2",
        "3.14.2-3",
        "3.14.2-4"
    ),
    case!(
        V5,
        packet_above_the_servers_maximum_closes,
        "3.2.2-15",
        "4.13.1-1"
    ),
];

fn receive_maximum(value: u16) -> Props {
    Props::new().u16(prop::RECEIVE_MAXIMUM, value)
}

fn packet_size(value: u32) -> Props {
    Props::new().u32(prop::MAXIMUM_PACKET_SIZE, value)
}

/// A publisher and a subscriber at QoS 2 with this Receive Maximum.
fn pair(target: &Target, maximum: u16) -> Verdict<(Client, Client, String)> {
    target.needs_qos(2)?;
    let topic = target.topic("t");
    let publisher = target.client(V5)?;
    let connect = Connect::v5(&target.id()).props(receive_maximum(maximum));
    let (mut subscriber, _) = target.connect(&connect)?;
    subscriber.subscribe(&topic, 2)?;
    Ok((publisher, subscriber, topic))
}

//= mqtt5 3.3.4-9 test
//= mqtt5 4.9.0-1 test
//= mqtt5 4.9.0-2 test
fn server_respects_the_receive_maximum(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 2)?;
    for number in 0..8 {
        let id = publisher.fresh_id();
        let qos = 1 + u8::from(number % 2 == 1);
        publisher.publish(&Publish::new(&topic, number.to_string()).qos(qos, id))?;
    }
    // What does not fit is queued, not dropped; each completed handshake lets one more through.
    let mut open = vec![
        subscriber.expect_message(&topic, "0")?,
        subscriber.expect_message(&topic, "1")?,
    ];
    subscriber.expect_nothing().during("the window is full")?;
    for number in 2..8 {
        let message = open.remove(0);
        if message.qos == 2 {
            subscriber.send(Acknowledge::pubrec(message.id))?;
            subscriber.expect_pubrel(message.id)?;
            subscriber
                .expect_nothing()
                .during("PUBREC below 0x80 frees nothing")?;
            subscriber.send(Acknowledge::pubcomp(message.id))?;
        } else {
            subscriber.accept(&message)?;
        }
        open.push(subscriber.expect_message(&topic, number.to_string())?);
        subscriber
            .expect_nothing()
            .during("the window is full again")?;
    }
    Ok(())
}

//= mqtt5 3.3.4-9 test
//= mqtt5 4.9.0-2 test
fn refusing_acknowledgements_free_the_window(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 1)?;
    for (number, qos) in [1, 2, 2, 1, 1].into_iter().enumerate() {
        let id = publisher.fresh_id();
        publisher.publish(&Publish::new(&topic, number.to_string()).qos(qos, id))?;
    }
    for number in 0..5 {
        let message = subscriber.expect_message(&topic, number.to_string())?;
        subscriber.expect_nothing().during("the window is full")?;
        subscriber.send(match message.qos {
            2 => Acknowledge::pubrec(message.id).code(0x80),
            _ => Acknowledge::puback(message.id).code(0x80),
        })?;
    }
    subscriber.expect_nothing()
}

//= mqtt5 4.9.0-2 test
fn surplus_acknowledgements_do_not_widen_the_window(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 1)?;
    for id in [100, 101, 102] {
        subscriber.send(Acknowledge::puback(id))?;
        subscriber.send(Acknowledge::pubcomp(id))?;
    }
    for number in 0..3 {
        publisher.publish_acked(&topic, &number.to_string())?;
    }
    for number in 0..3 {
        let message = subscriber.expect_message(&topic, number.to_string())?;
        subscriber.expect_nothing().during("the window is full")?;
        subscriber.accept(&message)?;
    }
    Ok(())
}

//= mqtt5 3.3.4-10 test
//= mqtt5 4.9.0-3 test
fn full_window_holds_back_only_publishes(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 1)?;
    publisher.publish_acked(&topic, "one")?;
    publisher.publish_acked(&topic, "two")?;
    let one = subscriber.expect_message(&topic, "one")?;
    subscriber.send(Ping)?;
    subscriber.expect_pingresp()?;
    subscriber.subscribe("some/other/filter", 1)?;
    subscriber.send(Unsubscribe::new(9).filter("some/other/filter"))?;
    subscriber.expect_unsuback(9)?;
    subscriber.publish(&Publish::new(&target.topic("x"), "x").qos(1, 10))?;
    subscriber.publish(&Publish::new(&target.topic("x"), "x").qos(2, 11))?;
    // QoS 0 costs no quota, but a server may suspend it, too, while there is none.
    publisher.send(Publish::new(&topic, "zero"))?;
    publisher.expect_alive()?;
    subscriber.accept(&one)?;
    let mut rest = vec![
        subscriber.expect_publish()?.text(),
        subscriber.expect_publish()?.text(),
    ];
    rest.sort();
    check_eq(
        "what was held back",
        rest,
        vec!["two".to_owned(), "zero".into()],
    )
}

//= mqtt5 3.3.4-9 test
//= mqtt5 4.4.0-1 test
fn repeated_messages_count_against_the_window(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut publisher = target.client(V5)?;
    let (mut subscriber, _) = persistent(target, Connect::v5(&id))?;
    subscriber.subscribe(&topic, 1)?;
    for number in 0..5 {
        publisher.publish_acked(&topic, &number.to_string())?;
        subscriber.expect_message(&topic, number.to_string())?;
    }
    // The new connection allows fewer than are waiting.
    let connect = Connect::v5(&id).resume().props(receive_maximum(2));
    let (mut subscriber, _) = persistent(target, connect)?;
    let mut open = vec![
        subscriber.expect_message(&topic, "0")?,
        subscriber.expect_message(&topic, "1")?,
    ];
    subscriber.expect_nothing().during("the window is full")?;
    for number in 2..5 {
        subscriber.accept(&open.remove(0))?;
        open.push(subscriber.expect_message(&topic, number.to_string())?);
    }
    end_session(target, &id)
}

//= mqtt5 3.3.4-9 test
//= mqtt5 4.5.0-1 test
fn used_up_window_queues_instead_of_dropping(target: &Target) -> Verdict {
    let (mut publisher, mut subscriber, topic) = pair(target, 1)?;
    for number in 0..100_u16 {
        publisher.send(Publish::new(&topic, number.to_string()).qos(1, number + 1))?;
        publisher.expect_puback(number + 1)?;
    }
    for number in 0..100 {
        let message = subscriber.expect_message(&topic, number.to_string())?;
        subscriber.accept(&message)?;
    }
    subscriber.expect_nothing()
}

//= mqtt5 3.3.4-7 test
//= mqtt5 4.13.1-1 test
fn exceeding_the_servers_receive_maximum_closes(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let maximum = target.capabilities()?.receive_maximum;
    if maximum > 2_000 {
        return skip("the broker announces no small Receive Maximum");
    }
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    for id in 1..=maximum {
        client.send(Publish::new(&topic, "x").qos(2, id))?;
        client.expect_pubrec(id)?;
    }
    client.expect_nothing().during("exactly the maximum")?;
    client.send(Publish::new(&topic, "x").qos(2, maximum + 1))?;
    client.expect_closed_with(&[0x93])
}

//= mqtt5 3.3.4-7 test
//= mqtt5 4.9.0-3 test
fn servers_receive_maximum_counts_open_handshakes(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let maximum = target.capabilities()?.receive_maximum.min(2_000);
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    for id in 1..=maximum {
        client.send(Publish::new(&topic, "x").qos(2, id))?;
        client.expect_pubrec(id)?;
    }
    // A repeated identifier is the same message; QoS 0 and other packets are free.
    client.send(Publish::new(&topic, "x").qos(2, 1).dup())?;
    client.expect_pubrec(1)?;
    client.send(Publish::new(&topic, "x"))?;
    client.subscribe("a/filter", 0)?;
    client.send(Acknowledge::pubrel(1))?;
    client.expect_pubcomp(1)?;
    client.publish(&Publish::new(&topic, "x").qos(1, maximum + 1))?;
    client.publish(&Publish::new(&topic, "x").qos(2, maximum + 2))?;
    client.expect_nothing()
}

//= mqtt5 3.1.2-24 test
//= mqtt5 3.1.2-25 test
fn too_large_messages_are_dropped_for_the_client(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let (_, connack) = target.connect(&Connect::v5(&target.id()))?;
    let limit = 200.max(connack.size);
    let props = packet_size(u32::try_from(limit).unwrap_or(u32::MAX));
    let props = props.u16(prop::RECEIVE_MAXIMUM, 1);
    let (mut small, _) = target.connect(&Connect::v5(&target.id()).props(props))?;
    small.subscribe(&topic, 1)?;
    let mut large = target.client(V5)?;
    large.subscribe(&topic, 1)?;
    // Topic with its length, packet identifier, property length, payload.
    let overhead = 2 + topic.len() + 2 + 1;
    let body = (0..limit).rev().find(|n| 1 + varint(*n).len() + n == limit);
    let Some(body) = body else {
        return skip("no packet has exactly this size");
    };
    let fits = "f".repeat(body - overhead);
    let exceeds = "e".repeat(body - overhead + 1);
    let huge = "h".repeat(10 * limit);
    for text in [&exceeds, &fits, &huge, &exceeds, &fits] {
        publisher.publish_acked(&topic, text)?;
        let message = large.expect_message(&topic, text)?;
        large.accept(&message)?;
    }
    // The window of one message is not used up by what was dropped.
    for _ in 0..2 {
        let message = small.expect_message(&topic, &fits)?;
        check_eq("size of the PUBLISH", message.size, limit)?;
        small.accept(&message)?;
    }
    small.expect_silence(&mut publisher)
}

//= mqtt5 3.1.2-24 test
//= mqtt5 3.1.2-25 test
fn too_large_message_in_the_queue_is_passed_over(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut subscriber, connack) = persistent(target, Connect::v5(&id))?;
    subscriber.subscribe(&topic, 1)?;
    subscriber.disconnect()?;
    let mut publisher = target.client(V5)?;
    let limit = 200.max(connack.size);
    for text in ["before", &"x".repeat(limit), "after"] {
        publisher.publish_acked(&topic, text)?;
    }
    let props = packet_size(u32::try_from(limit).unwrap_or(u32::MAX));
    let (mut subscriber, _) = persistent(target, Connect::v5(&id).resume().props(props))?;
    for text in ["before", "after"] {
        let message = subscriber.expect_message(&topic, text)?;
        subscriber.accept(&message)?;
    }
    subscriber.expect_nothing()?;
    end_session(target, &id)
}

//= mqtt5 3.1.2-24 test
//= mqtt5 3.2.2-19 test
//= mqtt5 3.2.2-20 test
fn connack_respects_the_maximum_packet_size(target: &Target) -> Verdict {
    for limit in [5, 10, 20, 40, 80] {
        let mut client = target.open(V5)?;
        client.send(Connect::v5(&target.id()).props(packet_size(limit)))?;
        if let Some(connack) = client.expect_close_or_connack()? {
            check(
                connack.size <= limit as usize,
                "CONNACK is larger than the client allows",
            )?;
        }
    }
    Ok(())
}

//= mqtt5 3.1.2-24 test
//= mqtt5 3.4.2-2 test
//= mqtt5 3.4.2-3 test
//= mqtt5 3.5.2-2 test
//= mqtt5 3.5.2-3 test
//= mqtt5 3.6.2-2 test
//= mqtt5 3.6.2-3 test
//= mqtt5 3.7.2-2 test
//= mqtt5 3.7.2-3 test
//= mqtt5 3.9.2-1 test
//= mqtt5 3.9.2-2 test
//= mqtt5 3.11.2-1 test
//= mqtt5 3.11.2-2 test
//= mqtt5 3.14.2-3 test
//= mqtt5 3.14.2-4 test
fn answers_respect_the_maximum_packet_size(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    // The smallest limit that lets CONNACK through leaves room for few words in the answers, which
    // are chosen so that a broker has something to say: nobody subscribed, nothing found.
    let id = target.id();
    let (_, connack) = target.connect(&Connect::v5(&id))?;
    let limit = connack.size;
    let props = packet_size(u32::try_from(limit).unwrap_or(u32::MAX));
    let (mut client, _) = target.connect(&Connect::v5(&id).props(props))?;
    let within = |what: &str, size: usize| check(size <= limit, what);
    let topic = target.topic("nobody");
    client.send(Publish::new(&topic, "x").qos(1, 1))?;
    within("PUBACK is too large", client.expect_puback(1)?.size)?;
    client.send(Publish::new(&topic, "x").qos(2, 2))?;
    within("PUBREC is too large", client.expect_pubrec(2)?.size)?;
    client.send(Acknowledge::pubrel(2))?;
    within("PUBCOMP is too large", client.expect_pubcomp(2)?.size)?;
    client.send(Acknowledge::pubrel(77))?;
    within("PUBCOMP is too large", client.expect_pubcomp(77)?.size)?;
    client.send(Acknowledge::pubrec(78))?;
    within("PUBREL is too large", client.expect_pubrel(78)?.size)?;
    client.send(Subscribe::new(3).filter(&topic, 0))?;
    within("SUBACK is too large", client.expect_suback(3)?.size)?;
    client.send(Unsubscribe::new(4).filter("not/subscribed"))?;
    within("UNSUBACK is too large", client.expect_unsuback(4)?.size)?;
    client.send(Publish::new("bad/#", "x"))?;
    match client.expect_close()? {
        Some(ended) => within("DISCONNECT is too large", ended.size),
        None => Ok(()),
    }
}

//= mqtt5 3.2.2-15 test
//= mqtt5 4.13.1-1 test
fn packet_above_the_servers_maximum_closes(target: &Target) -> Verdict {
    let maximum = target.capabilities()?.maximum_packet_size;
    if maximum > 16 * 1024 * 1024 {
        return skip("the broker announces no small Maximum Packet Size");
    }
    let limit = maximum as usize;
    let topic = target.topic("t");
    let head = Bytes::new().string(&topic).u8(0).0;
    let Some(body) = (0..limit).rev().find(|n| 1 + varint(*n).len() + n == limit) else {
        return skip("no packet has exactly this size");
    };
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0)?;
    client.send(Publish::new(&topic, vec![b'x'; body - head.len()]))?;
    match client.next("PUBLISH").during("exactly the maximum")? {
        Packet::Publish(message) => check_eq("size", message.size, limit)?,
        Packet::ConnAck(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => {
            return crate::case::fail("a packet of exactly the maximum was refused");
        }
    }
    // Only the beginning: the length says enough.
    let mut start = vec![0x30];
    start.extend(varint(body + 1));
    start.extend(&head);
    closes(target, "one byte above the maximum", start, &[0x95])?;
    let whole = packet(
        0x30,
        &[&head[..], &vec![b'x'; body - head.len() + 1]].concat(),
    );
    closes(
        target,
        "one byte above the maximum, all of it",
        whole,
        &[0x95],
    )
}
