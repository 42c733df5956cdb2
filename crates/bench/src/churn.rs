//! Subscriptions that come and go beside the messages, by one client of their own.

use martlet_codec::{
    Packet, PacketId, Properties, Subscribe, SubscribeFiltersBuf, SubscriptionOptions, TopicFilter,
    Unsubscribe, UnsubscribeFiltersBuf,
};

use crate::number::{float, whole};
use crate::swarm::Swarm;

/// The client and its schedule.
#[derive(Debug)]
pub(crate) struct Churn {
    conn: usize,
    start_ns: u64,
    interval_ns: f64,
    sent: u64,
    answered: u64,
    refused: u64,
}

impl Churn {
    pub(crate) fn new(conn: usize, rate: f64, start_ns: u64) -> Self {
        Self {
            conn,
            start_ns,
            interval_ns: 1e9 / rate,
            sent: 0,
            answered: 0,
            refused: 0,
        }
    }

    pub(crate) fn due_ns(&self) -> u64 {
        self.start_ns + whole(float(self.sent) * self.interval_ns)
    }

    /// Operations that the broker has answered, and how many of them it refused.
    pub(crate) const fn done(&self) -> (u64, u64) {
        (self.answered, self.refused)
    }

    pub(crate) fn answered(&mut self, conn: usize, reasons: &[u8]) {
        if conn == self.conn {
            self.answered += 1;
            let refused = reasons.iter().any(|reason| *reason >= 0x80);
            self.refused += u64::from(refused);
        }
    }

    /// Sends what is due: SUBSCRIBE to and, some operations later, UNSUBSCRIBE from one of a few topics.
    pub(crate) fn pump(&mut self, swarm: &mut Swarm, now_ns: u64) {
        while self.due_ns() <= now_ns && self.sent - self.answered < OUTSTANDING_MAX {
            let round = self.sent / (2 * TOPICS);
            let step = self.sent % (2 * TOPICS);
            let topic = format!("bench-churn/{}/{}", round % 16, step % TOPICS);
            self.sent += 1;
            let Ok(filter) = TopicFilter::new(&topic) else {
                continue;
            };
            let packet_id = PacketId::MIN;
            let properties = Properties::EMPTY;
            let mut subscribe = SubscribeFiltersBuf::new();
            let mut unsubscribe = UnsubscribeFiltersBuf::new();
            let packet = if step < TOPICS {
                subscribe.push(filter, SubscriptionOptions::default());
                Packet::Subscribe(Subscribe {
                    packet_id: PacketId::new(packet_of(step)).unwrap_or(packet_id),
                    properties,
                    filters: subscribe.as_filters(),
                })
            } else {
                unsubscribe.push(filter);
                Packet::Unsubscribe(Unsubscribe {
                    packet_id: PacketId::new(packet_of(step)).unwrap_or(packet_id),
                    properties,
                    filters: unsubscribe.as_filters(),
                })
            };
            // The topic and the lists are valid by construction.
            let _ = swarm.send_packet(self.conn, &packet);
        }
    }
}

/// Identifiers must differ among what is outstanding, which is fewer than one round.
fn packet_of(step: u64) -> u16 {
    u16::try_from(step + 1).unwrap_or(1)
}

const TOPICS: u64 = 1_000;
const OUTSTANDING_MAX: u64 = 1_000;
