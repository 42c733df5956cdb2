//! A retained message that its publisher's shard sends before it knows of a subscription, and that the owner stores after.
//!
//! Shard 0 has the publisher, shard 1 owns the topic, shard 2 (or 0 again) has the subscriber; the mailbox from 0 to 1 is slow.

use martlet_codec::{
    Packet, PropertiesBuf, Property, Publish, QoS, RetainHandling, SubscriptionOptions, TopicName,
    Version,
};
use std::string::String;
use std::vec::Vec;

use super::world::{Client, World, id_on, topic_on};
use crate::{Limits, Policy};

struct Story {
    w: World,
    topic: String,
    publisher: Client,
    subscriber: Client,
}

impl Story {
    /// "old" is retained, "R" is under way to the owner.
    fn with(shards: usize, at: usize) -> Self {
        let mut w = World::new(shards);
        let topic = topic_on(1, shards);
        let publisher = w.connect(Version::V311, &id_on(0, shards, "p"), true);
        w.publish(publisher, &topic, QoS::AtLeastOnce, 1, true, "old");
        let subscriber = w.connect(Version::V5, &id_on(at, shards, "s"), true);
        w.held = [(0, 1)].into();
        w.publish(publisher, &topic, QoS::AtLeastOnce, 2, true, "R");
        w.received(subscriber);
        w.received(publisher);
        Self {
            w,
            topic,
            publisher,
            subscriber,
        }
    }

    fn subscribe(&mut self, filter: &str, retain_handling: RetainHandling) {
        let options = SubscriptionOptions {
            retain_handling,
            ..SubscriptionOptions::with_qos(QoS::AtMostOnce)
        };
        self.w.subscribe_with(self.subscriber, filter, options);
    }

    /// A plain message behind R, straight to the subscriber's shard.
    fn publish_plain(&mut self) {
        let (p, topic) = (self.publisher, &self.topic);
        self.w.publish(p, topic, QoS::AtLeastOnce, 3, false, "M");
    }

    /// R reaches its owner.
    fn arrive(&mut self) {
        self.w.held.clear();
        self.w.run();
    }

    /// `M`, or `R retain` with its flag, in the order of arrival.
    fn seen(&mut self) -> Vec<String> {
        let topic = std::format!("PUBLISH {}=", self.topic);
        let lines = self.w.received(self.subscriber).into_iter();
        lines
            .filter_map(|line| Some(line.strip_prefix(&topic)?.replace(" q0", "")))
            .collect()
    }
}

//= mqtt5 4.6.0-5 test
//= mqtt5 4.6.0-6 test
//= mqtt311 4.6.0-5 test
//= mqtt311 4.6.0-6 test
#[test]
fn it_comes_behind_later_messages_only_as_a_retained_one() {
    for (shards, at) in [(3, 2), (2, 0)] {
        let mut story = Story::with(shards, at);
        story.subscribe("#", RetainHandling::Always);
        story.publish_plain();
        story.arrive();
        let seen = story.seen();
        // In the same mailbox as R, the replay's request comes behind it: the replay has no older value.
        let older = usize::from(at == 0);
        let all = ["old retain", "M", "R retain"];
        assert_eq!(seen, all[older..], "{shards} shards");
        story.publish_plain();
        assert_eq!(story.seen(), ["M"]);
    }
}

#[test]
fn it_takes_the_place_of_the_older_value_that_a_replay_still_holds() {
    let mut story = Story::with(3, 2);
    // The owner has answered with the old value, which is not sent before SUBACK; that waits for shard 0.
    story.w.held = [(0, 1), (0, 2)].into();
    story.subscribe("#", RetainHandling::Always);
    assert_eq!(story.seen(), [""; 0]);
    story.w.held = [(0, 2)].into();
    story.w.run();
    assert_eq!(story.seen(), ["R retain"]);
    story.arrive();
    assert_eq!(story.seen(), [""; 0], "and only once");
}

#[test]
fn a_replay_that_is_answered_later_brings_it_once() {
    let mut story = Story::with(3, 2);
    story.w.held = [(0, 1), (2, 1)].into();
    story.subscribe("#", RetainHandling::Always);
    story.arrive();
    assert_eq!(story.seen(), ["R retain"]);
}

//= mqtt5 3.3.1-11 test
#[test]
fn who_asked_for_no_retained_messages_does_not_get_it() {
    let mut story = Story::with(3, 2);
    story.subscribe("#", RetainHandling::Never);
    story.publish_plain();
    story.arrive();
    assert_eq!(story.seen(), ["M"]);
}

#[test]
fn who_asked_once_and_then_again_for_none_gets_it() {
    for again in [RetainHandling::IfNew, RetainHandling::Never] {
        let mut story = Story::with(3, 2);
        story.subscribe("#", RetainHandling::Always);
        story.subscribe("#", again);
        story.arrive();
        assert_eq!(story.seen(), ["old retain", "R retain"], "{again:?}");
    }
    let mut story = Story::with(3, 2);
    story.subscribe("#", RetainHandling::Never);
    story.subscribe("#", RetainHandling::IfNew);
    story.arrive();
    assert_eq!(story.seen(), [""; 0], "it has never asked");
}

#[test]
fn a_clearing_is_told_in_the_same_way() {
    let mut story = Story::with(3, 2);
    let (p, topic) = (story.publisher, story.topic.clone());
    story.w.publish(p, &topic, QoS::AtLeastOnce, 4, true, "");
    story.subscribe("#", RetainHandling::Always);
    story.publish_plain();
    story.arrive();
    assert_eq!(story.seen(), ["old retain", "M", "R retain", " retain"]);
}

#[test]
fn a_shared_subscription_gets_no_retained_messages_not_even_late_ones() {
    let mut story = Story::with(3, 2);
    let filter = (0..100)
        .map(|n| std::format!("$share/g{n}/#"))
        .find(|filter| crate::owner_of_topic(filter, 3) == 2)
        .unwrap();
    story.subscribe(&filter, RetainHandling::Always);
    story.publish_plain();
    story.arrive();
    assert_eq!(story.seen(), ["M"]);
}

/// Overlapping subscriptions get one copy with the identifiers of those that asked.
#[test]
fn subscriptions_that_overlap_get_one_copy() {
    let mut story = Story::with(3, 2);
    let topic = story.topic.clone();
    story.subscribe(&topic, RetainHandling::Always);
    story.subscribe("+/+", RetainHandling::Never);
    story.subscribe("#", RetainHandling::IfNew);
    story.seen();
    story.arrive();
    assert_eq!(story.seen(), ["R retain"]);
}

/// A subscription that was there before is served in the publisher's order, and a new one beside it as well.
#[test]
fn where_there_was_a_subscription_nothing_is_late() {
    let mut w = World::new(3);
    let topic = topic_on(1, 3);
    let p = w.connect(Version::V311, &id_on(0, 3, "p"), true);
    let old = w.connect(Version::V311, &id_on(2, 3, "old"), true);
    let new = w.connect(Version::V311, &id_on(2, 3, "new"), true);
    w.subscribe(old, &topic, QoS::AtMostOnce);
    w.held = [(0, 1)].into();
    w.publish(p, &topic, QoS::AtLeastOnce, 1, true, "R");
    w.subscribe(new, &topic, QoS::AtMostOnce);
    w.publish(p, &topic, QoS::AtLeastOnce, 2, false, "M");
    w.held.clear();
    w.run();
    assert_eq!(w.payloads(old), ["R", "M"]);
    assert_eq!(w.payloads(new), ["R", "M"]);
}

/// A value is on its way to somebody who leaves; `then` follows it; somebody else subscribes. The world, and the one.
fn followed_by(then: &str, mut w: World, mark_is_last: bool) -> (World, Client) {
    let topic = topic_on(1, 3);
    let p = w.connect(Version::V311, &id_on(0, 3, "p"), true);
    let q = w.connect(Version::V311, &id_on(1, 3, "q"), true);
    let gone = w.connect(Version::V311, &id_on(2, 3, "gone"), true);
    let s = w.connect(Version::V311, &id_on(2, 3, "s"), true);
    w.subscribe(gone, &topic, QoS::AtMostOnce);
    w.held = [(1, 2), (0, 2)].into();
    w.publish(p, &topic, QoS::AtLeastOnce, 1, true, "older");
    w.drop_connection(gone);
    w.publish(q, &topic, QoS::AtLeastOnce, 1, true, then);
    w.subscribe(s, &topic, QoS::AtMostOnce);
    w.held = [if mark_is_last { (0, 2) } else { (1, 2) }].into();
    w.run();
    w.held.clear();
    w.run();
    (w, s)
}

/// The new one's replay has the newer value.
#[test]
fn an_older_value_that_was_on_its_way_does_not_keep_the_newer_one_away() {
    for mark_is_last in [false, true] {
        let (mut w, s) = followed_by("newer", World::new(3), mark_is_last);
        assert_eq!(w.payloads(s), ["older", "newer"], "{mark_is_last}");
    }
}

#[test]
fn a_value_that_was_cleared_on_its_way_is_not_the_last_that_is_seen() {
    for mark_is_last in [false, true] {
        let (mut w, s) = followed_by("", World::new(3), mark_is_last);
        assert_eq!(w.payloads(s), ["older", ""], "{mark_is_last}");
    }
}

/// Where an owner had no room for a value, its silence says nothing.
#[test]
fn a_value_that_was_not_kept_is_not_called_cleared() {
    for mark_is_last in [false, true] {
        let limits = Limits {
            retained_messages_max: 0,
            ..Limits::default()
        };
        let w = World::with(3, &limits, &Policy::default());
        let (mut w, s) = followed_by("", w, mark_is_last);
        assert_eq!(w.payloads(s), ["older"], "{mark_is_last}");
    }
}

/// Nor where a value may have expired.
#[test]
fn a_value_that_may_have_expired_is_not_called_cleared() {
    for mark_is_last in [false, true] {
        let mut w = World::new(3);
        let q = w.connect(Version::V5, &id_on(1, 3, "expiring"), true);
        let mut expiry = PropertiesBuf::new();
        expiry.push(Property::MessageExpiryInterval(60));
        let topic = topic_on(1, 3);
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: TopicName::new(&topic).ok(),
            packet_id: None,
            properties: expiry.as_properties(),
            payload: b"x",
        };
        w.send(q, &Packet::Publish(publish));
        let (mut w, s) = followed_by("", w, mark_is_last);
        assert_eq!(w.payloads(s), ["older"], "{mark_is_last}");
    }
}
