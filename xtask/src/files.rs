//! The project's files: where they are, which there are, and which of their lines are tests.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::steps::Failure;

/// The checkout this program was called in.
#[derive(Debug)]
pub(crate) struct Project {
    root: PathBuf,
}

impl Project {
    /// The checkout whose xtask is running.
    pub(crate) fn here() -> Self {
        // Set by `cargo run`; by hand, one stands in the root.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = manifest
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or_else(|| Path::new("."));
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.path("target"), |dir| self.root.join(dir))
    }

    pub(crate) fn read(&self, relative: &str) -> Result<String, Failure> {
        fs::read_to_string(self.path(relative)).map_err(|error| {
            Failure::new(
                format!("{relative} cannot be read: {error}"),
                "restore the file",
            )
        })
    }

    /// Every text file of ours with one of these endings, by path.
    pub(crate) fn sources(&self, endings: &[&str]) -> Result<Vec<Source>, Failure> {
        let mut paths = Vec::new();
        collect(&self.root, &mut paths).map_err(|error| {
            Failure::new(
                format!("the sources cannot be listed: {error}"),
                "see the message",
            )
        })?;
        let mut sources = Vec::new();
        for path in paths {
            let Ok(relative) = path.strip_prefix(&self.root) else {
                continue;
            };
            let relative = relative.to_string_lossy().replace('\\', "/");
            if endings.iter().any(|ending| relative.ends_with(ending)) {
                let text = self.read(&relative)?;
                sources.push(Source {
                    path: relative,
                    text,
                });
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(sources)
    }
}

/// One file, with its path from the root.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|ending| ending == "rs")
    }

    /// Whether the whole file is test code, by its place.
    pub(crate) fn is_test_file(&self) -> bool {
        let path = self.path.as_str();
        // `mod tests;` keeps long unit tests in a file or folder of that name.
        path.split('/')
            .any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
            || TEST_CRATES.iter().any(|folder| path.starts_with(folder))
    }

    /// The number of lines in front of the unit tests; the whole file if it has none.
    pub(crate) fn production_lines(&self) -> usize {
        self.first_test_line()
            .unwrap_or_else(|| self.text.lines().count())
    }

    /// Each line with its number from 1 and whether it is test code.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let tests_from = if self.is_test_file() {
            0
        } else {
            self.first_test_line().unwrap_or(usize::MAX)
        };
        self.text
            .lines()
            .enumerate()
            .map(move |(index, text)| Line {
                number: index + 1,
                text,
                in_test: index >= tests_from,
            })
    }

    fn first_test_line(&self) -> Option<usize> {
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        lines.iter().enumerate().position(|(index, line)| {
            // `#[cfg(test)] mod tests;` points elsewhere, and production code may follow it.
            let opens_block = lines
                .iter()
                .skip(index + 1)
                .find(|next| !next.starts_with("#[") && !next.starts_with("//"));
            *line == "#[cfg(test)]" && opens_block.is_some_and(|next| next.ends_with('{'))
        })
    }
}

/// One line of a [`Source`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) number: usize,
    pub(crate) text: &'a str,
    pub(crate) in_test: bool,
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !name.starts_with('.') && !NOT_OURS.contains(&name.as_ref()) {
                collect(&entry.path(), paths)?;
            }
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

/// Folders that hold what tools made or fetched.
const NOT_OURS: [&str; 6] = [
    "target",
    "node_modules",
    "__pycache__",
    "artifacts",
    "corpus",
    "coverage",
];

/// Crates that exist to test the others.
const TEST_CRATES: [&str; 3] = ["crates/conformance/", "crates/interop/", "crates/sim/"];

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_behind_the_test_module_are_tests() {
        let file = source(
            "crates/codec/src/a.rs",
            "//! a\nfn a() {}\n#[cfg(test)]\nmod tests {\n}\n",
        );
        assert_eq!(file.production_lines(), 2);
        let marks: Vec<bool> = file.lines().map(|line| line.in_test).collect();
        assert_eq!(marks, [false, false, true, true, true]);
    }

    #[test]
    fn a_test_module_in_another_file_ends_nothing() {
        let file = source(
            "crates/codec/src/a.rs",
            "//! a\n#[cfg(test)]\nmod tests;\nfn a() {}\n",
        );
        assert_eq!(file.production_lines(), 4);
        assert!(file.lines().all(|line| !line.in_test));
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        for path in [
            "crates/a/tests/x.rs",
            "crates/a/src/tests.rs",
            "crates/a/src/b/tests/c.rs",
            "crates/sim/src/w.rs",
        ] {
            assert!(source(path, "").is_test_file(), "{path}");
        }
        for path in [
            "crates/a/src/x.rs",
            "crates/a/src/contests.rs",
            "xtask/src/main.rs",
        ] {
            assert!(!source(path, "").is_test_file(), "{path}");
        }
    }
}
