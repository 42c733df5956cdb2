//! `--rate`: how fast messages leave.
//!
//! [`Rate`] is what was asked for, [`Pace`] says how long to wait for the next turn. It reads no clock: the time is an
//! argument.

use std::time::Duration;

/// So many messages in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    every: Duration,
}

impl Rate {
    /// `10`, `0.5`, `10/s`, `100/m`, `3600/h`; None for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, unit_s) = match text.split_once('/') {
            None => (text, 1.0),
            Some((number, "s")) => (number, 1.0),
            Some((number, "m" | "min")) => (number, 60.0),
            Some((number, "h")) => (number, 3_600.0),
            Some(_) => return None,
        };
        let number: f64 = number.parse().ok()?;
        if !number.is_finite() || number <= 0.0 {
            return None;
        }
        let every = Duration::try_from_secs_f64(unit_s / number).ok()?;
        Some(Self { every })
    }
}

/// When each message is due.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    /// When the next message is due; None before the first.
    due: Option<Duration>,
}

impl Pace {
    pub(crate) const fn new(rate: Rate) -> Self {
        Self { rate, due: None }
    }

    /// How long to wait before the next message, at this time since any fixed moment.
    ///
    /// A message that left a little late does not delay those behind it, so the average holds although timers are
    /// coarse. After a longer pause the schedule starts anew: what was missed is not made up for in one burst.
    pub(crate) fn wait(&mut self, now: Duration) -> Duration {
        let due = match self.due {
            Some(due) if now.saturating_sub(due) <= SLACK => due,
            Some(_) | None => now,
        };
        self.due = Some(due.saturating_add(self.rate.every));
        due.saturating_sub(now)
    }
}

/// How late a message may be without starting the schedule anew.
const SLACK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, Rate};

    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn rates_are_a_second_a_minute_or_an_hour() {
        for (text, every_ms) in [
            ("10", 100),
            ("10/s", 100),
            ("0.5", 2_000),
            ("120/m", 500),
            ("60/min", 1_000),
            ("1/h", 3_600_000),
        ] {
            assert_eq!(
                Rate::parse(text),
                Some(Rate {
                    every: ms(every_ms)
                }),
                "{text}"
            );
        }
        for wrong in ["", "0", "-1", "x", "1/d", "inf", "NaN", "/s", "1e-300"] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_average_holds_although_each_timer_is_late() {
        let mut pace = Pace::new(Rate::parse("100").unwrap());
        let mut now = ms(5);
        for _ in 0..100 {
            // Each timer fires a millisecond late.
            let pause = pace.wait(now);
            now += pause + if pause.is_zero() { ms(0) } else { ms(1) };
        }
        // The hundredth is due 990 ms after the first.
        assert_eq!(now, ms(5 + 990 + 1));
    }

    #[test]
    fn what_a_pause_missed_is_not_sent_in_a_burst() {
        let mut pace = Pace::new(Rate::parse("10").unwrap());
        assert_eq!(pace.wait(ms(0)), ms(0));
        assert_eq!(pace.wait(ms(1)), ms(99));
        assert_eq!(pace.wait(ms(5_000)), ms(0));
        assert_eq!(pace.wait(ms(5_000)), ms(100));
    }

    #[test]
    fn more_than_a_message_a_nanosecond_is_no_pause() {
        let mut pace = Pace::new(Rate::parse("1e30").unwrap());
        assert_eq!(pace.wait(ms(1)), ms(0));
        assert_eq!(pace.wait(ms(1)), ms(0));
    }
}
