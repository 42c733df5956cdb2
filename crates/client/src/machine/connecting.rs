//! Connections: made, accepted, refused, lost, tried again.

use martlet_codec::{ConnAck, QoS, ReasonCode};
use martlet_session::{Inbound, InboundAliases, OutboundAliases, Stage};

use super::stream::Wire;
use super::{Event, Link, Machine, OpId, Outcome, Phase, Time, wire};
use crate::error::{Delivered, Error, ErrorKind};
use crate::options::{OnSessionLost, SessionKind};
use crate::state::{Limits, PACKET_SIZE_MAX};

impl Machine {
    /// Begins to connect. With `op`, the first attempt decides: it ends with
    /// [`Outcome::Connected`] or, if it fails, with [`Outcome::ConnectFailed`] and the machine is
    /// closed. Without, the machine tries until it is closed.
    pub fn start(&mut self, now: Time, op: Option<OpId>) {
        if self.phase == Phase::Idle {
            self.connecting = op;
            self.open(now);
        }
    }

    /// The transport that [`Event::Open`] asked for stands.
    pub fn on_opened(&mut self, now: Time) {
        let Phase::Opening { deadline } = self.phase else {
            return;
        };
        self.phase = Phase::Handshake { deadline };
        self.link = Link::none(&self.config);
        self.link.last_received = now;
        self.link.last_sent = now;
        self.out.clear();
        let clean_start = self.clean_start();
        let assigned = self.assigned_client_id.as_deref();
        //= mqtt5 3.1.3-2
        //= mqtt311 3.1.3-2
        let client_id = assigned.unwrap_or(&self.config.client_id);
        //= mqtt5 3.1.0-1
        //= mqtt311 3.1.0-1
        if let Err(error) = wire::connect(&self.config, client_id, clean_start, &mut self.out) {
            // The builder checks the same; a server's identifier has come through our decoder.
            let error = Error::with_detail(ErrorKind::InvalidOption, error.to_string());
            self.drop_connection(now, error, None);
        }
    }

    /// The transport that [`Event::Open`] asked for does not come about.
    pub fn on_failed(&mut self, now: Time, error: Error) {
        if matches!(self.phase, Phase::Opening { .. }) {
            self.lost(now, error);
        }
    }

    /// The transport is gone.
    pub fn on_lost(&mut self, now: Time, error: Error) {
        if matches!(self.phase, Phase::Handshake { .. } | Phase::Online) {
            self.lost(now, error);
        }
    }

    pub(super) fn open(&mut self, now: Time) {
        self.stats.attempts += 1;
        self.backoff.count();
        let deadline = self.config.connect_timeout.map(|limit| now.plus(limit));
        self.phase = Phase::Opening { deadline };
        self.push_event(Event::Open);
        self.push_event(Event::StateChanged);
    }

    /// Ends the connection from our side, with a DISCONNECT that says why if the version can.
    pub(super) fn drop_connection(&mut self, now: Time, error: Error, reason: Option<ReasonCode>) {
        let mut farewell = Vec::new();
        if let (Some(reason), Phase::Online) = (reason, self.phase)
            && self.config.version.is_v5()
        {
            farewell = std::mem::take(&mut self.out);
            wire::disconnect(reason, self.config.version, &mut farewell);
        }
        //= mqtt5 3.14.4-1
        //= mqtt5 3.14.4-2
        //= mqtt5 4.13.2-1
        self.push_event(Event::Close { farewell });
        self.lost(now, error);
    }

    fn lost(&mut self, now: Time, error: Error) {
        if self.phase == Phase::Online {
            let lasted = now.since(self.link.online_since);
            self.backoff.after_connection(lasted);
        }
        let in_handshake = matches!(self.phase, Phase::Handshake { .. });
        self.unanswered += u32::from(in_handshake && !matches!(error.kind, ErrorKind::Refused(_)));
        self.out.clear();
        self.subscriptions.on_lost();
        for id in self.streams.ids() {
            if let Some(stream) = self.streams.get_mut(id)
                && stream.wire == Wire::Sent
            {
                stream.wire = Wire::Wanted;
            }
        }
        let unwritten = std::mem::take(&mut self.link.unwritten);
        // Not online any more, before anybody hears of a failure.
        let until = now.plus(if is_hopeless(error.kind) {
            self.backoff.long_wait()
        } else {
            self.backoff.wait()
        });
        self.phase = Phase::Waiting { until };
        self.last_error = Some(error.clone());
        for (_, outgoing) in unwritten {
            self.fail(outgoing, error.kind, Delivered::Maybe);
        }
        if let Some(op) = self.connecting.take() {
            self.complete(Some(op), Outcome::ConnectFailed(error));
            self.end();
        } else if !self.config.reconnects || self.is_released() || self.is_leaving() {
            self.end();
        }
        self.push_event(Event::StateChanged);
    }

    const fn clean_start(&self) -> bool {
        match self.config.session.kind {
            SessionKind::Clean => true,
            SessionKind::Fresh if self.config.version.is_v5() => !self.was_online,
            SessionKind::Fresh => !self.cleared,
            SessionKind::Persistent => false,
        }
    }

    /// Whether this connection is only there to clear an old session. In 3.1.1 a clean session ends with its
    /// connection, so it is not one to be resumed.
    fn is_clearing(&self) -> bool {
        self.config.session.kind == SessionKind::Fresh
            && !self.config.version.is_v5()
            && !self.cleared
    }

    fn leave_cleared_session(&mut self, now: Time) {
        let mut farewell = std::mem::take(&mut self.out);
        wire::disconnect(ReasonCode::Success, self.config.version, &mut farewell);
        self.push_event(Event::Close { farewell });
        self.open(now);
    }

    pub(super) fn on_connack(&mut self, now: Time, connack: &ConnAck<'_>) {
        if connack.reason != ReasonCode::Success {
            let properties = connack.properties;
            let mut error = Error::new(ErrorKind::Refused(connack.reason));
            error.detail = properties.reason_string().map(Into::into);
            error.server_reference = properties.server_reference().map(Into::into);
            self.drop_connection(now, error, None);
            return;
        }
        //= mqtt5 3.2.2-4
        if connack.session_present && self.clean_start() {
            let error = Error::with_detail(
                ErrorKind::Protocol,
                "the server goes on with a session that was to be new",
            );
            self.drop_connection(now, error, Some(ReasonCode::ProtocolError));
            return;
        }
        if self.is_clearing() {
            self.cleared = true;
            self.leave_cleared_session(now);
            return;
        }
        self.phase = Phase::Online;
        self.stats.connections += 1;
        let limits = self.limits_of(connack);
        self.apply_limits(now, connack.session_present, limits);
        self.link.doubtful = connack.session_present && self.unanswered > 0;
        self.unanswered = 0;
        self.begin_session(connack.session_present);
        self.was_online = true;
        self.last_error = None;
        let op = self.connecting.take();
        self.complete(op, Outcome::Connected);
        self.push_event(Event::StateChanged);
        self.send_wanted_subscriptions(now);
        self.send_birth(now);
        self.pump(now);
    }

    fn limits_of(&self, connack: &ConnAck<'_>) -> Limits {
        let said = connack.properties;
        let yes = |flag: Option<u8>| flag != Some(0);
        let text = |text: Option<&str>| text.map(str::to_owned);
        Limits {
            receive_maximum: said.receive_maximum().unwrap_or(u16::MAX),
            //= mqtt5 3.2.2-11
            maximum_qos: said
                .maximum_qos()
                .and_then(QoS::from_bits)
                .unwrap_or(QoS::ExactlyOnce),
            retain_available: yes(said.retain_available()),
            maximum_packet_size: said.maximum_packet_size().unwrap_or(PACKET_SIZE_MAX),
            topic_alias_maximum: said.topic_alias_maximum().unwrap_or(0),
            wildcards_available: yes(said.wildcard_subscription_available()),
            subscription_ids_available: yes(said.subscription_identifier_available()),
            shared_available: yes(said.shared_subscription_available()),
            //= mqtt5 3.1.2-21
            //= mqtt5 3.2.2-21
            keep_alive_s: said.server_keep_alive().unwrap_or(self.config.keep_alive_s),
            session_expiry_s: said
                .session_expiry_interval()
                .unwrap_or(self.config.session.expiry_s),
            assigned_client_id: text(said.assigned_client_identifier()),
            response_information: text(said.response_information()),
            server_reference: text(said.server_reference()),
            reason: text(said.reason_string()),
            user_properties: said
                .user_properties()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    fn apply_limits(&mut self, now: Time, session_present: bool, limits: Limits) {
        //= mqtt5 3.2.2-17
        //= mqtt5 3.2.2-18
        //= mqtt5 3.3.2-9
        let aliases = limits.topic_alias_maximum.min(self.config.aliases_out_max);
        //= mqtt5 3.3.2-7
        self.link.aliases_out = OutboundAliases::new(aliases);
        self.link.aliases_in = InboundAliases::new(self.config.aliases_in_max);
        self.link.keep_alive = std::time::Duration::from_secs(limits.keep_alive_s.into());
        self.link.session_present = session_present;
        self.link.online_since = now;
        if limits.assigned_client_id.is_some() {
            self.assigned_client_id
                .clone_from(&limits.assigned_client_id);
        }
        self.link.limits = limits;
    }

    /// Goes on with what both sides still have, or starts anew.
    fn begin_session(&mut self, resumed: bool) {
        let had_session = self.was_online && self.config.session.kind != SessionKind::Clean;
        let receive_maximum = if self.config.version.is_v5() {
            self.config.receive_maximum.max(1)
        } else {
            u16::MAX
        };
        //= mqtt5 4.1.0-1
        //= mqtt311 4.1.0-1
        //= mqtt311 4.1.0-2
        if !resumed {
            self.stats.sessions_lost += u64::from(had_session);
            //= mqtt5 3.2.2-5
            //= mqtt5 3.1.2-4
            //= mqtt311 3.1.2-6
            self.inbound = Inbound::default();
            self.restart_in_flight();
        }
        // A session that began with a CONNECT whose CONNACK we never saw has no subscriptions; to one that has, it makes no
        // difference.
        if !resumed || self.link.doubtful {
            for id in self.streams.ids() {
                // One without filters has nothing to ask for: it takes what the others leave, or was refused.
                if let Some(stream) = self.streams.get_mut(id)
                    && !stream.filters.is_empty()
                {
                    stream.wire = Wire::Wanted;
                }
            }
        }
        if !resumed {
            self.inherited = None;
        } else if let Some(inherited) = &mut self.inherited {
            inherited.start_connection();
        } else if !self.was_online {
            self.inherited = Some(super::inherited::Inherited::default());
        }
        for op in self.subscriptions.on_session(resumed) {
            self.complete(Some(op), Outcome::Unsubscribed(Ok(())));
        }
        self.unacked.start_connection(resumed, self.link.doubtful);
        self.inbound.start_connection(receive_maximum);
        //= mqtt5 4.9.0-1
        self.outbound
            .start_connection(self.link.limits.receive_maximum);
    }

    /// The server knows nothing any more of what was in flight.
    fn restart_in_flight(&mut self) {
        let mut again = Vec::new();
        self.outbound_qos2 = 0;
        for (stage, outgoing) in self.outbound.take_all() {
            let policy = match stage {
                Stage::AwaitPubAck => self.config.lost_qos1,
                Stage::AwaitPubRec => self.config.lost_qos2,
                Stage::AwaitPubComp => continue,
            };
            let Some(outgoing) = outgoing else { continue };
            match policy {
                // What is in the file was promised to be delivered at least once, perhaps by a process that can no longer
                // be told of a failure.
                OnSessionLost::Fail if outgoing.stored.is_some() => again.push(outgoing),
                OnSessionLost::Republish => again.push(outgoing),
                OnSessionLost::Fail => {
                    self.fail(outgoing, ErrorKind::SessionLost, Delivered::Maybe);
                }
            }
        }
        // The server has taken these over, but may have waited for PUBREL before it passed them on.
        for releasing in std::mem::take(&mut self.releasing) {
            self.fail_released(&releasing, ErrorKind::SessionLost);
        }
        for outgoing in again.into_iter().rev() {
            outgoing.resent.set(true);
            self.queue.push_front(outgoing);
        }
    }
}

/// Whether trying again soon makes no sense.
const fn is_hopeless(kind: ErrorKind) -> bool {
    let ErrorKind::Refused(reason) = kind else {
        return matches!(kind, ErrorKind::Tls | ErrorKind::InvalidOption);
    };
    matches!(
        reason,
        ReasonCode::BadUserNameOrPassword
            | ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::ClientIdentifierNotValid
            | ReasonCode::UnsupportedProtocolVersion
            | ReasonCode::BadAuthenticationMethod
            | ReasonCode::SessionTakenOver
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved
    )
}
