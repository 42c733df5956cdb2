//! Records of runs: of many messages at once, which have nearly everything in common.
//!
//! References to bodies that were written one behind the other, under identifiers that were given out one behind the other, are one
//! record. Whoever reads records gets those that it stands for: see [`RecordRun`].

use alloc::vec::Vec;

use martlet_codec::{PacketId, QoS};

use super::decode::Reader;
use super::encode::{FIELDS_BYTES, Writer, encode_integer, message_len};
use super::tags::{TAG_FINISHED_RUN, TAG_QUEUED_RUN};
use super::{Body, BodyId, NUMBERS_PER_COUNT, Record, SessionId, StoredTerms};

/// Several records of one session, written as one: the first says what the others are. The bodies are numbered one behind the other by
/// one shard, and so are the packet identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRun {
    what: RunOf,
    session: SessionId,
    /// The first one's.
    body: BodyId,
    packet_id: PacketId,
    count: u16,
}

/// What kind of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOf {
    /// [`Record::Queued`], in flight from the start at this QoS (1 or 2), and nothing else to be said of them.
    Queued(QoS),
    /// [`Record::Finished`], of messages that were still held.
    Finished,
}

impl RecordRun {
    /// The first one.
    #[must_use]
    pub const fn new(what: RunOf, session: SessionId, body: BodyId, packet_id: PacketId) -> Self {
        Self {
            what,
            session,
            body,
            packet_id,
            count: 1,
        }
    }

    /// Takes the next one, if it goes on as the others. `false`: it does not, and is to be written behind them.
    #[must_use]
    pub fn take(&mut self, body: BodyId, packet_id: PacketId) -> bool {
        let goes_on = self.count < COUNT_MAX
            && self.body_at(self.count) == Some(body)
            && self.packet_id_at(self.count) == Some(packet_id);
        self.count += u16::from(goes_on);
        goes_on
    }

    /// What kind of records they are.
    #[must_use]
    pub const fn what(&self) -> RunOf {
        self.what
    }

    /// Whose they are.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The bodies that they name.
    pub fn bodies(&self) -> impl Iterator<Item = BodyId> + use<> {
        let run = *self;
        (0..run.count).filter_map(move |place| run.body_at(place))
    }

    /// One of the records.
    pub(super) fn at(&self, place: u16) -> Option<Record<'static>> {
        if place >= self.count {
            return None;
        }
        let (session, body) = (self.session, self.body_at(place)?);
        let packet_id = self.packet_id_at(place)?;
        Some(match self.what {
            RunOf::Queued(qos) => Record::Queued {
                session,
                position: 0,
                body,
                terms: StoredTerms::bare(qos, false),
                packet_id: Some(packet_id),
            },
            RunOf::Finished => Record::Finished {
                session,
                packet_id,
                body: Some(body),
            },
        })
    }

    fn body_at(&self, place: u16) -> Option<BodyId> {
        let number = self.body.as_u64();
        BodyId::new(number.checked_add(u64::from(place) * NUMBERS_PER_COUNT)?)
    }

    fn packet_id_at(&self, place: u16) -> Option<PacketId> {
        PacketId::new(self.packet_id.get().checked_add(place)?)
    }

    /// Appends them to a batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let (1, Some(record)) = (self.count, self.at(0)) {
            record.encode(out);
            return;
        }
        let start = out.len();
        out.reserve(FIELDS_BYTES);
        // The length, which is one byte: six fields of at most ten bytes.
        out.push(0);
        let w = Writer { out };
        let w = match self.what {
            RunOf::Queued(qos) => w.tag(TAG_QUEUED_RUN).byte(qos as u8),
            RunOf::Finished => w.tag(TAG_FINISHED_RUN),
        };
        w.session(self.session)
            .body_id(self.body)
            .packet_id(self.packet_id)
            .integer(self.count.into());
        let len = out.len() - start - 1;
        if let (Ok(len), Some(place)) = (u8::try_from(len), out.get_mut(start)) {
            *place = len;
        }
    }
}

impl Reader<'_> {
    /// A run, if the record is one.
    #[inline]
    pub(super) fn run(&mut self) -> Option<Result<RecordRun, &'static str>> {
        match self.bytes.first()? {
            &tag @ (TAG_QUEUED_RUN | TAG_FINISHED_RUN) => Some(self.fields_of_run(tag)),
            _ => None,
        }
    }

    fn fields_of_run(&mut self, tag: u8) -> Result<RecordRun, &'static str> {
        self.byte()?;
        let what = if tag == TAG_FINISHED_RUN {
            RunOf::Finished
        } else {
            RunOf::Queued(match self.byte()? {
                1 => QoS::AtLeastOnce,
                2 => QoS::ExactlyOnce,
                _ => return Err("has flags that this version does not know"),
            })
        };
        let mut run = RecordRun::new(what, self.session()?, self.body_id()?, self.packet_id()?);
        let count = self.integer()?;
        run.count = u16::try_from(count)
            .ok()
            .filter(|count| (1..=COUNT_MAX).contains(count))
            .ok_or("is a run of none or too many")?;
        match run.at(run.count - 1) {
            Some(_) => Ok(run),
            None => Err("is a run that goes on behind the last number"),
        }
    }
}

/// Appends the records of bodies that are as this one but for name and payload.
pub(crate) fn encode_bodies<'a>(
    like: &Body<'_>,
    bodies: impl Iterator<Item = (BodyId, &'a [u8])>,
    out: &mut Vec<u8>,
) {
    let mut last: Option<Last> = None;
    for (body, payload) in bodies {
        let begin = out.len();
        let mut name = [0; 10];
        let name = encode_integer(&mut name, body.as_u64());
        let lengths = [name.len(), payload.len()];
        if let Some(last) = last.as_ref().filter(|last| last.lengths == lengths) {
            // Most have names and payloads of the same length: then all up to the payload is the same, but for the name.
            out.reserve(last.head_len + payload.len());
            out.extend_from_within(last.begin..last.begin + last.head_len);
            let name_at = begin + last.name_at;
            if let Some(place) = out.get_mut(name_at..name_at + name.len()) {
                place.copy_from_slice(name);
            }
            out.extend_from_slice(payload);
            continue;
        }
        let message = Body { payload, ..*like };
        let behind_name = message_len(&message) - payload.len();
        Record::Body { body, message }.encode(out);
        let head_len = out.len() - begin - payload.len();
        last = Some(Last {
            begin,
            head_len,
            name_at: head_len - behind_name - name.len(),
            lengths,
        });
    }
}

/// Where a record before has what the next one has as well.
struct Last {
    begin: usize,
    /// All but the payload.
    head_len: usize,
    /// From its begin.
    name_at: usize,
    /// Of name and payload.
    lengths: [usize; 2],
}

/// The most records in a run: what a few bytes on a disk make is bounded.
const COUNT_MAX: u16 = 1_024;
