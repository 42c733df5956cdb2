//! Opening: what is on the disk, what of it is good, and what to do about the rest.
//!
//! 1. `FORMAT`, and what a crash has left half done in the folder.
//! 2. Every segment is read once and every good frame in it is found: `survey.rs`, `scan.rs`.
//! 3. Gaps tell where the log ends and what is lost: `gaps.rs`.
//! 4. What has been read is made stable, since what follows relies on it. Nothing is changed before.
//! 5. Damaged segments are set aside: `salvage.rs`.
//! 6. The good frames are read again, and everything in them is counted: `count.rs`.

use std::io;

use super::bodies::Location;
use super::clean::Cleaning;
use super::count::Count;
use super::format::{self, FormatFile};
use super::gaps::{FoundSegment, Gaps};
use super::group::Group;
use super::replay::Replay;
use super::reserve::{LARGE_PATH, Reserve};
use super::salvage;
use super::segment::{FOLDER, SPARE_PATH, generation_of, path_of};
use super::settings::{OpenError, Settings};
use super::survey::Survey;
use super::write::Head;
use super::{Log, Segment, splitmix};
use crate::disk::{Access, Disk, LockError, write_full};
use crate::recovery::{Fault, FaultKind, Progress, Recovery};
use crate::store::StoreStats;

/// How an unreadable part of a file is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As an error: the disk may be better another time, and nothing is given up.
    Strict,
    /// As damage.
    Tolerant,
}

pub(super) fn open<D: Disk>(
    mut disk: D,
    settings: Settings,
    reading: Reading,
    watch: &mut dyn FnMut(Progress),
) -> Result<(Log<D>, Recovery), OpenError> {
    let settings = settings.checked();
    let mut recovery = Recovery::default();
    disk.lock().map_err(|error| match error {
        LockError::Held { pid } => OpenError::Locked { pid },
        LockError::Io(error) => OpenError::io("lock", "")(error),
    })?;
    disk.create_folder(FOLDER)
        .map_err(OpenError::io("make the folder", FOLDER))?;
    let names = clear_leftovers(&mut disk)?;
    check_format(&mut disk, reading, &names, &mut recovery)?;

    let mut survey = Survey::new(reading);
    survey.list(&mut disk, &names, &mut recovery)?;
    survey.read(&mut disk, watch)?;
    let gaps = survey.judge(&mut recovery);
    // A mark that has been read may say that something may go. First it, and what is in its place, must be there to stay.
    survey.make_stable(&mut disk)?;
    survey.mend_headers(&mut disk)?;
    survey.mend_lengths(&mut disk)?;
    let checkpoints = survey.checkpoints(&mut disk)?;
    survey.drop_old(&mut disk)?;
    let mut salts = splitmix(settings.seed ^ u64::from(survey.horizon.epoch) << 32);
    survey.salvage(&mut disk, &gaps, &mut salts, &mut recovery)?;
    let count = survey.count(&mut disk, checkpoints, &mut recovery, watch)?;
    let mut log = survey.into_log(disk, settings, count, salts)?;
    log.acknowledge_loss(gaps)?;
    Ok((log, recovery))
}

/// Removes what was being made when it crashed, and ends what had been begun. Gives the names that there are then.
fn clear_leftovers<D: Disk>(disk: &mut D) -> Result<Vec<String>, OpenError> {
    let list = |disk: &mut D| disk.list(FOLDER).map_err(OpenError::io("list", FOLDER));
    let mut names = list(disk)?;
    if salvage::finish(disk, &names).map_err(OpenError::io("put right", FOLDER))? {
        names = list(disk)?;
    }
    for path in [SPARE_PATH, LARGE_PATH] {
        let is_it = |name: &String| {
            path.strip_prefix(FOLDER)
                .and_then(|path| path.strip_prefix('/'))
                == Some(name)
        };
        if names.iter().any(is_it) {
            disk.remove(path).map_err(OpenError::io("remove", path))?;
            names.retain(|name| !is_it(name));
        }
    }
    Ok(names)
}

fn check_format<D: Disk>(
    disk: &mut D,
    reading: Reading,
    names: &[String],
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    match (format::read(disk)?, reading) {
        (FormatFile::Version(version), _) => {
            recovery.upgraded_from = format::upgrade(disk, version)?;
            if recovery.upgraded_from.is_some() {
                format::write(disk)?;
            }
            Ok(())
        }
        (FormatFile::Unknown(found), Reading::Strict) => Err(OpenError::UnknownFormat { found }),
        (FormatFile::Missing, _) | (FormatFile::Unknown(_), Reading::Tolerant) => {
            if names.iter().any(|name| generation_of(name).is_some()) {
                recovery.faults.push(Fault {
                    file: format::PATH.to_owned(),
                    offset: None,
                    kind: FaultKind::FormatMissing,
                });
            }
            format::write(disk)
        }
    }
}

impl Survey {
    fn mend_headers<D: Disk>(&self, disk: &mut D) -> Result<(), OpenError> {
        for header in &self.damaged_headers {
            let path = header.path();
            let file = disk
                .open(&path, Access::Write)
                .map_err(OpenError::io("open", &path))?;
            header
                .write(disk, &file)
                .and_then(|()| disk.sync(&file))
                .map_err(OpenError::io("write", &path))?;
        }
        Ok(())
    }

    /// Gives segments that are too short their length again, so that the next start does not find the same. If there is no
    /// room for that it does.
    fn mend_lengths<D: Disk>(&mut self, disk: &mut D) -> Result<(), OpenError> {
        for (header, len) in self.short.drain(..) {
            let path = header.path();
            let file = disk
                .open(&path, Access::Write)
                .map_err(OpenError::io("open", &path))?;
            let result = fill(disk, &file, len, header.size).and_then(|()| disk.sync(&file));
            match result {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => continue,
                result => result.map_err(OpenError::io("write", &path))?,
            }
            let same = |segment: &&mut FoundSegment| segment.header == header;
            if let Some(segment) = self.segments.iter_mut().find(same) {
                segment.len = header.size;
            }
        }
        Ok(())
    }

    /// Removes segments that had been given up when it crashed.
    fn drop_old<D: Disk>(&mut self, disk: &mut D) -> Result<(), OpenError> {
        for generation in self.forget_old() {
            let path = path_of(generation);
            disk.remove(&path).map_err(OpenError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Sets damaged segments aside.
    fn salvage<D: Disk>(
        &mut self,
        disk: &mut D,
        gaps: &Gaps,
        salts: &mut u64,
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        for segment in &mut self.segments {
            if !gaps.damaged.contains(&segment.header.generation) {
                continue;
            }
            let path = segment.header.path();
            *salts = salts.wrapping_add(1);
            let fault = salvage::salvage(disk, segment, splitmix(*salts))
                .map_err(OpenError::io("save what is good of", &path))?;
            recovery.faults.extend(fault);
        }
        self.segments.retain(|segment| {
            !(segment.spans.is_empty() && gaps.damaged.contains(&segment.header.generation))
        });
        for generation in self.headless.drain(..) {
            let fault = salvage::set_aside(disk, generation);
            let failed = OpenError::io("set aside", FOLDER);
            recovery.faults.push(fault.map_err(failed)?);
        }
        Ok(())
    }

    /// What was not known to be stable may be in the system's memory only.
    fn make_stable<D: Disk>(&self, disk: &mut D) -> Result<(), OpenError> {
        let is_young = |segment: &&FoundSegment| {
            segment
                .spans
                .last()
                .is_some_and(|span| span.last_sequence > self.stable)
        };
        for segment in self.segments.iter().filter(is_young) {
            let path = segment.header.path();
            let file = disk
                .open(&path, Access::Write)
                .map_err(OpenError::io("open", &path))?;
            disk.sync(&file).map_err(OpenError::io("sync", &path))?;
        }
        disk.sync_folder(FOLDER)
            .map_err(OpenError::io("sync", FOLDER))
    }

    fn into_log<D: Disk>(
        self,
        mut disk: D,
        settings: Settings,
        count: Count,
        salts: u64,
    ) -> Result<Log<D>, OpenError> {
        let (mut used, unused): (Vec<_>, Vec<_>) = self
            .segments
            .into_iter()
            .partition(|segment| !segment.spans.is_empty());
        let head = used.pop();
        let last_sequence = head
            .iter()
            .flat_map(|head| &head.spans)
            .map(|span| span.last_sequence)
            .max()
            .unwrap_or(0);
        let reserve = take_unused(&mut disk, unused, settings.segment_bytes)?;
        let head = match head {
            Some(head) => Some(open_head(&mut disk, head)?),
            None => None,
        };
        let (bodies, slots, mark, replay) = count.into_parts();
        let locations: Vec<Location> = bodies.locations().collect();
        let mut log = Log {
            disk,
            settings,
            sealed: used.into_iter().map(Segment::from).collect(),
            head,
            retired: Vec::new(),
            reserve,
            no_room: None,
            cleaning: Cleaning::new(),
            last_generation: self.mark.oldest_generation.saturating_sub(1),
            next_sequence: last_sequence + 1,
            stable_sequence: last_sequence,
            epoch: self.horizon.epoch.saturating_add(1),
            salts,
            bodies,
            slots,
            mark,
            poison: None,
            changes: Vec::new(),
            sums: Vec::new(),
            counters: StoreStats::default(),
            replay: Some(Replay {
                checkpoints: replay.0,
                summaries: replay.1,
            }),
        };
        for location in locations {
            log.add_live(location.generation.into(), location.len.into());
        }
        Ok(log)
    }
}

/// Writes zeros from one place to another.
fn fill<D: Disk>(disk: &mut D, file: &D::File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).map_or(ZEROS, |left| left.min(ZEROS));
        write_full(disk, file, zeros.get(..len).unwrap_or_default(), at)?;
        at += len as u64;
    }
    Ok(())
}

/// The last segment with frames is written on.
fn open_head<D: Disk>(disk: &mut D, head: FoundSegment) -> Result<Head<D::File>, OpenError> {
    let path = head.header.path();
    let file = disk
        .open(&path, Access::Write)
        .map_err(OpenError::io("open", &path))?;
    Ok(Head::new(Segment::from(head), file, Group::default()))
}

/// Makes the reserve of a segment without frames; of others, and of those whose frames are behind the end, nothing is left.
fn take_unused<D: Disk>(
    disk: &mut D,
    unused: Vec<FoundSegment>,
    size: u64,
) -> Result<Reserve<D::File>, OpenError> {
    let mut reserve = Reserve::Nothing;
    for segment in unused {
        let path = segment.header.path();
        if reserve.is_nothing() && segment.header.size == size && segment.len == size {
            disk.rename(&path, SPARE_PATH)
                .map_err(OpenError::io("rename", &path))?;
            let file = disk
                .open(SPARE_PATH, Access::Write)
                .map_err(OpenError::io("open", SPARE_PATH))?;
            reserve = Reserve::Filled { file, size };
        } else {
            disk.remove(&path).map_err(OpenError::io("remove", &path))?;
        }
    }
    disk.sync_folder(FOLDER)
        .map_err(OpenError::io("sync", FOLDER))?;
    Ok(reserve)
}

impl From<FoundSegment> for Segment {
    fn from(found: FoundSegment) -> Self {
        Self {
            header: found.header,
            spans: found.spans,
            live: 0,
        }
    }
}

impl<D: Disk> Log<D> {
    /// Writes down what is lost, so that the next start does not find it anew; and asks for checkpoints, since what is left
    /// may not fit together.
    fn acknowledge_loss(&mut self, gaps: Gaps) -> Result<(), OpenError> {
        if gaps.lost.is_empty() {
            return Ok(());
        }
        let slack = self.settings.segment_bytes / super::clean::SLACKS_PER_SEGMENT;
        self.slots.distrust(slack);
        self.mark.lost.extend(gaps.lost);
        match self.put_mark().and_then(|_| self.sync_hard()) {
            // Then the next start says the same once more.
            Ok(()) | Err(crate::store::StoreError::Full(_)) => Ok(()),
            Err(error) => Err(OpenError::io("write to", FOLDER)(io::Error::other(error))),
        }
    }
}

/// Zeros written with one write.
const ZEROS: usize = 1 << 20;
