//! CONNECT that is accepted, and its CONNACK (sections 3.1 and 3.2).

use std::time::{Duration, Instant};

use super::{client, forget, persistent, subscriber};
use crate::case::{Case, Verdict, Version, check, check_eq, fail, skip};
use crate::harness::{Client, Event, Target};
use crate::wire::{Acknowledge, Connect, Disconnect, Encode, Ping, Publish, Subscribe, Will};

cases! {
    connect_is_answered_with_connack: ["3.1.4-4", "3.2.0-1", "3.2.2-1", "3.2.2-3", "7.1.1-1"];
    session_present_tells_whether_state_was_stored: ["3.2.2-1", "3.2.2-2", "3.2.2-3", "3.1.4-3"];
    nothing_comes_before_connack: ["3.2.0-1"];
    pipelined_packets_behind_connect_are_served: ["3.1.4-4"];
    two_clients_need_nothing_but_the_specification: ["7.0.0-2"];
    letters_and_digits_up_to_23_bytes_are_a_client_id: ["3.1.3-5", "3.1.3-4"];
    unusual_client_ids_are_accepted_or_refused_with_2: ["3.1.3-9"];
    empty_client_ids_become_unique: ["3.1.3-6"];
    all_fields_of_connect_are_read_in_order: [
        "3.1.3-1", "3.1.3-3", "3.1.2-9", "3.1.2-19", "3.1.2-21", "3.1.3-10", "3.1.3-11"
    ];
    second_connect_closes: ["3.1.0-2"];
    takeover_closes_the_older_connection: ["3.1.4-2"];
    takeover_ten_times_leaves_one_connection: ["3.1.4-2"];
    connection_without_connect_is_closed_some_time: [];
}

//= mqtt311 3.1.4-4 test
//= mqtt311 3.2.0-1 test
//= mqtt311 3.2.2-1 test
//= mqtt311 3.2.2-3 test
//= mqtt311 7.1.1-1 test
fn connect_is_answered_with_connack(target: &Target) -> Verdict {
    let (mut client, connack) = target.connect(&Connect::v311(&target.id()))?;
    check_eq("Session Present", connack.session_present, false)?;
    check_eq("size of CONNACK", connack.size, 4)?;
    client.expect_nothing()
}

//= mqtt311 3.2.2-1 test
//= mqtt311 3.2.2-2 test
//= mqtt311 3.2.2-3 test
//= mqtt311 3.1.4-3 test
fn session_present_tells_whether_state_was_stored(target: &Target) -> Verdict {
    let id = target.id();
    let clean = Connect::v311(&id);
    let resume = Connect::v311(&id).resume();
    let steps = [
        ("first", &resume, false),
        ("second", &resume, true),
        ("clean", &clean, false),
        ("after the clean one", &resume, false),
        ("after that", &resume, true),
    ];
    for (step, connect, present) in steps {
        let (mut client, connack) = target.connect(connect)?;
        let what = format!("Session Present of the {step} connection");
        check_eq(&what, connack.session_present, present)?;
        client.disconnect()?;
    }
    forget(target, &id)
}

//= mqtt311 3.2.0-1 test
fn nothing_comes_before_connack(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut first, _) = persistent(target, &id)?;
    first.subscribe(&topic, 1)?;
    first.disconnect()?;
    let mut publisher = client(target)?;
    for payload in ["1", "2", "3"] {
        publisher.publish_acked(&topic, payload)?;
    }
    // Stored messages and the answers to pipelined packets all wait behind CONNACK.
    let mut again = target.open(Version::V311)?;
    let mut bytes = Connect::v311(&id).resume().encode(Version::V311);
    bytes.extend(Subscribe::new(900).filter(&topic, 1).encode(Version::V311));
    bytes.extend(Ping.encode(Version::V311));
    again.send(bytes)?;
    again.expect_connack()?;
    for payload in ["1", "2", "3"] {
        let message = again.expect_message(&topic, payload)?;
        again.accept(&message)?;
    }
    again.expect_suback(900)?;
    again.expect_pingresp()?;
    again.disconnect()?;
    forget(target, &id)
}

//= mqtt311 3.1.4-4 test
fn pipelined_packets_behind_connect_are_served(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut client = target.open(Version::V311)?;
    let mut bytes = Connect::v311(&target.id()).encode(Version::V311);
    bytes.extend(Subscribe::new(10).filter(&topic, 2).encode(Version::V311));
    for qos in 0..3 {
        let publish = Publish::new(&topic, [b'0' + qos]).qos(qos, 20 + u16::from(qos));
        bytes.extend(publish.encode(Version::V311));
    }
    bytes.extend(Ping.encode(Version::V311));
    client.send(bytes)?;
    check_eq("CONNACK", client.expect_connack()?.code, 0)?;
    client.expect_suback(10)?;
    client.expect_puback(21)?;
    client.expect_pubrec(22)?;
    client.expect_pingresp()?;
    client.send(Acknowledge::pubrel(22))?;
    client.expect_pubcomp(22)?;
    let mut payloads = Vec::new();
    for _ in 0..3 {
        let message = client.expect_publish()?;
        client.accept(&message)?;
        payloads.push(message.text());
    }
    // Order holds per QoS only.
    payloads.sort();
    check_eq(
        "payloads",
        payloads.as_slice(),
        &["0", "1", "2"].map(String::from)[..],
    )?;
    client.expect_nothing()
}

//= mqtt311 7.0.0-2 test
fn two_clients_need_nothing_but_the_specification(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    let mut publisher = client(target)?;
    publisher.send(Publish::new(&topic, "hello"))?;
    receiver.expect_message(&topic, "hello")?;
    publisher.disconnect()?;
    receiver.disconnect()
}

//= mqtt311 3.1.3-5 test
//= mqtt311 3.1.3-4 test
fn letters_and_digits_up_to_23_bytes_are_a_client_id(target: &Target) -> Verdict {
    let ids = [
        "7",
        "0123456789abcdefghijklm",
        "nopqrstuvwxyzABCDEFGHIJ",
        "KLMNOPQRSTUVWXYZ",
    ];
    for id in ids {
        let (mut client, _) = target.connect(&Connect::v311(id))?;
        client.expect_nothing()?;
        client.disconnect()?;
    }
    Ok(())
}

//= mqtt311 3.1.3-9 test
fn unusual_client_ids_are_accepted_or_refused_with_2(target: &Target) -> Verdict {
    let prefix = target.id();
    let long = |length: usize| format!("{prefix}{}", "x".repeat(length - prefix.len()));
    let ids = [
        long(24),
        long(256),
        long(257),
        long(10_000),
        long(65_535),
        format!("{prefix} /+#$\u{e9}\u{1F600}"),
    ];
    for id in ids {
        let mut client = target.open(Version::V311)?;
        client.send(Connect::v311(&id))?;
        match client.expect_connack()?.code {
            0 => client.expect_nothing()?,
            2 => client.expect_closed()?,
            other => return fail(format!("client id of {} bytes: code {other}", id.len())),
        }
    }
    Ok(())
}

//= mqtt311 3.1.3-6 test
fn empty_client_ids_become_unique(target: &Target) -> Verdict {
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = target.open(Version::V311)?;
        client.send(Connect::v311(""))?;
        let connack = client.expect_connack()?;
        if connack.code == 2 {
            client.expect_closed()?;
            return skip("the broker does not permit empty client ids");
        }
        check_eq("code of CONNACK", connack.code, 0)?;
        check_eq("Session Present", connack.session_present, false)?;
        clients.push(client);
    }
    // Had two of them got the same id, one would have taken over the other.
    clients.iter_mut().try_for_each(Client::expect_nothing)
}

//= mqtt311 3.1.3-1 test
//= mqtt311 3.1.3-3 test
//= mqtt311 3.1.2-9 test
//= mqtt311 3.1.2-19 test
//= mqtt311 3.1.2-21 test
//= mqtt311 3.1.3-10 test
//= mqtt311 3.1.3-11 test
fn all_fields_of_connect_are_read_in_order(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 1)?;
    let mut client = target.open(Version::V311)?;
    let connect = Connect::v311(&target.id())
        .will(Will::new(&topic, "gone").qos(1))
        .user_name("user \u{e9}".as_bytes())
        .password(&[0, 0xFF, b'p']);
    client.send(connect)?;
    match client.expect_connack()?.code {
        0 => {}
        4 | 5 => {
            client.expect_closed()?;
            return skip("the broker wants another user name and password");
        }
        other => return fail(format!("CONNACK with code {other}")),
    }
    client.expect_nothing()?;
    client.sever();
    let will = watcher.expect_message(&topic, "gone")?;
    check_eq("QoS of the will", will.qos, 1)
}

//= mqtt311 3.1.0-2 test
fn second_connect_closes(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, _) = target.connect(&Connect::v311(&id))?;
    client.send(Connect::v311(&id))?;
    client.expect_closed()
}

//= mqtt311 3.1.4-2 test
fn takeover_closes_the_older_connection(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut older, _) = persistent(target, &id)?;
    older.subscribe(&topic, 1)?;
    let (mut newer, present) = persistent(target, &id)?;
    older.expect_closed()?;
    check(present, "the session of the older connection is gone")?;
    let mut publisher = client(target)?;
    publisher.publish_acked(&topic, "x")?;
    let message = newer.expect_message(&topic, "x")?;
    newer.accept(&message)?;
    newer.expect_nothing()?;
    newer.disconnect()?;
    forget(target, &id)
}

//= mqtt311 3.1.4-2 test
fn takeover_ten_times_leaves_one_connection(target: &Target) -> Verdict {
    let id = target.id();
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(target.connect(&Connect::v311(&id))?.0);
    }
    let Some(mut last) = all.pop() else {
        return fail("no connection");
    };
    all.iter_mut().try_for_each(Client::expect_closed)?;
    last.expect_nothing()?;
    last.send(Disconnect::new())
}

/// No statement demands it (section 3.1 says SHOULD), so a broker that waits for ever is skipped.
fn connection_without_connect_is_closed_some_time(target: &Target) -> Verdict {
    let mut client = target.open(Version::V311)?;
    // Half a CONNECT is no CONNECT.
    client.send([0x10, 0x20, 0, 4, b'M'])?;
    match client.read(Instant::now() + CONNECT_WAIT)? {
        Event::Closed => Ok(()),
        Event::Timeout => skip("the broker waits for CONNECT longer than 8 s (SHOULD)"),
        Event::Packet(packet) => fail(format!("got {} before any CONNECT", packet.describe())),
    }
}

/// How long a broker may wait for CONNECT before the case gives up.
const CONNECT_WAIT: Duration = Duration::from_secs(8);
