//! One session of the [`Model`](super::Model), and the messages that it has.

use std::collections::{BTreeMap, BTreeSet};

use martlet_codec::{PacketId, QoS, Version};
use martlet_engine::{Body, BodyId, Ids, Record, SessionId, StoredOptions, StoredTerms, WallTime};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) client_id: String,
    pub(super) version: Version,
    pub(super) expiry_s: u32,
    pub(super) offline: Option<(Option<WallTime>, Option<WallTime>)>,
    pub(super) will: Option<(Message, u32, Option<u32>)>,
    pub(super) subscriptions: BTreeMap<String, (StoredOptions, bool)>,
    pub(super) queue: BTreeMap<u64, Queued>,
    /// Flows that wait for PUBCOMP.
    pub(super) released: BTreeSet<PacketId>,
    pub(super) received: BTreeMap<PacketId, Option<u64>>,
}

/// A message for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) body: u64,
    pub(super) qos: QoS,
    pub(super) packet_id: Option<PacketId>,
}

/// A body, by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    properties: Vec<u8>,
    payload: Vec<u8>,
    qos: QoS,
    retain: bool,
    expires_at: Option<WallTime>,
}

impl Message {
    pub(super) fn of(body: &Body<'_>) -> Self {
        Self {
            topic: body.topic.to_owned(),
            properties: body.shared_properties.to_owned(),
            payload: body.payload.to_owned(),
            qos: body.qos,
            retain: body.retain,
            expires_at: body.expires_at,
        }
    }

    pub(super) fn body(&self) -> Body<'_> {
        Body {
            topic: &self.topic,
            shared_properties: &self.properties,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
        }
    }
}

impl Session {
    pub(super) fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            version: Version::V5,
            expiry_s: 0,
            offline: None,
            will: None,
            subscriptions: BTreeMap::new(),
            queue: BTreeMap::new(),
            released: BTreeSet::new(),
            received: BTreeMap::new(),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every kind of record is seen to in one of three functions"
    )]
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each record")]
    pub(super) fn apply(&mut self, record: &Record<'_>) -> (Option<u64>, Option<u64>) {
        let mut ended = None;
        match *record {
            Record::Offline {
                ends_at, will_at, ..
            } => self.offline = Some((ends_at, will_at)),
            Record::Will {
                ref message,
                delay_s,
                expiry_s,
                ..
            } => {
                self.will = Some((Message::of(message), delay_s, expiry_s));
            }
            Record::WillCleared { .. } => self.will = None,
            Record::Subscribed {
                filter,
                options,
                replaying,
                ..
            } => {
                self.subscriptions
                    .insert(filter.to_owned(), (options, replaying));
            }
            Record::Unsubscribed { filter, .. } => {
                self.subscriptions.remove(filter);
            }
            Record::Replayed { filter, .. } => {
                self.subscriptions
                    .entry(filter.to_owned())
                    .and_modify(|(_, replaying)| *replaying = false);
            }
            Record::Queued {
                position,
                body,
                terms,
                packet_id,
                ..
            } => {
                let (body, qos) = (body.as_u64(), terms.qos);
                // What is in flight from the start may have no place of its own.
                let position = match (position, packet_id) {
                    (0, Some(packet_id)) => IN_FLIGHT + u64::from(packet_id.get()),
                    _ => position,
                };
                self.queue.insert(
                    position,
                    Queued {
                        body,
                        qos,
                        packet_id,
                    },
                );
                return (Some(body), None);
            }
            Record::Sent {
                position,
                packet_id,
                ..
            } => {
                self.queue
                    .entry(position)
                    .and_modify(|queued| queued.packet_id = Some(packet_id));
            }
            Record::Dropped { position, .. } => {
                ended = self.queue.remove(&position).map(|queued| queued.body);
            }
            Record::Released { packet_id, .. } => {
                ended = self.take_flow(packet_id);
                self.released.insert(packet_id);
            }
            Record::Finished { packet_id, .. } => {
                ended = self.take_flow(packet_id);
                self.released.remove(&packet_id);
            }
            Record::Received {
                packet_id, publish, ..
            } => {
                self.received.insert(packet_id, publish);
            }
            Record::Completed { packet_id, .. } => {
                self.received.remove(&packet_id);
            }
            // Not of a session, or seen to already.
            _ => {}
        }
        (None, ended)
    }

    fn take_flow(&mut self, packet_id: PacketId) -> Option<u64> {
        let position = self.queue.iter().find_map(|(position, queued)| {
            (queued.packet_id == Some(packet_id)).then_some(*position)
        })?;
        self.queue.remove(&position).map(|queued| queued.body)
    }

    pub(super) fn write(&self, session: SessionId, out: &mut Vec<u8>) {
        Record::Session {
            session,
            client_id: &self.client_id,
            version: self.version,
            expiry_s: self.expiry_s,
        }
        .encode(out);
        if let Some((message, delay_s, expiry_s)) = &self.will {
            Record::Will {
                session,
                message: message.body(),
                delay_s: *delay_s,
                expiry_s: *expiry_s,
            }
            .encode(out);
        }
        if let Some((ends_at, will_at)) = self.offline {
            Record::Offline {
                session,
                ends_at,
                will_at,
            }
            .encode(out);
        }
        for (filter, (options, replaying)) in &self.subscriptions {
            let (options, replaying) = (*options, *replaying);
            Record::Subscribed {
                session,
                filter,
                options,
                replaying,
            }
            .encode(out);
        }
        for (position, queued) in &self.queue {
            if let Some(record) = queued_record(session, *position, *queued) {
                record.encode(out);
            }
        }
        for packet_id in &self.released {
            let (packet_id, body) = (*packet_id, None);
            Record::Released {
                session,
                packet_id,
                body,
            }
            .encode(out);
        }
        for (packet_id, publish) in &self.received {
            let (packet_id, publish) = (*packet_id, *publish);
            Record::Received {
                session,
                packet_id,
                publish,
            }
            .encode(out);
        }
    }
}

/// A `Queued` record; `None` only for body 0, which there is not.
pub(super) fn queued_record(
    session: SessionId,
    position: u64,
    queued: Queued,
) -> Option<Record<'static>> {
    Some(Record::Queued {
        session,
        position,
        body: BodyId::new(queued.body)?,
        terms: StoredTerms {
            qos: queued.qos,
            retain: false,
            ids: Ids::default(),
            group: None,
        },
        packet_id: queued.packet_id,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every kind of record is seen to in one of three functions"
)]
pub(super) fn session_of(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Offline { session, .. }
        | Record::Will { session, .. }
        | Record::WillCleared { session }
        | Record::Subscribed { session, .. }
        | Record::Unsubscribed { session, .. }
        | Record::Replayed { session, .. }
        | Record::Queued { session, .. }
        | Record::Sent { session, .. }
        | Record::Dropped { session, .. }
        | Record::Released { session, .. }
        | Record::Finished { session, .. }
        | Record::Received { session, .. }
        | Record::Completed { session, .. } => Some(session.as_u64()),
        _ => None,
    }
}

/// Behind all places of queues.
const IN_FLIGHT: u64 = 1 << 40;
