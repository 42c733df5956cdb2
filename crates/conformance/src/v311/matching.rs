//! Which filters match which topics, and which filters there are (section 4.7).

use super::{about, client, subscriber};
use crate::case::{Case, Verdict, Version, check, check_eq, fail};
use crate::harness::{Client, Event, Target};
use crate::wire::{Packet, Ping, Publish, Subscribe};
use std::time::Instant;

cases! {
    filters_match_by_levels: ["3.3.2-3", "4.7.1-2", "4.7.1-3", "4.7.3-4"];
    first_level_wildcards_match_ordinary_topics: ["4.7.1-2", "4.7.1-3"];
    leading_wildcards_do_not_match_dollar_topics: ["4.7.2-1"];
    dollar_in_later_levels_is_ordinary: ["4.7.2-1"];
    filters_with_the_same_start_stay_apart: ["3.3.2-3"];
    misplaced_multi_level_wildcards_are_refused: ["4.7.1-2"];
    misplaced_single_level_wildcards_are_refused: ["4.7.1-3"];
    up_to_128_levels_match: ["3.3.2-3"];
}

/// Filter and topic, behind a common prefix and a slash, and whether they match.
const TABLE: &[(&str, &str, bool)] = &[
    ("a", "a", true),
    ("a", "b", false),
    ("a", "A", false),
    ("a", "a/", false),
    ("a", "/a", false),
    ("a", "aa", false),
    ("a/", "a", false),
    ("a/", "a/", true),
    ("/a", "a", false),
    ("/a", "/a", true),
    ("a//b", "a/b", false),
    ("a//b", "a//b", true),
    ("a/b", "a/b", true),
    ("a/b", "a/b/c", false),
    ("a/b/c", "a/b", false),
    ("#", "a", true),
    ("#", "a/b/c/d", true),
    ("#", "", true),
    ("#", "/", true),
    ("a/#", "a", true),
    ("a/#", "a/", true),
    ("a/#", "a/b", true),
    ("a/#", "a/b/c", true),
    ("a/#", "ab", false),
    ("a/#", "b/a", false),
    ("a/b/#", "a", false),
    ("a/b/#", "a/b", true),
    ("+", "a", true),
    ("+", "", true),
    ("+", "a/b", false),
    ("+", "/a", false),
    ("+", "a/", false),
    ("+/", "a/", true),
    ("+/", "a", false),
    ("/+", "/a", true),
    ("/+", "a", false),
    ("+/+", "/a", true),
    ("+/+", "a/b", true),
    ("+/+", "/", true),
    ("+/+", "a", false),
    ("+/+", "a/b/c", false),
    ("a/+", "a", false),
    ("a/+", "a/", true),
    ("a/+", "a/b", true),
    ("a/+", "a/b/c", false),
    ("a/+/c", "a/b/c", true),
    ("a/+/c", "a//c", true),
    ("a/+/c", "a/b/d", false),
    ("a/+/c", "a/c", false),
    ("a/+/c", "a/b/b/c", false),
    ("+/b", "a/b", true),
    ("+/b", "b", false),
    ("+/+/+", "a/b/c", true),
    ("+/#", "a", true),
    ("+/#", "a/b/c", true),
    ("+/#", "", true),
    ("+/a/#", "b/a", true),
    ("+/a/#", "b/a/c/d", true),
    ("+/a/#", "a", false),
    ("a/+/#", "a", false),
    ("a/+/#", "a/b", true),
    ("a/+/#", "a/b/c", true),
    ("a/+/+/#", "a/b", false),
    ("//", "//", true),
    ("//", "/", false),
    ("+//+", "a//b", true),
    ("+//+", "a/b/c", false),
    ("a b", "a b", true),
    ("$a", "$a", true),
    ("\u{E9}", "\u{E9}", true),
    ("*", "a", false),
    ("a.b", "a/b", false),
];

//= mqtt311 3.3.2-3 test
//= mqtt311 4.7.1-2 test
//= mqtt311 4.7.1-3 test
//= mqtt311 4.7.3-4 test
fn filters_match_by_levels(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for (filter, topic, matches) in TABLE {
        let base = target.topic("m");
        let (filter, topic) = (format!("{base}/{filter}"), format!("{base}/{topic}"));
        let what = format!("{filter:?} against {topic:?}");
        let mut receiver = subscriber(target, &filter, 0)?;
        publisher.send(Publish::new(&topic, "x"))?;
        if *matches {
            about(&what, receiver.expect_message(&topic, "x"))?;
        }
        about(&what, receiver.expect_silence(&mut publisher))?;
        receiver.disconnect()?;
    }
    Ok(())
}

/// The first level is `mc` or empty here, since cases must not disturb each other.
//= mqtt311 4.7.1-2 test
//= mqtt311 4.7.1-3 test
fn first_level_wildcards_match_ordinary_topics(target: &Target) -> Verdict {
    let mut publisher = client(target)?;
    for first in ["mc", "", " "] {
        let topic = target.topic("t");
        let Some((_, rest)) = topic.split_once('/') else {
            return fail("no level in the topic");
        };
        let topic = format!("{first}/{rest}");
        let mut receiver = subscriber(target, &format!("+/{rest}"), 0)?;
        publisher.send(Publish::new(&topic, "x"))?;
        receiver.expect_message(&topic, "x")?;
        receiver.expect_silence(&mut publisher)?;
    }
    for topic in [target.topic("t"), format!("/{}", target.topic("t"))] {
        let mut seen = 0;
        for _ in 0..3 {
            seen += dollar_free_until(target, "#", &[&topic])?;
        }
        check(seen > 0, &format!("# did not match {topic:?}"))?;
    }
    Ok(())
}

//= mqtt311 4.7.2-1 test
fn leading_wildcards_do_not_match_dollar_topics(target: &Target) -> Verdict {
    let id = target.id();
    let dollar = [
        format!("$mc{id}"),
        format!("$mc{id}/{id}"),
        format!("$/{id}"),
    ];
    let dollar: Vec<&str> = dollar.iter().map(String::as_str).collect();
    for filter in ["#", "+/#", &format!("+/{id}"), &format!("+/{id}/#")] {
        about(filter, dollar_free_until(target, filter, &dollar))?;
    }
    Ok(())
}

/// Publishes to `topics`, then to one that is subscribed for sure; counts what came of `topics`,
/// and fails on any topic that begins with `$`.
///
/// `#` brings what other cases publish, too, and all that is retained, so that a broker may drop
/// some of QoS 0: what does not come is published again.
fn dollar_free_until(target: &Target, filter: &str, topics: &[&str]) -> Verdict<usize> {
    let end = target.topic("end");
    let mut publisher = client(target)?;
    let mut receiver = client(target)?;
    receiver.send(Subscribe::new(1).filter(filter, 0).filter(&end, 0))?;
    let (mut seen, mut rounds) = (0, 0);
    while rounds < 10 {
        match receiver.read(Instant::now() + receiver.timeout() / 4)? {
            Event::Packet(Packet::Publish(message)) => {
                let what = format!("matched {:?}", message.topic);
                check(!message.topic.starts_with('$'), &what)?;
                if message.topic == end {
                    return Ok(seen);
                }
                seen += usize::from(topics.contains(&message.topic.as_str()));
            }
            Event::Packet(Packet::SubAck(_)) | Event::Timeout => {
                rounds += 1;
                for topic in topics {
                    publisher.send(Publish::new(topic, "x"))?;
                }
                // A broker may close on a topic that it keeps for itself.
                if is_closed(&mut publisher)? {
                    publisher = client(target)?;
                }
                publisher.send(Publish::new(&end, "end"))?;
            }
            Event::Packet(_) => {}
            Event::Closed => return fail("the broker closed"),
        }
    }
    fail("the last message did not come")
}

/// Whether the broker closes before it answers a PINGREQ; everything else is ignored.
fn is_closed(client: &mut Client) -> Verdict<bool> {
    client.send(Ping)?;
    let deadline = Instant::now() + client.timeout();
    loop {
        match client.read(deadline)? {
            Event::Packet(Packet::PingResp) => return Ok(false),
            Event::Packet(_) => {}
            Event::Closed => return Ok(true),
            Event::Timeout => return fail("neither served nor closed"),
        }
    }
}

//= mqtt311 4.7.2-1 test
fn dollar_in_later_levels_is_ordinary(target: &Target) -> Verdict {
    let base = target.topic("t");
    let topic = format!("{base}/$x/y");
    let mut publisher = client(target)?;
    for filter in ["#", "+/y", "+/+", "$x/#", "$x/+"] {
        let filter = format!("{base}/{filter}");
        let mut receiver = subscriber(target, &filter, 0)?;
        publisher.send(Publish::new(&topic, "x"))?;
        about(&filter, receiver.expect_message(&topic, "x"))?;
    }
    Ok(())
}

//= mqtt311 3.3.2-3 test
fn filters_with_the_same_start_stay_apart(target: &Target) -> Verdict {
    let base = target.topic("t");
    let filters = [
        "a", "a/b", "a/b/c", "a/+", "a/+/c", "a/#", "+/b", "+/+/c", "#",
    ];
    let topics = [
        "a", "b", "a/b", "a/c", "b/b", "a/b/c", "a/x/c", "x/x/c", "a/b/c/d",
    ];
    // Which of the filters match, by hand.
    let wanted: [&[&str]; 9] = [
        &["a", "a/#", "#"],
        &["#"],
        &["a/b", "a/+", "a/#", "+/b", "#"],
        &["a/+", "a/#", "#"],
        &["+/b", "#"],
        &["a/b/c", "a/+/c", "a/#", "+/+/c", "#"],
        &["a/+/c", "a/#", "+/+/c", "#"],
        &["+/+/c", "#"],
        &["a/#", "#"],
    ];
    let mut receivers = Vec::new();
    for filter in filters {
        receivers.push((filter, subscriber(target, &format!("{base}/{filter}"), 0)?));
    }
    let mut publisher = client(target)?;
    for topic in topics {
        publisher.send(Publish::new(&format!("{base}/{topic}"), topic))?;
    }
    for (filter, receiver) in &mut receivers {
        for (topic, _) in topics
            .iter()
            .zip(wanted)
            .filter(|(_, of)| of.contains(filter))
        {
            let full = format!("{base}/{topic}");
            about(filter, receiver.expect_message(&full, topic))?;
        }
        about(filter, receiver.expect_silence(&mut publisher))?;
    }
    Ok(())
}

//= mqtt311 4.7.1-2 test
fn misplaced_multi_level_wildcards_are_refused(target: &Target) -> Verdict {
    for filter in [
        "a#", "#a", "a/#/b", "#/a", "a/#b", "a/b#", "##", "a/##", "#/#", "#/", "+#",
    ] {
        about(filter, refuses_filter(target, filter))?;
    }
    Ok(())
}

//= mqtt311 4.7.1-3 test
fn misplaced_single_level_wildcards_are_refused(target: &Target) -> Verdict {
    for filter in ["a+", "+a", "a/b+", "a/+b/c", "++", "a/++", "+a/#", "a+/+"] {
        about(filter, refuses_filter(target, filter))?;
    }
    Ok(())
}

/// The broker closes, or refuses the filter in SUBACK.
fn refuses_filter(target: &Target, filter: &str) -> Verdict {
    let mut client = client(target)?;
    client.send(Subscribe::new(1).filter(filter, 0))?;
    match client.read(Instant::now() + client.timeout())? {
        Event::Closed => Ok(()),
        Event::Packet(Packet::SubAck(suback)) => check_eq("codes", suback.codes, vec![0x80]),
        Event::Packet(other) => fail(format!("answered with {}", other.describe())),
        Event::Timeout => fail("neither refused nor closed"),
    }
}

//= mqtt311 3.3.2-3 test
fn up_to_128_levels_match(target: &Target) -> Verdict {
    let base = target.topic("t");
    let used = base.split('/').count();
    let mut publisher = client(target)?;
    for levels in [16, 64, 127, 128] {
        let deep = format!("{base}{}", "/x".repeat(levels - used));
        let filters = [
            deep.clone(),
            format!("{base}{}", "/+".repeat(levels - used)),
            format!("{base}{}/#", "/x".repeat(levels - used - 1)),
            format!("{base}{}/#", "/+".repeat(levels - used - 1)),
        ];
        for filter in filters {
            let mut receiver = subscriber(target, &filter, 0)?;
            publisher.send(Publish::new(&deep, "x"))?;
            about(
                &format!("{levels} levels"),
                receiver.expect_message(&deep, "x"),
            )?;
        }
    }
    Ok(())
}
