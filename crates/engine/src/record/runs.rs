//! Records of runs: of many messages at once, which have nearly everything in common.
//!
//! References to bodies that were written one behind the other, under identifiers that were given out one behind the other, are one
//! record. Whoever reads records gets those that it stands for: see [`RecordRun`].

use alloc::vec::Vec;

use martlet_codec::{PacketId, QoS};

use super::decode::Reader;
use super::encode::{FIELDS_BYTES, Writer, encode_integer, message_len};
use super::tags::{
    TAG_COMPLETED_RUN, TAG_ENDED_RUN, TAG_FINISHED_RUN, TAG_QUEUED_RUN, TAG_RECEIVED_RUN,
    TAG_RELEASED_RUN,
};
use super::{Body, BodyId, NUMBERS_PER_COUNT, Record, SessionId, StoredTerms};

/// Several records of one session, written as one: the first says what the others are. The packet identifiers go up one by one, and so do the
/// bodies, if the records name such: numbered one behind the other by one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRun {
    what: RunOf,
    session: SessionId,
    /// The first one's.
    body: Option<BodyId>,
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
    /// [`Record::Released`], of messages that were still held.
    Released,
    /// [`Record::Finished`], of flows that had been released.
    Ended,
    /// [`Record::Received`], of publishes without a number.
    Received,
    /// [`Record::Completed`].
    Completed,
}

impl RunOf {
    /// Whether such records name bodies.
    const fn has_bodies(self) -> bool {
        match self {
            Self::Queued(_) | Self::Finished | Self::Released => true,
            Self::Ended | Self::Received | Self::Completed => false,
        }
    }
}

impl RecordRun {
    /// The first one. `None` if there is a body, and such records name none, or the other way round.
    #[must_use]
    pub const fn new(
        what: RunOf,
        session: SessionId,
        body: Option<BodyId>,
        packet_id: PacketId,
    ) -> Option<Self> {
        if body.is_some() != what.has_bodies() {
            return None;
        }
        Some(Self {
            what,
            session,
            body,
            packet_id,
            count: 1,
        })
    }

    /// Takes the next one, if it goes on as the others. `false`: it does not, and is to be written behind them.
    #[must_use]
    pub fn take(&mut self, body: Option<BodyId>, packet_id: PacketId) -> bool {
        let goes_on = self.count < COUNT_MAX
            && body.is_some() == self.body.is_some()
            && self.body_at(self.count) == body
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

    /// The first body that they name: the others are numbered behind it, [`SHARDS_MAX`](crate::SHARDS_MAX) apart.
    #[must_use]
    pub const fn first_body(&self) -> Option<BodyId> {
        self.body
    }

    /// One of the records.
    pub(super) fn at(&self, place: u16) -> Option<Record<'static>> {
        if place >= self.count {
            return None;
        }
        let (session, body) = (self.session, self.body_at(place));
        let packet_id = self.packet_id_at(place)?;
        if body.is_none() && self.what.has_bodies() {
            return None;
        }
        Some(match self.what {
            RunOf::Queued(qos) => Record::Queued {
                session,
                position: 0,
                body: body?,
                terms: StoredTerms::bare(qos, false),
                packet_id: Some(packet_id),
            },
            RunOf::Finished | RunOf::Ended => Record::Finished {
                session,
                packet_id,
                body,
            },
            RunOf::Released => Record::Released {
                session,
                packet_id,
                body,
            },
            RunOf::Received => Record::Received {
                session,
                packet_id,
                publish: None,
            },
            RunOf::Completed => Record::Completed { session, packet_id },
        })
    }

    fn body_at(&self, place: u16) -> Option<BodyId> {
        let number = self.body?.as_u64();
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
            RunOf::Released => w.tag(TAG_RELEASED_RUN),
            RunOf::Ended => w.tag(TAG_ENDED_RUN),
            RunOf::Received => w.tag(TAG_RECEIVED_RUN),
            RunOf::Completed => w.tag(TAG_COMPLETED_RUN),
        };
        let w = w.session(self.session);
        let w = match self.body {
            Some(body) => w.body_id(body),
            None => w,
        };
        w.packet_id(self.packet_id).integer(self.count.into());
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
            &tag @ TAG_QUEUED_RUN..=TAG_COMPLETED_RUN => Some(self.fields_of_run(tag)),
            _ => None,
        }
    }

    fn fields_of_run(&mut self, tag: u8) -> Result<RecordRun, &'static str> {
        self.byte()?;
        let what = match tag {
            TAG_FINISHED_RUN => RunOf::Finished,
            TAG_RELEASED_RUN => RunOf::Released,
            TAG_ENDED_RUN => RunOf::Ended,
            TAG_RECEIVED_RUN => RunOf::Received,
            TAG_COMPLETED_RUN => RunOf::Completed,
            _ => RunOf::Queued(match self.byte()? {
                1 => QoS::AtLeastOnce,
                2 => QoS::ExactlyOnce,
                _ => return Err("has flags that this version does not know"),
            }),
        };
        let session = self.session()?;
        let body = what.has_bodies().then(|| self.body_id()).transpose()?;
        let run = RecordRun::new(what, session, body, self.packet_id()?);
        let mut run = run.ok_or("is a run of nothing")?;
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
