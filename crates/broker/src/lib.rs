//! The Martlet broker as a library: the driver around the engine, listeners and configuration.
//!
//! Start a broker inside another program, for instance in a test:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use martlet_broker::Broker;
//!
//! // Port 0: the system chooses a free one.
//! let broker = Broker::builder().listen("127.0.0.1:0").shards(2).start()?;
//! let mut client = TcpStream::connect(broker.local_addrs()[0])?;
//!
//! // CONNECT: MQTT 3.1.1, Clean Session, Keep Alive 60 s, client identifier "me".
//! client.write_all(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me")?;
//! // CONNACK: no session present, accepted.
//! let mut connack = [0; 4];
//! client.read_exact(&mut connack)?;
//! assert_eq!(connack, *b"\x20\x02\x00\x00");
//!
//! // Tells the clients and stops; dropping `broker` does the same.
//! broker.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The broker brings its own threads, one per shard, and can be started from anywhere, from within an async
//! runtime, too. What it has to say it says through `tracing`; install a subscriber to see it.
//!
//! Map: `builder` starts, `running` is what it starts, `listening` the addresses, [`config`] reads files, environment and flags, `driver` runs the shards,
//! `interest` tells them of each other's subscriptions, `storage` keeps what has to survive, `auth` asks authentication backends, `layer` is the place
//! for TLS and WebSocket, `bomb` ends the process when a thread panics.

mod auth;
mod bomb;
mod builder;
pub mod config;
mod driver;
mod interest;
mod layer;
mod listening;
mod running;
mod storage;

pub use auth::{Answer, Authenticator};
pub use builder::{Broker, Builder, StartError};
pub use config::Config;
pub use driver::{DriverCounters, ShardReport};
pub use martlet_codec::ReasonCode;
pub use martlet_engine::{AuthKind, AuthQuestion, Counters, Limits, Policy, Verdict};
pub use running::RunningBroker;
pub use storage::{Recovered, RecoveryProgress, StorageError, state_directory};
