//! Segments: the files that the log consists of.
//!
//! ```text
//! 0     header: "MARTLETS" | version of the format, 4 bytes | checksum, 4 | generation, 8 | salt, 8 | length of the file, 8
//! 2048  the header again, in case a bit of the first one flips
//! 4096  frames
//! ```
//! A segment's *generation* is its place in the log, and its name. A file gets a new generation and a new salt when it is
//! used again.

use std::io;

use crc32c::crc32c;

use super::frame::{Salt, chunk, put};
use crate::disk::{Disk, read_full, write_full};

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) generation: u64,
    pub(crate) salt: u64,
    /// Bytes of the whole file.
    pub(crate) size: u64,
}

/// What reading the two headers came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    /// Both are there and say the same.
    Good(SegmentHeader),
    /// One of them is damaged.
    OneOfTwo(SegmentHeader),
    /// Of a version of the format that this code does not know.
    Newer(u32),
    /// There is none.
    None,
}

impl SegmentHeader {
    pub(crate) fn salt(&self) -> Salt {
        Salt::new(self.salt)
    }

    pub(crate) fn path(&self) -> String {
        path_of(self.generation)
    }

    fn encode(&self) -> [u8; ENCODED_BYTES] {
        let mut bytes = [0; ENCODED_BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.generation.to_le_bytes());
        put(&mut bytes, 24, &self.salt.to_le_bytes());
        put(&mut bytes, 32, &self.size.to_le_bytes());
        // The place of the checksum is zero so far.
        let checksum = crc32c(&bytes);
        put(&mut bytes, 12, &checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Result<Self, u32>> {
        let mut bytes: [u8; ENCODED_BYTES] = *bytes.first_chunk()?;
        let checksum = u32::from_le_bytes(*chunk(&bytes, 12)?);
        put(&mut bytes, 12, &[0; 4]);
        if !bytes.starts_with(MAGIC) || crc32c(&bytes) != checksum {
            return None;
        }
        let version = u32::from_le_bytes(*chunk(&bytes, 8)?);
        // Each has records that those before it have not.
        if !(1..=VERSION).contains(&version) {
            return Some(Err(version));
        }
        let header = Self {
            generation: u64::from_le_bytes(*chunk(&bytes, 16)?),
            salt: u64::from_le_bytes(*chunk(&bytes, 24)?),
            size: u64::from_le_bytes(*chunk(&bytes, 32)?),
        };
        let makes_sense = header.size <= SIZE_BYTES_MAX && header.generation <= GENERATION_MAX;
        makes_sense.then_some(Ok(header))
    }

    /// Writes both headers; does not sync.
    pub(crate) fn write<D: Disk>(&self, disk: &mut D, file: &D::File) -> io::Result<()> {
        let mut page = vec![0; FRAMES_AT_BYTES];
        put(&mut page, 0, &self.encode());
        put(&mut page, SECOND_AT, &self.encode());
        write_full(disk, file, &page, 0)
    }

    /// Reads both headers.
    pub(crate) fn read<D: Disk>(disk: &mut D, file: &D::File) -> io::Result<HeaderRead> {
        let mut page = vec![0; FRAMES_AT_BYTES];
        let len = read_full(disk, file, &mut page, 0)?;
        page.truncate(len);
        let first = Self::decode(&page);
        let second = page.get(SECOND_AT..).and_then(Self::decode);
        Ok(match (first, second) {
            (Some(Ok(one)), Some(Ok(two))) if one == two => HeaderRead::Good(one),
            (Some(Ok(one)), _) | (None, Some(Ok(one))) => HeaderRead::OneOfTwo(one),
            (Some(Err(version)), _) | (None, Some(Err(version))) => HeaderRead::Newer(version),
            (None, None) => HeaderRead::None,
        })
    }
}

/// The path of a segment.
pub(crate) fn path_of(generation: u64) -> String {
    format!("{FOLDER}/{generation:08}{SUFFIX}")
}

/// The generation that the name of a file in the folder says.
pub(crate) fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let generation = digits.parse().ok()?;
    (path_of(generation).strip_prefix(FOLDER)?.strip_prefix('/') == Some(name))
        .then_some(generation)
}

/// The version of the format that this code writes.
pub(crate) const VERSION: u32 = 3;
/// The folder of the segments.
pub(crate) const FOLDER: &str = "log";
/// The folder of what could not be used.
pub(crate) const QUARANTINE: &str = "quarantine";
/// A file that is being made ready to be a segment.
pub(crate) const SPARE_PATH: &str = "log/spare.new";
/// What has been saved of a damaged segment has the name of the segment with this behind it, until it takes its place.
pub(crate) const SALVAGE_SUFFIX: &str = ".salvage";
/// Where the frames begin.
pub(crate) const FRAMES_AT: u64 = FRAMES_AT_BYTES as u64;

/// No segment is larger: the largest holds one frame of 1 GiB.
const SIZE_BYTES_MAX: u64 = 2 << 30;
/// There are never so many: the index has 32 bits for it.
const GENERATION_MAX: u64 = u32::MAX as u64 - 1;
const FRAMES_AT_BYTES: usize = 4_096;
const SECOND_AT: usize = 2_048;
const ENCODED_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"MARTLETS";
const SUFFIX: &str = ".seg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_seen() {
        let header = SegmentHeader {
            generation: 7,
            salt: u64::MAX - 3,
            size: 64 << 20,
        };
        let good = header.encode();
        assert_eq!(SegmentHeader::decode(&good), Some(Ok(header)));
        for bit in 0..ENCODED_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn names_are_generations_and_nothing_else_is() {
        assert_eq!(path_of(12), "log/00000012.seg");
        assert_eq!(generation_of("00000012.seg"), Some(12));
        assert_eq!(generation_of("1234567890.seg"), Some(1_234_567_890));
        for other in [
            "12.seg",
            "00000012",
            "+0000012.seg",
            "spare.new",
            "00000012.seg.salvage",
        ] {
            assert_eq!(generation_of(other), None, "{other}");
        }
    }
}
