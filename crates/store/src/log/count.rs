//! The second reading of a log that is opened: every record of every good frame, to find where the bodies are, who refers
//! to them, and what each slot has.

use martlet_engine::{Record, Records};

use super::bodies::Bodies;
use super::frame::Kind;
use super::location;
use super::mark::Mark;
use super::scan::Found;
use super::slots::{Slots, growth};
use super::write::Put;
use crate::counting::{Checkpoints, Place, changes};
use crate::recovery::{Fault, FaultKind, Recovery};

/// What was found so far.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) bodies: Bodies,
    pub(super) slots: Slots,
    pub(super) users: Users,
    pub(super) mark: Mark,
    checkpoints: Checkpoints,
}

/// Which slots refer to a body, by [`Bodies::place`].
#[derive(Debug, Default)]
pub(super) struct Users(Vec<u16>);

/// What is known of who refers to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
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
            users: Users::default(),
            mark,
            checkpoints,
        }
    }

    pub(super) fn into_parts(self) -> (Bodies, Slots, Mark, (Checkpoints, Users)) {
        (
            self.bodies,
            self.slots,
            self.mark,
            (self.checkpoints, self.users),
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
        if let Record::Body { body, .. } = record {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let location = location(put, place.offset as u64, len);
            let checksum = crc32c::crc32c(bytes);
            self.bodies.put(body.as_u64(), location, checksum);
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
            let growth = growth(record, bytes);
            self.slots.written(slot, growth, bytes, put.generation);
        }
        for (body, more) in changes(record) {
            if more {
                self.bodies.refer_ahead(body);
                if let Some(place) = self.bodies.place(body) {
                    self.users.add(place, slot);
                }
            } else {
                self.bodies.unrefer(body);
            }
        }
        within && !matches!(record, Record::SlotEnd { .. })
    }
}

impl Users {
    fn add(&mut self, place: usize, slot: u8) {
        if self.0.len() <= place {
            self.0.resize(place + 1, NOBODY);
        }
        if let Some(user) = self.0.get_mut(place) {
            let slot = u16::from(slot);
            *user = if *user == NOBODY || *user == slot {
                slot
            } else {
                MANY
            };
        }
    }

    pub(super) fn of(&self, place: usize) -> User {
        match self.0.get(place).map(|user| u8::try_from(*user)) {
            Some(Ok(slot)) => User::Slot(slot),
            Some(Err(_)) | None => User::Many,
        }
    }
}

const NOBODY: u16 = 256;
const MANY: u16 = 257;
