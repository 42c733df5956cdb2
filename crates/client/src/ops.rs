//! What application tasks wait for: one slot each, used again.

use std::task::{Context, Poll, Waker};

use crate::machine::{OpId, Outcome};

/// Slots for operations. A slot is named by its index and by how often it was used, so that what
/// comes too late for one operation does not end the next.
#[derive(Debug, Default)]
pub(crate) struct Ops {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Option<Waker>),
    Done(Outcome),
}

impl Ops {
    /// Somebody will wait.
    pub(crate) fn begin(&mut self) -> OpId {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.state = State::Waiting(None);
            return name(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot {
            generation: 0,
            state: State::Waiting(None),
        });
        name(index, 0)
    }

    /// What was waited for has come. Returns whom to wake.
    pub(crate) fn finish(&mut self, op: OpId, outcome: Outcome) -> Option<Waker> {
        let slot = self.get(op)?;
        match std::mem::replace(&mut slot.state, State::Done(outcome)) {
            State::Waiting(waker) => waker,
            State::Free | State::Done(_) => None,
        }
    }

    /// The outcome, if it is there; the slot is free then.
    pub(crate) fn poll(&mut self, op: OpId, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Some(slot) = self.get(op) else {
            return Poll::Ready(None);
        };
        match &mut slot.state {
            State::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Free | State::Done(_) => Poll::Ready(self.end(op)),
        }
    }

    /// Frees the slot; the outcome, if it had come.
    pub(crate) fn end(&mut self, op: OpId) -> Option<Outcome> {
        let slot = self.get(op)?;
        slot.generation = slot.generation.wrapping_add(1);
        let state = std::mem::replace(&mut slot.state, State::Free);
        self.free.push(index_of(op));
        match state {
            State::Done(outcome) => Some(outcome),
            State::Free | State::Waiting(_) => None,
        }
    }

    /// How many slots are in use.
    pub(crate) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn get(&mut self, op: OpId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(index_of(op) as usize)?;
        Some(slot).filter(|slot| {
            name(index_of(op), slot.generation) == op && !matches!(slot.state, State::Free)
        })
    }
}

fn name(index: u32, generation: u32) -> OpId {
    OpId(u64::from(generation) << 32 | u64::from(index))
}

fn index_of(op: OpId) -> u32 {
    u32::try_from(op.0 & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_that_comes_too_late_does_not_end_the_next_operation() {
        let mut ops = Ops::default();
        let mut cx = Context::from_waker(Waker::noop());
        let first = ops.begin();
        assert!(ops.poll(first, &mut cx).is_pending());
        ops.end(first);
        let second = ops.begin();
        assert_ne!(first, second);
        assert!(ops.finish(first, Outcome::Flushed).is_none());
        assert!(ops.poll(second, &mut cx).is_pending());
        assert!(ops.finish(second, Outcome::Flushed).is_some());
        assert!(matches!(
            ops.poll(second, &mut cx),
            Poll::Ready(Some(Outcome::Flushed))
        ));
        assert_eq!(ops.count(), 0);
    }
}
