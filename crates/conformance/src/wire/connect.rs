//! CONNECT and its will, right or wrong.

use super::bytes::{Bytes, packet};
use super::packets::{Encode, Props};
use super::tables::prop;
use crate::case::Version;

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
}
