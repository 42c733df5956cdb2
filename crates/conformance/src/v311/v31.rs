//! MQTT 3.1 (`MQIsdp`, level 3), where it differs from 3.1.1. It has no statements with ids.

use super::{about, client};
use crate::case::{Case, Verdict, Version, check, check_eq, fail, skip};
use crate::harness::{Client, Event, Target};
use crate::wire::{Acknowledge, Connect, Packet, Publish, Subscribe, Unsubscribe, Will};
use std::time::Instant;

cases! {
    v31_client_is_served: [];
    v31_publish_at_every_qos: [];
    v31_and_v311_understand_each_other: [];
    v31_connack_has_no_session_present: [];
    v31_session_is_resumed: [];
    v31_will_is_published: [];
    v31_empty_client_id_gets_code_2: [];
    v31_user_name_may_be_missing: [];
    v31_repeated_requests_may_carry_dup: [];
    v31_name_and_level_belong_together: [];
    v31_second_connect_closes: [];
}

fn v31(id: &str) -> Connect {
    Connect::v311(id).protocol("MQIsdp", 3)
}

fn v31_client(target: &Target) -> Verdict<Client> {
    Ok(target.connect(&v31(&target.id()))?.0)
}

fn v31_client_is_served(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = v31_client(target)?;
    client.subscribe(&topic, 0)?;
    client.send(Publish::new(&topic, "hello"))?;
    client.expect_message(&topic, "hello")?;
    client.send(Unsubscribe::new(900).filter(&topic))?;
    client.expect_unsuback(900)?;
    client.expect_nothing()?;
    client.disconnect()
}

fn v31_publish_at_every_qos(target: &Target) -> Verdict {
    let mut publisher = v31_client(target)?;
    for granted in 0..3 {
        let topic = target.topic("t");
        let mut receiver = v31_client(target)?;
        receiver.subscribe(&topic, granted)?;
        for qos in 0..3 {
            publisher.publish(&Publish::new(&topic, "x").qos(qos, 1_000))?;
            let message = receiver.expect_message(&topic, "x")?;
            check_eq("QoS", message.qos, qos.min(granted))?;
            receiver.accept(&message)?;
        }
        receiver.expect_nothing()?;
        receiver.disconnect()?;
    }
    Ok(())
}

fn v31_and_v311_understand_each_other(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut both = [v31_client(target)?, client(target)?];
    for client in &mut both {
        client.subscribe(&topic, 2)?;
    }
    let mut publishers = [v31_client(target)?, client(target)?];
    for publisher in &mut publishers {
        publisher.publish(&Publish::new(&topic, "x").qos(2, 1_000))?;
        for receiver in &mut both {
            let message = receiver.expect_message(&topic, "x")?;
            receiver.accept(&message)?;
        }
    }
    Ok(())
}

/// Byte 1 of CONNACK is reserved, also when a session is resumed.
fn v31_connack_has_no_session_present(target: &Target) -> Verdict {
    let id = target.id();
    for round in 0..2 {
        let (mut client, connack) = target.connect(&v31(&id).resume())?;
        let what = format!("byte 1 of CONNACK in round {round}");
        check_eq(&what, connack.session_present, false)?;
        client.disconnect()?;
    }
    target.connect(&v31(&id))?.0.disconnect()
}

fn v31_session_is_resumed(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut first, _) = target.connect(&v31(&id).resume())?;
    first.subscribe(&topic, 2)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "seen").qos(2, 1_000))?;
    let old = first.expect_message(&topic, "seen")?;
    first.sever();
    publisher.publish(&Publish::new(&topic, "queued").qos(1, 1_000))?;
    let (mut back, _) = target.connect(&v31(&id).resume())?;
    let again = back.expect_message(&topic, "seen")?;
    check(again.dup, "DUP is 0 on a message that is sent again")?;
    check_eq("packet identifier", again.id, old.id)?;
    back.accept(&again)?;
    let queued = back.expect_message(&topic, "queued")?;
    back.accept(&queued)?;
    back.expect_nothing()?;
    back.disconnect()?;
    target.connect(&v31(&id))?.0.disconnect()
}

fn v31_will_is_published(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = super::subscriber(target, &topic, 1)?;
    let will = Will::new(&topic, "gone").qos(1);
    target.connect(&v31(&target.id()).will(will))?.0.sever();
    let message = watcher.expect_message(&topic, "gone")?;
    watcher.accept(&message)?;
    let will = Will::new(&topic, "never");
    let connect = v31(&target.id()).will(will);
    target.connect(&connect)?.0.disconnect()?;
    watcher.expect_silence(&mut client(target)?)
}

fn v31_empty_client_id_gets_code_2(target: &Target) -> Verdict {
    for connect in [v31(""), v31("").resume()] {
        let mut client = target.open(Version::V311)?;
        client.send(connect)?;
        check_eq("code of CONNACK", client.expect_connack()?.code, 2)?;
        client.expect_closed()?;
    }
    Ok(())
}

/// In 3.1 the Remaining Length wins over the flags for user name and password.
fn v31_user_name_may_be_missing(target: &Target) -> Verdict {
    for (what, connect) in [
        ("User Name Flag", v31(&target.id()).flip_flags(0x80)),
        ("both flags", v31(&target.id()).flip_flags(0xC0)),
        (
            "password",
            v31(&target.id()).user_name(b"user").flip_flags(0x40),
        ),
    ] {
        let mut client = target.open(Version::V311)?;
        client.send(connect)?;
        match about(what, client.expect_connack())?.code {
            0 => client.expect_nothing()?,
            4 | 5 => return skip("the broker wants another user name and password"),
            other => return fail(format!("{what}: CONNACK with code {other}")),
        }
    }
    Ok(())
}

/// 3.1 lets a client set DUP when it repeats SUBSCRIBE, UNSUBSCRIBE or PUBREL.
fn v31_repeated_requests_may_carry_dup(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = v31_client(target)?;
    client.send(Publish::new(&topic, "x").qos(2, 1_000))?;
    client.expect_pubrec(1_000)?;
    client.send(Acknowledge::pubrel(1_000).first(0x6A))?;
    about("PUBREL", client.expect_pubcomp(1_000))?;
    client.send(Subscribe::new(900).filter(&topic, 0).first(0x8A))?;
    about("SUBSCRIBE", client.expect_suback(900))?;
    client.send(Unsubscribe::new(901).filter(&topic).first(0xAA))?;
    about("UNSUBSCRIBE", client.expect_unsuback(901))?;
    client.expect_nothing()
}

/// `MQIsdp` with level 4 and `MQTT` with level 3 are neither 3.1 nor 3.1.1.
fn v31_name_and_level_belong_together(target: &Target) -> Verdict {
    for (name, level) in [("MQIsdp", 4), ("MQIsdp", 5), ("MQTT", 3)] {
        let mut client = target.open(Version::V311)?;
        client.send(Connect::v311(&target.id()).protocol(name, level))?;
        about(&format!("{name} level {level}"), client.expect_refused())?;
    }
    Ok(())
}

fn v31_second_connect_closes(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, _) = target.connect(&v31(&id))?;
    client.send(v31(&id))?;
    match client.read(Instant::now() + client.timeout())? {
        Event::Closed => Ok(()),
        Event::Packet(Packet::ConnAck(_)) => fail("a second CONNACK"),
        Event::Packet(other) => fail(format!("answered with {}", other.describe())),
        Event::Timeout => fail("the connection stays open"),
    }
}
