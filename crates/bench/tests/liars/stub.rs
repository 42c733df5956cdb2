//! A broker of a few lines, on threads of its own, that tells one lie.
//!
//! One thread reads each connection and hands packets to the hub; the hub knows who subscribed to what and writes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What the broker does wrong with every so-many-th message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    Honest,
    Drop(u64),
    Duplicate(u64),
    /// The message goes out behind the next one to the same subscriber.
    Swap(u64),
    Corrupt(u64),
    /// To the subscriber of another topic, too.
    Misroute(u64),
    /// After this message, nothing goes out for so long; then everything does.
    Stall(u64, Duration),
    /// Everything from this message on is swallowed, the acknowledgement too.
    Swallow(u64),
    /// Delivered, but never acknowledged.
    NoAck(u64),
    AckTwice(u64),
    /// Answered with "not authorized" and not delivered.
    Refuse(u64),
    /// The publisher's connection is cut.
    HangUp(u64),
    /// Every subscription is refused.
    NoSubscriptions,
    /// No lie: its Receive Maximum is so many for the first connection, and one less for each further one.
    ReceiveMaximum(u16),
}

enum Event {
    Opened(usize, TcpStream),
    Packet(usize, u8, Vec<u8>),
}

/// Starts the broker; it ends with the test program.
pub(crate) fn start(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    thread::spawn(move || accept(&listener, &sender));
    thread::spawn(move || Hub::new(lie).run(&receiver));
    address
}

fn accept(listener: &TcpListener, events: &Sender<Event>) {
    for (conn, stream) in listener.incoming().enumerate() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let writer = stream.try_clone().unwrap();
        let events = events.clone();
        if events.send(Event::Opened(conn, writer)).is_err() {
            return;
        }
        thread::spawn(move || read(conn, stream, &events));
    }
}

fn read(conn: usize, mut stream: TcpStream, events: &Sender<Event>) {
    while let Some((first, body)) = read_packet(&mut stream) {
        if events.send(Event::Packet(conn, first, body)).is_err() {
            return;
        }
    }
}

fn read_packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    let first = byte[0];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        stream.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7F) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((first, body))
}

struct Hub {
    lie: Lie,
    streams: BTreeMap<usize, TcpStream>,
    is_v5: bool,
    /// Topic, connection, QoS.
    subscriptions: Vec<(Vec<u8>, usize, u8)>,
    messages: u64,
    held: BTreeMap<usize, Vec<u8>>,
    waiting: Vec<(usize, Vec<u8>)>,
    stalled_until: Option<Instant>,
}

impl Hub {
    fn new(lie: Lie) -> Self {
        Self {
            lie,
            streams: BTreeMap::new(),
            is_v5: false,
            subscriptions: Vec::new(),
            messages: 0,
            held: BTreeMap::new(),
            waiting: Vec::new(),
            stalled_until: None,
        }
    }

    fn run(mut self, events: &Receiver<Event>) {
        loop {
            let wait = self.stalled_until.map_or(Duration::from_secs(60), |until| {
                until.saturating_duration_since(Instant::now())
            });
            match events.recv_timeout(wait) {
                Ok(Event::Opened(conn, stream)) => {
                    self.streams.insert(conn, stream);
                }
                Ok(Event::Packet(conn, first, body)) => self.packet(conn, first, &body),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self
                .stalled_until
                .is_some_and(|until| Instant::now() >= until)
            {
                self.stalled_until = None;
                for (conn, packet) in std::mem::take(&mut self.waiting) {
                    self.write(conn, &packet);
                }
            }
        }
    }

    fn packet(&mut self, conn: usize, first: u8, body: &[u8]) {
        match first >> 4 {
            1 => {
                self.is_v5 = body[6] == 5;
                let connack = if !self.is_v5 {
                    vec![0x20, 2, 0, 0]
                } else if let Lie::ReceiveMaximum(first) = self.lie {
                    let [high, low] = (first - u16::try_from(conn).unwrap()).to_be_bytes();
                    vec![0x20, 6, 0, 0, 3, 0x21, high, low]
                } else {
                    vec![0x20, 3, 0, 0, 0]
                };
                self.write(conn, &connack);
            }
            3 => self.publish(conn, first, body),
            // PUBREC of a subscriber and PUBREL of a publisher: the honest answers.
            5 => self.write(conn, &[0x62, 2, body[0], body[1]]),
            6 => self.write(conn, &[0x70, 2, body[0], body[1]]),
            8 => self.subscribe(conn, body),
            14 => {
                if let Some(stream) = self.streams.remove(&conn) {
                    // The tool may have closed first.
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            _ => {}
        }
    }

    fn subscribe(&mut self, conn: usize, body: &[u8]) {
        let mut rest = &body[2 + usize::from(self.is_v5)..];
        let mut codes = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let filter = &rest[2..2 + length];
            // A group is served by its first member; that is allowed.
            let topic = match filter.strip_prefix(b"$share/") {
                Some(shared) => {
                    let slash = shared.iter().position(|byte| *byte == b'/').unwrap();
                    &shared[slash + 1..]
                }
                None => filter,
            };
            let is_taken = filter != topic && self.subscriptions.iter().any(|(t, _, _)| t == topic);
            let qos = rest[2 + length] & 3;
            if self.lie == Lie::NoSubscriptions {
                codes.push(0x80);
            } else {
                codes.push(qos);
                if !is_taken {
                    self.subscriptions.push((topic.to_vec(), conn, qos));
                }
            }
            rest = &rest[3 + length..];
        }
        let properties = if self.is_v5 { &[0][..] } else { &[] };
        let mut suback = vec![
            0x90,
            u8::try_from(2 + properties.len() + codes.len()).unwrap(),
            body[0],
            body[1],
        ];
        suback.extend_from_slice(properties);
        suback.extend(codes);
        self.write(conn, &suback);
    }

    fn publish(&mut self, conn: usize, first: u8, body: &[u8]) {
        self.messages += 1;
        let number = self.messages;
        let hits = |every: u64| number.is_multiple_of(every);
        let is_swallowed = matches!(self.lie, Lie::Swallow(from) if number >= from);
        let is_refused = matches!(self.lie, Lie::Refuse(every) if hits(every));
        if matches!(self.lie, Lie::HangUp(at) if number == at) {
            let stream = self.streams.remove(&conn).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        }
        if !is_swallowed && !is_refused {
            self.deliver(first, body, number);
        }
        let qos = first >> 1 & 3;
        let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        if qos == 0 || is_swallowed || matches!(self.lie, Lie::NoAck(every) if hits(every)) {
            return;
        }
        let (high, low) = (body[2 + topic_len], body[3 + topic_len]);
        let kind = if qos == 1 { 0x40 } else { 0x50 };
        let ack: &[u8] = if is_refused {
            &[kind, 3, high, low, 0x87]
        } else {
            &[kind, 2, high, low]
        };
        let times = if matches!(self.lie, Lie::AckTwice(every) if hits(every)) {
            2
        } else {
            1
        };
        self.write(conn, &ack.repeat(times));
    }

    fn deliver(&mut self, first: u8, body: &[u8], number: u64) {
        let hits = |every: u64| number.is_multiple_of(every);
        let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = &body[2..2 + topic_len];
        let (receivers, others): (Vec<_>, Vec<_>) = self
            .subscriptions
            .clone()
            .into_iter()
            .partition(|(subscribed, _, _)| subscribed == topic);
        for (_, conn, granted) in receivers {
            let mut packet = forwarded(first, body, granted);
            match self.lie {
                Lie::Drop(every) if hits(every) => {}
                Lie::Duplicate(every) if hits(every) => self.send(conn, &packet.repeat(2)),
                Lie::Swap(every) if hits(every) => {
                    if let Some(earlier) = self.held.insert(conn, packet) {
                        self.send(conn, &earlier);
                    }
                }
                Lie::Corrupt(every) if hits(every) => {
                    *packet.last_mut().unwrap() ^= 1;
                    self.send(conn, &packet);
                }
                Lie::Misroute(every) if hits(every) => {
                    self.send(conn, &packet);
                    let other = others.first().unwrap().1;
                    self.send(other, &packet);
                }
                Lie::Stall(at, time) if number == at => {
                    self.send(conn, &packet);
                    self.stalled_until = Some(Instant::now() + time);
                }
                Lie::Honest
                | Lie::Drop(_)
                | Lie::Duplicate(_)
                | Lie::Swap(_)
                | Lie::Corrupt(_)
                | Lie::Misroute(_)
                | Lie::Stall(..)
                | Lie::Swallow(_)
                | Lie::NoAck(_)
                | Lie::AckTwice(_)
                | Lie::Refuse(_)
                | Lie::HangUp(_)
                | Lie::NoSubscriptions
                | Lie::ReceiveMaximum(_) => {
                    self.send(conn, &packet);
                    if let Some(earlier) = self.held.remove(&conn) {
                        self.send(conn, &earlier);
                    }
                }
            }
        }
    }

    fn send(&mut self, conn: usize, packet: &[u8]) {
        if self.stalled_until.is_some() {
            self.waiting.push((conn, packet.to_vec()));
        } else {
            self.write(conn, packet);
        }
    }

    fn write(&mut self, conn: usize, packet: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&conn) {
            // The tool may have left.
            let _ = stream.write_all(packet);
        }
    }
}

/// The packet for a subscriber: same body, but QoS 0 if that is what was granted. The packet identifier stays.
fn forwarded(first: u8, body: &[u8], granted: u8) -> Vec<u8> {
    let qos = (first >> 1 & 3).min(granted);
    let mut body = body.to_vec();
    if qos == 0 && first >> 1 & 3 > 0 {
        let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        body.drain(2 + topic_len..4 + topic_len);
    }
    let mut packet = vec![0x30 | qos << 1];
    let mut length = body.len();
    while length > 127 {
        packet.push(u8::try_from(length & 0x7F).unwrap() | 0x80);
        length >>= 7;
    }
    packet.push(u8::try_from(length).unwrap());
    packet.extend(body);
    packet
}
