//! What a chunk says by its silence: the retained message of a topic is gone.
//!
//! A value that is on its way to somebody here who has left may meet a new subscription. If its topic was cleared behind it, while
//! nobody here was subscribed, nobody here was told, and the new subscriber would be left with a value that nobody else gets.
//! But its replay's answer, behind the value, does not have the topic: so the clearing is made up for, as a late one
//! (`peering/relay.rs`), behind the value.

use alloc::vec::Vec;

use martlet_codec::{QoS, topic_matches};

use crate::clients::client_slots::owner_of_topic;
use crate::collections::slab::Key;
use crate::message::{Message, MessageParts, Origin, Topic};
use crate::publication::Publication;
use crate::retaining::retained::in_order;
use crate::shard::Shard;

/// The topics that a chunk would have, if there was a retained message.
#[derive(Debug)]
pub(crate) struct Silence<'a> {
    /// The shard that has answered.
    pub(crate) source: usize,
    pub(crate) shard_count: usize,
    pub(crate) filter: &'a str,
    /// Where the chunk begins and ends: behind the one, and with the other.
    pub(crate) after: Option<&'a str>,
    pub(crate) last: Option<&'a str>,
    /// What the chunk has.
    pub(crate) messages: &'a [Message],
}

impl Silence<'_> {
    /// Whether the answer says that this topic has no retained message.
    pub(crate) fn covers(&self, topic: &str) -> bool {
        let is_behind = |end: &str| in_order(topic.as_bytes(), end.as_bytes()).is_gt();
        self.after.is_none_or(is_behind)
            && !self.last.is_some_and(is_behind)
            && owner_of_topic(topic, self.shard_count) == self.source
            && topic_matches(self.filter, topic)
            && !self.messages.iter().any(|known| known.topic() == topic)
    }
}

impl Shard {
    /// A session's replay was answered: adds the clearings of topics whose values came live before, and that have none now.
    pub(crate) fn tell_clearings(
        &mut self,
        session: Key,
        replay_id: u64,
        messages: &mut Vec<Message>,
        last: Option<&str>,
    ) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let mut replays = session.replays.existing().into_iter().flatten();
        let Some(replay) = replays.find(|replay| replay.id == replay_id) else {
            return;
        };
        let Some(silence) = replay.silence(messages, last, self.config.shard_count) else {
            return;
        };
        self.joins.on_silence(&silence);
        let gone = replay.gone(&silence);
        let told: Vec<_> = gone
            .filter(|topic| !self.joins.has_relays(topic.as_bytes()))
            .map(clearing)
            .collect();
        for clearing in told {
            // In its place: where the replay goes on after a reconnect is told from the last one sent.
            let topic = clearing.topic_bytes();
            let is_before = |other: &Message| in_order(other.topic_bytes(), topic).is_lt();
            messages.insert(messages.partition_point(is_before), clearing);
        }
    }

    /// A session was given a message by another way than through its topic's owner.
    pub(crate) fn not_relayed(&mut self, session: Key, publication: &Publication<'_>) {
        if publication.parts.retain
            && let Some(session) = self.sessions.get_mut(session)
        {
            for replay in session.replays.existing().into_iter().flatten() {
                replay.not_relayed(publication.parts.topic.as_str());
            }
        }
    }
}

/// Whether a value stays the retained one until a newer one comes.
pub(crate) fn stays(value: &Message) -> bool {
    !value.payload().is_empty() && value.expires_at().is_none()
}

/// What a publisher sends to clear a topic.
pub(crate) fn clearing(topic: &str) -> Message {
    MessageParts {
        topic: Topic::Text(topic),
        shared_properties: &[],
        payload: &[],
        qos: QoS::AtLeastOnce,
        retain: true,
        expires_at: None,
        origin: Origin::NONE,
    }
    .to_message()
}
