//! Topic aliases: two tables per connection, one for each direction. They end with the connection.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// What the peer's aliases stand for.
///
/// Owns one topic per alias that the peer has used, at most `maximum`.
#[derive(Debug)]
pub struct InboundAliases {
    topics: Vec<Option<Box<str>>>,
    maximum: u16,
}

impl InboundAliases {
    /// A table for aliases from 1 to `maximum`, the Topic Alias Maximum announced to the peer.
    #[must_use]
    pub const fn new(maximum: u16) -> Self {
        Self {
            topics: Vec::new(),
            maximum,
        }
    }

    /// Whether the peer may use this alias.
    #[must_use]
    pub const fn allows(&self, alias: u16) -> bool {
        //= mqtt5 3.3.2-12
        alias != 0 && alias <= self.maximum
    }

    /// Sets or replaces the meaning of an alias that [`InboundAliases::allows`].
    pub fn define(&mut self, alias: u16, topic: &str) {
        if !self.allows(alias) {
            return;
        }
        let at = usize::from(alias) - 1;
        if self.topics.len() <= at {
            self.topics.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.topics.get_mut(at)
            && slot.as_deref() != Some(topic)
        {
            *slot = Some(topic.into());
        }
    }

    /// The topic that an alias stands for.
    #[must_use]
    pub fn resolve(&self, alias: u16) -> Option<&str> {
        self.topics
            .get(usize::from(alias).checked_sub(1)?)?
            .as_deref()
    }
}

/// How to name a topic in the next PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasUse {
    /// The topic alone.
    None,
    /// The topic and this alias: from now on the alias stands for it.
    Define(u16),
    /// The alias alone.
    Use(u16),
}

/// The aliases that we have given to topics sent to the peer.
///
/// Each topic has one place that its hash chooses. A topic gets the alias of its place when it comes
/// twice without another topic of that place between: a topic sent once costs nothing, and two that
/// collide do not push each other out at every message.
#[derive(Debug)]
pub struct OutboundAliases {
    slots: Vec<Slot>,
    maximum: u16,
    replaced: u32,
}

impl OutboundAliases {
    /// A table of at most `maximum` aliases: the smaller of the peer's Topic Alias Maximum and our own limit.
    #[must_use]
    pub const fn new(maximum: u16) -> Self {
        Self {
            slots: Vec::new(),
            maximum,
            replaced: 0,
        }
    }

    /// How often an alias was given to another topic than before.
    #[must_use]
    pub const fn replaced(&self) -> u32 {
        self.replaced
    }

    /// How to name `topic`, whose hash is `hash`, in a PUBLISH that will be sent now.
    pub fn choose(&mut self, topic: &str, hash: u64) -> AliasUse {
        //= mqtt5 3.1.2-26
        //= mqtt5 3.1.2-27
        if self.maximum == 0 || topic.len() < MIN_ALIASED_BYTES {
            return AliasUse::None;
        }
        if self.slots.is_empty() {
            self.slots
                .resize_with(usize::from(self.maximum), Slot::default);
        }
        // `maximum` is not 0, and the remainder fits 16 bits.
        let at = u16::try_from(hash % u64::from(self.maximum)).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(usize::from(at)) else {
            return AliasUse::None;
        };
        if slot.topic.as_deref() == Some(topic) {
            slot.candidate = hash;
            return AliasUse::Use(at + 1);
        }
        if slot.candidate != hash {
            slot.candidate = hash;
            return AliasUse::None;
        }
        let before = slot.topic.replace(topic.into());
        self.replaced = self.replaced.wrapping_add(u32::from(before.is_some()));
        AliasUse::Define(at + 1)
    }
}

#[derive(Debug, Default)]
struct Slot {
    topic: Option<Box<str>>,
    /// Hash of the topic of this place that was sent last.
    candidate: u64,
}

/// The alias property takes 3 bytes: below this, an alias saves nothing.
const MIN_ALIASED_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    //= mqtt5 3.3.2-12 test
    #[test]
    fn inbound_aliases_are_defined_replaced_and_bounded() {
        let mut aliases = InboundAliases::new(2);
        assert!(!aliases.allows(0) && aliases.allows(1) && aliases.allows(2) && !aliases.allows(3));
        assert_eq!(aliases.resolve(2), None);
        aliases.define(2, "a/b");
        assert_eq!(aliases.resolve(2), Some("a/b"));
        aliases.define(2, "c");
        assert_eq!(aliases.resolve(2), Some("c"));
        aliases.define(3, "d");
        assert_eq!((aliases.resolve(3), aliases.resolve(0)), (None, None));
    }

    //= mqtt5 3.1.2-26 test
    //= mqtt5 3.1.2-27 test
    #[test]
    fn outbound_aliases_come_with_the_second_message_and_stay_in_range() {
        let mut aliases = OutboundAliases::new(2);
        assert_eq!(aliases.choose("topic/one", 10), AliasUse::None);
        assert_eq!(aliases.choose("topic/one", 10), AliasUse::Define(1));
        assert_eq!(aliases.choose("topic/one", 10), AliasUse::Use(1));
        // Another topic of the same place takes the alias over only when it repeats.
        assert_eq!(aliases.choose("topic/two", 12), AliasUse::None);
        assert_eq!(aliases.choose("topic/one", 10), AliasUse::Use(1));
        assert_eq!(aliases.choose("topic/two", 12), AliasUse::None);
        assert_eq!(aliases.choose("topic/two", 12), AliasUse::Define(1));
        assert_eq!(aliases.choose("topic/one", 10), AliasUse::None);
        assert_eq!(aliases.choose("topic/six", 11), AliasUse::None);
        assert_eq!(aliases.choose("topic/six", 11), AliasUse::Define(2));
        assert_eq!(
            OutboundAliases::new(0).choose("topic/one", 10),
            AliasUse::None
        );
    }
}
