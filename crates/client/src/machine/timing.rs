//! When to call the machine again, and what is due then.

use std::time::Duration;

use martlet_codec::ReasonCode;

use super::{Machine, Phase, Time, wire};
use crate::error::{Error, ErrorKind};

impl Machine {
    /// The moment at which [`Machine::on_timer`] has to be called; it may have come earlier than
    /// was said before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let own = match self.phase {
            Phase::Idle | Phase::Closed => return None,
            Phase::Waiting { until } => Some(until),
            Phase::Opening { deadline } | Phase::Handshake { deadline } => deadline,
            Phase::Online => earliest(
                earliest(self.ping_due(), self.silence_deadline()),
                self.watchdog_deadline(),
            ),
        };
        let others = earliest(self.queue.expiry_deadline(), self.release_deadline());
        earliest(own, others)
    }

    /// Time has passed.
    pub fn on_timer(&mut self, now: Time) {
        self.expire(now);
        if self
            .release_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.close_now();
        }
        match self.phase {
            Phase::Waiting { until } if until <= now => self.open(now),
            Phase::Opening { deadline } | Phase::Handshake { deadline } => {
                if deadline.is_some_and(|deadline| deadline <= now) {
                    let what = if matches!(self.phase, Phase::Opening { .. }) {
                        "the server cannot be reached"
                    } else {
                        "no CONNACK"
                    };
                    let error = Error::with_detail(ErrorKind::Timeout, what);
                    self.drop_connection(now, error, None);
                }
            }
            Phase::Online => self.on_timer_online(now),
            Phase::Idle | Phase::Waiting { .. } | Phase::Closed => {}
        }
    }

    fn on_timer_online(&mut self, now: Time) {
        let over = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        if over(self.silence_deadline()) {
            let detail = "the server is silent; the link is half open";
            let error = Error::with_detail(ErrorKind::Timeout, detail);
            self.drop_connection(now, error, None);
        } else if over(self.watchdog_deadline()) {
            let detail = "an acknowledgement does not come";
            let error = Error::with_detail(ErrorKind::Timeout, detail);
            self.drop_connection(now, error, Some(ReasonCode::UnspecifiedError));
        } else if over(self.ping_due()) {
            //= mqtt5 3.1.2-20
            //= mqtt311 3.1.2-23
            self.stats.pings += 1;
            self.link.ping_sent = Some(now);
            self.link.last_sent = now;
            wire::ping(&mut self.out);
        } else {
            self.pump(now);
        }
    }

    /// PINGREQ is due when we were silent for so long that the server may think us gone, or when the
    /// server was silent for so long that we have to ask.
    fn ping_due(&self) -> Option<Time> {
        let keep_alive = self.link.keep_alive;
        if keep_alive.is_zero() {
            return None;
        }
        // A little early: the packet has to be there in time.
        let margin = (keep_alive / 10).min(Duration::from_secs(1));
        let pace = keep_alive.saturating_sub(margin);
        let sent = self.link.last_sent.plus(pace);
        if self
            .link
            .ping_sent
            .is_some_and(|sent| sent >= self.link.last_received)
        {
            return Some(sent);
        }
        Some(sent.min(self.link.last_received.plus(pace)))
    }

    /// The same one and a half that servers grant us.
    fn silence_deadline(&self) -> Option<Time> {
        let keep_alive = self.link.keep_alive;
        let grace = keep_alive + keep_alive / 2;
        (!keep_alive.is_zero()).then(|| self.link.last_received.plus(grace))
    }

    fn watchdog_deadline(&self) -> Option<Time> {
        let limit = self.config.ack_watchdog?;
        let oldest = self.outbound.messages().next()?;
        let since = oldest.sent.max(self.link.online_since);
        Some(since.plus(limit))
    }
}

fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
