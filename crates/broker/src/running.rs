//! A broker at work, and its end.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use martlet_engine::PeerMessage;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::builder::StartError;
use crate::driver::{Lanes, Mail, Post, ShardReport, ShardThread, Shared};
use crate::storage::{Recovered, Seat, Writer};

/// A broker at work. Dropping it stops it, as [`shutdown`](Self::shutdown) does.
#[derive(Debug)]
pub struct RunningBroker {
    shared: Arc<Shared>,
    threads: Vec<ShardThread>,
    addresses: Vec<SocketAddr>,
    /// Ends behind the shards.
    writer: Option<Writer>,
    recovered: Option<Recovered>,
}

impl RunningBroker {
    pub(crate) fn new(shared: Arc<Shared>, kept: Option<(Writer, Recovered)>) -> Self {
        let (writer, recovered) = kept.unzip();
        Self {
            shared,
            threads: Vec::new(),
            addresses: Vec::new(),
            writer,
            recovered,
        }
    }

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

    /// What it found in its directory; `None` if it keeps everything in memory.
    #[must_use]
    pub const fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// Waits until the store fails, and says why. From that moment on nothing is acknowledged that had to be stored:
    /// the program should end with an error, and be started again. Without a store this never ends.
    pub async fn store_failed(&self) -> String {
        match &self.shared.store {
            Some(line) => line.failure().wait().await.to_owned(),
            None => std::future::pending().await,
        }
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

    /// Stops, with everything that was to be kept on the disk: no new connections, DISCONNECT 'server shutting down' to MQTT 5 clients, and up to one and a half
    /// seconds for all of them to read it and close. Blocks until it is done.
    pub fn shutdown(mut self) {
        self.stop();
    }

    pub(crate) fn start_shards(
        &mut self,
        seats: Vec<Seat>,
        lanes: Vec<Lanes<PeerMessage>>,
        receivers: Vec<UnboundedReceiver<Mail>>,
        bound: Vec<TcpListener>,
    ) -> Result<(), StartError> {
        let shard_count = receivers.len();
        let mut listeners: Vec<Vec<TcpListener>> = Vec::new();
        listeners.resize_with(shard_count, Vec::new);
        for (index, listener) in bound.into_iter().enumerate() {
            self.addresses
                .push(listener.local_addr().map_err(StartError::System)?);
            if let Some(of_shard) = listeners.get_mut(index % shard_count) {
                of_shard.push(listener);
            }
        }
        let (started, starts) = mpsc::channel();
        let ends = seats.into_iter().zip(lanes).zip(receivers).zip(listeners);
        for (index, (((seat, lanes), mailbox), listeners)) in ends.enumerate() {
            let post = Post {
                index,
                shard: seat.shard,
                fx: seat.fx,
                lanes,
                shared: Arc::clone(&self.shared),
                mailbox,
                listeners,
            };
            // On an error `self` is dropped, which stops the shards that run already.
            let thread = ShardThread::start(post, started.clone()).map_err(StartError::System)?;
            self.threads.push(thread);
        }
        drop(started);
        for start in starts.iter().take(shard_count) {
            start.map_err(StartError::System)?;
        }
        Ok(())
    }

    fn stop(&mut self) {
        for mailbox in &self.shared.mailboxes {
            // Fails only for a shard that has ended already.
            drop(mailbox.send(Mail::Stop));
        }
        for thread in self.threads.drain(..) {
            thread.join();
        }
        if let Some(mut writer) = self.writer.take() {
            writer.stop();
        }
    }
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

const REPORT_TIMEOUT: Duration = Duration::from_secs(1);
