//! A link between client and server that breaks on demand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::url::{Target, Url};

/// A TCP proxy on a free port of 127.0.0.1 that passes everything on to a server, as well or as
/// badly as the test wants. Dropping it cuts all connections.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Control {
    mode: watch::Sender<Mode>,
    connections: AtomicU64,
    open: AtomicUsize,
    corrupt_to_client: AtomicBool,
    corrupt_to_server: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    /// Connections of an earlier generation are cut.
    generation: u64,
    stalled: bool,
    refusing: bool,
    /// The most bytes that are passed on in one piece.
    piece: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Link {
    /// A link to the server at this URL (TCP only).
    pub async fn to(url: impl AsRef<str>) -> io::Result<Self> {
        let url = Url::parse(url.as_ref()).map_err(io::Error::other)?;
        let Target::Tcp { host, port } = url.target else {
            return Err(io::Error::other("a link goes to a TCP port"));
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (mode, _) = watch::channel(Mode {
            generation: 0,
            stalled: false,
            refusing: false,
            piece: usize::MAX,
        });
        let control = Arc::new(Control {
            mode,
            connections: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            corrupt_to_client: AtomicBool::new(false),
            corrupt_to_server: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(listener, (host, port), Arc::clone(&control)));
        Ok(Self {
            address,
            control,
            accepting,
        })
    }

    /// Where a client has to connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Cuts all connections at once, with a reset to both sides. New ones are accepted.
    pub fn cut(&self) {
        self.control.mode.send_modify(|mode| mode.generation += 1);
    }

    /// Passes nothing on any more, in either direction; nobody is told, not even that the other side
    /// has closed. As a cable that was pulled somewhere in the middle.
    pub fn stall(&self) {
        self.control.mode.send_modify(|mode| mode.stalled = true);
    }

    /// Passes on what has piled up since [`stall`](Self::stall), and everything after it.
    pub fn resume(&self) {
        self.control.mode.send_modify(|mode| mode.stalled = false);
    }

    /// Whether new connections are closed as soon as they come.
    pub fn refuse(&self, refuse: bool) {
        self.control.mode.send_modify(|mode| mode.refusing = refuse);
    }

    /// Passes bytes on in pieces of this size at most, each in a write of its own; 0: as they come.
    pub fn split(&self, piece: usize) {
        let piece = if piece == 0 { usize::MAX } else { piece };
        self.control.mode.send_modify(|mode| mode.piece = piece);
    }

    /// Turns over the bits of the next byte that goes to the client.
    pub fn corrupt_to_client(&self) {
        self.control.corrupt_to_client.store(true, Ordering::SeqCst);
    }

    /// Turns over the bits of the next byte that goes to the server.
    pub fn corrupt_to_server(&self) {
        self.control.corrupt_to_server.store(true, Ordering::SeqCst);
    }

    /// How many connections there were, refused ones not counted.
    #[must_use]
    pub fn connection_count(&self) -> u64 {
        self.control.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, server: (String, u16), control: Arc<Control>) {
    while let Ok((client, _)) = listener.accept().await {
        if control.mode.borrow().refusing {
            reset(&client);
            continue;
        }
        control.connections.fetch_add(1, Ordering::SeqCst);
        let (server, control) = (server.clone(), Arc::clone(&control));
        tokio::spawn(async move {
            let mut mode = control.mode.subscribe();
            let Ok(server) = TcpStream::connect((server.0.as_str(), server.1)).await else {
                reset(&client);
                return;
            };
            for stream in [&client, &server] {
                // A link that is slow is slow on purpose.
                drop(stream.set_nodelay(true));
            }
            let generation = mode.borrow_and_update().generation;
            control.open.fetch_add(1, Ordering::SeqCst);
            join(client, server, &control, generation).await;
            control.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn join(client: TcpStream, server: TcpStream, control: &Control, generation: u64) {
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let pass = |from, to, direction| {
        let wire = Wire {
            from,
            to,
            direction,
            generation,
        };
        wire.run(control)
    };
    let up = pass(client_read, server_write, Direction::ToServer);
    let down = pass(server_read, client_write, Direction::ToClient);
    tokio::pin!(up, down);
    // A side that has said all it has to say may still listen; a cut ends both.
    let (first, up_is_first) = tokio::select! {
        ended = &mut up => (ended, true),
        ended = &mut down => (ended, false),
    };
    let second = if up_is_first { down.await } else { up.await };
    for ended in [first, second] {
        if ended.cut {
            reset(ended.from.as_ref());
            reset(ended.to.as_ref());
        }
    }
}

/// One direction of a connection.
struct Wire {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    direction: Direction,
    generation: u64,
}

struct Ended {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    cut: bool,
}

impl Wire {
    async fn run(mut self, control: &Control) -> Ended {
        let mut mode = control.mode.subscribe();
        let mut buffer = vec![0; 64 * 1_024];
        let cut = loop {
            let read = tokio::select! {
                biased;
                () = changed_to_cut(&mut mode, self.generation) => break true,
                read = self.from.read(&mut buffer) => read,
            };
            let bytes = match read {
                // That a side has gone is news too, and none passes a link that is stalled.
                Ok(0) | Err(_) => tokio::select! {
                    biased;
                    () = changed_to_cut(&mut mode, self.generation) => break true,
                    () = wait_while_stalled(&control.mode) => break false,
                },
                Ok(count) => buffer.get_mut(..count).unwrap_or_default(),
            };
            self.corrupt(bytes, control);
            let piece = mode.borrow().piece;
            let mut failed = false;
            let passing = async {
                for part in bytes.chunks(piece) {
                    // It may be stalled between any two pieces.
                    wait_while_stalled(&control.mode).await;
                    if self.to.write_all(part).await.is_err() {
                        failed = true;
                        break;
                    }
                }
            };
            tokio::select! {
                biased;
                () = changed_to_cut(&mut mode, self.generation) => break true,
                () = passing => {}
            }
            if failed {
                break false;
            }
        };
        if !cut {
            drop(self.to.shutdown().await);
        }
        Ended {
            from: self.from,
            to: self.to,
            cut,
        }
    }

    fn corrupt(&self, bytes: &mut [u8], control: &Control) {
        let wanted = match self.direction {
            Direction::ToServer => &control.corrupt_to_server,
            Direction::ToClient => &control.corrupt_to_client,
        };
        if wanted.swap(false, Ordering::SeqCst)
            && let Some(first) = bytes.first_mut()
        {
            *first = !*first;
        }
    }
}

async fn changed_to_cut(mode: &mut watch::Receiver<Mode>, generation: u64) {
    // The sender lives as long as the connection.
    drop(mode.wait_for(|mode| mode.generation != generation).await);
}

async fn wait_while_stalled(mode: &watch::Sender<Mode>) {
    let mut mode = mode.subscribe();
    drop(mode.wait_for(|mode| !mode.stalled).await);
}

/// Closing it will send a reset.
fn reset(stream: &TcpStream) {
    drop(stream.set_zero_linger());
}
