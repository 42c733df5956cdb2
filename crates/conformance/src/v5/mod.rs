//! Cases of MQTT 5.0.

mod alias;
mod connect;
mod exceptions;
mod publish;
mod retain;
mod session;
mod strings;
mod support;
mod will;

use crate::case::Case;
pub(crate) use exceptions::EXCEPTIONS;

/// Every group of cases, one slice per file.
pub(crate) const GROUPS: &[&[Case]] = &[
    connect::CASES,
    strings::CASES,
    session::CASES,
    will::CASES,
    retain::CASES,
    publish::CASES,
    alias::CASES,
];
