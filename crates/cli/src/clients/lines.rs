//! Messages from lines of standard input, and payloads written as digits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use martlet_client::{IntoTopic as _, Message};
use martlet_codec::{QoS, TopicName};
use serde::Deserialize;

use super::publish::dress;
use crate::settings::{Encoding, Lines, Settings};

/// The message of a line; the error says what is wrong with it.
pub(super) fn message_of_line(line: &[u8], settings: &Settings) -> Result<Message, String> {
    let sending = &settings.sending;
    match &sending.lines {
        Lines::Jsonl => message_of_json(line, settings),
        Lines::Payload => {
            let topic = sending.topic.as_deref().unwrap_or_default();
            plain(topic, line, settings)
        }
        Lines::TopicAndPayload { separator } => {
            let at = line
                .windows(separator.len())
                .position(|window| window == separator.as_bytes());
            let at = at.ok_or_else(|| {
                format!("there is no '{separator}' between a topic and a payload")
            })?;
            let (topic, rest) = line.split_at(at);
            let topic =
                std::str::from_utf8(topic).map_err(|_| "the topic is not UTF-8".to_owned())?;
            plain(
                topic,
                rest.get(separator.len()..).unwrap_or_default(),
                settings,
            )
        }
    }
}

fn plain(topic: &str, payload: &[u8], settings: &Settings) -> Result<Message, String> {
    check_topic(topic)?;
    let payload = decoded(payload.to_vec(), settings.sending.encoding)?;
    let mut message = Message::new(topic, payload);
    dress(settings, &mut message).map_err(|exit| exit.to_string())?;
    Ok(message)
}

fn check_topic(topic: &str) -> Result<(), String> {
    match TopicName::new(topic) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("'{topic}' is no topic to publish to: {error}")),
    }
}

/// Bytes that are written as hexadecimal digits or base64.
pub(super) fn decoded(bytes: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, String> {
    let visible = || -> Vec<u8> {
        bytes
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect()
    };
    match encoding {
        Encoding::Plain => Ok(bytes),
        Encoding::Base64 => STANDARD
            .decode(visible())
            .map_err(|error| format!("no base64: {error}")),
        Encoding::Hex => {
            let digits = visible();
            let pairs = digits.chunks(2).map(|pair| match pair {
                [high, low] => {
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    let value = digit(*high)? * 16 + digit(*low)?;
                    u8::try_from(value).ok()
                }
                _ => None,
            });
            let bytes: Option<Vec<u8>> = pairs.collect();
            bytes.ok_or_else(|| "no hexadecimal digits, two for each byte".to_owned())
        }
    }
}

/// An object as `sub --output json` prints it. What it does not say comes from the command line.
#[derive(Debug, Deserialize)]
struct Line {
    topic: Option<String>,
    qos: Option<u8>,
    retain: Option<Flag>,
    payload: Option<serde_json::Value>,
    payload_b64: Option<String>,
    #[serde(default)]
    properties: Fields,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(u8),
    Bool(bool),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Fields {
    payload_format_indicator: Option<u8>,
    message_expiry_interval: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<String>,
    #[serde(rename = "correlation-data_b64")]
    correlation_data_b64: Option<String>,
    #[serde(deserialize_with = "pairs")]
    user_properties: Vec<(String, String)>,
}

/// An object as a list, so that names may come twice.
fn pairs<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, String)>, D::Error> {
    struct Pairs;
    impl<'de> serde::de::Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object of texts")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut members: A,
        ) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(pair) = members.next_entry()? {
                list.push(pair);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_map(Pairs)
}

fn message_of_json(line: &[u8], settings: &Settings) -> Result<Message, String> {
    let object: Line = serde_json::from_slice(line)
        .map_err(|error| format!("not the JSON of a message: {error}"))?;
    let topic = object
        .topic
        .as_deref()
        .or(settings.sending.topic.as_deref());
    let topic = topic.ok_or("no topic in it, and no -t")?;
    check_topic(topic)?;
    let payload = match (object.payload, object.payload_b64) {
        (_, Some(text)) => STANDARD
            .decode(text)
            .map_err(|error| format!("payload_b64: {error}"))?,
        (Some(serde_json::Value::String(text)), None) => text.into_bytes(),
        (Some(serde_json::Value::Null) | None, None) => Vec::new(),
        (Some(other), None) => other.to_string().into_bytes(),
    };
    let mut message = Message::new(topic, payload);
    dress(settings, &mut message).map_err(|exit| exit.to_string())?;
    if let Some(qos) = object.qos {
        message.qos = QoS::from_bits(qos).ok_or_else(|| format!("qos {qos}: it is 0, 1 or 2"))?;
    }
    match object.retain {
        Some(Flag::Number(number)) => message.retain = number != 0,
        Some(Flag::Bool(flag)) => message.retain = flag,
        None => {}
    }
    if settings.session.version.is_v5() {
        add_properties(object.properties, &mut message)?;
    }
    Ok(message)
}

fn add_properties(fields: Fields, message: &mut Message) -> Result<(), String> {
    let binary = match (fields.correlation_data, fields.correlation_data_b64) {
        (_, Some(text)) => {
            let decoded = STANDARD.decode(text);
            Some(decoded.map_err(|error| format!("correlation-data_b64: {error}"))?)
        }
        (text, None) => text.map(String::into_bytes),
    };
    if let Some(topic) = &fields.response_topic {
        check_topic(topic)?;
    }
    let properties = message.properties_mut();
    properties.is_text |= fields.payload_format_indicator == Some(1);
    properties.expiry_s = fields.message_expiry_interval.or(properties.expiry_s);
    properties.content_type = fields
        .content_type
        .or_else(|| properties.content_type.take());
    if let Some(topic) = fields.response_topic {
        properties.response_topic = Some(topic.as_str().into_topic());
    }
    if let Some(data) = binary {
        properties.correlation_data = Some(data.into());
    }
    properties.user.extend(fields.user_properties);
    Ok(())
}

#[cfg(test)]
mod tests {
    use martlet_codec::QoS;

    use super::{decoded, message_of_line};
    use crate::programs::{Dialect, Program};
    use crate::settings::{Encoding, Lines, Settings};

    fn settings(lines: Lines) -> Settings {
        let mut settings = Settings::new(Program::Pub, Dialect::Martlet);
        settings.sending.lines = lines;
        settings
    }

    #[test]
    fn digits_become_bytes() {
        assert_eq!(
            decoded(b"00 fF\n".to_vec(), Encoding::Hex).unwrap(),
            [0, 255]
        );
        assert_eq!(
            decoded(b"/wAB".to_vec(), Encoding::Base64).unwrap(),
            [255, 0, 1]
        );
        for (wrong, encoding) in [
            ("abc", Encoding::Hex),
            ("zz", Encoding::Hex),
            ("a", Encoding::Base64),
        ] {
            assert!(decoded(wrong.into(), encoding).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_can_name_its_topic() {
        let settings = settings(Lines::TopicAndPayload {
            separator: " ".to_owned(),
        });
        let message = message_of_line(b"a/b 1 2", &settings).unwrap();
        assert_eq!(
            (message.topic.as_str(), &message.payload[..]),
            ("a/b", &b"1 2"[..])
        );
        assert!(
            message_of_line(b"nothing", &settings)
                .unwrap_err()
                .contains("no ' '")
        );
        assert!(
            message_of_line(b"a/# x", &settings)
                .unwrap_err()
                .contains("no topic to publish to")
        );
    }

    #[test]
    fn an_object_says_everything_about_its_message() {
        let mut settings = settings(Lines::Jsonl);
        let line = br#"{"tst":"x","topic":"t","qos":2,"retain":1,"payloadlen":3,"mid":7,"properties":{"content-type":"c",
            "user-properties":{"a":"1","a":"2"},"correlation-data_b64":"/w==","message-expiry-interval":9},"payload_b64":"/wAB"}"#;
        let message = message_of_line(line, &settings).unwrap();
        assert_eq!((message.qos, message.retain), (QoS::ExactlyOnce, true));
        assert_eq!(&message.payload[..], b"\xff\x00\x01");
        let properties = message.properties();
        assert_eq!(properties.user.len(), 2);
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"\xff"[..]));
        assert_eq!(
            (properties.content_type.as_deref(), properties.expiry_s),
            (Some("c"), Some(9))
        );
        settings.sending.topic = Some("from/t".to_owned());
        let message = message_of_line(br#"{"payload":{"x":1}}"#, &settings).unwrap();
        assert_eq!(
            (message.topic.as_str(), &message.payload[..]),
            ("from/t", &br#"{"x":1}"#[..])
        );
        for wrong in [
            &b"{"[..],
            b"[]",
            br#"{"topic":"a/+"}"#,
            br#"{"topic":"a","qos":3}"#,
            br#"{"topic":"a","payload_b64":"!"}"#,
        ] {
            assert!(message_of_line(wrong, &settings).is_err());
        }
    }
}
