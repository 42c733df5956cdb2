//! Bytes, batches, and how they move: in any portions, as late as chance wants, in order.

use std::sync::Arc;

use martlet_engine::{ConnId, PeerMessage, TransportClose};

use super::{Failure, World, fail};
use crate::ledger::LinkId;
use crate::link::{Link, Owner, Place};

impl World {
    /// Some of a connection's bytes arrive at its shard; or its end does.
    pub(crate) fn bytes_go_up(&mut self, id: LinkId) {
        let now = self.shard_now();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match link.place {
            Place::Closed => {
                link.up.clear();
                self.forget_if_over(id);
            }
            Place::Backlog(shard) | Place::Moving(shard) => {
                match self.shards[shard].on_open(now, &mut self.effects[shard]) {
                    Some(conn) => {
                        link.place = Place::Open(shard, conn);
                        self.conns.insert((shard, conn), id);
                    }
                    None => link.place = Place::Closed,
                }
                self.harvest(shard);
                self.present(id);
            }
            Place::Open(shard, conn) => {
                if !self.shards[shard].wants_read(conn) {
                    return;
                }
                if !link.up.is_empty() {
                    let count = self.rng.portion(link.up.len());
                    link.unread.extend(link.up.drain(..count));
                    self.present(id);
                } else if link.abandoned && !link.silent {
                    let cause = if link.broken {
                        TransportClose::Error
                    } else {
                        TransportClose::Eof
                    };
                    self.shards[shard].on_close(conn, cause, now, &mut self.effects[shard]);
                    self.harvest(shard);
                    self.forget_if_over(id);
                }
            }
        }
    }

    /// Gives a shard all bytes of a connection that it has not consumed.
    pub(super) fn present(&mut self, id: LinkId) {
        let now = self.shard_now();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Place::Open(shard, conn) = link.place else {
            return;
        };
        let unread = core::mem::take(&mut link.unread);
        if unread.is_empty() {
            return;
        }
        // Half of it is lent, as the driver does with large packets: what is written then must be the same.
        let used = if unread.len().is_multiple_of(2) {
            self.shards[shard].on_bytes(conn, &unread, now, &mut self.effects[shard])
        } else {
            let lent = Arc::new(unread.clone());
            self.shards[shard].on_lent_bytes(conn, &lent, now, &mut self.effects[shard])
        };
        self.trace(2, used, &[]);
        self.harvest(shard);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.unread = unread[used..].to_vec();
        if link.place != Place::Open(shard, conn) {
            return;
        }
        link.processed += used as u64;
        let processed = link.processed;
        if let Some(waiting) = self.unprocessed.get_mut(&id) {
            while waiting.front().is_some_and(|(end, _)| *end <= processed) {
                if let Some((_, message)) = waiting.pop_front() {
                    self.ledger.messages[message].processed = true;
                }
            }
        }
    }

    /// Some of what the server has written is read by its client.
    pub(crate) fn bytes_go_down(&mut self, id: LinkId) -> Result<(), Failure> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        if link.stalled && !link.abandoned {
            return Ok(());
        }
        let reader = match link.owner {
            Owner::Client(at) if self.clients[at].link == Some(id) => Some(at),
            Owner::Client(_) | Owner::Hostile(_) => None,
        };
        if !link.down.is_empty() {
            let count = self.rng.portion(link.down.len());
            let bytes: Vec<u8> = link.down.drain(..count).collect();
            self.trace(3, id, &bytes);
            if let Some(at) = reader {
                self.clients[at]
                    .on_bytes(&bytes, &mut self.rng, &mut self.ledger)
                    .map_err(|what| fail("protocol", what))?;
                self.hand_over_wire(at);
            }
        }
        let over = self.links.get(&id).is_some_and(Link::is_over);
        if let Some(at) = reader.filter(|_| over) {
            self.clients[at].forget_connection(&mut self.ledger);
        }
        self.forget_if_over(id);
        Ok(())
    }

    pub(super) fn forget_if_over(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(Link::is_over) {
            let link = self.links.remove(&id);
            self.terms.remove(&id);
            self.unprocessed.remove(&id);
            // Its client reads the end of the connection.
            if let Some(Owner::Client(at)) = link.map(|link| link.owner)
                && self.clients[at].link == Some(id)
            {
                self.clients[at].forget_connection(&mut self.ledger);
            }
        }
    }

    pub(super) fn some_shard_writes(&mut self) {
        let shard = self.rng.below(self.shards.len());
        let all: Vec<ConnId> = self.pending_writes[shard].iter().copied().collect();
        let everything = self.rng.percent(40);
        let one = self.rng.below(all.len());
        for (at, conn) in all.into_iter().enumerate() {
            if everything || at == one {
                self.write(shard, conn);
            }
        }
    }

    /// Writes some of a connection's outbox, as far as the network takes it.
    pub(crate) fn write(&mut self, shard: usize, conn: ConnId) -> bool {
        let link = self.conns.get(&(shard, conn)).copied();
        let link = link.and_then(|id| self.links.get_mut(&id));
        let (Some(link), Some(outbox)) = (link, self.shards[shard].outbox(conn)) else {
            self.pending_writes[shard].remove(&conn);
            return false;
        };
        let available = outbox.writable_len().min(link.room());
        if available == 0 {
            if outbox.writable_len() == 0 {
                self.pending_writes[shard].remove(&conn);
            }
            return false;
        }
        let count = self.rng.portion(available);
        let bytes = take(outbox, count);
        if outbox.writable_len() == 0 {
            self.pending_writes[shard].remove(&conn);
        }
        if !link.abandoned {
            link.down.extend_from_slice(&bytes);
        }
        let now = self.shard_now();
        self.shards[shard].on_flushed(conn, now, &mut self.effects[shard]);
        self.harvest(shard);
        true
    }

    pub(crate) fn write_all(&mut self) -> bool {
        let mut moved = false;
        for shard in 0..self.shards.len() {
            for conn in self.pending_writes[shard].clone() {
                moved |= self.write(shard, conn);
            }
        }
        moved
    }

    /// Now and then a mailbox is left alone for long, much longer than clients need for a round trip.
    pub(super) fn hold_some_mail(&mut self) {
        let count = self.shards.len();
        let pair = (self.rng.below(count), self.rng.below(count));
        match self.rng.below(40) {
            0 => _ = self.held_mail.insert(pair),
            1 | 2 => _ = self.held_mail.remove(&pair),
            _ => {}
        }
    }

    pub(crate) fn release_mail(&mut self) {
        self.held_mail.clear();
    }

    /// Some messages from one shard arrive at another.
    pub(crate) fn some_mail_arrives(&mut self) {
        let mut full: Vec<(usize, usize)> = self.full_mailboxes();
        full.retain(|pair| !self.held_mail.contains(pair));
        if full.is_empty() {
            return;
        }
        let (from, to) = *self.rng.pick(&full);
        let count = self.rng.portion(self.mail[from][to].len());
        let mut batch: Vec<PeerMessage> = self.mail[from][to].drain(..count).collect();
        self.trace(4, from * 100 + to, &count.to_le_bytes());
        let now = self.shard_now();
        self.shards[to].on_peer_batch(from, &mut batch, now, &mut self.effects[to]);
        self.harvest(to);
    }

    pub(crate) fn full_mailboxes(&self) -> Vec<(usize, usize)> {
        let count = self.shards.len();
        (0..count * count)
            .map(|n| (n / count, n % count))
            .filter(|(from, to)| !self.mail[*from][*to].is_empty())
            .collect()
    }

    /// A connection that was parked is read again.
    pub(crate) fn resume_one(&mut self) {
        let Some((shard, conn)) = self.resumed.pop_front() else {
            return;
        };
        if let Some(id) = self.conns.get(&(shard, conn)).copied() {
            self.present(id);
        }
    }

    pub(crate) fn has_resumed(&self) -> bool {
        !self.resumed.is_empty()
    }
}

/// The first `count` bytes of an outbox.
pub(crate) fn take(outbox: &mut martlet_engine::Outbox, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        let mut slices: [&[u8]; 4] = [&[]; 4];
        let filled = outbox.io_slices(&mut slices);
        let before = bytes.len();
        for slice in &slices[..filled] {
            let wanted = (count - bytes.len()).min(slice.len());
            bytes.extend_from_slice(&slice[..wanted]);
        }
        let got = bytes.len() - before;
        outbox.advance(got);
    }
    bytes
}
