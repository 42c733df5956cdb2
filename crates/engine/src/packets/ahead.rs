//! Looking ahead: where the next messages of a read go, if they go to different topics.
//!
//! Of ten thousand topics and a thousand receivers nothing is in the processor's near memory when a message needs it, and one thing
//! leads to the next: topic, route, session, connection, buffer. So a few messages are looked up together, step by
//! step: what does not depend on each other is waited for at the same time. Nothing is done with them here, and who takes them
//! looks again at everything: a route that was looked up for nothing costs time, no more.

use core::hint::black_box;

use martlet_codec::{Publish, Rules, Sender};

use crate::collections::slab::Key;
use crate::shard::Shard;

impl Shard {
    /// Looks up where the next messages go, up to `most` of them, as far as routes are known and no two neighbours have the same
    /// topic, into `scratch.ahead`: one route for each, the first one last. `last`: the topic of the message before. Returns
    /// for how many to ask behind them: more as long as all are known, and none if this one is not.
    #[inline(never)]
    pub(crate) fn look_ahead(&mut self, conn: Key, bytes: &[u8], last: &str, most: usize) -> usize {
        let Some(connection) = self.connections.get(conn) else {
            return 0;
        };
        if connection.session.is_none() || connection.parked.is_some() {
            return 0;
        }
        let rules = Rules {
            version: connection.version(),
            sender: Sender::Client,
            max_packet_size: self.config.limits.packet_bytes_max,
        };
        let split = |bytes, last: &[u8]| {
            Publish::split_topic(bytes, rules).filter(|(topic, _)| *topic != last)
        };
        let Some((topic, length)) = split(bytes, last.as_bytes()) else {
            return 0;
        };
        let first = (topic, self.routes.hash(topic));
        let mut rest = bytes.get(length..).unwrap_or_default();
        let mut next = if most > 1 { split(rest, topic) } else { None };
        if next.is_none() {
            // Often it is all there is, and needs no list.
            return self.look_for_one(first);
        }
        let mut asked = [first; AHEAD_MAX];
        let mut count = 1;
        for place in asked.iter_mut().take(most).skip(1) {
            let Some((topic, length)) = next else { break };
            *place = (topic, self.routes.hash(topic));
            count += 1;
            rest = rest.get(length..).unwrap_or_default();
            next = split(rest, topic);
        }
        self.find_ahead(asked.get(..count).unwrap_or_default(), most)
    }

    /// Looks up the routes of these topics, in which no two neighbours are the same, as [`Shard::look_ahead`] says.
    pub(crate) fn find_ahead(&mut self, asked: &[(&[u8], u64)], most: usize) -> usize {
        if let [first] = asked {
            return self.look_for_one(*first);
        }
        self.scratch.behind.clear();
        self.routes.known(asked, &mut self.scratch.ahead);
        let ahead = self.scratch.ahead.iter();
        let found = ahead.take_while(|route| self.is_current(route)).count();
        self.scratch.ahead.truncate(found);
        self.counters.route_cache_hits += found as u64;
        self.scratch.ahead.reverse();
        if found > 1 {
            self.counters.looks_ahead += 1;
            self.touch_receivers();
        }
        if found == asked.len() && found > 0 {
            (2 * most).min(AHEAD_MAX)
        } else {
            found
        }
    }

    /// At the end of what was looked up ahead for.
    #[inline]
    pub(crate) fn forget_routes(&mut self) {
        if !self.scratch.ahead.is_empty() {
            self.scratch.ahead.clear();
        }
        if !self.scratch.behind.is_empty() {
            self.scratch.behind.clear();
        }
    }

    fn look_for_one(&mut self, (topic, hash): (&[u8], u64)) -> usize {
        let Some(route) = self.route_of_hash(hash, topic) else {
            return 0;
        };
        self.counters.route_cache_hits += 1;
        self.scratch.ahead.push(route);
        2
    }

    /// Reads what will be needed of the receivers, so that it is near when it is.
    fn touch_receivers(&mut self) {
        let mut seen = 0;
        for route in &self.scratch.ahead {
            for (key, ..) in route.plain.iter().take(RECEIVERS_MAX) {
                if let Some(session) = self.sessions.get(*key)
                    && let Some(conn) = session.connection
                    && let Some(connection) = self.connections.get(conn)
                {
                    seen ^= connection.outbox.last_byte();
                }
            }
        }
        black_box(seen);
    }
}

/// Messages that are looked up together: what is touched for them stays in the nearest cache until it is used.
pub(crate) const AHEAD_MAX: usize = 16;
/// Of more receivers the first ones are fetched while they wait for nothing else.
const RECEIVERS_MAX: usize = 8;
