//! Cases of MQTT 3.1.1 (and of 3.1, where it differs).

use crate::case::Case;
use crate::exceptions::Exception;

/// Every group of cases, one slice per file.
pub(crate) const GROUPS: &[&[Case]] = &[];

/// Statements of MQTT 3.1.1 that this suite cannot prove.
pub(crate) const EXCEPTIONS: &[Exception] = &[];
