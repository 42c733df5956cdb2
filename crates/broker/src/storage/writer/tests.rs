//! The store's thread with a store that does what the test says.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use martlet_engine::{Body, Record, StorePressure, StoreTicket};
use martlet_store::{FailedCall, FullBecause, StoreStats};
use tokio::sync::Notify;

use super::*;

/// What the store was asked to do.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Append(Vec<u8>),
    Sync,
    /// Of this body.
    Place(u64),
}

/// Tells every call and does what it is told; without an order it succeeds.
struct Puppet {
    calls: Sender<Call>,
    orders: Receiver<Result<(), StoreError>>,
    wishes: VecDeque<u8>,
    rest: Maintenance,
}

impl Puppet {
    fn call(&mut self, call: Call) -> Result<(), StoreError> {
        // The test may have seen enough.
        let _ = self.calls.send(call);
        match self.orders.recv_timeout(Duration::from_secs(10)) {
            Ok(order) => order,
            Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => panic!("the test has no order for this call"),
        }
    }
}

impl Store for Puppet {
    fn append(&mut self, batch: &[u8]) -> Result<(), StoreError> {
        self.call(Call::Append(batch.to_owned()))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.call(Call::Sync)
    }

    fn maintain(&mut self) -> Result<Maintenance, StoreError> {
        Ok(match self.wishes.pop_front() {
            Some(slot) => Maintenance::WantsCheckpoint(slot),
            None => self.rest,
        })
    }

    fn replay(
        &mut self,
        _: usize,
        _: &mut dyn FnMut(usize, &Record<'_>),
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn read_body(&mut self, _: BodyId, _: &mut dyn FnMut(&Body<'_>)) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

impl Closing for Puppet {
    fn place_of(&mut self, body: BodyId) -> Result<Option<BodyPlace>, StoreError> {
        self.call(Call::Place(body.as_u64())).map(|()| None)
    }

    fn is_unwritten(&self, body: BodyId) -> bool {
        body.as_u64() < WRITTEN
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

struct World {
    line: Arc<StoreLine>,
    bells: Vec<Arc<Notify>>,
    writer: Writer,
    calls: Receiver<Call>,
    orders: Sender<Result<(), StoreError>>,
}

impl World {
    fn new(wishes: impl Into<VecDeque<u8>>) -> Self {
        let bells: Vec<Arc<Notify>> = vec![Arc::default(), Arc::default()];
        let line = Arc::new(StoreLine::new(bells.clone(), 1 << 20));
        let (calls, of_thread) = channel();
        let (orders, to_thread) = channel();
        let puppet = Puppet {
            calls,
            orders: to_thread,
            wishes: wishes.into(),
            rest: Maintenance::Idle,
        };
        let writer = Writer::start(
            Box::new(puppet),
            None,
            Arc::clone(&line),
            "/data".to_owned(),
        );
        Self {
            line,
            bells,
            writer: writer.unwrap(),
            calls: of_thread,
            orders,
        }
    }

    fn put(&self, shard: usize, ticket: u64, bytes: &[u8]) {
        drop(self.line.put(shard, StoreTicket(ticket), bytes.to_vec()));
    }

    #[track_caller]
    fn expect(&self, call: &Call) {
        let seen = self.calls.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(seen, *call);
    }

    fn answer(&self, answer: Result<(), StoreError>) {
        self.orders.send(answer).unwrap();
    }

    /// Waits for a shard's bell.
    fn hear(&self, shard: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let heard = self.bells[shard].notified();
            tokio::time::timeout(Duration::from_secs(10), heard)
                .await
                .unwrap();
        });
    }
}

/// Bodies from this one on can be read without a write.
const WRITTEN: u64 = 100;

const fn full() -> StoreError {
    StoreError::Full(FullBecause::Disk)
}

fn append(bytes: &[u8]) -> Call {
    Call::Append(bytes.to_vec())
}

#[test]
fn a_shard_hears_of_its_batch_only_behind_the_sync() {
    let world = World::new([]);
    world.put(0, 1, b"a");
    world.expect(&append(b"a"));
    world.answer(Ok(()));
    world.expect(&Call::Sync);
    assert_eq!(
        world.line.stable(0),
        StoreTicket(0),
        "the sync is under way"
    );
    world.answer(Ok(()));
    world.hear(0);
    assert_eq!(world.line.stable(0), StoreTicket(1));
}

#[test]
fn what_comes_while_a_sync_is_under_way_shares_the_next() {
    let mut world = World::new([]);
    world.put(0, 1, b"a");
    world.expect(&append(b"a"));
    world.answer(Ok(()));
    world.expect(&Call::Sync);
    world.put(1, 1, b"b");
    world.put(0, 2, b"c");
    world.answer(Ok(()));
    world.expect(&append(b"b"));
    world.answer(Ok(()));
    world.expect(&append(b"c"));
    world.answer(Ok(()));
    world.expect(&Call::Sync);
    world.answer(Ok(()));
    world.writer.stop();
    assert!(world.calls.recv().is_err(), "one sync for both");
    assert_eq!(
        (world.line.stable(0), world.line.stable(1)),
        (StoreTicket(2), StoreTicket(1))
    );
}

#[test]
fn a_full_store_gets_the_same_batch_again_and_the_shards_are_told() {
    let mut world = World::new([]);
    world.put(0, 1, b"a");
    world.put(0, 2, b"b");
    // Whether the two came as one group depends on the moment.
    world.expect(&append(b"a"));
    world.answer(Ok(()));
    let mut next = world.calls.recv().unwrap();
    if next == Call::Sync {
        world.answer(Ok(()));
        next = world.calls.recv().unwrap();
    }
    assert_eq!(next, append(b"b"));
    world.answer(Err(StoreError::Full(FullBecause::Disk)));
    let mut next = world.calls.recv().unwrap();
    if next == Call::Sync {
        world.answer(Ok(()));
        next = world.calls.recv().unwrap();
    }
    assert_eq!(next, append(b"b"), "again");
    assert_eq!(world.line.pressure(1), StorePressure::Full);
    assert_eq!(world.line.stable(0), StoreTicket(1));
    world.answer(Ok(()));
    world.expect(&Call::Sync);
    world.answer(Ok(()));
    // There is always one more round of maintenance before the thread sleeps again.
    world.put(0, 3, b"c");
    world.expect(&append(b"c"));
    assert_eq!(world.line.stable(0), StoreTicket(2));
    assert_eq!(world.line.pressure(1), StorePressure::Normal);
    drop(world.orders);
    world.writer.stop();
    assert_eq!(world.line.stable(0), StoreTicket(3));
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_everybody_hears_why() {
    let world = World::new([]);
    world.put(0, 1, b"a");
    world.expect(&append(b"a"));
    world.answer(Ok(()));
    world.expect(&Call::Sync);
    let broken = FailedCall {
        call: "fdatasync",
        path: "log/00000003.seg".to_owned(),
        error: io::Error::from_raw_os_error(5),
    };
    world.answer(Err(StoreError::Poisoned(Arc::new(broken))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let why = runtime.block_on(async {
        let failed = world.line.failure().wait();
        tokio::time::timeout(Duration::from_secs(10), failed)
            .await
            .unwrap()
    });
    // Where, what, which file, what the system says, and what to do.
    assert_eq!(
        why,
        "/data: the store failed and is not used any more: fdatasync of log/00000003.seg: Input/output error \
         (os error 5); check the disk (dmesg), then start the broker again: what was acknowledged before is on it"
    );
    world.put(0, 2, b"b");
    drop(world.orders);
    assert!(world.calls.recv().is_err(), "nothing more is tried");
    assert_eq!(world.line.stable(0), StoreTicket(0));
}

#[test]
fn wanted_checkpoints_are_passed_to_the_slots_shards() {
    let world = World::new([7, 9, 4]);
    // The last one, though nothing is written meanwhile.
    world.hear(0);
    assert_eq!(world.line.take_wish(0), Some(4));
    let others = (world.line.take_wish(1), world.line.take_wish(1));
    assert_eq!(others, (Some(7), Some(9)));
}

/// What the store is asked, and what it is to answer.
type Strings = (Receiver<Call>, Sender<Result<(), StoreError>>);

/// The thread's work without the thread.
fn work() -> (Work, Arc<StoreLine>, Strings) {
    work_at_rest(Maintenance::Idle)
}

/// With a store that says this when it has no wishes.
fn work_at_rest(rest: Maintenance) -> (Work, Arc<StoreLine>, Strings) {
    let (calls, seen) = channel();
    let (orders, to_thread) = channel();
    let line = Arc::new(StoreLine::new(
        vec![Arc::default(), Arc::default()],
        1 << 20,
    ));
    let work = Work {
        store: Box::new(Puppet {
            calls,
            orders: to_thread,
            wishes: VecDeque::new(),
            rest,
        }),
        reader: None,
        line: Arc::clone(&line),
        place: "/data".to_owned(),
        maintenance_in: None,
        full: false,
        stuck: false,
        unplaced: Vec::new(),
    };
    (work, line, (seen, orders))
}

fn bodies<const N: usize>(numbers: [u64; N]) -> Vec<BodyId> {
    numbers.map(|number| BodyId::new(number).unwrap()).into()
}

fn wanted<const N: usize>(shard: usize, numbers: [u64; N]) -> Wanted {
    Wanted {
        shard,
        bodies: bodies(numbers),
        misses: 1,
    }
}

/// What could become needless is left until nothing has come for a moment.
#[test]
fn what_can_wait_for_a_quiet_moment_does() {
    let (mut work, _, _) = work_at_rest(Maintenance::Later);
    work.maintain().unwrap();
    assert_eq!(work.patience(), Some(QUIET));
    let taken = |batches: usize, asked: usize, ending| Taken {
        batches: (0..batches)
            .map(|_| Batch {
                shard: 0,
                ticket: StoreTicket(1),
                bytes: Vec::new(),
            })
            .collect(),
        wanted: (0..asked).map(|_| wanted(0, [1])).collect(),
        ending,
    };
    assert!(work.is_time_to_maintain(&taken(1, 0, false)));
    assert!(!work.is_time_to_maintain(&taken(0, 1, false)));
    assert!(work.is_time_to_maintain(&taken(0, 0, false)), "it is quiet");
    assert!(!work.is_time_to_maintain(&taken(1, 0, true)));
    // What cannot wait does not.
    work.maintenance_in = Some(Duration::ZERO);
    assert!(work.is_time_to_maintain(&taken(0, 1, false)));
}

/// A body that cannot be read while the disk is full was asked for again and again, as fast as the thread could.
#[test]
fn a_body_that_waits_for_room_is_asked_for_now_and_then() {
    let (mut work, line, (seen, orders)) = work();
    assert_eq!(work.patience(), None);
    orders.send(Err(full())).unwrap();
    work.look_for_all(vec![wanted(0, [7])]).unwrap();
    assert_eq!(work.patience(), Some(ROOM_POLL));
    assert_eq!((work.unplaced[0].misses, work.unplaced.len()), (1, 1));
    let taken = line.take(Vec::new(), Some(Duration::ZERO));
    assert!(taken.wanted.is_empty(), "that would be at once");
    // There is room.
    drop(orders);
    work.look_for_all(Vec::new()).unwrap();
    assert_eq!(work.patience(), None);
    assert_eq!(line.take_bodies(0).len(), 1);
    assert_eq!(seen.try_iter().count(), 2);
}

/// Each of them cost a write that failed, in each round.
#[test]
fn a_full_disk_is_asked_for_one_write_a_round_and_nobody_loses_its_turn() {
    let (mut work, line, (seen, orders)) = work();
    let places = || -> Vec<Call> { seen.try_iter().collect() };
    orders.send(Err(full())).unwrap();
    // What stands on the disk is found without a write, and its acknowledgement may make the room.
    orders.send(Ok(())).unwrap();
    let round = vec![wanted(0, [7, 8, WRITTEN]), wanted(1, [9])];
    work.look_for_all(round).unwrap();
    assert_eq!(places(), [Call::Place(7), Call::Place(WRITTEN)]);
    assert_eq!(line.take_bodies(0).len(), 1);
    orders.send(Err(full())).unwrap();
    work.look_for_all(vec![wanted(1, [10])]).unwrap();
    assert_eq!(places(), [Call::Place(7)]);
    let waiting: Vec<_> = work.unplaced.iter().map(|w| (w.shard, &w.bodies)).collect();
    assert_eq!(
        waiting,
        [(0, &bodies([7, 8])), (1, &bodies([9])), (1, &bodies([10]))],
        "those that wait longest come first, and what was asked for together stays so"
    );
    // There is room.
    drop(orders);
    work.look_for_all(Vec::new()).unwrap();
    assert_eq!(places(), [7, 8, 9, 10].map(Call::Place));
    assert!(work.unplaced.is_empty());
    assert_eq!(line.take_bodies(0).len(), 2);
    assert_eq!(line.take_bodies(1).len(), 2);
}

#[test]
fn what_waits_for_room_is_brought_when_there_is_some() {
    let world = World::new([]);
    world.line.want_bodies(0, vec![BodyId::new(7).unwrap()]);
    world.expect(&Call::Place(7));
    world.answer(Err(full()));
    world.expect(&Call::Place(7));
    world.answer(Ok(()));
    world.hear(0);
    assert_eq!(world.line.take_bodies(0).len(), 1);
}
