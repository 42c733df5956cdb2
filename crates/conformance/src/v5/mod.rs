//! Cases of MQTT 5.0.

mod alias;
mod connect;
mod delivery;
mod exceptions;
mod flow;
mod goodbye;
mod publish;
mod refused;
mod resume;
mod retain;
mod robust;
mod session;
mod shared;
mod strings;
mod subscribe;
mod support;
mod topics;
mod will;

use crate::case::Case;
pub(crate) use exceptions::EXCEPTIONS;

/// Every group of cases, one slice per file.
pub(crate) const GROUPS: &[&[Case]] = &[
    connect::CASES,
    refused::CASES,
    strings::CASES,
    session::CASES,
    will::CASES,
    retain::CASES,
    publish::CASES,
    alias::CASES,
    delivery::CASES,
    resume::CASES,
    flow::CASES,
    subscribe::CASES,
    goodbye::CASES,
    topics::CASES,
    shared::CASES,
    robust::CASES,
];
