//! Carrying out what the shards want done.

use martlet_engine::{CloseCause, Closed, Connected};

use super::World;
use super::traffic::take;
use crate::ledger::Event;
use crate::link::{Owner, Place};

impl World {
    /// Carries out what a shard wants done.
    pub(super) fn harvest(&mut self, shard: usize) {
        self.hand_over_batch(shard);
        let fx = &mut self.effects[shard];
        let wanted = core::mem::take(&mut fx.wanted_bodies);
        if let Some(storage) = &mut self.storage {
            storage.want(shard, wanted);
        }
        let connected = core::mem::take(&mut fx.connected);
        let closed = core::mem::take(&mut fx.closed);
        let handovers = core::mem::take(&mut fx.handovers);
        let questions = core::mem::take(&mut fx.auth);
        self.pending_writes[shard].extend(fx.dirty.drain(..));
        self.resumed
            .extend(fx.resumed.drain(..).map(|conn| (shard, conn)));
        for (to, batch) in fx.peers.iter_mut().enumerate() {
            self.mail[shard][to].extend(batch.drain(..));
        }
        for question in questions {
            self.ask_authenticator(shard, question);
        }
        let (later, first): (Vec<_>, Vec<_>) = closed
            .into_iter()
            .partition(|closed| connected.iter().any(|c| c.conn == closed.conn));
        for closed in first {
            self.on_closed(shard, closed);
        }
        for connected in connected {
            self.on_connected(shard, &connected);
        }
        for closed in later {
            self.on_closed(shard, closed);
        }
        for handover in handovers {
            if let Some(id) = self.conns.remove(&(shard, handover.conn))
                && let Some(link) = self.links.get_mut(&id)
            {
                link.place = Place::Moving(handover.to);
            }
        }
    }

    pub(super) fn on_connected(&mut self, shard: usize, connected: &Connected) {
        let Some(id) = self.conns.get(&(shard, connected.conn)).copied() else {
            return;
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.accepted = true;
        let actor = match link.owner {
            Owner::Client(at) => Some(at),
            Owner::Hostile(_) => None,
        };
        if let Some(at) = actor.filter(|_| !connected.session_present) {
            self.clients[at].session_was_lost();
        }
        if let Some(session) = actor.and_then(|at| self.ledger.actors[at].session) {
            let session = &mut self.ledger.sessions[session];
            if !connected.session_present {
                session.outlives_s = None;
            }
        }
        self.ledger.events.push(Event::Accepted {
            shard,
            conn: connected.conn,
            client: connected.client_id.to_string(),
            link: id,
            terms: self.terms.get(&id).map(|(terms, _)| terms.clone()),
            present: connected.session_present,
        });
    }

    pub(super) fn on_closed(&mut self, shard: usize, mut closed: Closed) {
        self.pending_writes[shard].remove(&closed.conn);
        let Some(id) = self.conns.remove(&(shard, closed.conn)) else {
            return;
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.place = Place::Closed;
        self.ledger.closed_at.insert(id, self.ledger.now);
        let count = closed.farewell.writable_len().min(link.room());
        let all = closed.farewell.writable_len();
        let farewell = take(&mut closed.farewell, all);
        let bytes = &farewell[..count];
        if !link.abandoned {
            link.down.extend_from_slice(bytes);
        }
        let actor = match link.owner {
            Owner::Client(at) => Some(at),
            Owner::Hostile(_) => None,
        };
        if link.accepted
            && let Some(session) = actor.and_then(|at| self.ledger.actors[at].session)
        {
            let session = &mut self.ledger.sessions[session];
            session.offline_since.get_or_insert(self.ledger.now);
        }
        let accepted = self.links.get(&id).is_some_and(|link| link.accepted);
        let client = closed.report.client_id.filter(|_| accepted);
        let by_client = matches!(closed.report.cause, CloseCause::ClientDisconnected(_));
        let expiry_s = self.terms.get(&id).and_then(|(_, expiry_s)| *expiry_s);
        self.ledger.events.push(Event::Closed {
            shard,
            conn: closed.conn,
            actor,
            client: client.map(|id| id.to_string()),
            expiry_s: expiry_s.filter(|_| by_client),
            version: closed.report.version,
            farewell,
            cause: closed.report.cause,
        });
    }
}
