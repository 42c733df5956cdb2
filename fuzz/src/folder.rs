//! A store's folder, as an input describes it: files that are what they should be, or almost.
//!
//! An input is a list of steps: one byte says which, what follows is its arguments. Checksums are put right where a step is
//! to get past them, since no fuzzer finds those by itself. The layout is that of `crates/store/src/log/frame.rs` and
//! `segment.rs`, written down once more.

use crc32c::{crc32c, crc32c_append};

use crate::disk::MemoryDisk;

/// Reads a folder from an input.
pub fn folder(input: &[u8]) -> MemoryDisk {
    let mut script = Script {
        input,
        disk: MemoryDisk::default(),
        current: None,
        sequence: 1,
        epoch: 1,
    };
    script.disk.put("FORMAT", b"martlet store 1\n".to_vec());
    while script.step().is_some() {}
    script.put();
    script.disk
}

struct Script<'a> {
    input: &'a [u8],
    disk: MemoryDisk,
    current: Option<Segment>,
    sequence: u64,
    epoch: u32,
}

struct Segment {
    generation: u64,
    salt: u32,
    bytes: Vec<u8>,
    /// Zeros up to this length.
    len: usize,
    suffix: &'static str,
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.input.split_at(count.min(self.input.len()));
        self.input = rest;
        bytes
    }

    fn number(&mut self) -> u64 {
        let mut number = [0; 8];
        let bytes = self.bytes(8);
        number[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(number)
    }

    fn short(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    fn step(&mut self) -> Option<()> {
        match self.byte()? % 10 {
            0 => {
                let next = self.current.as_ref().map_or(0, |s| s.generation);
                let next = next.wrapping_add(u64::from(self.byte()? % 3));
                self.begin(next);
            }
            1 => {
                let generation = self.number();
                self.begin(generation);
            }
            2..=4 => self.frame()?,
            5 => {
                let count = self.short()?;
                let raw = self.bytes(count);
                if let Some(segment) = &mut self.current {
                    segment.bytes.extend_from_slice(raw);
                }
            }
            6 => {
                let (at, mask) = (self.short()?, self.byte()?);
                if let Some(segment) = &mut self.current {
                    let at = segment.bytes.len().checked_sub(at % 256 + 1)?;
                    segment.bytes[at] ^= mask;
                }
            }
            7 => {
                let len = self.short()?;
                if let Some(segment) = &mut self.current {
                    segment.len = len;
                }
            }
            8 => match self.byte()? % 4 {
                0 => self.sequence = self.number(),
                1 => self.epoch = self.number() as u32,
                2 => self.sequence = self.sequence.wrapping_sub(u64::from(self.byte()? % 4)),
                _ => self.epoch = self.epoch.wrapping_add(1),
            },
            _ => match self.byte()? % 4 {
                0 => {
                    let count = usize::from(self.byte()?);
                    let text = self.bytes(count).to_vec();
                    self.disk.put("FORMAT", text);
                }
                1 => self.current.as_mut()?.suffix = ".salvage",
                2 => self.disk.put("log/spare.new", vec![0; 65_536]),
                _ => self.disk.put("log/foreign", vec![1]),
            },
        }
        Some(())
    }

    fn begin(&mut self, generation: u64) {
        self.put();
        let salt = self.number();
        let size = match self.byte().unwrap_or(0) {
            0..=199 => 8_192,
            200..=220 => 65_536,
            _ => self.number(),
        };
        let mut bytes = vec![0; 4_096];
        let mut header = [0; 64];
        header[..8].copy_from_slice(b"MARTLETS");
        header[8..12].copy_from_slice(&1_u32.to_le_bytes());
        header[16..24].copy_from_slice(&generation.to_le_bytes());
        header[24..32].copy_from_slice(&salt.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
        let checksum = crc32c(&header).to_le_bytes();
        header[12..16].copy_from_slice(&checksum);
        bytes[..64].copy_from_slice(&header);
        bytes[2_048..2_112].copy_from_slice(&header);
        self.current = Some(Segment {
            generation,
            salt: crc32c_append(0, &salt.to_le_bytes()),
            bytes,
            len: size.min(65_536) as usize,
            suffix: "",
        });
    }

    fn frame(&mut self) -> Option<()> {
        let (kind, unstable, count) = (self.byte()?, self.byte()?, self.short()?);
        let payload = self.bytes(count);
        let segment = self.current.as_mut()?;
        let mut fields = [0; 28];
        let checksum = crc32c_append(segment.salt, payload);
        fields[..4].copy_from_slice(&checksum.to_le_bytes());
        fields[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        fields[8] = kind % 4;
        fields[9] = kind >> 2 & 1;
        fields[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        fields[20..24].copy_from_slice(&u32::from(unstable).to_le_bytes());
        fields[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        let checksum = crc32c_append(segment.salt, &fields);
        segment.bytes.extend_from_slice(&checksum.to_le_bytes());
        segment.bytes.extend_from_slice(&fields);
        segment.bytes.extend_from_slice(payload);
        let end = segment.bytes.len().next_multiple_of(8);
        segment.bytes.resize(end, 0);
        self.sequence = self.sequence.wrapping_add(1);
        Some(())
    }

    fn put(&mut self) {
        if let Some(mut segment) = self.current.take() {
            segment.bytes.resize(segment.len, 0);
            let path = format!("log/{:08}.seg{}", segment.generation, segment.suffix);
            self.disk.put(&path, segment.bytes);
        }
    }
}
