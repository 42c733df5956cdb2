//! Reading segments: all that is good in one that nothing is known about, or what is known to be good.

use std::io;

use super::frame::{ALIGNMENT, FrameHeader, HEADER_BYTES, ReadHeader};
use super::segment::{FRAMES_AT, SegmentHeader};
use crate::disk::{Disk, read_full};

/// Good frames, one directly behind the other, with consecutive sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
}

/// Up to where the log has been read; frames that are older than that are void.
///
/// A frame of a later epoch always counts: the log was opened in between, and was gone on with where it seemed to end. What
/// was read of earlier epochs with its number or a higher one lay behind a torn frame, and has been void since then. In the
/// same segment it lies further on; but if there was no room for the next frame, it ends the segment before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Horizon {
    pub(crate) sequence: u64,
    pub(crate) epoch: u32,
}

impl Horizon {
    const fn accepts(&self, header: &FrameHeader) -> bool {
        header.epoch > self.epoch || header.epoch == self.epoch && header.sequence > self.sequence
    }
}

/// A frame that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    pub(crate) payload: &'a [u8],
    /// What was found before with this number or a higher one is void.
    pub(crate) restarts: bool,
}

/// Finds every good frame of a segment, wherever it is, and gives it to `each`.
///
/// Behind a place where there is no good frame it looks at each place where one could begin: damage in one frame costs
/// no other.
pub(crate) fn scan<D: Disk>(
    disk: &mut D,
    file: &D::File,
    segment: &SegmentHeader,
    horizon: &mut Horizon,
    window: &mut Window,
    each: &mut dyn FnMut(Found<'_>),
) -> io::Result<Vec<Span>> {
    let salt = segment.salt();
    let mut spans: Vec<Span> = Vec::new();
    let mut at = FRAMES_AT;
    window.forget();
    let file_bytes = disk.len(file)?;
    loop {
        if at >= file_bytes {
            return Ok(spans);
        }
        let head = window.get(disk, file, segment, at, HEADER_BYTES)?;
        if head.len() < HEADER_BYTES {
            return Ok(spans);
        }
        let good = match ReadHeader::decode(head, salt).filter(|read| horizon.accepts(&read.header))
        {
            Some(read) => {
                let bytes = window.get(disk, file, segment, at, HEADER_BYTES + read.payload_len)?;
                bytes
                    .get(HEADER_BYTES..)
                    .filter(|payload| read.fits(salt, payload))
                    .map(|payload| (read, payload))
            }
            None => None,
        };
        let Some((read, payload)) = good else {
            at += ALIGNMENT as u64;
            continue;
        };
        let header = read.header;
        let restarts = header.sequence <= horizon.sequence;
        if restarts {
            spans.retain(|span| span.last_sequence < header.sequence);
        }
        each(Found {
            offset: at,
            header,
            payload,
            restarts,
        });
        let end = at + read.frame_len();
        match spans.last_mut() {
            Some(span) if span.end == at && span.last_sequence + 1 == header.sequence => {
                span.end = end;
                span.last_sequence = header.sequence;
            }
            _ => spans.push(Span {
                start: at,
                end,
                first_sequence: header.sequence,
                last_sequence: header.sequence,
            }),
        }
        *horizon = Horizon {
            sequence: header.sequence,
            epoch: header.epoch,
        };
        at = end;
    }
}

/// Reads the frame at a place that was found good before. `None`: it is not there any more.
pub(crate) fn read_frame<'w, D: Disk>(
    disk: &mut D,
    file: &D::File,
    segment: &SegmentHeader,
    at: u64,
    window: &'w mut Window,
) -> io::Result<Option<(Found<'w>, u64)>> {
    let head = window.get(disk, file, segment, at, HEADER_BYTES)?;
    let Some(read) = ReadHeader::decode(head, segment.salt()) else {
        return Ok(None);
    };
    let bytes = window.get(disk, file, segment, at, HEADER_BYTES + read.payload_len)?;
    let Some(payload) = bytes
        .get(HEADER_BYTES..)
        .filter(|payload| read.fits(segment.salt(), payload))
    else {
        return Ok(None);
    };
    let found = Found {
        offset: at,
        header: read.header,
        payload,
        restarts: false,
    };
    Ok(Some((found, at + read.frame_len())))
}

/// A part of a file in memory, read ahead.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
    /// Whether a part of a file that cannot be read is taken for zeros.
    tolerant: bool,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One to whom a part of a file that cannot be read is only damaged.
    pub(crate) fn tolerant() -> Self {
        Self {
            tolerant: true,
            ..Self::default()
        }
    }

    /// To be called before another file is read, or one that was written to.
    pub(crate) const fn forget(&mut self) {
        self.filled = 0;
    }

    /// The bytes from `at` on: `len` of them, or less at the end of the segment.
    ///
    /// What a file lacks of its segment's length counts as zeros. It gets them when the log is opened, and a frame that
    /// ended in zeros is whole then: it must not be found only the second time.
    fn get<D: Disk>(
        &mut self,
        disk: &mut D,
        file: &D::File,
        segment: &SegmentHeader,
        at: u64,
        len: usize,
    ) -> io::Result<&[u8]> {
        let from = self.position(at);
        let from = if let Some(from) = from.filter(|from| from + len <= self.filled) {
            from
        } else {
            self.fill(disk, file, segment.size, at, len)?;
            0
        };
        let to = self.filled.min(from + len);
        Ok(self.buffer.get(from..to).unwrap_or_default())
    }

    /// Where `at` is in the buffer, if it is.
    fn position(&self, at: u64) -> Option<usize> {
        usize::try_from(at.checked_sub(self.start)?)
            .ok()
            .filter(|from| *from <= self.filled)
    }

    fn fill<D: Disk>(
        &mut self,
        disk: &mut D,
        file: &D::File,
        segment_bytes: u64,
        at: u64,
        len: usize,
    ) -> io::Result<()> {
        self.filled = 0;
        self.start = at;
        // What a header says of the length of a frame may be more than there is.
        let end = disk.len(file)?.max(segment_bytes);
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = len.max(READ_AHEAD_BYTES).min(left);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let Some(buffer) = self.buffer.get_mut(..wanted) else {
            return Ok(());
        };
        let filled = match read_full(disk, file, buffer, at) {
            Ok(filled) => filled,
            Err(_) if self.tolerant => read_what_can_be_read(disk, file, buffer, at),
            Err(error) => return Err(error),
        };
        if let Some(missing) = buffer.get_mut(filled..) {
            missing.fill(0);
        }
        self.filled = buffer.len();
        Ok(())
    }
}

/// Page by page, wherever the reading begins; zeros for those that cannot be read.
fn read_what_can_be_read<D: Disk>(
    disk: &mut D,
    file: &D::File,
    buffer: &mut [u8],
    at: u64,
) -> usize {
    let (mut offset, mut rest) = (at, &mut *buffer);
    while !rest.is_empty() {
        let page_end = (offset + 1).next_multiple_of(PAGE_BYTES);
        let len = usize::try_from(page_end - offset).unwrap_or(usize::MAX);
        let (page, behind) = rest.split_at_mut(len.min(rest.len()));
        // A page is good or it is not, or a second look would see something else than the first.
        let mut whole = [0; PAGE];
        match read_full(disk, file, &mut whole, page_end - PAGE_BYTES) {
            Ok(_) => {
                let from = whole.len() - len;
                page.copy_from_slice(whole.get(from..from + page.len()).unwrap_or_default());
            }
            Err(_) => page.fill(0),
        }
        offset = page_end;
        rest = behind;
    }
    buffer.len()
}

const READ_AHEAD_BYTES: usize = 1 << 20;
const PAGE: usize = 4_096;
const PAGE_BYTES: u64 = PAGE as u64;
