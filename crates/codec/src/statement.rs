//! Which statement of which specification a fault breaks.
//!
//! The same id means different things in the two versions, hence two tables. Where a statement
//! binds one packet type or one field only, the packet or the field decides.

use crate::error::DecodeErrorKind as Kind;
use crate::field::Field;
use crate::property::PropertyId;
use crate::topic::TopicErrorKind;
use crate::types::PacketType;

type Statement = Option<&'static str>;

pub(crate) const fn v5(kind: Kind, field: Field, packet: Option<PacketType>) -> Statement {
    Some(match kind {
        Kind::InvalidUtf8 | Kind::Nul if is(field, PropertyId::UserProperty) => "MQTT-1.5.7-1",
        Kind::InvalidUtf8 => "MQTT-1.5.4-1",
        Kind::Nul if is_topic(field) => "MQTT-4.7.3-2",
        Kind::Nul => "MQTT-1.5.4-2",
        Kind::VariableByteIntegerNotShortest => "MQTT-1.5.5-1",
        Kind::FixedHeaderFlags => flags(packet, "MQTT-2.1.3-1"),
        Kind::DupWithQoS0 => "MQTT-3.3.1-2",
        Kind::QoSReserved if is_connect(packet) => "MQTT-3.1.2-12",
        Kind::QoSReserved => "MQTT-3.3.1-4",
        Kind::PacketIdentifierZero => "MQTT-2.2.1-3",
        Kind::UnsupportedProtocolName => "MQTT-3.1.2-1",
        Kind::UnsupportedProtocolVersion => "MQTT-3.1.2-2",
        Kind::ConnectFlagsReserved => "MQTT-3.1.2-3",
        Kind::WillBitsWithoutWill => "MQTT-3.1.2-11",
        Kind::AcknowledgeFlagsReserved => "MQTT-3.2.2-1",
        Kind::SessionPresentInRefusal => "MQTT-3.2.2-6",
        Kind::ReasonCodeNotAllowed => return reason_code_v5(packet),
        Kind::PropertyFromWrongSide => return wrong_side_v5(field, packet),
        Kind::PropertyValue if is(field, PropertyId::TopicAlias) => "MQTT-3.3.2-8",
        Kind::TopicNameEmpty => "MQTT-4.7.3-1",
        Kind::TopicNameWildcard if is(field, PropertyId::ResponseTopic) => "MQTT-3.3.2-14",
        Kind::TopicNameWildcard if matches!(field, Field::TopicName) => "MQTT-3.3.2-2",
        Kind::TopicNameWildcard => "MQTT-4.7.0-1",
        Kind::TopicFilter(kind) => filter_v5(kind),
        Kind::NoTopicFilters if is_unsubscribe(packet) => "MQTT-3.10.3-2",
        Kind::NoTopicFilters => "MQTT-3.8.3-2",
        Kind::SubscriptionOptionsReserved => "MQTT-3.8.3-5",
        Kind::NoLocalOnSharedSubscription => "MQTT-3.8.3-4",
        Kind::AuthenticationMethodMissing if matches!(packet, Some(PacketType::Auth)) => {
            "MQTT-4.12.0-5"
        }
        Kind::Truncated | Kind::TrailingBytes if is_connect(packet) => "MQTT-3.1.4-1",
        Kind::Truncated if matches!(field, Field::PropertyLength) => "MQTT-2.2.2-1",
        Kind::Truncated
        | Kind::TrailingBytes
        | Kind::PasswordWithoutUserName
        | Kind::PacketTypeReserved
        | Kind::PacketTypeNotInVersion
        | Kind::PacketTypeFromWrongSide
        | Kind::VariableByteIntegerTooLong
        | Kind::PacketTooLarge
        | Kind::NoReasonCodes
        | Kind::PropertyUnknown
        | Kind::PropertyNotAllowed
        | Kind::PropertyRepeated
        | Kind::PropertyValue
        | Kind::AuthenticationMethodMissing
        | Kind::SubscriptionQoSReserved
        | Kind::RetainHandlingReserved => return None,
    })
}

pub(crate) const fn v311(kind: Kind, field: Field, packet: Option<PacketType>) -> Statement {
    Some(match kind {
        Kind::InvalidUtf8 => "MQTT-1.5.3-1",
        Kind::Nul if is_topic(field) => "MQTT-4.7.3-2",
        Kind::Nul => "MQTT-1.5.3-2",
        Kind::FixedHeaderFlags => flags(packet, "MQTT-2.2.2-2"),
        Kind::DupWithQoS0 => "MQTT-3.3.1-2",
        Kind::QoSReserved if is_connect(packet) => "MQTT-3.1.2-14",
        Kind::QoSReserved => "MQTT-3.3.1-4",
        Kind::PacketIdentifierZero => "MQTT-2.3.1-1",
        Kind::UnsupportedProtocolName => "MQTT-3.1.2-1",
        Kind::UnsupportedProtocolVersion => "MQTT-3.1.2-2",
        Kind::ConnectFlagsReserved => "MQTT-3.1.2-3",
        Kind::WillBitsWithoutWill => "MQTT-3.1.2-11",
        Kind::PasswordWithoutUserName => "MQTT-3.1.2-22",
        Kind::SessionPresentInRefusal => "MQTT-3.2.2-4",
        Kind::ReasonCodeNotAllowed if matches!(packet, Some(PacketType::SubAck)) => "MQTT-3.9.3-2",
        Kind::TopicNameEmpty => "MQTT-4.7.3-1",
        Kind::TopicNameWildcard if matches!(field, Field::TopicName) => "MQTT-3.3.2-2",
        Kind::TopicNameWildcard => "MQTT-4.7.1-1",
        Kind::TopicFilter(kind) => return filter_v311(kind),
        Kind::NoTopicFilters if is_unsubscribe(packet) => "MQTT-3.10.3-2",
        Kind::NoTopicFilters => "MQTT-3.8.3-3",
        Kind::SubscriptionOptionsReserved | Kind::SubscriptionQoSReserved => "MQTT-3.8.3-4",
        Kind::Truncated | Kind::TrailingBytes if is_connect(packet) => "MQTT-3.1.4-1",
        Kind::Truncated
        | Kind::TrailingBytes
        | Kind::ReasonCodeNotAllowed
        | Kind::PacketTypeReserved
        | Kind::PacketTypeNotInVersion
        | Kind::PacketTypeFromWrongSide
        | Kind::AcknowledgeFlagsReserved
        | Kind::NoReasonCodes
        | Kind::VariableByteIntegerTooLong => "MQTT-4.8.0-1",
        // A limit of ours, and rules of 5.0 that no 3.1.1 packet can break.
        Kind::PacketTooLarge
        | Kind::VariableByteIntegerNotShortest
        | Kind::PropertyUnknown
        | Kind::PropertyNotAllowed
        | Kind::PropertyFromWrongSide
        | Kind::PropertyRepeated
        | Kind::PropertyValue
        | Kind::AuthenticationMethodMissing
        | Kind::RetainHandlingReserved
        | Kind::NoLocalOnSharedSubscription => return None,
    })
}

const fn filter_v5(kind: TopicErrorKind) -> &'static str {
    match kind {
        TopicErrorKind::Empty => "MQTT-4.7.3-1",
        TopicErrorKind::TooLong => "MQTT-4.7.3-3",
        TopicErrorKind::Nul => "MQTT-4.7.3-2",
        TopicErrorKind::Wildcard => "MQTT-4.7.0-1",
        TopicErrorKind::HashMisplaced => "MQTT-4.7.1-1",
        TopicErrorKind::PlusMisplaced => "MQTT-4.7.1-2",
        TopicErrorKind::ShareNameEmpty => "MQTT-4.8.2-1",
        TopicErrorKind::ShareNameWildcard | TopicErrorKind::ShareFilterMissing => "MQTT-4.8.2-2",
    }
}

const fn filter_v311(kind: TopicErrorKind) -> Statement {
    Some(match kind {
        TopicErrorKind::Empty => "MQTT-4.7.3-1",
        TopicErrorKind::TooLong => "MQTT-4.7.3-3",
        TopicErrorKind::Nul => "MQTT-4.7.3-2",
        TopicErrorKind::Wildcard => "MQTT-4.7.1-1",
        TopicErrorKind::HashMisplaced => "MQTT-4.7.1-2",
        TopicErrorKind::PlusMisplaced => "MQTT-4.7.1-3",
        // Shared subscriptions are an extension here: 3.1.1 does not know them.
        TopicErrorKind::ShareNameEmpty
        | TopicErrorKind::ShareNameWildcard
        | TopicErrorKind::ShareFilterMissing => return None,
    })
}

/// The packets whose flags have a statement of their own have the same one in both versions, but
/// for AUTH.
const fn flags(packet: Option<PacketType>, otherwise: &'static str) -> &'static str {
    if let Some(PacketType::PubRel) = packet {
        "MQTT-3.6.1-1"
    } else if let Some(PacketType::Subscribe) = packet {
        "MQTT-3.8.1-1"
    } else if is_unsubscribe(packet) {
        "MQTT-3.10.1-1"
    } else if let Some(PacketType::Disconnect) = packet {
        "MQTT-3.14.1-1"
    } else if let Some(PacketType::Auth) = packet {
        "MQTT-3.15.1-1"
    } else {
        otherwise
    }
}

const fn reason_code_v5(packet: Option<PacketType>) -> Statement {
    let Some(packet) = packet else { return None };
    match packet {
        PacketType::ConnAck => Some("MQTT-3.2.2-8"),
        PacketType::PubAck => Some("MQTT-3.4.2-1"),
        PacketType::PubRec => Some("MQTT-3.5.2-1"),
        PacketType::PubRel => Some("MQTT-3.6.2-1"),
        PacketType::PubComp => Some("MQTT-3.7.2-1"),
        PacketType::SubAck => Some("MQTT-3.9.3-2"),
        PacketType::UnsubAck => Some("MQTT-3.11.3-2"),
        PacketType::Disconnect => Some("MQTT-3.14.2-1"),
        PacketType::Auth => Some("MQTT-3.15.2-1"),
        PacketType::Connect
        | PacketType::Publish
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::PingReq
        | PacketType::PingResp => None,
    }
}

const fn wrong_side_v5(field: Field, packet: Option<PacketType>) -> Statement {
    if matches!(packet, Some(PacketType::Publish)) && is(field, PropertyId::SubscriptionIdentifier)
    {
        Some("MQTT-3.3.4-6")
    } else if matches!(packet, Some(PacketType::Disconnect))
        && is(field, PropertyId::SessionExpiryInterval)
    {
        Some("MQTT-3.14.2-2")
    } else {
        None
    }
}

const fn is(field: Field, wanted: PropertyId) -> bool {
    matches!(field, Field::Property(id) if id as u8 == wanted as u8)
}

const fn is_topic(field: Field) -> bool {
    matches!(
        field,
        Field::TopicName | Field::TopicFilter | Field::WillTopic
    )
}

const fn is_connect(packet: Option<PacketType>) -> bool {
    matches!(packet, Some(PacketType::Connect))
}

const fn is_unsubscribe(packet: Option<PacketType>) -> bool {
    matches!(packet, Some(PacketType::Unsubscribe))
}
