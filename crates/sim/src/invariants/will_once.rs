//! A will is published once, when it should be, or not at all.
//!
//! Source: MQTT-3.1.2-7..-10, MQTT-3.1.3-9, MQTT-3.1.2-8 and -10 (3.1.1), MQTT-3.14.4-3; wire.md section 11.
//! Checked: each accepted will is followed to its fate. DISCONNECT with reason 0 removes it. Any other end of the connection makes it due after
//! its delay, or when the session ends if that is earlier (takeover included); a new connection to the same session before that cancels
//! it, one with a clean start makes it due at once. What is due is published once and read by the steady witness (`exactly_once` sees to it that it is not read twice); nothing else is published: the shards'
//! counters show exactly as many. None is read before it is due.
//! When: at each end of a connection, each accepted CONNECT, each will that is read; the count at rest.

use std::collections::BTreeMap;

use martlet_codec::ReasonCode;
use martlet_engine::{CloseCause, ConnId, Time};

use super::Invariant;
use crate::ledger::{ConnectTerms, Event, Ledger, MessageId};
use crate::server_view::{expiry_of, has_passed};

#[derive(Default)]
pub(super) struct WillOnce {
    clients: BTreeMap<String, Client>,
    fates: BTreeMap<MessageId, Fate>,
    /// The witness was closed once: a bound of the run was hit, and what came at QoS 0 is gone.
    witness_was_closed: bool,
}

struct Client {
    conn: Option<(usize, ConnId)>,
    terms: ConnectTerms,
    /// Not removed: armed or waiting for its delay.
    will: Option<MessageId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// With its connection.
    Armed,
    /// After so many seconds.
    Waiting { since: Time, seconds: u32 },
    /// It has to be published.
    Due,
    /// A new connection came when the delay was just over, or not quite.
    Either,
    /// It must not be published.
    Gone,
}

impl Invariant for WillOnce {
    fn name(&self) -> &'static str {
        "will_once"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        if matches!(
            event,
            Event::Closed {
                actor: Some(WITNESS),
                ..
            }
        ) {
            self.witness_was_closed = true;
        }
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
                client: Some(client),
                cause,
                expiry_s,
                ..
            } => self.on_closed((*shard, *conn), client, cause, *expiry_s, ledger),
            Event::Received(receipt) => {
                let will = receipt.message.filter(|id| ledger.messages[*id].will);
                let Some(id) = will else { return Ok(()) };
                return match self.fates.get(&id) {
                    Some(Fate::Due | Fate::Either) => Ok(()),
                    Some(Fate::Waiting { since, seconds })
                        if ledger.now >= since.plus_secs(*seconds) =>
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

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        let (mut least, mut most) = (0, 0);
        for (id, fate) in &self.fates {
            let due = match fate {
                Fate::Due => Some(true),
                Fate::Either => None,
                Fate::Waiting { since, seconds } => has_passed(*since, *seconds, ledger),
                Fate::Armed | Fate::Gone => Some(false),
            };
            least += u64::from(due == Some(true));
            most += u64::from(due != Some(false));
            if due == Some(true) && !self.witness_was_closed {
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
    fn on_accepted(
        &mut self,
        conn: (usize, ConnId),
        client: &str,
        terms: &ConnectTerms,
        ledger: &Ledger,
    ) {
        if let Some(old) = self.clients.get(client).and_then(|client| client.will)
            && let Some(Fate::Waiting { since, seconds }) = self.fates.get(&old).copied()
        {
            let fate = match has_passed(since, seconds, ledger) {
                Some(true) => Fate::Due,
                _ if terms.clean => Fate::Due,
                Some(false) => Fate::Gone,
                None => Fate::Either,
            };
            self.fates.insert(old, fate);
        }
        let will = terms.will.map(|(message, _)| message);
        if let Some(message) = will {
            self.fates.insert(message, Fate::Armed);
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
        let normal = matches!(cause, CloseCause::ClientDisconnected(ReasonCode::Success));
        let expiry_s = disconnect_expiry_s.unwrap_or_else(|| expiry_of(&state.terms, ledger));
        let seconds = delay_s.min(expiry_s);
        let fate = match seconds {
            _ if normal => Fate::Gone,
            0 => Fate::Due,
            seconds => Fate::Waiting {
                since: ledger.now,
                seconds,
            },
        };
        self.fates.insert(message, fate);
    }
}

/// The witness has a subscription to everything, and no fault touches its connection.
fn witnessed(id: MessageId, ledger: &Ledger) -> Result<(), String> {
    let session = ledger.actors[WITNESS]
        .session
        .map(|id| &ledger.sessions[id]);
    let read = session.is_some_and(|session| session.receipts.contains_key(&id));
    if read || ledger.drops() > 0 {
        return Ok(());
    }
    Err(format!("will {:?} was not published", ledger.messages[id]))
}

/// A steady client that never changes its subscription to everything.
const WITNESS: usize = 0;
