//! Ends: of connections, of sessions; DISCONNECT, faults, wills, shutdown.

use alloc::string::String;
use alloc::vec::Vec;

use martlet_codec::{
    DecodeError, Disconnect, Packet, PacketType, Properties, PropertiesBuf, Property, ReasonCode,
};

use crate::clients::client_session::Will;
use crate::clients::connection::Phase;
use crate::collections::slab::Key;
use crate::effects::{Closed, ConnId, Effects};
use crate::message::{MessageParts, Origin};
use crate::publication::Publication;
use crate::report::{CloseCause, CloseReport, Violation};
use crate::shard::{Shard, Subscriber, TimerKey};
use crate::time::Time;
use crate::timing::TIMER_SPAN_MS;

impl Shard {
    /// DISCONNECT from a client.
    pub(crate) fn on_disconnect(
        &mut self,
        conn: Key,
        session: Key,
        disconnect: &Disconnect<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        if let Some(expiry_s) = disconnect.properties.session_expiry_interval() {
            let cap = self.config.policy.session_expiry_cap_s;
            let Some(state) = self.sessions.get_mut(session) else {
                return;
            };
            if state.expiry_s == 0 && expiry_s != 0 {
                // The session was promised to end with the connection. Such a DISCONNECT does not count
                // as one, so the will is published.
                let what = "changes a Session Expiry Interval of 0";
                self.violation(conn, PacketType::Disconnect, what, None, now, fx);
                return;
            }
            state.expiry_s = expiry_s.min(cap);
        }
        //= mqtt5 3.14.4-3
        //= mqtt5 3.1.2-10
        //= mqtt311 3.14.4-3
        //= mqtt311 3.1.2-10
        if disconnect.reason == ReasonCode::Success
            && let Some(state) = self.sessions.get_mut(session)
            && state.will.take().is_some()
        {
            self.record_will_cleared(session, fx);
        }
        self.close(
            conn,
            CloseCause::ClientDisconnected(disconnect.reason),
            now,
            fx,
        );
    }

    /// A packet that may be sent, but not here: DISCONNECT 0x82 where the version has it, then the end.
    pub(crate) fn violation(
        &mut self,
        conn: Key,
        packet: PacketType,
        what: &'static str,
        statement: Option<&'static str>,
        now: Time,
        fx: &mut Effects,
    ) {
        let violation = Violation {
            packet,
            what,
            reason: ReasonCode::ProtocolError,
            statement,
        };
        self.violate(conn, violation, now, fx);
    }

    /// As [`Shard::violation`], with a reason of its own.
    pub(crate) fn violate(&mut self, conn: Key, violation: Violation, now: Time, fx: &mut Effects) {
        self.close(conn, CloseCause::Violation(violation), now, fx);
    }

    /// The bytes are no legal packet.
    pub(crate) fn on_malformed(
        &mut self,
        conn: Key,
        bytes: &[u8],
        error: DecodeError,
        now: Time,
        fx: &mut Effects,
    ) {
        if self
            .connections
            .get(conn)
            .is_some_and(|c| c.phase == Phase::AwaitConnect)
        {
            //= mqtt5 3.1.4-1
            self.refuse_malformed_connect(conn, bytes, error.reason(), now, fx);
        }
        //= mqtt5 4.13.1-1
        //= mqtt311 4.8.0-1
        self.close(conn, CloseCause::Malformed(error), now, fx);
    }

    /// Ends a connection, whatever its phase: says why to a v5 client, hands its last bytes to the driver,
    /// and does for its session what the end of a connection means. Without effect if it has ended already.
    pub(crate) fn close(&mut self, conn: Key, cause: CloseCause, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        // What may not leave yet never will. If that is CONNACK, nothing can be said either.
        let unsent = connection.outbox.drop_withheld();
        //= mqtt5 3.14.0-1
        if unsent != Some(CONNACK_BYTE)
            && connection.phase == Phase::Online
            && connection.version().is_v5()
            && let Some(reason) = disconnect_reason(&cause)
        {
            self.write_disconnect(conn, reason, &cause);
        }
        let mut client_id = None;
        if self.connections.get(conn).map(|c| c.phase) == Some(Phase::Authenticating) {
            client_id = self.attempted_client_id(conn);
            self.end_attempt(conn);
        }
        //= mqtt5 3.14.4-1
        //= mqtt5 3.14.4-2
        //= mqtt5 4.13.2-1
        let Some(mut connection) = self.connections.remove(conn) else {
            return;
        };
        self.counters.count_close(&cause);
        self.memory_bytes = self.memory_bytes.saturating_sub(connection.counted_bytes);
        if let Some(ticket) = connection.pending_answer {
            self.pending_answers.remove(ticket);
        }
        let session = connection.session;
        if let Some(state) = session.and_then(|key| self.sessions.get(key)) {
            client_id = Some(state.client_id.clone());
        }
        let state = session.and_then(|key| self.sessions.get_mut(key));
        let dropped = state.map(|state| core::mem::take(&mut state.dropped));
        let dropped = dropped.unwrap_or_default();
        let wills = self.config.policy.wills_on_shutdown;
        let drop_will = matches!(cause, CloseCause::ServerShutdown) && !wills;
        fx.closed.push(Closed {
            conn: ConnId(conn),
            farewell: core::mem::take(&mut connection.outbox),
            report: CloseReport {
                client_id,
                version: connection.version,
                cause,
                dropped,
            },
        });
        if let Some(session) = session {
            self.session_offline(session, drop_will, now, fx);
        }
    }

    fn write_disconnect(&mut self, conn: Key, reason: ReasonCode, cause: &CloseCause) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let version = connection.version();
        let mut properties = PropertiesBuf::new();
        if let Some(text) = reason_string(cause) {
            properties.push(Property::ReasonString(&text));
        }
        let full = Packet::Disconnect(Disconnect {
            reason,
            properties: properties.as_properties(),
        });
        let bare = Packet::Disconnect(Disconnect {
            reason,
            properties: Properties::EMPTY,
        });
        //= mqtt5 3.14.2-4
        //= mqtt5 3.14.2-3
        for packet in [full, bare] {
            if packet.encoded_len(version) <= connection.packet_bytes_max as usize {
                let written = packet.encode(version, connection.outbox.bytes());
                debug_assert!(written.is_ok(), "{packet:?}: {written:?}");
                return;
            }
        }
    }

    /// The session has lost its connection: will, expiry, shared subscriptions.
    fn session_offline(&mut self, key: Key, drop_will: bool, now: Time, fx: &mut Effects) {
        let replay_id = self.replay_sequence + 1;
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.connection = None;
        let freed = session.take_window_apart();
        self.memory_bytes = self.memory_bytes.saturating_sub(freed);
        let will_dropped = drop_will && session.will.take().is_some();
        self.replay_sequence += session.replays.len() as u64;
        for (id, replay) in (replay_id..).zip(session.replays.existing().into_iter().flatten()) {
            replay.rewind(id);
        }
        //= mqtt5 3.1.2-8
        //= mqtt311 3.1.2-8
        let (expiry_s, will_delay_s) = (session.expiry_s, session.will.as_ref().map(|w| w.delay_s));
        if will_dropped {
            self.record_will_cleared(key, fx);
        }
        match will_delay_s {
            Some(delay_s) if delay_s.min(expiry_s) > 0 => {
                let due = now.plus_secs(delay_s);
                if let Some(will) = self.sessions.get_mut(key).and_then(|s| s.will.as_mut()) {
                    will.due = Some(due);
                }
            }
            Some(_) => self.publish_will(key, now, fx),
            None => {}
        }
        self.memberships_offline(key, fx);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.release_memory();
        if expiry_s > 0 {
            self.cool_window(key, fx);
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        match expiry_s {
            //= mqtt5 4.1.0-1
            //= mqtt311 4.1.0-1
            //= mqtt311 4.1.0-2
            //= mqtt5 4.1.0-2
            0 => self.end_session(key, now, fx),
            u32::MAX => session.ends_at = None,
            seconds => {
                //= mqtt5 3.1.2-23
                session.ends_at = Some(now.plus_secs(seconds));
            }
        }
        self.record_offline(key, fx);
        self.arm_session_timer(key, now);
    }

    /// The session is over: its subscriptions, queue and everything in flight go; a will that still waits is published.
    pub(crate) fn end_session(&mut self, key: Key, now: Time, fx: &mut Effects) {
        self.publish_will(key, now, fx);
        self.memberships_end(key, fx);
        self.stop_storing(key, fx);
        if let Some(durable) = &mut self.durable {
            durable.forget_letting_go(key);
        }
        self.clients.remove(key, &self.sessions);
        let Some(session) = self.sessions.remove(key) else {
            return;
        };
        self.memory_bytes = self.memory_bytes.saturating_sub(session.held_bytes());
        for filter in session.filters.iter() {
            self.remove_subscription(filter, Subscriber::Session(key));
        }
    }

    /// Sees to it that the shard looks at the session when its will or its end is due.
    pub(crate) fn arm_session_timer(&mut self, key: Key, now: Time) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let Some(due) = session.will_at().into_iter().chain(session.ends_at).min() else {
            return;
        };
        let due = due.min(now.plus_millis(TIMER_SPAN_MS));
        if session.timer_at.is_none_or(|armed| due < armed) {
            session.timer_at = Some(due);
            self.schedule(due, TimerKey::Session(key));
        }
    }

    pub(crate) fn on_session_timer(&mut self, key: Key, now: Time, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.timer_at.is_none_or(|armed| armed > now) {
            // Another timer of this session has done it, or will.
            return;
        }
        session.timer_at = None;
        let (will_at, ends_at) = (session.will_at(), session.ends_at);
        if will_at.is_some_and(|due| due <= now) {
            self.publish_will(key, now, fx);
        }
        if ends_at.is_some_and(|end| end <= now) {
            //= mqtt5 4.1.0-2
            self.end_session(key, now, fx);
        }
        self.arm_session_timer(key, now);
    }

    /// Publishes the session's will, if it has one, and forgets it.
    pub(crate) fn publish_will(&mut self, key: Key, now: Time, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        //= mqtt5 3.1.2-10
        //= mqtt311 3.1.2-10
        //= mqtt311 3.1.2-12
        let Some(will) = session.will.take() else {
            return;
        };
        self.record_will_cleared(key, fx);
        self.counters.wills_published += 1;
        let origin = self.origin_of(key);
        //= mqtt5 3.1.2-14
        //= mqtt5 3.1.2-15
        //= mqtt311 3.1.2-16
        //= mqtt311 3.1.2-17
        let mut publication = Publication::new(will.parts(origin, now));
        match self.stored(key) {
            Some(session) => self.route_durable_will(session, &mut publication, now, fx),
            None => {
                self.route(&mut publication, now, fx);
            }
        }
    }

    pub(crate) fn origin_of(&self, session: Key) -> Origin {
        Origin {
            // At most 64 shards.
            shard: u8::try_from(self.config.index).unwrap_or(u8::MAX),
            session: session.as_u64(),
        }
    }

    /// A planned stop: v5 clients are told, every connection ends; wills are published only if the policy says so.
    pub fn shut_down(&mut self, now: Time, fx: &mut Effects) {
        let all: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for conn in all {
            self.close(conn, CloseCause::ServerShutdown, now, fx);
        }
        self.settle(now, fx);
    }
}

impl Will {
    pub(crate) fn from_connect(will: &martlet_codec::Will<'_>) -> Self {
        let mut shared = Vec::new();
        for (id, raw) in will.properties.iter_raw() {
            //= mqtt5 3.1.3-10
            if id.is_forwarded() {
                shared.extend_from_slice(raw);
            }
        }
        Self {
            topic: will.topic.as_str().into(),
            shared_properties: shared.into_boxed_slice(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            expiry_s: will.properties.message_expiry_interval(),
            delay_s: will.properties.will_delay_interval().unwrap_or(0),
            due: None,
        }
    }

    fn parts(&self, origin: Origin, now: Time) -> MessageParts<'_> {
        MessageParts {
            topic: (&*self.topic).into(),
            shared_properties: &self.shared_properties,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expiry_s.map(|seconds| now.plus_secs(seconds)),
            origin,
        }
    }
}

/// The reason for DISCONNECT, if one is sent.
fn disconnect_reason(cause: &CloseCause) -> Option<ReasonCode> {
    match cause {
        CloseCause::ClientDisconnected(_)
        | CloseCause::ConnectionLost
        | CloseCause::TransportFailed
        | CloseCause::ConnectTimeout
        | CloseCause::Refused(_) => None,
        CloseCause::AuthenticatorTimeout => Some(ReasonCode::ServerBusy),
        CloseCause::ChallengeTimeout => Some(ReasonCode::NotAuthorized),
        CloseCause::KeepAliveTimeout => Some(ReasonCode::KeepAliveTimeout),
        CloseCause::Malformed(error) => Some(error.reason()),
        CloseCause::Violation(violation) => Some(violation.reason),
        CloseCause::TakenOver => Some(ReasonCode::SessionTakenOver),
        CloseCause::ServerShutdown => Some(ReasonCode::ServerShuttingDown),
        CloseCause::OutboxOverflow => Some(ReasonCode::QuotaExceeded),
        CloseCause::Administrative(reason) => Some(*reason),
    }
    //= mqtt5 3.14.2-1
    .filter(|reason| reason.allowed_in(PacketType::Disconnect, martlet_codec::Sender::Server))
}

/// What a person at the other end should know.
fn reason_string(cause: &CloseCause) -> Option<String> {
    match cause {
        CloseCause::Malformed(error) => Some(alloc::format!("{error}")),
        CloseCause::Violation(violation) => {
            Some(alloc::format!("{:?}: {}", violation.packet, violation.what))
        }
        CloseCause::ClientDisconnected(_)
        | CloseCause::ConnectionLost
        | CloseCause::TransportFailed
        | CloseCause::KeepAliveTimeout
        | CloseCause::ConnectTimeout
        | CloseCause::AuthenticatorTimeout
        | CloseCause::ChallengeTimeout
        | CloseCause::Refused(_)
        | CloseCause::TakenOver
        | CloseCause::ServerShutdown
        | CloseCause::OutboxOverflow
        | CloseCause::Administrative(_) => None,
    }
}

/// How CONNACK begins.
const CONNACK_BYTE: u8 = 0x20;
