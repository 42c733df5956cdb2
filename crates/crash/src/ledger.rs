//! The books of a life: what was sent, acknowledged, subscribed and received, and what follows from it.
//!
//! A publish without acknowledgement is *unknown*: it may arrive or not. What is certain:
//! - A message whose acknowledgement was seen is owed to every durable session with a matching subscription that was
//!   acknowledged before the message was sent and that nobody has asked to end: [`Ledger::debts`].
//! - At QoS 2 on both sides it arrives there once, in a group at one member once.
//! - Of one publisher, topic and quality of service, messages arrive for the first time in the order of their sending
//!   (MQTT-4.6.0-5), whoever else gets them. One exception, [`Ledger::may_come_late`]: a message whose PUBLISH was sent again
//!   may be new to the broker at its later place, at QoS 1 if it has acknowledged the first copy (MQTT-4.3.2-5; 4.3.2-2 in
//!   3.1.1), at QoS 2 if it was killed between the two: only then may it have forgotten the identifier (MQTT-4.3.3-10). A
//!   session that was not subscribed when the first copy came (MQTT-3.10.4-2) gets the second then, behind what was sent
//!   between the two, if that came through a subscription made anew. Publishers send again in the old order
//!   (MQTT-4.6.0-1), so who had one subscription all the time, or got the first copy, sees no change.
//! - The retained message of a topic is the last acknowledged one, or one that was sent later, for the first time or again:
//!   by the same rule at QoS 1; at QoS 2 it is sent again only without a PUBREC, and the broker may not have had the first.

use std::collections::{BTreeMap, BTreeSet};

use martlet_codec::{QoS, TopicFilter, topic_matches};

use crate::faults::{Faults, Kind};
use crate::plan::{GROUPS, TOPICS};

/// A message, by its place in the ledger.
pub(crate) type MessageId = usize;
/// One session of a client, from its beginning to its end.
pub(crate) type SessionId = usize;

/// What was published.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Who, by its place in the cast.
    pub(crate) publisher: usize,
    pub(crate) topic: usize,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Empties its topic; its payload is empty, so receivers cannot tell which message it is.
    pub(crate) clear: bool,
    pub(crate) will: bool,
    pub(crate) payload_len: usize,
    /// When it was sent for the first time; for a will, when its CONNECT was.
    pub(crate) sent: u64,
    /// When its PUBLISH was sent last: each time it may have taken its topic's place again.
    pub(crate) sent_last: u64,
    /// When its acknowledgement was seen; for a will, when its publication became certain.
    pub(crate) acked: Option<u64>,
}

/// A subscription of a session.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    pub(crate) granted: Option<u64>,
    /// When it was asked for again, while it was there.
    pub(crate) again: u64,
    pub(crate) end_asked: Option<u64>,
    pub(crate) ended: Option<u64>,
}

/// A session and what came out of it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) durable: bool,
    pub(crate) group: Option<usize>,
    /// It is gone, or somebody has asked for that: nothing is owed any more.
    pub(crate) over: bool,
    pub(crate) subscriptions: Vec<Subscription>,
    /// How often each message came as a live message, re-sends of one QoS 2 flow not counted.
    pub(crate) received: BTreeMap<MessageId, u32>,
    /// The last message for the first time, per publisher, topic and quality of service.
    last: BTreeMap<(usize, usize, u8), MessageId>,
}

/// A message as it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) session: SessionId,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    /// As an answer to a subscription: RETAIN is set.
    pub(crate) replayed: bool,
    /// The re-send of a QoS 2 flow that the client has begun.
    pub(crate) repeated: bool,
}

/// A message that somebody should have got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Debt {
    Session(SessionId, MessageId),
    Group(usize, MessageId),
}

/// Sums for the report: they show that a run did what it is for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) arrivals: u64,
    pub(crate) resumed: u64,
    pub(crate) takeovers: u64,
    pub(crate) wills: u64,
    pub(crate) resent: u64,
}

/// The books.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    clock: u64,
    /// When the broker was killed.
    kills: Vec<u64>,
    pub(crate) messages: Vec<Message>,
    pub(crate) sessions: Vec<Session>,
    /// What members of each group got, all together.
    pub(crate) groups: [BTreeMap<MessageId, u32>; GROUPS.len()],
    pub(crate) faults: Faults,
    pub(crate) sums: Sums,
}

impl Ledger {
    /// The next moment: everything happens at a moment of its own.
    pub(crate) const fn moment(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Books a message about to be sent for the first time.
    pub(crate) fn send(&mut self, mut message: Message) -> MessageId {
        message.sent = self.moment();
        message.sent_last = message.sent;
        self.sums.sent += 1;
        self.messages.push(message);
        self.messages.len() - 1
    }

    /// Books that the broker was killed: nothing that anybody sends from now on is taken by that process.
    pub(crate) fn kill(&mut self) {
        let now = self.moment();
        self.kills.push(now);
    }

    /// Books that the PUBLISH of a message is sent again.
    pub(crate) fn resend(&mut self, id: MessageId) {
        let now = self.moment();
        self.messages[id].sent_last = now;
        self.sums.resent += 1;
    }

    /// Books a message as certain.
    pub(crate) fn acknowledge(&mut self, id: MessageId) {
        let now = self.moment();
        let message = &mut self.messages[id];
        if message.acked.is_none() {
            message.acked = Some(now);
            self.sums.acknowledged += 1;
            self.sums.wills += u64::from(message.will);
        }
    }

    /// What was held to be certain is not.
    pub(crate) fn doubt(&mut self, id: MessageId) {
        let message = &mut self.messages[id];
        if message.acked.take().is_some() {
            self.sums.acknowledged -= 1;
            self.sums.wills -= u64::from(message.will);
        }
    }

    /// Books the beginning of a session.
    pub(crate) fn begin(&mut self, session: Session) -> SessionId {
        self.sessions.push(session);
        self.sessions.len() - 1
    }

    /// Books a PUBLISH that a client has read. Returns which message it is, if it can be told.
    pub(crate) fn arrive(&mut self, arrival: Arrival<'_>) -> Option<MessageId> {
        self.sums.arrivals += 1;
        if arrival.payload.is_empty() {
            return None;
        }
        let name = self.sessions[arrival.session].name.clone();
        let id = message_in(arrival.payload).filter(|id| *id < self.messages.len());
        let Some(id) = id.filter(|id| self.is_as_sent(*id, arrival)) else {
            let text = format!(
                "{name} got {} bytes on {:?}",
                arrival.payload.len(),
                arrival.topic
            );
            self.faults.add(Kind::Phantom, text);
            return None;
        };
        if arrival.replayed || arrival.repeated {
            return Some(id);
        }
        self.check_subscribed(arrival.session, id);
        let message = &self.messages[id];
        let exactly_once = message.qos == QoS::ExactlyOnce && arrival.qos == QoS::ExactlyOnce;
        let of_group = self.sessions[arrival.session].group.map(|group| {
            let count = self.groups[group].entry(id).or_default();
            *count += 1;
            *count
        });
        let session = &mut self.sessions[arrival.session];
        let count = session.received.entry(id).or_default();
        *count += 1;
        if exactly_once && of_group.unwrap_or(*count) > 1 {
            let text = format!("{name} got {} again", describe(id, message));
            self.faults.add(Kind::Doubled, text);
        } else if *count == 1 && of_group.is_none() && arrival.qos != QoS::AtMostOnce {
            self.check_order(arrival.session, id);
        }
        Some(id)
    }

    fn is_as_sent(&self, id: MessageId, arrival: Arrival<'_>) -> bool {
        let message = &self.messages[id];
        TOPICS[message.topic] == arrival.topic
            && arrival.payload == payload_of(id, message.payload_len)
    }

    /// A live message needs a subscription that was not ended before the message was sent.
    fn check_subscribed(&mut self, session: SessionId, id: MessageId) {
        let message = &self.messages[id];
        let session = &self.sessions[session];
        let mut matching = session
            .subscriptions
            .iter()
            .filter(|subscription| subscription.matches(message.topic))
            .peekable();
        let text = |what| format!("{} got {}: {what}", session.name, describe(id, message));
        if matching.peek().is_none() {
            self.faults
                .add(Kind::Phantom, text("it has no such subscription"));
        } else if matching
            .all(|subscription| subscription.ended.is_some_and(|end| end < message.sent))
        {
            self.faults
                .add(Kind::Resurrected, text("its subscription had ended"));
        }
    }

    /// Only messages that were sent behind the SUBACK: before, the retained one may come as a live one.
    fn check_order(&mut self, of: SessionId, id: MessageId) {
        let message = &self.messages[id];
        let subscriptions = &self.sessions[of].subscriptions;
        let settled = (0..subscriptions.len()).find(|at| {
            let subscription = &subscriptions[*at];
            subscription.matches(message.topic)
                && subscription
                    .granted
                    .is_some_and(|granted| granted < message.sent)
                && !self.may_come_late(of, *at, message)
        });
        let Some(at) = settled.filter(|_| !message.will) else {
            return;
        };
        let session = &mut self.sessions[of];
        let subscription = &session.subscriptions[at];
        let key = (message.publisher, message.topic, message.qos.bits());
        let last = session.last.entry(key).or_insert(id);
        if *last > id {
            let text = format!(
                "{} got {}, sent at {} to {}, behind m{last}, sent at {}; subscribed at {:?} and {}",
                session.name,
                describe(id, message),
                message.sent,
                message.sent_last,
                self.messages[*last].sent,
                subscription.granted,
                subscription.again,
            );
            self.faults.add(Kind::Order, text);
        }
        *last = id.max(*last);
    }

    /// Whether the first copy of a message may have found the session between this subscription and a later one, and the copy
    /// that was sent again was a publication of its own.
    fn may_come_late(&self, of: SessionId, at: usize, message: &Message) -> bool {
        let (before, behind) = self.sessions[of].subscriptions.split_at(at + 1);
        let Some(ended) = before[at].ended else {
            return false;
        };
        // What came before it came through a subscription that was asked for when this one had ended.
        let from = ended.max(message.sent);
        let made_anew = behind.iter().any(|other| other.matches(message.topic));
        made_anew
            && from < message.sent_last
            && match message.qos {
                QoS::AtMostOnce => false,
                QoS::AtLeastOnce => true,
                QoS::ExactlyOnce => {
                    let mut kills = self.kills.iter();
                    kills.any(|kill| (from..message.sent_last).contains(kill))
                }
            }
    }

    /// Everything that is owed for the messages from `first` on and has not arrived.
    pub(crate) fn debts(&self, first: MessageId) -> Vec<Debt> {
        let mut debts = BTreeSet::new();
        for (number, session) in self.sessions.iter().enumerate() {
            if !session.durable || session.over {
                continue;
            }
            for subscription in &session.subscriptions {
                for (id, message) in self.messages.iter().enumerate().skip(first) {
                    if subscription.is_owed(message) {
                        debts.insert(match session.group {
                            Some(group) => Debt::Group(group, id),
                            None => Debt::Session(number, id),
                        });
                    }
                }
            }
        }
        debts
            .into_iter()
            .filter(|debt| !self.is_paid(*debt))
            .collect()
    }

    pub(crate) fn is_paid(&self, debt: Debt) -> bool {
        match debt {
            Debt::Session(session, id) => self.sessions[session].received.contains_key(&id),
            Debt::Group(group, id) => self.groups[group].contains_key(&id),
        }
    }

    /// Books what is still owed at the end as lost. Subscriptions that got nothing of what was sent from `marker`
    /// on count as lost themselves, once each.
    pub(crate) fn write_off(&mut self, debts: &[Debt], marker: MessageId) {
        let lost_marker = |debt: Debt| match debt {
            Debt::Session(session, id) if id >= marker => Some((session, self.messages[id].topic)),
            Debt::Session(..) | Debt::Group(..) => None,
        };
        let silent: BTreeSet<_> = debts.iter().filter_map(|debt| lost_marker(*debt)).collect();
        let mut faults = std::mem::take(&mut self.faults);
        for (session, topic) in &silent {
            let text = format!(
                "{}: nothing on {}",
                self.sessions[*session].name, TOPICS[*topic]
            );
            faults.add(Kind::SubscriptionLost, text);
        }
        for debt in debts {
            let (who, id) = match *debt {
                Debt::Session(session, id) => {
                    if silent.contains(&(session, self.messages[id].topic)) {
                        continue;
                    }
                    (self.sessions[session].name.as_str(), id)
                }
                Debt::Group(group, id) => (GROUPS[group], id),
            };
            let message = &self.messages[id];
            let kind = if message.will {
                Kind::WillLost
            } else {
                Kind::Lost
            };
            faults.add(kind, format!("{who} never got {}", describe(id, message)));
        }
        self.faults = faults;
    }

    /// Checks what a new subscriber to all retained topics got.
    pub(crate) fn check_retained(
        &mut self,
        topics: std::ops::Range<usize>,
        got: &BTreeMap<usize, MessageId>,
    ) {
        for topic in topics {
            let of_topic: Vec<(MessageId, &Message)> = self
                .messages
                .iter()
                .enumerate()
                .filter(|(_, message)| message.topic == topic && message.retain)
                .collect();
            let certain = of_topic
                .iter()
                .filter(|(_, message)| message.acked.is_some());
            let last_certain = certain.map(|(_, message)| message.sent).max();
            // `None`: the topic is empty.
            let mut allowed = BTreeSet::new();
            if last_certain.is_none() {
                allowed.insert(None);
            }
            for (id, message) in of_topic {
                if last_certain.is_none_or(|last| message.sent_last >= last) {
                    allowed.insert((!message.clear).then_some(id));
                }
            }
            let found = got.get(&topic).copied();
            if !allowed.contains(&found) {
                let words = |id: &MessageId| {
                    let message = self.messages.get(*id);
                    message.map_or_else(|| "?".to_owned(), |message| describe(*id, message))
                };
                let right: Vec<_> = allowed.iter().map(|id| id.as_ref().map(words)).collect();
                let found = found.as_ref().map(words);
                let text = format!("{}: found {found:?}, right: {right:?}", TOPICS[topic]);
                self.faults.add(Kind::Retained, text);
            }
        }
    }
}

impl Session {
    pub(crate) fn new(name: String, durable: bool, group: Option<usize>) -> Self {
        Self {
            name,
            durable,
            group,
            over: false,
            subscriptions: Vec::new(),
            received: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }
}

impl Subscription {
    pub(crate) fn matches(&self, topic: usize) -> bool {
        TopicFilter::new(&self.filter)
            .is_ok_and(|filter| topic_matches(filter.filter(), TOPICS[topic]))
    }

    fn is_owed(&self, message: &Message) -> bool {
        message.acked.is_some()
            && !message.clear
            && message.qos.min(self.qos) != QoS::AtMostOnce
            && self.end_asked.is_none()
            && self.granted.is_some_and(|granted| granted < message.sent)
            && self.matches(message.topic)
    }
}

/// A message in words.
fn describe(id: MessageId, message: &Message) -> String {
    format!(
        "m{id} ({}{}, QoS {}, client {}, acknowledged: {})",
        TOPICS[message.topic],
        if message.will { ", a will" } else { "" },
        message.qos.bits(),
        message.publisher,
        message.acked.is_some(),
    )
}

/// The payload of a message: its number, and filling.
pub(crate) fn payload_of(message: MessageId, len: usize) -> Vec<u8> {
    let mut payload = format!("m{message}|").into_bytes();
    payload.resize(len.max(payload.len()), b'.');
    payload
}

/// The message that a payload names.
pub(crate) fn message_in(payload: &[u8]) -> Option<MessageId> {
    let head = payload.get(..payload.len().min(24))?;
    let text = std::str::from_utf8(head).ok()?;
    text.strip_prefix('m')?.split_once('|')?.0.parse().ok()
}

#[cfg(test)]
mod tests;
