//! Clients, legal and hostile, and the faults that strike them.

use martlet_codec::QoS;

use super::{Failure, World};
use crate::client::Wish;
use crate::ledger::{ConnectTerms, Event, LinkId};
use crate::link::{Link, Owner, Place};
use crate::setup::RUSH_PARTS;

impl World {
    pub(super) fn client_acts(&mut self) -> Result<(), Failure> {
        let mut at = self.rng.below(self.clients.len() - 1);
        if self.clients[at].rushes.is_some() && self.rng.percent(45) {
            at = self.rng.between(*RUSH_PARTS.start(), *RUSH_PARTS.end());
        }
        let client = &mut self.clients[at];
        if client.online {
            if client.act(&mut self.rng, &mut self.ledger) == Wish::Close {
                self.close_behind_disconnect(at);
            }
        } else if client.has_duties() {
            client.do_duty(0, &mut self.ledger);
        } else if client.link.is_none() && (client.steady || self.rng.percent(30)) {
            let terms = client.choose_terms(&mut self.rng, &mut self.ledger);
            self.connect(at, terms);
        }
        self.hand_over_wire(at);
        self.observe()
    }

    pub(super) fn close_behind_disconnect(&mut self, at: usize) {
        let expiry_s = self.clients[at].disconnect_expiry_s;
        let link = self.clients[at].link.expect("it is online");
        if let Some((_, disconnect)) = self.terms.get_mut(&link) {
            *disconnect = expiry_s;
        }
        self.hand_over_wire(at);
        self.clients[at].forget_connection(&mut self.ledger);
        self.abandon(link, false);
    }

    /// Opens a connection for a legal client and sends CONNECT on it.
    pub(crate) fn connect(&mut self, at: usize, terms: ConnectTerms) {
        let link = self.open_link(Owner::Client(at));
        self.clients[at].connect(link, terms, &mut self.ledger);
        let terms = self.clients[at].terms.clone().expect("just set");
        self.terms.insert(link, (terms, None));
        self.hand_over_wire(at);
    }

    pub(crate) fn open_link(&mut self, owner: Owner) -> LinkId {
        let id = self.next_link;
        self.next_link += 1;
        let shard = self.rng.below(self.shards.len());
        let window = *self.rng.pick(&[64, 700, 1 << 16]);
        self.links.insert(id, Link::new(id, owner, shard, window));
        id
    }

    /// Gives what a client has written to the network.
    pub(crate) fn hand_over_wire(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let wire = core::mem::take(&mut client.wire);
        let Some(id) = client.link.filter(|_| !wire.is_empty()) else {
            return;
        };
        client.sent_bytes += wire.len() as u64;
        for event in &self.ledger.events {
            if let Event::Sent(message) = event {
                let fact = &self.ledger.messages[*message];
                if fact.qos == QoS::AtMostOnce && fact.end.0 == id && !fact.processed {
                    let waiting = self.unprocessed.entry(id).or_default();
                    if waiting.back().is_none_or(|(_, last)| last != message) {
                        waiting.push_back((fact.end.1, *message));
                    }
                }
            }
        }
        self.trace(1, id, &wire);
        if let Some(link) = self.links.get_mut(&id) {
            link.up.extend_from_slice(&wire);
        }
    }

    pub(super) fn hostile_acts(&mut self) {
        if self.hostiles.is_empty() {
            return;
        }
        let at = self.rng.below(self.hostiles.len());
        let gone = self.hostiles[at].link.is_none_or(|link| {
            self.links
                .get(&link)
                .is_none_or(|link| link.place == Place::Closed)
        });
        if gone {
            let link = self.open_link(Owner::Hostile(at));
            self.hostiles[at].begin(link, &mut self.rng);
        } else if self.rng.one_in(25) {
            // Had enough.
            if let Some(link) = self.hostiles[at].link.take() {
                self.abandon(link, false);
            }
            return;
        }
        let (bytes, must_close, stalled) =
            self.hostiles[at].act(&mut self.rng, &self.ledger.limits);
        let link = self.hostiles[at]
            .link
            .and_then(|id| self.links.get_mut(&id));
        if let Some(link) = link {
            link.up.extend_from_slice(&bytes);
            link.must_close |= must_close;
            link.stalled |= stalled;
        }
    }

    /// The client closes a connection behind what it has sent; `silently`: the server does not get to know.
    pub(crate) fn abandon(&mut self, id: LinkId, silently: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            link.abandoned = true;
            link.silent = silently;
            link.down.clear();
        }
        self.forget_if_over(id);
    }

    /// Something happens to a client's connection that it did not ask for.
    pub(super) fn fault(&mut self) {
        let at = self.rng.below(self.clients.len() - 1);
        let client = &self.clients[at];
        let Some(id) = client.link else { return };
        let (steady, online) = (client.steady, client.online);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if self.rng.one_in(3) {
            link.stalled = !link.stalled;
            return;
        }
        // A CONNECT that may still arrive would be a rival of the next one.
        let undecided = !online && !link.accepted && link.place != Place::Closed;
        if steady || (undecided && matches!(link.place, Place::Moving(_))) {
            return;
        }
        // Who asks for an old session, and tries again while the authenticator thinks, cannot know whether the first attempt
        // has begun a new one (see `session_was_lost`).
        let clean = self.terms.get(&id).is_some_and(|(terms, _)| terms.clean);
        if undecided && self.setup.asks && !clean {
            return;
        }
        let kind = if undecided { 0 } else { self.rng.below(3) };
        if kind == 0 {
            // Both directions lose what is under way.
            link.up.clear();
            link.unread.clear();
            link.broken = true;
        }
        self.clients[at].forget_connection(&mut self.ledger);
        self.abandon(id, kind == 2);
    }
}
