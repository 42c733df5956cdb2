//! All connections of a life on one poll: bytes in, bytes out, ends.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// The connections.
#[derive(Debug)]
pub(crate) struct Network {
    poll: Poll,
    events: Option<Events>,
    links: Vec<Option<Link>>,
    scratch: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    /// Whose it is; `None`: nobody looks at it any more, it only ends.
    client: Option<usize>,
    out: Vec<u8>,
    writable: bool,
    /// Closed by us as soon as all is written.
    closing: bool,
}

/// What has happened on a connection.
#[derive(Debug)]
pub(crate) enum Happening {
    Bytes {
        client: usize,
        bytes: Vec<u8>,
    },
    /// The other side has ended it.
    Ended {
        client: usize,
        link: usize,
    },
}

impl Network {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Some(Events::with_capacity(256)),
            links: Vec::new(),
            scratch: vec![0; 64 << 10],
        })
    }

    /// Begins a connection.
    pub(crate) fn connect(&mut self, client: usize, address: SocketAddr) -> io::Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        let place = self.links.iter().position(Option::is_none);
        let link = place.unwrap_or(self.links.len());
        self.poll.registry().register(
            &mut stream,
            Token(link),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        if place.is_none() {
            self.links.push(None);
        }
        self.links[link] = Some(Link {
            stream,
            client: Some(client),
            out: Vec::new(),
            writable: false,
            closing: false,
        });
        Ok(link)
    }

    /// Takes what a client has written.
    pub(crate) fn send(&mut self, link: usize, wire: &mut Vec<u8>) {
        if wire.is_empty() {
            return;
        }
        if let Some(Some(link)) = self.links.get_mut(link) {
            link.out.append(wire);
            link.write();
        } else {
            wire.clear();
        }
    }

    /// Cuts a connection: what was not written or read is lost.
    pub(crate) fn cut(&mut self, link: usize) {
        if let Some(place) = self.links.get_mut(link) {
            *place = None;
        }
    }

    /// Nobody looks at the connection any more; it stays open until the broker ends it.
    pub(crate) fn orphan(&mut self, link: usize) {
        if let Some(Some(link)) = self.links.get_mut(link) {
            link.client = None;
        }
    }

    /// Ends a connection behind what was written to it.
    pub(crate) fn close(&mut self, link: usize) {
        self.orphan(link);
        if let Some(Some(link)) = self.links.get_mut(link) {
            link.closing = true;
            link.write();
        }
    }

    /// How many connections still have an owner.
    pub(crate) fn owned(&self) -> usize {
        let links = self.links.iter().flatten();
        links.filter(|link| link.client.is_some()).count()
    }

    /// Ends all connections.
    pub(crate) fn clear(&mut self) {
        self.links.clear();
    }

    /// Waits for something to happen, and tells what did.
    pub(crate) fn turn(&mut self, wait: Duration) -> io::Result<Vec<Happening>> {
        let mut happenings = Vec::new();
        let mut events = self
            .events
            .take()
            .unwrap_or_else(|| Events::with_capacity(256));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for event in &events {
            let number = event.token().0;
            let Some(Some(link)) = self.links.get_mut(number) else {
                continue;
            };
            if event.is_writable() {
                link.writable = true;
                link.write();
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(number, &mut happenings);
            }
        }
        self.events = Some(events);
        for place in &mut self.links {
            if place
                .as_ref()
                .is_some_and(|link| link.closing && link.out.is_empty())
            {
                *place = None;
            }
        }
        Ok(happenings)
    }

    fn read(&mut self, number: usize, happenings: &mut Vec<Happening>) {
        let Some(Some(link)) = self.links.get_mut(number) else {
            return;
        };
        let ended = loop {
            match link.stream.read(&mut self.scratch) {
                Ok(0) => break true,
                Ok(count) => {
                    if let Some(client) = link.client {
                        let bytes = self.scratch[..count].to_vec();
                        happenings.push(Happening::Bytes { client, bytes });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        if ended {
            if let Some(client) = link.client {
                let link = number;
                happenings.push(Happening::Ended { client, link });
            }
            self.links[number] = None;
        }
    }
}

impl Link {
    fn write(&mut self) {
        while self.writable && !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The end shows when it is read.
                Err(_) => self.writable = false,
            }
        }
    }
}
