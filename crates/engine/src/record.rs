//! What is written to a store: records, the one format that the log, recovery, checkpoints and `store dump` share.
//!
//! A shard appends records to [`StoreBatch`](crate::StoreBatch) while it works; a store writes a batch as a whole or not
//! at all. Reading all records again, in the order in which they were written, brings the same state back.
//!
//! ```text
//! record    length (variable integer) | tag (1 byte) | fields, see `encode.rs`: integers are LEB128, texts have their length in front
//! slot      of a session: the low byte of its id; of a topic or group: the hash of its name; a body has none
//! ```
//! Every record that names a session, a topic or a group belongs to a *slot*; [`Record::SlotBegin`] voids all
//! earlier records of its slot, so a slot's checkpoint is simply its state, written again. Bodies belong to the log:
//! a record that begins or ends a reference to one says so ([`Record::body_change`]), and a body without references is
//! garbage. A shard refers only to bodies that it wrote itself, in the same batch or an earlier one. Records of one session
//! that go on from each other may be written as one, a [`RecordRun`]: who reads gets them one by one.
//!
//! **The format is part of what is stored on disks: tags and fields are never changed, only added.**

mod brief;
mod decode;
mod encode;
mod ids;
mod runs;
mod summary;
mod tags;
#[cfg(test)]
mod tests;

use core::num::NonZeroU64;

use martlet_codec::{PacketId, QoS, Version};

use crate::clients::client_slots::slot_of;

pub use brief::Brief;
pub use decode::{RecordError, Records};
pub use ids::Ids;
pub(crate) use runs::encode_bodies;
pub use runs::{RecordRun, RunOf};
pub use summary::BodySummary;

/// Names a session in the store. Never used again while anything stored names it; the low byte is its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// The session number `counter` of a slot.
    #[must_use]
    pub const fn new(counter: u64, slot: u8) -> Self {
        Self(counter << 8 | slot as u64)
    }

    /// The number that was written.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// As it is written.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The counter that it was made from.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.0 >> 8
    }

    /// The slot of its client identifier.
    #[must_use]
    pub const fn slot(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

/// Names a message body in the store. Never used again while anything stored names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BodyId(NonZeroU64);

impl BodyId {
    /// `None` for 0.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0.get()
    }
}

/// A moment in milliseconds since 1970-01-01 00:00 UTC: the time that survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WallTime(pub u64);

/// One change of what has to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A slot's checkpoint begins: nothing written before about this slot counts any more.
    SlotBegin {
        /// The slot.
        slot: u8,
    },
    /// The checkpoint is whole. One without its end is void, as if it had never begun.
    SlotEnd {
        /// The slot.
        slot: u8,
    },
    /// A message, to be referred to.
    Body {
        /// Its name from now on.
        body: BodyId,
        /// What it says.
        message: Body<'a>,
    },
    /// A session begins, or its version or expiry changes; it has a connection now.
    Session {
        /// Its name from now on.
        session: SessionId,
        /// The Client Identifier.
        client_id: &'a str,
        /// The protocol version that it spoke last.
        version: Version,
        /// Seconds that it outlives its connection; `u32::MAX`: for ever.
        expiry_s: u32,
    },
    /// The session has lost its connection.
    Offline {
        /// Which one.
        session: SessionId,
        /// When it ends; `None`: never.
        ends_at: Option<WallTime>,
        /// When its will is due; `None`: it has none that waits.
        will_at: Option<WallTime>,
    },
    /// The session has ended. Its references have been ended by records before this one.
    SessionEnded {
        /// Which one.
        session: SessionId,
    },
    /// The session's will, in place of any other.
    Will {
        /// Whose.
        session: SessionId,
        /// What is published. `expires_at` is not set: see `expiry_s`.
        message: Body<'a>,
        /// Will Delay Interval, in seconds.
        delay_s: u32,
        /// Message Expiry Interval, in seconds from its publication.
        expiry_s: Option<u32>,
    },
    /// The session's will is published, or deleted.
    WillCleared {
        /// Whose.
        session: SessionId,
    },
    /// The session's will is on its way to several shards. If a crash comes before `WillDone`, it goes out again, to
    /// all that have not taken it ([`Record::Taken`]). The session may have ended, or have another will, since.
    WillUnderWay {
        /// Whose.
        session: SessionId,
        /// The publish.
        publish: u64,
        /// What is published.
        message: Body<'a>,
    },
    /// Everybody has it.
    WillDone {
        /// Whose.
        session: SessionId,
        /// The publish.
        publish: u64,
    },
    /// A subscription, in place of one with the same filter.
    Subscribed {
        /// Whose.
        session: SessionId,
        /// The whole filter, `$share/name/` included.
        filter: &'a str,
        /// How.
        options: StoredOptions,
        /// Whether retained messages are still to be sent for it.
        replaying: bool,
    },
    /// A subscription is gone.
    Unsubscribed {
        /// Whose.
        session: SessionId,
        /// The whole filter.
        filter: &'a str,
    },
    /// All retained messages of a subscription have been sent.
    Replayed {
        /// Whose.
        session: SessionId,
        /// The whole filter.
        filter: &'a str,
    },
    /// A message for a session: waiting, or in flight if it has a packet identifier. Begins a reference.
    Queued {
        /// Whose.
        session: SessionId,
        /// Its place in the order of those that wait, rising. It means nothing if the message is in flight from the
        /// start: what is in flight has the order in which that was recorded.
        position: u64,
        /// The message.
        body: BodyId,
        /// How it is delivered.
        terms: StoredTerms<'a>,
        /// Set if it is in flight from the start.
        packet_id: Option<PacketId>,
    },
    /// A waiting message is in flight.
    Sent {
        /// Whose.
        session: SessionId,
        /// Which one.
        position: u64,
        /// The identifier that it was given.
        packet_id: PacketId,
    },
    /// A waiting message is gone unsent: expired, dropped, given back to its group. Ends a reference.
    Dropped {
        /// Whose.
        session: SessionId,
        /// Which one.
        position: u64,
        /// The message.
        body: BodyId,
    },
    /// PUBREC has come: PUBREL may be sent, the message is not needed any more. Ends a reference, but not in a
    /// checkpoint, where it is all that is left of the flow.
    Released {
        /// Whose.
        session: SessionId,
        /// Of the flow.
        packet_id: PacketId,
        /// The message, if it was still held.
        body: Option<BodyId>,
    },
    /// A flow to the client has ended. Ends a reference if the message was still held.
    Finished {
        /// Whose.
        session: SessionId,
        /// Of the flow.
        packet_id: PacketId,
        /// The message, if it was still held.
        body: Option<BodyId>,
    },
    /// A QoS 2 message of this client was taken.
    Received {
        /// Whose.
        session: SessionId,
        /// Of the flow.
        packet_id: PacketId,
        /// Set if other shards have a part in it: names the publish, see [`Record::Taken`].
        publish: Option<u64>,
    },
    /// All receivers in this slot have the message of a publish that several shards have a part in. If the client
    /// sends it again after a crash, because not all of them had theirs, these do not get it a second time.
    Taken {
        /// The slot of the receivers.
        slot: u8,
        /// The publish.
        publish: u64,
    },
    /// PUBREL for it has come.
    Completed {
        /// Whose.
        session: SessionId,
        /// Of the flow.
        packet_id: PacketId,
    },
    /// A topic's retained message. Begins a reference, and ends one if there was another.
    Retained {
        /// Of the topic.
        slot: u8,
        /// The message; it names the topic.
        body: BodyId,
        /// The one before.
        replaces: Option<BodyId>,
    },
    /// A topic has no retained message any more. Ends a reference.
    RetainedCleared {
        /// Which one.
        topic: &'a str,
        /// The message.
        body: BodyId,
    },
    /// A message in the queue of a shared subscription. Begins a reference.
    GroupQueued {
        /// The whole filter, `$share/name/` included.
        group: &'a str,
        /// Its place in the group's order.
        sequence: u64,
        /// The message.
        body: BodyId,
    },
    /// A member has finished it, holds it for good (QoS 2), or it was dropped. Ends a reference.
    GroupDone {
        /// The whole filter.
        group: &'a str,
        /// Which one.
        sequence: u64,
        /// The message.
        body: BodyId,
    },
}

/// A message as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<'a> {
    /// The full topic name.
    pub topic: &'a str,
    /// The encoded properties that every receiver gets unchanged.
    pub shared_properties: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The quality of service at which it was published.
    pub qos: QoS,
    /// Whether it was published with the RETAIN flag.
    pub retain: bool,
    /// When it is worth nothing any more.
    pub expires_at: Option<WallTime>,
}

/// Subscription options as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredOptions {
    /// The highest quality of service to deliver at.
    pub qos: QoS,
    /// The client's own messages are left out.
    pub no_local: bool,
    /// The RETAIN flag is forwarded as it was published.
    pub retain_as_published: bool,
    /// The subscription identifier, 0 if there is none.
    pub subscription_id: u32,
}

/// How one session gets a message, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTerms<'a> {
    /// The quality of service of the delivery: 1 or 2.
    pub qos: QoS,
    /// The RETAIN flag of the delivery.
    pub retain: bool,
    /// The subscription identifiers, each a variable byte integer of the protocol; see [`Ids`].
    pub ids: Ids<'a>,
    /// The shared subscription that gave it to this session, by its whole filter, and its place there.
    pub group: Option<(&'a str, u64)>,
}

impl StoredTerms<'_> {
    /// Without identifiers, and of no group.
    pub(crate) fn bare(qos: QoS, retain: bool) -> Self {
        Self {
            qos,
            retain,
            ids: Ids::default(),
            group: None,
        }
    }
}

/// What a record means for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyChange {
    /// One more refers to it.
    Referred(BodyId),
    /// One less refers to it.
    Let(BodyId),
}

/// Numbers that are made from one count: one for each shard that there may be.
pub(crate) const NUMBERS_PER_COUNT: u64 = crate::config::SHARDS_MAX as u64;

impl Record<'_> {
    /// The slot that the record belongs to; `None` for a body.
    #[must_use]
    pub fn slot(&self) -> Option<u8> {
        match self {
            Self::SlotBegin { slot }
            | Self::SlotEnd { slot }
            | Self::Retained { slot, .. }
            | Self::Taken { slot, .. } => Some(*slot),
            Self::Body { .. } => None,
            Self::Session { session, .. }
            | Self::Offline { session, .. }
            | Self::SessionEnded { session }
            | Self::Will { session, .. }
            | Self::WillCleared { session }
            | Self::WillUnderWay { session, .. }
            | Self::WillDone { session, .. }
            | Self::Subscribed { session, .. }
            | Self::Unsubscribed { session, .. }
            | Self::Replayed { session, .. }
            | Self::Queued { session, .. }
            | Self::Sent { session, .. }
            | Self::Dropped { session, .. }
            | Self::Released { session, .. }
            | Self::Finished { session, .. }
            | Self::Received { session, .. }
            | Self::Completed { session, .. } => Some(session.slot()),
            Self::RetainedCleared { topic: name, .. }
            | Self::GroupQueued { group: name, .. }
            | Self::GroupDone { group: name, .. } => Some(slot_of(name)),
        }
    }

    /// The highest counters of sessions and of *numbers* in the record. After a recovery every shard goes on above
    /// the highest that any record has, whether it still counts or not: [`Shard::restored`](crate::Shard::restored).
    ///
    /// Body ids, a group's sequence numbers and the numbers of publishes are made from one counter:
    /// `counter * 64 + shard`.
    #[must_use]
    pub const fn counters(&self) -> (u64, u64) {
        match *self {
            Self::Session { session, .. } => (session.counter(), 0),
            Self::Body { body, .. } => (0, body.as_u64() / NUMBERS_PER_COUNT),
            Self::GroupQueued { sequence, .. } => (0, sequence / NUMBERS_PER_COUNT),
            Self::Received {
                publish: Some(publish),
                ..
            }
            | Self::Taken { publish, .. }
            | Self::WillUnderWay { publish, .. }
            | Self::WillDone { publish, .. } => (0, publish / NUMBERS_PER_COUNT),
            Self::SlotBegin { .. }
            | Self::SlotEnd { .. }
            | Self::Offline { .. }
            | Self::SessionEnded { .. }
            | Self::Will { .. }
            | Self::WillCleared { .. }
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::Replayed { .. }
            | Self::Queued { .. }
            | Self::Sent { .. }
            | Self::Dropped { .. }
            | Self::Released { .. }
            | Self::Finished { .. }
            | Self::Received { publish: None, .. }
            | Self::Completed { .. }
            | Self::Retained { .. }
            | Self::RetainedCleared { .. }
            | Self::GroupDone { .. } => (0, 0),
        }
    }

    /// The references to bodies that the record begins and ends, in this order: at most one of each.
    #[must_use]
    pub const fn body_change(&self) -> [Option<BodyChange>; 2] {
        match *self {
            Self::Queued { body, .. } | Self::GroupQueued { body, .. } => {
                [Some(BodyChange::Referred(body)), None]
            }
            Self::Retained { body, replaces, .. } => [
                Some(BodyChange::Referred(body)),
                match replaces {
                    Some(old) => Some(BodyChange::Let(old)),
                    None => None,
                },
            ],
            Self::Dropped { body, .. }
            | Self::Released {
                body: Some(body), ..
            }
            | Self::Finished {
                body: Some(body), ..
            }
            | Self::RetainedCleared { body, .. }
            | Self::GroupDone { body, .. } => [None, Some(BodyChange::Let(body))],
            Self::SlotBegin { .. }
            | Self::SlotEnd { .. }
            | Self::Body { .. }
            | Self::Session { .. }
            | Self::Offline { .. }
            | Self::SessionEnded { .. }
            | Self::Will { .. }
            | Self::WillCleared { .. }
            | Self::WillUnderWay { .. }
            | Self::WillDone { .. }
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::Replayed { .. }
            | Self::Sent { .. }
            | Self::Released { body: None, .. }
            | Self::Finished { body: None, .. }
            | Self::Taken { .. }
            | Self::Received { .. }
            | Self::Completed { .. } => [None, None],
        }
    }
}
