//! A raw connection to the broker: bytes out, packets in.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::case::{Verdict, Version, fail};
use crate::wire::{Encode, Packet, parse};

/// A connection, from the client's side.
///
/// Packets are read strictly: whatever a server may not send ends the case. A packet that arrives
/// while the case waits for another kind is kept in `stash`, since the specification lets PUBLISH
/// and acknowledgements overtake each other; DISCONNECT and CONNACK are never kept, they fail the
/// wait.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    version: Version,
    timeout: Duration,
    buffer: Vec<u8>,
    stash: VecDeque<Packet>,
    next_id: u16,
    /// A topic of this connection alone, for [`Client::expect_silence`].
    marker: String,
}

/// What reading brought.
#[derive(Debug)]
pub(crate) enum Event {
    Packet(Packet),
    Closed,
    Timeout,
}

impl Client {
    pub(super) fn new(
        stream: TcpStream,
        version: Version,
        timeout: Duration,
        marker: String,
    ) -> Self {
        Self {
            stream,
            version,
            timeout,
            buffer: Vec::new(),
            stash: VecDeque::new(),
            next_id: 0,
            marker,
        }
    }

    /// Sets how long each later wait lasts.
    pub(crate) const fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Waits three times as long from now on, where much has to be moved before an answer.
    pub(crate) fn be_patient(&mut self) {
        self.timeout *= 3;
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A topic that no other connection uses.
    pub(crate) fn marker(&self, number: u16) -> String {
        format!("{}/{number}", self.marker)
    }

    /// A packet identifier that this connection has not used yet.
    pub(crate) const fn fresh_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends a packet or raw bytes.
    ///
    /// A broker that has already closed is no failure here: the next read tells what happened.
    pub(crate) fn send(&mut self, packet: impl Encode) -> Verdict {
        let bytes = packet.encode(self.version);
        match self.stream.write_all(&bytes) {
            Ok(()) => Ok(()),
            Err(error) if is_closed(error.kind()) => Ok(()),
            Err(error) => fail(format!("cannot send {} bytes: {error}", bytes.len())),
        }
    }

    /// Ends the TCP connection without DISCONNECT.
    pub(crate) fn sever(self) {
        // Nobody is interested in a failure to close what is dropped anyway.
        let _closed = self.stream.shutdown(Shutdown::Both);
    }

    /// Sends no more, but still reads.
    pub(crate) fn close_sending(&mut self) {
        let _closed = self.stream.shutdown(Shutdown::Write);
    }

    /// The next packet, or the close, or nothing until `deadline`. Leaves the stash alone.
    pub(crate) fn read(&mut self, deadline: Instant) -> Verdict<Event> {
        loop {
            match parse(self.version, &self.buffer) {
                Err(what) => return fail(what),
                Ok(Some((packet, size))) => {
                    self.buffer.drain(..size);
                    return Ok(Event::Packet(packet));
                }
                Ok(None) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Timeout);
            }
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return self.closed(),
                Ok(count) => self
                    .buffer
                    .extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if is_closed(error.kind()) => return self.closed(),
                Err(error) if is_timeout(error.kind()) => {}
                Err(error) => return fail(format!("cannot read: {error}")),
            }
        }
    }

    /// Whether a packet comes within `window`; it stays unread.
    pub(crate) fn has_packet_within(&mut self, window: Duration) -> Verdict<bool> {
        if !self.stash.is_empty() {
            return Ok(true);
        }
        match self.read(Instant::now() + window)? {
            Event::Packet(packet) => {
                self.stash.push_back(packet);
                Ok(true)
            }
            Event::Timeout => Ok(false),
            Event::Closed => fail("the broker closed"),
        }
    }

    /// Everything until the close, unread; for answers whose layout is open.
    pub(crate) fn read_to_close(&mut self) -> Verdict<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.buffer);
        self.stream.set_read_timeout(Some(self.timeout))?;
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if is_closed(error.kind()) => Ok(bytes),
            Err(error) if is_timeout(error.kind()) => fail("the connection stays open"),
            Err(error) => fail(format!("cannot read: {error}")),
        }
    }

    fn closed(&self) -> Verdict<Event> {
        if self.buffer.is_empty() {
            Ok(Event::Closed)
        } else {
            fail(format!(
                "the broker closed inside a packet: {:02X?}",
                self.buffer
            ))
        }
    }

    /// The packet that comes next, whatever it is: from the stash first.
    pub(crate) fn next(&mut self, wanted: &str) -> Verdict<Packet> {
        if let Some(packet) = self.stash.pop_front() {
            return Ok(packet);
        }
        let deadline = Instant::now() + self.timeout;
        self.next_before(deadline, wanted)
    }

    fn next_before(&mut self, deadline: Instant, wanted: &str) -> Verdict<Packet> {
        match self.read(deadline)? {
            Event::Packet(packet) => Ok(packet),
            Event::Closed => fail(format!("expected {wanted}, but the broker closed")),
            Event::Timeout => fail(format!("expected {wanted}, but nothing came")),
        }
    }

    /// The first packet that `is_it` likes; others are kept for later.
    pub(crate) fn take(
        &mut self,
        wanted: &str,
        is_it: impl Fn(&Packet) -> bool,
    ) -> Verdict<Packet> {
        if let Some(index) = self.stash.iter().position(&is_it)
            && let Some(packet) = self.stash.remove(index)
        {
            return Ok(packet);
        }
        let deadline = Instant::now() + self.timeout;
        loop {
            let packet = self.next_before(deadline, wanted)?;
            if is_it(&packet) {
                return Ok(packet);
            }
            if matches!(
                packet,
                Packet::Disconnect(_) | Packet::ConnAck(_) | Packet::Auth(_)
            ) {
                return fail(format!("expected {wanted}, got {}", packet.describe()));
            }
            self.stash.push_back(packet);
        }
    }

    /// Fails if a packet came that no step of the case has asked for.
    pub(crate) fn check_stash_empty(&self) -> Verdict {
        match self.stash.front() {
            None => Ok(()),
            Some(packet) => fail(format!("unexpected {}", packet.describe())),
        }
    }
}

/// Errors that mean "the other side is gone".
const fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
    )
}

const fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
