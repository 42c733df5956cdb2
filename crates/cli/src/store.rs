//! `martlet store`: look at what a broker keeps in its directory, print it, put it right, copy it.
//!
//! Map: here what may be typed, and what each tool does; `telling` says what was found, to people and to programs. The
//! tools themselves are `martlet_store::tools`.

mod telling;

use std::env;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use martlet_broker::config::{Flags, Sources};
use martlet_broker::state_directory;
use martlet_store::tools::{self, BackupError, DumpForm, RepairError};
use martlet_store::{OpenError, Phase, Progress, RealDisk, Settings};

use self::telling::{Outcome, Told, User};
use crate::check::read_into;
use crate::exit::{DAMAGED, Exit, STORE_CODES};
use crate::progress::ProgressLine;

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Look whether everything is there and as it was written. Changes nothing; a broker may be using it.
    Verify(Place),
    /// Print every record, the oldest first; a `-` in front says that it does not count any more. Changes nothing;
    /// a broker may be using it.
    Dump(Place),
    /// Put right what can be, as a start of the broker would, and go on where that would give up. Damaged files are
    /// set aside, not deleted. No broker may be using it.
    Repair(Place),
    /// Copy the store to a new directory. A broker may be using it, and one can be started on the copy.
    Backup(Copy),
}

/// Which store.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The store's directory; by default the broker's: `--config`, `MARTLET_DATA_DIR`, or the user's state directory.
    #[arg(value_name = "DIR", conflicts_with = "data_dir")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    broker: BrokersPlace,
}

/// What to copy where.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Where the copy goes: a directory that is not there yet, or has no store in it.
    #[arg(value_name = "DIR")]
    to: PathBuf,

    #[command(flatten)]
    broker: BrokersPlace,
}

/// The store of a broker, as that is told where it is; and how to tell about it.
#[derive(Debug, Args)]
struct BrokersPlace {
    /// The store's directory, as the broker calls it; by default the broker's: `--config`, `MARTLET_DATA_DIR`, or the
    /// user's state directory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The broker's TOML file, for its directory.
    #[arg(
        long,
        value_name = "FILE",
        env = "MARTLET_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,

    /// Print JSON: one object, or for dump one a line.
    #[arg(long)]
    json: bool,
}

/// Uses a tool.
pub(crate) fn run(tool: &Tool, out: &mut dyn Write) -> Result<(), Exit> {
    match tool {
        Tool::Verify(place) => verify(place, out),
        Tool::Dump(place) => dump(place, out),
        Tool::Repair(place) => repair(place, out),
        Tool::Backup(copy) => backup(copy, out),
    }
}

fn verify(place: &Place, out: &mut dyn Write) -> Result<(), Exit> {
    let directory = place.directory()?;
    let mut disk = RealDisk::new(&directory);
    let recovery = tools::verify(&mut disk, &mut watch("looking"))
        .map_err(|error| cannot(&directory, &error))?;
    let told = Told {
        outcome: Outcome::of_look(&recovery),
        directory: &directory,
        recovery: &recovery,
        user: User::of(&disk),
        copy: None,
    };
    told.tell(place.broker.json, out)
}

fn dump(place: &Place, out: &mut dyn Write) -> Result<(), Exit> {
    let directory = place.directory()?;
    let form = if place.broker.json {
        DumpForm::JsonLines
    } else {
        DumpForm::Text
    };
    let mut lines = BufWriter::with_capacity(64 << 10, out);
    let dumped = tools::dump(&mut RealDisk::new(&directory), form, &mut lines);
    let recovery = match dumped {
        // Who reads has had enough.
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            // Or dropping it would try once more.
            let _ = lines.into_parts();
            return Ok(());
        }
        result => result.map_err(|error| cannot(&directory, &error))?,
    };
    telling::quietly(lines.flush())?;
    for fault in &recovery.faults {
        // Standard error being closed leaves the exit code to tell it.
        let _ = writeln!(io::stderr(), "martlet: {}: {fault}", directory.display());
    }
    if recovery.has_loss() {
        return Err(damaged(
            &directory,
            "something that was acknowledged is lost",
        ));
    }
    Ok(())
}

fn repair(place: &Place, out: &mut dyn Write) -> Result<(), Exit> {
    let directory = place.directory()?;
    let settings = Settings::new(u64::from(std::process::id()));
    let repaired = tools::repair(RealDisk::new(&directory), settings, &mut watch("repairing"));
    let recovery = repaired.map_err(|error| match error {
        RepairError::Open(error) => cannot(&directory, &error),
        other @ (RepairError::Store(_) | _) => Exit::failed(format!(
            "{}: {other}; look after the disk (dmesg), then try again",
            directory.display()
        )),
    })?;
    let told = Told {
        outcome: Outcome::of_repair(&recovery),
        directory: &directory,
        recovery: &recovery,
        user: User::Nobody,
        copy: None,
    };
    told.tell(place.broker.json, out)
}

fn backup(copy: &Copy, out: &mut dyn Write) -> Result<(), Exit> {
    let from = copy.broker.directory(None)?;
    make_private(&copy.to)?;
    let mut disk = RealDisk::new(&from);
    let mut to = RealDisk::new(&copy.to);
    let done = tools::backup(&mut disk, &mut to, &mut watch("copying"));
    let done = done.map_err(|error| match &error {
        BackupError::From(error) => cannot(&from, error),
        BackupError::To(error @ OpenError::Locked { .. }) => cannot(&copy.to, error),
        BackupError::To(error) => Exit::failed(format!(
            "{}: {error}; {}; the copy is not finished: remove it before the next try",
            copy.to.display(),
            remedy(error)
        )),
        BackupError::NotEmpty | BackupError::TooFast | _ => {
            Exit::failed(format!("{}: {error}", copy.to.display()))
        }
    })?;
    let told = Told {
        outcome: Outcome::of_copy(&done.recovery),
        directory: &from,
        recovery: &done.recovery,
        user: User::of(&disk),
        copy: Some((&copy.to, done.bytes)),
    };
    told.tell(copy.broker.json, out)
}

impl Place {
    fn directory(&self) -> Result<PathBuf, Exit> {
        self.broker.directory(self.directory.as_deref())
    }
}

impl BrokersPlace {
    /// The directory that was named, or the broker's.
    fn directory(&self, named: Option<&Path>) -> Result<PathBuf, Exit> {
        broker_directory(named.or(self.data_dir.as_deref()), self.config.as_deref())
    }
}

/// The directory that was named, or else the one that a broker would take.
fn broker_directory(named: Option<&Path>, file: Option<&Path>) -> Result<PathBuf, Exit> {
    let directory = match named {
        Some(named) => named.to_owned(),
        None => configured(file)?,
    };
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(Exit::failed(format!(
        "{}: there is no such directory; {NAME_IT}",
        directory.display()
    )))
}

fn configured(file: Option<&Path>) -> Result<PathBuf, Exit> {
    let mut sources = Sources::new();
    if let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) {
        read_into(&mut sources, file)?;
    }
    sources.environment(env::vars_os());
    sources.flags(&Flags::default());
    let config = sources.check().map_err(Exit::configuration)?;
    let config = config.or_directory(|| state_directory(|name| env::var_os(name)));
    config
        .storage()
        .directory()
        .map(Path::to_owned)
        .ok_or_else(|| {
            Exit::configuration(
                "the broker's configuration keeps nothing (durability \"memory\"); name a directory",
            )
        })
}

/// What is in a store concerns nobody but its user: so it is with the copy.
fn make_private(directory: &Path) -> Result<(), Exit> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|error| {
        Exit::failed(format!(
            "cannot make the directory {}: {error}; name another one, or give this user the right to write there",
            directory.display()
        ))
    })
}

fn watch(work: &'static str) -> impl FnMut(Progress) {
    let mut line = ProgressLine::new();
    move |progress| {
        let doing = match progress.phase {
            Phase::Checking => "checking",
            Phase::Counting => "counting",
            Phase::Copying => "segments",
        };
        let total = progress.bytes_total.max(1);
        let percent = progress.bytes_done.min(total).saturating_mul(100) / total;
        line.show(work, doing, u8::try_from(percent).unwrap_or(100));
    }
}

fn cannot(directory: &Path, error: &OpenError) -> Exit {
    let place = directory.display();
    match remedy(error) {
        "" => Exit::failed(format!("{place}: {error}")),
        remedy => Exit::failed(format!("{place}: {error}; {remedy}")),
    }
}

/// What to do, where the error does not say so itself.
fn remedy(error: &OpenError) -> &'static str {
    if matches!(error, OpenError::NoStore) {
        return NAME_IT;
    }
    let OpenError::Io { source, .. } = error else {
        return "";
    };
    let kind = source.kind();
    if kind == io::ErrorKind::PermissionDenied {
        "run this as the user that the broker runs as"
    } else if matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        "free some space there"
    } else {
        "look after the disk (dmesg)"
    }
}

fn damaged(directory: &Path, what: &str) -> Exit {
    Exit::new(DAMAGED, format!("{}: {what}", directory.display()))
}

/// What stands below the help.
pub(crate) fn after_help() -> String {
    let codes = STORE_CODES.map(|(code, meaning)| format!("  {code}  {meaning}"));
    format!("{EXAMPLES}{}", codes.join("\n"))
}

const NAME_IT: &str = "name the one that the broker prints when it starts ('state in ...')";

const EXAMPLES: &str = "\
Examples:
  martlet store verify                            is the broker's store whole?
  martlet store verify /var/lib/martlet --json    the same for a program
  martlet store backup /backup/monday             copy it while the broker runs
  martlet broker --data-dir /backup/monday        start a broker on the copy
  martlet store dump | grep ' retained '          records that retain a message

Exit codes:
";
