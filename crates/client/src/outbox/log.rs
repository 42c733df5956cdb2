//! One file of records, appended to, and rewritten when most of it is of no use any more.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::record::{MAGIC, Record, Restored, read};

/// The log in its directory, locked against other processes.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    file: File,
    length: u64,
    /// Where the records of messages are that are not done with.
    live: BTreeMap<u64, Place>,
    live_bytes: u64,
    _lock: File,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: u64,
}

impl Log {
    /// Opens the log, or begins one, and reads what it holds, oldest first.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Vec<Restored>)> {
        fs::create_dir_all(directory)?;
        let lock = lock(directory)?;
        // A rewrite that did not come to its end.
        match fs::remove_file(directory.join(NEW)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let path = directory.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut log = Self {
            directory: directory.into(),
            file,
            length: 0,
            live: BTreeMap::new(),
            live_bytes: 0,
            _lock: lock,
        };
        let restored = log.recover(&bytes)?;
        Ok((log, restored))
    }

    /// Appends records and, if `sync`, waits until they are on disk. `messages` and `done` say what they are.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        messages: &[(u64, usize, usize)],
        done: &[u64],
        sync: bool,
    ) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if sync {
            self.file.sync_data()?;
        }
        for (number, offset, length) in messages {
            let place = Place {
                offset: self.length + *offset as u64,
                length: *length as u64,
            };
            self.live_bytes += place.length;
            self.live.insert(*number, place);
        }
        self.length += bytes.len() as u64;
        for number in done {
            self.forget(*number);
        }
        if self.length > REWRITE_FROM && self.length > 2 * self.live_bytes {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Reads all records; cuts off what a process could not finish writing.
    fn recover(&mut self, bytes: &[u8]) -> io::Result<Vec<Restored>> {
        let mut messages = BTreeMap::new();
        let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
            // Not even the beginning was written, or it is something else altogether.
            if !MAGIC.starts_with(bytes) {
                return Err(io::Error::other("outbox.log is no outbox"));
            }
            self.begin()?;
            return Ok(Vec::new());
        };
        self.length = MAGIC.len() as u64;
        while let Some((record, length)) = read(rest) {
            match record {
                Record::Message(restored) => {
                    let place = Place {
                        offset: self.length,
                        length: length as u64,
                    };
                    self.live_bytes += place.length;
                    self.live.insert(restored.number, place);
                    messages.insert(restored.number, restored);
                }
                Record::Done(number) => {
                    self.forget(number);
                    messages.remove(&number);
                }
            }
            self.length += length as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.file.set_len(self.length)?;
            self.file.sync_all()?;
        }
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(messages.into_values().collect())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(MAGIC)?;
        self.file.sync_all()?;
        self.length = MAGIC.len() as u64;
        sync_directory(&self.directory)
    }

    fn forget(&mut self, number: u64) {
        if let Some(place) = self.live.remove(&number) {
            self.live_bytes -= place.length;
        }
    }

    /// Writes what is live into a new file, which then takes the place of the old one at once.
    fn rewrite(&mut self) -> io::Result<()> {
        let path = self.directory.join(NEW);
        let mut new = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let mut bytes = MAGIC.to_vec();
        let mut places = BTreeMap::new();
        for (number, place) in &self.live {
            let length = usize::try_from(place.length).unwrap_or(0);
            let start = bytes.len();
            bytes.resize(start + length, 0);
            self.file.seek(SeekFrom::Start(place.offset))?;
            self.file
                .read_exact(bytes.get_mut(start..).unwrap_or_default())?;
            let place = Place {
                offset: start as u64,
                length: place.length,
            };
            places.insert(*number, place);
        }
        new.write_all(&bytes)?;
        new.sync_all()?;
        fs::rename(&path, self.directory.join(NAME))?;
        sync_directory(&self.directory)?;
        self.file = new;
        self.live = places;
        self.length = bytes.len() as u64;
        Ok(())
    }
}

/// A new name is on disk only when its directory is.
fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

/// Held as long as the file is open; the system lets go of it when the process ends, in whatever way.
fn lock(directory: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join(LOCK))?;
    #[cfg(unix)]
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                return io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "another client uses this outbox",
                );
            }
            error.into()
        },
    )?;
    Ok(file)
}

const NAME: &str = "outbox.log";
const NEW: &str = "outbox.new";
const LOCK: &str = "outbox.lock";
/// Below this many bytes the file is left alone.
const REWRITE_FROM: u64 = 256 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::StoreOp;
    use crate::message::Message;
    use crate::outbox::record::write;

    fn put(log: &mut Log, number: u64, payload: &str) {
        let mut bytes = Vec::new();
        let op = StoreOp::Put {
            number,
            message: Message::new("a", payload).qos(1),
            expires_in: None,
        };
        write(&op, &mut bytes);
        let messages = [(number, 0, bytes.len())];
        log.append(&bytes, &messages, &[], true).unwrap();
    }

    fn done(log: &mut Log, number: u64) {
        let mut bytes = Vec::new();
        write(&StoreOp::Done { number }, &mut bytes);
        log.append(&bytes, &[], &[number], false).unwrap();
    }

    fn numbers(restored: &[Restored]) -> Vec<u64> {
        restored.iter().map(|one| one.number).collect()
    }

    #[test]
    fn what_is_not_done_with_is_there_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, restored) = Log::open(directory.path()).unwrap();
        assert!(restored.is_empty());
        for number in 1..=3 {
            put(&mut log, number, "x");
        }
        done(&mut log, 2);
        let twice = Log::open(directory.path()).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::WouldBlock);
        drop(log);
        let (mut log, restored) = Log::open(directory.path()).unwrap();
        assert_eq!(numbers(&restored), [1, 3]);
        put(&mut log, 4, "y");
        drop(log);
        assert_eq!(numbers(&Log::open(directory.path()).unwrap().1), [1, 3, 4]);
    }

    #[test]
    fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(directory.path()).unwrap();
        put(&mut log, 1, "kept");
        let whole = log.length;
        put(&mut log, 2, "torn");
        let all = fs::read(directory.path().join(NAME)).unwrap();
        drop(log);
        for end in 0..all.len() {
            fs::write(directory.path().join(NAME), &all[..end]).unwrap();
            let (mut log, restored) = Log::open(directory.path()).unwrap();
            let kept = u64::try_from(end).unwrap() >= whole;
            assert_eq!(numbers(&restored), [1][..usize::from(kept)], "cut at {end}");
            // And it goes on behind the cut.
            put(&mut log, 9, "new");
            drop(log);
            let again = Log::open(directory.path()).unwrap().1;
            assert_eq!(again.last().unwrap().number, 9);
        }
    }

    #[test]
    fn what_stands_behind_a_damaged_record_does_not_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(directory.path()).unwrap();
        put(&mut log, 1, "kept");
        let damaged = usize::try_from(log.length).unwrap();
        put(&mut log, 2, "lost");
        done(&mut log, 1);
        drop(log);
        // A power cut may leave a later sector without an earlier one.
        let mut all = fs::read(directory.path().join(NAME)).unwrap();
        all[damaged + 9] ^= 1;
        fs::write(directory.path().join(NAME), &all).unwrap();
        let (mut log, restored) = Log::open(directory.path()).unwrap();
        assert_eq!(numbers(&restored), [1]);
        put(&mut log, 3, "same");
        drop(log);
        let restored = Log::open(directory.path()).unwrap().1;
        assert_eq!(numbers(&restored), [1, 3], "1 is not done with");
    }

    #[test]
    fn the_file_stays_small_however_much_goes_through_it() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(directory.path()).unwrap();
        put(&mut log, 1, "stays");
        let payload = "x".repeat(10_000);
        for number in 2..500 {
            put(&mut log, number, &payload);
            done(&mut log, number);
            let length = fs::metadata(directory.path().join(NAME)).unwrap().len();
            assert!(length < REWRITE_FROM + 20_000, "{length}");
        }
        put(&mut log, 500, "also");
        drop(log);
        fs::write(directory.path().join(NEW), "half a rewrite").unwrap();
        assert_eq!(numbers(&Log::open(directory.path()).unwrap().1), [1, 500]);
        assert!(!directory.path().join(NEW).exists());
    }

    #[test]
    fn a_file_that_is_no_outbox_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME), "somebody's diary").unwrap();
        assert!(Log::open(directory.path()).is_err());
        let diary = fs::read(directory.path().join(NAME)).unwrap();
        assert_eq!(diary, b"somebody's diary");
    }
}
