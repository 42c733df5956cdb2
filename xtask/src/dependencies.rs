//! `cargo xtask deny`: licences, sources, duplicates and wrappers of what we depend on, as `deny.toml` wants them.
//!
//! `cargo deny` does it where it is installed. Elsewhere this module does, from `Cargo.lock` and `cargo tree`: building
//! `cargo-deny` takes longer than all our tests. Neither asks an advisory database: that answer changes without a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use crate::files::Project;
use crate::steps::{Failure, cargo, output, run as run_command, succeeds};

pub(crate) fn run(project: &Project) -> Result<(), Failure> {
    let remedy =
        "deny.toml says what is allowed and why; prefer another dependency to another exception";
    if succeeds(Command::new("cargo-deny").args(["deny", "--version"])) {
        println!("checked by the installed cargo-deny");
        let arguments = [
            "deny",
            "--workspace",
            "check",
            "licenses",
            "bans",
            "sources",
        ];
        return run_command(cargo(&arguments).current_dir(project.root()), remedy);
    }
    println!(
        "cargo-deny is not installed: checked by our own reading of deny.toml, Cargo.lock and cargo tree"
    );
    let rules = Rules::parse(&project.read("deny.toml")?);
    let format = ["--prefix", "none", "--format", "{p}|{l}"];
    let tree = [
        "tree",
        "--workspace",
        "--locked",
        "--target",
        "all",
        "--edges",
        "all",
    ];
    let tree = output(cargo(&tree).args(format).current_dir(project.root()))?;

    let licences = licences(&tree);
    let mut locked = locked_packages(&project.read("Cargo.lock")?);
    // The lock also names what only features that nobody asked for would need.
    locked
        .retain(|package| licences.contains_key(&format!("{} v{}", package.name, package.version)));

    let mut faults = licence_faults(&licences, &rules);
    faults.extend(lock_faults(&locked, &rules));
    if faults.is_empty() {
        println!(
            "{} packages: licences, sources, duplicates and wrappers are as deny.toml wants them",
            locked.len()
        );
        return Ok(());
    }
    let mut list = format!("{} faults in the dependencies", faults.len());
    for fault in &faults {
        let _ = write!(list, "\n  {fault}");
    }
    Err(Failure::new(list, remedy))
}

/// What `deny.toml` says, as far as this check goes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    /// `[licenses] allow`
    licences: BTreeSet<String>,
    /// `[bans] skip`: `name@version` of which there may be another version
    duplicates: BTreeSet<String>,
    /// `[bans] deny`: a crate, and the only crates that may depend on it
    wrappers: BTreeMap<String, BTreeSet<String>>,
}

impl Rules {
    fn parse(text: &str) -> Self {
        let mut rules = Self::default();
        let mut array = "";
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
        {
            if let Some((key, _)) = line.split_once('=').filter(|(key, _)| !key.contains('{')) {
                array = key.trim();
            }
            let quoted: Vec<String> = line
                .split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            match array {
                "allow" => rules.licences.extend(quoted),
                "skip" => rules.duplicates.extend(quoted),
                "deny" => {
                    if let Some((banned, wrappers)) = quoted.split_first() {
                        rules
                            .wrappers
                            .insert(banned.clone(), wrappers.iter().cloned().collect());
                    }
                }
                _ => {}
            }
            if line.ends_with(']') {
                array = "";
            }
        }
        rules
    }
}

/// One `[[package]]` of `Cargo.lock`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Locked {
    name: String,
    version: String,
    /// None: a crate of this workspace
    source: Option<String>,
    /// names, without the versions that some carry
    dependencies: BTreeSet<String>,
}

fn locked_packages(text: &str) -> Vec<Locked> {
    let mut packages = Vec::new();
    for block in text.split("[[package]]").skip(1) {
        let mut package = Locked::default();
        for line in block.lines() {
            let value = |text: &str| text.trim_matches('"').to_owned();
            match line.split_once(" = ") {
                Some(("name", text)) => package.name = value(text),
                Some(("version", text)) => package.version = value(text),
                Some(("source", text)) => package.source = Some(value(text)),
                _ if line.starts_with(" \"") => {
                    // "name" or "name 1.2.3", in quotes
                    let entry = value(line.trim().trim_end_matches(','));
                    package
                        .dependencies
                        .extend(entry.split(' ').next().map(str::to_owned));
                }
                _ => {}
            }
        }
        packages.push(package);
    }
    packages
}

/// Sources, duplicates and wrappers.
fn lock_faults(packages: &[Locked], rules: &Rules) -> Vec<String> {
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let Locked {
            name,
            version,
            source,
            dependencies,
        } = package;
        if let Some(source) = source.as_deref().filter(|source| *source != CRATES_IO) {
            faults.push(format!("{name} {version} comes from {source}"));
        }
        versions.entry(name).or_default().push(version);
        for banned in dependencies {
            if rules
                .wrappers
                .get(banned)
                .is_some_and(|wrappers| !wrappers.contains(name))
            {
                faults.push(format!(
                    "{name} depends on {banned}, and is not among its wrappers"
                ));
            }
        }
    }
    for (name, versions) in &versions {
        let counted = versions
            .iter()
            .filter(|version| !rules.duplicates.contains(&format!("{name}@{version}")));
        if counted.count() > 1 {
            faults.push(format!(
                "{name} is there in {} versions: {}",
                versions.len(),
                versions.join(", ")
            ));
        }
    }
    let skipped_in_vain = rules.duplicates.iter().filter(|skipped| {
        let (name, version) = skipped.split_once('@').unwrap_or((skipped, ""));
        !versions
            .get(name)
            .is_some_and(|found| found.len() > 1 && found.contains(&version))
    });
    faults.extend(
        skipped_in_vain
            .map(|skipped| format!("deny.toml skips {skipped}, which is no duplicate any more")),
    );
    faults
}

/// "name v1.2.3" and its licence, for everything in the tree.
fn licences(tree: &str) -> BTreeMap<String, &str> {
    let lines = tree.lines().filter_map(|line| line.split_once('|'));
    lines
        .map(|(package, licence)| {
            // "name v1.2.3 (path or proc-macro)|licence (*)"
            let name: Vec<&str> = package.split(' ').take(2).collect();
            (name.join(" "), licence.trim_end_matches("(*)").trim())
        })
        .collect()
}

/// Packages whose licence asks for more than what is allowed.
fn licence_faults(licences: &BTreeMap<String, &str>, rules: &Rules) -> Vec<String> {
    let refused = licences
        .iter()
        .filter(|(_, licence)| !is_allowed(licence, &rules.licences));
    refused
        .map(|(name, licence)| {
            format!("{name} has the licence '{licence}', which deny.toml does not allow")
        })
        .collect()
}

/// Whether an SPDX expression can be satisfied with allowed licences alone.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // "MIT/Apache-2.0" is an old way to write OR. An exception (WITH) only adds permissions.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let satisfied = any_of(&words, &mut at, allowed);
    satisfied && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut satisfied = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        satisfied |= all_of(words, at, allowed);
    }
    satisfied
}

fn all_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut satisfied = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        satisfied &= one(words, at, allowed);
    }
    satisfied
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let satisfied = any_of(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return satisfied && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    allowed.contains(*word)
}

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn licence_expressions_are_understood() {
        let allowed = set(&["MIT", "Zlib"]);
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "MIT AND Zlib",
            "(GPL-3.0 OR MIT) AND Zlib",
            "MIT WITH x",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "Apache-2.0",
            "MIT AND Apache-2.0",
            "(MIT OR Zlib) AND GPL-3.0",
            "MIT Zlib",
            "(MIT",
            "MIT)",
        ] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_named_once() {
        let rules = Rules {
            licences: set(&["MIT"]),
            ..Rules::default()
        };
        let tree =
            "a v1.0.0|MIT\nb v2.0.0 (proc-macro)|GPL-3.0\nb v2.0.0 (proc-macro)|GPL-3.0 (*)\n\n";
        let faults = licence_faults(&licences(tree), &rules);
        assert_eq!(
            faults,
            ["b v2.0.0 has the licence 'GPL-3.0', which deny.toml does not allow"]
        );
    }

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"b 2.0.0\",\n \
        \"c\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"git+https://example.org/b\"\n\n[[package]]\n\
        name = \"b\"\nversion = \"2.0.0\"\n";

    #[test]
    fn foreign_sources_duplicates_and_unwrapped_uses_are_found() {
        let packages = locked_packages(LOCK);
        assert_eq!(packages[0].dependencies, set(&["b", "c"]));
        let wrappers = BTreeMap::from([("c".to_owned(), set(&["d"]))]);
        let faults = lock_faults(
            &packages,
            &Rules {
                wrappers,
                ..Rules::default()
            },
        );
        assert_eq!(
            faults,
            [
                "a depends on c, and is not among its wrappers",
                "b 1.0.0 comes from git+https://example.org/b",
                "b is there in 2 versions: 1.0.0, 2.0.0",
            ]
        );
    }

    #[test]
    fn a_skipped_duplicate_is_no_fault_until_it_is_gone() {
        let rules = Rules {
            duplicates: set(&["b@1.0.0"]),
            ..Rules::default()
        };
        let mut packages =
            locked_packages(&LOCK.replace("source = \"git+https://example.org/b\"\n", ""));
        assert_eq!(lock_faults(&packages, &rules), [""; 0]);
        packages.remove(1);
        assert_eq!(
            lock_faults(&packages, &rules),
            ["deny.toml skips b@1.0.0, which is no duplicate any more"]
        );
    }

    #[test]
    fn the_rules_are_read_from_deny_toml() {
        let text = "[licenses]\nallow = [\n    \"MIT\", # why\n    \"Zlib\",\n]\n[bans]\nmultiple-versions = \"deny\"\n\
            skip = [\"b@1.0.0\"]\ndeny = [\n    { crate = \"tokio\", wrappers = [\"x\", \"y\"] },\n]\n[sources]\nallow-registry = [\"z\"]\n";
        let rules = Rules::parse(text);
        assert_eq!(rules.licences, set(&["MIT", "Zlib"]));
        assert_eq!(rules.duplicates, set(&["b@1.0.0"]));
        assert_eq!(
            rules.wrappers,
            BTreeMap::from([("tokio".to_owned(), set(&["x", "y"]))])
        );
    }
}
