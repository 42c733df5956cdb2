//! Properties of MQTT 5 as `-D PACKET NAME [KEY] VALUE` gives them.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most properties are like each other"
)]

use martlet_codec::{PacketType, Place, Property, PropertyId, Sender};

use crate::programs::Dialect;

/// A list of properties, in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties(Vec<Owned>);

/// A property with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) id: PropertyId,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u32),
    Text(String),
    Bytes(Vec<u8>),
    Pair(String, String),
}

impl Properties {
    pub(crate) fn push(&mut self, id: PropertyId, value: Value) {
        self.0.push(Owned { id, value });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, id: PropertyId) -> bool {
        self.0.iter().any(|owned| owned.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Owned> {
        self.0.iter()
    }

    /// What keeps the list from being sent in this place, if something does.
    pub(crate) fn flaw(&self, place: Place, dialect: Dialect) -> Option<Flaw> {
        for (index, owned) in self.0.iter().enumerate() {
            let earlier = self.0.get(..index).unwrap_or_default();
            if !owned.id.repeatable(place, Sender::Client)
                && earlier.iter().any(|other| other.id == owned.id)
            {
                return Some(Flaw::Twice(owned.id));
            }
            if let Value::Number(number) = owned.value
                && !range(owned.id, dialect).contains(&number)
            {
                return Some(Flaw::OutOfRange(owned.id));
            }
        }
        None
    }
}

impl Owned {
    /// The property as the codec wants it. None: the value does not fit the property.
    pub(crate) fn as_property(&self) -> Option<Property<'_>> {
        Some(match (&self.value, self.id) {
            (Value::Pair(key, value), _) => Property::UserProperty(key, value),
            (Value::Bytes(bytes), PropertyId::CorrelationData) => Property::CorrelationData(bytes),
            (Value::Bytes(bytes), _) => Property::AuthenticationData(bytes),
            (Value::Text(text), PropertyId::ContentType) => Property::ContentType(text),
            (Value::Text(text), PropertyId::ResponseTopic) => Property::ResponseTopic(text),
            (Value::Text(text), PropertyId::AuthenticationMethod) => {
                Property::AuthenticationMethod(text)
            }
            (Value::Text(text), PropertyId::ReasonString) => Property::ReasonString(text),
            (Value::Number(number), id) => numeric(id, *number)?,
            (Value::Text(_), _) => return None,
        })
    }
}

fn numeric(id: PropertyId, number: u32) -> Option<Property<'static>> {
    let byte = u8::try_from(number);
    let short = u16::try_from(number);
    Some(match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(byte.ok()?),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(number),
        PropertyId::SubscriptionIdentifier => Property::SubscriptionIdentifier(number),
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(number),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(byte.ok()?),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(number),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(byte.ok()?),
        PropertyId::ReceiveMaximum => Property::ReceiveMaximum(short.ok()?),
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(short.ok()?),
        PropertyId::TopicAlias => Property::TopicAlias(short.ok()?),
        PropertyId::MaximumPacketSize => Property::MaximumPacketSize(number),
        _ => return None,
    })
}

/// What keeps a list from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    Twice(PropertyId),
    OutOfRange(PropertyId),
}

/// A packet as -D names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// One of ours sends this packet with properties that were asked for.
    pub(crate) supported: bool,
}

/// The packet of this name; mosquitto does not mind capitals.
pub(crate) fn target(name: &str) -> Option<Target> {
    TARGETS
        .iter()
        .find(|target| target.name.eq_ignore_ascii_case(name))
        .copied()
}

/// The property of this name, such as `content-type`.
pub(crate) fn property(name: &str) -> Option<PropertyId> {
    PropertyId::ALL
        .iter()
        .copied()
        .find(|id| hyphenated(*id).eq_ignore_ascii_case(name))
}

/// The name that -D and JSON use.
pub(crate) fn hyphenated(id: PropertyId) -> String {
    id.name().replace(' ', "-").to_ascii_lowercase()
}

/// What a property's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A whole number up to this one.
    Number(u32),
    Text,
    Bytes,
    Pair,
}

/// What the value of this property is.
pub(crate) fn shape(id: PropertyId) -> Shape {
    match id {
        PropertyId::UserProperty => Shape::Pair,
        PropertyId::CorrelationData | PropertyId::AuthenticationData => Shape::Bytes,
        PropertyId::ContentType
        | PropertyId::ResponseTopic
        | PropertyId::AssignedClientIdentifier
        | PropertyId::AuthenticationMethod
        | PropertyId::ResponseInformation
        | PropertyId::ServerReference
        | PropertyId::ReasonString => Shape::Text,
        PropertyId::ServerKeepAlive
        | PropertyId::ReceiveMaximum
        | PropertyId::TopicAliasMaximum
        | PropertyId::TopicAlias => Shape::Number(u32::from(u16::MAX)),
        PropertyId::MessageExpiryInterval
        | PropertyId::SessionExpiryInterval
        | PropertyId::WillDelayInterval
        | PropertyId::MaximumPacketSize => Shape::Number(u32::MAX),
        PropertyId::SubscriptionIdentifier => Shape::Number(268_435_455),
        _ => Shape::Number(u32::from(u8::MAX)),
    }
}

/// The numbers that may be sent; more than the shape's maximum is refused earlier.
fn range(id: PropertyId, dialect: Dialect) -> std::ops::RangeInclusive<u32> {
    match id {
        // Mosquitto lets the broker say so.
        PropertyId::SubscriptionIdentifier | PropertyId::PayloadFormatIndicator
            if dialect == Dialect::Mosquitto =>
        {
            0..=u32::MAX
        }
        PropertyId::SubscriptionIdentifier
        | PropertyId::ReceiveMaximum
        | PropertyId::TopicAlias
        | PropertyId::MaximumPacketSize => 1..=u32::MAX,
        PropertyId::RequestProblemInformation
        | PropertyId::RequestResponseInformation
        | PropertyId::PayloadFormatIndicator => 0..=1,
        _ => 0..=u32::MAX,
    }
}

/// Whether a property may stand in a packet: whoever sends it in mosquitto's dialect, from us in our own.
pub(crate) fn allowed(id: PropertyId, target: Target, dialect: Dialect) -> bool {
    id.allowed_in(target.place, Sender::Client)
        || dialect == Dialect::Mosquitto && id.allowed_in(target.place, Sender::Server)
}

const fn packet(name: &'static str, packet: PacketType, supported: bool) -> Target {
    Target {
        name,
        place: Place::Packet(packet),
        supported,
    }
}

const TARGETS: [Target; 12] = [
    packet("connect", PacketType::Connect, true),
    packet("connack", PacketType::ConnAck, false),
    packet("publish", PacketType::Publish, true),
    packet("puback", PacketType::PubAck, false),
    packet("pubrec", PacketType::PubRec, false),
    packet("pubrel", PacketType::PubRel, false),
    packet("pubcomp", PacketType::PubComp, false),
    packet("subscribe", PacketType::Subscribe, true),
    packet("unsubscribe", PacketType::Unsubscribe, true),
    packet("disconnect", PacketType::Disconnect, true),
    packet("auth", PacketType::Auth, false),
    Target {
        name: "will",
        place: Place::Will,
        supported: true,
    },
];

#[cfg(test)]
mod tests {
    use martlet_codec::PropertyId;

    use super::{Flaw, Properties, Value, property, target};
    use crate::programs::Dialect;

    #[test]
    fn names_are_mosquittos() {
        for (name, id) in [
            ("content-type", PropertyId::ContentType),
            ("Message-Expiry-Interval", PropertyId::MessageExpiryInterval),
            ("maximum-qos", PropertyId::MaximumQoS),
            ("server-keep-alive", PropertyId::ServerKeepAlive),
        ] {
            assert_eq!(property(name), Some(id));
        }
        assert_eq!(property("foo"), None);
        assert_eq!(target("PUBLISH").unwrap().name, "publish");
        assert!(target("pingreq").is_none());
    }

    #[test]
    fn what_stands_twice_or_is_out_of_range_is_found() {
        let place = target("publish").unwrap().place;
        let mut list = Properties::default();
        list.push(
            PropertyId::UserProperty,
            Value::Pair("a".into(), "b".into()),
        );
        list.push(
            PropertyId::UserProperty,
            Value::Pair("a".into(), "c".into()),
        );
        list.push(PropertyId::ContentType, Value::Text("x".into()));
        assert_eq!(list.flaw(place, Dialect::Martlet), None);
        list.push(PropertyId::ContentType, Value::Text("y".into()));
        assert_eq!(
            list.flaw(place, Dialect::Martlet),
            Some(Flaw::Twice(PropertyId::ContentType))
        );
        let mut list = Properties::default();
        list.push(PropertyId::TopicAlias, Value::Number(0));
        assert_eq!(
            list.flaw(place, Dialect::Martlet),
            Some(Flaw::OutOfRange(PropertyId::TopicAlias))
        );
    }
}
