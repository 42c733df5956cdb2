//! Messages and properties between the command line, the library and the printer.

use std::borrow::Cow;

use martlet_client::{Message, Properties};
use martlet_codec::{PropertiesBuf, Property, PropertyId};

use crate::exit::{Exit, USAGE};
use crate::format::Incoming;
use crate::properties::{self, Owned, Value, hyphenated};
use crate::settings::Output;

/// Puts properties of -D into a message; returns the will's delay, which is no part of it.
pub(super) fn set(
    list: &properties::Properties,
    packet: &str,
    message: &mut Message,
) -> Result<u32, Exit> {
    let mut delay = 0;
    for Owned { id, value } in list.iter() {
        let target = message.properties_mut();
        match (id, value) {
            (PropertyId::PayloadFormatIndicator, Value::Number(number)) => {
                target.is_text = *number == 1;
            }
            (PropertyId::MessageExpiryInterval, Value::Number(seconds)) => {
                target.expiry_s = Some(*seconds);
            }
            (PropertyId::ContentType, Value::Text(text)) => {
                target.content_type = Some(text.clone());
            }
            (PropertyId::ResponseTopic, Value::Text(text)) => {
                target.response_topic = Some(martlet_client::IntoTopic::into_topic(text.as_str()));
            }
            (PropertyId::CorrelationData, Value::Bytes(data)) => {
                target.correlation_data = Some(data.clone().into());
            }
            (PropertyId::UserProperty, Value::Pair(key, value)) => {
                target.user.push((key.clone(), value.clone()));
            }
            (PropertyId::WillDelayInterval, Value::Number(seconds)) => delay = *seconds,
            (id, _) => return Err(unsupported(packet, *id)),
        }
    }
    Ok(delay)
}

/// A property that the library looks after itself, or not at all.
pub(super) fn unsupported(packet: &str, id: PropertyId) -> Exit {
    let why = if id == PropertyId::TopicAlias {
        "aliases are used by themselves; leave it out"
    } else {
        "not supported; leave it out"
    };
    Exit::new(USAGE, format!("-D {packet} {}: {why}", hyphenated(id)))
}

/// The properties of a message that arrived, as the printer wants them. Without subscription identifiers: they are the
/// library's own, nobody asked for them here.
pub(super) fn encoded(properties: &Properties) -> PropertiesBuf {
    let mut buffer = PropertiesBuf::new();
    if properties.is_text {
        buffer.push(Property::PayloadFormatIndicator(1));
    }
    if let Some(seconds) = properties.expiry_s {
        buffer.push(Property::MessageExpiryInterval(seconds));
    }
    if let Some(text) = &properties.content_type {
        buffer.push(Property::ContentType(text));
    }
    if let Some(topic) = &properties.response_topic {
        buffer.push(Property::ResponseTopic(topic.as_str()));
    }
    if let Some(data) = &properties.correlation_data {
        buffer.push(Property::CorrelationData(data));
    }
    for (name, value) in &properties.user {
        buffer.push(Property::UserProperty(name, value));
    }
    buffer
}

/// The payload as it is to be shown; the error says why `--decode` could do nothing with it. An empty payload stays one: it
/// says that there is no value any more.
pub(super) fn shown<'a>(message: &'a Message, output: &Output) -> Result<Cow<'a, [u8]>, String> {
    match &output.decoder {
        Some(decoder) if !message.payload.is_empty() => decoder
            .decode(&message.payload, output.pretty)
            .map(Cow::Owned)
            .map_err(|why| format!("{}: {why}", message.topic.as_str())),
        Some(_) | None => Ok(Cow::Borrowed(&message.payload)),
    }
}

/// The message as the printer wants it.
pub(super) fn printed<'a>(
    message: &'a Message,
    payload: &'a [u8],
    properties: &'a PropertiesBuf,
) -> Incoming<'a> {
    Incoming {
        topic: message.topic.as_str(),
        payload,
        payload_length: message.payload.len(),
        qos: message.qos as u8,
        retain: message.retain,
        // The library keeps it to itself.
        packet_id: 0,
        properties: properties.as_properties(),
    }
}
