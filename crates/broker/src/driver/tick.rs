//! The task of a shard: connections that were woken get their turns, then the tick ends. It also holds the one
//! timer.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use martlet_engine::Time;
use tokio::time::{Instant, Sleep};

use super::core::{Core, Local};
use super::limits::HELD_UP_MS;

/// Does the ticks of a shard, one each time it is polled.
///
/// To be run unconstrained: the runtime's budget per poll is made for tasks of one connection.
pub(super) struct Ticks {
    local: Rc<Local>,
    timer: Pin<Box<Sleep>>,
}

impl Ticks {
    pub(super) fn new(local: Rc<Local>) -> Self {
        Self {
            local,
            timer: Box::pin(tokio::time::sleep(FAR)),
        }
    }
}

impl Future for Ticks {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.local.with(|core| {
            core.ready.serve_by(context.waker());
            core.give_turns();
        });
        loop {
            let fired = this.timer.as_mut().poll(context).is_ready();
            match this.local.with(|core| core.end_tick(fired)) {
                Some(after) => this.timer.as_mut().reset(Instant::now() + after),
                None => return Poll::Pending,
            }
        }
    }
}

impl Core {
    /// One turn for each connection that was woken since the last tick, and one for the other shards; who is woken
    /// meanwhile comes next time.
    fn give_turns(&mut self) {
        // The end of this tick follows: nobody needs to ask for it.
        self.flush_pending = true;
        self.tick_began = self.shared.now();
        let mut turns = std::mem::take(&mut self.turns);
        self.ready.take(&mut turns);
        for id in turns.drain(..) {
            self.turn(id);
        }
        self.turns = turns;
        self.receive_batches();
    }

    /// Does what is due, sends what has collected, and says to when the timer is to be set, if it has to be.
    fn end_tick(&mut self, fired: bool) -> Option<Duration> {
        let now = self.shared.now();
        self.excuse_if_held_up(now);
        if self.shard.next_deadline().is_some_and(|due| due <= now) {
            self.shard.on_timer(now, &mut self.fx);
        }
        self.cut_overdue(now);
        self.spare.give_back_overdue(now);
        self.flush();
        if fired {
            self.timer_armed = None;
        }
        let cut = self.cuts.front().map(|(due, _)| *due);
        let next = [self.shard.next_deadline(), cut, self.spare.due()]
            .into_iter()
            .flatten()
            .min();
        match (next, self.timer_armed) {
            (Some(next), Some(armed)) if next >= armed => None,
            (None, Some(_)) => None,
            (None, None) => fired.then_some(FAR),
            (Some(next), _) => {
                // At least a step of the clock, so that a deadline that stays in the past cannot keep us busy.
                let millis = next.millis_since(now).max(1);
                self.timer_armed = Some(now.plus_millis(millis));
                Some(Duration::from_millis(millis))
            }
        }
    }

    /// If this thread stood still for long, what clients sent meanwhile may not have been read yet: from now on they have
    /// their Keep Alive again. A machine that was suspended, or had too much to do, must not drop its clients for that.
    fn excuse_if_held_up(&mut self, now: Time) {
        let expected = self
            .timer_armed
            .map_or(self.tick_began, |armed| armed.min(self.tick_began));
        let late_ms = now.millis_since(expected);
        // While reads are paused, nobody is blamed anyway, and that has to stay so.
        if late_ms < HELD_UP_MS || self.reads_paused {
            return;
        }
        self.counters.held_up += 1;
        self.shard.on_reads_resumed(now);
        tracing::warn!(
            shard = self.index,
            late_ms,
            "held up: this thread did not run; the clients' Keep Alive counts from now on"
        );
    }
}

/// Where the timer stands while nothing is timed.
const FAR: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
