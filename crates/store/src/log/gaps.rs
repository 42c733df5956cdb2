//! Where the log ends, and what is missing before that.
//!
//! Sequence numbers run through all segments. Every frame says up to which one all was stable when it was written; the
//! highest such number of all good frames divides the gaps:
//! - a gap up to there is a *loss*: what was in it had been acknowledged. The frames behind it are used;
//! - the first gap behind there is the *end*: a write that did not finish. A crash may leave any part of what was written
//!   and not synced; what lies behind the gap is not used, or a later batch would be there without an earlier one.

use std::ops::RangeInclusive;

use super::mark::Mark;
use super::scan::Span;
use super::segment::{FRAMES_AT, SegmentHeader, path_of};
use crate::recovery::{Fault, FaultKind, LossCause};

/// A segment as it was found.
#[derive(Debug)]
pub(super) struct FoundSegment {
    pub(super) header: SegmentHeader,
    /// Bytes of the file.
    pub(super) len: u64,
    pub(super) spans: Vec<Span>,
}

/// Generations of files without good frames.
struct Files<'a> {
    empty: Vec<u64>,
    headless: &'a [u64],
}

/// What the gaps come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    /// Frames from this number on are not used.
    pub(super) end: Option<u64>,
    /// What is lost, and was not known to be.
    pub(super) lost: Vec<RangeInclusive<u64>>,
    /// Generations of the segments that are damaged.
    pub(super) damaged: Vec<u64>,
    pub(super) faults: Vec<Fault>,
}

/// Looks for gaps. `segments` are in order; the files of `headless` generations are there, but nothing can be read of them.
pub(super) fn find(segments: &[FoundSegment], headless: &[u64], stable: u64, mark: &Mark) -> Gaps {
    let empty = segments.iter().filter(|segment| segment.spans.is_empty());
    let empty: Vec<_> = empty.map(|segment| segment.header.generation).collect();
    let files = Files { empty, headless };
    let mut gaps = Gaps::default();
    let mut before: Option<(&FoundSegment, Span)> = None;
    let spans = segments
        .iter()
        .flat_map(|segment| segment.spans.iter().map(move |span| (segment, *span)));
    for (segment, span) in spans {
        let expected = before.map_or(1, |(_, span)| span.last_sequence + 1);
        if span.first_sequence > expected {
            if expected > stable {
                gaps.end(segment, span, expected);
                return gaps;
            }
            let missing = expected..=span.first_sequence - 1;
            gaps.look_at(&files, before, (segment, span), missing, mark);
        }
        before = Some((segment, span));
    }
    gaps
}

impl Gaps {
    fn end(&mut self, segment: &FoundSegment, span: Span, end: u64) {
        self.end = Some(end);
        self.faults.push(Fault {
            file: segment.header.path(),
            offset: Some(span.start),
            kind: FaultKind::TornTail {
                bytes: span.end - span.start,
            },
        });
    }

    fn look_at(
        &mut self,
        files: &Files<'_>,
        before: Option<(&FoundSegment, Span)>,
        behind: (&FoundSegment, Span),
        missing: RangeInclusive<u64>,
        mark: &Mark,
    ) {
        let (file, offset, because, damaged) = cause(files, before, behind, mark);
        for part in mark.unexcused(missing.clone()) {
            self.faults.push(Fault {
                file: file.clone(),
                offset,
                kind: FaultKind::Lost {
                    batches: part.clone(),
                    because,
                },
            });
            self.lost.push(part);
            self.damaged
                .extend(damaged.filter(|generation| !self.damaged.contains(generation)));
        }
        for known in &mark.lost {
            let (first, last) = (
                *known.start().max(missing.start()),
                *known.end().min(missing.end()),
            );
            if first <= last && first >= mark.oldest_sequence {
                self.faults.push(Fault {
                    file: file.clone(),
                    offset,
                    kind: FaultKind::KnownLoss {
                        batches: first..=last,
                    },
                });
            }
        }
    }
}

/// Why there is a gap: the file and the place, and the generation if there is a damaged file.
fn cause(
    files: &Files<'_>,
    before: Option<(&FoundSegment, Span)>,
    (behind, span): (&FoundSegment, Span),
    mark: &Mark,
) -> (String, Option<u64>, LossCause, Option<u64>) {
    let generation = behind.header.generation;
    let expected = match before {
        Some((segment, _)) => segment.header.generation + 1,
        None => mark.oldest_generation.max(1),
    };
    if generation > expected && files.empty.contains(&expected) {
        let damaged = Some(expected);
        return (
            path_of(expected),
            Some(FRAMES_AT),
            LossCause::Damaged,
            damaged,
        );
    }
    if generation > expected && files.headless.contains(&expected) {
        return (path_of(expected), Some(0), LossCause::Damaged, None);
    }
    if generation > expected {
        return (path_of(expected), None, LossCause::SegmentMissing, None);
    }
    match before {
        Some((segment, last))
            if segment.header.generation == generation || span.start == FRAMES_AT =>
        {
            let path = segment.header.path();
            let damaged = Some(segment.header.generation);
            if segment.len < segment.header.size {
                (path, Some(segment.len), LossCause::SegmentShort, damaged)
            } else {
                (path, Some(last.end), LossCause::Damaged, damaged)
            }
        }
        _ => (
            behind.header.path(),
            Some(FRAMES_AT),
            LossCause::Damaged,
            Some(generation),
        ),
    }
}

impl Mark {
    /// The parts of a gap that this mark does not excuse.
    fn unexcused(&self, missing: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let mut parts = Vec::new();
        let last = *missing.end();
        let mut first = (*missing.start()).max(self.oldest_sequence);
        let mut known: Vec<_> = self.lost.clone();
        known.sort_unstable_by_key(|range| *range.start());
        for range in known {
            if *range.end() < first || *range.start() > last {
                continue;
            }
            if *range.start() > first {
                parts.push(first..=*range.start() - 1);
            }
            first = range.end().saturating_add(1);
        }
        if first <= last {
            parts.push(first..=last);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, first_sequence: u64, last_sequence: u64) -> Span {
        Span {
            start,
            end: start + 40,
            first_sequence,
            last_sequence,
        }
    }

    fn segment(generation: u64, spans: &[Span]) -> FoundSegment {
        FoundSegment {
            header: SegmentHeader {
                generation,
                salt: 0,
                size: 65_536,
            },
            len: 65_536,
            spans: spans.to_vec(),
        }
    }

    #[test]
    fn a_whole_log_has_no_gaps() {
        let segments = [
            segment(1, &[span(4_096, 1, 5)]),
            segment(2, &[]),
            segment(3, &[span(4_096, 6, 9)]),
        ];
        assert_eq!(find(&segments, &[], 9, &Mark::default()), Gaps::default());
    }

    #[test]
    fn a_gap_behind_what_was_stable_is_the_end() {
        let segments = [
            segment(1, &[span(4_096, 1, 5), span(5_000, 7, 8)]),
            segment(2, &[span(4_096, 9, 9)]),
        ];
        let gaps = find(&segments, &[], 5, &Mark::default());
        assert_eq!((gaps.end, gaps.lost.len()), (Some(6), 0));
        assert!(gaps.damaged.is_empty());
    }

    #[test]
    fn a_gap_in_what_was_stable_is_a_loss() {
        let segments = [
            segment(1, &[span(4_096, 1, 5), span(5_000, 7, 8)]),
            segment(2, &[span(8_192, 11, 12)]),
            segment(4, &[span(4_096, 20, 21)]),
        ];
        let gaps = find(&segments, &[], 20, &Mark::default());
        assert_eq!(gaps.end, None);
        assert_eq!(gaps.lost, [6..=6, 9..=10, 13..=19]);
        assert_eq!(gaps.damaged, [1, 2]);
        assert_eq!(gaps.faults[2].file, "log/00000003.seg");
    }

    #[test]
    fn what_is_known_to_be_lost_is_not_lost_again() {
        let segments = [segment(1, &[span(4_096, 1, 5), span(5_000, 16, 18)])];
        let mark = Mark {
            lost: vec![12..=13, 7..=8],
            ..Mark::default()
        };
        let gaps = find(&segments, &[], 17, &mark);
        assert_eq!(gaps.lost, [6..=6, 9..=11, 14..=15]);
        let all = Mark {
            lost: vec![6..=15],
            ..Mark::default()
        };
        let gaps = find(&segments, &[], 17, &all);
        assert!(gaps.lost.is_empty() && gaps.damaged.is_empty());
        assert_eq!(
            gaps.faults[0].kind,
            FaultKind::KnownLoss { batches: 6..=15 }
        );
    }

    #[test]
    fn what_was_given_up_is_not_lost() {
        let segments = [segment(4, &[span(4_096, 31, 40)])];
        let mark = Mark {
            oldest_generation: 4,
            oldest_sequence: 31,
            ..Mark::default()
        };
        assert_eq!(find(&segments, &[], 40, &mark), Gaps::default());
        let gaps = find(&segments, &[], 40, &Mark::default());
        assert_eq!(gaps.lost, [1..=30]);
    }
}
