//! What brokers get wrong outside of single statements: hostile and slow peers, and the others'
//! peace beside them.

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq};
use crate::harness::{Client, Target};
use crate::v5::support::{Pipeline, closes, collect, each, end_session, persistent, texts};
use crate::wire::{Acknowledge, Connect, Encode, Ping, Props, Publish, Subscribe, prop};

pub(crate) const CASES: &[Case] = &[
    case!(V5, errors_of_one_client_leave_the_others_alone, "4.13.1-1"),
    case!(V5, announced_lengths_cost_nothing, "4.13.1-1"),
    case!(V5, stalled_reader_does_not_hold_up_the_others, "4.5.0-1"),
    case!(
        V5,
        offline_queue_keeps_a_thousand_messages,
        "4.5.0-1",
        "4.3.2-4"
    ),
    case!(
        V5,
        resuming_while_messages_arrive_keeps_order,
        "3.2.0-1",
        "4.6.0-6"
    ),
    case!(
        V5,
        takeovers_in_quick_succession_leave_one_connection,
        "3.1.4-3"
    ),
    case!(
        V5,
        qos_2_identifiers_are_kept_per_client,
        "4.3.3-10",
        "4.3.3-12"
    ),
    case!(
        V5,
        identifiers_of_both_directions_are_independent,
        "2.2.1-5",
        "2.2.1-4"
    ),
    case!(
        V5,
        packets_cut_off_by_the_network_are_not_processed,
        "4.13.1-1"
    ),
    case!(V5, empty_and_large_payloads_arrive_whole, "3.3.4-1"),
    case!(
        V5,
        flood_of_small_packets_is_answered,
        "3.12.4-1",
        "3.8.4-1"
    ),
];

//= mqtt5 4.13.1-1 test
fn errors_of_one_client_leave_the_others_alone(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let mut subscriber = target.client(V5)?;
    subscriber.subscribe(&topic, 1)?;
    // Each is a whole packet by its own length, so that nobody waits for the rest of it.
    let mut request = b"GET / HTTP/1.1\r\n".to_vec();
    request.resize(100, b'x');
    let bad = [
        ("bytes FF", vec![0xFF; 40]),
        ("type 0", vec![0x00, 0x00]),
        ("a PUBLISH of FF", vec![0x30, 2, 0xFF, 0xFF]),
        ("a wrong AUTH", vec![0xF0, 1, 0x77]),
        ("a request of HTTP", request),
    ];
    for (what, bytes) in bad {
        closes(target, what, &bytes, &[0x90, 0x95])?;
        let mut unconnected = target.open(V5)?;
        unconnected.send(bytes)?;
        publisher.publish_acked(&topic, "x")?;
        let message = subscriber.expect_message(&topic, "x")?;
        subscriber.accept(&message)?;
    }
    Ok(())
}

//= mqtt5 4.13.1-1 test
fn announced_lengths_cost_nothing(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0)?;
    // 256 MiB announced on each of many connections: if a broker reserved that, it would be gone.
    let mut greedy = Vec::new();
    for _ in 0..40 {
        let mut connection = target.client(V5)?;
        connection.send([0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'x'])?;
        greedy.push(connection);
    }
    let mut unconnected = target.open(V5)?;
    unconnected.send([0x10, 0xFF, 0xFF, 0xFF, 0x7F])?;
    client.send(Publish::new(&topic, "x"))?;
    client.expect_message(&topic, "x").map(drop)
}

//= mqtt5 4.5.0-1 test
fn stalled_reader_does_not_hold_up_the_others(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut stalled = target.client(V5)?;
    stalled.subscribe(&topic, 0)?;
    let mut reader = target.client(V5)?;
    reader.subscribe(&topic, 1)?;
    let mut publisher = target.client(V5)?;
    publisher.be_patient();
    reader.be_patient();
    let payload = "x".repeat(64 * 1024);
    // More than the socket buffers of the one that never reads.
    for number in 1..=160 {
        publisher.send(Publish::new(&topic, &payload).qos(1, number))?;
        let message = reader.expect_publish()?;
        reader.accept(&message)?;
        publisher.expect_puback(number)?;
    }
    Ok(())
}

//= mqtt5 4.5.0-1 test
//= mqtt5 4.3.2-4 test
fn offline_queue_keeps_a_thousand_messages(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut subscriber, _) = persistent(target, Connect::v5(&id))?;
    subscriber.subscribe(&topic, 1)?;
    subscriber.disconnect()?;
    let mut publisher = target.client(V5)?;
    let mut pipeline = Pipeline::new(target)?;
    for number in 0..1_000_u16 {
        let publish = Publish::new(&topic, number.to_string()).qos(1, number + 1);
        pipeline.send(&mut publisher, &publish)?;
    }
    pipeline.finish(&mut publisher)?;
    let props = Props::new().u16(prop::RECEIVE_MAXIMUM, 10);
    let (mut subscriber, _) = persistent(target, Connect::v5(&id).resume().props(props))?;
    let got = texts(&collect(&mut subscriber, &mut publisher)?);
    // A bounded queue may refuse, but not what has been acknowledged, nor change the order.
    check(
        got.iter()
            .map(|text| text.parse::<u32>().unwrap_or(0))
            .is_sorted(),
        "out of order",
    )?;
    check_eq("messages from the queue", got.len(), 1_000)?;
    end_session(target, &id)
}

//= mqtt5 3.2.0-1 test
//= mqtt5 4.6.0-6 test
fn resuming_while_messages_arrive_keeps_order(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut subscriber, _) = persistent(target, Connect::v5(&id))?;
    subscriber.subscribe(&topic, 1)?;
    let mut publisher = target.client(V5)?;
    let mut seen: Vec<u32> = Vec::new();
    let mut next = 0_u16;
    let mut pipeline = Pipeline::new(target)?;
    for _ in 0..6 {
        for _ in 0..15 {
            let publish = Publish::new(&topic, next.to_string()).qos(1, next + 1);
            pipeline.send(&mut publisher, &publish)?;
            next += 1;
        }
        // Only some are acknowledged before the connection breaks.
        for _ in 0..5 {
            take_one(&mut subscriber, &mut seen)?;
        }
        subscriber.sever();
        // `connect` fails unless CONNACK comes first.
        subscriber = persistent(target, Connect::v5(&id).resume())?.0;
    }
    while seen.last() != Some(&(u32::from(next) - 1)) {
        take_one(&mut subscriber, &mut seen)?;
    }
    // Repetitions are allowed, but without them the order is that of the publisher.
    let mut first_seen: Vec<u32> = Vec::new();
    for number in seen {
        if !first_seen.contains(&number) {
            first_seen.push(number);
        }
    }
    check_eq(
        "order of first arrival",
        first_seen,
        (0..u32::from(next)).collect(),
    )?;
    pipeline.finish(&mut publisher)?;
    end_session(target, &id)
}

fn take_one(subscriber: &mut Client, seen: &mut Vec<u32>) -> Verdict {
    let message = subscriber.expect_publish()?;
    seen.push(message.text().parse().unwrap_or(u32::MAX));
    subscriber.accept(&message)
}

//= mqtt5 3.1.4-3 test
fn takeovers_in_quick_succession_leave_one_connection(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut old = Vec::new();
    let (mut newest, _) = persistent(target, Connect::v5(&id))?;
    newest.subscribe(&topic, 1)?;
    for _ in 0..10 {
        let (next, connack) = persistent(target, Connect::v5(&id).resume())?;
        check(connack.session_present, "the session is gone")?;
        old.push(std::mem::replace(&mut newest, next));
    }
    for connection in &mut old {
        connection.expect_close()?;
    }
    newest.publish_acked(&topic, "x")?;
    let message = newest.expect_message(&topic, "x")?;
    newest.accept(&message)?;
    newest.expect_nothing()?;
    end_session(target, &id)
}

//= mqtt5 4.3.3-10 test
//= mqtt5 4.3.3-12 test
fn qos_2_identifiers_are_kept_per_client(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let topic = target.topic("t");
    let mut subscriber = target.client(V5)?;
    subscriber.subscribe(&topic, 0)?;
    let (mut one, mut two) = (target.client(V5)?, target.client(V5)?);
    // The same identifier is in use on both, and on both sides.
    one.send(Publish::new(&topic, "one").qos(2, 1))?;
    one.expect_pubrec(1)?;
    two.send(Publish::new(&topic, "two").qos(2, 1))?;
    two.expect_pubrec(1)?;
    for client in [&mut one, &mut two] {
        client.send(Acknowledge::pubrel(1))?;
        client.expect_pubcomp(1)?;
    }
    let mut got = vec![
        subscriber.expect_publish()?.text(),
        subscriber.expect_publish()?.text(),
    ];
    got.sort();
    check_eq("messages", got, vec!["one".to_owned(), "two".into()])
}

//= mqtt5 2.2.1-5 test
//= mqtt5 2.2.1-4 test
fn identifiers_of_both_directions_are_independent(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 2)?;
    // The server's first identifiers are most likely the same numbers.
    for id in 1..=3 {
        client.send(Publish::new(&topic, id.to_string()).qos(2, id))?;
        client.expect_pubrec(id)?;
        client.send(Acknowledge::pubrel(id))?;
        client.expect_pubcomp(id)?;
    }
    for id in 1..=3 {
        let message = client.expect_message(&topic, id.to_string())?;
        client.accept(&message)?;
    }
    client.expect_nothing()
}

//= mqtt5 4.13.1-1 test
fn packets_cut_off_by_the_network_are_not_processed(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut subscriber = target.client(V5)?;
    subscriber.subscribe(&topic, 0)?;
    let id = target.id();
    let whole = Publish::new(&topic, "cut off").encode(V5);
    let (mut client, _) = target.connect(&Connect::v5(&id))?;
    client.send(whole.get(..whole.len() - 1).unwrap_or_default().to_vec())?;
    client.close_sending();
    client.expect_close()?;
    let (mut again, _) = target.connect(&Connect::v5(&id))?;
    subscriber.expect_silence(&mut again)
}

//= mqtt5 3.3.4-1 test
fn empty_and_large_payloads_arrive_whole(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.be_patient();
    client.subscribe(&topic, 2)?;
    let most = target.capabilities()?.maximum_packet_size.min(300_000) as usize;
    each([0, 1, 4_096, 65_535, 65_536, 262_144], |length| {
        if length + topic.len() + 20 > most {
            return Ok(());
        }
        let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
        for qos in 0..=target.capabilities()?.maximum_qos {
            client.publish(&Publish::new(&topic, &payload).qos(qos, 1))?;
            let message = client.expect_message(&topic, &payload)?;
            check(message.payload == payload, "the payload was changed")?;
            client.accept(&message)?;
        }
        Ok(())
    })
}

//= mqtt5 3.12.4-1 test
//= mqtt5 3.8.4-1 test
fn flood_of_small_packets_is_answered(target: &Target) -> Verdict {
    let mut client = target.client(V5)?;
    client.be_patient();
    let mut bytes = Vec::new();
    for id in 1..=500 {
        bytes.extend(Ping.encode(V5));
        bytes.extend(Subscribe::new(id).filter("flood/filter", 0).encode(V5));
    }
    client.send(bytes)?;
    for id in 1..=500 {
        client.expect_pingresp()?;
        client.expect_suback(id).during("in order")?;
    }
    client.expect_nothing()
}
