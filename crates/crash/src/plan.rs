//! Who takes part in a life: topics, filters, and the clients with their habits, chosen by the seed.
//!
//! The filters of one session never overlap, so that each message is owed to a session once. Members of groups have
//! no other subscriptions, are never unsubscribed and never wiped: what a group owes is owed to all of them together.

use martlet_codec::{QoS, Version};

use crate::rng::Rng;

/// Every topic of a run. A topic stands for its index.
pub(crate) const TOPICS: [&str; 22] = [
    "a/0", "a/1", "a/2", "b/0", "b/1", "b/2", "c/0", "c/1", "c/2", "g/0", "g/1", "h/0", "h/1",
    "r/0", "r/1", "r/2", "r/3", "r/4", "r/5", "w/0", "w/1", "w/2",
];
/// Topics without RETAIN, for everybody.
pub(crate) const PLAIN: std::ops::Range<usize> = 0..13;
/// Topics whose messages are retained, each with one publisher.
pub(crate) const RETAINED: std::ops::Range<usize> = 13..19;
/// Topics of wills, each of one client.
pub(crate) const WILLS: std::ops::Range<usize> = 19..22;

/// The shared subscriptions.
pub(crate) const GROUPS: [&str; 2] = ["$share/one/g/#", "$share/two/h/+"];

/// A client's habits, for all its connections.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) name: String,
    pub(crate) version: Version,
    /// Its session outlives its connections.
    pub(crate) durable: bool,
    /// What it publishes to; nothing if empty.
    pub(crate) topics: Vec<usize>,
    /// Whether it sets RETAIN.
    pub(crate) retains: bool,
    /// The most QoS 1 and 2 messages it has under way.
    pub(crate) window: usize,
    /// What it subscribes to in every new session.
    pub(crate) filters: Vec<(String, QoS)>,
    /// The group it is a member of.
    pub(crate) group: Option<usize>,
    /// The topic of its wills, and their delay in seconds.
    pub(crate) will: Option<(usize, u32)>,
    /// How many percent of its turns it spends acknowledging.
    pub(crate) diligence: usize,
    /// One in so many turns it breaks its connection, leaves, or is taken over.
    pub(crate) restlessness: usize,
    /// Whether it unsubscribes, and begins a new session, now and then.
    pub(crate) fickle: bool,
    /// Once it has its subscriptions it stays away until everything comes to rest: what it is owed outlives many segments
    /// of the log.
    pub(crate) sleepy: bool,
    /// Takes the lowest free packet identifier, not the next: identifiers come back at once.
    pub(crate) lowest_identifier: bool,
    /// The Receive Maximum that it asks for, MQTT 5 only.
    pub(crate) receive_maximum: Option<u16>,
}

/// The clients of a life.
pub(crate) fn cast(rng: &mut Rng) -> Vec<Habits> {
    let mut cast = Vec::new();
    for index in 0..rng.between(2, 4) {
        let durable = index == 0 || rng.percent(70);
        let mut publisher = habits(format!("pub-{index}"), durable, rng);
        publisher.topics = some_topics(rng);
        cast.push(publisher);
    }
    // Two share the retained topics: each topic has one publisher, so that its order is known.
    for (index, durable) in [(0, true), (1, rng.percent(50))] {
        let mut publisher = habits(format!("ret-{index}"), durable, rng);
        publisher.topics = RETAINED.filter(|topic| topic % 2 == index).collect();
        publisher.retains = true;
        cast.push(publisher);
    }
    for index in 0..rng.between(3, 5) {
        let mut subscriber = habits(format!("sub-{index}"), true, rng);
        subscriber.filters = some_filters(rng);
        subscriber.fickle = index > 0 && rng.percent(50);
        subscriber.sleepy = index == 1;
        if rng.percent(50) && !subscriber.sleepy {
            subscriber.topics = some_topics(rng);
        }
        if index == 0 {
            subscriber
                .filters
                .push(("w/#".to_owned(), QoS::ExactlyOnce));
        }
        cast.push(subscriber);
    }
    for index in 0..2 {
        let mut guest = habits(format!("guest-{index}"), false, rng);
        guest.filters = some_filters(rng);
        guest.topics = some_topics(rng);
        cast.push(guest);
    }
    for (group, filter) in GROUPS.iter().enumerate() {
        // At QoS 2 everywhere, or a message could be owed to a member at another quality than to the next.
        let qos = *rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        for member in 0..rng.between(1, 3) {
            let mut member = habits(format!("member-{group}-{member}"), true, rng);
            member.filters = vec![((*filter).to_owned(), qos)];
            member.group = Some(group);
            cast.push(member);
        }
    }
    for (index, topic) in WILLS.enumerate() {
        let mut mourner = habits(format!("will-{index}"), true, rng);
        let delay_s = u32::from(index == 2);
        if delay_s > 0 {
            mourner.version = Version::V5;
        }
        mourner.will = Some((topic, delay_s));
        mourner.restlessness = 60;
        cast.push(mourner);
    }
    cast
}

fn habits(name: String, durable: bool, rng: &mut Rng) -> Habits {
    let version = *rng.pick(&[Version::V311, Version::V5]);
    // MQTT 3.1 cannot tell whether there is a session, so only clients without one speak it.
    let version = if !durable && rng.one_in(4) {
        Version::V31
    } else {
        version
    };
    Habits {
        name,
        version,
        durable,
        topics: Vec::new(),
        retains: false,
        window: *rng.pick(&[1, 4, 20, 50]),
        filters: Vec::new(),
        group: None,
        will: None,
        diligence: *rng.pick(&[5, 40, 100, 100]),
        restlessness: *rng.pick(&[150, 400, 2_000]),
        fickle: false,
        sleepy: false,
        lowest_identifier: rng.percent(60),
        receive_maximum: rng.one_in(3).then(|| *rng.pick(&[1, 5, 30])),
    }
}

fn some_topics(rng: &mut Rng) -> Vec<usize> {
    let mut topics: Vec<usize> = PLAIN.filter(|_| rng.percent(40)).collect();
    if topics.is_empty() {
        topics.push(rng.below(PLAIN.len()));
    }
    topics
}

/// Per tree of topics: nothing, all of it, or some topics by name.
fn some_filters(rng: &mut Rng) -> Vec<(String, QoS)> {
    let mut filters = Vec::new();
    while filters.is_empty() {
        for tree in ["a", "b", "c", "r"] {
            match rng.below(4) {
                0 => {}
                1 => filters.push((format!("{tree}/#"), some_qos(rng))),
                2 => filters.push((format!("{tree}/+"), some_qos(rng))),
                _ => {
                    for level in 0..rng.between(1, 2) {
                        filters.push((format!("{tree}/{level}"), some_qos(rng)));
                    }
                }
            }
        }
    }
    filters
}

/// Mostly one that is worth checking.
fn some_qos(rng: &mut Rng) -> QoS {
    *rng.pick(&[
        QoS::AtLeastOnce,
        QoS::AtLeastOnce,
        QoS::ExactlyOnce,
        QoS::ExactlyOnce,
        QoS::AtMostOnce,
    ])
}

#[cfg(test)]
mod tests {
    use martlet_codec::{TopicFilter, TopicName, topic_matches};

    use super::{GROUPS, RETAINED, TOPICS, cast};
    use crate::rng::Rng;

    #[test]
    fn no_topic_is_owed_to_a_session_twice() {
        for seed in 0..200 {
            for habits in cast(&mut Rng::new(seed)) {
                for topic in TOPICS {
                    let matching = habits.filters.iter().filter(|(filter, _)| {
                        topic_matches(TopicFilter::new(filter).unwrap().filter(), topic)
                    });
                    assert!(matching.count() <= 1, "{habits:?} {topic}");
                }
            }
        }
    }

    #[test]
    fn a_retained_topic_has_one_publisher() {
        for seed in 0..50 {
            let cast = cast(&mut Rng::new(seed));
            for topic in RETAINED {
                let publishers = cast.iter().filter(|habits| habits.topics.contains(&topic));
                assert_eq!(publishers.count(), 1);
            }
        }
        assert!(TOPICS.iter().all(|topic| TopicName::new(topic).is_ok()));
        assert!(GROUPS.iter().all(|group| TopicFilter::new(group).is_ok()));
    }
}
