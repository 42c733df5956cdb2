//! Refusals of CONNECT: CONNACK in the form of its version, then the end.

use martlet_codec::{ConnAck, Connect, Packet, PacketType, Properties, ReasonCode, Version};

use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::report::CloseCause;
use crate::shard::Shard;
use crate::time::Time;

impl Shard {
    /// CONNACK with a reason of 0x80 or more, then the end.
    pub(crate) fn refuse(&mut self, conn: Key, reason: ReasonCode, now: Time, fx: &mut Effects) {
        self.write_refusal(conn, reason, now, fx);
        // Nothing behind it is read any more.
        //= mqtt5 3.1.4-6
        //= mqtt311 3.1.4-5
        self.close(conn, CloseCause::Refused(reason), now, fx);
    }

    /// The same, for somebody whom nothing but this CONNECT names: the log has to.
    pub(crate) fn refuse_by_name(
        &mut self,
        conn: Key,
        connect: &Connect<'_>,
        reason: ReasonCode,
        now: Time,
        fx: &mut Effects,
    ) {
        self.refuse(conn, reason, now, fx);
        let id = connect.client_id;
        if let Some(closed) = fx.closed.last_mut()
            && closed.conn.0 == conn
            && !id.is_empty()
            && id.len() <= self.config.limits.client_id_bytes_max
        {
            closed.report.client_id = Some(id.into());
        }
    }

    /// CONNACK with a reason of 0x80 or more.
    pub(crate) fn write_refusal(
        &mut self,
        conn: Key,
        reason: ReasonCode,
        now: Time,
        fx: &mut Effects,
    ) {
        let reason_3 = return_code_3(reason);
        let sent = if self.version_of(conn).is_v5() {
            Some(reason)
        } else {
            reason_3
        };
        if let Some(reason) = sent {
            //= mqtt5 3.2.2-6
            //= mqtt5 3.2.2-7
            //= mqtt311 3.2.2-4
            //= mqtt311 3.2.2-5
            //= mqtt311 3.2.2-6
            let connack = ConnAck {
                session_present: false,
                reason,
                properties: Properties::EMPTY,
            };
            self.write(conn, &Packet::ConnAck(connack), now, fx);
        }
    }

    /// The refusal of a CONNECT that cannot be decoded, in the form of the version that it claims.
    pub(crate) fn refuse_malformed_connect(
        &mut self,
        conn: Key,
        bytes: &[u8],
        reason: ReasonCode,
        now: Time,
        fx: &mut Effects,
    ) {
        let Some(peek) = martlet_codec::peek_connect(bytes) else {
            return;
        };
        let version = match (peek.version, peek.level) {
            (Some(version), _) => version,
            //= mqtt5 3.1.2-2
            //= mqtt311 3.1.2-2
            (None, level) if is_later_than_5(level) => Version::V5,
            (None, _) => Version::V311,
        };
        let unsupported = reason == ReasonCode::UnsupportedProtocolVersion;
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.version = Some(version);
        }
        //= mqtt311 3.1.4-1
        if version.is_v5() || unsupported {
            let connack = ConnAck {
                session_present: false,
                reason,
                properties: Properties::EMPTY,
            };
            if reason.allowed_in(PacketType::ConnAck, martlet_codec::Sender::Server) {
                self.write(conn, &Packet::ConnAck(connack), now, fx);
            }
        }
    }
}

/// The reason as one that MQTT 3 has a return code for; `None`: close without CONNACK.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a new reason code has no MQTT 3 return code"
)]
const fn return_code_3(reason: ReasonCode) -> Option<ReasonCode> {
    match reason {
        ReasonCode::UnsupportedProtocolVersion
        | ReasonCode::ClientIdentifierNotValid
        | ReasonCode::ServerUnavailable
        | ReasonCode::BadUserNameOrPassword
        | ReasonCode::NotAuthorized => Some(reason),
        ReasonCode::ServerBusy | ReasonCode::QuotaExceeded => Some(ReasonCode::ServerUnavailable),
        ReasonCode::Banned => Some(ReasonCode::NotAuthorized),
        _ => None,
    }
}

/// Whether a level that is none of ours is of a version to come.
const fn is_later_than_5(level: u8) -> bool {
    level > Version::V5.level() && level & !BRIDGE_BIT >= Version::V5.level()
}

/// Bridges of mosquitto set it in the protocol level, to ask for rules of their own. Only if the refusal has the form of the version
/// below it do they try again without.
const BRIDGE_BIT: u8 = 0x80;
