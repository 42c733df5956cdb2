//! `martlet broker`, and `martlet` alone.

use std::env;
use std::future::Future;
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::task::Poll;

use martlet_broker::config::{Access, Config, Flags, Sources};
use martlet_broker::{Broker, Recovered, RecoveryProgress, RunningBroker, state_directory};

use crate::arguments::Serve;
use crate::check::read_into;
use crate::exit::Exit;
use crate::logging;
use crate::progress::ProgressLine;
use crate::service_manager::{News, tell};
use crate::signals::Signals;

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
        data_directory: serve.data_dir.clone(),
        durability: serve.durability.clone(),
    });
    let warnings = sources.warnings().to_vec();
    let config = sources.check().map_err(Exit::configuration)?;
    let config = config.or_directory(|| state_directory(|name| env::var_os(name)));
    let _logging = logging::start(config.log()).map_err(Exit::configuration)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }

    // Before the broker starts: a signal that comes while it does stops it, too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Exit::failed)?;
    let mut stop = {
        let _entered = runtime.enter();
        Signals::new().map_err(Exit::failed)?
    };
    let broker = Broker::builder()
        .config(config.clone())
        .on_recovery(show_progress())
        .start()
        .map_err(Exit::failed)?;
    if let Some(recovered) = broker.recovered() {
        report(recovered);
    }
    // Standard output may be closed: the broker runs all the same.
    let _ = greet(&broker, &config, out);
    tell(News::Open);
    let end = runtime.block_on(async {
        let received = pin!(stop.received());
        let failed = pin!(broker.store_failed());
        first(received, failed).await
    });
    match end {
        End::Stopped => {
            tracing::info!("stopping");
            tell(News::Stopping);
            broker.shutdown();
            Ok(())
        }
        End::StoreFailed(why) => {
            // At once: nobody is to be told anything that is not stored, and what is stored is on the disk.
            std::mem::forget(broker);
            Err(Exit::failed(why))
        }
    }
}

/// Why the broker ends.
enum End {
    Stopped,
    StoreFailed(String),
}

/// Whatever comes first.
async fn first(
    mut stopped: Pin<&mut impl Future<Output = ()>>,
    mut failed: Pin<&mut impl Future<Output = String>>,
) -> End {
    std::future::poll_fn(|context| {
        if let Poll::Ready(why) = failed.as_mut().poll(context) {
            Poll::Ready(End::StoreFailed(why))
        } else {
            stopped.as_mut().poll(context).map(|()| End::Stopped)
        }
    })
    .await
}

/// On a terminal, a line that counts while the recovery takes more than a moment, gone when the broker has started. A service
/// manager hears of each step.
fn show_progress() -> impl FnMut(RecoveryProgress) + Send + 'static {
    let mut line = ProgressLine::new();
    move |RecoveryProgress { doing, percent }| {
        if line.show("restoring", doing, percent) {
            tell(News::Restoring { doing, percent });
        }
    }
}

/// What was found in the directory, for the log.
fn report(recovered: &Recovered) {
    tracing::info!("{recovered}");
    for fault in &recovered.faults {
        if recovered.has_loss {
            tracing::error!("{}: {fault}", recovered.directory.display());
        } else {
            tracing::warn!("{}: {fault}", recovered.directory.display());
        }
    }
    if recovered.has_loss {
        tracing::error!(
            "something that was acknowledged may be missing; 'martlet store verify {}' tells more",
            recovered.directory.display()
        );
    }
    if let Some(doubt) = &recovered.doubt {
        tracing::warn!(
            "{}: {doubt}; to have what durability \"fsync\" promises, name a directory on a local disk (--data-dir)",
            recovered.directory.display()
        );
    }
}

/// The few lines that a person sees first.
fn greet(broker: &RunningBroker, config: &Config, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "martlet {}", env!("CARGO_PKG_VERSION"))?;
    for (address, listener) in broker.local_addrs().iter().zip(config.listeners()) {
        writeln!(out, "listening on {address} (tcp, {})", listener.access())?;
    }
    match broker.recovered() {
        Some(recovered) => writeln!(
            out,
            "state in {} (durability: {}); {recovered}",
            recovered.directory.display(),
            recovered.durability
        )?,
        None => writeln!(out, "state in memory: nothing survives a restart")?,
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
