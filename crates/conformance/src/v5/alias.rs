//! Topic aliases, both ways (section 3.3.2.3.4).

use std::collections::BTreeMap;

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq, fail, skip};
use crate::harness::{Client, Target};
use crate::v5::support::{closes, each};
use crate::wire::{Connect, Message, Props, Publish, prop};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        every_announced_alias_is_accepted,
        "3.3.2-12",
        "3.2.2-17"
    ),
    case!(V5, alias_can_be_set_anew, "3.3.2-12"),
    case!(V5, aliases_end_with_the_connection, "3.3.2-7"),
    case!(V5, aliases_belong_to_one_connection, "3.3.2-7"),
    case!(
        V5,
        aliases_out_of_range_close,
        "3.3.2-8",
        "3.3.2-9",
        "3.2.2-17",
        "3.2.2-18"
    ),
    case!(V5, unknown_alias_closes, "4.13.1-1"),
    case!(V5, server_uses_no_alias_unless_invited, "3.1.2-27"),
    case!(
        V5,
        server_aliases_stay_within_the_maximum,
        "3.1.2-26",
        "3.3.2-8",
        "3.3.2-10",
        "3.3.2-11"
    ),
    case!(V5, server_aliases_end_with_the_connection, "3.3.2-7"),
];

fn alias(number: u16) -> Props {
    Props::new().u16(prop::TOPIC_ALIAS, number)
}

//= mqtt5 3.3.2-12 test
//= mqtt5 3.2.2-17 test
fn every_announced_alias_is_accepted(target: &Target) -> Verdict {
    target.needs_aliases(1)?;
    let maximum = target.capabilities()?.topic_alias_maximum;
    let base = target.topic("t");
    let mut subscriber = target.client(V5)?;
    let mut publisher = target.client(V5)?;
    each([1, maximum / 2 + 1, maximum], |number| {
        let topic = format!("{base}/{number}");
        subscriber.subscribe(&topic, 0)?;
        publisher.send(Publish::new(&topic, "set").props(alias(number)))?;
        let message = subscriber.expect_message(&topic, "set")?;
        check(
            !message.props.has(prop::TOPIC_ALIAS),
            "the publisher's alias was forwarded",
        )?;
        publisher.send(Publish::new("", "use").props(alias(number)))?;
        subscriber.expect_message(&topic, "use")?;
        publisher.publish(
            &Publish::new("", "QoS 1")
                .qos(1, number)
                .props(alias(number)),
        )?;
        subscriber.expect_message(&topic, "QoS 1").map(drop)
    })
}

//= mqtt5 3.3.2-12 test
fn alias_can_be_set_anew(target: &Target) -> Verdict {
    target.needs_aliases(1)?;
    let (one, two) = (target.topic("one"), target.topic("two"));
    let mut client = target.client(V5)?;
    client.subscribe(&one, 0)?;
    client.subscribe(&two, 0)?;
    each(
        [
            (&*one, &one),
            ("", &one),
            (&two, &two),
            ("", &two),
            (&one, &one),
        ],
        |(topic, wanted)| {
            client.send(Publish::new(topic, "x").props(alias(1)))?;
            client.expect_message(wanted, "x").map(drop)
        },
    )
}

//= mqtt5 3.3.2-7 test
fn aliases_end_with_the_connection(target: &Target) -> Verdict {
    target.needs_aliases(1)?;
    let (id, topic) = (target.id(), target.topic("t"));
    let (mut client, _) = target.connect(&Connect::v5(&id).expiry(60))?;
    client.publish(&Publish::new(&topic, "x").qos(1, 1).props(alias(1)))?;
    client.disconnect()?;
    let (mut client, _) = target.connect(&Connect::v5(&id).resume())?;
    client.send(Publish::new("", "x").qos(1, 2).props(alias(1)))?;
    client.expect_closed_with(&[0x94])
}

//= mqtt5 3.3.2-7 test
fn aliases_belong_to_one_connection(target: &Target) -> Verdict {
    target.needs_aliases(1)?;
    let mut one = target.client(V5)?;
    one.publish(
        &Publish::new(&target.topic("t"), "x")
            .qos(1, 1)
            .props(alias(1)),
    )?;
    closes(
        target,
        "alias of another client",
        Publish::new("", "x").props(alias(1)),
        &[0x94],
    )
}

//= mqtt5 3.3.2-8 test
//= mqtt5 3.3.2-9 test
//= mqtt5 3.2.2-17 test
//= mqtt5 3.2.2-18 test
fn aliases_out_of_range_close(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let maximum = target.capabilities()?.topic_alias_maximum;
    closes(
        target,
        "alias 0",
        Publish::new(&topic, "x").props(alias(0)),
        &[0x94],
    )?;
    if maximum < u16::MAX {
        let above = Publish::new(&topic, "x").props(alias(maximum + 1));
        closes(target, "alias above the maximum", above, &[0x94])?;
        let above = Publish::new(&topic, "x").props(alias(u16::MAX));
        closes(target, "alias 65,535", above, &[0x94])?;
    }
    Ok(())
}

//= mqtt5 4.13.1-1 test
fn unknown_alias_closes(target: &Target) -> Verdict {
    target.needs_aliases(1)?;
    closes(
        target,
        "alias 1",
        Publish::new("", "x").props(alias(1)),
        &[0x94],
    )
}

//= mqtt5 3.1.2-27 test
fn server_uses_no_alias_unless_invited(target: &Target) -> Verdict {
    let absent = Connect::v5(&target.id());
    let zero = Connect::v5(&target.id()).props(Props::new().u16(prop::TOPIC_ALIAS_MAXIMUM, 0));
    each([absent, zero], |connect| {
        let topic = target.topic("t");
        let (mut client, _) = target.connect(&connect)?;
        client.subscribe(&topic, 0)?;
        for _ in 0..5 {
            client.send(Publish::new(&topic, "x"))?;
            let message = client.expect_message(&topic, "x")?;
            check(!message.props.has(prop::TOPIC_ALIAS), "an alias was used")?;
        }
        Ok(())
    })
}

//= mqtt5 3.1.2-26 test
//= mqtt5 3.3.2-8 test
//= mqtt5 3.3.2-10 test
//= mqtt5 3.3.2-11 test
fn server_aliases_stay_within_the_maximum(target: &Target) -> Verdict {
    each([1, 3, 65_535], |maximum| {
        let props = Props::new().u16(prop::TOPIC_ALIAS_MAXIMUM, maximum);
        let (mut client, _) = target.connect(&Connect::v5(&target.id()).props(props))?;
        follow_aliases(target, &mut client, maximum)
    })
}

/// Publishes to more topics than `maximum`, several times each, and resolves what comes back.
fn follow_aliases(target: &Target, client: &mut Client, maximum: u16) -> Verdict {
    let base = target.topic("t");
    let topics: Vec<String> = (0..5).map(|n| format!("{base}/{n}")).collect();
    for topic in &topics {
        client.subscribe(topic, 0)?;
    }
    let mut known = BTreeMap::new();
    for round in 0..4 {
        for topic in topics.iter().skip(round % 2) {
            client.send(Publish::new(topic, "x"))?;
            let message = client.expect_publish()?;
            let name = resolve(&mut known, &message, maximum)?;
            check_eq("topic", &name, topic)?;
        }
    }
    client.expect_nothing()
}

/// The topic of a message, which an alias may stand for.
fn resolve(known: &mut BTreeMap<u32, String>, message: &Message, maximum: u16) -> Verdict<String> {
    let Some(number) = message.props.number(prop::TOPIC_ALIAS) else {
        return Ok(message.topic.clone());
    };
    check(
        number <= u32::from(maximum),
        "an alias above the Topic Alias Maximum",
    )?;
    if !message.topic.is_empty() {
        known.insert(number, message.topic.clone());
    }
    match known.get(&number) {
        Some(topic) => Ok(topic.clone()),
        None => fail(format!("alias {number} was never set")),
    }
}

//= mqtt5 3.3.2-7 test
fn server_aliases_end_with_the_connection(target: &Target) -> Verdict {
    let (id, topic) = (target.id(), target.topic("t"));
    let maximum = || Props::new().u16(prop::TOPIC_ALIAS_MAXIMUM, 10);
    let mut aliased = false;
    for resume in [false, true] {
        let connect = Connect::v5(&id).props(maximum()).expiry(60);
        let connect = if resume { connect.resume() } else { connect };
        let (mut client, _) = target.connect(&connect)?;
        client.subscribe(&topic, 0)?;
        let mut known = BTreeMap::new();
        for _ in 0..3 {
            client.send(Publish::new(&topic, "x"))?;
            let message = client.expect_publish()?;
            aliased |= message.props.has(prop::TOPIC_ALIAS);
            resolve(&mut known, &message, 10).during("a new connection")?;
        }
        client.disconnect()?;
    }
    if aliased {
        Ok(())
    } else {
        skip("the broker uses no topic aliases")
    }
}
