//! The end of a tick: everything that its events have caused leaves together.
//!
//! It runs behind all connections that were ready when the tick began: what a hundred publishers had for one
//! subscriber becomes one write.

use std::hint::black_box;
use std::io::{self, IoSlice, Write as _};
use std::net::Shutdown;
use std::rc::Rc;
use std::thread;

use martlet_engine::{CloseCause, Closed, ConnId, Outbox, Time, TransportClose};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::conn::{Conn, State};
use super::core::Core;
use super::limits::{
    CLOSED_MAX, LINGER_MS, LINGERING_MAX, RECEIVERS_PER_PUBLISHER, TICK_BYTES, WAYS_IN_VAIN,
    WRITE_SLICES, WRITES_PER_FLUSH, WRITES_PER_TICK,
};
use crate::layer::ByteLayer;

impl Core {
    /// Carries out every effect that has collected.
    pub(super) fn flush(&mut self) {
        self.flush_pending = false;
        if self.has_nothing_to_send() && !self.waits_for_room() {
            self.tick_from = self.arrived_bytes;
            return;
        }
        self.counters.flushes += 1;
        let now = self.shared.now();
        self.put_store_batch();
        self.lanes.send(&mut self.fx.peers);
        self.pause_or_resume_reads(now);
        self.finish_handovers();
        self.log_connected();
        self.ask_authenticator();
        self.finish_closed(now);
        for id in std::mem::take(&mut self.fx.resumed) {
            if let Some(conn) = self.conn(id) {
                conn.resume();
            }
        }
        self.write_dirty(now);
        if !self.has_nothing_to_send() {
            self.request_flush();
        }
        self.give_way();
    }

    fn pause_or_resume_reads(&mut self, now: Time) {
        let pause = self.lanes.is_full();
        let bytes = self.lanes.waiting_bytes();
        self.counters.peer_bytes_max = self.counters.peer_bytes_max.max(bytes as u64);
        if self.reads_paused && !pause {
            self.shard.on_reads_resumed(now);
            tracing::debug!(shard = self.index, "reads go on");
            self.slots.iter().flatten().for_each(|conn| conn.wake());
        } else if pause && !self.reads_paused {
            self.shard.on_reads_paused();
            tracing::debug!(
                shard = self.index,
                bytes,
                "nothing is read: other shards do not keep up"
            );
            self.counters.reads_paused += 1;
        }
        self.reads_paused = pause;
    }

    /// Hand-overs are done by the connection's own task, directly after the event; none should be left.
    fn finish_handovers(&mut self) {
        for handover in std::mem::take(&mut self.fx.handovers) {
            tracing::error!("a hand-over outside a read; the connection is closed");
            drop(self.remove(handover.conn));
        }
    }

    fn log_connected(&mut self) {
        for connected in std::mem::take(&mut self.fx.connected) {
            let peer = self.conn(connected.conn).map(|conn| conn.peer());
            tracing::info!(
                peer = peer.map(tracing::field::display),
                // Chosen by the client: no line of the log, and no command to a terminal, may begin in it.
                client = %connected.client_id.escape_debug(),
                version = ?connected.version,
                session_present = connected.session_present,
                keep_alive_s = connected.keep_alive_s,
                shard = self.index,
                "client connected"
            );
        }
    }

    fn ask_authenticator(&mut self) {
        for question in std::mem::take(&mut self.fx.auth) {
            let mailbox = self.shared.mailboxes.get(self.index);
            if let (Some(line), Some(mailbox)) = (&self.shared.auth, mailbox) {
                line.ask(question, mailbox.clone());
            } else {
                tracing::error!("an authentication question, but no authenticator");
            }
        }
    }

    fn finish_closed(&mut self, now: Time) {
        let mut closed_list = std::mem::take(&mut self.fx.closed);
        for closed in closed_list.drain(..) {
            self.finish_one_closed(closed, now);
        }
        // Nothing above asks the engine, so nothing was added meanwhile. Of thousands whose time ran out at once no memory stays.
        if closed_list.capacity() <= CLOSED_MAX {
            self.fx.closed = closed_list;
        }
    }

    fn finish_one_closed(&mut self, closed: Closed, now: Time) {
        let Closed {
            conn,
            mut farewell,
            report,
        } = closed;
        let conn = self.remove(conn);
        let peer = conn
            .as_ref()
            .map(|conn| tracing::field::display(conn.peer()));
        if report.cause.is_normal() {
            tracing::info!(peer, "{report}");
        } else {
            tracing::warn!(peer, "{report}");
        }
        let Some(conn) = conn else { return };
        if farewell.is_empty() && matches!(report.cause, CloseCause::ClientDisconnected(_)) {
            // It has said that it sends nothing more, and there is nothing to tell it.
            return;
        }
        // Best effort: what the socket does not take now is lost with the connection.
        let write: Write = |stream, wire| (&*SockRef::from(stream)).write_vectored(wire);
        while farewell.writable_len() > 0
            && matches!(self.write_once(&conn, &mut farewell, write), Ok(1..))
        {}
        if conn.state.get() == State::Gone {
            return;
        }
        if SockRef::from(&conn.stream)
            .shutdown(Shutdown::Write)
            .is_err()
        {
            return;
        }
        if self.lingering.len() >= LINGERING_MAX {
            self.cut_oldest();
        }
        conn.state.set(State::Lingering);
        conn.wake();
        let due = now.plus_millis(LINGER_MS);
        self.cuts.push_back((due, conn.id));
        self.lingering.insert(conn.id, conn);
    }

    /// Ends the closed connections that have had their time.
    pub(super) fn cut_overdue(&mut self, now: Time) {
        while self.cuts.front().is_some_and(|(due, _)| *due <= now) {
            self.cut_oldest();
        }
    }

    fn cut_oldest(&mut self) {
        while let Some((_, id)) = self.cuts.pop_front() {
            // Dropping it closes the socket. Most are gone already: their peers closed at once.
            if self.lingering.remove(&id).is_some() {
                self.counters.lingering_cut += 1;
                return;
            }
        }
    }

    /// Writes what the tick has for its connections; for many of them only a part, the rest in the next ticks, in order.
    ///
    /// To write five hundred sockets takes milliseconds. What publishers send meanwhile is read between the parts and leaves
    /// with what is waiting still: larger writes, and fewer. They send only when they have their answers, so these go first.
    /// With many publishers there is nothing to be gained: those answered first would only send less at a time.
    /// Nothing waits any longer once [`TICK_BYTES`] have come since it came up, so that outboxes fill no further for it. What came
    /// up later stays: to write all of it then would make the next writes small, too.
    fn write_dirty(&mut self, now: Time) {
        let since = self.tick_from;
        self.tick_from = self.arrived_bytes;
        let waiting = self.waiting.len() + self.rewrite.len() + self.fx.dirty.len();
        let mut room = usize::MAX;
        let again = self.rewrite.drain(..).map(|id| (id, since));
        self.waiting.extend(again);
        if self.may_leave_at_once(waiting) {
            let dirty = self.fx.dirty.drain(..).map(|id| (id, since));
            self.waiting.extend(dirty);
        } else {
            let mut dirty = std::mem::take(&mut self.dirty);
            std::mem::swap(&mut dirty, &mut self.fx.dirty);
            let mut answered = 0;
            for id in dirty.drain(..) {
                if self.shard.has_published(id) {
                    answered += 1;
                    self.write_if_ready(id, now);
                } else {
                    self.waiting.push_back((id, since));
                }
            }
            self.dirty = dirty;
            room = WRITES_PER_TICK.max(answered);
        }
        let mut near = 0;
        while let Some((id, since)) = self.waiting.front().copied() {
            if room == 0 && !self.is_full_since(since) {
                break;
            }
            if near == 0 {
                near = TOUCHED_AHEAD;
                self.touch_next();
            }
            near -= 1;
            room = room.saturating_sub(1);
            self.waiting.pop_front();
            self.write_if_ready(id, now);
        }
        self.counters.writes_waiting += self.waiting.len() as u64;
    }

    /// Lets other threads of this core run before connections that wait are written: one of them may be another shard, or a client,
    /// that is about to send what then leaves with the rest. A thread that has its core to itself goes on at once, and where
    /// nobody waits to be written nothing is given away. A shard alone needs no such thing: it hears of all that is sent.
    pub(super) fn give_way(&mut self) {
        if self.waiting.is_empty() || self.lanes.shard_count() == 1 {
            return;
        }
        if self.gave_way_at != self.arrived_bytes {
            self.gave_way_at = self.arrived_bytes;
            self.gave_way_in_vain = 0;
        }
        if self.gave_way_in_vain == WAYS_IN_VAIN {
            return;
        }
        self.gave_way_in_vain += 1;
        self.counters.gave_way += 1;
        thread::yield_now();
    }

    /// Reads a word of each connection that is written next: one of thousands is in far memory, and so they are waited for
    /// together.
    fn touch_next(&self) {
        let mut seen = 0;
        for (id, _) in self.waiting.iter().take(TOUCHED_AHEAD) {
            seen ^= self.conn(*id).map_or(0, |conn| conn.id.index());
        }
        black_box(seen);
    }

    /// Whether everything is written now, in the order in which it came up.
    fn may_leave_at_once(&self, waiting: usize) -> bool {
        if waiting <= WRITES_PER_TICK {
            return true;
        }
        let dirty = self.fx.dirty.iter();
        let publishers = dirty.filter(|id| self.shard.has_published(**id)).count();
        waiting < RECEIVERS_PER_PUBLISHER * publishers
    }

    /// Whether the tick has brought in its share: what is to be written has to leave before more is read.
    pub(super) fn is_tick_full(&self) -> bool {
        let oldest = self.waiting.front();
        self.is_full_since(oldest.map_or(self.tick_from, |(_, since)| *since))
    }

    /// Whether what has come up behind so many bytes has to leave now.
    const fn is_full_since(&self, since: u64) -> bool {
        self.arrived_bytes - since >= TICK_BYTES as u64
    }

    /// A blocked socket is written when it can take something, not once a tick to find out that it cannot.
    fn write_if_ready(&mut self, id: ConnId, now: Time) {
        let ready = self.conn(id).filter(|conn| !conn.write_blocked.get());
        if let Some(conn) = ready.map(Rc::clone) {
            self.write_conn(id, &conn, now);
        }
    }

    fn write_conn(&mut self, id: ConnId, conn: &Rc<Conn>, now: Time) {
        self.counters.dirty += 1;
        let mut progress = false;
        let mut failed = false;
        // The outbox leaves the shard for the time of the writes and comes back before anything else happens.
        let Some(mut outbox) = self.shard.outbox(id).map(std::mem::take) else {
            return;
        };
        for _ in 0..WRITES_PER_FLUSH {
            if outbox.writable_len() == 0 {
                break;
            }
            let before = outbox.len();
            match self.write_once(conn, &mut outbox, write_at_once) {
                Ok(written) => progress |= written > 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.counters.short_writes += 1;
                    conn.write_blocked.set(true);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    failed = true;
                    break;
                }
            }
            debug_assert!(outbox.len() <= before);
        }
        let left = outbox.writable_len() > 0;
        if let Some(place) = self.shard.outbox(id) {
            *place = outbox;
        }
        if failed {
            self.shard
                .on_close(id, TransportClose::Error, now, &mut self.fx);
            return;
        }
        if conn.write_blocked.get() {
            // In its turn it asks to be told when the socket is writable.
            conn.wake();
        } else if left {
            self.counters.writes_put_off += 1;
            self.rewrite.push(id);
        }
        if progress {
            self.shard.on_flushed(id, now, &mut self.fx);
        }
    }

    /// One write; `WouldBlock` also when the socket was full before, `Ok` with what it took otherwise.
    fn write_once(&mut self, conn: &Conn, outbox: &mut Outbox, write: Write) -> io::Result<usize> {
        self.counters.writes += 1;
        let mut layer = conn.layer.take();
        // Nearly always everything is one piece: the list for many is not even cleared for it.
        let mut parts = [&[][..]; 2];
        let emitted = if outbox.io_slices(&mut parts) < parts.len() {
            let [one, _] = parts;
            layer.emit(&[IoSlice::new(one)], |wire| write(&conn.stream, wire))
        } else {
            let mut parts = [&[][..]; WRITE_SLICES];
            let count = outbox.io_slices(&mut parts);
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            for (slice, part) in slices.iter_mut().zip(parts.iter().take(count)) {
                *slice = IoSlice::new(part);
            }
            let slices = slices.get(..count).unwrap_or_default();
            layer.emit(slices, |wire| write(&conn.stream, wire))
        };
        conn.layer.set(layer);
        let written = emitted?;
        outbox.advance(written);
        Ok(written)
    }
}

/// How to write to a socket.
///
/// The runtime's own way does not ask the system while it believes that the socket is full, which it also does
/// before it has heard of a new socket for the first time: a socket that was handed over would never get
/// its farewell. So farewells take the direct way, whatever they are made of.
type Write = fn(&TcpStream, &[IoSlice<'_>]) -> io::Result<usize>;

/// Straight to the system, and the runtime's way only when the socket is full, so that it takes notice: what it believes stands in
/// memory of its own, far away for one of a thousand receivers. `send` for one piece: `writev` would have its list copied and
/// checked by the system first.
fn write_at_once(stream: &TcpStream, wire: &[IoSlice<'_>]) -> io::Result<usize> {
    let [one] = wire else {
        return stream.try_write_vectored(wire);
    };
    if cfg!(target_os = "linux") {
        let sent = SockRef::from(stream).send_with_flags(one, MSG_NOSIGNAL);
        if !matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            return sent;
        }
    }
    stream.try_write(one)
}

/// Few enough that they are still near when their turn comes.
const TOUCHED_AHEAD: usize = 8;
/// On Linux: an error, and not a signal, if the client has gone.
const MSG_NOSIGNAL: i32 = 0x4000;
