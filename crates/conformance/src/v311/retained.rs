//! Retained messages (section 3.3.1.3).

use super::{about, client, forget, late_subscriber, persistent, settle, subscriber, unretain};
use crate::case::{Case, Verdict, Version, check, check_eq, fail};
use crate::harness::{Client, Target};
use crate::wire::{Encode, Message, Publish, Subscribe};
use std::collections::BTreeSet;

cases! {
    retained_message_greets_new_subscriptions: ["3.3.1-5", "3.3.1-6", "3.3.1-8"];
    retained_message_is_kept_with_its_qos: ["3.3.1-5", "3.8.4-6"];
    live_messages_have_retain_0: ["3.3.1-9"];
    queued_messages_have_retain_0: ["3.3.1-9", "3.1.2-5"];
    empty_retained_message_is_delivered_and_deletes: ["3.3.1-10", "3.3.1-11"];
    later_retained_message_replaces_the_earlier: ["3.3.1-5", "3.3.1-6"];
    qos_0_retained_message_evicts_the_old_one: ["3.3.1-7"];
    message_without_retain_leaves_the_retained_one: ["3.3.1-12"];
    retained_message_outlives_the_session: ["3.1.2-7"];
    wildcard_subscription_gets_every_retained_message: ["3.3.1-6"];
    wildcards_do_not_get_retained_dollar_topics: ["4.7.2-1"];
    retained_messages_of_several_filters: ["3.3.1-6", "3.8.4-4"];
    fifteen_hundred_retained_messages_all_arrive: ["3.3.1-6"];
    retained_message_of_256_kib: ["3.3.1-5"];
    retained_message_comes_before_what_follows_it: ["3.3.1-6", "4.6.0-6"];
    no_older_value_after_a_newer_one: ["3.3.1-6", "4.6.0-6"];
}

//= mqtt311 3.3.1-5 test
//= mqtt311 3.3.1-6 test
//= mqtt311 3.3.1-8 test
fn retained_message_greets_new_subscriptions(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "kept").retain().qos(1, 1_000))?;
    for qos in 0..3 {
        let mut receiver = late_subscriber(target, &mut publisher, &topic, qos)?;
        let message = receiver.expect_message(&topic, "kept")?;
        check(
            message.retain,
            "RETAIN is 0 on a message sent because of SUBSCRIBE",
        )?;
        check_eq("DUP", message.dup, false)?;
        check_eq("QoS", message.qos, qos.min(1))?;
        receiver.accept(&message)?;
        receiver.expect_silence(&mut publisher)?;
    }
    unretain(&mut publisher, &topic)
}

//= mqtt311 3.3.1-5 test
//= mqtt311 3.8.4-6 test
fn retained_message_is_kept_with_its_qos(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for published in 1..3 {
        let topic = target.topic("t");
        publisher.publish(&Publish::new(&topic, "kept").retain().qos(published, 1_000))?;
        for granted in 0..3 {
            let mut receiver = late_subscriber(target, &mut publisher, &topic, granted)?;
            let message = receiver.expect_message(&topic, "kept")?;
            let what = format!("QoS, kept at {published}, granted {granted}");
            check_eq(&what, message.qos, published.min(granted))?;
            receiver.accept(&message)?;
            receiver.expect_nothing()?;
        }
        unretain(&mut publisher, &topic)?;
    }
    Ok(())
}

//= mqtt311 3.3.1-9 test
fn live_messages_have_retain_0(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    for qos in 0..3 {
        publisher.publish(&Publish::new(&topic, "x").retain().qos(qos, 1_000))?;
        let message = receiver.expect_message(&topic, "x")?;
        check(
            !message.retain,
            "RETAIN is 1 for an established subscription",
        )?;
        receiver.accept(&message)?;
    }
    unretain(&mut publisher, &topic)
}

//= mqtt311 3.3.1-9 test
//= mqtt311 3.1.2-5 test
fn queued_messages_have_retain_0(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut receiver, _) = persistent(target, &id)?;
    receiver.subscribe(&topic, 1)?;
    receiver.disconnect()?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "x").retain().qos(1, 1_000))?;
    let (mut receiver, _) = persistent(target, &id)?;
    let message = receiver.expect_message(&topic, "x")?;
    check(
        !message.retain,
        "RETAIN is 1 for an established subscription",
    )?;
    receiver.accept(&message)?;
    // The session is resumed, not subscribed again: the retained message does not come.
    receiver.expect_silence(&mut publisher)?;
    unretain(&mut publisher, &topic)?;
    forget(target, &id)
}

//= mqtt311 3.3.1-10 test
//= mqtt311 3.3.1-11 test
fn empty_retained_message_is_delivered_and_deletes(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for qos in 0..3 {
        let topic = target.topic("t");
        publisher.publish(&Publish::new(&topic, "kept").retain().qos(1, 1_000))?;
        let mut receiver = late_subscriber(target, &mut publisher, &topic, 0)?;
        receiver.expect_message(&topic, "kept")?;
        publisher.publish(&Publish::new(&topic, "").retain().qos(qos, 1_000))?;
        let empty = receiver.expect_message(&topic, "")?;
        check(!empty.retain, "RETAIN is 1 for an established subscription")?;
        settle(target, &topic, None)?;
        let mut late = late_subscriber(target, &mut publisher, &topic, 0)?;
        late.expect_silence(&mut publisher)?;
    }
    // Where nothing was kept, an empty message is not kept either.
    let topic = target.topic("never");
    publisher.publish(&Publish::new(&topic, "").retain().qos(1, 1_000))?;
    late_subscriber(target, &mut publisher, &topic, 0)?.expect_silence(&mut publisher)
}

//= mqtt311 3.3.1-5 test
//= mqtt311 3.3.1-6 test
fn later_retained_message_replaces_the_earlier(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    for payload in ["1", "2", "3"] {
        publisher.publish(&Publish::new(&topic, payload).retain().qos(1, 1_000))?;
        let mut receiver = late_subscriber(target, &mut publisher, &topic, 0)?;
        receiver.expect_message(&topic, payload)?;
        receiver.expect_silence(&mut publisher)?;
    }
    unretain(&mut publisher, &topic)
}

/// The new message may be dropped at any time, but the old one must go, and not come back.
//= mqtt311 3.3.1-7 test
fn qos_0_retained_message_evicts_the_old_one(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "old").retain().qos(1, 1_000))?;
    publisher.send(Publish::new(&topic, "new").retain())?;
    if settle(target, &topic, Some("new")).is_err() {
        settle(target, &topic, None)?;
    }
    let mut receiver = late_subscriber(target, &mut publisher, &topic, 1)?;
    publisher.publish_acked(&topic, "end")?;
    let mut first = receiver.expect_publish()?;
    if first.retain {
        check_eq("the retained message", first.text().as_str(), "new")?;
        receiver.accept(&first)?;
        first = receiver.expect_publish()?;
    }
    check_eq("the live message", first.text().as_str(), "end")?;
    unretain(&mut publisher, &topic)
}

//= mqtt311 3.3.1-12 test
fn message_without_retain_leaves_the_retained_one(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "not kept").qos(1, 1_000))?;
    late_subscriber(target, &mut publisher, &topic, 0)?.expect_silence(&mut publisher)?;
    publisher.publish(&Publish::new(&topic, "kept").retain().qos(1, 1_000))?;
    for qos in 0..3 {
        publisher.publish(&Publish::new(&topic, "passing").qos(qos, 1_000))?;
        publisher.publish(&Publish::new(&topic, "").qos(qos, 1_000))?;
    }
    let mut receiver = late_subscriber(target, &mut publisher, &topic, 0)?;
    check(
        receiver.expect_message(&topic, "kept")?.retain,
        "RETAIN is 0",
    )?;
    receiver.expect_silence(&mut publisher)?;
    unretain(&mut publisher, &topic)
}

//= mqtt311 3.1.2-7 test
fn retained_message_outlives_the_session(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "1").retain().qos(1, 1_000))?;
    publisher.disconnect()?;
    settle(target, &topic, Some("1"))?;
    let id = target.id();
    let (mut publisher, _) = persistent(target, &id)?;
    publisher.publish(&Publish::new(&topic, "2").retain().qos(1, 1_000))?;
    publisher.sever();
    // Ends that session, too.
    forget(target, &id)?;
    settle(target, &topic, Some("2"))?;
    unretain(&mut client(target)?, &topic)
}

//= mqtt311 3.3.1-6 test
fn wildcard_subscription_gets_every_retained_message(target: &Target) -> Verdict {
    let base = target.topic("t");
    let levels = ["", "/a", "/b", "/a/x", "/b/x", "/a/x/y", "//x", "/a/"];
    let topics: Vec<String> = levels
        .iter()
        .map(|level| format!("{base}{level}"))
        .collect();
    let mut publisher = client(target)?;
    for topic in &topics {
        publisher.publish(&Publish::new(topic, topic).retain().qos(1, 1_000))?;
    }
    let table: [(&str, &[&str]); 7] = [
        ("/#", &levels),
        ("/+", &["/a", "/b"]),
        ("/+/x", &["/a/x", "/b/x", "//x"]),
        ("/+/+", &["/a/x", "/b/x", "//x", "/a/"]),
        ("/a/#", &["/a", "/a/x", "/a/x/y", "/a/"]),
        ("/+/x/#", &["/a/x", "/b/x", "/a/x/y", "//x"]),
        ("/c/#", &[]),
    ];
    for (filter, wanted) in table {
        let mut receiver = late_subscriber(target, &mut publisher, &format!("{base}{filter}"), 1)?;
        let mut wanted: BTreeSet<String> = wanted.iter().map(|w| format!("{base}{w}")).collect();
        while !wanted.is_empty() {
            let message = about(filter, receiver.expect_publish())?;
            check(
                message.retain,
                "RETAIN is 0 on a message sent because of SUBSCRIBE",
            )?;
            check(
                wanted.remove(&message.topic),
                &format!("{filter}: got {}", message.topic),
            )?;
            receiver.accept(&message)?;
        }
        about(filter, receiver.expect_silence(&mut publisher))?;
    }
    topics
        .iter()
        .try_for_each(|topic| unretain(&mut publisher, topic))
}

//= mqtt311 4.7.2-1 test
fn wildcards_do_not_get_retained_dollar_topics(target: &Target) -> Verdict {
    let tail = target.topic("t");
    let topic = format!("$mc/{tail}");
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "x").retain().qos(1, 1_000))?;
    let mut receiver = late_subscriber(target, &mut publisher, &format!("+/{tail}"), 0)?;
    receiver.subscribe(&format!("+/{tail}/#"), 0)?;
    receiver.expect_silence(&mut publisher)?;
    unretain(&mut publisher, &topic)
}

//= mqtt311 3.3.1-6 test
//= mqtt311 3.8.4-4 test
fn retained_messages_of_several_filters(target: &Target) -> Verdict {
    let topics = [target.topic("a"), target.topic("b"), target.topic("c")];
    let mut publisher = client(target)?;
    let mut subscribe = Subscribe::new(900);
    for topic in &topics {
        publisher.publish(&Publish::new(topic, topic).retain().qos(1, 1_000))?;
        subscribe = subscribe.filter(topic, 0);
    }
    let mut receiver = client(target)?;
    receiver.expect_silence(&mut publisher)?;
    receiver.send(subscribe)?;
    receiver.expect_suback(900)?;
    let mut seen = BTreeSet::new();
    for _ in &topics {
        let message = receiver.expect_publish()?;
        check(
            message.retain,
            "RETAIN is 0 on a message sent because of SUBSCRIBE",
        )?;
        seen.insert(message.topic);
    }
    check_eq("topics", seen, topics.iter().cloned().collect())?;
    receiver.expect_silence(&mut publisher)?;
    topics
        .iter()
        .try_for_each(|topic| unretain(&mut publisher, topic))
}

/// More than the queue of a session holds in some brokers: they are not queued, but sent as the
/// subscriber acknowledges.
//= mqtt311 3.3.1-6 test
fn fifteen_hundred_retained_messages_all_arrive(target: &Target) -> Verdict {
    const COUNT: u16 = 1_500;
    let base = target.topic("t");
    let mut publisher = client(target)?;
    retain_all(&mut publisher, &base, COUNT, "x")?;
    let verdict = (0..2).try_for_each(|qos| {
        let filter = format!("{base}/+");
        let mut receiver = late_subscriber(target, &mut publisher, &filter, qos)?;
        let mut seen = BTreeSet::new();
        for _ in 0..COUNT {
            let what = format!("QoS {qos}, after {} messages", seen.len());
            let message = about(&what, receiver.expect_publish())?;
            check(
                message.retain,
                "RETAIN is 0 on a message sent because of SUBSCRIBE",
            )?;
            let new = seen.insert(message.topic.clone());
            check(new, "a retained message came twice")?;
            receiver.accept(&message)?;
        }
        receiver.disconnect()
    });
    // So many are in the way of other cases, also when this one has failed.
    retain_all(&mut publisher, &base, COUNT, "")?;
    verdict
}

/// Sets (or, with an empty payload, clears) many retained messages.
fn retain_all(publisher: &mut Client, base: &str, count: u16, payload: &str) -> Verdict {
    // In pieces, so that neither side has to hold many acknowledgements.
    let ids: Vec<u16> = (1..=count).collect();
    for piece in ids.chunks(100) {
        let mut bytes = Vec::new();
        for id in piece {
            let publish = Publish::new(&format!("{base}/{id}"), payload)
                .retain()
                .qos(1, *id);
            bytes.extend(publish.encode(Version::V311));
        }
        publisher.send(bytes)?;
        for id in piece {
            publisher.expect_puback(*id)?;
        }
    }
    Ok(())
}

//= mqtt311 3.3.1-5 test
fn retained_message_of_256_kib(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let payload: Vec<u8> = (0..=250).cycle().take(256 * 1024).collect();
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, &payload).retain().qos(2, 1_000))?;
    let mut receiver = late_subscriber(target, &mut publisher, &topic, 2)?;
    let message = receiver.expect_publish()?;
    check(message.payload == payload, "another payload")?;
    receiver.accept(&message)?;
    unretain(&mut publisher, &topic)
}

/// One client publishes both, on one topic and at one QoS: the second may not overtake the first.
//= mqtt311 3.3.1-6 test
//= mqtt311 4.6.0-6 test
fn retained_message_comes_before_what_follows_it(target: &Target) -> Verdict {
    for round in 0..50 {
        let topic = target.topic("t");
        let mut publisher = client(target)?;
        publisher.publish(&Publish::new(&topic, "first").retain().qos(1, 1_000))?;
        let mut receiver = late_subscriber(target, &mut publisher, &topic, 1)?;
        publisher.publish_acked(&topic, "second")?;
        for payload in ["first", "second"] {
            let message = receiver.expect_message(&topic, payload);
            let message = about(&format!("round {round}"), message)?;
            receiver.accept(&message)?;
        }
        unretain(&mut publisher, &topic)?;
    }
    Ok(())
}

/// Subscribing while the value changes: whatever comes, it never goes back, and ends at the last.
//= mqtt311 3.3.1-6 test
//= mqtt311 4.6.0-6 test
fn no_older_value_after_a_newer_one(target: &Target) -> Verdict {
    const LAST: u16 = 200;
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    let mut receivers = Vec::new();
    for value in 1..=LAST {
        publisher.send(
            Publish::new(&topic, value.to_string())
                .retain()
                .qos(1, value),
        )?;
        if value % 20 == 0 {
            let mut receiver = client(target)?;
            receiver.send(Subscribe::new(1).filter(&topic, 1))?;
            receivers.push(receiver);
        }
    }
    for receiver in &mut receivers {
        let mut newest = 0;
        while newest < LAST {
            let message = receiver.expect_publish()?;
            receiver.accept(&message)?;
            let value = number(&message)?;
            check(value >= newest, &format!("{value} came after {newest}"))?;
            newest = value;
        }
    }
    for value in 1..=LAST {
        publisher.expect_puback(value)?;
    }
    unretain(&mut publisher, &topic)
}

fn number(message: &Message) -> Verdict<u16> {
    match message.text().parse() {
        Ok(number) => Ok(number),
        Err(_) => fail(format!("payload {:?}", message.text())),
    }
}
