//! A shard that does not keep up: who floods it is not read any more, and nothing is lost.
//!
//! The shard is held at a place where its thread runs code of the embedding program: the subscriber of its logs. It blocks in the
//! line about a certain client until the test lets it go. The only test of its program, because that subscriber is the process's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: helpers outside #[test] functions may fail as well"
)]

#[path = "driver/client.rs"]
#[expect(dead_code, reason = "shared with the other tests of the driver")]
mod client;

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use martlet_broker::{Limits, RunningBroker};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use client::{Client, builder, connect_v3, packet, text};

#[test]
fn who_floods_a_shard_that_does_not_keep_up_is_not_read_and_nothing_is_lost() {
    let (held, is_held) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let (paused, is_paused) = mpsc::channel();
    let armed = Arc::new(AtomicBool::new(false));
    let log = Log {
        armed: Arc::clone(&armed),
        held,
        released: Mutex::new(released),
        paused,
    };
    tracing::subscriber::set_global_default(log).unwrap();
    // The receiver must not be what drops: its queue takes everything.
    let limits = Limits {
        session_queue_messages_max: 1_000_000,
        session_queue_bytes_max: 1 << 30,
        ..Limits::default()
    };
    let broker = builder(2).limits(limits).start().unwrap();
    // Dropped before the broker if the test fails: that waits for its shards.
    let release = release;
    let flooding_shard = home(&broker, "flooder-0");
    let name = |prefix: &str, shard: usize| {
        let mut names = (0..).map(|number| format!("{prefix}-{number}"));
        names.find(|name| home(&broker, name) == shard).unwrap()
    };
    let mut flooders = [0, 1].map(|number| {
        let id = name(&format!("flooder-{number}"), flooding_shard);
        Flooder::new(Client::v3(&broker, &id), u8::try_from(number).unwrap())
    });
    let mut receiver = Client::v3(&broker, &name("receiver", 1 - flooding_shard));
    receiver.send(&packet(0x82, b"\x00\x01\x00\x07flood/#\x01"));
    receiver.expect(b"\x90\x03\x00\x01\x01");

    let holder_name = name(HOLDER, 1 - flooding_shard);
    armed.store(true, Ordering::SeqCst);
    let mut holder = Client::open(broker.local_addrs()[0]);
    holder.send(&connect_v3(&holder_name));
    is_held.recv_timeout(LONG).unwrap();

    while is_paused.try_recv().is_err() {
        assert!(flooders[0].begun < FLOOD_MAX, "all of it is read");
        flooders.iter_mut().for_each(Flooder::push);
    }
    let before = report(&broker);
    while flooders.iter().any(|flooder| !flooder.is_blocked) {
        flooders.iter_mut().for_each(Flooder::push);
    }
    let after = report(&broker);
    assert_eq!(after.driver.reads, before.driver.reads, "nothing is read");
    assert_eq!(after.driver.reads_paused, 1);
    let taken = after.engine.publishes_received;
    let begun: u64 = flooders
        .iter()
        .map(|flooder| u64::from(flooder.begun))
        .sum();
    assert!(taken < begun, "{taken} of {begun}: the others wait outside");
    // The bound, what one tick may bring in before it is looked at, and what messages weigh besides their payload.
    let most = 32 << 20 | 1 << 20;
    assert!(taken * (PAYLOAD as u64) < most, "{taken}");
    assert!(after.driver.peer_bytes_max < most + (1 << 20));

    release.send(()).unwrap();
    let receiving = thread::spawn(move || receive(receiver, begun + 2));
    for flooder in &mut flooders {
        flooder.finish();
    }
    let messages = receiving.join().unwrap();
    for flooder in &flooders {
        flooder.check(&messages);
    }
    holder.expect(b"\x20\x02\x00\x00");
}

/// A publisher that writes as much as the network takes, and never waits.
struct Flooder {
    client: Client,
    name: u8,
    /// Messages of which at least the beginning was handed to the network.
    begun: u32,
    /// What is left of the last one.
    rest: Vec<u8>,
    is_blocked: bool,
}

impl Flooder {
    fn new(client: Client, name: u8) -> Self {
        client.0.set_nonblocking(true).unwrap();
        Self {
            client,
            name,
            begun: 0,
            rest: Vec::new(),
            is_blocked: false,
        }
    }

    /// Begins a message at QoS 1: who sent it, and its number.
    fn begin(&mut self) {
        let id = u16::try_from(self.begun % 60_000).unwrap() + 1;
        let mut payload = vec![self.name; PAYLOAD];
        payload[1..5].copy_from_slice(&self.begun.to_be_bytes());
        let topic = text(&format!("flood/{}", self.name));
        self.rest = packet(0x32, &[topic, id.to_be_bytes().to_vec(), payload].concat());
        self.begun += 1;
    }

    /// Writes until the network takes no more, but a few messages at most.
    fn push(&mut self) {
        for _ in 0..10 {
            if self.rest.is_empty() {
                self.begin();
            }
            match self.client.0.write(&self.rest) {
                Ok(count) => drop(self.rest.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
        self.is_blocked = false;
    }

    /// All its messages arrived, each once and in order.
    fn check(&self, messages: &[(u8, u32)]) {
        let own = messages.iter().filter(|(from, _)| *from == self.name);
        let numbers: Vec<u32> = own.map(|(_, number)| *number).collect();
        let all: Vec<u32> = (0..self.begun).collect();
        assert!(
            numbers == all,
            "flooder {}: {} arrived of {}",
            self.name,
            numbers.len(),
            all.len()
        );
    }

    /// One message more, and all are acknowledged.
    fn finish(&mut self) {
        self.client.0.set_nonblocking(false).unwrap();
        let rest = std::mem::take(&mut self.rest);
        self.client.send(&rest);
        self.begin();
        let last = std::mem::take(&mut self.rest);
        self.client.send(&last);
        for number in 0..self.begun {
            let [high, low] = (u16::try_from(number % 60_000).unwrap() + 1).to_be_bytes();
            self.client.expect(&[0x40, 2, high, low]);
        }
    }
}

/// Takes and acknowledges so many messages; who sent each, and its number.
fn receive(mut client: Client, count: u64) -> Vec<(u8, u32)> {
    let mut received = Vec::new();
    for _ in 0..count {
        let publish = client.packet().unwrap();
        assert_eq!(publish[0], 0x32);
        // Three bytes of length, then the topic `flood/0`.
        let at = 1 + 3 + 2 + 7;
        client.send(&[0x40, 2, publish[at], publish[at + 1]]);
        let payload = &publish[at + 2..];
        assert_eq!(payload.len(), PAYLOAD);
        let number = payload[1..5].try_into().unwrap();
        received.push((payload[0], u32::from_be_bytes(number)));
    }
    received
}

/// The shard where a client of this name lives.
fn home(broker: &RunningBroker, id: &str) -> usize {
    let count = || -> Vec<u64> {
        let reports = broker.reports();
        reports
            .iter()
            .map(|shard| shard.engine.packets_received)
            .collect()
    };
    let mut client = Client::v3(broker, id);
    let before = count();
    client.ping();
    let after = count();
    let home = (0..before.len()).find(|shard| after[*shard] > before[*shard]);
    client.send(b"\xe0\x00");
    client.wait_for_end();
    home.unwrap()
}

/// That of the only shard that answers.
fn report(broker: &RunningBroker) -> martlet_broker::ShardReport {
    let reports = broker.reports();
    assert_eq!(reports.len(), 1, "the other one is held");
    reports[0]
}

/// Hears of the clients that connect, and of shards that stop reading.
struct Log {
    /// The next client of that name holds its shard.
    armed: Arc<AtomicBool>,
    held: Sender<()>,
    released: Mutex<Receiver<()>>,
    paused: Sender<()>,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("martlet_broker")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let connects = line.0.contains("client connected") && line.0.contains(HOLDER);
        if connects && self.armed.swap(false, Ordering::SeqCst) {
            self.held.send(()).unwrap();
            // An error: the test has failed already.
            let _ = self.released.lock().recv_timeout(LONG);
        } else if line.0.contains("nothing is read") {
            // Later ones, when nobody listens any more, do not count.
            let _ = self.paused.send(());
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// All fields of a line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

/// The client in whose line a shard is held.
const HOLDER: &str = "holder";
const PAYLOAD: usize = 16 << 10;
/// Far more than the bound lets in.
const FLOOD_MAX: u32 = 20_000;
/// Nothing here takes so long, unless it is broken.
const LONG: Duration = Duration::from_secs(60);
