//! Statements of MQTT 5.0 that this suite cannot prove.

use crate::exceptions::Exception;

/// The list only shrinks.
pub(crate) const EXCEPTIONS: &[Exception] = &[];
