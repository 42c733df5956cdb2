//! Flushing and the end.

use std::time::Duration;

use martlet_codec::ReasonCode;

use super::{Event, Machine, OpId, Outcome, Phase, Time, wire};
use crate::error::{Delivered, Error, ErrorKind, Unfinished};

/// The application has asked for the end.
#[derive(Debug)]
pub(super) struct Closing {
    /// Who waits for it.
    ops: Vec<OpId>,
    /// Nobody is left: not longer than this, and not without a connection.
    pub(super) until: Option<Time>,
    /// The goodbye message was published.
    said: bool,
}

impl Machine {
    /// Completes `op` with [`Outcome::Flushed`] when every message admitted so far is done with.
    pub fn flush(&mut self, op: OpId) {
        if self.is_closed() || self.epochs.flush(op) {
            self.complete(Some(op), Outcome::Flushed);
        }
    }

    /// Nobody waits for this operation any more. A message goes its way all the same.
    pub fn forget(&mut self, op: OpId) {
        self.epochs.forget(op);
        if let Some(closing) = &mut self.closing {
            closing.ops.retain(|waiting| *waiting != op);
        }
    }

    /// Admits nothing more, and when all messages are done with, says good-bye and ends:
    /// [`Outcome::Closed`].
    pub fn close(&mut self, now: Time, op: OpId) {
        if self.is_closed() {
            self.complete(Some(op), Outcome::Closed(Ok(())));
            return;
        }
        if let Some(closing) = &mut self.closing {
            closing.ops.push(op);
        } else {
            let mut said = false;
            if self.is_online()
                && let Some(goodbye) = self.config.goodbye.clone()
            {
                // A queue without room must not keep us from leaving.
                said = self.publish_kept(now, goodbye, None, false).is_ok();
            }
            self.closing = Some(Closing {
                ops: vec![op],
                until: None,
                said,
            });
        }
        self.close_if_drained();
    }

    /// The application has let go of the client: what is on its way may still go out, for
    /// ten seconds at most and only on a connection that stands.
    pub fn release(&mut self, now: Time) {
        if !self.is_online() || self.is_drained() {
            self.close_now();
        } else if self.closing.is_none() {
            self.closing = Some(Closing {
                ops: Vec::new(),
                until: Some(now.plus(RELEASE_MAX)),
                said: false,
            });
        } else if let Some(closing) = &mut self.closing {
            closing.until = Some(now.plus(RELEASE_MAX));
        }
    }

    /// Ends now, whatever is left undone. Says good-bye if it can.
    pub fn close_now(&mut self) {
        if self.is_closed() {
            return;
        }
        self.say_goodbye();
    }

    fn write_goodbye(&mut self) {
        if let Some(mut goodbye) = self.config.goodbye.clone() {
            // There is no time left for an acknowledgement.
            goodbye.qos = martlet_codec::QoS::AtMostOnce;
            let sending = wire::Sending {
                packet_id: None,
                duplicate: false,
                alias: martlet_session::AliasUse::None,
                expiry_s: goodbye.properties().expiry_s,
            };
            let (scratch, out) = (&mut self.scratch, &mut self.out);
            wire::publish(&goodbye, sending, self.config.version, scratch, out);
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Nobody holds the client any more.
    pub(super) fn is_released(&self) -> bool {
        self.closing
            .as_ref()
            .is_some_and(|closing| closing.until.is_some())
    }

    /// There is nothing left to do before the end.
    pub(super) fn is_leaving(&self) -> bool {
        self.closing.is_some() && self.is_drained()
    }

    pub(super) fn release_deadline(&self) -> Option<Time> {
        self.closing.as_ref()?.until
    }

    pub(super) fn close_if_drained(&mut self) {
        if self.closing.is_some() && !self.is_closed() && self.is_drained() {
            self.say_goodbye();
        }
    }

    fn say_goodbye(&mut self) {
        let said = self.closing.as_ref().is_some_and(|closing| closing.said);
        if self.phase == Phase::Online && !said {
            self.write_goodbye();
        }
        let mut farewell = std::mem::take(&mut self.out);
        if self.phase == Phase::Online {
            //= mqtt5 3.14.4-1
            //= mqtt5 3.14.4-2
            //= mqtt311 3.14.4-1
            //= mqtt311 3.14.4-2
            wire::disconnect(ReasonCode::Success, self.config.version, &mut farewell);
        }
        self.push_event(Event::Close { farewell });
        self.last_error = None;
        self.end();
    }

    /// The end of everything: whoever waits is told.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Closed;
        self.out.clear();
        let unfinished = Unfinished {
            queued: self.queue.len(),
            in_flight: self.outbound.open_count() + self.link.unwritten.len(),
        };
        for (_, outgoing) in std::mem::take(&mut self.link.unwritten) {
            self.fail(outgoing, ErrorKind::Closed, Delivered::Maybe);
        }
        for (_, outgoing) in self.outbound.take_all() {
            if let Some(outgoing) = outgoing {
                self.fail(outgoing, ErrorKind::Closed, Delivered::Maybe);
            }
        }
        for released in std::mem::take(&mut self.releasing) {
            self.fail_released(&released, ErrorKind::Closed);
        }
        for outgoing in self.queue.take_all() {
            let delivered = if outgoing.resent.get() {
                Delivered::Maybe
            } else {
                Delivered::No
            };
            self.fail(outgoing, ErrorKind::Closed, delivered);
        }
        if let Some(op) = self.connecting.take() {
            self.complete(
                Some(op),
                Outcome::ConnectFailed(Error::new(ErrorKind::Closed)),
            );
        }
        for op in self.subscriptions.end() {
            let closed = Err(Error::new(ErrorKind::Closed));
            self.complete(Some(op), Outcome::Unsubscribed(closed));
        }
        for id in self.streams.ids() {
            let op = self.streams.get_mut(id).and_then(|stream| stream.op.take());
            let closed = Error::new(ErrorKind::Closed);
            self.complete(op, Outcome::SubscribeFailed(closed));
            self.streams.end(id);
            self.push_event(Event::Ready(id));
        }
        let left = unfinished.queued + unfinished.in_flight;
        let result = if left == 0 { Ok(()) } else { Err(unfinished) };
        for op in self
            .closing
            .take()
            .map(|closing| closing.ops)
            .unwrap_or_default()
        {
            self.complete(Some(op), Outcome::Closed(result));
        }
        self.push_event(Event::Room);
        self.push_event(Event::StateChanged);
    }
}

/// How long a client that nobody holds any more may wait for acknowledgements.
const RELEASE_MAX: Duration = Duration::from_secs(10);
