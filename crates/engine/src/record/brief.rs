//! Records as a store looks at them that counts what refers to what: millions a second, nearly all of three kinds, of which it
//! wants to know two numbers each.

use super::decode::{LastBody, Reader, RecordError, Records};
use super::tags::{FLAG_GROUP, FLAG_IDS, TAG_BODY, TAG_FINISHED, TAG_QUEUED};
use super::{BodyId, NUMBERS_PER_COUNT, Record, RecordRun, SessionId};

/// A record, as far as one needs to know it who counts what refers to what: see [`Records::next_brief`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brief<'a> {
    /// [`Record::Body`].
    Body(BodyId),
    /// [`Record::Queued`], with no subscription identifiers and of no group.
    Queued(SessionId, BodyId),
    /// [`Record::Finished`] with a message that was still held.
    Finished(SessionId, BodyId),
    /// Several, written as one.
    Run(RecordRun),
    /// Any other one, those that are as above but for what is said there included.
    Other(Record<'a>),
}

impl<'a> Brief<'a> {
    /// Of what was read as a record.
    const fn of(record: Record<'a>) -> Self {
        if let Record::Body { body, .. } = record {
            Self::Body(body)
        } else {
            Self::Other(record)
        }
    }

    /// The slot that the record belongs to; `None` for a body.
    #[must_use]
    pub fn slot(&self) -> Option<u8> {
        match self {
            Self::Body(_) => None,
            Self::Queued(session, _) | Self::Finished(session, _) => Some(session.slot()),
            Self::Run(run) => Some(run.session().slot()),
            Self::Other(record) => record.slot(),
        }
    }

    /// The highest counters in the record: see [`Record::counters`].
    #[must_use]
    pub const fn counters(&self) -> (u64, u64) {
        match self {
            Self::Body(body) => (0, body.as_u64() / NUMBERS_PER_COUNT),
            Self::Queued(..) | Self::Finished(..) | Self::Run(_) => (0, 0),
            Self::Other(record) => record.counters(),
        }
    }
}

impl<'a> Records<'a> {
    /// The next record, as far as one needs to know it who counts what refers to what. What is no record is an error here as it
    /// is for [`Iterator::next`].
    #[inline]
    pub fn next_brief(&mut self) -> Option<Result<Brief<'a>, RecordError>> {
        if self.run.is_some() {
            // Somebody has begun it record by record.
            return Some(self.next()?.map(Brief::of));
        }
        if let Some(body) = self.body_like_last() {
            return Some(Ok(Brief::Body(body)));
        }
        let rest = self.batch.get(self.at..).filter(|rest| !rest.is_empty())?;
        let mut reader = Reader::new(rest);
        let len = reader
            .integer()
            .ok()
            .and_then(|len| usize::try_from(len).ok());
        let behind = len.and_then(|len| reader.bytes.len().checked_sub(len));
        // It may read on into the next record: then it does not end where it should.
        let mut same = self.same;
        if let Some(brief) = reader
            .brief(&mut same)
            .filter(|_| behind == Some(reader.bytes.len()))
        {
            let begin = core::mem::replace(&mut self.at, self.batch.len() - reader.bytes.len());
            self.same = same;
            if let Brief::Body(_) = brief {
                self.remember(begin, len.unwrap_or_default());
            }
            return Some(Ok(brief));
        }
        Some(self.next()?.map(Brief::of))
    }

    /// The next record, if it is a body that differs from the last one in nothing but the name, which has as many bytes, and the payload.
    /// What all of that says has been looked at there.
    #[inline]
    pub(super) fn body_like_last(&mut self) -> Option<BodyId> {
        let like = self.like;
        let record = self.batch.get(self.at..)?.get(..like.len)?;
        let front = u32::from_le_bytes(*record.first_chunk()?) & front_bits(like.name_at);
        if front != like.front {
            return None;
        }
        let mut reader = Reader::new(record.get(like.name_at.into()..)?);
        let body = reader.body_id().ok()?;
        let (at, len) = (like.behind_at, like.behind_len);
        let behind = self.batch.get(at..at + len)?;
        if record.len() - reader.bytes.len() != usize::from(like.name_at + like.name_len)
            || !reader.bytes.starts_with(behind)
        {
            return None;
        }
        self.at += like.len;
        Some(body)
    }

    /// The body that has just been read, whose record begins here and has so many bytes behind its length.
    fn remember(&mut self, begin: usize, len: usize) {
        let record = self.batch.get(begin..self.at).unwrap_or_default();
        let mut reader = Reader::new(record);
        let name_at = record.len() - len + 1;
        let short = |len: usize| u8::try_from(len).ok().filter(|len| *len <= NAME_AT_MAX);
        let like = short(name_at).and_then(|name_at| {
            reader.bytes = record.get(name_at.into()..)?;
            reader.body_id().ok()?;
            let name_end = record.len() - reader.bytes.len();
            reader.bytes = reader.bytes.get(self.same.len()..)?;
            reader.integer().ok()?;
            let behind_end = record.len() - reader.bytes.len();
            Some(LastBody {
                len: record.len(),
                front: u32::from_le_bytes(*record.first_chunk()?) & front_bits(name_at),
                name_at,
                name_len: u8::try_from(name_end).ok()? - name_at,
                behind_at: begin + name_end,
                behind_len: behind_end - name_end,
            })
        });
        self.like = like.unwrap_or(LastBody::NONE);
    }
}

/// The bits of so many bytes, of up to four.
const fn front_bits(bytes: u8) -> u32 {
    match u32::MAX.checked_shr(32 - 8 * bytes as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

/// A body's name begins at most so far behind its record's begin, if records are to be compared with it: length and tag.
const NAME_AT_MAX: u8 = 4;

impl<'a> Reader<'a> {
    /// One of the records that there is most of, read as strictly as by `record`; `None`: it is to be read by that.
    /// `same`: see [`Records::same`]. The same bytes are the same fields, and no others begin with them.
    #[inline]
    fn brief(&mut self, same: &mut &'a [u8]) -> Option<Brief<'a>> {
        if let Some(run) = self.run() {
            return run.ok().map(Brief::Run);
        }
        match self.byte().ok()? {
            TAG_BODY => {
                let body = self.body_id().ok()?;
                match self.bytes.strip_prefix(*same) {
                    Some(behind) if !same.is_empty() => self.bytes = behind,
                    _ => {
                        let from = self.bytes;
                        self.message_without_payload().ok()?;
                        *same = from.get(..from.len() - self.bytes.len())?;
                    }
                }
                self.bytes().ok()?;
                Some(Brief::Body(body))
            }
            TAG_QUEUED => {
                let session = self.session().ok()?;
                self.integer().ok()?;
                let body = self.body_id().ok()?;
                let flags = self.byte().ok()?;
                Self::qos(flags).ok()?;
                self.optional_packet_id().ok()?;
                let is_bare = flags & (FLAG_IDS | FLAG_GROUP) == 0;
                is_bare.then_some(Brief::Queued(session, body))
            }
            TAG_FINISHED => {
                let session = self.session().ok()?;
                self.packet_id().ok()?;
                let body = self.optional_body().ok()?;
                body.map(|body| Brief::Finished(session, body))
            }
            _ => None,
        }
    }
}
