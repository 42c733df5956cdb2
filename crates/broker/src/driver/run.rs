//! The thread of one shard: its runtime, its tasks, its mailbox.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use martlet_engine::{Effects, PeerMessage, Shard};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::coop::unconstrained;
use tokio::task::spawn_local;

use super::accept;
use super::core::{Core, Local, Mail, Shared};
use super::lanes::Lanes;
use super::limits::{STOP_MS, TICKS_PER_POLL};
use super::tick::Ticks;

/// Everything a shard's thread gets at its start.
pub(crate) struct Post {
    pub(crate) index: usize,
    /// With everything that was restored, and the effects of that.
    pub(crate) shard: Shard,
    pub(crate) fx: Effects,
    pub(crate) lanes: Lanes<PeerMessage>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) mailbox: UnboundedReceiver<Mail>,
    /// Bound and listening already; non-blocking.
    pub(crate) listeners: Vec<StdTcpListener>,
}

/// A running shard.
#[derive(Debug)]
pub(crate) struct ShardThread(JoinHandle<()>);

impl ShardThread {
    /// Starts the thread; `started` hears once whether that worked.
    pub(crate) fn start(post: Post, started: mpsc::Sender<io::Result<()>>) -> io::Result<Self> {
        let name = format!("martlet-shard-{}", post.index);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .event_interval(TICKS_PER_POLL)
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(post, started)),
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        Ok(Self(thread))
    }

    /// Waits for the end of the thread.
    pub(crate) fn join(self) {
        // A shard that panics ends the process, so there is no other outcome.
        let _ = self.0.join();
    }
}

async fn run(post: Post, started: mpsc::Sender<io::Result<()>>) {
    let Post {
        index,
        shard,
        fx,
        lanes,
        shared,
        mut mailbox,
        listeners,
    } = post;
    let bell = lanes.bell();
    let core = Core::new(index, shard, fx, lanes, Arc::clone(&shared));
    let local = Local::new(core);
    spawn_local(unconstrained(Ticks::new(Rc::clone(&local))));
    local.with(Core::after_event);
    let neighbours = Rc::clone(&local);
    spawn_local(async move {
        loop {
            bell.notified().await;
            while neighbours.with(|core| core.hear_store() | core.receive_batches()) {
                tokio::task::yield_now().await;
            }
        }
    });
    let mut accepting = Vec::new();
    for listener in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                let task = accept::accept(Rc::clone(&local), Arc::clone(&shared), listener);
                accepting.push(spawn_local(task));
            }
            Err(error) => {
                drop(started.send(Err(error)));
                return;
            }
        }
    }
    drop(started.send(Ok(())));
    while let Some(mail) = mailbox.recv().await {
        if matches!(mail, Mail::Stop) {
            break;
        }
        take_mail(&local, mail);
    }
    for task in accepting {
        task.abort();
    }
    stop(&local).await;
}

fn take_mail(local: &Rc<Local>, mail: Mail) {
    match mail {
        Mail::Socket {
            stream,
            peer,
            permit,
            unread,
        } => match TcpStream::from_std(stream) {
            Ok(stream) => {
                local.with(|core| core.open(stream, peer, permit, unread));
            }
            Err(error) => tracing::error!(%peer, %error, "a connection was lost on its way"),
        },
        Mail::Verdict(ticket, verdict) => local.with(|core| {
            let now = core.shared.now();
            core.shard.on_verdict(ticket, verdict, now, &mut core.fx);
            core.after_event();
        }),
        // The asker may have given up waiting.
        Mail::Report(asker) => drop(asker.send(local.with(|core| core.report()))),
        Mail::Stop => {}
    }
}

/// Tells the clients that the broker stops, and gives them a moment to read it.
async fn stop(local: &Rc<Local>) {
    let waited = Duration::from_millis(STOP_MS);
    let end = tokio::time::Instant::now() + waited;
    local.with(|core| {
        let now = core.shared.now();
        core.shard.shut_down(now, &mut core.fx);
        core.flush();
    });
    while local.with(|core| core.socket_count()) > 0 && tokio::time::Instant::now() < end {
        tokio::time::sleep(STOP_POLL).await;
    }
    let left = local.with(|core| core.socket_count());
    if left > 0 {
        tracing::info!(left, "clients had not closed their connections in time");
    }
    // What the last closes have to leave in the store.
    local.with(Core::flush);
}

/// How often a stopping shard looks whether its last client has gone.
const STOP_POLL: Duration = Duration::from_millis(5);
