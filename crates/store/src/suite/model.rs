//! What a store is compared with: the state that its records add up to, kept as plainly as possible.

use std::collections::{BTreeMap, BTreeSet};

use martlet_engine::{Body, BodyId, Record, SessionId, slot_of};

use super::session::{Message, Session, session_of};

/// The state that records add up to. Two are equal if the same is stored in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    slots: BTreeMap<u8, Slot>,
    /// Bodies, by id, with how often they are referred to.
    bodies: BTreeMap<u64, (Message, u32)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) sessions: BTreeMap<u64, Session>,
    pub(super) retained: BTreeMap<String, u64>,
    pub(super) groups: BTreeMap<(String, u64), u64>,
    taken: BTreeSet<u64>,
    /// By publish: whose, and what it says.
    wills: BTreeMap<u64, (u64, Message)>,
}

impl Model {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bodies that something refers to.
    pub fn bodies(&self) -> impl Iterator<Item = BodyId> {
        let referred = self.bodies.iter().filter(|(_, (_, count))| *count > 0);
        referred.filter_map(|(body, _)| BodyId::new(*body))
    }

    /// Whether this is what a body says.
    #[must_use]
    pub fn is_body(&self, body: BodyId, message: &Body<'_>) -> bool {
        let known = self.bodies.get(&body.as_u64());
        known.is_some_and(|(known, _)| *known == Message::of(message))
    }

    /// Takes over what a record says.
    pub fn apply(&mut self, record: &Record<'_>) {
        if let Record::Body { body, message } = record {
            self.bodies
                .entry(body.as_u64())
                .or_insert_with(|| (Message::of(message), 0));
            return;
        }
        let Some(number) = record.slot() else {
            return;
        };
        if matches!(record, Record::SlotBegin { .. }) {
            let old = self.slots.remove(&number);
            for body in old.iter().flat_map(Slot::references) {
                self.unrefer(body);
            }
            return;
        }
        let topic = if let Record::Retained { body, .. } = record {
            let Some((message, _)) = self.bodies.get(&body.as_u64()) else {
                // A store does not give back what is not needed: there is another one by now, or none.
                return;
            };
            message.topic.clone()
        } else {
            String::new()
        };
        let slot = self.slots.entry(number).or_default();
        let (refer, unrefer) = slot.apply(record, topic);
        if slot == &Slot::default() {
            self.slots.remove(&number);
        }
        if let Some(body) = refer {
            self.bodies.entry(body).and_modify(|(_, count)| *count += 1);
        }
        if let Some(body) = unrefer {
            self.unrefer(body);
        }
    }

    fn unrefer(&mut self, body: u64) {
        self.bodies
            .entry(body)
            .and_modify(|(_, count)| *count = count.saturating_sub(1));
    }

    /// Forgets bodies to which nothing refers, as a store does.
    pub fn forget_unreferred(&mut self) {
        self.bodies.retain(|_, (_, count)| *count > 0);
    }

    /// Forgets messages whose bodies are not there, as a shard does when a part of its store was lost.
    pub fn forget_bodiless(&mut self) {
        let bodies = &self.bodies;
        for slot in self.slots.values_mut() {
            slot.retained.retain(|_, body| bodies.contains_key(body));
            slot.groups.retain(|_, body| bodies.contains_key(body));
            for session in slot.sessions.values_mut() {
                let queue = &mut session.queue;
                queue.retain(|_, queued| bodies.contains_key(&queued.body));
            }
        }
        self.slots.retain(|_, slot| *slot != Slot::default());
    }

    /// Writes a slot's checkpoint.
    pub fn checkpoint(&self, number: u8, out: &mut Vec<u8>) {
        Record::SlotBegin { slot: number }.encode(out);
        if let Some(slot) = self.slots.get(&number) {
            slot.write(number, out);
        }
        Record::SlotEnd { slot: number }.encode(out);
    }

    /// Bytes that are needed: a checkpoint of every slot, and the bodies.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        let mut out = Vec::new();
        for slot in self.slots.keys() {
            self.checkpoint(*slot, &mut out);
        }
        let mut total = out.len() as u64;
        for (id, (message, count)) in &self.bodies {
            if let Some(body) = BodyId::new(*id).filter(|_| *count > 0) {
                out.clear();
                let message = message.body();
                Record::Body { body, message }.encode(&mut out);
                total += out.len() as u64;
            }
        }
        total
    }

    /// How many bodies something refers to, and how many references there are.
    #[must_use]
    pub fn references(&self) -> (usize, u64) {
        let counts = self.bodies.values().map(|(_, count)| *count);
        let counts = counts.filter(|count| *count > 0);
        (counts.clone().count(), counts.map(u64::from).sum())
    }

    /// The highest number that anything in it has been made from.
    pub(super) fn highest(&self) -> u64 {
        let bodies = self.bodies.keys().map(|body| body / 64);
        let sessions = self.sessions().map(|(id, _)| id >> 8);
        let positions = self.sessions();
        let positions = positions.filter_map(|(_, session)| session.queue.keys().next_back());
        let groups = self.slots.values().flat_map(|slot| slot.groups.keys());
        bodies
            .chain(sessions)
            .chain(positions.copied())
            .chain(groups.map(|(_, sequence)| sequence / 64))
            .max()
            .unwrap_or(0)
    }

    /// The sessions, with their slots.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (u64, &Session)> {
        self.slots
            .values()
            .flat_map(|slot| slot.sessions.iter().map(|(id, session)| (*id, session)))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (u8, &Slot)> {
        self.slots.iter().map(|(number, slot)| (*number, slot))
    }

    /// The retained message of a topic.
    pub(super) fn retained(&self, topic: &str) -> Option<u64> {
        self.slots
            .get(&slot_of(topic))?
            .retained
            .get(topic)
            .copied()
    }
}

impl Slot {
    /// Every reference to a body.
    fn references(&self) -> impl Iterator<Item = u64> {
        let queues = self
            .sessions
            .values()
            .flat_map(|session| session.queue.values());
        queues
            .map(|queued| queued.body)
            .chain(self.retained.values().copied())
            .chain(self.groups.values().copied())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every kind of record is seen to in one of three functions"
    )]
    /// The bodies to which there is one reference more, and one less.
    fn apply(&mut self, record: &Record<'_>, topic: String) -> (Option<u64>, Option<u64>) {
        let mut ended = None;
        match *record {
            Record::Retained { body, .. } => {
                ended = self.retained.insert(topic, body.as_u64());
                return (Some(body.as_u64()), ended);
            }
            Record::RetainedCleared { topic, .. } => ended = self.retained.remove(topic),
            Record::GroupQueued {
                group,
                sequence,
                body,
            } => {
                self.groups
                    .insert((group.to_owned(), sequence), body.as_u64());
                return (Some(body.as_u64()), None);
            }
            Record::GroupDone {
                group, sequence, ..
            } => {
                ended = self.groups.remove(&(group.to_owned(), sequence));
            }
            Record::Taken { publish, .. } => {
                self.taken.insert(publish);
            }
            Record::WillUnderWay {
                session,
                publish,
                ref message,
            } => {
                let will = (session.as_u64(), Message::of(message));
                self.wills.insert(publish, will);
            }
            Record::WillDone { publish, .. } => {
                self.wills.remove(&publish);
            }
            Record::Session {
                session,
                client_id,
                version,
                expiry_s,
            } => {
                let new = || Session::new(client_id);
                let session = self.sessions.entry(session.as_u64()).or_insert_with(new);
                session.version = version;
                session.expiry_s = expiry_s;
                session.offline = None;
            }
            Record::SessionEnded { session } => {
                self.sessions.remove(&session.as_u64());
            }
            ref record => return self.apply_to_session(record),
        }
        (None, ended)
    }

    fn apply_to_session(&mut self, record: &Record<'_>) -> (Option<u64>, Option<u64>) {
        let Some(session) = session_of(record).and_then(|id| self.sessions.get_mut(&id)) else {
            return (None, None);
        };
        session.apply(record)
    }

    fn write(&self, number: u8, out: &mut Vec<u8>) {
        for (id, session) in &self.sessions {
            session.write(SessionId::from_u64(*id), out);
        }
        for body in self.retained.values().filter_map(|id| BodyId::new(*id)) {
            let slot = number;
            let replaces = None;
            Record::Retained {
                slot,
                body,
                replaces,
            }
            .encode(out);
        }
        for ((group, sequence), id) in &self.groups {
            if let Some(body) = BodyId::new(*id) {
                let sequence = *sequence;
                Record::GroupQueued {
                    group,
                    sequence,
                    body,
                }
                .encode(out);
            }
        }
        for publish in &self.taken {
            let (slot, publish) = (number, *publish);
            Record::Taken { slot, publish }.encode(out);
        }
        for (publish, (session, message)) in &self.wills {
            Record::WillUnderWay {
                session: SessionId::from_u64(*session),
                publish: *publish,
                message: message.body(),
            }
            .encode(out);
        }
    }
}
