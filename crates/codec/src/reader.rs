//! Reads the primitive types of the wire, front to back, and knows at which byte of the packet it
//! is.

use crate::error::{DecodeError, DecodeErrorKind};
use crate::field::Field;
use crate::topic::{TopicErrorKind, TopicName};
use core::str;

/// What is left of a packet, or of a length-prefixed block inside one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Offset of the end of `rest` from the start of the packet.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads `rest`, which ends at byte `end` of the packet.
    pub(crate) const fn new(rest: &'a [u8], end: usize) -> Self {
        Self { rest, end }
    }

    /// Offset of the next byte from the start of the packet.
    pub(crate) const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn error(&self, kind: DecodeErrorKind, field: Field) -> DecodeError {
        DecodeError::new(kind, field, self.offset())
    }

    /// Takes all that is left.
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    pub(crate) fn take(&mut self, count: usize, field: Field) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.error(DecodeErrorKind::Truncated, field));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self, field: Field) -> Result<u8, DecodeError> {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return Err(self.error(DecodeErrorKind::Truncated, field));
        };
        self.rest = rest;
        Ok(byte)
    }

    pub(crate) fn short(&mut self, field: Field) -> Result<u16, DecodeError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.error(DecodeErrorKind::Truncated, field));
        };
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(crate) fn long(&mut self, field: Field) -> Result<u32, DecodeError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.error(DecodeErrorKind::Truncated, field));
        };
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A variable byte integer in its shortest form.
    pub(crate) fn variable(&mut self, field: Field) -> Result<u32, DecodeError> {
        match VariableByteInteger::parse(self.rest) {
            VariableByteInteger::Incomplete => Err(self.error(DecodeErrorKind::Truncated, field)),
            VariableByteInteger::TooLong => {
                Err(self.error(DecodeErrorKind::VariableByteIntegerTooLong, field))
            }
            VariableByteInteger::Whole { padded: true, .. } => {
                Err(self.error(DecodeErrorKind::VariableByteIntegerNotShortest, field))
            }
            VariableByteInteger::Whole {
                value,
                length,
                padded: false,
            } => {
                self.take(length, field)?;
                Ok(value)
            }
        }
    }

    /// Bytes behind a two-byte length.
    pub(crate) fn binary(&mut self, field: Field) -> Result<&'a [u8], DecodeError> {
        let truncated = self.error(DecodeErrorKind::Truncated, field);
        let length = self.short(field)?;
        self.take(usize::from(length), field).map_err(|_| truncated)
    }

    /// A string that is well-formed UTF-8; the caller looks for U+0000.
    pub(crate) fn utf8(&mut self, field: Field) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        //= mqtt5 1.5.4-1
        //= mqtt311 1.5.3-1
        // Surrogates are ill-formed to Rust as well. U+FEFF stays where it is:
        //= mqtt5 1.5.4-3
        //= mqtt311 1.5.3-3
        str::from_utf8(bytes).map_err(|error| {
            let at = self.offset() - bytes.len() + error.valid_up_to();
            DecodeError::new(DecodeErrorKind::InvalidUtf8, field, at)
        })
    }

    /// A string without U+0000.
    pub(crate) fn text(&mut self, field: Field) -> Result<&'a str, DecodeError> {
        let text = self.utf8(field)?;
        //= mqtt5 1.5.4-2
        //= mqtt311 1.5.3-2
        match text.bytes().position(|byte| byte == 0) {
            None => Ok(text),
            Some(nul) => {
                let at = self.offset() - text.len() + nul;
                Err(DecodeError::new(DecodeErrorKind::Nul, field, at))
            }
        }
    }

    /// A topic name; `None` if it is empty, which is for the caller to judge.
    pub(crate) fn topic_name(
        &mut self,
        field: Field,
    ) -> Result<Option<TopicName<'a>>, DecodeError> {
        let text = self.utf8(field)?;
        if text.is_empty() {
            return Ok(None);
        }
        TopicName::new(text).map(Some).map_err(|error| {
            // It is not empty and came from behind a two-byte length, so only these two are left.
            let nul = error.kind() == TopicErrorKind::Nul;
            let kind = if nul {
                DecodeErrorKind::Nul
            } else {
                DecodeErrorKind::TopicNameWildcard
            };
            DecodeError::new(kind, field, self.offset() - text.len() + error.offset())
        })
    }

    /// Splits off a block of `count` bytes, which is read by itself.
    pub(crate) fn block(&mut self, count: u32, field: Field) -> Result<Self, DecodeError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let block = self.take(count, field)?;
        Ok(Self {
            rest: block,
            end: self.offset(),
        })
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.error(DecodeErrorKind::TrailingBytes, Field::EndOfPacket))
        }
    }
}

/// What the start of some bytes says about the variable byte integer that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VariableByteInteger {
    /// More bytes are needed.
    Incomplete,
    /// The fourth byte says that a fifth follows.
    TooLong,
    /// A value, how many bytes it took, and whether fewer would have done.
    Whole {
        value: u32,
        length: usize,
        padded: bool,
    },
}

impl VariableByteInteger {
    /// The largest value, four bytes of seven bits.
    pub(crate) const MAX: u32 = 268_435_455;

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut value = 0;
        for (index, &byte) in (0..4_u32).zip(bytes) {
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                // A padded form would give one value two encodings: its last byte adds nothing.
                //= mqtt5 1.5.5-1
                let padded = byte == 0 && index > 0;
                return Self::Whole {
                    value,
                    length: index as usize + 1,
                    padded,
                };
            }
        }
        if bytes.len() < 4 {
            Self::Incomplete
        } else {
            Self::TooLong
        }
    }

    /// How many bytes the shortest form of `value` takes.
    pub(crate) const fn encoded_len(value: usize) -> usize {
        match value {
            0..=127 => 1,
            128..=16_383 => 2,
            16_384..=2_097_151 => 3,
            _ => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::VariableByteInteger as Vbi;

    #[test]
    fn variable_byte_integers_at_the_borders_of_each_length() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xFF, 0xFF, 0x7F], 2_097_151),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xFF, 0xFF, 0xFF, 0x7F], Vbi::MAX),
        ] {
            let length = bytes.len();
            assert_eq!(
                Vbi::parse(bytes),
                Vbi::Whole {
                    value,
                    length,
                    padded: false
                }
            );
            assert_eq!(Vbi::encoded_len(value as usize), length);
            assert_eq!(Vbi::parse(&bytes[..length - 1]), Vbi::Incomplete);
        }
        assert_eq!(Vbi::parse(&[0xFF, 0xFF, 0xFF, 0xFF]), Vbi::TooLong);
        assert_eq!(Vbi::parse(&[0xFF, 0xFF, 0xFF, 0xFF, 0x01]), Vbi::TooLong);
    }

    #[test]
    fn a_padded_variable_byte_integer_is_recognised() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xFF, 0x00],
            &[0x80, 0x80, 0x00],
            &[0x81, 0x80, 0x80, 0x00],
        ] {
            assert!(
                matches!(Vbi::parse(bytes), Vbi::Whole { padded: true, .. }),
                "{bytes:?}"
            );
        }
    }
}
