//! A strict reader of server packets: anything that the specification forbids a server to send is
//! an error, told in words.

use super::received::{Ack, Answer, Auth, ConnAck, Ended, Message, Packet, PropList, Value};
use super::tables::{Kind, kind, prop, properties, reasons};
use crate::case::Version;

/// Takes the first packet of `input`: its length and content, or `None` when more bytes are
/// needed.
pub(crate) fn parse(version: Version, input: &[u8]) -> Result<Option<(Packet, usize)>, String> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(None);
    };
    let Some((length, digits)) = remaining_length(rest)? else {
        return Ok(None);
    };
    let Some(body) = rest.get(digits..digits + length) else {
        return Ok(None);
    };
    let size = 1 + digits + length;
    let mut reader = Reader {
        rest: body,
        version,
    };
    let packet = reader
        .packet(first, size)
        .map_err(|what| format!("packet type {} from the server: {what}", first >> 4))?;
    if !reader.rest.is_empty() {
        return Err(format!(
            "{} from the server has {} surplus bytes",
            packet.name(),
            reader.rest.len()
        ));
    }
    Ok(Some((packet, size)))
}

/// Value and number of digits of a shortest-form variable byte integer.
fn remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut value = 0_usize;
    for (index, &byte) in input.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && byte == 0 {
                return Err("variable byte integer from the server is not the shortest".into());
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if input.len() >= 4 {
        return Err("variable byte integer from the server is longer than four bytes".into());
    }
    Ok(None)
}

struct Reader<'a> {
    rest: &'a [u8],
    version: Version,
}

impl<'a> Reader<'a> {
    fn packet(&mut self, first: u8, size: usize) -> Result<Packet, String> {
        let flags = first & 0x0F;
        let packet_type = first >> 4;
        let expected_flags = if packet_type == 6 { 2 } else { 0 };
        if packet_type != 3 && flags != expected_flags {
            return Err(format!("reserved flags are {flags:04b}"));
        }
        match packet_type {
            2 => self.connack(size).map(Packet::ConnAck),
            3 => self.publish(flags, size).map(Packet::Publish),
            4 => self.ack(4, size).map(Packet::PubAck),
            5 => self.ack(5, size).map(Packet::PubRec),
            6 => self.ack(6, size).map(Packet::PubRel),
            7 => self.ack(7, size).map(Packet::PubComp),
            9 => self.suback(size).map(Packet::SubAck),
            11 => self.unsuback(size).map(Packet::UnsubAck),
            13 => Ok(Packet::PingResp),
            14 if self.version.is_v5() => self.disconnect(size).map(Packet::Disconnect),
            15 if self.version.is_v5() => self.auth().map(Packet::Auth),
            _ => Err("a server never sends this".into()),
        }
    }

    fn connack(&mut self, size: usize) -> Result<ConnAck, String> {
        let flags = self.u8()?;
        if flags > 1 {
            return Err(format!("CONNACK flags are {flags:08b}"));
        }
        let code = self.u8()?;
        let known = if self.version.is_v5() {
            reasons(2).contains(&code)
        } else {
            code <= 5
        };
        if !known {
            return Err(format!("CONNACK with the unlisted code 0x{code:02X}"));
        }
        if flags == 1 && code != 0 {
            return Err(format!("CONNACK 0x{code:02X} with Session Present"));
        }
        let props = self.props(2)?;
        Ok(ConnAck {
            session_present: flags == 1,
            code,
            props,
            size,
        })
    }

    fn publish(&mut self, flags: u8, size: usize) -> Result<Message, String> {
        let qos = (flags >> 1) & 3;
        let dup = flags & 8 != 0;
        if qos == 3 {
            return Err("QoS bits are 11".into());
        }
        if qos == 0 && dup {
            return Err("DUP is set with QoS 0".into());
        }
        let topic = self.text()?;
        if topic.contains(['+', '#']) {
            return Err(format!("wildcard in the topic name {topic:?}"));
        }
        let id = if qos == 0 { 0 } else { self.id()? };
        let props = self.props(3)?;
        if topic.is_empty() && !props.has(prop::TOPIC_ALIAS) {
            return Err("empty topic name without an alias".into());
        }
        let payload = std::mem::take(&mut self.rest).to_vec();
        Ok(Message {
            dup,
            qos,
            retain: flags & 1 != 0,
            topic,
            id,
            props,
            payload,
            size,
        })
    }

    fn ack(&mut self, packet_type: u8, size: usize) -> Result<Ack, String> {
        let id = self.id()?;
        let (mut code, mut props) = (0, PropList::default());
        if self.version.is_v5() && !self.rest.is_empty() {
            code = self.reason(packet_type)?;
            if !self.rest.is_empty() {
                props = self.props(packet_type)?;
            }
        }
        Ok(Ack {
            id,
            code,
            props,
            size,
        })
    }

    fn suback(&mut self, size: usize) -> Result<Answer, String> {
        let id = self.id()?;
        let props = self.props(9)?;
        let codes = std::mem::take(&mut self.rest).to_vec();
        let known: &[u8] = if self.version.is_v5() {
            reasons(9)
        } else {
            &[0, 1, 2, 0x80]
        };
        if codes.is_empty() || codes.iter().any(|code| !known.contains(code)) {
            return Err(format!("SUBACK with codes {codes:02X?}"));
        }
        Ok(Answer {
            id,
            codes,
            props,
            size,
        })
    }

    fn unsuback(&mut self, size: usize) -> Result<Answer, String> {
        let id = self.id()?;
        if !self.version.is_v5() {
            return Ok(Answer {
                id,
                codes: Vec::new(),
                props: PropList::default(),
                size,
            });
        }
        let props = self.props(11)?;
        let codes = std::mem::take(&mut self.rest).to_vec();
        if codes.is_empty() || codes.iter().any(|code| !reasons(11).contains(code)) {
            return Err(format!("UNSUBACK with codes {codes:02X?}"));
        }
        Ok(Answer {
            id,
            codes,
            props,
            size,
        })
    }

    fn disconnect(&mut self, size: usize) -> Result<Ended, String> {
        let (mut code, mut props) = (0, PropList::default());
        if !self.rest.is_empty() {
            code = self.reason(14)?;
            if !self.rest.is_empty() {
                props = self.props(14)?;
            }
        }
        Ok(Ended { code, props, size })
    }

    fn auth(&mut self) -> Result<Auth, String> {
        let code = self.reason(15)?;
        let props = self.props(15)?;
        if !props.has(prop::AUTH_METHOD) {
            return Err("AUTH without an Authentication Method".into());
        }
        Ok(Auth { code, props })
    }

    fn reason(&mut self, packet_type: u8) -> Result<u8, String> {
        let code = self.u8()?;
        if reasons(packet_type).contains(&code) {
            Ok(code)
        } else {
            Err(format!(
                "reason code 0x{code:02X} is not in this packet's table"
            ))
        }
    }

    fn id(&mut self) -> Result<u16, String> {
        match self.u16()? {
            0 => Err("packet identifier 0".into()),
            id => Ok(id),
        }
    }

    /// The property section; nothing for 3.1.1.
    fn props(&mut self, packet_type: u8) -> Result<PropList, String> {
        let mut list = PropList::default();
        if !self.version.is_v5() {
            return Ok(list);
        }
        let length = self.varint()?;
        let mut section = Reader {
            rest: self.take(length)?,
            version: self.version,
        };
        while !section.rest.is_empty() {
            let id = section.u8()?;
            let layout = kind(id).ok_or_else(|| format!("unknown property 0x{id:02X}"))?;
            if !properties(packet_type).contains(&id) {
                return Err(format!("property 0x{id:02X} is not allowed in this packet"));
            }
            let repeatable = id == prop::USER_PROPERTY || id == prop::SUBSCRIPTION_ID;
            if !repeatable && list.has(id) {
                return Err(format!("property 0x{id:02X} twice"));
            }
            let value = section.value(layout)?;
            in_range(id, &value)?;
            list.0.push((id, value));
        }
        Ok(list)
    }

    fn value(&mut self, layout: Kind) -> Result<Value, String> {
        Ok(match layout {
            Kind::Byte => Value::Number(self.u8()?.into()),
            Kind::Two => Value::Number(self.u16()?.into()),
            Kind::Four => {
                let high = u32::from(self.u16()?);
                Value::Number(high << 16 | u32::from(self.u16()?))
            }
            Kind::Varint => Value::Number(u32::try_from(self.varint()?).unwrap_or(u32::MAX)),
            Kind::Text => Value::Text(self.text()?),
            Kind::Binary => {
                let length = usize::from(self.u16()?);
                Value::Binary(self.take(length)?.to_vec())
            }
            Kind::Pair => Value::Pair(self.text()?, self.text()?),
        })
    }

    fn text(&mut self) -> Result<String, String> {
        let length = usize::from(self.u16()?);
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|e| format!("ill-formed UTF-8: {e}"))?;
        if text.contains('\0') {
            return Err("U+0000 in a string".into());
        }
        Ok(text.to_owned())
    }

    fn varint(&mut self) -> Result<usize, String> {
        let (value, digits) =
            remaining_length(self.rest)?.ok_or("packet ends inside a variable byte integer")?;
        self.take(digits)?;
        Ok(value)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from(self.u8()?) << 8 | u16::from(self.u8()?))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self
            .rest
            .split_at_checked(length)
            .ok_or("packet ends too early")?;
        self.rest = tail;
        Ok(head)
    }
}

/// The ranges of section 2.2.2 that no type can express.
fn in_range(id: u8, value: &Value) -> Result<(), String> {
    let bad = match (id, value) {
        (
            prop::PAYLOAD_FORMAT
            | prop::MAXIMUM_QOS
            | prop::RETAIN_AVAILABLE
            | prop::WILDCARD_AVAILABLE
            | prop::SUBSCRIPTION_ID_AVAILABLE
            | prop::SHARED_AVAILABLE,
            Value::Number(n),
        ) => *n > 1,
        (
            prop::SUBSCRIPTION_ID
            | prop::RECEIVE_MAXIMUM
            | prop::TOPIC_ALIAS
            | prop::MAXIMUM_PACKET_SIZE,
            Value::Number(n),
        ) => *n == 0,
        (prop::RESPONSE_TOPIC, Value::Text(topic)) => topic.contains(['+', '#']),
        _ => false,
    };
    if bad {
        Err(format!("property 0x{id:02X} has the value {value:?}"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(version: Version, bytes: &[u8]) -> String {
        parse(version, bytes).expect_err("should be refused")
    }

    #[test]
    fn packets_that_a_server_must_not_send_are_refused() {
        use Version::{V5, V311};
        refuses(V5, &[0x20, 0x83, 0x00, 0, 0, 0]); // padded remaining length
        refuses(V5, &[0x21, 3, 0, 0, 0]); // flags
        refuses(V5, &[0x20, 3, 2, 0, 0]); // CONNACK flags
        refuses(V5, &[0x20, 3, 1, 0x80, 0]); // session present with an error
        refuses(V5, &[0x20, 3, 0, 0x8B, 0]); // not a CONNACK code
        refuses(V5, &[0x20, 5, 0, 0, 2, 0x24, 2]); // Maximum QoS 2
        refuses(V5, &[0x20, 7, 0, 0, 4, 0x24, 1, 0x24, 1]); // twice
        refuses(V5, &[0x20, 4, 0, 0, 0, 0]); // surplus
        refuses(V5, &[0x20, 2, 0, 0]); // property length left out
        refuses(V311, &[0x20, 3, 0, 0, 0]); // properties in 3.1.1
        refuses(V311, &[0xE0, 0]); // DISCONNECT in 3.1.1
        refuses(V5, &[0x36, 5, 0, 1, b'a', 0, 1]); // QoS 3
        refuses(V5, &[0x38, 4, 0, 1, b'a', 0]); // DUP with QoS 0
        refuses(V5, &[0x30, 4, 0, 1, b'#', 0]); // wildcard
        refuses(V5, &[0x30, 3, 0, 0, 0]); // no topic
        refuses(V5, &[0x30, 4, 0, 1, 0, 0]); // NUL
        refuses(V5, &[0x30, 4, 0, 1, 0xFF, 0]); // not UTF-8
        refuses(V5, &[0x32, 6, 0, 1, b'a', 0, 0, 0]); // packet identifier 0
        refuses(V5, &[0x60, 2, 0, 1]); // PUBREL flags
        refuses(V5, &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 1]); // session expiry from a server
        refuses(V5, &[0xF0, 0]); // AUTH without method
        refuses(V5, &[0x82, 2, 0, 1]); // SUBSCRIBE from a server
    }

    #[test]
    fn half_a_packet_asks_for_more() {
        assert_eq!(parse(Version::V5, &[0x20, 3, 0]), Ok(None));
        assert_eq!(parse(Version::V5, &[0x20, 0x80]), Ok(None));
        assert_eq!(parse(Version::V5, &[]), Ok(None));
    }

    #[test]
    fn a_publish_is_read_field_by_field() {
        let bytes = [
            0x3B, 13, 0, 1, b'a', 0, 7, 5, 0x02, 0, 0, 1, 2, b'h', b'i', 0xFF,
        ];
        let (packet, size) = parse(Version::V5, &bytes).unwrap().unwrap();
        assert_eq!(size, 15);
        let Packet::Publish(message) = packet else {
            panic!("not a PUBLISH")
        };
        assert!(message.dup && message.retain && message.qos == 1 && message.id == 7);
        assert_eq!(message.props.number(prop::MESSAGE_EXPIRY), Some(258));
        assert_eq!(message.text(), "hi");
    }
}
