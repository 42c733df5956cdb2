//! Wills (sections 3.1.2.5 to 3.1.2.7 and 3.14.4).

use super::{about, client, forget, late_subscriber, persistent, settle, subscriber, unretain};
use crate::case::{Case, Verdict, Version, check, check_eq};
use crate::harness::{Client, Target};
use crate::wire::{Connect, Publish, Subscribe, Will};

cases! {
    will_is_published_when_the_connection_is_lost: ["3.1.2-8"];
    will_is_published_when_the_client_stops_sending: ["3.1.2-8"];
    will_is_published_after_a_protocol_fault: ["3.1.2-8"];
    will_is_published_after_a_second_connect: ["3.1.2-8", "3.1.0-2"];
    will_is_published_on_takeover: ["3.1.2-8", "3.1.4-2"];
    will_is_published_on_takeover_of_a_stored_session: ["3.1.2-8", "3.1.4-2"];
    will_is_published_inside_half_a_packet: ["3.1.2-8"];
    will_is_not_published_after_disconnect: ["3.14.4-3", "3.1.2-10"];
    will_is_published_once: ["3.1.2-10"];
    no_will_means_no_publication: ["3.1.2-12"];
    will_belongs_to_its_connection: ["3.1.2-10", "3.1.2-12"];
    will_has_its_qos: ["3.1.2-8", "3.8.4-6"];
    will_without_retain_is_not_retained: ["3.1.2-16"];
    will_with_retain_is_retained: ["3.1.2-17", "3.3.1-9"];
    will_with_an_empty_message: ["3.1.2-8", "3.1.2-17", "3.3.1-10"];
    will_message_is_any_bytes: ["3.1.2-8"];
    will_waits_in_offline_sessions: ["3.1.2-8", "3.1.2-5"];
    will_reaches_its_own_session: ["3.1.2-8", "4.5.0-1"];
    disconnect_with_packets_before_it_keeps_them: ["3.14.4-3"];
}

/// A client with this will, under a fresh id.
fn willing(target: &Target, will: Will) -> Verdict<Client> {
    Ok(target.connect(&Connect::v311(&target.id()).will(will))?.0)
}

//= mqtt311 3.1.2-8 test
fn will_is_published_when_the_connection_is_lost(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    willing(target, Will::new(&topic, "gone"))?.sever();
    watcher.expect_message(&topic, "gone")?;
    watcher.expect_silence(&mut client(target)?)
}

//= mqtt311 3.1.2-8 test
fn will_is_published_when_the_client_stops_sending(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    let mut client = willing(target, Will::new(&topic, "gone"))?;
    client.close_sending();
    watcher.expect_message(&topic, "gone")?;
    client.expect_closed()
}

//= mqtt311 3.1.2-8 test
fn will_is_published_after_a_protocol_fault(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    let faults: [(&str, Vec<u8>); 4] = [
        ("type 0", vec![0, 0]),
        ("QoS 3", vec![0x36, 5, 0, 1, b'a', 0, 1]),
        ("SUBSCRIBE without filters", vec![0x82, 2, 0, 1]),
        ("remaining length", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
    ];
    for (what, bytes) in faults {
        let mut client = willing(target, Will::new(&topic, what))?;
        client.send(bytes)?;
        about(what, client.expect_closed())?;
        about(what, watcher.expect_message(&topic, what))?;
    }
    Ok(())
}

//= mqtt311 3.1.2-8 test
//= mqtt311 3.1.0-2 test
fn will_is_published_after_a_second_connect(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let connect = Connect::v311(&id).will(Will::new(&topic, "gone"));
    let (mut client, _) = target.connect(&connect)?;
    client.send(Connect::v311(&id))?;
    client.expect_closed()?;
    watcher.expect_message(&topic, "gone")?;
    watcher.expect_silence(&mut super::client(target)?)
}

//= mqtt311 3.1.2-8 test
//= mqtt311 3.1.4-2 test
fn will_is_published_on_takeover(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let with_will = |payload| Connect::v311(&id).will(Will::new(&topic, payload));
    let (mut first, _) = target.connect(&with_will("first"))?;
    let (mut second, _) = target.connect(&with_will("second"))?;
    first.expect_closed()?;
    watcher.expect_message(&topic, "first")?;
    let (mut third, _) = target.connect(&Connect::v311(&id))?;
    second.expect_closed()?;
    watcher.expect_message(&topic, "second")?;
    watcher.expect_silence(&mut third)
}

/// The session goes on, but the will belongs to the connection, which ends without DISCONNECT.
//= mqtt311 3.1.2-8 test
//= mqtt311 3.1.4-2 test
fn will_is_published_on_takeover_of_a_stored_session(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let will = Will::new(&topic, "first");
    let (mut first, _) = target.connect(&Connect::v311(&id).resume().will(will))?;
    let (mut second, _) = persistent(target, &id)?;
    first.expect_closed()?;
    watcher.expect_message(&topic, "first")?;
    watcher.expect_silence(&mut second)?;
    second.disconnect()?;
    forget(target, &id)
}

//= mqtt311 3.1.2-8 test
fn will_is_published_inside_half_a_packet(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    let mut client = willing(target, Will::new(&topic, "gone"))?;
    client.send([0x30, 100, 0, 1, b'a', b'x'])?;
    client.sever();
    watcher.expect_message(&topic, "gone")?;
    // Half a DISCONNECT is none.
    let mut client = willing(target, Will::new(&topic, "gone again"))?;
    client.send([0xE0])?;
    client.sever();
    watcher.expect_message(&topic, "gone again")?;
    Ok(())
}

//= mqtt311 3.14.4-3 test
//= mqtt311 3.1.2-10 test
fn will_is_not_published_after_disconnect(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let connect = Connect::v311(&id).will(Will::new(&topic, "never"));
    target.connect(&connect)?.0.disconnect()?;
    // The marker goes the way that the will would have gone.
    let (mut again, _) = target.connect(&Connect::v311(&id))?;
    watcher.expect_silence(&mut again)
}

//= mqtt311 3.1.2-10 test
fn will_is_published_once(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let mut watcher = subscriber(target, &topic, 1)?;
    let will = Will::new(&topic, "gone").qos(1);
    target
        .connect(&Connect::v311(&id).resume().will(will))?
        .0
        .sever();
    let message = watcher.expect_message(&topic, "gone")?;
    watcher.accept(&message)?;
    for _ in 0..2 {
        let (again, _) = persistent(target, &id)?;
        again.sever();
    }
    let (mut again, _) = persistent(target, &id)?;
    watcher.expect_silence(&mut again)?;
    again.disconnect()?;
    forget(target, &id)
}

//= mqtt311 3.1.2-12 test
fn no_will_means_no_publication(target: &Target) -> Verdict {
    let (id, base) = (target.id(), target.topic("t"));
    let mut watcher = subscriber(target, &format!("{base}/#"), 0)?;
    let (mut client, _) = target.connect(&Connect::v311(&id))?;
    client.publish_acked(&base, "last words")?;
    watcher.expect_message(&base, "last words")?;
    client.sever();
    let (mut again, _) = target.connect(&Connect::v311(&id))?;
    watcher.expect_silence(&mut again)
}

//= mqtt311 3.1.2-10 test
//= mqtt311 3.1.2-12 test
fn will_belongs_to_its_connection(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let with_will = |payload| Connect::v311(&id).resume().will(Will::new(&topic, payload));
    // Deleted by DISCONNECT, although the session stays.
    target.connect(&with_will("one"))?.0.disconnect()?;
    target.connect(&with_will("two"))?.0.sever();
    watcher.expect_message(&topic, "two")?;
    let (without, _) = persistent(target, &id)?;
    without.sever();
    let (mut again, _) = persistent(target, &id)?;
    watcher.expect_silence(&mut again)?;
    again.disconnect()?;
    forget(target, &id)
}

//= mqtt311 3.1.2-8 test
//= mqtt311 3.8.4-6 test
fn will_has_its_qos(target: &Target) -> Verdict {
    for qos in 0..3 {
        for granted in 0..3 {
            let topic = target.topic("will");
            let mut watcher = subscriber(target, &topic, granted)?;
            willing(target, Will::new(&topic, "gone").qos(qos))?.sever();
            let message = watcher.expect_message(&topic, "gone")?;
            let what = format!("QoS of a will at {qos}, granted {granted}");
            check_eq(&what, message.qos, qos.min(granted))?;
            check_eq("DUP", message.dup, false)?;
            watcher.accept(&message)?;
            watcher.expect_nothing()?;
        }
    }
    Ok(())
}

//= mqtt311 3.1.2-16 test
fn will_without_retain_is_not_retained(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "kept").retain().qos(1, 1_000))?;
    watcher.expect_message(&topic, "kept")?;
    willing(target, Will::new(&topic, "gone"))?.sever();
    let message = watcher.expect_message(&topic, "gone")?;
    check(!message.retain, "RETAIN is 1 on a live message")?;
    let mut late = late_subscriber(target, &mut publisher, &topic, 0)?;
    publisher.publish_acked(&topic, "end")?;
    // The will may still be on its way inside the broker, but not as a retained message.
    let (mut retained, mut ended) = (String::new(), false);
    while retained.is_empty() || !ended {
        let message = late.expect_publish()?;
        if message.retain {
            retained += &message.text();
        } else if message.text() == "end" {
            ended = true;
        } else {
            check_eq("the live message", message.text().as_str(), "gone")?;
        }
    }
    check_eq("the retained message", retained.as_str(), "kept")?;
    unretain(&mut publisher, &topic)
}

//= mqtt311 3.1.2-17 test
//= mqtt311 3.3.1-9 test
fn will_with_retain_is_retained(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    willing(target, Will::new(&topic, "gone").qos(1).retain())?.sever();
    let live = watcher.expect_message(&topic, "gone")?;
    check(!live.retain, "RETAIN is 1 for an established subscription")?;
    settle(target, &topic, Some("gone"))?;
    let mut late = subscriber(target, &topic, 1)?;
    let mut message = late.expect_message(&topic, "gone")?;
    if !message.retain {
        // Still on its way when the subscription was made; the retained one comes, too.
        message = late.expect_message(&topic, "gone")?;
    }
    check(
        message.retain,
        "RETAIN is 0 on a message sent because of SUBSCRIBE",
    )?;
    check_eq("QoS", message.qos, 1)?;
    unretain(&mut client(target)?, &topic)
}

//= mqtt311 3.1.2-8 test
//= mqtt311 3.1.2-17 test
//= mqtt311 3.3.1-10 test
fn will_with_an_empty_message(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "kept").retain().qos(1, 1_000))?;
    let mut watcher = subscriber(target, &topic, 0)?;
    watcher.expect_message(&topic, "kept")?;
    willing(target, Will::new(&topic, ""))?.sever();
    watcher.expect_message(&topic, "")?;
    settle(target, &topic, Some("kept"))?;
    // Retained and empty, it clears.
    willing(target, Will::new(&topic, "").retain())?.sever();
    watcher.expect_message(&topic, "")?;
    settle(target, &topic, None)
}

//= mqtt311 3.1.2-8 test
fn will_message_is_any_bytes(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    let payloads = [
        vec![0, 0xFF, 0xC0, 0x80],
        (0..=250).cycle().take(65_535).collect(),
    ];
    for payload in payloads {
        let mut will = Will::new(&topic, "");
        will.payload.clone_from(&payload);
        willing(target, will)?.sever();
        let message = watcher.expect_publish()?;
        check(message.payload == payload, "another payload")?;
    }
    Ok(())
}

//= mqtt311 3.1.2-8 test
//= mqtt311 3.1.2-5 test
fn will_waits_in_offline_sessions(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let (mut offline, _) = persistent(target, &id)?;
    offline.subscribe(&topic, 1)?;
    offline.disconnect()?;
    let mut watcher = subscriber(target, &topic, 0)?;
    willing(target, Will::new(&topic, "gone").qos(1))?.sever();
    watcher.expect_message(&topic, "gone")?;
    let (mut back, _) = persistent(target, &id)?;
    let message = back.expect_message(&topic, "gone")?;
    back.accept(&message)?;
    back.disconnect()?;
    forget(target, &id)
}

/// The will matches a subscription of the session that it comes from.
//= mqtt311 3.1.2-8 test
//= mqtt311 4.5.0-1 test
fn will_reaches_its_own_session(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let will = Will::new(&topic, "gone").qos(1);
    let (mut first, _) = target.connect(&Connect::v311(&id).resume().will(will))?;
    first.send(Subscribe::new(1).filter(&topic, 1))?;
    first.expect_suback(1)?;
    first.sever();
    let (mut again, _) = persistent(target, &id)?;
    let message = again.expect_message(&topic, "gone")?;
    again.accept(&message)?;
    again.disconnect()?;
    forget(target, &id)
}

//= mqtt311 3.14.4-3 test
fn disconnect_with_packets_before_it_keeps_them(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let connect = Connect::v311(&id).will(Will::new(&topic, "never"));
    let (mut client, _) = target.connect(&connect)?;
    let mut bytes = Vec::new();
    for payload in ["1", "2", "3"] {
        let publish = Publish::new(&topic, payload);
        bytes.extend(crate::wire::Encode::encode(&publish, Version::V311));
    }
    bytes.extend([0xE0, 0]);
    client.send(bytes)?;
    client.expect_closed()?;
    for payload in ["1", "2", "3"] {
        watcher.expect_message(&topic, payload)?;
    }
    let (mut again, _) = target.connect(&Connect::v311(&id))?;
    watcher.expect_silence(&mut again)
}
