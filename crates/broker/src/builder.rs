//! Starting a broker.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use foldhash::quality::RandomState;
use martlet_engine::{
    AllowAll, Authentication, Effects, Interest, Limits, LocalInterest, Policy, SHARDS_MAX, Shard,
    ShardConfig, StoreConfig,
};
use tokio::sync::mpsc::unbounded_channel;

use crate::auth::{AuthLine, Authenticator};
use crate::config::{self, Access, Config, Durability, Listener};
use crate::driver::{Lanes, Shared};
use crate::interest::SharedInterest;
use crate::listening::{bind, connections_max, listen, remedy};
use crate::running::RunningBroker;
use crate::storage::{self, RecoveryProgress, Seat, StorageError, StoreLine};

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
    on_recovery: Option<Box<dyn FnMut(RecoveryProgress) + Send>>,
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

    /// Keeps what has to survive in this directory, which is made if it is not there. Without one, everything is
    /// kept in memory, whatever is said of [`durability`](Self::durability).
    #[must_use]
    pub fn data_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.storage.directory = Some(directory.into());
        self
    }

    /// What acknowledgements promise; [`Durability::Fsync`] unless said.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.config.storage.durability = Some(durability);
        self
    }

    /// Hears how far the recovery is while [`start`](Self::start) restores what was kept.
    #[must_use]
    pub fn on_recovery(mut self, hear: impl FnMut(RecoveryProgress) + Send + 'static) -> Self {
        self.on_recovery = Some(Box::new(hear));
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

    /// Starts the broker: when this returns, everything that was kept is restored and clients can connect. On an
    /// error nothing is left running.
    ///
    /// Raises the process's soft limit of open files as far as the system allows.
    pub fn start(mut self) -> Result<RunningBroker, StartError> {
        let shard_count = self.shard_count()?;
        self.config.limits.connections_max = connections_max(self.config.connections_max);
        // Taken before the recovery, which may take a while, but opened behind it.
        let mut bound = Vec::new();
        for listener in &self.listeners()? {
            bound.push(bind(listener.address, &self.listeners()?)?);
        }
        let lanes = Lanes::connect(shard_count);
        let storage = &self.config.storage;
        let mut progress = self.on_recovery.take();
        let opened = storage::open(storage, random_seed(), &mut |at| {
            if let Some(hear) = &mut progress {
                hear(at);
            }
        })?;
        let line = opened.is_some().then(|| {
            let bells = lanes.iter().map(Lanes::bell).collect();
            Arc::new(StoreLine::new(bells, storage.waiting_bytes_max()))
        });
        let auth = self.authenticator.take().map(AuthLine::start);
        let auth = auth.transpose().map_err(StartError::System)?;
        self.config.policy.authentication = match auth {
            Some(_) => Authentication::Ask,
            None => Authentication::Anonymous,
        };
        let (mailboxes, receivers): (Vec<_>, Vec<_>) =
            (0..shard_count).map(|_| unbounded_channel()).unzip();
        let shared = Arc::new(Shared {
            start: Instant::now(),
            mailboxes,
            auth,
            connections: AtomicUsize::new(0),
            connections_max: self.config.limits.connections_max,
            store: line.clone(),
        });
        let mut seats = self.seats(shard_count, line.is_some());
        let kept = match (opened, line) {
            (Some(opened), Some(line)) => {
                let hear = &mut |at| {
                    if let Some(hear) = &mut progress {
                        hear(at);
                    }
                };
                Some(opened.restore(&mut seats, &line, || shared.now(), hear)?)
            }
            _ => None,
        };
        let mut running = RunningBroker::new(shared, kept);
        running.start_shards(seats, lanes, receivers, listen(bound)?)?;
        Ok(running)
    }

    /// The shards, empty.
    fn seats(&self, shard_count: usize, with_store: bool) -> Vec<Seat> {
        // The same for all shards: they must agree on which shard owns a topic.
        let seed = random_seed();
        let interest: Arc<dyn Interest> = if shard_count == 1 {
            Arc::new(LocalInterest)
        } else {
            Arc::new(SharedInterest::new(seed))
        };
        let store = with_store.then(|| StoreConfig {
            unix_ms_at_zero: unix_ms(),
            body_cache_bytes: self.config.storage.body_cache_bytes_max() / shard_count.max(1),
            read_ahead_bytes: READ_AHEAD_BYTES,
        });
        let seat = |index| {
            let config = ShardConfig {
                index,
                shard_count,
                seed,
                limits: self.config.limits.clone(),
                policy: self.config.policy.clone(),
                store,
            };
            Seat {
                shard: Shard::new(config, Arc::clone(&interest), Box::new(AllowAll)),
                fx: Effects::new(shard_count),
            }
        };
        (0..shard_count).map(seat).collect()
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
            .finish_non_exhaustive()
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
    /// The directory for what has to survive cannot be used.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// A thread, a runtime or a socket could not be made.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
}

/// A shard's messages that were read back and wait for their turn: some 20,000 small ones, windows for 300 clients that come
/// back at the same time.
const READ_AHEAD_BYTES: usize = 8 << 20;

/// The wall clock. It is read once; from then on time is counted from the monotonic one.
#[expect(
    clippy::disallowed_methods,
    reason = "what survives a restart can only be timed by the wall clock"
)]
fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// From the operating system's randomness, by way of the seed of a hash map.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let std = std::hash::RandomState::new().build_hasher().finish();
    std ^ RandomState::default().build_hasher().finish()
}
