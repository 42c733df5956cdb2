//! The packets that a client sends. Every field can be set to anything, right or wrong; what has
//! no setter is made from [`Bytes`] and [`packet`] by hand.

use super::bytes::{Bytes, packet};
use super::tables::prop;
use crate::case::Version;

/// Something that can be put on the wire.
pub(crate) trait Encode {
    fn encode(&self, version: Version) -> Vec<u8>;
}

/// Properties under construction, without their length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Props(Bytes);

impl Props {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn u8(self, id: u8, value: u8) -> Self {
        Self(self.0.u8(id).u8(value))
    }

    pub(crate) fn u16(self, id: u8, value: u16) -> Self {
        Self(self.0.u8(id).u16(value))
    }

    pub(crate) fn u32(self, id: u8, value: u32) -> Self {
        Self(self.0.u8(id).u32(value))
    }

    pub(crate) fn varint(self, id: u8, value: usize) -> Self {
        Self(self.0.u8(id).varint(value))
    }

    pub(crate) fn text(self, id: u8, value: &str) -> Self {
        Self(self.0.u8(id).string(value))
    }

    /// Binary data; also an ill-formed string.
    pub(crate) fn binary(self, id: u8, value: &[u8]) -> Self {
        Self(self.0.u8(id).binary(value))
    }

    pub(crate) fn pair(self, name: &str, value: &str) -> Self {
        Self(self.0.u8(prop::USER_PROPERTY).string(name).string(value))
    }

    pub(crate) fn raw(self, bytes: &[u8]) -> Self {
        Self(self.0.raw(bytes))
    }

    /// The bytes without a length.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0.0
    }

    /// The bytes behind their length.
    pub(crate) fn section(&self) -> Vec<u8> {
        Bytes::new().varint(self.0.0.len()).raw(&self.0.0).0
    }

    fn section_of(&self, version: Version) -> Vec<u8> {
        if version.is_v5() {
            self.section()
        } else {
            Vec::new()
        }
    }
}

/// CONNECT. Starts as clean, keep alive 60 s, nothing else; the builder methods change it.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) protocol: Vec<u8>,
    pub(crate) level: u8,
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) props: Props,
    pub(crate) client_id: Vec<u8>,
    pub(crate) will: Option<Will>,
    pub(crate) user_name: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    /// XOR-ed onto the computed connect flags.
    pub(crate) flip_flags: u8,
    /// Which layout to write and which to read.
    pub(crate) version: Version,
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) props: Props,
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Will {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            qos: 0,
            retain: false,
            props: Props::new(),
            topic: topic.into(),
            payload: payload.into(),
        }
    }

    pub(crate) fn qos(self, qos: u8) -> Self {
        Self { qos, ..self }
    }

    pub(crate) fn retain(self) -> Self {
        Self {
            retain: true,
            ..self
        }
    }

    pub(crate) fn props(self, props: Props) -> Self {
        Self { props, ..self }
    }

    /// Adds the Will Delay Interval.
    pub(crate) fn delay(self, seconds: u32) -> Self {
        let props = self.props.u32(prop::WILL_DELAY, seconds);
        Self { props, ..self }
    }
}

impl Connect {
    pub(crate) fn new(version: Version, client_id: &str) -> Self {
        Self {
            protocol: b"MQTT".to_vec(),
            level: if version.is_v5() { 5 } else { 4 },
            clean: true,
            keep_alive_s: 60,
            props: Props::new(),
            client_id: client_id.into(),
            will: None,
            user_name: None,
            password: None,
            flip_flags: 0,
            version,
        }
    }

    pub(crate) fn v5(client_id: &str) -> Self {
        Self::new(Version::V5, client_id)
    }

    pub(crate) fn v311(client_id: &str) -> Self {
        Self::new(Version::V311, client_id)
    }

    /// Another protocol name and level; the layout stays that of the version.
    pub(crate) fn protocol(self, name: &str, level: u8) -> Self {
        Self {
            protocol: name.into(),
            level,
            ..self
        }
    }

    /// Clean Session 0 or Clean Start 0.
    pub(crate) fn resume(self) -> Self {
        Self {
            clean: false,
            ..self
        }
    }

    pub(crate) fn keep_alive(self, keep_alive_s: u16) -> Self {
        Self {
            keep_alive_s,
            ..self
        }
    }

    pub(crate) fn props(self, props: Props) -> Self {
        Self { props, ..self }
    }

    /// Adds a Session Expiry Interval (v5).
    pub(crate) fn expiry(self, seconds: u32) -> Self {
        let props = self.props.u32(prop::SESSION_EXPIRY, seconds);
        Self { props, ..self }
    }

    pub(crate) fn will(self, will: Will) -> Self {
        Self {
            will: Some(will),
            ..self
        }
    }

    pub(crate) fn user_name(self, user_name: &[u8]) -> Self {
        Self {
            user_name: Some(user_name.to_vec()),
            ..self
        }
    }

    pub(crate) fn password(self, password: &[u8]) -> Self {
        Self {
            password: Some(password.to_vec()),
            ..self
        }
    }

    /// Turns over these bits of the connect flags, without changing the payload.
    pub(crate) fn flip_flags(self, bits: u8) -> Self {
        Self {
            flip_flags: bits,
            ..self
        }
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| {
            0x04 | (will.qos & 3) << 3 | if will.retain { 0x20 } else { 0 }
        });
        let clean = if self.clean { 0x02 } else { 0 };
        let user_name = if self.user_name.is_some() { 0x80 } else { 0 };
        let password = if self.password.is_some() { 0x40 } else { 0 };
        (will | clean | user_name | password) ^ self.flip_flags
    }

    /// Everything behind the fixed header.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = Bytes::new()
            .binary(&self.protocol)
            .u8(self.level)
            .u8(self.flags())
            .u16(self.keep_alive_s)
            .raw(&self.props.section_of(self.version))
            .binary(&self.client_id);
        if let Some(will) = &self.will {
            body = body
                .raw(&will.props.section_of(self.version))
                .binary(&will.topic)
                .binary(&will.payload);
        }
        if let Some(user_name) = &self.user_name {
            body = body.binary(user_name);
        }
        if let Some(password) = &self.password {
            body = body.binary(password);
        }
        body.0
    }
}

impl Encode for Connect {
    /// The version of the connection does not matter: CONNECT has its own.
    fn encode(&self, _: Version) -> Vec<u8> {
        packet(0x10, &self.body())
    }
}

/// PUBLISH. Starts as QoS 0, not retained, no DUP.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: Vec<u8>,
    /// Written if QoS > 0.
    pub(crate) id: u16,
    pub(crate) props: Props,
    pub(crate) payload: Vec<u8>,
}

impl Publish {
    pub(crate) fn new(topic: &str, payload: impl AsRef<[u8]>) -> Self {
        Self {
            dup: false,
            qos: 0,
            retain: false,
            topic: topic.into(),
            id: 0,
            props: Props::new(),
            payload: payload.as_ref().to_vec(),
        }
    }

    /// QoS (1 or 2; 3 for a malformed packet) and packet identifier.
    pub(crate) fn qos(self, qos: u8, id: u16) -> Self {
        Self { qos, id, ..self }
    }

    pub(crate) fn retain(self) -> Self {
        Self {
            retain: true,
            ..self
        }
    }

    pub(crate) fn dup(self) -> Self {
        Self { dup: true, ..self }
    }

    pub(crate) fn props(self, props: Props) -> Self {
        Self { props, ..self }
    }

    /// A topic that is no string.
    pub(crate) fn raw_topic(self, topic: &[u8]) -> Self {
        Self {
            topic: topic.to_vec(),
            ..self
        }
    }
}

impl Encode for Publish {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = Bytes::new().binary(&self.topic);
        if self.qos > 0 {
            body = body.u16(self.id);
        }
        let body = body.raw(&self.props.section_of(version)).raw(&self.payload);
        let dup = if self.dup { 8 } else { 0 };
        packet(
            0x30 | dup | (self.qos & 3) << 1 | u8::from(self.retain),
            &body.0,
        )
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledge {
    first: u8,
    id: u16,
    /// `None`: the short form.
    code: Option<u8>,
    props: Option<Props>,
}

impl Acknowledge {
    const fn new(first: u8, id: u16) -> Self {
        Self {
            first,
            id,
            code: None,
            props: None,
        }
    }

    pub(crate) const fn puback(id: u16) -> Self {
        Self::new(0x40, id)
    }

    pub(crate) const fn pubrec(id: u16) -> Self {
        Self::new(0x50, id)
    }

    pub(crate) const fn pubrel(id: u16) -> Self {
        Self::new(0x62, id)
    }

    pub(crate) const fn pubcomp(id: u16) -> Self {
        Self::new(0x70, id)
    }

    pub(crate) const fn first_byte(&self) -> u8 {
        self.first
    }

    /// Writes a reason code (v5).
    pub(crate) fn code(self, code: u8) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// Writes properties (v5), and a reason code if none is set.
    pub(crate) fn props(self, props: Props) -> Self {
        Self {
            props: Some(props),
            code: Some(self.code.unwrap_or(0)),
            ..self
        }
    }

    /// Another first byte, for wrong flags.
    pub(crate) fn first(self, first: u8) -> Self {
        Self { first, ..self }
    }
}

impl Encode for Acknowledge {
    fn encode(&self, _: Version) -> Vec<u8> {
        let mut body = Bytes::new().u16(self.id);
        if let Some(code) = self.code {
            body = body.u8(code);
        }
        if let Some(props) = &self.props {
            body = body.raw(&props.section());
        }
        packet(self.first, &body.0)
    }
}

/// SUBSCRIBE.
#[derive(Clone, Debug)]
pub(crate) struct Subscribe {
    first: u8,
    id: u16,
    props: Props,
    filters: Bytes,
}

impl Subscribe {
    pub(crate) fn new(id: u16) -> Self {
        Self {
            first: 0x82,
            id,
            props: Props::new(),
            filters: Bytes::new(),
        }
    }

    /// Adds a filter with its options byte (QoS in the lowest two bits).
    pub(crate) fn filter(self, filter: &str, options: u8) -> Self {
        self.raw_filter(filter.as_bytes(), options)
    }

    /// Adds a filter that is no string.
    pub(crate) fn raw_filter(self, filter: &[u8], options: u8) -> Self {
        let filters = self.filters.binary(filter).u8(options);
        Self { filters, ..self }
    }

    pub(crate) fn props(self, props: Props) -> Self {
        Self { props, ..self }
    }

    /// Adds a Subscription Identifier.
    pub(crate) fn identifier(self, value: usize) -> Self {
        let props = self.props.varint(prop::SUBSCRIPTION_ID, value);
        Self { props, ..self }
    }

    /// Another first byte, for wrong flags.
    pub(crate) fn first(self, first: u8) -> Self {
        Self { first, ..self }
    }

    /// Bytes behind the last filter.
    pub(crate) fn raw(self, bytes: &[u8]) -> Self {
        let filters = self.filters.raw(bytes);
        Self { filters, ..self }
    }
}

impl Encode for Subscribe {
    fn encode(&self, version: Version) -> Vec<u8> {
        let props = self.props.section_of(version);
        packet(
            self.first,
            &Bytes::new().u16(self.id).raw(&props).raw(&self.filters.0).0,
        )
    }
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug)]
pub(crate) struct Unsubscribe {
    first: u8,
    id: u16,
    props: Props,
    filters: Bytes,
}

impl Unsubscribe {
    pub(crate) fn new(id: u16) -> Self {
        Self {
            first: 0xA2,
            id,
            props: Props::new(),
            filters: Bytes::new(),
        }
    }

    pub(crate) fn filter(self, filter: &str) -> Self {
        self.raw_filter(filter.as_bytes())
    }

    /// Adds a filter that is no string.
    pub(crate) fn raw_filter(self, filter: &[u8]) -> Self {
        let filters = self.filters.binary(filter);
        Self { filters, ..self }
    }

    pub(crate) fn props(self, props: Props) -> Self {
        Self { props, ..self }
    }

    /// Another first byte, for wrong flags.
    pub(crate) fn first(self, first: u8) -> Self {
        Self { first, ..self }
    }
}

impl Encode for Unsubscribe {
    fn encode(&self, version: Version) -> Vec<u8> {
        let props = self.props.section_of(version);
        packet(
            self.first,
            &Bytes::new().u16(self.id).raw(&props).raw(&self.filters.0).0,
        )
    }
}

/// PINGREQ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ping;

impl Encode for Ping {
    fn encode(&self, _: Version) -> Vec<u8> {
        vec![0xC0, 0]
    }
}

/// DISCONNECT; the short form unless a code or properties are set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disconnect {
    code: Option<u8>,
    props: Option<Props>,
}

impl Disconnect {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn code(self, code: u8) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// Writes properties, and a reason code if none is set.
    pub(crate) fn props(self, props: Props) -> Self {
        Self {
            code: Some(self.code.unwrap_or(0)),
            props: Some(props),
        }
    }
}

impl Encode for Disconnect {
    fn encode(&self, _: Version) -> Vec<u8> {
        let mut body = Bytes::new();
        if let Some(code) = self.code {
            body = body.u8(code);
        }
        if let Some(props) = &self.props {
            body = body.raw(&props.section());
        }
        packet(0xE0, &body.0)
    }
}

/// AUTH.
#[derive(Clone, Debug)]
pub(crate) struct Authenticate {
    pub(crate) code: u8,
    pub(crate) props: Props,
}

impl Encode for Authenticate {
    fn encode(&self, _: Version) -> Vec<u8> {
        packet(
            0xF0,
            &Bytes::new().u8(self.code).raw(&self.props.section()).0,
        )
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, _: Version) -> Vec<u8> {
        self.clone()
    }
}

impl Encode for Bytes {
    fn encode(&self, _: Version) -> Vec<u8> {
        self.0.clone()
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, _: Version) -> Vec<u8> {
        self.to_vec()
    }
}

impl<T: Encode> Encode for &T {
    fn encode(&self, version: Version) -> Vec<u8> {
        (*self).encode(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_is_laid_out_as_the_specification_draws_it() {
        let connect = Connect::v311("a").user_name(b"u").password(b"p");
        let bytes = connect.encode(Version::V311);
        let wanted = b"\x10\x13\0\x04MQTT\x04\xC2\0\x3C\0\x01a\0\x01u\0\x01p";
        assert_eq!(bytes, wanted);
        let connect = Connect::v5("a")
            .resume()
            .expiry(1)
            .will(Will::new("t", "w").qos(2).retain());
        let bytes = connect.encode(Version::V5);
        let wanted = b"\x10\x1A\0\x04MQTT\x05\x34\0\x3C\x05\x11\0\0\0\x01\0\x01a\0\0\x01t\0\x01w";
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn publish_and_subscribe_carry_properties_only_in_version_5() {
        let publish = Publish::new("t", "x").qos(1, 2).dup().retain();
        assert_eq!(publish.encode(Version::V311), b"\x3B\x06\0\x01t\0\x02x");
        assert_eq!(publish.encode(Version::V5), b"\x3B\x07\0\x01t\0\x02\0x");
        let subscribe = Subscribe::new(1).identifier(9).filter("t", 1);
        assert_eq!(
            subscribe.encode(Version::V5),
            b"\x82\x09\0\x01\x02\x0B\x09\0\x01t\x01"
        );
    }
}
