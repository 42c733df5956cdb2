//! The topics and filters of the wildcard scenario: a site of devices, and people who watch parts of it.
//!
//! Topics are `bench/s{site}/d{device}/m{metric}`. Every filter has a wildcard, at one of the three levels. Most name
//! devices that are silent, as in life, and just as many as bring the average number of matches to what was asked.
//! No two filters of one subscriber match the same topic, so that every broker owes exactly one delivery.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::number::{Random, count, float, length, whole};
use crate::settings::Settings;

/// What was drawn.
#[derive(Debug)]
pub(crate) struct Forest {
    pub(crate) topics: Vec<String>,
    /// Of each subscriber.
    pub(crate) filters: Vec<Vec<String>>,
    /// For each topic, the subscribers that it is for.
    pub(crate) receivers: Vec<Vec<u32>>,
}

impl Forest {
    pub(crate) fn plant(settings: &Settings) -> Result<Self, Error> {
        let shape = Shape::new(settings)?;
        let mut random = Random::new(settings.seed);
        let mut receivers = vec![Vec::new(); shape.topics];
        let mut filters = Vec::with_capacity(settings.subscribers);
        for subscriber in 0..settings.subscribers {
            let number = u32::try_from(subscriber).unwrap_or(u32::MAX);
            let (texts, matched) = shape.watch(&mut random, settings.filters);
            for topic in matched {
                if let Some(receivers) = receivers.get_mut(topic) {
                    receivers.push(number);
                }
            }
            filters.push(texts);
        }
        let topics = (0..shape.topics).map(|topic| shape.topic(topic)).collect();
        Ok(Self {
            topics,
            filters,
            receivers,
        })
    }
}

/// How many of each level there are.
#[derive(Debug, Clone, Copy)]
struct Shape {
    topics: usize,
    sites: usize,
    devices: usize,
    metrics: usize,
    /// Devices that filters may name; those beyond `devices` are silent.
    named_devices: usize,
}

impl Shape {
    fn new(settings: &Settings) -> Result<Self, Error> {
        let topics = settings.topics;
        let metrics = 10.min(topics);
        let devices = 50.min(topics.div_ceil(metrics));
        let sites = topics.div_ceil(metrics * devices);
        let filters = float(count(settings.subscribers * settings.filters));
        // A filter that names no silent device matches as many topics as the level of its wildcard has members.
        let wide = (float(count(sites)) + float(count(devices)) + float(count(metrics))) / 3.0;
        let all_named = filters * wide / float(count(topics));
        let silence = all_named / settings.matches;
        if !silence.is_finite() || filters < 1.0 {
            return Err(Error::Arguments(
                "--matches, --filters and --subscribers: at least something must match".to_owned(),
            ));
        }
        // Filters that leave the device open are thinned out by silent sites, the same number of times more.
        let named_devices = length(whole(float(count(devices)) * silence.max(1.0)));
        Ok(Self {
            topics,
            sites,
            devices,
            metrics,
            named_devices,
        })
    }

    fn topic(self, index: usize) -> String {
        let (site, device, metric) = self.parts(index);
        format!("bench/s{site}/d{device}/m{metric}")
    }

    const fn parts(self, index: usize) -> (usize, usize, usize) {
        let metric = index % self.metrics;
        let device = index / self.metrics % self.devices;
        (index / self.metrics / self.devices, device, metric)
    }

    /// The filters of one subscriber, and the topics that they match.
    fn watch(self, random: &mut Random, filters: usize) -> (Vec<String>, BTreeSet<usize>) {
        let mut texts = BTreeSet::new();
        let mut matched = BTreeSet::new();
        let mut attempts = 0;
        while texts.len() < filters && attempts < filters * ATTEMPTS {
            attempts += 1;
            let (text, topics) = self.draw(random);
            if topics.iter().any(|topic| matched.contains(topic)) {
                continue;
            }
            if texts.insert(text) {
                matched.extend(topics);
            }
        }
        (texts.into_iter().collect(), matched)
    }

    fn draw(self, random: &mut Random) -> (String, Vec<usize>) {
        let site = random.below(self.sites);
        let device = random.below(self.named_devices);
        let metric = random.below(self.metrics);
        // A silent site for filters that leave the device open.
        let open_site = random.below(self.sites * self.named_devices / self.devices.max(1));
        match random.below(3) {
            0 => (
                format!("bench/+/d{device}/m{metric}"),
                self.matching(|(_, d, m)| d == device && m == metric),
            ),
            1 => (
                format!("bench/s{open_site}/+/m{metric}"),
                self.matching(|(s, _, m)| s == open_site && m == metric),
            ),
            _ => (
                format!("bench/s{site}/d{device}/#"),
                self.matching(|(s, d, _)| s == site && d == device),
            ),
        }
    }

    fn matching(self, takes: impl Fn((usize, usize, usize)) -> bool) -> Vec<usize> {
        (0..self.topics)
            .filter(|&topic| takes(self.parts(topic)))
            .collect()
    }
}

/// Drawing again costs little; giving up leaves a subscriber with fewer filters.
const ATTEMPTS: usize = 50;
