//! A real folder on a real disk.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::{Access, Disk, LockError};
use crate::log::BLOCK_BYTES;

/// A folder of the file system.
#[derive(Debug)]
pub struct RealDisk {
    folder: PathBuf,
    /// Locked as long as it is open.
    lock: Option<File>,
}

impl RealDisk {
    /// The folder at this path. Nothing is done to it yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            lock: None,
        }
    }

    /// The folder's path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process that has the folder, if one does; `Some(None)` if it cannot be told which.
    pub fn holder(&self) -> io::Result<Option<Option<u32>>> {
        let file = match File::open(self.path(LOCK)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match try_lock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(LockError::Held { pid }) => Ok(Some(pid)),
            Err(LockError::Io(error)) => Err(error),
        }
    }

    /// Why this file system cannot keep the promise that what was synced survives a power loss, if it is known not to.
    /// The folder, or one above it, must be there.
    #[must_use]
    pub fn caveat(&self) -> Option<&'static str> {
        let there = self.folder.ancestors().find(|path| path.exists())?;
        file_system_caveat(there)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

/// An open file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
    /// The same, past the system's cache: for whole blocks. `None` if the file system has no such thing.
    direct: Option<File>,
    /// It said so only when it was asked to write.
    refused: Cell<bool>,
}

impl RealFile {
    fn to_read(file: File) -> Self {
        Self {
            file,
            direct: None,
            refused: Cell::new(false),
        }
    }

    fn to_write(file: File, path: &Path) -> Self {
        Self {
            direct: open_direct(path),
            ..Self::to_read(file)
        }
    }

    /// Where these bytes can go past the cache.
    fn direct_for(&self, bytes: &[u8], offset: u64) -> Option<&File> {
        let direct = self.direct.as_ref()?;
        let fits = offset.is_multiple_of(BLOCK_BYTES as u64)
            && bytes.len().is_multiple_of(BLOCK_BYTES)
            && bytes.as_ptr().align_offset(BLOCK_BYTES) == 0;
        (fits && !self.refused.get()).then_some(direct)
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> Option<File> {
    None
}

impl Disk for RealDisk {
    type File = RealFile;

    fn lock(&mut self) -> Result<(), LockError> {
        if self.lock.is_some() {
            return Ok(());
        }
        if !self.folder.exists() {
            std::fs::create_dir_all(&self.folder)?;
            if let Some(parent) = self.folder.parent().filter(|path| path.exists()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path(LOCK))?;
        let mut tries = 0;
        loop {
            tries += 1;
            match try_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                // Who asks for the holder has it himself for a moment.
                Err(LockError::Held { .. }) if tries < LOCK_TRIES => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        self.lock = Some(file);
        Ok(())
    }

    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        match std::fs::create_dir(self.path(folder)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(folder))? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn create(&mut self, path: &str) -> io::Result<RealFile> {
        let path = self.path(path);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(RealFile::to_write(file, &path))
    }

    fn open(&mut self, path: &str, access: Access) -> io::Result<RealFile> {
        let path = self.path(path);
        let write = access == Access::Write;
        let file = OpenOptions::new().read(true).write(write).open(&path)?;
        Ok(if write {
            RealFile::to_write(file, &path)
        } else {
            RealFile::to_read(file)
        })
    }

    fn len(&mut self, file: &RealFile) -> io::Result<u64> {
        Ok(file.file.metadata()?.len())
    }

    fn read_at(&mut self, file: &RealFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        file.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, file: &RealFile, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Some(direct) = file.direct_for(bytes, offset) {
            match direct.write_at(bytes, offset) {
                // It wants still larger blocks, or none at all.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => file.refused.set(true),
                written => return written,
            }
        }
        file.file.write_at(bytes, offset)
    }

    /// What went past the cache is in the device, and with this made to stay there.
    fn sync(&mut self, file: &RealFile) -> io::Result<()> {
        file.file.sync_data()
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }
}

/// Takes the lock on the open file; the system lets go of it when the process ends, in whatever way.
fn try_lock(mut file: &File, how: rustix::fs::FlockOperation) -> Result<(), LockError> {
    match rustix::fs::flock(file, how) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut pid));
            Err(LockError::Held {
                pid: pid.trim().parse().ok(),
            })
        }
        Err(error) => Err(LockError::Io(error.into())),
    }
}

#[cfg(target_os = "linux")]
fn file_system_caveat(path: &Path) -> Option<&'static str> {
    /// As in `statfs(2)`.
    const WEAK: [(u64, &str); 9] = [
        (0x0102_1994, "tmpfs keeps its files in memory"),
        (0x8584_58f6, "ramfs keeps its files in memory"),
        (0x6969, "NFS is a network file system"),
        (0x517b, "SMB is a network file system"),
        (0xff53_4d42, "CIFS is a network file system"),
        (0xfe53_4d42, "SMB is a network file system"),
        (0x0102_1997, "9P is a network file system"),
        (0x00c3_6400, "Ceph is a network file system"),
        (0x6573_5546, "a FUSE file system may do as it likes"),
    ];
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    // Its type differs from one architecture to the next.
    let kind = u64::try_from(kind).ok()? & 0xffff_ffff;
    WEAK.into_iter()
        .find_map(|(weak, why)| (weak == kind).then_some(why))
}

#[cfg(not(target_os = "linux"))]
fn file_system_caveat(_: &Path) -> Option<&'static str> {
    None
}

const LOCK: &str = "LOCK";
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
