//! `--to-dir`: the newest message of each topic in a file of its own.
//!
//! A topic is any text, a file name is not: see [`file_name`]. A file is written under another name and renamed, so
//! whoever reads it finds a whole message, the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::not_written;
use crate::exit::Exit;

/// A folder of messages.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// What a file is called while it is written; other programs that write here have other names.
    unfinished: PathBuf,
}

impl Folder {
    /// Makes the folder if it is not there, and sees whether it can be written to.
    pub(super) fn open(path: &Path) -> Result<Self, Exit> {
        let cannot = |error: &io::Error| not_written(&path.display().to_string(), error);
        match DirBuilder::new().create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(cannot(&error));
            }
            Ok(()) | Err(_) => {}
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Exit::failed(format!("no randomness: {error}")))?;
        let name = format!(".martlet-{:016x}.tmp", u64::from_le_bytes(random));
        let folder = Self {
            path: path.to_owned(),
            unfinished: path.join(name),
        };
        // Also says it if the path is no folder.
        folder.create().map_err(|error| cannot(&error))?;
        fs::remove_file(&folder.unfinished).map_err(|error| cannot(&error))?;
        Ok(folder)
    }

    /// Replaces the topic's file.
    pub(super) fn put(&self, topic: &str, bytes: &[u8]) -> Result<(), Exit> {
        let target = self.path.join(file_name(topic, FOLDS_CASE));
        let written = self
            .create()
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&self.unfinished, &target));
        written.map_err(|error| {
            // It may not be there.
            let _ = fs::remove_file(&self.unfinished);
            not_written(&target.display().to_string(), &error)
        })
    }

    /// A new file: nobody else's is written over, and no link is followed.
    fn create(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.unfinished)
    }
}

/// The name of a topic's file: percent-encoded, as in URLs, so that no two topics have the same name and each can be
/// read back.
///
/// Letters, digits, `-`, `_` and dots stay, but for a dot at the start: no topic is `..`, a hidden file, or a path.
/// Where the file system takes `a` for `A`, large letters are encoded, too. A name that is longer than file systems
/// allow is cut, and has the topic's SHA-256 behind a `~`, which stands in no other name.
fn file_name(topic: &str, folds_case: bool) -> String {
    let mut name = String::new();
    for (at, byte) in topic.bytes().enumerate() {
        let plain = match byte {
            b'A'..=b'Z' => !folds_case,
            b'.' => at > 0,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => true,
            _ => false,
        };
        if plain {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.extend(digits(byte));
        }
    }
    if name.len() > NAME_MAX {
        // One byte of the name is one character: it is ASCII.
        name.truncate(CUT);
        name.push('~');
        for byte in Sha256::digest(topic.as_bytes()) {
            name.extend(digits(byte));
        }
    }
    name
}

fn digits(byte: u8) -> impl Iterator<Item = char> {
    [byte >> 4, byte & 15]
        .into_iter()
        .filter_map(|half| char::from_digit(u32::from(half), 16))
        .map(|digit| digit.to_ascii_uppercase())
}

/// Whether file systems here mostly take small letters for large ones.
const FOLDS_CASE: bool = cfg!(any(windows, target_os = "macos"));
/// File systems allow 255 bytes; some tools put something behind a name.
const NAME_MAX: usize = 240;
/// What stays of a name that is too long: with `~` and 64 digits no longer than the longest.
const CUT: usize = 160;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::{Folder, file_name};

    #[test]
    fn a_topic_is_a_name_and_never_a_path() {
        for (topic, name) in [
            ("home/kitchen/temp", "home%2Fkitchen%2Ftemp"),
            ("..", "%2E."),
            (".", "%2E"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("/etc/passwd", "%2Fetc%2Fpasswd"),
            (".hidden", "%2Ehidden"),
            ("a.b-c_d", "a.b-c_d"),
            ("a%2Fb", "a%252Fb"),
            ("nul\0", "nul%00"),
            ("~", "%7E"),
            ("$SYS/x", "%24SYS%2Fx"),
            ("gr\u{fc}n \u{1f600}", "gr%C3%BCn%20%F0%9F%98%80"),
            ("C:\\x", "C%3A%5Cx"),
            ("Aa", "Aa"),
        ] {
            assert_eq!(file_name(topic, false), name);
        }
        assert_eq!(file_name("Aa", true), "%41a");
    }

    #[test]
    fn no_two_topics_share_a_name_and_all_names_fit() {
        let long = "x/".repeat(32_000);
        let mut topics: Vec<String> = [
            "a", "A", "a/b", "a%2Fb", "a~b", "a%7Eb", "/", "//", " ", "a/", "/a",
        ]
        .map(str::to_owned)
        .to_vec();
        for length in [100, 238, 239, 240, 241, 242, 300, 65_535] {
            topics.push("y".repeat(length));
            topics.push(format!("{}z", "y".repeat(length - 1)));
        }
        topics.push(long.clone());
        topics.push(format!("{long}y"));
        // What a cut name looks like is a topic, too.
        topics.push(file_name(&long, false));
        for folds_case in [false, true] {
            let mut seen = BTreeMap::new();
            for topic in &topics {
                let name = file_name(topic, folds_case);
                assert!(name.len() <= 240, "{name}");
                assert!(!name.contains(['/', '\\', '\0']) && !name.starts_with('.'));
                let key = if folds_case {
                    name.to_ascii_lowercase()
                } else {
                    name
                };
                assert_eq!(seen.insert(key, topic.clone()), None, "{topic}");
            }
        }
    }

    #[test]
    fn a_link_in_the_folder_is_replaced_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::write(&outside, "untouched").unwrap();
        let path = place.path().join("messages");
        let folder = Folder::open(&path).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&outside, path.join("t")).unwrap();
        folder.put("t", b"new").unwrap();
        assert_eq!(fs::read(path.join("t")).unwrap(), b"new");
        assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        // A folder stands where the file should be.
        fs::create_dir(place.path().join("t")).unwrap();
        fs::write(place.path().join("t").join("x"), "").unwrap();
        let exit = folder.put("t", b"new").unwrap_err();
        assert_eq!(exit.number(), 74);
        let names: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["t"]);
    }
}
