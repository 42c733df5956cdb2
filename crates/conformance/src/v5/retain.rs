//! Retained messages (section 3.3.1.3) and subscription options about them (3.8.3.1).

use std::time::{Duration, Instant};

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq};
use crate::harness::{Client, Target};
use crate::v5::support::{Pipeline, STRAGGLERS, clear_retained};
use crate::wire::{Publish, Subscribe, prop};

pub(crate) const CASES: &[Case] = &[
    case!(V5, retained_message_replaces_the_previous_one, "3.3.1-5"),
    case!(V5, empty_retained_message_deletes, "3.3.1-6", "3.3.1-7"),
    case!(V5, plain_message_leaves_the_retained_one_alone, "3.3.1-8"),
    case!(
        V5,
        retain_handling_0_replays_on_every_subscribe,
        "3.3.1-9",
        "3.8.4-4"
    ),
    case!(
        V5,
        retain_handling_1_replays_to_new_subscriptions,
        "3.3.1-10"
    ),
    case!(V5, retain_handling_2_never_replays, "3.3.1-11"),
    case!(
        V5,
        retain_flag_is_forwarded_as_asked_for,
        "3.3.1-12",
        "3.3.1-13"
    ),
    case!(
        V5,
        replay_matches_wildcards_and_carries_the_identifier,
        "3.3.1-9",
        "3.8.4-8"
    ),
    case!(
        V5,
        replay_never_goes_back_in_time,
        "3.3.1-5",
        "4.6.0-5",
        "4.6.0-6"
    ),
    case!(V5, retained_messages_expire, "3.3.2-5", "3.3.2-6"),
];

/// Retain As Published, in the options byte.
const AS_PUBLISHED: u8 = 0x08;
/// Retain Handling 1, in the options byte.
const IF_NEW: u8 = 0x10;
/// Retain Handling 2, in the options byte.
const NEVER: u8 = 0x20;

/// A publisher that has stored `text` at the topic.
fn stored(target: &Target, text: &str) -> Verdict<(Client, String)> {
    target.needs_retain()?;
    let topic = target.topic("retained");
    let mut publisher = target.client(V5)?;
    store(&mut publisher, &topic, text)?;
    Ok((publisher, topic))
}

fn store(publisher: &mut Client, topic: &str, text: &str) -> Verdict {
    let id = publisher.fresh_id();
    publisher.publish(&Publish::new(topic, text).retain().qos(1, id))
}

/// A new client gets exactly these on subscribing.
fn expect_replay(target: &Target, topic: &str, wanted: &[&str]) -> Verdict {
    let mut client = target.client(V5)?;
    let mut other = target.client(V5)?;
    client.subscribe(topic, 0)?;
    // A replay may come later than what others publish meanwhile: each is waited for by itself.
    for text in wanted {
        let message = client.expect_message(topic, text)?;
        check(message.retain, "a replayed message has RETAIN 0")?;
    }
    client.expect_silence(&mut other)?;
    client.expect_quiet_for(STRAGGLERS)
}

//= mqtt5 3.3.1-5 test
fn retained_message_replaces_the_previous_one(target: &Target) -> Verdict {
    let (mut publisher, topic) = stored(target, "one")?;
    expect_replay(target, &topic, &["one"])?;
    store(&mut publisher, &topic, "two")?;
    expect_replay(target, &topic, &["two"])?;
    if target.capabilities()?.maximum_qos == 2 {
        publisher.publish(&Publish::new(&topic, "three").retain().qos(2, 90))?;
        expect_replay(target, &topic, &["three"])?;
    }
    publisher.publish(&Publish::new(&topic, "four").retain())?;
    // QoS 0 is not answered, so nothing tells when it has taken the place of the other.
    let started = Instant::now();
    while expect_replay(target, &topic, &["four"]).is_err() {
        if started.elapsed() > publisher.timeout() {
            expect_replay(target, &topic, &["four"]).during("QoS 0")?;
        }
    }
    clear_retained(&mut publisher, &topic)
}

//= mqtt5 3.3.1-6 test
//= mqtt5 3.3.1-7 test
fn empty_retained_message_deletes(target: &Target) -> Verdict {
    let (mut publisher, topic) = stored(target, "one")?;
    let mut subscriber = target.client(V5)?;
    subscriber.subscribe(&topic, NEVER)?;
    store(&mut publisher, &topic, "")?;
    subscriber
        .expect_message(&topic, "")
        .during("delivered normally")?;
    expect_replay(target, &topic, &[])?;
    // Also where there was none.
    store(&mut publisher, &topic, "")?;
    expect_replay(target, &topic, &[])
}

//= mqtt5 3.3.1-8 test
fn plain_message_leaves_the_retained_one_alone(target: &Target) -> Verdict {
    let (mut publisher, topic) = stored(target, "kept")?;
    publisher.publish_acked(&topic, "plain")?;
    publisher.publish_acked(&topic, "")?;
    expect_replay(target, &topic, &["kept"])?;
    clear_retained(&mut publisher, &topic)?;
    publisher.publish_acked(&topic, "plain")?;
    expect_replay(target, &topic, &[])
}

//= mqtt5 3.3.1-9 test
//= mqtt5 3.8.4-4 test
fn retain_handling_0_replays_on_every_subscribe(target: &Target) -> Verdict {
    let (mut publisher, topic) = stored(target, "kept")?;
    let mut client = target.client(V5)?;
    for _ in 0..2 {
        client.subscribe(&topic, 0)?;
        let message = client.expect_message(&topic, "kept")?;
        check(message.retain, "RETAIN is 0")?;
    }
    client.expect_nothing()?;
    clear_retained(&mut publisher, &topic)
}

//= mqtt5 3.3.1-10 test
fn retain_handling_1_replays_to_new_subscriptions(target: &Target) -> Verdict {
    let (mut publisher, topic) = stored(target, "kept")?;
    let mut client = target.client(V5)?;
    client.subscribe(&topic, IF_NEW)?;
    client
        .expect_message(&topic, "kept")
        .during("a new subscription")?;
    client.subscribe(&topic, IF_NEW)?;
    client
        .expect_silence(&mut publisher)
        .during("the same subscription again")?;
    client.subscribe(&topic, IF_NEW | 1)?;
    client
        .expect_silence(&mut publisher)
        .during("with another QoS")?;
    clear_retained(&mut publisher, &topic)
}

//= mqtt5 3.3.1-11 test
fn retain_handling_2_never_replays(target: &Target) -> Verdict {
    let (mut publisher, topic) = stored(target, "kept")?;
    let mut client = target.client(V5)?;
    client.subscribe(&topic, NEVER)?;
    client.expect_silence(&mut publisher)?;
    client.subscribe(&topic, NEVER)?;
    client.expect_silence(&mut publisher)?;
    publisher.publish_acked(&topic, "live")?;
    client.expect_message(&topic, "live")?;
    clear_retained(&mut publisher, &topic)
}

//= mqtt5 3.3.1-12 test
//= mqtt5 3.3.1-13 test
fn retain_flag_is_forwarded_as_asked_for(target: &Target) -> Verdict {
    let (mut publisher, topic) = stored(target, "old")?;
    let mut plain = target.client(V5)?;
    plain.subscribe(&topic, NEVER)?;
    let mut faithful = target.client(V5)?;
    faithful.subscribe(&topic, NEVER | AS_PUBLISHED)?;
    store(&mut publisher, &topic, "retained")?;
    publisher.publish_acked(&topic, "plain")?;
    check(
        !plain.expect_message(&topic, "retained")?.retain,
        "RETAIN is forwarded unasked",
    )?;
    check(
        !plain.expect_message(&topic, "plain")?.retain,
        "RETAIN is invented",
    )?;
    check(
        faithful.expect_message(&topic, "retained")?.retain,
        "RETAIN is not forwarded",
    )?;
    check(
        !faithful.expect_message(&topic, "plain")?.retain,
        "RETAIN is invented",
    )?;
    clear_retained(&mut publisher, &topic)
}

//= mqtt5 3.3.1-9 test
//= mqtt5 3.8.4-8 test
fn replay_matches_wildcards_and_carries_the_identifier(target: &Target) -> Verdict {
    target.needs_wildcards()?;
    target.needs_subscription_ids()?;
    let base = target.topic("r");
    let mut publisher = target.client(V5)?;
    target.needs_retain()?;
    for leaf in ["a", "b", "c"] {
        let id = publisher.fresh_id();
        let publish = Publish::new(&format!("{base}/{leaf}"), leaf)
            .retain()
            .qos(1, id);
        publisher.publish(&publish)?;
    }
    let mut client = target.client(V5)?;
    let filter = format!("{base}/+");
    client.subscribe_with(7, &Subscribe::new(7).identifier(77).filter(&filter, 1))?;
    let mut replayed = Vec::new();
    for _ in 0..3 {
        let message = client.expect_publish()?;
        client.accept(&message)?;
        check_eq("QoS", message.qos, 1)?;
        check_eq("identifiers", message.props.subscription_ids(), vec![77])?;
        check(message.retain, "RETAIN is 0")?;
        replayed.push(message.text());
    }
    replayed.sort();
    check_eq(
        "replayed",
        replayed,
        vec!["a".to_owned(), "b".into(), "c".into()],
    )?;
    client.expect_silence(&mut publisher)?;
    for leaf in ["a", "b", "c"] {
        clear_retained(&mut publisher, &format!("{base}/{leaf}"))?;
    }
    Ok(())
}

//= mqtt5 3.3.1-5 test
//= mqtt5 4.6.0-5 test
//= mqtt5 4.6.0-6 test
fn replay_never_goes_back_in_time(target: &Target) -> Verdict {
    const LAST: u16 = 120;
    target.needs_retain()?;
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let mut receivers = Vec::new();
    let mut pipeline = Pipeline::new(target)?;
    for value in 1..=LAST {
        let publish = Publish::new(&topic, value.to_string())
            .retain()
            .qos(1, value);
        pipeline.send(&mut publisher, &publish)?;
        if value % 10 == 0 {
            let mut receiver = target.client(V5)?;
            receiver.send(Subscribe::new(1).filter(&topic, 1))?;
            receivers.push(receiver);
        }
    }
    for receiver in &mut receivers {
        let mut newest = 0;
        while newest < LAST {
            let message = receiver.expect_publish()?;
            receiver.accept(&message)?;
            let value = message.text().parse().unwrap_or(0);
            // The newest may come twice, as replay and as it is published; an older one may not.
            check(value >= newest, "an older value came after a newer one")?;
            newest = value;
        }
        receiver.expect_suback(1)?;
    }
    pipeline.finish(&mut publisher)?;
    clear_retained(&mut publisher, &topic)
}

//= mqtt5 3.3.2-5 test
//= mqtt5 3.3.2-6 test
fn retained_messages_expire(target: &Target) -> Verdict {
    target.needs_retain()?;
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let expiring = |seconds| crate::wire::Props::new().u32(prop::MESSAGE_EXPIRY, seconds);
    let publish = Publish::new(&topic, "short").retain().props(expiring(1));
    publisher.publish(&publish.qos(1, 1))?;
    let lasting = format!("{topic}/lasting");
    let publish = Publish::new(&lasting, "long").retain().props(expiring(100));
    publisher.publish(&publish.qos(1, 2))?;
    crate::harness::let_time_pass(Duration::from_millis(2_200));
    expect_replay(target, &topic, &[])?;
    let mut late = target.client(V5)?;
    late.subscribe(&lasting, 0)?;
    let left = late
        .expect_message(&lasting, "long")?
        .props
        .number(prop::MESSAGE_EXPIRY);
    check(
        left.is_some_and(|s| (90..=98).contains(&s)),
        "the expiry was not counted down",
    )?;
    clear_retained(&mut publisher, &lasting)
}
