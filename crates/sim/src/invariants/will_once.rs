//! A will is published once, when it should be, or not at all.
//!
//! Source: MQTT-3.1.2-7..-10, MQTT-3.1.3-9, MQTT-3.1.2-8 and -10 (3.1.1), MQTT-3.14.4-3; wire.md section 11.
//! Checked: each accepted will is followed to its fate. DISCONNECT with reason 0 removes it. Any other end of the connection makes it due after
//! its delay (a planned stop does not, unless the policy says so), or when the session ends if that is earlier (takeover included); a new connection to the same session before that cancels
//! it, one with a clean start makes it due at once. What is due is published once and read by the steady witness (`exactly_once` sees to it that it is not read twice); nothing else is published: the shards'
//! counters show exactly as many. None is read before it is due.
//! A crash disconnects everybody: wills of sessions that outlive their connection wait from the start of the next process. What happened
//! to a will after the last moment of which all is stable may not have happened, and may happen again; one of a
//! session that ended with its connection may have reached the receivers of some shards only.
//! When: at each end of a connection, each accepted CONNECT, each will that is read, each crash; the count at rest.

use std::collections::BTreeMap;

use martlet_codec::{QoS, ReasonCode};
use martlet_engine::{CloseCause, ConnId, Time};

use super::Invariant;
use crate::ledger::{ConnectTerms, Event, Ledger, MessageId, Tick};
use crate::server_view::{expiry_of, timer_has_passed};

#[derive(Default)]
pub(super) struct WillOnce {
    clients: BTreeMap<String, Client>,
    wills: BTreeMap<MessageId, Will>,
    /// The witness was closed once: a bound of the run was hit, and what came at QoS 0 is gone.
    witness_was_closed: bool,
    /// Everything up to here is stable.
    stable: Tick,
}

struct Client {
    conn: Option<(usize, ConnId)>,
    terms: ConnectTerms,
    /// Not removed: armed or waiting for its delay.
    will: Option<MessageId>,
}

struct Will {
    fate: Fate,
    /// Since when.
    since: Tick,
    /// It may have been published so many times more, by processes that have crashed.
    more: u64,
    /// Its session outlives its connection: it is stored.
    stored: bool,
    /// A process with several shards has crashed on its way to them: the next ones go on with that, however many shards they
    /// have.
    under_way: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// With its connection.
    Armed,
    /// After so many seconds.
    Waiting { since: Time, seconds: u32 },
    /// It has to be published.
    Due,
    /// It was published by a process that has crashed: nobody may have got it.
    Published,
    /// A new connection came when the delay was just over, or not quite; or a crash may have undone what decided it.
    Either,
    /// It must not be published.
    Gone,
}

impl Invariant for WillOnce {
    fn name(&self) -> &'static str {
        "will_once"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        match event {
            Event::Accepted {
                shard,
                conn,
                client,
                terms: Some(terms),
                ..
            } => self.on_accepted((*shard, *conn), client, terms, ledger),
            Event::Closed {
                shard,
                conn,
                client,
                cause,
                expiry_s,
                actor,
                ..
            } => {
                let stopped = matches!(cause, CloseCause::ServerShutdown);
                self.witness_was_closed |= *actor == Some(WITNESS) && !stopped;
                if let Some(client) = client {
                    self.on_closed((*shard, *conn), client, cause, *expiry_s, ledger);
                }
            }
            Event::Recovered => self.on_recovered(ledger),
            Event::Received(receipt) => {
                let will = receipt.message.filter(|id| ledger.messages[*id].will);
                let Some(id) = will else { return Ok(()) };
                return match self.wills.get(&id).map(|will| will.fate) {
                    Some(Fate::Due | Fate::Published | Fate::Either) => Ok(()),
                    Some(Fate::Waiting { since, seconds })
                        if ledger.now >= since.plus_secs(seconds) =>
                    {
                        Ok(())
                    }
                    fate => Err(format!("will {id} was published, but it is {fate:?}")),
                };
            }
            _ => {}
        }
        Ok(())
    }

    fn on_step(&mut self, ledger: &Ledger) -> Result<(), String> {
        self.stable = ledger.stable;
        Ok(())
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        let (mut least, mut most) = (0, 0);
        for (id, will) in &self.wills {
            let due = match will.fate {
                Fate::Due | Fate::Published => Some(true),
                Fate::Either => None,
                Fate::Waiting { since, seconds } => timer_has_passed(since, seconds, ledger),
                Fate::Armed | Fate::Gone => Some(false),
            };
            least += u64::from(due == Some(true));
            most += u64::from(due != Some(false)) + will.more;
            let message = &ledger.messages[*id];
            // At QoS 0 it passes by a witness whose connection a crash or a stop has ended.
            let ended = ledger.crashes_since(message) > 0 || ledger.stopped_since(message);
            let passes = message.qos == QoS::AtMostOnce && ended;
            if due == Some(true)
                && will.fate != Fate::Published
                && !self.witness_was_closed
                && !passes
            {
                witnessed(*id, ledger)?;
            }
        }
        let published = ledger.counters.wills_published;
        if (least..=most).contains(&published) {
            return Ok(());
        }
        Err(format!(
            "{published} wills were published, and {least} to {most} should"
        ))
    }
}

impl WillOnce {
    fn becomes(&mut self, id: MessageId, fate: Fate, ledger: &Ledger) {
        let since = ledger.tick;
        let will = Will {
            fate,
            since,
            more: 0,
            stored: false,
            under_way: false,
        };
        let will = self.wills.entry(id).or_insert(will);
        will.fate = fate;
        will.since = since;
    }

    fn on_accepted(
        &mut self,
        conn: (usize, ConnId),
        client: &str,
        terms: &ConnectTerms,
        ledger: &Ledger,
    ) {
        if let Some(old) = self.clients.get(client).and_then(|client| client.will)
            && let Some(Fate::Waiting { since, seconds }) = self.wills.get(&old).map(|w| w.fate)
        {
            let fate = match timer_has_passed(since, seconds, ledger) {
                Some(true) => Fate::Due,
                _ if terms.clean => Fate::Due,
                Some(false) => Fate::Gone,
                None => Fate::Either,
            };
            self.becomes(old, fate, ledger);
        }
        let will = terms.will.map(|(message, _)| message);
        if let Some(message) = will {
            self.becomes(message, Fate::Armed, ledger);
            if let Some(will) = self.wills.get_mut(&message) {
                will.stored = expiry_of(terms, ledger) > 0;
            }
        }
        let state = Client {
            conn: Some(conn),
            terms: terms.clone(),
            will,
        };
        self.clients.insert(client.to_owned(), state);
    }

    fn on_closed(
        &mut self,
        conn: (usize, ConnId),
        client: &str,
        cause: &CloseCause,
        disconnect_expiry_s: Option<u32>,
        ledger: &Ledger,
    ) {
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        if state.conn != Some(conn) {
            return;
        }
        state.conn = None;
        let Some((message, delay_s)) = state.terms.will else {
            return;
        };
        let normal = match cause {
            CloseCause::ClientDisconnected(reason) => *reason == ReasonCode::Success,
            CloseCause::ServerShutdown => !ledger.policy.wills_on_shutdown,
            _ => false,
        };
        let expiry_s = disconnect_expiry_s.unwrap_or_else(|| expiry_of(&state.terms, ledger));
        let fate = match delay_s.min(expiry_s) {
            _ if normal => Fate::Gone,
            0 => Fate::Due,
            seconds => Fate::Waiting {
                since: ledger.now,
                seconds,
            },
        };
        self.becomes(message, fate, ledger);
    }

    /// What is left of each will by a crash.
    fn on_recovered(&mut self, ledger: &Ledger) {
        // Until all shards have stored their part, it goes out again.
        let several_shards = ledger.crashes.last().is_some_and(|c| c.shard_count > 1);
        for (id, will) in &mut self.wills {
            let doubtful = will.since > self.stable;
            match will.fate {
                Fate::Waiting { since, seconds } => {
                    // By the process that has crashed, by this one, or by both.
                    let passed = timer_has_passed(since, seconds, ledger) != Some(false);
                    will.more += u64::from(passed);
                    if doubtful {
                        will.fate = Fate::Either;
                    }
                }
                Fate::Due if doubtful || several_shards || will.under_way => {
                    will.under_way |= several_shards;
                    if (doubtful || !will.stored) && !was_witnessed(*id, ledger) {
                        will.fate = Fate::Published;
                    }
                    will.more += 1;
                }
                Fate::Gone if doubtful => will.fate = Fate::Either,
                Fate::Either | Fate::Published => will.more += 1,
                Fate::Armed | Fate::Due | Fate::Gone => {}
            }
        }
        for client in self.clients.values_mut() {
            client.conn = None;
            let Some((id, delay_s)) = client.terms.will else {
                continue;
            };
            let Some(will) = self.wills.get_mut(&id).filter(|w| w.fate == Fate::Armed) else {
                continue;
            };
            let expiry_s = expiry_of(&client.terms, ledger);
            // Nothing of a session that ends with its connection is stored.
            let unsure = expiry_s == 0 || will.since > self.stable;
            will.fate = if unsure {
                Fate::Either
            } else {
                Fate::Waiting {
                    since: ledger.now,
                    seconds: delay_s.min(expiry_s),
                }
            };
            will.since = ledger.tick;
        }
    }
}

fn was_witnessed(id: MessageId, ledger: &Ledger) -> bool {
    let session = ledger.actors[WITNESS].session;
    session.is_some_and(|session| ledger.sessions[session].receipts.contains_key(&id))
}

/// The witness has a subscription to everything, and no fault touches its connection.
fn witnessed(id: MessageId, ledger: &Ledger) -> Result<(), String> {
    if was_witnessed(id, ledger) || ledger.drops() > 0 {
        return Ok(());
    }
    Err(format!("will {:?} was not published", ledger.messages[id]))
}

/// A steady client that never changes its subscription to everything.
const WITNESS: usize = 0;
