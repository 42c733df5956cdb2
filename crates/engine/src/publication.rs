//! A message on its way through the shard.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::message::{Kept, Message, MessageParts};
use crate::peering::parts::{Asker, TakenHere};
use crate::record::BodyId;
use crate::sending::express::Template;
use crate::sending::outbox::LENT_SLACK;

/// A message on its way through the shard: borrowed, until somebody has to keep it.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) parts: MessageParts<'a>,
    message: Option<Kept>,
    /// The memory that the packet was read into, if outboxes may refer to it.
    lent: Option<&'a Arc<Vec<u8>>>,
    template: Option<Template<'a>>,
    /// Its name in this shard's store; from the first record that refers to it on.
    pub(crate) body: Option<BodyId>,
    /// Who waits for other shards' parts of it.
    pub(crate) asker: Option<Asker>,
    /// Set if it may come again after a crash.
    pub(crate) taken: Option<Box<TakenHere>>,
    /// Only one receiver is left, and nobody else needs the message.
    pub(crate) is_for_one: bool,
}

impl<'a> Publication<'a> {
    pub(crate) fn new(parts: MessageParts<'a>) -> Self {
        Self::with_template(parts, None)
    }

    pub(crate) const fn with_template(
        parts: MessageParts<'a>,
        template: Option<Template<'a>>,
    ) -> Self {
        Self {
            parts,
            message: None,
            lent: None,
            template,
            body: None,
            asker: None,
            taken: None,
            is_for_one: false,
        }
    }

    /// One that somebody may keep already; for [`Publication::into_kept`] to be asked for it.
    pub(crate) fn with_message(
        parts: MessageParts<'a>,
        template: Template<'a>,
        message: Option<Kept>,
    ) -> Self {
        let mut publication = Self::with_template(parts, Some(template));
        publication.message = message;
        publication
    }

    /// Its packet stands at the end of this memory, which is lent for as long as an outbox has it.
    pub(crate) fn lend(&mut self, packet: &[u8], memory: &'a Arc<Vec<u8>>) {
        self.lent = Some(memory).filter(|memory| is_of_use(packet, memory));
    }

    /// The message, if somebody keeps it.
    pub(crate) fn into_kept(self) -> Option<Kept> {
        self.message
    }

    pub(crate) fn of(message: &'a Message) -> Self {
        Self {
            parts: message.parts(),
            message: Some(Kept::of(message.clone())),
            lent: None,
            template: Some(Template::of_message(message)),
            body: None,
            asker: None,
            taken: None,
            is_for_one: false,
        }
    }

    /// One that was kept.
    pub(crate) fn of_kept(kept: &'a Kept) -> Self {
        Self::with_message(kept.parts(), kept.template(), Some(kept.clone()))
    }

    /// The message as a packet, if there is one.
    pub(crate) const fn template(&self) -> Option<Template<'a>> {
        self.template
    }

    /// The message as something to keep, alone; made at the first call.
    pub(crate) fn message(&mut self) -> &Message {
        self.make().make_whole()
    }

    /// The message for somebody who keeps it, while others may need it, too.
    pub(crate) fn held(&mut self) -> Kept {
        self.make().clone()
    }

    fn make(&mut self) -> &mut Kept {
        let (template, parts) = (self.template, &self.parts);
        self.message
            .get_or_insert_with(|| Kept::of(Template::keep(template, parts)))
    }

    /// The message for somebody who keeps it. The only receiver gets it without a count of holders going up and down.
    #[inline]
    pub(crate) fn kept(&mut self) -> Kept {
        if self.is_for_one
            && let Some(message) = self.message.take()
        {
            return message;
        }
        let (template, parts) = (self.template, &self.parts);
        if self.is_for_one {
            return Kept::of(Template::keep(template, parts));
        }
        self.held()
    }

    /// The message, if somebody keeps it already, or if its payload is worth sharing and nobody has lent it.
    pub(crate) fn shareable(&mut self, threshold: usize) -> Option<&Message> {
        if self.parts.payload.len() >= threshold && self.lent.is_none() {
            return Some(self.message());
        }
        self.message.as_ref()?.whole()
    }

    /// The memory that its packet ends with, if outboxes may refer to it.
    pub(crate) const fn lent(&self) -> Option<&'a Arc<Vec<u8>>> {
        self.lent
    }
}

/// Whether an outbox may hold this memory for this packet: it is all of it, and needs most of the memory.
fn is_of_use(packet: &[u8], memory: &Vec<u8>) -> bool {
    core::ptr::eq(packet, memory.as_slice())
        && memory.capacity() <= packet.len() + packet.len() / LENT_SLACK
}

#[cfg(test)]
mod tests {
    use martlet_codec::QoS;

    use super::Publication;
    use crate::message::{MessageParts, Origin};

    /// Optimisation: the only receiver takes the message over, others hold it with it.
    #[test]
    fn the_only_receiver_gets_the_message_itself() {
        let parts = MessageParts {
            topic: "t".into(),
            shared_properties: &[],
            payload: b"payload",
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
            origin: Origin::NONE,
        };
        let mut publication = Publication::new(parts);
        let first = publication.kept();
        assert!(publication.kept().is_beside(&first), "one for all");
        publication.is_for_one = true;
        assert!(publication.kept().is_beside(&first));
        assert!(publication.message.is_none(), "it was handed over");
        assert_eq!(publication.kept().parts().payload, b"payload");
        assert!(publication.message.is_none(), "nothing is kept for others");
    }
}
