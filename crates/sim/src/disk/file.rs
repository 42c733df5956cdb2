//! One file of the simulated disk: its bytes as programs see them, on the medium, and what lies between.

use crate::rng::Rng;

#[derive(Debug, Clone, Default)]
pub(super) struct File {
    cached: Vec<u8>,
    stable: Vec<u8>,
    /// Since the last sync, in order.
    pending: Vec<Change>,
    /// The end of the last byte that was ever written.
    written_end: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl File {
    pub(super) const fn len(&self) -> usize {
        self.cached.len()
    }

    pub(super) const fn written_end(&self) -> usize {
        self.written_end
    }

    pub(super) fn read(&self, at: usize, buffer: &mut [u8]) -> usize {
        let rest = self.cached.get(at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.cached.len() {
            self.cached.resize(end, 0);
            self.pending.push(Change::Length(end));
        }
        self.cached[at..end].copy_from_slice(bytes);
        self.written_end = self.written_end.max(end);
        self.pending.push(Change::Bytes {
            at,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn sync(&mut self) {
        self.stable.clone_from(&self.cached);
        self.pending.clear();
    }

    /// Of a sync that failed nothing is known: each change is still to come, has come, or is taken back.
    pub(super) fn fail_to_sync(&mut self, rng: &mut Rng) {
        let pending = core::mem::take(&mut self.pending);
        let mut cached = self.stable.clone();
        for change in pending {
            match rng.below(3) {
                0 => {
                    change.apply(&mut cached);
                    self.pending.push(change);
                }
                1 => {
                    change.apply(&mut cached);
                    change.apply(&mut self.stable);
                }
                _ => {
                    // The length is the file system's, and is never taken back.
                    if let Change::Length(length) = change {
                        cached.resize(length, 0);
                        self.stable.resize(length, 0);
                    }
                }
            }
        }
        cached.resize(self.cached.len(), 0);
        self.cached = cached;
    }

    /// Damage: of what is seen, and of what is on the medium.
    pub(super) fn change(&mut self, at: usize, to: impl Fn(u8) -> u8) {
        for bytes in [&mut self.cached, &mut self.stable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to(*byte);
            }
        }
    }

    pub(super) fn cut(&mut self, length: usize) {
        self.cached.truncate(length);
        self.stable.truncate(length);
        self.pending.clear();
    }

    /// What is left when the power fails: see the module `disk`.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        let pending = core::mem::take(&mut self.pending);
        if !pending.is_empty() {
            match rng.below(6) {
                // Nothing had got there.
                0 => {}
                // All of it had.
                1 => self.stable.clone_from(&self.cached),
                // In order, the last one torn.
                2 | 3 => {
                    let kept = rng.below(pending.len());
                    for change in &pending[..kept] {
                        change.apply(&mut self.stable);
                    }
                    pending[kept].apply_torn(&mut self.stable, rng);
                }
                // Each sector by itself.
                _ => self.mix_sectors(&pending, rng),
            }
        }
        self.cached.clone_from(&self.stable);
    }

    fn mix_sectors(&mut self, pending: &[Change], rng: &mut Rng) {
        let length = pending[..rng.below(pending.len() + 1)]
            .iter()
            .rev()
            .find_map(Change::length)
            .unwrap_or(self.stable.len());
        let end = self.cached.len().max(self.stable.len());
        self.stable.resize(end, 0);
        for sector in 0..end.div_ceil(SECTOR_BYTES) {
            let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
            let parts: Vec<_> = pending.iter().filter_map(|c| c.part(from, to)).collect();
            if parts.is_empty() {
                continue;
            }
            let kept = rng.below(parts.len() + 1);
            for (n, (at, bytes)) in parts[..kept].iter().enumerate() {
                let torn = n + 1 == kept && rng.one_in(8);
                let count = if torn {
                    rng.below(bytes.len() + 1)
                } else {
                    bytes.len()
                };
                let to = (at + count).min(end);
                if *at < to {
                    self.stable[*at..to].copy_from_slice(&bytes[..to - at]);
                }
            }
        }
        self.stable.resize(length, 0);
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Bytes { at, bytes } => put(content, *at, bytes),
            Self::Length(length) => content.resize(*length, 0),
        }
    }

    fn apply_torn(&self, content: &mut Vec<u8>, rng: &mut Rng) {
        match self {
            Self::Bytes { at, bytes } => put(content, *at, &bytes[..rng.below(bytes.len() + 1)]),
            Self::Length(_) => {}
        }
    }

    const fn length(&self) -> Option<usize> {
        match self {
            Self::Bytes { .. } => None,
            Self::Length(length) => Some(*length),
        }
    }

    /// What it writes between two places.
    fn part(&self, from: usize, to: usize) -> Option<(usize, &[u8])> {
        let Self::Bytes { at, bytes } = self else {
            return None;
        };
        let first = from.max(*at);
        let last = to.min(at + bytes.len());
        (first < last).then(|| (first, &bytes[first - at..last - at]))
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;
