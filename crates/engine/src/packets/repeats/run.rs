//! A run, and what is remembered of each of its messages.

use martlet_codec::{PacketId, QoS};

use crate::message::{Form, Kept, Message, MessageParts, Origin, Topic};
use crate::publication::Publication;
use crate::record::BodyId;
use crate::sending::express::{FIRST_BYTE, Template};

/// A message of a run.
#[derive(Debug)]
pub(crate) struct Repeat {
    /// Where its packet stands in the run.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// It is small.
    pub(crate) payload_len: u32,
    /// The publisher's, for its answer.
    pub(crate) packet_id: Option<PacketId>,
    /// Once somebody keeps it.
    pub(crate) message: Option<Kept>,
    /// Once it is recorded.
    pub(crate) body: Option<BodyId>,
}

impl Repeat {
    /// One of another shard, where nobody here has to be answered.
    pub(crate) const fn of_packed(start: usize, end: usize, payload_len: u32) -> Self {
        Self {
            start,
            end,
            payload_len,
            packet_id: None,
            message: None,
            body: None,
        }
    }

    /// The length of what stands in front of the payload.
    pub(crate) const fn head_len(&self) -> usize {
        self.end - self.start - self.payload_len as usize
    }

    /// Puts an identifier into its packet, in a copy of the run.
    #[inline]
    pub(crate) fn put_id(&self, copied: &mut [u8], form: Form, id: Option<PacketId>) {
        let behind_id = self.payload_len as usize + usize::from(form.v5);
        let id_at = self.end.saturating_sub(behind_id + 2);
        if let (Some(id), Some(field)) = (id, copied.get_mut(id_at..id_at + 2)) {
            field.copy_from_slice(&id.get().to_be_bytes());
        }
    }
}

impl Repeat {
    /// Puts flags and identifier into its packet, in a copy of the run.
    #[inline]
    pub(crate) fn put_head(&self, copied: &mut [u8], qos: QoS, form: Form, id: PacketId) {
        if let Some(first) = copied.get_mut(self.start) {
            *first = FIRST_BYTE | (qos as u8) << 1;
        }
        self.put_id(copied, form, Some(id));
    }
}

/// What all messages of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) topic: Topic<'a>,
    pub(crate) qos: QoS,
    pub(crate) form: Form,
    pub(crate) origin: Origin,
    /// There is only one receiver on this shard.
    pub(crate) is_for_one: bool,
    /// The packets.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Run<'a> {
    pub(crate) fn packet(self, repeat: &Repeat) -> &'a [u8] {
        self.bytes.get(repeat.start..repeat.end).unwrap_or_default()
    }

    /// A message as something to keep.
    pub(crate) fn message(self, repeat: &Repeat) -> Message {
        Message::of_packet(&self.parts(repeat), self.form, self.packet(repeat))
    }

    /// A message that [`Run::keep`] has kept, for a receiver.
    pub(super) fn kept(self, repeat: &mut Repeat) -> Option<Kept> {
        if self.is_for_one {
            repeat.message.take()
        } else {
            repeat.message.clone()
        }
    }

    /// A message for the way of single ones.
    pub(crate) fn publication(self, repeat: &mut Repeat) -> Publication<'a> {
        let template = Template::of_packed(self.form, self.packet(repeat));
        Publication::with_message(self.parts(repeat), template, repeat.message.take())
    }

    pub(crate) fn payload(self, repeat: &Repeat) -> &'a [u8] {
        let packet = self.packet(repeat);
        let payload_at = packet.len().saturating_sub(repeat.payload_len as usize);
        packet.get(payload_at..).unwrap_or_default()
    }

    pub(crate) fn parts(self, repeat: &Repeat) -> MessageParts<'a> {
        MessageParts {
            topic: self.topic,
            shared_properties: &[],
            payload: self.payload(repeat),
            qos: self.qos,
            retain: false,
            expires_at: None,
            origin: self.origin,
        }
    }
}
