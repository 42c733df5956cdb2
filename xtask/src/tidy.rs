//! `cargo xtask tidy`: the rules of the style page that no lint knows.
//!
//! File length has a ratchet: files that are too long stand in `xtask/ratchet.toml` with the length they have, and that
//! number only falls.

mod references;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::files::{Line, Project, Source};
use crate::steps::Failure;

pub(crate) fn run(project: &Project) -> Result<(), Failure> {
    let sources = project.sources(&[
        ".rs", ".toml", ".md", ".py", ".js", ".mjs", ".csv", ".sh", "justfile", ".yml",
    ])?;
    let ratchet = Ratchet::parse(&project.read(RATCHET)?);
    let faults = check(&sources, &ratchet);
    if faults.is_empty() {
        println!("{} files are tidy", sources.len());
        return Ok(());
    }
    let mut list = format!("{} untidy places", faults.len());
    for fault in &faults {
        let _ = write!(list, "\n  {fault}");
    }
    Err(Failure::new(list, "CONTRIBUTING.md gives the reasons"))
}

fn check(sources: &[Source], ratchet: &Ratchet) -> Vec<String> {
    let mut faults = ratchet.without_file(sources);
    faults.extend(references::faults(sources));
    for source in sources {
        let path = source.path.as_str();
        for line in source.lines() {
            if HOMES.iter().any(|home| holds_path(line.text, home)) {
                faults.push(format!(
                    "{path}:{}: a path of somebody's machine",
                    line.number
                ));
            }
        }
        if source.is_rust() {
            faults.extend(length(source, ratchet));
            faults.extend(banned(source));
            if !source.text.starts_with("//!") {
                faults.push(format!(
                    "{path}: does not start with a '//!' comment that says what is in it"
                ));
            }
        }
        if path.ends_with("Cargo.toml")
            && source.text.contains("[package]")
            // One of its own inherits nothing.
            && !source.text.contains("[workspace]")
            && !has_workspace_lints(&source.text)
        {
            faults.push(format!("{path}: has no '[lints]' with 'workspace = true'"));
        }
    }
    faults
}

/// Files longer than [`LINES`], with the number of production lines they are allowed.
#[derive(Debug, Default)]
struct Ratchet {
    allowed: BTreeMap<String, usize>,
}

impl Ratchet {
    /// Lines of the form `"path" = 512`; everything else is comment.
    fn parse(text: &str) -> Self {
        let mut allowed = BTreeMap::new();
        for (path, count) in text.lines().filter_map(|line| line.split_once('=')) {
            if let Ok(count) = count.trim().parse() {
                allowed.insert(path.trim().trim_matches('"').to_owned(), count);
            }
        }
        Self { allowed }
    }

    fn without_file(&self, sources: &[Source]) -> Vec<String> {
        let gone = |path: &&String| !sources.iter().any(|source| source.path == **path);
        self.allowed
            .keys()
            .filter(gone)
            .map(|path| format!("{RATCHET}: {path} is gone: remove the line"))
            .collect()
    }
}

/// What is wrong with a file's length, if anything.
fn length(source: &Source, ratchet: &Ratchet) -> Option<String> {
    let path = &source.path;
    // The crates that exist to test are built like any other; files of tests beside the code are not counted.
    if path.split('/').any(|part| part.starts_with("tests")) {
        return None;
    }
    let lines = source.production_lines();
    match ratchet.allowed.get(path) {
        _ if lines > LINES_EVER => Some(format!(
            "{path}: {lines} lines, never more than {LINES_EVER}"
        )),
        None if lines > LINES => Some(format!(
            "{path}: {lines} lines without its tests, {LINES} at most: split it by idea"
        )),
        Some(allowed) if lines > *allowed => {
            Some(format!("{path}: {lines} lines, {RATCHET} allows {allowed}"))
        }
        Some(_) if lines <= LINES => Some(format!(
            "{RATCHET}: {path} is short enough now: remove the line"
        )),
        Some(allowed) if lines < *allowed => Some(format!(
            "{RATCHET}: {path} has {lines} lines now: lower its number"
        )),
        _ => None,
    }
}

/// Calls and attributes that must not be in the code.
fn banned(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for line in source.lines() {
        let mut report =
            |what: &str| faults.push(format!("{}:{}: {what}", source.path, line.number));
        let code = code_of(line);
        for word in UNFINISHED {
            if code.contains(word) {
                report(&format!("'{word}' is unfinished work"));
            }
        }
        if code.contains(IGNORED) || line.text.contains(IGNORED_DOC) {
            report("a test that does not run protects nothing");
        }
        if line.in_test
            && !TIME_PASSES.contains(&source.path.as_str())
            && SLEEPS.iter().any(|sleep| code.contains(sleep))
        {
            report("a test waits for an event with a time-out; it does not sleep");
        }
    }
    faults
}

/// The line without its comment. A `//` inside a string ends it, too: good enough for what is looked for here.
fn code_of(line: Line<'_>) -> &str {
    line.text
        .split_once("//")
        .map_or(line.text, |(code, _)| code)
}

/// Whether `text` holds an absolute path that begins with `home`: not one in the middle of another path or word.
fn holds_path(text: &str, home: &str) -> bool {
    text.match_indices(home).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|character| {
            character.is_alphanumeric() || "-_./}>)*+#".contains(character)
        })
    })
}

fn has_workspace_lints(manifest: &str) -> bool {
    let section = manifest.split("[lints]").nth(1).unwrap_or_default();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.trim() == "workspace = true")
}

/// Where time itself is what is tested (expiry, delay, keep-alive), in one function that says so.
const TIME_PASSES: [&str; 1] = ["crates/conformance/src/harness/mod.rs"];
/// Production lines of a file: style rule 10.
const LINES: usize = 500;
/// What not even the ratchet allows.
const LINES_EVER: usize = 800;
const RATCHET: &str = "xtask/ratchet.toml";

// Put together from pieces, or this file would be untidy itself.
const UNFINISHED: [&str; 3] = [
    concat!("to", "do!("),
    concat!("db", "g!("),
    concat!("unimpl", "emented!("),
];
const IGNORED: &str = concat!("#[ig", "nore");
const IGNORED_DOC: &str = concat!("```ig", "nore");
const SLEEPS: [&str; 3] = [
    concat!("thread::sl", "eep("),
    concat!("time::sl", "eep("),
    concat!(" sl", "eep("),
];
const HOMES: [&str; 4] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: impl Into<String>) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    fn faults(path: &str, text: impl Into<String>) -> Vec<String> {
        check(&[source(path, text)], &Ratchet::default())
    }

    fn lines(count: usize) -> String {
        "//! a\n".repeat(count)
    }

    #[test]
    fn a_tidy_file_has_no_faults() {
        assert_eq!(
            faults("a/src/a.rs", "//! a\nfn a() {} // ends the ./work/ on it\n"),
            [""; 0]
        );
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_not_in_comments() {
        for word in UNFINISHED {
            assert_eq!(
                faults("a/src/a.rs", format!("//! a\nfn a() {{ {word}) }}\n")).len(),
                1,
                "{word}"
            );
            assert_eq!(
                faults("a/src/a.rs", format!("//! a\n// {word})\n")).len(),
                0,
                "{word}"
            );
        }
    }

    #[test]
    fn sleeping_is_for_production_code() {
        for sleep in SLEEPS {
            let call = format!("//! a\nfn a() {{ std::{sleep}x); let _ = {sleep}x) }}\n");
            assert_eq!(faults("a/tests/a.rs", call.clone()).len(), 1, "{sleep}");
            assert_eq!(faults("a/src/a.rs", call).len(), 0, "{sleep}");
        }
    }

    #[test]
    fn tests_that_do_not_run_are_found() {
        assert_eq!(
            faults("a/tests/a.rs", format!("//! a\n{IGNORED}]\nfn a() {{}}\n")).len(),
            1
        );
        assert_eq!(
            faults("a/src/a.rs", format!("//! a\n/// {IGNORED_DOC}\n")).len(),
            1
        );
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for home in HOMES {
            assert_eq!(faults("a.md", format!("see {home}x")).len(), 1, "{home}");
            assert_eq!(
                faults("a.md", format!("see target{home}x")).len(),
                0,
                "{home}"
            );
        }
    }

    #[test]
    fn a_file_needs_its_map_comment() {
        assert_eq!(faults("a/src/a.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn a_crate_needs_the_workspace_lints() {
        let head = "[package]\nname = \"a\"\n";
        assert_eq!(faults("a/Cargo.toml", head).len(), 1);
        assert_eq!(
            faults(
                "a/Cargo.toml",
                format!("{head}[lints]\n[dependencies]\nworkspace = true\n")
            )
            .len(),
            1
        );
        assert_eq!(
            faults("a/Cargo.toml", format!("{head}[lints]\nworkspace = true\n")).len(),
            0
        );
        assert_eq!(faults("Cargo.toml", "[workspace]\n").len(), 0);
        assert_eq!(
            faults("fuzz/Cargo.toml", format!("{head}[workspace]\n")).len(),
            0
        );
    }

    #[test]
    fn production_lines_count_and_unit_tests_do_not() {
        assert_eq!(faults("a/src/a.rs", lines(LINES)).len(), 0);
        assert_eq!(faults("a/src/a.rs", lines(LINES + 1)).len(), 1);
        let tested = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            lines(LINES),
            lines(LINES)
        );
        assert_eq!(faults("a/src/a.rs", tested).len(), 0);
        assert_eq!(faults("a/src/tests.rs", lines(LINES + 1)).len(), 0);
        assert_eq!(
            faults("crates/conformance/src/a.rs", lines(LINES + 1)).len(),
            1
        );
    }

    #[test]
    fn the_ratchet_allows_what_it_names_and_only_turns_one_way() {
        let ratchet = Ratchet::parse("# a comment = x\n\"a/src/a.rs\" = 600\n");
        let found = |count| check(&[source("a/src/a.rs", lines(count))], &ratchet);
        assert_eq!(found(600), [""; 0]);
        assert!(found(601)[0].contains("allows 600"));
        assert!(found(599)[0].contains("lower its number"));
        assert!(found(LINES)[0].contains("remove the line"));
        assert!(check(&[], &ratchet)[0].contains("is gone"));
        let generous = Ratchet::parse("\"a/src/a.rs\" = 900\n");
        assert!(check(&[source("a/src/a.rs", lines(801))], &generous)[0].contains("never more"));
    }
}
