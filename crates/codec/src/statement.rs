//! Which statement of which specification a fault breaks.
//!
//! The same id means different things in the two versions, hence two tables. Where a statement binds one packet type only,
//! the packet decides.

use crate::error::DecodeErrorKind as Kind;
use crate::field::Field;
use crate::property::PropertyId;
use crate::topic::TopicErrorKind;
use crate::types::PacketType;

pub(crate) const fn v5(
    kind: Kind,
    field: Field,
    packet: Option<PacketType>,
) -> Option<&'static str> {
    Some(match kind {
        Kind::InvalidUtf8 => match field {
            Field::Property(PropertyId::UserProperty) => "MQTT-1.5.7-1",
            _ => "MQTT-1.5.4-1",
        },
        Kind::Nul => match field {
            Field::Property(PropertyId::UserProperty) => "MQTT-1.5.7-1",
            Field::TopicName | Field::TopicFilter | Field::WillTopic => "MQTT-4.7.3-2",
            _ => "MQTT-1.5.4-2",
        },
        Kind::VariableByteIntegerNotShortest => "MQTT-1.5.5-1",
        Kind::FixedHeaderFlags => match packet {
            Some(PacketType::PubRel) => "MQTT-3.6.1-1",
            Some(PacketType::Subscribe) => "MQTT-3.8.1-1",
            Some(PacketType::Unsubscribe) => "MQTT-3.10.1-1",
            Some(PacketType::Disconnect) => "MQTT-3.14.1-1",
            Some(PacketType::Auth) => "MQTT-3.15.1-1",
            _ => "MQTT-2.1.3-1",
        },
        Kind::DupWithQoS0 => "MQTT-3.3.1-2",
        Kind::QoSReserved => match packet {
            Some(PacketType::Connect) => "MQTT-3.1.2-12",
            _ => "MQTT-3.3.1-4",
        },
        Kind::PacketIdentifierZero => "MQTT-2.2.1-3",
        Kind::UnsupportedProtocolName => "MQTT-3.1.2-1",
        Kind::UnsupportedProtocolVersion => "MQTT-3.1.2-2",
        Kind::ConnectFlagsReserved => "MQTT-3.1.2-3",
        Kind::WillBitsWithoutWill => "MQTT-3.1.2-11",
        Kind::AcknowledgeFlagsReserved => "MQTT-3.2.2-1",
        Kind::SessionPresentInRefusal => "MQTT-3.2.2-6",
        Kind::ReasonCodeNotAllowed => return reason_code_v5(packet),
        Kind::PropertyFromWrongSide => return wrong_side_v5(field, packet),
        Kind::PropertyValue => match field {
            Field::Property(PropertyId::TopicAlias) => "MQTT-3.3.2-8",
            _ => return None,
        },
        Kind::TopicNameEmpty => "MQTT-4.7.3-1",
        Kind::TopicNameWildcard => match field {
            Field::Property(PropertyId::ResponseTopic) => "MQTT-3.3.2-14",
            Field::TopicName => "MQTT-3.3.2-2",
            _ => "MQTT-4.7.0-1",
        },
        Kind::TopicFilter(kind) => match kind {
            TopicErrorKind::Empty => "MQTT-4.7.3-1",
            TopicErrorKind::TooLong => "MQTT-4.7.3-3",
            TopicErrorKind::Nul => "MQTT-4.7.3-2",
            TopicErrorKind::Wildcard => "MQTT-4.7.0-1",
            TopicErrorKind::HashMisplaced => "MQTT-4.7.1-1",
            TopicErrorKind::PlusMisplaced => "MQTT-4.7.1-2",
            TopicErrorKind::ShareNameEmpty => "MQTT-4.8.2-1",
            TopicErrorKind::ShareNameWildcard | TopicErrorKind::ShareFilterMissing => {
                "MQTT-4.8.2-2"
            }
        },
        Kind::NoTopicFilters => match packet {
            Some(PacketType::Unsubscribe) => "MQTT-3.10.3-2",
            _ => "MQTT-3.8.3-2",
        },
        Kind::SubscriptionOptionsReserved => "MQTT-3.8.3-5",
        Kind::NoLocalOnSharedSubscription => "MQTT-3.8.3-4",
        Kind::AuthenticationMethodMissing => match packet {
            Some(PacketType::Auth) => "MQTT-4.12.0-5",
            _ => return None,
        },
        Kind::Truncated => match (packet, field) {
            (Some(PacketType::Connect), _) => "MQTT-3.1.4-1",
            (_, Field::PropertyLength) => "MQTT-2.2.2-1",
            _ => return None,
        },
        Kind::TrailingBytes => match packet {
            Some(PacketType::Connect) => "MQTT-3.1.4-1",
            _ => return None,
        },
        Kind::PasswordWithoutUserName
        | Kind::PacketTypeReserved
        | Kind::PacketTypeNotInVersion
        | Kind::PacketTypeFromWrongSide
        | Kind::VariableByteIntegerTooLong
        | Kind::PacketTooLarge
        | Kind::NoReasonCodes
        | Kind::PropertyUnknown
        | Kind::PropertyNotAllowed
        | Kind::PropertyRepeated
        | Kind::SubscriptionQoSReserved
        | Kind::RetainHandlingReserved => return None,
    })
}

const fn reason_code_v5(packet: Option<PacketType>) -> Option<&'static str> {
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

const fn wrong_side_v5(field: Field, packet: Option<PacketType>) -> Option<&'static str> {
    match (field, packet) {
        (Field::Property(PropertyId::SubscriptionIdentifier), Some(PacketType::Publish)) => {
            Some("MQTT-3.3.4-6")
        }
        (Field::Property(PropertyId::SessionExpiryInterval), Some(PacketType::Disconnect)) => {
            Some("MQTT-3.14.2-2")
        }
        _ => None,
    }
}

pub(crate) const fn v311(
    kind: Kind,
    field: Field,
    packet: Option<PacketType>,
) -> Option<&'static str> {
    Some(match kind {
        Kind::InvalidUtf8 => "MQTT-1.5.3-1",
        Kind::Nul => match field {
            Field::TopicName | Field::TopicFilter | Field::WillTopic => "MQTT-4.7.3-2",
            _ => "MQTT-1.5.3-2",
        },
        Kind::FixedHeaderFlags => match packet {
            Some(PacketType::PubRel) => "MQTT-3.6.1-1",
            Some(PacketType::Subscribe) => "MQTT-3.8.1-1",
            Some(PacketType::Unsubscribe) => "MQTT-3.10.1-1",
            Some(PacketType::Disconnect) => "MQTT-3.14.1-1",
            _ => "MQTT-2.2.2-2",
        },
        Kind::DupWithQoS0 => "MQTT-3.3.1-2",
        Kind::QoSReserved => match packet {
            Some(PacketType::Connect) => "MQTT-3.1.2-14",
            _ => "MQTT-3.3.1-4",
        },
        Kind::PacketIdentifierZero => "MQTT-2.3.1-1",
        Kind::UnsupportedProtocolName => "MQTT-3.1.2-1",
        Kind::UnsupportedProtocolVersion => "MQTT-3.1.2-2",
        Kind::ConnectFlagsReserved => "MQTT-3.1.2-3",
        Kind::WillBitsWithoutWill => "MQTT-3.1.2-11",
        Kind::PasswordWithoutUserName => "MQTT-3.1.2-22",
        Kind::SessionPresentInRefusal => "MQTT-3.2.2-4",
        Kind::ReasonCodeNotAllowed => match packet {
            Some(PacketType::SubAck) => "MQTT-3.9.3-2",
            _ => return None,
        },
        Kind::TopicNameEmpty => "MQTT-4.7.3-1",
        Kind::TopicNameWildcard => match field {
            Field::TopicName => "MQTT-3.3.2-2",
            _ => "MQTT-4.7.1-1",
        },
        Kind::TopicFilter(kind) => match kind {
            TopicErrorKind::Empty => "MQTT-4.7.3-1",
            TopicErrorKind::TooLong => "MQTT-4.7.3-3",
            TopicErrorKind::Nul => "MQTT-4.7.3-2",
            TopicErrorKind::Wildcard => "MQTT-4.7.1-1",
            TopicErrorKind::HashMisplaced => "MQTT-4.7.1-2",
            TopicErrorKind::PlusMisplaced => "MQTT-4.7.1-3",
            // Shared subscriptions are an extension here: nothing in 3.1.1 speaks of them.
            TopicErrorKind::ShareNameEmpty
            | TopicErrorKind::ShareNameWildcard
            | TopicErrorKind::ShareFilterMissing => return None,
        },
        Kind::NoTopicFilters => match packet {
            Some(PacketType::Unsubscribe) => "MQTT-3.10.3-2",
            _ => "MQTT-3.8.3-3",
        },
        Kind::SubscriptionOptionsReserved | Kind::SubscriptionQoSReserved => "MQTT-3.8.3-4",
        Kind::Truncated | Kind::TrailingBytes => match packet {
            Some(PacketType::Connect) => "MQTT-3.1.4-1",
            _ => "MQTT-4.8.0-1",
        },
        Kind::PacketTypeReserved
        | Kind::PacketTypeNotInVersion
        | Kind::PacketTypeFromWrongSide
        | Kind::AcknowledgeFlagsReserved
        | Kind::NoReasonCodes
        | Kind::VariableByteIntegerTooLong => "MQTT-4.8.0-1",
        // Limits of ours and rules of 5.0: no 3.1.1 packet breaks them.
        Kind::VariableByteIntegerNotShortest
        | Kind::PacketTooLarge
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
