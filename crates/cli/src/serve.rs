//! `martlet broker`, and `martlet` alone.

use std::env;
use std::io::{self, Write};

use martlet_broker::config::{Access, Config, Flags, Sources};
use martlet_broker::{Broker, RunningBroker};

use crate::arguments::Serve;
use crate::check::read_into;
use crate::exit::Exit;
use crate::logging;

/// Runs the broker until SIGINT or SIGTERM.
pub(crate) fn serve(serve: &Serve, out: &mut dyn Write) -> Result<(), Exit> {
    let mut sources = Sources::new();
    // An empty MARTLET_CONFIG is how shells and service managers say 'not set'.
    let file = serve.config.as_ref();
    if let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) {
        read_into(&mut sources, file)?;
    }
    sources.environment(env::vars_os());
    sources.flags(&Flags {
        listen: serve.listen.clone(),
        shards: serve.shards,
        allow_anonymous: serve.allow_anonymous,
    });
    let warnings = sources.warnings().to_vec();
    let config = sources.check().map_err(Exit::configuration)?;
    let _logging = logging::start(config.log()).map_err(Exit::configuration)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }

    // Before the broker starts: a signal that comes while it does stops it, too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Exit::failed)?;
    let stop = {
        let _entered = runtime.enter();
        StopSignal::new().map_err(Exit::failed)?
    };
    let broker = Broker::builder()
        .config(config.clone())
        .start()
        .map_err(Exit::failed)?;
    // Standard output may be closed: the broker runs all the same.
    let _ = greet(&broker, &config, out);
    runtime.block_on(stop.received());
    tracing::info!("stopping");
    broker.shutdown();
    Ok(())
}

/// The few lines that a person sees first.
fn greet(broker: &RunningBroker, config: &Config, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "martlet {}", env!("CARGO_PKG_VERSION"))?;
    for (address, listener) in broker.local_addrs().iter().zip(config.listeners()) {
        writeln!(out, "listening on {address} (tcp, {})", listener.access())?;
    }
    let sources = if config.sources().is_empty() {
        "defaults".to_owned()
    } else {
        config.sources().join(", ")
    };
    let shards = broker.shard_count();
    let plural = if shards == 1 { "shard" } else { "shards" };
    let connections = broker.connections_max();
    writeln!(
        out,
        "configuration: {sources}; {shards} {plural}, up to {connections} connections"
    )?;
    let all = |access| {
        config
            .listeners()
            .iter()
            .all(|listener| listener.access() == access)
    };
    let any = |access| {
        config
            .listeners()
            .iter()
            .any(|listener| listener.access() == access)
    };
    if all(Access::LoopbackOnly) {
        writeln!(
            out,
            "only programs on this machine can connect; to open it to a network you trust:\n  \
             martlet broker --listen 0.0.0.0:1883 --allow-anonymous"
        )?;
    }
    if any(Access::AllowedBySocketAddr) {
        writeln!(
            out,
            "WARNING: SOCKET_ADDR opens the broker to other machines, and nobody is asked for a password.\n  \
             Keep it behind a firewall, or listen on 127.0.0.1. To say that this is meant, in place of\n  \
             SOCKET_ADDR: martlet broker --listen ADDRESS:PORT --allow-anonymous"
        )?;
    }
    out.flush()
}

/// SIGINT and SIGTERM; elsewhere Ctrl-C.
#[derive(Debug)]
struct StopSignal {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignal {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(mut self) {
        std::future::poll_fn(|context| {
            let interrupted = self.interrupt.poll_recv(context).is_ready();
            if interrupted || self.terminate.poll_recv(context).is_ready() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

#[cfg(not(unix))]
impl StopSignal {
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn received(self) {
        // An error means that there is no console: then only the service manager can stop it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
