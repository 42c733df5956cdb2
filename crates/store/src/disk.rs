//! What a log asks of a disk: the few operations on files that it needs, so that they can be simulated.

use std::io;

/// A folder on a disk. Paths are relative to it, with `/` between folder and file.
///
/// After a crash a file has what was written before its last [`Disk::sync`], and of what was written since any part,
/// in any order. A name is there for certain only after [`Disk::sync_folder`] of its folder; before that a rename may
/// or may not have happened, but never halfway.
pub trait Disk: Send {
    /// An open file.
    type File: Send + std::fmt::Debug;

    /// Takes the folder for this process alone, until `self` is dropped. Makes the folder if there is none.
    fn lock(&mut self) -> Result<(), LockError>;

    /// Makes a folder, if it is not there.
    fn create_folder(&mut self, folder: &str) -> io::Result<()>;

    /// The names of the files in a folder, in any order; without the names of folders in it.
    /// [`io::ErrorKind::NotFound`] if there is no such folder.
    fn list(&mut self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a file, to read and write. [`io::ErrorKind::AlreadyExists`] if there is one.
    fn create(&mut self, path: &str) -> io::Result<Self::File>;

    /// Opens a file.
    fn open(&mut self, path: &str, access: Access) -> io::Result<Self::File>;

    /// The length of a file.
    fn len(&mut self, file: &Self::File) -> io::Result<u64>;

    /// Reads; less than asked for only at the end of the file or, as every system may, for no reason.
    fn read_at(&mut self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes; how much of it is said, and may be less than all. The file grows if need be.
    fn write_at(&mut self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the file's bytes and length survive a crash. After an error nothing is known about what was not synced.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;

    /// Makes the names in a folder survive a crash.
    fn sync_folder(&mut self, folder: &str) -> io::Result<()>;

    /// Gives a file another name, in place of any file that has it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&mut self, path: &str) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looking only.
    Read,
    /// Reading and writing.
    Write,
}

/// Why a folder could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("another process uses it{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// The process, if that could be found out.
        pid: Option<u32>,
    },
    /// It cannot be had at all.
    #[error("{0}")]
    Io(#[from] io::Error),
}
/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full<D: Disk>(
    disk: &mut D,
    file: &D::File,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match disk.read_at(file, rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all of it.
pub(crate) fn write_full<D: Disk>(
    disk: &mut D,
    file: &D::File,
    bytes: &[u8],
    offset: u64,
) -> io::Result<()> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match disk.write_at(file, rest, offset + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
