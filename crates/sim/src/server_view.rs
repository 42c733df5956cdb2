//! What follows, for the server, from a CONNECT that it has accepted.

use martlet_codec::Version;
use martlet_engine::Time;

use crate::ledger::{ConnectTerms, Ledger};

/// Seconds that the session outlives its connection.
pub(crate) fn expiry_of(terms: &ConnectTerms, ledger: &Ledger) -> u32 {
    match terms.version {
        Version::V5 => terms
            .expiry_s
            .unwrap_or(0)
            .min(ledger.policy.session_expiry_cap_s),
        Version::V31 | Version::V311 if terms.clean => 0,
        Version::V31 | Version::V311 => ledger.policy.session_expiry_default_s,
    }
}

/// Whether a time so many seconds after `since` has passed; `None` when it is too close to tell: timers are coarse.
pub(crate) fn has_passed(since: Time, seconds: u32, ledger: &Ledger) -> Option<bool> {
    if seconds == 0 {
        return Some(true);
    }
    timer_has_passed(since, seconds, ledger)
}

/// The same for what is left to a timer even if it is due at once.
pub(crate) fn timer_has_passed(since: Time, seconds: u32, ledger: &Ledger) -> Option<bool> {
    if seconds == u32::MAX {
        return Some(false);
    }
    let due = since.plus_secs(seconds);
    if ledger.now < due {
        Some(false)
    } else if ledger.now >= due.plus_millis(TIMER_SLACK_MS) {
        Some(true)
    } else {
        None
    }
}

/// How much later than asked for a timer may be served.
pub(crate) const TIMER_SLACK_MS: u64 = 1_000;
