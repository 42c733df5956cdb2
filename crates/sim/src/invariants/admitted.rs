//! Who gets in is whom the authenticator lets in.
//!
//! Source: MQTT-4.12.0-1..-7, MQTT-4.12.1-1/-2, MQTT-3.1.4-2; `martlet_engine::Shard::on_verdict`.
//! Checked, if there is an authenticator: a client is accepted only by its answer to the last question about that connection, at once,
//! and never behind a refusal; a refusal ends the connection at once, for the reason that it names; nobody is refused otherwise than by it
//! or by a bound. An answer that comes a second time, or when the connection has gone, or to an older question, does nothing
//! (`world/authenticator.rs` looks at the effects themselves). Clients check that what they get in AUTH and CONNACK names their method.
//! When: at each answer, each accepted CONNECT and each end of a connection.

use std::collections::BTreeMap;

use martlet_codec::ReasonCode;
use martlet_engine::{Authentication, CloseCause, ConnId};

use super::Invariant;
use crate::ledger::{Answer, Event, Ledger};

#[derive(Default)]
pub(super) struct Admitted {
    connections: BTreeMap<(usize, ConnId), State>,
}

#[derive(Default)]
struct State {
    /// The answer to its last question.
    answer: Option<Answer>,
    accepted: bool,
    /// The answer has not had its effect yet.
    fresh: bool,
}

impl Invariant for Admitted {
    fn name(&self) -> &'static str {
        "admitted"
    }

    fn on_event(&mut self, event: &Event, ledger: &Ledger) -> Result<(), String> {
        if ledger.policy.authentication != Authentication::Ask {
            return Ok(());
        }
        match event {
            Event::Asked { shard, conn } => {
                let state = self.connections.entry((*shard, *conn)).or_default();
                state.answer = None;
            }
            Event::Answered {
                shard,
                conn,
                is_current: true,
                answer,
            } => {
                let state = self.connections.entry((*shard, *conn)).or_default();
                state.answer = Some(*answer);
                state.fresh = true;
            }
            Event::Accepted {
                shard,
                conn,
                client,
                ..
            } => {
                let state = self.connections.entry((*shard, *conn)).or_default();
                if state.answer != Some(Answer::Accept) || state.accepted {
                    return Err(format!("{client} got in by {:?}", state.answer));
                }
                state.accepted = true;
            }
            Event::Closed {
                shard,
                conn,
                actor,
                cause,
                ..
            } => {
                let state = self.connections.remove(&(*shard, *conn));
                let state = state.unwrap_or_default();
                if actor.is_some() {
                    return check_end(&state, cause);
                }
            }
            // The numbers of connections begin anew.
            Event::Crashed => self.connections.clear(),
            _ => {}
        }
        Ok(())
    }

    fn on_step(&mut self, _: &Ledger) -> Result<(), String> {
        for (place, state) in &mut self.connections {
            if !core::mem::take(&mut state.fresh) {
                continue;
            }
            match state.answer {
                Some(Answer::Accept) if !state.accepted => {
                    return Err(format!("{place:?} was let in, and is not in"));
                }
                Some(Answer::Refuse(reason)) => {
                    return Err(format!("{place:?} was refused ({reason:?}), and is there"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A legal client's connection has ended: was it for a refusal, and if so for which?
fn check_end(state: &State, cause: &CloseCause) -> Result<(), String> {
    let refused_for = match state.answer {
        Some(Answer::Refuse(reason)) if state.fresh => Some(reason),
        _ => None,
    };
    match (cause.clone(), refused_for) {
        (CloseCause::Refused(ReasonCode::QuotaExceeded), None) => Ok(()),
        (CloseCause::Refused(reason), Some(named)) if reason == named && !state.accepted => Ok(()),
        (CloseCause::Administrative(reason), Some(named)) if reason == named && state.accepted => {
            Ok(())
        }
        (CloseCause::Refused(_) | CloseCause::Administrative(_), _) => {
            Err(format!("{cause:?}, and the answer was {:?}", state.answer))
        }
        (_, Some(reason)) => Err(format!("was refused ({reason:?}), and ended by {cause:?}")),
        _ => Ok(()),
    }
}
