//! The ways between shards: one bounded ring per ordered pair, a whole tick's messages as one element.
//!
//! ```text
//! shard 0 ── ring of batches ──> shard 1          full? the batch stays in the sender's backlog, later
//!         <── ring of empties ──                  messages join it, and the receiver rings when it has
//!                                                 made room. One writer, one reader, no lock.
//! ```
//! What must stay true: batches of one pair arrive in the order in which they were sent, so while a backlog waits
//! nothing overtakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

/// One shard's ends of all its lanes; `M` is a message to another shard.
#[derive(Debug)]
pub(crate) struct Lanes<M> {
    /// By shard; `None` for the shard itself.
    outgoing: Vec<Option<Outgoing<M>>>,
    incoming: Vec<Option<Incoming<M>>>,
    /// Rung by others when there is something for this shard, or room for what it wants to send.
    bell: Arc<Notify>,
    backlog_len: usize,
    bells_rung: u64,
}

impl<M> Lanes<M> {
    /// All lanes between this many shards, one set of ends for each.
    pub(crate) fn connect(shard_count: usize) -> Vec<Self> {
        let bells: Vec<Arc<Notify>> = (0..shard_count).map(|_| Arc::default()).collect();
        let mut all: Vec<Self> = bells
            .iter()
            .map(|bell| Self {
                outgoing: Vec::new(),
                incoming: Vec::new(),
                bell: Arc::clone(bell),
                backlog_len: 0,
                bells_rung: 0,
            })
            .collect();
        // Receivers outside, senders inside: each shard's lists grow in the order of the other shard's number.
        for (to, receiver_bell) in bells.iter().enumerate() {
            for (from, sender_bell) in bells.iter().enumerate() {
                let (outgoing, incoming) = if from == to {
                    (None, None)
                } else {
                    let (outgoing, incoming) = lane(receiver_bell, sender_bell);
                    (Some(outgoing), Some(incoming))
                };
                if let Some(sender) = all.get_mut(from) {
                    sender.outgoing.push(outgoing);
                }
                if let Some(receiver) = all.get_mut(to) {
                    receiver.incoming.push(incoming);
                }
            }
        }
        all
    }

    /// What this shard waits on for its neighbours.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// Sends what a tick has for each shard, behind what still waits; leaves every batch empty.
    pub(crate) fn send(&mut self, batches: &mut [Vec<M>]) {
        let mut backlog_len = 0;
        for (lane, batch) in self.outgoing.iter_mut().zip(batches) {
            let Some(lane) = lane else {
                debug_assert!(batch.is_empty(), "a shard's messages to itself stay inside");
                continue;
            };
            if lane.send(batch) {
                self.bells_rung += 1;
            }
            backlog_len += lane.backlog.len();
        }
        self.backlog_len = backlog_len;
    }

    /// How many messages wait because a ring was full.
    pub(crate) const fn backlog_len(&self) -> usize {
        self.backlog_len
    }

    /// How often another shard was woken.
    pub(crate) const fn bells_rung(&self) -> u64 {
        self.bells_rung
    }

    /// The next batch of the lane from a shard.
    pub(crate) fn receive(&mut self, from: usize) -> Option<Vec<M>> {
        self.incoming.get_mut(from)?.as_mut()?.receive()
    }

    /// Gives an emptied batch back to the shard it came from, so that its memory is used again.
    pub(crate) fn give_back(&mut self, from: usize, batch: Vec<M>) {
        if let Some(Some(lane)) = self.incoming.get_mut(from)
            && batch.capacity() <= KEPT_CAPACITY_MAX
        {
            // A full ring of empties means that there are enough of them.
            drop(lane.empties.push(batch));
        }
    }

    /// How many lanes lead here, this shard's own place included.
    pub(crate) const fn shard_count(&self) -> usize {
        self.incoming.len()
    }
}

/// The sender's end.
#[derive(Debug)]
struct Outgoing<M> {
    batches: Producer<Vec<M>>,
    empties: Consumer<Vec<M>>,
    /// What did not fit; sent before anything newer.
    backlog: Vec<M>,
    starved: Arc<AtomicBool>,
    receiver: Arc<Notify>,
}

impl<M> Outgoing<M> {
    /// Returns whether the receiver was rung.
    fn send(&mut self, batch: &mut Vec<M>) -> bool {
        if batch.is_empty() && self.backlog.is_empty() {
            return false;
        }
        let mut full = if self.backlog.is_empty() {
            std::mem::replace(batch, self.empties.pop().unwrap_or_default())
        } else {
            self.backlog.append(batch);
            std::mem::take(&mut self.backlog)
        };
        for attempt in 0..2 {
            match self.batches.push(full) {
                Ok(()) => {
                    self.receiver.notify_one();
                    return true;
                }
                Err(rtrb::PushError::Full(back)) => full = back,
            }
            if attempt == 0 {
                // First say that we wait, then look again: either we see the room that the receiver has made in
                // the meantime, or it sees that we wait (the fence's partner stands in `receive`).
                self.starved.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
            }
        }
        self.backlog = full;
        false
    }
}

/// The receiver's end.
#[derive(Debug)]
struct Incoming<M> {
    batches: Consumer<Vec<M>>,
    empties: Producer<Vec<M>>,
    starved: Arc<AtomicBool>,
    sender: Arc<Notify>,
}

impl<M> Incoming<M> {
    fn receive(&mut self) -> Option<Vec<M>> {
        let batch = self.batches.pop().ok()?;
        fence(Ordering::SeqCst);
        if self.starved.load(Ordering::Relaxed) && self.starved.swap(false, Ordering::Relaxed) {
            self.sender.notify_one();
        }
        Some(batch)
    }
}

fn lane<M>(receiver: &Arc<Notify>, sender: &Arc<Notify>) -> (Outgoing<M>, Incoming<M>) {
    let (batches_in, batches_out) = RingBuffer::new(RING_BATCHES);
    let (empties_in, empties_out) = RingBuffer::new(RING_BATCHES);
    let starved = Arc::new(AtomicBool::new(false));
    let outgoing = Outgoing {
        batches: batches_in,
        empties: empties_out,
        backlog: Vec::new(),
        starved: Arc::clone(&starved),
        receiver: Arc::clone(receiver),
    };
    let incoming = Incoming {
        batches: batches_out,
        empties: empties_in,
        starved,
        sender: Arc::clone(sender),
    };
    (outgoing, incoming)
}

/// Batches under way from one shard to another. A receiver that is this many ticks behind is slow; what comes
/// later is merged into one batch, which costs the sender nothing.
pub(crate) const RING_BATCHES: usize = 64;

/// An emptied batch larger than this is not kept: one burst must not hold its memory for ever.
const KEPT_CAPACITY_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{Lanes, RING_BATCHES};

    fn pair() -> (Lanes<u32>, Lanes<u32>) {
        let mut both = Lanes::connect(2);
        let second = both.pop().unwrap();
        (both.pop().unwrap(), second)
    }

    fn send(lanes: &mut Lanes<u32>, to: usize, messages: &[u32]) {
        let mut batches = vec![Vec::new(), Vec::new()];
        batches[to].extend_from_slice(messages);
        lanes.send(&mut batches);
        assert!(batches.iter().all(Vec::is_empty));
    }

    #[test]
    fn a_tick_is_one_batch_and_one_wake() {
        let (mut first, mut second) = pair();
        send(&mut first, 1, &[1, 2, 3]);
        assert_eq!(second.receive(0), Some(vec![1, 2, 3]));
        assert_eq!(second.receive(0), None);
        assert_eq!(first.bells_rung(), 1);
        send(&mut first, 1, &[]);
        assert_eq!(first.bells_rung(), 1, "nothing to send, nobody woken");
    }

    #[test]
    fn the_memory_of_batches_is_used_again() {
        let (mut first, mut second) = pair();
        let mut batches = vec![Vec::new(), vec![1, 2, 3]];
        let memory = batches[1].as_ptr();
        first.send(&mut batches);
        let mut batch = second.receive(0).unwrap();
        batch.clear();
        second.give_back(0, batch);
        batches[1].push(4);
        first.send(&mut batches);
        assert_eq!(batches[1].as_ptr(), memory);
    }

    #[test]
    fn what_does_not_fit_waits_in_order_and_is_sent_as_one_batch() {
        let (mut first, mut second) = pair();
        let ring = u32::try_from(RING_BATCHES).unwrap();
        for message in 0..ring + 3 {
            send(&mut first, 1, &[message]);
        }
        assert_eq!(first.backlog_len(), 3);
        assert_eq!(second.receive(0), Some(vec![0]));
        send(&mut first, 1, &[ring + 3]);
        assert_eq!(first.backlog_len(), 0);
        for message in 1..ring {
            assert_eq!(second.receive(0), Some(vec![message]));
        }
        assert_eq!(second.receive(0), Some((ring..ring + 4).collect()));
    }

    /// The sender learns of new room even if it has nothing more to say.
    #[tokio::test(flavor = "current_thread")]
    async fn a_starved_sender_is_rung_when_there_is_room() {
        let (mut first, mut second) = pair();
        for message in 0..=u32::try_from(RING_BATCHES).unwrap() {
            send(&mut first, 1, &[message]);
        }
        assert_eq!(first.backlog_len(), 1);
        let bell = first.bell();
        second.receive(0);
        bell.notified().await;
        send(&mut first, 1, &[]);
        assert_eq!(first.backlog_len(), 0);
    }

    #[test]
    fn nothing_is_lost_or_reordered_between_two_threads() {
        const MESSAGES: u32 = 200_000;
        let (mut first, mut second) = pair();
        let sender = thread::spawn(move || {
            let mut next = 0;
            while next < MESSAGES || first.backlog_len() > 0 {
                let batch: Vec<u32> = (next..(next + 1 + next % 3).min(MESSAGES)).collect();
                next += u32::try_from(batch.len()).unwrap();
                send(&mut first, 1, &batch);
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            match second.receive(0) {
                Some(mut batch) => {
                    for message in batch.drain(..) {
                        assert_eq!(message, expected);
                        expected += 1;
                    }
                    second.give_back(0, batch);
                }
                None => thread::yield_now(),
            }
        }
        sender.join().unwrap();
        assert_eq!(second.receive(0), None);
    }
}
