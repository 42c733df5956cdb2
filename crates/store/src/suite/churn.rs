//! Random batches of the kind that shards write.

use martlet_codec::{PacketId, QoS, Version};
use martlet_engine::{Body, BodyId, Record, SessionId, StoredOptions, WallTime, slot_of};

use super::model::Model;
use super::session::{Queued, queued_record};

/// Writes random batches, and keeps the [`Model`] of what they add up to.
#[derive(Debug, Clone)]
pub struct Churn {
    chance: u64,
    counter: u64,
    /// The most bytes of a payload.
    pub payload_bytes_max: u64,
    /// The most sessions.
    pub sessions_max: usize,
    /// Messages are taken out of queues this much more often than they are put in, in percent.
    pub drain_percent: u64,
    /// What was written.
    pub model: Model,
}

impl Churn {
    /// Batches by this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            chance: seed ^ 0x9e37_79b9_7f4a_7c15,
            counter: 0,
            payload_bytes_max: 300,
            sessions_max: 40,
            drain_percent: 100,
            model: Model::new(),
        }
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }

    /// Goes on with what a store gave back: what was written and not stable is gone.
    pub fn resume(&mut self, model: Model) {
        self.counter = self.counter.max(model.highest());
        self.model = model;
    }

    /// Writes a batch of about this many changes.
    pub fn batch(&mut self, changes: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..=self.below(changes) {
            self.change(&mut out);
        }
        if out.is_empty() {
            self.retain(&mut out);
        }
        self.model.forget_unreferred();
        out
    }

    /// Writes a batch of messages for queues.
    pub fn fill(&mut self, changes: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while out.is_empty() {
            self.connect(&mut out);
            for _ in 0..changes {
                self.publish(&mut out);
            }
        }
        out
    }

    /// Writes a batch that only ends messages; empty if there are none in any queue.
    pub fn drain(&mut self, changes: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while out.is_empty() && self.model.sessions().any(|(_, s)| !s.queue.is_empty()) {
            for _ in 0..changes {
                self.deliver(&mut out);
            }
        }
        self.model.forget_unreferred();
        out
    }

    /// Writes the checkpoint of a slot.
    #[must_use]
    pub fn checkpoint(&self, slot: u8) -> Vec<u8> {
        let mut out = Vec::new();
        self.model.checkpoint(slot, &mut out);
        out
    }

    fn write(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        record.encode(out);
        self.model.apply(record);
    }

    fn change(&mut self, out: &mut Vec<u8>) {
        match self.below(20) {
            0 => self.connect(out),
            1 => self.end_session(out),
            2 | 3 => self.subscribe(out),
            4 => self.qos2(out),
            5 => self.will(out),
            6 => self.retain(out),
            7 => self.clear_retained(out),
            8 => self.group(out),
            9..14 => self.publish(out),
            _ => {
                for _ in 0..=self.below(self.drain_percent / 20) {
                    self.deliver(out);
                }
            }
        }
    }

    fn connect(&mut self, out: &mut Vec<u8>) {
        if self.model.sessions().count() >= self.sessions_max {
            return;
        }
        self.counter += 1;
        let client_id = format!("client-{}", self.counter);
        let session = SessionId::new(self.counter, slot_of(&client_id));
        let record = Record::Session {
            session,
            client_id: &client_id,
            version: if self.below(2) == 0 {
                Version::V5
            } else {
                Version::V311
            },
            expiry_s: 3_600,
        };
        self.write(&record, out);
    }

    fn session(&mut self) -> Option<SessionId> {
        let count = self.model.sessions().count() as u64;
        let chosen = usize::try_from(self.below(count)).ok()?;
        self.model
            .sessions()
            .nth(chosen)
            .map(|(id, _)| SessionId::from_u64(id))
    }

    fn queue_of(&self, session: SessionId) -> Vec<(u64, Queued)> {
        let found = self
            .model
            .sessions()
            .find(|(id, _)| *id == session.as_u64());
        found.map_or_else(Vec::new, |(_, session)| {
            session
                .queue
                .iter()
                .map(|(position, queued)| (*position, *queued))
                .collect()
        })
    }

    fn end_session(&mut self, out: &mut Vec<u8>) {
        let Some(session) = self.session().filter(|_| self.below(3) == 0) else {
            return;
        };
        for (position, queued) in self.queue_of(session) {
            if let Some(body) = BodyId::new(queued.body) {
                self.write(
                    &Record::Dropped {
                        session,
                        position,
                        body,
                    },
                    out,
                );
            }
        }
        self.write(&Record::SessionEnded { session }, out);
    }

    fn subscribe(&mut self, out: &mut Vec<u8>) {
        let Some(session) = self.session() else {
            return;
        };
        let filter = format!("plant/{}/+", self.below(5));
        let record = match self.below(4) {
            0 => Record::Unsubscribed {
                session,
                filter: &filter,
            },
            1 => Record::Offline {
                session,
                ends_at: Some(WallTime(self.counter)),
                will_at: None,
            },
            2 => Record::Replayed {
                session,
                filter: &filter,
            },
            _ => Record::Subscribed {
                session,
                filter: &filter,
                options: StoredOptions {
                    qos: QoS::AtLeastOnce,
                    no_local: false,
                    retain_as_published: true,
                    subscription_id: 7,
                },
                replaying: true,
            },
        };
        self.write(&record, out);
    }

    fn qos2(&mut self, out: &mut Vec<u8>) {
        let chosen = u16::try_from(1 + self.below(9))
            .ok()
            .and_then(PacketId::new);
        let (Some(session), Some(packet_id)) = (self.session(), chosen) else {
            return;
        };
        let record = if self.below(2) == 0 {
            Record::Received {
                session,
                packet_id,
                publish: None,
            }
        } else {
            Record::Completed { session, packet_id }
        };
        self.write(&record, out);
    }

    fn will(&mut self, out: &mut Vec<u8>) {
        let Some(session) = self.session() else {
            return;
        };
        let payload = vec![b'w'; usize::try_from(self.below(50)).unwrap_or(0)];
        let publish = self.below(20);
        let record = match self.below(4) {
            0 => Record::Will {
                session,
                message: message("wills/x", &payload),
                delay_s: 5,
                expiry_s: None,
            },
            1 => Record::WillCleared { session },
            2 => Record::WillUnderWay {
                session,
                publish,
                message: message("wills/x", &payload),
            },
            _ => Record::WillDone { session, publish },
        };
        self.write(&record, out);
    }

    fn body(&mut self, topic: &str, out: &mut Vec<u8>) -> Option<BodyId> {
        self.counter += 1;
        let body = BodyId::new(self.counter * 64 + self.below(4))?;
        let len = self.below(self.payload_bytes_max + 1);
        let salt = self.counter.to_le_bytes();
        let payload: Vec<u8> = salt
            .into_iter()
            .cycle()
            .take(usize::try_from(len).ok()?)
            .collect();
        let message = message(topic, &payload);
        self.write(&Record::Body { body, message }, out);
        Some(body)
    }

    fn publish(&mut self, out: &mut Vec<u8>) {
        if self.model.sessions().count() == 0 {
            return;
        }
        let Some(body) = self.body("plant/1/power", out) else {
            return;
        };
        for _ in 0..=self.below(4) {
            let Some(session) = self.session() else {
                return;
            };
            self.counter += 1;
            let queued = Queued {
                body: body.as_u64(),
                qos: if self.below(2) == 0 {
                    QoS::AtLeastOnce
                } else {
                    QoS::ExactlyOnce
                },
                packet_id: None,
            };
            if let Some(record) = queued_record(session, self.counter, queued) {
                self.write(&record, out);
            }
        }
    }

    /// One step of some message of some session.
    fn deliver(&mut self, out: &mut Vec<u8>) {
        let Some(session) = self.session() else {
            return;
        };
        let queue = self.queue_of(session);
        let Some((position, queued)) = queue.first().copied() else {
            return;
        };
        let Some(body) = BodyId::new(queued.body) else {
            return;
        };
        let free = (1..=u16::MAX).filter_map(PacketId::new).find(|id| {
            queue
                .iter()
                .all(|(_, queued)| queued.packet_id != Some(*id))
        });
        let record = match (queued.packet_id, free) {
            (None, _) if self.below(10) == 0 => Record::Dropped {
                session,
                position,
                body,
            },
            (None, Some(packet_id)) => Record::Sent {
                session,
                position,
                packet_id,
            },
            (Some(packet_id), _) if queued.qos == QoS::ExactlyOnce => {
                let body = Some(body);
                self.write(
                    &Record::Released {
                        session,
                        packet_id,
                        body,
                    },
                    out,
                );
                Record::Finished {
                    session,
                    packet_id,
                    body: None,
                }
            }
            (Some(packet_id), _) => {
                let body = Some(body);
                Record::Finished {
                    session,
                    packet_id,
                    body,
                }
            }
            (None, None) => return,
        };
        self.write(&record, out);
    }

    fn retain(&mut self, out: &mut Vec<u8>) {
        let topic = format!("state/{}", self.below(30));
        let replaces = self.model.retained(&topic).and_then(BodyId::new);
        if let Some(body) = self.body(&topic, out) {
            let slot = slot_of(&topic);
            self.write(
                &Record::Retained {
                    slot,
                    body,
                    replaces,
                },
                out,
            );
        }
    }

    fn clear_retained(&mut self, out: &mut Vec<u8>) {
        let topic = format!("state/{}", self.below(30));
        if let Some(body) = self.model.retained(&topic).and_then(BodyId::new) {
            self.write(
                &Record::RetainedCleared {
                    topic: &topic,
                    body,
                },
                out,
            );
        }
    }

    fn group(&mut self, out: &mut Vec<u8>) {
        let group = "$share/pumps/plant/#";
        let slots = self.model.slots().flat_map(|(_, slot)| &slot.groups);
        let oldest = slots.map(|((_, sequence), body)| (*sequence, *body)).next();
        if let Some((sequence, body)) = oldest.filter(|_| self.below(2) == 0)
            && let Some(body) = BodyId::new(body)
        {
            self.write(
                &Record::GroupDone {
                    group,
                    sequence,
                    body,
                },
                out,
            );
        } else if let Some(body) = self.body("plant/2/power", out) {
            let sequence = self.counter * 64;
            self.write(
                &Record::GroupQueued {
                    group,
                    sequence,
                    body,
                },
                out,
            );
        }
    }
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Body<'a> {
    Body {
        topic,
        shared_properties: &[0x01, 0x01],
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_at: None,
    }
}
