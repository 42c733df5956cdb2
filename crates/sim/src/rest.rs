//! Bringing a run to rest: faults off, everybody comes and takes what is theirs. Then the invariants that
//! speak of the end of things can be checked.

use std::collections::BTreeMap;

use martlet_codec::{QoS, RetainHandling, SubscriptionOptions, Version};

use crate::client::{Client, PATIENT_MS, Rush, WITNESSED_TOPIC};
use crate::ledger::Event;
use crate::link::{Owner, Place};
use crate::server_view::TIMER_SLACK_MS;
use crate::setup::Options;
use crate::storage::StorageFacts;
use crate::world::{Failure, World, fail};

/// What a run that kept all invariants has to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The same for the same options, and almost surely for no others.
    pub trace_hash: u64,
    /// Messages that legal clients sent, wills included.
    pub messages: usize,
    /// PUBLISH packets that they read.
    pub receipts: usize,
    /// Sessions that they had.
    pub sessions: usize,
    /// The shards' counters, summed.
    pub counters: martlet_engine::Counters,
    /// What the authenticator has said to somebody who waited for it, and to nobody.
    pub answers: (usize, usize),
    /// Planned stops.
    pub stops: usize,
    /// What the store has been through.
    pub storage: StorageFacts,
}

/// Runs a world from its first step to its end.
pub fn run(options: &Options) -> Result<Report, Failure> {
    let mut world = World::new(options);
    if options.store {
        world.open_store(options.shards)?;
    }
    world.begin()?;
    let rounds = world.setup.rounds;
    for _ in 0..rounds {
        for _ in 0..options.steps / rounds {
            world.step()?;
        }
        world.come_to_rest()?;
        world.ask_for_retained()?;
        world.observe_rest()?;
        world.compare_log_and_shards()?;
        world.ledger.begin_round();
    }
    world.end()?;
    Ok(Report {
        trace_hash: world.trace_hash(),
        messages: world.ledger.messages.len(),
        receipts: world
            .ledger
            .sessions
            .iter()
            .map(|session| session.receipts.values().map(Vec::len).sum::<usize>())
            .sum(),
        sessions: world.ledger.sessions.len(),
        counters: world.ledger.counters,
        answers: world.answers(),
        stops: world.ledger.stops.len(),
        storage: world
            .storage
            .map_or_else(StorageFacts::default, |s| s.facts),
    })
}

impl World {
    /// The witnesses come first: each sees everything, at QoS 2 or 1. In half of the runs only the first does, so that there are
    /// shards without a subscription that always matches.
    fn begin(&mut self) -> Result<(), Failure> {
        for at in 0..self.clients.len() {
            if self.clients[at].steady && !self.clients[at].probe {
                let terms = self.clients[at].calm_terms();
                self.connect(at, terms);
            }
        }
        self.come_to_rest_with(|client| client.steady && !client.probe)?;
        let all_see_everything = self.setup.all_see_everything;
        for at in 0..self.clients.len() {
            if self.clients[at].steady
                && !self.clients[at].probe
                && (at == 0 || all_see_everything || self.clients[at].rushes == Some(Rush::Witness))
            {
                let v5 = self.clients[at].version == Version::V5;
                let options = SubscriptionOptions {
                    qos: if v5 {
                        QoS::ExactlyOnce
                    } else {
                        QoS::AtLeastOnce
                    },
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Always,
                };
                let filter = match self.clients[at].rushes {
                    Some(Rush::Witness) => WITNESSED_TOPIC,
                    _ => "#",
                };
                self.clients[at].subscribe(&[filter], &[options], None, &mut self.ledger);
                self.hand_over_wire(at);
            }
        }
        self.come_to_rest_with(|client| client.steady && !client.probe)?;
        self.ledger.begin_round();
        self.observe()
    }

    /// Everybody is back, has got everything and has acknowledged it.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), Failure> {
        self.come_to_rest_with(|client| !client.probe)
    }

    fn come_to_rest_with(&mut self, comes: impl Fn(&Client) -> bool) -> Result<(), Failure> {
        self.end_faults();
        // What is overdue happens now, as a driver would have it.
        self.advance(0);
        for client in &mut self.clients {
            client.attempts = 0;
        }
        let mut waits_left = WAITS_MAX;
        for _ in 0..ROUNDS_TO_REST {
            let mut moved = self.clients_do_their_duty(&comes);
            moved |= self.everything_moves()?;
            self.observe()?;
            if moved {
                continue;
            }
            if self.someone_waits() {
                // Parked publishers are let through by time.
                self.advance(1_100);
                continue;
            }
            if self.close_hostiles() {
                continue;
            }
            // Nothing but the authenticator is missing now, and nobody who is in may have to wait for it.
            self.all_flows_beside_authentication()?;
            if self.reauthentications_end()? {
                continue;
            }
            let forgotten = |c: &Client| c.online && c.reauthenticates();
            if waits_left > 0 && self.clients.iter().any(forgotten) {
                waits_left -= 1;
                let patience_ms = self.ledger.limits.authentication_timeout_ms;
                self.advance(patience_ms.min(PATIENT_MS - 1) + TIMER_SLACK_MS);
                continue;
            }
            if self.clients.iter().any(|c| c.online && !c.is_idle()) {
                let stuck = self.clients.iter().find(|c| c.online && !c.is_idle());
                return Err(fail(
                    "drains",
                    format!("a client waits for ever: {stuck:?}"),
                ));
            }
            return Ok(());
        }
        Err(fail("drains", "the world does not come to rest".into()))
    }

    fn all_flows_beside_authentication(&self) -> Result<(), Failure> {
        let waits = |c: &&Client| c.online && c.reauthenticates() && !c.has_its_due();
        match self.clients.iter().find(waits) {
            Some(client) => Err(fail(
                "admitted",
                format!("nothing flows while it authenticates anew: {client:?}"),
            )),
            None => Ok(()),
        }
    }

    fn end_faults(&mut self) {
        self.release_mail();
        if let Some(storage) = &mut self.storage {
            storage.end_faults();
        }
        let current: Vec<_> = self.clients.iter().map(|client| client.link).collect();
        for link in self.links.values_mut() {
            let hostile = matches!(link.owner, Owner::Hostile(_));
            link.stalled &= hostile;
            if !hostile && !current.contains(&Some(link.id)) {
                link.abandoned = true;
            }
            link.silent = false;
        }
    }

    fn clients_do_their_duty(&mut self, comes: impl Fn(&Client) -> bool) -> bool {
        let mut moved = false;
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.link.is_none() && client.attempts < ATTEMPTS_MAX && comes(client) {
                let terms = client.calm_terms();
                self.connect(at, terms);
                moved = true;
            } else if client.has_duties() {
                while client.duty_count() > 0 {
                    client.do_duty(0, &mut self.ledger);
                }
                self.hand_over_wire(at);
                moved = true;
            }
        }
        moved
    }

    fn everything_moves(&mut self) -> Result<bool, Failure> {
        let mut moved = false;
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            let before = self.links.get(&id).map(|link| (link.place, link.up.len()));
            self.bytes_go_up(id);
            let after = self.links.get(&id).map(|link| (link.place, link.up.len()));
            moved |= before != after;
        }
        while self.has_resumed() {
            self.resume_one();
            moved = true;
        }
        moved |= self.write_all();
        moved |= self.store_comes_to_rest()?;
        moved |= self.authenticator_comes_to_rest()?;
        // In any order between the pairs, even here.
        for _ in 0..self.full_mailboxes().len() {
            self.some_mail_arrives();
            moved = true;
        }
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            let before = self.links.get(&id).map(|link| link.down.len());
            self.bytes_go_down(id)?;
            moved |= before != self.links.get(&id).map(|link| link.down.len());
        }
        Ok(moved)
    }

    /// Whether bytes of a connection wait that its shard does not read yet.
    fn someone_waits(&self) -> bool {
        self.links.values().any(|link| match link.place {
            Place::Open(shard, conn) => {
                let parked = !self.shards[shard].wants_read(conn);
                parked || (link.abandoned && !link.silent)
            }
            Place::Backlog(_) | Place::Moving(_) => true,
            Place::Closed => false,
        })
    }

    /// Ends what hostile clients still have; those that had to be closed should have been.
    fn close_hostiles(&mut self) -> bool {
        let mut any = false;
        for link in self.links.values_mut() {
            if matches!(link.owner, Owner::Hostile(_)) && !link.abandoned {
                if link.must_close && link.place != Place::Closed {
                    self.ledger.events.push(Event::NotClosed(link.id));
                }
                link.abandoned = true;
                link.down.clear();
                any = true;
            }
        }
        any
    }

    /// A new client subscribes to everything: what it gets is what is retained.
    fn ask_for_retained(&mut self) -> Result<(), Failure> {
        let at = self.clients.len() - 1;
        let began = self.ledger.tick();
        let terms = self.clients[at].last_terms();
        self.connect(at, terms);
        self.come_to_rest()?;
        let options = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
        if self.clients[at].online {
            self.clients[at].subscribe(&["#", "$x/#"], &[options; 2], None, &mut self.ledger);
            self.hand_over_wire(at);
        }
        self.come_to_rest()?;
        let session = self.ledger.actors[at].session;
        let changes = session.map(|id| self.ledger.sessions[id].changes.as_slice());
        let asked = changes.is_some_and(|c| !c.is_empty() && c.iter().all(|c| c.done.is_some()));
        let asked = asked && self.clients[at].online;
        self.ledger.retained = asked.then(|| self.retained_for(at));
        if let Some(link) = self.clients[at].link {
            self.clients[at].forget_connection(&mut self.ledger);
            self.abandon(link, false);
        }
        self.come_to_rest()?;
        // Somebody may have got in only now, and published: then the answer is old already.
        let messages = &self.ledger.messages;
        if messages
            .iter()
            .any(|m| m.sends.last().is_some_and(|sent| *sent > began))
        {
            self.ledger.retained = None;
        }
        Ok(())
    }

    fn retained_for(&self, at: usize) -> BTreeMap<String, usize> {
        let session = self.ledger.actors[at].session;
        let receipts = session.map(|id| &self.ledger.sessions[id].receipts);
        receipts
            .into_iter()
            .flatten()
            .filter(|(_, receipts)| receipts.iter().any(|receipt| receipt.retain))
            .map(|(id, _)| (self.ledger.messages[*id].topic.clone(), *id))
            .collect()
    }

    /// Everybody comes once more with a clean start, and goes; nothing may be left.
    fn end(&mut self) -> Result<(), Failure> {
        for at in 0..self.clients.len() {
            if let Some(link) = self.clients[at].link {
                self.clients[at].forget_connection(&mut self.ledger);
                self.abandon(link, false);
            }
            self.clients[at].steady = false;
        }
        self.come_to_rest_with(|_| false)?;
        for at in 0..self.clients.len() {
            let terms = self.clients[at].last_terms();
            self.connect(at, terms);
            self.come_to_rest_with(|_| false)?;
            if let Some(link) = self.clients[at].link {
                self.clients[at].forget_connection(&mut self.ledger);
                self.abandon(link, false);
            }
            self.come_to_rest_with(|_| false)?;
        }
        self.advance(10_000);
        self.come_to_rest_with(|_| false)?;
        self.observe_end()
    }
}

/// After so many rounds of moving everything something goes in circles.
const ROUNDS_TO_REST: usize = 20_000;
/// How often what the authenticator has forgotten may have to run out of time.
const WAITS_MAX: u32 = 3;
/// CONNECTs in a row after which a client gives up for this time.
const ATTEMPTS_MAX: u32 = 4;
