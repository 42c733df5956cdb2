//! When to try again: full jitter under a limit that doubles.

use std::time::Duration;

use crate::options::Reconnect;

/// Counts attempts and draws the waits between them.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Reconnect,
    attempt: u32,
    state: u64,
}

impl Backoff {
    pub(crate) const fn new(policy: Reconnect, seed: u64) -> Self {
        Self {
            policy,
            attempt: 0,
            state: seed,
        }
    }

    /// Attempts since the last good connection.
    pub(crate) const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// An attempt begins.
    pub(crate) const fn count(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
    }

    /// A connection has ended after this long. One that ends at once is as bad as none: a server
    /// that accepts and throws out must not be asked in a tight loop.
    pub(crate) fn after_connection(&mut self, lasted: Duration) {
        if lasted >= self.policy.stable_after {
            self.attempt = 0;
        }
    }

    /// How long to wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let doublings = self.attempt.saturating_sub(1).min(31);
        let limit = self
            .policy
            .first
            .saturating_mul(1 << doublings)
            .min(self.policy.longest);
        self.random_below(limit)
    }

    /// For refusals that will not go away by themselves: between half of the longest wait and all of
    /// it.
    pub(crate) fn long_wait(&mut self) -> Duration {
        let half = self.policy.longest / 2;
        half + self.random_below(half)
    }

    fn random_below(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        // The upper half of a 128-bit product is uniform enough below any limit.
        let product = u128::from(self.next_random()) * u128::from(micros);
        Duration::from_micros(u64::try_from(product >> 64).unwrap_or(0))
    }

    /// splitmix64.
    const fn next_random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_below_a_limit_that_doubles_up_to_the_longest() {
        let policy = Reconnect::default();
        let mut largest = Vec::new();
        for attempt in 1..=12 {
            let mut most = Duration::ZERO;
            let mut sum = Duration::ZERO;
            for seed in 0..200 {
                let mut backoff = Backoff::new(policy, seed);
                for _ in 0..attempt {
                    backoff.count();
                }
                let wait = backoff.wait();
                most = most.max(wait);
                sum += wait;
            }
            let limit = (policy.first * (1 << (attempt - 1))).min(policy.longest);
            assert!(
                most <= limit && most > limit * 9 / 10,
                "{attempt}: {most:?}"
            );
            let mean = sum / 200;
            assert!(
                mean > limit / 3 && mean < limit * 2 / 3,
                "{attempt}: {mean:?}"
            );
            largest.push(most);
        }
        assert!(largest.iter().all(|wait| *wait <= policy.longest));
    }

    #[test]
    fn only_a_connection_that_lasted_starts_over() {
        let mut backoff = Backoff::new(Reconnect::default(), 1);
        backoff.count();
        backoff.count();
        backoff.after_connection(Duration::from_secs(29));
        assert_eq!(backoff.attempt(), 2);
        backoff.after_connection(Duration::from_secs(30));
        assert_eq!(backoff.attempt(), 0);
        let long = backoff.long_wait();
        assert!(long >= Duration::from_secs(30) && long <= Duration::from_secs(60));
    }
}
