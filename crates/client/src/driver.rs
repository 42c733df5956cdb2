//! The one task between the machine and the network: reads, writes, wakes at deadlines.
//!
//! Nothing that the application does or leaves undone stops it: it awaits the transport and the
//! clock, never a channel that somebody has to empty.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::error::{Error, ErrorKind};
use crate::shared::{Action, Shared};
use crate::transport::{ByteStream, Opening, Transport};

/// Runs a client: a future that ends when the client is closed.
///
/// [`Builder::connect`](crate::Builder::connect) and [`Builder::start`](crate::Builder::start) spawn
/// it; with [`Builder::build`](crate::Builder::build) it is yours to run, on a tokio runtime with
/// time and I/O enabled. Dropped early, it closes the socket without a word, and the client's
/// operations fail with `Closed`.
pub struct Driver {
    shared: Arc<Shared>,
    transport: Box<dyn Transport>,
    link: Link,
    /// The connection before, which still has something to say.
    dying: Option<Dying>,
    /// The machine has asked for a connection while the one before is dying.
    open_wanted: bool,
    input: Input,
    output: Output,
    sleep: Option<Pin<Box<Sleep>>>,
}

enum Link {
    None,
    Opening(Opening),
    Open(Box<dyn ByteStream>),
}

/// A connection that has been given up: its last bytes go out if they can.
struct Dying {
    stream: Box<dyn ByteStream>,
    output: Output,
    until: Pin<Box<Sleep>>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, transport: Box<dyn Transport>) -> Self {
        Self {
            shared,
            transport,
            link: Link::None,
            dying: None,
            open_wanted: false,
            input: Input::default(),
            output: Output::default(),
            sleep: None,
        }
    }

    /// Looks at the machine: due timers, actions, output. True: it is closed.
    fn consult(&mut self, waker: &Waker) -> bool {
        self.shared.drive(|core, now| {
            core.register_driver(waker);
            if core.machine.next_deadline().is_some_and(|due| due <= now) {
                core.machine.on_timer(now);
            }
        });
        // What the machine had to say has become actions.
        let output = &mut self.output;
        let (actions, closed) = self.shared.drive(|core, _| {
            if output.is_empty() {
                core.machine.take_output(output.reset());
            }
            let actions = std::mem::take(&mut core.actions);
            (actions, core.machine.is_closed())
        });
        for action in actions {
            match action {
                Action::Open => self.open_wanted = true,
                Action::Close(farewell) => self.give_up(&farewell),
            }
        }
        if self.open_wanted && self.dying.is_none() {
            self.open_wanted = false;
            self.input = Input::default();
            self.output.reset();
            self.link = Link::Opening(self.transport.open());
        }
        closed
    }

    /// The connection is to be closed behind these bytes; at once, if there are none.
    fn give_up(&mut self, farewell: &[u8]) {
        let link = std::mem::replace(&mut self.link, Link::None);
        if farewell.is_empty() {
            // Nothing more is to arrive there, not even what has been written.
            self.output.reset();
            return;
        }
        let mut output = std::mem::take(&mut self.output);
        output.bytes.extend_from_slice(farewell);
        if let Link::Open(stream) = link {
            let until = Box::pin(tokio::time::sleep(FAREWELL_MAX));
            self.dying = Some(Dying {
                stream,
                output,
                until,
            });
        }
    }

    /// Polls the attempt to connect. True: there is news for the machine.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> bool {
        let Link::Opening(opening) = &mut self.link else {
            return false;
        };
        match opening.as_mut().poll(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(stream)) => {
                self.link = Link::Open(stream);
                self.shared.drive(|core, now| core.machine.on_opened(now));
                true
            }
            Poll::Ready(Err(error)) => {
                self.link = Link::None;
                self.shared
                    .drive(|core, now| core.machine.on_failed(now, error));
                true
            }
        }
    }

    /// Writes what there is. True: the machine has to be looked at again.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let Link::Open(stream) = &mut self.link else {
            return false;
        };
        match self.output.poll(stream, cx) {
            Ok(0) => false,
            Ok(count) => {
                self.shared
                    .drive(|core, now| core.machine.on_written(now, count));
                true
            }
            Err(cause) => {
                self.lose(cause.into());
                true
            }
        }
    }

    /// Reads what there is. True: the machine has to be looked at again.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let Link::Open(stream) = &mut self.link else {
            return false;
        };
        match self.input.poll(stream, cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                let detail = "the server closed the connection";
                self.lose(Error::with_detail(ErrorKind::Io, detail));
                true
            }
            Poll::Ready(Ok(_)) => {
                let input = &mut self.input;
                self.shared.drive(|core, now| {
                    let taken = core.machine.on_bytes(now, input.unread());
                    input.consume(taken, core.machine.needed());
                });
                true
            }
            Poll::Ready(Err(cause)) => {
                self.lose(cause.into());
                true
            }
        }
    }

    fn lose(&mut self, error: Error) {
        self.link = Link::None;
        self.output.reset();
        self.shared
            .drive(|core, now| core.machine.on_lost(now, error));
    }

    /// Lets the connection before say its last words. True: it is gone.
    fn poll_dying(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(dying) = &mut self.dying else {
            return false;
        };
        let written = dying.output.poll(&mut dying.stream, cx);
        let over = match written {
            Err(_) => true,
            Ok(_) if dying.output.is_empty() => {
                Pin::new(&mut dying.stream).poll_shutdown(cx).is_ready()
            }
            Ok(_) => false,
        };
        if over || dying.until.as_mut().poll(cx).is_ready() {
            self.dying = None;
            return true;
        }
        false
    }

    /// Sets the alarm to the machine's next deadline. True: it has come already.
    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.shared.drive(|core, _| {
            core.armed = core.machine.next_deadline();
            core.armed
        });
        let Some(deadline) = deadline else {
            self.sleep = None;
            return false;
        };
        let deadline: Instant = self.shared.instant_of(deadline);
        match &mut self.sleep {
            Some(sleep) if sleep.deadline() == deadline => {}
            Some(sleep) => sleep.as_mut().reset(deadline),
            none => *none = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
        let sleep = self.sleep.as_mut();
        sleep.is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..TURNS_MAX {
            let closed = this.consult(cx.waker());
            let mut busy = this.poll_open(cx);
            busy |= this.poll_write(cx);
            busy |= this.poll_read(cx);
            busy |= this.poll_dying(cx);
            if closed && this.dying.is_none() {
                this.link = Link::None;
                this.shared.end();
                return Poll::Ready(());
            }
            if !busy && !this.poll_sleep(cx) {
                return Poll::Pending;
            }
        }
        // Others want to run, too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.drive(|core, _| core.machine.close_now());
        if let Link::Open(stream) = &mut self.link {
            // What has been written may still arrive.
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
        self.shared.end();
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// Bytes on their way to the transport.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// The empty buffer, to be filled.
    fn reset(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        if self.bytes.capacity() > BUFFER_MAX {
            self.bytes = Vec::new();
        }
        self.written = 0;
        &mut self.bytes
    }

    /// Writes as much as the transport takes now; how much it was.
    fn poll(
        &mut self,
        stream: &mut Box<dyn ByteStream>,
        cx: &mut Context<'_>,
    ) -> io::Result<usize> {
        let before = self.written;
        while let Some(rest) = self
            .bytes
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.unflushed && Pin::new(stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(self.written - before)
    }
}

/// Bytes that have arrived: what the machine has not taken stands in front.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn poll(
        &mut self,
        stream: &mut Box<dyn ByteStream>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() {
            self.bytes.resize(BUFFER_MIN, 0);
        }
        let free = self.bytes.get_mut(self.end..).unwrap_or_default();
        let mut buffer = ReadBuf::new(free);
        match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                self.end += count;
                Poll::Ready(Ok(count))
            }
        }
    }

    /// The machine has taken this many bytes and needs so many for the next packet.
    fn consume(&mut self, taken: usize, needed: usize) {
        let was_full = self.end == self.bytes.len();
        self.start += taken;
        let rest = self.end.saturating_sub(self.start);
        if rest == 0 {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > BUFFER_MAX {
                // A large packet is over.
                self.bytes = Vec::new();
                return;
            }
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, rest);
        }
        // Only as far as the bytes really come: a length field alone reserves no memory.
        let length = self.bytes.len();
        if was_full && (needed > length || length < BUFFER_MAX) {
            let wanted = (2 * length).min(needed.max(BUFFER_MAX));
            self.bytes.resize(wanted.max(length + 1), 0);
        }
    }
}

/// How long a connection that is given up may take to say so.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// How often the driver goes round before it lets others run.
const TURNS_MAX: usize = 16;
const BUFFER_MIN: usize = 4 * 1_024;
const BUFFER_MAX: usize = 64 * 1_024;
