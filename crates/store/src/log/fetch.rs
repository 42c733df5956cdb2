//! Reading single bodies back while the log is in use, from a thread of its own.
//!
//! ```text
//!  store's thread: place_of ──▶ BodyPlace ──▶ reading thread: BodyReader::read
//!                     ▲                              │
//!                     └──────── moved meanwhile ◀────┘
//! ```
//! Nothing is locked: cleaning may move a body, and its file may be used anew, between the two. A place therefore
//! says what the record's checksum is. If that does not fit, the place is asked for again; only a body that is still
//! there, and still does not fit, cannot be read.

use martlet_engine::{Body, BodyId, Record, Records};

use super::Log;
use super::bodies::{Location, checksum};
use super::segment::path_of;
use crate::disk::{Access, Disk, read_full};
use crate::store::StoreError;

/// Where a body lay when that was asked for, and how to know it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyPlace {
    body: BodyId,
    location: Location,
    checksum: u32,
}

impl BodyPlace {
    /// Of which body.
    #[must_use]
    pub const fn body(&self) -> BodyId {
        self.body
    }
}

impl<D: Disk> Log<D> {
    /// Where a body is, for a [`BodyReader`]; `None` if nothing refers to it.
    pub fn place_of(&mut self, body: BodyId) -> Result<Option<BodyPlace>, StoreError> {
        let Some((location, checksum)) = self.bodies.location_and_checksum(body.as_u64()) else {
            return Ok(None);
        };
        if self.has_to_write(location) {
            // Cleaning has just put it there.
            self.healthy()?;
            self.write_group()?;
        }
        Ok(Some(BodyPlace {
            body,
            location,
            checksum,
        }))
    }

    /// Whether [`Self::place_of`] has to write first, which a full disk refuses for all such bodies alike.
    #[must_use]
    pub fn is_unwritten(&self, body: BodyId) -> bool {
        let found = self.bodies.location_and_checksum(body.as_u64());
        found.is_some_and(|(location, _)| self.has_to_write(location))
    }

    fn has_to_write(&self, location: Location) -> bool {
        self.head.as_ref().is_some_and(|head| {
            head.segment.header.generation == u64::from(location.generation)
                && u64::from(location.offset) >= head.written
        })
    }

    pub(super) fn read_now(
        &mut self,
        body: BodyId,
        each: &mut dyn FnMut(&Body<'_>),
    ) -> Result<bool, StoreError> {
        let Some(place) = self.place_of(body)? else {
            return Ok(false);
        };
        let path = path_of(u64::from(place.location.generation));
        let offset = u64::from(place.location.offset);
        let mut bytes = vec![0; place.location.len as usize];
        let file = self.disk.open(&path, Access::Read);
        // What cannot be read is not there; the log itself may be used all the same.
        let filled = file.and_then(|file| read_full(&mut self.disk, &file, &mut bytes, offset));
        let found = place.body_in(&bytes).filter(|_| filled.is_ok());
        Ok(found.inspect(|body| each(body)).is_some())
    }
}

/// Reads bodies from the files of a log that somebody else writes to.
#[derive(Debug)]
pub struct BodyReader<D: Disk> {
    disk: D,
    /// Files that were read from last.
    files: Vec<(u32, D::File)>,
    buffer: Vec<u8>,
}

impl<D: Disk> BodyReader<D> {
    /// `disk` is the log's folder; it is not locked.
    #[must_use]
    pub const fn new(disk: D) -> Self {
        Self {
            disk,
            files: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Reads the bodies of these places, which it sorts: those that lie close together at once. `each` gets `None` for
    /// one that is not where it was, or cannot be read.
    pub fn read(
        &mut self,
        places: &mut [BodyPlace],
        each: &mut dyn FnMut(BodyPlace, Option<&Body<'_>>),
    ) {
        places.sort_unstable_by_key(|place| (place.location.generation, place.location.offset));
        let close = |a: &BodyPlace, b: &BodyPlace| {
            let (a, b) = (a.location, b.location);
            let gap = b.offset.saturating_sub(a.offset.saturating_add(a.len));
            a.generation == b.generation && gap <= GAP_BYTES
        };
        for group in places.chunk_by(close) {
            let mut rest = group;
            while let Some(first) = rest.first() {
                let start = first.location.offset;
                let within = |place: &&BodyPlace| {
                    place.location.offset - start + place.location.len <= READ_BYTES
                };
                let count = rest.iter().take_while(within).count().max(1);
                let (now, later) = rest.split_at(count);
                self.read_run(now, each);
                rest = later;
            }
        }
    }

    /// Gives files back: nothing is to be read for the time being.
    pub fn rest(&mut self) {
        self.files.clear();
        self.buffer.shrink_to(READ_BYTES as usize);
    }

    /// Places of one file, in order, with little between them.
    fn read_run(
        &mut self,
        places: &[BodyPlace],
        each: &mut dyn FnMut(BodyPlace, Option<&Body<'_>>),
    ) {
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return;
        };
        let start = first.location.offset;
        let end = u64::from(last.location.offset) + u64::from(last.location.len);
        let len = usize::try_from(end - u64::from(start)).unwrap_or_default();
        let generation = first.location.generation;
        let filled = self.fill(generation, u64::from(start), len).unwrap_or(0);
        let mut good = true;
        for place in places {
            let at = (place.location.offset - start) as usize;
            let bytes = self.buffer.get(at..at + place.location.len as usize);
            let bytes = bytes.filter(|_| at + place.location.len as usize <= filled);
            let body = bytes.and_then(|bytes| place.body_in(bytes));
            good &= body.is_some();
            each(*place, body.as_ref());
        }
        if !good {
            // The file may be another one by now.
            self.files.retain(|(other, _)| *other != generation);
        }
    }

    fn fill(&mut self, generation: u32, offset: u64, len: usize) -> std::io::Result<usize> {
        self.buffer.resize(len, 0);
        let mut known = self.files.iter().map(|(known, _)| *known);
        let at = if let Some(at) = known.position(|known| known == generation) {
            at
        } else {
            let path = path_of(u64::from(generation));
            let file = self.disk.open(&path, Access::Read)?;
            if self.files.len() >= FILES_MAX {
                self.files.remove(0);
            }
            self.files.push((generation, file));
            self.files.len() - 1
        };
        let Some((_, file)) = self.files.get(at) else {
            return Ok(0);
        };
        read_full(&mut self.disk, file, &mut self.buffer, offset)
    }
}

impl BodyPlace {
    /// The body, if this is its record.
    fn body_in<'a>(&self, bytes: &'a [u8]) -> Option<Body<'a>> {
        if checksum(bytes) != self.checksum {
            return None;
        }
        if let Record::Body { body, message } = Records::new(bytes).next()?.ok()?
            && body == self.body
        {
            return Some(message);
        }
        None
    }
}

/// Bodies with so little between them are read at once.
const GAP_BYTES: u32 = 16 << 10;
/// What is read at once, unless one body is larger.
const READ_BYTES: u32 = 1 << 20;
/// Files that are kept open while there is something to read.
const FILES_MAX: usize = 16;
