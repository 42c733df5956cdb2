//! `martlet passwd`, and mosquitto_passwd: names and password hashes in a file.
//!
//! Map: here the command line; `file` changes the file, `hash` makes the hashes.

mod file;
mod hash;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::path::PathBuf;

use self::file::Change;
use self::hash::Scheme;
use crate::exit::{BAD_INPUT, Exit, FAILED, USAGE};
use crate::programs::Dialect;

/// Name, value and meaning of each option.
pub(crate) const OPTIONS: [(&str, &str, &str); 8] = [
    (
        "-b",
        "",
        "The password is the last word of the command line; others can see it in the process list",
    ),
    ("-c", "", "Make a new file, in place of one that is there"),
    ("-D", "", "Remove the user"),
    (
        "-H",
        "HASH",
        "sha512-pbkdf2 (the default), or sha512 for programs that know no other",
    ),
    (
        "-I",
        "COUNT",
        "Iterations of sha512-pbkdf2 [20000; as mosquitto_passwd: 101]",
    ),
    (
        "-U",
        "",
        "Hash the plain passwords of a file; hashes stay as they are",
    ),
    (
        "--password-file",
        "FILE",
        "Read the password from the first line of a file",
    ),
    ("--help", "", "This text"),
];

/// Runs it; the words behind the program's name.
pub(crate) fn run(words: &[OsString], dialect: Dialect, out: &mut dyn Write) -> Result<(), Exit> {
    let Some(job) = parse(words, dialect, out)? else {
        return Ok(());
    };
    let Job {
        path,
        task,
        scheme,
        create,
    } = job;
    if create {
        file::check_name(task.user()).map_err(|error| user_error(&error, dialect))?;
    }
    let change = match task {
        Task::HashPlain => Change::HashPlain(scheme),
        Task::Remove(user) => Change::Remove(user),
        Task::Set(user, source) => {
            file::check_name(&user).map_err(|error| user_error(&error, dialect))?;
            if !create && !path.exists() && dialect == Dialect::Mosquitto {
                return file::read(&path)
                    .map(|_| ())
                    .map_err(|error| file_error(&error));
            }
            let password = password(source, dialect, out)?;
            if password.len() > 65_535 {
                return Err(user_error(
                    &"Password must be less than 65536 characters long.",
                    dialect,
                ));
            }
            let hash = hash::hash(&password, scheme)
                .map_err(|error| Exit::failed(format!("no salt: {error}")))?;
            Change::Set { user, hash }
        }
    };
    file::apply(&path, &change, create, dialect).map_err(|error| file_error(&error))
}

struct Job {
    path: PathBuf,
    task: Task,
    scheme: Scheme,
    create: bool,
}

enum Task {
    Set(String, PasswordSource),
    Remove(String),
    HashPlain,
}

impl Task {
    fn user(&self) -> &str {
        match self {
            Self::Set(user, _) | Self::Remove(user) => user,
            Self::HashPlain => "-",
        }
    }
}

enum PasswordSource {
    Ask,
    Given(Vec<u8>),
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a command line are independent"
)]
struct Flags {
    batch: bool,
    create: bool,
    delete: bool,
    update: bool,
    hash: Option<String>,
    iterations: Option<String>,
    password_file: Option<OsString>,
    help: bool,
}

/// None: only help was asked for.
fn parse(words: &[OsString], dialect: Dialect, out: &mut dyn Write) -> Result<Option<Job>, Exit> {
    let mut flags = Flags::default();
    let rest = read_flags(words, &mut flags, dialect)?;
    if flags.help && dialect == Dialect::Martlet {
        out.write_all(usage(dialect).as_bytes())
            .map_err(Exit::failed)?;
        return Ok(None);
    }
    for (both, text) in [
        (
            flags.create && flags.delete,
            "-c and -D cannot be used together.",
        ),
        (
            flags.create && flags.update,
            "-c and -U cannot be used together.",
        ),
        (
            flags.delete && flags.update,
            "-D and -U cannot be used together.",
        ),
        (
            flags.batch && flags.delete,
            "-b and -D cannot be used together.",
        ),
    ] {
        if both {
            return Err(user_error(&text, dialect));
        }
    }
    let scheme = scheme(&flags, dialect)?;
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let (path, task) = match (rest, flags.batch, flags.delete, flags.update) {
        ([path], false, false, true) => (path, Task::HashPlain),
        ([path, user], false, true, false) => (path, Task::Remove(text(user))),
        ([path, user], false, false, false) => (path, Task::Set(text(user), source(&flags)?)),
        ([path, user, password], true, false, false) => {
            let given = PasswordSource::Given(password.as_encoded_bytes().to_vec());
            (path, Task::Set(text(user), given))
        }
        _ => return Err(wrong_count(&flags, dialect, out)),
    };
    Ok(Some(Job {
        path: path.into(),
        task,
        scheme,
        create: flags.create,
    }))
}

fn read_flags<'w>(
    words: &'w [OsString],
    flags: &mut Flags,
    dialect: Dialect,
) -> Result<&'w [OsString], Exit> {
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        let name = word.to_string_lossy();
        let value = |option: &str| {
            let value = behind
                .first()
                .map(|value| value.to_string_lossy().into_owned());
            value.ok_or_else(|| {
                user_error(
                    &format!("{option} argument given but not enough other arguments."),
                    dialect,
                )
            })
        };
        let mut used = 0;
        match name.as_ref() {
            "-b" => flags.batch = true,
            "-c" => flags.create = true,
            "-D" => flags.delete = true,
            "-U" => flags.update = true,
            "-H" => {
                flags.hash = Some(value("-H")?);
                used = 1;
            }
            "-I" => {
                flags.iterations = Some(value("-I")?);
                used = 1;
            }
            "--password-file" if dialect == Dialect::Martlet => {
                value("--password-file")?;
                flags.password_file = behind.first().cloned();
                used = 1;
            }
            "--help" => {
                flags.help = true;
                return Ok(&[]);
            }
            option
                if option.starts_with('-') && option.len() > 1 && dialect == Dialect::Martlet =>
            {
                return Err(Exit::new(
                    USAGE,
                    format!("there is no option '{option}' here; --help lists them"),
                ));
            }
            _ => break,
        }
        rest = behind.get(used..).unwrap_or_default();
    }
    Ok(rest)
}

fn scheme(flags: &Flags, dialect: Dialect) -> Result<Scheme, Exit> {
    let default = match dialect {
        Dialect::Martlet => 20_000,
        Dialect::Mosquitto => 101,
    };
    let iterations = match &flags.iterations {
        None => default,
        Some(text) => text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| user_error(&"Number of iterations must be > 0.", dialect))?,
    };
    match flags.hash.as_deref() {
        None | Some("sha512-pbkdf2") => Ok(Scheme::Pbkdf2(iterations)),
        Some("sha512") => Ok(Scheme::Sha512),
        Some(other) => Err(user_error(&format!("Unknown hash type '{other}'"), dialect)),
    }
}

fn source(flags: &Flags) -> Result<PasswordSource, Exit> {
    let Some(path) = &flags.password_file else {
        return Ok(PasswordSource::Ask);
    };
    let bytes = std::fs::read(path).map_err(|error| {
        Exit::new(
            BAD_INPUT,
            format!("cannot read {}: {error}", path.to_string_lossy()),
        )
    })?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    Ok(PasswordSource::Given(
        line.strip_suffix(b"\r").unwrap_or(line).to_vec(),
    ))
}

/// The words are too many or too few.
fn wrong_count(flags: &Flags, dialect: Dialect, out: &mut dyn Write) -> Exit {
    let text = match (flags.create, flags.batch, flags.delete, flags.update) {
        (true, true, ..) => "-c argument given but password file, username, or password missing.",
        (true, false, ..) => "-c argument given but password file or username missing.",
        (_, _, true, _) => "-D argument given but password file or username missing.",
        (_, _, _, true) => "-U argument given but password file missing.",
        _ => match dialect {
            Dialect::Martlet => {
                return Exit::new(USAGE, "which file, and which user? --help shows how");
            }
            Dialect::Mosquitto => {
                // Standard output being closed leaves the exit code to tell it.
                let _ = out.write_all(usage(dialect).as_bytes());
                return Exit::new(FAILED, "");
            }
        },
    };
    user_error(&text, dialect)
}

/// An error of the command line in the words of mosquitto_passwd, which are clear enough.
fn user_error(text: &dyn std::fmt::Display, dialect: Dialect) -> Exit {
    match dialect {
        Dialect::Martlet => Exit::new(USAGE, text),
        Dialect::Mosquitto => Exit::new(FAILED, format!("Error: {text}")),
    }
}

fn file_error(error: &file::Error) -> Exit {
    Exit::failed(error)
}

/// Asks twice on a terminal; mosquitto_passwd asks twice everywhere.
fn password(
    source: PasswordSource,
    dialect: Dialect,
    out: &mut dyn Write,
) -> Result<Vec<u8>, Exit> {
    if let PasswordSource::Given(password) = source {
        return Ok(password);
    }
    let terminal = io::stdin().is_terminal();
    if dialect == Dialect::Martlet && !terminal {
        let password = line_of_input()?;
        if password.is_empty() {
            return Err(Exit::new(
                BAD_INPUT,
                "standard input has no password; write one line, or use a terminal",
            ));
        }
        return Ok(password);
    }
    let mut ask = |prompt: &str| -> Result<Vec<u8>, Exit> {
        match dialect {
            Dialect::Martlet => write!(io::stderr(), "{prompt}").map_err(Exit::failed)?,
            Dialect::Mosquitto => {
                write!(out, "{prompt}")
                    .and_then(|()| out.flush())
                    .map_err(Exit::failed)?;
            }
        }
        let password = if terminal {
            rpassword::read_password()
                .map(String::into_bytes)
                .map_err(Exit::failed)?
        } else {
            line_of_input()?
        };
        if dialect == Dialect::Mosquitto && !password.is_empty() {
            writeln!(out).map_err(Exit::failed)?;
        }
        Ok(password)
    };
    let first = ask("Password: ")?;
    if first.is_empty() {
        return Err(Exit::new(FAILED, "Error: Empty password."));
    }
    let second = ask("Reenter password: ")?;
    if first != second {
        let code = if dialect == Dialect::Mosquitto {
            2
        } else {
            BAD_INPUT
        };
        return Err(Exit::new(code, "Error: Passwords do not match."));
    }
    Ok(first)
}

fn line_of_input() -> Result<Vec<u8>, Exit> {
    let mut line = Vec::new();
    io::stdin()
        .lock()
        .read_until(b'\n', &mut line)
        .map_err(Exit::failed)?;
    while line
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        line.pop();
    }
    Ok(line)
}

fn usage(dialect: Dialect) -> String {
    let name = match dialect {
        Dialect::Martlet => "martlet passwd",
        Dialect::Mosquitto => "mosquitto_passwd",
    };
    let mut text = format!(
        "Names and password hashes in a file, in mosquitto's format.\n\n\
         Usage: {name} [-H HASH] [-c | -D] FILE USER\n       {name} [-H HASH] [-c] -b FILE USER PASSWORD\n       \
         {name} -U FILE\n\n"
    );
    for (option, value, help) in OPTIONS {
        if dialect == Dialect::Mosquitto && option.starts_with("--") {
            continue;
        }
        let head = format!("{option} {value}");
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  {head:<24}{help}");
    }
    text
}
