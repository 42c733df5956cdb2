//! One connection: its socket, the torn tail of what it sent, and the small task that reads it.
//!
//! ```text
//!          on_bytes hands over ──> the socket goes to another shard's mailbox, the task ends
//!         /
//!  Open ──── engine closes ──> Lingering: farewell written, write side shut, what comes is thrown away
//!         \                        │  peer closes, 64 KiB, or 1 s
//!          peer closes ──> Gone <──┘
//! ```
//! An idle connection is this struct, its task (three words) and the runtime's registration: no buffer.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use martlet_engine::{ConnId, TransportClose};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::core::{Core, Local, Mail, Permit};
use super::limits::{LINGER_BYTES, READ_BUDGET_BYTES, TAIL_IN_SCRATCH_BYTES, TICK_BYTES};
use crate::layer::{ByteLayer, Plain};

/// A connection of this shard.
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) state: Cell<State>,
    /// The last write was short: nothing is written until the socket is writable again.
    pub(super) write_blocked: Cell<bool>,
    /// The engine wants to see the tail again, though nothing new has come.
    resumed: Cell<bool>,
    /// The beginning of a packet whose rest has not come. Without memory when empty.
    tail: RefCell<Vec<u8>>,
    pub(super) layer: RefCell<Plain>,
    task: Cell<Option<Waker>>,
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
            .field("peer", &self.peer)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Conn {
    fn remember(&self, waker: &Waker) {
        let known = self.task.take().filter(|known| known.will_wake(waker));
        self.task.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Lets the task run: something about the connection has changed.
    pub(super) fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake_by_ref();
            self.task.set(Some(task));
        }
    }

    /// The engine takes bytes of this connection again.
    pub(super) fn resume(&self) {
        self.resumed.set(true);
        self.wake();
    }

    /// Ends both directions at once; the task notices and ends.
    pub(super) fn cut(&self) {
        // An error means that the peer was quicker.
        let _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
        self.wake();
    }
}

/// Opens a connection for a socket: accepted here, or handed over with bytes that were read elsewhere.
pub(super) fn open(
    local: &Rc<Local>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: Permit,
    unread: Vec<u8>,
) {
    let task = local.with(|core| {
        if !core.fx.closed.is_empty() {
            // The engine may give the new connection the index of one that it has closed in this tick, whose
            // socket still sits in the slot.
            core.flush();
        }
        let now = core.shared.now();
        let Some(id) = core.shard.on_open(now, &mut core.fx) else {
            tracing::warn!(%peer, "connection refused: the shard's connection limit is reached");
            return None;
        };
        let conn = Rc::new(Conn {
            id,
            stream,
            peer,
            state: Cell::new(State::Open),
            write_blocked: Cell::new(false),
            resumed: Cell::new(!unread.is_empty()),
            tail: RefCell::new(unread),
            layer: RefCell::new(Plain),
            task: Cell::new(None),
            permit,
        });
        if core.slots.len() <= id.index() {
            core.slots.resize_with(id.index() + 1, || None);
        }
        if let Some(slot) = core.slots.get_mut(id.index()) {
            debug_assert!(
                slot.is_none(),
                "an index is reused after its Closed effect is done"
            );
            *slot = Some(Rc::clone(&conn));
        }
        core.tasks += 1;
        core.after_event();
        Some(ConnTask {
            local: Rc::clone(local),
            conn: Some(conn),
            drained: 0,
        })
    });
    if let Some(task) = task {
        tokio::task::spawn_local(task);
    }
}

/// The task of one connection. Kept tiny: there may be a hundred thousand of it.
struct ConnTask {
    local: Rc<Local>,
    /// `None` once the task is done with it.
    conn: Option<Rc<Conn>>,
    /// Bytes thrown away while lingering.
    drained: u32,
}

/// What a turn of the task comes to.
enum Turn {
    /// The socket is empty: wait for it.
    Drained,
    /// There may be more, but others come first.
    Yield,
    /// Nothing more to do.
    Done,
    /// The client lives on this shard.
    HandOver(usize),
}

impl Future for ConnTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let Some(conn) = &this.conn else {
                return Poll::Ready(());
            };
            conn.remember(context.waker());
            let turn = match conn.state.get() {
                State::Open => {
                    if conn.write_blocked.get() && conn.stream.poll_write_ready(context).is_ready()
                    {
                        this.local.with(|core| core.on_writable(conn));
                    }
                    let may_read = this.local.with(|core| core.may_read(conn));
                    if !may_read {
                        return Poll::Pending;
                    }
                    if conn.resumed.take() {
                        this.local.with(|core| core.feed_tail(conn))
                    } else if conn.stream.poll_read_ready(context).is_pending() {
                        return Poll::Pending;
                    } else {
                        this.local.with(|core| core.read(conn))
                    }
                }
                State::Lingering => {
                    if conn.stream.poll_read_ready(context).is_pending() {
                        return Poll::Pending;
                    }
                    this.local.with(|core| core.drain(conn, &mut this.drained))
                }
                State::Gone => Turn::Done,
            };
            match turn {
                Turn::Drained => {}
                Turn::Yield => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::Done => this.conn = None,
                Turn::HandOver(to) => this.hand_over(to),
            }
        }
    }
}

impl ConnTask {
    /// Moves the socket and all bytes not consumed to the shard where the client lives.
    fn hand_over(&mut self, to: usize) {
        let Some(conn) = self.conn.take() else { return };
        self.local.with(|core| {
            core.counters.handovers += 1;
            drop(core.remove(conn.id));
        });
        // Nobody else holds it: before CONNECT is accepted nothing was written, nothing lingers.
        let Ok(conn) = Rc::try_unwrap(conn) else {
            tracing::error!("a connection to be handed over is in use; it is closed");
            return;
        };
        match conn.stream.into_std() {
            Ok(stream) => self.local.with(|core| {
                let mail = Mail::Socket {
                    stream,
                    peer: conn.peer,
                    permit: conn.permit,
                    unread: conn.tail.into_inner(),
                };
                // Fails only while the broker stops: the socket is closed then.
                if let Some(mailbox) = core.shared.mailboxes.get(to) {
                    drop(mailbox.send(mail));
                }
            }),
            Err(error) => tracing::error!(%error, "a connection could not be handed over"),
        }
    }
}

impl Drop for ConnTask {
    fn drop(&mut self) {
        self.local.with(|core| core.tasks -= 1);
    }
}

impl Core {
    fn may_read(&self, conn: &Conn) -> bool {
        !self.reads_paused && self.shard.wants_read(conn.id)
    }

    fn on_writable(&mut self, conn: &Conn) {
        conn.write_blocked.set(false);
        self.rewrite.push(conn.id);
        if !self.flush_pending {
            self.request_flush();
        }
    }

    /// Reads once and gives it to the shard, with what was left over in front of it.
    fn read(&mut self, conn: &Rc<Conn>) -> Turn {
        let tail = &mut *conn.tail.borrow_mut();
        // A short tail goes to the front of the scratch buffer; behind a long one the new bytes are appended.
        let in_scratch = tail.len() <= TAIL_IN_SCRATCH_BYTES;
        let offset = if in_scratch { tail.len() } else { 0 };
        let room = self.scratch.get_mut(offset..).unwrap_or_default();
        let room_len = room.len().min(READ_BUDGET_BYTES);
        let room = room.get_mut(..room_len).unwrap_or_default();
        self.counters.reads += 1;
        let (count, emptied) = match read_socket(&conn.stream, room) {
            Ok((0, _)) => return self.transport_closed(conn, TransportClose::Eof),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Drained,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Turn::Yield,
            Err(_) => return self.transport_closed(conn, TransportClose::Error),
        };
        let wire = room.get_mut(..count).unwrap_or_default();
        let Ok(arrived) = conn.layer.borrow_mut().ingest(wire) else {
            return self.transport_closed(conn, TransportClose::Error);
        };
        self.tick_bytes += count;
        let now = self.shared.now();
        if in_scratch {
            if let Some(front) = self.scratch.get_mut(..offset) {
                front.copy_from_slice(tail);
            }
            let all = self.scratch.get(..offset + arrived).unwrap_or_default();
            let consumed = self.shard.on_bytes(conn.id, all, now, &mut self.fx);
            tail.clear();
            tail.extend_from_slice(all.get(consumed..).unwrap_or_default());
        } else {
            let arrived = self.scratch.get(..arrived).unwrap_or_default();
            tail.extend_from_slice(arrived);
            let consumed = self.shard.on_bytes(conn.id, tail, now, &mut self.fx);
            tail.drain(..consumed.min(tail.len()));
        }
        self.keep(tail);
        self.after_bytes(conn, emptied)
    }

    /// Presents the kept bytes again: the engine has asked for it, or they came with a hand-over.
    fn feed_tail(&mut self, conn: &Rc<Conn>) -> Turn {
        let tail = &mut *conn.tail.borrow_mut();
        let now = self.shared.now();
        let consumed = self.shard.on_bytes(conn.id, tail, now, &mut self.fx);
        tail.drain(..consumed.min(tail.len()));
        self.keep(tail);
        self.after_bytes(conn, true)
    }

    /// An empty tail owns no memory: an idle connection holds no buffer.
    fn keep(&mut self, tail: &mut Vec<u8>) {
        if tail.is_empty() {
            *tail = Vec::new();
        } else {
            self.counters.tails_kept += 1;
        }
    }

    fn after_bytes(&mut self, conn: &Rc<Conn>, emptied: bool) -> Turn {
        let to_here = |handover: &martlet_engine::Handover| handover.conn == conn.id;
        if let Some(index) = self.fx.handovers.iter().position(to_here) {
            return Turn::HandOver(self.fx.handovers.swap_remove(index).to);
        }
        self.after_event();
        if self.tick_bytes >= TICK_BYTES {
            self.flush();
        }
        if emptied { Turn::Drained } else { Turn::Yield }
    }

    fn transport_closed(&mut self, conn: &Rc<Conn>, cause: TransportClose) -> Turn {
        conn.state.set(State::Gone);
        let now = self.shared.now();
        self.shard.on_close(conn.id, cause, now, &mut self.fx);
        self.after_event();
        Turn::Done
    }

    /// Throws away what a closed connection still sends.
    fn drain(&mut self, conn: &Conn, drained: &mut u32) -> Turn {
        let room_len = self.scratch.len().min(READ_BUDGET_BYTES);
        let Some(room) = self.scratch.get_mut(..room_len) else {
            return Turn::Done;
        };
        match read_socket(&conn.stream, room) {
            Ok((0, _)) => Turn::Done,
            Ok((count, emptied)) => {
                *drained = drained.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                if *drained > LINGER_BYTES {
                    Turn::Done
                } else if emptied {
                    Turn::Drained
                } else {
                    Turn::Yield
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::Drained,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Turn::Yield,
            Err(_) => Turn::Done,
        }
    }
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
