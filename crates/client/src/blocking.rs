//! The same client without `async`: [`Wait`] lets any thread wait for what an async program awaits.
//!
//! ```no_run
//! use martlet_client::Client;
//! use martlet_client::blocking::{self, Wait};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = blocking::connect(Client::builder("mqtt://localhost"))?;
//! client.publish("meter/power", 230).qos(1).wait()?;
//! let mut commands = client.subscribe("meter/set").qos(1).wait()?;
//! for command in blocking::messages(&mut commands) {
//!     println!("{}", command.text());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Connections made here are driven by one thread in the background, which all clients share and which
//! lives as long as the process. Everything works outside and inside an async runtime; inside, waiting blocks
//! the runtime's thread, as any blocking call does.

use std::future::{Future, IntoFuture};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::builder::Builder;
use crate::error::{Error, ErrorKind};
use crate::handle::Client;
use crate::message::Message;
use crate::subscribe::Subscription;

/// Waiting for a future by blocking the thread.
pub trait Wait: IntoFuture + Sized {
    /// Blocks until it is ready.
    ///
    /// # Panics
    /// If the thread in the background cannot be started.
    fn wait(self) -> Self::Output {
        let _background = background().map(Handle::enter);
        block_on(self.into_future())
    }
}

impl<F: IntoFuture> Wait for F {}

/// Connects and waits for the server's answer, as [`Builder::connect`] does.
pub fn connect(builder: Builder) -> Result<Client, Error> {
    started()?;
    builder.connect().wait()
}

/// Starts to connect in the background and keeps trying, as [`Builder::start`] does.
pub fn start(builder: Builder) -> Result<Client, Error> {
    let _background = started()?.enter();
    builder.start()
}

/// The messages of a subscription, until nothing more will come.
pub fn messages(subscription: &mut Subscription) -> impl Iterator<Item = Message> {
    std::iter::from_fn(|| subscription.recv().wait())
}

/// The next message, if one comes in time; an error of kind [`Timeout`](ErrorKind::Timeout) if none does, and
/// `None` when nothing more will come.
pub fn recv_timeout(
    subscription: &mut Subscription,
    limit: Duration,
) -> Result<Option<Message>, Error> {
    let _background = started()?.enter();
    let next = tokio::time::timeout(limit, subscription.recv());
    block_on(next).map_err(|_| Error::new(ErrorKind::Timeout))
}

/// Polls a future on this thread, which sleeps in between.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    // On a thread of a runtime, that runtime's budget must not make us wait for ourselves.
    let mut future = std::pin::pin!(tokio::task::coop::unconstrained(future.as_mut()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The runtime in the background, started at first use; `None` if the system gives us no thread.
fn background() -> Option<&'static Handle> {
    static BACKGROUND: OnceLock<Option<Handle>> = OnceLock::new();
    let start = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().ok()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("martlet-client".into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .ok()?;
        Some(handle)
    };
    BACKGROUND.get_or_init(start).as_ref()
}

fn started() -> Result<&'static Handle, Error> {
    let detail = "the thread in the background cannot be started";
    background().ok_or_else(|| Error::with_detail(ErrorKind::Io, detail))
}
