//! Writes the primitive types of the wire, or counts the bytes that writing would take: the same
//! code does both, so a length cannot disagree with what follows it.

use crate::error::EncodeError;
use crate::field::Field;
use crate::reader::VariableByteInteger;
use bytes::BufMut;

/// Where encoded bytes go.
pub(crate) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    fn short(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn long(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// A variable byte integer; values above its maximum are the caller's to exclude.
    fn variable(&mut self, value: usize) {
        //= mqtt5 1.5.5-1
        let mut rest = value;
        while rest > 0x7F {
            self.byte(low_seven_bits(rest) | 0x80);
            rest >>= 7;
        }
        self.byte(low_seven_bits(rest));
    }

    fn variable_u32(&mut self, value: u32) {
        self.variable(value as usize);
    }

    /// Bytes behind a two-byte length.
    ///
    /// Callers have checked the length; were it too long, what is written would still agree with
    /// its length field.
    fn binary(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.short(length);
        self.bytes(bytes.get(..usize::from(length)).unwrap_or(bytes));
    }
}

/// Writes into a buffer that has room.
#[derive(Debug)]
pub(crate) struct Target<'b, B>(pub(crate) &'b mut B);

impl<B: BufMut> Sink for Target<'_, B> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Debug, Default)]
pub(crate) struct Count(pub(crate) usize);

impl Sink for Count {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Length of a whole packet whose body (all behind the fixed header) has this length.
pub(crate) const fn packet_len(body_len: usize) -> usize {
    1 + VariableByteInteger::encoded_len(body_len) + body_len
}

/// A string to send must fit its length field and be free of U+0000.
pub(crate) fn check_text(text: &str, field: Field) -> Result<(), EncodeError> {
    check_binary(text.as_bytes(), field)?;
    //= mqtt5 1.5.4-2
    //= mqtt311 1.5.3-2
    if text.as_bytes().contains(&0) {
        Err(EncodeError::Nul(field))
    } else {
        Ok(())
    }
}

/// Bytes to send must fit their length field.
pub(crate) fn check_binary(bytes: &[u8], field: Field) -> Result<(), EncodeError> {
    if bytes.len() > usize::from(u16::MAX) {
        Err(EncodeError::StringTooLong(field))
    } else {
        Ok(())
    }
}

fn low_seven_bits(value: usize) -> u8 {
    // The mask leaves seven bits, which always fit.
    u8::try_from(value & 0x7F).unwrap_or_default()
}
