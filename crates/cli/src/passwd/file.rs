//! Changes a password file: as a whole, by a new file that takes its place.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::hash::{self, Scheme, is_hash};
use crate::programs::Dialect;

/// What to do.
#[derive(Debug)]
pub(super) enum Change {
    Set { user: String, hash: String },
    Remove(String),
    HashPlain(Scheme),
}

/// What went wrong, in the words of mosquitto_passwd.
#[derive(Debug)]
pub(super) enum Error {
    Open(PathBuf, io::Error),
    Create(PathBuf, io::Error),
    Write(PathBuf, io::Error),
    Corrupt { line: usize },
    NoUser(String),
    Salt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path, error) => write!(
                f,
                "Error: Unable to open password file {}. {}.",
                path.display(),
                reason(error)
            ),
            Self::Create(path, error) => write!(
                f,
                "Error: Unable to open file {} for writing. {}.",
                path.display(),
                reason(error)
            ),
            Self::Write(path, error) => {
                write!(
                    f,
                    "Error: cannot write {}: {error}; the old file is as it was",
                    path.display()
                )
            }
            Self::Corrupt { line } => write!(f, "Error: Corrupt password file at line {line}."),
            Self::NoUser(user) => write!(f, "Warning: User {user} not found in password file."),
            Self::Salt(error) => write!(f, "Error: no salt: {error}"),
        }
    }
}

/// The system's words without the number that Rust adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Whether a name can stand in front of a colon in a line.
pub(super) fn check_name(user: &str) -> Result<(), &'static str> {
    if user.len() > 65_535 {
        Err("Username must be less than 65536 characters long.")
    } else if user.chars().any(char::is_control) {
        Err("Username must not contain control characters.")
    } else if user.contains(':') {
        Err("Username must not contain the ':' character.")
    } else {
        Ok(())
    }
}

/// The file's text.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|error| Error::Open(path.to_owned(), error))?;
    String::from_utf8(bytes).map_err(|_| Error::Corrupt { line: 1 })
}

/// Makes the change. A new file, or one that was not there, can be read by its owner only.
pub(super) fn apply(
    path: &Path,
    change: &Change,
    create: bool,
    dialect: Dialect,
) -> Result<(), Error> {
    let is_new =
        dialect == Dialect::Martlet && matches!(change, Change::Set { .. }) && !path.exists();
    let old = if create || is_new {
        String::new()
    } else {
        read(path)?
    };
    let new = changed(&old, change)?;
    replace(path, &new, dialect)
}

/// The file's text after the change.
fn changed(old: &str, change: &Change) -> Result<String, Error> {
    let mut new = String::with_capacity(old.len() + 160);
    let mut found = false;
    for (index, line) in old.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            new.push_str(line);
            new.push('\n');
            continue;
        }
        let corrupt = Error::Corrupt { line: index + 1 };
        let Some((user, field)) = line
            .split_once(':')
            .filter(|(user, field)| !user.is_empty() && !field.is_empty())
        else {
            return Err(corrupt);
        };
        match change {
            Change::Set { user: wanted, hash } if user == wanted => {
                found = true;
                push_line(&mut new, user, hash);
            }
            Change::Remove(wanted) if user == wanted => found = true,
            Change::HashPlain(scheme) if !is_hash(field) => {
                let hash = hash::hash(field.trim().as_bytes(), *scheme);
                push_line(
                    &mut new,
                    user,
                    &hash.map_err(|error| Error::Salt(error.to_string()))?,
                );
            }
            Change::Set { .. } | Change::Remove(_) | Change::HashPlain(_) => {
                push_line(&mut new, user, field);
            }
        }
    }
    match change {
        Change::Set { user, hash } if !found => push_line(&mut new, user, hash),
        Change::Remove(user) if !found => return Err(Error::NoUser(user.clone())),
        Change::Set { .. } | Change::Remove(_) | Change::HashPlain(_) => {}
    }
    Ok(new)
}

fn push_line(text: &mut String, user: &str, field: &str) {
    text.push_str(user);
    text.push(':');
    text.push_str(field);
    text.push('\n');
}

/// Writes a file beside it and renames it: whoever reads sees the old file or the new one, and never a half.
fn replace(path: &Path, text: &str, dialect: Dialect) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(if dialect == Dialect::Mosquitto {
            0o666
        } else {
            0o600
        });
    }
    #[cfg(not(unix))]
    let _ = dialect;
    let mut file = options
        .open(&beside)
        .map_err(|error| Error::Create(path.to_owned(), error))?;
    let mut write = || {
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    let written = write();
    written.map_err(|error| {
        // What is left over is in nobody's way.
        let _ = fs::remove_file(&beside);
        Error::Write(path.to_owned(), error)
    })
}

#[cfg(test)]
mod tests {
    use super::{Change, Error, Scheme, changed, check_name};

    fn set(user: &str, hash: &str) -> Change {
        Change::Set {
            user: user.to_owned(),
            hash: hash.to_owned(),
        }
    }

    #[test]
    fn a_user_is_added_changed_and_removed_in_place() {
        let one = changed("", &set("a", "1")).unwrap();
        let two = changed(&one, &set("b", "2")).unwrap();
        assert_eq!(changed(&two, &set("a", "3")).unwrap(), "a:3\nb:2\n");
        assert_eq!(
            changed(&two, &Change::Remove("a".to_owned())).unwrap(),
            "b:2\n"
        );
        let missing = changed(&two, &Change::Remove("c".to_owned()));
        assert!(matches!(missing, Err(Error::NoUser(user)) if user == "c"));
    }

    #[test]
    fn comments_stay_and_a_line_without_a_colon_stops_everything() {
        let old = "# people\n\na:1\n";
        assert_eq!(
            changed(old, &set("b", "2")).unwrap(),
            "# people\n\na:1\nb:2\n"
        );
        for (broken, line) in [("a:1\nb\n", 2), (":x\n", 1), ("a:\n", 1)] {
            let error = changed(broken, &set("c", "3")).unwrap_err();
            assert!(
                matches!(error, Error::Corrupt { line: at } if at == line),
                "{broken}"
            );
        }
    }

    #[test]
    fn only_plain_passwords_are_hashed() {
        let new = changed("a:plain\n", &Change::HashPlain(Scheme::Pbkdf2(5))).unwrap();
        assert!(new.starts_with("a:$7$5$"), "{new}");
        assert_eq!(
            changed(&new, &Change::HashPlain(Scheme::Pbkdf2(5))).unwrap(),
            new
        );
    }

    #[test]
    fn names_that_would_break_a_line_are_refused() {
        assert!(check_name("a b").is_ok());
        for wrong in ["a:b", "a\nb", &"x".repeat(70_000)] {
            assert!(check_name(wrong).is_err());
        }
    }
}
