//! What can go wrong. Nothing here has to be told apart by its text.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use martlet_codec::ReasonCode;

use crate::message::Message;

/// What went wrong, to be matched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server refused the connection, or ended it with a reason.
    Refused(ReasonCode),
    /// The server refused this publish, subscribe or unsubscribe.
    Rejected(ReasonCode),
    /// The queue has no room and its policy is not to wait.
    QueueFull,
    /// The message was of no use any more before it could be sent.
    Expired,
    /// A newer retained message for the same topic took its place in the queue.
    Superseded,
    /// QoS 0 while there is no connection; see [`Outbox::qos0`](crate::Outbox::qos0).
    Offline,
    /// The packet is larger than the server (or, before it says so, MQTT) accepts.
    TooLarge {
        /// The most bytes of a packet.
        max: u32,
    },
    /// The server, or the version of the protocol, cannot do this.
    NotSupported(Feature),
    /// The topic or topic filter is none.
    InvalidTopic,
    /// An option or a URL makes no sense.
    InvalidOption,
    /// The server has lost the session; whether the message was delivered is unknown.
    SessionLost,
    /// [`Delivery::cancel`](crate::Delivery::cancel) took it back.
    Cancelled,
    /// The host name has no address.
    Dns,
    /// The connection could not be made, or broke.
    Io,
    /// The TLS handshake failed.
    Tls,
    /// The proxy did not let us through.
    Proxy,
    /// The other side does not speak MQTT as it should.
    Protocol,
    /// Nothing came in the time given.
    Timeout,
    /// The outbox's file cannot be used.
    Storage,
    /// The client was closed.
    Closed,
}

/// Something that not every server or version can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// An option of MQTT 5.0, on a 3.1.1 connection.
    Mqtt5,
    /// QoS 1 or 2.
    QoS,
    /// Retained messages.
    Retain,
    /// Wildcards in filters.
    Wildcards,
    /// Shared subscriptions.
    SharedSubscriptions,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtt5 => "this option needs MQTT 5.0",
            Self::QoS => "the server does not support this QoS",
            Self::Retain => "the server does not keep retained messages",
            Self::Wildcards => "the server does not support wildcards in filters",
            Self::SharedSubscriptions => "the server does not support shared subscriptions",
        })
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the server refused the connection: {reason}"),
            Self::Rejected(reason) => write!(f, "the server refused: {reason}"),
            Self::QueueFull => f.write_str("the queue is full"),
            Self::Expired => f.write_str("the message expired before it could be sent"),
            Self::Superseded => f.write_str("a newer retained message took its place"),
            Self::Offline => f.write_str("not connected, and QoS 0 is not queued"),
            Self::TooLarge { max } => write!(f, "larger than the {max} bytes that are accepted"),
            Self::NotSupported(feature) => feature.fmt(f),
            Self::InvalidTopic => f.write_str("no legal topic"),
            Self::InvalidOption => f.write_str("an option makes no sense"),
            Self::SessionLost => f.write_str("the server has lost the session"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Dns => f.write_str("the host name was not found"),
            Self::Io => f.write_str("the connection failed"),
            Self::Tls => f.write_str("the TLS handshake failed"),
            Self::Proxy => f.write_str("the proxy refused"),
            Self::Protocol => f.write_str("the other side does not speak MQTT as it should"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Storage => f.write_str("the outbox's file cannot be used"),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

/// Why a connection, a subscription or a request failed.
#[derive(Debug, Clone)]
pub struct Error {
    pub(crate) kind: ErrorKind,
    pub(crate) detail: Option<Arc<str>>,
    pub(crate) server_reference: Option<Arc<str>>,
    pub(crate) source: Option<Arc<io::Error>>,
}

impl Error {
    pub(crate) const fn new(kind: ErrorKind) -> Self {
        Self {
            kind,
            detail: None,
            server_reference: None,
            source: None,
        }
    }

    pub(crate) fn with_detail(kind: ErrorKind, detail: impl AsRef<str>) -> Self {
        Self {
            detail: Some(detail.as_ref().into()),
            ..Self::new(kind)
        }
    }

    pub(crate) fn from_io(kind: ErrorKind, source: io::Error) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..Self::new(kind)
        }
    }

    /// What went wrong, to be matched on.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the server, or the part of this library that found the fault, has to say about it.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The other server that this one names (MQTT 5.0, "use another server", "server moved").
    /// It is reported, not followed.
    #[must_use]
    pub fn server_reference(&self) -> Option<&str> {
        self.server_reference.as_deref()
    }

    /// The reason code, if the server gave one.
    #[must_use]
    pub const fn reason(&self) -> Option<ReasonCode> {
        if let ErrorKind::Refused(reason) | ErrorKind::Rejected(reason) = self.kind {
            return Some(reason);
        }
        None
    }

    /// The error of the operating system, if there was one.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(reference) = &self.server_reference {
            write!(f, " (the server names another one: {reference})")?;
        }
        Ok(())
    }
}

/// An error as events show it: without what the server says, which can be about anybody's business.
pub(crate) struct Public<'a>(pub(crate) &'a Error);

impl fmt::Display for Public<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.reason() {
            // What there is to say about this one, this library says.
            None | Some(ReasonCode::SessionTakenOver) => self.0.fmt(f),
            Some(_) => self.0.kind.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|error| error as &(dyn std::error::Error + 'static))
    }
}

/// Whether a message that failed can have reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivered {
    /// It has not: sending it again makes no duplicate.
    No,
    /// It was sent and nothing was heard of it.
    Maybe,
}

/// Why a message was not published. It comes back inside, to be sent again or stored elsewhere:
/// [`Client::publish_message`](crate::Client::publish_message).
#[derive(Debug)]
pub struct PublishError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Whether the server can have it all the same.
    pub delivered: Delivered,
    /// What the server, or the check that failed, has to say about it.
    pub reason: Option<String>,
    /// The message.
    pub message: Box<Message>,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not published: {}", self.kind)?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        if self.delivered == Delivered::Maybe {
            f.write_str(" (the server may have it all the same)")?;
        }
        Ok(())
    }
}

impl std::error::Error for PublishError {}

/// What was left undone when the time for [`flush`](crate::Client::flush) or
/// [`close`](crate::Client::close) was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Messages that were not sent.
    pub queued: usize,
    /// Messages that were sent and not acknowledged.
    pub in_flight: usize,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages not sent, {} not acknowledged",
            self.queued, self.in_flight
        )
    }
}

impl std::error::Error for Unfinished {}

/// What became of a message that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The server's reason code; `Success` in 3.1.1 and for QoS 0.
    pub reason: ReasonCode,
    /// The server says that nobody has subscribed to it (MQTT 5.0; servers need not say).
    pub no_subscribers: bool,
    /// It was sent more than once because the connection broke.
    pub retransmitted: bool,
    /// How long it waited before it was sent for the first time.
    pub queued_for: Duration,
    /// From the first transmission to the acknowledgement; for QoS 0 to the end of writing it.
    pub rtt: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_clear_line() {
        let refused = Error {
            server_reference: Some("b.example:1883".into()),
            ..Error::with_detail(ErrorKind::Refused(ReasonCode::ServerMoved), "gone")
        };
        assert_eq!(
            refused.to_string(),
            "the server refused the connection: server moved (0x9D): gone (the server names another \
             one: b.example:1883)"
        );
        let failed = PublishError {
            kind: ErrorKind::SessionLost,
            delivered: Delivered::Maybe,
            reason: None,
            message: Box::new(Message::new("a", "b")),
        };
        assert_eq!(
            failed.to_string(),
            "not published: the server has lost the session (the server may have it all the same)"
        );
    }
}
