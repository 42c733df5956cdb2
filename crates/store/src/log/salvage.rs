//! A damaged segment is set aside; what is good in it takes its place.
//!
//! ```text
//! 1. the good frames into log/N.seg.salvage, synced      a crash: removed, begun again
//! 2. log/N.seg becomes quarantine/N.seg                  a crash: the next start does 3
//! 3. log/N.seg.salvage becomes log/N.seg
//! ```

use std::io;

use super::frame::frame_len;
use super::gaps::FoundSegment;
use super::scan::{Span, Window, read_frame};
use super::segment::{
    FOLDER, FRAMES_AT, QUARANTINE, SALVAGE_SUFFIX, SegmentHeader, generation_of, path_of,
};
use crate::disk::{Access, Disk, write_full};
use crate::recovery::{Fault, FaultKind};

/// Sets a damaged segment aside and puts what is good of it in its place. `None`: there is no room for that, and nothing is
/// changed. A disk that is too full is no reason not to start.
pub(super) fn salvage<D: Disk>(
    disk: &mut D,
    segment: &mut FoundSegment,
    salt: u64,
) -> io::Result<Option<Fault>> {
    if segment.spans.is_empty() {
        return set_aside(disk, segment.header.generation).map(Some);
    }
    let path = segment.header.path();
    let salvage_path = format!("{path}{SALVAGE_SUFFIX}");
    let (header, spans) = match copy_good(disk, segment, salt, &salvage_path) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            // The next start would remove it, too.
            let _ = disk.remove(&salvage_path);
            return Ok(None);
        }
        result => result?,
    };
    // From here on the copy is all that the log has of it, or will be.
    let fault = set_aside(disk, segment.header.generation)?;
    disk.rename(&salvage_path, &path)?;
    disk.sync_folder(FOLDER)?;
    segment.header = header;
    segment.len = header.size;
    segment.spans = spans;
    Ok(Some(fault))
}

/// Moves a file that cannot be used out of the log.
pub(super) fn set_aside<D: Disk>(disk: &mut D, generation: u64) -> io::Result<Fault> {
    disk.create_folder(QUARANTINE)?;
    disk.sync_folder("")?;
    let path = path_of(generation);
    let name = path.strip_prefix(FOLDER).unwrap_or_default();
    let taken = disk.list(QUARANTINE)?;
    let mut to = format!("{QUARANTINE}{name}");
    for count in 1..=taken.len() {
        let is_taken = |taken: &String| to == format!("{QUARANTINE}/{taken}");
        if !taken.iter().any(is_taken) {
            break;
        }
        to = format!("{QUARANTINE}{name}.{count}");
    }
    disk.rename(&path, &to)?;
    disk.sync_folder(QUARANTINE)?;
    disk.sync_folder(FOLDER)?;
    Ok(Fault {
        file: path,
        offset: None,
        kind: FaultKind::SetAside { to },
    })
}

/// Ends what a crash has interrupted.
pub(super) fn finish<D: Disk>(disk: &mut D, names: &[String]) -> io::Result<bool> {
    let mut done = false;
    for name in names {
        let Some(segment) = name.strip_suffix(SALVAGE_SUFFIX) else {
            continue;
        };
        if generation_of(segment).is_none() {
            continue;
        }
        let path = format!("{FOLDER}/{name}");
        if names.iter().any(|other| other == segment) {
            disk.remove(&path)?;
        } else {
            disk.rename(&path, &format!("{FOLDER}/{segment}"))?;
        }
        done = true;
    }
    if done {
        disk.sync_folder(FOLDER)?;
    }
    Ok(done)
}

/// Copies the good frames, as they are, under a new salt.
fn copy_good<D: Disk>(
    disk: &mut D,
    segment: &FoundSegment,
    salt: u64,
    to: &str,
) -> io::Result<(SegmentHeader, Vec<Span>)> {
    let from = disk.open(&segment.header.path(), Access::Read)?;
    let file = disk.create(to)?;
    let mut header = SegmentHeader {
        salt,
        ..segment.header
    };
    let mut window = Window::tolerant();
    let mut spans = Vec::new();
    let mut end = FRAMES_AT;
    let mut buffer = Vec::new();
    for span in &segment.spans {
        let start = end;
        let mut at = span.start;
        while at < span.end {
            let read = read_frame(disk, &from, &segment.header, at, &mut window)?;
            let Some((found, next)) = read else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            buffer.clear();
            found
                .header
                .encode(header.salt(), found.payload, &mut buffer);
            debug_assert_eq!(buffer.len(), frame_len(found.payload.len()));
            write_full(disk, &file, &buffer, end)?;
            end += buffer.len() as u64;
            at = next;
        }
        spans.push(Span {
            start,
            end,
            ..*span
        });
    }
    header.size = end.next_multiple_of(FRAMES_AT);
    header.write(disk, &file)?;
    if header.size > end {
        let rest = usize::try_from(header.size - end).unwrap_or(0);
        write_full(disk, &file, &vec![0; rest], end)?;
    }
    disk.sync(&file)?;
    disk.sync_folder(FOLDER)?;
    Ok((header, spans))
}
