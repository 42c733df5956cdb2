//! Who gets in is whom the authenticator lets in.
//!
//! Source: MQTT-4.12.0-1..-7, MQTT-4.12.1-1/-2, MQTT-3.1.4-2; `martlet_engine::Shard::on_verdict`.
//! Checked, if there is an authenticator: a client is accepted only by its answer to the last question about that connection, at once,
//! and never behind a refusal; a refusal ends the connection at once, for the reason that it names; nobody is refused otherwise than by it
//! or by a bound. Who is refused reads why: the last packet is CONNACK or DISCONNECT with that reason, or with 0x87 if the packet cannot
//! carry it. An authenticator that says nothing, and a client that does not answer a challenge, end the connection in time, not before,
//! with 0x88, 0x89 or 0x87. Meanwhile everything else flows (`rest.rs`, which makes all others wait for nothing). An answer that comes a second time, or when the connection has gone, or to an older question, does nothing
//! (`world/authenticator.rs` looks at the effects themselves). Clients check that what they get in AUTH and CONNACK names their method.
//! When: at each answer, each accepted CONNECT and each end of a connection.

use std::collections::BTreeMap;

use martlet_codec::{PacketType, ReasonCode, Sender, Version};
use martlet_engine::{Authentication, CloseCause, ConnId, Time};

use super::Invariant;
use crate::ledger::{Answer, Event, Ledger};
use crate::server_view::TIMER_SLACK_MS;

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
    /// Since when it waits for an answer, or for the client's proof.
    since: Time,
    /// It waits for an answer.
    asked: bool,
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
                state.since = ledger.now;
                state.asked = true;
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
                state.since = ledger.now;
                state.asked = false;
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
                version,
                farewell,
                ..
            } => {
                let state = self.connections.remove(&(*shard, *conn));
                let state = state.unwrap_or_default();
                check_patience(&state, cause, ledger)?;
                if actor.is_some() {
                    check_end(&state, cause)?;
                    return check_farewell(&state, cause, *version, farewell);
                }
            }
            // The numbers of connections begin anew.
            Event::Crashed => self.connections.clear(),
            _ => {}
        }
        Ok(())
    }

    fn on_step(&mut self, ledger: &Ledger) -> Result<(), String> {
        let timeout_ms = ledger.limits.authentication_timeout_ms;
        for (place, state) in &mut self.connections {
            let latest = state.since.plus_millis(timeout_ms + TIMER_SLACK_MS);
            if state.asked && latest < ledger.now {
                return Err(format!("{place:?} waits for ever for an answer"));
            }
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
        (CloseCause::Administrative(reason), Some(named))
            if reason == in_disconnect(named) && state.accepted =>
        {
            Ok(())
        }
        (CloseCause::Refused(_) | CloseCause::Administrative(_), _) => {
            Err(format!("{cause:?}, and the answer was {:?}", state.answer))
        }
        (_, Some(reason)) => Err(format!("was refused ({reason:?}), and ended by {cause:?}")),
        _ => Ok(()),
    }
}

/// Nobody runs out of a time that has not passed.
fn check_patience(state: &State, cause: &CloseCause, ledger: &Ledger) -> Result<(), String> {
    let waits_for_it = match cause {
        CloseCause::AuthenticatorTimeout => state.asked,
        CloseCause::ChallengeTimeout => state.answer == Some(Answer::Challenge),
        _ => return Ok(()),
    };
    let due = state
        .since
        .plus_millis(ledger.limits.authentication_timeout_ms);
    if waits_for_it && due <= ledger.now {
        return Ok(());
    }
    Err(format!(
        "{cause:?} at {:?}, {waits_for_it}, due {due:?}",
        ledger.now
    ))
}

/// What the client reads last says why it has to go.
fn check_farewell(
    state: &State,
    cause: &CloseCause,
    version: Option<Version>,
    farewell: &[u8],
) -> Result<(), String> {
    let reason = match cause {
        CloseCause::Refused(reason) | CloseCause::Administrative(reason) => *reason,
        CloseCause::AuthenticatorTimeout if state.accepted => ReasonCode::ServerBusy,
        CloseCause::AuthenticatorTimeout => ReasonCode::ServerUnavailable,
        CloseCause::ChallengeTimeout => ReasonCode::NotAuthorized,
        _ => return Ok(()),
    };
    let said: &[u8] = match (version, state.accepted) {
        (Some(Version::V5), true) => &[0xE0, 1, reason.as_u8()],
        (Some(Version::V5), false) => &[0x20, 3, 0, reason.as_u8(), 0],
        // Not every reason has a return code.
        _ => return Ok(()),
    };
    if farewell.ends_with(said) {
        return Ok(());
    }
    Err(format!("{cause:?}, and the last words are {farewell:02x?}"))
}

/// The reason as DISCONNECT can carry it.
const fn in_disconnect(reason: ReasonCode) -> ReasonCode {
    if reason.allowed_in(PacketType::Disconnect, Sender::Server) {
        reason
    } else {
        ReasonCode::NotAuthorized
    }
}
