//! A disk in memory, with room for a few segments: a store that wants more is told that the disk is full.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use martlet_store::{Access, Disk, LockError};

/// A disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// By path. A file that is open stays what it is under another name.
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    folders: Vec<String>,
}

impl MemoryDisk {
    /// Puts a file there.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        if let Some((folder, _)) = path.rsplit_once('/') {
            state.folders.push(folder.to_owned());
        }
        let id = state.files.len();
        state.files.push(bytes);
        state.names.insert(path.to_owned(), id);
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.names.values().map(|id| state.files[*id].len()).sum()
    }

    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.state.lock().unwrap())
    }
}

impl Disk for MemoryDisk {
    type File = usize;

    fn lock(&mut self) -> Result<(), LockError> {
        Ok(())
    }

    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        self.with(|state| state.folders.push(folder.to_owned()));
        Ok(())
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<String>> {
        self.with(|state| {
            if !folder.is_empty() && !state.folders.iter().any(|other| other == folder) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let within = |name: &String| {
                let (of, name) = name.rsplit_once('/').unwrap_or(("", name));
                (of == folder).then(|| name.to_owned())
            };
            Ok(state.names.keys().filter_map(within).collect())
        })
    }

    fn create(&mut self, path: &str) -> io::Result<usize> {
        if self.with(|state| state.names.contains_key(path)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(path, Vec::new());
        self.open(path, Access::Write)
    }

    fn open(&mut self, path: &str, _: Access) -> io::Result<usize> {
        let found = self.with(|state| state.names.get(path).copied());
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn len(&mut self, file: &usize) -> io::Result<u64> {
        Ok(self.with(|state| state.files[*file].len() as u64))
    }

    fn read_at(&mut self, file: &usize, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = state.files[*file].get(from..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&mut self, file: &usize, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let end = offset.saturating_add(bytes.len() as u64);
        let used = self.bytes() as u64;
        self.with(|state| {
            let content = &mut state.files[*file];
            let grows = end.saturating_sub(content.len() as u64);
            if grows > 0 && used + grows > CAPACITY_BYTES {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if grows > 0 {
                content.resize(end as usize, 0);
            }
            content[offset as usize..end as usize].copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }

    fn sync(&mut self, _: &usize) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.with(|state| {
            let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), id);
            Ok(())
        })
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let removed = self.with(|state| state.names.remove(path));
        removed
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

const CAPACITY_BYTES: u64 = 4 << 20;
