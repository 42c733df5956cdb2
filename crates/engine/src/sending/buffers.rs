//! Empty buffers of outboxes that were written out, for the next ones that begin to fill.

use alloc::vec::Vec;

/// Bounded in bytes: a burst to ten thousand connections leaves its buffers for the next one, but not for ever more
/// than [`POOL_BYTES_MAX`]. What does not fit is given back to the system, so that an idle connection owns no memory.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let buffer = self.buffers.pop()?;
        self.bytes = self.bytes.saturating_sub(cost(&buffer));
        Some(buffer)
    }

    /// Keeps an empty buffer, or lets go of it.
    pub(crate) fn keep(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty(), "only the memory is kept");
        let cost = cost(&buffer);
        let wanted = (1..=BUFFER_BYTES_MAX).contains(&buffer.capacity());
        if wanted && self.bytes + cost <= POOL_BYTES_MAX {
            self.bytes += cost;
            self.buffers.push(buffer);
        }
    }
}

fn cost(buffer: &Vec<u8>) -> usize {
    buffer.capacity() + size_of::<Vec<u8>>()
}

/// What all of them may take. A write takes a few kilobytes: enough for thousands of receivers.
const POOL_BYTES_MAX: usize = 16 << 20;
/// The largest that is kept.
const BUFFER_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{BUFFER_BYTES_MAX, Buffers, POOL_BYTES_MAX};
    use alloc::vec::Vec;

    #[test]
    fn memory_is_used_again_and_bounded() {
        let mut buffers = Buffers::default();
        buffers.keep(Vec::new());
        buffers.keep(Vec::with_capacity(BUFFER_BYTES_MAX + 1));
        assert!(buffers.take().is_none());
        for _ in 0..1_000 {
            buffers.keep(Vec::with_capacity(BUFFER_BYTES_MAX));
        }
        assert!(buffers.bytes <= POOL_BYTES_MAX);
        let mut count = 0;
        while let Some(buffer) = buffers.take() {
            assert_eq!(buffer.capacity(), BUFFER_BYTES_MAX);
            count += 1;
        }
        assert_eq!((count, buffers.bytes), (255, 0));
    }
}
