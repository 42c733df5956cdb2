//! Packets that the client sends, as bytes.

use bytes::BufMut;
use martlet_codec::{
    Ack, Connect, Disconnect, EncodeError, Packet, PacketId, PropertiesBuf, Property, PublishHead,
    QoS, ReasonCode, Subscribe, SubscribeFiltersBuf, TopicFilter, TopicName, Unsubscribe,
    UnsubscribeFiltersBuf, Version, Will,
};
use martlet_session::AliasUse;

use super::config::Config;
use crate::message::{Message, Properties};
use crate::options::SessionKind;
use crate::topic::Filter;

/// Memory that encoders use again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    properties: PropertiesBuf,
}

/// What a PUBLISH says besides its message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) duplicate: bool,
    pub(crate) alias: AliasUse,
    /// The expiry that is left, if there is one.
    pub(crate) expiry_s: Option<u32>,
}

/// Appends a PUBLISH. The caller has compared its size with what the server takes.
pub(crate) fn publish(
    message: &Message,
    sending: Sending,
    version: Version,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let properties = &mut scratch.properties;
    properties.clear();
    let (topic, alias) = match sending.alias {
        AliasUse::None => (message.topic.as_str(), None),
        AliasUse::Define(alias) => (message.topic.as_str(), Some(alias)),
        AliasUse::Use(alias) => ("", Some(alias)),
    };
    if version.is_v5() {
        if let Some(alias) = alias {
            //= mqtt5 3.3.2-8
            properties.push(Property::TopicAlias(alias));
        }
        if let Some(expiry_s) = sending.expiry_s {
            properties.push(Property::MessageExpiryInterval(expiry_s));
        }
        if let Some(own) = &message.properties {
            push_properties(own, properties);
        }
    }
    let head = PublishHead {
        //= mqtt5 3.3.1-2
        //= mqtt311 3.3.1-2
        dup: sending.duplicate && message.qos != QoS::AtMostOnce,
        qos: message.qos,
        retain: message.retain,
        topic,
        packet_id: sending.packet_id,
        own_properties: properties.as_properties().as_bytes(),
        shared_properties: &[],
        payload_len: message.payload.len(),
    };
    head.encode(version, out);
    out.put_slice(&message.payload);
}

/// Whether a message can be so large that its exact size matters. Quick, and says yes too often.
pub(crate) fn may_exceed(message: &Message, max: u32) -> bool {
    message.cost() + ALIAS_AND_HEADER > max as usize
}

/// The size of the PUBLISH without a topic alias.
pub(crate) fn publish_len(message: &Message, version: Version) -> usize {
    let mut properties = PropertiesBuf::new();
    if let Some(own) = &message.properties {
        push_properties(own, &mut properties);
        if own.expiry_s.is_some() {
            properties.push(Property::MessageExpiryInterval(0));
        }
    }
    let head = PublishHead {
        dup: false,
        qos: message.qos,
        retain: message.retain,
        topic: &message.topic,
        packet_id: (message.qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        own_properties: properties.as_properties().as_bytes(),
        shared_properties: &[],
        payload_len: message.payload.len(),
    };
    head.packet_len(version)
}

/// More than what a PUBLISH has besides topic, payload and properties.
const ALIAS_AND_HEADER: usize = 32;

/// Whether a message can be put into a packet at all, whatever the server's limits.
pub(crate) fn check(message: &Message, version: Version) -> Result<(), EncodeError> {
    let Some(own) = &message.properties else {
        return Ok(());
    };
    let mut properties = PropertiesBuf::new();
    push_properties(own, &mut properties);
    if let Some(expiry_s) = own.expiry_s {
        properties.push(Property::MessageExpiryInterval(expiry_s));
    }
    let publish = martlet_codec::Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TopicName::new(&message.topic).ok(),
        packet_id: None,
        properties: properties.as_properties(),
        payload: &[],
    };
    // Only the encoder checks, so it has to write.
    Packet::Publish(publish).encode(version, &mut Vec::new())
}

/// All but expiry and alias, which change from one transmission to the next.
fn push_properties(own: &Properties, to: &mut PropertiesBuf) {
    if own.is_text {
        to.push(Property::PayloadFormatIndicator(1));
    }
    if let Some(content_type) = &own.content_type {
        to.push(Property::ContentType(content_type));
    }
    if let Some(topic) = &own.response_topic {
        to.push(Property::ResponseTopic(topic));
    }
    if let Some(data) = &own.correlation_data {
        to.push(Property::CorrelationData(data));
    }
    for (name, value) in &own.user {
        to.push(Property::UserProperty(name, value));
    }
}

/// Appends CONNECT.
pub(crate) fn connect(
    config: &Config,
    client_id: &str,
    clean_start: bool,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut properties = PropertiesBuf::new();
    let mut will_properties = PropertiesBuf::new();
    if config.version.is_v5() {
        if config.session.kind != SessionKind::Clean {
            properties.push(Property::SessionExpiryInterval(config.session.expiry_s));
        }
        properties.push(Property::ReceiveMaximum(config.receive_maximum.max(1)));
        properties.push(Property::MaximumPacketSize(config.packet_size_max.max(1)));
        if config.aliases_in_max > 0 {
            properties.push(Property::TopicAliasMaximum(config.aliases_in_max));
        }
        if config.request_response_information {
            properties.push(Property::RequestResponseInformation(1));
        }
        for (name, value) in &config.user_properties {
            properties.push(Property::UserProperty(name, value));
        }
        if let Some(will) = &config.will {
            if config.will_delay_s > 0 {
                will_properties.push(Property::WillDelayInterval(config.will_delay_s));
            }
            if let Some(expiry_s) = will.properties().expiry_s {
                will_properties.push(Property::MessageExpiryInterval(expiry_s));
            }
            push_properties(will.properties(), &mut will_properties);
        }
    }
    let will = config.will.as_ref().and_then(|will| {
        Some(Will {
            qos: will.qos,
            retain: will.retain,
            properties: will_properties.as_properties(),
            // The builder has refused a will without a legal topic.
            topic: TopicName::new(&will.topic).ok()?,
            payload: &will.payload,
        })
    });
    let connect = Connect {
        version: config.version,
        clean_start,
        keep_alive_s: config.keep_alive_s,
        properties: properties.as_properties(),
        client_id,
        will,
        user_name: config.credentials.user_name.as_deref(),
        password: config.credentials.password.as_deref(),
    };
    Packet::Connect(connect).encode(config.version, out)
}

/// Appends SUBSCRIBE.
pub(crate) fn subscribe(
    filters: &[Filter],
    packet_id: PacketId,
    subscription_id: u32,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut list = SubscribeFiltersBuf::new();
    for filter in filters {
        // Checked when the subscription was asked for.
        if let Ok(checked) = TopicFilter::new(&filter.text) {
            list.push(checked, filter.options);
        }
    }
    let mut properties = PropertiesBuf::new();
    if version.is_v5() && subscription_id > 0 {
        properties.push(Property::SubscriptionIdentifier(subscription_id));
    }
    let packet = Packet::Subscribe(Subscribe {
        packet_id,
        properties: properties.as_properties(),
        filters: list.as_filters(),
    });
    packet.encode(version, out)
}

/// Appends UNSUBSCRIBE.
pub(crate) fn unsubscribe<'a>(
    filters: impl Iterator<Item = &'a str>,
    packet_id: PacketId,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut list = UnsubscribeFiltersBuf::new();
    for filter in filters {
        if let Ok(checked) = TopicFilter::new(filter) {
            list.push(checked);
        }
    }
    let packet = Packet::Unsubscribe(Unsubscribe {
        packet_id,
        properties: martlet_codec::Properties::EMPTY,
        filters: list.as_filters(),
    });
    packet.encode(version, out)
}

/// Which of PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckKind {
    Ack,
    Rec,
    Rel,
    Comp,
}

/// Appends PUBACK, PUBREC, PUBREL or PUBCOMP. 3.x, which has no reasons, only knows success.
pub(crate) fn ack(
    kind: AckKind,
    packet_id: PacketId,
    reason: ReasonCode,
    version: Version,
    out: &mut Vec<u8>,
) {
    //= mqtt5 3.4.2-2
    //= mqtt5 3.4.2-3
    //= mqtt5 3.5.2-2
    //= mqtt5 3.5.2-3
    //= mqtt5 3.6.2-2
    //= mqtt5 3.6.2-3
    //= mqtt5 3.7.2-2
    //= mqtt5 3.7.2-3
    let ack = Ack {
        packet_id,
        reason: if version.is_v5() {
            reason
        } else {
            ReasonCode::Success
        },
        properties: martlet_codec::Properties::EMPTY,
    };
    let packet = |ack| match kind {
        AckKind::Ack => Packet::PubAck(ack),
        AckKind::Rec => Packet::PubRec(ack),
        AckKind::Rel => Packet::PubRel(ack),
        AckKind::Comp => Packet::PubComp(ack),
    };
    if packet(ack).encode(version, out).is_err() {
        // A reason that does not belong here, chosen by the application.
        let plain = Ack {
            reason: ReasonCode::Success,
            ..ack
        };
        let _ = packet(plain).encode(version, out);
    }
}

/// Appends PINGREQ.
pub(crate) fn ping(out: &mut Vec<u8>) {
    out.put_slice(&[0xC0, 0]);
}

/// DISCONNECT.
pub(crate) fn disconnect(reason: ReasonCode, version: Version, out: &mut Vec<u8>) {
    //= mqtt5 3.14.2-3
    //= mqtt5 3.14.2-4
    let packet = Packet::Disconnect(Disconnect {
        reason: if version.is_v5() {
            reason
        } else {
            ReasonCode::Success
        },
        properties: martlet_codec::Properties::EMPTY,
    });
    let _ = packet.encode(version, out);
}
