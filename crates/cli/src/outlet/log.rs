//! `--append`: whole records at the end of a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use super::not_written;
use crate::exit::Exit;

/// A file that grows.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    name: String,
}

impl Log {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, Exit> {
        let name = path.display().to_string();
        match OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => Ok(Self { file, name }),
            Err(error) => Err(not_written(&name, &error)),
        }
    }

    /// Appends a record, in one write: other programs may append to the same file. What of a record could not be
    /// finished is taken away again.
    pub(super) fn put(&mut self, record: &[u8]) -> Result<(), Exit> {
        let mut rest = record;
        while !rest.is_empty() {
            let error = match self.file.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.cut_off(record.len() - rest.len());
            return Err(not_written(&self.name, &error));
        }
        Ok(())
    }

    /// Takes the last bytes away, unless another program has written behind them, or it is no file that can shrink.
    fn cut_off(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(0);
        let (Ok(end), Ok(about)) = (self.file.stream_position(), self.file.metadata()) else {
            return;
        };
        if count > 0 && about.is_file() && about.len() == end {
            // The error that brought us here is the one to tell.
            let _ = self.file.set_len(end.saturating_sub(count));
        }
    }
}
