//! A planned stop says goodbye.
//!
//! Source: "server shutdown (v5 0x8B to clients; planned shutdown publishes no wills unless configured)"; wire.md section 11; MQTT-3.14.0-1.
//! Checked: each accepted client of MQTT 5 whose connection ends with a stop of its shard is told so, DISCONNECT 0x8B being the last that is
//! written to it (for MQTT 3 there is no such packet: its clients report `protocol` if one comes); a stopped shard has no connection left
//! (`world/stopping.rs`). `will_once` knows that wills go with it unless the policy says otherwise; all that speaks of what was acknowledged
//! holds over a stop as at any other time.
//! When: at each end of a connection.

use martlet_codec::Version;
use martlet_engine::CloseCause;

use super::Invariant;
use crate::ledger::{Event, Ledger};

pub(super) struct PlannedStop;

impl Invariant for PlannedStop {
    fn name(&self) -> &'static str {
        "planned_stop"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        let Event::Closed {
            cause: CloseCause::ServerShutdown,
            version: Some(Version::V5),
            actor: Some(actor),
            farewell,
            ..
        } = event
        else {
            return Ok(());
        };
        // Who waits for a CONNACK that is not stored yet can be told nothing.
        let online = ledger.actors[*actor].online_since.is_some();
        let told = GOODBYE.iter().any(|bytes| farewell.ends_with(bytes));
        if online && !told {
            let name = &ledger.actors[*actor].name;
            return Err(format!("{name} was not told: {farewell:02x?}"));
        }
        Ok(())
    }
}

/// DISCONNECT with 0x8B, with and without a length of properties.
const GOODBYE: [&[u8]; 2] = [&[0xE0, 1, 0x8B], &[0xE0, 2, 0x8B, 0]];
