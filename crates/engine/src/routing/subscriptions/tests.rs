//! Against the reference rule of the codec, and what the memory looks like.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{QoS, topic_matches};
use proptest::prelude::*;

use super::exact::ExactFilters;
use super::trie::Trie;
use super::{SubscriptionOptions, Subscriptions};
use crate::shard::Subscriber;

fn options(subscription_id: u32) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: true,
        subscription_id,
    }
}

fn matching<S: Copy + Eq + core::hash::Hash + Ord>(
    subscriptions: &mut Subscriptions<S>,
    topic: &str,
) -> Vec<(S, u32)> {
    let mut found = Vec::new();
    subscriptions.matches(topic, &mut |subscriber, options| {
        found.push((subscriber, options.subscription_id));
    });
    found.sort_unstable();
    found
}

/// As UNSUBSCRIBE does it.
fn remove<S: Copy + Eq + core::hash::Hash>(
    subscriptions: &mut Subscriptions<S>,
    filter: &str,
    subscriber: S,
) -> Option<SubscriptionOptions> {
    let id = subscriptions.find(filter)?;
    assert_eq!(subscriptions.text(id, &mut String::new()), filter);
    let known = subscriptions.options(id, subscriber);
    let removed = subscriptions.remove(id, subscriber);
    assert_eq!(removed, known);
    removed
}

fn with_filters(filters: &[&str]) -> Subscriptions<u32> {
    let mut subscriptions = Subscriptions::new(1);
    for (subscriber, filter) in (0..).zip(filters) {
        subscriptions.insert(filter, subscriber, options(0));
    }
    subscriptions
}

/// Those of the filters that match.
fn matched<'a>(filters: &[&'a str], topic: &str) -> Vec<&'a str> {
    let found = matching(&mut with_filters(filters), topic);
    found
        .into_iter()
        .map(|(subscriber, _)| filters[subscriber as usize])
        .collect()
}

#[test]
fn wildcards_match_as_the_specification_says() {
    let filters = [
        "#", "+", "+/+", "/+", "a/#", "a/+", "a/+/#", "a", "a/", "+/b/#",
    ];
    assert_eq!(matched(&filters, "a"), ["#", "+", "a/#", "a"]);
    assert_eq!(
        matched(&filters, "a/b"),
        ["#", "+/+", "a/#", "a/+", "a/+/#", "+/b/#"]
    );
    assert_eq!(matched(&filters, "/a"), ["#", "+/+", "/+"]);
    assert_eq!(
        matched(&filters, "a/"),
        ["#", "+/+", "a/#", "a/+", "a/+/#", "a/"]
    );
    assert_eq!(matched(&filters, "x/b/c/d"), ["#", "+/b/#"]);
}

//= mqtt5 4.7.2-1 test
//= mqtt311 4.7.2-1 test
#[test]
fn a_leading_wildcard_does_not_match_a_topic_that_begins_with_a_dollar_sign() {
    let filters = ["#", "+/#", "+/load", "$SYS/#", "$SYS/+", "$SYS/load", "$/#"];
    assert_eq!(
        matched(&filters, "$SYS/load"),
        ["$SYS/#", "$SYS/+", "$SYS/load"]
    );
    assert_eq!(matched(&filters, "a/$SYS"), ["#", "+/#"]);
}

//= mqtt5 4.7.3-4 test
//= mqtt311 4.7.3-4 test
#[test]
fn levels_are_compared_byte_by_byte() {
    // The same letter, composed and decomposed; upper and lower case.
    let filters = [
        "caf\u{e9}/+",
        "cafe\u{301}/+",
        "CAF\u{c9}/+",
        "caf\u{e9}/x",
        "cafe\u{301}/x",
    ];
    assert_eq!(
        matched(&filters, "caf\u{e9}/x"),
        ["caf\u{e9}/+", "caf\u{e9}/x"]
    );
}

#[test]
fn a_second_subscription_replaces_the_first() {
    for filter in ["a/b", "a/+"] {
        let mut subscriptions = Subscriptions::new(1);
        let (id, replaced) = subscriptions.insert(filter, 7_u32, options(1));
        assert_eq!(replaced, None);
        let before = subscriptions.generation();
        assert_eq!(
            subscriptions.insert(filter, 7, options(2)),
            (id, Some(options(1)))
        );
        assert_ne!(subscriptions.generation(), before);
        assert_eq!(subscriptions.len(), 1);
        assert_eq!(matching(&mut subscriptions, "a/b"), [(7, 2)]);
    }
}

#[test]
fn a_failed_removal_changes_nothing() {
    let mut subscriptions = with_filters(&["a/b", "a/+"]);
    let before = subscriptions.generation();
    for (filter, subscriber) in [("a/b", 9), ("a/+", 9), ("x", 0), ("a/#", 1), ("a/+/c", 1)] {
        assert_eq!(remove(&mut subscriptions, filter, subscriber), None);
    }
    assert_eq!(
        (subscriptions.generation(), subscriptions.len()),
        (before, 2)
    );
}

#[test]
fn a_filter_of_a_thousand_levels_is_walked_without_recursion() {
    let filter = format!("{}#", "+/".repeat(1_000));
    let topic = "/".repeat(1_500);
    let mut subscriptions = with_filters(&[&filter]);
    assert_eq!(matching(&mut subscriptions, &topic).len(), 1);
    assert_eq!(matching(&mut subscriptions, "a/b").len(), 0);
    assert!(remove(&mut subscriptions, &filter, 0).is_some());
}

#[test]
fn a_subscription_costs_few_bytes() {
    assert_eq!(ExactFilters::<Subscriber>::ENTRY_BYTES, 32);
    assert_eq!(Trie::<Subscriber>::NODE_BYTES, 56);
}

#[test]
fn many_wildcard_filters_share_their_levels_and_leave_no_memory() {
    let mut subscriptions = Subscriptions::new(3);
    let filters: Vec<String> = (0..50_000)
        .map(|number| format!("fleet/{number}/state/+"))
        .collect();
    for filter in &filters {
        subscriptions.insert(filter, 1_u32, options(0));
    }
    // Root, "fleet", and a number, "state" and "+" for each.
    assert_eq!(subscriptions.trie.used_nodes(), 2 + 3 * filters.len());
    for number in (0..filters.len()).step_by(97) {
        let topic = format!("fleet/{number}/state/x");
        assert_eq!(matching(&mut subscriptions, &topic).len(), 1, "{topic}");
    }
    for filter in &filters {
        assert!(remove(&mut subscriptions, filter, 1).is_some());
    }
    assert_eq!(subscriptions.trie.used_nodes(), 1);
    assert!(subscriptions.trie.allocated_nodes() <= 4);
    assert_eq!(subscriptions.len(), 0);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["", "a", "b", "$a", "!", "a-level-with-a-long-name", "aa"][..])
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
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
    #[test]
    fn finds_what_the_reference_rule_finds(
        seed: u64,
        operations in prop::collection::vec((0_u8..10, filter(), 0_u32..4, 0_u32..100), 1..80),
        topics in prop::collection::vec(topic(), 8),
    ) {
        let mut subscriptions = Subscriptions::new(seed);
        let mut model: BTreeMap<(String, u32), u32> = BTreeMap::new();
        for (kind, filter, subscriber, id) in operations {
            let before = subscriptions.generation();
            if kind < 4 {
                // Mostly one that exists.
                let key = model
                    .range((filter.clone(), 0)..)
                    .next()
                    .map_or((filter, subscriber), |(key, _)| key.clone());
                let removed = remove(&mut subscriptions, &key.0, key.1).map(|options| options.subscription_id);
                prop_assert_eq!(removed, model.remove(&key));
                prop_assert_eq!(removed.is_some(), subscriptions.generation() != before);
            } else {
                let (name, old) = subscriptions.insert(&filter, subscriber, options(id));
                prop_assert_eq!(subscriptions.find(&filter), Some(name));
                prop_assert_eq!(old.map(|old| old.subscription_id), model.insert((filter, subscriber), id));
                prop_assert!(subscriptions.generation() != before);
            }
            prop_assert_eq!(subscriptions.len(), model.len());
        }
        for topic in &topics {
            let mut expected: Vec<_> = model
                .iter()
                .filter(|((filter, _), _)| topic_matches(filter, topic))
                .map(|((_, subscriber), id)| (*subscriber, *id))
                .collect();
            expected.sort_unstable();
            prop_assert_eq!(matching(&mut subscriptions, topic), expected, "{}", topic);
        }
        for (filter, subscriber) in model.keys() {
            prop_assert!(remove(&mut subscriptions, filter, *subscriber).is_some());
        }
        prop_assert_eq!(subscriptions.trie.used_nodes(), 1);
        prop_assert_eq!(subscriptions.trie.literal_nodes(), 0);
        prop_assert!(subscriptions.exact.is_empty());
    }
}
