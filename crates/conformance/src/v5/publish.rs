//! PUBLISH: its flags, properties and what is forwarded of them (section 3.3).

use std::time::Duration;

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq};
use crate::harness::{Target, let_time_pass};
use crate::v5::support::{all, closes, collect, each, end_session, persistent};
use crate::wire::{Bytes, Connect, Props, Publish, Subscribe, packet, prop};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        incoming_dup_is_not_forwarded,
        "3.3.1-2",
        "3.3.1-3",
        "4.3.1-1",
        "4.3.2-2",
        "4.3.3-2"
    ),
    case!(V5, qos_3_closes, "3.3.1-4", "4.13.1-1"),
    case!(V5, wrong_topic_names_close, "3.3.2-2", "4.7.0-1", "4.7.3-1"),
    case!(
        V5,
        properties_are_forwarded_unchanged,
        "3.3.2-4",
        "3.3.2-15",
        "3.3.2-16",
        "3.3.2-17",
        "3.3.2-18",
        "3.3.2-20"
    ),
    case!(
        V5,
        many_user_properties_keep_their_order,
        "3.3.2-17",
        "3.3.2-18"
    ),
    case!(
        V5,
        queued_messages_expire_and_count_down,
        "3.3.2-5",
        "3.3.2-6"
    ),
    case!(V5, expiry_is_forwarded_with_a_live_message, "3.3.2-6"),
    case!(
        V5,
        wildcard_in_the_response_topic_closes,
        "3.3.2-14",
        "4.7.0-1"
    ),
    case!(V5, wrong_publish_properties_close, "3.3.4-6", "4.13.1-1"),
    case!(V5, truncated_publish_closes, "4.13.1-1"),
    case!(
        V5,
        publish_is_answered_by_its_qos,
        "3.3.4-1",
        "2.2.1-5",
        "3.4.2-1",
        "3.5.2-1",
        "3.7.2-1",
        "4.3.2-4",
        "4.3.3-8",
        "4.3.3-11"
    ),
    case!(
        V5,
        overlapping_subscriptions_deliver_at_the_highest_qos,
        "3.3.4-2",
        "3.3.4-3",
        "3.3.4-4",
        "3.3.4-5"
    ),
    case!(
        V5,
        subscription_identifier_follows_the_subscription,
        "3.3.4-3",
        "3.8.4-3"
    ),
];

//= mqtt5 3.3.1-2 test
//= mqtt5 3.3.1-3 test
//= mqtt5 4.3.1-1 test
//= mqtt5 4.3.2-2 test
//= mqtt5 4.3.3-2 test
fn incoming_dup_is_not_forwarded(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let maximum = target.capabilities()?.maximum_qos;
    let mut publisher = target.client(V5)?;
    each(0..=maximum, |granted| {
        let mut subscriber = target.client(V5)?;
        subscriber.subscribe(&topic, granted)?;
        for qos in 1..=maximum {
            let id = publisher.fresh_id();
            publisher.publish(&Publish::new(&topic, "x").dup().qos(qos, id))?;
            let message = subscriber.expect_message(&topic, "x")?;
            check(!message.dup, "DUP was copied from the publisher")?;
            check_eq("QoS", message.qos, qos.min(granted))?;
            subscriber.accept(&message)?;
        }
        subscriber.disconnect()
    })
}

//= mqtt5 3.3.1-4 test
//= mqtt5 4.13.1-1 test
fn qos_3_closes(target: &Target) -> Verdict {
    let topic = target.topic("t");
    all([
        closes(target, "QoS 3", Publish::new(&topic, "x").qos(3, 1), &[]),
        closes(
            target,
            "QoS 3 with DUP",
            Publish::new(&topic, "x").dup().qos(3, 1),
            &[],
        ),
    ])
}

//= mqtt5 3.3.2-2 test
//= mqtt5 4.7.0-1 test
//= mqtt5 4.7.3-1 test
fn wrong_topic_names_close(target: &Target) -> Verdict {
    for topic in ["#", "+", "a/#", "a/+/b", "a+", "a#b"] {
        closes(target, topic, Publish::new(topic, "x"), &[0x90])?;
        closes(target, topic, Publish::new(topic, "x").qos(1, 1), &[0x90])?;
    }
    closes(
        target,
        "empty topic without an alias",
        Publish::new("", "x"),
        &[0x90, 0x94],
    )
}

//= mqtt5 3.3.2-4 test
//= mqtt5 3.3.2-15 test
//= mqtt5 3.3.2-16 test
//= mqtt5 3.3.2-17 test
//= mqtt5 3.3.2-18 test
//= mqtt5 3.3.2-20 test
fn properties_are_forwarded_unchanged(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let mut subscriber = target.client(V5)?;
    subscriber.subscribe(&topic, 2)?;
    let blob: Vec<u8> = (0..=255).collect();
    let props = Props::new()
        .pair("b", "2")
        .binary(prop::CORRELATION_DATA, &blob)
        .pair("a", "1")
        .text(prop::RESPONSE_TOPIC, "an/swer/\u{1F600}")
        .u8(prop::PAYLOAD_FORMAT, 1)
        .pair("b", "2")
        .text(prop::CONTENT_TYPE, "text/plain")
        .pair("", "");
    for qos in 0..=target.capabilities()?.maximum_qos {
        publisher.publish(&Publish::new(&topic, "pay").qos(qos, 9).props(props.clone()))?;
        let message = subscriber.expect_message(&topic, "pay")?;
        subscriber.accept(&message)?;
        let got = &message.props;
        check_eq("payload format", got.number(prop::PAYLOAD_FORMAT), Some(1))?;
        check_eq(
            "response topic",
            got.text(prop::RESPONSE_TOPIC),
            Some("an/swer/\u{1F600}"),
        )?;
        check_eq(
            "correlation data",
            got.binary(prop::CORRELATION_DATA),
            Some(&*blob),
        )?;
        check_eq(
            "content type",
            got.text(prop::CONTENT_TYPE),
            Some("text/plain"),
        )?;
        let pairs = vec![("b", "2"), ("a", "1"), ("b", "2"), ("", "")];
        check_eq("user properties", got.pairs(), pairs)?;
    }
    // What is absent stays absent; an explicit 0 may be forwarded or left out.
    publisher.publish(&Publish::new(&topic, "bare"))?;
    let bare = subscriber.expect_message(&topic, "bare")?;
    check_eq("properties of a bare PUBLISH", bare.props.0.len(), 0)
}

//= mqtt5 3.3.2-17 test
//= mqtt5 3.3.2-18 test
fn many_user_properties_keep_their_order(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0)?;
    let sent: Vec<(String, String)> = (0..100)
        .map(|n| (format!("k{}", n * 7 % 10), format!("v{n}")))
        .collect();
    let props = sent
        .iter()
        .fold(Props::new(), |props, (name, value)| props.pair(name, value));
    client.send(Publish::new(&topic, "x").props(props))?;
    let message = client.expect_message(&topic, "x")?;
    let wanted = sent
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    check_eq("user properties", message.props.pairs(), wanted)
}

//= mqtt5 3.3.2-5 test
//= mqtt5 3.3.2-6 test
fn queued_messages_expire_and_count_down(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut subscriber, _) = persistent(target, Connect::v5(&id))?;
    subscriber.subscribe(&topic, 1)?;
    subscriber.disconnect()?;
    let mut publisher = target.client(V5)?;
    for (text, seconds) in [("short", 1), ("long", 100)] {
        let props = Props::new().u32(prop::MESSAGE_EXPIRY, seconds);
        publisher.publish(&Publish::new(&topic, text).qos(1, 1).props(props))?;
    }
    publisher.publish_acked(&topic, "endless")?;
    let_time_pass(Duration::from_millis(2_200));
    let (mut subscriber, _) = persistent(target, Connect::v5(&id).resume())?;
    let long = subscriber.expect_message(&topic, "long")?;
    let left = long.props.number(prop::MESSAGE_EXPIRY);
    check(
        left.is_some_and(|s| (90..=98).contains(&s)),
        "the expiry was not counted down",
    )?;
    subscriber.accept(&long)?;
    let endless = subscriber.expect_message(&topic, "endless")?;
    check(
        !endless.props.has(prop::MESSAGE_EXPIRY),
        "an expiry was invented",
    )?;
    subscriber.accept(&endless)?;
    end_session(target, &id)
}

//= mqtt5 3.3.2-6 test
fn expiry_is_forwarded_with_a_live_message(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0)?;
    let props = Props::new().u32(prop::MESSAGE_EXPIRY, 100);
    client.send(Publish::new(&topic, "x").props(props))?;
    let left = client
        .expect_message(&topic, "x")?
        .props
        .number(prop::MESSAGE_EXPIRY);
    check(
        left.is_some_and(|s| (97..=100).contains(&s)),
        "the expiry is not as received",
    )
}

//= mqtt5 3.3.2-14 test
//= mqtt5 4.7.0-1 test
fn wildcard_in_the_response_topic_closes(target: &Target) -> Verdict {
    each(["#", "a/+", "a/b/#"], |response| {
        let props = Props::new().text(prop::RESPONSE_TOPIC, response);
        let publish = Publish::new(&target.topic("t"), "x").props(props);
        closes(target, response, publish, &[0x90])
    })
}

//= mqtt5 3.3.4-6 test
//= mqtt5 4.13.1-1 test
fn wrong_publish_properties_close(target: &Target) -> Verdict {
    let new = Props::new;
    let wrong = [
        (
            "subscription identifier",
            new().varint(prop::SUBSCRIPTION_ID, 1),
        ),
        ("payload format twice", new().u8(1, 1).u8(1, 1)),
        ("message expiry twice", new().u32(2, 9).u32(2, 9)),
        ("content type twice", new().text(3, "a").text(3, "b")),
        ("response topic twice", new().text(8, "a").text(8, "a")),
        (
            "correlation data twice",
            new().binary(9, b"a").binary(9, b"a"),
        ),
        ("topic alias twice", new().u16(0x23, 1).u16(0x23, 1)),
        ("session expiry", new().u32(prop::SESSION_EXPIRY, 1)),
        ("will delay", new().u32(prop::WILL_DELAY, 1)),
        ("reason string", new().text(prop::REASON_STRING, "x")),
        ("receive maximum", new().u16(prop::RECEIVE_MAXIMUM, 9)),
        ("unknown property", new().u8(0x0A, 0)),
        ("half a property", new().raw(&[prop::MESSAGE_EXPIRY, 0, 0])),
        (
            "string beyond the properties",
            new().raw(&[prop::CONTENT_TYPE, 0, 200, b'x']),
        ),
    ];
    each(wrong, |(what, props)| {
        let publish = Publish::new(&target.topic("t"), "x").props(props);
        closes(target, what, &publish, &[0x94])?;
        closes(target, what, publish.qos(1, 1), &[0x94]).during("QoS 1")
    })
}

//= mqtt5 4.13.1-1 test
fn truncated_publish_closes(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let body = Bytes::new()
        .string(&topic)
        .u16(7)
        .varint(4)
        .raw(&[0x26, 0, 0, 0])
        .0;
    each(0..body.len() - 1, |length| {
        let cut = body.get(..length).unwrap_or_default();
        closes(
            target,
            &format!("PUBLISH of {length} bytes"),
            packet(0x32, cut),
            &[0x90],
        )
    })
}

//= mqtt5 3.3.4-1 test
//= mqtt5 2.2.1-5 test
//= mqtt5 3.4.2-1 test
//= mqtt5 3.5.2-1 test
//= mqtt5 3.7.2-1 test
//= mqtt5 4.3.2-4 test
//= mqtt5 4.3.3-8 test
//= mqtt5 4.3.3-11 test
fn publish_is_answered_by_its_qos(target: &Target) -> Verdict {
    let topic = target.topic("nobody");
    let mut client = target.client(V5)?;
    client.send(Publish::new(&topic, "x"))?;
    client.expect_nothing().during("QoS 0")?;
    for id in [1, 300, 65_535] {
        client.publish(&Publish::new(&topic, "x").qos(1, id))?;
        client.expect_nothing()?;
    }
    target.needs_qos(2)?;
    each([1, 300, 65_535], |id| {
        client.publish(&Publish::new(&topic, "x").qos(2, id))?;
        client.expect_nothing()
    })
}

//= mqtt5 3.3.4-2 test
//= mqtt5 3.3.4-3 test
//= mqtt5 3.3.4-4 test
//= mqtt5 3.3.4-5 test
fn overlapping_subscriptions_deliver_at_the_highest_qos(target: &Target) -> Verdict {
    target.needs_wildcards()?;
    target.needs_subscription_ids()?;
    let maximum = target.capabilities()?.maximum_qos;
    let topic = target.topic("a/b");
    let base = topic.trim_end_matches("/a/b").to_owned();
    let mut publisher = target.client(V5)?;
    let mut client = target.client(V5)?;
    let filters = [
        (topic.clone(), 0, Some(10)),
        (format!("{base}/#"), 2, Some(20)),
        (format!("{base}/+/b"), 1, None),
    ];
    for (number, (filter, qos, identifier)) in (1..).zip(&filters) {
        let subscribe = Subscribe::new(number).filter(filter, *qos);
        let subscribe = match identifier {
            Some(identifier) => subscribe.identifier(*identifier),
            None => subscribe,
        };
        client.subscribe_with(number, &subscribe)?;
    }
    publisher.publish(&Publish::new(&topic, "x").qos(maximum, 9))?;
    let copies = collect(&mut client, &mut publisher)?;
    let highest = copies.iter().map(|copy| copy.qos).max();
    check_eq("highest QoS", highest, Some(maximum))?;
    let mut ids: Vec<Vec<u32>> = copies
        .iter()
        .map(|copy| copy.props.subscription_ids())
        .collect();
    ids.sort();
    if copies.len() == 1 {
        check_eq("identifiers of the single copy", ids, vec![vec![10, 20]])
    } else {
        check_eq(
            "identifiers of the copies",
            ids,
            vec![vec![], vec![10], vec![20]],
        )
    }
}

//= mqtt5 3.3.4-3 test
//= mqtt5 3.8.4-3 test
fn subscription_identifier_follows_the_subscription(target: &Target) -> Verdict {
    target.needs_subscription_ids()?;
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    let expect = |client: &mut crate::harness::Client, wanted: Vec<u32>| {
        client.send(Publish::new(&topic, "x"))?;
        let message = client.expect_message(&topic, "x")?;
        check_eq("identifiers", message.props.subscription_ids(), wanted)
    };
    for identifier in [1, 127, 128, 16_384, 2_097_152, 268_435_455] {
        let subscribe = Subscribe::new(1).identifier(identifier).filter(&topic, 0);
        client.subscribe_with(1, &subscribe)?;
        expect(&mut client, vec![u32::try_from(identifier).unwrap_or(0)])?;
    }
    client.subscribe_with(1, &Subscribe::new(1).filter(&topic, 0))?;
    expect(&mut client, vec![]).during("subscribed again without an identifier")
}
