//! A disk that is memory: a log on it costs what the log costs, and the copying.

use std::collections::BTreeMap;
use std::io;

use martlet_store::{Access, Disk, LockError};

/// Files by their paths, and what is in them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    paths: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
}

impl Disk for Files {
    type File = usize;

    fn lock(&mut self) -> Result<(), LockError> {
        Ok(())
    }

    fn create_folder(&mut self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<String>> {
        let within = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        Ok(self.paths.keys().filter_map(within).collect())
    }

    fn create(&mut self, path: &str) -> io::Result<usize> {
        let file = self.files.len();
        self.files.push(Vec::new());
        self.paths.insert(path.to_owned(), file);
        Ok(file)
    }

    fn open(&mut self, path: &str, _access: Access) -> io::Result<usize> {
        let file = self.paths.get(path).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn len(&mut self, file: &usize) -> io::Result<u64> {
        Ok(self.files.get(*file).map_or(0, Vec::len) as u64)
    }

    fn read_at(&mut self, file: &usize, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.files.get(*file).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
        let rest = bytes.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_at(&mut self, file: &usize, from: &[u8], offset: u64) -> io::Result<usize> {
        let bytes = self.files.get_mut(*file).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start + from.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if let Some(to) = bytes.get_mut(start..end) {
            to.copy_from_slice(from);
        }
        Ok(from.len())
    }

    fn sync(&mut self, _file: &usize) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&mut self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.paths.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.paths.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.paths.remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }
}
