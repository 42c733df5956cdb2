//! The primitive types of section 1.5, written without any check.

/// Bytes under construction; each method appends one field and returns the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn varint(self, value: usize) -> Self {
        self.raw(&varint(value))
    }

    /// A string with its length in front.
    pub(crate) fn string(self, value: &str) -> Self {
        self.binary(value.as_bytes())
    }

    /// Binary data with its length in front; also how an ill-formed string is made.
    pub(crate) fn binary(self, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.u16(length).raw(value)
    }

    pub(crate) fn raw(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }
}

/// A packet: first byte, remaining length, body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    Bytes::new().u8(first).varint(body.len()).raw(body).0
}

/// A variable byte integer in its shortest form.
pub(crate) fn varint(value: usize) -> Vec<u8> {
    padded_varint(value, 1)
}

/// A variable byte integer of at least `length` bytes, which section 1.5.5 forbids if it could be
/// shorter.
pub(crate) fn padded_varint(mut value: usize, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let group = u8::try_from(value & 0x7F).unwrap_or(0);
        value >>= 7;
        let last = value == 0 && out.len() + 1 >= length;
        out.push(if last { group } else { group | 0x80 });
        if last {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_follow_the_table_of_the_specification() {
        assert_eq!(varint(0), [0x00]);
        assert_eq!(varint(127), [0x7F]);
        assert_eq!(varint(128), [0x80, 0x01]);
        assert_eq!(varint(16_383), [0xFF, 0x7F]);
        assert_eq!(varint(16_384), [0x80, 0x80, 0x01]);
        assert_eq!(varint(268_435_455), [0xFF, 0xFF, 0xFF, 0x7F]);
        assert_eq!(padded_varint(5, 2), [0x85, 0x00]);
    }
}
