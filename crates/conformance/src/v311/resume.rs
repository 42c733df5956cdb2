//! Handshakes that go on after a reconnect (sections 4.3 and 4.4).

use super::{about, client, forget, persistent, subscriber};
use crate::case::{Case, Verdict, Version, check, check_eq, fail};
use crate::harness::{Client, Event, Target};
use crate::wire::{Acknowledge, Encode, Message, Packet, Publish};
use std::collections::BTreeMap;
use std::time::Instant;

cases! {
    unacknowledged_messages_come_again: ["4.4.0-1", "3.3.1-1", "4.6.0-6", "3.1.2-4", "2.3.1-4"];
    messages_come_again_on_every_reconnect: ["4.4.0-1", "3.3.1-1"];
    acknowledged_messages_do_not_come_again: ["4.3.2-1", "4.3.3-1"];
    pubrel_comes_again: ["4.4.0-1", "4.3.3-1"];
    mixed_handshakes_resume_each_where_it_was: ["4.4.0-1", "4.3.3-1", "3.3.1-1"];
    new_messages_follow_those_that_come_again: ["4.4.0-1", "4.6.0-6", "2.3.1-4"];
    more_than_a_window_resumes_in_order: ["4.4.0-1", "4.6.0-6", "3.3.1-1"];
    qos_2_repeat_after_reconnect_is_not_routed_again: ["4.3.3-2", "4.4.0-1"];
    qos_2_repeat_after_takeover_is_not_routed_again: ["4.3.3-2", "3.1.4-2"];
    pubrel_after_reconnect_is_answered: ["4.3.3-2", "4.4.0-1"];
    qos_1_repeat_after_reconnect_is_acknowledged: ["4.3.2-2", "3.3.4-1"];
    resumed_qos_2_message_arrives_once: ["4.3.3-1", "4.4.0-1"];
}

/// A subscriber with a stored session, connected, and what it has received without acknowledging.
struct Held {
    id: String,
    topic: String,
    receiver: Client,
    publisher: Client,
    messages: Vec<Message>,
}

/// Publishes these payloads at this QoS to a subscriber that acknowledges none.
fn hold(target: &Target, qos: u8, payloads: &[&str]) -> Verdict<Held> {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut receiver, _) = persistent(target, &id)?;
    receiver.subscribe(&topic, qos)?;
    let mut publisher = client(target)?;
    let mut messages = Vec::new();
    for payload in payloads {
        publisher.publish(&Publish::new(&topic, payload).qos(qos, 1_000))?;
        messages.push(receiver.expect_message(&topic, payload)?);
    }
    Ok(Held {
        id,
        topic,
        receiver,
        publisher,
        messages,
    })
}

impl Held {
    /// Breaks the connection and resumes the session.
    fn reconnect(&mut self, target: &Target) -> Verdict {
        let (receiver, present) = persistent(target, &self.id)?;
        std::mem::replace(&mut self.receiver, receiver).sever();
        check(present, "the session is gone")
    }

    /// Expects this message once more: same identifier, same content, DUP.
    fn expect_again(&mut self, old: &Message) -> Verdict<Message> {
        let message = self.receiver.expect_message(&self.topic, &old.payload)?;
        check_eq("packet identifier", message.id, old.id)?;
        check_eq("QoS", message.qos, old.qos)?;
        check(message.dup, "DUP is 0 on a message that is sent again")?;
        Ok(message)
    }

    fn end(mut self, target: &Target) -> Verdict {
        self.receiver.expect_silence(&mut self.publisher)?;
        self.receiver.disconnect()?;
        forget(target, &self.id)
    }
}

//= mqtt311 4.4.0-1 test
//= mqtt311 3.3.1-1 test
//= mqtt311 4.6.0-6 test
//= mqtt311 3.1.2-4 test
//= mqtt311 2.3.1-4 test
fn unacknowledged_messages_come_again(target: &Target) -> Verdict {
    for qos in 1..3 {
        let mut held = hold(target, qos, &["1", "2", "3", "4", "5"])?;
        held.reconnect(target)?;
        let mut again = Vec::new();
        for old in held.messages.clone() {
            again.push(about(&format!("QoS {qos}"), held.expect_again(&old))?);
        }
        for message in again {
            held.receiver.accept(&message)?;
        }
        held.end(target)?;
    }
    Ok(())
}

//= mqtt311 4.4.0-1 test
//= mqtt311 3.3.1-1 test
fn messages_come_again_on_every_reconnect(target: &Target) -> Verdict {
    for qos in 1..3 {
        let mut held = hold(target, qos, &["1", "2", "3"])?;
        for round in 0..5 {
            held.reconnect(target)?;
            for old in held.messages.clone() {
                about(
                    &format!("QoS {qos}, round {round}"),
                    held.expect_again(&old),
                )?;
            }
        }
        for message in held.messages.clone() {
            held.receiver.accept(&message)?;
        }
        held.end(target)?;
    }
    Ok(())
}

//= mqtt311 4.3.2-1 test
//= mqtt311 4.3.3-1 test
fn acknowledged_messages_do_not_come_again(target: &Target) -> Verdict {
    for qos in 1..3 {
        let mut held = hold(target, qos, &["1", "2", "3"])?;
        let [first, second, third] = held.messages.as_slice() else {
            return fail("three messages were published");
        };
        let second = second.clone();
        let done = [first.clone(), third.clone()];
        for message in done {
            held.receiver.accept(&message)?;
        }
        held.receiver.expect_alive()?;
        held.reconnect(target)?;
        let message = about(&format!("QoS {qos}"), held.expect_again(&second))?;
        held.receiver.accept(&message)?;
        held.end(target)?;
    }
    Ok(())
}

//= mqtt311 4.4.0-1 test
//= mqtt311 4.3.3-1 test
fn pubrel_comes_again(target: &Target) -> Verdict {
    let mut held = hold(target, 2, &["1", "2"])?;
    for message in held.messages.clone() {
        held.receiver.send(Acknowledge::pubrec(message.id))?;
        held.receiver.expect_pubrel(message.id)?;
    }
    for _ in 0..2 {
        held.reconnect(target)?;
        for message in held.messages.clone() {
            held.receiver.expect_pubrel(message.id)?;
        }
        // Not the PUBLISH.
        held.receiver.expect_nothing()?;
    }
    for message in held.messages.clone() {
        held.receiver.send(Acknowledge::pubcomp(message.id))?;
    }
    held.end(target)
}

//= mqtt311 4.4.0-1 test
//= mqtt311 4.3.3-1 test
//= mqtt311 3.3.1-1 test
fn mixed_handshakes_resume_each_where_it_was(target: &Target) -> Verdict {
    let mut held = hold(target, 2, &["1", "2", "3", "4"])?;
    let [done, released, taken, untouched] = held.messages.as_slice() else {
        return fail("four messages were published");
    };
    let (done, released) = (done.clone(), released.clone());
    let (taken, untouched) = (taken.clone(), untouched.clone());
    let receiver = &mut held.receiver;
    receiver.accept(&done)?;
    receiver.send(Acknowledge::pubrec(released.id))?;
    receiver.expect_pubrel(released.id)?;
    // PUBREC is sent, but its PUBREL is not waited for.
    receiver.send(Acknowledge::pubrec(taken.id))?;
    receiver.expect_alive()?;
    receiver.expect_pubrel(taken.id)?;
    held.reconnect(target)?;
    held.receiver.expect_pubrel(released.id)?;
    held.receiver.expect_pubrel(taken.id)?;
    let untouched = held.expect_again(&untouched)?;
    held.receiver.send(Acknowledge::pubcomp(taken.id))?;
    held.receiver.send(Acknowledge::pubcomp(released.id))?;
    held.receiver.accept(&untouched)?;
    held.end(target)
}

//= mqtt311 4.4.0-1 test
//= mqtt311 4.6.0-6 test
//= mqtt311 2.3.1-4 test
fn new_messages_follow_those_that_come_again(target: &Target) -> Verdict {
    let mut held = hold(target, 1, &["1", "2"])?;
    held.receiver.disconnect()?;
    for payload in ["3", "4"] {
        held.publisher.publish_acked(&held.topic, payload)?;
    }
    held.reconnect(target)?;
    for payload in ["5", "6"] {
        held.publisher.publish_acked(&held.topic, payload)?;
    }
    let mut all = Vec::new();
    for old in held.messages.clone() {
        all.push(held.expect_again(&old)?);
    }
    for payload in ["3", "4", "5", "6"] {
        let message = held.receiver.expect_message(&held.topic, payload)?;
        check_eq("DUP", message.dup, false)?;
        let fresh = all.iter().all(|other| other.id != message.id);
        check(fresh, "an unacknowledged identifier was used again")?;
        all.push(message);
    }
    for message in all {
        held.receiver.accept(&message)?;
    }
    held.end(target)
}

/// More messages than may be in flight, some of them acknowledged, over several connections.
//= mqtt311 4.4.0-1 test
//= mqtt311 4.6.0-6 test
//= mqtt311 3.3.1-1 test
fn more_than_a_window_resumes_in_order(target: &Target) -> Verdict {
    const COUNT: u16 = 200;
    for qos in 1..3 {
        let mut held = hold(target, qos, &[])?;
        for number in 0..COUNT {
            let publish = Publish::new(&held.topic, number.to_string()).qos(qos, 1_000);
            held.publisher.publish(&publish)?;
        }
        let mut seen = BTreeMap::new();
        drain(&mut held.receiver, &mut seen)?;
        for _ in 0..3 {
            held.reconnect(target)?;
            drain(&mut held.receiver, &mut seen)?;
        }
        held.reconnect(target)?;
        for number in 0..COUNT {
            let text = number.to_string();
            let message = about(&format!("QoS {qos}"), held.receiver.expect_publish())?;
            check_eq("order of the messages", message.text(), text)?;
            if let Some(id) = seen.get(&message.text()) {
                check(message.dup, "DUP is 0 on a message that is sent again")?;
                check_eq("packet identifier", message.id, *id)?;
            }
            held.receiver.accept(&message)?;
        }
        held.end(target)?;
    }
    Ok(())
}

/// Reads what comes until nothing does, acknowledges nothing, and checks what came before.
fn drain(receiver: &mut Client, seen: &mut BTreeMap<String, u16>) -> Verdict {
    loop {
        match receiver.read(Instant::now() + receiver.timeout() / 10)? {
            Event::Packet(Packet::Publish(message)) => {
                if let Some(id) = seen.insert(message.text(), message.id) {
                    check_eq("packet identifier", message.id, id)?;
                    check(message.dup, "DUP is 0 on a message that is sent again")?;
                }
            }
            Event::Packet(other) => return fail(format!("got {}", other.describe())),
            Event::Closed => return fail("the broker closed"),
            Event::Timeout => return Ok(()),
        }
    }
}

//= mqtt311 4.3.3-2 test
//= mqtt311 4.4.0-1 test
fn qos_2_repeat_after_reconnect_is_not_routed_again(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let (mut publisher, _) = persistent(target, &id)?;
    let publish = Publish::new(&topic, "once").qos(2, 1_000);
    publisher.send(&publish)?;
    publisher.expect_pubrec(1_000)?;
    for _ in 0..3 {
        publisher.sever();
        publisher = persistent(target, &id)?.0;
        publisher.send(publish.clone().dup())?;
        publisher.expect_pubrec(1_000)?;
    }
    publisher.send(Acknowledge::pubrel(1_000))?;
    publisher.expect_pubcomp(1_000)?;
    watcher.expect_message(&topic, "once")?;
    // Finished: the same identifier means a new message.
    publisher.publish(&Publish::new(&topic, "next").qos(2, 1_000))?;
    watcher.expect_message(&topic, "next")?;
    watcher.expect_silence(&mut publisher)?;
    publisher.disconnect()?;
    forget(target, &id)
}

//= mqtt311 4.3.3-2 test
//= mqtt311 3.1.4-2 test
fn qos_2_repeat_after_takeover_is_not_routed_again(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let (mut older, _) = persistent(target, &id)?;
    let publish = Publish::new(&topic, "once").qos(2, 1_000);
    older.send(&publish)?;
    older.expect_pubrec(1_000)?;
    let (mut newer, _) = persistent(target, &id)?;
    // Behind CONNECT in the same breath would be legal, too; but the CONNACK is here.
    newer.send(publish.dup())?;
    newer.expect_pubrec(1_000)?;
    newer.send(Acknowledge::pubrel(1_000))?;
    newer.expect_pubcomp(1_000)?;
    older.expect_closed()?;
    watcher.expect_message(&topic, "once")?;
    watcher.expect_silence(&mut newer)?;
    newer.disconnect()?;
    forget(target, &id)
}

//= mqtt311 4.3.3-2 test
//= mqtt311 4.4.0-1 test
fn pubrel_after_reconnect_is_answered(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let (mut publisher, _) = persistent(target, &id)?;
    publisher.send(Publish::new(&topic, "once").qos(2, 1_000))?;
    publisher.expect_pubrec(1_000)?;
    for _ in 0..2 {
        publisher.sever();
        publisher = persistent(target, &id)?.0;
        publisher.send(Acknowledge::pubrel(1_000))?;
        publisher.expect_pubcomp(1_000)?;
    }
    watcher.expect_message(&topic, "once")?;
    watcher.expect_silence(&mut publisher)?;
    publisher.disconnect()?;
    forget(target, &id)
}

/// Whether the repeat of a QoS 1 message is routed again is open: its identifier may be new.
//= mqtt311 4.3.2-2 test
//= mqtt311 3.3.4-1 test
fn qos_1_repeat_after_reconnect_is_acknowledged(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let mut watcher = subscriber(target, &topic, 0)?;
    let (mut publisher, _) = persistent(target, &id)?;
    let publish = Publish::new(&topic, "x").qos(1, 1_000);
    publisher.send(publish.encode(Version::V311))?;
    publisher.sever();
    let (mut publisher, _) = persistent(target, &id)?;
    publisher.publish(&publish.dup())?;
    watcher.expect_message(&topic, "x")?;
    publisher.disconnect()?;
    forget(target, &id)
}

//= mqtt311 4.3.3-1 test
//= mqtt311 4.4.0-1 test
fn resumed_qos_2_message_arrives_once(target: &Target) -> Verdict {
    let mut held = hold(target, 2, &["once"])?;
    let Some(message) = held.messages.first().cloned() else {
        return fail("a message was published");
    };
    held.reconnect(target)?;
    held.expect_again(&message)?;
    held.receiver.send(Acknowledge::pubrec(message.id))?;
    held.receiver.expect_pubrel(message.id)?;
    held.reconnect(target)?;
    held.receiver.expect_pubrel(message.id)?;
    held.receiver.expect_nothing()?;
    held.receiver.send(Acknowledge::pubcomp(message.id))?;
    held.receiver.expect_alive()?;
    held.reconnect(target)?;
    held.receiver.expect_nothing()?;
    held.end(target)
}
