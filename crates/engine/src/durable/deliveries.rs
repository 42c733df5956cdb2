//! Records of messages for sessions, and of QoS 2 messages from clients.

use martlet_codec::PacketId;
use martlet_codec::QoS;

use crate::clients::client_session::ClientSession;
use crate::clients::connection::{Connection, Waits};
use crate::collections::slab::Key;
use crate::effects::Effects;
use crate::packets::repeats::Repeat;
use crate::publication::Publication;
use crate::record::{BodyId, Ids, Record, RunOf, SessionId, StoredTerms};
use crate::sending::delivery::Terms;
use crate::shard::Shard;

use super::{Durable, Together};

/// What happens to a message when the question is whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is put into the session's queue.
    Queue,
    /// It is sent.
    Send,
    /// It is sent, a retained one for a new subscription.
    Replay,
}

/// Where a message that is sent comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// It is published now.
    Live,
    /// From its place in the session's queue; its body, if it is recorded there.
    Queue(u64, Option<BodyId>),
    /// It is a retained one, for a new subscription.
    Replay,
}

impl Source {
    /// The body of a message that is about to be sent, if that is recorded.
    pub(crate) fn body(
        self,
        durable: &mut Durable,
        session: &ClientSession,
        publication: &mut Publication<'_>,
        terms: &Terms,
        fx: &mut Effects,
    ) -> Option<BodyId> {
        let step = match self {
            Self::Queue(_, body @ Some(_)) => return body,
            Self::Queue(_, None) | Self::Live => Step::Send,
            Self::Replay => Step::Replay,
        };
        let kind = (terms.qos, terms.is_of_group());
        durable.body_for(session, publication, kind, step, fx)
    }
}

impl Durable {
    /// The body of a message that is recorded for a session; `None` if it is not.
    ///
    /// Not recorded are: QoS 0; retained messages at QoS 1, which come again as long as the subscription is marked as
    /// being replayed; and what a group has given, until it is sent at QoS 2: before that it is the group's.
    pub(crate) fn body_for(
        &mut self,
        session: &ClientSession,
        publication: &mut Publication<'_>,
        (qos, of_group): (QoS, bool),
        step: Step,
        fx: &mut Effects,
    ) -> Option<BodyId> {
        let id = session.stored()?;
        let recorded = match (qos, step) {
            (QoS::AtMostOnce, _) | (QoS::AtLeastOnce, Step::Replay) => false,
            (QoS::AtLeastOnce, _) | (QoS::ExactlyOnce, Step::Queue) => !of_group,
            (QoS::ExactlyOnce, Step::Send | Step::Replay) => true,
        };
        if recorded {
            publication.is_taken_by(id.slot());
            self.body_of(publication, fx)
        } else {
            None
        }
    }

    /// A message is about to be sent, under an identifier. At QoS 2 it leaves when that is stable.
    pub(crate) fn record_sending(
        &mut self,
        session: &ClientSession,
        (connection, conn): (&mut Connection, Key),
        from: Source,
        (body, terms): (BodyId, StoredTerms<'_>),
        packet_id: Option<PacketId>,
        fx: &mut Effects,
    ) {
        match (from, session.stored(), packet_id) {
            (Source::Queue(position, Some(_)), Some(session), Some(packet_id)) => {
                fx.store.push(&Record::Sent {
                    session,
                    position,
                    packet_id,
                });
            }
            _ => push_queued(session, 0, (body, terms), packet_id, fx),
        }
        if terms.qos == QoS::ExactlyOnce {
            self.withhold(connection, conn, fx);
        }
    }
}

/// The last message of a session's queue is new there.
pub(crate) fn record_last_queued(session: &ClientSession, fx: &mut Effects) {
    if let Some((position, body, terms)) = session.queue.last_stored() {
        let what = (body, stored_terms(&terms));
        push_queued(session, position, what, None, fx);
    }
}

/// A message for a session: waiting, or in flight.
pub(super) fn push_queued(
    session: &ClientSession,
    position: u64,
    (body, terms): (BodyId, StoredTerms<'_>),
    packet_id: Option<PacketId>,
    fx: &mut Effects,
) {
    if let Some(session) = session.stored() {
        fx.store.push(&Record::Queued {
            session,
            position,
            body,
            terms,
            packet_id,
        });
    }
}

pub(crate) fn stored_terms(terms: &Terms) -> StoredTerms<'_> {
    StoredTerms {
        qos: terms.qos,
        retain: terms.retain,
        ids: Ids::new(terms.ids()),
        group: terms
            .stored_in()
            .map(|(filter, sequence)| (&**filter, sequence)),
    }
}

impl Shard {
    /// The session's name in the store; `None` unless it is durable.
    pub(crate) fn stored(&self, key: Key) -> Option<SessionId> {
        self.durable.as_ref()?;
        self.sessions.get(key)?.stored()
    }

    /// A waiting message is gone unsent.
    pub(crate) fn record_dropped(
        &self,
        key: Key,
        position: u64,
        body: Option<BodyId>,
        fx: &mut Effects,
    ) {
        if let (Some(body), Some(session)) = (body, self.stored(key)) {
            fx.store.push(&Record::Dropped {
                session,
                position,
                body,
            });
        }
    }

    /// The client has the message, or will never have it.
    pub(crate) fn record_finished(
        &self,
        key: Key,
        packet_id: PacketId,
        body: Option<BodyId>,
        fx: &mut Effects,
    ) {
        if body.is_some()
            && let Some(session) = self.stored(key)
        {
            fx.store.push(&Record::Finished {
                session,
                packet_id,
                body,
            });
        }
    }

    /// PUBREC has come. What PUBREL waits for.
    pub(crate) fn record_released(
        &self,
        key: Key,
        packet_id: PacketId,
        body: Option<BodyId>,
        fx: &mut Effects,
    ) -> Waits {
        if body.is_none() {
            return Waits::NOTHING;
        }
        let Some(session) = self.stored(key) else {
            return Waits::NOTHING;
        };
        fx.store.push(&Record::Released {
            session,
            packet_id,
            body,
        });
        Waits {
            batch: fx.store.newest(),
            ..Waits::NOTHING
        }
    }

    /// PUBCOMP has come.
    pub(crate) fn record_ended_flow(&self, key: Key, packet_id: PacketId, fx: &mut Effects) {
        if let Some(session) = self.stored(key) {
            fx.store.push(&Record::Finished {
                session,
                packet_id,
                body: None,
            });
        }
    }

    /// A QoS 2 message of a client was taken; `publish`: its number, if other shards have a part in it.
    pub(crate) fn record_received(
        &self,
        key: Key,
        packet_id: PacketId,
        publish: Option<u64>,
        fx: &mut Effects,
    ) {
        if let Some(session) = self.stored(key) {
            fx.store.push(&Record::Received {
                session,
                packet_id,
                publish,
            });
        }
    }

    /// The same for a run, in which no other shard has a part that matters after a crash.
    pub(crate) fn record_received_run(&self, key: Key, list: &[Repeat], fx: &mut Effects) {
        let Some(mut together) = Together::of(self.stored(key), RunOf::Received) else {
            return;
        };
        for packet_id in list.iter().filter_map(|repeat| repeat.packet_id) {
            together.push(None, packet_id, fx);
        }
        together.write(fx);
    }

    /// PUBREL for it has come. What PUBCOMP waits for.
    pub(crate) fn record_completed(
        &self,
        key: Key,
        packet_id: PacketId,
        fx: &mut Effects,
    ) -> Waits {
        let Some(session) = self.stored(key) else {
            return Waits::NOTHING;
        };
        fx.store.push(&Record::Completed { session, packet_id });
        Waits {
            batch: fx.store.newest(),
            ..Waits::NOTHING
        }
    }
}
