//! Listening sockets: one accept loop each.
//!
//! One loop, and not a `SO_REUSEPORT` socket per shard: the home shard is only known from CONNECT, so the
//! kernel's spreading would be undone by the hand-over anyway, and with `SO_REUSEPORT` a second broker started
//! by mistake on the same port would silently get half of the clients in place of an error.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::core::{Local, Permit, Shared};
use super::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN};
use crate::listening::NODELAY_IS_INHERITED;

/// Accepts until the task is aborted. No error ends it.
//= mqtt5 4.2.0-1
//= mqtt311 7.1.1-1
pub(super) async fn accept(local: Rc<Local>, shared: Arc<Shared>, listener: TcpListener) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let mut refusals = Refusals::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                let Some(permit) = Permit::take(&shared) else {
                    refusals.count(shared.connections_max);
                    local.with(|core| core.counters.connections_refused += 1);
                    continue;
                };
                // Without it a small packet may wait for the acknowledgement of the one before.
                if !NODELAY_IS_INHERITED && let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "TCP_NODELAY was not set");
                }
                local.with(|core| core.open(stream, peer, permit, Vec::new()));
            }
            Err(error) if concerns_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                // Typically file descriptors are used up. The socket stays readable, so trying again at once
                // would only burn the processor until somebody closes something.
                tracing::warn!(
                    %error,
                    pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "accepting new connections is paused{}",
                    hint(&error)
                );
                local.with(|core| core.counters.accepts_paused += 1);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// Whether an error of accept is about the connection and not about us: the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

fn hint(error: &io::Error) -> &'static str {
    if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
        "; raise the limit of open files (ulimit -n), or lower limits.connections_max"
    } else {
        ""
    }
}

/// Connections refused because all permits are taken; logged at most once a second.
#[derive(Debug, Default)]
struct Refusals {
    unreported: u64,
    last_report: Option<Instant>,
}

impl Refusals {
    fn count(&mut self, connections_max: usize) {
        self.unreported += 1;
        let due = |last: Instant| last.elapsed() >= REFUSALS_REPORT_INTERVAL;
        if self.last_report.is_none_or(due) {
            tracing::warn!(
                refused = self.unreported,
                connections_max,
                "connections refused: the connection limit is reached"
            );
            self.unreported = 0;
            self.last_report = Some(Instant::now());
        }
    }
}

const REFUSALS_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Too many open files in this process; the same number on Linux, the BSDs and macOS.
const EMFILE: i32 = 24;
/// Too many open files in this system; the same there.
const ENFILE: i32 = 23;
