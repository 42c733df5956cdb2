//! What the files around the program name is there: recipes of the justfile, sources of the Dockerfile.
//!
//! That the unit's and the container's command lines and settings work is a test of the program
//! (`crates/cli/tests/program.rs`).

use std::fs;

use crate::files::Project;
use crate::steps::Failure;

/// Looks at them; `usage` names the commands that there are.
pub(crate) fn run(project: &Project, usage: &str) -> Result<(), Failure> {
    let read = |name: &str| {
        fs::read_to_string(project.path(name))
            .map_err(|error| Failure::new(format!("{name}: {error}"), "put it back"))
    };
    let mut problems = recipes(&read("justfile")?, usage);
    for source in sources(&read("Dockerfile")?) {
        if !project.path(&source).exists() {
            problems.push(format!("Dockerfile: COPY {source}: there is no such file"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        problems.join("\n"),
        "mend the file, or what it names",
    ))
}

/// Recipes that call a command of ours that does not exist, or something besides cargo.
fn recipes(justfile: &str, usage: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut count = 0;
    for line in justfile.lines().filter(|line| line.starts_with("    ")) {
        count += 1;
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = match words.as_slice() {
            ["cargo", "xtask", command, ..] => usage
                .lines()
                .any(|line| line.split_whitespace().nth(2) == Some(*command)),
            ["cargo", "test" | "run", ..] => true,
            _ => false,
        };
        if !known {
            problems.push(format!("justfile: {}: no such command", line.trim()));
        }
    }
    if count == 0 {
        problems.push("justfile: no recipe was found".into());
    }
    problems
}

/// What the Dockerfile takes from the project.
fn sources(dockerfile: &str) -> Vec<String> {
    let copies = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    copies
        .filter(|arguments| !arguments.starts_with("--from"))
        .filter_map(|arguments| arguments.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{recipes, sources};

    const USAGE: &str = "cargo xtask test    everything\ncargo xtask spec    citations";

    #[test]
    fn recipes_name_commands_that_exist() {
        let just =
            "# all\ntest:\n    cargo xtask test\n\nrun *words:\n    cargo run -- {{words}}\n";
        assert!(recipes(just, USAGE).is_empty());
        let wrong = "a:\n    cargo xtask tests\nb:\n    make\n";
        assert_eq!(recipes(wrong, USAGE).len(), 2);
        assert_eq!(recipes("", USAGE).len(), 1);
    }

    #[test]
    fn sources_are_those_of_the_project() {
        let file = "COPY . .\nCOPY --from=build /a /b\nCOPY packaging/x /etc/x\n";
        assert_eq!(sources(file), [".", "packaging/x"]);
    }
}
