//! Cases of MQTT 5.0.

mod connect;
mod exceptions;

use crate::case::Case;
pub(crate) use exceptions::EXCEPTIONS;

/// Every group of cases, one slice per file.
pub(crate) const GROUPS: &[&[Case]] = &[connect::CASES];
