//! What a server sent, after parsing.

use super::tables::prop;

/// One packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck(ConnAck),
    Publish(Message),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(Answer),
    UnsubAck(Answer),
    PingResp,
    Disconnect(Ended),
    Auth(Auth),
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    pub(crate) code: u8,
    pub(crate) props: PropList,
    /// Bytes of the whole packet.
    pub(crate) size: usize,
}

/// PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// As on the wire: empty when an alias stands for it.
    pub(crate) topic: String,
    /// 0 for QoS 0.
    pub(crate) id: u16,
    pub(crate) props: PropList,
    pub(crate) payload: Vec<u8>,
    /// Bytes of the whole packet.
    pub(crate) size: usize,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) id: u16,
    pub(crate) code: u8,
    pub(crate) props: PropList,
    pub(crate) size: usize,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u16,
    pub(crate) codes: Vec<u8>,
    pub(crate) props: PropList,
    pub(crate) size: usize,
}

/// DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: u8,
    pub(crate) props: PropList,
    pub(crate) size: usize,
}

/// AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Auth {
    pub(crate) code: u8,
    pub(crate) props: PropList,
}

/// The properties of a packet, in wire order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PropList(pub(crate) Vec<(u8, Value)>);

/// One property value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Any of the integer types.
    Number(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

impl Packet {
    /// The name of the packet type, for messages.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::ConnAck(_) => "CONNACK",
            Self::Publish(_) => "PUBLISH",
            Self::PubAck(_) => "PUBACK",
            Self::PubRec(_) => "PUBREC",
            Self::PubRel(_) => "PUBREL",
            Self::PubComp(_) => "PUBCOMP",
            Self::SubAck(_) => "SUBACK",
            Self::UnsubAck(_) => "UNSUBACK",
            Self::PingResp => "PINGRESP",
            Self::Disconnect(_) => "DISCONNECT",
            Self::Auth(_) => "AUTH",
        }
    }

    /// One line for a failure message.
    pub(crate) fn describe(&self) -> String {
        let mut text = match self {
            Self::Publish(m) => format!(
                "PUBLISH qos {} dup {} retain {} id {} topic {:?} payload {:?} {:?}",
                m.qos,
                m.dup,
                m.retain,
                m.id,
                m.topic,
                String::from_utf8_lossy(m.payload.get(..40).unwrap_or(&m.payload)),
                m.props.0
            ),
            Self::Disconnect(d) => format!("DISCONNECT 0x{:02X} {:?}", d.code, d.props.0),
            Self::PubAck(a) | Self::PubRec(a) | Self::PubRel(a) | Self::PubComp(a) => {
                format!("{} id {} code 0x{:02X}", self.name(), a.id, a.code)
            }
            Self::SubAck(c) | Self::UnsubAck(c) => {
                format!("{} id {} codes {:02X?}", self.name(), c.id, c.codes)
            }
            Self::ConnAck(_) | Self::PingResp | Self::Auth(_) => format!("{self:?}"),
        };
        if let Some((end, _)) = text.char_indices().nth(300) {
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

impl Message {
    /// The payload as text, for comparisons that print well.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl PropList {
    fn find(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|(i, _)| *i == id).map(|(_, v)| v)
    }

    pub(crate) fn has(&self, id: u8) -> bool {
        self.find(id).is_some()
    }

    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        match self.find(id)? {
            Value::Number(n) => Some(*n),
            Value::Text(_) | Value::Binary(_) | Value::Pair(..) => None,
        }
    }

    pub(crate) fn text(&self, id: u8) -> Option<&str> {
        match self.find(id)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Binary(_) | Value::Pair(..) => None,
        }
    }

    pub(crate) fn binary(&self, id: u8) -> Option<&[u8]> {
        match self.find(id)? {
            Value::Binary(data) => Some(data),
            Value::Number(_) | Value::Text(_) | Value::Pair(..) => None,
        }
    }

    /// All user properties, in order.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .filter(|(id, _)| *id == prop::USER_PROPERTY)
            .filter_map(|(_, value)| match value {
                Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
                Value::Number(_) | Value::Text(_) | Value::Binary(_) => None,
            })
            .collect()
    }

    /// All subscription identifiers, sorted.
    pub(crate) fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .0
            .iter()
            .filter(|(id, _)| *id == prop::SUBSCRIPTION_ID)
            .filter_map(|(_, value)| match value {
                Value::Number(n) => Some(*n),
                Value::Text(_) | Value::Binary(_) | Value::Pair(..) => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }
}
