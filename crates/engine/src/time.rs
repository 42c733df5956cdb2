//! The shard's idea of time: a number that the driver passes in, never a clock that the engine reads.

/// A moment in milliseconds on the driver's monotonic clock.
///
/// Only differences mean something: the zero point is whatever the driver (or the simulator) chose. All
/// arithmetic saturates, so a deadline "for ever" away stays in order with every other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The moment that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment this many milliseconds after the clock's zero.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's zero.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
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
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

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
