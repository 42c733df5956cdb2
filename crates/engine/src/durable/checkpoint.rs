//! A slot's whole state, written again.

use alloc::vec::Vec;

use martlet_session::Stage;

use crate::clients::client_session::ClientSession;
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::record::{Record, SessionId};
use crate::shard::{Shard, Subscriber};
use crate::time::Time;

use super::deliveries::{push_queued, stored_terms};
use super::sessions::{push_session, push_will, stored_options};

impl Shard {
    /// Writes the whole state of a slot, so that nothing written before about it is needed any more. It is one
    /// event: all of it gets into one batch. It begins and ends no reference to a body: those that it names are
    /// the ones that there were before it.
    pub fn checkpoint_slot(&mut self, slot: u8, now: Time, fx: &mut Effects) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        fx.store.push(&Record::SlotBegin { slot });
        let place = durable.slot(slot);
        for (message, body) in place.kept.iter() {
            debug_assert!(self.retained.get(message.topic()).is_some());
            fx.store.push(&Record::Retained {
                slot,
                body: *body,
                replaces: None,
            });
        }
        let sessions: Vec<_> = place.sessions.iter().map(|(id, key)| (*id, *key)).collect();
        let groups = place.groups.clone();
        for (id, key) in sessions {
            self.push_state(id, key, fx);
        }
        for group in groups {
            self.push_group(group, fx);
        }
        self.push_taken(slot, fx);
        self.push_wills_under_way(slot, fx);
        fx.store.push(&Record::SlotEnd { slot });
        self.settle(now, fx);
    }

    /// All that there is of a session.
    fn push_state(&mut self, id: SessionId, key: Key, fx: &mut Effects) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        push_session(session, id, fx);
        if let Some(will) = &session.will {
            push_will(will, id, fx);
        }
        if session.connection.is_none() {
            self.record_offline(key, fx);
        }
        let mut buffer = core::mem::take(&mut self.scratch.filter);
        for filter in session.filters.iter() {
            let options = self.subscriptions.options(filter, Subscriber::Session(key));
            let text = self.subscriptions.text(filter, &mut buffer);
            let replayed = self
                .durable
                .as_ref()
                .is_some_and(|d| d.replayed_not_acknowledged(key, text));
            let mut replays = session.replays.iter();
            if let Some(options) = options {
                fx.store.push(&Record::Subscribed {
                    session: id,
                    filter: text,
                    options: stored_options(options),
                    replaying: replayed || replays.any(|replay| &*replay.filter == text),
                });
            }
        }
        self.scratch.filter = buffer;
        for membership in session.memberships.iter() {
            fx.store.push(&Record::Subscribed {
                session: id,
                filter: &membership.filter,
                options: stored_options(membership.options),
                replaying: false,
            });
        }
        for packet_id in session.inbound.unreleased() {
            let doubts = self.durable.as_ref().map(|durable| &durable.doubts);
            let doubt = doubts.and_then(|doubts| doubts.get(&(key, packet_id)));
            fx.store.push(&Record::Received {
                session: id,
                packet_id,
                publish: doubt.map(|doubt| doubt.publish.get()),
            });
        }
        push_messages(session, id, fx);
    }

    fn push_taken(&self, slot: u8, fx: &mut Effects) {
        let taken = self.durable.iter().flat_map(|durable| &durable.taken);
        for (publish, _) in taken.filter(|(_, slots)| slots.contains(slot)) {
            fx.store.push(&Record::Taken {
                slot,
                publish: *publish,
            });
        }
    }
}

/// The messages for a session.
fn push_messages(session: &ClientSession, id: SessionId, fx: &mut Effects) {
    for (packet_id, stage, delivery) in session.outbound.unfinished() {
        match (stage, delivery) {
            (Stage::AwaitPubComp, _) => fx.store.push(&Record::Released {
                session: id,
                packet_id,
                body: None,
            }),
            (Stage::AwaitPubAck | Stage::AwaitPubRec, Some(delivery)) => {
                if let Some(body) = delivery.body {
                    let what = (body, stored_terms(&delivery.terms));
                    push_queued(session, 0, what, Some(packet_id), fx);
                }
            }
            (Stage::AwaitPubAck | Stage::AwaitPubRec, None) => {}
        }
    }
    for (position, body, terms) in session.queue.stored() {
        let what = (body, stored_terms(&terms));
        push_queued(session, position, what, None, fx);
    }
}
