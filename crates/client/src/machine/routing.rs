//! From a topic to the streams that want its messages.
//!
//! A cache of a few dozen topics: what a topic matches is found once, and its text is allocated once.

use std::hash::{BuildHasher, Hasher};

use martlet_codec::Properties;

use super::stream::StreamId;
use super::subscriptions::Subscriptions;
use crate::topic::Topic;

/// Routes of topics seen lately, each in the one place that its hash chooses.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    places: Vec<Option<Route>>,
    /// The state of the subscriptions that the routes were made from.
    generation: u64,
}

#[derive(Debug)]
struct Route {
    topic: Topic,
    targets: Vec<Target>,
}

/// A stream that matches, by the subscription with this identifier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) subscription_id: u32,
    /// Whether it has that identifier now, and not only had.
    pub(crate) current: bool,
    pub(crate) stream: StreamId,
}

impl Routes {
    /// The place of the topic's route.
    pub(crate) fn find(&mut self, topic: &str, subscriptions: &Subscriptions) -> usize {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        if self.generation != subscriptions.generation() {
            self.generation = subscriptions.generation();
            self.places.iter_mut().for_each(|place| *place = None);
        }
        let place = usize::try_from(hash(topic)).unwrap_or(0) % PLACES;
        if let Some(slot) = self.places.get_mut(place)
            && slot.as_ref().is_none_or(|route| route.topic != topic)
        {
            *slot = Some(Route {
                topic: Topic::from_checked(topic),
                targets: subscriptions.targets(topic),
            });
        }
        place
    }

    pub(crate) fn topic(&self, place: usize) -> Option<&Topic> {
        self.places.get(place)?.as_ref().map(|route| &route.topic)
    }

    /// The streams that get this message, each once.
    ///
    /// A server may send one copy for all subscriptions that match, with all their identifiers, or
    /// one copy for each. So the identifiers decide, among the subscriptions that match. A message
    /// without any that we know (3.1.1, or a subscription of an earlier run) goes to all that match.
    pub(crate) fn takers(&self, place: usize, properties: Properties<'_>, takers: &mut Takers) {
        let Some(route) = self.places.get(place).and_then(Option::as_ref) else {
            return;
        };
        if let [only] = route.targets.as_slice() {
            takers.push(only.stream);
            return;
        }
        for id in properties.subscription_identifiers() {
            let named = |current| {
                let of_id = move |target: &&Target| {
                    target.subscription_id == id && target.current == current
                };
                route.targets.iter().filter(of_id)
            };
            if named(true).next().is_some() {
                named(true).for_each(|target| takers.push(target.stream));
            } else {
                named(false).for_each(|target| takers.push(target.stream));
            }
        }
        if takers.is_empty() {
            route
                .targets
                .iter()
                .for_each(|target| takers.push(target.stream));
        }
    }
}

/// Streams, each once.
#[derive(Debug, Default)]
pub(crate) struct Takers(Vec<StreamId>);

impl Takers {
    pub(crate) fn push(&mut self, id: StreamId) {
        if !self.0.contains(&id) {
            self.0.push(id);
        }
    }

    pub(crate) fn as_slice(&self) -> &[StreamId] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A topic's hash. Collisions only cost time, so its seed may be known.
pub(crate) fn hash(topic: &str) -> u64 {
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(topic.as_bytes());
    hasher.finish()
}

const PLACES: usize = 64;
