//! One connection per client identifier, on the shard that the identifier belongs to.
//!
//! Source: MQTT-3.1.4-3, MQTT-3.1.4-2 (3.1.1); the architecture's "home shard".
//! Checked: a client is accepted only while no other connection with its identifier is accepted on any
//! shard, only on its home shard, and never behind a connection that it has made later. CONNACK says Session Present if, and only if, a session
//! of that identifier exists: it was not ended by a clean start or by its expiry. After a crash it is as it was at some moment
//! since the last one of which all is stable; a session that had a connection has lost it when the next process began.
//! When: at each accepted CONNECT; the number of sessions at rest.

use std::collections::BTreeMap;

use martlet_engine::{ConnId, Time, shard_of};

use super::Invariant;
use crate::ledger::{Event, Ledger, LinkId, Tick};
use crate::server_view::{expiry_of, has_passed};

#[derive(Default)]
pub(super) struct SingleOwner {
    clients: BTreeMap<String, Held>,
}

/// The states of a client, from the last one that is surely stable to the present one.
struct Held {
    /// Its last connection that was accepted.
    link: LinkId,
    conn: Option<(usize, ConnId)>,
    states: Vec<State>,
    /// After a crash, until it is seen: any of the states may be the present one. When, by which fact, the process began.
    found: Option<(Time, Tick)>,
}

#[derive(Clone, Copy)]
struct State {
    since: Tick,
    /// `None`: there is no session.
    session: Option<Session>,
}

#[derive(Clone, Copy)]
struct Session {
    expiry_s: u32,
    /// When its connection was closed; `None`: it has one.
    closed_at: Option<Time>,
}

impl Invariant for SingleOwner {
    fn name(&self) -> &'static str {
        "single_owner"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        match event {
            Event::Accepted {
                shard,
                conn,
                client,
                link,
                terms,
                present,
                ..
            } => {
                if *shard != shard_of(client, ledger.shards.len()) {
                    return Err(format!("{client} was accepted by shard {shard}"));
                }
                let Some(terms) = terms else {
                    return Ok(());
                };
                let held = self.clients.entry(client.clone()).or_default();
                if let Some(other) = held.conn {
                    return Err(format!("{client} was accepted while {other:?} is open"));
                }
                if *link < held.link {
                    return Err(format!(
                        "{client}: an older connection comes behind a newer one"
                    ));
                }
                held.link = *link;
                let exists = held.exists(ledger);
                let expected = if terms.clean { Some(false) } else { exists };
                if expected.is_some_and(|expected| expected != *present) {
                    return Err(format!("{client} was told Session Present {present}"));
                }
                held.conn = Some((*shard, *conn));
                let session = Session {
                    expiry_s: expiry_of(terms, ledger),
                    closed_at: None,
                };
                held.becomes(Some(session), ledger);
                Ok(())
            }
            Event::Closed {
                shard,
                conn,
                client: Some(client),
                expiry_s,
                ..
            } => {
                if let Some(held) = self.clients.get_mut(client)
                    && held.conn == Some((*shard, *conn))
                {
                    held.conn = None;
                    let before = held.states.last().and_then(|state| state.session);
                    let session = before.map(|session| Session {
                        expiry_s: expiry_s.unwrap_or(session.expiry_s),
                        closed_at: Some(ledger.now),
                    });
                    held.becomes(session, ledger);
                }
                Ok(())
            }
            Event::Recovered => {
                for held in self.clients.values_mut() {
                    held.survive(ledger);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_step(&mut self, ledger: &Ledger) -> Result<(), String> {
        for held in self.clients.values_mut() {
            held.forget_what_is_over(ledger.stable);
        }
        Ok(())
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        let (mut least, mut most) = (0, 0);
        for held in self.clients.values() {
            let exists = held.exists(ledger);
            least += usize::from(exists == Some(true));
            most += usize::from(exists != Some(false));
        }
        let sessions: usize = ledger.shards.iter().map(|shard| shard.sessions).sum();
        if (least..=most).contains(&sessions) {
            return Ok(());
        }
        Err(format!(
            "{sessions} sessions exist, and {least} to {most} should"
        ))
    }
}

impl Default for Held {
    fn default() -> Self {
        let none = State {
            since: 0,
            session: None,
        };
        Self {
            link: 0,
            conn: None,
            states: vec![none],
            found: None,
        }
    }
}

impl Held {
    fn becomes(&mut self, session: Option<Session>, ledger: &Ledger) {
        self.was_written_down();
        self.found = None;
        self.states.push(State {
            since: ledger.tick,
            session,
        });
    }

    /// That there is no connection any more, the process that found it so may have written down, or may not.
    fn was_written_down(&mut self) {
        let Some((began, _)) = self.found else {
            return;
        };
        let closed = |state: &State| {
            let session = state.session.filter(|s| s.closed_at.is_none())?;
            Some(State {
                since: state.since,
                session: Some(Session {
                    closed_at: Some(began),
                    ..session
                }),
            })
        };
        let closed: Vec<State> = self.states.iter().filter_map(closed).collect();
        self.states.extend(closed);
    }

    /// Only what happened since the last stable moment can be undone.
    fn forget_what_is_over(&mut self, stable: Tick) {
        if let Some((began, tick)) = self.found {
            if tick <= stable {
                // That they have no connection is stored now.
                for session in self.states.iter_mut().filter_map(|s| s.session.as_mut()) {
                    session.closed_at.get_or_insert(began);
                }
            }
            return;
        }
        let last = self.states.iter().map(|state| state.since);
        if let Some(last) = last.filter(|since| *since <= stable).max() {
            self.states.retain(|state| state.since >= last);
        }
    }

    /// The process has crashed: any of the states may be the one that is found.
    fn survive(&mut self, ledger: &Ledger) {
        self.conn = None;
        self.was_written_down();
        self.found = Some((ledger.now, ledger.tick));
        for state in &mut self.states {
            // After this moment they are all equally old.
            state.since = ledger.tick;
            state.session = state.session.filter(|session| session.expiry_s > 0);
        }
    }

    /// Whether there is a session; `None`: it cannot be told.
    fn exists(&self, ledger: &Ledger) -> Option<bool> {
        let present = match self.found {
            Some(_) => self.states.as_slice(),
            None => &self.states[self.states.len() - 1..],
        };
        let mut all = present.iter().map(|state| {
            let Some(session) = state.session else {
                return Some(false);
            };
            let found = self.found.map(|(began, _)| began);
            match session.closed_at.or(found) {
                None => Some(true),
                Some(at) => has_passed(at, session.expiry_s, ledger).map(|passed| !passed),
            }
        });
        match all.next() {
            None => Some(false),
            Some(first) => all.fold(first, |sum, one| if sum == one { sum } else { None }),
        }
    }
}
