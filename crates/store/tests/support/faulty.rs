//! A real folder on a disk that fails when it is told to.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use martlet_store::{Access, Disk, LockError, RealDisk};

/// Fails when it is told to.
#[derive(Debug)]
pub(crate) struct Faulty {
    disk: RealDisk,
    pub(crate) orders: Orders,
}

/// What a [`Faulty`] disk is told; shared with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orders {
    /// Nothing can be created, and no file grows.
    pub(crate) full: Arc<AtomicBool>,
    /// Writes take at most so many bytes, if not 0.
    pub(crate) short: Arc<AtomicUsize>,
    /// The calls so far, of those that change something or sync.
    pub(crate) calls: Arc<AtomicUsize>,
    /// The call of that number fails, if not 0, as `error` says.
    pub(crate) fails_at: Arc<AtomicUsize>,
    /// 0: EIO, 1: ENOSPC.
    pub(crate) error: Arc<AtomicUsize>,
    /// Whoever reads the byte at this offset of log/00000002.seg gets EIO, if not 0, until it is renamed.
    pub(crate) unreadable: Arc<AtomicUsize>,
    /// So many reads of log/00000002.seg find zeros from byte 8,192 to 12,288: a write comes there behind the read, and another one
    /// further on in front of it.
    pub(crate) torn: Arc<AtomicUsize>,
    /// Bytes of zeros written, 64 KiB or more at a time: to the cache, and in blocks that may go past it.
    pub(crate) zeros: [Arc<AtomicUsize>; 2],
    /// Whether a call has failed.
    pub(crate) failed: Arc<AtomicBool>,
    /// Which one, by the name of the system call.
    pub(crate) failed_call: Arc<OnceLock<&'static str>>,
}

/// A file, and whether it is the one that is bad.
#[derive(Debug)]
pub(crate) struct FaultyFile {
    file: <RealDisk as Disk>::File,
    bad: bool,
}

impl Faulty {
    pub(crate) fn new(disk: RealDisk) -> Self {
        Self {
            disk,
            orders: Orders::default(),
        }
    }

    fn order(&self, name: &'static str) -> io::Result<()> {
        let call = self.orders.calls.fetch_add(1, SeqCst) + 1;
        if call == self.orders.fails_at.load(SeqCst) {
            self.orders.failed.store(true, SeqCst);
            let _ = self.orders.failed_call.set(name);
            return Err(match self.orders.error.load(SeqCst) {
                0 => io::Error::other("planted"),
                _ => io::ErrorKind::StorageFull.into(),
            });
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.orders.full.load(SeqCst)
    }
}

impl Disk for Faulty {
    type File = FaultyFile;

    fn lock(&mut self) -> Result<(), LockError> {
        self.disk.lock()
    }

    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        self.order("mkdir")?;
        self.disk.create_folder(folder)
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn create(&mut self, path: &str) -> io::Result<Self::File> {
        self.order("open")?;
        if self.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.disk.create(path)?;
        Ok(FaultyFile { file, bad: false })
    }

    fn open(&mut self, path: &str, access: Access) -> io::Result<Self::File> {
        let file = self.disk.open(path, access)?;
        let bad = path == "log/00000002.seg";
        Ok(FaultyFile { file, bad })
    }

    fn len(&mut self, file: &Self::File) -> io::Result<u64> {
        self.disk.len(&file.file)
    }

    fn read_at(&mut self, file: &Self::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bad = self.orders.unreadable.load(SeqCst) as u64;
        if file.bad && bad != 0 && (offset..offset + buffer.len() as u64).contains(&bad) {
            return Err(io::Error::other("planted"));
        }
        let read = self.disk.read_at(&file.file, buffer, offset)?;
        let end = offset + read as u64;
        if file.bad && offset <= TORN.start && end >= TORN.end {
            let torn = self.orders.torn.load(SeqCst);
            if torn > 0 {
                self.orders.torn.store(torn - 1, SeqCst);
                let from = usize::try_from(TORN.start - offset).unwrap();
                buffer[from..from + TORN_BYTES].fill(0);
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.order("pwrite")?;
        if self.is_full() && offset + bytes.len() as u64 > self.disk.len(&file.file)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let short = self.orders.short.load(SeqCst);
        let len = if short == 0 {
            bytes.len()
        } else {
            short.min(bytes.len())
        };
        if len >= 65_536 && bytes[..len].iter().all(|byte| *byte == 0) {
            let in_blocks = bytes.as_ptr().align_offset(4_096) == 0 && len.is_multiple_of(4_096);
            self.orders.zeros[usize::from(in_blocks)].fetch_add(len, SeqCst);
        }
        self.disk.write_at(&file.file, &bytes[..len], offset)
    }

    fn sync(&mut self, file: &Self::File) -> io::Result<()> {
        self.order("fdatasync")?;
        // A test does not survive a power loss anyway.
        let _ = file;
        Ok(())
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        self.order("fsync")?;
        let _ = folder;
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.order("rename")?;
        if from == "log/00000002.seg" {
            self.orders.unreadable.store(0, SeqCst);
        }
        self.disk.rename(from, to)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.order("unlink")?;
        self.disk.remove(path)
    }
}

const TORN: std::ops::Range<u64> = 8_192..8_192 + TORN_BYTES as u64;
const TORN_BYTES: usize = 4_096;
