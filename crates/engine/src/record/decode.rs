//! Bytes to records. Nothing is believed: a bad batch is an error, never a panic.

use core::fmt;

use martlet_codec::{PacketId, QoS, Version};

use super::tags::{
    FLAG_GROUP, FLAG_IDS, FLAG_NO_LOCAL, FLAG_REPLAYING, FLAG_RETAIN, TAG_BODY, TAG_COMPLETED,
    TAG_DROPPED, TAG_FINISHED, TAG_GROUP_DONE, TAG_GROUP_QUEUED, TAG_OFFLINE, TAG_QUEUED,
    TAG_RECEIVED, TAG_RELEASED, TAG_REPLAYED, TAG_RETAINED, TAG_RETAINED_CLEARED, TAG_SENT,
    TAG_SESSION, TAG_SESSION_ENDED, TAG_SLOT_BEGIN, TAG_SLOT_END, TAG_SUBSCRIBED, TAG_TAKEN,
    TAG_UNSUBSCRIBED, TAG_WILL, TAG_WILL_CLEARED, TAG_WILL_DONE, TAG_WILL_UNDER_WAY,
};
use super::{
    Body, BodyId, Ids, Record, RecordRun, SessionId, StoredOptions, StoredTerms, WallTime,
};

/// Bytes that are no record of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordError {
    /// Where the record begins, from the start of the batch.
    pub offset: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record at byte {}: {}", self.offset, self.what)
    }
}

impl core::error::Error for RecordError {}

/// The records of a batch, one after the other. Ends behind the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    pub(super) batch: &'a [u8],
    pub(super) at: usize,
    /// What the last body that was read in brief has between its name and its payload: the next one mostly has the same, which need
    /// not be looked at again.
    pub(super) same: &'a [u8],
    /// The last record that was read in brief, if it is a body: the next one mostly is as long, and differs in name and payload only.
    pub(super) like: LastBody,
    /// The rest of a run whose first records have been given, and where it begins.
    pub(super) run: Option<RestOfRun>,
}

/// See [`Records::like`].
#[derive(Debug, Clone, Copy)]
pub(super) struct LastBody {
    /// Bytes of the whole record; 0: there is none.
    pub(super) len: usize,
    /// The bytes in front of its name, which is where they say, in the low ones of a word.
    pub(super) front: u32,
    pub(super) name_at: u8,
    pub(super) name_len: u8,
    /// What stands between name and payload: from here on, so many bytes.
    pub(super) behind_at: usize,
    pub(super) behind_len: usize,
}

impl LastBody {
    pub(super) const NONE: Self = Self {
        len: 0,
        front: 0,
        name_at: 0,
        name_len: 0,
        behind_at: 0,
        behind_len: 0,
    };
}

/// See [`RecordRun`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RestOfRun {
    run: RecordRun,
    begins_at: usize,
    given: u16,
}

impl<'a> Records<'a> {
    /// Reads a batch.
    #[must_use]
    pub const fn new(batch: &'a [u8]) -> Self {
        Self {
            batch,
            at: 0,
            same: &[],
            like: LastBody::NONE,
            run: None,
        }
    }

    /// Where the next record begins. Those of a [`RecordRun`] begin where that does.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match self.run {
            Some(RestOfRun { begins_at, .. }) => begins_at,
            None => self.at,
        }
    }

    /// The next body, with the place where its record begins; the records before it are passed over, and only
    /// looked at as far as that needs. For a batch that was checked before: it ends behind what is no record.
    pub fn next_body(&mut self) -> Option<(usize, Record<'a>)> {
        self.run = None;
        loop {
            let offset = self.at;
            let mut reader = Reader::new(self.batch.get(offset..)?);
            let record = reader.bytes().ok()?;
            self.at = self.batch.len() - reader.bytes.len();
            if record.first() == Some(&TAG_BODY) {
                let mut fields = Reader::new(record);
                let mut record = NOTHING;
                fields.record(&mut record).ok()?;
                return Some((offset, record));
            }
        }
    }

    fn read(&mut self, into: &mut Record<'a>) -> Result<(), &'static str> {
        let mut reader = Reader::new(self.batch.get(self.at..).unwrap_or_default());
        let record = reader.bytes()?;
        let left = reader.bytes.len();
        let mut fields = Reader::new(record);
        let run = fields.run().transpose()?;
        if run.is_none() {
            fields.record(into)?;
        }
        if !fields.bytes.is_empty() {
            return Err("has bytes behind its last field");
        }
        let begins_at = core::mem::replace(&mut self.at, self.batch.len() - left);
        if let Some(run) = run {
            self.run = Some(RestOfRun {
                run,
                begins_at,
                given: 0,
            });
            *into = self.next_of_run().ok_or("is a run of none")?;
        }
        Ok(())
    }

    #[inline(never)]
    fn next_of_run(&mut self) -> Option<Record<'a>> {
        let rest = self.run.as_mut()?;
        let record = rest.run.at(rest.given);
        rest.given += 1;
        if rest.given >= rest.run.count() {
            self.run = None;
        }
        record
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.run.is_some() {
            return self.next_of_run().map(Ok);
        }
        if self.at >= self.batch.len() {
            return None;
        }
        let offset = self.at;
        let mut record = NOTHING;
        Some(match self.read(&mut record) {
            Ok(()) => Ok(record),
            Err(what) => {
                self.at = self.batch.len();
                Err(RecordError { offset, what })
            }
        })
    }
}

/// What stands where a record will be read to.
const NOTHING: Record<'_> = Record::SlotEnd { slot: 0 };

/// Takes fields from the front.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.bytes.split_first().ok_or("is cut off")?;
        self.bytes = rest;
        Ok(*first)
    }

    /// One of up to eight bytes is read at once, wherever there are eight.
    #[inline]
    pub(super) fn integer(&mut self) -> Result<u64, &'static str> {
        if let Some(word) = self.bytes.first_chunk() {
            let word = u64::from_le_bytes(*word);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                let len = ends.trailing_zeros() / 8 + 1;
                // Seven bits of each byte, moved together in pairs, in fours and in eights.
                let bits = word & (u64::MAX >> (64 - 8 * len)) & 0x7F7F_7F7F_7F7F_7F7F;
                let bits = bits & 0x007F_007F_007F_007F | (bits & 0x7F00_7F00_7F00_7F00) >> 1;
                let bits = bits & 0x0000_3FFF_0000_3FFF | (bits & 0x3FFF_0000_3FFF_0000) >> 2;
                let bits = bits & 0x0000_0000_0FFF_FFFF | (bits & 0x0FFF_FFFF_0000_0000) >> 4;
                self.bytes = self.bytes.get(len as usize..).unwrap_or_default();
                return Ok(bits);
            }
        }
        self.long_integer()
    }

    fn long_integer(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        let mut shift = 0;
        while shift < 64 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
        Err("has an integer of more than 64 bits")
    }

    fn option(&mut self) -> Result<Option<u64>, &'static str> {
        Ok(self.integer()?.checked_sub(1))
    }

    fn time(&mut self) -> Result<Option<WallTime>, &'static str> {
        Ok(self.option()?.map(WallTime))
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        u32::try_from(self.integer()?).map_err(|_| "has a number of more than 32 bits")
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let len = usize::try_from(self.integer()?).map_err(|_| "is cut off")?;
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or("is cut off")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn text(&mut self) -> Result<&'a str, &'static str> {
        core::str::from_utf8(self.bytes()?).map_err(|_| "has a text that is not UTF-8")
    }

    pub(super) fn session(&mut self) -> Result<SessionId, &'static str> {
        self.integer().map(SessionId::from_u64)
    }

    pub(super) fn body_id(&mut self) -> Result<BodyId, &'static str> {
        BodyId::new(self.integer()?).ok_or("names body 0")
    }

    pub(super) fn optional_body(&mut self) -> Result<Option<BodyId>, &'static str> {
        self.integer().map(BodyId::new)
    }

    pub(super) fn optional_packet_id(&mut self) -> Result<Option<PacketId>, &'static str> {
        let id =
            u16::try_from(self.integer()?).map_err(|_| "has a packet identifier over 65,535")?;
        Ok(PacketId::new(id))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, &'static str> {
        self.optional_packet_id()?.ok_or("has packet identifier 0")
    }

    pub(super) fn qos(flags: u8) -> Result<QoS, &'static str> {
        QoS::from_bits(flags & 0b11).ok_or("has QoS 3")
    }

    pub(super) fn message(&mut self) -> Result<Body<'a>, &'static str> {
        let message = self.message_without_payload()?;
        Ok(Body {
            payload: self.bytes()?,
            ..message
        })
    }

    /// What stands in front of the payload.
    pub(super) fn message_without_payload(&mut self) -> Result<Body<'a>, &'static str> {
        let flags = self.byte()?;
        Ok(Body {
            qos: Self::qos(flags)?,
            retain: flags & FLAG_RETAIN != 0,
            expires_at: self.time()?,
            topic: self.text()?,
            shared_properties: self.bytes()?,
            payload: &[],
        })
    }

    fn terms(&mut self) -> Result<StoredTerms<'a>, &'static str> {
        let flags = self.byte()?;
        let ids = if flags & FLAG_IDS == 0 {
            Ids::default()
        } else {
            let encoded = self.bytes()?;
            let mut check = Reader::new(encoded);
            while !check.bytes.is_empty() {
                check.u32()?;
            }
            Ids::encoded(encoded)
        };
        let group = if flags & FLAG_GROUP == 0 {
            None
        } else {
            Some((self.text()?, self.integer()?))
        };
        Ok(StoredTerms {
            qos: Self::qos(flags)?,
            retain: flags & FLAG_RETAIN != 0,
            ids,
            group,
        })
    }

    fn version(&mut self) -> Result<Version, &'static str> {
        [Version::V31, Version::V311, Version::V5]
            .into_iter()
            .zip([self.byte()?; 3])
            .find_map(|(version, level)| (version.level() == level).then_some(version))
            .ok_or("has an unknown protocol version")
    }

    fn record(&mut self, into: &mut Record<'a>) -> Result<(), &'static str> {
        match self.byte()? {
            // What there is most of is written where it belongs.
            TAG_BODY => {
                *into = Record::Body {
                    body: self.body_id()?,
                    message: self.message()?,
                };
            }
            TAG_QUEUED => {
                *into = Record::Queued {
                    session: self.session()?,
                    position: self.integer()?,
                    body: self.body_id()?,
                    terms: self.terms()?,
                    packet_id: self.optional_packet_id()?,
                };
            }
            TAG_FINISHED => {
                *into = Record::Finished {
                    session: self.session()?,
                    packet_id: self.packet_id()?,
                    body: self.optional_body()?,
                };
            }
            tag => *into = self.rare_record(tag)?,
        }
        Ok(())
    }

    fn rare_record(&mut self, tag: u8) -> Result<Record<'a>, &'static str> {
        Ok(match tag {
            TAG_SLOT_BEGIN => Record::SlotBegin { slot: self.byte()? },
            TAG_SLOT_END => Record::SlotEnd { slot: self.byte()? },
            TAG_RETAINED => Record::Retained {
                slot: self.byte()?,
                body: self.body_id()?,
                replaces: self.optional_body()?,
            },
            TAG_RETAINED_CLEARED => Record::RetainedCleared {
                topic: self.text()?,
                body: self.body_id()?,
            },
            TAG_GROUP_QUEUED => Record::GroupQueued {
                group: self.text()?,
                sequence: self.integer()?,
                body: self.body_id()?,
            },
            TAG_TAKEN => Record::Taken {
                slot: self.byte()?,
                publish: self.integer()?,
            },
            TAG_GROUP_DONE => Record::GroupDone {
                group: self.text()?,
                sequence: self.integer()?,
                body: self.body_id()?,
            },
            tag => {
                let session = self.session()?;
                self.session_record(tag, session)?
            }
        })
    }

    /// The records that begin with a session.
    fn session_record(&mut self, tag: u8, session: SessionId) -> Result<Record<'a>, &'static str> {
        Ok(match tag {
            TAG_SESSION => Record::Session {
                session,
                client_id: self.text()?,
                version: self.version()?,
                expiry_s: self.u32()?,
            },
            TAG_OFFLINE => Record::Offline {
                session,
                ends_at: self.time()?,
                will_at: self.time()?,
            },
            TAG_SESSION_ENDED => Record::SessionEnded { session },
            TAG_WILL => Record::Will {
                session,
                message: self.message()?,
                delay_s: self.u32()?,
                expiry_s: self
                    .option()?
                    .map(u32::try_from)
                    .transpose()
                    .map_err(|_| "has a number of more than 32 bits")?,
            },
            TAG_WILL_CLEARED => Record::WillCleared { session },
            TAG_WILL_UNDER_WAY => Record::WillUnderWay {
                session,
                publish: self.integer()?,
                message: self.message()?,
            },
            TAG_WILL_DONE => Record::WillDone {
                session,
                publish: self.integer()?,
            },
            TAG_SUBSCRIBED => self.subscribed(session)?,
            TAG_UNSUBSCRIBED => Record::Unsubscribed {
                session,
                filter: self.text()?,
            },
            TAG_REPLAYED => Record::Replayed {
                session,
                filter: self.text()?,
            },
            tag => self.flow_record(tag, session)?,
        })
    }

    fn subscribed(&mut self, session: SessionId) -> Result<Record<'a>, &'static str> {
        let filter = self.text()?;
        let flags = self.byte()?;
        Ok(Record::Subscribed {
            session,
            filter,
            options: StoredOptions {
                qos: Self::qos(flags)?,
                no_local: flags & FLAG_NO_LOCAL != 0,
                retain_as_published: flags & FLAG_RETAIN != 0,
                subscription_id: self.u32()?,
            },
            replaying: flags & FLAG_REPLAYING != 0,
        })
    }

    fn flow_record(&mut self, tag: u8, session: SessionId) -> Result<Record<'a>, &'static str> {
        Ok(match tag {
            TAG_SENT => Record::Sent {
                session,
                position: self.integer()?,
                packet_id: self.packet_id()?,
            },
            TAG_DROPPED => Record::Dropped {
                session,
                position: self.integer()?,
                body: self.body_id()?,
            },
            TAG_RELEASED => Record::Released {
                session,
                packet_id: self.packet_id()?,
                body: self.optional_body()?,
            },
            TAG_RECEIVED => Record::Received {
                session,
                packet_id: self.packet_id()?,
                publish: self.option()?,
            },
            TAG_COMPLETED => Record::Completed {
                session,
                packet_id: self.packet_id()?,
            },
            _ => return Err("has a tag that this version does not know"),
        })
    }
}
