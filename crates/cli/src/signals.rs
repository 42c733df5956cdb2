//! SIGINT and SIGTERM; elsewhere Ctrl-C.

use std::io;
use std::task::{Context, Poll};

/// SIGINT and SIGTERM; elsewhere Ctrl-C.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Ready when one of them came.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let interrupted = self.interrupt.poll_recv(context).is_ready();
        if interrupted || self.terminate.poll_recv(context).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(windows)]
impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: tokio::signal::windows::ctrl_c()?,
        })
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.interrupt.poll_recv(context).map(|_| ())
    }
}

impl Signals {
    /// Waits for one of them.
    pub(crate) async fn received(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}
