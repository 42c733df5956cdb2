//! Frames: how a batch lies in a segment.
//!
//! ```text
//! 0  checksum of the header   CRC-32C of bytes 4 to 31, begun with the segment's salt
//! 4  checksum of the payload  CRC-32C, begun with the segment's salt
//! 8  length of the payload
//! 12 kind | 13 flags | 14 zero
//! 16 sequence number          one more than the frame before, through all segments
//! 24 how many of the frames directly before it were not yet stable when it was written
//! 28 epoch                    one more each time that the log is opened
//! 32 payload, then zeros up to a multiple of 8
//! ```
//! All numbers are little-endian. **This is part of what is stored on disks.**
//!
//! - A segment file is used again and again. The salt, new each time, tells the frames of its present use from what
//!   it held before, and from what somebody may have put into a payload to look like a frame.
//! - After a crash the log goes on in the middle of a segment, where a torn frame was; whole frames of the write that was
//!   torn may lie behind it. Their epoch is older than that of the frames in front of them, which makes them void.
//! - The count of frames that were not stable tells what a gap in the sequence is: frames that were stable are lost; others
//!   were never acknowledged, and a crash may take any of them.

use crc32c::crc32c_append;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One shard's batch.
    Batch,
    /// Bodies that the store itself has copied from an older segment.
    Bodies,
    /// What the log says about itself: see `mark.rs`.
    Mark,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Batch),
            2 => Some(Self::Bodies),
            3 => Some(Self::Mark),
            _ => None,
        }
    }

    const fn as_byte(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::Bodies => 2,
            Self::Mark => 3,
        }
    }
}

/// What stands in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    /// Whether a slot's checkpoint is in it.
    pub(crate) checkpoint: bool,
    pub(crate) sequence: u64,
    pub(crate) unstable: u32,
    pub(crate) epoch: u32,
}

/// A header that was read, and what has to be known to check the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadHeader {
    pub(crate) header: FrameHeader,
    pub(crate) payload_len: usize,
    payload_checksum: u32,
}

impl FrameHeader {
    /// Appends a whole frame.
    pub(crate) fn encode(&self, salt: Salt, payload: &[u8], out: &mut Vec<u8>) {
        let mut fields = [0; HEADER_BYTES - 4];
        // A payload is at most 1 GiB: `counting::check`.
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        put(&mut fields, 0, &salt.checksum(payload).to_le_bytes());
        put(&mut fields, 4, &len.to_le_bytes());
        put(
            &mut fields,
            8,
            &[self.kind.as_byte(), u8::from(self.checkpoint)],
        );
        put(&mut fields, 12, &self.sequence.to_le_bytes());
        put(&mut fields, 20, &self.unstable.to_le_bytes());
        put(&mut fields, 24, &self.epoch.to_le_bytes());
        out.extend_from_slice(&salt.checksum(&fields).to_le_bytes());
        out.extend_from_slice(&fields);
        out.extend_from_slice(payload);
        out.resize(out.len() + padding(payload.len()), 0);
    }

    /// The highest sequence number that was known to be stable when the frame was written.
    pub(crate) const fn stable_before(&self) -> u64 {
        self.sequence
            .saturating_sub(1)
            .saturating_sub(self.unstable as u64)
    }
}

impl ReadHeader {
    /// Reads a header from the start of `bytes`. `None`: there is none of this salt.
    pub(crate) fn decode(bytes: &[u8], salt: Salt) -> Option<Self> {
        let (checksum, fields) = bytes.get(..HEADER_BYTES)?.split_first_chunk()?;
        // The cheap test first: most places that are looked at hold no frame.
        let [kind, flags, 0, 0] = *chunk(fields, 8)? else {
            return None;
        };
        let kind = Kind::from_byte(kind)?;
        if flags > 1 || salt.checksum(fields) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let sequence = u64::from_le_bytes(*chunk(fields, 12)?);
        if sequence > SEQUENCE_MAX {
            return None;
        }
        Some(Self {
            header: FrameHeader {
                kind,
                checkpoint: flags == 1,
                sequence,
                unstable: u32::from_le_bytes(*chunk(fields, 20)?),
                epoch: u32::from_le_bytes(*chunk(fields, 24)?),
            },
            payload_len: usize::try_from(u32::from_le_bytes(*chunk(fields, 4)?)).ok()?,
            payload_checksum: u32::from_le_bytes(*chunk(fields, 0)?),
        })
    }

    /// Whether this is the payload.
    pub(crate) fn fits(&self, salt: Salt, payload: &[u8]) -> bool {
        payload.len() == self.payload_len && salt.checksum(payload) == self.payload_checksum
    }

    /// Bytes of the whole frame.
    pub(crate) const fn frame_len(&self) -> u64 {
        frame_len(self.payload_len) as u64
    }
}

/// What the checksums of a segment begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(u32);

impl Salt {
    pub(crate) fn new(salt: u64) -> Self {
        Self(crc32c_append(0, &salt.to_le_bytes()))
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c_append(self.0, bytes)
    }
}

/// Bytes of a frame with a payload of this length.
pub(crate) const fn frame_len(payload_len: usize) -> usize {
    HEADER_BYTES + payload_len + padding(payload_len)
}

const fn padding(payload_len: usize) -> usize {
    payload_len.wrapping_neg() % ALIGNMENT
}

pub(super) fn put(fields: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = fields.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

pub(super) fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

pub(crate) const HEADER_BYTES: usize = 32;
/// No log has so many frames; a higher number is damage, and would leave none for what comes.
const SEQUENCE_MAX: u64 = u64::MAX >> 1;
/// Frames begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: FrameHeader = FrameHeader {
        kind: Kind::Batch,
        checkpoint: true,
        sequence: 0x0102_0304_0506,
        unstable: 3,
        epoch: 9,
    };

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        FRAME.encode(Salt::new(7), payload, &mut out);
        out
    }

    #[test]
    fn a_frame_comes_back() {
        for len in 0..40 {
            let payload = vec![0xA5; len];
            let bytes = frame(&payload);
            assert_eq!(bytes.len(), frame_len(len));
            let read = ReadHeader::decode(&bytes, Salt::new(7)).unwrap();
            assert_eq!(read.header, FRAME);
            assert_eq!(read.frame_len(), bytes.len() as u64);
            assert!(read.fits(Salt::new(7), &payload));
        }
        assert_eq!(FRAME.stable_before(), FRAME.sequence - 4);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let payload = *b"some payload";
        let good = frame(&payload);
        for bit in 0..(HEADER_BYTES + payload.len()) * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let seen = ReadHeader::decode(&bytes, Salt::new(7)).is_none_or(|read| {
                !read.fits(
                    Salt::new(7),
                    &bytes[HEADER_BYTES..HEADER_BYTES + payload.len()],
                )
            });
            assert!(seen, "bit {bit}");
        }
    }

    /// Found by fuzzing: the number behind the highest one would be the first again.
    #[test]
    fn a_number_that_leaves_none_behind_it_is_damage() {
        let mut bytes = Vec::new();
        let last = FrameHeader {
            sequence: u64::MAX,
            ..FRAME
        };
        last.encode(Salt::new(7), b"x", &mut bytes);
        assert_eq!(ReadHeader::decode(&bytes, Salt::new(7)), None);
    }

    #[test]
    fn a_frame_of_another_salt_is_none() {
        assert_eq!(ReadHeader::decode(&frame(b"x"), Salt::new(8)), None);
    }

    #[test]
    fn short_and_empty_bytes_are_none() {
        let bytes = frame(b"x");
        for len in 0..HEADER_BYTES {
            assert_eq!(ReadHeader::decode(&bytes[..len], Salt::new(7)), None);
        }
        assert_eq!(ReadHeader::decode(&[0; 64], Salt::new(7)), None);
        assert_eq!(ReadHeader::decode(&[0xFF; 64], Salt::new(7)), None);
    }
}
