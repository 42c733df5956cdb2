//! What happened in a run, as far as clients, the network and the shards' effects show it. The invariants read it.
//!
//! Everything is ordered by *ticks*: each fact gets the next number. A publish whose acknowledgement was not
//! seen stays *unknown*: it may arrive or not, and no invariant asks for either.

mod events;

use std::collections::{BTreeMap, BTreeSet};

use martlet_codec::{QoS, topic_matches};
use martlet_engine::{Counters, Limits, Policy, Time};

pub(crate) use self::events::{Answer, ConnectTerms, Event};
use crate::stored::Stored;

/// Number of a client in the run.
pub(crate) type ActorId = usize;
/// Number of a message in the run; it stands in its payload.
pub(crate) type MessageId = usize;
/// Number of a session, as clients see sessions: from a CONNACK without Session Present to the next.
pub(crate) type SessionId = usize;
/// Number of a transport connection.
pub(crate) type LinkId = usize;
/// Number of a fact.
pub(crate) type Tick = u64;

/// A message that a client has sent, or its will.
#[derive(Debug, Clone)]
pub(crate) struct MessageFact {
    /// Its number.
    pub(crate) id: MessageId,
    /// Who sent it.
    pub(crate) publisher: ActorId,
    /// In which of its sessions.
    pub(crate) session: SessionId,
    /// Its topic.
    pub(crate) topic: String,
    /// How it was published.
    pub(crate) qos: QoS,
    /// With RETAIN.
    pub(crate) retain: bool,
    /// With an empty payload: it clears the retained message, and nobody can tell it from another.
    pub(crate) clear: bool,
    /// It is a will.
    pub(crate) will: bool,
    /// Its expiry interval.
    pub(crate) expiry_s: Option<u32>,
    /// Length of its payload.
    pub(crate) payload_len: usize,
    /// When it was first sent.
    pub(crate) sent_at: Time,
    /// Each time it was sent.
    pub(crate) sends: Vec<Tick>,
    /// On which connection, and where in its bytes, its last copy ends.
    pub(crate) end: (LinkId, u64),
    /// When its acknowledgement was seen.
    pub(crate) acked: Option<Tick>,
    /// The broker has it for certain: acknowledged, or consumed on a connection that stayed open.
    pub(crate) processed: bool,
    /// In which round it was first sent.
    pub(crate) round: u32,
}

/// A SUBSCRIBE for one filter, or an UNSUBSCRIBE.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The whole filter.
    pub(crate) filter: String,
    /// What SUBSCRIBE asked for; `None`: UNSUBSCRIBE.
    pub(crate) wanted: Option<Wanted>,
    /// When its success was seen in SUBACK or UNSUBACK.
    pub(crate) done: Option<Tick>,
    /// The round of `done`.
    pub(crate) done_round: u32,
    /// SUBACK has refused it.
    pub(crate) refused: bool,
}

/// Subscription options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Maximum QoS.
    pub(crate) qos: QoS,
    /// No Local.
    pub(crate) no_local: bool,
    /// Retain As Published.
    pub(crate) retain_as_published: bool,
    /// Retained messages may come for it: it is not shared, and its Retain Handling is not 2.
    pub(crate) replays: bool,
    /// They come for certain: its Retain Handling is 0.
    pub(crate) replays_always: bool,
    /// Subscription Identifier, 0 for none.
    pub(crate) id: u32,
}

/// A session as its client sees it.
#[derive(Debug, Clone)]
pub(crate) struct SessionFact {
    /// Whose.
    pub(crate) actor: ActorId,
    /// What it asked for, in order.
    pub(crate) changes: Vec<Change>,
    /// What it got, by message.
    pub(crate) receipts: BTreeMap<MessageId, Vec<Receipt>>,
    /// Which QoS 1 messages its client has answered.
    pub(crate) answered: BTreeSet<MessageId>,
    /// The smallest Maximum Packet Size of its connections.
    pub(crate) packet_bytes_min: u32,
    /// It has ended, or its client has let it go.
    pub(crate) ended: bool,
    /// In which round that was. The broker may get to know it later, but in the same round.
    pub(crate) ended_round: u32,
    /// CONNACK was seen in it, and it outlives its connection by so many seconds.
    pub(crate) outlives_s: Option<u32>,
    /// Identifiers of its QoS 2 messages whose PUBREC was seen, and whose PUBREL was never sent.
    pub(crate) owed: BTreeSet<u16>,
    /// Since when, at the earliest, the broker has written down that it has no connection.
    pub(crate) offline_since: Option<Time>,
}

/// A PUBLISH that a client has read.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    /// Who read it.
    pub(crate) session: SessionId,
    /// On which connection.
    pub(crate) link: LinkId,
    /// When.
    pub(crate) tick: Tick,
    /// The message in its payload; `None`: no message of this run.
    pub(crate) message: Option<MessageId>,
    /// The payload was empty.
    pub(crate) empty: bool,
    /// The payload is, byte for byte, what was published.
    pub(crate) intact: bool,
    /// Its topic, aliases resolved; `None` if the alias is unknown.
    pub(crate) topic: Option<String>,
    /// The alias used.
    pub(crate) alias: Option<u16>,
    /// As it came.
    pub(crate) qos: QoS,
    /// As it came.
    pub(crate) dup: bool,
    /// As it came.
    pub(crate) retain: bool,
    /// As it came.
    pub(crate) packet_id: Option<u16>,
    /// As it came.
    pub(crate) expiry_s: Option<u32>,
    /// As they came.
    pub(crate) subscription_ids: Vec<u32>,
    /// A QoS 2 delivery whose identifier the client holds already: not a new message.
    pub(crate) repeated: bool,
    /// The client refuses it, with a PUBREC of 0x80 or more: if that gets lost, it comes again.
    pub(crate) refused: bool,
    /// That identifier was last used for another message.
    pub(crate) identifier_reused: bool,
}

/// What can be seen of a shard from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShardFact {
    /// Bytes in queues and outboxes.
    pub(crate) memory_bytes: usize,
    /// Open connections.
    pub(crate) connections: usize,
    /// Sessions.
    pub(crate) sessions: usize,
    /// Retained messages.
    pub(crate) retained: usize,
    /// The longest outbox.
    pub(crate) outbox_bytes: usize,
}

/// A client of the run.
#[derive(Debug, Clone)]
pub(crate) struct ActorFact {
    /// Its client identifier.
    pub(crate) name: String,
    /// Its connection.
    pub(crate) link: Option<LinkId>,
    /// When CONNACK was seen on it; `None`: not yet.
    pub(crate) online_since: Option<Tick>,
    /// Its session.
    pub(crate) session: Option<SessionId>,
}

/// The process has ended without being asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrashFact {
    /// In which round.
    pub(crate) round: u32,
    /// The connections from this one on are the next process's.
    pub(crate) next_link: LinkId,
    /// How many shards it had.
    pub(crate) shard_count: usize,
}

/// All facts of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The bounds of the run.
    pub(crate) limits: Limits,
    /// The rules of the run.
    pub(crate) policy: Policy,
    /// Virtual time.
    pub(crate) now: Time,
    /// The last fact's number.
    pub(crate) tick: Tick,
    /// Rounds end with everything at rest.
    pub(crate) round: u32,
    /// With which fact each round has begun.
    pub(crate) rounds: Vec<Tick>,
    /// The clients.
    pub(crate) actors: Vec<ActorFact>,
    /// All messages.
    pub(crate) messages: Vec<MessageFact>,
    /// All sessions.
    pub(crate) sessions: Vec<SessionFact>,
    /// All shards.
    pub(crate) shards: Vec<ShardFact>,
    /// The shards' counters, summed.
    pub(crate) counters: Counters,
    /// At rest: the retained message of each topic, as a new subscriber gets it; `None` if it could not ask.
    pub(crate) retained: Option<BTreeMap<String, MessageId>>,
    /// At the end: whether the interest map is empty.
    pub(crate) interest_is_empty: bool,
    /// Everything that the broker did up to this fact is stable.
    pub(crate) stable: Tick,
    /// When the broker has closed a connection. Its client may read a CONNACK from it later.
    pub(crate) closed_at: BTreeMap<LinkId, Time>,
    /// How often the process has ended without being asked.
    pub(crate) crashes: Vec<CrashFact>,
    /// In which rounds shards were stopped on purpose.
    pub(crate) stops: Vec<u32>,
    /// What the last recovery has found.
    pub(crate) found: Option<Stored>,
    /// What the invariants have not seen yet.
    pub(crate) events: Vec<Event>,
}

impl SessionFact {
    /// Its client answers the PUBLISH that had this identifier on its connection.
    pub(crate) fn note_answer(&mut self, link: Option<LinkId>, packet_id: u16) {
        let with_id =
            |receipt: &&Receipt| Some(receipt.link) == link && receipt.packet_id == Some(packet_id);
        let all = self.receipts.values().flatten().filter(with_id);
        let last = all.max_by_key(|receipt| receipt.tick);
        self.answered
            .extend(last.and_then(|receipt| receipt.message));
    }

    /// Whether it has a message for good: another session need not get it.
    pub(crate) fn has_taken(&self, message: MessageId) -> bool {
        let receipts = self.receipts.get(&message).into_iter().flatten();
        self.answered.contains(&message)
            || receipts
                .into_iter()
                .any(|receipt| receipt.qos != QoS::AtLeastOnce)
    }
}

impl Ledger {
    pub(crate) fn new(limits: Limits, policy: Policy, shard_count: usize) -> Self {
        Self {
            limits,
            policy,
            now: Time::from_millis(1_000_000),
            tick: 0,
            round: 0,
            rounds: Vec::new(),
            actors: Vec::new(),
            messages: Vec::new(),
            sessions: Vec::new(),
            shards: vec![ShardFact::default(); shard_count],
            counters: Counters::default(),
            retained: None,
            interest_is_empty: false,
            stable: 0,
            closed_at: BTreeMap::new(),
            crashes: Vec::new(),
            stops: Vec::new(),
            found: None,
            events: Vec::new(),
        }
    }

    pub(crate) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    pub(crate) fn begin_round(&mut self) {
        self.round += 1;
        self.rounds.push(self.tick);
    }

    pub(crate) fn begin_session(&mut self, actor: ActorId) -> SessionId {
        self.tick();
        if let Some(old) = self.actors[actor].session {
            self.sessions[old].ended = true;
            self.sessions[old].ended_round = self.round;
        }
        self.sessions.push(SessionFact {
            actor,
            changes: Vec::new(),
            receipts: BTreeMap::new(),
            packet_bytes_min: u32::MAX,
            ended: false,
            ended_round: 0,
            outlives_s: None,
            owed: BTreeSet::new(),
            answered: BTreeSet::new(),
            offline_since: None,
        });
        let id = self.sessions.len() - 1;
        self.actors[actor].session = Some(id);
        id
    }

    /// The process is gone. What was not acknowledged and has not come to rest may have been taken or not.
    pub(crate) fn crashed(&mut self, next_link: LinkId) {
        self.tick();
        let round = self.round;
        self.crashes.push(CrashFact {
            round,
            next_link,
            shard_count: self.shards.len(),
        });
        for message in &mut self.messages {
            message.processed &= message.round < round || message.acked.is_some();
        }
    }

    /// A planned stop begins.
    pub(crate) fn stopped(&mut self) {
        self.tick();
        self.stops.push(self.round);
    }

    /// Whether there was a planned stop since a message was sent, or earlier in the same round.
    #[must_use]
    pub(crate) fn stopped_since(&self, message: &MessageFact) -> bool {
        self.stops.iter().any(|round| *round >= message.round)
    }

    /// How often the process has crashed since a message was sent, or earlier in the same round.
    #[must_use]
    pub(crate) fn crashes_since(&self, message: &MessageFact) -> usize {
        let since = |crash: &&CrashFact| crash.round >= message.round;
        self.crashes.iter().filter(since).count()
    }

    /// The next process has begun: who had a connection has none, from now on.
    pub(crate) fn recovered(&mut self) {
        for session in &mut self.sessions {
            session.offline_since.get_or_insert(self.now);
        }
    }

    /// Whether the first may come again unmarked: a crash lies in between, and no rest that made its acknowledgement stable.
    #[must_use]
    pub(crate) fn may_come_again(&self, first: &Receipt, second: &Receipt) -> bool {
        let between = first.tick..second.tick;
        let rested = self.rounds.iter().any(|began| between.contains(began));
        // What was written before a crash may be read after it.
        let links = first.link + 1..=second.link;
        let crashed = |crash: &CrashFact| links.contains(&crash.next_link);
        !rested && self.crashes.iter().any(crashed)
    }

    /// Messages dropped for a full queue or outbox: so many may be missing.
    #[must_use]
    pub(crate) const fn drops(&self) -> u64 {
        self.counters.dropped_queue_full + self.counters.dropped_outbox_full
    }

    /// The session of each client that is online, with its connection.
    pub(crate) fn online(&self) -> impl Iterator<Item = (SessionId, &SessionFact, &ActorFact)> {
        self.actors.iter().filter_map(|actor| {
            let session = actor.session.filter(|_| actor.online_since.is_some())?;
            Some((session, &self.sessions[session], actor))
        })
    }

    /// The QoS at which a session must get a message through its plain subscriptions, and the round in which
    /// the subscription was made. `None`: it need not get it.
    #[must_use]
    pub(crate) fn due(session: &SessionFact, message: &MessageFact) -> Option<(QoS, u32)> {
        let first_sent = *message.sends.first()?;
        let mut due: Option<(QoS, u32)> = None;
        for (at, change) in session.changes.iter().enumerate() {
            let granted_before = change.wanted.is_some()
                && change.done.is_some_and(|done| done < first_sent)
                && !change.filter.starts_with("$share/")
                && topic_matches(&change.filter, &message.topic);
            if !granted_before {
                continue;
            }
            let rest = session.changes[at..]
                .iter()
                .filter(|c| c.filter == change.filter && !c.refused);
            let qos = rest
                .map(|c| {
                    let wanted = c.wanted?;
                    let own = wanted.no_local && message.publisher == session.actor;
                    (!own).then_some(wanted.qos)
                })
                .collect::<Option<Vec<_>>>()
                .and_then(|all| all.into_iter().min());
            if let Some(qos) = qos {
                let qos = qos.min(message.qos);
                due = Some(due.map_or((qos, change.done_round), |(best, round)| {
                    (best.max(qos), round.min(change.done_round))
                }));
            }
        }
        due
    }

    /// Whether a message may have been left out for its size or its age.
    #[must_use]
    pub(crate) fn may_be_left_out(&self, session: &SessionFact, message: &MessageFact) -> bool {
        let size = message.payload_len + message.topic.len() + PACKET_OVERHEAD;
        size > session.packet_bytes_min as usize || self.may_be_expired(message)
    }

    /// Whether the expiry interval of a message may have passed.
    #[must_use]
    pub(crate) fn may_be_expired(&self, message: &MessageFact) -> bool {
        message
            .expiry_s
            .is_some_and(|seconds| message.sent_at.plus_secs(seconds) <= self.now)
    }

    /// Whether the session ever asked for a shared subscription that matches.
    #[must_use]
    pub(crate) fn shares(session: &SessionFact, topic: &str) -> bool {
        session.changes.iter().any(|c| {
            c.wanted.is_some() && shared_filter(&c.filter).is_some_and(|f| topic_matches(f, topic))
        })
    }

    /// Everything that the session ever asked for and that matches, shared subscriptions included.
    pub(crate) fn matching<'a>(
        session: &'a SessionFact,
        topic: &'a str,
    ) -> impl Iterator<Item = &'a Change> {
        session.changes.iter().filter(move |change| {
            let filter = shared_filter(&change.filter).unwrap_or(&change.filter);
            change.wanted.is_some() && topic_matches(filter, topic)
        })
    }

    /// What the client is called, for a report.
    #[must_use]
    pub(crate) fn name(&self, session: SessionId) -> String {
        format!(
            "{}/session {session}",
            self.actors[self.sessions[session].actor].name
        )
    }
}

/// The filter behind `$share/name/`.
#[must_use]
pub(crate) fn shared_filter(filter: &str) -> Option<&str> {
    filter
        .strip_prefix("$share/")?
        .split_once('/')
        .map(|(_, rest)| rest)
}

/// More than any PUBLISH of a run has besides topic and payload.
const PACKET_OVERHEAD: usize = 80;
