//! Marks: frames in which the log says something about itself.
//!
//! The last one counts. One is written before a segment is given up, after damage was found, and when the log is closed.
//!
//! ```text
//! 0  oldest generation that is still needed | 8 sequence number of its first frame
//! 16 highest session counter ever seen      | 24 highest counter of numbers
//! 32 ranges of sequence numbers that are known to be lost: first and last, 8 bytes each
//! ```

use std::ops::RangeInclusive;

use super::frame::chunk;

/// What the log says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// Segments before this one are not needed: that they are not there is no loss.
    pub(crate) oldest_generation: u64,
    /// Nor are frames before this one.
    pub(crate) oldest_sequence: u64,
    pub(crate) session_counter: u64,
    pub(crate) number_counter: u64,
    /// Frames that have been lost, and were said to be.
    pub(crate) lost: Vec<RangeInclusive<u64>>,
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = [
            self.oldest_generation,
            self.oldest_sequence,
            self.session_counter,
            self.number_counter,
        ];
        let lost = self
            .lost
            .iter()
            .flat_map(|range| [*range.start(), *range.end()]);
        numbers
            .into_iter()
            .chain(lost)
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(16) {
            return None;
        }
        let number = |at| chunk(bytes, at).copied().map(u64::from_le_bytes);
        let lost = (32..bytes.len())
            .step_by(16)
            .map(|at| Some(number(at)?..=number(at + 8)?))
            .collect::<Option<_>>()?;
        let mark = Self {
            oldest_generation: number(0)?,
            oldest_sequence: number(8)?,
            session_counter: number(16)?,
            number_counter: number(24)?,
            lost,
        };
        // There must be some left: a counter that begins again gives names twice.
        let leaves_room = mark.session_counter.max(mark.number_counter) <= COUNTER_MAX;
        leaves_room.then_some(mark)
    }
}

/// A session's name has 56 bits for its counter.
const COUNTER_MAX: u64 = 1 << 55;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back() {
        let mark = Mark {
            oldest_generation: 3,
            oldest_sequence: 1_000,
            session_counter: COUNTER_MAX,
            number_counter: 0,
            lost: vec![1_001..=1_001, 1_007..=2_000],
        };
        assert_eq!(Mark::decode(&mark.encode()), Some(mark.clone()));
        assert_eq!(Mark::decode(&mark.encode()[1..]), None);
        let worn_out = Mark {
            number_counter: u64::MAX,
            ..mark
        };
        assert_eq!(Mark::decode(&worn_out.encode()), None);
    }
}
