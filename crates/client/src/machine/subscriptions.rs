//! The list of subscriptions: which stream wants which filter, and what the server knows of it.

use std::collections::VecDeque;
use std::sync::Arc;

use martlet_codec::{PacketId, TopicFilter, topic_matches};

use super::OpId;
use super::routing::Target;
use super::stream::StreamId;
use crate::topic::Filter;

/// Filters, requests under way, and what was unsubscribed.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(super) entries: Vec<Entry>,
    /// Rises with each change that concerns routes.
    pub(super) generation: u64,
    last_id: u32,
    pub(super) requests: Vec<Request>,
    /// Filters to be unsubscribed when there is a connection, if the session still has them.
    pub(super) gone: Vec<Gone>,
    /// Filters that this program has unsubscribed: their messages may still come, and are not held
    /// for anybody.
    retired: VecDeque<Arc<str>>,
    /// Filters whose stream was detached: the subscription stays, and its messages are held.
    detached: VecDeque<Arc<str>>,
    /// Some stream's SUBSCRIBE is to be sent.
    pub(super) wanted: bool,
}

/// One subscription on the server.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) text: Arc<str>,
    streams: Vec<StreamId>,
    /// The identifier of the SUBSCRIBE sent last.
    pub(super) subscription_id: u32,
    /// Those before it in this session: messages that the server has queued still carry them.
    earlier_ids: Vec<u32>,
}

impl Entry {
    /// A SUBSCRIBE with this identifier takes the place of the one before.
    pub(super) fn rename(&mut self, subscription_id: u32) {
        let old = std::mem::replace(&mut self.subscription_id, subscription_id);
        if old != subscription_id && old != 0 {
            if self.earlier_ids.len() >= EARLIER_IDS_MAX {
                self.earlier_ids.remove(0);
            }
            self.earlier_ids.push(old);
        }
    }
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) packet_id: PacketId,
    pub(super) kind: RequestKind,
}

#[derive(Debug)]
pub(super) enum RequestKind {
    Subscribe(StreamId),
    Unsubscribe(Gone),
}

#[derive(Debug)]
pub(super) struct Gone {
    pub(super) filters: Vec<Arc<str>>,
    pub(super) op: Option<OpId>,
}

impl Subscriptions {
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The streams that want this topic.
    pub(crate) fn targets(&self, topic: &str) -> Vec<Target> {
        let mut targets = Vec::new();
        for entry in &self.entries {
            if matches(&entry.text, topic) {
                let former = entry.earlier_ids.iter().map(|id| (*id, false));
                for (subscription_id, current) in former.chain([(entry.subscription_id, true)]) {
                    targets.extend(entry.streams.iter().map(|stream| Target {
                        subscription_id,
                        current,
                        stream: *stream,
                    }));
                }
            }
        }
        targets
    }

    pub(crate) fn is_retired(&self, topic: &str) -> bool {
        self.retired.iter().any(|filter| matches(filter, topic))
    }

    pub(crate) fn is_detached(&self, topic: &str) -> bool {
        self.detached.iter().any(|filter| matches(filter, topic))
    }

    /// The connection is lost: its requests have no answer.
    pub(crate) fn on_lost(&mut self) {
        for request in self.requests.drain(..) {
            if let RequestKind::Unsubscribe(gone) = request.kind {
                self.gone.push(gone);
            }
        }
    }

    /// A connection stands: those whose unsubscribe is over, because there is nothing left.
    pub(crate) fn on_session(&mut self, resumed: bool) -> Vec<OpId> {
        self.wanted = true;
        if resumed {
            return Vec::new();
        }
        self.retired.clear();
        self.detached.clear();
        for entry in &mut self.entries {
            entry.earlier_ids.clear();
        }
        self.generation += 1;
        self.gone.drain(..).filter_map(|gone| gone.op).collect()
    }

    pub(crate) fn end(&mut self) -> Vec<OpId> {
        self.on_lost();
        self.gone.drain(..).filter_map(|gone| gone.op).collect()
    }

    pub(super) fn add(&mut self, id: StreamId, filters: &[Filter]) -> u32 {
        self.generation += 1;
        // Identifiers fit four length bytes; nobody makes so many streams.
        self.last_id = if self.last_id >= SUBSCRIPTION_ID_MAX {
            1
        } else {
            self.last_id + 1
        };
        for filter in filters {
            self.retired.retain(|other| *other != filter.text);
            self.detached.retain(|other| *other != filter.text);
            for gone in &mut self.gone {
                gone.filters.retain(|other| *other != filter.text);
            }
            if let Some(entry) = self
                .entries
                .iter_mut()
                .find(|entry| entry.text == filter.text)
            {
                entry.streams.push(id);
            } else {
                self.entries.push(Entry {
                    text: Arc::clone(&filter.text),
                    streams: vec![id],
                    subscription_id: self.last_id,
                    earlier_ids: Vec::new(),
                });
            }
        }
        self.last_id
    }

    /// Takes a stream away from its filters: those that nobody wants any more.
    pub(super) fn remove<'a>(
        &mut self,
        id: StreamId,
        filters: impl Iterator<Item = &'a Filter>,
    ) -> Vec<Arc<str>> {
        self.generation += 1;
        let mut orphans = Vec::new();
        for filter in filters {
            let Some(at) = self
                .entries
                .iter()
                .position(|entry| entry.text == filter.text)
            else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(at) else {
                continue;
            };
            entry.streams.retain(|stream| *stream != id);
            if entry.streams.is_empty() {
                orphans.push(self.entries.remove(at).text);
            }
        }
        orphans
    }

    pub(super) fn take_request(&mut self, packet_id: PacketId) -> Option<RequestKind> {
        let of_id = |request: &Request| request.packet_id == packet_id;
        let at = self.requests.iter().position(of_id)?;
        Some(self.requests.swap_remove(at).kind)
    }

    /// These filters are unsubscribed.
    pub(super) fn retire(&mut self, filters: &[Arc<str>]) {
        remember(&mut self.retired, filters);
    }

    /// Nobody reads what matches these filters, but the subscriptions stay.
    pub(super) fn detach(&mut self, filters: &[Arc<str>]) {
        remember(&mut self.detached, filters);
    }
}

fn remember(list: &mut VecDeque<Arc<str>>, filters: &[Arc<str>]) {
    for filter in filters {
        if list.len() >= REMEMBERED_MAX {
            list.pop_front();
        }
        list.push_back(Arc::clone(filter));
    }
}

/// Whether a checked filter, perhaps a shared one, matches a topic.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let own = TopicFilter::new(filter).map_or(filter, TopicFilter::filter);
    topic_matches(own, topic)
}

const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;
/// How many identifiers a filter may have had that are remembered.
const EARLIER_IDS_MAX: usize = 8;
/// How many ended subscriptions are remembered.
const REMEMBERED_MAX: usize = 1_024;
