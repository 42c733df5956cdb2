//! The scenarios that send messages from publishers to subscribers: who subscribes to what, who publishes where.

use martlet_codec::{QoS, TopicName, Version};

use crate::arguments::Scenario;
use crate::book::{Book, Routing};
use crate::churn::Churn;
use crate::drive::drive;
use crate::error::Error;
use crate::offline::end_sessions;
use crate::report::Report;
use crate::settings::Settings;
use crate::setup::{Client, Welcome, bring_up};
use crate::swarm::Swarm;
use crate::traffic::{Publisher, Traffic};
use crate::wildcard::Forest;
use crate::wire::{Stamp, Template};

/// Runs one of them.
pub(crate) fn run(
    swarm: &mut Swarm,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Error> {
    let plan = Plan::new(settings)?;
    let mut clients = vec![Client::default(); settings.publishers];
    clients.extend(plan.filters.into_iter().map(|filters| Client {
        filters,
        keep_session: settings.scenario == Scenario::Durable,
    }));
    let churn_conn = clients.len();
    if settings.churn > 0.0 {
        clients.push(Client::default());
    }
    let welcomes = bring_up(swarm, settings, &clients)?;
    let welcomes = welcomes.get(..settings.publishers).unwrap_or_default();
    let publishers = publishers(settings, &plan.topics, welcomes)?;
    if settings.qos > QoS::AtMostOnce {
        report.note_unacknowledged_max(welcomes);
    }
    let book = Book::new(plan.routing, settings.publishers, settings.subscribers);
    if book.flow_count() > FLOWS_MAX {
        return Err(Error::Arguments(format!(
            "{} publishers times {} subscribers are too many to keep books on",
            settings.publishers, settings.subscribers
        )));
    }
    let start_ns = swarm.clock().now_ns();
    let mut traffic = Traffic::new(settings, book, publishers, start_ns);
    if settings.churn > 0.0 {
        traffic.churn = Some(Churn::new(churn_conn, settings.churn, start_ns));
    }
    drive(swarm, &mut traffic, settings, report)?;
    if settings.scenario == Scenario::Durable {
        let subscribers = settings.publishers..settings.publishers + settings.subscribers;
        end_sessions(swarm, settings, subscribers)?;
    }
    Ok(())
}

/// Topics of each publisher, filters of each subscriber.
#[derive(Debug)]
struct Plan {
    topics: Topics,
    filters: Vec<Vec<String>>,
    routing: Routing,
}

#[derive(Debug)]
enum Topics {
    /// Each publisher has its own.
    Own,
    /// All publish to all of these.
    Shared(Vec<String>),
}

impl Plan {
    fn new(settings: &Settings) -> Result<Self, Error> {
        let subscribers = settings.subscribers;
        let own = |number| settings.topic(number);
        let all_topics: Vec<String> = (0..settings.publishers).map(own).collect();
        Ok(match settings.scenario {
            Scenario::Wildcard => {
                let forest = Forest::plant(settings)?;
                Self {
                    topics: Topics::Shared(forest.topics),
                    filters: forest.filters,
                    routing: Routing::Matching(forest.receivers),
                }
            }
            Scenario::FanIn | Scenario::FanOut => Self {
                topics: Topics::Own,
                filters: vec![deduplicated(all_topics); subscribers],
                routing: Routing::Everyone,
            },
            Scenario::Shared => {
                let group = format!("$share/bench-{:08x}/", settings.run);
                let filters = deduplicated(all_topics);
                let filters: Vec<String> = filters
                    .iter()
                    .map(|filter| format!("{group}{filter}"))
                    .collect();
                Self {
                    topics: Topics::Own,
                    filters: vec![filters; subscribers],
                    routing: Routing::Group,
                }
            }
            Scenario::P2p
            | Scenario::Latency
            | Scenario::Durable
            | Scenario::Connect
            | Scenario::Idle
            | Scenario::Retained
            | Scenario::Offline => {
                let distinct = deduplicated(all_topics.clone()).len();
                if distinct < all_topics.len() {
                    return Err(Error::Arguments(
                        "--topic: each pair needs its own; put %i into it".to_owned(),
                    ));
                }
                Self {
                    topics: Topics::Own,
                    filters: all_topics.into_iter().map(|topic| vec![topic]).collect(),
                    routing: Routing::Pairs,
                }
            }
        })
    }
}

fn publishers(
    settings: &Settings,
    topics: &Topics,
    welcomes: &[Welcome],
) -> Result<Vec<Publisher>, Error> {
    let template = |number: usize, topic: &str| {
        let stamp = Stamp {
            run: settings.run,
            publisher: u32::try_from(number).unwrap_or(u32::MAX),
        };
        let topic = TopicName::new(topic)
            .map_err(|error| Error::Arguments(format!("topic {topic:?}: {error}")))?;
        let (version, size): (Version, usize) = (settings.version, settings.size);
        Ok(Template::new(
            version,
            topic,
            settings.qos,
            false,
            stamp,
            size,
        ))
    };
    welcomes
        .iter()
        .enumerate()
        .map(|(number, welcome)| {
            let templates = match topics {
                Topics::Own => vec![template(number, &settings.topic(number))?],
                Topics::Shared(topics) => topics
                    .iter()
                    .map(|topic| template(number, topic))
                    .collect::<Result<Vec<_>, Error>>()?,
            };
            let unacknowledged_max = welcome.unacknowledged_max(settings);
            Ok(Publisher::new(templates, unacknowledged_max))
        })
        .collect()
}

/// Each once, in the order of their first appearance.
fn deduplicated(topics: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    topics
        .into_iter()
        .filter(|topic| seen.insert(topic.clone()))
        .collect()
}

/// A gigabyte of books.
const FLOWS_MAX: u64 = 10_000_000;
