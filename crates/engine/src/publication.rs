//! A message on its way through the shard.

use alloc::boxed::Box;

use crate::express::Template;
use crate::message::{Message, MessageParts};
use crate::parts::{Asker, TakenHere};
use crate::record::BodyId;

/// A message on its way through the shard: borrowed, until somebody has to keep it.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) parts: MessageParts<'a>,
    message: Option<Message>,
    template: Option<Template<'a>>,
    /// Its name in this shard's store; from the first record that refers to it on.
    pub(crate) body: Option<BodyId>,
    /// Who waits for other shards' parts of it.
    pub(crate) asker: Option<Asker>,
    /// Set if it may come again after a crash.
    pub(crate) taken: Option<Box<TakenHere>>,
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
            template,
            body: None,
            asker: None,
            taken: None,
        }
    }

    pub(crate) fn of(message: &'a Message) -> Self {
        Self {
            parts: message.parts(),
            message: Some(message.clone()),
            template: Some(Template::of_message(message)),
            body: None,
            asker: None,
            taken: None,
        }
    }

    /// The message as a packet, if there is one.
    pub(crate) const fn template(&self) -> Option<Template<'a>> {
        self.template
    }

    /// The message as something to keep; made at the first call.
    pub(crate) fn message(&mut self) -> &Message {
        let (template, parts) = (self.template, &self.parts);
        self.message
            .get_or_insert_with(|| Template::keep(template, parts))
    }

    /// The message, if somebody keeps it already, or if its payload is worth sharing.
    pub(crate) fn shareable(&mut self, threshold: usize) -> Option<&Message> {
        if self.parts.payload.len() >= threshold {
            return Some(self.message());
        }
        self.message.as_ref()
    }
}
