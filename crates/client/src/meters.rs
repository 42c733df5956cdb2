//! The figures of [`Stats`] for the `metrics` facade, told as they change. The table of names stands in the [guide](crate::guide).
//!
//! They carry no labels: a name of a client would be somebody's business. Several clients of one program add up, gauges
//! too, because they are told by how much they rise and fall.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

use crate::machine::Machine;
use crate::state::Stats;

/// What the recorder was told last.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Told {
    stats: Stats,
    connected: bool,
}

/// What it has to be told now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    before: Told,
    after: Told,
}

impl Told {
    /// Compares with the machine as it is now.
    pub(crate) fn follow(&mut self, machine: &Machine) -> Option<Change> {
        let after = Self {
            stats: machine.stats(),
            connected: machine.is_online(),
        };
        let before = std::mem::replace(self, after);
        (before != after).then_some(Change { before, after })
    }

    /// The client is gone, and with it what it had.
    pub(crate) fn end(&mut self) -> Change {
        let before = std::mem::take(self);
        let after = Self {
            stats: Stats {
                queued: 0,
                queued_bytes: 0,
                in_flight: 0,
                unacknowledged: 0,
                held: 0,
                ..before.stats
            },
            connected: false,
        };
        Change { before, after }
    }
}

/// The recorder's ends of all figures.
pub(crate) struct Meters {
    counters: Vec<Counter>,
    gauges: Vec<Gauge>,
    round_trip: Histogram,
}

impl Meters {
    /// Asks the recorder that is in force now.
    pub(crate) fn new() -> Self {
        let counter = |(name, what, _): &(&'static str, &'static str, Count)| {
            metrics::describe_counter!(*name, *what);
            metrics::counter!(*name)
        };
        let gauge = |(name, what, _): &(&'static str, &'static str, Level)| {
            metrics::describe_gauge!(*name, *what);
            metrics::gauge!(*name)
        };
        metrics::describe_histogram!(
            ROUND_TRIP,
            Unit::Seconds,
            "From a publish to its acknowledgement"
        );
        Self {
            counters: COUNTERS.iter().map(counter).collect(),
            gauges: GAUGES.iter().map(gauge).collect(),
            round_trip: metrics::histogram!(ROUND_TRIP),
        }
    }

    pub(crate) fn tell(&self, change: Option<&Change>, round_trips: &[Duration]) {
        for duration in round_trips {
            self.round_trip.record(*duration);
        }
        let Some(Change { before, after }) = change else {
            return;
        };
        for (counter, (_, _, count)) in self.counters.iter().zip(COUNTERS) {
            let more = count(&after.stats).saturating_sub(count(&before.stats));
            if more > 0 {
                counter.increment(more);
            }
        }
        for (gauge, (_, _, level)) in self.gauges.iter().zip(GAUGES) {
            let (was, is) = (level(before), level(after));
            if is > was {
                gauge.increment(float(is - was));
            } else if is < was {
                gauge.decrement(float(was - is));
            }
        }
    }
}

fn float(level: usize) -> f64 {
    f64::from(u32::try_from(level).unwrap_or(u32::MAX))
}

type Count = fn(&Stats) -> u64;
type Level = fn(&Told) -> usize;

const ROUND_TRIP: &str = "martlet_client_publish_seconds";

const COUNTERS: [(&str, &str, Count); 17] = [
    (
        "martlet_client_published_total",
        "Messages published successfully",
        |stats| stats.published,
    ),
    (
        "martlet_client_failed_total",
        "Messages that failed after admission",
        |stats| stats.failed,
    ),
    (
        "martlet_client_expired_total",
        "Messages that expired in the queue",
        |stats| stats.expired,
    ),
    (
        "martlet_client_dropped_total",
        "Messages given up because the queue was full",
        |stats| stats.dropped,
    ),
    (
        "martlet_client_superseded_total",
        "Messages replaced by a newer retained one",
        |stats| stats.superseded,
    ),
    (
        "martlet_client_resent_total",
        "Messages sent again after a reconnect",
        |stats| stats.resent,
    ),
    (
        "martlet_client_received_total",
        "Messages received",
        |stats| stats.received,
    ),
    (
        "martlet_client_lagged_total",
        "Messages that a subscription gave up because its buffer was full",
        |stats| stats.lagged,
    ),
    (
        "martlet_client_unrouted_total",
        "Messages that no subscription wanted",
        |stats| stats.unrouted,
    ),
    (
        "martlet_client_unacked_dropped_total",
        "Messages that the application dropped without an acknowledgement",
        |stats| stats.unacked_dropped,
    ),
    (
        "martlet_client_late_replies_total",
        "Answers that nobody waits for",
        |stats| stats.late_replies,
    ),
    (
        "martlet_client_connections_total",
        "Connections that the server accepted",
        |stats| stats.connections,
    ),
    (
        "martlet_client_attempts_total",
        "Attempts to connect",
        |stats| stats.attempts,
    ),
    (
        "martlet_client_sessions_lost_total",
        "Times that the server had lost the session",
        |stats| stats.sessions_lost,
    ),
    (
        "martlet_client_pings_total",
        "PINGREQ packets sent",
        |stats| stats.pings,
    ),
    (
        "martlet_client_received_bytes_total",
        "Bytes read",
        |stats| stats.bytes_received,
    ),
    (
        "martlet_client_sent_bytes_total",
        "Bytes written",
        |stats| stats.bytes_sent,
    ),
];

const GAUGES: [(&str, &str, Level); 6] = [
    (
        "martlet_client_connected",
        "Clients that are connected",
        |told| usize::from(told.connected),
    ),
    (
        "martlet_client_queued",
        "Messages that wait to be sent",
        |told| told.stats.queued,
    ),
    (
        "martlet_client_queued_bytes",
        "What they account for",
        |told| told.stats.queued_bytes,
    ),
    (
        "martlet_client_in_flight",
        "Messages that were sent and are not finished",
        |told| told.stats.in_flight,
    ),
    (
        "martlet_client_unacknowledged",
        "Received messages that were not acknowledged yet",
        |told| told.stats.unacknowledged,
    ),
    (
        "martlet_client_held",
        "Received messages that no subscription wants yet",
        |told| told.stats.held,
    ),
];
