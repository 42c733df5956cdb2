//! The file `FORMAT`: in which version of the format the store is.

use std::io;

use super::segment::VERSION;
use super::settings::OpenError;
use crate::disk::{Access, Disk, read_full, write_full};

/// What `FORMAT` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FormatFile {
    /// Nothing: it is not there.
    Missing,
    /// A version.
    Version(u32),
    /// Something else.
    Unknown(String),
}

/// Reads `FORMAT`.
pub(crate) fn read<D: Disk>(disk: &mut D) -> Result<FormatFile, OpenError> {
    let file = match disk.open(PATH, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FormatFile::Missing),
        Err(error) => return Err(OpenError::io("open", PATH)(error)),
    };
    let mut bytes = [0; 64];
    let len = read_full(disk, &file, &mut bytes, 0).map_err(OpenError::io("read", PATH))?;
    let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned();
    let version = text
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.trim_end().parse().ok());
    Ok(match version {
        Some(version) => FormatFile::Version(version),
        None => FormatFile::Unknown(text),
    })
}

/// Writes `FORMAT` as this version has it.
pub(crate) fn write<D: Disk>(disk: &mut D) -> Result<(), OpenError> {
    write_text(disk, &format!("{PREFIX}{VERSION}\n"))
}

/// Writes a `FORMAT` of a copy that is being made: no version opens it.
pub(crate) fn write_unfinished<D: Disk>(disk: &mut D) -> Result<(), OpenError> {
    write_text(disk, "an unfinished copy of a martlet store\n")
}

fn write_text<D: Disk>(disk: &mut D, text: &str) -> Result<(), OpenError> {
    let failed = |what| OpenError::io(what, PATH);
    match disk.remove(NEW_PATH) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("write")(error));
        }
        _ => {}
    }
    let file = disk.create(NEW_PATH).map_err(failed("write"))?;
    write_full(disk, &file, text.as_bytes(), 0).map_err(failed("write"))?;
    disk.sync(&file).map_err(failed("write"))?;
    disk.rename(NEW_PATH, PATH).map_err(failed("write"))?;
    disk.sync_folder("").map_err(failed("write"))
}

/// Brings a store to this version. Gives the version that it had, if it was an older one.
pub(crate) fn upgrade<D: Disk>(disk: &mut D, found: u32) -> Result<Option<u32>, OpenError> {
    if found > VERSION {
        return Err(OpenError::NewerFormat { found });
    }
    for version in found..VERSION {
        upgrade_from(disk, version)?;
    }
    Ok((found < VERSION).then_some(found))
}

/// One step, from a version to the next. A step leaves `FORMAT` to be written last, so that it can be begun again.
fn upgrade_from<D: Disk>(_: &mut D, version: u32) -> Result<(), OpenError> {
    match version {
        // Version 2 has records of runs, version 3 more kinds of them: what is there stays as it is.
        1 | 2 => Ok(()),
        // Version 1 is the first.
        _ => Err(OpenError::UnknownFormat {
            found: format!("{PREFIX}{version}"),
        }),
    }
}

pub(crate) const PATH: &str = "FORMAT";
const NEW_PATH: &str = "FORMAT.new";
const PREFIX: &str = "martlet store ";
