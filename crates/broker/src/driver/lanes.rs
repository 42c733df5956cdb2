//! The ways between shards: one bounded ring per ordered pair, a whole tick's messages as one element.
//!
//! ```text
//! shard 0 ── ring of batches ──> shard 1          full? the batch stays in the sender's backlog, later
//!         <── ring of empties ──                  messages join it, and the receiver rings when it has
//!                                                 made room. One writer, one reader, no lock.
//! ```
//! What must stay true: batches of one pair arrive in the order in which they were sent, so while a backlog waits
//! nothing overtakes it.
//!
//! What is under way is weighed. A shard whose neighbours have not taken [`PEER_BYTES_MAX`] of it reads nothing until they have taken
//! half of that. It goes on receiving, so two shards that are full of each other's messages do not wait for ever. Because
//! what it receives may have to be passed on (it owns a retained message, or a group), a shard may become fuller without reading;
//! from [`PEER_BYTES_ALL_MAX`] on no shard of the broker reads anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use martlet_engine::PeerMessage;
use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

use super::limits::{PEER_BYTES_ALL_MAX, PEER_BYTES_MAX};

/// What is carried between shards.
pub(crate) trait Weigh {
    /// The memory that it holds, in bytes.
    fn weight(&self) -> usize;
}

impl Weigh for PeerMessage {
    fn weight(&self) -> usize {
        self.size()
    }
}

/// One shard's ends of all its lanes; `M` is a message to another shard.
#[derive(Debug)]
pub(crate) struct Lanes<M> {
    /// By shard; `None` for the shard itself.
    outgoing: Vec<Option<Outgoing<M>>>,
    incoming: Vec<Option<Incoming<M>>>,
    /// Rung by others when there is something for this shard, or room for what it wants to send.
    bell: Arc<Notify>,
    /// Shards for whose sake none reads.
    overfull_shards: Arc<AtomicUsize>,
    /// This shard is one of them.
    is_overfull: bool,
    is_full: bool,
    backlog_len: usize,
    bells_rung: u64,
    rings_full: u64,
    times_overfull: u64,
}

impl<M: Weigh> Lanes<M> {
    /// All lanes between this many shards, one set of ends for each.
    pub(crate) fn connect(shard_count: usize) -> Vec<Self> {
        let bells: Vec<Arc<Notify>> = (0..shard_count).map(|_| Arc::default()).collect();
        let overfull_shards = Arc::new(AtomicUsize::new(0));
        let mut all: Vec<Self> = bells
            .iter()
            .map(|bell| Self {
                outgoing: Vec::new(),
                incoming: Vec::new(),
                bell: Arc::clone(bell),
                overfull_shards: Arc::clone(&overfull_shards),
                is_overfull: false,
                is_full: false,
                backlog_len: 0,
                bells_rung: 0,
                rings_full: 0,
                times_overfull: 0,
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
            } else if !lane.backlog.messages.is_empty() {
                self.rings_full += 1;
            }
            backlog_len += lane.backlog.messages.len();
        }
        self.backlog_len = backlog_len;
    }

    /// Whether so much is under way to other shards that nothing more may be taken in. If so, the bell rings when
    /// there is less.
    pub(crate) fn is_full(&mut self) -> bool {
        let mut bytes = self.waiting_bytes();
        if bytes > PEER_BYTES_MAX / 2 {
            for lane in self.outgoing.iter().flatten() {
                lane.starved.store(true, Ordering::Relaxed);
            }
            // As in `Outgoing::send`: first say that we wait, then look again.
            fence(Ordering::SeqCst);
            bytes = self.waiting_bytes();
        }
        self.is_full = is_above(bytes, PEER_BYTES_MAX, self.is_full);
        let overfull = is_above(bytes, PEER_BYTES_ALL_MAX, self.is_overfull);
        if overfull != self.is_overfull {
            self.is_overfull = overfull;
            self.tell_overfull(overfull, bytes);
        }
        self.is_full || self.overfull_shards.load(Ordering::SeqCst) > 0
    }

    /// Stops all shards from reading, or lets them go on.
    fn tell_overfull(&mut self, overfull: bool, bytes: usize) {
        if overfull {
            self.times_overfull += 1;
            tracing::debug!(
                bytes,
                "no shard reads: others do not take what this one has to pass on"
            );
            self.overfull_shards.fetch_add(1, Ordering::SeqCst);
        } else if self.overfull_shards.fetch_sub(1, Ordering::SeqCst) == 1 {
            for lane in self.outgoing.iter().flatten() {
                lane.receiver.notify_one();
            }
        }
    }

    /// What other shards have not taken yet, in bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let lanes = self.outgoing.iter().flatten();
        lanes
            .map(|lane| lane.in_ring.load(Ordering::Relaxed) + lane.backlog.bytes)
            .sum()
    }

    /// How many messages wait because a ring was full.
    pub(crate) const fn backlog_len(&self) -> usize {
        self.backlog_len
    }

    /// How often another shard was woken.
    pub(crate) const fn bells_rung(&self) -> u64 {
        self.bells_rung
    }

    /// How often a batch had to wait because a ring was full.
    pub(crate) const fn rings_full(&self) -> u64 {
        self.rings_full
    }

    /// How often this shard has stopped all from reading.
    pub(crate) const fn times_overfull(&self) -> u64 {
        self.times_overfull
    }

    /// Whether another shard has sent something.
    pub(crate) fn has_incoming(&self) -> bool {
        let mut lanes = self.incoming.iter().flatten();
        lanes.any(|lane| !lane.batches.is_empty())
    }

    /// The next batch of the lane from a shard, and what it weighs.
    pub(crate) fn receive(&mut self, from: usize) -> Option<(Vec<M>, usize)> {
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

/// A tick's messages, or those of several ticks.
#[derive(Debug)]
struct Batch<M> {
    messages: Vec<M>,
    bytes: usize,
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            bytes: 0,
        }
    }
}

/// The sender's end.
#[derive(Debug)]
struct Outgoing<M> {
    batches: Producer<Batch<M>>,
    empties: Consumer<Vec<M>>,
    /// The bytes of the batches in the ring.
    in_ring: Arc<AtomicUsize>,
    /// What did not fit; sent before anything newer.
    backlog: Batch<M>,
    starved: Arc<AtomicBool>,
    receiver: Arc<Notify>,
}

impl<M: Weigh> Outgoing<M> {
    /// Returns whether the receiver was rung.
    fn send(&mut self, batch: &mut Vec<M>) -> bool {
        if batch.is_empty() && self.backlog.messages.is_empty() {
            return false;
        }
        let mut full = std::mem::take(&mut self.backlog);
        full.bytes += batch.iter().map(Weigh::weight).sum::<usize>();
        if full.messages.is_empty() {
            full.messages = std::mem::replace(batch, self.empties.pop().unwrap_or_default());
        } else {
            full.messages.append(batch);
        }
        for attempt in 0..2 {
            let bytes = full.bytes;
            // Before the receiver can see the batch, and take them off again.
            self.in_ring.fetch_add(bytes, Ordering::Relaxed);
            match self.batches.push(full) {
                Ok(()) => {
                    self.receiver.notify_one();
                    return true;
                }
                Err(rtrb::PushError::Full(back)) => full = back,
            }
            self.in_ring.fetch_sub(bytes, Ordering::Relaxed);
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
    batches: Consumer<Batch<M>>,
    empties: Producer<Vec<M>>,
    in_ring: Arc<AtomicUsize>,
    starved: Arc<AtomicBool>,
    sender: Arc<Notify>,
}

impl<M> Incoming<M> {
    fn receive(&mut self) -> Option<(Vec<M>, usize)> {
        let batch = self.batches.pop().ok()?;
        self.in_ring.fetch_sub(batch.bytes, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.starved.load(Ordering::Relaxed) && self.starved.swap(false, Ordering::Relaxed) {
            self.sender.notify_one();
        }
        Some((batch.messages, batch.bytes))
    }
}

fn lane<M>(receiver: &Arc<Notify>, sender: &Arc<Notify>) -> (Outgoing<M>, Incoming<M>) {
    let (batches_in, batches_out) = RingBuffer::new(RING_BATCHES);
    let (empties_in, empties_out) = RingBuffer::new(RING_BATCHES);
    let starved = Arc::new(AtomicBool::new(false));
    let in_ring = Arc::new(AtomicUsize::new(0));
    let outgoing = Outgoing {
        batches: batches_in,
        empties: empties_out,
        in_ring: Arc::clone(&in_ring),
        backlog: Batch::default(),
        starved: Arc::clone(&starved),
        receiver: Arc::clone(receiver),
    };
    let incoming = Incoming {
        batches: batches_out,
        empties: empties_in,
        in_ring,
        starved,
        sender: Arc::clone(sender),
    };
    (outgoing, incoming)
}

/// Whether there is too much, or has been and not half of it has gone.
const fn is_above(bytes: usize, max: usize, before: bool) -> bool {
    bytes > if before { max / 2 } else { max }
}

/// Batches under way from one shard to another. A receiver that is this many ticks behind is slow; what comes
/// later is merged into one batch, which costs the sender nothing. Counter: `rings_full`.
pub(crate) const RING_BATCHES: usize = 64;

/// An emptied batch larger than this is not kept: one burst must not hold its memory for ever.
const KEPT_CAPACITY_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::{Lanes, PEER_BYTES_MAX, RING_BATCHES, Weigh};

    const WEIGHT: usize = 10_000;
    const MAX: usize = PEER_BYTES_MAX / WEIGHT;

    impl Weigh for u32 {
        fn weight(&self) -> usize {
            WEIGHT
        }
    }

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

    fn taken(lanes: &mut Lanes<u32>) -> Option<Vec<u32>> {
        let (batch, bytes) = lanes.receive(0)?;
        assert_eq!(bytes, batch.len() * WEIGHT);
        Some(batch)
    }

    async fn rung(bell: &Notify) {
        tokio::time::timeout(Duration::from_secs(10), bell.notified())
            .await
            .expect("the bell rings");
    }

    #[test]
    fn a_tick_is_one_batch_and_one_wake() {
        let (mut first, mut second) = pair();
        send(&mut first, 1, &[1, 2, 3]);
        assert_eq!(taken(&mut second), Some(vec![1, 2, 3]));
        assert_eq!(taken(&mut second), None);
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
        let mut batch = taken(&mut second).unwrap();
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
        assert_eq!(taken(&mut second), Some(vec![0]));
        send(&mut first, 1, &[ring + 3]);
        assert_eq!(first.backlog_len(), 0);
        for message in 1..ring {
            assert_eq!(taken(&mut second), Some(vec![message]));
        }
        assert_eq!(taken(&mut second), Some((ring..ring + 4).collect()));
    }

    /// The sender learns of new room even if it has nothing more to say.
    #[tokio::test]
    async fn a_starved_sender_is_rung_when_there_is_room() {
        let (mut first, mut second) = pair();
        for message in 0..=u32::try_from(RING_BATCHES).unwrap() {
            send(&mut first, 1, &[message]);
        }
        assert_eq!(first.backlog_len(), 1);
        let bell = first.bell();
        second.receive(0);
        rung(&bell).await;
        send(&mut first, 1, &[]);
        assert_eq!(first.backlog_len(), 0);
    }

    #[test]
    fn what_is_under_way_is_weighed_until_it_is_taken() {
        let (mut first, mut second) = pair();
        for _ in 0..=RING_BATCHES {
            send(&mut first, 1, &[1, 2]);
        }
        assert_eq!(first.backlog_len(), 2);
        assert_eq!(first.waiting_bytes(), 2 * WEIGHT * (RING_BATCHES + 1));
        while second.receive(0).is_some() {
            send(&mut first, 1, &[]);
        }
        assert_eq!(first.waiting_bytes(), 0);
    }

    /// Also if there is room in the ring: one batch may be large.
    #[tokio::test]
    async fn a_full_sender_is_rung_until_half_is_taken() {
        let (mut first, mut second) = pair();
        send(&mut first, 1, &[7; MAX / 2]);
        send(&mut first, 1, &[7; MAX - MAX / 2]);
        assert!(!first.is_full());
        send(&mut first, 1, &[8]);
        assert!(first.is_full());
        let bell = first.bell();
        second.receive(0);
        rung(&bell).await;
        assert!(first.is_full(), "not yet half");
        second.receive(0);
        rung(&bell).await;
        assert!(!first.is_full());
        assert!(!second.is_full(), "it never was");
    }

    /// A shard may owe others more though it reads nothing: then nobody reads.
    #[tokio::test]
    async fn an_overfull_shard_stops_all_until_half_is_taken() {
        let mut all = Lanes::connect(3);
        let mut third = all.pop().unwrap();
        let mut second = all.pop().unwrap();
        let mut first = all.pop().unwrap();
        for _ in 0..4 {
            first.send(&mut [vec![], vec![], vec![7; MAX / 2 + 1]]);
        }
        assert!(!second.is_full());
        assert!(first.is_full());
        assert!(second.is_full());
        let bell = second.bell();
        third.receive(0);
        third.receive(0);
        assert!(first.is_full());
        assert!(second.is_full(), "a little more than half is left");
        third.receive(0);
        assert!(first.is_full(), "for itself it still is");
        rung(&bell).await;
        assert!(!second.is_full());
        third.receive(0);
        assert!(!first.is_full());
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
            match taken(&mut second) {
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
        assert_eq!(taken(&mut second), None);
    }
}
