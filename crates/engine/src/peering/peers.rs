//! What shards say to each other. Between two shards messages arrive in the order in which they were sent;
//! nothing is assumed about the order between different pairs.
//!
//! A shard that owns something itself sends the same messages to itself, so one shard and many run the same code.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::collections::slab::Key;
use crate::grouping::GroupJoin;
use crate::message::{Kept, Message};
use crate::peering::packing::Pack;
use crate::peering::parts::Ask;
use crate::record::BodyId;
use crate::routing::subscriptions::SubscriptionOptions;

/// A message from one shard to another. Opaque to drivers: they carry batches of it.
#[derive(Debug)]
pub struct PeerMessage(pub(crate) Peer);

impl PeerMessage {
    /// The memory that it holds while it is under way, in bytes, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        let held = match &self.0 {
            Peer::Publish { message, .. }
            | Peer::RelayRequest { message, .. }
            | Peer::Relayed { message, .. }
            | Peer::GroupOffer { message, .. } => message.size(),
            Peer::RetainedChunk { messages, .. } => messages.iter().map(Message::size).sum(),
            Peer::GroupReturn { messages, .. } => {
                messages.iter().map(|(_, message)| message.size()).sum()
            }
            Peer::Packed(pack) => pack.memory(),
            Peer::Restored { doubts } => doubts.len() * size_of::<u64>(),
            Peer::Stored { .. }
            | Peer::Settled { .. }
            | Peer::RelayMark { .. }
            | Peer::RetainedRequest { .. }
            | Peer::GroupJoin { .. }
            | Peer::GroupTaken { .. }
            | Peer::GroupLeave { .. }
            | Peer::GroupOnline { .. }
            | Peer::GroupOffline { .. }
            | Peer::GroupDone { .. }
            | Peer::GroupLetGo { .. }
            | Peer::GroupCredit { .. } => 0,
        };
        size_of::<Self>() + held
    }

    /// How many messages it stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        if let Peer::Packed(pack) = &self.0 {
            return pack.len();
        }
        1
    }
}

impl From<Peer> for PeerMessage {
    fn from(peer: Peer) -> Self {
        Self(peer)
    }
}

/// What a member needs to know of a message that its group has in its store.
#[derive(Debug)]
pub(crate) struct StoredOffer {
    /// The group's whole filter.
    pub(crate) filter: Arc<str>,
    /// The body, of use on the group's own shard only.
    pub(crate) body: BodyId,
}

/// How a message of a group with a store ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GroupEnd {
    /// This member has finished it, and has room for one more.
    Finished(Key),
    /// This member holds it for good, and sends it when it hears that the group has let it go.
    Held(Key),
    /// Its member's session ends, or has had it for good already.
    Over,
}

/// The vocabulary.
#[derive(Debug)]
pub(crate) enum Peer {
    /// Small messages, in the order in which they were sent; instead of `Publish` and `GroupOffer`.
    Packed(Box<Pack>),
    /// A message for whoever matches over there.
    Publish { message: Message, ask: Option<Ask> },
    /// To the topic's owner: retain this, and give it on (see `relay.rs`).
    RelayRequest {
        message: Message,
        sequence: u64,
        targets: u64,
        ask: Option<Ask>,
        /// The shards that answer, if there is somebody to ask for that.
        asked: u64,
    },
    /// To the publishing shard: this shard's part of the publish is stored.
    Stored { publish: NonZeroU64, count: u32 },
    /// From the publishing shard: the publish does not come again.
    Settled { publish: u64 },
    /// The sender is restored, and has said everything that it has to say about that. These publishes may come again.
    Restored { doubts: Vec<u64> },
    /// From the publishing shard: in my order, this is the place of a message that comes through its owner.
    RelayMark { topic_hash: u64, sequence: u64 },
    /// From the owner: a retained message of shard `origin`.
    Relayed {
        message: Message,
        origin: usize,
        sequence: u64,
        /// Whether `origin` knew of a subscription over there, and sends a mark.
        marked: bool,
        ask: Option<Ask>,
    },
    /// To a shard that may hold retained messages: the next chunk, please.
    RetainedRequest {
        session: Key,
        replay: u64,
        filter: Arc<str>,
        after: Option<Box<str>>,
    },
    /// The answer. `next`: where to go on, `None` at the end.
    RetainedChunk {
        session: Key,
        replay: u64,
        messages: Vec<Message>,
        next: Option<Box<str>>,
        /// Whether a topic that had a retained message, and is not there, can only have been cleared.
        tells_clearings: bool,
    },
    /// To a group's owner: a session subscribes.
    GroupJoin { filter: Arc<str>, join: GroupJoin },
    /// A join or a leave is in force: what the owner gives out from now on, it gives to the members that there are now.
    GroupTaken { ticket: Key },
    /// A session has unsubscribed or ended. The owner answers if somebody waits for that ([`Key::NOBODY`]: nobody).
    GroupLeave {
        filter: Arc<str>,
        session: Key,
        ticket: Key,
    },
    /// A member is back, with this much credit.
    GroupOnline {
        filter: Arc<str>,
        session: Key,
        window: u32,
        /// Whether its session outlives its connections.
        durable: bool,
    },
    /// A member has lost its connection.
    GroupOffline { filter: Arc<str>, session: Key },
    /// What a member did not acknowledge or was never sent.
    GroupReturn {
        group: Key,
        messages: Vec<(u64, Kept)>,
    },
    /// To a member's shard: this message is yours.
    GroupOffer {
        session: Key,
        group: Key,
        sequence: u64,
        message: Message,
        options: SubscriptionOptions,
        /// Set if the group has it in its store.
        stored: Option<Box<StoredOffer>>,
    },
    /// To a group's owner: this message is not the group's any longer. Instead of a credit for those that the group has in
    /// its store.
    GroupDone {
        filter: Arc<str>,
        sequence: u64,
        end: GroupEnd,
    },
    /// To the shard of a member that holds a message for good: the group has let it go. In the order of what was asked.
    GroupLetGo { session: Key },
    /// A member has finished this many messages.
    GroupCredit {
        group: Key,
        session: Key,
        count: u32,
    },
}
