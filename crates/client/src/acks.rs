//! The right to acknowledge one message.

use std::fmt;
use std::sync::Arc;

use martlet_codec::ReasonCode;

use crate::machine::AckId;
use crate::shared::Shared;

/// The right, and the duty, to acknowledge a message of a subscription with
/// [`manual_ack`](crate::Subscribe::manual_ack). Small; may be sent to other tasks and threads.
///
/// Dropped without [`ack`](Self::ack) or [`reject`](Self::reject), the message stays
/// unacknowledged: the server sends it again after the next reconnect of a session that it kept.
/// [`Stats::unacked_dropped`](crate::Stats::unacked_dropped) counts these.
///
/// A token belongs to the message, not to the connection: after a reconnect it acknowledges the
/// server's repetition of the message, which is then not handed out again. If the session was lost,
/// it does nothing.
pub struct AckToken {
    shared: Option<Arc<Shared>>,
    id: AckId,
}

impl AckToken {
    pub(crate) const fn new(shared: Arc<Shared>, id: AckId) -> Self {
        Self {
            shared: Some(shared),
            id,
        }
    }

    /// The message is dealt with.
    pub fn ack(mut self) {
        if let Some(shared) = self.shared.take() {
            shared.with(|core, _| core.machine.ack(self.id, None));
        }
    }

    /// The message is refused, for this reason (3.1.1 cannot say so: a plain acknowledgement).
    pub fn reject(mut self, reason: ReasonCode) {
        if let Some(shared) = self.shared.take() {
            shared.with(|core, _| core.machine.ack(self.id, Some(reason)));
        }
    }
}

impl Drop for AckToken {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.with(|core, _| core.machine.abandon(self.id));
        }
    }
}

impl fmt::Debug for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AckToken").field(&self.id).finish()
    }
}
