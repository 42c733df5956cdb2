//! The `martlet` program.
//!
//! Map: `arguments` is what may be typed, `serve` runs the broker (also without a subcommand), `check` reads a
//! configuration file, `logging` sends log lines to standard error, `exit` names the exit codes. `conformance`
//! and `bench` have command lines of their own.

mod arguments;
mod check;
mod exit;
mod logging;
mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::exit::Exit;

/// Pages of one size each: what a hundred thousand connections leave behind is given back, which the system's own
/// allocator cannot do for the sessions between them, and a message is allocated in a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout();
    let result = match arguments.command {
        None => serve::serve(&arguments.serve, &mut out),
        Some(Command::Broker(serve)) => serve::serve(&serve, &mut out),
        Some(Command::CheckConfig { file }) => check::check(&file, &mut out),
        Some(Command::Conformance { arguments }) => {
            match martlet_conformance::cli(&arguments, &mut out) {
                Ok(code) => return code,
                Err(error) => Err(Exit::failed(error)),
            }
        }
        Some(Command::Bench { arguments }) => match martlet_bench::cli(&arguments, &mut out) {
            Ok(code) => return code,
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
