//! Wills that several shards have a part in: everybody gets them, once, whatever happens in between.
//!
//! A will is no publisher's to send again. So when receivers on other shards have to store their part of it, the shard that
//! publishes it records it under a number of its own in the batch in which the session loses it, and records its end when all
//! have stored theirs. What is not ended at a restart goes out again; who has taken it then is left out, as with
//! a QoS 2 message that comes again (`parts.rs`).

use core::num::NonZeroU64;

use crate::config::SHARDS_MAX;
use crate::effects::Effects;
use crate::message::Message;
use crate::peering::parts::{Asker, Who};
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::record::{Body, Record, SessionId};
use crate::routing::Routed;
use crate::shard::Shard;
use crate::time::Time;

use super::Durable;

/// A will between its publication and the last receiver.
#[derive(Debug)]
pub(super) struct WillUnderWay {
    /// Whose it was.
    session: SessionId,
    message: Message,
    /// Whether it was published before a crash, and not since.
    restored: bool,
}

impl Shard {
    /// Publishes the will of a durable session.
    pub(crate) fn route_durable_will(
        &mut self,
        session: SessionId,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) {
        publication.asker = Some(asker(None));
        let routed = self.route(publication, now, fx);
        let (Routed::Storing { publish, .. }, Some(durable)) = (routed, &mut self.durable) else {
            return;
        };
        let will = WillUnderWay {
            session,
            message: publication.message().clone(),
            restored: false,
        };
        push_will_under_way(publish, &will, durable, fx);
        durable.wills.insert(publish, will);
    }

    /// Everybody has stored his part of a will.
    pub(crate) fn will_is_done(&mut self, publish: NonZeroU64, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let Some(WillUnderWay { session, .. }) = durable.wills.remove(&publish) else {
            return;
        };
        let publish = publish.get();
        fx.store.push(&Record::WillDone { session, publish });
        let all = u64::MAX >> (SHARDS_MAX - self.config.shard_count);
        self.send_to_each(all, fx, || Peer::Settled { publish });
    }

    /// After a restart: what was under way goes out again.
    pub(crate) fn route_restored_wills(&mut self, now: Time, fx: &mut Effects) {
        let wills = self
            .durable
            .iter_mut()
            .flat_map(|durable| &mut durable.wills);
        let restored = wills.filter(|(_, will)| will.restored);
        let restored: alloc::vec::Vec<(NonZeroU64, Message)> = restored
            .map(|(publish, will)| {
                will.restored = false;
                (*publish, will.message.clone())
            })
            .collect();
        for (publish, message) in restored {
            self.counters.wills_published += 1;
            let mut publication = Publication::of(&message);
            publication.asker = Some(asker(Some(publish)));
            if !matches!(
                self.route(&mut publication, now, fx),
                Routed::Storing { .. }
            ) {
                self.will_is_done(publish, fx);
            }
        }
    }

    pub(super) fn push_wills_under_way(&self, slot: u8, fx: &mut Effects) {
        let Some(durable) = &self.durable else {
            return;
        };
        for (publish, will) in &durable.wills {
            if will.session.slot() == slot {
                push_will_under_way(*publish, will, durable, fx);
            }
        }
    }
}

impl Durable {
    /// Whether some are on their way.
    pub(crate) fn has_wills_under_way(&self) -> bool {
        !self.wills.is_empty()
    }

    pub(super) fn restore_will(&mut self, session: SessionId, publish: u64, message: Message) {
        if let Some(publish) = NonZeroU64::new(publish) {
            let will = WillUnderWay {
                session,
                message,
                restored: true,
            };
            self.wills.insert(publish, will);
        }
    }

    pub(super) fn forget_will(&mut self, publish: u64) {
        if let Some(publish) = NonZeroU64::new(publish) {
            self.wills.remove(&publish);
        }
    }

    /// A checkpoint begins: what it does not name is done with.
    pub(super) fn forget_wills_of(&mut self, slot: u8) {
        self.wills.retain(|_, will| will.session.slot() != slot);
    }
}

const fn asker(again: Option<NonZeroU64>) -> Asker {
    Asker {
        who: Who::Will,
        doubtful: true,
        again,
    }
}

fn push_will_under_way(
    publish: NonZeroU64,
    will: &WillUnderWay,
    durable: &Durable,
    fx: &mut Effects,
) {
    let parts = will.message.parts();
    fx.store.push(&Record::WillUnderWay {
        session: will.session,
        publish: publish.get(),
        message: Body {
            topic: parts.topic.as_str(),
            shared_properties: parts.shared_properties,
            payload: parts.payload,
            qos: parts.qos,
            retain: parts.retain,
            expires_at: parts.expires_at.map(|at| durable.wall_time(at)),
        },
    });
}
