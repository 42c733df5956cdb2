//! The shard's idea of time: a number that the driver passes in, never a clock that the engine reads.

use core::fmt;
use core::num::NonZeroU64;

/// A moment in milliseconds on the driver's monotonic clock.
///
/// Only differences mean something: the zero point is whatever the driver (or the simulator) chose. All
/// arithmetic saturates, so a deadline "for ever" away stays in order with every other. "No time" costs no space:
/// sessions have several deadlines that are mostly not set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(
    /// One more than the milliseconds.
    NonZeroU64,
);

impl Time {
    /// The moment that never comes.
    pub const MAX: Self = Self(NonZeroU64::MAX);

    /// The moment this many milliseconds after the clock's zero.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(millis))
    }

    /// Milliseconds since the clock's zero.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0.get() - 1
    }

    /// This moment, moved on by some milliseconds.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This moment, moved on by some seconds (every interval of the protocol is in seconds).
    #[must_use]
    pub const fn plus_secs(self, seconds: u32) -> Self {
        self.plus_millis(seconds as u64 * 1_000)
    }

    /// Milliseconds from `earlier` to this moment; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::from_millis(0)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({})", self.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn no_time_takes_no_space() {
        assert_eq!(size_of::<Option<Time>>(), size_of::<u64>());
        assert_eq!(Time::default(), Time::from_millis(0));
        assert_eq!(Time::from_millis(u64::MAX), Time::MAX);
        assert_eq!(Time::from_millis(7).as_millis(), 7);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let start = Time::from_millis(1_500);
        assert_eq!(start.plus_secs(2).as_millis(), 3_500);
        assert_eq!(
            start.plus_secs(u32::MAX).as_millis(),
            4_294_967_295_000 + 1_500
        );
        assert_eq!(Time::MAX.plus_millis(1), Time::MAX);
        assert_eq!(start.plus_millis(7).millis_since(start), 7);
        assert_eq!(start.millis_since(start.plus_millis(7)), 0);
    }
}
