//! Statements of MQTT 3.1.1 that this suite cannot prove, each with the reason.

use crate::case::Version;
use crate::exceptions::Exception;

/// Every statement without a case.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    // Those that bind a server, too.
    of(
        "4.8.0-2",
        "a transient error cannot be provoked through the protocol",
    ),
    of("6.0.0-1", WEB_SOCKET),
    of("6.0.0-2", WEB_SOCKET),
    of("6.0.0-4", WEB_SOCKET),
    of(
        "7.0.0-1",
        "whether a broker dials out to others cannot be seen by its clients",
    ),
    // Those that bind a client alone, and leave no trace in what a broker accepts or refuses.
    of(
        "2.3.1-2",
        "binds a client's choice of packet identifiers; the broker cannot tell",
    ),
    of(
        "2.3.1-3",
        "binds a client's reuse of packet identifiers; the broker cannot tell",
    ),
    of(
        "3.1.2-23",
        "binds a client's timer; 3.1.2-24 is what a broker makes of it",
    ),
    of(
        "3.14.4-1",
        "binds a client: who closes first after DISCONNECT cannot be told apart",
    ),
    of(
        "3.14.4-2",
        "binds a client: the connection is over, whatever follows DISCONNECT",
    ),
    of(
        "4.6.0-1",
        "binds a client's order of re-sending; 4.4.0-1 shows the broker's",
    ),
    of("6.0.0-3", WEB_SOCKET),
    of("7.1.2-1", "binds a client's choice of transport"),
];

const fn of(statement: &'static str, reason: &'static str) -> Exception {
    Exception {
        version: Version::V311,
        statement,
        reason,
    }
}

const WEB_SOCKET: &str = "the suite speaks over plain TCP; the WebSocket layer has its own tests";
