//! Sessions that outlive their connection, and those that do not (sections 3.1.2.4 and 4.1).

use super::{about, client, forget, persistent};
use crate::case::{Case, Verdict, Version, check, check_eq};
use crate::harness::{Client, Target};
use crate::wire::{Acknowledge, Connect, Encode, Publish, Subscribe};

cases! {
    offline_session_queues_qos_1_and_2: ["3.1.2-5", "4.1.0-1", "3.1.2-4"];
    offline_session_may_skip_qos_0: ["3.1.2-5"];
    five_hundred_offline_messages_arrive_in_order: ["3.1.2-5", "4.6.0-6"];
    offline_messages_wait_for_their_acknowledgement: ["3.1.2-5", "4.1.0-1"];
    subscriptions_outlive_the_connection: ["3.1.2-4", "4.1.0-1"];
    clean_session_discards_stored_state: ["3.1.2-6", "3.1.4-3"];
    clean_session_ends_with_its_connection: ["3.1.2-6", "3.2.2-3"];
    clean_session_forgets_half_received_messages: ["3.1.2-6"];
    session_belongs_to_the_client_id: ["3.1.3-2"];
    session_lives_as_long_as_its_connection: ["4.1.0-2"];
    takeover_hands_over_the_session: ["3.1.4-2", "3.1.2-4", "4.1.0-1"];
    clean_takeover_discards_the_session: ["3.1.4-2", "3.1.2-6"];
    messages_while_going_offline_are_not_lost: ["3.1.2-5", "4.5.0-1"];
}

/// A session under this id that is subscribed and offline.
fn offline(target: &Target, id: &str, filter: &str, qos: u8) -> Verdict {
    let (mut client, _) = persistent(target, id)?;
    client.subscribe(filter, qos)?;
    client.disconnect()
}

/// Ends the connection and the session.
fn end(target: &Target, mut client: Client, id: &str) -> Verdict {
    client.disconnect()?;
    forget(target, id)
}

//= mqtt311 3.1.2-5 test
//= mqtt311 4.1.0-1 test
//= mqtt311 3.1.2-4 test
fn offline_session_queues_qos_1_and_2(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for abnormal in [false, true] {
        for qos in 1..3 {
            let (id, topic) = (target.id(), target.topic("t"));
            let (mut first, _) = persistent(target, &id)?;
            first.subscribe(&topic, 2)?;
            if abnormal {
                first.sever();
            } else {
                first.disconnect()?;
            }
            for payload in ["1", "2", "3"] {
                publisher.publish(&Publish::new(&topic, payload).qos(qos, 1_000))?;
            }
            let (mut back, present) = persistent(target, &id)?;
            check(present, "the session is gone")?;
            for payload in ["1", "2", "3"] {
                let message = back.expect_message(&topic, payload)?;
                check_eq("QoS", message.qos, qos)?;
                back.accept(&message)?;
            }
            back.expect_silence(&mut publisher)?;
            end(target, back, &id)?;
        }
    }
    Ok(())
}

/// Whether QoS 0 is queued is the broker's choice; it must not upset the others.
//= mqtt311 3.1.2-5 test
fn offline_session_may_skip_qos_0(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    offline(target, &id, &topic, 1)?;
    let mut publisher = client(target)?;
    for round in 0..5 {
        publisher.send(Publish::new(&topic, "maybe"))?;
        publisher.publish_acked(&topic, &round.to_string())?;
    }
    let (mut back, _) = persistent(target, &id)?;
    let mut sure = Vec::new();
    while sure.len() < 5 {
        let message = back.expect_publish()?;
        back.accept(&message)?;
        if message.text() == "maybe" {
            check_eq("QoS", message.qos, 0)?;
        } else {
            sure.push(message.text());
        }
    }
    check_eq("QoS 1 messages", sure.concat().as_str(), "01234")?;
    end(target, back, &id)
}

//= mqtt311 3.1.2-5 test
//= mqtt311 4.6.0-6 test
fn five_hundred_offline_messages_arrive_in_order(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    offline(target, &id, &topic, 1)?;
    let mut publisher = client(target)?;
    for number in 0..500 {
        publisher.publish_acked(&topic, &number.to_string())?;
    }
    let (mut back, _) = persistent(target, &id)?;
    for number in 0..500 {
        let message = back.expect_message(&topic, number.to_string())?;
        check_eq("DUP", message.dup, false)?;
        back.accept(&message)?;
    }
    back.expect_nothing()?;
    end(target, back, &id)
}

//= mqtt311 3.1.2-5 test
//= mqtt311 4.1.0-1 test
fn offline_messages_wait_for_their_acknowledgement(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    offline(target, &id, &topic, 1)?;
    let mut publisher = client(target)?;
    publisher.publish_acked(&topic, "x")?;
    for round in 0..3 {
        let (mut back, _) = persistent(target, &id)?;
        let message = back.expect_message(&topic, "x")?;
        check_eq("DUP", message.dup, round > 0)?;
        back.sever();
    }
    let (mut back, _) = persistent(target, &id)?;
    let message = back.expect_message(&topic, "x")?;
    back.accept(&message)?;
    end(target, back, &id)
}

//= mqtt311 3.1.2-4 test
//= mqtt311 4.1.0-1 test
fn subscriptions_outlive_the_connection(target: &Target) -> Verdict {
    let (id, base) = (target.id(), target.topic("t"));
    let (mut first, _) = persistent(target, &id)?;
    let subscribe = Subscribe::new(1)
        .filter(&format!("{base}/+/0"), 0)
        .filter(&format!("{base}/1/#"), 1)
        .filter(&format!("{base}/2"), 2);
    first.send(subscribe)?;
    first.expect_suback(1)?;
    first.disconnect()?;
    let mut publisher = client(target)?;
    for round in 0..2 {
        let (mut back, present) = persistent(target, &id)?;
        check(present, "the session is gone")?;
        for (level, qos) in [("x/0", 0), ("1", 1), ("2", 2)] {
            let topic = format!("{base}/{level}");
            publisher.publish(&Publish::new(&topic, "x").qos(2, 1_000))?;
            let message = about(&format!("round {round}"), back.expect_message(&topic, "x"))?;
            check_eq("QoS", message.qos, qos)?;
            back.accept(&message)?;
        }
        back.expect_silence(&mut publisher)?;
        // The broker has read the last PUBACK before the connection breaks.
        back.expect_alive()?;
        back.sever();
    }
    forget(target, &id)
}

//= mqtt311 3.1.2-6 test
//= mqtt311 3.1.4-3 test
fn clean_session_discards_stored_state(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    offline(target, &id, &topic, 1)?;
    let mut publisher = client(target)?;
    publisher.publish_acked(&topic, "stored")?;
    let (mut clean, connack) = target.connect(&Connect::v311(&id))?;
    check_eq("Session Present", connack.session_present, false)?;
    publisher.publish_acked(&topic, "live")?;
    clean.expect_silence(&mut publisher)?;
    clean.disconnect()?;
    let (mut back, present) = persistent(target, &id)?;
    check(!present, "the state of a clean session was kept")?;
    publisher.publish_acked(&topic, "later")?;
    back.expect_silence(&mut publisher)?;
    end(target, back, &id)
}

//= mqtt311 3.1.2-6 test
//= mqtt311 3.2.2-3 test
fn clean_session_ends_with_its_connection(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for abnormal in [false, true] {
        let (id, topic) = (target.id(), target.topic("t"));
        let (mut clean, _) = target.connect(&Connect::v311(&id))?;
        clean.subscribe(&topic, 1)?;
        publisher.publish_acked(&topic, "unacknowledged")?;
        clean.expect_message(&topic, "unacknowledged")?;
        if abnormal {
            clean.sever();
        } else {
            clean.disconnect()?;
        }
        publisher.publish_acked(&topic, "offline")?;
        let (mut back, present) = persistent(target, &id)?;
        check(!present, "the state of a clean session was kept")?;
        publisher.publish_acked(&topic, "live")?;
        back.expect_silence(&mut publisher)?;
        end(target, back, &id)?;
    }
    Ok(())
}

//= mqtt311 3.1.2-6 test
fn clean_session_forgets_half_received_messages(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut watcher = super::subscriber(target, &topic, 0)?;
    let (mut first, _) = persistent(target, &id)?;
    first.send(Publish::new(&topic, "first").qos(2, 1_000))?;
    first.expect_pubrec(1_000)?;
    first.sever();
    let (mut clean, _) = target.connect(&Connect::v311(&id))?;
    // In a new session the same identifier means a new message.
    clean.publish(&Publish::new(&topic, "second").qos(2, 1_000))?;
    let message = watcher.expect_publish()?;
    // A broker that forwards at PUBREL never had the first one released.
    if message.text() == "first" {
        watcher.expect_message(&topic, "second")?;
    } else {
        check_eq("payload", message.text().as_str(), "second")?;
    }
    watcher.expect_silence(&mut clean)
}

//= mqtt311 3.1.3-2 test
fn session_belongs_to_the_client_id(target: &Target) -> Verdict {
    let ids = [target.id(), target.id()];
    let topics = [target.topic("a"), target.topic("b")];
    for (id, topic) in ids.iter().zip(&topics) {
        offline(target, id, topic, 1)?;
    }
    let mut publisher = client(target)?;
    for topic in &topics {
        publisher.publish_acked(topic, topic)?;
    }
    for (id, topic) in ids.iter().zip(&topics) {
        let (mut back, present) = persistent(target, id)?;
        check(present, "the session is gone")?;
        let message = back.expect_message(topic, topic)?;
        back.accept(&message)?;
        back.expect_nothing()?;
        end(target, back, id)?;
    }
    // Ids are compared as they are.
    let upper = ids.concat().to_uppercase();
    let (_held, _) = persistent(target, &upper)?;
    let (_other, present) = persistent(target, &upper.to_lowercase())?;
    check(!present, "client ids were compared without case")?;
    forget(target, &upper)?;
    forget(target, &upper.to_lowercase())
}

//= mqtt311 4.1.0-2 test
fn session_lives_as_long_as_its_connection(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut clean = super::subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "first").qos(2, 1_000))?;
    let held = clean.expect_message(&topic, "first")?;
    clean.send(Publish::new(&topic, "own").qos(2, 1_000))?;
    clean.expect_pubrec(1_000)?;
    // Much happens in between; the open handshakes and the subscription stay.
    for round in 0..50 {
        let other = target.topic("other");
        clean.subscribe(&other, 0)?;
        publisher.send(Publish::new(&other, round.to_string()))?;
        let mut message = clean.expect_publish()?;
        if message.topic == topic {
            clean.accept(&message)?;
            message = clean.expect_publish()?;
        }
        check_eq("topic", message.topic, other)?;
    }
    clean.accept(&held)?;
    clean.send(Publish::new(&topic, "own").qos(2, 1_000).dup())?;
    clean.expect_pubrec(1_000)?;
    clean.send(Acknowledge::pubrel(1_000))?;
    clean.expect_pubcomp(1_000)?;
    Ok(())
}

//= mqtt311 3.1.4-2 test
//= mqtt311 3.1.2-4 test
//= mqtt311 4.1.0-1 test
fn takeover_hands_over_the_session(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut older, _) = persistent(target, &id)?;
    older.subscribe(&topic, 1)?;
    let mut publisher = client(target)?;
    let mut ids = Vec::new();
    for payload in ["1", "2", "3"] {
        publisher.publish_acked(&topic, payload)?;
        ids.push(older.expect_message(&topic, payload)?.id);
    }
    let (mut newer, present) = persistent(target, &id)?;
    check(present, "the session of the older connection is gone")?;
    older.expect_closed()?;
    for (payload, id) in ["1", "2", "3"].iter().zip(ids) {
        let message = newer.expect_message(&topic, payload)?;
        check(message.dup, "DUP is 0 on a message that is sent again")?;
        check_eq("packet identifier", message.id, id)?;
        newer.accept(&message)?;
    }
    newer.expect_nothing()?;
    end(target, newer, &id)
}

//= mqtt311 3.1.4-2 test
//= mqtt311 3.1.2-6 test
fn clean_takeover_discards_the_session(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut older, _) = persistent(target, &id)?;
    older.subscribe(&topic, 1)?;
    let (mut newer, connack) = target.connect(&Connect::v311(&id))?;
    check_eq("Session Present", connack.session_present, false)?;
    older.expect_closed()?;
    let mut publisher = client(target)?;
    publisher.publish_acked(&topic, "x")?;
    newer.expect_silence(&mut publisher)?;
    newer.disconnect()?;
    let (mut back, present) = persistent(target, &id)?;
    check(!present, "the discarded session came back")?;
    back.expect_silence(&mut publisher)?;
    end(target, back, &id)
}

/// Connections break in the middle of a stream; what was acknowledged to the publisher arrives.
//= mqtt311 3.1.2-5 test
//= mqtt311 4.5.0-1 test
fn messages_while_going_offline_are_not_lost(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut publisher = client(target)?;
    let (mut receiver, _) = persistent(target, &id)?;
    receiver.subscribe(&topic, 1)?;
    let mut next = 0_u16;
    for round in 0..10_u16 {
        let mut bytes = Vec::new();
        for number in round * 10..round * 10 + 10 {
            let publish = Publish::new(&topic, number.to_string()).qos(1, number + 1);
            bytes.extend(publish.encode(Version::V311));
        }
        publisher.send(bytes)?;
        // Some of the stream is received and acknowledged, then the connection breaks.
        for _ in 0..3 {
            let message = receiver.expect_publish()?;
            receiver.accept(&message)?;
            let number = message.text().parse::<u16>().unwrap_or(u16::MAX);
            check(number <= next, &format!("{number} came, {next} did not"))?;
            next = next.max(number + 1);
        }
        receiver.sever();
        receiver = persistent(target, &id)?.0;
    }
    while next < 100 {
        let message = about(&format!("before {next}"), receiver.expect_publish())?;
        receiver.accept(&message)?;
        let number = message.text().parse::<u16>().unwrap_or(u16::MAX);
        check(number <= next, &format!("{number} came, {next} did not"))?;
        next = next.max(number + 1);
    }
    for number in 0..100 {
        publisher.expect_puback(number + 1)?;
    }
    end(target, receiver, &id)
}
