//! The broker under test, and names that are unique to a case.

use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Capabilities, Client};
use crate::case::{Failure, Verdict, Version, fail, skip};
use crate::wire::{ConnAck, Connect};

/// The broker under test. One target serves all cases of a run, from many threads.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    timeout: Duration,
    /// Different in each run.
    tag: String,
    counter: AtomicU32,
    capabilities: OnceLock<Capabilities>,
}

impl Target {
    /// A broker at `address` that gets `timeout` for each answer.
    #[must_use]
    pub fn new(address: SocketAddr, timeout: Duration) -> Self {
        let tag = RandomState::new().hash_one(std::process::id());
        Self {
            address,
            timeout,
            tag: format!("{:08x}", tag & 0xFFFF_FFFF),
            counter: AtomicU32::new(0),
            capabilities: OnceLock::new(),
        }
    }

    fn number(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh client id of letters and digits, at most 23 long.
    pub(crate) fn id(&self) -> String {
        format!("mc{}x{}", self.tag, self.number())
    }

    /// A fresh topic that ends in `/name`.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("mc/{}/{}/{name}", self.tag, self.number())
    }

    /// A connection on which nothing has been sent.
    pub(crate) fn open(&self, version: Version) -> Verdict<Client> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(self.timeout))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Client::new(
                stream,
                version,
                self.timeout,
                self.topic("marker"),
            )),
            Err(error) => {
                let error: std::io::Error = error;
                fail(format!("cannot open a TCP connection: {error}"))
            }
        }
    }

    /// Connects and expects to be accepted.
    pub(crate) fn connect(&self, connect: &Connect) -> Verdict<(Client, ConnAck)> {
        let mut client = self.open(connect.version)?;
        client.send(connect)?;
        let connack = client.expect_connack()?;
        if connack.code != 0 {
            return fail(format!("CONNECT was refused with 0x{:02X}", connack.code));
        }
        Ok((client, connack))
    }

    /// A connected client with a fresh id and no session.
    pub(crate) fn client(&self, version: Version) -> Verdict<Client> {
        Ok(self.connect(&Connect::new(version, &self.id()))?.0)
    }

    /// What the broker announces to a v5 client; asked once per run.
    pub(crate) fn capabilities(&self) -> Verdict<Capabilities> {
        if let Some(known) = self.capabilities.get() {
            return Ok(*known);
        }
        let (mut client, connack) = self.connect(&Connect::v5(&self.id()))?;
        client.disconnect()?;
        Ok(*self.capabilities.get_or_init(|| Capabilities::of(&connack)))
    }

    fn needs(&self, what: &str, has: impl Fn(&Capabilities) -> bool) -> Verdict {
        if has(&self.capabilities()?) {
            Ok(())
        } else {
            skip(format!("the broker has no {what}"))
        }
    }

    /// Skips the case if the broker announces a lower Maximum QoS (v5).
    pub(crate) fn needs_qos(&self, qos: u8) -> Verdict {
        self.needs(&format!("QoS {qos}"), |c| c.maximum_qos >= qos)
    }

    /// Skips the case if the broker announces that it retains nothing (v5).
    pub(crate) fn needs_retain(&self) -> Verdict {
        self.needs("retained messages", |c| c.retain)
    }

    /// Skips the case if the broker announces no wildcard subscriptions (v5).
    pub(crate) fn needs_wildcards(&self) -> Verdict {
        self.needs("wildcard subscriptions", |c| c.wildcards)
    }

    /// Skips the case if the broker announces no subscription identifiers (v5).
    pub(crate) fn needs_subscription_ids(&self) -> Verdict {
        self.needs("subscription identifiers", |c| c.subscription_ids)
    }

    /// Skips the case if the broker announces no shared subscriptions (v5).
    pub(crate) fn needs_shared(&self) -> Verdict {
        self.needs("shared subscriptions", |c| c.shared)
    }

    /// Skips the case if the broker accepts fewer topic aliases than `count` (v5).
    pub(crate) fn needs_aliases(&self, count: u16) -> Verdict {
        self.needs(&format!("{count} topic aliases"), |c| {
            c.topic_alias_maximum >= count
        })
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("input or output failed: {error}"))
    }
}
