//! Which flushes wait for which messages, without a list of messages.
//!
//! Messages belong to the epoch in which they were admitted; a flush ends the epoch and waits until
//! it and all before it are empty.

use std::collections::VecDeque;

use super::OpId;

/// Counts unfinished messages per epoch.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// The epoch of the first count.
    first: u64,
    /// Never empty; the last one is the current epoch.
    counts: VecDeque<usize>,
    /// In the order of their epochs.
    waiting: VecDeque<(u64, OpId)>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            first: 0,
            counts: VecDeque::from([0]),
            waiting: VecDeque::new(),
        }
    }
}

impl Epochs {
    /// A message is admitted: its epoch.
    pub(crate) fn admit(&mut self) -> u64 {
        if let Some(count) = self.counts.back_mut() {
            *count += 1;
        }
        self.first + self.counts.len() as u64 - 1
    }

    /// A message of this epoch is done with: the flushes that are over by it.
    pub(crate) fn finish(&mut self, epoch: u64) -> impl Iterator<Item = OpId> + use<> {
        let at = usize::try_from(epoch - self.first).unwrap_or(usize::MAX);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_sub(1);
        }
        self.advance()
    }

    /// Whether everything admitted so far is done with; if not, `op` is told when it is.
    pub(crate) fn flush(&mut self, op: OpId) -> bool {
        if self.is_empty() {
            return true;
        }
        let epoch = self.first + self.counts.len() as u64 - 1;
        self.waiting.push_back((epoch, op));
        self.counts.push_back(0);
        false
    }

    /// Whether nothing is unfinished.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Nobody waits for this flush any more.
    pub(crate) fn forget(&mut self, op: OpId) {
        self.waiting.retain(|(_, waiting)| *waiting != op);
    }

    fn advance(&mut self) -> impl Iterator<Item = OpId> + use<> {
        while self.counts.len() > 1 && self.counts.front() == Some(&0) {
            self.counts.pop_front();
            self.first += 1;
        }
        let mut over = Vec::new();
        while let Some((epoch, op)) = self.waiting.front() {
            let ended = *epoch < self.first;
            if !ended {
                break;
            }
            over.push(*op);
            self.waiting.pop_front();
        }
        over.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_what_came_before_it_and_for_nothing_else() {
        let mut epochs = Epochs::default();
        assert!(epochs.flush(OpId(9)), "nothing to wait for");
        let first = epochs.admit();
        assert!(!epochs.flush(OpId(1)));
        let second = epochs.admit();
        assert!(!epochs.flush(OpId(2)));
        let third = epochs.admit();
        assert_eq!(epochs.finish(second).count(), 0, "the first is still open");
        let over: Vec<_> = epochs.finish(first).collect();
        assert_eq!(over, [OpId(1), OpId(2)]);
        assert!(!epochs.is_empty());
        assert_eq!(epochs.finish(third).count(), 0);
        assert!(epochs.is_empty() && epochs.flush(OpId(3)));
    }
}
