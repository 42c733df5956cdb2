//! One connection per client identifier, on the shard that the identifier belongs to.
//!
//! Source: MQTT-3.1.4-3, MQTT-3.1.4-2 (3.1.1); the architecture's "home shard".
//! Checked: a client is accepted only while no other connection with its identifier is accepted on any
//! shard, and only on its home shard. CONNACK says Session Present if, and only if, a session
//! of that identifier exists: it was not ended by a clean start or by its expiry.
//! When: at each accepted CONNECT.

use std::collections::BTreeMap;

use martlet_engine::{ConnId, Time, shard_of};

use super::Invariant;
use crate::ledger::{Event, Ledger};
use crate::server_view::{expiry_of, has_passed};

#[derive(Default)]
pub(super) struct SingleOwner {
    clients: BTreeMap<String, Held>,
}

struct Held {
    conn: Option<(usize, ConnId)>,
    expiry_s: u32,
    closed_at: Time,
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
                terms,
                present,
                ..
            } => {
                if *shard != shard_of(client, ledger.shards.len()) {
                    return Err(format!("{client} was accepted by shard {shard}"));
                }
                let held = self.clients.get(client);
                if let Some(other) = held.and_then(|held| held.conn) {
                    return Err(format!("{client} was accepted while {other:?} is open"));
                }
                let exists = match held {
                    None => Some(false),
                    Some(held) => has_passed(held.closed_at, held.expiry_s, ledger).map(|p| !p),
                };
                let Some(terms) = terms else {
                    return Ok(());
                };
                let expected = if terms.clean { Some(false) } else { exists };
                if expected.is_some_and(|expected| expected != *present) {
                    return Err(format!("{client} was told Session Present {present}"));
                }
                let held = Held {
                    conn: Some((*shard, *conn)),
                    expiry_s: expiry_of(terms, ledger),
                    closed_at: ledger.now,
                };
                self.clients.insert(client.clone(), held);
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
                    held.closed_at = ledger.now;
                    held.expiry_s = expiry_s.unwrap_or(held.expiry_s);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, ledger: &Ledger) -> Result<(), String> {
        let (mut least, mut most) = (0, 0);
        for held in self.clients.values() {
            let gone = held
                .conn
                .is_none()
                .then(|| has_passed(held.closed_at, held.expiry_s, ledger));
            least += usize::from(matches!(gone, None | Some(Some(false))));
            most += usize::from(!matches!(gone, Some(Some(true))));
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
