//! Batches as shards would write them: sessions come and go, messages are queued, sent, acknowledged, retained.

use martlet_codec::{PacketId, QoS, Version};
use martlet_engine::{
    Body, BodyId, Ids, Record, RecordRun, RunOf, SessionId, StoredOptions, StoredTerms, WallTime,
    slot_of,
};

use super::apply_batch;
use crate::rng::Rng;
use crate::stored::{Stored, StoredEntry, StoredSession};

/// Writes batches; what is stored is in the picture that it changes.
pub(super) struct Writer {
    next_session: u64,
    next_number: u64,
    clients: Vec<String>,
    /// The longest payload.
    payload_bytes_max: usize,
}

impl Writer {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let count = rng.between(1, 6);
        Self {
            next_session: 1,
            next_number: 1,
            clients: (0..count).map(|n| format!("client-{n}")).collect(),
            payload_bytes_max: *rng.pick(&[20, 700, 4_000, 20_000]),
        }
    }

    /// Names go on above all that there were.
    pub(super) const fn go_on(&mut self, session_counter: u64, number_counter: u64) {
        self.next_session = session_counter + 1;
        self.next_number = number_counter + 1;
    }

    /// A batch of some changes, carried out on the picture as well.
    pub(super) fn batch(&mut self, stored: &mut Stored, rng: &mut Rng) -> Vec<u8> {
        let mut batch = Vec::new();
        let count = rng.between(1, 6);
        for _ in 0..count {
            let before = batch.len();
            self.change(stored, rng, &mut batch);
            apply_batch(&batch[before..], stored);
        }
        if batch.is_empty() {
            let before = batch.len();
            self.body(rng, "a", &mut batch);
            apply_batch(&batch[before..], stored);
        }
        batch
    }

    fn change(&mut self, stored: &Stored, rng: &mut Rng, batch: &mut Vec<u8>) {
        let client = rng.pick(&self.clients).clone();
        let known = stored.sessions.iter().find(|(_, s)| s.client_id == client);
        let Some((id, session)) = known else {
            let id = SessionId::new(self.next_session, slot_of(&client));
            self.next_session += 1;
            put_session(id, &client, batch);
            return;
        };
        let id = *id;
        match rng.below(20) {
            0 => {
                for (packet_id, entry) in &session.in_flight {
                    put_finished(id, *packet_id, entry.as_ref(), batch);
                }
                for (position, entry) in &session.waiting {
                    put(&dropped(id, *position, entry), batch);
                }
                put(&Record::SessionEnded { session: id }, batch);
            }
            1 => put(
                &Record::Offline {
                    session: id,
                    ends_at: Some(WallTime(rng.number() >> 20)),
                    will_at: None,
                },
                batch,
            ),
            2 => put_session(id, &client, batch),
            3 => {
                let filter = *rng.pick(&["a/#", "b/+", "c"]);
                let subscribed = Record::Subscribed {
                    session: id,
                    filter,
                    options: StoredOptions {
                        qos: QoS::ExactlyOnce,
                        no_local: rng.one_in(2),
                        retain_as_published: rng.one_in(2),
                        subscription_id: 7,
                    },
                    replaying: rng.one_in(2),
                };
                put(&subscribed, batch);
            }
            4 => {
                if let Some(filter) = session.subscriptions.keys().next() {
                    put(
                        &Record::Unsubscribed {
                            session: id,
                            filter,
                        },
                        batch,
                    );
                }
            }
            5 | 6 => self.retain(stored, rng, batch),
            7 => self.received(id, session.received.keys().next().copied(), rng, batch),
            8..=11 => self.queue(stored, rng, batch),
            12 => self.queue_run(id, session, rng, batch),
            13 => end_run(id, session, rng, batch),
            14 => received_run(id, session, rng, batch),
            _ => Self::progress(id, session, rng, batch),
        }
    }

    /// A message for some sessions.
    fn queue(&mut self, stored: &Stored, rng: &mut Rng, batch: &mut Vec<u8>) {
        let body = self.body(rng, "a/b", batch);
        for (id, session) in &stored.sessions {
            if rng.one_in(3) {
                continue;
            }
            let last = session
                .waiting
                .last_key_value()
                .map_or(0, |(last, _)| *last);
            let flow = free_packet_id(&session.in_flight).filter(|_| rng.one_in(2));
            put(
                &Record::Queued {
                    session: *id,
                    position: if flow.is_some() { 0 } else { last + 1 },
                    body,
                    terms: StoredTerms {
                        qos: QoS::AtLeastOnce,
                        retain: false,
                        ids: Ids::new(&[3, 300]),
                        group: None,
                    },
                    packet_id: flow,
                },
                batch,
            );
        }
    }

    /// Several messages for a session, sent one behind the other.
    fn queue_run(
        &mut self,
        id: SessionId,
        session: &StoredSession,
        rng: &mut Rng,
        batch: &mut Vec<u8>,
    ) {
        let count = rng.between(1, 8);
        let bodies: Vec<BodyId> = (0..count).map(|_| self.body(rng, "a/b", batch)).collect();
        let used = session.in_flight.iter().map(|(id, _)| *id).max();
        let first_id = used.map_or(1, |last| last.saturating_add(1));
        let ids = (first_id..u16::MAX).filter_map(PacketId::new);
        let qos = *rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let bodies = bodies.into_iter().map(Some);
        put_run(RunOf::Queued(qos), id, bodies.zip(ids), batch);
    }

    /// Something that is in the queue or in flight goes on.
    fn progress(id: SessionId, session: &StoredSession, rng: &mut Rng, batch: &mut Vec<u8>) {
        match rng.below(4) {
            0 => {
                if let (Some((position, _)), Some(packet_id)) = (
                    session.waiting.first_key_value(),
                    free_packet_id(&session.in_flight),
                ) {
                    let sent = Record::Sent {
                        session: id,
                        position: *position,
                        packet_id,
                    };
                    put(&sent, batch);
                }
            }
            1 => {
                if let Some((position, entry)) = session.waiting.last_key_value() {
                    put(&dropped(id, *position, entry), batch);
                }
            }
            2 => {
                if !session.in_flight.is_empty() {
                    let (packet_id, entry) = rng.pick(&session.in_flight);
                    put_finished(id, *packet_id, entry.as_ref(), batch);
                }
            }
            _ => {
                let held = session.in_flight.iter().find(|(_, entry)| entry.is_some());
                if let Some((packet_id, Some(entry))) = held {
                    let released = Record::Released {
                        session: id,
                        packet_id: PacketId::new(*packet_id).expect("not 0"),
                        body: Some(entry.body),
                    };
                    put(&released, batch);
                }
            }
        }
    }

    fn received(&mut self, id: SessionId, old: Option<u16>, rng: &mut Rng, batch: &mut Vec<u8>) {
        match old {
            Some(old) if rng.one_in(2) => put(
                &Record::Completed {
                    session: id,
                    packet_id: PacketId::new(old).expect("not 0"),
                },
                batch,
            ),
            Some(_) => {}
            None => {
                self.next_number += 1;
                let received = Record::Received {
                    session: id,
                    packet_id: PacketId::new(9).expect("not 0"),
                    publish: Some(self.next_number * 64),
                };
                put(&received, batch);
            }
        }
    }

    fn retain(&mut self, stored: &Stored, rng: &mut Rng, batch: &mut Vec<u8>) {
        let topic = *rng.pick(&["r/1", "r/2", "r/3"]);
        let slot = slot_of(topic);
        let of_topic = |id: &&BodyId| stored.bodies.get(*id).is_some_and(|b| b.topic == topic);
        let before = stored.retained.get(&slot).into_iter().flatten();
        let before = before.copied().collect::<Vec<_>>();
        let before = before.iter().find(of_topic).copied();
        match before {
            Some(body) if rng.one_in(3) => put(&Record::RetainedCleared { topic, body }, batch),
            replaces => {
                let body = self.body(rng, topic, batch);
                let retained = Record::Retained {
                    slot,
                    body,
                    replaces,
                };
                put(&retained, batch);
            }
        }
    }

    fn body(&mut self, rng: &mut Rng, topic: &str, batch: &mut Vec<u8>) -> BodyId {
        let body = BodyId::new(self.next_number * 64).expect("not 0");
        self.next_number += 1;
        let len = rng.below(self.payload_bytes_max + 1);
        // What looks like frames and records must not be taken for them.
        let fill = u8::try_from(rng.below(256)).unwrap_or(0);
        let payload = vec![fill; len];
        put(
            &Record::Body {
                body,
                message: Body {
                    topic,
                    shared_properties: &[],
                    payload: &payload,
                    qos: QoS::AtLeastOnce,
                    retain: false,
                    expires_at: None,
                },
            },
            batch,
        );
        body
    }

    /// All that is known of a slot.
    pub(super) fn checkpoint(slot: u8, stored: &Stored) -> Vec<u8> {
        let mut batch = Vec::new();
        put(&Record::SlotBegin { slot }, &mut batch);
        for (id, session) in stored.sessions.iter().filter(|(id, _)| id.slot() == slot) {
            put_checkpoint(*id, session, &mut batch);
        }
        for body in stored.retained.get(&slot).into_iter().flatten() {
            let retained = Record::Retained {
                slot,
                body: *body,
                replaces: None,
            };
            put(&retained, &mut batch);
        }
        put(&Record::SlotEnd { slot }, &mut batch);
        batch
    }
}

fn put_checkpoint(id: SessionId, session: &StoredSession, batch: &mut Vec<u8>) {
    put_session(id, &session.client_id, batch);
    if let Some((ends_at, will_at)) = session.offline {
        let offline = Record::Offline {
            session: id,
            ends_at,
            will_at,
        };
        put(&offline, batch);
    }
    for (filter, (qos, no_local, replaying)) in &session.subscriptions {
        let subscribed = Record::Subscribed {
            session: id,
            filter,
            options: StoredOptions {
                qos: *qos,
                no_local: *no_local,
                retain_as_published: false,
                subscription_id: 0,
            },
            replaying: *replaying,
        };
        put(&subscribed, batch);
    }
    for (packet_id, entry) in &session.in_flight {
        let packet_id = PacketId::new(*packet_id).expect("not 0");
        match entry {
            Some(entry) => put(&queued(id, 0, entry, Some(packet_id)), batch),
            None => put(
                &Record::Released {
                    session: id,
                    packet_id,
                    body: None,
                },
                batch,
            ),
        }
    }
    for (position, entry) in &session.waiting {
        put(&queued(id, *position, entry, None), batch);
    }
    for (packet_id, publish) in &session.received {
        let received = Record::Received {
            session: id,
            packet_id: PacketId::new(*packet_id).expect("not 0"),
            publish: *publish,
        };
        put(&received, batch);
    }
}

fn put(record: &Record<'_>, batch: &mut Vec<u8>) {
    record.encode(batch);
}

fn put_session(id: SessionId, client_id: &str, batch: &mut Vec<u8>) {
    put(
        &Record::Session {
            session: id,
            client_id,
            version: Version::V5,
            expiry_s: 3_600,
        },
        batch,
    );
}

fn put_finished(id: SessionId, packet_id: u16, entry: Option<&StoredEntry>, batch: &mut Vec<u8>) {
    let finished = Record::Finished {
        session: id,
        packet_id: PacketId::new(packet_id).expect("not 0"),
        body: entry.map(|entry| entry.body),
    };
    put(&finished, batch);
}

/// Some of what is in flight, one behind the other, is acknowledged: at QoS 1, or one of the two times at QoS 2.
fn end_run(id: SessionId, session: &StoredSession, rng: &mut Rng, batch: &mut Vec<u8>) {
    let (skipped, count) = (rng.below(4), rng.between(1, 8));
    let what = *rng.pick(&[RunOf::Finished, RunOf::Released, RunOf::Ended]);
    let some = session.in_flight.iter().skip(skipped).take(count);
    let some = some.filter_map(|(packet_id, entry)| {
        let packet_id = PacketId::new(*packet_id).expect("not 0");
        let body = entry.as_ref().map(|entry| entry.body);
        (body.is_some() == (what != RunOf::Ended)).then_some((body, packet_id))
    });
    put_run(what, id, some, batch);
}

/// Some messages of the client are taken, or their flows end.
fn received_run(id: SessionId, session: &StoredSession, rng: &mut Rng, batch: &mut Vec<u8>) {
    let count = rng.between(1, 8);
    if rng.one_in(2) {
        let known = session.received.keys().copied().take(count);
        let known = known.filter_map(PacketId::new).map(|id| (None, id));
        put_run(RunOf::Completed, id, known, batch);
    } else {
        let first = session.received.keys().next_back().copied();
        let new = (first.unwrap_or_default().saturating_add(1)..=u16::MAX).take(count);
        let new = new.filter_map(PacketId::new).map(|id| (None, id));
        put_run(RunOf::Received, id, new, batch);
    }
}

/// As few records as there may be.
fn put_run(
    what: RunOf,
    id: SessionId,
    all: impl Iterator<Item = (Option<BodyId>, PacketId)>,
    batch: &mut Vec<u8>,
) {
    let mut run: Option<RecordRun> = None;
    for (body, packet_id) in all {
        if run.as_mut().is_some_and(|run| run.take(body, packet_id)) {
            continue;
        }
        let next = RecordRun::new(what, id, body, packet_id).expect("as all of its kind");
        if let Some(done) = run.replace(next) {
            done.encode(batch);
        }
    }
    if let Some(run) = run {
        run.encode(batch);
    }
}

fn dropped(session: SessionId, position: u64, entry: &StoredEntry) -> Record<'static> {
    Record::Dropped {
        session,
        position,
        body: entry.body,
    }
}

fn queued(
    session: SessionId,
    position: u64,
    entry: &StoredEntry,
    packet_id: Option<PacketId>,
) -> Record<'static> {
    Record::Queued {
        session,
        position,
        body: entry.body,
        terms: StoredTerms {
            qos: entry.qos,
            retain: entry.retain,
            ids: Ids::default(),
            group: None,
        },
        packet_id,
    }
}

fn free_packet_id(in_flight: &[(u16, Option<StoredEntry>)]) -> Option<PacketId> {
    (1..20)
        .find(|id| in_flight.iter().all(|(used, _)| used != id))
        .and_then(PacketId::new)
}
