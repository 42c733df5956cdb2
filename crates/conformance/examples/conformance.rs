//! The suite as a program of its own: `cargo run -p martlet-conformance --example conformance -- HOST:PORT`.

use std::io;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    martlet_conformance::cli(&args, &mut io::stdout().lock())
}
