//! Blame falls on whoever earns it.
//!
//! Source: MQTT-4.13.1-1, MQTT-4.8.0-1 (3.1.1); "other sessions are never affected".
//! Checked: the broker never closes a client that keeps the rules for a fault (malformed packet, protocol
//! violation), and it closes each one that breaks a rule which asks for that.
//! When: at each end of a connection; hostile clients at rest.

use martlet_engine::{Authentication, CloseCause};

use super::Invariant;
use crate::ledger::{Event, Ledger};
use crate::world::is_no_accusation;

pub(super) struct Blame;

/// `admitted` knows whether that is right.
fn is_by_authenticator(cause: &CloseCause, ledger: &Ledger) -> bool {
    ledger.policy.authentication == Authentication::Ask && matches!(cause, CloseCause::Refused(_))
}

impl Invariant for Blame {
    fn name(&self) -> &'static str {
        "blame"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        match event {
            Event::Closed {
                actor: Some(actor),
                cause,
                ..
            } if !is_no_accusation(cause) && !is_by_authenticator(cause, ledger) => Err(format!(
                "{} keeps the rules and was closed: {cause:?}",
                ledger.actors[*actor].name
            )),
            Event::NotClosed(link) => Err(format!("connection {link} breaks a rule and is open")),
            _ => Ok(()),
        }
    }
}
