//! A connection as mosquitto's library has it: packets out, events in, and each step told with `-d`.
//!
//! It is not `martlet-client`: the packets have to be those of mosquitto (one SUBSCRIBE for all filters, properties as
//! `-D` gave them, MQTT 3.1, acknowledgements at once, identifiers from 1), because scripts see what follows from them.
//!
//! Map: here the socket, the buffers and keep-alive; `packets` turns packets into events and writes them.

mod packets;

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use martlet_codec::{Decoded, QoS, Rules, Sender, Version, decode};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::dial::Stream;
use crate::screen::Screen;

pub(super) use self::packets::{Incoming, Outgoing, encoded, with_receive_maximum};

/// What happened on the connection.
#[derive(Debug)]
pub(super) enum Event {
    ConnAck {
        code: u8,
    },
    SubAck {
        id: u16,
        codes: Vec<u8>,
    },
    Message(Incoming),
    /// A message of ours has arrived: written at QoS 0, acknowledged above.
    Sent {
        id: u16,
        reason: u8,
        text: Option<String>,
    },
    /// The broker ends the connection (MQTT 5).
    Disconnected,
}

/// Why there is no connection any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Closed,
    /// The bytes are no MQTT from the start.
    Garbage,
    Protocol,
}

/// What a connection is made with.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) version: Version,
    /// The identifier to send; empty: the broker chooses.
    pub(super) client_id: Option<String>,
    pub(super) keep_alive: Duration,
    pub(super) window: usize,
    pub(super) debug: bool,
}

/// A connection.
pub(super) struct Link {
    stream: Stream,
    terms: Terms,
    /// The identifier as -d tells it.
    name: String,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    last_id: u16,
    /// Written when the output is empty.
    at_most_once: VecDeque<u16>,
    in_flight: Vec<Flight>,
    waiting: VecDeque<Flight>,
    /// QoS 2 messages that the broker has not released.
    unreleased: Vec<Incoming>,
    accepted: bool,
    /// The largest QoS that the broker takes.
    qos_max: QoS,
    alarm: Pin<Box<Sleep>>,
    last_sent: Instant,
    last_received: Instant,
    pinged: bool,
}

/// A message on its way out.
#[derive(Debug)]
struct Flight {
    id: u16,
    released: bool,
    /// The packet without DUP.
    packet: Vec<u8>,
    told: String,
}

impl Link {
    pub(super) fn new(stream: Stream, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            stream,
            name: terms
                .client_id
                .clone()
                .unwrap_or_else(|| "(null)".to_owned()),
            terms,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            last_id: 0,
            at_most_once: VecDeque::new(),
            in_flight: Vec::new(),
            waiting: VecDeque::new(),
            unreleased: Vec::new(),
            accepted: false,
            qos_max: QoS::ExactlyOnce,
            alarm: Box::pin(sleep_until(now)),
            last_sent: now,
            last_received: now,
            pinged: false,
        }
    }

    /// Whether more messages are wanted: not too many wait to be written or sent.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX && self.output.len() - self.written < OUTPUT_MAX
    }

    /// What the connection is made with.
    pub(super) const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Goes on with another socket; what is in flight is sent again when the broker accepts.
    pub(super) fn replace(&mut self, stream: Stream) {
        let now = Instant::now();
        self.stream = stream;
        self.input.clear();
        self.output.clear();
        self.written = 0;
        self.accepted = false;
        self.pinged = false;
        (self.last_sent, self.last_received) = (now, now);
    }

    /// The next event; everything that is to be written gets written meanwhile.
    pub(super) fn poll_event(
        &mut self,
        context: &mut Context<'_>,
        screen: &mut Screen,
    ) -> Poll<Result<Event, Lost>> {
        loop {
            if let Some(event) = self.decode(screen)? {
                return Poll::Ready(Ok(event));
            }
            match self.poll_write(context) {
                Poll::Ready(Ok(())) => {
                    if let Some(id) = self.at_most_once.pop_front() {
                        let sent = Event::Sent {
                            id,
                            reason: 0,
                            text: None,
                        };
                        return Poll::Ready(Ok(sent));
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost::Closed)),
                Poll::Pending => {}
            }
            let read = self.poll_read(context);
            if read.is_pending() {
                if self.keep_alive(context, screen)? {
                    continue;
                }
                return Poll::Pending;
            }
            match ready!(read) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Lost::Closed)),
                Ok(_) => self.last_received = Instant::now(),
            }
        }
    }

    /// Writes what is left and closes.
    pub(super) async fn close(&mut self) {
        // The goodbye is a courtesy: a broker that is gone does not need it.
        let rest = self.output.get(self.written..).unwrap_or_default().to_vec();
        let _ = self.stream.write_all(&rest).await;
        let _ = self.stream.shutdown().await;
    }

    fn decode(&mut self, screen: &mut Screen) -> Result<Option<Event>, Lost> {
        loop {
            let rules = Rules {
                version: self.terms.version,
                sender: Sender::Server,
                max_packet_size: u32::MAX,
            };
            let input = std::mem::take(&mut self.input);
            let decoded = decode(&input, rules);
            let (event, used) = match decoded {
                Ok(Decoded::Incomplete { .. }) => {
                    self.input = input;
                    return Ok(None);
                }
                Ok(Decoded::Packet { packet, length }) => (self.take(&packet, screen), length),
                Err(_) if self.accepted => return Err(Lost::Protocol),
                Err(_) => return Err(Lost::Garbage),
            };
            self.input = input;
            self.input.drain(..used);
            if let Some(event) = event? {
                return Ok(Some(event));
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .output
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let count = ready!(pin!(&mut self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.last_sent = Instant::now();
        }
        self.output.clear();
        self.written = 0;
        pin!(&mut self.stream).poll_flush(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(pin!(&mut self.stream).poll_read(context, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Asks the broker for a sign of life when it is time; whether there is something to write.
    fn keep_alive(&mut self, context: &mut Context<'_>, screen: &mut Screen) -> Result<bool, Lost> {
        if self.terms.keep_alive.is_zero() {
            return Ok(false);
        }
        let due = self.last_sent.min(self.last_received) + self.terms.keep_alive;
        self.alarm.as_mut().reset(due);
        if self.alarm.as_mut().poll(context).is_pending() {
            return Ok(false);
        }
        if self.pinged {
            return Err(Lost::Closed);
        }
        self.ping(screen);
        let now = Instant::now();
        (self.last_sent, self.last_received) = (now, now);
        Ok(true)
    }
}

/// Messages behind those that wait for an acknowledgement.
const WAITING_MAX: usize = 64;
/// Bytes that the socket has not taken.
const OUTPUT_MAX: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;
