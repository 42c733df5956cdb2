//! CONNACK, session state and keep alive (sections 3.1.2, 3.2 and 4.1).

use std::time::{Duration, Instant};

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq, fail, skip};
use crate::harness::{Client, Target, Wait, let_time_pass};
use crate::v5::support::{end_session, persistent};
use crate::wire::{ConnAck, Connect, Disconnect, Ping, Props, Publish, Subscribe, Will, prop};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        clean_start_discards_the_session,
        "3.1.2-4",
        "3.1.4-4",
        "3.2.2-2"
    ),
    case!(
        V5,
        session_is_resumed_with_its_messages,
        "3.1.2-5",
        "3.1.2-23",
        "3.1.4-4",
        "3.2.0-1",
        "3.2.2-3",
        "4.5.0-1"
    ),
    case!(
        V5,
        resuming_without_a_session_creates_one,
        "3.1.2-6",
        "3.2.2-3",
        "3.1.3-2"
    ),
    case!(V5, client_ids_are_compared_exactly, "3.1.3-2"),
    case!(
        V5,
        session_without_expiry_interval_ends_with_the_connection,
        "3.1.2-23",
        "4.1.0-2"
    ),
    case!(V5, session_expires_after_its_interval, "4.1.0-1", "4.1.0-2"),
    case!(V5, disconnect_can_end_the_session, "4.1.0-2"),
    case!(V5, disconnect_can_prolong_the_session, "3.1.2-23"),
    case!(
        V5,
        disconnect_cannot_revive_a_session_without_expiry,
        "4.13.1-1"
    ),
    case!(
        V5,
        takeover_tells_the_older_connection,
        "3.1.4-3",
        "3.1.3-2"
    ),
    case!(V5, takeover_keeps_the_session, "3.1.4-3", "3.1.2-5"),
    case!(
        V5,
        unsupported_authentication_method_is_refused,
        "3.2.2-1",
        "3.2.2-6",
        "3.2.2-7",
        "3.2.2-8",
        "3.1.4-2",
        "4.12.0-1",
        "4.13.2-1"
    ),
    case!(V5, announced_maximum_qos_is_true, "3.2.2-9", "3.2.2-10"),
    case!(V5, qos_above_the_maximum_closes, "3.2.2-11", "3.2.2-12"),
    case!(V5, retain_without_support_closes, "3.2.2-13", "3.2.2-14"),
    case!(
        V5,
        silence_beyond_the_keep_alive_closes,
        "3.1.2-22",
        "3.2.2-22"
    ),
    case!(V5, half_a_packet_does_not_keep_alive, "3.1.2-22"),
    case!(V5, receiving_does_not_keep_alive, "3.1.2-22"),
    case!(V5, pings_keep_alive_and_zero_turns_it_off, "3.1.2-22"),
    case!(V5, pingreq_is_answered, "3.12.4-1"),
];

//= mqtt5 3.1.2-4 test
//= mqtt5 3.1.4-4 test
//= mqtt5 3.2.2-2 test
fn clean_start_discards_the_session(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut client, _) = persistent(target, Connect::v5(&id))?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    let mut publisher = target.client(V5)?;
    publisher.publish_acked(&topic, "queued")?;
    let (mut client, connack) = persistent(target, Connect::v5(&id))?;
    check(
        !connack.session_present,
        "Session Present is set for Clean Start 1",
    )?;
    publisher.publish_acked(&topic, "live")?;
    client.expect_silence(&mut publisher)?;
    client.disconnect()?;
    end_session(target, &id)
}

//= mqtt5 3.1.2-5 test
//= mqtt5 3.1.2-23 test
//= mqtt5 3.1.4-4 test
//= mqtt5 3.2.0-1 test
//= mqtt5 3.2.2-3 test
//= mqtt5 4.5.0-1 test
fn session_is_resumed_with_its_messages(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut client, _) = persistent(target, Connect::v5(&id))?;
    client.subscribe(&topic, 2)?;
    client.disconnect()?;
    let mut publisher = target.client(V5)?;
    publisher.publish(&Publish::new(&topic, "one").qos(1, 1))?;
    publisher.publish(&Publish::new(&topic, "two").qos(2, 2))?;
    // `connect` demands that CONNACK is the first packet.
    let (mut client, connack) = persistent(target, Connect::v5(&id).resume())?;
    check(connack.session_present, "the session is gone")?;
    for text in ["one", "two"] {
        let message = client.expect_message(&topic, text)?;
        check(!message.dup, "DUP is set on the first delivery")?;
        client.accept(&message)?;
    }
    publisher.publish_acked(&topic, "live")?;
    client
        .expect_message(&topic, "live")
        .during("the subscription")?;
    client.disconnect()?;
    end_session(target, &id)
}

//= mqtt5 3.1.2-6 test
//= mqtt5 3.2.2-3 test
//= mqtt5 3.1.3-2 test
fn resuming_without_a_session_creates_one(target: &Target) -> Verdict {
    let id = target.id();
    let (mut other, _) = persistent(target, Connect::v5(&format!("{id}a")))?;
    other.disconnect()?;
    let (mut client, connack) = persistent(target, Connect::v5(&id).resume())?;
    check(
        !connack.session_present,
        "Session Present is set for an unknown client id",
    )?;
    client.disconnect()?;
    let (mut client, connack) = persistent(target, Connect::v5(&id).resume())?;
    check(connack.session_present, "the new session was not kept")?;
    client.disconnect()?;
    end_session(target, &id)?;
    end_session(target, &format!("{id}a"))
}

//= mqtt5 3.1.3-2 test
fn client_ids_are_compared_exactly(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, _) = persistent(target, Connect::v5(&id))?;
    client.disconnect()?;
    let (_other, connack) = target.connect(&Connect::v5(&id.to_uppercase()).resume())?;
    check(
        !connack.session_present,
        "client ids are compared without case",
    )?;
    end_session(target, &id)
}

//= mqtt5 3.1.2-23 test
//= mqtt5 4.1.0-2 test
fn session_without_expiry_interval_ends_with_the_connection(target: &Target) -> Verdict {
    for zero in [false, true] {
        let id = target.id();
        let connect = Connect::v5(&id);
        let connect = if zero { connect.expiry(0) } else { connect };
        let (mut client, connack) = target.connect(&connect)?;
        if connack
            .props
            .number(prop::SESSION_EXPIRY)
            .is_some_and(|seconds| seconds > 0)
        {
            return skip("the broker prolongs sessions");
        }
        client.disconnect()?;
        let (_client, connack) = target.connect(&Connect::v5(&id).resume())?;
        check(
            !connack.session_present,
            "the session outlived its connection",
        )?;
    }
    Ok(())
}

//= mqtt5 4.1.0-1 test
//= mqtt5 4.1.0-2 test
fn session_expires_after_its_interval(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut client, connack) = target.connect(&Connect::v5(&id).expiry(1))?;
    if connack
        .props
        .number(prop::SESSION_EXPIRY)
        .is_some_and(|seconds| seconds != 1)
    {
        return skip("the broker chooses another Session Expiry Interval");
    }
    client.subscribe(&topic, 1)?;
    // The interval counts from the close, not from the beginning.
    let_time_pass(Duration::from_millis(2_500));
    client.publish_acked(&topic, "still here")?;
    let message = client.expect_message(&topic, "still here")?;
    client.accept(&message)?;
    client.disconnect()?;
    let (mut client, connack) = target.connect(&Connect::v5(&id).resume().expiry(1))?;
    check(
        connack.session_present,
        "the session ended before its interval",
    )?;
    client.disconnect()?;
    let_time_pass(Duration::from_millis(3_500));
    let (_client, connack) = target.connect(&Connect::v5(&id).resume())?;
    check(
        !connack.session_present,
        "the session outlived its interval",
    )
}

//= mqtt5 4.1.0-2 test
fn disconnect_can_end_the_session(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, _) = persistent(target, Connect::v5(&id))?;
    let zero = Props::new().u32(prop::SESSION_EXPIRY, 0);
    client.disconnect_with(&Disconnect::new().props(zero))?;
    let (_client, connack) = target.connect(&Connect::v5(&id).resume())?;
    check(
        !connack.session_present,
        "DISCONNECT with interval 0 did not end the session",
    )
}

//= mqtt5 3.1.2-23 test
fn disconnect_can_prolong_the_session(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, connack) = target.connect(&Connect::v5(&id).expiry(1))?;
    if connack.props.has(prop::SESSION_EXPIRY) {
        return skip("the broker chooses its own Session Expiry Interval");
    }
    let longer = Props::new().u32(prop::SESSION_EXPIRY, 60);
    client.disconnect_with(&Disconnect::new().props(longer))?;
    let_time_pass(Duration::from_millis(2_500));
    let (mut client, connack) = target.connect(&Connect::v5(&id).resume())?;
    check(
        connack.session_present,
        "DISCONNECT did not prolong the session",
    )?;
    client.disconnect()
}

//= mqtt5 4.13.1-1 test
fn disconnect_cannot_revive_a_session_without_expiry(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("will"));
    let mut watcher = target.client(V5)?;
    watcher.subscribe(&topic, 0)?;
    let (mut client, connack) = target.connect(&Connect::v5(&id).will(Will::new(&topic, "x")))?;
    if connack
        .props
        .number(prop::SESSION_EXPIRY)
        .is_some_and(|seconds| seconds > 0)
    {
        return skip("the broker prolongs sessions");
    }
    client.send(Disconnect::new().props(Props::new().u32(prop::SESSION_EXPIRY, 60)))?;
    client.expect_closed()?;
    // Such a DISCONNECT is a Protocol Error and does not count, so the will is sent.
    watcher.expect_message(&topic, "x")?;
    let (_client, connack) = target.connect(&Connect::v5(&id).resume())?;
    check(!connack.session_present, "the session was prolonged from 0")
}

//= mqtt5 3.1.4-3 test
//= mqtt5 3.1.3-2 test
fn takeover_tells_the_older_connection(target: &Target) -> Verdict {
    let id = target.id();
    for resume in [false, true] {
        let (mut old, _) = target.connect(&Connect::v5(&id))?;
        let connect = Connect::v5(&id);
        let connect = if resume { connect.resume() } else { connect };
        let (mut new, _) = target.connect(&connect)?;
        let ended = old.expect_disconnect()?;
        check_eq("reason of DISCONNECT", ended.code, 0x8E)?;
        new.expect_nothing()?;
    }
    Ok(())
}

//= mqtt5 3.1.4-3 test
//= mqtt5 3.1.2-5 test
fn takeover_keeps_the_session(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut old, _) = persistent(target, Connect::v5(&id))?;
    old.subscribe(&topic, 1)?;
    let mut publisher = target.client(V5)?;
    publisher.publish_acked(&topic, "unacknowledged")?;
    let before = old.expect_message(&topic, "unacknowledged")?;
    let (mut new, connack) = persistent(target, Connect::v5(&id).resume())?;
    check(connack.session_present, "the session is gone")?;
    let after = new.expect_message(&topic, "unacknowledged")?;
    check(
        after.dup && after.id == before.id,
        "not the same delivery, repeated",
    )?;
    new.accept(&after)?;
    new.disconnect()?;
    end_session(target, &id)
}

//= mqtt5 3.2.2-1 test
//= mqtt5 3.2.2-6 test
//= mqtt5 3.2.2-7 test
//= mqtt5 3.2.2-8 test
//= mqtt5 3.1.4-2 test
//= mqtt5 4.12.0-1 test
//= mqtt5 4.13.2-1 test
fn unsupported_authentication_method_is_refused(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, _) = persistent(target, Connect::v5(&id))?;
    client.disconnect()?;
    // There is a session, yet a refusal says Session Present 0; the parser checks that, and that
    // the code is one of the table.
    let method = Props::new().text(prop::AUTH_METHOD, "no such method");
    let mut client = target.open(V5)?;
    client.send(Connect::v5(&id).resume().props(method))?;
    if let Some(connack) = client.expect_refused()? {
        check(
            matches!(connack.code, 0x80..=0x8C),
            "unfitting reason in CONNACK",
        )?;
    }
    end_session(target, &id)
}

//= mqtt5 3.2.2-9 test
//= mqtt5 3.2.2-10 test
fn announced_maximum_qos_is_true(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let maximum = target.capabilities()?.maximum_qos;
    let mut client = target.client(V5)?;
    for qos in 0..=2 {
        client.send(Subscribe::new(1).filter(&topic, qos))?;
        let codes = client.expect_suback(1)?.codes;
        check(
            codes.iter().all(|code| *code <= 2),
            "a SUBSCRIBE was refused for its QoS",
        )?;
    }
    for qos in 0..=maximum {
        let text = format!("QoS {qos}");
        client
            .publish(&Publish::new(&topic, &text).qos(qos, 5))
            .during(&text)?;
        let message = client.expect_message(&topic, &text)?;
        client.accept(&message)?;
    }
    client.expect_nothing()
}

//= mqtt5 3.2.2-11 test
//= mqtt5 3.2.2-12 test
fn qos_above_the_maximum_closes(target: &Target) -> Verdict {
    let maximum = target.capabilities()?.maximum_qos;
    if maximum == 2 {
        return skip("the broker supports every QoS");
    }
    let mut client = target.client(V5)?;
    client.send(Publish::new(&target.topic("t"), "x").qos(maximum + 1, 1))?;
    client.expect_closed_with(&[0x9B])?;
    let mut client = target.open(V5)?;
    let will = Will::new("t", "x").qos(maximum + 1);
    client.send(Connect::v5(&target.id()).will(will))?;
    client.expect_refused().map(drop)
}

//= mqtt5 3.2.2-13 test
//= mqtt5 3.2.2-14 test
fn retain_without_support_closes(target: &Target) -> Verdict {
    if target.capabilities()?.retain {
        return skip("the broker retains messages");
    }
    let mut client = target.client(V5)?;
    client.send(Publish::new(&target.topic("t"), "x").retain())?;
    client.expect_closed_with(&[0x9A])?;
    let mut client = target.open(V5)?;
    client.send(Connect::v5(&target.id()).will(Will::new("t", "x").retain()))?;
    client.expect_refused().map(drop)
}

//= mqtt5 3.1.2-22 test
//= mqtt5 3.2.2-22 test
fn silence_beyond_the_keep_alive_closes(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = target.client(V5)?;
    watcher.subscribe(&topic, 0)?;
    let connect = Connect::v5(&target.id())
        .keep_alive(1)
        .will(Will::new(&topic, "gone"));
    let (mut client, connack) = target.connect(&connect)?;
    idle_until_closed(&mut client, &connack, |_| Ok(()))?;
    watcher
        .expect_message(&topic, "gone")
        .during("as if the network had failed")
        .map(drop)
}

//= mqtt5 3.1.2-22 test
fn half_a_packet_does_not_keep_alive(target: &Target) -> Verdict {
    let (mut client, connack) = target.connect(&Connect::v5(&target.id()).keep_alive(1))?;
    // A PUBLISH of 100 bytes whose bytes trickle in is no packet until the last has come.
    client.send([0x30, 100, 0, 90])?;
    idle_until_closed(&mut client, &connack, |client| client.send(*b"a"))
}

//= mqtt5 3.1.2-22 test
fn receiving_does_not_keep_alive(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut publisher = target.client(V5)?;
    let (mut client, connack) = target.connect(&Connect::v5(&target.id()).keep_alive(1))?;
    client.subscribe(&topic, 0)?;
    idle_until_closed(&mut client, &connack, |_| {
        publisher.send(Publish::new(&topic, "x"))
    })
}

/// Calls `meanwhile` every 100 ms until the broker closes for a keep alive of one second: not
/// before that second is over, and within reasonable time after one and a half.
fn idle_until_closed(
    client: &mut Client,
    connack: &ConnAck,
    mut meanwhile: impl FnMut(&mut Client) -> Verdict,
) -> Verdict {
    if connack.props.has(prop::SERVER_KEEP_ALIVE) {
        return skip("the broker sets its own keep alive");
    }
    let started = Instant::now();
    while started.elapsed() < KEEP_ALIVE_PATIENCE {
        meanwhile(client)?;
        match client.wait_for_close(Duration::from_millis(100))? {
            Wait::Open => {}
            Wait::Closed(told) => {
                check(
                    started.elapsed() >= Duration::from_secs(1),
                    "closed too early",
                )?;
                return match told {
                    Some(ended) => check_eq("reason of DISCONNECT", ended.code, 0x8D),
                    None => Ok(()),
                };
            }
        }
    }
    fail("not closed although nothing was sent for much longer than 1.5 x keep alive")
}

//= mqtt5 3.1.2-22 test
fn pings_keep_alive_and_zero_turns_it_off(target: &Target) -> Verdict {
    let (mut pinging, _) = target.connect(&Connect::v5(&target.id()).keep_alive(1))?;
    let (mut idle, connack) = target.connect(&Connect::v5(&target.id()).keep_alive(0))?;
    // Much more often than needed, since a busy machine may be late with some of them.
    for _ in 0..12 {
        let_time_pass(Duration::from_millis(300));
        pinging.send(Ping)?;
        pinging.expect_pingresp()?;
    }
    if connack.props.has(prop::SERVER_KEEP_ALIVE) {
        return Ok(());
    }
    idle.expect_nothing().during("keep alive 0")
}

//= mqtt5 3.12.4-1 test
fn pingreq_is_answered(target: &Target) -> Verdict {
    let mut client = target.client(V5)?;
    for _ in 0..3 {
        client.send(Ping)?;
    }
    for _ in 0..3 {
        client.expect_pingresp()?;
    }
    // Exactly once each: what comes next answers something else.
    client.subscribe("a/filter", 0)?;
    client.check_stash_empty()
}

/// The specification gives no tolerance for 1.5 x keep alive; brokers that look once in a while are
/// not called wrong.
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(8);
