//! Makes legal packets of every type, version and direction for the property tests.
//!
//! Packets borrow, so a test draws a [`Seed`], which owns everything, and [`Seed::with_packet`]
//! builds the packet from it. Which properties a packet may have, and what their values look like,
//! comes from the property table.

use crate::property::kind;
use crate::table::property_table;
use crate::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, Place, Properties,
    PropertiesBuf, Property, PropertyId, Publish, QoS, ReasonCode, RetainHandling, Sender, SubAck,
    Subscribe, SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, Unsubscribe,
    UnsubscribeFiltersBuf, Version, Will,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

/// What one property is made of; each kind takes what it needs.
#[derive(Clone, Debug)]
pub(super) struct PropertySeed {
    /// Picks the id among those that are allowed.
    pick: usize,
    number: u32,
    text: String,
    topic: String,
    bytes: Vec<u8>,
}

/// What one packet is made of.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    packet_type: PacketType,
    pub(super) version: Version,
    pub(super) sender: Sender,
    bits: [bool; 6],
    qos: QoS,
    id: u16,
    reason: usize,
    properties: Vec<PropertySeed>,
    will_properties: Vec<PropertySeed>,
    text: String,
    topic: String,
    filters: Vec<(String, u8)>,
    bytes: Vec<u8>,
    payload: Vec<u8>,
}

macro_rules! from_seed {
    ($($id:literal $Variant:ident($($part:ident: $Type:ty),+): $Kind:ident, $getter:ident, $name:literal,
        in $($place:ident)|+, many $($many:ident)|+, forward $forward:literal;)+) => {
        fn property(id: PropertyId, seed: &PropertySeed) -> Property<'_> {
            match id {
                $(PropertyId::$Variant => {
                    let ($($part,)+) = kind::$Kind::from_seed(seed);
                    Property::$Variant($($part),+)
                })+
            }
        }

        /// The value that the getter named in the table returns, as a property again.
        pub(super) fn get(properties: Properties<'_>, id: PropertyId) -> Option<Property<'_>> {
            match id {
                $(PropertyId::$Variant => properties.$getter().map(|value| from_seed!(@wrap $Variant value $($part),+)),)+
            }
        }
    };
    (@wrap $Variant:ident $value:ident $part:ident) => { Property::$Variant($value) };
    (@wrap $Variant:ident $value:ident $first:ident, $second:ident) => { Property::$Variant($value.0, $value.1) };
}

property_table!(from_seed);

macro_rules! numbers_from_seed {
    ($($Kind:ident: $Type:ty = |$seed:ident| $value:expr;)+) => {
        $(impl kind::$Kind {
            fn from_seed($seed: &PropertySeed) -> ($Type,) {
                ($value,)
            }
        })+
    };
}

numbers_from_seed! {
    Bit: u8 = |seed| (seed.number & 1) as u8;
    Short: u16 = |seed| seed.number as u16;
    ShortNotZero: u16 = |seed| (seed.number as u16).max(1);
    Long: u32 = |seed| seed.number;
    LongNotZero: u32 = |seed| seed.number.max(1);
    VariableNotZero: u32 = |seed| seed.number % 268_435_455 + 1;
}

impl kind::Text {
    fn from_seed(seed: &PropertySeed) -> (&str,) {
        (&seed.text,)
    }
}

impl kind::Topic {
    fn from_seed(seed: &PropertySeed) -> (&str,) {
        (&seed.topic,)
    }
}

impl kind::Binary {
    fn from_seed(seed: &PropertySeed) -> (&[u8],) {
        (&seed.bytes,)
    }
}

impl kind::Pair {
    fn from_seed(seed: &PropertySeed) -> (&str, &str) {
        (&seed.text, &seed.topic)
    }
}

impl Seed {
    /// Builds the packet. Bits that mean nothing to its type are not looked at.
    pub(super) fn with_packet<R>(&self, test: impl FnOnce(Packet<'_>) -> R) -> R {
        let place = Place::Packet(self.packet_type);
        let mut buf = self.properties(&self.properties, place);
        if self.packet_type == PacketType::Auth
            && !buf
                .as_properties()
                .contains(PropertyId::AuthenticationMethod)
        {
            buf.push(Property::AuthenticationMethod("method"));
        }
        if self.packet_type == PacketType::Publish
            && self.bits[5]
            && self.version.is_v5()
            && !buf.as_properties().contains(PropertyId::TopicAlias)
        {
            buf.push(Property::TopicAlias(self.id));
        }
        let properties = buf.as_properties();
        let ack = Ack {
            packet_id: self.packet_id(),
            reason: self.reason(),
            properties,
        };
        match self.packet_type {
            PacketType::Connect => {
                let will_properties = self.properties(&self.will_properties, Place::Will);
                test(Packet::Connect(
                    self.connect(properties, will_properties.as_properties()),
                ))
            }
            PacketType::ConnAck => {
                let reason = self.reason();
                let session_present =
                    self.bits[0] && reason == ReasonCode::Success && self.version != Version::V31;
                test(Packet::ConnAck(ConnAck {
                    session_present,
                    reason,
                    properties,
                }))
            }
            PacketType::Publish => test(Packet::Publish(self.publish(properties))),
            PacketType::PubAck => test(Packet::PubAck(ack)),
            PacketType::PubRec => test(Packet::PubRec(ack)),
            PacketType::PubRel => test(Packet::PubRel(ack)),
            PacketType::PubComp => test(Packet::PubComp(ack)),
            PacketType::Subscribe => {
                let mut filters = SubscribeFiltersBuf::new();
                for (filter, options) in &self.filters {
                    let filter = TopicFilter::new(filter).unwrap();
                    filters.push(filter, self.options(filter, *options));
                }
                let filters = filters.as_filters();
                test(Packet::Subscribe(Subscribe {
                    packet_id: self.packet_id(),
                    properties,
                    filters,
                }))
            }
            PacketType::Unsubscribe => {
                let mut filters = UnsubscribeFiltersBuf::new();
                for (filter, _) in &self.filters {
                    filters.push(TopicFilter::new(filter).unwrap());
                }
                let filters = filters.as_filters();
                test(Packet::Unsubscribe(Unsubscribe {
                    packet_id: self.packet_id(),
                    properties,
                    filters,
                }))
            }
            PacketType::SubAck | PacketType::UnsubAck => {
                let reasons = self.reasons();
                let suback = SubAck {
                    packet_id: self.packet_id(),
                    properties,
                    reasons: &reasons,
                };
                let unsuback = self.packet_type == PacketType::UnsubAck;
                test(if unsuback {
                    Packet::UnsubAck(suback)
                } else {
                    Packet::SubAck(suback)
                })
            }
            PacketType::PingReq => test(Packet::PingReq),
            PacketType::PingResp => test(Packet::PingResp),
            PacketType::Disconnect => test(Packet::Disconnect(Disconnect {
                reason: self.reason(),
                properties,
            })),
            PacketType::Auth => test(Packet::Auth(Auth {
                reason: self.reason(),
                properties,
            })),
        }
    }

    fn connect<'a>(
        &'a self,
        properties: Properties<'a>,
        will_properties: Properties<'a>,
    ) -> Connect<'a> {
        let will = self.bits[1].then(|| Will {
            qos: self.qos,
            retain: self.bits[2],
            properties: will_properties,
            topic: TopicName::new(&self.topic).unwrap(),
            payload: &self.payload,
        });
        let user_name = self.bits[3].then_some(self.topic.as_str());
        let may_have_password = user_name.is_some() || self.version.is_v5();
        Connect {
            version: self.version,
            clean_start: self.bits[0],
            keep_alive_s: self.id,
            properties,
            client_id: &self.text,
            will,
            user_name,
            password: (self.bits[4] && may_have_password).then_some(self.bytes.as_slice()),
        }
    }

    fn publish<'a>(&'a self, properties: Properties<'a>) -> Publish<'a> {
        let alone = self.qos == QoS::AtMostOnce;
        let aliased = properties.contains(PropertyId::TopicAlias) && self.bits[4];
        Publish {
            dup: self.bits[0] && (!alone || self.version == Version::V31),
            qos: self.qos,
            retain: self.bits[1],
            topic: if aliased {
                None
            } else {
                TopicName::new(&self.topic).ok()
            },
            packet_id: if alone { None } else { Some(self.packet_id()) },
            properties,
            payload: &self.payload,
        }
    }

    fn packet_id(&self) -> PacketId {
        PacketId::new(self.id).unwrap()
    }

    fn options(&self, filter: TopicFilter<'_>, byte: u8) -> SubscriptionOptions {
        let qos = QoS::from_bits(byte % 3).unwrap();
        if !self.version.is_v5() {
            return SubscriptionOptions::with_qos(qos);
        }
        SubscriptionOptions {
            qos,
            no_local: byte & 0x10 != 0 && filter.share_name().is_none(),
            retain_as_published: byte & 0x20 != 0,
            retain_handling: match byte >> 6 {
                0 | 3 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                _ => RetainHandling::Never,
            },
        }
    }

    fn legal_reasons(&self) -> Vec<ReasonCode> {
        let connack = self.packet_type == PacketType::ConnAck;
        let suback = self.packet_type == PacketType::SubAck;
        let legal_before_v5 = |code: u8| {
            code == 0
                || connack && matches!(code, 0x84..=0x88)
                || suback && (code <= 2 || code == 0x80 && self.version == Version::V311)
        };
        ReasonCode::ALL
            .iter()
            .copied()
            .filter(|reason| reason.allowed_in(self.packet_type, self.sender))
            .filter(|reason| self.version.is_v5() || legal_before_v5(reason.as_u8()))
            .collect()
    }

    fn reason(&self) -> ReasonCode {
        let legal = self.legal_reasons();
        if legal.is_empty() {
            ReasonCode::Success
        } else {
            legal[self.reason % legal.len()]
        }
    }

    fn reasons(&self) -> Vec<u8> {
        if self.packet_type == PacketType::UnsubAck && !self.version.is_v5() {
            return Vec::new();
        }
        let legal = self.legal_reasons();
        self.filters
            .iter()
            .map(|&(_, pick)| legal[usize::from(pick) % legal.len()].as_u8())
            .collect()
    }

    fn properties(&self, seeds: &[PropertySeed], place: Place) -> PropertiesBuf {
        let mut buf = PropertiesBuf::new();
        let allowed: Vec<PropertyId> = PropertyId::ALL
            .iter()
            .copied()
            .filter(|id| id.allowed_in(place, self.sender))
            .collect();
        if !self.version.is_v5() || allowed.is_empty() {
            return buf;
        }
        for seed in seeds {
            let id = allowed[seed.pick % allowed.len()];
            let properties = buf.as_properties();
            let without_method = id == PropertyId::AuthenticationData
                && !properties.contains(PropertyId::AuthenticationMethod);
            if without_method || properties.contains(id) && !id.repeatable(place, self.sender) {
                continue;
            }
            buf.push(property(id, seed));
        }
        buf
    }
}

fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => proptest::char::range('a', 'z'),
        1 => Just('/'),
        1 => any::<char>().prop_map(|c| if c == '\0' { '\u{FEFF}' } else { c }),
    ];
    vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

fn topic() -> impl Strategy<Value = String> {
    text().prop_map(|text| {
        let topic = text.replace(['+', '#'], "_");
        if topic.is_empty() { "t".into() } else { topic }
    })
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        Just(String::from("+")),
        topic().prop_map(|topic| topic.replace('/', ""))
    ];
    let share = proptest::option::of(proptest::char::range('a', 'z'));
    (share, vec(level, 1..4), any::<bool>()).prop_map(|(share, levels, hash)| {
        let mut filter: String = share
            .map(|name| std::format!("$share/{name}/"))
            .unwrap_or_default();
        filter += &levels.join("/");
        if hash {
            filter += "/#";
        }
        if filter.is_empty() || filter.ends_with('/') && share.is_some() {
            filter + "f"
        } else {
            filter
        }
    })
}

fn property_seed() -> impl Strategy<Value = PropertySeed> {
    let number = prop_oneof![0..3_u32, any::<u32>()];
    (
        any::<usize>(),
        number,
        text(),
        topic(),
        vec(any::<u8>(), 0..6),
    )
        .prop_map(|(pick, number, text, topic, bytes)| PropertySeed {
            pick,
            number,
            text,
            topic,
            bytes,
        })
}

/// Every packet type that this version has, from a side that may send it.
fn kind() -> impl Strategy<Value = (PacketType, Version, Sender)> {
    let mut all = Vec::new();
    for version in super::VERSIONS {
        for sender in super::SENDERS {
            for packet_type in
                (1..=15).filter_map(|nibble| PacketType::from_first_byte(nibble << 4))
            {
                let exists = packet_type != PacketType::Auth || version.is_v5();
                if exists && packet_type.may_come_from(sender, version) {
                    all.push((packet_type, version, sender));
                }
            }
        }
    }
    proptest::sample::select(all)
}

/// Draws the parts of a packet of any type, version and direction.
pub(super) fn seed() -> impl Strategy<Value = Seed> {
    let qos = (0..3_u8).prop_map(|bits| QoS::from_bits(bits).unwrap());
    let properties = || vec(property_seed(), 0..6);
    (
        kind(),
        (any::<[bool; 6]>(), qos, 1..=u16::MAX, any::<usize>()),
        (properties(), properties()),
        (text(), topic(), vec((filter(), any::<u8>()), 1..4)),
        (vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..200)),
    )
        .prop_map(
            |(
                (packet_type, version, sender),
                (bits, qos, id, reason),
                properties,
                texts,
                bytes,
            )| {
                let (properties, will_properties) = properties;
                let (text, topic, filters) = texts;
                let (bytes, payload) = bytes;
                Seed {
                    packet_type,
                    version,
                    sender,
                    bits,
                    qos,
                    id,
                    reason,
                    properties,
                    will_properties,
                    text,
                    topic,
                    filters,
                    bytes,
                    payload,
                }
            },
        )
}
