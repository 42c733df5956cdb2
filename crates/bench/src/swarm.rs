//! All connections of a run on one thread: non-blocking sockets, one poll, one shared buffer to read into.
//!
//! ```text
//!   turn: write what is dirty ──> poll ──> for each ready socket: read, split, tell the handler ──> (caller pumps)
//! ```
//!
//! What is written during a turn leaves in one write per connection at the start of the next. A subscriber's
//! acknowledgements and PUBREL are written here; the handler hears of messages and of the end of each flow. `split` takes
//! apart what was read.

mod split;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use martlet_codec::{ConnAck, Packet, Version};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use self::split::Split;
use crate::alarm::{Alarm, poll_time};
use crate::clock::Clock;
use crate::wire::Message;

/// Hears what arrives.
pub(crate) trait Handler {
    /// CONNACK.
    fn opened(&mut self, conn: usize, connack: &ConnAck<'_>);
    /// SUBACK or UNSUBACK, with its codes.
    fn subscribed(&mut self, _conn: usize, _reasons: &[u8]) {}
    /// PUBLISH; the acknowledgement is already on its way.
    fn message(&mut self, _conn: usize, _message: &Message<'_>, _now_ns: u64) {}
    /// PUBACK, PUBCOMP, or a PUBREC that ends the flow.
    fn acked(&mut self, _conn: usize, _packet_id: u16, _accepted: bool, _now_ns: u64) {}
    /// The connection is gone.
    fn closed(&mut self, conn: usize, why: &str);
}

/// The connections.
#[derive(Debug)]
pub(crate) struct Swarm {
    poll: Poll,
    /// Taken out while they are gone through.
    events: Option<Events>,
    conns: Vec<Conn>,
    scratch: Vec<u8>,
    dirty: Vec<usize>,
    /// Sockets that may hold more than one turn reads.
    again: VecDeque<usize>,
    clock: Clock,
    version: Version,
    /// For schedules; where there is none, they are spun for.
    alarm: Option<Alarm>,
    /// Turns so far.
    turns: u64,
}

/// One connection.
#[derive(Debug, Default)]
struct Conn {
    stream: Option<TcpStream>,
    out: Vec<u8>,
    written: usize,
    is_dirty: bool,
    is_blocked: bool,
    /// The start of a packet whose end has not arrived.
    tail: Vec<u8>,
    /// Messages in `out`; they count as accepted when all of it is written.
    unwritten: u64,
    accepted: u64,
}

impl Swarm {
    pub(crate) fn new(version: Version, clock: Clock) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: None,
            conns: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            dirty: Vec::new(),
            again: VecDeque::new(),
            clock,
            version,
            alarm: None,
            turns: 0,
        })
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    /// Starts a connection; CONNECT waits in its output. Its number counts up from 0.
    pub(crate) fn open(
        &mut self,
        address: SocketAddr,
        from: Option<IpAddr>,
        connect: &[u8],
    ) -> io::Result<usize> {
        let index = self.conns.len();
        self.conns.push(Conn::default());
        self.reopen(index, address, from, connect)?;
        Ok(index)
    }

    /// Starts the connection of that number anew.
    pub(crate) fn reopen(
        &mut self,
        index: usize,
        address: SocketAddr,
        from: Option<IpAddr>,
        connect: &[u8],
    ) -> io::Result<()> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if is_in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(
            &mut stream,
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        if let Some(conn) = self.conns.get_mut(index) {
            let accepted = conn.accepted;
            *conn = Conn {
                stream: Some(stream),
                out: connect.to_vec(),
                // The first writable event says that the connection stands.
                is_blocked: true,
                accepted,
                ..Conn::default()
            };
        }
        Ok(())
    }

    /// Lets `write` append packets, among them so many PUBLISH, to what goes out with the next turn.
    #[inline]
    pub(crate) fn send(&mut self, index: usize, messages: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        if conn.stream.is_none() {
            return;
        }
        write(&mut conn.out);
        conn.unwritten += messages;
        conn.mark(index, &mut self.dirty);
    }

    /// Appends one packet.
    pub(crate) fn send_packet(&mut self, index: usize, packet: &Packet<'_>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(packet.encoded_len(self.version));
        packet
            .encode(self.version, &mut bytes)
            .map_err(|error| io::Error::other(format!("a packet that cannot be sent: {error}")))?;
        self.send(index, 0, |out| out.extend_from_slice(&bytes));
        Ok(())
    }

    /// How many connections were ever opened.
    pub(crate) const fn len(&self) -> usize {
        self.conns.len()
    }

    /// Bytes that the socket has not taken.
    #[inline]
    pub(crate) fn unsent_bytes(&self, index: usize) -> usize {
        self.conns
            .get(index)
            .map_or(0, |conn| conn.out.len() - conn.written)
    }

    /// Messages that the sockets have taken, each to its last byte.
    pub(crate) fn accepted(&self) -> u64 {
        self.conns.iter().map(|conn| conn.accepted).sum()
    }

    /// Whether the connection stands, as far as is known.
    pub(crate) fn is_open(&self, index: usize) -> bool {
        self.conns
            .get(index)
            .is_some_and(|conn| conn.stream.is_some())
    }

    /// Closes it without telling the handler.
    pub(crate) fn close(&mut self, index: usize) {
        if let Some(conn) = self.conns.get_mut(index)
            && let Some(mut stream) = conn.stream.take()
        {
            // It is dropped next; a failure changes nothing.
            let _ = self.poll.registry().deregister(&mut stream);
            conn.out = Vec::new();
            conn.tail = Vec::new();
            conn.written = 0;
        }
    }

    /// From now on [`Swarm::turn_by`] sleeps, if the system can.
    pub(crate) fn set_alarm(&mut self) -> io::Result<()> {
        if self.alarm.is_none() {
            self.alarm = Alarm::new(self.poll.registry(), ALARM)?;
        }
        Ok(())
    }

    /// A turn that ends when something has come, or on time: what is due in `wait_ns` must not leave later.
    pub(crate) fn turn_by(&mut self, handler: &mut impl Handler, wait_ns: u64) -> io::Result<()> {
        let now_ns = self.clock.now_ns();
        if let Some(alarm) = &mut self.alarm
            && wait_ns > 0
        {
            alarm.ring_in(wait_ns, now_ns)?;
            return self.turn(handler, Duration::from_nanos(wait_ns));
        }
        self.turn(handler, poll_time(wait_ns))
    }

    /// How many turns there were.
    pub(crate) const fn turns(&self) -> u64 {
        self.turns
    }

    /// Writes, waits for at most `wait`, reads.
    pub(crate) fn turn(&mut self, handler: &mut impl Handler, wait: Duration) -> io::Result<()> {
        self.turns += 1;
        self.flush(handler);
        let wait = if self.again.is_empty() {
            wait
        } else {
            Duration::ZERO
        };
        let mut events = self
            .events
            .take()
            .unwrap_or_else(|| Events::with_capacity(EVENTS_PER_TURN));
        match self.poll.poll(&mut events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for _ in 0..self.again.len() {
            if let Some(index) = self.again.pop_front() {
                self.read(index, handler);
            }
        }
        for event in &events {
            let Token(index) = event.token();
            if event.token() == ALARM {
                continue;
            }
            if event.is_writable()
                && let Some(conn) = self.conns.get_mut(index)
            {
                conn.is_blocked = false;
                conn.mark(index, &mut self.dirty);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(index, handler);
            }
        }
        self.events = Some(events);
        Ok(())
    }

    /// One write for each connection that has something to say.
    pub(crate) fn flush(&mut self, handler: &mut impl Handler) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let Some(conn) = self.conns.get_mut(index) else {
                continue;
            };
            conn.is_dirty = false;
            if let Err(error) = conn.flush() {
                self.lose(index, handler, &format!("write: {error}"));
            }
        }
        // What a handler marked meanwhile stays marked.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn lose(&mut self, index: usize, handler: &mut impl Handler, why: &str) {
        self.close(index);
        handler.closed(index, why);
    }

    fn read(&mut self, index: usize, handler: &mut impl Handler) {
        for _ in 0..READS_PER_TURN {
            match self.read_once(index, handler) {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => return self.lose(index, handler, &why),
            }
        }
        self.again.push_back(index);
    }

    /// Whether there may be more.
    fn read_once(&mut self, index: usize, handler: &mut impl Handler) -> Result<bool, String> {
        let Some(conn) = self.conns.get_mut(index) else {
            return Ok(false);
        };
        let Some(stream) = &mut conn.stream else {
            return Ok(false);
        };
        let kept = conn.tail.len();
        if self.scratch.len() < kept + SCRATCH_BYTES / 2 {
            self.scratch.resize(kept * 2 + SCRATCH_BYTES, 0);
        }
        let Some((front, space)) = self.scratch.split_at_mut_checked(kept) else {
            return Ok(false);
        };
        let read = match stream.read(space) {
            Ok(0) => return Err("closed by the broker".to_owned()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(format!("read: {error}")),
        };
        let is_full = read == space.len();
        front.copy_from_slice(&conn.tail);
        let now_ns = self.clock.now_ns();
        let input = self.scratch.get(..kept + read).unwrap_or_default();
        let mut split = Split {
            index,
            version: self.version,
            now_ns,
            acks: &mut conn.out,
        };
        let had = split.acks.len();
        let used = split.packets(input, handler)?;
        let is_dirty = conn.out.len() > had;
        conn.tail.clear();
        conn.tail
            .extend_from_slice(input.get(used..).unwrap_or_default());
        if is_dirty {
            conn.mark(index, &mut self.dirty);
        }
        Ok(is_full)
    }
}

impl Conn {
    #[inline]
    fn mark(&mut self, index: usize, dirty: &mut Vec<usize>) {
        if !self.is_dirty && !self.is_blocked {
            self.is_dirty = true;
            dirty.push(index);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_not_yet(&error) => {
                    self.is_blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        self.accepted += std::mem::take(&mut self.unwritten);
        if self.out.capacity() > OUT_KEPT_BYTES {
            self.out = Vec::new();
        }
        Ok(())
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(EINPROGRESS)
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
    )
}

/// No connection has this number.
const ALARM: Token = Token(usize::MAX - 1);
/// What a non-blocking connect answers on Linux and on macOS.
const EINPROGRESS: i32 = if cfg!(target_os = "macos") { 36 } else { 115 };
const EVENTS_PER_TURN: usize = 4_096;
/// One read takes what a socket buffer holds.
const SCRATCH_BYTES: usize = 256 << 10;
/// One connection must not keep the others waiting.
const READS_PER_TURN: usize = 8;
/// A buffer that once was larger than this goes back after use.
const OUT_KEPT_BYTES: usize = 1 << 20;
