//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use super::{about, client, subscriber, unretain};
use crate::case::{Case, Verdict, Version, check, check_eq};
use crate::harness::{Client, Target};
use crate::wire::{Encode, Message, Publish, Subscribe};

cases! {
    subscribe_is_answered_with_suback: ["3.8.4-1", "3.8.4-2", "2.3.1-7"];
    suback_has_one_code_per_filter_in_order: ["3.8.4-5", "3.9.3-1", "3.9.3-2", "3.8.4-4"];
    filters_of_one_subscribe_act_in_sequence: ["3.8.4-4"];
    five_hundred_filters_in_one_subscribe: ["3.8.4-4", "3.8.4-5"];
    subscribing_again_replaces_the_subscription: ["3.8.4-3"];
    subscribing_again_sends_retained_messages_again: ["3.8.4-3"];
    subscribing_again_loses_no_message: ["3.8.4-3"];
    filters_that_differ_are_different_subscriptions: ["3.8.4-3"];
    overlapping_subscriptions_deliver_at_the_highest_qos: ["3.3.5-1"];
    overlapping_subscriptions_at_one_qos: ["3.3.5-1"];
    wildcards_are_refused_or_work: ["3.8.3-2"];
    message_behind_suback_arrives: ["4.5.0-1"];
    pipelined_subscribes_are_answered_each: ["3.8.4-1", "3.8.4-2"];
}

//= mqtt311 3.8.4-1 test
//= mqtt311 3.8.4-2 test
//= mqtt311 2.3.1-7 test
fn subscribe_is_answered_with_suback(target: &Target) -> Verdict {
    let mut client = client(target)?;
    for id in [1, 0x100, 0xFFFF] {
        client.send(Subscribe::new(id).filter(&target.topic("t"), 0))?;
        let suback = client.expect_suback(id)?;
        check_eq("codes", suback.codes, vec![0])?;
    }
    client.expect_nothing()
}

//= mqtt311 3.8.4-5 test
//= mqtt311 3.9.3-1 test
//= mqtt311 3.9.3-2 test
//= mqtt311 3.8.4-4 test
fn suback_has_one_code_per_filter_in_order(target: &Target) -> Verdict {
    let mut client = client(target)?;
    let wanted = [2, 0, 1, 1, 0, 2, 0];
    let mut subscribe = Subscribe::new(1);
    for qos in wanted {
        subscribe = subscribe.filter(&target.topic("t"), qos);
    }
    client.send(subscribe)?;
    let suback = client.expect_suback(1)?;
    // The strict reader has refused any code but 0, 1, 2 and 0x80. A lower grant is legal.
    check_eq("number of codes", suback.codes.len(), wanted.len())?;
    for (granted, requested) in suback.codes.iter().zip(wanted) {
        check(
            *granted <= requested,
            &format!("codes {:?} for {wanted:?}", suback.codes),
        )?;
    }
    client.expect_nothing()
}

//= mqtt311 3.8.4-4 test
fn filters_of_one_subscribe_act_in_sequence(target: &Target) -> Verdict {
    let (topic, other) = (target.topic("t"), target.topic("other"));
    let mut receiver = client(target)?;
    // The last mention of a filter holds.
    let subscribe = Subscribe::new(1)
        .filter(&topic, 2)
        .filter(&other, 1)
        .filter(&topic, 0);
    receiver.send(subscribe)?;
    receiver.expect_suback(1)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "x").qos(2, 1_000))?;
    check_eq("QoS", receiver.expect_message(&topic, "x")?.qos, 0)?;
    publisher.publish(&Publish::new(&other, "y").qos(2, 1_000))?;
    let message = receiver.expect_message(&other, "y")?;
    check_eq("QoS", message.qos, 1)?;
    receiver.accept(&message)?;
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 3.8.4-4 test
//= mqtt311 3.8.4-5 test
fn five_hundred_filters_in_one_subscribe(target: &Target) -> Verdict {
    let base = target.topic("t");
    let mut receiver = client(target)?;
    let mut subscribe = Subscribe::new(1);
    for number in 0..500 {
        subscribe = subscribe.filter(&format!("{base}/{number}"), 0);
    }
    receiver.send(subscribe)?;
    check_eq("codes", receiver.expect_suback(1)?.codes, vec![0; 500])?;
    let mut publisher = client(target)?;
    for number in [0, 250, 499] {
        let topic = format!("{base}/{number}");
        publisher.send(Publish::new(&topic, "x"))?;
        receiver.expect_message(&topic, "x")?;
    }
    Ok(())
}

//= mqtt311 3.8.4-3 test
fn subscribing_again_replaces_the_subscription(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    let mut receiver = client(target)?;
    for qos in [0, 2, 1] {
        receiver.subscribe(&topic, qos)?;
        let payload = format!("QoS {qos}");
        publisher.publish(&Publish::new(&topic, &payload).qos(2, 1_000))?;
        let message = receiver.expect_message(&topic, &payload)?;
        check_eq("QoS", message.qos, qos)?;
        receiver.accept(&message)?;
        receiver.expect_silence(&mut publisher)?;
    }
    Ok(())
}

//= mqtt311 3.8.4-3 test
fn subscribing_again_sends_retained_messages_again(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "kept").retain().qos(1, 1_000))?;
    let mut receiver = client(target)?;
    receiver.expect_silence(&mut publisher)?;
    for _ in 0..3 {
        receiver.subscribe(&topic, 1)?;
        let message = receiver.expect_message(&topic, "kept")?;
        check(
            message.retain,
            "RETAIN is 0 on a message sent because of SUBSCRIBE",
        )?;
        receiver.accept(&message)?;
        receiver.expect_silence(&mut publisher)?;
    }
    unretain(&mut publisher, &topic)
}

//= mqtt311 3.8.4-3 test
fn subscribing_again_loses_no_message(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 1)?;
    let mut publisher = client(target)?;
    for id in 1..=100 {
        publisher.send(Publish::new(&topic, id.to_string()).qos(1, id))?;
        if id % 10 == 0 {
            receiver.send(Subscribe::new(1_000 + id).filter(&topic, 1))?;
        }
    }
    for id in 1..=100 {
        let message = receiver.expect_message(&topic, id.to_string())?;
        receiver.accept(&message)?;
        publisher.expect_puback(id)?;
    }
    for id in (10..=100).step_by(10) {
        receiver.expect_suback(1_000 + id)?;
    }
    receiver.expect_nothing()
}

/// Filters are the same only if they are the same characters, whatever they match.
//= mqtt311 3.8.4-3 test
fn filters_that_differ_are_different_subscriptions(target: &Target) -> Verdict {
    let base = target.topic("t");
    let topic = format!("{base}/a");
    let mut receiver = subscriber(target, &topic, 0)?;
    receiver.subscribe(&format!("{base}/+"), 0)?;
    receiver.subscribe(&format!("{base}/A"), 0)?;
    let mut publisher = client(target)?;
    // Replaces neither of the others.
    receiver.send(crate::wire::Unsubscribe::new(900).filter(&format!("{base}/A")))?;
    receiver.expect_unsuback(900)?;
    receiver.send(crate::wire::Unsubscribe::new(901).filter(&format!("{base}/+")))?;
    receiver.expect_unsuback(901)?;
    publisher.send(Publish::new(&topic, "x"))?;
    receiver.expect_message(&topic, "x")?;
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 3.3.5-1 test
fn overlapping_subscriptions_deliver_at_the_highest_qos(target: &Target) -> Verdict {
    // Every assignment of the three QoS to the three filters, in the order of subscribing.
    for qos in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let base = target.topic("t");
        let topic = format!("{base}/a/b");
        let filters = [format!("{base}/#"), topic.clone(), format!("{base}/+/b")];
        let mut receiver = client(target)?;
        let mut subscribe = Subscribe::new(1);
        for (filter, qos) in filters.iter().zip(qos) {
            subscribe = subscribe.filter(filter, qos);
        }
        receiver.send(subscribe)?;
        receiver.expect_suback(1)?;
        let mut publisher = client(target)?;
        publisher.publish(&Publish::new(&topic, "x").qos(2, 1_000))?;
        let copies = copies(&mut receiver, &mut publisher, &topic)?;
        about(&format!("{qos:?}"), check_copies(&copies, &[0, 1, 2]))?;
        receiver.disconnect()?;
    }
    Ok(())
}

//= mqtt311 3.3.5-1 test
fn overlapping_subscriptions_at_one_qos(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for qos in 0..3 {
        let base = target.topic("t");
        let topic = format!("{base}/a");
        let mut receiver = client(target)?;
        for filter in [&format!("{base}/+"), &topic, &format!("{topic}/#")] {
            receiver.subscribe(filter, qos)?;
        }
        publisher.publish(&Publish::new(&topic, "x").qos(2, 1_000))?;
        let copies = copies(&mut receiver, &mut publisher, &topic)?;
        about(&format!("QoS {qos}"), check_copies(&copies, &[qos; 3]))?;
        receiver.disconnect()?;
    }
    Ok(())
}

/// Every copy of "x" that arrives before a message that is published now.
fn copies(receiver: &mut Client, publisher: &mut Client, topic: &str) -> Verdict<Vec<Message>> {
    publisher.publish(&Publish::new(topic, "end").qos(2, 1_001))?;
    let mut copies = Vec::new();
    loop {
        let message = receiver.expect_publish()?;
        receiver.accept(&message)?;
        if message.text() == "end" {
            return Ok(copies);
        }
        check_eq("payload", message.text().as_str(), "x")?;
        copies.push(message);
    }
}

/// One copy at the highest QoS; or one per subscription, each at its own, but together respecting
/// the highest.
fn check_copies(copies: &[Message], granted: &[u8]) -> Verdict {
    let mut seen: Vec<u8> = copies.iter().map(|message| message.qos).collect();
    seen.sort_unstable();
    let highest = granted.iter().max().copied();
    check(
        seen.len() <= granted.len(),
        &format!("copies at QoS {seen:?}"),
    )?;
    check_eq(
        "the highest QoS of the copies",
        seen.last().copied(),
        highest,
    )
}

//= mqtt311 3.8.3-2 test
fn wildcards_are_refused_or_work(target: &Target) -> Verdict {
    let base = target.topic("t");
    let topic = format!("{base}/a/b");
    let filters = [
        format!("{base}/#"),
        format!("{base}/+/b"),
        format!("{base}/a/+"),
    ];
    let mut subscribe = Subscribe::new(1);
    for filter in &filters {
        subscribe = subscribe.filter(filter, 0);
    }
    let mut receiver = client(target)?;
    receiver.send(subscribe)?;
    let codes = receiver.expect_suback(1)?.codes;
    if codes == [0x80; 3] {
        return Ok(());
    }
    check_eq("codes", codes, vec![0; 3])?;
    for filter in &filters {
        let mut receiver = subscriber(target, filter, 0)?;
        client(target)?.send(Publish::new(&topic, "x"))?;
        about(filter, receiver.expect_message(&topic, "x"))?;
    }
    Ok(())
}

//= mqtt311 4.5.0-1 test
fn message_behind_suback_arrives(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for round in 0..50 {
        let topic = target.topic("t");
        let mut receiver = subscriber(target, &topic, 0)?;
        publisher.send(Publish::new(&topic, "x"))?;
        about(
            &format!("round {round}"),
            receiver.expect_message(&topic, "x"),
        )?;
    }
    Ok(())
}

//= mqtt311 3.8.4-1 test
//= mqtt311 3.8.4-2 test
fn pipelined_subscribes_are_answered_each(target: &Target) -> Verdict {
    let mut client = client(target)?;
    let mut bytes = Vec::new();
    for id in (1..=50).rev() {
        let qos = u8::try_from(id % 3).unwrap_or_default();
        let subscribe = Subscribe::new(id).filter(&target.topic("t"), qos);
        bytes.extend(subscribe.encode(Version::V311));
    }
    client.send(bytes)?;
    for id in (1..=50).rev() {
        let codes = client.expect_suback(id)?.codes;
        check_eq("number of codes", codes.len(), 1)?;
    }
    client.expect_nothing()
}
