//! What is sent again, and in which order, when a session is resumed (section 4.4).

use std::time::Duration;

use crate::case::Version::V5;
use crate::case::{Case, Verdict, case, check, check_eq};
use crate::harness::{Client, Target, let_time_pass};
use crate::v5::support::{end_session, persistent};
use crate::wire::{Acknowledge, Connect, Message, Props, Publish, prop};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        unacknowledged_messages_are_repeated_in_order,
        "3.3.1-1",
        "4.3.2-3",
        "4.3.3-3",
        "4.4.0-1",
        "4.6.0-1"
    ),
    case!(
        V5,
        repeated_messages_come_before_queued_ones,
        "4.3.2-3",
        "4.6.0-6",
        "4.6.0-1"
    ),
    case!(
        V5,
        pubrel_is_repeated_instead_of_the_message,
        "4.3.3-5",
        "4.3.3-6",
        "4.4.0-1"
    ),
    case!(V5, refused_messages_are_not_repeated, "4.4.0-2"),
    case!(
        V5,
        wrong_kind_of_acknowledgement_settles_nothing,
        "4.3.2-3",
        "4.3.3-3"
    ),
    case!(V5, clean_start_repeats_nothing, "4.4.0-1"),
    case!(V5, begun_qos_2_delivery_does_not_expire, "4.3.3-7"),
    case!(
        V5,
        qos_2_duplicate_after_a_reconnect_is_delivered_once,
        "4.3.3-10",
        "4.3.3-8"
    ),
    case!(
        V5,
        pubrel_after_a_reconnect_is_answered,
        "4.3.3-11",
        "4.3.3-10"
    ),
    case!(
        V5,
        server_identifiers_stay_apart_after_a_resume,
        "3.1.2-5",
        "4.4.0-1"
    ),
];

/// A publisher, and a subscriber at QoS 2 with a lasting session.
struct Setting {
    id: String,
    topic: String,
    publisher: Client,
    subscriber: Client,
}

impl Setting {
    fn new(target: &Target) -> Verdict<Self> {
        target.needs_qos(2)?;
        let (id, topic) = (target.id(), target.topic("t"));
        let publisher = target.client(V5)?;
        let (mut subscriber, _) = persistent(target, Connect::v5(&id))?;
        subscriber.subscribe(&topic, 2)?;
        Ok(Self {
            id,
            topic,
            publisher,
            subscriber,
        })
    }

    fn publish(&mut self, qos: u8, text: &str) -> Verdict {
        let id = self.publisher.fresh_id();
        self.publisher
            .publish(&Publish::new(&self.topic, text).qos(qos, id))
    }

    /// Breaks the subscriber's connection and resumes its session.
    fn resume(&mut self, target: &Target) -> Verdict {
        let (new, connack) = persistent(target, Connect::v5(&self.id).resume())?;
        check(connack.session_present, "the session is gone")?;
        std::mem::replace(&mut self.subscriber, new).sever();
        Ok(())
    }

    fn expect(&mut self, text: &str) -> Verdict<Message> {
        self.subscriber.expect_message(&self.topic, text)
    }
}

/// The same message again: same identifier and content, and DUP.
fn check_repeated(before: &Message, after: &Message) -> Verdict {
    check(after.dup, "DUP is not set on a repetition")?;
    check_eq("packet identifier", after.id, before.id)?;
    check_eq("QoS", after.qos, before.qos)?;
    check_eq("payload", after.text(), before.text())
}

//= mqtt5 3.3.1-1 test
//= mqtt5 4.3.2-3 test
//= mqtt5 4.3.3-3 test
//= mqtt5 4.4.0-1 test
//= mqtt5 4.6.0-1 test
fn unacknowledged_messages_are_repeated_in_order(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    let sent = [(1, "one"), (2, "two"), (1, "three"), (2, "four")];
    let mut before = Vec::new();
    for (qos, text) in sent {
        setting.publish(qos, text)?;
        before.push(setting.expect(text)?);
    }
    for _ in 0..2 {
        setting.resume(target)?;
        for message in &before {
            let after = setting.expect(&message.text())?;
            check_repeated(message, &after)?;
        }
        setting.subscriber.expect_nothing()?;
    }
    for message in &before {
        setting.subscriber.accept(message)?;
    }
    setting.subscriber.expect_nothing()?;
    setting.resume(target)?;
    setting.subscriber.expect_nothing()?;
    end_session(target, &setting.id)
}

//= mqtt5 4.3.2-3 test
//= mqtt5 4.6.0-6 test
//= mqtt5 4.6.0-1 test
fn repeated_messages_come_before_queued_ones(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    setting.publish(1, "one")?;
    setting.publish(1, "two")?;
    setting.publish(1, "three")?;
    let one = setting.expect("one")?;
    let two = setting.expect("two")?;
    let three = setting.expect("three")?;
    // Acknowledged in the middle, so that what is left is not simply a prefix.
    setting.subscriber.accept(&two)?;
    setting.subscriber.expect_nothing()?;
    let zero = Props::new();
    setting
        .subscriber
        .disconnect_with(&crate::wire::Disconnect::new().props(zero))?;
    setting.publish(1, "four")?;
    setting.publish(1, "five")?;
    setting.resume(target)?;
    check_repeated(&one, &setting.expect("one")?)?;
    check_repeated(&three, &setting.expect("three")?)?;
    for text in ["four", "five"] {
        let message = setting.expect(text)?;
        check(!message.dup, "DUP is set on a first delivery")?;
        setting.subscriber.accept(&message)?;
    }
    end_session(target, &setting.id)
}

//= mqtt5 4.3.3-5 test
//= mqtt5 4.3.3-6 test
//= mqtt5 4.4.0-1 test
fn pubrel_is_repeated_instead_of_the_message(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    setting.publish(2, "one")?;
    let message = setting.expect("one")?;
    setting.subscriber.send(Acknowledge::pubrec(message.id))?;
    setting.subscriber.expect_pubrel(message.id)?;
    for _ in 0..2 {
        setting.resume(target)?;
        setting.subscriber.expect_pubrel(message.id)?;
        setting.subscriber.expect_nothing()?;
    }
    setting.subscriber.send(Acknowledge::pubcomp(message.id))?;
    setting.subscriber.expect_nothing()?;
    setting.resume(target)?;
    setting.subscriber.expect_nothing()?;
    end_session(target, &setting.id)
}

//= mqtt5 4.4.0-2 test
fn refused_messages_are_not_repeated(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    setting.publish(1, "one")?;
    setting.publish(2, "two")?;
    let one = setting.expect("one")?;
    let two = setting.expect("two")?;
    setting
        .subscriber
        .send(Acknowledge::puback(one.id).code(0x80))?;
    setting
        .subscriber
        .send(Acknowledge::pubrec(two.id).code(0x97))?;
    setting.subscriber.expect_nothing()?;
    setting.resume(target)?;
    setting.subscriber.expect_nothing()?;
    end_session(target, &setting.id)
}

//= mqtt5 4.3.2-3 test
//= mqtt5 4.3.3-3 test
fn wrong_kind_of_acknowledgement_settles_nothing(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    setting.publish(1, "one")?;
    setting.publish(2, "two")?;
    let one = setting.expect("one")?;
    let two = setting.expect("two")?;
    // A broker may take offence and close; the messages are still owed.
    setting.subscriber.send(Acknowledge::puback(two.id))?;
    setting.subscriber.send(Acknowledge::pubcomp(one.id))?;
    setting.subscriber.send(Acknowledge::pubcomp(two.id))?;
    let _answer = setting.subscriber.expect_alive();
    setting.resume(target)?;
    check_repeated(&one, &setting.expect("one")?)?;
    check_repeated(&two, &setting.expect("two")?)?;
    end_session(target, &setting.id)
}

//= mqtt5 4.4.0-1 test
fn clean_start_repeats_nothing(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    setting.publish(1, "one")?;
    setting.publish(2, "two")?;
    setting.expect("one")?;
    setting.expect("two")?;
    let (mut fresh, connack) = target.connect(&Connect::v5(&setting.id))?;
    check(
        !connack.session_present,
        "Session Present is set for Clean Start 1",
    )?;
    fresh.expect_nothing()
}

//= mqtt5 4.3.3-7 test
fn begun_qos_2_delivery_does_not_expire(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    let props = Props::new().u32(prop::MESSAGE_EXPIRY, 1);
    let publish = Publish::new(&setting.topic, "one").qos(2, 1).props(props);
    setting.publisher.publish(&publish)?;
    let before = setting.expect("one")?;
    let_time_pass(Duration::from_millis(2_200));
    setting.resume(target)?;
    let after = setting.expect("one")?;
    check_repeated(&before, &after)?;
    setting.subscriber.accept(&after)?;
    end_session(target, &setting.id)
}

//= mqtt5 4.3.3-10 test
//= mqtt5 4.3.3-8 test
fn qos_2_duplicate_after_a_reconnect_is_delivered_once(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let (id, topic) = (target.id(), target.topic("t"));
    let mut subscriber = target.client(V5)?;
    subscriber.subscribe(&topic, 2)?;
    let (mut publisher, _) = persistent(target, Connect::v5(&id))?;
    let publish = Publish::new(&topic, "once").qos(2, 1);
    publisher.send(&publish)?;
    publisher.expect_pubrec(1)?;
    for _ in 0..2 {
        publisher.sever();
        publisher = persistent(target, Connect::v5(&id).resume())?.0;
        publisher.send(publish.clone().dup())?;
        check(
            publisher.expect_pubrec(1)?.code < 0x80,
            "the repetition was refused",
        )?;
    }
    publisher.send(Acknowledge::pubrel(1))?;
    check_eq("reason of PUBCOMP", publisher.expect_pubcomp(1)?.code, 0)?;
    // The broker may have delivered at the first PUBLISH or wait for PUBREL.
    let message = subscriber.expect_message(&topic, "once")?;
    subscriber.accept(&message)?;
    subscriber.expect_silence(&mut publisher)?;
    publisher.sever();
    end_session(target, &id)
}

//= mqtt5 4.3.3-11 test
//= mqtt5 4.3.3-10 test
fn pubrel_after_a_reconnect_is_answered(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut publisher, _) = persistent(target, Connect::v5(&id))?;
    publisher.send(Publish::new(&topic, "x").qos(2, 1))?;
    publisher.expect_pubrec(1)?;
    publisher.sever();
    let (mut publisher, _) = persistent(target, Connect::v5(&id).resume())?;
    publisher.send(Acknowledge::pubrel(1))?;
    check_eq("reason of PUBCOMP", publisher.expect_pubcomp(1)?.code, 0)?;
    // A repetition, if PUBCOMP got lost.
    publisher.send(Acknowledge::pubrel(1))?;
    publisher.expect_pubcomp(1)?;
    publisher.expect_nothing()?;
    end_session(target, &id)
}

//= mqtt5 3.1.2-5 test
//= mqtt5 4.4.0-1 test
fn server_identifiers_stay_apart_after_a_resume(target: &Target) -> Verdict {
    let mut setting = Setting::new(target)?;
    setting.publish(1, "one")?;
    let one = setting.expect("one")?;
    setting.resume(target)?;
    check_repeated(&one, &setting.expect("one")?)?;
    setting.publish(1, "two")?;
    let two = setting.expect("two")?;
    check(
        one.id != two.id,
        "the identifier of an unacknowledged message was used again",
    )?;
    setting.subscriber.accept(&two)?;
    setting.subscriber.accept(&one)?;
    end_session(target, &setting.id)
}
