//! What is on the disk when a log is opened: every segment, every good frame, and what the gaps between them mean.
//!
//! Nothing is changed here: the tools that only look use it, too.

use std::io;

use super::count::Count;
use super::frame::Kind;
use super::gaps::{self, FoundSegment, Gaps};
use super::mark::Mark;
use super::open::Reading;
use super::scan::{Horizon, Window, read_frame, scan};
use super::segment::{FOLDER, HeaderRead, SegmentHeader, generation_of, path_of};
use super::settings::OpenError;
use crate::counting::Checkpoints;
use crate::disk::{Access, Disk};
use crate::recovery::{Fault, FaultKind, Phase, Progress, Recovery};

/// What was found.
pub(super) struct Survey {
    pub(super) segments: Vec<FoundSegment>,
    /// Generations of files without a header.
    pub(super) headless: Vec<u64>,
    /// Headers of which only one of two was good.
    pub(super) damaged_headers: Vec<SegmentHeader>,
    /// Segments whose end is missing, and where they end.
    pub(super) short: Vec<(SegmentHeader, u64)>,
    /// The last frame that was found.
    pub(super) horizon: Horizon,
    /// The highest sequence number that was known to be stable.
    pub(super) stable: u64,
    marks: Vec<(u64, Mark)>,
    /// Frames with checkpoints: sequence number, segment, place.
    checkpoints: Vec<(u64, u64, u64)>,
    pub(super) mark: Mark,
    pub(super) window: Window,
}

impl Survey {
    pub(super) fn new(reading: Reading) -> Self {
        Self {
            segments: Vec::new(),
            headless: Vec::new(),
            damaged_headers: Vec::new(),
            short: Vec::new(),
            horizon: Horizon::default(),
            stable: 0,
            marks: Vec::new(),
            checkpoints: Vec::new(),
            mark: Mark::default(),
            window: match reading {
                Reading::Strict => Window::new(),
                Reading::Tolerant => Window::tolerant(),
            },
        }
    }

    /// Reads the headers.
    pub(super) fn list<D: Disk>(
        &mut self,
        disk: &mut D,
        names: &[String],
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        for name in names {
            let path = format!("{FOLDER}/{name}");
            let mut fault = |kind| {
                recovery.faults.push(Fault {
                    file: path.clone(),
                    offset: None,
                    kind,
                });
            };
            let Some(generation) = generation_of(name) else {
                fault(FaultKind::Foreign);
                continue;
            };
            let file = disk
                .open(&path, Access::Read)
                .map_err(OpenError::io("open", &path))?;
            let len = disk.len(&file).map_err(OpenError::io("read", &path))?;
            let read = SegmentHeader::read(disk, &file);
            let header = match read.map_err(OpenError::io("read", &path))? {
                HeaderRead::Newer(found) => return Err(OpenError::NewerFormat { found }),
                HeaderRead::None => {
                    self.headless.push(generation);
                    continue;
                }
                HeaderRead::OneOfTwo(header) => {
                    fault(FaultKind::HeaderDamaged);
                    self.damaged_headers.push(header);
                    header
                }
                HeaderRead::Good(header) => header,
            };
            if header.generation == generation {
                self.segments.push(FoundSegment {
                    header,
                    len,
                    spans: Vec::new(),
                });
            } else {
                fault(FaultKind::Foreign);
            }
        }
        self.headless.sort_unstable();
        self.segments
            .sort_unstable_by_key(|segment| segment.header.generation);
        Ok(())
    }

    /// Finds the good frames.
    pub(super) fn read<D: Disk>(
        &mut self,
        disk: &mut D,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(), OpenError> {
        let mut progress = self.progress(Phase::Checking);
        for place in 0..self.segments.len() {
            let (before, rest) = self.segments.split_at_mut(place);
            let Some(segment) = rest.first_mut() else {
                break;
            };
            watch(progress);
            let path = segment.header.path();
            let generation = segment.header.generation;
            let file = disk
                .open(&path, Access::Read)
                .map_err(OpenError::io("open", &path))?;
            let (stable, marks, checkpoints) =
                (&mut self.stable, &mut self.marks, &mut self.checkpoints);
            segment.spans = scan(
                disk,
                &file,
                &segment.header,
                &mut self.horizon,
                &mut self.window,
                &mut |found| {
                    let sequence = found.header.sequence;
                    if found.restarts {
                        marks.retain(|(other, _)| *other < sequence);
                        checkpoints.retain(|(other, ..)| *other < sequence);
                        for segment in before.iter_mut() {
                            segment.spans.retain(|span| span.last_sequence < sequence);
                        }
                    }
                    *stable = (*stable).max(found.header.stable_before());
                    if found.header.kind == Kind::Mark
                        && let Some(mark) = Mark::decode(found.payload)
                    {
                        marks.push((sequence, mark));
                    }
                    if found.header.checkpoint {
                        checkpoints.push((sequence, generation, found.offset));
                    }
                },
            )
            .map_err(OpenError::io("read", &path))?;
            progress.bytes_done += segment.len;
        }
        watch(progress);
        Ok(())
    }

    pub(super) fn progress(&self, phase: Phase) -> Progress {
        Progress {
            phase,
            bytes_done: 0,
            bytes_total: self.segments.iter().map(|segment| segment.len).sum(),
        }
    }

    /// Finds the end and what is missing, and forgets what lies behind the end.
    pub(super) fn judge(&mut self, recovery: &mut Recovery) -> Gaps {
        let end = gaps::find(
            &self.segments,
            &self.headless,
            self.stable,
            &Mark::default(),
        )
        .end;
        let end = end.unwrap_or(u64::MAX);
        // Marks come in order; the last one counts.
        self.marks.retain(|(sequence, _)| *sequence < end);
        self.checkpoints.retain(|(sequence, ..)| *sequence < end);
        self.mark = self.marks.pop().unwrap_or_default().1;
        let gaps = gaps::find(&self.segments, &self.headless, self.stable, &self.mark);
        for segment in &mut self.segments {
            segment.spans.retain(|span| span.first_sequence < end);
        }
        recovery.faults.extend(gaps.faults.iter().cloned());
        self.judge_lengths(recovery);
        gaps
    }

    /// A segment has its whole length before it has its name. If the last one is shorter, nobody knows what was in the rest;
    /// of the others the sequence numbers tell.
    fn judge_lengths(&mut self, recovery: &mut Recovery) {
        let is_used = |segment: &FoundSegment| !segment.spans.is_empty();
        let last = self.segments.iter().rposition(is_used).unwrap_or(0);
        for segment in self.segments.iter().skip(last) {
            let size = segment.header.size;
            if segment.len >= size {
                continue;
            }
            self.short.push((segment.header, segment.len));
            recovery.faults.push(Fault {
                file: segment.header.path(),
                offset: Some(segment.len),
                kind: FaultKind::Short {
                    bytes: size - segment.len,
                },
            });
        }
    }

    pub(super) fn checkpoints<D: Disk>(&mut self, disk: &mut D) -> Result<Checkpoints, OpenError> {
        let mut checkpoints = Checkpoints::new();
        let mut current: Option<(&FoundSegment, D::File)> = None;
        for (sequence, generation, at) in &self.checkpoints {
            let path = path_of(*generation);
            if current
                .as_ref()
                .is_none_or(|(segment, _)| segment.header.generation != *generation)
            {
                let segment = self
                    .segments
                    .iter()
                    .find(|segment| segment.header.generation == *generation);
                let file = disk
                    .open(&path, Access::Read)
                    .map_err(OpenError::io("open", &path))?;
                current = segment.map(|segment| (segment, file));
                self.window.forget();
            }
            let Some((segment, file)) = &current else {
                continue;
            };
            let read = read_frame(disk, file, &segment.header, *at, &mut self.window);
            if let Some((found, _)) = read.map_err(OpenError::io("read", &path))? {
                checkpoints.scan(*sequence, found.payload);
            }
        }
        Ok(checkpoints)
    }

    /// Forgets segments that had been given up.
    pub(super) fn forget_old(&mut self) -> Vec<u64> {
        let oldest = self.mark.oldest_generation;
        let old = self
            .segments
            .iter()
            .map(|segment| segment.header.generation);
        let old = old
            .chain(self.headless.iter().copied())
            .filter(|generation| *generation < oldest)
            .collect();
        self.segments
            .retain(|segment| segment.header.generation >= oldest);
        self.headless.retain(|generation| *generation >= oldest);
        old
    }

    /// Reads everything that counts.
    pub(super) fn count<D: Disk>(
        &mut self,
        disk: &mut D,
        checkpoints: Checkpoints,
        recovery: &mut Recovery,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Count, OpenError> {
        let mut count = Count::new(checkpoints, self.mark.clone());
        let mut progress = self.progress(Phase::Counting);
        for segment in &self.segments {
            watch(progress);
            let path = segment.header.path();
            let failed = || OpenError::io("read", &path);
            let file = disk.open(&path, Access::Read).map_err(failed())?;
            self.window.forget();
            for span in &segment.spans {
                let mut at = span.start;
                while at < span.end {
                    let read = read_frame(disk, &file, &segment.header, at, &mut self.window);
                    let Some((found, next)) = read.map_err(failed())? else {
                        return Err(failed()(io::ErrorKind::InvalidData.into()));
                    };
                    count.add(segment.header.generation, &path, &found, recovery);
                    at = next;
                }
            }
            recovery.segments += usize::from(!segment.spans.is_empty());
            progress.bytes_done += segment.len;
        }
        watch(progress);
        let missing = count.bodies.settle();
        if missing > 0 {
            recovery.faults.push(Fault {
                file: FOLDER.to_owned(),
                offset: None,
                kind: FaultKind::MissingBodies { bodies: missing },
            });
        }
        recovery.bodies = count.bodies.len() as u64;
        recovery.references = count.bodies.references();
        recovery.live_bytes = count.live_bytes();
        recovery.highest_session_counter = count.mark.session_counter;
        recovery.highest_number_counter = count.mark.number_counter;
        Ok(count)
    }
}
