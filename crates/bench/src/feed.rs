//! Publishes a known list of messages at QoS 1, one after the other, until the broker has acknowledged all of them.

use std::time::Duration;

use martlet_codec::{ConnAck, QoS};

use crate::clock::nanoseconds;
use crate::error::Error;
use crate::settings::Settings;
use crate::swarm::{Handler, Swarm};

/// Publishes `total` messages over one connection; `write` appends the packet with this index and packet identifier.
///
/// An acknowledgement that does not come within the setup time is the broker's failure. The number that the broker
/// refused comes back.
pub(crate) fn feed(
    swarm: &mut Swarm,
    settings: &Settings,
    conn: usize,
    inflight: u16,
    total: u64,
    mut write: impl FnMut(&mut Vec<u8>, u64, u16),
) -> Result<u64, Error> {
    let clock = swarm.clock();
    let patience_ns = nanoseconds(settings.setup);
    let mut feeder = Feeder {
        conn,
        free: (1..=inflight.max(1)).rev().collect(),
        acknowledged: 0,
        refused: 0,
        problem: None,
    };
    let mut sent = 0;
    let mut last = (0, clock.now_ns());
    while feeder.acknowledged < total {
        while sent < total
            && let Some(packet_id) = feeder.free.pop()
        {
            swarm.send(conn, 1, |out| write(out, sent, packet_id));
            sent += 1;
        }
        swarm.turn(&mut feeder, Duration::from_millis(20))?;
        if let Some(problem) = feeder.problem.take() {
            return Err(Error::Broker(problem));
        }
        let now_ns = clock.now_ns();
        if feeder.acknowledged > last.0 {
            last = (feeder.acknowledged, now_ns);
        } else if now_ns > last.1 + patience_ns {
            return Err(Error::Broker(format!(
                "only {} of {total} messages were acknowledged",
                feeder.acknowledged
            )));
        }
    }
    Ok(feeder.refused)
}

/// What these messages are sent with.
pub(crate) const FEED_QOS: QoS = QoS::AtLeastOnce;

#[derive(Debug)]
struct Feeder {
    conn: usize,
    free: Vec<u16>,
    acknowledged: u64,
    refused: u64,
    problem: Option<String>,
}

impl Handler for Feeder {
    fn opened(&mut self, _conn: usize, _connack: &ConnAck<'_>) {}

    fn acked(&mut self, conn: usize, packet_id: u16, accepted: bool, _now_ns: u64) {
        if conn == self.conn {
            self.acknowledged += 1;
            self.refused += u64::from(!accepted);
            self.free.push(packet_id);
        }
    }

    fn closed(&mut self, conn: usize, why: &str) {
        if conn == self.conn {
            self.problem = Some(format!("the publisher's connection: {why}"));
        }
    }
}
