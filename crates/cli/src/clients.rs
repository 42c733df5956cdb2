//! `martlet pub`, `sub`, `rr` and `get`, on `martlet-client`; `conn` beside them.
//!
//! Map: here the start and the end; `connecting` makes a client of the settings and says what went wrong; `publish`,
//! `subscribe`, `request` and `get` are the programs; `lines` reads messages from lines; `conversions` translates
//! messages between the library and the printer; `conn` looks at a connection stage by stage, with bare sockets.

mod conn;
mod connecting;
mod conversions;
mod get;
mod lines;
mod publish;
mod request;
mod subscribe;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use martlet_client::Client;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::exit::{BAD_INPUT, Exit, USAGE};
use crate::options::{self, Asked, Problem};
use crate::programs::{Dialect, Program};
use crate::settings::{Kind, Settings};
use crate::signals::Signals;
use crate::surroundings::Real;

/// Runs a program with the words behind its name.
pub(crate) fn start(program: Program, words: &[OsString]) -> ExitCode {
    let settings = match options::parse(program, Dialect::Martlet, words, &Real) {
        Ok(Asked::Run(settings)) => settings,
        Ok(Asked::Help) => return print(&options::help(program, Dialect::Martlet)),
        Ok(Asked::Version) => return print(concat!("martlet ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(problem) => {
            let code = if matches!(problem, Problem::File { .. }) {
                BAD_INPUT
            } else {
                USAGE
            };
            say(program, &problem.to_string());
            return ExitCode::from(code);
        }
    };
    let ending = match drive(&settings) {
        Ok(ending) => ending,
        Err(error) => Exit::failed(error).into(),
    };
    finish(&settings, &ending)
}

/// Runs the program. One that prints has its connection on a thread of its own: a reader that stands still, such as a
/// pager, does not keep it from answering the broker. The others need no second thread.
fn drive(settings: &Settings) -> io::Result<Ending> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if !matches!(settings.program, Program::Sub | Program::Get) {
        let ending = runtime.block_on(run(settings));
        // A thread that waits for standard input does not hold us up.
        runtime.shutdown_background();
        return Ok(ending);
    }
    let handle = runtime.handle().clone();
    let (over, is_over) = oneshot::channel::<()>();
    let driver = thread::Builder::new().name("martlet-driver".to_owned());
    let driver = driver.spawn(move || {
        // It ends when the program has, which drops the other end.
        let _ = runtime.block_on(is_over);
        runtime.shutdown_background();
    })?;
    let ending = handle.block_on(run(settings));
    drop(over);
    // Nothing in it can wait any more.
    let _ = driver.join();
    Ok(ending)
}

/// How a program ended.
#[derive(Debug)]
struct Ending {
    /// None: it did what it was asked to.
    trouble: Option<Exit>,
    /// Messages printed or sent.
    messages: u64,
}

impl Ending {
    const fn good(messages: u64) -> Self {
        Self {
            trouble: None,
            messages,
        }
    }

    const fn bad(trouble: Exit, messages: u64) -> Self {
        Self {
            trouble: Some(trouble),
            messages,
        }
    }
}

impl From<Exit> for Ending {
    fn from(trouble: Exit) -> Self {
        Self::bad(trouble, 0)
    }
}

async fn run(settings: &Settings) -> Ending {
    let ending = match settings.program {
        Program::Pub => publish::run(settings).await,
        Program::Sub => subscribe::run(settings).await,
        Program::Rr => request::run(settings).await,
        Program::Get => get::run(settings).await,
        Program::Conn => conn::run(settings),
    };
    ending.unwrap_or_else(Ending::from)
}

/// Says what went wrong, and with `--output json` what happened in a form for programs.
fn finish(settings: &Settings, ending: &Ending) -> ExitCode {
    let code = ending.trouble.as_ref().map_or(0, Exit::number);
    if let Some(trouble) = &ending.trouble
        && !settings.quiet
    {
        let text = trouble.to_string();
        if !text.is_empty() {
            say(settings.program, &text);
        }
    }
    if settings.output.kind == Kind::Json {
        let status = serde_json::json!({
            "program": settings.program.name(),
            "code": code,
            "messages": ending.messages,
            "error": ending.trouble.as_ref().map(ToString::to_string),
        });
        // Standard error being closed leaves the exit code to tell it.
        let _ = writeln!(io::stderr(), "{status}");
    }
    ExitCode::from(code)
}

fn say(program: Program, text: &str) {
    let _ = writeln!(io::stderr(), "martlet {}: {text}", program.name());
}

fn print(text: &str) -> ExitCode {
    // Nobody reading is no error.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Says goodbye; a second signal ends at once.
async fn close(client: &Client, signals: &mut Signals) {
    let closing = client.close(GOODBYE);
    let mut closing = std::pin::pin!(closing);
    let ended = std::future::poll_fn(|context| {
        if signals.poll(context).is_ready() {
            return std::task::Poll::Ready(false);
        }
        closing.as_mut().poll(context).map(|_| true)
    });
    if !ended.await {
        std::process::exit(KILLED);
    }
}

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(5);
/// What a shell says of a program that SIGINT killed.
const KILLED: i32 = 130;
