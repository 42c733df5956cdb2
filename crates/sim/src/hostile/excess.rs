//! Packets that are legal but for a bound that the broker has announced, or that its operator has set.

use martlet_codec::{
    Packet, PacketId, Properties, PropertiesBuf, Property, Publish, QoS, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, Version, Will,
};
use martlet_engine::Limits;

use super::Hostile;
use crate::rng::Rng;

impl Hostile {
    /// Appends one of them; whether the server has to close the connection for it.
    pub(super) fn put_excess(&self, rng: &mut Rng, limits: &Limits, out: &mut Vec<u8>) -> bool {
        let deep = "/".repeat(limits.topic_levels_max);
        let long = "t".repeat(limits.topic_bytes_max + 1);
        let topic = if rng.percent(50) { &deep } else { &long };
        if self.step == 1 {
            return self.put_excessive_connect(rng, limits, topic, out);
        }
        let mut properties = PropertiesBuf::new();
        match rng.below(4) {
            0 => {
                // The header is enough.
                out.push(0x30);
                put_length(limits.packet_bytes_max, out);
                true
            }
            1 => {
                let mut filters = SubscribeFiltersBuf::new();
                let filter = TopicFilter::new(topic).expect("legal but for its size");
                filters.push(filter, SubscriptionOptions::with_qos(QoS::AtMostOnce));
                let subscribe = Subscribe {
                    packet_id: PacketId::new(1).expect("not 0"),
                    properties: Properties::EMPTY,
                    filters: filters.as_filters(),
                };
                self.put(&Packet::Subscribe(subscribe), out);
                // It is answered, or in MQTT 3.1 refused.
                self.version == Version::V31
            }
            2 if self.version == Version::V5 => {
                let alias = limits.topic_aliases_from_client_max.saturating_add(1);
                properties.push(Property::TopicAlias(alias));
                self.put_excessive_publish("hostile/x", &properties, out);
                true
            }
            _ => {
                self.put_excessive_publish(topic, &properties, out);
                self.version != Version::V5
            }
        }
    }

    /// A client identifier or the topic of a will.
    fn put_excessive_connect(
        &self,
        rng: &mut Rng,
        limits: &Limits,
        topic: &str,
        out: &mut Vec<u8>,
    ) -> bool {
        if rng.percent(50) {
            let name = "h".repeat(limits.client_id_bytes_max + 1);
            self.put_connect_as(&name, None, out);
        } else {
            let will = Will {
                qos: QoS::AtMostOnce,
                retain: false,
                properties: Properties::EMPTY,
                topic: TopicName::new(topic).expect("legal but for its size"),
                payload: b"hostile",
            };
            self.put_connect_as(&self.name, Some(will), out);
        }
        true
    }

    fn put_excessive_publish(&self, topic: &str, properties: &PropertiesBuf, out: &mut Vec<u8>) {
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: Some(TopicName::new(topic).expect("legal but for its size")),
            packet_id: PacketId::new(1),
            properties: properties.as_properties(),
            payload: b"hostile",
        };
        self.put(&Packet::Publish(publish), out);
    }
}

/// Remaining Length.
fn put_length(mut length: u32, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        out.push(low | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            return;
        }
    }
}
