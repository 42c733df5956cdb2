//! Questions to the authenticator and its verdicts; AUTH.
//!
//! ```text
//!   CONNECT ─▶ Asked ── Challenge ─▶ Challenged ── AUTH 0x18 ─▶ Asked ─▶ … ── Accept ─▶ CONNACK 0x00
//!   AUTH 0x19 (online) ─▶ Asked ── Challenge ─▶ … ── Accept ─▶ AUTH 0x00; other traffic goes on
//! ```
//! Asked or Challenged for longer than `Limits::authentication_timeout_ms`, or Refuse: CONNACK or DISCONNECT, and the end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use martlet_codec::{
    Auth, Connect, Decoded, Packet, PacketType, PropertiesBuf, Property, ReasonCode, Rules, Sender,
    decode,
};

use crate::clients::connection::{AuthState, AuthStep, Parked, Phase};
use crate::collections::slab::Key;
use crate::effects::{AuthKind, AuthQuestion, AuthTicket, ConnId, Effects, Verdict};
use crate::report::CloseCause;
use crate::shard::{Shard, TimerKey};
use crate::time::Time;

impl Shard {
    /// Parks the connection and asks.
    pub(crate) fn ask_about_connect(
        &mut self,
        conn: Key,
        connect: &Connect<'_>,
        raw: &[u8],
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        connection.phase = Phase::Authenticating;
        if !connect.client_id.is_empty() {
            let attempts = self.attempts.entry_ref(connect.client_id).or_default();
            attempts.push(conn);
        }
        connection.auth = Some(Box::new(AuthState {
            connect: raw.to_vec(),
            method: connect.properties.authentication_method().map(Into::into),
            ..AuthState::default()
        }));
        let data = connect.properties.authentication_data();
        self.ask(conn, AuthKind::Connect, connect, data, now, fx);
    }

    /// AUTH from a client, before or after CONNACK.
    pub(crate) fn on_auth(&mut self, conn: Key, auth: &Auth<'_>, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get(conn) else {
            return;
        };
        let online = connection.phase == Phase::Online;
        let Some(state) = connection
            .auth
            .as_deref()
            .filter(|state| state.method.is_some())
        else {
            let what = "came though CONNECT named no Authentication Method";
            self.violation(conn, PacketType::Auth, what, Some("MQTT-4.12.0-7"), now, fx);
            return;
        };
        let kind = match (auth.reason, state.step) {
            (ReasonCode::ContinueAuthentication, AuthStep::Challenged) => AuthKind::Continue,
            (ReasonCode::ReAuthenticate, AuthStep::Idle) if online => AuthKind::Reauthenticate,
            _ => {
                let what = "came out of turn";
                self.violation(conn, PacketType::Auth, what, None, now, fx);
                return;
            }
        };
        if auth.properties.authentication_method() != state.method.as_deref() {
            //= mqtt5 4.12.0-5
            let what = "names another Authentication Method than CONNECT";
            self.violation(conn, PacketType::Auth, what, Some("MQTT-4.12.0-5"), now, fx);
            return;
        }
        let raw = state.connect.clone();
        let Some(connect) = decode_connect(&raw) else {
            return;
        };
        let data = auth.properties.authentication_data();
        self.ask(conn, kind, &connect, data, now, fx);
    }

    /// The authenticator's answer. Ignored if the connection has ended or another question was asked since.
    pub fn on_verdict(
        &mut self,
        ticket: AuthTicket,
        verdict: Verdict,
        now: Time,
        fx: &mut Effects,
    ) {
        let conn = ticket.0.0;
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let online = connection.phase == Phase::Online;
        let waits = connection
            .auth
            .as_deref()
            .is_some_and(|state| state.question == ticket.1 && state.step == AuthStep::Asked);
        if !waits {
            return;
        }
        if connection.parked == Some(Parked::Verdict) {
            connection.unpark(now);
            fx.resumed.push(ticket.0);
        }
        let Some(state) = connection.auth.as_deref_mut() else {
            return;
        };
        match verdict {
            Verdict::Accept { data } => {
                state.step = AuthStep::Idle;
                if online {
                    self.write_auth(conn, ReasonCode::Success, data.as_deref(), now, fx);
                } else {
                    let raw = state.connect.clone();
                    self.let_in(conn, &raw, data.as_deref(), now, fx);
                }
            }
            Verdict::Challenge { data } if state.method.is_some() => {
                state.step = AuthStep::Challenged;
                state.since = now;
                //= mqtt5 4.12.0-2
                let reason = ReasonCode::ContinueAuthentication;
                self.write_auth(conn, reason, data.as_deref(), now, fx);
            }
            // Without a method there is nothing to go on with.
            Verdict::Challenge { .. } => self.refuse(conn, ReasonCode::NotAuthorized, now, fx),
            //= mqtt5 4.12.0-4
            Verdict::Refuse { reason } if !online => {
                let reason = sayable(reason, PacketType::ConnAck);
                self.refuse(conn, reason, now, fx);
            }
            //= mqtt5 4.12.1-2
            Verdict::Refuse { reason } => {
                let reason = sayable(reason, PacketType::Disconnect);
                self.close(conn, CloseCause::Administrative(reason), now, fx);
            }
        }
        self.settle(now, fx);
    }

    /// The client of a CONNECT is who it says.
    fn let_in(&mut self, conn: Key, raw: &[u8], data: Option<&[u8]>, now: Time, fx: &mut Effects) {
        let Some(connect) = decode_connect(raw) else {
            return;
        };
        // There was room when it came; others may have come in since.
        match self.check_room(&connect) {
            Ok(()) => self.accept(conn, &connect, data, now, fx),
            Err(reason) => self.refuse(conn, reason, now, fx),
        }
    }

    /// Its timer has gone off: ends the connection if the step that the authentication is in takes too long.
    pub(crate) fn check_authentication(&mut self, conn: Key, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let is_read = connection.parked.is_none();
        let online = connection.phase == Phase::Online;
        let Some(state) = connection.auth.as_deref_mut() else {
            return;
        };
        state.timed = false;
        state.excuse_until(if is_read {
            self.reading.excused_until(now)
        } else {
            now
        });
        let (cause, reason) = match state.step {
            AuthStep::Idle => return,
            AuthStep::Asked => (
                CloseCause::AuthenticatorTimeout,
                ReasonCode::ServerUnavailable,
            ),
            AuthStep::Challenged => (CloseCause::ChallengeTimeout, ReasonCode::NotAuthorized),
        };
        if state.due(self.config.limits.authentication_timeout_ms) > now {
            self.time_authentication(conn);
            return;
        }
        if !online {
            self.write_refusal(conn, reason, now, fx);
        }
        self.close(conn, cause, now, fx);
    }

    /// Sees to it that a timer looks at the authentication when its step has taken too long.
    fn time_authentication(&mut self, conn: Key) {
        let connection = self.connections.get_mut(conn);
        let Some(state) = connection.and_then(|c| c.auth.as_deref_mut()) else {
            return;
        };
        let due = state.due(self.config.limits.authentication_timeout_ms);
        if !core::mem::replace(&mut state.timed, true) {
            self.schedule(due, TimerKey::Authentication(conn));
        }
    }

    /// The client identifier in the CONNECT that the authenticator was asked about.
    pub(crate) fn attempted_client_id(&self, conn: Key) -> Option<Arc<str>> {
        let state = self.connections.get(conn)?.auth.as_deref()?;
        let connect = decode_connect(&state.connect)?;
        (!connect.client_id.is_empty()).then(|| connect.client_id.into())
    }

    /// A connection does not authenticate its CONNECT any more: it is accepted, or it ends. Returns those that did so with
    /// the same client identifier before it.
    pub(crate) fn end_attempt(&mut self, conn: Key) -> Vec<Key> {
        let state = self.connections.get(conn).and_then(|c| c.auth.as_deref());
        let Some(connect) = state.and_then(|state| decode_connect(&state.connect)) else {
            return Vec::new();
        };
        let Some(attempts) = self.attempts.get_mut(connect.client_id) else {
            return Vec::new();
        };
        let Some(at) = attempts.iter().position(|attempt| *attempt == conn) else {
            return Vec::new();
        };
        let older = attempts.get(..at).unwrap_or_default().to_vec();
        attempts.remove(at);
        if attempts.is_empty() {
            self.attempts.remove(connect.client_id);
        }
        older
    }

    fn ask(
        &mut self,
        conn: Key,
        kind: AuthKind,
        connect: &Connect<'_>,
        data: Option<&[u8]>,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        // Before CONNACK nothing may pass; a re-authentication leaves other traffic alone.
        if connection.phase == Phase::Authenticating {
            connection.parked = Some(Parked::Verdict);
        }
        let Some(state) = connection.auth.as_deref_mut() else {
            return;
        };
        state.question = state.question.wrapping_add(1);
        state.step = AuthStep::Asked;
        state.since = now;
        fx.auth.push(AuthQuestion {
            ticket: AuthTicket(ConnId(conn), state.question),
            kind,
            client_id: connect.client_id.into(),
            user_name: connect.user_name.map(Into::into),
            password: connect.password.map(Into::into),
            method: state.method.clone(),
            data: data.map(Into::into),
        });
        self.time_authentication(conn);
    }

    fn write_auth(
        &mut self,
        conn: Key,
        reason: ReasonCode,
        data: Option<&[u8]>,
        now: Time,
        fx: &mut Effects,
    ) {
        let mut properties = PropertiesBuf::new();
        let state = self.connections.get(conn).and_then(|c| c.auth.as_deref());
        let Some(method) = state.and_then(|state| state.method.as_deref()) else {
            return;
        };
        //= mqtt5 3.15.2-2
        //= mqtt5 3.15.2-3
        //= mqtt5 4.12.0-5
        properties.push(Property::AuthenticationMethod(method));
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data));
        }
        let auth = Auth {
            reason,
            properties: properties.as_properties(),
        };
        self.write(conn, &Packet::Auth(auth), now, fx);
    }
}

/// The authenticator's reason, if that packet may name it.
const fn sayable(reason: ReasonCode, packet: PacketType) -> ReasonCode {
    if reason.is_error() && reason.allowed_in(packet, Sender::Server) {
        reason
    } else {
        ReasonCode::NotAuthorized
    }
}

/// CONNECT from bytes that were decoded before.
fn decode_connect(raw: &[u8]) -> Option<Connect<'_>> {
    let rules = Rules {
        version: martlet_codec::Version::V5,
        sender: Sender::Client,
        max_packet_size: u32::MAX,
    };
    match decode(raw, rules) {
        Ok(Decoded::Packet {
            packet: Packet::Connect(connect),
            ..
        }) => Some(connect),
        _ => None,
    }
}
