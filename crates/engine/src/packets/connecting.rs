//! CONNECT: which shard, whether, and with which session; CONNACK.

use alloc::boxed::Box;
use alloc::sync::Arc;

use martlet_codec::{ConnAck, Connect, Packet, PropertiesBuf, Property, ReasonCode, Version};
use martlet_session::{InboundAliases, KeepAlive, OutboundAliases};

use crate::acl::ClientInfo;
use crate::clients::client_session::{ClientSession, Will};
use crate::clients::client_slots::shard_of;
use crate::clients::connection::Phase;
use crate::collections::slab::Key;
use crate::config::Authentication;
use crate::effects::{ConnId, Connected, Effects, Handover};
use crate::report::CloseCause;
use crate::shard::{Flow, Shard, TimerKey};
use crate::time::Time;

impl Shard {
    /// A CONNECT on a fresh connection; `raw` are its bytes.
    pub(crate) fn on_connect(
        &mut self,
        conn: Key,
        connect: &Connect<'_>,
        raw: &[u8],
        now: Time,
        fx: &mut Effects,
    ) -> Flow {
        let home = shard_of(connect.client_id, self.config.shard_count);
        if !connect.client_id.is_empty() && home != self.config.index {
            self.connections.remove(conn);
            fx.handovers.push(Handover {
                conn: ConnId(conn),
                to: home,
            });
            return Flow::NotNow;
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.version = Some(connect.version);
            connection.packet_bytes_max =
                connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
        }
        //= mqtt5 3.1.4-2
        if let Err(reason) = self.check_connect(connect) {
            self.refuse_by_name(conn, connect, reason, now, fx);
            return Flow::Taken;
        }
        match self.config.policy.authentication {
            Authentication::Anonymous if connect.properties.authentication_method().is_some() => {
                //= mqtt5 4.12.0-1
                let reason = ReasonCode::BadAuthenticationMethod;
                self.refuse_by_name(conn, connect, reason, now, fx);
            }
            Authentication::Anonymous => self.accept(conn, connect, None, now, fx),
            Authentication::Ask => self.ask_about_connect(conn, connect, raw, now, fx),
        }
        Flow::Taken
    }

    /// The rules that a well-formed CONNECT has to obey besides authentication.
    fn check_connect(&mut self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        if connect.client_id.is_empty() {
            //= mqtt311 3.1.3-8
            let allowed = match connect.version {
                Version::V31 => false,
                Version::V311 => connect.clean_start,
                Version::V5 => true,
            };
            if !allowed {
                return Err(ReasonCode::ClientIdentifierNotValid);
            }
        }
        //= mqtt5 3.1.3-8
        //= mqtt311 3.1.3-9
        //= mqtt5 3.1.3-5
        //= mqtt311 3.1.3-5
        if connect.client_id.len() > self.config.limits.client_id_bytes_max {
            self.counters.client_ids_refused += 1;
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if let Some(will) = &connect.will {
            if !self.topic_is_within_limits(will.topic.as_str()) {
                return Err(ReasonCode::TopicNameInvalid);
            }
            let client = ClientInfo {
                client_id: connect.client_id,
                version: connect.version,
            };
            if !self.acl.may_publish(client, will.topic.as_str()) {
                return Err(ReasonCode::NotAuthorized);
            }
        }
        self.check_room(connect)
    }

    /// Whether there may be one more session, if this client has none.
    pub(crate) fn check_room(&mut self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let is_new = self.session_of(connect.client_id).is_none();
        if is_new && self.sessions.len() >= self.config.limits.sessions_max {
            self.counters.connections_refused += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    /// The client may come in: session rules, CONNACK, then whatever waits for it.
    pub(crate) fn accept(
        &mut self,
        conn: Key,
        connect: &Connect<'_>,
        auth_data: Option<&[u8]>,
        now: Time,
        fx: &mut Effects,
    ) {
        let assigned = connect.client_id.is_empty();
        //= mqtt5 3.1.3-6
        //= mqtt311 3.1.3-6
        let client_id: Arc<str> = if assigned {
            self.assign_client_id()
        } else {
            connect.client_id.into()
        };
        for older in self.end_attempt(conn) {
            // The authenticator has taken its time, and the client has tried again: the answer to the first attempt may not
            // take over from the second.
            self.close(older, CloseCause::TakenOver, now, fx);
        }
        let expiry_s = self.granted_expiry_s(connect);
        let records = fx.store.progress();
        //= mqtt5 3.1.4-4
        //= mqtt311 3.1.4-3
        let (session, session_present) = self.take_session(&client_id, connect, expiry_s, now, fx);
        let keep_alive_s = self.granted_keep_alive_s(connect);
        self.start_connection(conn, session, connect, keep_alive_s, now);
        let terms = ConnAckTerms {
            session_present,
            expiry_s,
            keep_alive_s,
            assigned: assigned.then_some(&*client_id),
            auth_data,
        };
        if fx.store.progress() != records {
            self.withhold(conn, fx);
        }
        // Nothing was written to it before, and the session speaks behind it.
        //= mqtt5 3.1.4-5
        //= mqtt5 3.2.0-1
        //= mqtt311 3.1.4-4
        //= mqtt311 3.2.0-1
        if !self.write_connack(conn, connect, &terms, now, fx) {
            // CONNACK itself exceeds the client's Maximum Packet Size: it may not be sent.
            self.close(
                conn,
                CloseCause::Refused(ReasonCode::PacketTooLarge),
                now,
                fx,
            );
            return;
        }
        fx.connected.push(Connected {
            conn: ConnId(conn),
            client_id,
            version: connect.version,
            session_present,
            keep_alive_s,
        });
        self.memberships_online(session, fx);
        self.pump(session, now, fx);
    }

    /// Applies takeover and the clean start rules. Returns the session and whether it was there before.
    fn take_session(
        &mut self,
        client_id: &Arc<str>,
        connect: &Connect<'_>,
        expiry_s: u32,
        now: Time,
        fx: &mut Effects,
    ) -> (Key, bool) {
        if let Some(old) = self.session_of(client_id)
            && let Some(connection) = self.sessions.get(old).and_then(|s| s.connection)
        {
            //= mqtt5 3.1.4-3
            //= mqtt311 3.1.4-2
            self.close(connection, CloseCause::TakenOver, now, fx);
        }
        // A timer goes off late, after a start with many sessions much later than it should.
        let has_ended = |session: &ClientSession| session.ends_at.is_some_and(|end| end <= now);
        if let Some(old) = self.session_of(client_id)
            && (connect.clean_start || self.sessions.get(old).is_some_and(has_ended))
        {
            //= mqtt5 3.1.2-4
            //= mqtt311 3.1.2-6
            //= mqtt5 3.1.2-23
            self.end_session(old, now, fx);
        }
        //= mqtt5 3.1.2-5
        //= mqtt311 3.1.2-4
        let known = self.session_of(client_id);
        if let Some(key) = known
            && let Some(will_at) = self.sessions.get(key).and_then(ClientSession::will_at)
            && will_at <= now
        {
            // It was due before the client came back; only its timer has not gone off yet.
            self.publish_will(key, now, fx);
        }
        //= mqtt5 3.1.2-6
        let key = known.unwrap_or_else(|| self.new_session(client_id, connect.version));
        let mut had_will = false;
        if let Some(session) = self.sessions.get_mut(key) {
            had_will = session.will.is_some();
            session.version = connect.version;
            session.expiry_s = expiry_s;
            session.ends_at = None;
            //= mqtt5 3.1.2-7
            //= mqtt5 3.1.3-9
            session.will = connect
                .will
                .as_ref()
                .map(|will| Box::new(Will::from_connect(will)));
        }
        self.record_connected(key, had_will, fx);
        (key, known.is_some())
    }

    pub(crate) fn session_of(&self, client_id: &str) -> Option<Key> {
        //= mqtt5 3.1.3-2
        //= mqtt311 3.1.3-2
        self.clients.get(client_id, &self.sessions)
    }

    pub(crate) fn new_session(&mut self, client_id: &Arc<str>, version: Version) -> Key {
        let session = ClientSession::new(client_id.clone(), version);
        let key = self.sessions.insert(session);
        self.clients.insert(key, &self.sessions);
        key
    }

    fn start_connection(
        &mut self,
        conn: Key,
        key: Key,
        connect: &Connect<'_>,
        keep_alive_s: u16,
        now: Time,
    ) {
        let limits = &self.config.limits;
        let receive_maximum = connect.properties.receive_maximum().unwrap_or(u16::MAX);
        if let Some(session) = self.sessions.get_mut(key) {
            session.connection = Some(conn);
            session
                .outbound
                .start_connection(receive_maximum.min(limits.in_flight_to_client_max));
            let ours = if connect.version.is_v5() {
                limits.receive_maximum
            } else {
                u16::MAX
            };
            session.inbound.start_connection(ours);
        }
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        connection.phase = Phase::Online;
        connection.version = Some(connect.version);
        connection.session = Some(key);
        connection.keep_alive = KeepAlive::new(keep_alive_s, now.as_millis());
        if connect.version.is_v5() {
            let from = limits.topic_aliases_from_client_max;
            //= mqtt5 3.3.2-7
            connection.aliases_in = (from > 0).then(|| Box::new(InboundAliases::new(from)));
            let asked = connect.properties.topic_alias_maximum().unwrap_or(0);
            //= mqtt5 3.3.2-11
            let to = asked.min(limits.topic_aliases_to_client_max);
            connection.aliases_out = (to > 0).then(|| Box::new(OutboundAliases::new(to)));
        }
        if connection
            .keep_alive
            .is_shorter_than(limits.connect_timeout_ms)
            && let Some(deadline) = connection.keep_alive.deadline_ms()
        {
            // Otherwise the timer that waited for CONNECT comes in time, and goes on with the keep alive.
            self.schedule(Time::from_millis(deadline), TimerKey::KeepAlive(conn));
        }
    }

    /// Whether CONNACK could be sent.
    fn write_connack(
        &mut self,
        conn: Key,
        connect: &Connect<'_>,
        terms: &ConnAckTerms<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> bool {
        let mut properties = PropertiesBuf::new();
        // Never with Response Information, Reason String or User Property.
        //= mqtt5 3.1.2-28
        //= mqtt5 3.2.2-19
        //= mqtt5 3.2.2-20
        if connect.version.is_v5() {
            let limits = &self.config.limits;
            let requested = connect.properties.session_expiry_interval().unwrap_or(0);
            if requested != terms.expiry_s {
                properties.push(Property::SessionExpiryInterval(terms.expiry_s));
            }
            properties.push(Property::ReceiveMaximum(limits.receive_maximum));
            properties.push(Property::MaximumPacketSize(limits.packet_bytes_max));
            if limits.topic_aliases_from_client_max > 0 {
                properties.push(Property::TopicAliasMaximum(
                    limits.topic_aliases_from_client_max,
                ));
            }
            if let Some(id) = terms.assigned {
                //= mqtt5 3.1.3-7
                //= mqtt5 3.2.2-16
                properties.push(Property::AssignedClientIdentifier(id));
            }
            if connect.keep_alive_s != terms.keep_alive_s {
                //= mqtt5 3.2.2-22
                properties.push(Property::ServerKeepAlive(terms.keep_alive_s));
            }
            //= mqtt5 4.12.0-6
            if let Some(method) = connect.properties.authentication_method() {
                //= mqtt5 4.12.0-5
                properties.push(Property::AuthenticationMethod(method));
                if let Some(data) = terms.auth_data {
                    properties.push(Property::AuthenticationData(data));
                }
            }
        }
        //= mqtt5 3.2.2-2
        //= mqtt5 3.2.2-3
        //= mqtt311 3.2.2-1
        //= mqtt311 3.2.2-2
        //= mqtt311 3.2.2-3
        let connack = Packet::ConnAck(ConnAck {
            session_present: terms.session_present && connect.version != Version::V31,
            reason: ReasonCode::Success,
            properties: properties.as_properties(),
        });
        let max = connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
        if connack.encoded_len(connect.version) > max as usize {
            return false;
        }
        self.write(conn, &connack, now, fx);
        true
    }

    fn granted_expiry_s(&self, connect: &Connect<'_>) -> u32 {
        let policy = &self.config.policy;
        match connect.version {
            Version::V5 => connect
                .properties
                .session_expiry_interval()
                .unwrap_or(0)
                .min(policy.session_expiry_cap_s),
            Version::V31 | Version::V311 if connect.clean_start => 0,
            Version::V31 | Version::V311 => policy
                .session_expiry_default_s
                .min(policy.session_expiry_cap_s),
        }
    }

    fn granted_keep_alive_s(&self, connect: &Connect<'_>) -> u16 {
        match self.config.policy.keep_alive_cap_s {
            Some(cap)
                if connect.version.is_v5()
                    && (connect.keep_alive_s == 0 || connect.keep_alive_s > cap) =>
            {
                cap
            }
            _ => connect.keep_alive_s,
        }
    }

    /// A client identifier that nobody uses and whose home is this shard.
    fn assign_client_id(&mut self) -> Arc<str> {
        loop {
            let id = alloc::format!("martlet-{:016x}", self.next_random());
            let home = shard_of(&id, self.config.shard_count);
            if home == self.config.index && self.session_of(&id).is_none() {
                return id.into();
            }
        }
    }
}

/// What CONNACK says besides what CONNECT asked for.
struct ConnAckTerms<'a> {
    session_present: bool,
    expiry_s: u32,
    keep_alive_s: u16,
    assigned: Option<&'a str>,
    auth_data: Option<&'a [u8]>,
}
