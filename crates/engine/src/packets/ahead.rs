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
    /// Looks up where the next messages go, as far as routes are known and no two neighbours have the same topic, into
    /// `scratch.ahead`: one route for each, the first one last. `last`: the topic of the message before. Returns whether it is worth
    /// trying again behind them.
    #[inline(never)]
    pub(crate) fn look_ahead(&mut self, conn: Key, bytes: &[u8], last: &str) -> bool {
        let Some(connection) = self.connections.get(conn) else {
            return false;
        };
        if connection.session.is_none() || connection.parked.is_some() {
            return false;
        }
        let rules = Rules {
            version: connection.version(),
            sender: Sender::Client,
            max_packet_size: self.config.limits.packet_bytes_max,
        };
        let mut rest = bytes;
        let mut last = last.as_bytes();
        while self.scratch.ahead.len() < AHEAD_MAX
            && let Some((topic, length)) = Publish::split_topic(rest, rules)
            && topic != last
            && let Some(route) = self.known_route(topic)
        {
            self.scratch.ahead.push(route);
            last = topic;
            rest = rest.get(length..).unwrap_or_default();
        }
        self.counters.route_cache_hits += self.scratch.ahead.len() as u64;
        self.scratch.ahead.reverse();
        if self.scratch.ahead.len() > 1 {
            self.touch_receivers();
        }
        !self.scratch.ahead.is_empty()
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
const AHEAD_MAX: usize = 16;
/// Of more receivers the first ones are fetched while they wait for nothing else.
const RECEIVERS_MAX: usize = 8;
