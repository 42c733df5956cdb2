//! What happens in a run, as the invariants see it.

use martlet_codec::{ReasonCode, Version};
use martlet_engine::{CloseCause, ConnId};

use super::{ActorId, LinkId, MessageId, Receipt};

/// What a CONNECT asks for.
#[derive(Debug, Clone)]
pub(crate) struct ConnectTerms {
    /// Protocol version.
    pub(crate) version: Version,
    /// Clean Start.
    pub(crate) clean: bool,
    /// Keep Alive.
    pub(crate) keep_alive_s: u16,
    /// Session Expiry Interval.
    pub(crate) expiry_s: Option<u32>,
    /// Receive Maximum.
    pub(crate) receive_maximum: Option<u16>,
    /// Maximum Packet Size.
    pub(crate) packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum.
    pub(crate) alias_maximum: Option<u16>,
    /// Whether it names an Authentication Method.
    pub(crate) method: bool,
    /// The will and its delay in seconds.
    pub(crate) will: Option<(MessageId, u32)>,
}

/// What an authenticator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Come in.
    Accept,
    /// Prove it.
    Challenge,
    /// Go away, for this reason.
    Refuse(ReasonCode),
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A legal client has sent CONNECT.
    ConnectSent(LinkId, ConnectTerms),
    /// A client has sent a message, perhaps again.
    Sent(MessageId),
    /// A client has read a whole packet of this length.
    Arrived(LinkId, usize),
    /// A client has read a PUBLISH.
    Received(Receipt),
    /// A client has sent what ends the flow of this identifier: PUBACK, PUBCOMP, a PUBREC of 0x80 or more.
    FlowEnded(LinkId, u16),
    /// A shard has accepted a client.
    Accepted {
        /// Which shard.
        shard: usize,
        /// Its connection.
        conn: ConnId,
        /// The client's identifier.
        client: String,
        /// How the world calls that connection: later ones have higher numbers.
        link: LinkId,
        /// Its CONNECT, if it is a legal client.
        terms: Option<ConnectTerms>,
        /// What CONNACK says.
        present: bool,
    },
    /// A shard has closed a connection.
    Closed {
        /// Which shard.
        shard: usize,
        /// Its connection.
        conn: ConnId,
        /// Who it was, if it was a legal client.
        actor: Option<ActorId>,
        /// Its client identifier, if it was accepted.
        client: Option<String>,
        /// The Session Expiry Interval of the client's DISCONNECT, if that is why.
        expiry_s: Option<u32>,
        /// What it speaks, if its CONNECT was read.
        version: Option<Version>,
        /// What was still to be written to it.
        farewell: Vec<u8>,
        /// Why.
        cause: CloseCause,
    },
    /// A shard has asked the authenticator.
    Asked {
        /// Which shard.
        shard: usize,
        /// About which connection.
        conn: ConnId,
    },
    /// The authenticator has answered.
    Answered {
        /// Which shard.
        shard: usize,
        /// About which connection.
        conn: ConnId,
        /// The connection is there, and waits for this answer.
        is_current: bool,
        /// What it has said.
        answer: Answer,
    },
    /// The process is gone, and all connections with it.
    Crashed,
    /// Another process has found what is stored: `Ledger::found`.
    Recovered,
    /// A rule was broken on a hostile connection, and the server has not closed it when all was quiet.
    NotClosed(LinkId),
}
