//! What a v5 broker says about itself in CONNACK.

use crate::wire::{ConnAck, prop};

/// The announced abilities; an absent property means the specification's default.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "CONNACK announces these as separate flags"
)]
pub(crate) struct Capabilities {
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_qos: u8,
    pub(crate) retain: bool,
    /// `u32::MAX` if there is no limit.
    pub(crate) maximum_packet_size: u32,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) wildcards: bool,
    pub(crate) subscription_ids: bool,
    pub(crate) shared: bool,
}

impl Capabilities {
    pub(crate) fn of(connack: &ConnAck) -> Self {
        let number = |id| connack.props.number(id);
        let small =
            |id, default: u16| number(id).map_or(default, |n| u16::try_from(n).unwrap_or(u16::MAX));
        let offered = |id| number(id) != Some(0);
        Self {
            receive_maximum: small(prop::RECEIVE_MAXIMUM, u16::MAX),
            maximum_qos: number(prop::MAXIMUM_QOS).map_or(2, |n| u8::from(n > 0)),
            retain: offered(prop::RETAIN_AVAILABLE),
            maximum_packet_size: number(prop::MAXIMUM_PACKET_SIZE).unwrap_or(u32::MAX),
            topic_alias_maximum: small(prop::TOPIC_ALIAS_MAXIMUM, 0),
            wildcards: offered(prop::WILDCARD_AVAILABLE),
            subscription_ids: offered(prop::SUBSCRIPTION_ID_AVAILABLE),
            shared: offered(prop::SHARED_AVAILABLE),
        }
    }
}
