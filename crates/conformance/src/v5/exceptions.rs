//! Statements of MQTT 5.0 that this suite cannot prove.

use crate::case::Version::V5;
use crate::exceptions::Exception;

/// The list only shrinks.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    client(
        "3.1.2-20",
        "when a client sends PINGREQ is the client's own business",
    ),
    client(
        "3.1.2-21",
        "how a client changes its keep alive is the client's own business",
    ),
    client(
        "3.1.2-30",
        "needs a broker with an authentication method of a known exchange",
    ),
    client("3.2.2-4", "what a client does about Session Present"),
    client("3.2.2-5", "what a client does about Session Present"),
    client(
        "3.2.2-21",
        "how a client changes its keep alive is the client's own business",
    ),
    client("3.3.4-8", "what a client sends while its window is full"),
    client("4.5.0-2", "how a client acknowledges"),
    client("4.6.0-2", "the order of a client's PUBACKs"),
    client("4.6.0-3", "the order of a client's PUBRECs"),
    client("4.6.0-4", "the order of a client's PUBRELs"),
    client(
        "4.12.0-3",
        "how a client answers an authentication exchange",
    ),
    client(
        "4.12.1-1",
        "needs a broker with an authentication method of a known exchange",
    ),
    client("6.0.0-3", "the suite speaks plain TCP, not WebSocket"),
    broker(
        "3.15.2-2",
        "needs a broker with an authentication method of a known exchange",
    ),
    broker(
        "3.15.2-3",
        "needs a broker with an authentication method of a known exchange",
    ),
    broker(
        "4.12.0-2",
        "needs a broker with an authentication method of a known exchange",
    ),
    broker(
        "4.12.0-4",
        "needs a broker with an authentication method of a known exchange",
    ),
    broker(
        "4.12.0-5",
        "needs a broker with an authentication method of a known exchange",
    ),
    broker(
        "4.12.1-2",
        "needs a broker with an authentication method of a known exchange",
    ),
    broker("6.0.0-1", "the suite speaks plain TCP, not WebSocket"),
    broker("6.0.0-2", "the suite speaks plain TCP, not WebSocket"),
    broker("6.0.0-4", "the suite speaks plain TCP, not WebSocket"),
];

/// A statement that binds only what a client does.
const fn client(statement: &'static str, reason: &'static str) -> Exception {
    Exception {
        version: V5,
        statement,
        reason,
    }
}

/// A statement that binds a broker, too, but cannot be provoked or seen from outside.
const fn broker(statement: &'static str, reason: &'static str) -> Exception {
    Exception {
        version: V5,
        statement,
        reason,
    }
}
