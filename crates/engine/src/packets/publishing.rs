//! PUBLISH from a client: is it allowed, is it new, what does it say; then routing, then the acknowledgement.

use alloc::vec::Vec;

use martlet_codec::{Ack, PacketId, PacketType, Publish, QoS, ReasonCode};
use martlet_session::InboundPublish;

use crate::acl::ClientInfo;
use crate::clients::connection::{Connection, Parked, Waits};
use crate::collections::slab::Key;
use crate::durable::Admission;
use crate::effects::Effects;
use crate::message::MessageParts;
use crate::packets::reading::{Online, Raw};
use crate::peering::parts::{Asker, Doubt, Who};
use crate::publication::Publication;
use crate::report::{CloseCause, Violation};
use crate::routing::Routed;
use crate::sending::express::Template;
use crate::sending::writing::AckKind;
use crate::shard::{Flow, Shard, TimerKey};
use crate::time::Time;

impl Shard {
    /// PUBLISH from an accepted client.
    pub(crate) fn on_publish(
        &mut self,
        client: Online,
        publish: &Publish<'_>,
        raw: Raw<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Flow {
        let conn = client.conn;
        if self.memory_bytes >= self.config.limits.memory_budget_bytes
            && !self.may_pass_budget(conn, now)
        {
            return Flow::NotNow;
        }
        if let (Some(topic), true) = (publish.topic, publish.properties.is_empty()) {
            return self.publish_if_admitted(client, publish, raw, topic.as_str(), now, fx);
        }
        let mut alias_topic = core::mem::take(&mut self.scratch.topic);
        let topic = self
            .connections
            .get_mut(conn)
            .map_or(Err(TopicFault::Unmapped), |c| {
                resolve_topic(c, publish, &mut alias_topic)
            });
        let mut flow = Flow::Taken;
        match topic {
            Ok(topic) => flow = self.publish_if_admitted(client, publish, raw, topic, now, fx),
            Err(fault) => self.violate(conn, fault.violation(), now, fx),
        }
        self.scratch.topic = alias_topic;
        flow
    }

    fn publish_if_admitted(
        &mut self,
        client: Online,
        publish: &Publish<'_>,
        raw: Raw<'_>,
        topic: &str,
        now: Time,
        fx: &mut Effects,
    ) -> Flow {
        let Online { conn, session, .. } = client;
        let admission = match &self.durable {
            None => Admission::Take,
            Some(_) => self.admit((conn, session), publish, topic),
        };
        match admission {
            Admission::Take => self.publish_to(client, publish, raw, topic, now, fx),
            Admission::Refuse => {
                let reason = ReasonCode::QuotaExceeded;
                self.refuse_publish(conn, session, publish, reason, now, fx);
            }
            Admission::Wait => return Flow::NotNow,
        }
        Flow::Taken
    }

    fn publish_to(
        &mut self,
        client: Online,
        publish: &Publish<'_>,
        raw: Raw<'_>,
        topic: &str,
        now: Time,
        fx: &mut Effects,
    ) {
        let Online { conn, session, .. } = client;
        let mut again = None;
        match self.receive(session, publish) {
            InboundPublish::Fresh => {}
            InboundPublish::Duplicate => match self.doubt_about(session, publish.packet_id) {
                Some(doubt) if doubt.restored => again = Some(doubt.publish),
                doubt => {
                    //= mqtt5 4.3.3-10
                    //= mqtt311 4.3.3-2
                    self.acknowledge_again(conn, publish, doubt, now, fx);
                    return;
                }
            },
            InboundPublish::ReceiveMaximumExceeded => {
                let violation = Violation {
                    packet: PacketType::Publish,
                    what: "exceeds the Receive Maximum",
                    reason: ReasonCode::ReceiveMaximumExceeded,
                    statement: Some("MQTT-3.3.4-7"),
                };
                self.violate(conn, violation, now, fx);
                return;
            }
        }
        self.counters.publishes_received += 1;
        if let Err(reason) = self.check_topic(session, topic, raw) {
            self.refuse_publish(conn, session, publish, reason, now, fx);
            return;
        }
        let mut shared = core::mem::take(&mut self.scratch.shared);
        let expires_at = collect_shared(publish, &mut shared, now);
        let template = Template::of_packet(publish, client.version, raw.bytes, shared.len());
        let parts = MessageParts {
            topic: topic.into(),
            shared_properties: &shared,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_at,
            origin: self.origin_of(session),
        };
        let mut publication = Publication::with_template(parts, template);
        let lent = self.scratch.lent.take();
        if let Some(memory) = &lent {
            publication.lend(raw.bytes, memory);
        }
        if self.durable.is_some() || publish.retain {
            publication.asker = Some(Asker {
                who: Who::Client(conn),
                doubtful: publish.qos == QoS::ExactlyOnce && self.stored(session).is_some(),
                again,
            });
        }
        let records = fx.store.progress();
        //= mqtt311 3.3.1-12
        let routed = if publish.retain {
            self.route(&mut publication, now, fx)
        } else if let Some(route) = raw.route.filter(|route| self.is_route_to(route, topic)) {
            self.route_plain(route, &mut publication, now, fx)
        } else {
            let route = self.lookup(topic.into());
            let routed = self.route_plain(&route, &mut publication, now, fx);
            self.scratch.route = Some(route);
            routed
        };
        self.scratch.shared = shared;
        if publish.packet_id.is_some() {
            self.answer_publish((conn, session), publish, routed, records, now, fx);
        }
    }

    /// What is to be recorded of a message that was taken, and its answer. `records`: how far the batch was before.
    fn answer_publish(
        &mut self,
        (conn, session): (Key, Key),
        publish: &Publish<'_>,
        routed: Routed,
        records: usize,
        now: Time,
        fx: &mut Effects,
    ) {
        let reason = match routed {
            Routed::NobodyMatched => ReasonCode::NoMatchingSubscribers,
            Routed::Matched | Routed::Storing { .. } => ReasonCode::Success,
        };
        let mut waits = Waits::NOTHING;
        if let Routed::Storing { publish, .. } = routed {
            waits.publish = publish.get();
        }
        if let (true, QoS::ExactlyOnce, Some(id)) =
            (self.durable.is_some(), publish.qos, publish.packet_id)
        {
            self.received_at_qos_2(session, id, routed, fx);
        }
        if fx.store.progress() != records {
            waits.batch = fx.store.newest();
        }
        self.acknowledge(conn, publish, reason, waits, now, fx);
    }

    /// Whether the client may publish to this topic.
    fn check_topic(&mut self, session: Key, topic: &str, raw: Raw<'_>) -> Result<(), ReasonCode> {
        let was_checked = raw
            .route
            .is_some_and(|route| core::ptr::eq(route.topic(), topic));
        if !was_checked && !self.topic_is_within_limits(topic) {
            return Err(ReasonCode::TopicNameInvalid);
        }
        if !self.acl_is_open
            && let Some(state) = self.sessions.get(session)
        {
            let client = ClientInfo {
                client_id: &state.client_id,
                version: state.version,
            };
            if !self.acl.may_publish(client, topic) {
                return Err(ReasonCode::NotAuthorized);
            }
        }
        Ok(())
    }

    /// A QoS 2 message was taken: its identifier is recorded, and what is not sure about it.
    fn received_at_qos_2(&mut self, session: Key, id: PacketId, routed: Routed, fx: &mut Effects) {
        let mut number = None;
        if let Routed::Storing { publish, shards } = routed
            && self.stored(session).is_some()
        {
            number = Some(publish.get());
            let doubt = Doubt {
                publish,
                shards: shards | 1 << self.config.index,
                restored: false,
            };
            self.begin_doubt(session, id, doubt);
        }
        self.record_received(session, id, number, fx);
    }

    /// A QoS 2 message has come again on whose PUBREL we wait: it gets its answer when it would have got it the first time.
    fn acknowledge_again(
        &mut self,
        conn: Key,
        publish: &Publish<'_>,
        doubt: Option<Doubt>,
        now: Time,
        fx: &mut Effects,
    ) {
        let mut waits = Waits::NOTHING;
        if let Some(doubt) = doubt
            && let Some(parts) = self.awaited_parts.get_mut(&doubt.publish)
        {
            parts.who = Who::Client(conn);
            parts.answers = parts.answers.saturating_add(1);
            waits.publish = doubt.publish.get();
        }
        self.acknowledge(conn, publish, ReasonCode::Success, waits, now, fx);
    }

    /// The QoS side of an arriving PUBLISH.
    fn receive(&mut self, session: Key, publish: &Publish<'_>) -> InboundPublish {
        if publish.qos == QoS::AtMostOnce {
            return InboundPublish::Fresh;
        }
        let Some(state) = self.sessions.get_mut(session) else {
            return InboundPublish::Duplicate;
        };
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, _) => state.inbound.on_publish_qos1(),
            (QoS::ExactlyOnce, Some(id)) => state.inbound.on_publish_qos2(id),
            (QoS::AtMostOnce | QoS::ExactlyOnce, _) => InboundPublish::Fresh,
        }
    }

    /// A PUBLISH that may not be published. v5 says so in its acknowledgement; MQTT 3 has no error reply: what
    /// is forbidden is acknowledged and dropped, what breaks a limit closes the connection.
    fn refuse_publish(
        &mut self,
        conn: Key,
        session: Key,
        publish: &Publish<'_>,
        reason: ReasonCode,
        now: Time,
        fx: &mut Effects,
    ) {
        let v5 = self.version_of(conn).is_v5();
        let breaks_limit = reason == ReasonCode::TopicNameInvalid;
        if breaks_limit && (!v5 || publish.qos == QoS::AtMostOnce) {
            let violation = Violation {
                packet: PacketType::Publish,
                what: "has a topic name longer or deeper than this broker takes",
                reason,
                statement: None,
            };
            self.close(conn, CloseCause::Violation(violation), now, fx);
            return;
        }
        if v5 && let (Some(id), Some(state)) = (publish.packet_id, self.sessions.get_mut(session)) {
            //= mqtt5 4.3.3-9
            state.inbound.release(id);
        }
        //= mqtt311 3.3.5-2
        self.acknowledge(conn, publish, reason, Waits::NOTHING, now, fx);
    }

    /// PUBREL from a client: the identifier of its QoS 2 message is free again.
    pub(crate) fn on_pubrel(&mut self, client: Online, ack: &Ack<'_>, now: Time, fx: &mut Effects) {
        let Online { conn, session, .. } = client;
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let known = state.inbound.release(ack.packet_id);
        let mut waits = Waits::NOTHING;
        if known && self.durable.is_some() {
            waits = self.record_completed(session, ack.packet_id, fx);
            self.end_doubt(session, ack.packet_id, fx);
        }
        let reason = if known || !client.version.is_v5() {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        //= mqtt5 4.3.3-11
        //= mqtt5 4.3.3-13
        let answer = (AckKind::PubComp, ack.packet_id);
        self.answer(conn, answer, reason, waits, now, fx);
    }

    /// Whether a topic name or filter is within the operator's limits; counts those that are not.
    pub(crate) fn topic_is_within_limits(&mut self, topic: &str) -> bool {
        let within = self.takes_topic(topic);
        self.counters.topics_refused += u64::from(!within);
        within
    }

    pub(crate) fn takes_topic(&self, topic: &str) -> bool {
        let limits = &self.config.limits;
        topic.len() <= limits.topic_bytes_max
            && (topic.len() < limits.topic_levels_max
                || topic.bytes().filter(|byte| *byte == b'/').count() < limits.topic_levels_max)
    }

    /// Over the memory budget: parks the publisher unless it is exempt this once.
    fn may_pass_budget(&mut self, conn: Key, now: Time) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else {
            return true;
        };
        if core::mem::take(&mut connection.budget_exempt) {
            return true;
        }
        connection.parked = Some(Parked::Budget);
        self.counters.publishers_paused += 1;
        if self.paused.is_empty() {
            self.schedule(now.plus_millis(PAUSE_MS), TimerKey::Paused);
        }
        self.paused.push(conn);
        false
    }
}

/// What is wrong with the way a PUBLISH names its topic.
#[derive(Debug, Clone, Copy)]
enum TopicFault {
    AliasOutOfRange,
    Unmapped,
}

impl TopicFault {
    const fn violation(self) -> Violation {
        let (what, reason, statement) = match self {
            Self::AliasOutOfRange => (
                "has a Topic Alias outside the announced Topic Alias Maximum",
                ReasonCode::TopicAliasInvalid,
                Some("MQTT-3.2.2-17"),
            ),
            Self::Unmapped => (
                "has an unknown Topic Alias and no topic name",
                ReasonCode::ProtocolError,
                None,
            ),
        };
        Violation {
            packet: PacketType::Publish,
            what,
            reason,
            statement,
        }
    }
}

/// The topic of a PUBLISH; one that is only named by its alias is copied to `buffer`.
fn resolve_topic<'a>(
    connection: &mut Connection,
    publish: &Publish<'a>,
    buffer: &'a mut alloc::string::String,
) -> Result<&'a str, TopicFault> {
    let alias = if publish.properties.is_empty() {
        None
    } else {
        publish.properties.topic_alias()
    };
    match (publish.topic, alias) {
        (Some(topic), None) => Ok(topic.as_str()),
        (topic, Some(alias)) => {
            let Some(aliases) = connection
                .aliases_in
                .as_deref_mut()
                .filter(|aliases| aliases.allows(alias))
            else {
                return Err(TopicFault::AliasOutOfRange);
            };
            if let Some(topic) = topic {
                aliases.define(alias, topic.as_str());
                return Ok(topic.as_str());
            }
            buffer.clear();
            buffer.push_str(aliases.resolve(alias).ok_or(TopicFault::Unmapped)?);
            Ok(buffer)
        }
        (None, None) => Err(TopicFault::Unmapped),
    }
}

/// Copies the properties that receivers get unchanged; returns when the message expires.
fn collect_shared(publish: &Publish<'_>, shared: &mut Vec<u8>, now: Time) -> Option<Time> {
    shared.clear();
    if publish.properties.is_empty() {
        return None;
    }
    for (id, raw) in publish.properties.iter_raw() {
        //= mqtt5 3.3.2-4
        //= mqtt5 3.3.2-15
        //= mqtt5 3.3.2-16
        //= mqtt5 3.3.2-17
        //= mqtt5 3.3.2-18
        //= mqtt5 3.3.2-20
        if id.is_forwarded() {
            shared.extend_from_slice(raw);
        }
    }
    let expiry_s = publish.properties.message_expiry_interval();
    expiry_s.map(|seconds| now.plus_secs(seconds))
}

/// How long a publisher is not read before it may send one message though the shard is over its budget.
const PAUSE_MS: u64 = 1_000;
