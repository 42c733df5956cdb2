//! A broker in the same process.

use std::io;
use std::net::SocketAddr;

use martlet_broker::{Builder, RunningBroker, StartError};

use super::lasting_port;

/// A Martlet broker on a free port of 127.0.0.1, which everybody there may use. Dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    running: Option<RunningBroker>,
    address: SocketAddr,
}

impl Broker {
    /// Starts a broker.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(|builder| builder).await
    }

    /// Starts a broker with limits, policies or an authenticator of your own.
    pub async fn start_with(
        configure: impl FnOnce(Builder) -> Builder + Send + 'static,
    ) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], lasting_port()?));
        let running = run(address, configure).await?;
        Ok(Self {
            running: Some(running),
            address,
        })
    }

    /// Where it is, for [`Client::builder`](crate::Client::builder).
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Stops it. Sessions and retained messages are gone; the port is one that nobody else gets by chance before
    /// [`restart`](Self::restart).
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // It waits until its clients have been told.
            drop(tokio::task::spawn_blocking(move || running.shutdown()).await);
        }
    }

    /// Stops it if it runs, and starts an empty one in its place.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.stop().await;
        self.running = Some(run(self.address, |builder| builder).await?);
        Ok(())
    }
}

async fn run(
    address: SocketAddr,
    configure: impl FnOnce(Builder) -> Builder + Send + 'static,
) -> io::Result<RunningBroker> {
    let start = move || {
        let builder = martlet_broker::Broker::builder();
        let builder = builder.listen(address.to_string()).shards(1);
        configure(builder).start()
    };
    let started = tokio::task::spawn_blocking(start).await?;
    started.map_err(|error: StartError| io::Error::other(error))
}
