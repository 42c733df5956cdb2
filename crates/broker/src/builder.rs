//! Starting and stopping a broker.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use martlet_engine::{
    AllowAll, Authentication, Interest, Limits, LocalInterest, Policy, SHARDS_MAX, ShardConfig,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::auth::{AuthLine, Authenticator};
use crate::config::{self, Access, Config, Listener};
use crate::driver::{Lanes, Mail, Post, ShardReport, ShardThread, Shared};
use crate::interest::SharedInterest;

/// The way in: [`Broker::builder`].
#[derive(Debug, Clone, Copy)]
pub struct Broker;

impl Broker {
    /// A broker to be configured and started. As it is, it would listen on 127.0.0.1:1883.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// What a broker is to be like. See the [crate documentation](crate) for an example.
#[derive(Default)]
pub struct Builder {
    config: Config,
    listen: Vec<String>,
    allow_anonymous: bool,
    authenticator: Option<Arc<dyn Authenticator>>,
}

impl Builder {
    /// Uses a checked configuration; what other methods say is stronger.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Listens here instead of where the configuration says; may be said several times. Port 0 lets the system
    /// choose, [`RunningBroker::local_addrs`] tells what it chose.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Lets everybody in at addresses that other machines can reach. Without it, and without an
    /// [`authenticator`](Self::authenticator), [`listen`](Self::listen) takes loopback addresses only.
    #[must_use]
    pub const fn allow_anonymous(mut self) -> Self {
        self.allow_anonymous = true;
        self
    }

    /// Runs this many shards (1 to 64), each on a thread of its own; otherwise one per core.
    #[must_use]
    pub const fn shards(mut self, count: usize) -> Self {
        self.config.shards = Some(count);
        self
    }

    /// Keeps these bounds. `connections_max` does not count: the process-wide limit does.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Keeps these rules. Who may connect is decided by [`authenticator`](Self::authenticator), though.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.config.policy = policy;
        self
    }

    /// Allows at most this many connections at a time, within 90 % of the file descriptors.
    #[must_use]
    pub const fn connections_max(mut self, count: usize) -> Self {
        self.config.connections_max = Some(count);
        self
    }

    /// Asks this authenticator about every client.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Starts the broker: when this returns, clients can connect. On an error nothing is left running.
    ///
    /// Raises the process's soft limit of open files as far as the system allows.
    pub fn start(mut self) -> Result<RunningBroker, StartError> {
        let shard_count = self.shard_count()?;
        let connections_max = connections_max(self.config.connections_max);
        let mut bound = Vec::new();
        let listeners = self.listeners()?;
        for listener in &listeners {
            bound.push(bind(listener.address, &listeners)?);
        }
        let addresses = bound
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()
            .map_err(StartError::System)?;

        let auth = self.authenticator.take().map(AuthLine::start);
        let auth = auth.transpose().map_err(StartError::System)?;
        self.config.policy.authentication = match auth {
            Some(_) => Authentication::Ask,
            None => Authentication::Anonymous,
        };
        self.config.limits.connections_max = connections_max;
        let (mailboxes, receivers): (Vec<_>, Vec<_>) =
            (0..shard_count).map(|_| unbounded_channel()).unzip();
        let shared = Arc::new(Shared {
            start: Instant::now(),
            mailboxes,
            auth,
            connections: AtomicUsize::new(0),
            connections_max,
        });
        self.start_shards(&shared, receivers, bound, addresses)
    }

    fn start_shards(
        self,
        shared: &Arc<Shared>,
        receivers: Vec<UnboundedReceiver<Mail>>,
        bound: Vec<TcpListener>,
        addresses: Vec<SocketAddr>,
    ) -> Result<RunningBroker, StartError> {
        let shard_count = receivers.len();
        // The same for all shards: they must agree on which shard is a client's home.
        let seed = random_seed();
        let interest: Arc<dyn Interest> = if shard_count == 1 {
            Arc::new(LocalInterest)
        } else {
            Arc::new(SharedInterest::new(seed))
        };
        let mut listeners: Vec<Vec<TcpListener>> = Vec::new();
        listeners.resize_with(shard_count, Vec::new);
        for (index, listener) in bound.into_iter().enumerate() {
            if let Some(of_shard) = listeners.get_mut(index % shard_count) {
                of_shard.push(listener);
            }
        }
        let mut running = RunningBroker {
            shared: Arc::clone(shared),
            threads: Vec::new(),
            addresses,
        };
        let (started, starts) = mpsc::channel();
        let ends = Lanes::connect(shard_count)
            .into_iter()
            .zip(receivers)
            .zip(listeners);
        for (index, ((lanes, mailbox), listeners)) in ends.enumerate() {
            let post = Post {
                config: ShardConfig {
                    index,
                    shard_count,
                    seed,
                    limits: self.config.limits.clone(),
                    policy: self.config.policy.clone(),
                    store: None,
                },
                interest: Arc::clone(&interest),
                acl: Box::new(AllowAll),
                lanes,
                shared: Arc::clone(shared),
                mailbox,
                listeners,
            };
            // On an error `running` is dropped, which stops the shards that run already.
            let thread = ShardThread::start(post, started.clone()).map_err(StartError::System)?;
            running.threads.push(thread);
        }
        drop(started);
        for start in starts.iter().take(shard_count) {
            start.map_err(StartError::System)?;
        }
        Ok(running)
    }

    fn shard_count(&self) -> Result<usize, StartError> {
        match self.config.shards {
            Some(count) if (1..=SHARDS_MAX).contains(&count) => Ok(count),
            Some(count) => Err(StartError::Shards(count)),
            None => {
                let cores = thread::available_parallelism().map_or(1, usize::from);
                Ok(cores.min(SHARDS_MAX))
            }
        }
    }

    fn listeners(&self) -> Result<Vec<Listener>, StartError> {
        if self.listen.is_empty() {
            return Ok(self.config.listeners.clone());
        }
        let mut listeners = Vec::new();
        for text in &self.listen {
            let address =
                config::parse_address(text).ok_or_else(|| StartError::Address(text.clone()))?;
            let access = if self.authenticator.is_some() {
                Access::Authenticated
            } else if address.ip().to_canonical().is_loopback() {
                Access::LoopbackOnly
            } else if self.allow_anonymous {
                Access::AllowedExplicitly
            } else {
                return Err(StartError::OpenToAll(address));
            };
            listeners.push(Listener { address, access });
        }
        Ok(listeners)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("listen", &self.listen)
            .field("allow_anonymous", &self.allow_anonymous)
            .field("authenticator", &self.authenticator.is_some())
            .finish()
    }
}

/// A broker at work. Dropping it stops it, as [`shutdown`](Self::shutdown) does.
#[derive(Debug)]
pub struct RunningBroker {
    shared: Arc<Shared>,
    threads: Vec<ShardThread>,
    addresses: Vec<SocketAddr>,
}

impl RunningBroker {
    /// Where it listens, in the order of the listeners.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many shards it has.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shared.mailboxes.len()
    }

    /// The most connections it takes at a time.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.shared.connections_max
    }

    /// What each shard has done so far. Asks every shard and waits for its answer: a few milliseconds, at most
    /// a second (a shard that does not answer by then is left out).
    #[must_use]
    pub fn reports(&self) -> Vec<ShardReport> {
        let mut reports = Vec::new();
        for mailbox in &self.shared.mailboxes {
            let (asker, answer) = mpsc::channel();
            if mailbox.send(Mail::Report(asker)).is_ok()
                && let Ok(report) = answer.recv_timeout(REPORT_TIMEOUT)
            {
                reports.push(report);
            }
        }
        reports
    }

    /// Stops: no new connections, DISCONNECT 'server shutting down' to MQTT 5 clients, and up to one and a half
    /// seconds for all of them to read it and close. Blocks until it is done.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        for mailbox in &self.shared.mailboxes {
            // Fails only for a shard that has ended already.
            drop(mailbox.send(Mail::Stop));
        }
        for thread in self.threads.drain(..) {
            thread.join();
        }
    }
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address that is none.
    #[error("'{0}' is no address to listen on; write an IP address and a port, as 127.0.0.1:1883")]
    Address(String),
    /// A listener for everybody, which nobody has asked for in so many words.
    #[error(
        "{0} can be reached from other machines, and there is no authentication; set an authenticator, say \
         allow_anonymous, or listen on a loopback address"
    )]
    OpenToAll(SocketAddr),
    /// An impossible number of shards.
    #[error("a broker has 1 to 64 shards, not {0}")]
    Shards(usize),
    /// The system did not let us listen there.
    #[error("cannot listen on {address}: {source}{}", remedy(.source))]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A thread, a runtime or a socket could not be made.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
}

/// What an operator can do about a listener that could not be opened.
fn remedy(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        "; another program listens there: stop it, or choose another port"
    } else if kind == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need special rights: choose a higher one, as 1883"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "; this machine has no such address: choose one of its own, or 127.0.0.1"
    } else {
        ""
    }
}

fn bind(address: SocketAddr, all: &[Listener]) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // Without it a restart would have to wait for the old connections' last minute.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` serves IPv4, too, unless a listener of its own does.
            let of_ipv4 = |other: &Listener| {
                other.address.is_ipv4() && other.address.port() == address.port()
            };
            socket.set_only_v6(all.iter().any(of_ipv4))?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|source| StartError::Bind { address, source })
}

/// Raises the soft limit of open files; 90 % of it are for connections, the rest for files, listeners and those
/// that are just being closed.
fn connections_max(wanted: Option<usize>) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(FILES_ASSUMED);
    let share = usize::try_from(files / 10 * 9)
        .unwrap_or(usize::MAX)
        .clamp(1, CONNECTIONS_MAX);
    match wanted {
        Some(wanted) if wanted > share => {
            tracing::warn!(
                wanted,
                share,
                "connections_max is more than 90 % of the limit of open files, which is kept; raise it \
                 (ulimit -n)"
            );
            share
        }
        wanted => wanted.unwrap_or(share),
    }
}

/// From the operating system's randomness, by way of the seed of a hash map.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let std = std::hash::RandomState::new().build_hasher().finish();
    std ^ RandomState::default().build_hasher().finish()
}

const REPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that the kernel holds until we accept them.
const ACCEPT_BACKLOG: i32 = 4_096;
/// What to reckon with where the limit of open files cannot be read.
const FILES_ASSUMED: u64 = 1_024;
/// Connection numbers are 32 bits wide.
const CONNECTIONS_MAX: usize = 1 << 31;
