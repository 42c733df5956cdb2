//! The `martlet` program.
//!
//! Map: `arguments` is what may be typed, `serve` runs the broker (also without a subcommand), `check` reads a
//! configuration file, `logging` sends log lines to standard error, `service_manager` tells systemd how far it is, `exit` names the exit
//! codes. `store` has the tools for
//! what a broker keeps, `progress` shows how far something is. `conformance` and `bench` have command lines of their own.
//!
//! The clients (`pub`, `sub`, `rr`, `get`, `conn`) are in `clients`, their likenesses of mosquitto's programs in
//! `mosquitto`. Both share `options` (the command line), `settings` and `properties` (what it means), `input` (payloads),
//! `template` and `pace` (what is sent, and when), `decode`, `format`, `outlet` and `screen` (printing), `signals`, `surroundings` (environment and files); `programs` says which program was
//! started and under whose name. `passwd` keeps password files.

mod arguments;
mod check;
mod clients;
mod decode;
mod exit;
mod format;
mod input;
mod logging;
mod mosquitto;
mod options;
mod outlet;
mod pace;
mod passwd;
mod programs;
mod progress;
mod properties;
mod screen;
mod serve;
mod service_manager;
mod settings;
mod signals;
mod store;
mod surroundings;
mod template;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::exit::Exit;
use crate::programs::{Dialect, Program};

/// Pages of one size each: what a hundred thousand connections leave behind is given back, which the system's own
/// allocator cannot do for the sessions between them, and a message is allocated in a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut words = env::args_os();
    if let Some(program) = mosquitto::by_name(words.next().as_deref()) {
        return mosquitto::start(program, &words.collect::<Vec<_>>());
    }
    // The clients read their words themselves: a process that publishes for months needs no parser of the others' in
    // its memory.
    if let Some(program) = words.next().and_then(|word| Program::by_name(&word)) {
        return clients::start(program, &words.collect::<Vec<_>>());
    }
    let arguments = Arguments::parse();
    let mut out = io::stdout();
    let result = match arguments.command {
        None => serve::serve(&arguments.serve, &mut out),
        Some(Command::Broker(serve)) => serve::serve(&serve, &mut out),
        Some(Command::CheckConfig { file }) => check::check(&file, &mut out),
        Some(Command::Pub { arguments }) => return clients::start(Program::Pub, &arguments),
        Some(Command::Sub { arguments }) => return clients::start(Program::Sub, &arguments),
        Some(Command::Rr { arguments }) => return clients::start(Program::Rr, &arguments),
        Some(Command::Get { arguments }) => return clients::start(Program::Get, &arguments),
        Some(Command::Conn { arguments }) => return clients::start(Program::Conn, &arguments),
        Some(Command::Passwd { arguments }) => passwd::run(&arguments, Dialect::Martlet, &mut out),
        Some(Command::Store { tool }) => store::run(&tool, &mut out),
        Some(Command::Completions { shell }) => print(&options::completions(shell), &mut out),
        Some(Command::Man) => print(&options::man(), &mut out),
        Some(Command::Conformance { arguments }) => {
            match martlet_conformance::cli(&arguments, &mut out) {
                Ok(code) => return code,
                Err(error) if has_had_enough(&error) => return exit::FAILED.into(),
                Err(error) => Err(Exit::failed(error)),
            }
        }
        Some(Command::Bench { arguments }) => match martlet_bench::cli(&arguments, &mut out) {
            Ok(code) => return code,
            Err(martlet_bench::Error::Output(error)) if has_had_enough(&error) => {
                return exit::FAILED.into();
            }
            Err(error) => Err(Exit::failed(error)),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            // Standard error being closed leaves the exit code to tell it.
            let _ = writeln!(io::stderr(), "martlet: {exit}");
            exit.code()
        }
    }
}

fn print(text: &str, out: &mut dyn Write) -> Result<(), Exit> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if !has_had_enough(&error) => Err(Exit::failed(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether writing ended because whoever reads has had enough: that needs no words. A verdict that nobody read is no success, though.
fn has_had_enough(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
