//! `martlet-icount SCENARIO ROUNDS`: one scenario, so many rounds; `martlet-icount list`: their names and operations.

use std::process::ExitCode;

use martlet_icount::SCENARIOS;

/// The allocator of the program `martlet`: what it costs is counted, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stdout, reason = "it is a program")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), rounds) = (arguments.next(), arguments.next()) else {
        return ExitCode::from(64);
    };
    if name == "list" {
        for scenario in SCENARIOS {
            println!("{} {}", scenario.name, scenario.operations);
        }
        return ExitCode::SUCCESS;
    }
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    match (scenario, rounds.and_then(|text| text.parse().ok())) {
        (Some(scenario), Some(rounds)) => {
            println!("{}", (scenario.run)(rounds));
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(64),
    }
}
