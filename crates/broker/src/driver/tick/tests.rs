//! Ticks done by hand: real sockets, but each tick happens when the test says so.

use std::io::{Read, Write};
use std::net::TcpStream as Client;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use martlet_engine::{AllowAll, Effects, Limits, Policy, Shard, ShardConfig, shard_of};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop::unconstrained;

use super::super::core::{Core, Permit, Shared};
use super::super::lanes::Lanes;
use super::super::limits::{
    CLOSED_MAX, READ_BUDGET_BYTES, RECEIVERS_PER_PUBLISHER, TICK_BYTES, WAYS_IN_VAIN,
    WRITES_PER_TICK,
};
use crate::interest::SharedInterest;

/// SUBSCRIBE to "t" at QoS 0.
const SUBSCRIBE_T: &[u8] = b"\x82\x06\x00\x01\x00\x01t\x00";

struct Bench {
    core: Core,
    listener: TcpListener,
}

impl Bench {
    async fn new() -> Self {
        Self::several(1).await.pop().unwrap()
    }

    /// The shards of one broker.
    async fn several(shard_count: usize) -> Vec<Self> {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            mailboxes: Vec::new(),
            auth: None,
            connections: AtomicUsize::new(0),
            connections_max: 1_000,
            store: None,
        });
        let interest = Arc::new(SharedInterest::new(1));
        let mut all = Vec::new();
        for (index, lanes) in Lanes::connect(shard_count).into_iter().enumerate() {
            let config = ShardConfig {
                index,
                shard_count,
                seed: 1,
                limits: Limits::default(),
                policy: Policy::default(),
                store: None,
            };
            let engine = Shard::new(config, interest.clone(), Box::new(AllowAll));
            let fx = Effects::new(shard_count);
            all.push(Self {
                core: Core::new(index, engine, fx, lanes, Arc::clone(&shared)),
                listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            });
        }
        all
    }

    /// Both ends of a new connection, which the shard does not know yet.
    async fn pair(&self) -> (Client, TcpStream) {
        let client = Client::connect(self.listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        (client, self.listener.accept().await.unwrap().0)
    }

    fn open(&mut self, stream: TcpStream) {
        let permit = Permit::take(&self.core.shared).unwrap();
        let peer = stream.peer_addr().unwrap();
        self.core.open(stream, peer, permit, Vec::new());
    }

    /// Waits until each of the first connections has something to be read.
    async fn ready(&self, count: usize) {
        for conn in self.core.slots.iter().flatten().take(count) {
            conn.stream.readable().await.unwrap();
        }
    }

    /// Waits until a connection has something to be read, and gives it its turn.
    async fn take_turn(&mut self, index: usize) {
        let before = self.core.counters.reads;
        while self.core.counters.reads == before {
            let conn = self.core.slots[index].as_ref().unwrap();
            conn.stream.readable().await.unwrap();
            tokio::task::yield_now().await;
            self.core.give_turns();
        }
    }

    /// A tick in which a connection is read.
    async fn tick_for(&mut self, index: usize) {
        self.take_turn(index).await;
        self.core.end_tick(false);
    }

    fn tick(&mut self) {
        self.core.give_turns();
        self.core.end_tick(false);
    }

    /// Lets the clock go on; the real one does, too.
    fn jump(&mut self, by: Duration) {
        let old = &self.core.shared;
        self.core.shared = Arc::new(Shared {
            start: old.start.checked_sub(by).unwrap(),
            mailboxes: Vec::new(),
            auth: None,
            connections: AtomicUsize::new(0),
            connections_max: old.connections_max,
            store: None,
        });
    }

    /// A connected client.
    async fn connected(&mut self, id: &str) -> Client {
        self.connected_by(&connect(id)).await
    }

    async fn connected_by(&mut self, connect: &[u8]) -> Client {
        let (mut client, stream) = self.pair().await;
        client.write_all(connect).unwrap();
        stream.readable().await.unwrap();
        self.open(stream);
        self.tick();
        // The first write may find the new socket 'not writable yet'.
        while self.core.counters.writes == 0
            || self
                .core
                .slots
                .iter()
                .flatten()
                .any(|conn| conn.write_blocked.get())
        {
            tokio::task::yield_now().await;
            self.tick();
        }
        expect(&mut client, b"\x20\x02\x00\x00");
        client
    }
}

/// Optimisation: many that leave in one tick do not leave a long list behind, whether they say so or only hang up.
#[tokio::test(flavor = "current_thread")]
async fn a_mass_of_farewells_leaves_no_memory() {
    // As the task of a shard: the runtime's budget is made for tasks of one connection.
    unconstrained(async {
        let mut bench = Bench::new().await;
        for (cut, say_so) in [(1, true), (2, false)] {
            let mut clients = Vec::new();
            for n in 0..=CLOSED_MAX {
                clients.push(bench.connected(&format!("c{n}")).await);
            }
            let count = clients.len();
            for client in clients.iter_mut().filter(|_| say_so) {
                client.write_all(b"\xE0\x00").unwrap();
            }
            if !say_so {
                clients.clear();
            }
            bench.ready(count).await;
            bench.tick();
            assert_eq!(bench.core.shard.connection_count(), 0);
            assert_eq!(bench.core.counters.ticks_cut, cut);
            assert!(bench.core.fx.closed.capacity() <= CLOSED_MAX);
        }
    })
    .await;
}

fn connect(id: &str) -> Vec<u8> {
    let length = u8::try_from(id.len()).unwrap();
    let mut packet = vec![0x10, 12 + length];
    packet.extend_from_slice(b"\x00\x04MQTT\x04\x02\x00\x00\x00");
    packet.push(length);
    packet.extend_from_slice(id.as_bytes());
    packet
}

#[track_caller]
fn expect(client: &mut Client, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

/// Many publishers that are ready at the same time must not overflow one quick reader's outbox in one tick.
#[tokio::test(flavor = "current_thread")]
async fn a_tick_that_brings_in_much_sends_before_it_ends() {
    const PUBLISHERS: usize = 16;
    let mut bench = Bench::new().await;
    let mut publishers = Vec::new();
    for number in 0..PUBLISHERS {
        publishers.push(bench.connected(&format!("p{number}")).await);
    }
    let mut subscriber = bench.connected("s").await;
    subscriber.write_all(SUBSCRIBE_T).unwrap();
    while bench.core.fx.dirty.is_empty() {
        tokio::task::yield_now().await;
        bench.core.give_turns();
    }
    bench.core.end_tick(false);
    let burst = b"\x30\x0d\x00\x01t0123456789".repeat(READ_BUDGET_BYTES / 15 + 1);
    for publisher in &mut publishers {
        publisher.write_all(&burst).unwrap();
    }
    bench.ready(PUBLISHERS).await;
    let before = bench.core.counters.flushes;
    bench.core.give_turns();
    let flushes = bench.core.counters.flushes - before;
    let least = (PUBLISHERS * READ_BUDGET_BYTES / TICK_BYTES) as u64 - 1;
    assert!(flushes >= least, "{flushes} of {least}");
}

/// Optimisation: what another shard has sent when a tick comes leaves with what the tick's own connections have brought.
#[tokio::test(flavor = "current_thread")]
async fn what_comes_from_everywhere_leaves_in_one_write() {
    unconstrained(Box::pin(async {
        let [mut here, mut there] = two_shards().await;
        let mut subscriber = subscriber_here(&mut here, &mut there).await;
        let mut first = here.connected(&id_on(0, "p")).await;
        let mut second = there.connected(&id_on(1, "p")).await;
        second.write_all(b"\x30\x04\x00\x01tb").unwrap();
        there.ready(1).await;
        there.tick();
        first.write_all(b"\x30\x04\x00\x01ta").unwrap();
        let publisher = here.core.slots[1].clone().unwrap();
        publisher.stream.readable().await.unwrap();
        let before = here.core.counters;
        here.tick();
        assert_eq!(here.core.counters.batches_joined, before.batches_joined + 1);
        assert_eq!(here.core.counters.writes, before.writes + 1);
        expect(&mut subscriber, b"\x30\x04\x00\x01ta\x30\x04\x00\x01tb");
        assert!(!here.core.receive_batches(), "nothing is left for the bell");
    }))
    .await;
}

/// What other shards have sent must not overflow one quick reader's outbox in one tick either.
#[tokio::test(flavor = "current_thread")]
async fn a_tick_takes_from_another_shard_no_more_than_its_share() {
    unconstrained(Box::pin(async {
        let [mut here, mut there] = two_shards().await;
        let _subscriber = subscriber_here(&mut here, &mut there).await;
        let mut publisher = there.connected(&id_on(1, "p")).await;
        let burst = b"\x30\x0d\x00\x01t0123456789".repeat(READ_BUDGET_BYTES / 15 + 1);
        let mut sent = 0;
        while sent < 3 * TICK_BYTES {
            publisher.write_all(&burst).unwrap();
            there.ready(1).await;
            there.tick();
            sent += burst.len();
        }
        let mut ticks = 0;
        while here.core.lanes.has_incoming() {
            assert!(here.core.receive_batches() || !here.core.lanes.has_incoming());
            assert!(
                here.core.flush_pending,
                "it asks for the end of a full tick"
            );
            here.core.end_tick(false);
            ticks += 1;
        }
        assert!(ticks >= 3, "{ticks}");
    }))
    .await;
}

async fn two_shards() -> [Bench; 2] {
    let mut shards = Bench::several(2).await.into_iter();
    [shards.next().unwrap(), shards.next().unwrap()]
}

/// A subscriber of "t".
async fn subscriber_here(here: &mut Bench, there: &mut Bench) -> Client {
    let mut subscriber = here.connected(&id_on(0, "s")).await;
    subscriber.write_all(SUBSCRIBE_T).unwrap();
    here.ready(1).await;
    // The question for retained messages, its answer, SUBACK.
    for _ in 0..2 {
        here.tick();
        there.tick();
    }
    expect(&mut subscriber, b"\x90\x03\x00\x01\x00");
    subscriber
}

fn id_on(shard: usize, name: &str) -> String {
    let mut ids = (0..).map(|n| format!("{name}{n}"));
    ids.find(|id| shard_of(id, 2) == shard).unwrap()
}

/// Subscribers of "t", three ticks' worth of writes, and a publisher.
async fn many_subscribers(bench: &mut Bench) -> (Vec<Client>, Client) {
    let mut subscribers = Vec::new();
    for number in 0..3 * WRITES_PER_TICK {
        let mut client = bench.connected(&format!("s{number}")).await;
        client.write_all(SUBSCRIBE_T).unwrap();
        bench.tick_for(number).await;
        expect(&mut client, b"\x90\x03\x00\x01\x00");
        subscribers.push(client);
    }
    let publisher = bench.connected("p").await;
    (subscribers, publisher)
}

/// Optimisation: what comes while many sockets are written goes along with what they have not got yet, because
/// publishers have their answers before; and everybody gets everything in order.
#[tokio::test(flavor = "current_thread")]
async fn of_many_writes_a_tick_does_a_part_and_answers_come_first() {
    const PART: u64 = WRITES_PER_TICK as u64;
    unconstrained(async {
        let mut bench = Bench::new().await;
        let (mut subscribers, mut publisher) = many_subscribers(&mut bench).await;
        let before = bench.core.counters;
        let done = |bench: &Bench| {
            let now = bench.core.counters;
            let waiting = now.writes_waiting - before.writes_waiting;
            (now.writes - before.writes, waiting)
        };
        publisher.write_all(b"\x32\x06\x00\x01t\x00\x021").unwrap();
        bench.tick_for(subscribers.len()).await;
        assert_eq!(done(&bench), (1 + PART, 2 * PART));
        expect(&mut publisher, b"\x40\x02\x00\x02");

        publisher.write_all(b"\x32\x06\x00\x01t\x00\x032").unwrap();
        bench.tick_for(subscribers.len()).await;
        expect(&mut publisher, b"\x40\x02\x00\x03");
        while !bench.core.has_nothing_to_send() {
            bench.tick();
        }
        // Two thirds got both messages in one write.
        assert_eq!(done(&bench).0, 2 + 4 * PART);
        for subscriber in &mut subscribers {
            expect(subscriber, b"\x30\x04\x00\x01t1\x30\x04\x00\x01t2");
        }
    })
    .await;
}

/// Optimisation: while many wait to be written, others on this core may bring what goes along. The core is not given away for ever to
/// those who bring nothing, not where nobody waits, and not by a shard without others.
#[tokio::test(flavor = "current_thread")]
async fn between_parts_of_the_writing_others_may_run_but_not_in_vain_for_ever() {
    unconstrained(async {
        let mut bench = Bench::new().await;
        let (subscribers, mut publisher) = many_subscribers(&mut bench).await;
        let waits = (subscribers.len() / WRITES_PER_TICK - 1) as u64;
        let mut expected = 0;
        for has_neighbour in [false, true, true] {
            if has_neighbour {
                bench.core.lanes = Lanes::connect(2).pop().unwrap();
                expected += waits;
            }
            publisher.write_all(b"\x30\x04\x00\x01t1").unwrap();
            bench.tick_for(subscribers.len()).await;
            while !bench.core.has_nothing_to_send() {
                bench.tick();
            }
            assert_eq!(bench.core.counters.gave_way, expected);
        }
        let receiver = bench.core.slots[0].as_ref().unwrap().id;
        bench.core.waiting.push_back((receiver, 0));
        for _ in 0..2 * WAYS_IN_VAIN {
            bench.core.give_way();
        }
        expected += u64::from(WAYS_IN_VAIN) - waits;
        assert_eq!(bench.core.counters.gave_way, expected);
    })
    .await;
}

/// Many publishers that had their answers before the others were written would only send less at a time.
#[tokio::test(flavor = "current_thread")]
async fn with_many_publishers_everything_leaves_at_once() {
    unconstrained(async {
        let mut bench = Bench::new().await;
        let (subscribers, publisher) = many_subscribers(&mut bench).await;
        let mut publishers = vec![publisher];
        while publishers.len() < subscribers.len() / (RECEIVERS_PER_PUBLISHER - 1) + 1 {
            let id = format!("p{}", publishers.len());
            publishers.push(bench.connected(&id).await);
        }
        let before = bench.core.counters;
        for (number, publisher) in publishers.iter_mut().enumerate() {
            publisher.write_all(b"\x32\x06\x00\x01t\x00\x021").unwrap();
            bench.take_turn(subscribers.len() + number).await;
        }
        bench.core.end_tick(false);
        assert_eq!(bench.core.counters.writes_waiting, before.writes_waiting);
        let written = bench.core.counters.writes - before.writes;
        assert_eq!(written, (subscribers.len() + publishers.len()) as u64);
    })
    .await;
}

/// Outboxes fill only so far while others are written: then all of them are.
#[tokio::test(flavor = "current_thread")]
async fn nothing_waits_longer_than_a_tick_may_bring_in() {
    unconstrained(async {
        let mut bench = Bench::new().await;
        let (mut subscribers, mut publisher) = many_subscribers(&mut bench).await;
        publisher.write_all(b"\x30\x04\x00\x01t1").unwrap();
        bench.tick_for(subscribers.len()).await;
        assert_eq!(bench.core.waiting.len(), 2 * WRITES_PER_TICK);
        let before = bench.core.counters;
        let burst = b"\x30\x0d\x00\x01u0123456789".repeat(1_000);
        while bench.core.counters.ticks_cut == before.ticks_cut {
            assert_eq!(bench.core.waiting.len(), 2 * WRITES_PER_TICK);
            publisher.write_all(&burst).unwrap();
            bench.take_turn(subscribers.len()).await;
        }
        assert!(bench.core.waiting.is_empty());
        let writes = bench.core.counters.writes - before.writes;
        assert_eq!(writes, 2 * WRITES_PER_TICK as u64);
        for subscriber in &mut subscribers {
            expect(subscriber, b"\x30\x04\x00\x01t1");
        }
    })
    .await;
}

/// Optimisation: when what has waited longest has to leave, what came up later stays and collects more.
#[tokio::test(flavor = "current_thread")]
async fn what_came_up_later_does_not_leave_with_what_has_to() {
    unconstrained(async {
        let mut bench = Bench::new().await;
        let (mut subscribers, mut publisher) = many_subscribers(&mut bench).await;
        let index = subscribers.len();
        let burst = b"\x30\x0d\x00\x01u0123456789".repeat(1_000);
        publisher.write_all(b"\x30\x04\x00\x01t1").unwrap();
        bench.tick_for(index).await;
        let began = bench.core.arrived_bytes;
        while bench.core.arrived_bytes - began < TICK_BYTES as u64 / 2 {
            publisher.write_all(&burst).unwrap();
            bench.take_turn(index).await;
        }
        bench.core.end_tick(false);
        assert_eq!(bench.core.waiting.len(), WRITES_PER_TICK);

        // Two thirds have got the first message; they come up again for the second one.
        publisher.write_all(b"\x30\x04\x00\x01t2").unwrap();
        let before = bench.core.counters;
        while bench.core.counters.ticks_cut == before.ticks_cut {
            publisher.write_all(&burst).unwrap();
            bench.take_turn(index).await;
        }
        let writes = bench.core.counters.writes - before.writes;
        assert_eq!(writes, WRITES_PER_TICK as u64);
        assert_eq!(bench.core.waiting.len(), 2 * WRITES_PER_TICK);
        while !bench.core.has_nothing_to_send() {
            bench.tick();
        }
        for subscriber in &mut subscribers {
            expect(subscriber, b"\x30\x04\x00\x01t1\x30\x04\x00\x01t2");
        }
    })
    .await;
}

/// The engine gives the index of a connection that it has closed to the next one, also before its end is done.
#[tokio::test(flavor = "current_thread")]
async fn a_connection_opened_in_the_tick_in_which_another_ends_does_not_take_its_place() {
    let mut bench = Bench::new().await;
    let mut ending = bench.connected("ending").await;
    ending.write_all(b"\x80\x00").unwrap();
    bench.ready(1).await;
    bench.core.give_turns();
    assert_eq!(
        bench.core.fx.closed.len(),
        1,
        "closed, but its end is not done"
    );

    let (mut beginning, stream) = bench.pair().await;
    beginning.write_all(&connect("beginning")).unwrap();
    stream.readable().await.unwrap();
    bench.open(stream);
    bench.core.end_tick(false);
    assert_eq!(
        ending.read(&mut [0; 16]).unwrap(),
        0,
        "it is closed in order"
    );
    while bench.core.counters.writes < 2 {
        bench.tick();
        tokio::task::yield_now().await;
    }
    expect(&mut beginning, b"\x20\x02\x00\x00");
}

/// A suspended machine, or one with too much to do, must not drop all its clients when it goes on.
#[tokio::test(flavor = "current_thread")]
async fn what_came_while_the_thread_stood_still_is_read_before_anybody_is_called_silent() {
    let mut bench = Bench::new().await;
    let mut packet = connect("steady");
    packet[11] = 1; // Keep Alive
    let mut client = bench.connected_by(&packet).await;
    bench.tick();
    client.write_all(b"\xC0\x00").unwrap();
    bench.jump(Duration::from_secs(10));
    // It stood still after it had looked for what there was to be read.
    bench.core.end_tick(true);
    assert_eq!(bench.core.shard.connection_count(), 1);
    assert_eq!(bench.core.counters.held_up, 1);
    bench.ready(1).await;
    bench.tick();
    expect(&mut client, b"\xD0\x00");

    // While the thread runs, silence counts.
    let mut steps = 0;
    while bench.core.shard.connection_count() == 1 {
        bench.jump(Duration::from_millis(100));
        let now = bench.core.shared.now();
        let fired = bench.core.timer_armed.is_some_and(|armed| armed <= now);
        bench.core.give_turns();
        bench.core.end_tick(fired);
        steps += 1;
        assert!(steps < 1_000, "it is never called silent");
    }
}

/// An idle shard has nothing to do, and no timer that would wake it to find that out.
#[tokio::test(flavor = "current_thread")]
async fn an_idle_tick_does_nothing() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.core.end_tick(false), None);
    let _client = bench.connected("idle").await;
    let before = bench.core.counters;
    bench.tick();
    bench.tick();
    assert_eq!(bench.core.counters, before);
}

/// Closing a socket at once would answer what the peer still sends with a reset, which may destroy the farewell.
#[tokio::test(flavor = "current_thread")]
async fn a_closed_connection_is_drained_until_its_peer_closes() {
    let mut bench = Bench::new().await;
    let mut ending = bench.connected("ending").await;
    ending.write_all(b"\x80\x00").unwrap();
    bench.ready(1).await;
    bench.tick();
    assert_eq!(
        ending.read(&mut [0; 16]).unwrap(),
        0,
        "the write side is shut"
    );
    for _ in 0..10 {
        ending.write_all(&[0; 1_000]).unwrap();
        bench.tick();
    }
    assert_eq!(bench.core.lingering.len(), 1);
    drop(ending);
    while !bench.core.lingering.is_empty() {
        tokio::task::yield_now().await;
        bench.tick();
    }
}
