//! What a log says, read by somebody who is not the engine: records one after the other, to a picture of what is stored.
//!
//! A record that makes no sense after those before it is an error: a session that nobody began, a packet identifier
//! that is not in flight, a reference to a body that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use martlet_codec::{QoS, Version};
use martlet_engine::{Body, BodyId, Record, SessionId, WallTime, slot_of};

/// Everything that is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) bodies: BTreeMap<BodyId, Arc<StoredBody>>,
    pub(crate) sessions: BTreeMap<SessionId, StoredSession>,
    /// By slot: a body names its topic.
    pub(crate) retained: BTreeMap<u8, BTreeSet<BodyId>>,
    /// By filter and place.
    pub(crate) groups: BTreeMap<String, BTreeMap<u64, BodyId>>,
    /// By slot: publishes whose receivers there have theirs.
    pub(crate) taken: BTreeMap<u8, BTreeSet<u64>>,
    /// Wills on their way to several shards: publishes with their session and topic.
    pub(crate) wills_under_way: BTreeMap<u64, (SessionId, String)>,
    /// A checkpoint that has begun.
    open_slot: Option<u8>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct StoredBody {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) expires_at: Option<WallTime>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct StoredSession {
    pub(crate) client_id: String,
    pub(crate) version: Version,
    pub(crate) expiry_s: u32,
    /// When it ends and when its will is due, if it has no connection.
    pub(crate) offline: Option<(Option<WallTime>, Option<WallTime>)>,
    /// Its will: topic, payload, delay in seconds.
    pub(crate) will: Option<(String, Vec<u8>, u32)>,
    /// By filter: QoS, No Local, and whether retained messages are still to be sent.
    pub(crate) subscriptions: BTreeMap<String, (QoS, bool, bool)>,
    /// What waits, by position.
    pub(crate) waiting: BTreeMap<u64, StoredEntry>,
    /// What is in flight, in order; without a message from PUBREC on.
    pub(crate) in_flight: Vec<(u16, Option<StoredEntry>)>,
    /// QoS 2 messages of the client between PUBLISH and PUBREL, with the number of those that other shards have a part in.
    pub(crate) received: BTreeMap<u16, Option<u64>>,
}

/// A message for a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct StoredEntry {
    pub(crate) body: BodyId,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) group: Option<(String, u64)>,
}

impl Stored {
    /// One more record.
    pub(crate) fn apply(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.try_apply(record)
            .map_err(|what| format!("{what}: {record:?}"))
    }

    fn try_apply(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        if let Some(open) = self.open_slot
            && record.slot().is_some_and(|slot| slot != open)
        {
            return Err("another slot's record inside a checkpoint");
        }
        match *record {
            Record::SlotBegin { slot } => {
                self.open_slot = Some(slot);
                self.sessions.retain(|id, _| id.slot() != slot);
                self.retained.remove(&slot);
                self.groups.retain(|filter, _| slot_of(filter) != slot);
                self.taken.remove(&slot);
                self.wills_under_way
                    .retain(|_, (session, _)| session.slot() != slot);
                Ok(())
            }
            Record::SlotEnd { slot } if self.open_slot == Some(slot) => {
                self.open_slot = None;
                Ok(())
            }
            Record::Taken { slot, publish } => {
                self.taken.entry(slot).or_default().insert(publish);
                Ok(())
            }
            Record::WillUnderWay { .. } | Record::WillDone { .. } => self.apply_will(record),
            Record::SlotEnd { .. } => Err("the end of no checkpoint"),
            Record::Body { body, message } => {
                let message = Arc::new(StoredBody::new(&message));
                match self.bodies.insert(body, Arc::clone(&message)) {
                    Some(other) if other != message => Err("another body of this name"),
                    _ => Ok(()),
                }
            }
            Record::Retained {
                slot,
                body,
                replaces,
            } => {
                let bodies = self.retained.entry(slot).or_default();
                let replaced = replaces.is_none_or(|old| bodies.remove(&old));
                bodies.insert(body);
                ok(replaced, "replaces what is not retained")
            }
            Record::RetainedCleared { topic, body } => {
                let bodies = self.retained.entry(slot_of(topic)).or_default();
                ok(bodies.remove(&body), "nothing to clear")
            }
            Record::GroupQueued {
                group,
                sequence,
                body,
            } => {
                let queue = self.groups.entry(group.to_owned()).or_default();
                let before = queue.insert(sequence, body);
                ok(before.is_none(), "a place that is taken")
            }
            Record::GroupDone {
                group,
                sequence,
                body,
            } => {
                let queue = self.groups.entry(group.to_owned()).or_default();
                let was = queue.remove(&sequence);
                ok(was == Some(body), "not in the group's queue")
            }
            ref record => self.apply_to_session(record),
        }
    }

    /// A will on its way to several shards; its session may have ended since.
    fn apply_will(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        match *record {
            Record::WillUnderWay {
                session,
                publish,
                message,
            } => {
                let will = (session, message.topic.to_owned());
                let before = self.wills_under_way.insert(publish, will);
                ok(before.is_none(), "is under way already")
            }
            Record::WillDone { session, publish } => {
                let will = self.wills_under_way.remove(&publish);
                let same = will.is_some_and(|(of, _)| of == session);
                ok(same, "was not under way")
            }
            _ => Err("is about no will"),
        }
    }

    fn apply_to_session(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        match *record {
            Record::Session {
                session,
                client_id,
                version,
                expiry_s,
            } => {
                let of_its_slot = session.slot() == slot_of(client_id);
                let new = || StoredSession::new(client_id);
                let stored = self.sessions.entry(session).or_insert_with(new);
                let same = stored.client_id == client_id;
                stored.version = version;
                stored.expiry_s = expiry_s;
                stored.offline = None;
                let namesakes = self.sessions.values().filter(|s| s.client_id == client_id);
                let one = namesakes.count() == 1;
                ok(of_its_slot && same && one, "not this client's only session")
            }
            Record::SessionEnded { session } => {
                let stored = self.sessions.remove(&session).ok_or("no such session")?;
                ok(
                    stored.messages().next().is_none(),
                    "messages were not let go",
                )
            }
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
            | Record::Completed { session, .. } => {
                let stored = self.sessions.get_mut(&session).ok_or("no such session")?;
                if let Record::Released { packet_id, .. } = *record
                    && let Some((filter, at)) = stored.given_by(packet_id.get())
                    && let Some(queue) = self.groups.get(filter)
                {
                    // Behind this record nobody knows that the group must not give it to somebody else.
                    ok(!queue.contains_key(&at), "its group has it still")?;
                }
                stored.apply(record)
            }
            _ => Err("a record that the simulation does not know"),
        }
    }

    /// Whether everything that is referred to is there; what is not referred to is forgotten.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        if let Some(slot) = self.open_slot {
            return Err(format!("the checkpoint of slot {slot} has no end"));
        }
        let mut live = BTreeSet::new();
        for session in self.sessions.values() {
            for entry in session.messages() {
                self.require(entry.body, &session.client_id)?;
                live.insert(entry.body);
            }
        }
        for bodies in self.retained.values() {
            let mut topics = BTreeSet::new();
            for body in bodies {
                self.require(*body, "a retained message")?;
                if !topics.insert(&self.bodies[body].topic) {
                    return Err(format!("two are retained of one topic: {body:?}"));
                }
                live.insert(*body);
            }
        }
        for (filter, queue) in &self.groups {
            for body in queue.values() {
                self.require(*body, filter)?;
                live.insert(*body);
            }
        }
        // Of a publish that will not come again nobody has to know any more.
        let sessions = self.sessions.values();
        let doubtful = sessions.flat_map(|session| session.received.values().flatten());
        let doubtful: BTreeSet<u64> = doubtful.copied().collect();
        for publishes in self.taken.values_mut() {
            publishes.retain(|publish| doubtful.contains(publish));
        }
        self.taken.retain(|_, publishes| !publishes.is_empty());
        self.bodies.retain(|id, _| live.contains(id));
        self.retained.retain(|_, bodies| !bodies.is_empty());
        self.groups.retain(|_, queue| !queue.is_empty());
        Ok(())
    }

    fn require(&self, body: BodyId, who: &str) -> Result<(), String> {
        if self.bodies.contains_key(&body) {
            return Ok(());
        }
        Err(format!("{who} refers to {body:?}, which is not there"))
    }

    /// The highest counters of sessions and numbers in it.
    pub(crate) fn highest(&self) -> (u64, u64) {
        let sessions = self.sessions.keys().map(|id| id.counter()).max();
        let numbers = self.bodies.keys().map(|id| id.as_u64() / 64).max();
        (sessions.unwrap_or(0), numbers.unwrap_or(0))
    }

    /// The session of a client.
    pub(crate) fn session_of(&self, client_id: &str) -> Option<&StoredSession> {
        self.sessions.values().find(|s| s.client_id == client_id)
    }

    /// The retained message of each topic.
    pub(crate) fn retained(&self) -> impl Iterator<Item = &Arc<StoredBody>> {
        let bodies = self.retained.values().flatten();
        bodies.filter_map(|id| self.bodies.get(id))
    }

    /// The first difference to another picture, in words.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        for (id, session) in &self.sessions {
            let theirs = other.sessions.get(id);
            if theirs != Some(session) {
                return Some(format!("session {session:?}\nis {theirs:?}"));
            }
        }
        if let Some((_, more)) = other
            .sessions
            .iter()
            .find(|(id, _)| !self.sessions.contains_key(id))
        {
            return Some(format!("there is also session {more:?}"));
        }
        if self.retained != other.retained {
            return Some(format!(
                "retained: {:?}\nis {:?}",
                self.retained, other.retained
            ));
        }
        if self.groups != other.groups {
            return Some(format!("groups: {:?}\nis {:?}", self.groups, other.groups));
        }
        if self.taken != other.taken {
            return Some(format!("taken: {:?}\nis {:?}", self.taken, other.taken));
        }
        Some("the bodies differ".to_owned())
    }
}

impl StoredBody {
    fn new(body: &Body<'_>) -> Self {
        Self {
            topic: body.topic.to_owned(),
            payload: body.payload.to_vec(),
            qos: body.qos,
            expires_at: body.expires_at,
        }
    }
}

impl StoredSession {
    fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            version: Version::V5,
            expiry_s: 0,
            offline: None,
            will: None,
            subscriptions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            in_flight: Vec::new(),
            received: BTreeMap::new(),
        }
    }

    fn apply(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        match *record {
            Record::Offline {
                ends_at, will_at, ..
            } => self.offline = Some((ends_at, will_at)),
            Record::Will {
                message, delay_s, ..
            } => {
                let (topic, payload) = (message.topic.to_owned(), message.payload.to_vec());
                self.will = Some((topic, payload, delay_s));
            }
            Record::WillCleared { .. } => return ok(self.will.take().is_some(), "there is none"),
            Record::Subscribed {
                filter,
                options,
                replaying,
                ..
            } => {
                let terms = (options.qos, options.no_local, replaying);
                self.subscriptions.insert(filter.to_owned(), terms);
            }
            Record::Unsubscribed { filter, .. } => {
                let was = self.subscriptions.remove(filter);
                return ok(was.is_some(), "no such subscription");
            }
            Record::Replayed { filter, .. } => {
                // The subscription may be gone, or new, by now.
                if let Some((_, _, replaying)) = self.subscriptions.get_mut(filter) {
                    *replaying = false;
                }
            }
            _ => return self.apply_flow(record),
        }
        Ok(())
    }

    fn apply_flow(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        match *record {
            Record::Queued {
                position,
                body,
                terms,
                packet_id,
                ..
            } => {
                let entry = StoredEntry {
                    body,
                    qos: terms.qos,
                    retain: terms.retain,
                    group: terms.group.map(|(filter, at)| (filter.to_owned(), at)),
                };
                let Some(packet_id) = packet_id else {
                    let before = self.waiting.insert(position, entry);
                    return ok(before.is_none(), "the place is taken");
                };
                self.begin(packet_id.get(), entry)
            }
            Record::Sent {
                position,
                packet_id,
                ..
            } => {
                let entry = self.waiting.remove(&position).ok_or("not in the queue")?;
                self.begin(packet_id.get(), entry)
            }
            Record::Dropped { position, body, .. } => {
                let entry = self.waiting.remove(&position).ok_or("not in the queue")?;
                ok(entry.body == body, "another message is there")
            }
            Record::Released {
                packet_id,
                body: Some(body),
                ..
            } => {
                let flow = self.flow(packet_id.get())?;
                let was = self.in_flight[flow].1.take();
                ok(
                    was.is_some_and(|e| e.body == body),
                    "another message is there",
                )
            }
            Record::Released { packet_id, .. } => {
                let new = self.flow(packet_id.get()).is_err();
                self.in_flight.push((packet_id.get(), None));
                ok(new, "in flight already")
            }
            Record::Finished {
                packet_id, body, ..
            } => {
                let flow = self.flow(packet_id.get())?;
                let (_, was) = self.in_flight.remove(flow);
                ok(was.map(|e| e.body) == body, "another message is there")
            }
            Record::Received {
                packet_id, publish, ..
            } => {
                // Once more if it came again after a crash.
                self.received.insert(packet_id.get(), publish);
                Ok(())
            }
            Record::Completed { packet_id, .. } => {
                let was = self.received.remove(&packet_id.get());
                ok(was.is_some(), "it was not received")
            }
            _ => Err("a record that the simulation does not know"),
        }
    }

    /// Every message that it has a reference to.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &StoredEntry> {
        let in_flight = self
            .in_flight
            .iter()
            .filter_map(|(_, entry)| entry.as_ref());
        in_flight.chain(self.waiting.values())
    }

    fn begin(&mut self, packet_id: u16, entry: StoredEntry) -> Result<(), &'static str> {
        let new = self.flow(packet_id).is_err();
        self.in_flight.push((packet_id, Some(entry)));
        ok(new, "in flight already")
    }

    /// The group, and the place there, of a message in flight.
    fn given_by(&self, packet_id: u16) -> Option<(&str, u64)> {
        let mut flows = self.in_flight.iter();
        let (_, entry) = flows.find(|(id, _)| *id == packet_id)?;
        let (filter, at) = entry.as_ref()?.group.as_ref()?;
        Some((filter, *at))
    }

    fn flow(&self, packet_id: u16) -> Result<usize, &'static str> {
        let mut flows = self.in_flight.iter();
        let found = flows.position(|(id, _)| *id == packet_id);
        found.ok_or("not in flight")
    }
}

const fn ok(is: bool, what: &'static str) -> Result<(), &'static str> {
    if is { Ok(()) } else { Err(what) }
}
