//! Against a walk over everything with the codec's matching rule, and that the walk really jumps.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{QoS, topic_matches};
use proptest::prelude::*;

use super::{Retained, in_order, jump};
use crate::message::{Message, MessageParts, Origin};
use crate::time::Time;

const NOW: Time = Time::from_millis(1_000);

fn message(topic: &str, payload: &[u8], expires_at: Option<Time>) -> Message {
    MessageParts {
        topic: topic.into(),
        shared_properties: &[],
        payload,
        qos: QoS::AtMostOnce,
        retain: true,
        expires_at,
        origin: Origin::NONE,
    }
    .to_message()
}

fn with_topics<'a>(topics: impl IntoIterator<Item = &'a str>) -> Retained {
    let mut retained = Retained::new();
    for topic in topics {
        retained.set(message(topic, b"x", None));
    }
    retained
}

/// All that match, and how many calls it took.
fn scanned(retained: &Retained, filter: &str, limit: usize) -> (Vec<String>, usize) {
    let mut topics = Vec::new();
    let mut after: Option<String> = None;
    let mut calls = 0;
    loop {
        calls += 1;
        let before = topics.len();
        let mut found = |message: &Message| topics.push(String::from(message.topic()));
        let next = retained.scan(filter, after.as_deref(), limit, NOW, &mut found);
        assert!(topics.len() - before <= limit);
        match next {
            None => return (topics, calls),
            Some(topic) => after = Some(topic.into()),
        }
    }
}

#[test]
fn what_lies_below_a_level_stands_together() {
    let topics = ["a!/x", "a", "a/b", "a!", "a b", "a/!", "ab", "a/b/c", "a/"];
    let retained = with_topics(topics);
    assert_eq!(
        scanned(&retained, "a/#", 2).0,
        ["a", "a/", "a/!", "a/b", "a/b/c"]
    );
    assert_eq!(scanned(&retained, "a/+", 2).0, ["a/", "a/!", "a/b"]);
    assert_eq!(scanned(&retained, "+", 2).0, ["a", "a b", "a!", "ab"]);
    assert_eq!(scanned(&retained, "+/x", 2).0, ["a!/x"]);
}

//= mqtt5 4.7.2-1 test
//= mqtt311 4.7.2-1 test
#[test]
fn a_leading_wildcard_does_not_find_topics_that_begin_with_a_dollar_sign() {
    let retained = with_topics(["$SYS/load", "$", "!", "a/b", "%/b"]);
    assert_eq!(scanned(&retained, "+/b", 9).0, ["%/b", "a/b"]);
    assert!(
        !scanned(&retained, "#", 9)
            .0
            .iter()
            .any(|topic| topic.starts_with('$'))
    );
    assert_eq!(scanned(&retained, "$SYS/#", 9).0, ["$SYS/load"]);
}

//= mqtt5 3.3.2-5 test
#[test]
fn an_expired_message_is_not_found() {
    let mut retained = Retained::new();
    retained.set(message("a/1", b"", Some(NOW)));
    retained.set(message("a/2", b"", Some(NOW.plus_millis(1))));
    assert_eq!(scanned(&retained, "a/+", 9).0, ["a/2"]);
    assert_eq!(scanned(&retained, "a/1", 9).0, [""; 0]);
}

#[test]
fn a_wildcard_in_front_does_not_walk_through_whole_subtrees() {
    let topics: Vec<String> = (0..300)
        .flat_map(|first| (0..200).map(move |second| format!("{first}/{second}/state")))
        .collect();
    let retained = with_topics(topics.iter().map(String::as_str));
    // One call looks at 16 topics at most for each that it may report: a walk over all 60,000 would take more.
    let (found, calls) = scanned(&retained, "+/77/state", 301);
    assert_eq!((found.len(), calls), (300, 1));
    let (found, calls) = scanned(&retained, "+/+", 300);
    assert_eq!((found.len(), calls), (0, 300 * 200 / (300 * 16) + 1));
    let (found, calls) = scanned(&retained, "299/#", 201);
    assert_eq!((found.len(), calls), (200, 1));
    let (found, calls) = scanned(&retained, "nothing/+/here", 1);
    assert_eq!((found.len(), calls), (0, 1));
}

#[test]
fn a_call_is_bounded_even_if_nothing_matches() {
    let topics: Vec<String> = (0..1_000).map(|number| format!("a/{number}/x")).collect();
    let retained = with_topics(topics.iter().map(String::as_str));
    let (found, calls) = scanned(&retained, "+/+/y", 10);
    assert_eq!(found.len(), 0);
    assert!((7..=14).contains(&calls), "{calls}");
}

#[test]
fn counts_follow_every_change() {
    let mut retained = Retained::new();
    assert!(retained.set(message("a", b"12345", None)).is_none());
    let replaced = retained.set(message("a", b"1", Some(NOW)));
    assert_eq!(replaced.map(|message| message.payload().len()), Some(5));
    assert_eq!(
        (retained.len(), retained.bytes()),
        (1, message("a", b"1", None).size())
    );
    assert_eq!(retained.get("a").map(Message::payload), Some(&b"1"[..]));
    assert!(retained.clear("b").is_none());
    assert!(retained.clear("a").is_some());
    assert_eq!(
        (retained.len(), retained.bytes(), retained.expiring),
        (0, 0, 0)
    );
    assert!(retained.is_empty());
}

#[test]
fn the_sweep_goes_round_with_a_budget() {
    let mut retained = Retained::new();
    for number in 0..100_u64 {
        let expires_at = (number % 2 == 0).then(|| Time::from_millis(number));
        retained.set(message(&format!("{number}"), b"", expires_at));
    }
    let sweeps: Vec<_> = (0..10)
        .map(|_| retained.sweep_expired(Time::from_millis(50), 10).len())
        .collect();
    assert_eq!(sweeps.iter().sum::<usize>(), 26);
    assert!(sweeps.iter().all(|count| *count <= 10));
    assert_eq!(retained.len(), 74);
    let later: usize = (0..10)
        .map(|_| retained.sweep_expired(Time::from_millis(98), 10).len())
        .sum();
    assert_eq!(later, 24);
    assert!(retained.sweep_expired(Time::MAX, 10).is_empty());
    assert_eq!(retained.len(), 50);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["", "a", "b", "$a", "!", "a!", "aa", "0", "\u{1}", "%", "-"][..])
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![2 => level(), 2 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, rest)| {
            if rest {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("a filter is not empty", |filter| !filter.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn finds_what_a_walk_over_everything_finds(
        topics in prop::collection::vec((topic(), 0_u64..4), 0..60),
        filter in filter(),
        limit in 1_usize..5,
    ) {
        let mut retained = Retained::new();
        let mut model = BTreeMap::new();
        for (topic, expiry) in topics {
            let expires_at = (expiry < 2).then(|| Time::from_millis(expiry * 2_000));
            retained.set(message(&topic, b"", expires_at));
            model.insert(topic, expires_at.is_some_and(|at| at <= NOW));
        }
        let mut expected: Vec<String> = model
            .iter()
            .filter(|(topic, expired)| !**expired && topic_matches(&filter, topic))
            .map(|(topic, _)| topic.clone())
            .collect();
        expected.sort_by(|left, right| in_order(left.as_bytes(), right.as_bytes()));
        prop_assert_eq!(scanned(&retained, &filter, limit).0, expected);
    }

    /// What is there all the time is found once; nothing is found twice, and nothing that does not match.
    #[test]
    fn a_scan_goes_on_under_changes(
        stable in prop::collection::btree_set(topic(), 0..30),
        changes in prop::collection::vec((topic(), any::<bool>()), 0..120),
        filter in filter(),
    ) {
        let mut retained = with_topics(stable.iter().map(String::as_str));
        let mut found = BTreeSet::new();
        let mut changes = changes.into_iter();
        let mut after: Option<String> = None;
        loop {
            let mut twice = None;
            let next = retained.scan(&filter, after.as_deref(), 1, NOW, &mut |message| {
                if !found.insert(String::from(message.topic())) {
                    twice = Some(message.clone());
                }
            });
            prop_assert!(twice.is_none(), "{:?}", twice);
            let Some(next) = next else { break };
            after = Some(next.into());
            for (topic, set) in changes.by_ref().take(4) {
                if stable.contains(&topic) {
                    continue;
                }
                if set {
                    retained.set(message(&topic, b"", None));
                } else {
                    retained.clear(&topic);
                }
            }
        }
        prop_assert!(found.iter().all(|topic| topic_matches(&filter, topic)));
        for topic in &stable {
            prop_assert_eq!(found.contains(topic), topic_matches(&filter, topic), "{}", topic);
        }
    }

    #[test]
    fn a_jump_goes_forward_and_misses_nothing(
        filter in filter(), from in topic(), other in topic(),
    ) {
        let mut target = Vec::new();
        let (matches, next) = jump::behind(filter.as_bytes(), from.as_bytes(), &mut target);
        prop_assert_eq!(matches, topic_matches(&filter, &from));
        let is_behind = in_order(from.as_bytes(), other.as_bytes()).is_lt();
        if next == jump::Next::Target {
            prop_assert!(in_order(from.as_bytes(), &target).is_lt());
        }
        if is_behind && topic_matches(&filter, &other) {
            match next {
                jump::Next::Nothing => prop_assert!(false, "there is {}", other),
                jump::Next::Target => {
                    prop_assert!(in_order(other.as_bytes(), &target).is_ge(), "jumps over {}", other);
                }
                jump::Next::Successor => {}
            }
        }
    }
}
