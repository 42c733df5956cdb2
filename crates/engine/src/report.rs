//! Why a connection ended, for the log: who, why, and for a fault which field at which byte and which statement.

use alloc::sync::Arc;
use core::fmt;

use martlet_codec::{DecodeError, PacketType, ReasonCode, Version};

/// The end of a connection in one line (`Display`).
#[derive(Debug, Clone)]
pub struct CloseReport {
    /// The client identifier, once CONNECT was read.
    pub client_id: Option<Arc<str>>,
    /// The protocol version, once it was read.
    pub version: Option<Version>,
    /// Why.
    pub cause: CloseCause,
    /// What the client did not get, since the last report about it.
    pub dropped: Drops,
}

/// Messages that one client did not get because it was slow, or away for long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// At QoS 0, because its outbox was full.
    pub outbox_full: u32,
    /// Because its session's queue was full.
    pub queue_full: u32,
}

impl Drops {
    pub(crate) fn on_full_queue(&mut self, count: u64) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.queue_full = self.queue_full.saturating_add(count);
    }
}

/// Why a connection ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseCause {
    /// The client sent DISCONNECT with this reason.
    ClientDisconnected(ReasonCode),
    /// The connection was closed by the peer without DISCONNECT.
    ConnectionLost,
    /// The transport reported an error.
    TransportFailed,
    /// No packet for one and a half times the Keep Alive.
    KeepAliveTimeout,
    /// CONNECT did not arrive in time.
    ConnectTimeout,
    /// The authenticator gave no verdict in time: nothing that the client could help.
    AuthenticatorTimeout,
    /// The client did not answer the authenticator's challenge in time.
    ChallengeTimeout,
    /// The bytes received are no legal packet.
    Malformed(DecodeError),
    /// A legal packet that is not allowed here.
    Violation(Violation),
    /// CONNECT was refused with this reason.
    Refused(ReasonCode),
    /// Another connection with the same client identifier took the session over.
    TakenOver,
    /// The broker stops.
    ServerShutdown,
    /// The peer does not read what it has asked for.
    OutboxOverflow,
    /// An administrator or an authenticator ended it, with this reason.
    Administrative(ReasonCode),
}

/// A packet that may be sent, but not here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The packet.
    pub packet: PacketType,
    /// What is wrong with it.
    pub what: &'static str,
    /// The reason code for the peer.
    pub reason: ReasonCode,
    /// The statement that it breaks, where there is one.
    pub statement: Option<&'static str>,
}

impl CloseCause {
    /// Whether the peer ended the connection as the protocol foresees, or we planned it.
    #[must_use]
    pub const fn is_normal(&self) -> bool {
        matches!(
            self,
            Self::ClientDisconnected(_) | Self::ServerShutdown | Self::TakenOver
        )
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.client_id {
            Some(id) => write!(f, "client {id:?}: ")?,
            None if self.version.is_none() => write!(f, "a connection before CONNECT: ")?,
            None => write!(f, "a client that has not said who it is: ")?,
        }
        self.write_cause(f)?;
        let Drops {
            outbox_full,
            queue_full,
        } = self.dropped;
        if outbox_full > 0 {
            write!(f, "; {outbox_full} messages at QoS 0 dropped, outbox full")?;
        }
        if queue_full > 0 {
            write!(f, "; {queue_full} messages dropped, queue full")?;
        }
        Ok(())
    }
}

impl CloseReport {
    fn write_cause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            CloseCause::ClientDisconnected(reason) if !reason.is_error() => {
                write!(f, "disconnected")
            }
            CloseCause::ClientDisconnected(reason) => {
                write!(
                    f,
                    "disconnected with {} (0x{:02X})",
                    reason.name(),
                    reason.as_u8()
                )
            }
            CloseCause::ConnectionLost => write!(f, "closed its connection without DISCONNECT"),
            CloseCause::TransportFailed => write!(f, "its connection failed"),
            CloseCause::KeepAliveTimeout => {
                write!(f, "sent no packet for one and a half times its keep alive")
            }
            CloseCause::ConnectTimeout => write!(f, "sent no whole CONNECT in time"),
            CloseCause::AuthenticatorTimeout => {
                write!(f, "the authenticator gave no verdict in time")
            }
            CloseCause::ChallengeTimeout => {
                write!(f, "did not answer the authenticator's challenge in time")
            }
            CloseCause::Malformed(error) => {
                write!(f, "{error} (0x{:02X})", error.reason().as_u8())?;
                match error.statement(self.version.unwrap_or(Version::V5)) {
                    Some(statement) => write!(f, " [{statement}]"),
                    None => Ok(()),
                }
            }
            CloseCause::Violation(violation) => write!(f, "{violation}"),
            CloseCause::Refused(reason) => {
                write!(f, "refused: {} (0x{:02X})", reason.name(), reason.as_u8())
            }
            CloseCause::TakenOver => {
                write!(
                    f,
                    "another connection with the same client identifier took over"
                )
            }
            CloseCause::ServerShutdown => write!(f, "the broker stops"),
            CloseCause::OutboxOverflow => {
                write!(f, "does not read its answers: its outbox is over the limit")
            }
            CloseCause::Administrative(reason) => {
                write!(f, "ended: {} (0x{:02X})", reason.name(), reason.as_u8())
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: {} (0x{:02X})",
            self.packet,
            self.what,
            self.reason.as_u8()
        )?;
        match self.statement {
            Some(statement) => write!(f, " [{statement}]"),
            None => Ok(()),
        }
    }
}
