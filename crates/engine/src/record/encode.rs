//! Records to bytes.

use alloc::vec::Vec;

use martlet_codec::PacketId;

use super::tags::{
    FLAG_GROUP, FLAG_IDS, FLAG_NO_LOCAL, FLAG_REPLAYING, FLAG_RETAIN, TAG_BODY, TAG_COMPLETED,
    TAG_DROPPED, TAG_FINISHED, TAG_GROUP_DONE, TAG_GROUP_QUEUED, TAG_OFFLINE, TAG_QUEUED,
    TAG_RECEIVED, TAG_RELEASED, TAG_REPLAYED, TAG_RETAINED, TAG_RETAINED_CLEARED, TAG_SENT,
    TAG_SESSION, TAG_SESSION_ENDED, TAG_SLOT_BEGIN, TAG_SLOT_END, TAG_SUBSCRIBED, TAG_TAKEN,
    TAG_UNSUBSCRIBED, TAG_WILL, TAG_WILL_CLEARED, TAG_WILL_DONE, TAG_WILL_UNDER_WAY,
};
use super::{Body, BodyId, Record, SessionId, StoredOptions, StoredTerms, WallTime};

impl Record<'_> {
    /// Appends the record to a batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Body { body, ref message } = *self {
            // The long ones, of which there are many: the length is known beforehand.
            let len = 1 + integer_len(body.as_u64()) + message_len(message);
            out.reserve(len + FIELDS_BYTES);
            let w = Writer { out }.integer(len as u64);
            w.tag(TAG_BODY).body_id(body).message(message);
            return;
        }
        let start = out.len();
        // No field but texts and payloads takes more than ten bytes.
        out.reserve(FIELDS_BYTES);
        // Most records are shorter than 128 bytes: one byte for the length, and room is made if not.
        out.push(0);
        self.encode_fields(out);
        let len = out.len() - start - 1;
        if let (Ok(short @ 0..0x80), Some(place)) = (u8::try_from(len), out.get_mut(start)) {
            *place = short;
            return;
        }
        let mut prefix = [0; 10];
        let prefix = encode_integer(&mut prefix, len as u64);
        out.splice(start..=start, prefix.iter().copied());
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each record")]
    fn encode_fields(&self, out: &mut Vec<u8>) {
        let w = Writer { out };
        match *self {
            Self::SlotBegin { slot } => w.tag(TAG_SLOT_BEGIN).byte(slot),
            Self::SlotEnd { slot } => w.tag(TAG_SLOT_END).byte(slot),
            Self::Body { body, ref message } => w.tag(TAG_BODY).body_id(body).message(message),
            Self::Session {
                session,
                client_id,
                version,
                expiry_s,
            } => w
                .tag(TAG_SESSION)
                .session(session)
                .text(client_id)
                .byte(version.level())
                .integer(expiry_s.into()),
            Self::Offline {
                session,
                ends_at,
                will_at,
            } => w
                .tag(TAG_OFFLINE)
                .session(session)
                .time(ends_at)
                .time(will_at),
            Self::SessionEnded { session } => w.tag(TAG_SESSION_ENDED).session(session),
            Self::Will {
                session,
                ref message,
                delay_s,
                expiry_s,
            } => w
                .tag(TAG_WILL)
                .session(session)
                .message(message)
                .integer(delay_s.into())
                .option(expiry_s.map(u64::from)),
            Self::WillCleared { session } => w.tag(TAG_WILL_CLEARED).session(session),
            Self::WillUnderWay {
                session,
                publish,
                ref message,
            } => w
                .tag(TAG_WILL_UNDER_WAY)
                .session(session)
                .integer(publish)
                .message(message),
            Self::WillDone { session, publish } => {
                w.tag(TAG_WILL_DONE).session(session).integer(publish)
            }
            Self::Subscribed {
                session,
                filter,
                options,
                replaying,
            } => w
                .tag(TAG_SUBSCRIBED)
                .session(session)
                .text(filter)
                .options(options, replaying),
            Self::Unsubscribed { session, filter } => {
                w.tag(TAG_UNSUBSCRIBED).session(session).text(filter)
            }
            Self::Replayed { session, filter } => w.tag(TAG_REPLAYED).session(session).text(filter),
            Self::RetainedCleared { topic, body } => {
                w.tag(TAG_RETAINED_CLEARED).text(topic).body_id(body)
            }
            Self::Retained {
                slot,
                body,
                replaces,
            } => w
                .tag(TAG_RETAINED)
                .byte(slot)
                .body_id(body)
                .optional_body(replaces),
            Self::GroupQueued {
                group,
                sequence,
                body,
            } => w
                .tag(TAG_GROUP_QUEUED)
                .text(group)
                .integer(sequence)
                .body_id(body),
            Self::GroupDone {
                group,
                sequence,
                body,
            } => w
                .tag(TAG_GROUP_DONE)
                .text(group)
                .integer(sequence)
                .body_id(body),
            Self::Queued {
                session,
                position,
                body,
                terms,
                packet_id,
            } => w
                .tag(TAG_QUEUED)
                .session(session)
                .integer(position)
                .body_id(body)
                .terms(&terms)
                .integer(packet_id.map_or(0, |id| id.get().into())),
            Self::Sent {
                session,
                position,
                packet_id,
            } => w
                .tag(TAG_SENT)
                .session(session)
                .integer(position)
                .packet_id(packet_id),
            Self::Dropped {
                session,
                position,
                body,
            } => w
                .tag(TAG_DROPPED)
                .session(session)
                .integer(position)
                .body_id(body),
            Self::Released {
                session,
                packet_id,
                body,
            } => w
                .tag(TAG_RELEASED)
                .session(session)
                .packet_id(packet_id)
                .optional_body(body),
            Self::Finished {
                session,
                packet_id,
                body,
            } => w
                .tag(TAG_FINISHED)
                .session(session)
                .packet_id(packet_id)
                .optional_body(body),
            Self::Received {
                session,
                packet_id,
                publish,
            } => w
                .tag(TAG_RECEIVED)
                .session(session)
                .packet_id(packet_id)
                .option(publish),
            Self::Taken { slot, publish } => w.tag(TAG_TAKEN).byte(slot).integer(publish),
            Self::Completed { session, packet_id } => {
                w.tag(TAG_COMPLETED).session(session).packet_id(packet_id)
            }
        };
    }
}

/// Appends fields; by value, so that a record reads as one chain.
pub(super) struct Writer<'w> {
    pub(super) out: &'w mut Vec<u8>,
}

impl Writer<'_> {
    pub(super) fn byte(self, byte: u8) -> Self {
        self.out.push(byte);
        self
    }

    pub(super) fn tag(self, tag: u8) -> Self {
        self.byte(tag)
    }

    /// A few bytes, one by one: that is less than a call for copying them.
    #[inline]
    pub(super) fn integer(self, value: u64) -> Self {
        let mut rest = value;
        while rest >= 0x80 {
            let [low, ..] = rest.to_le_bytes();
            self.out.push(0x80 | low);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.byte(low)
    }

    /// 0 for `None`, else one more than the value.
    fn option(self, value: Option<u64>) -> Self {
        match value {
            None => self.integer(0),
            Some(value) => self.integer(value.saturating_add(1)),
        }
    }

    fn time(self, time: Option<WallTime>) -> Self {
        self.option(time.map(|time| time.0))
    }

    fn raw(self, bytes: &[u8]) -> Self {
        let this = self.integer(bytes.len() as u64);
        this.out.extend_from_slice(bytes);
        this
    }

    fn text(self, text: &str) -> Self {
        self.raw(text.as_bytes())
    }

    pub(super) fn session(self, session: SessionId) -> Self {
        self.integer(session.as_u64())
    }

    pub(super) fn body_id(self, body: BodyId) -> Self {
        self.integer(body.as_u64())
    }

    fn optional_body(self, body: Option<BodyId>) -> Self {
        self.integer(body.map_or(0, BodyId::as_u64))
    }

    pub(super) fn packet_id(self, id: PacketId) -> Self {
        self.integer(id.get().into())
    }

    fn message(self, message: &Body<'_>) -> Self {
        let retain = if message.retain { FLAG_RETAIN } else { 0 };
        self.byte(message.qos as u8 | retain)
            .time(message.expires_at)
            .text(message.topic)
            .raw(message.shared_properties)
            .raw(message.payload)
    }

    fn options(self, options: StoredOptions, replaying: bool) -> Self {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        self.byte(
            options.qos as u8
                | flag(options.no_local, FLAG_NO_LOCAL)
                | flag(options.retain_as_published, FLAG_RETAIN)
                | flag(replaying, FLAG_REPLAYING),
        )
        .integer(options.subscription_id.into())
    }

    fn terms(self, terms: &StoredTerms<'_>) -> Self {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let some_ids = terms.ids.iter().next().is_some();
        let mut this = self.byte(
            terms.qos as u8
                | flag(terms.retain, FLAG_RETAIN)
                | flag(some_ids, FLAG_IDS)
                | flag(terms.group.is_some(), FLAG_GROUP),
        );
        if some_ids {
            // The length of the encoded identifiers is not known before; they are few.
            let mut encoded = Vec::new();
            for id in terms.ids.iter() {
                let mut buffer = [0; 10];
                encoded.extend_from_slice(encode_integer(&mut buffer, id.into()));
            }
            this = this.raw(&encoded);
        }
        match terms.group {
            Some((group, sequence)) => this.text(group).integer(sequence),
            None => this,
        }
    }
}

/// Bytes of an integer.
const fn integer_len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Bytes of a message.
pub(super) const fn message_len(message: &Body<'_>) -> usize {
    const fn raw_len(len: usize) -> usize {
        integer_len(len as u64) + len
    }
    let expires_at = match message.expires_at {
        Some(WallTime(at)) => at.saturating_add(1),
        None => 0,
    };
    1 + integer_len(expires_at)
        + raw_len(message.topic.len())
        + raw_len(message.shared_properties.len())
        + raw_len(message.payload.len())
}

/// What the fields of most records take.
pub(super) const FIELDS_BYTES: usize = 64;

pub(super) fn encode_integer(buffer: &mut [u8; 10], mut value: u64) -> &[u8] {
    let mut len = 0;
    for place in buffer.iter_mut() {
        len += 1;
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        *place = low & 0x7F | if value == 0 { 0 } else { 0x80 };
        if value == 0 {
            break;
        }
    }
    buffer.get(..len).unwrap_or_default()
}
