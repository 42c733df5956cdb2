//! Records of runs: messages to one topic that a client has sent one behind the other, sent to a session together.

use martlet_codec::PacketId;

use crate::effects::Effects;
use crate::packets::repeats::{Repeat, Run};
use crate::record::{Body, BodyId, RecordRun, RunOf, SessionId};

use super::Durable;

impl Durable {
    /// Writes the bodies of a run's messages, each once for all who get it in this shard.
    pub(crate) fn record_bodies(&mut self, run: Run<'_>, list: &mut [Repeat], fx: &mut Effects) {
        let like = Body {
            topic: run.topic.as_str(),
            shared_properties: &[],
            payload: &[],
            qos: run.qos,
            retain: false,
            expires_at: None,
        };
        let new = list.iter_mut().filter(|repeat| repeat.body.is_none());
        let bodies = new.filter_map(|repeat| {
            repeat.body = BodyId::new(self.next_number());
            Some((repeat.body?, run.payload(repeat)))
        });
        fx.store.push_bodies(&like, bodies);
    }
}

/// Records of one session that are written as one, as far as they go on from each other.
#[derive(Debug)]
pub(crate) struct Together {
    what: RunOf,
    session: SessionId,
    run: Option<RecordRun>,
}

impl Together {
    pub(crate) const fn new(what: RunOf, session: SessionId) -> Self {
        Self {
            what,
            session,
            run: None,
        }
    }

    /// `None`: the session is not stored.
    pub(crate) fn of(session: Option<SessionId>, what: RunOf) -> Option<Self> {
        session.map(|session| Self::new(what, session))
    }

    /// `body`: if it is a run of such as name one.
    #[inline]
    pub(crate) fn push(&mut self, body: Option<BodyId>, packet_id: PacketId, fx: &mut Effects) {
        if self
            .run
            .as_mut()
            .is_some_and(|run| run.take(body, packet_id))
        {
            return;
        }
        self.write(fx);
        self.run = RecordRun::new(self.what, self.session, body, packet_id);
        debug_assert!(self.run.is_some(), "it names a body if the others do");
    }

    /// Writes what there is, before anything else is recorded.
    pub(crate) fn write(&mut self, fx: &mut Effects) {
        if let Some(run) = self.run.take() {
            fx.store.push_run(&run);
        }
    }
}
