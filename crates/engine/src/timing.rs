//! Timers: keep alive, CONNECT and authentications in time, wills and session ends, pauses, the sweep for expired retained messages.

use crate::clients::connection::Phase;
use crate::collections::slab::Key;
use crate::effects::{ConnId, Effects};
use crate::report::CloseCause;
use crate::shard::{Shard, TimerKey};
use crate::time::Time;

/// Whether the driver reads connections at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It does, since then.
    Since(Time),
    Paused,
}

impl Reading {
    /// Up to when no client can be blamed for its silence.
    pub(crate) const fn excused_until(self, now: Time) -> Time {
        match self {
            Self::Since(then) => then,
            Self::Paused => now,
        }
    }
}

impl Shard {
    /// The driver reads no connection any more, for reasons of its own: nobody's time runs out meanwhile.
    pub const fn on_reads_paused(&mut self) {
        self.reading = Reading::Paused;
    }

    /// The driver reads again what [`Shard::wants_read`].
    pub const fn on_reads_resumed(&mut self, now: Time) {
        self.reading = Reading::Since(now);
    }

    /// Time has passed; call it when [`Shard::next_deadline`] is reached.
    pub fn on_timer(&mut self, now: Time, fx: &mut Effects) {
        let mut expired = core::mem::take(&mut self.scratch.expired);
        self.wheel.expire(now, &mut expired);
        for key in expired.drain(..) {
            self.on_timer_key(key, now, fx);
        }
        self.scratch.expired = expired;
        self.settle(now, fx);
    }

    /// When [`Shard::on_timer`] wants to be called; `None` while nothing is timed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.wheel.next_deadline()
    }

    fn on_timer_key(&mut self, key: TimerKey, now: Time, fx: &mut Effects) {
        match key {
            TimerKey::ConnectTimeout(conn) => {
                let Some(connection) = self.connections.get(conn) else {
                    return;
                };
                let timeout_ms = self.config.limits.connect_timeout_ms;
                match connection.phase {
                    // One timer for a connection: from now on it is that of the keep alive, unless that has one.
                    Phase::Online if connection.keep_alive.is_shorter_than(timeout_ms) => {}
                    Phase::Online => self.check_keep_alive(conn, now, fx),
                    // That has a bound of its own; this timer is for what comes behind it.
                    Phase::Authenticating => self.schedule(now.plus_millis(timeout_ms), key),
                    Phase::AwaitConnect => {
                        let due = self.reading.excused_until(now).plus_millis(timeout_ms);
                        if due > now {
                            self.schedule(due, key);
                        } else {
                            self.close(conn, CloseCause::ConnectTimeout, now, fx);
                        }
                    }
                }
            }
            TimerKey::KeepAlive(conn) => self.check_keep_alive(conn, now, fx),
            TimerKey::Authentication(conn) => self.check_authentication(conn, now, fx),
            TimerKey::Session(session) => self.on_session_timer(session, now, fx),
            TimerKey::Paused => {
                // Still over budget: everybody gets one message through, so that nothing stands still
                // for ever (a client's acknowledgements may wait behind its own PUBLISH).
                for conn in self.paused.clone() {
                    if let Some(connection) = self.connections.get_mut(conn) {
                        connection.budget_exempt = true;
                    }
                }
                self.resume_paused(now, fx);
            }
            TimerKey::WillsUnderWay => self.route_restored_wills(now, fx),
            TimerKey::Sweep => {
                for gone in self.retained.sweep_expired(now, SWEEP_BUDGET) {
                    self.record_retained_cleared(gone.topic(), fx);
                }
                if !self.retained.is_empty() {
                    self.schedule(now.plus_millis(SWEEP_INTERVAL_MS), TimerKey::Sweep);
                }
            }
        }
    }

    fn check_keep_alive(&mut self, conn: Key, now: Time, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        // As long as we do not read it, its silence is ours.
        let read_until = if connection.parked.is_some() {
            now
        } else {
            self.reading.excused_until(now)
        };
        connection.keep_alive.excuse_until(read_until.as_millis());
        let Some(deadline) = connection.keep_alive.deadline_ms().map(Time::from_millis) else {
            return;
        };
        if deadline <= now {
            //= mqtt5 3.1.2-22
            //= mqtt311 3.1.2-24
            self.close(conn, CloseCause::KeepAliveTimeout, now, fx);
        } else {
            self.schedule(
                deadline.min(now.plus_millis(TIMER_SPAN_MS)),
                TimerKey::KeepAlive(conn),
            );
        }
    }

    pub(crate) fn schedule(&mut self, deadline: Time, key: TimerKey) {
        self.wheel.schedule(deadline, key);
    }

    pub(crate) fn resume_paused(&mut self, now: Time, fx: &mut Effects) {
        for conn in core::mem::take(&mut self.paused) {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.unpark(now);
                fx.resumed.push(ConnId(conn));
            }
        }
    }
}

/// The furthest that a timer of a connection or session is set; then it looks again. Timers are never
/// cancelled, so this bounds what those of connections that are long gone cost.
pub(crate) const TIMER_SPAN_MS: u64 = 300_000;
/// How often expired retained messages are looked for, and how many are looked at.
pub(crate) const SWEEP_INTERVAL_MS: u64 = 10_000;
const SWEEP_BUDGET: usize = 10_000;
