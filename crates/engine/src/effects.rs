//! What a shard wants done: filled by its events, carried out by the driver once per tick.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::Version;

use crate::collections::slab::Key;
use crate::peering::peers::PeerMessage;
use crate::record::{Body, BodyId, Record, RecordRun, encode_bodies};
use crate::report::CloseReport;
use crate::sending::outbox::Outbox;

/// Names a connection of one shard. Dense and reused; the generation tells the users of one index apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(crate) Key);

impl ConnId {
    /// A small number, unique among the open connections of the shard: a driver may index a `Vec` with it.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.index as usize
    }

    /// How often the index has been used before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0.generation.get()
    }
}

/// The effects of one tick. Reused: the driver empties every list.
#[derive(Debug)]
pub struct Effects {
    /// Connections whose outbox got bytes, each once until the driver reports
    /// [`Shard::on_flushed`](crate::Shard::on_flushed) for it.
    pub dirty: Vec<ConnId>,
    /// Connections that have ended: write the farewell as far as the peer takes it, then close the socket.
    pub closed: Vec<Closed>,
    /// Connections that may be read again.
    pub resumed: Vec<ConnId>,
    /// Connections that live on another shard.
    pub handovers: Vec<Handover>,
    /// Messages to the other shards, by shard number: one batch each.
    pub peers: Vec<Vec<PeerMessage>>,
    /// Questions to the authenticator; answered by [`Shard::on_verdict`](crate::Shard::on_verdict).
    pub auth: Vec<AuthQuestion>,
    /// Clients that were accepted, for the log.
    pub connected: Vec<Connected>,
    /// What has to be stored: give it to the store with [`StoreBatch::take`] before the messages to other shards leave.
    pub store: StoreBatch,
    /// Bodies to be read back from the store; answered by [`Shard::on_bodies`](crate::Shard::on_bodies), in any order.
    pub wanted_bodies: Vec<BodyId>,
}

impl Effects {
    /// Empty effects for a process with this many shards.
    #[must_use]
    pub fn new(shard_count: usize) -> Self {
        let mut peers = Vec::new();
        peers.resize_with(shard_count, Vec::new);
        Self {
            dirty: Vec::new(),
            closed: Vec::new(),
            resumed: Vec::new(),
            handovers: Vec::new(),
            peers,
            auth: Vec::new(),
            connected: Vec::new(),
            store: StoreBatch::new(),
            wanted_bodies: Vec::new(),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dirty.is_empty()
            && self.closed.is_empty()
            && self.resumed.is_empty()
            && self.handovers.is_empty()
            && self.auth.is_empty()
            && self.connected.is_empty()
            && self.store.is_empty()
            && self.wanted_bodies.is_empty()
            && self.peers.iter().all(Vec::is_empty)
    }

    /// Puts a message into the batch for another shard.
    pub(crate) fn send(&mut self, shard: usize, message: PeerMessage) {
        if let Some(batch) = self.peers.get_mut(shard) {
            batch.push(message);
        }
    }
}

/// The records of one tick, to be stored as a whole or not at all.
///
/// Batches are numbered in the order in which they are taken. What a shard does only when a record is stable waits for
/// the number of the batch that the record is in: [`Shard::on_store_done`](crate::Shard::on_store_done).
#[derive(Debug)]
pub struct StoreBatch {
    records: Vec<u8>,
    ticket: u64,
    /// How often something had no record, because an earlier one said it already, which is not stable yet.
    said_before: usize,
}

/// The number of a batch. A batch is stable when all before it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreTicket(pub u64);

impl StoreBatch {
    const fn new() -> Self {
        Self {
            records: Vec::new(),
            ticket: 1,
            said_before: 0,
        }
    }

    /// The number that the batch being filled will have.
    #[must_use]
    pub const fn ticket(&self) -> StoreTicket {
        StoreTicket(self.ticket)
    }

    /// Whether nothing has to be stored.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The newest batch that has anything in it. When it is stable, so is every record so far.
    pub(crate) const fn newest(&self) -> StoreTicket {
        if self.records.is_empty() {
            StoreTicket(self.ticket - 1)
        } else {
            self.ticket()
        }
    }

    /// Rises with each record, and with whatever is as good as one. Who finds it higher than before waits for the
    /// [`newest`](Self::newest) batch.
    pub(crate) const fn progress(&self) -> usize {
        self.records.len() + self.said_before
    }

    /// Something changes nothing, but only because of an earlier record that a crash could still undo.
    pub(crate) const fn said_before(&mut self) {
        self.said_before += 1;
    }

    /// Appends a record.
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        record.encode(&mut self.records);
    }

    /// Appends several records that are written as one.
    pub(crate) fn push_run(&mut self, run: &RecordRun) {
        run.encode(&mut self.records);
    }

    /// Appends the records of bodies that are as this one but for name and payload.
    pub(crate) fn push_bodies<'a>(
        &mut self,
        like: &Body<'_>,
        bodies: impl Iterator<Item = (BodyId, &'a [u8])>,
    ) {
        encode_bodies(like, bodies, &mut self.records);
    }

    /// The batch and its number, if there is anything in it; the next one begins in `empty`, a buffer to be reused.
    pub fn take(&mut self, mut empty: Vec<u8>) -> Option<(StoreTicket, Vec<u8>)> {
        if self.records.is_empty() {
            return None;
        }
        empty.clear();
        let ticket = self.ticket();
        self.ticket += 1;
        Some((ticket, core::mem::replace(&mut self.records, empty)))
    }
}

/// A connection that has ended.
#[derive(Debug)]
pub struct Closed {
    /// Which one; the shard knows it no more.
    pub conn: ConnId,
    /// What was not written yet, the last DISCONNECT or CONNACK included.
    pub farewell: Outbox,
    /// Who and why.
    pub report: CloseReport,
}

/// A connection whose client lives on another shard: it moves, with every byte not consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover {
    /// Which one; this shard knows it no more.
    pub conn: ConnId,
    /// The shard that opens it anew.
    pub to: usize,
}

/// A client that was accepted.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its connection.
    pub conn: ConnId,
    /// Its client identifier, assigned or its own.
    pub client_id: Arc<str>,
    /// The protocol version it speaks.
    pub version: Version,
    /// Whether it found a session.
    pub session_present: bool,
    /// The Keep Alive in force, in seconds.
    pub keep_alive_s: u16,
}

/// Names a question to the authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthTicket(pub(crate) ConnId, pub(crate) u32);

impl AuthTicket {
    /// The connection that waits for the answer.
    #[must_use]
    pub const fn conn(self) -> ConnId {
        self.0
    }
}

/// A question to the authenticator, with everything it needs, by value.
#[derive(Debug, Clone)]
pub struct AuthQuestion {
    /// To be given back with the answer.
    pub ticket: AuthTicket,
    /// What the client wants.
    pub kind: AuthKind,
    /// The client identifier.
    pub client_id: Box<str>,
    /// The user name of CONNECT.
    pub user_name: Option<Box<str>>,
    /// The password of CONNECT.
    pub password: Option<Box<[u8]>>,
    /// The Authentication Method of the connection.
    pub method: Option<Box<str>>,
    /// The Authentication Data of this packet.
    pub data: Option<Box<[u8]>>,
}

/// Where in an authentication a question arises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKind {
    /// CONNECT has arrived.
    Connect,
    /// AUTH 0x18 has arrived, before CONNACK or during a re-authentication.
    Continue,
    /// AUTH 0x19 has arrived on an accepted connection.
    Reauthenticate,
}

/// An authenticator's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The client is who it says; data for CONNACK or the closing AUTH.
    Accept {
        /// Authentication Data for the client.
        data: Option<Box<[u8]>>,
    },
    /// One more exchange: AUTH 0x18 with this data.
    Challenge {
        /// Authentication Data for the client.
        data: Option<Box<[u8]>>,
    },
    /// Refused, with the reason for CONNACK or DISCONNECT.
    Refuse {
        /// A reason code of 0x80 or more that the packet allows; instead of any other it names 0x87 (not authorized).
        reason: martlet_codec::ReasonCode,
    },
}
