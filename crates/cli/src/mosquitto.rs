//! Started as `mosquitto_pub`, `mosquitto_sub`, `mosquitto_rr` or `mosquitto_passwd`: what those programs do.
//!
//! Measured against Debian's 2.0.11: texts, exit codes, order of packets, `-d` lines. Deliberately different: the text
//! of `--help`; TLS and proxies are refused as by a mosquitto built without them.
//!
//! Map: here the start; `publish`, `subscribe` and `request` are the programs; `run` waits for whatever comes first;
//! `link` is the connection, `dial` opens its socket; `texts` has the library's texts.

mod dial;
mod link;
mod publish;
mod request;
mod run;
mod subscribe;
mod texts;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use martlet_codec::{PropertyId, Version};

use self::run::Run;
use crate::input::{self, InputError};
use crate::options::{self, Asked};
use crate::passwd;
use crate::programs::{Dialect, Program};
use crate::settings::{AskedVersion, Settings, Source};
use crate::surroundings::Real;

/// Which program it is by the name it was started under; None for our own.
pub(crate) fn by_name(argument: Option<&OsStr>) -> Option<Start> {
    let stem = Path::new(argument?).file_stem()?;
    match stem.to_str()? {
        "mosquitto_pub" => Some(Start::Client(Program::Pub)),
        "mosquitto_sub" => Some(Start::Client(Program::Sub)),
        "mosquitto_rr" => Some(Start::Client(Program::Rr)),
        "mosquitto_passwd" => Some(Start::Passwd),
        _ => None,
    }
}

/// A program of mosquitto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Client(Program),
    Passwd,
}

/// Runs it with the words behind its name.
pub(crate) fn start(start: Start, words: &[OsString]) -> ExitCode {
    match start {
        Start::Passwd => match passwd::run(words, Dialect::Mosquitto, &mut io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(exit) => {
                let text = exit.to_string();
                if !text.is_empty() {
                    say(&format!("{text}\n"));
                }
                exit.code()
            }
        },
        Start::Client(program) => ExitCode::from(client(program, words)),
    }
}

fn client(program: Program, words: &[OsString]) -> u8 {
    let name = program.name();
    let settings = match options::parse(program, Dialect::Mosquitto, words, &Real) {
        Ok(Asked::Run(settings)) => *settings,
        Ok(Asked::Help) => {
            print(&options::help(program, Dialect::Mosquitto));
            return FAILED;
        }
        Ok(Asked::Version) => {
            print(&format!(
                "mosquitto_{name} version {VERSION} running on libmosquitto {VERSION}.\n"
            ));
            return FAILED;
        }
        Err(problem) => {
            say(&problem.mosquitto());
            say(&format!("\nUse 'mosquitto_{name} --help' to see usage.\n"));
            return FAILED;
        }
    };
    let payload = match payload(&settings) {
        Ok(payload) => payload,
        Err(code) => return code,
    };
    if program == Program::Rr && settings.sending.properties.has(PropertyId::ResponseTopic) {
        say("Error in PUBLISH properties: Duplicate response topic.\n");
        return FAILED;
    }
    if let Err(text) = check(&settings) {
        if !settings.quiet {
            say(&text);
        }
        return FAILED;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        say("Error: Out of memory.\n");
        return FAILED;
    };
    let code = runtime.block_on(async {
        let run = Run::start(&settings).await?;
        Ok(match program {
            Program::Pub => publish::run(run, &payload).await,
            Program::Rr => request::run(run, &payload).await,
            Program::Sub | Program::Get | Program::Conn => subscribe::run(run).await,
        })
    });
    // A thread that waits for standard input does not hold us up.
    runtime.shutdown_background();
    code.unwrap_or_else(|text: String| {
        if !settings.quiet {
            say(&format!("{text}\n"));
        }
        FAILED
    })
}

/// The payload, read before anything is connected; or the exit code.
fn payload(settings: &Settings) -> Result<Vec<u8>, u8> {
    let sending = &settings.sending;
    let payload = match &sending.source {
        Source::Text(text) => text.clone(),
        // Measured: mosquitto_rr 2.0.11 takes -f and -s, never reads them, and sends nothing.
        Source::File(_) | Source::StdinAll if settings.program == Program::Rr => Vec::new(),
        Source::File(name) => {
            let shown = name.to_string_lossy();
            // An empty file is a message; empty standard input is none.
            let read = input::file(name);
            read.map_err(|error| {
                say(&match error {
                    InputError::Open(_) | InputError::Read(_) | InputError::Empty => {
                        format!("Error: Unable to open file \"{shown}\".\n")
                    }
                    InputError::TooLong => TOO_LONG.to_owned(),
                });
                say(&format!("Error loading input file \"{shown}\".\n"));
                FAILED
            })?
        }
        Source::StdinAll => input::stdin().and_then(not_empty).map_err(|error| {
            say(match error {
                InputError::TooLong => TOO_LONG,
                InputError::Open(_) | InputError::Read(_) | InputError::Empty => {
                    "Error: Zero length input.\n"
                }
            });
            say("Error loading input from stdin.\n");
            FAILED
        })?,
        Source::None | Source::StdinLines | Source::Null | Source::Size(_) => Vec::new(),
    };
    let nothing = sending.topic.is_none() || sending.source == Source::None;
    match settings.program {
        Program::Pub if nothing => {
            say("Error: Both topic and message must be supplied.\n");
            print(&options::help(Program::Pub, Dialect::Mosquitto));
            Err(FAILED)
        }
        Program::Rr if nothing || sending.response_topic.is_none() => {
            say("Error: All of topic, message, and response topic must be supplied.\n");
            say("\nUse 'mosquitto_rr --help' to see usage.\n");
            Err(FAILED)
        }
        Program::Pub | Program::Rr | Program::Sub | Program::Get | Program::Conn => Ok(payload),
    }
}

fn not_empty(bytes: Vec<u8>) -> Result<Vec<u8>, InputError> {
    if bytes.is_empty() {
        Err(InputError::Empty)
    } else {
        Ok(bytes)
    }
}

/// What mosquitto finds out when it sets up its library.
fn check(settings: &Settings) -> Result<(), String> {
    let receiving = &settings.receiving;
    if settings.program == Program::Sub && receiving.no_retained && receiving.retained_only {
        return Err("\nError: Combining '-R' and '--retained-only' makes no sense.\n".to_owned());
    }
    let session = &settings.session;
    if session.id.as_deref() == Some("") {
        let text = match settings.program {
            Program::Pub => "Error: Invalid id.\n",
            Program::Sub | Program::Rr | Program::Get | Program::Conn => {
                "Error: Invalid id and/or clean_session.\n"
            }
        };
        return Err(text.to_owned());
    }
    let is_v5 = session.version == AskedVersion::Is(Version::V5);
    if session.password.is_some() && session.user.is_none() && !is_v5 {
        return Err("Error: Problem setting username and/or password.\n".to_owned());
    }
    let tls = &settings.tls;
    let files = [&tls.ca_file, &tls.ca_path];
    if files.into_iter().flatten().any(|path| !path.exists()) {
        return Err("Error: Problem setting TLS options: File not found.\n".to_owned());
    }
    if tls.asked_by.is_some() {
        return Err(
            "Error: Problem setting TLS options: This feature is not supported..\n".to_owned(),
        );
    }
    if settings.broker.proxy.is_some() {
        return Err("Unable to connect (Proxy error.).\n".to_owned());
    }
    Ok(())
}

/// Writes to standard error; if that is closed, the exit code has to tell it.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

const FAILED: u8 = 1;
/// The version whose behaviour this is.
const VERSION: &str = "2.0.11";
const TOO_LONG: &str = "Error: File must be less than 268435455 bytes.\n\n";

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::{Program, Start, by_name};

    #[test]
    fn the_name_decides() {
        let named = |name| by_name(Some(OsStr::new(name)));
        assert_eq!(
            named("/usr/bin/mosquitto_sub"),
            Some(Start::Client(Program::Sub))
        );
        assert_eq!(
            named("mosquitto_pub.exe"),
            Some(Start::Client(Program::Pub))
        );
        assert_eq!(named("mosquitto_passwd"), Some(Start::Passwd));
        assert_eq!(named("martlet"), None);
        assert_eq!(by_name(None), None);
    }
}
