//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use super::{about, client, subscriber};
use crate::case::{Case, Verdict, Version, check, check_eq, fail};
use crate::harness::{Event, Target};
use crate::wire::{Acknowledge, Packet, Publish, Subscribe, Unsubscribe};
use std::time::Instant;

cases! {
    unsubscribe_is_answered_with_unsuback: ["3.10.4-4", "2.3.1-7"];
    unsubscribe_of_nothing_is_answered_too: ["3.10.4-5"];
    unsubscribe_ends_the_subscription: ["3.10.4-1", "3.10.4-2"];
    unsubscribe_compares_filters_literally: ["3.10.4-1"];
    unsubscribe_of_an_overlapping_filter_leaves_the_other: ["3.10.4-1"];
    unsubscribe_several_filters_at_once: ["3.10.4-6"];
    unsubscribe_finishes_deliveries_begun: ["3.10.4-3"];
    subscribe_after_unsubscribe_works: ["3.10.4-1", "3.8.4-1"];
    unsubscribed_filters_do_not_come_back_with_the_session: ["3.10.4-1", "4.1.0-1"];
}

//= mqtt311 3.10.4-4 test
//= mqtt311 2.3.1-7 test
fn unsubscribe_is_answered_with_unsuback(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = client(target)?;
    for id in [1, 0x100, 0xFFFF] {
        client.send(Subscribe::new(id).filter(&topic, 0))?;
        client.expect_suback(id)?;
        client.send(Unsubscribe::new(id).filter(&topic))?;
        client.expect_unsuback(id)?;
    }
    client.expect_nothing()
}

//= mqtt311 3.10.4-5 test
fn unsubscribe_of_nothing_is_answered_too(target: &Target) -> Verdict {
    let mut client = client(target)?;
    client.send(Unsubscribe::new(7).filter(&target.topic("t")))?;
    client.expect_unsuback(7)?;
    client.send(Unsubscribe::new(8).filter("#").filter("+/nothing"))?;
    client.expect_unsuback(8)?;
    client.expect_nothing()
}

//= mqtt311 3.10.4-1 test
//= mqtt311 3.10.4-2 test
fn unsubscribe_ends_the_subscription(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for tail in ["a", "+", "#"] {
        let base = target.topic("t");
        let (topic, filter) = (format!("{base}/a"), format!("{base}/{tail}"));
        let mut receiver = subscriber(target, &filter, 1)?;
        publisher.publish_acked(&topic, "before")?;
        let message = receiver.expect_message(&topic, "before")?;
        receiver.accept(&message)?;
        receiver.send(Unsubscribe::new(900).filter(&filter))?;
        receiver.expect_unsuback(900)?;
        publisher.publish_acked(&topic, "after")?;
        about(&filter, receiver.expect_silence(&mut publisher))?;
    }
    Ok(())
}

//= mqtt311 3.10.4-1 test
fn unsubscribe_compares_filters_literally(target: &Target) -> Verdict {
    let base = target.topic("t");
    let topic = format!("{base}/a");
    let mut receiver = subscriber(target, &topic, 0)?;
    let others = [
        format!("{base}/+"),
        format!("{base}/#"),
        format!("{base}/A"),
        format!("{base}/a/"),
        format!("{topic}/#"),
        base.clone(),
    ];
    let mut publisher = client(target)?;
    for (other, id) in others.iter().zip(900..) {
        receiver.send(Unsubscribe::new(id).filter(other))?;
        receiver.expect_unsuback(id)?;
        publisher.send(Publish::new(&topic, other))?;
        about(other, receiver.expect_message(&topic, other))?;
    }
    Ok(())
}

//= mqtt311 3.10.4-1 test
fn unsubscribe_of_an_overlapping_filter_leaves_the_other(target: &Target) -> Verdict {
    let base = target.topic("t");
    let topic = format!("{base}/a");
    let wild = format!("{base}/#");
    let mut receiver = subscriber(target, &topic, 0)?;
    receiver.subscribe(&wild, 1)?;
    receiver.send(Unsubscribe::new(900).filter(&wild))?;
    receiver.expect_unsuback(900)?;
    let mut publisher = client(target)?;
    publisher.publish_acked(&topic, "x")?;
    check_eq("QoS", receiver.expect_message(&topic, "x")?.qos, 0)?;
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 3.10.4-6 test
fn unsubscribe_several_filters_at_once(target: &Target) -> Verdict {
    let topics = [target.topic("a"), target.topic("b"), target.topic("c")];
    let kept = target.topic("kept");
    let mut receiver = subscriber(target, &kept, 0)?;
    let mut unsubscribe = Unsubscribe::new(900).filter(&target.topic("unknown"));
    for topic in &topics {
        receiver.subscribe(topic, 0)?;
        unsubscribe = unsubscribe.filter(topic);
    }
    receiver.send(unsubscribe)?;
    receiver.expect_unsuback(900)?;
    receiver.expect_nothing()?;
    let mut publisher = client(target)?;
    for topic in &topics {
        publisher.send(Publish::new(topic, "x"))?;
    }
    publisher.send(Publish::new(&kept, "kept"))?;
    receiver.expect_message(&kept, "kept")?;
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 3.10.4-3 test
fn unsubscribe_finishes_deliveries_begun(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 2)?;
    let mut publisher = client(target)?;
    publisher.publish(&Publish::new(&topic, "1").qos(1, 1_000))?;
    publisher.publish(&Publish::new(&topic, "2").qos(2, 1_000))?;
    publisher.publish(&Publish::new(&topic, "3").qos(2, 1_000))?;
    let one = receiver.expect_message(&topic, "1")?;
    let two = receiver.expect_message(&topic, "2")?;
    let three = receiver.expect_message(&topic, "3")?;
    receiver.send(Acknowledge::pubrec(three.id))?;
    receiver.expect_pubrel(three.id)?;
    receiver.send(Unsubscribe::new(900).filter(&topic))?;
    receiver.expect_unsuback(900)?;
    receiver.accept(&one)?;
    receiver.accept(&two)?;
    receiver.send(Acknowledge::pubcomp(three.id))?;
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 3.10.4-1 test
//= mqtt311 3.8.4-1 test
fn subscribe_after_unsubscribe_works(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = client(target)?;
    let mut publisher = client(target)?;
    for round in 0..5 {
        receiver.subscribe(&topic, 0)?;
        publisher.send(Publish::new(&topic, round.to_string()))?;
        receiver.expect_message(&topic, round.to_string())?;
        let id = receiver.fresh_id();
        receiver.send(Unsubscribe::new(id).filter(&topic))?;
        receiver.expect_unsuback(id)?;
    }
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 3.10.4-1 test
//= mqtt311 4.1.0-1 test
fn unsubscribed_filters_do_not_come_back_with_the_session(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut receiver, _) = super::persistent(target, &id)?;
    receiver.subscribe(&topic, 1)?;
    receiver.send(Unsubscribe::new(900).filter(&topic))?;
    receiver.expect_unsuback(900)?;
    receiver.disconnect()?;
    let mut publisher = client(target)?;
    publisher.publish_acked(&topic, "x")?;
    let (mut receiver, present) = super::persistent(target, &id)?;
    check(present, "the session is gone")?;
    match receiver.read(Instant::now() + receiver.timeout() / 10)? {
        Event::Timeout => {}
        Event::Packet(Packet::Publish(_)) => return fail("a message without a subscription"),
        Event::Packet(_) | Event::Closed => return fail("expected nothing"),
    }
    receiver.expect_silence(&mut publisher)?;
    receiver.disconnect()?;
    super::forget(target, &id)
}
