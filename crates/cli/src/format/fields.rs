//! One `%` field of a format.
//!
//! Widths and precisions do to each field what they do in mosquitto 2.0.11, oddities included: a payload is cut to the
//! width, half of that for hexadecimal digits; `%D`, `%P`, `%q`, `%r` and `%U` have no width.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "only some properties stand in a PUBLISH"
)]

use std::io::Write as _;

use martlet_codec::{Properties, Property};

use super::json::{Json, Numbers};
use super::time::LocalTime;
use super::{Complaint, Field, Incoming};
use crate::programs::Dialect;
use crate::properties::hyphenated;

/// What a field needs beside the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) time: &'a LocalTime,
    pub(super) dialect: Dialect,
    pub(super) pretty: bool,
}

/// Prints a field.
pub(super) fn print(
    field: Field,
    message: &Incoming<'_>,
    context: Context<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Complaint> {
    let properties = message.properties;
    let signed = |number: u32| i64::from(number.cast_signed());
    match field.kind {
        b'A' => optional_number(field, properties.topic_alias().map(i64::from), out),
        b'C' => match properties.content_type() {
            Some(text) => string(field, text.as_bytes(), out),
            None => blank(b' ', field.width, out),
        },
        b'D' => out.extend_from_slice(properties.correlation_data().unwrap_or_default()),
        b'E' => optional_number(field, properties.message_expiry_interval().map(signed), out),
        b'F' => optional_number(
            field,
            properties.payload_format_indicator().map(i64::from),
            out,
        ),
        b'I' => string(field, context.time.iso().as_bytes(), out),
        b'j' => object(
            message,
            context,
            escaped(message.payload, context.dialect),
            out,
        ),
        b'J' => return json_payload(message, context, out),
        b'l' => number(
            field,
            i64::try_from(message.payload_length).unwrap_or(i64::MAX),
            out,
        ),
        b'm' => number(field, i64::from(message.packet_id), out),
        b'P' => user_properties(properties, out),
        b'p' => payload(field, message.payload, None, out),
        b'q' => out.push(b'0' + message.qos),
        b'R' => {
            if let Some(topic) = properties.response_topic() {
                string(field, topic.as_bytes(), out);
            }
        }
        b'r' => out.push(b'0' + u8::from(message.retain)),
        b'S' => {
            let first = properties.subscription_identifiers().next();
            optional_number(field, first.map(i64::from), out);
        }
        b't' => string(field, message.topic.as_bytes(), out),
        b'U' => out.extend_from_slice(context.time.unix().as_bytes()),
        b'x' => payload(field, message.payload, Some(LOWER), out),
        b'X' => payload(field, message.payload, Some(UPPER), out),
        b'd' => {
            let number = <[u8; 8]>::try_from(message.payload).map(f64::from_le_bytes);
            float(field, number.ok(), out);
        }
        b'f' => {
            let number = <[u8; 4]>::try_from(message.payload).map(f32::from_le_bytes);
            float(field, number.ok().map(f64::from), out);
        }
        _ => {}
    }
    Ok(())
}

/// The whole message as an object; the payload as text, or in base64 if it is none. A decoded one is JSON itself.
pub(super) fn print_json(
    message: &Incoming<'_>,
    context: Context<'_>,
    decoded: bool,
    out: &mut Vec<u8>,
) {
    if decoded {
        // What a decoder has made is JSON: there is nothing to complain about.
        let _ = json_payload(message, context, out);
        return;
    }
    object(
        message,
        context,
        escaped(message.payload, context.dialect),
        out,
    );
}

/// `%J`: the payload is JSON itself.
fn json_payload(
    message: &Incoming<'_>,
    context: Context<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Complaint> {
    let payload = if message.payload.is_empty() {
        ("payload", Json::Null)
    } else {
        match (serde_json::from_slice(message.payload), context.dialect) {
            (Ok(json), _) => ("payload", json),
            (Err(_), Dialect::Martlet) => escaped(message.payload, context.dialect),
            (Err(_), Dialect::Mosquitto) => {
                return Err(Complaint::NotJson {
                    topic: message.topic.to_owned(),
                });
            }
        }
    };
    object(message, context, payload, out);
    Ok(())
}

/// A payload as a member of the object. Mosquitto's is cut at the first NUL and may be no UTF-8; ours always parses.
fn escaped(payload: &[u8], dialect: Dialect) -> (&'static str, Json) {
    match dialect {
        Dialect::Mosquitto if payload.is_empty() => ("payload", Json::Null),
        Dialect::Mosquitto => ("payload", Json::Text(c_string(payload).to_vec())),
        Dialect::Martlet => match std::str::from_utf8(payload) {
            Ok(text) => ("payload", Json::text(text)),
            Err(_) => ("payload_b64", Json::text(&base64_of(payload))),
        },
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn object(
    message: &Incoming<'_>,
    context: Context<'_>,
    (name, payload): (&'static str, Json),
    out: &mut Vec<u8>,
) {
    let member = |name: &str, value: Json| (name.as_bytes().to_vec(), value);
    let number = |number: usize| Json::Unsigned(u64::try_from(number).unwrap_or(u64::MAX));
    let mut members = vec![
        member("tst", Json::text(&context.time.stamp())),
        member("topic", Json::text(message.topic)),
        member("qos", Json::Unsigned(u64::from(message.qos))),
        member("retain", Json::Unsigned(u64::from(message.retain))),
        member("payloadlen", number(message.payload_length)),
    ];
    // 0: the library keeps the identifier to itself.
    if message.qos > 0 && message.packet_id > 0 {
        members.push(member("mid", Json::Unsigned(u64::from(message.packet_id))));
    }
    if !message.properties.is_empty() {
        members.push(member(
            "properties",
            properties_object(message.properties, context.dialect),
        ));
    }
    members.push(member(name, payload));
    let numbers = match context.dialect {
        Dialect::Martlet => Numbers::Exact,
        Dialect::Mosquitto => Numbers::Double,
    };
    Json::Object(members).write(context.pretty, numbers, out);
}

fn properties_object(properties: Properties<'_>, dialect: Dialect) -> Json {
    let mut members: Vec<(Vec<u8>, Json)> = Vec::new();
    let mut user: Option<usize> = None;
    for property in properties.iter() {
        let value = match property {
            Property::PayloadFormatIndicator(value) => Json::Unsigned(u64::from(value)),
            Property::MessageExpiryInterval(value) | Property::SubscriptionIdentifier(value) => {
                Json::Unsigned(u64::from(value))
            }
            Property::TopicAlias(value) => Json::Unsigned(u64::from(value)),
            Property::ContentType(text) | Property::ResponseTopic(text) => Json::text(text),
            Property::CorrelationData(data) => correlation(data, dialect),
            Property::UserProperty(name, value) => {
                let pair = (name.as_bytes().to_vec(), Json::text(value));
                let place = *user.get_or_insert_with(|| {
                    members.push((b"user-properties".to_vec(), Json::Object(Vec::new())));
                    members.len() - 1
                });
                if let Some((_, Json::Object(pairs))) = members.get_mut(place) {
                    pairs.push(pair);
                }
                continue;
            }
            _ => continue,
        };
        let name = match (property, &value) {
            (Property::CorrelationData(_), Json::Object(_)) => "correlation-data_b64".to_owned(),
            _ => hyphenated(property.id()),
        };
        let value = match value {
            Json::Object(wrapped) => wrapped
                .into_iter()
                .next()
                .map_or(Json::Null, |(_, value)| value),
            plain => plain,
        };
        members.push((name.into_bytes(), value));
    }
    Json::Object(members)
}

/// Text as it is; other bytes wrapped, so that the member gets another name.
fn correlation(data: &[u8], dialect: Dialect) -> Json {
    match (dialect, std::str::from_utf8(data)) {
        (Dialect::Mosquitto, _) => Json::Text(c_string(data).to_vec()),
        (Dialect::Martlet, Ok(text)) => Json::text(text),
        (Dialect::Martlet, Err(_)) => {
            Json::Object(vec![(Vec::new(), Json::text(&base64_of(data)))])
        }
    }
}

fn user_properties(properties: Properties<'_>, out: &mut Vec<u8>) {
    for (index, (name, value)) in properties.user_properties().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{name}:{value}");
    }
}

fn optional_number(field: Field, value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => number(field, value, out),
        None => blank(field.pad(), field.width, out),
    }
}

fn number(field: Field, value: i64, out: &mut Vec<u8>) {
    let width = field.width;
    let _ = if field.left {
        write!(out, "{value:<width$}")
    } else if field.zero {
        write!(out, "{value:0width$}")
    } else {
        write!(out, "{value:width$}")
    };
}

fn float(field: Field, value: Option<f64>, out: &mut Vec<u8>) {
    let Some(value) = value else {
        blank(b' ', field.width, out);
        return;
    };
    let (width, precision) = (field.width, field.precision.unwrap_or(6));
    let _ = if field.left {
        write!(out, "{value:<width$.precision$}")
    } else if field.zero {
        write!(out, "{value:0width$.precision$}")
    } else {
        write!(out, "{value:width$.precision$}")
    };
}

/// Bytes cut to the precision and filled up with blanks to the width, as printf does.
fn string(field: Field, text: &[u8], out: &mut Vec<u8>) {
    let length = field.precision.unwrap_or(text.len()).min(text.len());
    let text = text.get(..length).unwrap_or(text);
    let padding = field.width.saturating_sub(text.len());
    if field.left {
        out.extend_from_slice(text);
        blank(b' ', padding, out);
    } else {
        blank(b' ', padding, out);
        out.extend_from_slice(text);
    }
}

fn payload(field: Field, payload: &[u8], digits: Option<&[u8; 16]>, out: &mut Vec<u8>) {
    let per_byte = if digits.is_some() { 2 } else { 1 };
    let mut length = payload.len();
    if field.width > 0 {
        length = length.min(field.width) / per_byte;
    }
    let padding = field.width.saturating_sub(length * per_byte);
    let payload = payload.get(..length).unwrap_or(payload);
    if !field.left {
        blank(field.pad(), padding, out);
    }
    match digits {
        None => out.extend_from_slice(payload),
        Some(digits) => hexadecimal(field, payload, digits, out),
    }
    if field.left {
        blank(b' ', padding, out);
    }
}

fn hexadecimal(field: Field, payload: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
    let group = field.precision.unwrap_or(1).max(1);
    for (index, byte) in payload.iter().enumerate() {
        if let Some(separator) = field.separator
            && index > 0
            && index % group == 0
        {
            out.push(separator);
        }
        for half in [byte >> 4, byte & 15] {
            out.extend(digits.get(usize::from(half)));
        }
    }
}

fn blank(pad: u8, count: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + count, pad);
}

impl Field {
    const fn pad(self) -> u8 {
        if self.zero { b'0' } else { b' ' }
    }
}

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";
