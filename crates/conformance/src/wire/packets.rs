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

    /// The bytes behind their length.
    pub(crate) fn section(&self) -> Vec<u8> {
        Bytes::new().varint(self.0.0.len()).raw(&self.0.0).0
    }

    pub(super) fn section_of(&self, version: Version) -> Vec<u8> {
        if version.is_v5() {
            self.section()
        } else {
            Vec::new()
        }
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
