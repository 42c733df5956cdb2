//! One connection: its socket, the torn tail of what it sent, and its turns.
//!
//! ```text
//!          on_bytes hands over ──> the socket goes to another shard's mailbox
//!         /
//!  Open ──── engine closes ──> Lingering: farewell written, write side shut, what comes is thrown away
//!         \                        │  peer closes, 256 KiB, or 1 s
//!          peer closes ──> Gone <──┘
//! ```
//! An idle connection is this struct, its signal and the runtime's registration: no task, no buffer.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use martlet_engine::{ConnId, Handover, TransportClose};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::core::{Core, Mail, Permit};
use super::limits::{
    CLOSED_MAX, LARGE_READ_BYTES, LINGER_BYTES, READ_BUDGET_BYTES, TAIL_IN_SCRATCH_BYTES,
};
use super::tail::{Tail, is_one_long_packet, read_behind_tail};
use crate::layer::{ByteLayer, Plain};

/// A connection of this shard.
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) stream: TcpStream,
    // The two parts of a `SocketAddr`, without its padding.
    peer_ip: IpAddr,
    peer_port: u16,
    pub(super) state: Cell<State>,
    /// The last write was short: nothing is written until the socket is writable again.
    pub(super) write_blocked: Cell<bool>,
    /// The engine wants to see the tail again, though nothing new has come.
    resumed: Cell<bool>,
    /// Bytes thrown away while lingering.
    drained: Cell<u32>,
    /// The beginning of a packet whose rest has not come. Without memory when empty.
    tail: Cell<Option<Box<Tail>>>,
    pub(super) layer: Cell<Plain>,
    /// Gives the connection a turn.
    signal: Waker,
    permit: Permit,
}

/// Where a connection stands; see the diagram of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Lingering,
    Gone,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("id", &self.id)
            .field("peer", &self.peer())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Conn {
    pub(super) const fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.peer_ip, self.peer_port)
    }

    /// Gives the connection a turn: something about it has changed.
    pub(super) fn wake(&self) {
        self.signal.wake_by_ref();
    }

    /// Takes the tail out.
    fn take_tail(&self) -> Vec<u8> {
        self.tail.take().map(|tail| tail.0).unwrap_or_default()
    }

    /// The engine takes bytes of this connection again.
    pub(super) fn resume(&self) {
        self.resumed.set(true);
        self.wake();
    }
}

/// What a read has brought: how many bytes, and whether the socket is empty now.
type Read = (usize, bool);

/// What a step of a turn comes to.
enum Step {
    /// The socket is empty: look again, which also asks to be told when it no longer is.
    Drained,
    /// There may be more, but others come first.
    Yield,
    /// Somebody will wake the connection.
    Wait,
    /// Nothing more to do.
    Done,
    /// The client lives on this shard.
    HandOver(usize),
}

impl Core {
    /// Opens a connection for a socket: accepted here, or handed over with bytes that were read elsewhere.
    pub(super) fn open(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
        unread: Vec<u8>,
    ) {
        if !self.fx.closed.is_empty() {
            // The engine may give the new connection the index of one that it has closed in this tick, whose
            // socket still sits in the slot.
            self.flush();
        }
        let now = self.shared.now();
        let Some(id) = self.shard.on_open(now, &mut self.fx) else {
            tracing::warn!(%peer, "connection refused: the shard's connection limit is reached");
            return;
        };
        let conn = Rc::new(Conn {
            id,
            stream,
            peer_ip: peer.ip(),
            peer_port: peer.port(),
            state: Cell::new(State::Open),
            write_blocked: Cell::new(false),
            resumed: Cell::new(!unread.is_empty()),
            drained: Cell::new(0),
            tail: Cell::new(Tail::of(unread)),
            layer: Cell::new(Plain),
            signal: self.ready.signal(id),
            permit,
        });
        conn.wake();
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(id.index()) {
            debug_assert!(
                slot.is_none(),
                "an index is used again after its connection is done"
            );
            *slot = Some(conn);
        }
        self.after_event();
    }

    /// A connection was woken: one read at most, so that everybody gets a turn.
    pub(super) fn turn(&mut self, id: ConnId) {
        let conn = self.conn(id).or_else(|| self.lingering.get(&id));
        let Some(conn) = conn.map(Rc::clone) else {
            return;
        };
        loop {
            let step = match conn.state.get() {
                State::Open => self.step_open(&conn),
                State::Lingering => self.step_lingering(&conn),
                State::Gone => Step::Done,
            };
            match step {
                Step::Drained => {}
                Step::Yield => return conn.wake(),
                Step::Wait => return,
                Step::Done => {
                    self.lingering.remove(&id);
                    return;
                }
                Step::HandOver(to) => return self.hand_over(conn, to),
            }
        }
    }

    fn step_open(&mut self, conn: &Rc<Conn>) -> Step {
        let mut context = Context::from_waker(&conn.signal);
        if conn.write_blocked.get() && conn.stream.poll_write_ready(&mut context).is_ready() {
            conn.write_blocked.set(false);
            self.rewrite.push(conn.id);
            self.after_event();
        }
        if self.reads_paused || !self.shard.wants_read(conn.id) {
            return Step::Wait;
        }
        if conn.resumed.take() {
            return self.feed_tail(conn);
        }
        if conn.stream.poll_read_ready(&mut context).is_pending() {
            return Step::Wait;
        }
        self.read(conn)
    }

    /// Throws away what a closed connection still sends.
    fn step_lingering(&mut self, conn: &Conn) -> Step {
        let mut context = Context::from_waker(&conn.signal);
        if conn.stream.poll_read_ready(&mut context).is_pending() {
            return Step::Wait;
        }
        let room_len = self.scratch.len().min(READ_BUDGET_BYTES);
        let room = self.scratch.get_mut(..room_len).unwrap_or_default();
        match read_socket(&conn.stream, room) {
            Ok((0, _)) => Step::Done,
            Ok((count, emptied)) => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                let drained = conn.drained.get().saturating_add(count);
                conn.drained.set(drained);
                if drained > LINGER_BYTES {
                    self.counters.lingering_cut += 1;
                    Step::Done
                } else if emptied {
                    Step::Drained
                } else {
                    Step::Yield
                }
            }
            Err(error) => step_of(&error).unwrap_or(Step::Done),
        }
    }

    /// Reads once and gives it to the shard, with what was left over in front of it.
    fn read(&mut self, conn: &Rc<Conn>) -> Step {
        let mut tail = conn.take_tail();
        let step = self.read_behind(&mut tail, conn);
        conn.tail.set(Tail::of(tail));
        step
    }

    fn read_behind(&mut self, tail: &mut Vec<u8>, conn: &Rc<Conn>) -> Step {
        self.counters.reads += 1;
        let in_scratch = tail.len() <= TAIL_IN_SCRATCH_BYTES;
        let read = if in_scratch {
            self.read_to_scratch(tail.len(), conn)
        } else {
            self.read_to_tail(tail, conn)
        };
        let (arrived, emptied) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return self.transport_closed(conn, TransportClose::Eof),
            Err(error) => {
                return step_of(&error)
                    .unwrap_or_else(|| self.transport_closed(conn, TransportClose::Error));
            }
        };
        if in_scratch {
            let now = self.shared.now();
            let offset = tail.len();
            if let Some(front) = self.scratch.get_mut(..offset) {
                front.copy_from_slice(tail);
            }
            let all = self.scratch.get(..offset + arrived).unwrap_or_default();
            let consumed = self.shard.on_bytes(conn.id, all, now, &mut self.fx);
            self.spare
                .keep(tail, all.get(consumed..).unwrap_or_default());
        } else {
            self.present(tail, conn.id);
        }
        self.counters.tails_kept += u64::from(!tail.is_empty());
        self.after_bytes(conn, emptied)
    }

    /// Reads into the scratch buffer, behind room for a short tail: how many bytes of the protocol, and whether the
    /// socket is empty now. `None`: nothing comes any more.
    fn read_to_scratch(&mut self, tail_len: usize, conn: &Conn) -> io::Result<Option<Read>> {
        let room = self.scratch.get_mut(tail_len..).unwrap_or_default();
        let room_len = room.len().min(READ_BUDGET_BYTES);
        let room = room.get_mut(..room_len).unwrap_or_default();
        let (count, emptied) = read_socket(&conn.stream, room)?;
        self.arrived_bytes += count as u64;
        if count == 0 {
            return Ok(None);
        }
        self.counters.reads_cut += u64::from(!emptied);
        let arrived = peel(conn, room.get_mut(..count).unwrap_or_default())?;
        Ok(Some((arrived, emptied)))
    }

    /// As [`Core::read_to_scratch`], but straight behind a long tail.
    fn read_to_tail(&mut self, tail: &mut Vec<u8>, conn: &Conn) -> io::Result<Option<Read>> {
        let before = tail.len();
        let memory = tail.capacity();
        let room = self.spare.make_room(tail);
        self.counters.tails_grown += u64::from(memory != tail.capacity());
        self.counters.reads_in_place += 1;
        let (count, emptied) = read_behind_tail(&conn.stream, tail, room)?;
        self.arrived_bytes += count as u64;
        if count == 0 {
            return Ok(None);
        }
        self.counters.reads_cut += u64::from(count == LARGE_READ_BYTES);
        let arrived = peel(conn, tail.get_mut(before..).unwrap_or_default())?;
        tail.truncate(before + arrived);
        Ok(Some((arrived, emptied)))
    }

    /// Gives a long tail to the shard, and leaves in it what the shard does not take.
    fn present(&mut self, tail: &mut Vec<u8>, id: ConnId) {
        let now = self.shared.now();
        if !is_one_long_packet(tail) {
            let consumed = self.shard.on_bytes(id, tail, now, &mut self.fx);
            tail.drain(..consumed.min(tail.len()));
            return;
        }
        let memory = Arc::new(std::mem::take(tail));
        let consumed = self.shard.on_lent_bytes(id, &memory, now, &mut self.fx);
        if consumed < memory.len() {
            *tail = Arc::unwrap_or_clone(memory);
            tail.drain(..consumed);
            return;
        }
        self.spare.take_back(memory, now);
        let bytes = self.spare.bytes() as u64;
        self.counters.spare_bytes_max = self.counters.spare_bytes_max.max(bytes);
    }

    /// Presents the kept bytes again: the engine has asked for it, or they came with a hand-over.
    fn feed_tail(&mut self, conn: &Rc<Conn>) -> Step {
        let mut tail = conn.take_tail();
        self.present(&mut tail, conn.id);
        self.counters.tails_kept += u64::from(!tail.is_empty());
        conn.tail.set(Tail::of(tail));
        self.after_bytes(conn, true)
    }

    fn after_bytes(&mut self, conn: &Rc<Conn>, emptied: bool) -> Step {
        let of_this = |handover: &Handover| handover.conn == conn.id;
        if let Some(index) = self.fx.handovers.iter().position(of_this) {
            return Step::HandOver(self.fx.handovers.swap_remove(index).to);
        }
        self.after_event();
        self.cut_tick();
        if emptied { Step::Drained } else { Step::Yield }
    }

    /// Lets the tick's effects leave, if they have become many.
    fn cut_tick(&mut self) {
        if self.is_tick_full() || self.fx.closed.len() >= CLOSED_MAX {
            self.counters.ticks_cut += 1;
            self.flush();
        }
    }

    fn transport_closed(&mut self, conn: &Rc<Conn>, cause: TransportClose) -> Step {
        conn.state.set(State::Gone);
        let now = self.shared.now();
        self.shard.on_close(conn.id, cause, now, &mut self.fx);
        self.after_event();
        self.cut_tick();
        Step::Done
    }

    /// Moves the socket and all bytes not consumed to the shard where the client lives.
    fn hand_over(&mut self, conn: Rc<Conn>, to: usize) {
        self.counters.handovers += 1;
        drop(self.remove(conn.id));
        // Nobody else holds it: before CONNECT is accepted nothing was written, nothing lingers.
        let Ok(conn) = Rc::try_unwrap(conn) else {
            tracing::error!("a connection to be handed over is in use; it is closed");
            return;
        };
        let peer = conn.peer();
        match conn.stream.into_std() {
            Ok(stream) => {
                let mail = Mail::Socket {
                    stream,
                    peer,
                    permit: conn.permit,
                    unread: conn
                        .tail
                        .into_inner()
                        .map(|tail| tail.0)
                        .unwrap_or_default(),
                };
                // Fails only while the broker stops: the socket is closed then.
                if let Some(mailbox) = self.shared.mailboxes.get(to) {
                    drop(mailbox.send(mail));
                }
            }
            Err(error) => tracing::error!(%peer, %error, "a connection could not be handed over"),
        }
    }
}

/// What to do about an error that is none; `None`: the connection has failed.
fn step_of(error: &io::Error) -> Option<Step> {
    if error.kind() == io::ErrorKind::WouldBlock {
        Some(Step::Drained)
    } else if error.kind() == io::ErrorKind::Interrupted {
        Some(Step::Yield)
    } else {
        None
    }
}

/// Leaves the bytes of the protocol at the front of what came from the wire, and says how many they are.
fn peel(conn: &Conn, wire: &mut [u8]) -> io::Result<usize> {
    let mut layer = conn.layer.take();
    let arrived = layer.ingest(wire);
    conn.layer.set(layer);
    arrived.map_err(io::Error::other)
}

/// One read: how many bytes, and whether the socket is empty now.
///
/// A read that does not fill the buffer has emptied the socket. Telling the runtime so ('would block') saves the
/// second read that would only find that out: one system call per wake-up, not two.
fn read_socket(stream: &TcpStream, room: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut short = None;
    let result = stream.try_io(Interest::READABLE, || {
        let count = (&*SockRef::from(stream)).read(room)?;
        if count > 0 && count < room.len() {
            short = Some(count);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    match short {
        Some(count) => Ok((count, true)),
        None => result.map(|count| (count, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::Conn;

    /// With the count of its `Rc` it fits into 128 bytes, which is a size that allocators have.
    #[test]
    fn an_idle_connection_costs_few_bytes() {
        // What other crates turn on in a library makes 8 bytes of difference.
        assert!(size_of::<Conn>() + 2 * size_of::<usize>() <= 128);
    }
}
