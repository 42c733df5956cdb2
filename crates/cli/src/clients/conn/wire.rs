//! Packets over a bare socket, one at a time, with patience.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all packets only the one waited for matters"
)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use martlet_codec::{
    Connect, Decoded, Disconnect, EncodeError, Packet, Properties, ReasonCode, Rules, Sender,
    Version, decode,
};

use super::{Greeting, PATIENCE};

/// A connection.
pub(super) struct Wire {
    stream: Box<dyn Duplex>,
    input: Vec<u8>,
}

/// A socket with a read time-out.
trait Duplex: Read + Write {
    fn patience(&self, time: Duration) -> io::Result<()>;
}

impl Duplex for TcpStream {
    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

#[cfg(unix)]
impl Duplex for std::os::unix::net::UnixStream {
    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

/// What came of a CONNECT.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted(Greeting),
    Refused(ReasonCode, Option<String>),
    /// Nothing in time.
    Silence,
    /// The connection ended without an answer.
    Closed,
    /// Bytes that are no CONNACK.
    Garbage(Vec<u8>),
}

impl Wire {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        // Without it small packets only come later.
        let _ = stream.set_nodelay(true);
        Self {
            stream: Box::new(stream),
            input: Vec::new(),
        }
    }

    #[cfg(unix)]
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        Ok(Self {
            stream: Box::new(stream),
            input: Vec::new(),
        })
    }

    #[cfg(not(unix))]
    pub(super) fn unix(_path: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn connect(
        &mut self,
        connect: &Connect<'_>,
        version: Version,
    ) -> Result<Answer, EncodeError> {
        let mut bytes = Vec::new();
        Packet::Connect(*connect).encode(version, &mut bytes)?;
        if self.stream.write_all(&bytes).is_err() {
            return Ok(Answer::Closed);
        }
        let answer = self.receive(version, PATIENCE, |packet| match packet {
            Packet::ConnAck(connack) if connack.reason == ReasonCode::Success => {
                Some(Answer::Accepted(Greeting::new(connack)))
            }
            Packet::ConnAck(connack) => {
                let detail = connack.properties.reason_string().map(str::to_owned);
                Some(Answer::Refused(connack.reason, detail))
            }
            _ => None,
        });
        Ok(match answer {
            Ok(answer) => answer,
            Err(Failure::Silence) => Answer::Silence,
            Err(Failure::Closed) if self.input.is_empty() => Answer::Closed,
            Err(Failure::Closed | Failure::Garbage) => Answer::Garbage(self.input.clone()),
        })
    }

    /// Sends a packet.
    pub(super) fn send(&mut self, packet: &Packet<'_>, version: Version) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        packet
            .encode(version, &mut bytes)
            .map_err(|_| Failure::Garbage)?;
        self.stream.write_all(&bytes).map_err(|_| Failure::Closed)
    }

    /// Receives packets until one is what the caller wants.
    pub(super) fn receive<T>(
        &mut self,
        version: Version,
        patience: Duration,
        mut wanted: impl FnMut(&Packet<'_>) -> Option<T>,
    ) -> Result<T, Failure> {
        self.stream
            .patience(patience)
            .map_err(|_| Failure::Closed)?;
        let rules = Rules {
            version,
            sender: Sender::Server,
            max_packet_size: u32::MAX,
        };
        loop {
            let found = match decode(&self.input, rules) {
                Ok(Decoded::Packet { packet, length }) => Some((wanted(&packet), length)),
                Ok(Decoded::Incomplete { .. }) => None,
                Err(_) => return Err(Failure::Garbage),
            };
            match found {
                Some((result, length)) => {
                    self.input.drain(..length);
                    if let Some(result) = result {
                        return Ok(result);
                    }
                }
                None => self.read()?,
            }
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut room = [0; 4_096];
        match self.stream.read(&mut room) {
            Ok(0) => Err(Failure::Closed),
            Ok(count) => {
                self.input
                    .extend_from_slice(room.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Err(Failure::Silence)
            }
            Err(_) => Err(Failure::Closed),
        }
    }

    pub(super) fn goodbye(&mut self, version: Version) {
        let packet = Disconnect {
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        // A courtesy.
        let _ = self.send(&Packet::Disconnect(packet), version);
    }
}

/// Why nothing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Silence,
    Closed,
    Garbage,
}
