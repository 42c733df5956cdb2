//! The second reading of a log that is opened: every record of every good frame, to find where the bodies are, who refers
//! to them, and what each slot has.

use martlet_engine::{BodySummary, Record, Records, WallTime};

use super::bodies::{Bodies, checksum};
use super::frame::Kind;
use super::location;
use super::mark::Mark;
use super::scan::Found;
use super::slots::{Slots, growth_of_one};
use super::write::Put;
use crate::counting::{Checkpoints, Place, changes};
use crate::recovery::{Fault, FaultKind, Recovery};

/// What was found so far.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) bodies: Bodies,
    pub(super) slots: Slots,
    pub(super) summaries: Summaries,
    pub(super) mark: Mark,
    checkpoints: Checkpoints,
    /// The body that was referred to last, and its place: most have several references, one behind the other.
    last: Option<(u64, u32)>,
}

/// What shards have to know of the bodies, by [`Bodies::place_near`].
#[derive(Debug, Default)]
pub(super) struct Summaries(Vec<Summary>);

#[derive(Debug, Clone, Copy)]
struct Summary {
    size_bytes: u32,
    user: u16,
    /// Plus one; 0: never.
    expires_ms: u64,
}

/// Who needs the whole of a body: a topic that retains it, or a group that has it in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// Sessions have it in their queues, if anybody has.
    Nobody,
    /// One slot.
    Slot(u8),
    /// Several.
    Many,
}

impl Count {
    pub(super) fn new(checkpoints: Checkpoints, mark: Mark) -> Self {
        Self {
            bodies: Bodies::default(),
            slots: Slots::new(),
            summaries: Summaries::default(),
            mark,
            checkpoints,
            last: None,
        }
    }

    pub(super) fn into_parts(self) -> (Bodies, Slots, Mark, (Checkpoints, Summaries)) {
        (
            self.bodies,
            self.slots,
            self.mark,
            (self.checkpoints, self.summaries),
        )
    }

    /// Bytes that are needed: bodies, and about what checkpoints of all slots would have.
    pub(super) fn live_bytes(&self) -> u64 {
        let bodies = self.bodies.locations().map(|at| u64::from(at.len));
        bodies.sum::<u64>() + self.slots.live()
    }

    /// Takes a frame into account. Frames come in order.
    pub(super) fn add(
        &mut self,
        generation: u64,
        file: &str,
        found: &Found<'_>,
        recovery: &mut Recovery,
    ) {
        recovery.bytes += super::frame::frame_len(found.payload.len()) as u64;
        match found.header.kind {
            Kind::Mark => return,
            Kind::Batch => recovery.batches += 1,
            Kind::Bodies => {}
        }
        let put = Put {
            generation,
            payload_at: found.offset + super::frame::HEADER_BYTES as u64,
        };
        let mut within = false;
        let mut records = Records::new(found.payload);
        loop {
            let offset = records.offset();
            match records.next() {
                None => return,
                Some(Ok(record)) => {
                    recovery.records += 1;
                    let bytes = found.payload.get(offset..records.offset());
                    let place = Place {
                        sequence: found.header.sequence,
                        offset,
                    };
                    within =
                        self.add_record(&record, put, place, bytes.unwrap_or_default(), within);
                }
                Some(Err(error)) => {
                    recovery.faults.push(Fault {
                        file: file.to_owned(),
                        offset: Some(put.payload_at + error.offset as u64),
                        kind: FaultKind::BadRecord { what: error.what },
                    });
                    return;
                }
            }
        }
    }

    /// Whether the next record is within a checkpoint that counts.
    fn add_record(
        &mut self,
        record: &Record<'_>,
        put: Put,
        place: Place,
        bytes: &[u8],
        within: bool,
    ) -> bool {
        let (session, number) = record.counters();
        self.mark.session_counter = self.mark.session_counter.max(session);
        self.mark.number_counter = self.mark.number_counter.max(number);
        if let Record::Body { body, message } = record {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let location = location(put, place.offset as u64, len);
            let checksum = checksum(bytes);
            if let Some(place) = self.bodies.place_or_new(body.as_u64()) {
                self.bodies.put_at(place, location, checksum);
                self.summaries.put(place, BodySummary::of(message));
                self.last = Some((body.as_u64(), place));
            }
        }
        let Some(slot) = record
            .slot()
            .filter(|slot| self.checkpoints.counts(*slot, place))
        else {
            return within;
        };
        let begins = matches!(record, Record::SlotBegin { .. });
        if begins {
            self.slots.begin(slot, put.generation);
        }
        let within = within || begins;
        let bytes = bytes.len() as u64;
        if within {
            self.slots.checkpointed(slot, bytes);
        } else {
            let growth = growth_of_one(record, bytes);
            self.slots.written(slot, growth, bytes, put.generation);
        }
        for (body, more) in changes(record) {
            if more {
                let known = self.last.filter(|(last, _)| *last == body);
                let place =
                    known.map_or_else(|| self.bodies.place_or_new(body), |(_, at)| Some(at));
                if let Some(place) = place {
                    self.bodies.refer_ahead(place);
                    self.last = Some((body, place));
                    if !matches!(record, Record::Queued { .. }) {
                        self.summaries.needed_by(place, slot);
                    }
                }
            } else {
                self.bodies.unrefer_ahead(body);
            }
        }
        within && !matches!(record, Record::SlotEnd { .. })
    }
}

impl Summaries {
    fn put(&mut self, place: u32, summary: BodySummary) {
        let known = self.at(place);
        known.size_bytes = summary.size_bytes;
        known.expires_ms = summary.expires_at.map_or(0, |at| at.0.saturating_add(1));
    }

    fn needed_by(&mut self, place: u32, slot: u8) {
        let known = self.at(place);
        let slot = u16::from(slot);
        known.user = if known.user == NOBODY || known.user == slot {
            slot
        } else {
            MANY
        };
    }

    /// Who needs it whole.
    pub(super) fn user(&self, place: u32) -> User {
        match self.0.get(place as usize).map(|known| known.user) {
            None | Some(NOBODY) => User::Nobody,
            Some(user) => u8::try_from(user).map_or(User::Many, User::Slot),
        }
    }

    /// What is to be known of one that was found.
    pub(super) fn summary(&self, place: u32) -> Option<BodySummary> {
        let known = self.0.get(place as usize)?;
        Some(BodySummary {
            size_bytes: known.size_bytes,
            expires_at: known.expires_ms.checked_sub(1).map(WallTime),
        })
    }

    #[expect(clippy::indexing_slicing, reason = "it has just been made long enough")]
    fn at(&mut self, place: u32) -> &mut Summary {
        let place = place as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, Summary::UNKNOWN);
        }
        &mut self.0[place]
    }
}

impl Summary {
    const UNKNOWN: Self = Self {
        size_bytes: 0,
        user: NOBODY,
        expires_ms: 0,
    };
}

const NOBODY: u16 = 256;
const MANY: u16 = 257;

#[cfg(test)]
mod tests {
    use super::*;

    /// There are as many as bodies, while the log is opened.
    #[test]
    fn a_summary_costs_few_bytes_and_loses_nothing() {
        assert_eq!(size_of::<Summary>(), 16);
        let mut summaries = Summaries::default();
        for (place, expires_at) in (0..).zip([None, Some(WallTime(0)), Some(WallTime(1 << 50))]) {
            let summary = BodySummary {
                size_bytes: 7 + place,
                expires_at,
            };
            summaries.put(place, summary);
            assert_eq!(summaries.summary(place), Some(summary));
        }
    }

    #[test]
    fn bodies_are_needed_by_those_who_said_so() {
        let mut summaries = Summaries::default();
        summaries.needed_by(2, 255);
        summaries.needed_by(3, 0);
        summaries.needed_by(3, 0);
        assert_eq!(summaries.user(1), User::Nobody);
        assert_eq!(summaries.user(2), User::Slot(255));
        assert_eq!(summaries.user(3), User::Slot(0));
        summaries.needed_by(3, 1);
        assert_eq!(summaries.user(3), User::Many);
        assert_eq!(summaries.user(4), User::Nobody);
    }
}
