//! Strings and topic names (sections 1.5.3, 3.3.2 and 4.7).

use super::{about, client, closes_on, subscriber};
use crate::case::{Case, Verdict, Version, check, check_eq, fail};
use crate::harness::{Client, Event, Target};
use crate::wire::{Packet, Ping, Publish, Subscribe, Unsubscribe};
use std::time::Instant;

cases! {
    ill_formed_topic_name_closes: ["1.5.3-1", "3.3.2-1"];
    ill_formed_filter_closes: ["1.5.3-1", "3.8.3-1", "3.10.3-1"];
    nul_in_topic_or_filter_closes: ["1.5.3-2", "4.7.3-2"];
    byte_order_mark_is_kept: ["1.5.3-3"];
    well_formed_text_of_every_length_is_accepted: ["1.5.3-1", "4.7.3-4"];
    characters_are_compared_as_sent: ["4.7.3-4"];
    wildcard_in_topic_name_is_not_published: ["3.3.2-2", "4.7.1-1"];
    empty_topic_and_filter_close: ["4.7.3-1"];
    topic_of_every_allowed_length_is_whole_or_refused: ["4.7.3-3"];
    deep_topics_do_no_harm: ["4.7.3-3"];
}

/// Byte sequences that are not UTF-8: overlong forms, surrogates, beyond U+10FFFF, cut, stray.
pub(super) const ILL_FORMED: &[&[u8]] = &[
    b"a\xC0\x80",
    b"a\xC1\xBF",
    b"a\xE0\x80\x80",
    b"a\xE0\x9F\xBF",
    b"a\xED\xA0\x80",
    b"a\xED\xBF\xBF",
    b"a\xF0\x80\x80\x80",
    b"a\xF4\x90\x80\x80",
    b"a\xF8\x88\x80\x80\x80",
    b"a\xE2\x82",
    b"a\x80b",
    b"a\xFFb",
];

//= mqtt311 1.5.3-1 test
//= mqtt311 3.3.2-1 test
fn ill_formed_topic_name_closes(target: &Target) -> Verdict {
    for bad in ILL_FORMED {
        let what = format!("topic {bad:02X?}");
        closes_on(target, &what, Publish::new("", "x").raw_topic(bad))?;
    }
    Ok(())
}

//= mqtt311 1.5.3-1 test
//= mqtt311 3.8.3-1 test
//= mqtt311 3.10.3-1 test
fn ill_formed_filter_closes(target: &Target) -> Verdict {
    for bad in ILL_FORMED {
        let what = format!("filter {bad:02X?}");
        closes_on(target, &what, Subscribe::new(1).raw_filter(bad, 0))?;
        closes_on(target, &what, Unsubscribe::new(1).raw_filter(bad))?;
    }
    Ok(())
}

//= mqtt311 1.5.3-2 test
//= mqtt311 4.7.3-2 test
fn nul_in_topic_or_filter_closes(target: &Target) -> Verdict {
    for bad in ["\0", "a\0b", "a/\0"] {
        closes_on(target, "PUBLISH", Publish::new(bad, "x"))?;
        closes_on(target, "SUBSCRIBE", Subscribe::new(1).filter(bad, 0))?;
        closes_on(target, "UNSUBSCRIBE", Unsubscribe::new(1).filter(bad))?;
    }
    Ok(())
}

//= mqtt311 1.5.3-3 test
fn byte_order_mark_is_kept(target: &Target) -> Verdict {
    let base = target.topic("t");
    let marked = format!("{base}\u{FEFF}x/\u{FEFF}");
    let plain = format!("{base}x/");
    let mut receiver = subscriber(target, &marked, 0)?;
    receiver.subscribe(&plain, 0)?;
    let mut publisher = client(target)?;
    publisher.send(Publish::new(&marked, "marked"))?;
    receiver.expect_message(&marked, "marked")?;
    publisher.send(Publish::new(&plain, "plain"))?;
    receiver.expect_message(&plain, "plain")?;
    receiver.expect_silence(&mut publisher)
}

//= mqtt311 1.5.3-1 test
//= mqtt311 4.7.3-4 test
fn well_formed_text_of_every_length_is_accepted(target: &Target) -> Verdict {
    let base = target.topic("t");
    let mut receiver = subscriber(target, &format!("{base}/#"), 0)?;
    let mut publisher = client(target)?;
    // The first and last characters of each length and around the surrogates, without those that
    // a receiver may refuse (control characters and non-characters).
    let texts = [
        " ~",
        "\u{A0}\u{7FF}",
        "\u{800}\u{D7FF}\u{E000}\u{FFFC}",
        "\u{10000}\u{1F600}\u{10FFFD}",
    ];
    for text in texts {
        let topic = format!("{base}/{text}");
        publisher.send(Publish::new(&topic, text))?;
        receiver.expect_message(&topic, text)?;
    }
    Ok(())
}

//= mqtt311 4.7.3-4 test
fn characters_are_compared_as_sent(target: &Target) -> Verdict {
    let base = target.topic("t");
    // Composed and decomposed, upper and lower case, full width, Kelvin sign, trailing space.
    let pairs = [
        ("\u{E9}", "e\u{301}"),
        ("ACCOUNTS", "Accounts"),
        ("\u{FF21}", "A"),
        ("\u{212A}", "K"),
        ("a", "a "),
        ("\u{DF}", "ss"),
    ];
    let mut publisher = client(target)?;
    for (one, other) in pairs {
        let (one, other) = (format!("{base}/{one}"), format!("{base}/{other}"));
        let mut receiver = subscriber(target, &one, 0)?;
        publisher.send(Publish::new(&other, "other"))?;
        publisher.send(Publish::new(&one, "one"))?;
        receiver.expect_message(&one, "one")?;
        receiver.expect_silence(&mut publisher)?;
    }
    Ok(())
}

//= mqtt311 3.3.2-2 test
//= mqtt311 4.7.1-1 test
fn wildcard_in_topic_name_is_not_published(target: &Target) -> Verdict {
    let base = target.topic("t");
    let mut watcher = subscriber(target, &format!("{base}/#"), 0)?;
    for bad in ["+", "#", "a/+", "a/#", "+/a", "a+b", "a#"] {
        let topic = format!("{base}/{bad}");
        closes_on(target, bad, Publish::new(&topic, "x"))?;
    }
    watcher.expect_silence(&mut client(target)?)
}

//= mqtt311 4.7.3-1 test
fn empty_topic_and_filter_close(target: &Target) -> Verdict {
    closes_on(target, "PUBLISH", Publish::new("", "x"))?;
    closes_on(target, "PUBLISH QoS 1", Publish::new("", "x").qos(1, 1))?;
    closes_on(target, "SUBSCRIBE", Subscribe::new(1).filter("", 0))?;
    closes_on(target, "UNSUBSCRIBE", Unsubscribe::new(1).filter(""))
}

/// No length beyond 65,535 can be written, so what can be seen is that nothing is cut.
//= mqtt311 4.7.3-3 test
fn topic_of_every_allowed_length_is_whole_or_refused(target: &Target) -> Verdict {
    let base = target.topic("t");
    let of_length = |length: usize| format!("{base}/{}", "x".repeat(length - base.len() - 1));
    for length in [1_024, 4_096, 65_535] {
        about(
            &format!("topic of {length} bytes"),
            echo(target, &of_length(length)),
        )?;
    }
    // Every broker has a limit, but names of ordinary length are no reason to refuse.
    for length in [255, 256] {
        let topic = of_length(length);
        let mut client = subscriber(target, &topic, 0)?;
        client.send(Publish::new(&topic, "x"))?;
        client.expect_message(&topic, "x")?;
    }
    Ok(())
}

/// Tens of thousands of levels are refused or served, but do not bring the broker down.
//= mqtt311 4.7.3-3 test
fn deep_topics_do_no_harm(target: &Target) -> Verdict {
    let mut bystander = client(target)?;
    let base = target.topic("t");
    for levels in [129, 1_000, 30_000] {
        let deep = format!("{base}{}", "/x".repeat(levels));
        about(&format!("{levels} levels"), echo(target, &deep))?;
        let slashes = format!("{base}{}", "/".repeat(2 * levels));
        about(&format!("{levels} empty levels"), echo(target, &slashes))?;
        let wild = format!("{base}{}", "/+".repeat(levels));
        let mut client = client(target)?;
        client.send(Subscribe::new(1).filter(&wild, 0))?;
        client.send(Publish::new(&deep, "x"))?;
        served_or_closed(&mut client)?;
        bystander.expect_alive()?;
    }
    Ok(())
}

/// Subscribes to a topic and publishes to it: the message comes back whole, or not at all.
fn echo(target: &Target, topic: &str) -> Verdict {
    let mut client = client(target)?;
    client.send(Subscribe::new(1).filter(topic, 0))?;
    client.send(Publish::new(topic, "x"))?;
    let seen = served_or_closed(&mut client)?;
    for packet in seen {
        if let Packet::Publish(message) = packet {
            check(message.topic == topic, "delivered under another topic name")?;
            check_eq("payload", message.text().as_str(), "x")?;
        }
    }
    Ok(())
}

/// What comes before the answer to a PINGREQ, or before the close.
fn served_or_closed(client: &mut Client) -> Verdict<Vec<Packet>> {
    client.send(Ping)?;
    let deadline = Instant::now() + client.timeout();
    let mut seen = Vec::new();
    loop {
        match client.read(deadline)? {
            Event::Packet(Packet::PingResp) | Event::Closed => return Ok(seen),
            Event::Packet(packet) => seen.push(packet),
            Event::Timeout => return fail("neither served nor closed"),
        }
    }
}
