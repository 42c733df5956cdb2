//! Configuration: what an operator writes, turned into a [`Config`] that cannot be wrong.
//!
//! Map: [`Sources`] collects a TOML file, the environment and the flags, in that order of strength, and
//! [`Sources::check`] makes a [`Config`] of them or lists *every* problem ([`Problems`]): where it stands, which
//! field it is and what would be right. `fields` is the one table of settings; from it come the keys of the file,
//! the names of the environment variables, units, ranges and the suggestions for misspelt keys.

mod fields;
mod file;
mod problem;
mod sources;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use martlet_engine::{Limits, Policy};

pub use problem::{Origin, Problem, Problems};
pub(crate) use sources::parse_address;
pub use sources::{Flags, Sources};

/// A checked configuration.
///
/// ```
/// use martlet_broker::config::Sources;
///
/// let mut sources = Sources::new();
/// sources.file("martlet.toml", "shards = 2\n[limits]\npacket_bytes_max = '64 KiB'");
/// let config = sources.check()?;
/// assert_eq!(config.limits().packet_bytes_max, 65_536);
///
/// let mut sources = Sources::new();
/// sources.file("martlet.toml", "shard = 2");
/// assert_eq!(
///     sources.check().unwrap_err().to_string(),
///     "martlet.toml:1:1: shard: unknown key; did you mean 'shards'?"
/// );
/// # Ok::<(), martlet_broker::config::Problems>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) shards: Option<usize>,
    pub(crate) connections_max: Option<usize>,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) storage: Storage,
    pub(crate) log: Log,
    pub(crate) sources: Vec<String>,
}

impl Config {
    /// Where the broker listens.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// How many shards were asked for; `None`: one per core.
    #[must_use]
    pub const fn shards(&self) -> Option<usize> {
        self.shards
    }

    /// How many connections were asked for at most; `None`: 90 % of the file descriptors.
    #[must_use]
    pub const fn connections_max(&self) -> Option<usize> {
        self.connections_max
    }

    /// The bounds of each shard.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The rules.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What is kept where, and how surely.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Keeps sessions and retained messages in this directory if nothing was said about it. A broker without a
    /// directory keeps them in memory.
    #[must_use]
    pub fn or_directory(mut self, directory: impl FnOnce() -> Option<PathBuf>) -> Self {
        let storage = &mut self.storage;
        if storage.durability != Some(Durability::Memory) && storage.directory.is_none() {
            storage.directory = directory();
        }
        self
    }

    /// How to log. The broker itself only emits `tracing` events; the program around it decides.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// What the configuration was made of, in words, weakest first. Empty: only defaults.
    #[must_use]
    pub fn sources(&self) -> &[String] {
        &self.sources
    }
}

impl Default for Config {
    /// 127.0.0.1:1883, one shard per core, every bound at its default.
    fn default() -> Self {
        Self {
            listeners: vec![Listener {
                address: SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)),
                access: Access::LoopbackOnly,
            }],
            shards: None,
            connections_max: None,
            limits: Limits::default(),
            policy: Policy::default(),
            storage: Storage::default(),
            log: Log::default(),
            sources: Vec::new(),
        }
    }
}

/// One place to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) access: Access,
}

impl Listener {
    /// The address; port 0 lets the system choose.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why clients may connect without saying who they are.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }
}

/// Why a listener may serve clients that do not say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only programs on this machine can reach it.
    LoopbackOnly,
    /// The operator said `allow_anonymous`.
    AllowedExplicitly,
    /// The operator named the address by `SOCKET_ADDR`, whose meaning in the seed broker was 'open to all'.
    AllowedBySocketAddr,
    /// An authenticator decides.
    Authenticated,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LoopbackOnly => "anonymous access allowed: loopback only",
            Self::AllowedExplicitly => "anonymous access allowed: allow_anonymous",
            Self::AllowedBySocketAddr => "anonymous access allowed: SOCKET_ADDR",
            Self::Authenticated => "clients are authenticated",
        })
    }
}

/// What is kept where, and how surely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub(crate) durability: Option<Durability>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) segment_bytes: u64,
    pub(crate) size_bytes_max: Option<u64>,
    pub(crate) waiting_bytes_max: usize,
    pub(crate) body_cache_bytes_max: usize,
}

impl Storage {
    /// What survives. Unless something else was said: [`Fsync`](Durability::Fsync) with a directory,
    /// [`Memory`](Durability::Memory) without one.
    #[must_use]
    pub fn durability(&self) -> Durability {
        let of_directory = || match self.directory {
            Some(_) => Durability::Fsync,
            None => Durability::Memory,
        };
        self.durability.unwrap_or_else(of_directory)
    }

    /// Where everything is kept that survives.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// How long one file of the log is.
    #[must_use]
    pub const fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The most that the log may take on the disk; beyond it durable publishes are refused or held.
    #[must_use]
    pub const fn size_bytes_max(&self) -> Option<u64> {
        self.size_bytes_max
    }

    /// How much may wait to be written before those who publish it are slowed down.
    #[must_use]
    pub const fn waiting_bytes_max(&self) -> usize {
        self.waiting_bytes_max
    }

    /// How many bytes of queued messages stay in memory although they are in the log; the oldest beyond that are read back
    /// when their receiver comes. All shards have equal shares of it.
    ///
    /// 256 MiB hold some 600,000 messages of 256 bytes: minutes of a busy broker, so that a client that was away
    /// only for a moment is not waited for by the disk; and a small machine has that much.
    #[must_use]
    pub const fn body_cache_bytes_max(&self) -> usize {
        self.body_cache_bytes_max
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            durability: None,
            directory: None,
            segment_bytes: 64 << 20,
            size_bytes_max: None,
            waiting_bytes_max: 16 << 20,
            body_cache_bytes_max: 256 << 20,
        }
    }
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What was acknowledged survives a loss of power.
    Fsync,
    /// What was acknowledged survives the death of the process, but not that of the machine.
    Os,
    /// Nothing is written.
    Memory,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
            Self::Memory => "memory",
        })
    }
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A filter as `RUST_LOG` takes it.
    pub filter: String,
    /// Where the filter was set, for an error message about it.
    pub filter_origin: Origin,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            filter_origin: Origin::Default,
            format: LogFormat::Auto,
        }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// [`Human`](Self::Human) on a terminal, [`Json`](Self::Json) otherwise.
    Auto,
    /// For reading.
    Human,
    /// For programs: one JSON object a line.
    Json,
}

/// The registered port of MQTT.
pub(crate) const DEFAULT_PORT: u16 = 1883;
