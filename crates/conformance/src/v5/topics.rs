//! Topic names and filters (section 4.7).

use crate::case::Version::V5;
use crate::case::{Case, During, Verdict, case, check, check_eq};
use crate::harness::Target;
use crate::v5::support::{collect, each, filter_refused, texts};
use crate::wire::{Publish, Subscribe, Unsubscribe};

pub(crate) const CASES: &[Case] = &[
    case!(
        V5,
        wrong_filters_are_refused,
        "4.7.1-1",
        "4.7.1-2",
        "4.7.3-1"
    ),
    case!(
        V5,
        wrong_filters_in_unsubscribe_are_refused,
        "4.7.1-1",
        "4.7.1-2",
        "4.7.3-1"
    ),
    case!(
        V5,
        filters_match_by_the_rules,
        "3.3.2-3",
        "4.7.1-1",
        "4.7.1-2",
        "4.7.3-4"
    ),
    case!(V5, topics_are_not_normalised, "4.7.3-4"),
    case!(V5, leading_wildcards_do_not_match_dollar_topics, "4.7.2-1"),
    case!(V5, long_and_deep_topics_are_served_or_refused, "4.7.3-3"),
    case!(V5, many_levels_match, "3.3.2-3"),
];

//= mqtt5 4.7.1-1 test
//= mqtt5 4.7.1-2 test
//= mqtt5 4.7.3-1 test
fn wrong_filters_are_refused(target: &Target) -> Verdict {
    let wrong = [
        "", "a#", "#a", "a/#/b", "#/a", "##", "a/b#", "/#/", "+a", "a+", "a/+b/c", "a/b+", "++",
        "+/a#", "#/+", "#+",
    ];
    each(wrong, |filter| filter_refused(target, filter))
}

//= mqtt5 4.7.1-1 test
//= mqtt5 4.7.1-2 test
//= mqtt5 4.7.3-1 test
fn wrong_filters_in_unsubscribe_are_refused(target: &Target) -> Verdict {
    // The codes of UNSUBACK for such a filter are open; removing it is impossible.
    each(["", "a#", "a/#/b", "a+", "+a"], |filter| {
        let mut client = target.client(V5)?;
        client.send(Unsubscribe::new(1).filter(filter))?;
        let answer = client.next("UNSUBACK or a close");
        match answer {
            Ok(crate::wire::Packet::UnsubAck(unsuback)) => {
                check(unsuback.codes != [0], "a wrong filter was removed").during(filter)
            }
            Ok(_) | Err(_) => client.expect_closed().during(filter),
        }
    })
}

/// Filter, topic, and whether they match. Each gets a common first level in front.
const MATCHES: &[(&str, &str, bool)] = &[
    ("a", "a", true),
    ("a", "a/", false),
    ("a", "/a", false),
    ("a", "A", false),
    ("a", "ab", false),
    ("a/b", "a/b", true),
    ("a/b", "a/b/c", false),
    ("a//b", "a//b", true),
    ("a//b", "a/b", false),
    ("/", "/", true),
    ("/", "", false),
    ("#", "a", true),
    ("#", "a/b/c", true),
    ("#", "", true),
    ("#", "/", true),
    ("a/#", "a", true),
    ("a/#", "a/", true),
    ("a/#", "a/b/c/d", true),
    ("a/#", "ab", false),
    ("a/#", "b/a", false),
    ("+", "a", true),
    ("+", "", true),
    ("+", "a/b", false),
    ("+", "a/", false),
    ("a/+", "a", false),
    ("a/+", "a/", true),
    ("a/+", "a/b", true),
    ("a/+", "a/b/c", false),
    ("+/+", "/a", true),
    ("/+", "/a", true),
    ("+/b", "a/b", true),
    ("+/b", "a/c", false),
    ("+/b/#", "a/b", true),
    ("+/b/#", "a/b/c", true),
    ("a/+/c", "a/b/c", true),
    ("a/+/c", "a//c", true),
    ("a/+/c", "a/b/b/c", false),
    ("+/+/+", "a/b", false),
    ("a/+/#", "a/b", true),
    ("a/+/#", "a", false),
    ("$x", "$x", true),
    ("+", "$x", true),
    ("\u{e9}", "\u{e9}", true),
    ("\u{e9}", "e\u{301}", false),
    ("a b", "a b", true),
    ("a", "a ", false),
];

//= mqtt5 3.3.2-3 test
//= mqtt5 4.7.1-1 test
//= mqtt5 4.7.1-2 test
//= mqtt5 4.7.3-4 test
fn filters_match_by_the_rules(target: &Target) -> Verdict {
    target.needs_wildcards()?;
    let mut publisher = target.client(V5)?;
    each(MATCHES, |(filter, topic, matches)| {
        let base = target.topic("m");
        let mut client = target.client(V5)?;
        let topic = format!("{base}/{topic}");
        client.subscribe(&format!("{base}/{filter}"), 1)?;
        publisher.publish_acked(&topic, "x")?;
        let got = collect(&mut client, &mut publisher)?;
        check_eq("copies", got.len(), usize::from(*matches))
            .and_then(|()| {
                check(
                    got.iter().all(|m| m.topic == topic),
                    "the topic was changed",
                )
            })
            .during(&format!("filter {filter:?}, topic {topic:?}"))
    })
}

//= mqtt5 4.7.3-4 test
fn topics_are_not_normalised(target: &Target) -> Verdict {
    let base = target.topic("t");
    let names = [
        "Acc",
        "acc",
        "a\u{308}cc",
        "\u{e4}cc",
        "\u{212b}",
        "\u{c5}",
        " acc",
        "acc/",
    ];
    let mut client = target.client(V5)?;
    for name in names {
        client.subscribe(&format!("{base}/{name}"), 0)?;
    }
    for name in names {
        client.send(Publish::new(&format!("{base}/{name}"), name))?;
        client.expect_message(&format!("{base}/{name}"), name)?;
    }
    client.expect_nothing()
}

//= mqtt5 4.7.2-1 test
fn leading_wildcards_do_not_match_dollar_topics(target: &Target) -> Verdict {
    target.needs_wildcards()?;
    let rest = target.topic("t");
    let topic = format!("$mc/{rest}");
    let mut publisher = target.client(V5)?;
    let mut client = target.client(V5)?;
    for filter in [
        format!("+/{rest}"),
        format!("+/{rest}/#"),
        "+/mc/#".into(),
        "#".into(),
    ] {
        client.subscribe(&filter, 0)?;
    }
    publisher.send(Publish::new(&topic, "hidden"))?;
    // `#` brings what other cases publish, too; only the hidden one must not be among it.
    let got = texts(&collect(&mut client, &mut publisher)?);
    check(
        !got.contains(&"hidden".to_owned()),
        "a leading wildcard matched a $-topic",
    )
}

//= mqtt5 4.7.3-3 test
fn long_and_deep_topics_are_served_or_refused(target: &Target) -> Verdict {
    let base = target.topic("t");
    let deep = format!("{base}{}", "/".repeat(60_000));
    let long = format!("{base}/{}", "x".repeat(65_000));
    let longest = format!("{base}/{}", "x".repeat(65_535 - base.len() - 1));
    for topic in [&deep, &long, &longest] {
        let mut client = target.client(V5)?;
        client.send(Subscribe::new(1).filter(topic, 1))?;
        client.send(Publish::new(topic, "x").qos(1, 2))?;
        // Any of: delivered, refused with a reason, closed. What counts is the others.
        let _answer = client.next("SUBACK or a close");
        drop(client);
        target
            .client(V5)?
            .expect_nothing()
            .during("another client")?;
    }
    Ok(())
}

//= mqtt5 3.3.2-3 test
fn many_levels_match(target: &Target) -> Verdict {
    target.needs_wildcards()?;
    let topic = target.topic("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20");
    let base = topic.split("/1/2/").next().unwrap_or_default().to_owned();
    let mut client = target.client(V5)?;
    client.subscribe(&format!("{base}{}", "/+".repeat(20)), 0)?;
    client.send(Publish::new(&topic, "x"))?;
    client.expect_message(&topic, "x")?;
    client.expect_nothing()
}
