//! CONNECT: its format and what it starts (section 3.1).

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq, fail, skip};
use crate::harness::Target;
use crate::v5::support::{closes, each};
use crate::wire::{
    Acknowledge, Authenticate, Bytes, Connect, Disconnect, Encode, Ping, Props, Publish, Subscribe,
    Unsubscribe, Will, prop,
};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        first_packet_must_be_connect,
        "3.1.0-1",
        "3.2.0-1",
        "3.14.0-1"
    ),
    case!(V5, second_connect_closes, "3.1.0-2", "3.2.0-2"),
    case!(V5, password_without_user_name_is_well_formed, "3.1.2-19"),
    case!(V5, payload_fields_are_read_in_order, "3.1.3-1"),
    case!(V5, simple_client_ids_are_accepted, "3.1.3-5", "3.1.4-5"),
    case!(
        V5,
        empty_client_id_is_replaced_by_a_unique_one,
        "3.1.3-6",
        "3.1.3-7",
        "3.2.2-16"
    ),
    case!(V5, unacceptable_client_id_is_refused, "3.1.3-8"),
    case!(V5, packets_may_follow_connect_without_waiting, "3.1.4-5"),
    case!(
        V5,
        response_information_is_only_given_on_request,
        "3.1.2-28"
    ),
    case!(
        V5,
        problem_information_is_not_sent_when_unwanted,
        "3.1.2-29"
    ),
    case!(V5, user_properties_may_repeat, "3.1.4-1", "4.13.1-1"),
];

//= mqtt5 3.1.0-1 test
//= mqtt5 3.2.0-1 test
//= mqtt5 3.14.0-1 test
fn first_packet_must_be_connect(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let method = Props::new().text(prop::AUTH_METHOD, "x");
    let firsts: [(&str, Vec<u8>); 9] = [
        ("PUBLISH", Publish::new(&topic, "x").encode(V5)),
        ("PUBACK", Acknowledge::puback(1).encode(V5)),
        ("PUBREL", Acknowledge::pubrel(1).encode(V5)),
        ("SUBSCRIBE", Subscribe::new(1).filter(&topic, 0).encode(V5)),
        ("UNSUBSCRIBE", Unsubscribe::new(1).filter(&topic).encode(V5)),
        ("PINGREQ", Ping.encode(V5)),
        ("DISCONNECT", Disconnect::new().encode(V5)),
        (
            "AUTH",
            Authenticate {
                code: 0x18,
                props: method,
            }
            .encode(V5),
        ),
        ("type 0", vec![0, 0]),
    ];
    each(firsts, |(what, first)| {
        let mut client = target.open(V5)?;
        client.send(first)?;
        let bytes = client.read_to_close().during(what)?;
        // CONNACK with an error is no success, but there was no CONNECT to answer either.
        check_eq("bytes before the close", bytes, Vec::new()).during(what)
    })
}

//= mqtt5 3.1.0-2 test
//= mqtt5 3.2.0-2 test
fn second_connect_closes(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, _) = target.connect(&Connect::v5(&id))?;
    client.send(Connect::v5(&id))?;
    client.expect_closed()?;
    let mut client = target.client(V5)?;
    client.send(Connect::v5(&target.id()))?;
    client.expect_closed().during("with another client id")
}

//= mqtt5 3.1.2-19 test
fn password_without_user_name_is_well_formed(target: &Target) -> Verdict {
    let mut client = target.open(V5)?;
    client.send(Connect::v5(&target.id()).password(b"p"))?;
    let connack = client.expect_connack()?;
    match connack.code {
        0 => client.expect_nothing(),
        0x86 | 0x87 => client.expect_closed(),
        code => fail(format!("refused with 0x{code:02X}")),
    }
}

//= mqtt5 3.1.3-1 test
fn payload_fields_are_read_in_order(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = target.client(V5)?;
    watcher.subscribe(&topic, 0)?;
    let connect = Connect::v5(&target.id())
        .will(Will::new(&topic, "payload").props(Props::new().pair("a", "b")))
        .user_name(b"user")
        .password(b"\xFFpassword");
    let mut client = target.open(V5)?;
    client.send(&connect)?;
    match client.expect_connack()?.code {
        0 => {}
        0x86 | 0x87 => return skip("the broker wants other credentials"),
        code => return fail(format!("refused with 0x{code:02X}")),
    }
    client.sever();
    let will = watcher.expect_message(&topic, "payload")?;
    check_eq("user properties", will.props.pairs(), vec![("a", "b")])
}

//= mqtt5 3.1.3-5 test
//= mqtt5 3.1.4-5 test
fn simple_client_ids_are_accepted(target: &Target) -> Verdict {
    let id = target.id();
    let fill = |alphabet: &str| {
        alphabet
            .chars()
            .chain(id.chars())
            .take(23)
            .collect::<String>()
    };
    // One letter cannot be unique to this run; it is taken from the part of the id that is random.
    let one: String = id.chars().skip(2).take(1).collect();
    for id in [
        one,
        id.chars().take(12).collect(),
        fill("0123456789"),
        fill("abcdefghijklmno"),
        fill("ABCDEFGHIJKLMNO"),
        fill("pqrstuvwxyz"),
        fill("PQRSTUVWXYZ"),
    ] {
        let (mut client, _) = target.connect(&Connect::v5(&id)).during(&id)?;
        client.expect_nothing()?;
        client.disconnect()?;
    }
    Ok(())
}

//= mqtt5 3.1.3-6 test
//= mqtt5 3.1.3-7 test
//= mqtt5 3.2.2-16 test
fn empty_client_id_is_replaced_by_a_unique_one(target: &Target) -> Verdict {
    let assigned = |clean: bool| {
        let connect = Connect::v5("").expiry(30);
        let connect = if clean { connect } else { connect.resume() };
        let mut client = target.open(V5)?;
        client.send(&connect)?;
        let connack = client.expect_connack()?;
        if connack.code == 0x85 {
            return skip("the broker wants a client id");
        }
        check_eq("reason of CONNACK", connack.code, 0)?;
        check(!connack.session_present, "a new client has a session")?;
        match connack.props.text(prop::ASSIGNED_CLIENT_ID) {
            Some(id) if !id.is_empty() => Ok((client, id.to_owned())),
            _ => fail("CONNACK has no Assigned Client Identifier"),
        }
    };
    let (mut one, first) = assigned(true)?;
    let (mut two, second) = assigned(false).during("Clean Start 0")?;
    check(first != second, "two clients were given the same id")?;
    // The id is as good as one that the client had chosen: its session can be resumed.
    one.disconnect()?;
    let (mut again, connack) = target.connect(&Connect::v5(&first).resume())?;
    check(
        connack.session_present,
        "the session of the assigned id is gone",
    )?;
    check(
        !connack.props.has(prop::ASSIGNED_CLIENT_ID),
        "an id is assigned in place of ours",
    )?;
    again.disconnect()?;
    two.disconnect()
}

//= mqtt5 3.1.3-8 test
fn unacceptable_client_id_is_refused(target: &Target) -> Verdict {
    let mut id = target.id();
    id.push_str(&"x".repeat(65_535 - id.len()));
    let mut client = target.open(V5)?;
    client.send(Connect::v5(&id))?;
    let told = client.expect_close_or_connack()?;
    match told {
        None => Ok(()),
        Some(connack) if connack.code == 0 => {
            client.disconnect()?;
            skip("the broker accepts client ids of any length")
        }
        Some(_) => client.expect_closed(),
    }
}

//= mqtt5 3.1.4-5 test
fn packets_may_follow_connect_without_waiting(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut bytes = Connect::v5(&target.id()).encode(V5);
    bytes.extend(Subscribe::new(1).filter(&topic, 0).encode(V5));
    bytes.extend(Publish::new(&topic, "x").encode(V5));
    let mut client = target.open(V5)?;
    client.send(bytes)?;
    check_eq("reason of CONNACK", client.expect_connack()?.code, 0)?;
    client.expect_suback(1)?;
    client.expect_message(&topic, "x").map(drop)
}

//= mqtt5 3.1.2-28 test
fn response_information_is_only_given_on_request(target: &Target) -> Verdict {
    let absent = Connect::v5(&target.id());
    let zero = Connect::v5(&target.id()).props(Props::new().u8(prop::REQUEST_RESPONSE_INFO, 0));
    each([absent, zero], |connect| {
        let (mut client, connack) = target.connect(&connect)?;
        check(
            !connack.props.has(prop::RESPONSE_INFO),
            "CONNACK has Response Information",
        )?;
        client.disconnect()
    })
}

//= mqtt5 3.1.2-29 test
fn problem_information_is_not_sent_when_unwanted(target: &Target) -> Verdict {
    let topic = target.topic("nobody");
    let props = Props::new().u8(prop::REQUEST_PROBLEM_INFO, 0);
    let (mut client, _) = target.connect(&Connect::v5(&target.id()).props(props))?;
    // What is most likely to be told about: no subscriber, no subscription, unknown identifiers.
    client.send(Publish::new(&topic, "x").qos(1, 1))?;
    let mut told = client.expect_puback(1)?.props.0;
    client.send(Publish::new(&topic, "x").qos(2, 2))?;
    told.extend(client.expect_pubrec(2)?.props.0);
    client.send(Acknowledge::pubrel(2))?;
    told.extend(client.expect_pubcomp(2)?.props.0);
    client.send(Acknowledge::pubrel(99))?;
    told.extend(client.expect_pubcomp(99)?.props.0);
    client.send(Unsubscribe::new(3).filter(&topic))?;
    told.extend(client.expect_unsuback(3)?.props.0);
    client.send(Subscribe::new(4).filter(&topic, 0))?;
    told.extend(client.expect_suback(4)?.props.0);
    check_eq("problem information", told, Vec::new())
}

//= mqtt5 3.1.4-1 test
//= mqtt5 4.13.1-1 test
fn user_properties_may_repeat(target: &Target) -> Verdict {
    let props = Props::new().pair("a", "1").pair("a", "1").pair("", "");
    let connect = Connect::v5(&target.id()).props(props.clone());
    let (mut client, _) = target.connect(&connect)?;
    client.subscribe_with(1, &Subscribe::new(1).filter("a", 0).props(props.clone()))?;
    client.send(Unsubscribe::new(2).filter("a").props(props.clone()))?;
    client.expect_unsuback(2)?;
    client.disconnect_with(&Disconnect::new().props(props))?;
    closes(
        target,
        "a user property without value",
        {
            let half = Bytes::new().u8(prop::USER_PROPERTY).string("a");
            Subscribe::new(1)
                .filter("a", 0)
                .props(Props::new().raw(&half.0))
        },
        &[],
    )
}
