//! SUBSCRIBE and UNSUBSCRIBE with their answers (sections 3.8 to 3.11).

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq};
use crate::harness::Target;
use crate::v5::support::{Pipeline, closes, collect, each, end_session, persistent, texts};
use crate::wire::{
    Acknowledge, Bytes, Connect, Encode, Props, Publish, Subscribe, Unsubscribe, packet, prop,
};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        several_filters_get_one_suback,
        "3.8.4-1",
        "3.8.4-5",
        "3.8.4-6",
        "3.8.4-7",
        "3.9.3-1",
        "3.9.3-2"
    ),
    case!(
        V5,
        later_filter_of_a_subscribe_replaces_the_same_before,
        "3.8.4-5",
        "3.8.4-3"
    ),
    case!(
        V5,
        subscribing_again_replaces_the_subscription,
        "3.8.4-3",
        "3.8.4-8"
    ),
    case!(V5, replacing_a_subscription_loses_nothing, "3.8.4-4"),
    case!(V5, delivery_is_at_the_lower_qos, "3.8.4-8"),
    case!(V5, no_local_keeps_own_messages_away, "3.8.3-3", "3.8.4-3"),
    case!(V5, no_local_outlives_the_connection, "3.8.3-3"),
    case!(
        V5,
        malformed_subscribes_close,
        "3.8.3-2",
        "3.8.3-5",
        "4.13.1-1"
    ),
    case!(V5, malformed_unsubscribes_close, "3.10.3-2", "4.13.1-1"),
    case!(
        V5,
        unsubscribe_compares_filters_literally,
        "3.10.4-1",
        "3.11.3-1",
        "3.11.3-2",
        "3.10.4-6"
    ),
    case!(V5, unsubscribe_ends_delivery, "3.10.4-2", "3.10.4-4"),
    case!(V5, unsubscribe_lets_begun_deliveries_finish, "3.10.4-3"),
    case!(
        V5,
        queue_keeps_what_each_session_subscribed,
        "4.5.0-1",
        "3.8.4-8"
    ),
];

//= mqtt5 3.8.4-1 test
//= mqtt5 3.8.4-5 test
//= mqtt5 3.8.4-6 test
//= mqtt5 3.8.4-7 test
//= mqtt5 3.9.3-1 test
//= mqtt5 3.9.3-2 test
fn several_filters_get_one_suback(target: &Target) -> Verdict {
    let base = target.topic("t");
    let maximum = target.capabilities()?.maximum_qos;
    let mut client = target.client(V5)?;
    let options = [2, 0, 1, 0, 2, 1, 1];
    let mut subscribe = Subscribe::new(1);
    for (number, qos) in options.into_iter().enumerate() {
        subscribe = subscribe.filter(&format!("{base}/{number}"), qos);
    }
    client.send(subscribe)?;
    let codes = client.expect_suback(1)?.codes;
    let wanted: Vec<u8> = options
        .into_iter()
        .map(|qos: u8| qos.min(maximum))
        .collect();
    check_eq("codes of SUBACK", codes, wanted)?;
    client.expect_nothing()?;
    for number in 0..options.len() {
        client.send(Publish::new(&format!("{base}/{number}"), "x"))?;
        client.expect_message(&format!("{base}/{number}"), "x")?;
    }
    Ok(())
}

//= mqtt5 3.8.4-5 test
//= mqtt5 3.8.4-3 test
fn later_filter_of_a_subscribe_replaces_the_same_before(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.client(V5)?;
    client.send(Subscribe::new(1).filter(&topic, 1).filter(&topic, 0))?;
    check_eq("number of codes", client.expect_suback(1)?.codes.len(), 2)?;
    client.publish(&Publish::new(&topic, "x").qos(1, 2))?;
    let message = client.expect_message(&topic, "x")?;
    check_eq("QoS", message.qos, 0)?;
    client.expect_nothing()
}

//= mqtt5 3.8.4-3 test
//= mqtt5 3.8.4-8 test
fn subscribing_again_replaces_the_subscription(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let mut client = target.client(V5)?;
    for granted in [0, 1, 0] {
        client.subscribe(&topic, granted)?;
        publisher.publish_acked(&topic, "x")?;
        let message = client.expect_message(&topic, "x")?;
        check_eq("QoS", message.qos, granted)?;
        client.accept(&message)?;
        client
            .expect_silence(&mut publisher)
            .during("only one copy")?;
    }
    Ok(())
}

//= mqtt5 3.8.4-4 test
fn replacing_a_subscription_loses_nothing(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 1)?;
    let mut got = Vec::new();
    let mut pipeline = Pipeline::new(target)?;
    for number in 0..30_u16 {
        let publish = Publish::new(&topic, number.to_string()).qos(1, number + 1);
        pipeline.send(&mut publisher, &publish)?;
        client.send(Subscribe::new(number + 100).filter(&topic, 1))?;
    }
    for number in 0..30 {
        client.expect_suback(number + 100)?;
    }
    pipeline.finish(&mut publisher)?;
    while got.len() < 30 {
        let message = client.expect_publish()?;
        client.accept(&message)?;
        got.push(message.text());
    }
    let wanted: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    check_eq("messages", got, wanted)
}

//= mqtt5 3.8.4-8 test
fn delivery_is_at_the_lower_qos(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let maximum = target.capabilities()?.maximum_qos;
    let mut publisher = target.client(V5)?;
    for granted in 0..=maximum {
        let mut client = target.client(V5)?;
        client.subscribe(&topic, granted)?;
        for qos in 0..=maximum {
            let id = publisher.fresh_id();
            publisher.publish(&Publish::new(&topic, "x").qos(qos, id))?;
            let message = client.expect_message(&topic, "x")?;
            check_eq("QoS", message.qos, qos.min(granted))?;
            client.accept(&message)?;
        }
    }
    Ok(())
}

//= mqtt5 3.8.3-3 test
//= mqtt5 3.8.4-3 test
fn no_local_keeps_own_messages_away(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut other = target.client(V5)?;
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 0x04)?;
    client.publish_acked(&topic, "own")?;
    client.expect_nothing()?;
    other.publish_acked(&topic, "other")?;
    client.expect_message(&topic, "other")?;
    client.expect_silence(&mut other)?;
    // Without the option, own messages come too.
    client.subscribe(&topic, 0)?;
    client.publish_acked(&topic, "own")?;
    client.expect_message(&topic, "own").map(drop)
}

//= mqtt5 3.8.3-3 test
fn no_local_outlives_the_connection(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut client, _) = persistent(target, Connect::v5(&id))?;
    client.subscribe(&topic, 0x05)?;
    client.disconnect()?;
    let (mut client, _) = persistent(target, Connect::v5(&id).resume())?;
    client.publish_acked(&topic, "own")?;
    let mut other = target.client(V5)?;
    client.expect_silence(&mut other)?;
    client.disconnect()?;
    end_session(target, &id)
}

//= mqtt5 3.8.3-2 test
//= mqtt5 3.8.3-5 test
//= mqtt5 4.13.1-1 test
fn malformed_subscribes_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let filter = |options| Subscribe::new(1).filter(&topic, options).encode(V5);
    let with = |props: Props| Subscribe::new(1).filter(&topic, 0).props(props).encode(V5);
    let body = Bytes::new().u16(1).u8(0).string(&topic).0;
    let whole = Subscribe::new(1).filter(&topic, 0);
    let new = Props::new;
    let packets = [
        ("no filter", Subscribe::new(1).encode(V5)),
        ("reserved option bit 6", filter(0x40)),
        ("reserved option bit 7", filter(0x80)),
        ("QoS 3", filter(0x03)),
        ("Retain Handling 3", filter(0x30)),
        ("filter without options", packet(0x82, &body)),
        (
            "half a length behind the filter",
            whole.clone().raw(&[0]).encode(V5),
        ),
        (
            "filter beyond the packet",
            whole.clone().raw(&[0, 9, b'x']).encode(V5),
        ),
        (
            "second filter without options",
            whole.raw(&[0, 1, b'x']).encode(V5),
        ),
        ("no packet identifier", vec![0x82, 0]),
        ("subscription identifier 0", with(new().varint(0x0B, 0))),
        (
            "two subscription identifiers",
            with(new().varint(0x0B, 1).varint(0x0B, 1)),
        ),
        (
            "subscription identifier of five bytes",
            with(new().raw(b"\x0B\x80\x80\x80\x80\x01")),
        ),
        ("reason string", with(new().text(prop::REASON_STRING, "x"))),
        ("message expiry", with(new().u32(prop::MESSAGE_EXPIRY, 1))),
        ("unknown property", with(new().u8(0x05, 1))),
    ];
    each(packets, |(what, bytes)| {
        closes(target, what, bytes, &[0x8F, 0xA1])
    })
}

//= mqtt5 3.10.3-2 test
//= mqtt5 4.13.1-1 test
fn malformed_unsubscribes_close(target: &Target) -> Verdict {
    let with = |props: Props| Unsubscribe::new(1).filter("a").props(props).encode(V5);
    let packets = [
        ("no filter", Unsubscribe::new(1).encode(V5)),
        ("half a length", b"\xA2\x04\0\x01\0\0".to_vec()),
        (
            "filter beyond the packet",
            b"\xA2\x06\0\x01\0\0\x09x".to_vec(),
        ),
        ("no packet identifier", vec![0xA2, 0]),
        (
            "subscription identifier",
            with(Props::new().varint(0x0B, 1)),
        ),
        (
            "reason string",
            with(Props::new().text(prop::REASON_STRING, "x")),
        ),
        ("unknown property", with(Props::new().u8(0x05, 1))),
    ];
    each(packets, |(what, bytes)| {
        closes(target, what, bytes, &[0x8F])
    })
}

//= mqtt5 3.10.4-1 test
//= mqtt5 3.11.3-1 test
//= mqtt5 3.11.3-2 test
//= mqtt5 3.10.4-6 test
fn unsubscribe_compares_filters_literally(target: &Target) -> Verdict {
    target.needs_wildcards()?;
    let base = target.topic("t");
    let mut client = target.client(V5)?;
    let exact = format!("{base}/a");
    let wild = format!("{base}/+");
    client.send(Subscribe::new(1).filter(&exact, 0).filter(&wild, 0))?;
    client.expect_suback(1)?;
    // None of these names a subscription, although some match one.
    let others = [
        format!("{base}/#"),
        format!("{base}/A"),
        format!("{exact}/"),
        base.clone(),
    ];
    let unsubscribe = others
        .iter()
        .fold(Unsubscribe::new(2), |u, filter| u.filter(filter));
    client.send(unsubscribe)?;
    check_eq(
        "codes of UNSUBACK",
        client.expect_unsuback(2)?.codes,
        vec![0x11; 4],
    )?;
    client.send(
        Unsubscribe::new(3)
            .filter(&wild)
            .filter(&format!("{base}/#"))
            .filter(&wild),
    )?;
    check_eq(
        "codes of UNSUBACK",
        client.expect_unsuback(3)?.codes,
        vec![0, 0x11, 0x11],
    )?;
    client.send(Publish::new(&exact, "x"))?;
    client.expect_message(&exact, "x")?;
    client.send(Publish::new(&format!("{base}/b"), "x"))?;
    client.expect_nothing()
}

//= mqtt5 3.10.4-2 test
//= mqtt5 3.10.4-4 test
fn unsubscribe_ends_delivery(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let mut client = target.client(V5)?;
    client.subscribe(&topic, 1)?;
    publisher.publish_acked(&topic, "before")?;
    let message = client.expect_message(&topic, "before")?;
    client.accept(&message)?;
    client.send(Unsubscribe::new(9).filter(&topic))?;
    check_eq(
        "codes of UNSUBACK",
        client.expect_unsuback(9)?.codes,
        vec![0],
    )?;
    publisher.publish_acked(&topic, "after")?;
    client.expect_silence(&mut publisher)
}

//= mqtt5 3.10.4-3 test
fn unsubscribe_lets_begun_deliveries_finish(target: &Target) -> Verdict {
    target.needs_qos(2)?;
    let (id, topic) = (target.id(), target.topic("t"));
    let mut publisher = target.client(V5)?;
    let (mut client, _) = persistent(target, Connect::v5(&id))?;
    client.subscribe(&topic, 2)?;
    publisher.publish(&Publish::new(&topic, "one").qos(1, 1))?;
    publisher.publish(&Publish::new(&topic, "two").qos(2, 2))?;
    let one = client.expect_message(&topic, "one")?;
    let two = client.expect_message(&topic, "two")?;
    client.send(Unsubscribe::new(9).filter(&topic))?;
    client.expect_unsuback(9)?;
    client.send(Acknowledge::pubrec(two.id))?;
    client.expect_pubrel(two.id)?;
    // The unacknowledged one is still owed after a reconnect.
    client.sever();
    let (mut client, _) = persistent(target, Connect::v5(&id).resume())?;
    let again = client.expect_message(&topic, "one")?;
    check(
        again.dup && again.id == one.id,
        "not the same delivery, repeated",
    )?;
    client.accept(&again)?;
    client.expect_pubrel(two.id)?;
    client.send(Acknowledge::pubcomp(two.id))?;
    client.expect_nothing()?;
    end_session(target, &id)
}

//= mqtt5 4.5.0-1 test
//= mqtt5 3.8.4-8 test
fn queue_keeps_what_each_session_subscribed(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let ids: Vec<String> = (0..3).map(|_| target.id()).collect();
    for id in &ids {
        let (mut client, _) = persistent(target, Connect::v5(id))?;
        client.subscribe(&topic, 1)?;
        client.disconnect()?;
    }
    for number in 0..20 {
        publisher.publish_acked(&topic, &number.to_string())?;
    }
    for id in &ids {
        let (mut client, _) = persistent(target, Connect::v5(id).resume())?;
        let got = texts(&collect(&mut client, &mut publisher)?);
        let wanted: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        check_eq("queued messages", got, wanted)?;
        client.disconnect()?;
        end_session(target, id)?;
    }
    Ok(())
}
