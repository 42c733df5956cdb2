//! A simulated transport connection: bytes under way in both directions.

use martlet_engine::ConnId;

use crate::ledger::LinkId;

/// Who is at the client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Client(usize),
    Hostile(usize),
}

/// Where the server's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not accepted yet; this shard will.
    Backlog(usize),
    /// On its way to another shard, which will open it anew.
    Moving(usize),
    /// A shard has it.
    Open(usize, ConnId),
    /// The server has closed it.
    Closed,
}

/// One connection, from the client's `connect` to the last end closed.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) owner: Owner,
    pub(crate) place: Place,
    /// Sent by the client, not arrived.
    pub(crate) up: Vec<u8>,
    /// Arrived, not consumed by the shard.
    pub(crate) unread: Vec<u8>,
    /// Bytes that the shard has consumed while the connection stayed open: those are dealt with.
    pub(crate) processed: u64,
    /// Written by the server, not read by the client.
    pub(crate) down: Vec<u8>,
    /// The client has closed its end (or its host is gone).
    pub(crate) abandoned: bool,
    /// Its end does not reach the server: the host is gone, or the network in between.
    pub(crate) silent: bool,
    /// It ends with an error.
    pub(crate) broken: bool,
    /// The client does not read.
    pub(crate) stalled: bool,
    /// Bytes that the network holds towards the client before the server's writes stop.
    pub(crate) window: usize,
    /// The server has accepted its CONNECT.
    pub(crate) accepted: bool,
    /// The server has to close it: its client breaks a rule.
    pub(crate) must_close: bool,
}

impl Link {
    pub(crate) const fn new(id: LinkId, owner: Owner, shard: usize, window: usize) -> Self {
        Self {
            id,
            owner,
            place: Place::Backlog(shard),
            up: Vec::new(),
            unread: Vec::new(),
            processed: 0,
            down: Vec::new(),
            abandoned: false,
            silent: false,
            broken: false,
            stalled: false,
            window,
            accepted: false,
            must_close: false,
        }
    }

    /// How much the server may write now.
    pub(crate) const fn room(&self) -> usize {
        if self.abandoned {
            return usize::MAX;
        }
        self.window.saturating_sub(self.down.len())
    }

    /// Whether the last end is closed and nothing is left to read.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.place, Place::Closed) && (self.abandoned || self.down.is_empty())
    }
}
