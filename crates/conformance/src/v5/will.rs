//! Wills (sections 3.1.2.5 to 3.1.2.7, 3.1.3.2 and 3.14).

use std::time::{Duration, Instant};

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq, skip};
use crate::harness::{Client, Target};
use crate::v5::support::{clear_retained, closes, each, end_session};
use crate::wire::{Connect, Disconnect, Props, Publish, Will, prop};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        will_is_published_when_the_network_fails,
        "3.1.2-7",
        "3.1.2-8",
        "3.1.2-14",
        "3.1.2-12"
    ),
    case!(
        V5,
        normal_disconnect_discards_the_will,
        "3.1.2-10",
        "3.14.4-3",
        "3.1.2-8"
    ),
    case!(
        V5,
        other_disconnects_publish_the_will,
        "3.1.2-8",
        "3.14.2-1"
    ),
    case!(V5, protocol_error_publishes_the_will, "3.1.2-8", "4.13.1-1"),
    case!(V5, will_is_published_only_once, "3.1.2-10"),
    case!(V5, retained_will_is_kept, "3.1.2-15"),
    case!(
        V5,
        will_properties_are_published_in_order,
        "3.1.3-10",
        "3.1.3-1"
    ),
    case!(V5, will_waits_for_its_delay, "3.1.2-8"),
    case!(
        V5,
        will_is_published_when_the_session_ends_before_its_delay,
        "3.1.2-8"
    ),
    case!(
        V5,
        reconnecting_within_the_delay_cancels_the_will,
        "3.1.3-9"
    ),
    case!(
        V5,
        takeover_within_the_delay_cancels_the_will,
        "3.1.3-9",
        "3.1.4-3"
    ),
    case!(
        V5,
        clean_start_publishes_a_delayed_will_at_once,
        "3.1.2-8",
        "3.1.2-4"
    ),
    case!(
        V5,
        takeover_publishes_the_will_of_an_ended_session,
        "3.1.2-8",
        "3.1.4-3"
    ),
    case!(
        V5,
        nothing_behind_disconnect_is_processed,
        "3.14.4-1",
        "3.14.4-2"
    ),
    case!(
        V5,
        wrong_disconnects_do_not_cancel_the_will,
        "3.14.2-1",
        "4.13.1-1"
    ),
];

/// A client that is subscribed to the topic of the will, with that topic.
fn watcher(target: &Target) -> Verdict<(Client, String)> {
    let topic = target.topic("will");
    let mut watcher = target.client(V5)?;
    watcher.subscribe(&topic, 2)?;
    Ok((watcher, topic))
}

//= mqtt5 3.1.2-7 test
//= mqtt5 3.1.2-8 test
//= mqtt5 3.1.2-14 test
//= mqtt5 3.1.2-12 test
fn will_is_published_when_the_network_fails(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    for qos in 0..=target.capabilities()?.maximum_qos {
        let will = Will::new(&topic, "gone").qos(qos);
        let (client, _) = target.connect(&Connect::v5(&target.id()).will(will))?;
        client.sever();
        let message = watcher.expect_message(&topic, "gone")?;
        check_eq("QoS of the will", message.qos, qos)?;
        check(!message.retain && !message.dup, "RETAIN or DUP is set")?;
        watcher.accept(&message)?;
    }
    // Will Retain 0: nothing is kept for who comes later.
    let mut late = target.client(V5)?;
    late.subscribe(&topic, 0)?;
    late.expect_nothing()
}

//= mqtt5 3.1.2-10 test
//= mqtt5 3.14.4-3 test
//= mqtt5 3.1.2-8 test
fn normal_disconnect_discards_the_will(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    each(
        [
            Disconnect::new(),
            Disconnect::new().code(0),
            Disconnect::new().props(Props::new()),
        ],
        |goodbye| {
            let id = target.id();
            let connect = Connect::v5(&id).will(Will::new(&topic, "gone"));
            let (mut client, _) = target.connect(&connect)?;
            client.disconnect_with(&goodbye)?;
            // The same client publishes the marker, so that it takes the same way as the will would.
            let (mut again, _) = target.connect(&Connect::v5(&id))?;
            watcher.expect_silence(&mut again)
        },
    )
}

//= mqtt5 3.1.2-8 test
//= mqtt5 3.14.2-1 test
fn other_disconnects_publish_the_will(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    for code in [
        0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ] {
        let text = format!("DISCONNECT 0x{code:02X}");
        let connect = Connect::v5(&target.id()).will(Will::new(&topic, &text));
        let (mut client, _) = target.connect(&connect)?;
        client
            .disconnect_with(&Disconnect::new().code(code))
            .during(&text)?;
        watcher.expect_message(&topic, &text).during(&text)?;
    }
    Ok(())
}

//= mqtt5 3.1.2-8 test
//= mqtt5 4.13.1-1 test
fn protocol_error_publishes_the_will(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let connect = Connect::v5(&target.id()).will(Will::new(&topic, "bad"));
    let (mut client, _) = target.connect(&connect)?;
    client.send(&connect)?;
    client.expect_closed()?;
    watcher.expect_message(&topic, "bad").map(drop)
}

//= mqtt5 3.1.2-10 test
fn will_is_published_only_once(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let id = target.id();
    let connect = Connect::v5(&id).expiry(60).will(Will::new(&topic, "gone"));
    let (client, _) = target.connect(&connect)?;
    client.sever();
    watcher.expect_message(&topic, "gone")?;
    // The next connection has no will of its own and does not inherit one.
    let (client, _) = target.connect(&Connect::v5(&id).resume().expiry(60))?;
    client.sever();
    let (mut again, _) = target.connect(&Connect::v5(&id).resume())?;
    watcher.expect_silence(&mut again)
}

//= mqtt5 3.1.2-15 test
fn retained_will_is_kept(target: &Target) -> Verdict {
    target.needs_retain()?;
    let (mut watcher, topic) = watcher(target)?;
    let connect = Connect::v5(&target.id()).will(Will::new(&topic, "gone").retain());
    let (client, _) = target.connect(&connect)?;
    client.sever();
    let live = watcher.expect_message(&topic, "gone")?;
    check(
        !live.retain,
        "RETAIN is set towards an established subscription",
    )?;
    let mut late = target.client(V5)?;
    late.subscribe(&topic, 0)?;
    let kept = late.expect_message(&topic, "gone")?;
    check(kept.retain, "RETAIN is not set for a retained message")?;
    clear_retained(&mut late, &topic)
}

//= mqtt5 3.1.3-10 test
//= mqtt5 3.1.3-1 test
fn will_properties_are_published_in_order(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let props = Props::new()
        .pair("z", "1")
        .u8(prop::PAYLOAD_FORMAT, 1)
        .pair("a", "2")
        .text(prop::CONTENT_TYPE, "type")
        .pair("z", "0")
        .text(prop::RESPONSE_TOPIC, "answers")
        .binary(prop::CORRELATION_DATA, b"\0\xFF")
        .u32(prop::MESSAGE_EXPIRY, 100)
        .pair("z", "1");
    let will = Will::new(&topic, "gone").props(props);
    let (client, _) = target.connect(&Connect::v5(&target.id()).will(will))?;
    client.sever();
    let props = watcher.expect_message(&topic, "gone")?.props;
    check_eq(
        "user properties",
        props.pairs(),
        vec![("z", "1"), ("a", "2"), ("z", "0"), ("z", "1")],
    )?;
    check_eq(
        "payload format",
        props.number(prop::PAYLOAD_FORMAT),
        Some(1),
    )?;
    check_eq("content type", props.text(prop::CONTENT_TYPE), Some("type"))?;
    check_eq(
        "response topic",
        props.text(prop::RESPONSE_TOPIC),
        Some("answers"),
    )?;
    check_eq(
        "correlation data",
        props.binary(prop::CORRELATION_DATA),
        Some(&b"\0\xFF"[..]),
    )?;
    let expiry = props.number(prop::MESSAGE_EXPIRY);
    check(
        expiry.is_some_and(|seconds| (95..=100).contains(&seconds)),
        "message expiry is wrong",
    )
}

//= mqtt5 3.1.2-8 test
fn will_waits_for_its_delay(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let id = target.id();
    let will = Will::new(&topic, "gone").delay(2);
    let (client, connack) = target.connect(&Connect::v5(&id).expiry(60).will(will))?;
    if connack
        .props
        .number(prop::SESSION_EXPIRY)
        .is_some_and(|seconds| seconds < 3)
    {
        return skip("the broker keeps no sessions");
    }
    let started = Instant::now();
    client.sever();
    watcher.set_timeout(Duration::from_secs(7));
    watcher.expect_message(&topic, "gone")?;
    check(
        started.elapsed() >= Duration::from_millis(1_500),
        "published before its delay",
    )?;
    end_session(target, &id)
}

//= mqtt5 3.1.2-8 test
fn will_is_published_when_the_session_ends_before_its_delay(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    // The session ends with the connection, so the delay is void.
    let will = Will::new(&topic, "at once").delay(30);
    let (client, connack) = target.connect(&Connect::v5(&target.id()).will(will))?;
    if connack
        .props
        .number(prop::SESSION_EXPIRY)
        .is_some_and(|seconds| seconds > 0)
    {
        return skip("the broker prolongs sessions");
    }
    client.sever();
    watcher.expect_message(&topic, "at once")?;
    let will = Will::new(&topic, "with the session").delay(30);
    let connect = Connect::v5(&target.id()).expiry(1).will(will);
    let (client, _) = target.connect(&connect)?;
    client.sever();
    watcher.set_timeout(Duration::from_secs(6));
    watcher.expect_message(&topic, "with the session").map(drop)
}

//= mqtt5 3.1.3-9 test
fn reconnecting_within_the_delay_cancels_the_will(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let id = target.id();
    let connect = Connect::v5(&id)
        .expiry(60)
        .will(Will::new(&topic, "gone").delay(1));
    let (client, connack) = target.connect(&connect)?;
    if connack
        .props
        .number(prop::SESSION_EXPIRY)
        .is_some_and(|seconds| seconds < 3)
    {
        return skip("the broker keeps no sessions");
    }
    client.sever();
    let (mut again, connack) = target.connect(&Connect::v5(&id).resume().expiry(60))?;
    check(connack.session_present, "the session is gone")?;
    watcher.expect_quiet_for(Duration::from_millis(2_500))?;
    again.expect_nothing()?;
    again.disconnect()?;
    end_session(target, &id)
}

//= mqtt5 3.1.3-9 test
//= mqtt5 3.1.4-3 test
fn takeover_within_the_delay_cancels_the_will(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let id = target.id();
    let connect = Connect::v5(&id)
        .expiry(60)
        .will(Will::new(&topic, "gone").delay(1));
    let (mut old, _) = target.connect(&connect)?;
    let (mut new, _) = target.connect(&Connect::v5(&id).resume().expiry(60))?;
    old.expect_close()?;
    watcher.expect_quiet_for(Duration::from_secs(2))?;
    new.expect_nothing()?;
    new.disconnect()?;
    end_session(target, &id)
}

//= mqtt5 3.1.2-8 test
//= mqtt5 3.1.2-4 test
fn clean_start_publishes_a_delayed_will_at_once(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let id = target.id();
    let connect = Connect::v5(&id)
        .expiry(60)
        .will(Will::new(&topic, "gone").delay(30));
    let (client, _) = target.connect(&connect)?;
    client.sever();
    // Ends the old session, and with it the wait.
    let (_client, _) = target.connect(&Connect::v5(&id))?;
    watcher.expect_message(&topic, "gone").map(drop)
}

//= mqtt5 3.1.2-8 test
//= mqtt5 3.1.4-3 test
fn takeover_publishes_the_will_of_an_ended_session(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let id = target.id();
    let (mut old, _) = target.connect(&Connect::v5(&id).will(Will::new(&topic, "gone")))?;
    let (_new, _) = target.connect(&Connect::v5(&id))?;
    old.expect_close()?;
    watcher.expect_message(&topic, "gone").map(drop)
}

//= mqtt5 3.14.4-1 test
//= mqtt5 3.14.4-2 test
fn nothing_behind_disconnect_is_processed(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let id = target.id();
    let (mut client, _) = target.connect(&Connect::v5(&id))?;
    let mut bytes = vec![0xE0, 0];
    bytes.extend(crate::wire::Encode::encode(
        &Publish::new(&topic, "late"),
        V5,
    ));
    bytes.extend([0xC0, 0]);
    client.send(bytes)?;
    // No answer to DISCONNECT exists, and none to the PINGREQ behind it.
    let told = client.expect_close()?;
    check(told.is_none(), "DISCONNECT was answered")?;
    let (mut again, _) = target.connect(&Connect::v5(&id))?;
    watcher.expect_silence(&mut again)
}

//= mqtt5 3.14.2-1 test
//= mqtt5 4.13.1-1 test
fn wrong_disconnects_do_not_cancel_the_will(target: &Target) -> Verdict {
    let (mut watcher, topic) = watcher(target)?;
    let wrong: [(&str, &[u8]); 6] = [
        ("a reason code that does not exist", b"\xE0\x01\x05"),
        ("a reason code of the server", b"\xE0\x01\x8B"),
        (
            "session expiry twice",
            b"\xE0\x0C\0\x0A\x11\0\0\0\0\x11\0\0\0\0",
        ),
        ("a property of CONNECT", b"\xE0\x05\0\x03\x21\0\x01"),
        ("surplus bytes", b"\xE0\x03\0\0\0"),
        ("properties beyond the packet", b"\xE0\x02\0\x05"),
    ];
    for (what, bytes) in wrong {
        let connect = Connect::v5(&target.id()).will(Will::new(&topic, what));
        let (mut client, _) = target.connect(&connect)?;
        client.send(bytes.to_vec())?;
        client.expect_closed().during(what)?;
        watcher.expect_message(&topic, what).during(what)?;
    }
    closes(
        target,
        "server reference from a client",
        b"\xE0\x06\0\x04\x1C\0\x01x".to_vec(),
        &[],
    )
}
