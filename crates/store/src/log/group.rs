//! What waits to be written with one write: frames, and in front of them what the file has of their first block already, so that
//! whole blocks can be written.
//!
//! ```text
//! file        ...| block            | block            | block            |
//!                  written ─────┤ new frames ─────────┤ zeros
//! memory  | - | kept            | new frames          | zeros |
//!             ^ begins at a multiple of a block here as well as there
//! ```
//! Whole blocks out of such memory can go to the device as they are (`O_DIRECT`): nothing copies them into the system's cache,
//! marks its pages, looks for them again at the sync and writes them from there. What is written anew in front of the
//! frames is what is there, so a write that is torn changes nothing of it. Behind the frames is nothing that counts.

/// The group that gathers.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    /// Where in `bytes` it begins.
    begin: usize,
    /// Bytes from there on that are written.
    kept: usize,
}

impl Group {
    /// An empty one, in the memory of this one.
    pub(super) fn emptied(mut self) -> Self {
        self.bytes.clear();
        Self {
            bytes: self.bytes,
            begin: 0,
            kept: 0,
        }
    }

    /// Bytes that are to be written.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.begin - self.kept
    }

    /// They are put behind what is there.
    pub(super) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is to be written.
    pub(super) fn frames(&self) -> &[u8] {
        self.bytes.get(self.begin + self.kept..).unwrap_or_default()
    }

    /// Gives what is to be written to `write` in whole blocks, with the place of the file where they begin; that of the frames is
    /// `at`. `None`, and nothing is written: it is not known what stands in front of them, or there is no room for the
    /// zeros behind them in a file of this length.
    pub(super) fn with_blocks<T>(
        &mut self,
        at: u64,
        file_len: u64,
        write: impl FnOnce(&[u8], u64) -> T,
    ) -> Option<T> {
        let start = at.checked_sub(self.kept as u64)?;
        let len = self.bytes.len() - self.begin;
        let padded = len.next_multiple_of(BLOCK_BYTES);
        if !start.is_multiple_of(BLOCK_BYTES as u64) || start + padded as u64 > file_len {
            return None;
        }
        // Enough to move it, and for the zeros: from here on the memory stays where it is.
        self.bytes.reserve(2 * BLOCK_BYTES);
        let begin = self.bytes.as_ptr().align_offset(BLOCK_BYTES);
        if begin >= BLOCK_BYTES {
            return None;
        }
        if begin != self.begin {
            self.bytes.resize((begin + len).max(self.bytes.len()), 0);
            self.bytes.copy_within(self.begin..self.begin + len, begin);
            self.begin = begin;
        }
        self.bytes.resize(begin + len, 0);
        self.bytes.resize(begin + padded, 0);
        let written = self.bytes.get(begin..).map(|blocks| write(blocks, start));
        self.bytes.truncate(begin + len);
        written
    }

    /// All of it is written, its end at this place of the file: keeps what the next one has to begin with.
    pub(super) fn is_written(&mut self, end: u64) {
        let behind = usize::try_from(end % BLOCK_BYTES as u64).unwrap_or_default();
        let len = self.bytes.len() - self.begin;
        // What stands in front is not known: the next one does not begin with a block either.
        self.kept = if behind <= len { behind } else { 0 };
        let from = self.bytes.len() - self.kept;
        self.bytes.copy_within(from.., self.begin);
        self.bytes.truncate(self.begin + self.kept);
        // One frame over the bound is no reason to grow anew each time.
        if self.bytes.capacity() > 3 * GROUP_BYTES_MAX {
            self.bytes.shrink_to(GROUP_BYTES_MAX);
        }
    }
}

/// A group that has grown larger is written before the next frame is put to it.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;
/// What every device and file system takes, in the file and in memory.
pub(crate) const BLOCK_BYTES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts frames of these lengths behind what a file has, group by group, and gives the file and how many groups were in blocks.
    fn written(mut file: Vec<u8>, mut at: usize, groups: &[&[usize]]) -> (Vec<u8>, usize) {
        let mut group = Group::default();
        let (mut in_blocks, mut number) = (0, 0_u8);
        for lens in groups {
            for len in *lens {
                number += 1;
                group.end().extend(std::iter::repeat_n(number, *len));
            }
            let len = group.len();
            let end = file.len() as u64;
            let put = group.with_blocks(at as u64, end, |blocks, start| {
                assert_eq!(blocks.as_ptr().align_offset(BLOCK_BYTES), 0);
                assert_eq!(blocks.len() % BLOCK_BYTES, 0);
                let start = usize::try_from(start).unwrap();
                assert_eq!(start % BLOCK_BYTES, 0);
                file[start..start + blocks.len()].copy_from_slice(blocks);
            });
            if put.is_some() {
                in_blocks += 1;
            } else {
                file[at..at + len].copy_from_slice(group.frames());
            }
            at += len;
            group.is_written(at as u64);
            assert_eq!(group.len(), 0);
        }
        (file, in_blocks)
    }

    /// What should be in it: what was there, then the frames.
    fn expected(before: u8, at: usize, groups: &[&[usize]]) -> Vec<u8> {
        let lens = groups.concat();
        let frames = (1_u8..).zip(&lens);
        let frames = frames.flat_map(|(number, len)| std::iter::repeat_n(number, *len));
        std::iter::repeat_n(before, at).chain(frames).collect()
    }

    #[test]
    fn groups_follow_each_other_in_the_file() {
        let groups: &[&[usize]] = &[
            &[8],
            &[24, 4_000],
            &[64],
            &[4_096 * 3 - 4_096],
            &[10_000, 8, 50_000],
            &[8],
            &[4_096],
        ];
        let (file, in_blocks) = written(vec![9; 200_000], 4_096, groups);
        let expected = expected(9, 4_096, groups);
        assert_eq!(file[..expected.len()], expected);
        assert_eq!(in_blocks, groups.len());
        // Behind them are zeros to the end of the block, and nothing is touched further on.
        let end = expected.len().next_multiple_of(BLOCK_BYTES);
        assert!(file[expected.len()..end].iter().all(|byte| *byte == 0));
        assert!(file[end..].iter().all(|byte| *byte == 9));
    }

    #[test]
    fn what_stands_in_front_is_not_touched_if_it_is_not_known() {
        let groups: &[&[usize]] = &[&[8], &[96], &[5_000], &[100]];
        let (file, in_blocks) = written(vec![9; 200_000], 4_200, groups);
        let expected = expected(9, 4_200, groups);
        assert_eq!(file[..expected.len()], expected);
        assert_eq!(in_blocks, 1, "the last one, when a block has begun");
    }

    #[test]
    fn nothing_is_written_behind_the_end_of_the_file() {
        let (file, in_blocks) = written(vec![9; 10_000], 8_192, &[&[1_000]]);
        assert_eq!(file.len(), 10_000);
        assert_eq!(in_blocks, 0);
    }
}
