//! A publish that several shards have a part in.
//!
//! The publishing shard *asks* the others for an answer; the publisher is told when all have given theirs. Without a store
//! only the owner of a retained message is asked. With one, everybody who may have somebody durable for it is, and answers
//! when its own records are stable.
//!
//! *Exactly once over a crash.* A QoS 2 message of a session that lasts may come again after a crash, because the
//! publisher has not seen PUBREC: its identifier is known already, but other shards may or may not have stored their
//! part. So such a publish has a number that is stored with the identifier, and every slot that has stored what its receivers
//! get says so in the same batch ([`Record::Taken`](crate::Record::Taken)). When it comes again, they are
//! left out. PUBREL ends the doubt: the publisher will not send it again.

use alloc::boxed::Box;
use core::num::NonZeroU64;

use martlet_codec::{PacketId, QoS};

use crate::clients::client_slots::{SLOT_COUNT, slot_of};
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::packets::answering::AwaitedParts;
use crate::peering::peers::Peer;
use crate::publication::Publication;
use crate::record::{Record, SessionId};
use crate::routing::Routed;
use crate::routing::routes::Route;
use crate::shard::{Shard, Subscriber};
use crate::time::Time;

/// Who waits for the parts of a publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) who: Who,
    /// Whether it may come again after a crash.
    pub(crate) doubtful: bool,
    /// The number that it had before the crash.
    pub(crate) again: Option<NonZeroU64>,
}

/// Who that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The publisher, by its connection.
    Client(Key),
    /// This shard: the will is done with then.
    Will,
}

/// What the publishing shard says about a publish, and wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) publish: NonZeroU64,
    /// The shard that asks.
    pub(crate) origin: u8,
    /// Whether it wants an answer.
    pub(crate) answer: bool,
    /// Whether it may come again after a crash.
    pub(crate) doubtful: bool,
}

/// A set of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SlotSet([u64; SLOT_COUNT / 64]);

/// Who has a doubtful publish in this shard.
#[derive(Debug)]
pub(crate) struct TakenHere {
    publish: u64,
    /// Slots that had it before the crash.
    before: SlotSet,
    /// Slots that get it now.
    now: SlotSet,
}

/// A QoS 2 message of a durable session that other shards have a part in, until PUBREL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doubt {
    pub(crate) publish: NonZeroU64,
    /// The shards that have to be told when the doubt ends.
    pub(crate) shards: u64,
    /// Whether it was published before a crash, and not since.
    pub(crate) restored: bool,
}

impl SlotSet {
    pub(crate) fn insert(&mut self, slot: u8) {
        if let Some(word) = self.0.get_mut(usize::from(slot / 64)) {
            *word |= 1 << (slot % 64);
        }
    }

    pub(crate) fn remove(&mut self, slot: u8) {
        if let Some(word) = self.0.get_mut(usize::from(slot / 64)) {
            *word &= !(1 << (slot % 64));
        }
    }

    pub(crate) fn contains(&self, slot: u8) -> bool {
        let word = self.0.get(usize::from(slot / 64)).copied();
        word.unwrap_or_default() >> (slot % 64) & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; SLOT_COUNT / 64]
    }

    fn slots(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |slot| self.contains(*slot))
    }
}

impl Publication<'_> {
    /// Something of it is recorded in this slot.
    pub(crate) fn is_taken_by(&mut self, slot: u8) {
        if let Some(taken) = &mut self.taken {
            taken.now.insert(slot);
        }
    }

    /// Whether the slot had it before a crash.
    pub(crate) fn was_taken_by(&self, slot: u8) -> bool {
        self.taken
            .as_ref()
            .is_some_and(|taken| taken.before.contains(slot))
    }
}

impl Shard {
    /// Gives a message without RETAIN to this shard and others. In this shard it may have to wait for relayed ones.
    #[inline(never)]
    pub(crate) fn route_in_parts(
        &mut self,
        route: &Route,
        publication: &mut Publication<'_>,
        now: Time,
        fx: &mut Effects,
    ) -> Routed {
        let me = self.config.index;
        let others = route.mask & !self.own_bit();
        let topic = publication.parts.topic.as_bytes();
        let held = !self.joins.is_empty() && self.joins.must_hold(topic, me);
        let own = if held { 0 } else { self.own_bit() };
        let asked = route.mask & route.durable & !own;
        let mut ask = None;
        if self.durable.is_some() {
            ask = self.ask_with_last(publication, if held { 0 } else { asked }, fx);
            ask = ask.or_else(|| self.ask_for_parts(publication, asked));
        }
        if held {
            let message = publication.message().clone();
            // When its turn comes, this shard may answer for itself, if it was asked, but not for the others.
            let here = ask.map(|ask| Ask {
                answer: asked & self.own_bit() != 0,
                ..ask
            });
            self.joins.hold(message, me, here);
        } else {
            publication.is_for_one = others == 0 && route.plain.len() + route.targets.len() == 1;
            self.fan_out(route, publication, now, fx);
            self.record_taken(publication, fx);
        }
        let (answering, silent) = (others & asked, others & !asked);
        if !ask.is_some_and(|ask| ask.doubtful) {
            self.publish_to_each(answering, route, ask, publication, fx);
            self.publish_to_each(silent, route, None, publication, fx);
            return Routed::waiting_for(ask, if asked == 0 { 0 } else { asked | others });
        }
        self.send_to_each(answering, fx, || Peer::Publish {
            message: publication.message().clone(),
            ask,
        });
        // Who subscribes there before it arrives may get it, and must not get it again.
        let told = ask.filter(|ask| ask.doubtful).map(|ask| Ask {
            answer: false,
            ..ask
        });
        self.send_to_each(silent, fx, || Peer::Publish {
            message: publication.message().clone(),
            ask: told,
        });
        Routed::waiting_for(ask, if asked == 0 { 0 } else { asked | others })
    }

    /// Asks for a message together with the client's last one, if both are on their way to the same shard in one piece.
    fn ask_with_last(
        &mut self,
        publication: &Publication<'_>,
        shards: u64,
        fx: &Effects,
    ) -> Option<Ask> {
        let asker = publication.asker?;
        if publication.parts.qos != QoS::AtLeastOnce || !shards.is_power_of_two() {
            return None;
        }
        let publish = fx.last_asked(shards.trailing_zeros() as usize, publication)?;
        let parts = self.awaited_parts.get_mut(&publish)?;
        if parts.who != asker.who {
            return None;
        }
        parts.missing += 1;
        parts.answers += 1;
        Some(self.ask_about(publish, false))
    }

    /// Begins to wait for these shards' parts of a run of QoS 1 messages.
    pub(crate) fn ask_for_run(&mut self, conn: Key, count: usize, shards: u64) -> Option<Ask> {
        if shards == 0 {
            return None;
        }
        let publish = self.next_publish()?;
        let count = u32::try_from(count).ok()?;
        let parts = AwaitedParts {
            who: Who::Client(conn),
            missing: count * shards.count_ones(),
            answers: count,
        };
        self.awaited_parts.insert(publish, parts);
        Some(self.ask_about(publish, false))
    }

    fn ask_about(&self, publish: NonZeroU64, doubtful: bool) -> Ask {
        Ask {
            publish,
            // At most 64 shards.
            origin: u8::try_from(self.config.index).unwrap_or(u8::MAX),
            answer: true,
            doubtful,
        }
    }

    /// Begins to wait for these shards' parts; `None` if there is nothing to ask for.
    pub(crate) fn ask_for_parts(
        &mut self,
        publication: &mut Publication<'_>,
        shards: u64,
    ) -> Option<Ask> {
        let asker = publication.asker?;
        let unanswered = publication.parts.qos == QoS::AtMostOnce && asker.who != Who::Will;
        if unanswered || (shards == 0 && asker.again.is_none()) {
            return None;
        }
        let publish = match asker.again {
            Some(publish) => publish,
            None => self.next_publish()?,
        };
        if shards != 0 {
            let parts = AwaitedParts {
                who: asker.who,
                missing: shards.count_ones(),
                answers: 1,
            };
            self.awaited_parts.insert(publish, parts);
        }
        let ask = self.ask_about(publish, asker.doubtful);
        self.begin_taking(publication, Some(ask));
        Some(ask)
    }

    fn next_publish(&mut self) -> Option<NonZeroU64> {
        if let Some(durable) = &mut self.durable {
            return NonZeroU64::new(durable.next_number());
        }
        self.relay_sequence += 1;
        NonZeroU64::new(self.relay_sequence)
    }

    /// What is recorded of a doubtful publish from now on is recorded with its number.
    pub(crate) fn begin_taking(&mut self, publication: &mut Publication<'_>, ask: Option<Ask>) {
        let (Some(ask), Some(durable)) = (ask.filter(|ask| ask.doubtful), &self.durable) else {
            return;
        };
        let publish = ask.publish.get();
        publication.taken = Some(Box::new(TakenHere {
            publish,
            before: durable.taken.get(&publish).copied().unwrap_or_default(),
            now: SlotSet::default(),
        }));
    }

    /// Everybody in this shard has what he gets of it.
    pub(crate) fn record_taken(&mut self, publication: &Publication<'_>, fx: &mut Effects) {
        let (Some(taken), Some(durable)) = (&publication.taken, &mut self.durable) else {
            return;
        };
        if taken.now.is_empty() {
            return;
        }
        let publish = taken.publish;
        let all = durable.taken.entry(publish).or_default();
        for slot in taken.now.slots() {
            all.insert(slot);
            fx.store.push(&Record::Taken { slot, publish });
        }
    }

    /// Whether a subscriber had it before a crash.
    pub(crate) fn had_before(&self, subscriber: Subscriber, publication: &Publication<'_>) -> bool {
        let slot = match subscriber {
            Subscriber::Session(key) => self.stored(key).map(SessionId::slot),
            Subscriber::Group(key) => {
                let group = self.groups.get(key).filter(|group| group.is_durable());
                group.map(|group| slot_of(&group.filter))
            }
        };
        slot.is_some_and(|slot| publication.was_taken_by(slot))
    }

    /// A QoS 2 message waits for other shards: it is in doubt until PUBREL.
    pub(crate) fn begin_doubt(&mut self, session: Key, id: PacketId, mut doubt: Doubt) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        if let Some(before) = durable.doubts.get(&(session, id)) {
            doubt.shards |= before.shards;
        }
        durable.doubts.insert((session, id), doubt);
    }

    /// The doubt about a message that comes again; from now on it counts as published.
    pub(crate) fn doubt_about(&mut self, session: Key, id: Option<PacketId>) -> Option<Doubt> {
        let durable = self.durable.as_mut()?;
        let doubt = durable.doubts.get_mut(&(session, id?))?;
        let before = *doubt;
        doubt.restored = false;
        Some(before)
    }

    /// PUBREL has come: the publisher will not send it again.
    pub(crate) fn end_doubt(&mut self, session: Key, id: PacketId, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        if durable.doubts.is_empty() {
            return;
        }
        if let Some(doubt) = durable.doubts.remove(&(session, id)) {
            self.settle_doubt(doubt, fx);
        }
    }

    /// The session ends: nothing of it comes again.
    pub(crate) fn end_doubts(&mut self, session: Key, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        if durable.doubts.is_empty() {
            return;
        }
        let of_session = |(key, _): &(Key, PacketId)| *key == session;
        let ended = durable.doubts.extract_if(|key, _| of_session(key));
        let ended: alloc::vec::Vec<Doubt> = ended.map(|(_, doubt)| doubt).collect();
        for doubt in ended {
            self.settle_doubt(doubt, fx);
        }
    }

    fn settle_doubt(&mut self, doubt: Doubt, fx: &mut Effects) {
        let publish = doubt.publish.get();
        self.send_to_each(doubt.shards, fx, || Peer::Settled { publish });
    }

    /// A publish of another shard, or of this one, does not come again.
    pub(crate) fn on_settled(&mut self, publish: u64) {
        if let Some(durable) = &mut self.durable {
            durable.taken.remove(&publish);
        }
    }
}
