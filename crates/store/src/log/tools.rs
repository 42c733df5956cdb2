//! Tools for stores that no broker needs to be running for: look, show, put right, copy.
//!
//! [`verify`] and [`dump`] change nothing and take no lock; [`backup`] does not, either, on the store that it copies. All three
//! can be used while a broker works with the store: they see some prefix of what it has written. [`repair`] takes the lock.

mod backup;
mod describe;
mod dump;

use std::io;

use super::format::{self, FormatFile};
use super::open::Reading;
use super::reserve::LARGE_PATH;
use super::segment::{FOLDER, SALVAGE_SUFFIX, SPARE_PATH, path_of};
use super::settings::{OpenError, Settings};
use super::survey::Survey;
use super::{Log, StoreError};
use crate::disk::Disk;
use crate::recovery::{Fault, FaultKind, Progress, Recovery};

pub use self::backup::{Backup, BackupError, backup};
pub use self::dump::{DumpForm, dump};

/// Looks at everything, and says what is not as it should be. What is unreadable counts as damaged.
pub fn verify<D: Disk>(
    disk: &mut D,
    watch: &mut dyn FnMut(Progress),
) -> Result<Recovery, OpenError> {
    let (_, recovery) = look(disk, watch)?;
    Ok(recovery)
}

/// Puts right what can be, as a start of the broker would, and goes on where that would give up: a part of a file that
/// cannot be read is taken for damaged, and an unknown `FORMAT` for one that this version knows. Says what it found.
///
/// Where there is no store it makes none.
pub fn repair<D: Disk>(
    mut disk: D,
    settings: Settings,
    watch: &mut dyn FnMut(Progress),
) -> Result<Recovery, RepairError> {
    names(&mut disk)?;
    let (log, recovery) = Log::open_damaged(disk, settings, watch)?;
    log.close()?;
    Ok(recovery)
}

/// Why a store could not be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be written to.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What there is, looked at without a change. A segment may become another one under our eyes, if the store is in use: then
/// everything is looked at once more. So it is where something is lost, until that is seen twice in the same places: a read is
/// not one moment, so it may miss what is being written, and see what was written behind that.
fn look<D: Disk>(
    disk: &mut D,
    watch: &mut dyn FnMut(Progress),
) -> Result<(Survey, Recovery), OpenError> {
    let format = look_at_format(disk)?;
    let (survey, mut recovery) = look_at_log(disk, watch)?;
    recovery.faults.extend(format);
    Ok((survey, recovery))
}

fn look_at_log<D: Disk>(
    disk: &mut D,
    watch: &mut dyn FnMut(Progress),
) -> Result<(Survey, Recovery), OpenError> {
    let mut lost_before = None;
    let mut tries = 0;
    loop {
        let before = names(disk)?;
        let result = look_once(disk, &before, watch);
        tries += 1;
        let lost = result.as_ref().ok().map(|(_, recovery)| losses(recovery));
        if lost.as_ref().is_some_and(Vec::is_empty) || tries == LOOKS_MAX {
            return result;
        }
        if names(disk)? == before && (lost.is_none() || lost == lost_before) {
            return result;
        }
        lost_before = lost;
    }
}

fn losses(recovery: &Recovery) -> Vec<Fault> {
    let lost = recovery.faults.iter().filter(|fault| fault.kind.is_loss());
    lost.cloned().collect()
}

/// A newer format is read by nobody here. Without a good `FORMAT` the segments say what they are.
fn look_at_format<D: Disk>(disk: &mut D) -> Result<Option<Fault>, OpenError> {
    match format::read(disk)? {
        FormatFile::Version(found) if found > super::segment::VERSION => {
            Err(OpenError::NewerFormat { found })
        }
        FormatFile::Version(_) => Ok(None),
        FormatFile::Missing | FormatFile::Unknown(_) => Ok(Some(Fault {
            file: format::PATH.to_owned(),
            offset: None,
            kind: FaultKind::FormatMissing,
        })),
    }
}

fn look_once<D: Disk>(
    disk: &mut D,
    names: &[String],
    watch: &mut dyn FnMut(Progress),
) -> Result<(Survey, Recovery), OpenError> {
    let mut recovery = Recovery::default();
    let mut survey = Survey::new(Reading::Tolerant);
    survey.list(disk, names, &mut recovery)?;
    survey.read(disk, watch)?;
    survey.judge(&mut recovery);
    let checkpoints = survey.checkpoints(disk)?;
    survey.forget_old();
    recovery
        .faults
        .extend(survey.headless.iter().map(|generation| Fault {
            file: path_of(*generation),
            offset: Some(0),
            kind: FaultKind::HeadersLost,
        }));
    survey.count(disk, checkpoints, &mut recovery, watch)?;
    Ok((survey, recovery))
}

/// The files of the log, without those that are being made.
fn names<D: Disk>(disk: &mut D) -> Result<Vec<String>, OpenError> {
    let mut names = match disk.list(FOLDER) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::NoStore),
        Err(error) => return Err(OpenError::io("list", FOLDER)(error)),
    };
    let unfinished = |name: &String| {
        let path = format!("{FOLDER}/{name}");
        path == SPARE_PATH || path == LARGE_PATH || path.ends_with(SALVAGE_SUFFIX)
    };
    names.retain(|name| !unfinished(name));
    names.sort_unstable();
    Ok(names)
}

const LOOKS_MAX: u32 = 5;
