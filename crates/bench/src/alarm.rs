//! Wakes a poll on a schedule that is finer than the milliseconds in which the poll itself waits.
//!
//! Linux has a clock that can be polled like a socket. Elsewhere there is no alarm, and who needs one asks again and
//! again until the moment has come.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// One alarm, which a poll hears as an event of this token.
#[derive(Debug)]
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
    /// When it goes off; 0: it was never set.
    set_ns: u64,
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// `None`: this system has none.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Option<Self>> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use std::os::fd::AsRawFd;

        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let mut source = mio::unix::SourceFd(&timer.as_raw_fd());
        registry.register(&mut source, token, mio::Interest::READABLE)?;
        Ok(Some(Self { timer, set_ns: 0 }))
    }

    /// Goes off in so many nanoseconds from `now_ns`, unless it goes off before that anyway.
    pub(crate) fn ring_in(&mut self, wait_ns: u64, now_ns: u64) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        let at_ns = now_ns.saturating_add(wait_ns);
        if (now_ns + 1..=at_ns).contains(&self.set_ns) {
            return Ok(());
        }
        self.set_ns = at_ns;
        let nanoseconds = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let time = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: nanoseconds(wait_ns / NS_PER_S),
                // 0 would switch it off.
                tv_nsec: nanoseconds((wait_ns % NS_PER_S).max(1)),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time)?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// `None`: this system has none.
    pub(crate) const fn new(_registry: &Registry, _token: Token) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Never called: there is no alarm.
    pub(crate) const fn ring_in(&mut self, _wait_ns: u64, now_ns: u64) -> io::Result<()> {
        self.set_ns = now_ns;
        Ok(())
    }
}

/// How long to poll without an alarm. What the operating system waits in whole milliseconds would be too long for a schedule: the last two are spun.
pub(crate) fn poll_time(wait_ns: u64) -> Duration {
    if wait_ns >= SPIN_NS {
        Duration::from_nanos(wait_ns - SPIN_NS / 2)
    } else {
        Duration::ZERO
    }
}

const SPIN_NS: u64 = 2_000_000;
#[cfg(target_os = "linux")]
const NS_PER_S: u64 = 1_000_000_000;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::Alarm;
    use crate::clock::Clock;

    #[test]
    fn it_rings_each_time_it_is_set_and_not_early() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::new(poll.registry(), Token(7)).unwrap().unwrap();
        let clock = Clock::start();
        let mut events = Events::with_capacity(4);
        for _ in 0..5 {
            let now_ns = clock.now_ns();
            alarm.ring_in(300_000, now_ns).unwrap();
            // Later than the one that is set: nothing changes.
            alarm.ring_in(60_000_000_000, now_ns + 1).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(30)))
                .unwrap();
            assert_eq!(
                events.iter().next().map(mio::event::Event::token),
                Some(Token(7))
            );
            assert!(clock.now_ns() >= now_ns + 300_000);
        }
    }
}
