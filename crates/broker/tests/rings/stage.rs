//! Publishers that flood, and a shard that is held.
//!
//! The shard is held at a place where its thread runs code of the embedding program: the subscriber of its logs. It blocks in the
//! line about a certain client until the test lets it go. That subscriber is the process's, so each test is a program of its own.

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use martlet_broker::{Limits, RunningBroker};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::client::{Client, builder, connect_v3, packet, text};

/// A broker, and what its log tells.
pub(crate) struct Stage {
    pub(crate) broker: RunningBroker,
    /// A shard reads nothing any more.
    pub(crate) is_paused: Receiver<()>,
    /// None reads any more, for the sake of one.
    pub(crate) is_overfull: Receiver<()>,
    armed: Arc<AtomicBool>,
    is_held: Receiver<()>,
}

/// Lets the held shard go.
pub(crate) struct Release(Sender<()>);

impl Release {
    pub(crate) fn now(&self) {
        self.0.send(()).unwrap();
    }
}

impl Stage {
    /// Keep the second one behind the first: dropped before the broker if the test fails, because that waits for its shards.
    pub(crate) fn set(shards: usize) -> (Self, Release) {
        let (held, is_held) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let (paused, is_paused) = mpsc::channel();
        let (overfull, is_overfull) = mpsc::channel();
        let armed = Arc::new(AtomicBool::new(false));
        let log = Log {
            armed: Arc::clone(&armed),
            held,
            released: Mutex::new(released),
            paused,
            overfull,
        };
        tracing::subscriber::set_global_default(log).unwrap();
        // The receiver must not be what drops: its queue takes everything.
        let limits = Limits {
            session_queue_messages_max: 1_000_000,
            session_queue_bytes_max: 1 << 30,
            ..Limits::default()
        };
        let stage = Self {
            broker: builder(shards).limits(limits).start().unwrap(),
            is_paused,
            is_overfull,
            armed,
            is_held,
        };
        (stage, Release(release))
    }

    /// A client identifier that lives on this shard.
    pub(crate) fn name_on(&self, prefix: &str, shard: usize) -> String {
        let mut names = (0..).map(|number| format!("{prefix}-{number}"));
        names
            .find(|name| home(&self.broker, name) == shard)
            .unwrap()
    }

    /// A client of that shard that gets everything on `flood/#` at QoS 1.
    pub(crate) fn receiver_on(&self, shard: usize) -> Client {
        let mut receiver = Client::v3(&self.broker, &self.name_on("receiver", shard));
        receiver.send(&packet(0x82, b"\x00\x01\x00\x07flood/#\x01"));
        receiver.expect(b"\x90\x03\x00\x01\x01");
        receiver
    }

    /// Holds the shard where the client of this name lives. Returns the client, which is not answered before the release.
    pub(crate) fn hold(&self, holder_name: &str) -> Client {
        self.armed.store(true, Ordering::SeqCst);
        let mut holder = Client::open(self.broker.local_addrs()[0]);
        holder.send(&connect_v3(holder_name));
        self.is_held.recv_timeout(LONG).unwrap();
        holder
    }
}

/// A publisher that writes as much as the network takes, and never waits.
pub(crate) struct Flooder {
    client: Client,
    /// In each payload.
    mark: u8,
    topic: String,
    /// With RETAIN.
    retain: bool,
    /// Messages of which at least the beginning was handed to the network.
    pub(crate) begun: u32,
    /// What is left of the last one.
    rest: Vec<u8>,
    pub(crate) is_blocked: bool,
}

impl Flooder {
    pub(crate) fn new(client: Client, mark: u8, topic: &str, retain: bool) -> Self {
        client.0.set_nonblocking(true).unwrap();
        Self {
            client,
            mark,
            topic: topic.to_owned(),
            retain,
            begun: 0,
            rest: Vec::new(),
            is_blocked: false,
        }
    }

    /// Begins a message at QoS 1: who sent it, and its number.
    fn begin(&mut self) {
        let id = u16::try_from(self.begun % 60_000).unwrap() + 1;
        let mut payload = vec![self.mark; PAYLOAD];
        payload[1..5].copy_from_slice(&self.begun.to_be_bytes());
        let topic = text(&self.topic);
        self.rest = packet(
            0x32 | u8::from(self.retain),
            &[topic, id.to_be_bytes().to_vec(), payload].concat(),
        );
        self.begun += 1;
    }

    /// Writes until the network takes no more, but a few messages at most.
    pub(crate) fn push(&mut self) {
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
    pub(crate) fn check(&self, messages: &[(u8, u32)]) {
        let own = messages.iter().filter(|(from, _)| *from == self.mark);
        let numbers: Vec<u32> = own.map(|(_, number)| *number).collect();
        let all: Vec<u32> = (0..self.begun).collect();
        assert!(
            numbers == all,
            "flooder {}: {} arrived of {}",
            self.mark,
            numbers.len(),
            all.len()
        );
    }

    /// One message more, and all are acknowledged.
    pub(crate) fn finish(&mut self) {
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
pub(crate) fn receive(mut client: Client, count: u64) -> Vec<(u8, u32)> {
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

/// Hears of the clients that connect, and of shards that stop reading.
struct Log {
    /// The next client of that name holds its shard.
    armed: Arc<AtomicBool>,
    held: Sender<()>,
    released: Mutex<Receiver<()>>,
    paused: Sender<()>,
    overfull: Sender<()>,
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
        } else if line.0.contains("no shard reads") {
            let _ = self.overfull.send(());
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
pub(crate) const HOLDER: &str = "holder";
pub(crate) const PAYLOAD: usize = 16 << 10;
/// Far more than the bound lets in.
pub(crate) const FLOOD_MAX: u32 = 20_000;
/// Nothing here takes so long, unless it is broken.
const LONG: Duration = Duration::from_secs(60);
