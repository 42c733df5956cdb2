//! The simulated disk, as a program uses it.

use std::io;

use martlet_store::{Access, Disk, LockError};

use super::file::File;
use super::{FileId, Naming, SimDisk, State, out};

/// A program's hold on a disk; its lock ends with it.
#[derive(Debug)]
pub(crate) struct Device {
    disk: SimDisk,
    locked: bool,
}

impl Device {
    pub(crate) fn new(disk: &SimDisk) -> Self {
        Self {
            disk: disk.clone(),
            locked: false,
        }
    }

    /// A change of names: the last one before the process is gone is done or not.
    fn rename_with(&self, what: impl FnOnce(&mut State) -> io::Result<Naming>) -> io::Result<()> {
        self.disk.with(|state| {
            let last = state.change()?;
            if last && state.rng.one_in(2) {
                return Err(out());
            }
            let naming = what(state)?;
            let (names, folders) = (&mut state.names, &mut state.folders);
            naming.clone().apply(names, folders);
            state.say(|| format!("{naming:?}"));
            state.namings.push(naming);
            if last { Err(out()) } else { Ok(()) }
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.locked {
            self.disk.with(|state| state.locked = false);
        }
    }
}

impl Disk for Device {
    type File = FileId;

    fn lock(&mut self) -> Result<(), LockError> {
        self.disk.with(|state| {
            state.call()?;
            if core::mem::replace(&mut state.locked, true) {
                return Err(LockError::Held { pid: None });
            }
            Ok(())
        })?;
        self.locked = true;
        Ok(())
    }

    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        if self.disk.with(|state| state.folders.contains(folder)) {
            return Ok(());
        }
        self.rename_with(|state| {
            state.takes_more(true)?;
            Ok(Naming::Folder(folder.to_owned()))
        })
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.with(|state| {
            state.call()?;
            if !folder.is_empty() && !state.folders.contains(folder) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let within = |name: &String| {
                let (of, name) = name.rsplit_once('/').unwrap_or(("", name));
                (of == folder).then(|| name.to_owned())
            };
            let mut names: Vec<String> = state.names.keys().filter_map(within).collect();
            // In any order.
            if state.rng.one_in(2) {
                names.reverse();
            }
            Ok(names)
        })
    }

    fn create(&mut self, path: &str) -> io::Result<FileId> {
        let mut made = 0;
        self.rename_with(|state| {
            state.takes_more(true)?;
            let folder = path.rsplit_once('/').map(|(folder, _)| folder);
            if folder.is_some_and(|folder| !state.folders.contains(folder)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            made = state.next_file;
            state.next_file += 1;
            state.files.insert(made, File::default());
            Ok(Naming::Is(path.to_owned(), made))
        })?;
        Ok(made)
    }

    fn open(&mut self, path: &str, _access: Access) -> io::Result<FileId> {
        self.disk.with(|state| {
            state.call()?;
            let id = state.names.get(path).copied();
            id.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn len(&mut self, file: &FileId) -> io::Result<u64> {
        self.disk.with(|state| {
            state.call()?;
            Ok(state.file(*file).len() as u64)
        })
    }

    fn read_at(&mut self, file: &FileId, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.disk.with(|state| {
            state.call()?;
            let count = state.some_of(buffer.len())?;
            Ok(state.file(*file).read(at, &mut buffer[..count]))
        })
    }

    fn write_at(&mut self, file: &FileId, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.disk.with(|state| {
            let change = state.change();
            if state.dead && change.is_err() {
                return Err(out());
            }
            let grows = at + bytes.len() > state.file(*file).len();
            state.takes_more(grows)?;
            let count = match change {
                Ok(false) => state.some_of(bytes.len())?,
                // In part, and nobody gets to know how much.
                Ok(true) | Err(_) => state.rng.below(bytes.len() + 1),
            };
            state.say(|| {
                format!(
                    "write {count} of {} to {file} at {at}: {change:?}",
                    bytes.len()
                )
            });
            state.file(*file).write(at, &bytes[..count]);
            match change {
                Ok(false) => Ok(count),
                Ok(true) => Err(out()),
                Err(error) => Err(error),
            }
        })
    }

    fn sync(&mut self, file: &FileId) -> io::Result<()> {
        self.disk.with(|state| {
            let change = state.change();
            if state.dead {
                return Err(out());
            }
            state.say(|| format!("sync {file}: {change:?}"));
            if change.is_ok() {
                state.file(*file).sync();
                return Ok(());
            }
            if state.keeps {
                return change.map(|_| ());
            }
            let mut rng = state.rng.clone();
            state.file(*file).fail_to_sync(&mut rng);
            state.rng = rng;
            change.map(|_| ())
        })
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        self.disk.with(|state| {
            if state.change()? {
                return Err(out());
            }
            state.say(|| format!("sync names in {folder:?}"));
            state.sync_folder(folder);
            Ok(())
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.rename_with(|state| {
            if !state.names.contains_key(from) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Naming::Moves(from.to_owned(), to.to_owned()))
        })
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.rename_with(|state| {
            if !state.names.contains_key(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(Naming::Ends(path.to_owned()))
        })
    }
}

impl State {
    /// Whether there is space for more, if more is needed.
    fn takes_more(&self, needed: bool) -> io::Result<()> {
        if needed && self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// How much of it is done: now and then less than asked for, as every system may.
    fn some_of(&mut self, count: usize) -> io::Result<usize> {
        match self.rng.below(40) {
            0 => Err(io::ErrorKind::Interrupted.into()),
            1 if count > 1 => Ok(self.rng.between(1, count - 1)),
            _ => Ok(count),
        }
    }
}
